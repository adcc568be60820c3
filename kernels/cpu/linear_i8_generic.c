/*
 * The leaves of the int8 product in plain C, and those for the library's.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/linear_i8_tmpl.h"

#define NR 4
#define OFFSET 128

/* dst[NR][kc rounded up]: a loop over k of products of 16 bits summed in 32 is one that compilers know. */
static void pack(int16_t *dst, const int8_t *w, int64_t K, int64_t n, int64_t kc)
{
    int64_t padded = (kc + KL_I8_PAD - 1) & -KL_I8_PAD;

    memset(dst, 0, (size_t)(NR * padded) * sizeof(*dst));
    for (int64_t j = 0; j < kl_min64(n, NR); j++)
        for (int64_t k = 0; k < kc; k++)
            dst[j * padded + k] = w[j * K + k];
}

static void block(int32_t *c, int64_t ldc, const int16_t *a, int64_t group, const int16_t *panel, int64_t n, int64_t kc,
                  int add)
{
    for (int64_t i = 0; i < n; i++, c += ldc, a += group)
        for (int64_t j = 0; j < NR; j++) {
            const int16_t *w = panel + j * kc;
            int32_t sum = add ? c[j] : 0;

            for (int64_t k = 0; k < kc; k++)
                sum += a[k] * w[k];
            c[j] = sum;
        }
}

static float quantize_i16(void *q, const float *x, int64_t K)
{
    return quantize_row(q, x, K, 1);
}

static float quantize_u8(void *out, const float *x, int64_t K)
{
    uint8_t *q = out;
    float by, scale = kl_i8_scale(kl_max_magnitude(x, K), &by);

    for (int64_t k = 0; k < K; k++)
        q[k] = (uint8_t)(kl_i8_bits(x[k], by) + OFFSET);
    if (by == 0)
        memset(q, OFFSET, (size_t)K);
    memset(q + K, OFFSET, (size_t)(-K & (KL_I8_PAD - 1)));
    return scale;
}

const KlI8Leaf kl_i8_leaf_generic = {
    .rows = 1, .quantize = quantize_i16, .rescale = rescale, .nr = NR, .depth = 1024, .pack = pack, .block = block,
};
const KlI8Leaf kl_i8_leaf_dnnl = { .offset = OFFSET, .rows = 1, .quantize = quantize_u8, .rescale = rescale };
