/*
 * What linear.c asks of the instruction sets.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_CPU_LINEAR_H
#define KL_CPU_LINEAR_H

#include "kernels/cpu/product.h"

typedef struct KlLinearLeaf {
    /** n elements from index `from` of a weight in f32. Any alignment of the weight's data. */
    void (*widen)(float *dst, KlWeight w, int64_t from, int64_t n);
    /** y[n] = residual + gate * act(acc + bias); bias, residual, gate may be NULL; residual may be y. */
    void (*epilogue)(float *y, const float *acc, const float *bias, const float *residual, const float *gate,
                     int64_t n, KlActivation act);
    /** y[n] = sum_k x[k] * w[n0 + i, k], one row of x: reads each weight once, without widening to memory. Or NULL. */
    void (*gemv)(float *y, const float *x, KlWeight w, int64_t n0, int64_t n, int64_t K);
    /* Own products instead of the library's, or NULL; then: */
    const KlProduct *product;
    /** dst[kc][product->nr] = w[n0 + j, k0 + k], zeros for j >= n. */
    void (*pack)(float *dst, KlWeight w, int64_t K, int64_t n0, int64_t n, int64_t k0, int64_t kc);
} KlLinearLeaf;

extern const KlLinearLeaf kl_linear_leaf_generic;
extern const KlLinearLeaf kl_linear_leaf_avx2;
extern const KlLinearLeaf kl_linear_leaf_avx512;

/** Packs 16 columns. */
void kl_linear_pack_avx2(float *dst, KlWeight w, int64_t K, int64_t n0, int64_t n, int64_t k0, int64_t kc);

/** y[m, n0 .. n0 + n - 1] from the sums acc[n]. */
void kl_linear_finish(const KlLinear *p, const KlLinearLeaf *leaf, int64_t m, int64_t n0, int64_t n, const float *acc);

/* n cut evenly into the fewest parts of at most `most`, the part a multiple of `unit`. */
static inline int64_t kl_even_part(int64_t n, int64_t most, int64_t unit)
{
    int64_t parts = kl_ceil_div(n, most);

    return kl_ceil_div(kl_ceil_div(n, parts), unit) * unit;
}

#endif /* KL_CPU_LINEAR_H */
