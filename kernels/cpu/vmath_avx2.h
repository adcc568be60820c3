/*
 * exp and the activations on 8 floats. Included by *_avx2.c only.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_VMATH_AVX2_H
#define KL_VMATH_AVX2_H

#include <immintrin.h>

#include "kernels/kernels.h"

/** exp(x) within 2 ulp where the result is normal; below -87.3 it stays at 1.2e-38, above 88.7 it is infinite;
 *  NaN gives NaN. x = n ln2 + r, |r| <= ln2/2, Taylor to the 7th power (next term below 2^-27). */
static inline __m256 kl_exp_avx2(__m256 x)
{
    __m256 lo = _mm256_set1_ps(-87.33654f), hi = _mm256_set1_ps(88.8f), n, r, p;
    __m256i h, e;

    x = _mm256_min_ps(hi, _mm256_max_ps(lo, x));        /* in this order a NaN in x comes through */
    n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e4p-1f), x);           /* ln2 in two parts, the first exact */
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), r);
    p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    e = _mm256_cvtps_epi32(n);                          /* -126..128: 2^128 is no float, so in two factors */
    h = _mm256_srai_epi32(e, 1);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(h, _mm256_set1_epi32(127)), 23)));
    h = _mm256_sub_epi32(e, h);
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(h, _mm256_set1_epi32(127)), 23)));
}

/** x / (1 + exp(-u)) */
static inline __m256 kl_x_sigmoid_avx2(__m256 x, __m256 u)
{
    __m256 e = kl_exp_avx2(_mm256_sub_ps(_mm256_setzero_ps(), u));

    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1), e));
}

static inline __m256 kl_act_avx2(__m256 x, KlActivation act)
{
    if (act == KL_ACT_SILU)
        return kl_x_sigmoid_avx2(x, x);
    if (act == KL_ACT_GELU_TANH) {      /* 0.5 (1 + tanh(u)) = 1 / (1 + exp(-2u)) */
        __m256 c = _mm256_fmadd_ps(_mm256_mul_ps(x, x), _mm256_set1_ps(2 * 0.7978845608f * 0.044715f),
                                   _mm256_set1_ps(2 * 0.7978845608f));
        return kl_x_sigmoid_avx2(x, _mm256_mul_ps(x, c));
    }
    return x;
}

#endif /* KL_VMATH_AVX2_H */
