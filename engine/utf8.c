/*
 * UTF-8 and a growing byte buffer.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

void kl_buf_put(KlBuf *b, const char *s, size_t len)
{
    if (b->failed)
        return;
    if (b->cap - b->len <= len) {
        size_t cap = b->len + len + 1;
        char *p = NULL;

        if (cap > len && cap < SIZE_MAX / 2)
            p = realloc(b->s, cap += cap / 2 + 32);
        if (!p) {
            b->failed = true;
            return;
        }
        b->s = p;
        b->cap = cap;
    }
    if (len)
        memcpy(b->s + b->len, s, len);
    b->len += len;
    b->s[b->len] = 0;
}

void kl_buf_put_char(KlBuf *b, uint32_t cp)
{
    char s[4];

    if (cp < 0x80) {
        s[0] = (char)cp;
        kl_buf_put(b, s, 1);
    } else if (cp < 0x800) {
        s[0] = (char)(0xc0 | cp >> 6);
        s[1] = (char)(0x80 | (cp & 0x3f));
        kl_buf_put(b, s, 2);
    } else if (cp < 0x10000) {
        s[0] = (char)(0xe0 | cp >> 12);
        s[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        s[2] = (char)(0x80 | (cp & 0x3f));
        kl_buf_put(b, s, 3);
    } else {
        s[0] = (char)(0xf0 | cp >> 18);
        s[1] = (char)(0x80 | (cp >> 12 & 0x3f));
        s[2] = (char)(0x80 | (cp >> 6 & 0x3f));
        s[3] = (char)(0x80 | (cp & 0x3f));
        kl_buf_put(b, s, 4);
    }
}

void kl_buf_free(KlBuf *b)
{
    free(b->s);
    *b = (KlBuf){ 0 };
}

size_t kl_utf8_next(const char *s, size_t left, uint32_t *cp)
{
    static const uint32_t smallest[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    const unsigned char *p = (const unsigned char *)s;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    uint32_t c;

    if (!n || n > left)
        return 0;
    c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < smallest[n] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
        return 0;
    *cp = c;
    return n;
}

size_t kl_utf8_check(const char *s, size_t len)
{
    size_t pos = 0, n;
    uint32_t cp;

    while (pos < len && (n = kl_utf8_next(s + pos, len - pos, &cp)))
        pos += n;
    return pos;
}

bool kl_is_space(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f ||
           cp == 0x3000;
}
