/*
 * Block products on AVX2: tiles of 6x16 in registers, 8x8 for few columns.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Written because it beats the library's sgemm at these shapes; see
 * docs/performance.md.
 */
#if defined(__AVX2__)
#include "kernels/cpu/product_tmpl.h"

static void block_6x16(float *c, int64_t ldc, const float *const *a, int64_t lda, int64_t k0, const float *b,
                       int64_t ldb, int64_t n, int taps, int64_t kc, int add, float *tmp)
{
    (void)tmp;
    for (int64_t i = 0; i < n; i += 6)
        tile(6, 2, c + i * ldc, ldc, a + i * lda, lda, k0, b, ldb, taps, kc, add);
}

void kl_block_8x8_avx2(float *c, int64_t ldc, const float *const *a, int64_t lda, int64_t k0, const float *b,
                       int64_t ldb, int64_t n, int taps, int64_t kc, int add, float *tmp)
{
    (void)tmp;
    for (int64_t i = 0; i < n; i += 8)
        tile(8, 1, c + i * ldc, ldc, a + i * lda, lda, k0, b, ldb, taps, kc, add);
}

/* Depth: that much of a weight block, 24 KiB, stays in the first-level cache. */
const KlProduct kl_product_avx2[2] = {
    { .nr = 16, .rows = 6, .depth = 384, .block = block_6x16 },
    { .nr = 8,  .rows = 8, .depth = 768, .block = kl_block_8x8_avx2 },
};
#else
typedef int kl_product_not_here;        /* another architecture: the file is empty, which C forbids */
#endif
