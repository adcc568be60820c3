/*
 * Normalisations: a block per row, a warp per pixel; statistics in double.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A row is read from memory once; the second and third pass find it in the
 * caches. Rows whose pointers and strides allow it move 16 bytes per thread.
 */
#include "cuda.h"

#define THREADS 128

/* N consecutive floats, N 1 or 4. */
template<int N> struct Vec { float v[N]; };

template<int N> static __device__ __forceinline__ Vec<N> load(const float *p, int64_t i)
{
    Vec<N> r;

    if (N == 4) {
        float4 f = ((const float4 *)p)[i];
        r.v[0] = f.x, r.v[N > 1 ? 1 : 0] = f.y, r.v[N > 2 ? 2 : 0] = f.z, r.v[N > 3 ? 3 : 0] = f.w;
    } else {
        r.v[0] = p[i];
    }
    return r;
}

/* The same to an operand's row. */
template<int N> static __device__ __forceinline__ void store_half(uint16_t *p, int64_t i, Vec<N> r)
{
    if (N == 4)
        ((uint2 *)p)[i] = make_uint2(kl_bf16x2(r.v[0], r.v[N > 1 ? 1 : 0]),
                                     kl_bf16x2(r.v[N > 2 ? 2 : 0], r.v[N > 3 ? 3 : 0]));
    else
        p[i] = kl_bf16(r.v[0]);
}

template<int N> static __device__ __forceinline__ void store(float *p, int64_t i, Vec<N> r)
{
    if (N == 4)
        ((float4 *)p)[i] = make_float4(r.v[0], r.v[N > 1 ? 1 : 0], r.v[N > 2 ? 2 : 0], r.v[N > 3 ? 3 : 0]);
    else
        p[i] = r.v[0];
}

/* sum over the row of (x - mean)^2 */
template<int N> static __device__ double row_squares(const float *x, int64_t n, double mean, double *part)
{
    double sum = 0;

    for (int64_t i = threadIdx.x; i < n; i += THREADS) {
        Vec<N> f = load<N>(x, i);

        for (int e = 0; e < N; e++) {
            double d = (double)f.v[e] - mean;

            sum += d * d;
        }
    }
    return kl_block_sum(sum, part);
}

template<int N> static __device__ double row_sum(const float *x, int64_t n, double *part)
{
    double sum = 0;

    for (int64_t i = threadIdx.x; i < n; i += THREADS) {
        Vec<N> f = load<N>(x, i);

        for (int e = 0; e < N; e++)
            sum += f.v[e];
    }
    return kl_block_sum(sum, part);
}

template<int N> static __device__ __forceinline__ Vec<N> affine(const KlNorm &p, int64_t mod, int64_t i, Vec<N> v)
{
    Vec<N> f;

    if (p.weight) {
        f = load<N>(p.weight, i);
        for (int e = 0; e < N; e++)
            v.v[e] *= f.v[e];
    }
    if (p.bias) {
        f = load<N>(p.bias, i);
        for (int e = 0; e < N; e++)
            v.v[e] += f.v[e];
    }
    if (p.scale) {
        f = load<N>(p.scale + mod, i);
        for (int e = 0; e < N; e++)
            v.v[e] *= 1.0f + f.v[e];
        if (p.shift) {
            f = load<N>(p.shift + mod, i);
            for (int e = 0; e < N; e++)
                v.v[e] += f.v[e];
        }
    }
    return v;
}

/* HALF: y is an operand in bf16. */
template<int N, bool RMS, bool HALF> static __global__ void __launch_bounds__(THREADS) norm_kernel(KlNorm p)
{
    __shared__ double part[32];
    int64_t s = blockIdx.x, n = p.D / N, mod = p.scale ? s / p.group_rows * p.ldmod : 0, pitch = kl_operand_pitch(p.D);
    const float *x = p.x + s * p.ldx;
    float *y = p.y + s * p.ldy;
    uint16_t *half = (uint16_t *)p.y + s * pitch;
    double mean = 0, r;

    if (!RMS)
        mean = row_sum<N>(x, n, part) / (double)p.D;
    /* The mean in double, subtracted in double: rows far from zero keep their digits. */
    r = 1 / sqrt(row_squares<N>(x, n, mean, part) / (double)p.D + (double)p.eps);
    for (int64_t i = threadIdx.x; i < n; i += THREADS) {
        Vec<N> f = load<N>(x, i);

        for (int e = 0; e < N; e++)
            f.v[e] = (float)(((double)f.v[e] - mean) * r);
        if (HALF)
            store_half<N>(half, i, affine<N>(p, mod, i, f));
        else
            store<N>(y, i, affine<N>(p, mod, i, f));
    }
    if (HALF && p.D + threadIdx.x < pitch)
        half[p.D + threadIdx.x] = 0;
}

