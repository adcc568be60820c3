/*
 * Attention in bf16 for heads too wide for registers: two products a head,
 * with the scores of some queries at a time in memory.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The middle of a VAE has one head of up to 1024 over the pixels of a small
 * picture: its products are large and its scores few.
 *
 * Scratch: q [Sq,Ep], k [Sk,Ep] and v transposed [E,Kp] of one head in bf16 |
 * scores [QUERIES,Kp] in f32 | weights [QUERIES,Kp] in bf16 | output
 * [QUERIES,E] in f32 | the library's. Ep and Kp are E and Sk rounded up to 8,
 * zeros behind them.
 */
#include "cuda.h"

#define THREADS 256
#define TILE 32
#define QUERIES 1024

struct Places {
    int64_t Ep, Kp, queries;
    size_t q, k, v, scores, weights, out, total;        /* offsets into the scratch */
};

static Places places(int64_t Sq, int64_t Sk, int E)
{
    Places p = {};
    size_t at = 0;

    p.Ep = (int64_t)kl_round_up((size_t)E, 8);
    p.Kp = (int64_t)kl_round_up((size_t)Sk, 8);
    p.queries = Sq < QUERIES ? Sq : QUERIES;
    p.q = at;
    p.k = at += kl_round_up((size_t)(Sq * p.Ep) * 2, 256);
    p.v = at += kl_round_up((size_t)(Sk * p.Ep) * 2, 256);
    p.scores = at += kl_round_up((size_t)(E * p.Kp) * 2, 256);
    p.weights = at += kl_round_up((size_t)(p.queries * p.Kp) * sizeof(float), 256);
    p.out = at += kl_round_up((size_t)(p.queries * p.Kp) * 2, 256);
    at += kl_round_up((size_t)(p.queries * E) * sizeof(float), 256);
    p.total = at + KL_CUDA_GEMM_WORK;
    return p;
}

size_t kl_cuda_attention_wide_scratch(int64_t Sq, int64_t Sk, int, int E)
{
    return E > 384 ? places(Sq, Sk, E).total : 0;
}

/* out[E,Kp] = v[Sk,E] transposed, in bf16, zeros behind Sk. A block of 32 x 8 threads, a tile of 32 x 32. */
static __global__ void __launch_bounds__(THREADS)
transpose_kernel(uint16_t *out, const float *v, int64_t ldv, int64_t Sk, int E, int64_t Kp)
{
    __shared__ float tile[TILE][TILE + 1];
    const int x = (int)threadIdx.x % TILE, y = (int)threadIdx.x / TILE;
    const int64_t j0 = (int64_t)blockIdx.x * TILE, e0 = (int64_t)blockIdx.y * TILE;

    for (int i = y; i < TILE; i += THREADS / TILE)
        tile[i][x] = j0 + i < Sk && e0 + x < E ? v[(j0 + i) * ldv + e0 + x] : 0;
    __syncthreads();
    for (int i = y; i < TILE; i += THREADS / TILE)
        if (e0 + i < E && j0 + x < Kp)
            out[(e0 + i) * Kp + j0 + x] = kl_bf16(tile[x][i]);
}

struct Softmax {
    uint16_t *weights;
    const float *scores;
    int64_t Sk, Kp;
    float scale;
    const float *key_bias;
};

