/*
 * GGUF files piece by piece, for tests that want damaged ones.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_TESTS_GGUF_FILE_H
#define KL_TESTS_GGUF_FILE_H

#include <stdarg.h>
#include <stdint.h>
#include <string.h>

typedef struct GgufFile {
    uint8_t b[4096];
    size_t n;
} GgufFile;

static inline void gguf_int(GgufFile *f, int bytes, uint64_t v)
{
    for (int i = 0; i < bytes && f->n < sizeof(f->b); i++)
        f->b[f->n++] = (uint8_t)(v >> 8 * i);
}

static inline void gguf_string(GgufFile *f, const char *s)
{
    gguf_int(f, 8, strlen(s));
    for (; *s; s++)
        gguf_int(f, 1, (unsigned char)*s);
}

static inline void gguf_head(GgufFile *f, unsigned version, uint64_t tensors, uint64_t entries)
{
    gguf_int(f, 4, 0x46554747);
    gguf_int(f, 4, version);
    gguf_int(f, 8, tensors);
    gguf_int(f, 8, entries);
}

static inline void gguf_kv_string(GgufFile *f, const char *key, const char *s)
{
    gguf_string(f, key);
    gguf_int(f, 4, 8);
    gguf_string(f, s);
}

static inline void gguf_kv_u32(GgufFile *f, const char *key, uint32_t v)
{
    gguf_string(f, key);
    gguf_int(f, 4, 4);
    gguf_int(f, 4, v);
}

static inline void gguf_kv_u32s(GgufFile *f, const char *key, int n, const uint64_t *v)
{
    gguf_string(f, key);
    gguf_int(f, 4, 9);
    gguf_int(f, 4, 4);
    gguf_int(f, 8, (uint64_t)n);
    for (int i = 0; i < n; i++)
        gguf_int(f, 4, v[i]);
}

static inline void gguf_kv_strings(GgufFile *f, const char *key, int n, ...)
{
    va_list ap;

    gguf_string(f, key);
    gguf_int(f, 4, 9);
    gguf_int(f, 4, 8);
    gguf_int(f, 8, (uint64_t)n);
    va_start(ap, n);
    while (n--)
        gguf_string(f, va_arg(ap, const char *));
    va_end(ap);
}

static inline void gguf_tensor(GgufFile *f, const char *name, int ndim, uint64_t d0, uint64_t d1, unsigned type,
                               uint64_t offset)
{
    gguf_string(f, name);
    gguf_int(f, 4, (uint64_t)ndim);
    if (ndim > 0)
        gguf_int(f, 8, d0);
    if (ndim > 1)
        gguf_int(f, 8, d1);
    gguf_int(f, 4, type);
    gguf_int(f, 8, offset);
}

/** n zeros. */
static inline void gguf_pad(GgufFile *f, size_t n)
{
    while (n--)
        gguf_int(f, 1, 0);
}

/** Pads to the alignment, then n bytes of data. */
static inline void gguf_data(GgufFile *f, size_t align, size_t n)
{
    while (f->n % align)
        gguf_int(f, 1, 0);
    while (n--)
        gguf_int(f, 1, 0);
}

#endif /* KL_TESTS_GGUF_FILE_H */
