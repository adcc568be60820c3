/*
 * Vectors of floats as wide as the file that includes this is built for, so
 * that a leaf is written once: eight lanes with AVX2, sixteen with AVX-512,
 * four in plain C (GCC's vectors) elsewhere.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * + - * / work on KlVec as they are; the functions below are the rest. Loads
 * and stores take any alignment. Nothing here rounds differently from the
 * scalar operation, except that the plain one has no fused multiply-add.
 */
#ifndef KL_CPU_VEC_H
#define KL_CPU_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"

#define KL_VEC_PASTE2(a, b) a##_##b
#define KL_VEC_PASTE(a, b) KL_VEC_PASTE2(a, b)
#define KL_FN(name) KL_VEC_PASTE(name, KL_ISA)      /* name_isa */

#if defined(__AVX512F__) && defined(__AVX512DQ__)

#include <immintrin.h>

#define KL_ISA avx512
#define KL_VL 16                        /* lanes */
#define KL_MR 12                        /* rows of a GEMM tile that fits the registers, two vectors wide */

typedef float KlVec __attribute__((vector_size(64)));
typedef struct KlVecD { __m512d a, b; } KlVecD;     /* KL_VL doubles */

static inline KlVec vec_set(float x) { return _mm512_set1_ps(x); }
static inline KlVec vec_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vec_store(float *p, KlVec v) { _mm512_storeu_ps(p, v); }
/* n of KL_VL lanes; the other lanes load as 0 and are not stored. */
static inline KlVec vec_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
static inline void vec_store_n(float *p, KlVec v, int n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
}
static inline KlVec vec_fma(KlVec a, KlVec b, KlVec c) { return _mm512_fmadd_ps(a, b, c); }     /* a b + c */
/* When b is NaN so is the result. */
static inline KlVec vec_max(KlVec a, KlVec b) { return _mm512_max_ps(a, b); }
static inline KlVec vec_min(KlVec a, KlVec b) { return _mm512_min_ps(a, b); }
static inline KlVec vec_round(KlVec a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* 2^n for whole n in -127..128: 0 at -127, infinity at 128. */
static inline KlVec vec_pow2i(KlVec n)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
static inline int vec_all_equal(KlVec a, KlVec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ) == 0xffff; }
/* Where x is -infinity, 0. */
static inline KlVec vec_no_minus_inf(KlVec x)
{
    return _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(x, _mm512_set1_ps(-INFINITY), _CMP_EQ_OQ), _mm512_setzero_ps());
}
/* (a,b) -> (a c - b s, a s + b c) for each pair of x; c and s hold every value twice. */
static inline KlVec vec_rotate(KlVec x, KlVec c, KlVec s)
{
    return _mm512_fmaddsub_ps(x, c, _mm512_permute_ps(x, 0xb1) * s);
}
/* KL_VL / 2 values, each twice. */
static inline KlVec vec_load_dup(const float *p)
{
    const __m512i at = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(at, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}
static inline KlVec vec_load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
static inline KlVec vec_load_bf16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}
/* As a half of the same bits, whose exponent's bias is 8 more. 0x7f, which is NaN, becomes all ones. */
static inline KlVec vec_load_e4m3(const void *p)
{
    __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128(p)), nan = _mm256_set1_epi16(0x7f), em = _mm256_and_si256(b, nan);
    __m256i h = _mm256_or_si256(_mm256_slli_epi16(_mm256_xor_si256(b, em), 8), _mm256_slli_epi16(em, 7));

    return _mm512_cvtph_ps(_mm256_or_si256(h, _mm256_cmpeq_epi16(em, nan))) * vec_set(256);
}
static inline KlVec vec_load_e5m2(const void *p)
{
    return _mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(p)), 8));
}
static inline KlVecD vecd_zero(void) { return (KlVecD){ _mm512_setzero_pd(), _mm512_setzero_pd() }; }
static inline KlVecD vecd_from(KlVec x)
{
    return (KlVecD){ _mm512_cvtps_pd(_mm512_castps512_ps256(x)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)) };
}
static inline KlVecD vecd_fma(KlVecD x, KlVecD y, KlVecD c)
{
    return (KlVecD){ _mm512_fmadd_pd(x.a, y.a, c.a), _mm512_fmadd_pd(x.b, y.b, c.b) };
}
static inline KlVecD vecd_set(double x) { return (KlVecD){ _mm512_set1_pd(x), _mm512_set1_pd(x) }; }
static inline KlVec vecd_to_f32(KlVecD x)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(x.a)), _mm512_cvtpd_ps(x.b), 1);
}

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include <immintrin.h>

