/*
 * The stored forms of weights that are not whole floats: fp8 and GGUF's
 * blocks, each decoded in plain C. Every table includes this, so that each
 * compiles it for its own vectors; the loops are written for that.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Layouts and the order of operations are ggml's (ggml-common.h,
 * ggml-quants.c): all arithmetic is f32, each operation rounded by itself, so
 * the values are the same bits as its reference dequantization. Contraction
 * into fused multiply-adds would change them: built with -ffp-contract=off.
 *
 * All fields are little-endian and at any alignment. d and m (dmin) are half
 * floats: a block's scale and minimum. Names: ql and qh are the low and high
 * bits of the quants, sc 4-, 6- or 8-bit scales of sub-blocks.
 */
#ifndef KL_QUANTS_H
#define KL_QUANTS_H

#include <string.h>

#include "kernels/kernels.h"

/* What begins each function here: a device's compiler wants a word of its own. */
#ifndef KL_QUANTS_FN
#define KL_QUANTS_FN static inline
#endif
#ifdef __cplusplus
#define KL_RESTRICT __restrict
#else
#define KL_RESTRICT restrict
#endif

KL_QUANTS_FN float kl_bits_f32(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof(f));
    return f;
}

#ifdef KL_HALF_F32                      /* a device has an instruction; it makes another NaN of a NaN */
KL_QUANTS_FN float kl_half_f32(uint16_t h) { return KL_HALF_F32(h); }
#else
KL_QUANTS_FN float kl_half_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;

    if (e == 31)                        /* infinity; a NaN keeps its payload and becomes quiet, as the hardware's */
        return kl_bits_f32(sign | 0x7f800000u | m << 13 | (m ? 1u << 22 : 0));
    if (e)
        return kl_bits_f32(sign | (e + 112) << 23 | m << 13);
    return sign ? -(float)m * 0x1p-24f : (float)m * 0x1p-24f;
}
#endif

/* The half float at p. */
KL_QUANTS_FN float kl_half_at(const uint8_t *p)
{
    return kl_half_f32((uint16_t)(p[0] | p[1] << 8));
}

KL_QUANTS_FN uint32_t kl_u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* sign, 4 bits of exponent (bias 7), 3 of mantissa */
KL_QUANTS_FN float kl_e4m3_f32(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80) << 24, em = b & 0x7f;

    if (em == 0x7f)
        return kl_bits_f32(sign | 0x7fc00000u);
    if (em < 8)
        return sign ? -(float)em * 0x1p-9f : (float)em * 0x1p-9f;
    return kl_bits_f32(sign | (em + (120 << 3)) << 20);
}

KL_QUANTS_FN float kl_e5m2_f32(uint8_t b)
{
    return kl_half_f32((uint16_t)(b << 8));
}

/* Kept a loop until it is vectorized: unrolled first, a short one is not. */
#define KL_NO_UNROLL _Pragma("GCC unroll 1")

/* A format is one function, kl_run_*: elements from .. from + n - 1 of the block b, which share a scale. Where it is
 * called n is a constant, that divides from. d and m come from the caller, so that a whole block decodes them once. */

/* Of it are made kl_dequant_*, a whole block by `all`, and kl_part_*, a part of it. d_of, m_of: of the block b. */
#define KL_FORMAT(name, d_of, m_of, all)                                                                \
    KL_QUANTS_FN void kl_dequant_##name(float *KL_RESTRICT y, const uint8_t *KL_RESTRICT b)             \
    {                                                                                                   \
        float d = d_of, m = m_of;                                                                       \
                                                                                                        \
        all;                                                                                            \
    }                                                                                                   \
    KL_QUANTS_FN void kl_part_##name(float *KL_RESTRICT y, const uint8_t *KL_RESTRICT b, int from, int n) \
    {                                                                                                   \
        kl_run_##name(y, b, d_of, m_of, from, n);                                                       \
    }
#define KL_HALVES(run) run(y, b, d, m, 0, 16), run(y + 16, b, d, m, 16, 16)
#define KL_RUNS(run, n) for (int s = 0; s < 256 / n; s++) run(y + s * n, b, d, m, s * n, n)
#define KL_RUN_ARGS float *KL_RESTRICT y, const uint8_t *KL_RESTRICT b, float d, float m, int from, int n

/* -- blocks of 32 -- */

