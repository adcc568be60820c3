/*
 * Block products on AVX2: tiles of 6x16 in registers, 8x8 for few columns.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Written because it beats the library's sgemm at these shapes on machines
 * without wider vectors; see docs/performance.md.
 */
#if defined(__AVX2__)
#include "kernels/cpu/product.h"
#include "kernels/cpu/vec.h"

/* One register tile: mr rows by nv vectors. Constants after inlining, so that every loop over them unrolls. */
static inline __attribute__((always_inline))
void tile(int mr, int nv, float *c, int64_t ldc, const float *const *a, int64_t lda, int64_t k0, const float *b,
          int64_t ldb, int taps, int64_t kc, int add)
{
    KlVec acc[8][2];

#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++)
            acc[i][j] = vec_set(0);
    for (int t = 0; t < taps; t++) {
        const float *bk = b + t * ldb, *row[8];

#pragma GCC unroll 8
        for (int i = 0; i < mr; i++)
            row[i] = a[i * lda + t] + k0;
#pragma GCC unroll 4
        for (int64_t k = 0; k < kc; k++, bk += nv * KL_VL) {
            KlVec w[2];

#pragma GCC unroll 2
            for (int j = 0; j < nv; j++)
                w[j] = vec_load(bk + j * KL_VL);
#pragma GCC unroll 8
            for (int i = 0; i < mr; i++) {
                KlVec x = vec_set(row[i][k]);

#pragma GCC unroll 2
                for (int j = 0; j < nv; j++)
                    acc[i][j] = vec_fma(x, w[j], acc[i][j]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) {
            float *to = c + i * ldc + j * KL_VL;

            vec_store(to, add ? vec_load(to) + acc[i][j] : acc[i][j]);
        }
}

static void block_6x16(float *c, int64_t ldc, const float *const *a, int64_t lda, int64_t k0, const float *b,
                       int64_t ldb, int64_t n, int taps, int64_t kc, int add, float *tmp)
{
    (void)tmp;
    for (int64_t i = 0; i < n; i += 6)
        tile(6, 2, c + i * ldc, ldc, a + i * lda, lda, k0, b, ldb, taps, kc, add);
}

static void block_8x8(float *c, int64_t ldc, const float *const *a, int64_t lda, int64_t k0, const float *b,
                      int64_t ldb, int64_t n, int taps, int64_t kc, int add, float *tmp)
{
    (void)tmp;
    for (int64_t i = 0; i < n; i += 8)
        tile(8, 1, c + i * ldc, ldc, a + i * lda, lda, k0, b, ldb, taps, kc, add);
}

/* Depth: that much of a weight block, 24 KiB, stays in the first-level cache. */
const KlProduct kl_product_avx2[2] = {
    { .nr = 16, .rows = 6, .depth = 384, .block = block_6x16 },
    { .nr = 8,  .rows = 8, .depth = 768, .block = block_8x8 },
};
#else
typedef int kl_product_not_here;        /* another architecture: the file is empty, which C forbids */
#endif