#define KL_ISA avx2
#define KL_VL 8
#define KL_MR 6

typedef float KlVec __attribute__((vector_size(32)));
typedef struct KlVecD { __m256d a, b; } KlVecD;

static inline __m256i vec_first(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline KlVec vec_set(float x) { return _mm256_set1_ps(x); }
static inline KlVec vec_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void vec_store(float *p, KlVec v) { _mm256_storeu_ps(p, v); }
static inline KlVec vec_load_n(const float *p, int n) { return _mm256_maskload_ps(p, vec_first(n)); }
static inline void vec_store_n(float *p, KlVec v, int n) { _mm256_maskstore_ps(p, vec_first(n), v); }
static inline KlVec vec_fma(KlVec a, KlVec b, KlVec c) { return _mm256_fmadd_ps(a, b, c); }
static inline KlVec vec_max(KlVec a, KlVec b) { return _mm256_max_ps(a, b); }
static inline KlVec vec_min(KlVec a, KlVec b) { return _mm256_min_ps(a, b); }
static inline KlVec vec_round(KlVec a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline KlVec vec_pow2i(KlVec n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
static inline int vec_all_equal(KlVec a, KlVec b)
{
    return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)) == 0xff;
}
static inline KlVec vec_no_minus_inf(KlVec x)
{
    return _mm256_andnot_ps(_mm256_cmp_ps(x, _mm256_set1_ps(-INFINITY), _CMP_EQ_OQ), x);
}
static inline KlVec vec_rotate(KlVec x, KlVec c, KlVec s)
{
    return _mm256_fmaddsub_ps(x, c, _mm256_permute_ps(x, 0xb1) * s);
}
static inline KlVec vec_load_dup(const float *p)
{
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
}
static inline KlVec vec_load_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
static inline KlVec vec_load_bf16(const void *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}
static inline KlVec vec_load_e4m3(const void *p)
{
    __m128i b = _mm_cvtepu8_epi16(_mm_loadl_epi64(p)), nan = _mm_set1_epi16(0x7f), em = _mm_and_si128(b, nan);
    __m128i h = _mm_or_si128(_mm_slli_epi16(_mm_xor_si128(b, em), 8), _mm_slli_epi16(em, 7));

    return _mm256_cvtph_ps(_mm_or_si128(h, _mm_cmpeq_epi16(em, nan))) * vec_set(256);
}
static inline KlVec vec_load_e5m2(const void *p)
{
    return _mm256_cvtph_ps(_mm_slli_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64(p)), 8));
}
static inline KlVecD vecd_zero(void) { return (KlVecD){ _mm256_setzero_pd(), _mm256_setzero_pd() }; }
static inline KlVecD vecd_from(KlVec x)
{
    return (KlVecD){ _mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)) };
}
static inline KlVecD vecd_fma(KlVecD x, KlVecD y, KlVecD c)
{
    return (KlVecD){ _mm256_fmadd_pd(x.a, y.a, c.a), _mm256_fmadd_pd(x.b, y.b, c.b) };
}
static inline KlVecD vecd_set(double x) { return (KlVecD){ _mm256_set1_pd(x), _mm256_set1_pd(x) }; }
static inline KlVec vecd_to_f32(KlVecD x)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(x.a)), _mm256_cvtpd_ps(x.b), 1);
}

#else

#define KL_ISA generic
#define KL_VL 4
#define KL_MR 4

typedef float KlVec __attribute__((vector_size(16)));
typedef int32_t KlVecI __attribute__((vector_size(16)));
typedef double KlVecD2 __attribute__((vector_size(16)));
typedef struct KlVecD { KlVecD2 a, b; } KlVecD;

