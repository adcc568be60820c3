/*
 * Noise equal to torch's CPU and CUDA generators.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Two properties of torch are copied on purpose, since seeds are shared with
 * its users: below 16 numbers the CPU generator takes another path (double,
 * sine and cosine of the same radius one after the other), and a count that
 * is not a multiple of 16 overwrites its last 16 numbers with fresh ones.
 *
 * Precision. torch's AVX2 build, the common one, takes logarithm, sine and
 * cosine from the Cephes single-precision polynomials, with the compiler's
 * fused multiply-adds. The same operations in the same order are done here, so
 * the CPU noise has the same bits. (torch on AVX-512 or without AVX2 calls
 * libm instead and differs from its own AVX2 build by a few units in the last
 * place, and so from this file.)
 */
#include "rng.h"

#include <math.h>
#include <string.h>

#define MT_N 624
#define MT_M 397

typedef struct Mt19937 {
    uint32_t s[MT_N];
    int next;
} Mt19937;

/* torch keeps the low 32 bits of a seed for this generator. */
static void mt_seed(Mt19937 *mt, uint64_t seed)
{
    mt->s[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < MT_N; i++)
        mt->s[i] = 1812433253u * (mt->s[i - 1] ^ mt->s[i - 1] >> 30) + i;
    mt->next = MT_N;
}

