/*
 * What linear_i8.c asks of the instruction sets.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_CPU_LINEAR_I8_H
#define KL_CPU_LINEAR_I8_H

#include "kernels/cpu/linear.h"

#define KL_I8_PAD 16                    /* a quantized row, and a panel's depth, is a multiple of this */

typedef struct KlI8Leaf {
    int offset;                         /* 0: a quantized element is int16; else uint8, this much more than its value */
    int rows;                           /* quantized rows that lie together, pair by pair: [k / 2][rows][2] */
    /** One row into its place q in such a group, zeros behind K up to KL_I8_PAD; returns the scale. */
    float (*quantize)(void *q, const float *x, int64_t K);
    /** y[n] = acc * (sx * sw): sw[n], or one if !per_column, or NULL for 1. */
    void (*rescale)(float *y, const int32_t *acc, float sx, const float *sw, int per_column, int64_t n);
    /* Products of our own on int16, or NULL for the library's; then: */
    int nr, depth;                      /* as in KlProduct */
    /** A panel of nr columns in this block's order, w[n0 + j, k0 + k], zeros for j >= n and behind kc. */
    void (*pack)(int16_t *dst, const int8_t *w, int64_t K, int64_t n, int64_t kc);
    /** c[n,nr] = (add ? c : 0) + a[n,kc] * panel; a in groups of rows, group elements apart; n is a multiple of rows,
     *  kc of KL_I8_PAD. */
    void (*block)(int32_t *c, int64_t ldc, const int16_t *a, int64_t group, const int16_t *panel, int64_t n, int64_t kc,
                  int add);
} KlI8Leaf;

extern const KlI8Leaf kl_i8_leaf_generic;
extern const KlI8Leaf kl_i8_leaf_avx2;
extern const KlI8Leaf kl_i8_leaf_dnnl;  /* only where the library multiplies bytes without saturating: VNNI */

/** linear with KL_I8 weights, and its scratch. leaf: for the epilogue. */
void kl_linear_i8(KlExec *ex, const KlLinear *p, const KlLinearLeaf *leaf, const KlI8Leaf *i8);
size_t kl_linear_i8_scratch(const KlExec *ex, int64_t M, int64_t N, int64_t K, const KlI8Leaf *i8);

#endif /* KL_CPU_LINEAR_I8_H */