static inline KlVec vec_set(float x) { return (KlVec){ x, x, x, x }; }
static inline KlVec vec_load(const float *p)
{
    KlVec v;
    memcpy(&v, p, sizeof(v));
    return v;
}
static inline void vec_store(float *p, KlVec v) { memcpy(p, &v, sizeof(v)); }
static inline KlVec vec_load_n(const float *p, int n)
{
    KlVec v = { 0 };
    memcpy(&v, p, (size_t)n * sizeof(*p));
    return v;
}
static inline void vec_store_n(float *p, KlVec v, int n) { memcpy(p, &v, (size_t)n * sizeof(*p)); }
static inline KlVec vec_fma(KlVec a, KlVec b, KlVec c) { return a * b + c; }
/* mask lanes are all ones or all zeros */
static inline KlVec vec_select(KlVecI mask, KlVec yes, KlVec no)
{
    return (KlVec)((mask & (KlVecI)yes) | (~mask & (KlVecI)no));
}
static inline KlVec vec_max(KlVec a, KlVec b) { return vec_select(a > b, a, b); }
static inline KlVec vec_min(KlVec a, KlVec b) { return vec_select(a < b, a, b); }
/* To whole numbers; for |a| < 2^22. */
static inline KlVec vec_round(KlVec a)
{
    const KlVec magic = vec_set(0x1.8p23f);
    return a + magic - magic;
}
static inline KlVec vec_pow2i(KlVec n)
{
    return (KlVec)(((KlVecI)(n + vec_set(0x1.8p23f)) - (KlVecI)vec_set(0x1.8p23f) + 127) << 23);
}
static inline int vec_all_equal(KlVec a, KlVec b)
{
    KlVecI e = a == b;
    return e[0] & e[1] & e[2] & e[3];
}
static inline KlVec vec_no_minus_inf(KlVec x) { return vec_select(x == vec_set(-INFINITY), vec_set(0), x); }
static inline KlVec vec_rotate(KlVec x, KlVec c, KlVec s)
{
    KlVec y = (KlVec){ x[1], x[0], x[3], x[2] } * s;
    return x * c + y * (KlVec){ -1, 1, -1, 1 };
}
static inline KlVec vec_load_dup(const float *p) { return (KlVec){ p[0], p[0], p[1], p[1] }; }
static inline KlVecD vecd_zero(void) { return (KlVecD){ { 0 }, { 0 } }; }
static inline KlVecD vecd_from(KlVec x)
{
    return (KlVecD){ { x[0], x[1] }, { x[2], x[3] } };
}
static inline KlVecD vecd_fma(KlVecD x, KlVecD y, KlVecD c)
{
    return (KlVecD){ x.a * y.a + c.a, x.b * y.b + c.b };
}
static inline KlVecD vecd_set(double x) { return (KlVecD){ { x, x }, { x, x } }; }
static inline KlVec vecd_to_f32(KlVecD x)
{
    return (KlVec){ (float)x.a[0], (float)x.a[1], (float)x.b[0], (float)x.b[1] };
}

#endif

#define KL_NR (2 * KL_VL)               /* columns of a GEMM tile */

#if KL_VL > 4                           /* the plain one has no half floats */
/* A dtype that vec_load_as() loads: elements by themselves. */
static inline int vec_loads(KlDType t) { return t <= KL_F8_E5M2; }

/* KL_VL elements in f32, without their scale. t is a constant after inlining. */
static inline __attribute__((always_inline))
KlVec vec_load_as(const uint8_t *p, KlDType t)
{
    switch (t) {
    case KL_F32:     return vec_load((const float *)(const void *)p);
    case KL_F16:     return vec_load_f16(p);
    case KL_BF16:    return vec_load_bf16(p);
    case KL_F8_E4M3: return vec_load_e4m3(p);
    default:         return vec_load_e5m2(p);
    }
}

/* n < KL_VL elements, zeros behind them. */
static inline __attribute__((always_inline))
KlVec vec_load_as_n(const uint8_t *p, KlDType t, int64_t n)
{
    uint8_t buf[KL_VL * 4] = { 0 };

    memcpy(buf, p, kl_dtype_bytes(t, n));
    return vec_load_as(buf, t);
}
#endif

static inline KlVecD vecd_add(KlVecD x, KlVecD y) { return (KlVecD){ x.a + y.a, x.b + y.b }; }
static inline KlVecD vecd_sub(KlVecD x, KlVecD y) { return (KlVecD){ x.a - y.a, x.b - y.b }; }
/* x y + c, the product rounded by itself, as ref does */
static inline KlVecD vecd_mul_add(KlVecD x, KlVecD y, KlVecD c)
{
    return (KlVecD){ c.a + x.a * y.a, c.b + x.b * y.b };
}
/* The sum of the lanes, always in the same order. */
static inline double vecd_sum(KlVecD x)
{
    double lane[KL_VL], sum = 0;

    memcpy(lane, &x, sizeof(lane));
    for (int i = 0; i < KL_VL; i++)
        sum += lane[i];
    return sum;
}