static void mt_refill(Mt19937 *mt)
{
    for (int i = 0; i < MT_N; i++) {
        uint32_t y = (mt->s[i] & 0x80000000u) | (mt->s[(i + 1) % MT_N] & 0x7fffffffu);

        mt->s[i] = mt->s[(i + MT_M) % MT_N] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    mt->next = 0;
}

static uint32_t mt_u32(Mt19937 *mt)
{
    uint32_t y;

    if (mt->next == MT_N)
        mt_refill(mt);
    y = mt->s[mt->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

/* [0, 1) in steps of 2^-24 and 2^-53 */
static float mt_float(Mt19937 *mt)
{
    return (float)(mt_u32(mt) & 0xffffffu) * 0x1p-24f;
}

static double mt_double(Mt19937 *mt)
{
    uint64_t hi = mt_u32(mt), lo = mt_u32(mt);

    return (double)((hi << 32 | lo) & 0x1fffffffffffffu) * 0x1p-53;
}

/* Natural logarithm of a normal x in (0, 1], Cephes logf: x = m 2^e with m in [sqrt(1/2), sqrt(2)). */
static float cephes_log(float x)
{
    static const float p[] = { -1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                               -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f };
    int exponent;
    float m = frexpf(x, &exponent), e, y, z;

    if (m < 0.707106781186547524f) {
        m += m - 1.0f;
        exponent--;
    } else {
        m -= 1.0f;
    }
    e = (float)exponent;
    z = m * m;
    y = 7.0376836292e-2f;
    for (size_t i = 0; i < KL_ARRAY_LEN(p); i++)
        y = fmaf(y, m, p[i]);
    y *= m;
    y = fmaf(y, z, e * -2.12194440e-4f);
    y = fmaf(z, -0.5f, y);
    return fmaf(e, 0.693359375f, m + y);
}

/* Sine and cosine of x in [0, 2 pi], Cephes sinf and cosf: x less a multiple j of pi/4 in three parts. */
static void cephes_sincos(float x, float *sin_x, float *cos_x)
{
    int j = ((int)(x * 1.27323954473516f) + 1) & ~1;
    float y = (float)j, z, c, s;

    x = fmaf(y, -0.78515625f, x);
    x = fmaf(y, -2.4187564849853515625e-4f, x);
    x = fmaf(y, -3.77489497744594108e-8f, x);
    z = x * x;
    c = fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f);
    c = fmaf(c, z, 4.166664568298827e-2f);
    c *= z;
    c = fmaf(c, z, z * -0.5f);
    c += 1.0f;
    s = fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f);
    s = fmaf(s, z, -1.6666654611e-1f);
    s *= z;
    s = fmaf(s, x, x);
    if (j & 2) {
        float swap = s;

        s = c;
        c = swap;
    }
    *sin_x = j & 4 ? -s : s;
    *cos_x = (j - 2) & 4 ? c : -c;
}

/* 8 pairs of uniforms, the i-th with the (i + 8)-th, to 16 normals in place. */
static void box_muller16(float *u)
{
    for (int i = 0; i < 8; i++) {
        float radius = sqrtf(-2.0f * cephes_log(1.0f - u[i])), s, c;

        cephes_sincos((float)(2 * M_PI) * u[i + 8], &s, &c);
        u[i]     = radius * c + 0.0f;   /* + mean: no negative zero */
        u[i + 8] = radius * s + 0.0f;
    }
}

static void randn_few(float *out, int64_t n, Mt19937 *mt)
{
    for (int64_t i = 0; i < n; i += 2) {
        double u1 = mt_double(mt), u2 = mt_double(mt);
        double radius = sqrt(-2.0 * log1p(-u2)), theta = 2.0 * M_PI * u1;

        out[i] = (float)(radius * cos(theta));
        if (i + 1 < n)
            out[i + 1] = (float)(radius * sin(theta));
    }
}

void kl_randn_cpu(float *out, int64_t n, uint64_t seed)
{
    Mt19937 mt;

    mt_seed(&mt, seed);
    if (n < 16) {
        randn_few(out, n, &mt);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        out[i] = mt_float(&mt);
    for (int64_t i = 0; i + 16 <= n; i += 16)
        box_muller16(out + i);
    if (n % 16) {
        for (int i = 0; i < 16; i++)
            out[n - 16 + i] = mt_float(&mt);
        box_muller16(out + n - 16);
    }
}

static void philox_round(uint32_t c[4], const uint32_t k[2])
{
    uint64_t a = (uint64_t)0xd2511f53u * c[0], b = (uint64_t)0xcd9e8d57u * c[2];
    uint32_t r[4] = { (uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k[1], (uint32_t)a };

    memcpy(c, r, sizeof(r));
}

/* Philox 4x32-10: the block'th 4 numbers of a subsequence. */
static void philox(uint32_t out[4], uint64_t seed, uint64_t subsequence, uint64_t block)
{
    uint32_t k[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };

    out[0] = (uint32_t)block;
    out[1] = (uint32_t)(block >> 32);
    out[2] = (uint32_t)subsequence;
    out[3] = (uint32_t)(subsequence >> 32);
    for (int i = 0; i < 10; i++) {
        philox_round(out, k);
        k[0] += 0x9e3779b9u;
        k[1] += 0xbb67ae85u;
    }
}

/* cuRAND's Box-Muller: the sine first. The device takes the fast sine and cosine of its special function unit
 * (absolute error 2^-21.4), which no host has: values differ from a device's by up to about 3e-6. */
static void curand_box_muller(float *out, uint32_t x, uint32_t y)
{
    const float inv = 2.3283064e-10f, inv_2pi = 2.3283064e-10f * 6.2831855f;
    float u = (float)x * inv + inv / 2, v = fmaf((float)y, inv_2pi, inv_2pi / 2);
    float s = sqrtf(-2.0f * logf(u));

    out[0] = s * sinf(v);
    out[1] = s * cosf(v);
}

/* torch gives each thread of the launch its own subsequence; a thread makes 4 numbers at a time and writes them a
 * whole launch apart. The launch is as many blocks of 256 as the numbers need, or as the device holds. */
void kl_randn_cuda(float *out, int64_t n, uint64_t seed, int64_t max_threads)
{
    int64_t blocks = KL_MIN(KL_CEIL_DIV(n, 256), KL_MAX(max_threads / 256, 1)), threads = 256 * blocks;

    for (int64_t i = 0; i < n; i += 4 * threads)
        for (int64_t t = 0; t < threads && i + t < n; t++) {
            uint32_t r[4];
            float z[4];

            philox(r, seed, (uint64_t)t, (uint64_t)(i / (4 * threads)));
            curand_box_muller(z, r[0], r[1]);
            curand_box_muller(z + 2, r[2], r[3]);
            for (int j = 0; j < 4 && i + t + j * threads < n; j++)
                out[i + t + j * threads] = z[j];
        }
}

void kl_randn(enum KlingRng rng, float *out, int64_t n, uint64_t seed)
{
    if (rng == KLING_RNG_CUDA)
        kl_randn_cuda(out, n, seed, KL_CUDA_MAX_THREADS);
    else
        kl_randn_cpu(out, n, seed);
}

uint64_t kl_seed_stream(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + i * 0x9E3779B97F4A7C15u;

    if (!i)
        return seed;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
