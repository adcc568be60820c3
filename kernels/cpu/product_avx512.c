/*
 * Block products on AVX-512: tiles of 12x16 in registers. One vector wide, so that weights are packed as for AVX2 and
 * narrow layers waste nothing; each of the 12 sums takes its element of x from memory as it multiplies.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#if defined(__AVX512F__)
#include "kernels/cpu/product_tmpl.h"

static void block_12x16(float *c, int64_t ldc, const float *const *a, int64_t lda, int64_t k0, const float *b,
                        int64_t ldb, int64_t n, int taps, int64_t kc, int add, float *tmp)
{
    (void)tmp;
    for (int64_t i = 0; i < n; i += 12)
        tile(12, 1, c + i * ldc, ldc, a + i * lda, lda, k0, b, ldb, taps, kc, add);
}

const KlProduct kl_product_avx512[2] = {
    { .nr = 16, .rows = 12, .depth = 384, .block = block_12x16 },
    { .nr = 8,  .rows = 8,  .depth = 768, .block = kl_block_8x8_avx2 },
};
#else
typedef int kl_product_not_here;        /* another architecture: the file is empty, which C forbids */
#endif