template<int N, bool RMS> static void launch_norm(KlExec *ex, const KlNorm &p)
{
    if (p.operand && kl_cuda_half(ex))
        KL_LAUNCH(ex, (norm_kernel<N, RMS, true>), dim3((unsigned)p.S), dim3(THREADS), 0, p);
    else
        KL_LAUNCH(ex, (norm_kernel<N, RMS, false>), dim3((unsigned)p.S), dim3(THREADS), 0, p);
}

template<bool RMS> static void norm(KlExec *ex, const KlNorm *src)
{
    KlNorm p = *src;
    bool vec = p.D % 4 == 0 && p.ldx % 4 == 0 && p.ldy % 4 == 0 && kl_aligned16(p.x) && kl_aligned16(p.y) &&
               kl_aligned16(p.weight) && kl_aligned16(p.bias);

    if (RMS)
        p.bias = p.scale = p.shift = NULL;
    vec = vec && (!p.scale || (p.ldmod % 4 == 0 && kl_aligned16(p.scale) && kl_aligned16(p.shift)));
    if (!kl_cuda_enter(ex) || p.S < 1)
        return;
    KL_ON_DEVICE(p.x), KL_ON_DEVICE(p.y), KL_ON_DEVICE(p.weight), KL_ON_DEVICE(p.bias), KL_ON_DEVICE(p.scale);
    KL_ON_DEVICE(p.shift);
    (vec ? launch_norm<4, RMS> : launch_norm<1, RMS>)(ex, p);
}

static void layer_norm(KlExec *ex, const KlNorm *p)
{
    norm<false>(ex, p);
}

static void rms_norm(KlExec *ex, const KlNorm *p)
{
    norm<true>(ex, p);
}

struct Rope {
    float *x;
    int64_t ldx, D;
    int E;
    const float *weight;
    float eps;
    const float *cos, *sin;
};

static __device__ __forceinline__ float2 rotate(const Rope &p, int64_t s, int64_t pair, float a, float b)
{
    int64_t d = 2 * pair;

    if (p.weight) {
        a *= p.weight[d];
        b *= p.weight[d + 1];
    }
    if (p.cos) {
        int64_t at = s * (p.E / 2) + (int)d % p.E / 2;
        float c = p.cos[at], n = p.sin[at], t = a;

        a = t * c - b * n;
        b = t * n + b * c;
    }
    return make_float2(a, b);
}

template<bool VEC> static __global__ void __launch_bounds__(THREADS) rope_kernel(Rope p)
{
    __shared__ double part[32];
    int64_t s = blockIdx.x, pairs = p.D / 2;
    float *x = p.x + s * p.ldx;
    double r = 1 / sqrt((VEC ? row_squares<4>(x, p.D / 4, 0, part) : row_squares<1>(x, p.D, 0, part)) / (double)p.D +
                        (double)p.eps);

    if (VEC) {
        for (int64_t i = threadIdx.x; i < pairs / 2; i += THREADS) {
            float4 f = ((const float4 *)x)[i];
            float2 a = rotate(p, s, 2 * i, (float)(f.x * r), (float)(f.y * r));
            float2 b = rotate(p, s, 2 * i + 1, (float)(f.z * r), (float)(f.w * r));

            ((float4 *)x)[i] = make_float4(a.x, a.y, b.x, b.y);
        }
    } else {
        for (int64_t i = threadIdx.x; i < pairs; i += THREADS) {
            float2 a = rotate(p, s, i, (float)(x[2 * i] * r), (float)(x[2 * i + 1] * r));

            x[2 * i] = a.x;
            x[2 * i + 1] = a.y;
        }
    }
}

