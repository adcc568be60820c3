/*
 * Weights that are not whole floats: widened for a product, or multiplied in
 * integers.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The decoders are those of kernels/quants.h, compiled for the device. This
 * file is built without contraction, so that they give the same bits.
 */
#include "device.cuh"

#define KL_QUANTS_FN static __host__ __device__ __forceinline__
#ifdef __CUDA_ARCH__
#define KL_HALF_F32 kl_f32_of_half
#endif
#include "kernels/quants.h"

#include "quants.h"

#define THREADS 256

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

/* -- GGUF's blocks -- */

#define CHUNK 2048                      /* elements that THREADS threads decode: whole blocks of every format */

template<KlDType T> static __device__ __forceinline__ void decode(float *y, const uint8_t *b, int from, int n)
{
    switch (T) {
    case KL_Q8_0: kl_part_q8_0(y, b, from, n); break;
    case KL_Q6_K: kl_part_q6_k(y, b, from, n); break;
    case KL_Q5_K: kl_part_q5_k(y, b, from, n); break;
    case KL_Q5_1: kl_part_q5_1(y, b, from, n); break;
    case KL_Q5_0: kl_part_q5_0(y, b, from, n); break;
    case KL_Q4_K: kl_part_q4_k(y, b, from, n); break;
    case KL_Q4_1: kl_part_q4_1(y, b, from, n); break;
    case KL_Q4_0: kl_part_q4_0(y, b, from, n); break;
    case KL_Q3_K: kl_part_q3_k(y, b, from, n); break;
    default:      kl_part_q2_k(y, b, from, n); break;
    }
}

/* At most 16 bytes a thread from global into shared memory. vec: both begin at multiples of 16. */
static __device__ __forceinline__ void copy_bytes(uint8_t *to, const uint8_t *from, int bytes, bool vec)
{
    int done = vec ? bytes / 16 * 16 : 0, i = (int)threadIdx.x * 16;

    if (i < done)
        *(uint4 *)(to + i) = __ldg((const uint4 *)(from + i));
#pragma unroll 1
    for (i = done + (int)threadIdx.x; i < bytes; i += THREADS)
        to[i] = __ldg(from + i);
}

/* The blocks of a CHUNK pass through shared memory; then neighbouring threads decode neighbouring 16 bytes of the
 * result. vec: data and out are multiples of 16. */
template<KlDType T, int BLOCK, int BYTES, bool HALF> static __global__ void __launch_bounds__(THREADS)
block_kernel(void *out, const uint8_t *data, int64_t n, bool vec)
{
    const int N = HALF ? 8 : 4, PER_BLOCK = BLOCK / N;
    __shared__ __align__(16) uint8_t blocks[CHUNK / BLOCK * BYTES];
    int64_t first = (int64_t)blockIdx.x * CHUNK;
    int elements = n - first < CHUNK ? (int)(n - first) : CHUNK;

    copy_bytes(blocks, data + first / BLOCK * BYTES, elements / BLOCK * BYTES, vec);
    __syncthreads();
#pragma unroll
    for (int r = 0; r < CHUNK / N / THREADS; r++) {
        unsigned i = r * THREADS + threadIdx.x;
        int64_t at = first + i * N;
        float y[N];

        if ((int)i * N >= elements)
            return;
        decode<T>(y, blocks + i / PER_BLOCK * BYTES, (int)(i % PER_BLOCK) * N, N);
        if (HALF)
            *(uint4 *)((uint16_t *)out + at) = make_uint4(kl_bf16x2(y[0], y[1]), kl_bf16x2(y[2], y[3]),
                                                          kl_bf16x2(y[N - 4], y[N - 3]), kl_bf16x2(y[N - 2], y[N - 1]));
        else if (vec)
            *(float4 *)((float *)out + at) = make_float4(y[0], y[1], y[2], y[3]);
        else
            for (int e = 0; e < N; e++)
                ((float *)out)[at + e] = y[e];
    }
}

