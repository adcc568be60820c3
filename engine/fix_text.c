/*
 * ftfy.fix_text() for prompts.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Line by line, until nothing changes any more: HTML references (unless a <
 * has been seen), Windows' characters in place of C1 controls, ligatures,
 * full- and half-width forms, straight quotes, line breaks, terminal escapes,
 * control characters, NFC.
 *
 * Limit: ftfy also repairs mojibake, text that was decoded with the wrong
 * encoding ("âœ”" for "✔"), by ten code pages and a table of unlikely
 * pairs of characters. That is left out: a prompt here is UTF-8 or refused, and
 * the repair guesses. A prompt that is mojibake already gets other tokens than
 * in the reference.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "prompt_clean.h"

/* ftfy goes on for ever; text that needs more has &amp;amp;amp;... in it and is after the time, not the result. */
#define MAX_PASSES 32

/* Appends what takes the place of one character. */
typedef void (*MapFn)(uint32_t cp, KlBuf *out);

static void put(KlBuf *out, const char *s)
{
    kl_buf_put(out, s, strlen(s));
}

static void map_c1(uint32_t cp, KlBuf *out)
{
    char ref[16] = "&#128;";

    if (cp < 0x80 || cp >= 0xa0) {
        kl_buf_put_char(out, cp);
        return;
    }
    ref[2] = (char)('0' + cp / 100);    /* HTML reads these numbers as Windows' characters, too */
    ref[3] = (char)('0' + cp / 10 % 10);
    ref[4] = (char)('0' + cp % 10);
    kl_html_unescape(ref, 6, out);
}

static void map_ligature(uint32_t cp, KlBuf *out)
{
    static const struct { uint16_t cp; char text[5]; } table[] = {
        { 0x132, "IJ" }, { 0x133, "ij" }, { 0x149, "\xca\xbcn" }, { 0x1c4, "D\xc5\xbd" }, { 0x1c5, "D\xc5\xbe" },
        { 0x1c6, "d\xc5\xbe" }, { 0x1c7, "LJ" }, { 0x1c8, "Lj" }, { 0x1c9, "lj" }, { 0x1ca, "NJ" }, { 0x1cb, "Nj" },
        { 0x1cc, "nj" }, { 0x1f1, "DZ" }, { 0x1f2, "Dz" }, { 0x1f3, "dz" }, { 0xfb00, "ff" }, { 0xfb01, "fi" },
        { 0xfb02, "fl" }, { 0xfb03, "ffi" }, { 0xfb04, "ffl" }, { 0xfb05, "\xc5\xbft" }, { 0xfb06, "st" },
    };

    for (size_t i = 0; i < KL_ARRAY_LEN(table); i++)
        if (cp == table[i].cp) {
            put(out, table[i].text);
            return;
        }
    kl_buf_put_char(out, cp);
}

static void map_width(uint32_t cp, KlBuf *out)
{
    utf8proc_int32_t wide[8];
    utf8proc_ssize_t n = 0;

    if (cp == 0x3000)
        cp = ' ';
    if (cp > 0xff00 && cp < 0xfff0)
        n = utf8proc_decompose_char((utf8proc_int32_t)cp, wide, KL_ARRAY_LEN(wide),
                                    UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE, NULL);
    if (n < 1 || n > (utf8proc_ssize_t)KL_ARRAY_LEN(wide)) {
        kl_buf_put_char(out, cp);
        return;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++)    /* what can be composed again is, by NFC at the end */
        kl_buf_put_char(out, (uint32_t)wide[i]);
}

static void map_quote(uint32_t cp, KlBuf *out)
{
    if (cp == 0x2bc || (cp >= 0x2018 && cp <= 0x201b))
        cp = '\'';
    else if (cp >= 0x201c && cp <= 0x201f)
        cp = '"';
    kl_buf_put_char(out, cp);
}

static void map_line_break(uint32_t cp, KlBuf *out)
{
    kl_buf_put_char(out, cp == '\r' || cp == 0x2028 || cp == 0x2029 || cp == 0x85 ? '\n' : cp);
}

