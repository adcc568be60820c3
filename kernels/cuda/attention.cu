/*
 * Attention: which kernels, and the plain one in f32 for proofs.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The plain one gives a warp to each query of each head. A lane computes the
 * score of one of 32 keys, then owns every 32nd element of the output; the
 * running maximum and sum follow the keys, so scores are never kept.
 */
#include "cuda.h"

#define WARPS 4
#define THREADS (32 * WARPS)
#define E_MAX 1024

static __device__ __forceinline__ float score(const KlAttention &p, const float *q, int64_t i, int h, int64_t j)
{
    const float *k = p.k + j * p.ldk + (int64_t)h * p.E;
    float s = 0;

    for (int e = 0; e < p.E; e++)
        s += q[e] * k[e];
    s *= p.scale;
    if (p.key_bias)
        s += p.key_bias[j];
    if (p.rel_bias)
        s += p.rel_bias[h * (p.Sq + p.Sk - 1) + j - i + p.Sq - 1];
    return s;
}

/* NE: elements of the output that a lane owns, at least E / 32. */
template<int NE> static __global__ void __launch_bounds__(THREADS) plain_kernel(KlAttention p, bool half)
{
    __shared__ float queries[WARPS][E_MAX];
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, h = (int)blockIdx.y;
    int64_t i = (int64_t)blockIdx.x * WARPS + warp;
    float *q = queries[warp], acc[NE], max = -INFINITY, sum = 0;

    if (i >= p.Sq)
        return;
    for (int e = lane; e < p.E; e += 32)
        q[e] = p.q[i * p.ldq + (int64_t)h * p.E + e];
    __syncwarp();
    for (int n = 0; n < NE; n++)
        acc[n] = 0;
    for (int64_t j0 = 0; j0 < p.Sk; j0 += 32) {
        int keys = p.Sk - j0 < 32 ? (int)(p.Sk - j0) : 32;
        float s = lane < keys ? score(p, q, i, h, j0 + lane) : -INFINITY;
        float top = kl_warp_max(s), w, keep;

        if (!(top <= max)) {            /* a NaN stays */
            keep = max == -INFINITY ? 0.0f : expf(max - top);
            max = top;
            sum *= keep;
            for (int n = 0; n < NE; n++)
                acc[n] *= keep;
        }
        w = max == -INFINITY ? 0.0f : expf(s - max);    /* all masked so far */
        sum += kl_warp_sum(w);
        for (int j = 0; j < keys; j++) {
            const float *v = p.v + (j0 + j) * p.ldv + (int64_t)h * p.E;
            float wj = __shfl_sync(KL_FULL, w, j);

            for (int n = 0; n < NE; n++)
                if (lane + 32 * n < p.E)
                    acc[n] += wj * v[lane + 32 * n];
        }
    }
    for (int n = 0; n < NE; n++) {
        int64_t at = i * p.ldo + (int64_t)h * p.E + lane + 32 * n;

        if (lane + 32 * n >= p.E)
            continue;
        if (half)
            ((uint16_t *)p.out)[at] = kl_bf16(acc[n] / sum);
        else
            p.out[at] = acc[n] / sum;
    }
}

static size_t attention_scratch(const KlExec *ex, int64_t Sq, int64_t Sk, int H, int E)
{
    const size_t mma = kl_cuda_attention_mma_scratch(Sq, Sk, H, E), wide = kl_cuda_attention_wide_scratch(Sq, Sk, H, E);
    const size_t wgmma = ex->st->wgmma ? kl_cuda_attention_wgmma_scratch(Sq, Sk, H, E) : 0;
    const size_t most = mma > wgmma ? mma : wgmma;

    return !kl_cuda_half(ex) ? 0 : most > wide ? most : wide;
}

static void plain(KlExec *ex, const KlAttention *p)
{
    const dim3 grid(kl_blocks(p->Sq, WARPS), (unsigned)p->H);
    const bool half = p->operand != 0;

    if (half && ex->scratch_bytes < attention_scratch(ex, p->Sq, p->Sk, p->H, p->E)) {  /* out may lie in q, k, v */
        kl_cuda_failed(ex, "attention of %lld queries and %lld keys: too little scratch was reserved",
                       (long long)p->Sq, (long long)p->Sk);
        return;
    }
    if (p->E <= 128)
        KL_LAUNCH(ex, plain_kernel<4>, grid, dim3(THREADS), 0, *p, half);
    else if (p->E <= 384)
        KL_LAUNCH(ex, plain_kernel<12>, grid, dim3(THREADS), 0, *p, half);
    else
        KL_LAUNCH(ex, plain_kernel<32>, grid, dim3(THREADS), 0, *p, half);
}

static void attention(KlExec *ex, const KlAttention *a)
{
    KlAttention p = *a;

    if (!kl_cuda_enter(ex))
        return;
    KL_ON_DEVICE(p.q), KL_ON_DEVICE(p.k), KL_ON_DEVICE(p.v), KL_ON_DEVICE(p.out), KL_ON_DEVICE(p.key_bias);
    KL_ON_DEVICE(p.rel_bias);
    p.operand = p.operand && kl_cuda_half(ex);
    if (p.operand)
        p.ldo = kl_operand_pitch((int64_t)p.H * p.E);
    if (!kl_cuda_half(ex) || (!kl_cuda_attention_wgmma(ex, &p) && !kl_cuda_attention_mma(ex, &p) &&
                              !kl_cuda_attention_wide(ex, &p)))
        plain(ex, &p);
    if (p.operand)
        kl_cuda_operand_pad(ex, p.out, p.Sq, (int64_t)p.H * p.E);
}

void kl_cuda_init_attention(KlKernels *k)
{
    k->attention = attention;
    k->attention_scratch = attention_scratch;
}