template<KlDType T, int BLOCK, int BYTES> static void blocks(KlExec *ex, void *out, bool half, const void *data,
                                                             int64_t n)
{
    bool vec = (((uintptr_t)out | (uintptr_t)data) & 15) == 0;
    dim3 grid(kl_blocks(n, CHUNK));

    static_assert(CHUNK / BLOCK * BYTES % 16 == 0 && CHUNK / BLOCK * BYTES <= THREADS * 16, "see copy_bytes()");
    if (half)
        KL_LAUNCH(ex, (block_kernel<T, BLOCK, BYTES, true>), grid, dim3(THREADS), 0, out, (const uint8_t *)data, n,
                  vec);
    else
        KL_LAUNCH(ex, (block_kernel<T, BLOCK, BYTES, false>), grid, dim3(THREADS), 0, out, (const uint8_t *)data, n,
                  vec);
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

/* y = sx sw qx qw^T on the tensor cores: as conv_mma.cu, with bytes. */
#define BM 128
#define BN 128
#define BK 64
#define LD (BK + 16)                    /* between rows of shared memory: 5 times 16 bytes */
#define STAGES 4
#define STAGE_BYTES ((BM + BN) * LD)

struct Int8 {
    float *y; int64_t ldy;
    const int8_t *x, *w;                /* [M,Kp], [N,K] */
    const float *sx, *sw;               /* [M]; [N], one, or NULL */
    bool each;                          /* row has a scale, of w */
    int64_t M, N, K, Kp;
};

/* Bytes k .. k + 15 of a row of K, wherever it begins; zeros behind it. */
static __device__ __forceinline__ uint4 odd_bytes(const int8_t *row, int64_t k, int64_t K)
{
    uint32_t v[4];

#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[i] = 0;
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (k + 4 * i + e < K)
                v[i] |= (uint32_t)(uint8_t)row[k + 4 * i + e] << 8 * e;
    }
    return make_uint4(v[0], v[1], v[2], v[3]);
}

/* A stage: BM rows of x, BN of w, from k0 on. ALIGNED: w's rows begin at multiples of 16. */
template<bool ALIGNED> static __device__ __forceinline__ void fill_stage(const Int8 &a, int8_t *stage, int64_t m0,
                                                                         int64_t n0, int64_t k0)
{
    int chunk = (int)threadIdx.x % 4 * 16;
    int64_t k = k0 + chunk;

#pragma unroll
    for (int i = 0; i < BM; i += THREADS / 4) {
        int r = i + (int)threadIdx.x / 4;
        bool ok = m0 + r < a.M && k < a.Kp;

        kl_cp_async16(stage + r * LD + chunk, a.x + (ok ? (m0 + r) * a.Kp + k : 0), ok);
    }
    stage += BM * LD;
#pragma unroll
    for (int i = 0; i < BN; i += THREADS / 4) {
        int r = i + (int)threadIdx.x / 4;
        bool ok = n0 + r < a.N && k < a.K;

        if (ALIGNED)
            kl_cp_async16(stage + r * LD + chunk, a.w + (ok ? (n0 + r) * a.K + k : 0), ok);
        else
            *(uint4 *)(stage + r * LD + chunk) = ok ? odd_bytes(a.w + (n0 + r) * a.K, k, a.K) : make_uint4(0, 0, 0, 0);
    }
}

