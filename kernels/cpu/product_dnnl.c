/*
 * Block products on the GEMM library: rows are gathered, the library multiplies.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/product.h"

#include <string.h>

#define WIDE   96
#define NARROW 16

static void gather_multiply(int nr, float *c, int64_t ldc, const float *const *a, int64_t lda, int64_t k0,
                            const float *b, int64_t n, int taps, int64_t kc, int add, float *tmp)
{
    float *to = tmp;

    for (int64_t i = 0; i < n; i++)
        for (int t = 0; t < taps; t++, to += kc)
            memcpy(to, a[i * lda + t] + k0, (size_t)kc * sizeof(float));
    kl_sgemm('N', 'N', n, nr, taps * kc, 1, tmp, taps * kc, b, nr, (float)add, c, ldc);
}

static void block_wide(float *c, int64_t ldc, const float *const *a, int64_t lda, int64_t k0, const float *b,
                       int64_t ldb, int64_t n, int taps, int64_t kc, int add, float *tmp)
{
    (void)ldb;                          /* taps follow each other densely */
    gather_multiply(WIDE, c, ldc, a, lda, k0, b, n, taps, kc, add, tmp);
}

static void block_narrow(float *c, int64_t ldc, const float *const *a, int64_t lda, int64_t k0, const float *b,
                         int64_t ldb, int64_t n, int taps, int64_t kc, int add, float *tmp)
{
    (void)ldb;
    gather_multiply(NARROW, c, ldc, a, lda, k0, b, n, taps, kc, add, tmp);
}

const KlProduct kl_product_dnnl[2] = {
    { .nr = WIDE,   .rows = 1, .depth = 768, .gather = 1, .block = block_wide },
    { .nr = NARROW, .rows = 1, .depth = 768, .gather = 1, .block = block_narrow },
};
