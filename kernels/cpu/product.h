/*
 * A block of a matrix product: gathered rows times packed weights, the inner
 * loop of conv and of linear.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_CPU_PRODUCT_H
#define KL_CPU_PRODUCT_H

#include "kernels/cpu/cpu.h"

typedef struct KlProduct {
    int nr;                             /* columns of a block: weights are packed [k][nr] */
    int rows;                           /* rows come in multiples of this */
    int depth;                          /* taps * kc is about this at most: what the cache likes */
    int gather;                         /* 1: tmp[n, taps*kc] is wanted */
    /** c[n,nr] = (add ? c : 0) + sum over taps t, k < kc of a[row*lda + t][k0 + k] * b[t*ldb + k*nr ...], row stride
     *  of c ldc. Rows of a are pointers, so that a picture's padding, stride and doubling are addresses only. With
     *  taps > 1, ldb = kc*nr and k0 = 0. Each call sums from zero and adds c once: a long sum cut into calls is
     *  summed in blocks, which keeps it accurate. */
    void (*block)(float *c, int64_t ldc, const float *const *a, int64_t lda, int64_t k0, const float *b, int64_t ldb,
                  int64_t n, int taps, int64_t kc, int add, float *tmp);
} KlProduct;

/* For many columns and for few. */
extern const KlProduct kl_product_avx2[2];
extern const KlProduct kl_product_avx512[2];
extern const KlProduct kl_product_dnnl[2];

/** The narrow one of both. */
void kl_block_8x8_avx2(float *c, int64_t ldc, const float *const *a, int64_t lda, int64_t k0, const float *b,
                       int64_t ldb, int64_t n, int taps, int64_t kc, int add, float *tmp);

#endif /* KL_CPU_PRODUCT_H */