/* acc[2][8][4] of a warp: 32 rows of x, 64 of w. */
static __device__ __forceinline__ void multiply(int32_t acc[2][8][4], const int8_t *stage)
{
    int lane = (int)threadIdx.x % 32, i = lane / 8, m0 = (int)threadIdx.x / 32 % 4 * 32;
    int n0 = (int)threadIdx.x / 128 * 64;
    const int8_t *w = stage + BM * LD;

#pragma unroll
    for (int k = 0; k < BK; k += 32) {
        uint32_t a[2][4], b[4];

#pragma unroll
        for (int m = 0; m < 2; m++)
            kl_ldmatrix4(a[m], stage + (m0 + m * 16 + i % 2 * 8 + lane % 8) * LD + k + i / 2 * 16);
#pragma unroll
        for (int n = 0; n < 4; n++) {
            kl_ldmatrix4(b, w + (n0 + n * 16 + i / 2 * 8 + lane % 8) * LD + k + i % 2 * 16);
#pragma unroll
            for (int m = 0; m < 2; m++) {
                kl_mma_s8(acc[m][2 * n], a[m], b[0], b[1]);
                kl_mma_s8(acc[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

static __device__ __forceinline__ void write_tile(const Int8 &a, int32_t acc[2][8][4], int64_t m0, int64_t n0)
{
    int lane = (int)threadIdx.x % 32;
    bool pairs = a.ldy % 2 == 0 && ((uintptr_t)a.y & 7) == 0;
    float sx[4];

    m0 += (int)threadIdx.x / 32 % 4 * 32 + lane / 4;
    n0 += (int)threadIdx.x / 128 * 64 + lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < 4; m++)
        sx[m] = m0 + m * 8 < a.M ? a.sx[m0 + m * 8] : 0;
#pragma unroll
    for (int n = 0; n < 8; n++) {
        int64_t at = n0 + n * 8;
        float s0 = a.sw && at < a.N ? a.sw[a.each ? at : 0] : 1;
        float s1 = a.sw && at + 1 < a.N ? a.sw[a.each ? at + 1 : 0] : 1;

#pragma unroll
        for (int m = 0; m < 4; m++) {
            int64_t row = m0 + m * 8;
            const int32_t *sum = acc[m / 2][n] + m % 2 * 2;
            float *y = a.y + row * a.ldy + at, v0, v1;

            if (row >= a.M)
                continue;
            v0 = (float)((double)sx[m] * s0 * sum[0]);
            v1 = (float)((double)sx[m] * s1 * sum[1]);
            if (pairs && at + 1 < a.N) {
                *(float2 *)y = make_float2(v0, v1);
                continue;
            }
            if (at < a.N)
                y[0] = v0;
            if (at + 1 < a.N)
                y[1] = v1;
        }
    }
}

/* 8 warps, four along x and two along w. */
template<bool ALIGNED> static __global__ void __launch_bounds__(THREADS, 2) int8_kernel(Int8 a)
{
    int64_t m0 = (int64_t)blockIdx.y * BM, n0 = (int64_t)blockIdx.x * BN;
    int steps = (int)((a.K + BK - 1) / BK);
    int32_t acc[2][8][4];

    KL_SHARED(int8_t, stages);

#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int n = 0; n < 8; n++)
            acc[m][n][0] = acc[m][n][1] = acc[m][n][2] = acc[m][n][3] = 0;
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps)
            fill_stage<ALIGNED>(a, stages + s * STAGE_BYTES, m0, n0, s * BK);
        kl_cp_commit();
    }
    for (int s = 0; s < steps; s++) {
        kl_cp_wait<STAGES - 2>();
        __syncthreads();                /* stage s is there for all, and all are through with stage s - 1 */
        if (s + STAGES - 1 < steps)
            fill_stage<ALIGNED>(a, stages + (s + STAGES - 1) % STAGES * STAGE_BYTES, m0, n0, (s + STAGES - 1) * BK);
        kl_cp_commit();
        multiply(acc, stages + s % STAGES * STAGE_BYTES);
    }
    kl_cp_wait<0>();
    write_tile(a, acc, m0, n0);
}

template<bool ALIGNED> static void launch_int8(KlExec *ex, const Int8 *a)
{
    dim3 grid(kl_blocks(a->N, BN), kl_blocks(a->M, BM));
    int shared = STAGES * STAGE_BYTES;

    if (KL_CUDA(ex, cudaFuncSetAttribute((const void *)int8_kernel<ALIGNED>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, shared)))
        KL_LAUNCH(ex, int8_kernel<ALIGNED>, grid, dim3(THREADS), (size_t)shared, *a);
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
    Int8 a = { y, ldy, q, (const int8_t *)data, sx, scale, w->scale_group != 0, M, N, K, Kp };

    KL_LAUNCH(ex, quantize_x_kernel, dim3((unsigned)M), dim3(THREADS), 0, q, sx, x, ldx, K, Kp);
    if (K % 16 == 0 && ((uintptr_t)data & 15) == 0)
        launch_int8<true>(ex, &a);
    else
        launch_int8<false>(ex, &a);
}

void kl_cuda_init_quants(KlKernels *k)
{
    k->quantize_rows = quantize_rows;
}
