/*
 * Convolution in bf16 on the tensor cores: implicit GEMM with mma.sync.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Rows are output pixels, columns output channels, and the sum runs over taps
 * and input channels, 32 at a time. Pictures are rounded to bf16 in scratch,
 * channels padded with zeros to a multiple of 32; a tap outside the picture
 * is a copy of zeros. Nothing is gathered in memory: each stage of shared
 * memory is filled by addresses alone.
 */
#include "conv.h"

#define THREADS 256
#define BM 128
#define BK 32
#define LD (BK + 8)                     /* between rows of shared memory: 5 times 16 bytes */
#define STAGES 4

struct Implicit {
    KlConvDesc d;
    int oR, oW, icp;
    const uint16_t *w;                  /* [OC][taps][icp] */
    const float *bias, *residual;
    const uint16_t *src[3];             /* of the pictures that there are, [R,W,icp] */
    int t[3], pictures;                 /* their place in time */
    float *out;
};

/* -- operands -- */

/* A thread writes 16 bytes. Index: 32 bits where they do. quads: ic is a multiple of 4 and x of 16 bytes. */
template<typename Index> static __global__ void __launch_bounds__(THREADS)
picture_kernel(uint4 *out, const float *x, Index pixels, int ic, int icp, int quads)
{
    const Index i = (Index)blockIdx.x * THREADS + threadIdx.x, pieces = (Index)(icp / 8), at = i / pieces;
    const int c = (int)(i - at * pieces) * 8;
    float v[8];

    if (at >= pixels)
        return;
    x += (int64_t)at * ic + c;
#pragma unroll
    for (int n = 0; n < 8; n += 4)
        if (quads) {
            const float4 q = c + n < ic ? *(const float4 *)(x + n) : make_float4(0, 0, 0, 0);

            v[n] = q.x, v[n + 1] = q.y, v[n + 2] = q.z, v[n + 3] = q.w;
        } else {
#pragma unroll
            for (int e = n; e < n + 4; e++)
                v[e] = c + e < ic ? x[e] : 0;
        }
    out[i] = make_uint4(kl_bf16x2(v[0], v[1]), kl_bf16x2(v[2], v[3]), kl_bf16x2(v[4], v[5]), kl_bf16x2(v[6], v[7]));
}

static void picture(KlExec *ex, const KlConv *c, uint16_t *out, const float *x)
{
    const int64_t pixels = (int64_t)c->d.R * c->d.W, n = pixels * (c->icp / 8);
    const int quads = c->d.ic % 4 == 0 && ((uintptr_t)x & 15) == 0;

    if (n < (int64_t)1 << 30)
        KL_LAUNCH(ex, (picture_kernel<uint32_t>), dim3(kl_blocks(n, THREADS)), dim3(THREADS), 0, (uint4 *)out, x,
                  (uint32_t)pixels, c->d.ic, c->icp, quads);
    else
        KL_LAUNCH(ex, (picture_kernel<int64_t>), dim3(kl_blocks(n, THREADS)), dim3(THREADS), 0, (uint4 *)out, x,
                  pixels, c->d.ic, c->icp, quads);
}

static __global__ void __launch_bounds__(THREADS)
weights_kernel(uint16_t *out, const float *w, int ic, int icp, int oc, int taps)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, rest = i / icp, o = rest / taps;
    int c = (int)(i - rest * icp), tap = (int)(rest - o * taps);

    if (o < oc)
        out[i] = c < ic ? kl_bf16(w[((int64_t)tap * ic + c) * oc + o]) : 0;
}

bool kl_cuda_conv_mma_pack(KlConv *c)
{
    int taps = c->cw->taps, icp = (int)kl_round_up((size_t)c->d.ic, BK);
    int64_t n = (int64_t)c->d.oc * taps * icp;

    c->half = (uint16_t *)kl_cuda_take(c->ex->st, (size_t)n * 2, c->ex->stream);
    if (!c->half)
        return false;
    c->icp = icp;
    KL_LAUNCH(c->ex, weights_kernel, dim3(kl_blocks(n, THREADS)), dim3(THREADS), 0, c->half, (const float *)c->cw->w,
              c->d.ic, icp, c->d.oc, taps);
    return !c->ex->failed;
}

