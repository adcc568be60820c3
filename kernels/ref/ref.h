/*
 * What the files of the ref table share.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ref/ is the contract of kernels.h in plain C: every sum runs in double, in
 * the order of its index; every result is rounded to f32 once, at the end. So
 * it gives the same bits on every machine and for any number of threads. It
 * is never tuned beyond the order of its loops and never built with
 * -ffast-math or contraction.
 */
#ifndef KL_REF_REF_H
#define KL_REF_REF_H

#include <math.h>
#include <string.h>

#include "kernels/host_exec.h"
#include "kernels/kernels.h"
#include "kernels/quants.h"

void kl_ref_init_linear(KlKernels *k);
void kl_ref_init_attention(KlKernels *k);
void kl_ref_init_norm(KlKernels *k);
void kl_ref_init_eltwise(KlKernels *k);
void kl_ref_init_layout(KlKernels *k);
void kl_ref_init_conv(KlKernels *k);
void kl_ref_init_picture(KlKernels *k);

/** The larger of max >= 0 and |x|; NaN is larger than all. */
static inline float kl_ref_larger(float max, float x)
{
    return isnan(max) || fabsf(x) <= max ? max : fabsf(x);
}

/** x in int8, `by` from kl_i8_scale(). */
static inline int8_t kl_ref_i8(float x, float by)
{
    return by == 0 ? 0 : (int8_t)rintf(x * by);
}

static inline double kl_ref_act(double x, KlActivation act)
{
    switch (act) {
    case KL_ACT_SILU:
        return x / (1 + exp(-x));
    case KL_ACT_GELU_TANH:              /* (1 + tanh(t)) / 2 = 1 / (1 + exp(-2t)), which does not cancel */
        return x / (1 + exp(-1.5957691216057307118 * (x + 0.044715 * x * x * x)));
    case KL_ACT_GELU:                   /* 1 + erf(t) = erfc(-t), which does not cancel */
        return 0.5 * x * erfc(-0.70710678118654752440 * x);
    default:
        return x;
    }
}

#endif /* KL_REF_REF_H */
