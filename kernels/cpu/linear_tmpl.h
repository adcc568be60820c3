/*
 * The leaves of linear that every instruction set has, included once per set.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/linear.h"
#include "kernels/cpu/vec.h"

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

#if KL_VL > 4                           /* the plain one widens in plain C, and has no gemv */
static inline __attribute__((always_inline))
KlVec lin_load(const uint8_t *src, KlDType t)
{
    return t == KL_F32 ? vec_load((const float *)(const void *)src) : t == KL_F16 ? vec_load_f16(src) :
                                                                                    vec_load_bf16(src);
}

/* n < KL_VL elements, zeros behind them. */
static inline KlVec lin_load_n(const uint8_t *src, KlDType t, int64_t n)
{
    uint8_t buf[KL_VL * 4] = { 0 };

    memcpy(buf, src, (size_t)n * kl_dtype_bytes(t, 1));
    return lin_load(buf, t);
}

static inline __attribute__((always_inline))
void lin_widen(float *dst, const uint8_t *src, KlDType t, int64_t n)
{
    int64_t i = 0;

    for (; i + KL_VL <= n; i += KL_VL)
        vec_store(dst + i, lin_load(src + (size_t)i * kl_dtype_bytes(t, 1), t));
    if (i < n)
        vec_store_n(dst + i, lin_load_n(src + (size_t)i * kl_dtype_bytes(t, 1), t, n - i), (int)(n - i));
}

static void widen(float *dst, KlWeight w, int64_t from, int64_t n)
{
    const uint8_t *src = (const uint8_t *)w.data + (size_t)from * kl_dtype_bytes(w.dtype, 1);

    switch (w.dtype) {
    case KL_F32: lin_widen(dst, src, KL_F32, n);  break;
    case KL_F16: lin_widen(dst, src, KL_F16, n);  break;
    default:     lin_widen(dst, src, KL_BF16, n); break;
    }
}

static inline __attribute__((always_inline))
float lin_dot(const float *x, const uint8_t *w, KlDType t, int64_t K)
{
    size_t step = KL_VL * kl_dtype_bytes(t, 1);
    KlVec a[4] = { vec_set(0), vec_set(0), vec_set(0), vec_set(0) };
    float lane[KL_VL], sum = 0;
    int64_t k = 0;

    for (; k + 4 * KL_VL <= K; k += 4 * KL_VL, w += 4 * step) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            a[i] = vec_fma(vec_load(x + k + i * KL_VL), lin_load(w + (size_t)i * step, t), a[i]);
    }
    for (; k + KL_VL <= K; k += KL_VL, w += step)
        a[0] = vec_fma(vec_load(x + k), lin_load(w, t), a[0]);
    if (k < K)
        a[1] = vec_fma(vec_load_n(x + k, (int)(K - k)), lin_load_n(w, t, K - k), a[1]);
    vec_store(lane, (a[0] + a[1]) + (a[2] + a[3]));
    for (int i = 0; i < KL_VL; i++)
        sum += lane[i];
    return sum;
}

static void gemv(float *y, const float *x, KlWeight w, int64_t n0, int64_t n, int64_t K)
{
    size_t step = (size_t)K * kl_dtype_bytes(w.dtype, 1);
    const uint8_t *row = (const uint8_t *)w.data + (size_t)n0 * step;

    for (int64_t i = 0; i < n; i++, row += step) {
        switch (w.dtype) {
        case KL_F32: y[i] = lin_dot(x, row, KL_F32, K);  break;
        case KL_F16: y[i] = lin_dot(x, row, KL_F16, K);  break;
        default:     y[i] = lin_dot(x, row, KL_BF16, K); break;
        }
    }
}
#endif
