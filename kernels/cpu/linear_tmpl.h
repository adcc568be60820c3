/*
 * The leaves of linear that every instruction set has, included once per set.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/linear.h"
#include "kernels/cpu/vec.h"

#define LIN_BLOCKS 256                  /* elements widened at once: whole blocks of every format */

static inline KlVec lin_act(KlVec x, KlActivation act)
{
    return vec_act(x, act);
}

static inline __attribute__((always_inline))
void lin_epilogue(float *y, const float *acc, const float *bias, const float *residual, const float *gate, int64_t n,
                  KlActivation act)
{
    for (int64_t i = 0; i < n; i += KL_VL) {
        int lanes = (int)kl_min64(n - i, KL_VL), whole = lanes == KL_VL;
        KlVec v = whole ? vec_load(acc + i) : vec_load_n(acc + i, lanes);

        if (bias)
            v = v + (whole ? vec_load(bias + i) : vec_load_n(bias + i, lanes));
        v = lin_act(v, act);
        if (gate)
            v = v * (whole ? vec_load(gate + i) : vec_load_n(gate + i, lanes));
        if (residual)
            v = v + (whole ? vec_load(residual + i) : vec_load_n(residual + i, lanes));
        if (whole)
            vec_store(y + i, v);
        else
            vec_store_n(y + i, v, lanes);
    }
}

static void epilogue(float *y, const float *acc, const float *bias, const float *residual, const float *gate,
                     int64_t n, KlActivation act)
{
    switch (act) {                      /* one loop per activation: the compiler sees a constant */
    case KL_ACT_SILU:      lin_epilogue(y, acc, bias, residual, gate, n, KL_ACT_SILU);      break;
    case KL_ACT_GELU_TANH: lin_epilogue(y, acc, bias, residual, gate, n, KL_ACT_GELU_TANH); break;
    case KL_ACT_GELU:      lin_epilogue(y, acc, bias, residual, gate, n, KL_ACT_GELU);      break;
    default:               lin_epilogue(y, acc, bias, residual, gate, n, KL_ACT_NONE);      break;
    }
}

#if KL_VL > 4                           /* the plain one has no gemv */
static inline __attribute__((always_inline))
float lin_dot(const float *x, const uint8_t *w, KlDType t, int64_t K)
{
    size_t step = kl_dtype_bytes(t, KL_VL);
    KlVec a[4] = { vec_set(0), vec_set(0), vec_set(0), vec_set(0) };
    float lane[KL_VL], sum = 0;
    int64_t k = 0;

    for (; k + 4 * KL_VL <= K; k += 4 * KL_VL, w += 4 * step) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            a[i] = vec_fma(vec_load(x + k + i * KL_VL), vec_load_as(w + (size_t)i * step, t), a[i]);
    }
    for (; k + KL_VL <= K; k += KL_VL, w += step)
        a[0] = vec_fma(vec_load(x + k), vec_load_as(w, t), a[0]);
    if (k < K)
        a[1] = vec_fma(vec_load_n(x + k, (int)(K - k)), vec_load_as_n(w, t, K - k), a[1]);
    vec_store(lane, (a[0] + a[1]) + (a[2] + a[3]));
    for (int i = 0; i < KL_VL; i++)
        sum += lane[i];
    return sum;
}

/* The same for a format in blocks, which are widened a few at a time. */
static float lin_dot_blocks(const float *x, KlWeight w, int64_t from, int64_t K)
{
    float part[LIN_BLOCKS], sum = 0;

    for (int64_t k = 0; k < K; k += LIN_BLOCKS) {
        int64_t n = kl_min64(K - k, LIN_BLOCKS);

        kl_widen_blocks(part, w, from + k, n);
        sum += lin_dot(x + k, (const uint8_t *)part, KL_F32, n);
    }
    return sum;
}

static void gemv(float *y, const float *x, KlWeight w, int64_t n0, int64_t n, int64_t K)
{
    size_t step = kl_dtype_bytes(w.dtype, K);
    const uint8_t *row = (const uint8_t *)w.data + (size_t)n0 * step;

    for (int64_t i = 0; i < n; i++, row += step) {
        switch (w.dtype) {
        case KL_F32:     y[i] = lin_dot(x, row, KL_F32, K);     break;
        case KL_F16:     y[i] = lin_dot(x, row, KL_F16, K);     break;
        case KL_BF16:    y[i] = lin_dot(x, row, KL_BF16, K);    break;
        case KL_F8_E4M3: y[i] = lin_dot(x, row, KL_F8_E4M3, K); break;
        case KL_F8_E5M2: y[i] = lin_dot(x, row, KL_F8_E5M2, K); break;
        default:         y[i] = lin_dot_blocks(x, w, (n0 + i) * K, K);
        }
        y[i] *= kl_row_scale(w, n0 + i);
    }
}
#endif