static void qk_norm_rope(KlExec *ex, float *x, int64_t ldx, int64_t S, int H, int E, const float *weight, float eps,
                         const float *cos, const float *sin)
{
    Rope p = { x, ldx, (int64_t)H * E, E, weight, eps, cos, sin };

    if (!kl_cuda_enter(ex) || S < 1)
        return;
    KL_ON_DEVICE(x), KL_ON_DEVICE(weight), KL_ON_DEVICE(cos), KL_ON_DEVICE(sin);
    if (p.D % 4 == 0 && ldx % 4 == 0 && kl_aligned16(x))
        KL_LAUNCH(ex, (rope_kernel<true>), dim3((unsigned)S), dim3(THREADS), 0, p);
    else
        KL_LAUNCH(ex, (rope_kernel<false>), dim3((unsigned)S), dim3(THREADS), 0, p);
}

struct PixelNorm {
    void *y;                            /* of float, or (HALF) an operand in bf16 */
    const float *x;
    int64_t pixels;
    int C;
    const float *gamma;
    KlActivation act;
};

/* y = act(x / max(||x||, 1e-12) * sqrt(C) * gamma), a warp per pixel. */
template<int N, bool HALF> static __global__ void __launch_bounds__(THREADS) pixel_norm_kernel(PixelNorm p)
{
    int lane = (int)threadIdx.x % 32, n = p.C / N, pitch = (int)kl_operand_pitch(p.C);
    int64_t at = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    const float *x = p.x + at * p.C;
    float *y = (float *)p.y + at * p.C;
    uint16_t *half = (uint16_t *)p.y + at * pitch;
    double sum = 0;
    float r;

    if (at >= p.pixels)
        return;
    for (int i = lane; i < n; i += 32) {
        Vec<N> f = load<N>(x, i);

        for (int e = 0; e < N; e++)
            sum += (double)f.v[e] * f.v[e];
    }
    sum = kl_warp_sum(sum);
    if (sum > 1e-20 && sum < 1e38)      /* roots and quotients of doubles would take longer than the memory */
        r = sqrtf((float)p.C / (float)sum);
    else
        r = (float)(sqrt((double)p.C) / (sum < 1e-24 ? 1e-12 : sqrt(sum)));     /* a NaN stays */
    for (int i = lane; i < n; i += 32) {
        Vec<N> f = load<N>(x, i), g = load<N>(p.gamma, i);

        for (int e = 0; e < N; e++)
            f.v[e] = kl_act((float)(f.v[e] * r) * g.v[e], p.act);
        if (HALF)
            store_half<N>(half, i, f);
        else
            store<N>(y, i, f);
    }
    if (HALF && p.C + lane < pitch)
        half[p.C + lane] = 0;
}

template<int N> static void launch_pixel_norm(KlExec *ex, const PixelNorm &p, bool half)
{
    const dim3 grid(kl_blocks(p.pixels, THREADS / 32));

    if (half)
        KL_LAUNCH(ex, (pixel_norm_kernel<N, true>), grid, dim3(THREADS), 0, p);
    else
        KL_LAUNCH(ex, (pixel_norm_kernel<N, false>), grid, dim3(THREADS), 0, p);
}

static void pixel_norm(KlExec *ex, float *y, const float *x, int64_t pixels, int C, const float *gamma,
                       KlActivation act, int operand)
{
    const PixelNorm p = { y, x, pixels, C, gamma, act };
    const bool vec = C % 4 == 0 && kl_aligned16(y) && kl_aligned16(x) && kl_aligned16(gamma);

    if (!kl_cuda_enter(ex) || pixels < 1)
        return;
    KL_ON_DEVICE(y), KL_ON_DEVICE(x), KL_ON_DEVICE(gamma);
    (vec ? launch_pixel_norm<4> : launch_pixel_norm<1>)(ex, p, operand && kl_cuda_half(ex));
}

void kl_cuda_init_rows(KlKernels *k)
{
    k->layer_norm   = layer_norm;
    k->rms_norm     = rms_norm;
    k->qk_norm_rope = qk_norm_rope;
    k->pixel_norm   = pixel_norm;
}