/* d, q[32] signed */
KL_QUANTS_FN void kl_run_q8_0(KL_RUN_ARGS)
{
    (void)m;
    for (int i = 0; i < n; i++)
        y[i] = (float)(int8_t)b[2 + from + i] * d;
}
KL_FORMAT(q8_0, kl_half_at(b), 0, kl_run_q8_0(y, b, d, m, 0, 32))

/* d, ql[16]: the low nibbles are elements 0..15, the high ones 16..31 */
KL_QUANTS_FN void kl_run_q4_0(KL_RUN_ARGS)
{
    const uint8_t *q = b + 2 + from % 16;
    int shift = from / 16 * 4;

    (void)m;
    KL_NO_UNROLL for (int i = 0; i < n; i++)
        y[i] = (float)((q[i] >> shift & 15) - 8) * d;
}
KL_FORMAT(q4_0, kl_half_at(b), 0, KL_HALVES(kl_run_q4_0))

/* d, m, ql[16] */
KL_QUANTS_FN void kl_run_q4_1(KL_RUN_ARGS)
{
    const uint8_t *q = b + 4 + from % 16;
    int shift = from / 16 * 4;

    KL_NO_UNROLL for (int i = 0; i < n; i++)
        y[i] = (float)(q[i] >> shift & 15) * d + m;
}
KL_FORMAT(q4_1, kl_half_at(b), kl_half_at(b + 2), KL_HALVES(kl_run_q4_1))

/* d, qh: bit i is the fifth bit of element i, ql[16] */
KL_QUANTS_FN void kl_run_q5_0(KL_RUN_ARGS)
{
    const uint8_t *q = b + 6 + from % 16;
    uint32_t qh = kl_u32_at(b + 2);
    int shift = from / 16 * 4;

    (void)m;
    KL_NO_UNROLL for (int i = 0; i < n; i++)
        y[i] = (float)((int)((q[i] >> shift & 15) | (qh >> (from + i) & 1) << 4) - 16) * d;
}
KL_FORMAT(q5_0, kl_half_at(b), 0, KL_HALVES(kl_run_q5_0))

/* d, m, qh, ql[16] */
KL_QUANTS_FN void kl_run_q5_1(KL_RUN_ARGS)
{
    const uint8_t *q = b + 8 + from % 16;
    uint32_t qh = kl_u32_at(b + 4);
    int shift = from / 16 * 4;

    KL_NO_UNROLL for (int i = 0; i < n; i++)
        y[i] = (float)(int)((q[i] >> shift & 15) | (qh >> (from + i) & 1) << 4) * d + m;
}
KL_FORMAT(q5_1, kl_half_at(b), kl_half_at(b + 2), KL_HALVES(kl_run_q5_1))

/* -- blocks of 256 -- */

/* sc[16]: scale | minimum << 4 of 16 elements; q[64]: of each half of the block, four times 32 elements two bits
 * apart; d, m */
KL_QUANTS_FN void kl_run_q2_k(KL_RUN_ARGS)
{
    int s = from / 16, shift = s / 2 % 4 * 2;
    const uint8_t *q = b + 16 + s / 8 * 32 + s % 2 * 16 + from % 16;
    float ds = d * (float)(b[s] & 15), ms = m * (float)(b[s] >> 4);

    for (int i = 0; i < n; i++)
        y[i] = ds * (float)(q[i] >> shift & 3) - ms;
}
KL_FORMAT(q2_k, kl_half_at(b + 80), kl_half_at(b + 82), KL_RUNS(kl_run_q2_k, 16))

/* qh[32]: bit j of byte i is the third bit of element 32 j + i; q[64] as in q2_k; sc[12]: 16 scales of 6 bits; d */
KL_QUANTS_FN void kl_run_q3_k(KL_RUN_ARGS)
{
    int s = from / 16, shift = s / 2 % 4 * 2, bit = s / 2;
    const uint8_t *sc = b + 96, *q = b + 32 + s / 8 * 32 + s % 2 * 16 + from % 16, *qh = b + s % 2 * 16 + from % 16;
    int low = s < 8 ? sc[s] & 15 : sc[s - 8] >> 4, high = sc[8 + s % 4] >> s / 4 * 2 & 3;
    float ds = d * (float)((low | high << 4) - 32);

    (void)m;
    KL_NO_UNROLL for (int i = 0; i < n; i++)
        y[i] = ds * (float)((int)((q[i] >> shift & 3) | (qh[i] >> bit & 1) << 2) - 4);
}
KL_FORMAT(q3_k, kl_half_at(b + 108), 0, KL_RUNS(kl_run_q3_k, 16))

