/*
 * SentencePiece's compiled normalisation rules, applied as transformers does.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The bytes are: the size of a trie in bytes (u32), the trie, and the
 * replacements, each ended by a NUL. The trie is a double array (Yata's Darts
 * clone) of u32 units; a unit's bits:
 *
 *     0..7   label            8      has a leaf       9   offset is << 8
 *     10..31 offset           31     is a value: the other bits, a position
 *                                    in the replacements
 *
 * A child for byte b of the unit at p is at (p ^ offset(p)) ^ b and carries b
 * as its label; a leaf is at p ^ offset(p).
 *
 * SentencePiece replaces the longest match at each position. transformers
 * (the tokenizers library's Precompiled) instead takes grapheme by grapheme:
 * one shorter than 6 bytes is replaced as a whole by its *shortest* matching
 * prefix; where that fails, its characters are taken one by one. This is done
 * here, for its ids are the ones to equal.
 */
#include "charsmap.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

struct KlCharsmap {
    uint32_t units;
    size_t text_bytes;
    char *text;                         /* replacements, with a NUL after the last byte */
    uint32_t trie[];
};

static uint32_t read_u32(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int kl_charsmap_create(KlDiag *d, KlCharsmap **m, const void *data, size_t bytes, const char *where)
{
    const unsigned char *p = data;
    size_t trie, text;

    *m = NULL;
    if (!bytes)
        return 0;
    if (bytes < 8 || (trie = read_u32(p)) < 4 || trie % 4 || trie > bytes - 4)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s': its normalisation rules are damaged", where);
    text = bytes - 4 - trie;
    *m = malloc(sizeof(**m) + trie + text + 1);
    if (!*m)
        return kl_fail_memory(d, "the tokenizer", sizeof(**m) + trie + text + 1);
    (*m)->units = (uint32_t)(trie / 4);
    (*m)->text_bytes = text;
    (*m)->text = (char *)((*m)->trie + (*m)->units);
    for (uint32_t i = 0; i < (*m)->units; i++)
        (*m)->trie[i] = read_u32(p + 4 + 4 * (size_t)i);
    memcpy((*m)->text, p + 4 + trie, text);
    (*m)->text[text] = 0;
    if (kl_utf8_check((*m)->text, text) < text) {
        kl_charsmap_destroy(m);
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s': its normalisation rules are not UTF-8", where);
    }
    return 0;
}

void kl_charsmap_destroy(KlCharsmap **m)
{
    free(*m);
    *m = NULL;
}

static uint32_t offset_of(uint32_t unit)
{
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}

/* The replacement of the shortest prefix of s[len] that has one, NULL if none has. */
static const char *find(const KlCharsmap *m, const char *s, size_t len)
{
    uint32_t pos = offset_of(m->trie[0]);

    for (size_t i = 0; i < len; i++) {
        uint32_t unit;

        pos ^= (unsigned char)s[i];
        if (pos >= m->units || ((unit = m->trie[pos]) & 0x800000ffu) != (unsigned char)s[i])
            return NULL;
        pos ^= offset_of(unit);
        if (unit & 1u << 8) {
            uint32_t at = pos < m->units ? m->trie[pos] & 0x7fffffffu : UINT32_MAX;

            return at < m->text_bytes ? m->text + at : NULL;
        }
    }
    return NULL;
}

static void replace(const KlCharsmap *m, const char *s, size_t len, KlBuf *out)
{
    const char *r = find(m, s, len);

    if (r)
        kl_buf_put(out, r, strlen(r));
    else
        kl_buf_put(out, s, len);
}

/* Bytes of the first grapheme of s[len]. */
static size_t grapheme(const char *s, size_t len)
{
    utf8proc_int32_t state = 0;
    uint32_t prev, cp;
    size_t end = kl_utf8_next(s, len, &prev), n;

    while (end && end < len && (n = kl_utf8_next(s + end, len - end, &cp)) &&
           !utf8proc_grapheme_break_stateful((utf8proc_int32_t)prev, (utf8proc_int32_t)cp, &state)) {
        end += n;
        prev = cp;
    }
    return end;
}

void kl_charsmap_apply(const KlCharsmap *m, const char *s, size_t len, KlBuf *out)
{
    if (!m) {
        kl_buf_put(out, s, len);
        return;
    }
    for (size_t pos = 0, g; pos < len && (g = grapheme(s + pos, len - pos)); pos += g) {
        uint32_t cp;

        if (g < 6 && find(m, s + pos, g)) {
            replace(m, s + pos, g, out);
            continue;
        }
        for (size_t i = 0, n; i < g && (n = kl_utf8_next(s + pos + i, g - i, &cp)); i += n)
            replace(m, s + pos + i, n, out);
    }
}
