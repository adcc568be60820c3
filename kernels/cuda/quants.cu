/*
 * Weights that are not whole floats: widened for a product, or multiplied in
 * integers.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The decoders are those of kernels/quants.h, compiled for the device. This
 * file is built without contraction, so that they give the same bits.
 */
#include <cuda_runtime.h>

#define KL_QUANTS_FN static __host__ __device__ inline
#include "kernels/quants.h"

#include "quants.h"

#define THREADS 128

/* -- one by one: floats, fp8, int8 -- */

struct Plain {
    const void *data;
    const float *scale;
    int64_t scale_group;
    KlDType dtype;
};

static __device__ __forceinline__ float plain_at(const Plain &p, int64_t i)
{
    float v;

    switch (p.dtype) {
    case KL_F8_E4M3: v = kl_e4m3_f32(((const uint8_t *)p.data)[i]); break;
    case KL_F8_E5M2: v = kl_e5m2_f32(((const uint8_t *)p.data)[i]); break;
    case KL_I8:      v = (float)((const int8_t *)p.data)[i];        break;
    default:         return kl_weight_at(p.data, p.dtype, i);
    }
    return p.scale ? v * p.scale[p.scale_group ? i / p.scale_group : 0] : v;
}

template<bool HALF> static __global__ void __launch_bounds__(THREADS)
plain_kernel(void *out, Plain p, int64_t N, int64_t K, int64_t Kp)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, n = i / Kp, k = i - n * Kp;
    float v;

    if (n >= N)
        return;
    v = k < K ? plain_at(p, n * K + k) : 0;
    if (HALF)
        ((uint16_t *)out)[i] = kl_bf16(v);
    else
        ((float *)out)[i] = v;
}

/* -- GGUF's blocks: a thread for each -- */

template<KlDType T> static __device__ __forceinline__ void decode(float *y, const uint8_t *b)
{
    switch (T) {
    case KL_Q8_0: kl_dequant_q8_0(y, b); break;
    case KL_Q6_K: kl_dequant_q6_k(y, b); break;
    case KL_Q5_K: kl_dequant_q5_k(y, b); break;
    case KL_Q5_1: kl_dequant_q5_1(y, b); break;
    case KL_Q5_0: kl_dequant_q5_0(y, b); break;
    case KL_Q4_K: kl_dequant_q4_k(y, b); break;
    case KL_Q4_1: kl_dequant_q4_1(y, b); break;
    case KL_Q4_0: kl_dequant_q4_0(y, b); break;
    case KL_Q3_K: kl_dequant_q3_k(y, b); break;
    default:      kl_dequant_q2_k(y, b); break;
    }
}

template<KlDType T, int BLOCK, int BYTES, bool HALF> static __global__ void __launch_bounds__(THREADS)
block_kernel(void *out, const uint8_t *data, int64_t n)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    float y[BLOCK];

    if (i >= n)
        return;
    decode<T>(y, data + i * BYTES);
    for (int e = 0; e < BLOCK; e += 2)
        if (HALF)
            ((uint32_t *)out)[(i * BLOCK + e) / 2] = kl_bf16x2(y[e], y[e + 1]);
        else
            ((float2 *)out)[(i * BLOCK + e) / 2] = make_float2(y[e], y[e + 1]);
}

template<KlDType T, int BLOCK, int BYTES> static void blocks(KlExec *ex, void *out, bool half, const void *data,
                                                             int64_t elements)
{
    int64_t n = elements / BLOCK;

    if (half)
        KL_LAUNCH(ex, (block_kernel<T, BLOCK, BYTES, true>), dim3(kl_blocks(n, THREADS)), dim3(THREADS), 0, out,
                  (const uint8_t *)data, n);
    else
        KL_LAUNCH(ex, (block_kernel<T, BLOCK, BYTES, false>), dim3(kl_blocks(n, THREADS)), dim3(THREADS), 0, out,
                  (const uint8_t *)data, n);
}