static size_t picture_bytes(const KlConv *c)
{
    return kl_round_up((size_t)c->d.R * c->d.W * c->icp * 2, 256);
}

size_t kl_cuda_conv_mma_scratch(const KlConv *c)
{
    return (size_t)c->d.kt * picture_bytes(c);
}

/* -- the kernel -- */

/* Where the sum stands: picture, tap, channel. */
struct Place { int p, i, j, c; };

static __device__ __forceinline__ void advance(const Implicit &a, Place &at)
{
    if ((at.c += BK) < a.icp)
        return;
    at.c = 0;
    if (++at.j < a.d.kw)
        return;
    at.j = 0;
    if (++at.i < a.d.kh)
        return;
    at.i = 0;
    at.p++;
}

/* A stage: BM pixels of this place, BN channels' weights. y, x: this thread's two output pixels' first tap. */
template<int BN> static __device__ __forceinline__ void fill_stage(const Implicit &a, uint16_t *stage, const Place &at,
                                                                   const int y[2], const int x[2], int n0)
{
    int chunk = (int)threadIdx.x % 4 * 8, taps = a.d.kt * a.d.kh * a.d.kw;
    int tap = (a.t[at.p] * a.d.kh + at.i) * a.d.kw + at.j;

    for (int n = 0; n < 2; n++) {
        int r = y[n] + at.i, c = x[n] + at.j;
        bool ok = r >= 0 && c >= 0 && r < a.d.R << a.d.up2 && c < a.d.W << a.d.up2;
        int64_t pixel = ok ? (int64_t)(r >> a.d.up2) * a.d.W + (c >> a.d.up2) : 0;

        kl_cp_async16(stage + ((int)threadIdx.x / 4 + 64 * n) * LD + chunk, a.src[at.p] + pixel * a.icp + at.c + chunk,
                      ok);
    }
    stage += BM * LD;
#pragma unroll
    for (int i = 0; i < BN * 4; i += THREADS) {     /* a constant number of trips: else a loop remains in the loop */
        int row = (i + (int)threadIdx.x) / 4, o = n0 + row;
        bool ok = o < a.d.oc;

        if (row >= BN)
            break;
        kl_cp_async16(stage + row * LD + chunk, a.w + ((int64_t)(ok ? o : 0) * taps + tap) * a.icp + at.c + chunk,
                      ok);
    }
}