/* 2^f for |f| <= 1/2, relative error below 1.04 u (u = 2^-24): a minimax polynomial of degree 6, 0.03 u by itself. */
static inline KlVec vec_exp2_fraction(KlVec f)
{
    KlVec p = vec_set(0x1.41d31cp-13f);

    p = vec_fma(p, f, vec_set(0x1.5f456cp-10f));
    p = vec_fma(p, f, vec_set(0x1.3b2dbcp-7f));
    p = vec_fma(p, f, vec_set(0x1.c6aed4p-5f));
    p = vec_fma(p, f, vec_set(0x1.ebfbdap-3f));
    p = vec_fma(p, f, vec_set(0x1.62e430p-1f));
    return vec_fma(p, f, vec_set(1));
}

/* 2^x for x <= 0 (or NaN); below -126.5 it is 0. */
static inline KlVec vec_exp2_down(KlVec x)
{
    KlVec n = vec_round(x = vec_max(vec_set(-127), x));

    return vec_exp2_fraction(x - n) * vec_pow2i(n);
}

/* e^x for any x: overflows to infinity, fades through denormals to 0, keeps NaN. Relative error about 2 u. */
static inline KlVec vec_exp(KlVec x)
{
    KlVec n, h, f, p;

    x = vec_min(vec_set(90), vec_max(vec_set(-105), x));
    n = vec_round(x * vec_set(1.44269504f));
    f = vec_fma(n, vec_set(-0x1.62e4p-1f), x);          /* n ln 2 in two parts, the first exact */
    f = vec_fma(n, vec_set(-0x1.7f7d1cp-20f), f);
    p = vec_set(0x1.6ab964p-10f);
    p = vec_fma(p, f, vec_set(0x1.126d10p-7f));
    p = vec_fma(p, f, vec_set(0x1.55589ap-5f));
    p = vec_fma(p, f, vec_set(0x1.55540ap-3f));
    p = vec_fma(p, f, vec_set(0x1.fffffap-2f));
    p = vec_fma(p, f, vec_set(1));
    p = vec_fma(p, f, vec_set(1));
    h = vec_round(n * vec_set(0.5f));                   /* 2^n may be out of range where e^x is not */
    return p * vec_pow2i(h) * vec_pow2i(n - h);
}

/* x / (1 + e^-x) */
static inline KlVec vec_silu(KlVec x)
{
    return x / (vec_set(1) + vec_exp(vec_set(0) - x));
}

/* 0.5 x (1 + tanh(t)) = x / (1 + e^-2t), which has no cancellation; t = sqrt(2/pi) (x + 0.044715 x^3) */
static inline KlVec vec_gelu_tanh(KlVec x)
{
    KlVec x2 = x * x, t = x * vec_fma(x2, vec_set(-0.0713548162726f), vec_set(-1.59576912161f));

    return x / (vec_set(1) + vec_exp(t));
}

/* x Phi(x) = max(x, 0) - |x| Phi(-|x|). With a = |x| / sqrt(2), Phi(-|x|) = erfc(a) / 2 = e^(-a^2) t P(t) for
 * t = 1 / (1 + 0.35 a): P is a polynomial of degree 9, fitted to 0.2 u, that comes out within 6 u. From |x| = 20 on
 * it is 0, and an infinity does not meet it. */
static inline KlVec vec_gelu(KlVec x)
{
    KlVec a = vec_min(vec_set(20), vec_max(vec_set(0) - x, x));
    KlVec t = vec_set(1) / vec_fma(a, vec_set(0x1.fadaa8p-3f), vec_set(1));
    KlVec p = vec_set(0x1.56cf86p-6f);

    p = vec_fma(p, t, vec_set(-0x1.6c5e22p-4f));
    p = vec_fma(p, t, vec_set(0x1.d07c0cp-4f));
    p = vec_fma(p, t, vec_set(-0x1.6d403ep-5f));
    p = vec_fma(p, t, vec_set(0x1.1cc544p-4f));
    p = vec_fma(p, t, vec_set(0x1.e1a448p-5f));
    p = vec_fma(p, t, vec_set(0x1.4a2cecp-4f));
    p = vec_fma(p, t, vec_set(0x1.7c544ep-4f));
    p = vec_fma(p, t, vec_set(0x1.944ac4p-4f));
    p = vec_fma(p, t, vec_set(0x1.946aeep-4f));
    return vec_max(vec_set(0), x) - a * (p * t * vec_exp(a * a * vec_set(-0.5f)));
}

static inline KlVec vec_act(KlVec x, KlActivation act)
{
    return act == KL_ACT_SILU ? vec_silu(x) : act == KL_ACT_GELU_TANH ? vec_gelu_tanh(x) :
           act == KL_ACT_GELU ? vec_gelu(x) : x;
}

#endif /* KL_CPU_VEC_H */