void kl_cuda_widen(KlExec *ex, void *out, bool half, const KlWeight *w, const void *data, const float *scale,
                   int64_t N, int64_t K, int64_t Kp)
{
    Plain p = { data, scale, w->scale_group, w->dtype };

    switch (w->dtype) {
    case KL_Q8_0: blocks<KL_Q8_0, 32, 34>(ex, out, half, data, N * K);   return;
    case KL_Q6_K: blocks<KL_Q6_K, 256, 210>(ex, out, half, data, N * K); return;
    case KL_Q5_K: blocks<KL_Q5_K, 256, 176>(ex, out, half, data, N * K); return;
    case KL_Q5_1: blocks<KL_Q5_1, 32, 24>(ex, out, half, data, N * K);   return;
    case KL_Q5_0: blocks<KL_Q5_0, 32, 22>(ex, out, half, data, N * K);   return;
    case KL_Q4_K: blocks<KL_Q4_K, 256, 144>(ex, out, half, data, N * K); return;
    case KL_Q4_1: blocks<KL_Q4_1, 32, 20>(ex, out, half, data, N * K);   return;
    case KL_Q4_0: blocks<KL_Q4_0, 32, 18>(ex, out, half, data, N * K);   return;
    case KL_Q3_K: blocks<KL_Q3_K, 256, 110>(ex, out, half, data, N * K); return;
    case KL_Q2_K: blocks<KL_Q2_K, 256, 84>(ex, out, half, data, N * K);  return;
    default: break;
    }
    if (half)
        KL_LAUNCH(ex, (plain_kernel<true>), dim3(kl_blocks(N * Kp, THREADS)), dim3(THREADS), 0, out, p, N, K, Kp);
    else
        KL_LAUNCH(ex, (plain_kernel<false>), dim3(kl_blocks(N * Kp, THREADS)), dim3(THREADS), 0, out, p, N, K, Kp);
}

/* -- int8 -- */

/* The largest magnitude of the block's row in every thread, a NaN before all. */
static __device__ float block_max(float v, float *part)
{
    v = kl_warp_max(v);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    for (int i = 0; i < THREADS / 32; i++)
        v = part[i] > v || !(part[i] == part[i]) ? part[i] : v;
    return v;
}

template<typename At> static __device__ void quantize_row(int8_t *q, float *scale, int64_t K, int64_t Kp, const At &at)
{
    __shared__ float part[32];
    float max = 0, by;

    for (int64_t k = threadIdx.x; k < K; k += THREADS) {
        float a = fabsf(at(k));

        max = a > max || !(a == a) ? a : max;
    }
    max = block_max(max, part);
    if (threadIdx.x == 0)
        *scale = kl_i8_scale(max, &by);
    else
        kl_i8_scale(max, &by);
    for (int64_t k = threadIdx.x; k < Kp; k += THREADS)
        q[k] = by == 0 || k >= K ? 0 : (int8_t)rintf(at(k) * by);
}

static __global__ void __launch_bounds__(THREADS) quantize_x_kernel(int8_t *q, float *scale, const float *x,
                                                                    int64_t ldx, int64_t K, int64_t Kp)
{
    const float *row = x + (int64_t)blockIdx.x * ldx;

    quantize_row(q + (int64_t)blockIdx.x * Kp, scale + blockIdx.x, K, Kp, [row](int64_t k) { return row[k]; });
}

static __global__ void __launch_bounds__(THREADS) quantize_w_kernel(int8_t *q, float *scale, const float *w, int64_t K)
{
    const float *row = w + (int64_t)blockIdx.x * K;

    quantize_row(q + (int64_t)blockIdx.x * K, scale + blockIdx.x, K, K, [row](int64_t k) { return row[k]; });
}