/* Of q4_k and q5_k: scale and minimum j of 8, 6 bits each in 12 bytes. */
KL_QUANTS_FN void kl_scale_min(int j, const uint8_t *sc, int *scale, int *min)
{
    if (j < 4) {
        *scale = sc[j] & 63;
        *min = sc[j + 4] & 63;
    } else {
        *scale = (sc[j + 4] & 15) | sc[j - 4] >> 6 << 4;
        *min = sc[j + 4] >> 4 | sc[j] >> 6 << 4;
    }
}

/* d, m, sc[12], ql[128]: of 64 elements, the low nibbles are the first 32 */
KL_QUANTS_FN void kl_run_q4_k(KL_RUN_ARGS)
{
    const uint8_t *q = b + 16 + from / 64 * 32 + from % 32;
    int scale, min, shift = from / 32 % 2 * 4;
    float ds, ms;

    kl_scale_min(from / 32, b + 4, &scale, &min);
    ds = d * (float)scale;
    ms = m * (float)min;
    for (int i = 0; i < n; i++)
        y[i] = ds * (float)(q[i] >> shift & 15) - ms;
}
KL_FORMAT(q4_k, kl_half_at(b), kl_half_at(b + 2), KL_RUNS(kl_run_q4_k, 32))

/* d, m, sc[12], qh[32]: bit j of byte i is the fifth bit of element 32 j + i, ql[128] as in q4_k */
KL_QUANTS_FN void kl_run_q5_k(KL_RUN_ARGS)
{
    const uint8_t *q = b + 48 + from / 64 * 32 + from % 32, *qh = b + 16 + from % 32;
    int scale, min, shift = from / 32 % 2 * 4, bit = from / 32;
    float ds, ms;

    kl_scale_min(bit, b + 4, &scale, &min);
    ds = d * (float)scale;
    ms = m * (float)min;
    for (int i = 0; i < n; i++)
        y[i] = ds * (float)((q[i] >> shift & 15) | (qh[i] >> bit & 1) << 4) - ms;
}
KL_FORMAT(q5_k, kl_half_at(b), kl_half_at(b + 2), KL_RUNS(kl_run_q5_k, 32))

/* ql[128], qh[64], sc[16] signed, d; of each half of the block, elements 32 j + i: the nibble is in ql[i + j % 2 * 32],
 * two more bits in qh[i] */
KL_QUANTS_FN void kl_run_q6_k(KL_RUN_ARGS)
{
    int s = from / 16, low = s / 4 % 2 * 4, high = s / 2 % 4 * 2;
    const uint8_t *ql = b + s / 8 * 64 + s / 2 % 2 * 32 + s % 2 * 16 + from % 16;
    const uint8_t *qh = b + 128 + s / 8 * 32 + s % 2 * 16 + from % 16;
    float ds = d * (float)(int8_t)b[192 + s];

    (void)m;
    KL_NO_UNROLL for (int i = 0; i < n; i++)
        y[i] = ds * (float)((int)((ql[i] >> low & 15) | (qh[i] >> high & 3) << 4) - 32);
}
KL_FORMAT(q6_k, kl_half_at(b + 208), 0, KL_RUNS(kl_run_q6_k, 16))

/** n_blocks blocks of a GGUF format to f32. */
static inline void kl_dequant_blocks(float *KL_RESTRICT y, KlDType t, const uint8_t *KL_RESTRICT b, int64_t n_blocks)
{
    int64_t n = kl_dtype_block(t), bytes = kl_dtype_info(t)->bytes;

#define KL_EACH(dequant)                                            \
    for (int64_t i = 0; i < n_blocks; i++, y += n, b += bytes)      \
        dequant(y, b);                                              \
    break

    switch (t) {
    case KL_Q8_0: KL_EACH(kl_dequant_q8_0);
    case KL_Q6_K: KL_EACH(kl_dequant_q6_k);
    case KL_Q5_K: KL_EACH(kl_dequant_q5_k);
    case KL_Q5_1: KL_EACH(kl_dequant_q5_1);
    case KL_Q5_0: KL_EACH(kl_dequant_q5_0);
    case KL_Q4_K: KL_EACH(kl_dequant_q4_k);
    case KL_Q4_1: KL_EACH(kl_dequant_q4_1);
    case KL_Q4_0: KL_EACH(kl_dequant_q4_0);
    case KL_Q3_K: KL_EACH(kl_dequant_q3_k);
    case KL_Q2_K: KL_EACH(kl_dequant_q2_k);
    default:      break;
    }
#undef KL_EACH
}