static void map_control(uint32_t cp, KlBuf *out)
{
    if (!(cp < 9 || cp == 0xb || (cp >= 0xe && cp < 0x20) || cp == 0x7f || (cp >= 0x206a && cp < 0x2070) ||
          cp == 0xfeff || (cp >= 0xfff9 && cp < 0xfffd)))
        kl_buf_put_char(out, cp);
}

static void map_each(MapFn map, const KlBuf *in, KlBuf *out)
{
    uint32_t cp;

    for (size_t pos = 0, n; pos < in->len && (n = kl_utf8_next(in->s + pos, in->len - pos, &cp)); pos += n)
        map(cp, out);
}

/* Bytes of a terminal escape, ESC [ digits and semicolons, a letter, at s; 0 when there is none. */
static size_t terminal_escape(const char *s, size_t len)
{
    size_t i = 2, n;
    uint32_t cp;

    if (len < 3 || s[0] != 27 || s[1] != '[')
        return 0;
    for (; i < len && (n = kl_utf8_next(s + i, len - i, &cp)); i += n)
        if (cp != ';' && utf8proc_category((utf8proc_int32_t)cp) != UTF8PROC_CATEGORY_ND)
            return (cp | 32) >= 'a' && (cp | 32) <= 'z' && cp < 0x80 ? i + 1 : 0;
    return 0;
}

static void drop_escapes(const KlBuf *in, KlBuf *out)
{
    for (size_t pos = 0, n; pos < in->len; pos += n) {
        const char *esc = memchr(in->s + pos, 27, in->len - pos);

        if (esc != in->s + pos) {
            n = esc ? (size_t)(esc - in->s) - pos : in->len - pos;
            kl_buf_put(out, in->s + pos, n);
        } else if (!(n = terminal_escape(esc, in->len - pos))) {
            kl_buf_put(out, esc, n = 1);
        }
    }
}

static void compose(const KlBuf *in, KlBuf *out)
{
    utf8proc_uint8_t *nfc = NULL;
    utf8proc_ssize_t n;

    if (!in->len)
        return;
    n = utf8proc_map((const utf8proc_uint8_t *)in->s, (utf8proc_ssize_t)in->len, &nfc,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0)
        out->failed = true;             /* only for want of memory: the input is UTF-8 */
    else
        kl_buf_put(out, (const char *)nfc, (size_t)n);
    free(nfc);
}

/* One pass over a line. a is the line and receives the result; b is empty. */
static void pass(KlBuf *a, KlBuf *b, bool unescape)
{
    static const MapFn maps[] = { map_c1, map_ligature, map_width, map_quote, map_line_break };
    KlBuf swap;

#define NEXT(call) do { b->len = 0; call; b->failed |= a->failed; swap = *a; *a = *b; *b = swap; } while (0)
    if (unescape)
        NEXT(kl_html_unescape_strict(a->s, a->len, b));
    for (size_t i = 0; i < KL_ARRAY_LEN(maps); i++)
        NEXT(map_each(maps[i], a, b));
    NEXT(drop_escapes(a, b));
    NEXT(map_each(map_control, a, b));
    NEXT(compose(a, b));
#undef NEXT
}

static void fix_line(const char *s, size_t len, bool unescape, KlBuf *out)
{
    KlBuf before = { 0 }, a = { 0 }, b = { 0 };

    kl_buf_put(&a, s, len);
    for (int i = 0; i < MAX_PASSES && !a.failed; i++) {
        before.len = 0;
        kl_buf_put(&before, a.s, a.len);
        pass(&a, &b, unescape);
        a.failed |= before.failed;
        if (a.failed || (a.len == before.len && !memcmp(a.s, before.s, a.len)))
            break;
    }
    kl_buf_put(out, a.s, a.len);
    out->failed |= a.failed;
    kl_buf_free(&before);
    kl_buf_free(&a);
    kl_buf_free(&b);
}

void kl_fix_text(const char *s, size_t len, KlBuf *out)
{
    bool unescape = true;

    for (size_t pos = 0, n; pos < len; pos += n) {
        const char *end = memchr(s + pos, '\n', len - pos);

        n = end ? (size_t)(end - s) - pos + 1 : len - pos;
        unescape &= !memchr(s + pos, '<', n);   /* it is HTML then, and so are the lines after it */
        fix_line(s + pos, n, unescape, out);
    }
}
