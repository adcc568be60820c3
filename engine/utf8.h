/*
 * UTF-8 and a growing byte buffer, for what handles prompts.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_UTF8_H
#define KL_UTF8_H

#include "common.h"

/** A byte string that grows; always NUL-terminated once something was put. A failed allocation sets `failed` and
 *  makes every later put do nothing, so that only the end must be checked. */
typedef struct KlBuf {
    char *s;
    size_t len, cap;
    bool failed;
} KlBuf;

void kl_buf_put(KlBuf *b, const char *s, size_t len);
void kl_buf_put_char(KlBuf *b, uint32_t cp);    /* as UTF-8 */
void kl_buf_free(KlBuf *b);

/** Bytes of the character at s, of `left` > 0 bytes, and the character; 0 when it is not UTF-8: cut short, overlong,
 *  a surrogate, or past U+10FFFF. */
size_t kl_utf8_next(const char *s, size_t left, uint32_t *cp);
/** Offset of the first byte that is not UTF-8, or len. */
size_t kl_utf8_check(const char *s, size_t len);

/** Unicode's White_Space. */
bool kl_is_space(uint32_t cp);

#endif /* KL_UTF8_H */