static void quantize_rows(KlExec *ex, int8_t *q, float *scale, KlWeight w, int64_t N, int64_t K)
{
    const void *data;
    void *wide;

    if (!kl_cuda_enter(ex) || N < 1 || K < 1)
        return;
    KL_ON_DEVICE(q), KL_ON_DEVICE(scale);
    wide = kl_cuda_take(ex->st, (size_t)(N * K) * sizeof(float), ex->stream);
    if (!wide) {
        kl_cuda_failed(ex, "cuda:%d: out of memory: %zu bytes to quantize a weight", ex->st->device,
                       (size_t)(N * K) * sizeof(float));
        return;
    }
    data = kl_cuda_weight_use(ex, &w);
    if (data)
        kl_cuda_widen(ex, wide, false, &w, data, kl_cuda_weight_scale(ex, &w), N, K, K);
    kl_cuda_weight_done(ex, &w);
    KL_LAUNCH(ex, quantize_w_kernel, dim3((unsigned)N), dim3(THREADS), 0, q, scale, (const float *)wide, K);
    KL_CUDA(ex, cudaFreeAsync(wide, ex->stream));
}

#define TILE 32

/* y = sx sw qx qw^T: a tile of 32 x 32, each of 128 threads 8 of its outputs. */
static __global__ void __launch_bounds__(THREADS)
int8_kernel(float *y, int64_t ldy, const int8_t *qx, const float *sx, int64_t Kp, Plain w, int64_t M, int64_t N,
            int64_t K)
{
    __shared__ int8_t a[TILE][TILE + 4], b[TILE][TILE + 4];
    int64_t m0 = (int64_t)blockIdx.y * TILE, n0 = (int64_t)blockIdx.x * TILE;
    int col = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32, sum[TILE / 4];

    for (int i = 0; i < TILE / 4; i++)
        sum[i] = 0;
    for (int64_t k0 = 0; k0 < K; k0 += TILE) {
        __syncthreads();
        for (int i = row; i < TILE; i += 4) {
            a[i][col] = m0 + i < M && k0 + col < Kp ? qx[(m0 + i) * Kp + k0 + col] : 0;
            b[i][col] = n0 + i < N && k0 + col < K ? ((const int8_t *)w.data)[(n0 + i) * K + k0 + col] : 0;
        }
        __syncthreads();
        for (int k = 0; k < TILE; k++)
            for (int i = 0; i < TILE / 4; i++)
                sum[i] += a[row + 4 * i][k] * b[col][k];
    }
    for (int i = 0; i < TILE / 4; i++) {
        int64_t m = m0 + row + 4 * i, n = n0 + col;

        if (m < M && n < N)
            y[m * ldy + n] = (float)((double)sx[m] * (w.scale ? w.scale[w.scale_group ? n : 0] : 1.0f) * sum[i]);
    }
}

size_t kl_cuda_int8_scratch(int64_t M, int64_t K)
{
    return kl_round_up((size_t)M * kl_round_up((size_t)K, 16), 256) + kl_round_up((size_t)M * sizeof(float), 256);
}

void kl_cuda_int8(KlExec *ex, float *y, int64_t ldy, const float *x, int64_t ldx, const KlWeight *w,
                  const void *data, const float *scale, int64_t M, int64_t N, int64_t K, void *scratch)
{
    int64_t Kp = (int64_t)kl_round_up((size_t)K, 16);
    int8_t *q = (int8_t *)scratch;
    float *sx = (float *)((char *)scratch + kl_round_up((size_t)(M * Kp), 256));
    Plain p = { data, scale, w->scale_group, KL_I8 };

    KL_LAUNCH(ex, quantize_x_kernel, dim3((unsigned)M), dim3(THREADS), 0, q, sx, x, ldx, K, Kp);
    KL_LAUNCH(ex, int8_kernel, dim3((unsigned)kl_ceil_div(N, TILE), (unsigned)kl_ceil_div(M, TILE)), dim3(THREADS), 0,
              y, ldy, (const int8_t *)q, (const float *)sx, Kp, p, M, N, K);
}

void kl_cuda_init_quants(KlKernels *k)
{
    k->quantize_rows = quantize_rows;
}
