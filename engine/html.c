/*
 * HTML character references in prompts, as Python and ftfy replace them.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <string.h>

#include "html_entities.h"
#include "prompt_clean.h"

#define NAME_MAX_CHARS 32               /* Python's limit for what may be a name */
#define STRICT_MAX_CHARS 24             /* ftfy's */

static const KlHtmlEntity *find(const char *name, size_t len)
{
    int lo = 0, hi = kl_html_entities_nb - 1;

    while (lo <= hi) {
        int mid = (lo + hi) / 2, c = strncmp(name, kl_html_entities[mid].name, len);

        if (!c && !kl_html_entities[mid].name[len])
            return &kl_html_entities[mid];
        if (c > 0)
            lo = mid + 1;
        else
            hi = mid - 1;
    }
    return NULL;
}

static int digit(char c, bool hex)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (hex && (c | 32) >= 'a' && (c | 32) <= 'f')
        return (c | 32) - 'a' + 10;
    return -1;
}

/* The character of a numeric reference as HTML defines it: the C1 controls are those of Windows, what is no character
 * is U+FFFD, other controls and noncharacters vanish. */
static void put_numeric(uint32_t n, KlBuf *out)
{
    static const uint16_t windows[32] = {
        0x20ac, 0x81, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039, 0x152, 0x8d, 0x17d,
        0x8f, 0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc, 0x2122, 0x161, 0x203a, 0x153, 0x9d,
        0x17e, 0x178,
    };

    if (n >= 0x80 && n < 0xa0)
        kl_buf_put_char(out, windows[n - 0x80]);
    else if (!n || (n >= 0xd800 && n < 0xe000) || n > 0x10ffff)
        kl_buf_put_char(out, 0xfffd);
    else if (!(n < 9 || n == 11 || (n >= 14 && n < 32) || n == 127 || (n >= 0xfdd0 && n < 0xfdf0) ||
               (n & 0xfffe) == 0xfffe))
        kl_buf_put_char(out, n);
}

/* Bytes after the & that a numeric reference takes, 0 when s is none. */
static size_t numeric(const char *s, size_t len, uint32_t *value)
{
    bool hex = len > 1 && (s[1] | 32) == 'x';
    size_t i = hex ? 2 : 1, first = i;

    *value = 0;
    if (!len || s[0] != '#')
        return 0;
    for (; i < len && digit(s[i], hex) >= 0; i++)
        *value = KL_MIN(*value * (hex ? 16u : 10u) + (uint32_t)digit(s[i], hex), 0x110000u);
    if (i == first)
        return 0;
    return i + (i < len && s[i] == ';');
}

/* Bytes after the & that a name takes with its ;, or the longest known name without one; 0 when there is none. */
static size_t named(const char *s, size_t len, const KlHtmlEntity **e)
{
    size_t end = 0, n;
    uint32_t cp;

    for (int chars = 0; chars < NAME_MAX_CHARS && end < len && !memchr("\t\n\f <&#;", s[end], 8); chars++) {
        if (!(n = kl_utf8_next(s + end, len - end, &cp)))
            break;
        end += n;
    }
    if (end && end < len && s[end] == ';' && (*e = find(s, end)))
        return end + 1;
    for (size_t i = KL_MIN(end, sizeof((*e)->name) - 1); i > 1; i--)
        if ((*e = find(s, i)) && (*e)->bare)
            return i;
    return 0;
}

void kl_html_unescape(const char *s, size_t len, KlBuf *out)
{
    const KlHtmlEntity *e;
    uint32_t value;

    for (size_t pos = 0, n; pos < len; pos += n) {
        const char *amp = memchr(s + pos, '&', len - pos);

        if (amp != s + pos) {
            n = amp ? (size_t)(amp - s) - pos : len - pos;
            kl_buf_put(out, s + pos, n);
        } else if ((n = numeric(amp + 1, len - pos - 1, &value))) {
            put_numeric(value, out);
            n++;
        } else if ((n = named(amp + 1, len - pos - 1, &e))) {
            kl_buf_put(out, e->text, strlen(e->text));
            n++;
        } else {
            kl_buf_put(out, amp, n = 1);
        }
    }
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* Bytes of "&name;" or "&#...;" at s, and what it becomes; 0 when it stays. */
static size_t strict(const char *s, size_t len, KlBuf *out)
{
    size_t i = 1, first;
    char lower[STRICT_MAX_CHARS + 1];
    const KlHtmlEntity *e;
    uint32_t value;

    i += len > 1 && s[1] == '#';
    for (first = i; i < len && i - first < STRICT_MAX_CHARS && is_alnum(s[i]); i++)
        ;
    if (i == first || i == len || s[i] != ';')
        return 0;
    if (s[1] == '#') {
        if (numeric(s + 1, len - 1, &value) != i || value == ';')       /* ftfy: a ; left over means no reference */
            return 0;
        put_numeric(value, out);
        return i + 1;
    }
    if ((e = find(s + 1, i - 1))) {
        kl_buf_put(out, e->text, strlen(e->text));
        return i + 1;
    }
    for (size_t j = 1; j < i; j++) {
        if (s[j] >= 'a' && s[j] <= 'z')
            return 0;
        lower[j - 1] = s[j] >= 'A' ? (char)(s[j] | 32) : s[j];
    }
    if (!(e = find(lower, i - 1)) || !e->upper[0])
        return 0;
    kl_buf_put(out, e->upper, strlen(e->upper));
    return i + 1;
}

void kl_html_unescape_strict(const char *s, size_t len, KlBuf *out)
{
    for (size_t pos = 0, n; pos < len; pos += n) {
        const char *amp = memchr(s + pos, '&', len - pos);

        if (amp != s + pos) {
            n = amp ? (size_t)(amp - s) - pos : len - pos;
            kl_buf_put(out, s + pos, n);
        } else if (!(n = strict(amp, len - pos, out))) {
            kl_buf_put(out, amp, n = 1);
        }
    }
}