/** n elements from index `from` of a weight in a GGUF format; neither needs to fall on a block. */
static inline void kl_widen_blocks(float *y, KlWeight w, int64_t from, int64_t n)
{
    const KlDTypeInfo *info = kl_dtype_info(w.dtype);
    const uint8_t *b = (const uint8_t *)w.data + from / info->block * info->bytes;
    int64_t skip = from % info->block, m;
    float one[256];

    for (; n > 0; n -= m, y += m) {
        if (!skip && n >= info->block) {
            m = n / info->block * info->block;
            kl_dequant_blocks(y, w.dtype, b, m / info->block);
            b += m / info->block * info->bytes;
        } else {
            m = info->block - skip < n ? info->block - skip : n;
            kl_dequant_blocks(one, w.dtype, b, 1);
            memcpy(y, one + skip, (size_t)m * sizeof(*y));
            b += info->bytes;
            skip = 0;
        }
    }
}

/** The scale of row n of linear's weight. */
static inline float kl_row_scale(KlWeight w, int64_t n)
{
    return !w.scale ? 1 : w.scale[w.scale_group ? n : 0];
}

/** y[n] *= the scales of elements from .. from + n - 1. */
static inline void kl_apply_scale(float *y, KlWeight w, int64_t from, int64_t n)
{
    int64_t i = 0;

    while (w.scale && i < n) {
        int64_t group = w.scale_group ? (from + i) / w.scale_group : 0;
        int64_t end = w.scale_group ? (group + 1) * w.scale_group - from : n;

        for (end = end < n ? end : n; i < end; i++)
            y[i] *= w.scale[group];
    }
}

/** n elements from index `from` of a weight in any dtype, one by one where they are not blocks. */
static inline void kl_widen_plain(float *y, KlWeight w, int64_t from, int64_t n)
{
    const uint8_t *p = (const uint8_t *)w.data + (size_t)from * (size_t)kl_dtype_info(w.dtype)->bytes;

    switch (w.dtype) {
    case KL_F32:
        memcpy(y, p, (size_t)n * sizeof(*y));
        break;
    case KL_F16:
        for (int64_t i = 0; i < n; i++)
            y[i] = kl_half_at(p + 2 * i);
        break;
    case KL_BF16:
        for (int64_t i = 0; i < n; i++)
            y[i] = kl_bits_f32((uint32_t)p[2 * i] << 16 | (uint32_t)p[2 * i + 1] << 24);
        break;
    case KL_F8_E4M3:
        for (int64_t i = 0; i < n; i++)
            y[i] = kl_e4m3_f32(p[i]);
        break;
    case KL_F8_E5M2:
        for (int64_t i = 0; i < n; i++)
            y[i] = kl_e5m2_f32(p[i]);
        break;
    case KL_I8:
        for (int64_t i = 0; i < n; i++)
            y[i] = (float)(int8_t)p[i];
        break;
    default:
        kl_widen_blocks(y, w, from, n);
        return;
    }
    kl_apply_scale(y, w, from, n);
}

/* -- int8, see quantize_rows in kernels.h -- */

/** The scale of a row whose largest magnitude is `max`, and what its elements are multiplied by. */
KL_QUANTS_FN float kl_i8_scale(float max, float *by)
{
    *by = max >= 0x1p-100f && max <= 0x1.fffffep127f ? 127.0f / max : 0;
    return max < 0x1p-100f ? 0 : max <= 0x1.fffffep127f ? max / 127.0f : kl_bits_f32(0x7fc00000u);
}

/** max |x|; infinity and NaN come out as such, the latter as the largest of all. */
static inline float kl_max_magnitude(const float *x, int64_t n)
{
    int32_t max = 0;

    for (int64_t i = 0; i < n; i++) {
        int32_t u;

        memcpy(&u, x + i, sizeof(u));
        u &= 0x7fffffff;
        max = u > max ? u : max;
    }
    return kl_bits_f32((uint32_t)max);
}

/** x in int8 where by != 0, in the low bits: 1.5 * 2^23 leaves no fraction, so the sum rounds to nearest even. */
static inline int32_t kl_i8_bits(float x, float by)
{
    float v = x * by + 0x1.8p23f;
    int32_t u;

    memcpy(&u, &v, sizeof(u));
    return u;
}

#endif /* KL_QUANTS_H */
