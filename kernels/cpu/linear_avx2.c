/*
 * The leaves of linear on AVX2.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#if defined(__x86_64__) || defined(__i386__)
#include "kernels/cpu/linear.h"
#include "kernels/cpu/vmath_avx2.h"

#include <string.h>

/* Lanes 0..n-1 of 8, for the tail of a row. */
static __m256i lanes(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline __m256 load16(const uint8_t *src, KlDType t)
{
    __m128i h = _mm_loadu_si128((const __m128i *)src);

    if (t == KL_F16)
        return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* n < 8 elements, zeros behind them. */
static inline __m256 load16_tail(const uint8_t *src, KlDType t, int64_t n)
{
    uint8_t buf[16] = { 0 };

    memcpy(buf, src, (size_t)n * 2);
    return load16(buf, t);
}

static void widen(float *dst, KlWeight w, int64_t from, int64_t n)
{
    const uint8_t *src = (const uint8_t *)w.data + (size_t)from * kl_dtype_bytes(w.dtype);
    int64_t i = 0;

    if (w.dtype == KL_F32) {
        memcpy(dst, src, (size_t)n * 4);
        return;
    }
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, load16(src + 2 * i, w.dtype));
    if (i < n)
        _mm256_maskstore_ps(dst + i, lanes(n - i), load16_tail(src + 2 * i, w.dtype, n - i));
}

static void epilogue(float *y, const float *acc, const float *bias, const float *residual, const float *gate,
                     int64_t n, KlActivation act)
{
    for (int64_t i = 0; i < n; i += 8) {
        __m256i mask = lanes(kl_min64(n - i, 8));
        __m256 v = _mm256_maskload_ps(acc + i, mask);

        if (bias)
            v = _mm256_add_ps(v, _mm256_maskload_ps(bias + i, mask));
        v = kl_act_avx2(v, act);
        if (gate)
            v = _mm256_mul_ps(v, _mm256_maskload_ps(gate + i, mask));
        if (residual)
            v = _mm256_add_ps(v, _mm256_maskload_ps(residual + i, mask));
        _mm256_maskstore_ps(y + i, mask, v);
    }
}

static inline __m256 load_w(const uint8_t *src, KlDType t)
{
    return t == KL_F32 ? _mm256_loadu_ps((const float *)(const void *)src) : load16(src, t);
}

static float hsum(__m256 v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static float dot(const float *x, const uint8_t *w, KlDType t, int64_t K)
{
    size_t size = kl_dtype_bytes(t);
    __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
    int64_t k = 0;

    for (; k + 32 <= K; k += 32) {
        a = _mm256_fmadd_ps(_mm256_loadu_ps(x + k),      load_w(w + size * (size_t)k, t), a);
        b = _mm256_fmadd_ps(_mm256_loadu_ps(x + k + 8),  load_w(w + size * (size_t)(k + 8), t), b);
        c = _mm256_fmadd_ps(_mm256_loadu_ps(x + k + 16), load_w(w + size * (size_t)(k + 16), t), c);
        d = _mm256_fmadd_ps(_mm256_loadu_ps(x + k + 24), load_w(w + size * (size_t)(k + 24), t), d);
    }
    for (; k < K; k += 8) {
        int64_t n = kl_min64(K - k, 8);
        __m256i mask = lanes(n);
        const uint8_t *at = w + size * (size_t)k;
        __m256 v = t == KL_F32 ? _mm256_maskload_ps((const float *)(const void *)at, mask)
                               : n == 8 ? load16(at, t) : load16_tail(at, t, n);

        a = _mm256_fmadd_ps(_mm256_maskload_ps(x + k, mask), v, a);
    }
    return hsum(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));
}

static void gemv(float *y, const float *x, KlWeight w, int64_t n0, int64_t n, int64_t K)
{
    const uint8_t *row = (const uint8_t *)w.data + (size_t)(n0 * K) * kl_dtype_bytes(w.dtype);
    size_t step = (size_t)K * kl_dtype_bytes(w.dtype);

    for (int64_t i = 0; i < n; i++, row += step) {
        switch (w.dtype) {              /* one loop per dtype: the compiler sees a constant */
        case KL_F32:  y[i] = dot(x, row, KL_F32, K);  break;
        case KL_F16:  y[i] = dot(x, row, KL_F16, K);  break;
        default:      y[i] = dot(x, row, KL_BF16, K); break;
        }
    }
}

const KlLinearLeaf kl_linear_leaf_avx2 = { widen, epilogue, gemv };
#endif
