/*
 * The heart of a matrix product on AVX2: R rows of pointers by NV*8 columns,
 * kept in registers. Included by *_avx2.c only.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * KL_MICRO_AVX2(name, ROWS, COLS) defines
 *   c[rows][nr] (dense) = (add ? c : 0) + sum over taps t and k < kc of a[row*lda + t][k0 + k] * b[t*ldb + k*nr ...]
 * with ROWS(X) one of KL_ROWS_* and COLS(Y, i) one of KL_COLS_*, nr = 8 per
 * column. Rows are pointers, so that a picture's padding, stride and doubling
 * cost nothing here. Each call sums from zero and adds c once: what a caller
 * cuts into calls is summed in blocks, which keeps long sums accurate.
 */
#ifndef KL_MICRO_AVX2_H
#define KL_MICRO_AVX2_H

#include <immintrin.h>
#include <stdint.h>

#define KL_ROWS_6(X)            X(0) X(1) X(2) X(3) X(4) X(5)
#define KL_ROWS_8(X)            KL_ROWS_6(X) X(6) X(7)
#define KL_COLS_1(Y, i)         Y(i, 0)
#define KL_COLS_2(Y, i)         Y(i, 0) Y(i, 1)

#define MICRO_ONE(i, j)         + 1
#define MICRO_DECL(i, j)        __m256 c##i##j = _mm256_setzero_ps();
#define MICRO_DECL_1(i)         KL_COLS_1(MICRO_DECL, i)
#define MICRO_DECL_2(i)         KL_COLS_2(MICRO_DECL, i)
#define MICRO_PTR(i)            const float *a##i = a[i * lda + t] + k0;
#define MICRO_B(i, j)           __m256 b##j = _mm256_loadu_ps(bk + j * 8);
#define MICRO_FMA(i, j)         c##i##j = _mm256_fmadd_ps(v, b##j, c##i##j);
#define MICRO_ROW_1(i)          v = _mm256_broadcast_ss(a##i + k); KL_COLS_1(MICRO_FMA, i)
#define MICRO_ROW_2(i)          v = _mm256_broadcast_ss(a##i + k); KL_COLS_2(MICRO_FMA, i)
#define MICRO_AT(i, j)          (c + (i * nv + j) * 8)
#define MICRO_ADD(i, j)         c##i##j = _mm256_add_ps(_mm256_loadu_ps(MICRO_AT(i, j)), c##i##j);
#define MICRO_ADD_1(i)          KL_COLS_1(MICRO_ADD, i)
#define MICRO_ADD_2(i)          KL_COLS_2(MICRO_ADD, i)
#define MICRO_STORE(i, j)       _mm256_storeu_ps(MICRO_AT(i, j), c##i##j);
#define MICRO_STORE_1(i)        KL_COLS_1(MICRO_STORE, i)
#define MICRO_STORE_2(i)        KL_COLS_2(MICRO_STORE, i)

#define KL_MICRO_AVX2(name, ROWS, NV)                                                                          \
static inline void name(float *c, const float *const *a, int64_t lda, int64_t k0, const float *b, int64_t ldb, \
                        int taps, int64_t kc, int add)                                                         \
{                                                                                                              \
    enum { nv = NV };                                                                                          \
    ROWS(MICRO_DECL_##NV)                                                                                      \
                                                                                                               \
    for (int t = 0; t < taps; t++) {                                                                           \
        const float *bk = b + t * ldb;                                                                         \
        ROWS(MICRO_PTR)                                                                                        \
                                                                                                               \
        _Pragma("GCC unroll 4")                                                                                \
        for (int64_t k = 0; k < kc; k++, bk += nv * 8) {                                                       \
            __m256 v;                                                                                          \
            KL_COLS_##NV(MICRO_B, 0)                                                                           \
                                                                                                               \
            ROWS(MICRO_ROW_##NV)                                                                               \
        }                                                                                                      \
    }                                                                                                          \
    if (add) {                                                                                                 \
        ROWS(MICRO_ADD_##NV)                                                                                   \
    }                                                                                                          \
    ROWS(MICRO_STORE_##NV)                                                                                     \
}

#endif /* KL_MICRO_AVX2_H */