/* A row of weights from a row of scores, of sum 1 before they are rounded; a block each. */
static __global__ void __launch_bounds__(THREADS) softmax_kernel(Softmax p)
{
    __shared__ float part[THREADS / 32];
    __shared__ double sums[32];
    const float *s = p.scores + (int64_t)blockIdx.x * p.Kp;
    uint16_t *w = p.weights + (int64_t)blockIdx.x * p.Kp;
    float top = -INFINITY;
    double sum = 0;

    for (int64_t j = threadIdx.x; j < p.Sk; j += THREADS) {
        const float v = s[j] * p.scale + (p.key_bias ? p.key_bias[j] : 0);

        top = v > top || !(v == v) ? v : top;   /* a NaN stays */
    }
    top = kl_warp_max(top);
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = top;
    __syncthreads();
    for (int i = 0; i < THREADS / 32; i++)
        top = part[i] > top || !(part[i] == part[i]) ? part[i] : top;
    for (int64_t j = threadIdx.x; j < p.Sk; j += THREADS)
        sum += expf(s[j] * p.scale + (p.key_bias ? p.key_bias[j] : 0) - top);
    sum = 1 / kl_block_sum(sum, sums);
    for (int64_t j = threadIdx.x; j < p.Kp; j += THREADS)
        w[j] = j < p.Sk ? kl_bf16((float)(expf(s[j] * p.scale + (p.key_bias ? p.key_bias[j] : 0) - top) * sum)) : 0;
}

/* Rows of a head's output to their places. */
static __global__ void __launch_bounds__(THREADS)
scatter_kernel(float *out, bool half, int64_t ldo, const float *x, int64_t rows, int E)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, r = i / (E / 2);
    const int e = (int)(i - r * (E / 2)) * 2;

    if (r < rows)
        kl_store_pair(out, half, r * ldo + e, x[r * E + e], x[r * E + e + 1]);
}

static void one_head(KlExec *ex, const KlAttention *a, const Places &at, int h)
{
    const int64_t first = (int64_t)h * a->E;
    uint16_t *q = (uint16_t *)(ex->scratch + at.q), *k = (uint16_t *)(ex->scratch + at.k);
    uint16_t *v = (uint16_t *)(ex->scratch + at.v), *weights = (uint16_t *)(ex->scratch + at.weights);
    float *scores = (float *)(ex->scratch + at.scores), *out = (float *)(ex->scratch + at.out);

    kl_cuda_half_rows(ex, q, a->q + first, a->ldq, a->Sq, a->E, at.Ep);
    kl_cuda_half_rows(ex, k, a->k + first, a->ldk, a->Sk, a->E, at.Ep);
    KL_LAUNCH(ex, transpose_kernel, dim3(kl_blocks(at.Kp, TILE), (unsigned)kl_ceil_div(a->E, TILE)), dim3(THREADS), 0,
              v, a->v + first, a->ldv, a->Sk, a->E, at.Kp);
    for (int64_t i = 0; i < a->Sq; i += at.queries) {
        const int64_t rows = a->Sq - i < at.queries ? a->Sq - i : at.queries;
        const Softmax s = { weights, scores, a->Sk, at.Kp, a->scale, a->key_bias };
        KlCudaGemm g = {};

        g.half = true;
        g.M = rows;
        g.x = q + i * at.Ep;
        g.ldx = g.K = at.Ep;
        g.w = k;
        g.ldw = at.Ep;
        g.N = a->Sk;
        g.y = scores;
        g.ldy = at.Kp;
        kl_cuda_gemm(ex, &g);
        KL_LAUNCH(ex, softmax_kernel, dim3((unsigned)rows), dim3(THREADS), 0, s);
        g.x = weights;
        g.ldx = g.K = at.Kp;
        g.w = v;
        g.ldw = at.Kp;
        g.N = a->E;
        g.y = out;
        g.ldy = a->E;
        kl_cuda_gemm(ex, &g);
        KL_LAUNCH(ex, scatter_kernel, dim3(kl_blocks(rows * (a->E / 2), THREADS)), dim3(THREADS), 0,
                  a->operand ? (float *)((uint16_t *)a->out + i * a->ldo + first) : a->out + i * a->ldo + first,
                  a->operand != 0, a->ldo, (const float *)out, rows, a->E);
    }
}

bool kl_cuda_attention_wide(KlExec *ex, const KlAttention *a)
{
    const Places at = places(a->Sq, a->Sk, a->E);

    if (a->E <= 384 || a->rel_bias || ex->scratch_bytes < at.total)
        return false;
    for (int h = 0; h < a->H; h++)
        one_head(ex, a, at, h);
    return true;
}
