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

template<int N, bool RMS> static __global__ void __launch_bounds__(THREADS) norm_kernel(KlNorm p)
{
    __shared__ double part[32];
    int64_t s = blockIdx.x, n = p.D / N, mod = p.scale ? s / p.group_rows * p.ldmod : 0;
    const float *x = p.x + s * p.ldx;
    float *y = p.y + s * p.ldy;
    double mean = 0, r;

    if (!RMS)
        mean = row_sum<N>(x, n, part) / (double)p.D;
    /* The mean in double, subtracted in double: rows far from zero keep their digits. */
    r = 1 / sqrt(row_squares<N>(x, n, mean, part) / (double)p.D + (double)p.eps);
    for (int64_t i = threadIdx.x; i < n; i += THREADS) {
        Vec<N> f = load<N>(x, i);

        for (int e = 0; e < N; e++)
            f.v[e] = (float)(((double)f.v[e] - mean) * r);
        store<N>(y, i, affine<N>(p, mod, i, f));
    }
}

static bool aligned16(const void *p)
{
    return ((uintptr_t)p & 15) == 0;
}

template<bool RMS> static void norm(KlExec *ex, const KlNorm *src)
{
    KlNorm p = *src;
    bool vec = p.D % 4 == 0 && p.ldx % 4 == 0 && p.ldy % 4 == 0 && aligned16(p.x) && aligned16(p.y) &&
               aligned16(p.weight) && aligned16(p.bias);

    if (RMS)
        p.bias = p.scale = p.shift = NULL;
    vec = vec && (!p.scale || (p.ldmod % 4 == 0 && aligned16(p.scale) && aligned16(p.shift)));
    if (!kl_cuda_enter(ex) || p.S < 1)
        return;
    KL_ON_DEVICE(p.x), KL_ON_DEVICE(p.y), KL_ON_DEVICE(p.weight), KL_ON_DEVICE(p.bias), KL_ON_DEVICE(p.scale);
    KL_ON_DEVICE(p.shift);
    if (vec)
        KL_LAUNCH(ex, (norm_kernel<4, RMS>), dim3((unsigned)p.S), dim3(THREADS), 0, p);
    else
        KL_LAUNCH(ex, (norm_kernel<1, RMS>), dim3((unsigned)p.S), dim3(THREADS), 0, p);
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
        int64_t at = s * (p.E / 2) + d % p.E / 2;
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
    if (p.D % 4 == 0 && ldx % 4 == 0 && aligned16(x))
        KL_LAUNCH(ex, (rope_kernel<true>), dim3((unsigned)S), dim3(THREADS), 0, p);
    else
        KL_LAUNCH(ex, (rope_kernel<false>), dim3((unsigned)S), dim3(THREADS), 0, p);
}

/* y = act(x / max(||x||, 1e-12) * sqrt(C) * gamma), a warp per pixel. */
static __global__ void __launch_bounds__(THREADS) pixel_norm_kernel(float *y, const float *x, int64_t pixels, int C,
                                                                    const float *gamma, KlActivation act)
{
    int lane = (int)threadIdx.x % 32;
    int64_t at = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    double sum = 0, r;

    if (at >= pixels)
        return;
    x += at * C;
    y += at * C;
    for (int c = lane; c < C; c += 32)
        sum += (double)x[c] * x[c];
    r = sqrt(kl_warp_sum(sum));
    r = sqrt((double)C) / (r < 1e-12 ? 1e-12 : r);      /* a NaN stays */
    for (int c = lane; c < C; c += 32)
        y[c] = kl_act((float)(x[c] * r) * gamma[c], act);
}

static void pixel_norm(KlExec *ex, float *y, const float *x, int64_t pixels, int C, const float *gamma,
                       KlActivation act)
{
    if (!kl_cuda_enter(ex) || pixels < 1)
        return;
    KL_ON_DEVICE(y), KL_ON_DEVICE(x), KL_ON_DEVICE(gamma);
    KL_LAUNCH(ex, pixel_norm_kernel, dim3(kl_blocks(pixels, THREADS / 32)), dim3(THREADS), 0, y, x, pixels, C, gamma,
              act);
}

void kl_cuda_init_rows(KlKernels *k)
{
    k->layer_norm   = layer_norm;
    k->rms_norm     = rms_norm;
    k->qk_norm_rope = qk_norm_rope;
    k->pixel_norm   = pixel_norm;
}
