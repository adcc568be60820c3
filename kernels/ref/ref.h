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

void kl_ref_init_linear(KlKernels *k);
void kl_ref_init_attention(KlKernels *k);
void kl_ref_init_norm(KlKernels *k);
void kl_ref_init_eltwise(KlKernels *k);
void kl_ref_init_layout(KlKernels *k);
void kl_ref_init_conv(KlKernels *k);
void kl_ref_init_picture(KlKernels *k);

static inline float kl_ref_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof(f));
    return f;
}

static inline float kl_ref_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;

    if (e == 31)                        /* infinity; a NaN keeps its payload and becomes quiet, as the hardware's */
        return kl_ref_bits(sign | 0x7f800000u | m << 13 | (m ? 1u << 22 : 0));
    if (e)
        return kl_ref_bits(sign | (e + 112) << 23 | m << 13);
    return sign ? -(float)m * 0x1p-24f : (float)m * 0x1p-24f;
}

/** Element i of a weight in f32, exactly. Any alignment. */
static inline float kl_ref_weight(KlWeight w, int64_t i)
{
    uint16_t h;
    float f;

    if (w.dtype == KL_F32) {
        memcpy(&f, (const char *)w.data + 4 * i, sizeof(f));
        return f;
    }
    memcpy(&h, (const char *)w.data + 2 * i, sizeof(h));
    return w.dtype == KL_F16 ? kl_ref_half(h) : kl_ref_bits((uint32_t)h << 16);
}

static inline double kl_ref_act(double x, KlActivation act)
{
    switch (act) {
    case KL_ACT_SILU:
        return x / (1 + exp(-x));
    case KL_ACT_GELU_TANH:              /* (1 + tanh(t)) / 2 = 1 / (1 + exp(-2t)), which does not cancel */
        return x / (1 + exp(-1.5957691216057307118 * (x + 0.044715 * x * x * x)));
    default:
        return x;
    }
}

#endif /* KL_REF_REF_H */
