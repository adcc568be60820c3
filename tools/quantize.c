/*
 * From f32 to the stored forms that kling-quantize writes.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "quantize.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

#define SUB 32                          /* elements of a sub-block of q4_k and q5_k, 8 of which make a block */
#define SUB6 16                         /* of q6_k, 16 */

static uint32_t bits_of(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof(u));
    return u;
}

static float float_of(uint32_t u)
{
    float x;

    memcpy(&x, &u, sizeof(x));
    return x;
}

uint16_t quantize_bf16(float x)
{
    const uint32_t u = bits_of(x);

    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

uint16_t quantize_f16(float x)
{
    const uint32_t u = bits_of(x), sign = u >> 16 & 0x8000;
    const float a = fabsf(x);
    uint32_t v = u & 0x7fffffff;

    if (a >= 65520)
        return (uint16_t)(sign | 0x7c00);
    if (a < 0x1p-14f)                   /* multiples of 2^-24 */
        return (uint16_t)(sign | (uint32_t)lrintf(a * 0x1p24f));
    v += 0xfff + (v >> 13 & 1);
    return (uint16_t)(sign | (v - (112u << 23)) >> 13);
}

uint8_t quantize_e4m3(float x)
{
    const uint32_t sign = bits_of(x) >> 24 & 0x80;
    const float a = fabsf(x);
    uint32_t v = bits_of(a);

    if (!(a < 464))                     /* what would round past 448 */
        return (uint8_t)(sign | 0x7e);
    if (a < 0x1p-6f)                    /* multiples of 2^-9 */
        return (uint8_t)(sign | (uint32_t)lrintf(a * 0x1p9f));
    v += 0x7ffff + (v >> 20 & 1);
    return (uint8_t)(sign | (v - (120u << 23)) >> 20);
}

static void put_f16(uint8_t *out, float x)
{
    const uint16_t h = quantize_f16(x);

    out[0] = (uint8_t)h;
    out[1] = (uint8_t)(h >> 8);
}

static float get_f16(float x)           /* as it will be read */
{
    const uint16_t h = quantize_f16(x);
    const uint32_t e = h >> 10 & 31, m = h & 1023;
    const float a = e ? float_of((e + 112) << 23 | m << 13) : (float)m * 0x1p-24f;

    return h & 0x8000 ? -a : a;
}

static float larger(float a, float b) { return a > b ? a : b; }
static float smaller(float a, float b) { return a < b ? a : b; }

static float largest(const float *x, int64_t n)
{
    float max = 0;

    for (int64_t i = 0; i < n; i++)
        max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
    return max;
}

/* ggml's: the scale is the largest magnitude / 127, ties away from zero. */
static void block_q8_0(uint8_t *out, const float *x)
{
    const float d = largest(x, 32) / 127, by = d >= 0x1p-126f ? 1 / d : 0;

    put_f16(out, d);
    for (int i = 0; i < 32; i++)
        out[2 + i] = (uint8_t)(int8_t)roundf(x[i] * by);
}

/*
 * q4_0 and q5_0, x = d * (q - half), where d brings the value of the largest magnitude to q = 0; q4_1 and q5_1,
 * x = d * q + m. The bits are those of the gguf package.
 */
static void block_32(uint8_t *out, const float *x, int bits, int has_min)
{
    const int half = 1 << (bits - 1), top = 2 * half - 1;
    uint8_t *p = out + (has_min ? 4 : 2), *qs = p + (bits == 5 ? 4 : 0);
    float low = x[0], high = x[0], d, by;
    uint32_t fifth = 0;

    for (int i = 0; i < 32; i++) {
        low = smaller(low, x[i]);
        high = larger(high, x[i]);
    }
    if (!has_min) {                     /* of two alike the first */
        float most = 0;

        for (int i = 0; i < 32; i++)
            most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
        d = most / (float)-half;
    } else {
        d = (high - low) / (float)top;
    }
    by = fabsf(d) >= 0x1p-126f ? 1 / d : 0;
    put_f16(out, d);
    if (has_min)
        put_f16(out + 2, low);
    memset(qs, 0, 16);
    for (int i = 0; i < 32; i++) {
        const float v = has_min ? (x[i] - low) * by + 0.5f : x[i] * by + ((float)half + 0.5f);
        const uint32_t q = (uint32_t)smaller(larger(v, 0), (float)top);

        qs[i % 16] |= (uint8_t)((q & 15) << i / 16 * 4);
        fifth |= (q >> 4) << i;
    }
    if (bits == 5)
        for (int i = 0; i < 4; i++)
            p[i] = (uint8_t)(fifth >> 8 * i);
}

/* -- q4_k, q5_k: x = scale * q - min, q of 4 or 5 bits, scale and min of 6 bits per sub-block -- */

#define LANES 8                         /* partial sums, for the compiler's vectors */

/* To the nearest whole number, |x| < 2^22. */
static float nearest(float x) { return x + 0x1.8p23f - 0x1.8p23f; }

static float sum_of(const float v[LANES])
{
    float sum = 0;

    for (int l = 0; l < LANES; l++)
        sum += v[l];
    return sum;
}

/* Squared error of x against scale * q - min, each weighted by its size. */
static float fit_error(const float *x, const float *weight, const float *q, float scale, float min)
{
    float sum[LANES] = { 0 };

    for (int i = 0; i < SUB; i += LANES)
        for (int l = 0; l < LANES; l++) {
            const float e = scale * q[i + l] - min - x[i + l];

            sum[l] += weight[i + l] * e * e;
        }
    return sum_of(sum);
}

/* The scale and min (both >= 0) that fit the quants q best: weighted least squares. */
static void fit_line(const float *x, const float *weight, const float *q, float *scale, float *min)
{
    float v[5][LANES] = { { 0 } }, w, wq, wqq, wx, wqx, det;

    for (int i = 0; i < SUB; i += LANES)
        for (int l = 0; l < LANES; l++) {
            const float a = weight[i + l], aq = a * q[i + l];

            v[0][l] += a;
            v[1][l] += aq;
            v[2][l] += aq * q[i + l];
            v[3][l] += a * x[i + l];
            v[4][l] += aq * x[i + l];
        }
    w = sum_of(v[0]);
    wq = sum_of(v[1]);
    wqq = sum_of(v[2]);
    wx = sum_of(v[3]);
    wqx = sum_of(v[4]);
    det = w * wqq - wq * wq;
    *scale = det > 0 ? (w * wqx - wq * wx) / det : 0;
    *min = det > 0 ? -(wqq * wx - wq * wqx) / det : 0;
    if (*min < 0 || det <= 0) {         /* through zero */
        *min = 0;
        *scale = wqq > 0 ? wqx / wqq : 0;
    }
    *scale = larger(*scale, 0);
}

/* top: the largest q. */
static void fit_sub_block(const float *x, float top, float *scale, float *min)
{
    float weight[SUB], q[SUB], low = 0, high = x[0], norm = 0, best = INFINITY;

    *scale = *min = 0;
    for (int i = 0; i < SUB; i++) {
        low = smaller(low, x[i]);
        high = larger(high, x[i]);
        norm += x[i] * x[i];
    }
    norm = sqrtf(norm / SUB);
    for (int i = 0; i < SUB; i++)
        weight[i] = norm + fabsf(x[i]); /* large weights matter more */
    if (!(high > low))
        return;
    for (int step = -6; step <= 6; step++) {    /* a range a little wider or narrower than that of x */
        const float by = top * (1 + 0.01f * (float)step) / (high - low);
        float s, m, e;

        for (int i = 0; i < SUB; i++)
            q[i] = smaller(larger(nearest((x[i] - low) * by), 0), top);
        fit_line(x, weight, q, &s, &m);
        e = fit_error(x, weight, q, s, m);
        if (e < best) {
            best = e;
            *scale = s;
            *min = m;
        }
    }
}

static void block_k(uint8_t *out, const float *x, int bits)
{
    const float most = bits == 5 ? 31 : 15;
    float scale[8], min[8], top = 0, top_min = 0, d, dmin;
    uint8_t ls[8], lm[8], *sc = out + 4, *qh = out + 16, *qs = qh + (bits == 5 ? 32 : 0);

    for (int j = 0; j < 8; j++) {
        fit_sub_block(x + SUB * j, most, &scale[j], &min[j]);
        top = larger(top, scale[j]);
        top_min = larger(top_min, min[j]);
    }
    put_f16(out, top / 63);
    put_f16(out + 2, top_min / 63);
    d = get_f16(top / 63);
    dmin = get_f16(top_min / 63);
    memset(sc, 0, (size_t)(qs - sc) + 128);
    for (int j = 0; j < 8; j++) {
        ls[j] = (uint8_t)(d > 0 ? fminf(rintf(scale[j] / d), 63) : 0);
        lm[j] = (uint8_t)(dmin > 0 ? fminf(rintf(min[j] / dmin), 63) : 0);
    }
    for (int j = 0; j < 4; j++) {
        sc[j] = (uint8_t)(ls[j] | ls[j + 4] >> 4 << 6);
        sc[j + 4] = (uint8_t)(lm[j] | lm[j + 4] >> 4 << 6);
        sc[j + 8] = (uint8_t)((ls[j + 4] & 15) | (lm[j + 4] & 15) << 4);
    }
    for (int j = 0; j < 8; j++) {
        const float s = d * (float)ls[j], m = dmin * (float)lm[j];

        for (int i = 0; i < SUB; i++) {
            const unsigned q = s > 0 ? (unsigned)smaller(larger(nearest((x[SUB * j + i] + m) / s), 0), most) : 0;

            qs[j / 2 * SUB + i] |= (uint8_t)((q & 15) << j % 2 * 4);
            if (bits == 5)
                qh[i] |= (uint8_t)(q >> 4 << j);
        }
    }
}

/* -- q6_k: x = scale * q, q of -32 .. 31, scale of 8 bits per sub-block -- */

/* The scale, of either sign, that fits x best in least squares weighted by x^2: of several roundings of x to q, that
 * whose q points most nearly along x. */
static float fit_scale(const float *x)
{
    float most = 0, best = 0, scale = 0;

    for (int i = 0; i < SUB6; i++)
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    if (fabsf(most) < 0x1p-100f)        /* squares would vanish */
        return 0;
    for (int step = -9; step <= 9; step++) {
        const float by = -(32 + 0.1f * (float)step) / most;
        float along = 0, square = 0;

        for (int i = 0; i < SUB6; i++) {
            const float q = smaller(larger(nearest(x[i] * by), -32), 31), u = x[i] / most, w = u * u;

            along += w * u * q;
            square += w * q * q;
        }
        if (square > 0 && along * along > best * square) {
            best = along * along / square;
            scale = most * (along / square);
        }
    }
    return scale;
}

static void block_q6_k(uint8_t *out, const float *x)
{
    float scale[16], top = 0, d;

    for (int j = 0; j < 16; j++) {
        scale[j] = fit_scale(x + SUB6 * j);
        top = fabsf(scale[j]) > fabsf(top) ? scale[j] : top;
    }
    memset(out, 0, 208);
    put_f16(out + 208, top / -128);
    d = get_f16(top / -128);
    for (int j = 0; j < 16; j++) {
        const float by = d != 0 ? smaller(larger(nearest(scale[j] / d), -128), 127) : 0, s = d * by;
        uint8_t *ql = out + j / 8 * 64 + j / 2 % 2 * 32 + j % 2 * 16, *qh = out + 128 + j / 8 * 32 + j % 2 * 16;

        out[192 + j] = (uint8_t)(int8_t)by;
        for (int i = 0; i < SUB6; i++) {
            const float v = s != 0 ? smaller(larger(nearest(x[SUB6 * j + i] / s), -32), 31) : 0;
            const unsigned q = (unsigned)((int)v + 32);

            ql[i] |= (uint8_t)((q & 15) << j / 4 % 2 * 4);
            qh[i] |= (uint8_t)(q >> 4 << j / 2 % 4 * 2);
        }
    }
}

/* -- rows -- */

float quantize_scale(float max, KlDType to)
{
    const float scale = to == KL_I8 ? max / 127 : max / 448;

    return scale > 0 && (to == KL_I8 || to == KL_F8_E4M3) ? scale : 1;
}

void quantize_row(uint8_t *out, const float *x, int64_t n, KlDType to, float scale)
{
    uint16_t *half = (uint16_t *)(void *)out;
    float by;

    switch (to) {
    case KL_F32:
        memcpy(out, x, (size_t)n * sizeof(*x));
        break;
    case KL_F16:
        for (int64_t i = 0; i < n; i++)
            half[i] = quantize_f16(x[i]);
        break;
    case KL_BF16:
        for (int64_t i = 0; i < n; i++)
            half[i] = quantize_bf16(x[i]);
        break;
    case KL_F8_E4M3:
        for (int64_t i = 0; i < n; i++)
            out[i] = quantize_e4m3(x[i] / scale);
        break;
    case KL_I8:                         /* the bits of the kernels' quantize_rows: so by is not 1 / scale */
        by = largest(x, n) < 0x1p-100f ? 0 : 127 / largest(x, n);
        for (int64_t i = 0; i < n; i++)
            out[i] = (uint8_t)(int8_t)rintf(x[i] * by);
        break;
    case KL_Q8_0:
        for (int64_t i = 0; i < n; i += 32, out += 34)
            block_q8_0(out, x + i);
        break;
    case KL_Q5_1:
    case KL_Q5_0:
    case KL_Q4_1:
    case KL_Q4_0:
        for (int64_t i = 0; i < n; i += 32, out += kl_dtype_info(to)->bytes)
            block_32(out, x + i, to == KL_Q5_1 || to == KL_Q5_0 ? 5 : 4, to == KL_Q5_1 || to == KL_Q4_1);
        break;
    case KL_Q6_K:
        for (int64_t i = 0; i < n; i += 256, out += 210)
            block_q6_k(out, x + i);
        break;
    case KL_Q5_K:
        for (int64_t i = 0; i < n; i += 256, out += 176)
            block_k(out, x + i, 5);
        break;
    case KL_Q4_K:
        for (int64_t i = 0; i < n; i += 256, out += 144)
            block_k(out, x + i, 4);
        break;
    default:
        break;
    }
}

bool quantize_takes(const char *name, int ndim, bool transformer)
{
    static const char *const dit[] = { "blocks.*.attn?.*.weight", "blocks.*.ffn.*.weight" };
    static const char *const text[] = { "encoder.block.*.SelfAttention.[qkvo].weight",
                                        "encoder.block.*.DenseReluDense.*.weight" };
    const char *const *patterns = transformer ? dit : text;

    return ndim == 2 && (!fnmatch(patterns[0], name, 0) || !fnmatch(patterns[1], name, 0));
}
