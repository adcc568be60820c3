/*
 * What conv.c asks of the instruction sets.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_CPU_CONV_H
#define KL_CPU_CONV_H

#include "kernels/cpu/cpu.h"

/* One shape of block product; the weights are packed for it. */
typedef struct KlConvLeaf {
    int nr;                             /* output channels of a block, a multiple of 8 */
    int rows;                           /* pixels come in multiples of this */
    int depth;                          /* taps * kc is about this at most */
    int gather;                         /* 1: tmp[pixels, taps*kc] is wanted */
    /** c[pixels,nr] = (add ? c : 0) + sum over taps t, k < kc of a[pixel*lda + t][k0 + k] * b[t*ldb + k*nr ...].
     *  pixels is a multiple of rows; with taps > 1, ldb = kc*nr and k0 = 0. */
    void (*block)(float *c, const float *const *a, int64_t lda, int64_t k0, const float *b, int64_t ldb,
                  int64_t pixels, int taps, int64_t kc, int add, float *tmp);
} KlConvLeaf;

/* For many output channels and for few. */
extern const KlConvLeaf kl_conv_leaf_avx2[2];

#endif /* KL_CPU_CONV_H */
