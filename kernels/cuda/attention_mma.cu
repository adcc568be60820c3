/*
 * Flash attention in bf16 on the tensor cores: mma.sync, for sm_80 and newer.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * q, k and v are rounded to bf16 in scratch, head by head: [H][S][EP], EP the
 * head's size rounded up to one that a kernel was made for, zeros behind E.
 * A warp owns 16 queries; keys and values pass through two stages of shared
 * memory; scores, maxima, sums and the output stay in registers, in f32. The
 * weights of the values are rounded to bf16, their sum is not.
 *
 * Rows of shared memory are EP + 8 elements apart, an odd number of 16 bytes,
 * so that the eight rows of an ldmatrix lie in different banks.
 */
#include "cuda.h"

#define LOG2E 1.4426950408889634f

struct Flash {
    const uint16_t *q, *k, *v;          /* [H][Sq][EP], [H][Sk][EP] */
    float *out;
    bool half;                          /* out is bf16 */
    int64_t ldo, Sq, Sk;
    int E;
    float scale;                        /* of the scores, times log2(e) */
    const float *key_bias, *rel_bias;
};

/* -- to bf16 -- */

#define THREADS 256

#define MAX_TOKENS (1 << 26)            /* a head's 16 bytes are then counted in 32 bits */

/* A thread writes 16 bytes of head blockIdx.y. VEC: x's heads begin at multiples of 16 bytes. */
template<bool VEC> static __global__ void __launch_bounds__(THREADS)
heads_kernel(uint4 *out, const float *x, int64_t ldx, uint32_t S, int E, int EP)
{
    const uint32_t i = blockIdx.x * THREADS + threadIdx.x, pieces = (uint32_t)EP / 8, s = i / pieces;
    const int e0 = (int)(i - s * pieces) * 8;
    float v[8];

    if (s >= S)
        return;
    kl_load8<VEC>(v, x + s * ldx + (int64_t)blockIdx.y * E + e0, E - e0);
    out[((int64_t)blockIdx.y * S + s) * pieces + e0 / 8] = kl_bf16x8(v);
}

static void heads(KlExec *ex, uint16_t *out, const float *x, int64_t ldx, int64_t S, int H, int E, int EP)
{
    dim3 grid(kl_blocks(S * (EP / 8), THREADS), (unsigned)H);

    if (E % 4 == 0 && ldx % 4 == 0 && ((uintptr_t)x & 15) == 0)
        KL_LAUNCH(ex, (heads_kernel<true>), grid, dim3(THREADS), 0, (uint4 *)out, x, ldx, (uint32_t)S, E, EP);
    else
        KL_LAUNCH(ex, (heads_kernel<false>), grid, dim3(THREADS), 0, (uint4 *)out, x, ldx, (uint32_t)S, E, EP);
}

/* -- the kernel -- */

/* rows x EP of src (rows from first on; those at `end` and past it are zeros) into shared memory. */
template<int EP, int ROWS, int NT> static __device__ __forceinline__ void copy_rows(uint16_t *to, const uint16_t *src,
                                                                                    int64_t first, int64_t end)
{
    for (int i = (int)threadIdx.x; i < ROWS * (EP / 8); i += NT) {
        int r = i / (EP / 8), c = i % (EP / 8) * 8;
        bool ok = first + r < end;

        kl_cp_async16(to + r * (EP + 8) + c, src + (ok ? (first + r) * EP + c : 0), ok);
    }
}

/* Fragments of 16 queries for the product over elements k0 .. k0 + 15. */
template<int EP> static __device__ __forceinline__ void load_q(uint32_t a[4], const uint16_t *tile, int m0, int k0)
{
    int lane = (int)threadIdx.x % 32, i = lane / 8;

    kl_ldmatrix4(a, tile + (m0 + i % 2 * 8 + lane % 8) * (EP + 8) + k0 + i / 2 * 8);
}

/* s[BN/8][4] of 16 queries: scaled to powers of two, biased, masked behind the last key. */
template<int BN, bool BIAS> static __device__ __forceinline__ void finish_scores(const Flash &p, float s[][4],
                                                                                 int64_t j0, int64_t i0, int h)
{
    int lane = (int)threadIdx.x % 32;

#pragma unroll
    for (int n = 0; n < BN / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int64_t j = j0 + n * 8 + lane % 4 * 2 + e % 2, i = i0 + lane / 4 + e / 2 * 8;

            s[n][e] *= p.scale;
            if (BIAS && j < p.Sk && i < p.Sq) {
                if (p.key_bias)
                    s[n][e] += p.key_bias[j] * LOG2E;
                if (p.rel_bias)
                    s[n][e] += p.rel_bias[h * (p.Sq + p.Sk - 1) + j - i + p.Sq - 1] * LOG2E;
            }
            if (j >= p.Sk)
                s[n][e] = -INFINITY;
        }
}