/* acc[2][BN/16][4] of a warp: 32 pixels, BN/2 channels. */
template<int BN> static __device__ __forceinline__ void multiply(float acc[2][BN / 16][4], const uint16_t *stage)
{
    int lane = (int)threadIdx.x % 32, i = lane / 8, m0 = (int)threadIdx.x / 32 % 4 * 32;
    int n0 = (int)threadIdx.x / 128 * (BN / 2);
    const uint16_t *w = stage + BM * LD;

#pragma unroll
    for (int k = 0; k < BK; k += 16) {
        uint32_t a[2][4], b[4];

#pragma unroll
        for (int m = 0; m < 2; m++)
            kl_ldmatrix4(a[m], stage + (m0 + m * 16 + i % 2 * 8 + lane % 8) * LD + k + i / 2 * 8);
#pragma unroll
        for (int n = 0; n < BN / 32; n++) {
            kl_ldmatrix4(b, w + (n0 + n * 16 + i / 2 * 8 + lane % 8) * LD + k + i % 2 * 8);
#pragma unroll
            for (int m = 0; m < 2; m++) {
                kl_mma_bf16(acc[m][2 * n], a[m], b[0], b[1]);
                kl_mma_bf16(acc[m][2 * n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

template<int BN> static __device__ __forceinline__ void write_tile(const Implicit &a, float acc[2][BN / 16][4],
                                                                   int64_t m0, int n0)
{
    int lane = (int)threadIdx.x % 32;

#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int n = 0; n < BN / 16; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int64_t pixel = m0 + m * 16 + lane / 4 + e / 2 * 8, at;
                int o = n0 + n * 8 + lane % 4 * 2 + e % 2;
                float v = acc[m][n][e];

                if (pixel >= (int64_t)a.oR * a.oW || o >= a.d.oc)
                    continue;
                at = pixel * a.d.oc + o;
                if (a.bias)
                    v += a.bias[o];
                a.out[at] = a.residual ? v + a.residual[at] : v;
            }
}

template<int BN> static __global__ void __launch_bounds__(THREADS, 2) implicit_kernel(Implicit a)
{
    const int STAGE = (BM + BN) * LD;
    int64_t pixel0 = (int64_t)blockIdx.x * BM;
    int n0 = (int)blockIdx.y * BN, steps = a.pictures * a.d.kh * a.d.kw * (a.icp / BK), y[2], x[2];
    float acc[2][BN / 16][4];
    Place at = { 0, 0, 0, 0 };

    KL_SHARED(uint16_t, stages);

    for (int n = 0; n < 2; n++) {
        int64_t p = pixel0 + threadIdx.x / 4 + 64 * n;

        y[n] = (int)(p / a.oW) * a.d.stride - a.d.pad_top;      /* past the last: thrown away */
        x[n] = (int)(p % a.oW) * a.d.stride - a.d.pad_left;
    }
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int n = 0; n < BN / 16; n++)
            acc[m][n][0] = acc[m][n][1] = acc[m][n][2] = acc[m][n][3] = 0;
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) {
            fill_stage<BN>(a, stages + s * STAGE, at, y, x, n0);
            advance(a, at);
        }
        kl_cp_commit();
    }
    for (int s = 0; s < steps; s++) {
        kl_cp_wait<STAGES - 2>();
        __syncthreads();                /* stage s is there for all, and all are through with stage s - 1 */
        if (s + STAGES - 1 < steps) {
            fill_stage<BN>(a, stages + (s + STAGES - 1) % STAGES * STAGE, at, y, x, n0);
            advance(a, at);
        }
        kl_cp_commit();
        multiply<BN>(acc, stages + s % STAGES * STAGE);
    }
    kl_cp_wait<0>();
    write_tile<BN>(a, acc, pixel0 + threadIdx.x / 32 % 4 * 32, n0 + (int)threadIdx.x / 128 * (BN / 2));
}

template<int BN> static void launch(KlExec *ex, const Implicit *a)
{
    size_t shared = (size_t)STAGES * (BM + BN) * LD * 2;
    dim3 grid(kl_blocks((int64_t)a->oR * a->oW, BM), (unsigned)kl_ceil_div(a->d.oc, BN));

    if (KL_CUDA(ex, cudaFuncSetAttribute((const void *)implicit_kernel<BN>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared)))
        KL_LAUNCH(ex, implicit_kernel<BN>, grid, dim3(THREADS), shared, *a);
}

bool kl_cuda_conv_mma(KlExec *ex, const KlConv *c, float *out, const float *const *src, const float *residual)
{
    Implicit a = {};

    if (!c->d.operand && ex->scratch_bytes < kl_cuda_conv_mma_scratch(c))
        return false;
    a.d = c->d;
    a.oR = c->oR;
    a.oW = c->oW;
    a.icp = c->icp;
    a.w = c->half;
    a.bias = c->cw->bias;
    a.residual = residual;
    a.out = out;
    for (int t = 0; t < c->d.kt; t++) {
        uint16_t *to = (uint16_t *)(ex->scratch + (size_t)a.pictures * picture_bytes(c));

        if (!src[t])
            continue;
        if (!c->d.operand)
            picture(ex, c, to, src[t]);
        a.src[a.pictures] = c->d.operand ? (const uint16_t *)src[t] : to;
        a.t[a.pictures++] = t;
    }
    if (kl_cuda_conv_wgmma(ex, c, out, a.src, a.t, a.pictures, residual))
        return true;
    if (c->d.oc <= 32)
        launch<32>(ex, &a);
    else if (c->d.oc <= 64)
        launch<64>(ex, &a);
    else if (c->d.oc % 128 && c->d.oc % 96 == 0)
        launch<96>(ex, &a);
    else
        launch<128>(ex, &a);
    return true;
}
