/*
 * The register tile of block products, for whatever vectors vec.h has.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/product.h"
#include "kernels/cpu/vec.h"

#define TILE_ROWS 12                    /* at most */

/* One register tile: mr rows by nv vectors. Constants after inlining, so that every loop over them unrolls. */
static inline __attribute__((always_inline))
void tile(int mr, int nv, float *c, int64_t ldc, const float *const *a, int64_t lda, int64_t k0, const float *b,
          int64_t ldb, int taps, int64_t kc, int add)
{
    KlVec acc[TILE_ROWS][2];

#pragma GCC unroll 12
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++)
            acc[i][j] = vec_set(0);
    for (int t = 0; t < taps; t++) {
        const float *bk = b + t * ldb, *row[TILE_ROWS];

#pragma GCC unroll 12
        for (int i = 0; i < mr; i++)
            row[i] = a[i * lda + t] + k0;
#pragma GCC unroll 4
        for (int64_t k = 0; k < kc; k++, bk += nv * KL_VL) {
            KlVec w[2];

#pragma GCC unroll 2
            for (int j = 0; j < nv; j++)
                w[j] = vec_load(bk + j * KL_VL);
#pragma GCC unroll 12
            for (int i = 0; i < mr; i++) {
                KlVec x = vec_set(row[i][k]);

#pragma GCC unroll 2
                for (int j = 0; j < nv; j++)
                    acc[i][j] = vec_fma(x, w[j], acc[i][j]);
            }
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 2
        for (int j = 0; j < nv; j++) {
            float *to = c + i * ldc + j * KL_VL;

            vec_store(to, add ? vec_load(to) + acc[i][j] : acc[i][j]);
        }
}