/* Scores to weights against the new maxima; what was summed so far is brought to them. */
template<int EP, int BN> static __device__ __forceinline__ void soften(float s[][4], float o[][4], float max[2],
                                                                       float sum[2])
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float top = max[r], base, keep, add = 0;

#pragma unroll
        for (int n = 0; n < BN / 8; n++)
            top = fmaxf(top, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
        top = kl_quad_max(top);
        base = top == -INFINITY ? 0 : top;      /* all masked so far: weights of 0, not NaN */
        keep = kl_exp2(max[r] - base);
        max[r] = top;
#pragma unroll
        for (int n = 0; n < BN / 8; n++)
#pragma unroll
            for (int e = 2 * r; e < 2 * r + 2; e++) {
                s[n][e] = kl_exp2(s[n][e] - base);
                add += s[n][e];
            }
        sum[r] = sum[r] * keep + add;
#pragma unroll
        for (int n = 0; n < EP / 8; n++) {
            o[n][2 * r] *= keep;
            o[n][2 * r + 1] *= keep;
        }
    }
}

/* s = q k^T of 16 queries and BN keys. */
template<int EP, int BN, bool QREG> static __device__ __forceinline__ void
score_tile(float s[][4], const uint32_t q[][4], const uint16_t *q_tile, const uint16_t *k_tile)
{
    int lane = (int)threadIdx.x % 32, i = lane / 8, m0 = (int)threadIdx.x / 32 * 16;

#pragma unroll
    for (int n = 0; n < BN / 8; n++)
        s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
    for (int k = 0; k < EP / 16; k++) {
        uint32_t a[4], b[4];

        if (!QREG)
            load_q<EP>(a, q_tile, m0, k * 16);
#pragma unroll
        for (int n = 0; n < BN / 16; n++) {
            kl_ldmatrix4(b, k_tile + (n * 16 + i / 2 * 8 + lane % 8) * (EP + 8) + k * 16 + i % 2 * 8);
            kl_mma_bf16(s[2 * n], QREG ? q[k] : a, b[0], b[1]);
            kl_mma_bf16(s[2 * n + 1], QREG ? q[k] : a, b[2], b[3]);
        }
    }
}

/* o += weights v of BN keys. */
template<int EP, int BN> static __device__ __forceinline__ void weigh_tile(float o[][4], float s[][4],
                                                                           const uint16_t *v_tile)
{
    int lane = (int)threadIdx.x % 32, i = lane / 8;

#pragma unroll
    for (int k = 0; k < BN / 16; k++) {
        uint32_t a[4], b[4];

        a[0] = kl_bf16x2(s[2 * k][0], s[2 * k][1]);
        a[1] = kl_bf16x2(s[2 * k][2], s[2 * k][3]);
        a[2] = kl_bf16x2(s[2 * k + 1][0], s[2 * k + 1][1]);
        a[3] = kl_bf16x2(s[2 * k + 1][2], s[2 * k + 1][3]);
#pragma unroll
        for (int n = 0; n < EP / 16; n++) {
            kl_ldmatrix4_trans(b, v_tile + (k * 16 + i % 2 * 8 + lane % 8) * (EP + 8) + n * 16 + i / 2 * 8);
            kl_mma_bf16(o[2 * n], a, b[0], b[1]);
            kl_mma_bf16(o[2 * n + 1], a, b[2], b[3]);
        }
    }
}

