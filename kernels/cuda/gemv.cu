/*
 * y = act(x w^T + bias) of few rows, in f32: a warp for some outputs of some
 * rows, weights read once, as they are stored.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For what is small and steers everything else, such as a timestep's
 * modulation: neither x nor w is rounded. Bound by reading w; x lies in the
 * caches, and is read once for OUTPUTS of them.
 */
#include "cuda.h"

#define WARPS 4
#define THREADS (32 * WARPS)
#define OUTPUTS 4
#define ROWS 8

struct Gemv {
    KlLinear p;
    const void *w;                      /* whole floats */
};

/* Four elements of a row from k on; VEC: k + 3 < K and the row is aligned. */
template<KlDType T, bool VEC> static __device__ __forceinline__ float4 load4(const void *row, int64_t k, int64_t K)
{
    float4 f;

    if (!VEC) {
        f.x = k + 0 < K ? kl_weight_at(row, T, k + 0) : 0;
        f.y = k + 1 < K ? kl_weight_at(row, T, k + 1) : 0;
        f.z = k + 2 < K ? kl_weight_at(row, T, k + 2) : 0;
        f.w = k + 3 < K ? kl_weight_at(row, T, k + 3) : 0;
    } else if (T == KL_F32) {
        f = *(const float4 *)((const float *)row + k);
    } else {
        const uint2 u = *(const uint2 *)((const uint16_t *)row + k);

        f.x = T == KL_F16 ? kl_f32_of_half((uint16_t)u.x) : kl_f32_of_bf16((uint16_t)u.x);
        f.y = T == KL_F16 ? kl_f32_of_half((uint16_t)(u.x >> 16)) : kl_f32_of_bf16((uint16_t)(u.x >> 16));
        f.z = T == KL_F16 ? kl_f32_of_half((uint16_t)u.y) : kl_f32_of_bf16((uint16_t)u.y);
        f.w = T == KL_F16 ? kl_f32_of_half((uint16_t)(u.y >> 16)) : kl_f32_of_bf16((uint16_t)(u.y >> 16));
    }
    return f;
}

static __device__ __forceinline__ float finish(const KlLinear &p, int64_t m, int64_t n, float v)
{
    return kl_linear_finish(v, p.bias ? p.bias + n : NULL, p.act, p.residual ? p.residual + m * p.ldy + n : NULL,
                            p.gate ? p.gate + m / p.group_rows * p.ldgate + n : NULL);
}

template<KlDType T, bool VEC> static __global__ void __launch_bounds__(THREADS) gemv_kernel(Gemv g)
{
    const KlLinear &p = g.p;
    const int lane = (int)threadIdx.x % 32;
    const int64_t n0 = ((int64_t)blockIdx.x * WARPS + threadIdx.x / 32) * OUTPUTS, m0 = (int64_t)blockIdx.y * ROWS;
    const size_t row = (size_t)p.K * (T == KL_F32 ? 4 : 2);
    float acc[OUTPUTS][ROWS];

    if (n0 >= p.N)
        return;
#pragma unroll
    for (int n = 0; n < OUTPUTS; n++)
#pragma unroll
        for (int m = 0; m < ROWS; m++)
            acc[n][m] = 0;
    for (int64_t k = lane * 4; k < p.K; k += 128) {
        float4 w[OUTPUTS];

#pragma unroll
        for (int n = 0; n < OUTPUTS; n++)       /* outputs behind the last compute it again */
            w[n] = load4<T, VEC>((const char *)g.w + (size_t)(n0 + n < p.N ? n0 + n : p.N - 1) * row, k, p.K);
#pragma unroll
        for (int m = 0; m < ROWS; m++) {
            float4 x;

            if (m0 + m >= p.M)
                break;
            x = load4<KL_F32, VEC>(p.x + (m0 + m) * p.ldx, k, p.K);
#pragma unroll
            for (int n = 0; n < OUTPUTS; n++)
                acc[n][m] += w[n].x * x.x + w[n].y * x.y + w[n].z * x.z + w[n].w * x.w;
        }
    }
#pragma unroll
    for (int n = 0; n < OUTPUTS; n++)
#pragma unroll
        for (int m = 0; m < ROWS; m++) {
            const float v = kl_warp_sum(acc[n][m]);

            if (lane == 0 && n0 + n < p.N && m0 + m < p.M)
                p.y[(m0 + m) * p.ldy + n0 + n] = finish(p, m0 + m, n0 + n, v);
        }
}

template<KlDType T> static void launch(KlExec *ex, const Gemv &g)
{
    const uintptr_t bits = (uintptr_t)g.p.x | (uintptr_t)g.w;
    const bool vec = g.p.K % 4 == 0 && g.p.ldx % 4 == 0 && bits % 16 == 0;
    const dim3 grid(kl_blocks(g.p.N, WARPS * OUTPUTS), (unsigned)kl_ceil_div(g.p.M, ROWS));

    if (vec)
        KL_LAUNCH(ex, (gemv_kernel<T, true>), grid, dim3(THREADS), 0, g);
    else
        KL_LAUNCH(ex, (gemv_kernel<T, false>), grid, dim3(THREADS), 0, g);
}

void kl_cuda_gemv(KlExec *ex, const KlLinear *p, const void *w, KlDType dtype)
{
    const Gemv g = { *p, w };

    switch (dtype) {
    case KL_F32: launch<KL_F32>(ex, g); break;
    case KL_F16: launch<KL_F16>(ex, g); break;
    default:     launch<KL_BF16>(ex, g); break;
    }
}
