/*
 * The block products of conv on AVX2: 6 pixels x 16 channels, 8 x 8 for few.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#if defined(__x86_64__) || defined(__i386__)
#include "kernels/cpu/conv.h"
#include "kernels/cpu/micro_avx2.h"

KL_MICRO_AVX2(micro_6x16, KL_ROWS_6, 2)
KL_MICRO_AVX2(micro_8x8, KL_ROWS_8, 1)

static void block_6x16(float *c, const float *const *a, int64_t lda, int64_t k0, const float *b, int64_t ldb,
                       int64_t pixels, int taps, int64_t kc, int add, float *tmp)
{
    (void)tmp;
    for (int64_t p = 0; p < pixels; p += 6)
        micro_6x16(c + p * 16, a + p * lda, lda, k0, b, ldb, taps, kc, add);
}

static void block_8x8(float *c, const float *const *a, int64_t lda, int64_t k0, const float *b, int64_t ldb,
                      int64_t pixels, int taps, int64_t kc, int add, float *tmp)
{
    (void)tmp;
    for (int64_t p = 0; p < pixels; p += 8)
        micro_8x8(c + p * 8, a + p * lda, lda, k0, b, ldb, taps, kc, add);
}

/* Depth: that much of a weight block, 24 KiB, stays in the first-level cache. */
const KlConvLeaf kl_conv_leaf_avx2[2] = {
    { .nr = 16, .rows = 6, .depth = 384, .block = block_6x16 },
    { .nr = 8,  .rows = 8, .depth = 768, .block = block_8x8 },
};
#endif