/* A block: WARPS * 16 queries of one head. QREG: their fragments stay in registers, else in shared memory. */
template<int EP, int BN, int WARPS, bool QREG, bool BIAS> static __global__ void __launch_bounds__(WARPS * 32, 1)
flash_kernel(Flash p)
{
    const int NT = WARPS * 32, BM = WARPS * 16, TILE = BN * (EP + 8);
    int h = (int)blockIdx.y, warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    int64_t i0 = (int64_t)blockIdx.x * BM, tiles = (p.Sk + BN - 1) / BN;
    const uint16_t *k = p.k + h * p.Sk * EP, *v = p.v + h * p.Sk * EP;
    float s[BN / 8][4], o[EP / 8][4], max[2] = { -INFINITY, -INFINITY }, sum[2] = { 0, 0 };
    uint32_t q[QREG ? EP / 16 : 1][4];

    KL_SHARED(uint16_t, tile);          /* stage 0: k, v; stage 1: k, v; q behind them unless in registers */
    uint16_t *q_tile = QREG ? tile : tile + 4 * TILE;

    copy_rows<EP, WARPS * 16, NT>(q_tile, p.q + h * p.Sq * EP, i0, p.Sq);
    kl_cp_commit();
    kl_cp_wait<0>();
    __syncthreads();
    if (QREG) {
#pragma unroll
        for (int n = 0; n < EP / 16; n++)
            load_q<EP>(q[QREG ? n : 0], q_tile, warp * 16, n * 16);
        __syncthreads();                /* the keys go where the queries were */
    }
#pragma unroll
    for (int n = 0; n < EP / 8; n++)
        o[n][0] = o[n][1] = o[n][2] = o[n][3] = 0;

    copy_rows<EP, BN, NT>(tile, k, 0, p.Sk);
    copy_rows<EP, BN, NT>(tile + TILE, v, 0, p.Sk);
    kl_cp_commit();
    for (int64_t j = 0; j < tiles; j++) {
        uint16_t *now = tile + j % 2 * 2 * TILE, *next = tile + (j + 1) % 2 * 2 * TILE;

        if (j + 1 < tiles) {
            copy_rows<EP, BN, NT>(next, k, (j + 1) * BN, p.Sk);
            copy_rows<EP, BN, NT>(next + TILE, v, (j + 1) * BN, p.Sk);
        }
        kl_cp_commit();
        kl_cp_wait<1>();
        __syncthreads();
        score_tile<EP, BN, QREG>(s, q, q_tile, now);
        finish_scores<BN, BIAS>(p, s, j * BN, i0 + warp * 16, h);
        soften<EP, BN>(s, o, max, sum);
        weigh_tile<EP, BN>(o, s, now + TILE);
        __syncthreads();                /* this stage is filled again next time */
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int64_t i = i0 + warp * 16 + lane / 4 + r * 8;
        float total = kl_quad_sum(sum[r]);

        if (i >= p.Sq)
            continue;
#pragma unroll
        for (int n = 0; n < EP / 8; n++)
            if (n * 8 + lane % 4 * 2 < p.E)
                kl_store_pair(p.out, p.half, i * p.ldo + (int64_t)h * p.E + n * 8 + lane % 4 * 2, o[n][2 * r] / total,
                              o[n][2 * r + 1] / total);
    }
}

template<int EP, int BN, int WARPS, bool QREG> static bool launch(KlExec *ex, const Flash *p, int H)
{
    size_t q_rows = WARPS * 16, kv = (size_t)4 * BN * (EP + 8), q = q_rows * (EP + 8);
    size_t shared = 2 * (QREG ? (kv > q ? kv : q) : kv + q);
    dim3 grid(kl_blocks(p->Sq, WARPS * 16), (unsigned)H);

    if (shared > ex->st->prop.sharedMemPerBlockOptin)
        return false;
    if (!KL_CUDA(ex, cudaFuncSetAttribute((const void *)flash_kernel<EP, BN, WARPS, QREG, true>,
                                          cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared)) ||
        !KL_CUDA(ex, cudaFuncSetAttribute((const void *)flash_kernel<EP, BN, WARPS, QREG, false>,
                                          cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared)))
        return true;
    if (p->key_bias || p->rel_bias)
        KL_LAUNCH(ex, (flash_kernel<EP, BN, WARPS, QREG, true>), grid, dim3(WARPS * 32), shared, *p);
    else
        KL_LAUNCH(ex, (flash_kernel<EP, BN, WARPS, QREG, false>), grid, dim3(WARPS * 32), shared, *p);
    return true;
}

static int padded(int E)
{
    static const int sizes[] = { 32, 64, 128, 256, 384 };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (E <= sizes[i])
            return sizes[i];
    return 0;
}

size_t kl_cuda_attention_mma_scratch(int64_t Sq, int64_t Sk, int H, int E)
{
    return (size_t)(Sq + 2 * Sk) * (size_t)H * (size_t)padded(E) * 2;
}

bool kl_cuda_attention_mma(KlExec *ex, const KlAttention *a)
{
    int EP = padded(a->E);
    uint16_t *q = (uint16_t *)ex->scratch, *k = q + a->Sq * a->H * EP, *v = k + a->Sk * a->H * EP;
    Flash p = { q, k, v, a->out, a->operand != 0, a->ldo, a->Sq, a->Sk, a->E, a->scale * LOG2E, a->key_bias,
                a->rel_bias };

    if (!EP || a->H > 65535 || a->Sq > MAX_TOKENS || a->Sk > MAX_TOKENS ||
        ex->scratch_bytes < kl_cuda_attention_mma_scratch(a->Sq, a->Sk, a->H, a->E))
        return false;
    heads(ex, q, a->q, a->ldq, a->Sq, a->H, a->E, EP);
    heads(ex, k, a->k, a->ldk, a->Sk, a->H, a->E, EP);
    heads(ex, v, a->v, a->ldv, a->Sk, a->H, a->E, EP);
    switch (EP) {
    case 32:  return launch<32, 64, 4, true>(ex, &p, a->H);
    case 64:  return launch<64, 64, 8, true>(ex, &p, a->H);
    case 128: return launch<128, 64, 8, true>(ex, &p, a->H);
    case 256: return launch<256, 32, 4, true>(ex, &p, a->H);
    default:  return launch<384, 32, 4, false>(ex, &p, a->H);
    }
}
