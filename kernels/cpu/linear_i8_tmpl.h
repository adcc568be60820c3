/*
 * The leaves of the int8 product that the compiler vectorizes by itself, included once per instruction set.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/linear_i8.h"

#define I8_PART 512                     /* elements quantized at once */

/* One row of int16 into a group of `rows`. */
static inline __attribute__((always_inline))
float quantize_row(int16_t *q, const float *x, int64_t K, int rows)
{
    float by, scale = kl_i8_scale(kl_max_magnitude(x, K), &by);
    int64_t padded = (K + KL_I8_PAD - 1) & -KL_I8_PAD;

    for (int64_t k0 = 0; k0 < padded; k0 += I8_PART) {
        int64_t n = kl_min64(padded - k0, I8_PART), there = kl_min64(K - k0, n);
        int16_t part[I8_PART];

        for (int64_t k = 0; k < there; k++)
            part[k] = (int16_t)kl_i8_bits(x[k0 + k], by);
        memset(part + there, 0, (size_t)(n - there) * sizeof(*part));
        if (by == 0)                    /* a NaN's bits could overflow a sum */
            memset(part, 0, sizeof(part));
        for (int64_t k = 0; k < n; k += 2)
            memcpy(q + (k0 + k) * rows, part + k, 2 * sizeof(*part));
    }
    return scale;
}

static void rescale(float *y, const int32_t *acc, float sx, const float *sw, int per_column, int64_t n)
{
    float one = sw ? sx * sw[0] : sx;

    if (per_column)
        for (int64_t i = 0; i < n; i++)
            y[i] = (float)acc[i] * (sx * sw[i]);
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = (float)acc[i] * one;
}
