/*
 * Flash attention in bf16 for sm_90a: products of warpgroups, operands by bulk copies.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * q, k and v are rounded to bf16 in scratch as the panels that hopper.cuh
 * describes, so that a tile is one run of bytes there and arrives by one bulk
 * copy, ready for wgmma: [H][tiles][EP / 64][rows of a tile][64], zeros
 * behind E and behind the last row. EP is 64 or 128.
 *
 * A block has BM = 128 queries of one head. Its first warpgroup only copies;
 * each of the two others owns 64 queries and keeps scores, maxima, sums and
 * the output in registers, in f32. While the tensor cores take the scores of a
 * tile and the weighted values of the tile before, the other warpgroup
 * computes its weights: they take turns at the tensor cores (T. Dao et al.,
 * "FlashAttention-3", 2024). Weights are rounded to bf16, their sum is not.
 */
#include "cuda.h"
#include "hopper.cuh"

#define LOG2E 1.4426950408889634f
#define BM 128                          /* queries of a block, 64 of a warpgroup */
#define STAGES 2
#define GROUP 128                       /* threads of a warpgroup */
#define THREADS (3 * GROUP)
#define WARPS 8                         /* that compute */

struct Flash {
    const uint16_t *q, *k, *v;
    float *out;
    bool half;                          /* out is bf16 */
    int64_t ldo, Sq, Sk;
    int E;
    float scale;                        /* of the scores, times log2(e); > 0 */
    const float *key_bias;              /* [Sk] or NULL */
    float bias_by;                      /* brings it to the scores before they are scaled */
};

/* -- to panels -- */

#define PACK_THREADS 256

#define MAX_TOKENS (1 << 26)            /* a head's 16 bytes are then counted in 32 bits */

/* A thread writes 16 bytes of head blockIdx.y. VEC: x's heads begin at multiples of 16 bytes. */
template<int EP, bool VEC> static __global__ void __launch_bounds__(PACK_THREADS)
panels_kernel(uint4 *out, const float *x, int64_t ldx, int64_t S, uint32_t tiles, uint32_t rows, int E)
{
    const uint32_t i = blockIdx.x * PACK_THREADS + threadIdx.x, s = i / (EP / 8), piece = i % (EP / 8);
    const uint32_t tile = s / rows, r = s - tile * rows;
    const int left = E - (int)piece * 8;
    float v[8];

    if (tile >= tiles)
        return;
    kl_load8<VEC>(v, x + s * ldx + (int64_t)blockIdx.y * E + piece * 8, s < S ? left : 0);
    out[((((int64_t)blockIdx.y * tiles + tile) * (EP / 64) + piece / 8) * rows + r) * 8 + (piece % 8 ^ r % 8)] =
        kl_bf16x8(v);
}

template<int EP> static void panels(KlExec *ex, uint16_t *out, const float *x, int64_t ldx, int64_t S, int64_t tiles,
                                    int rows, int H, int E)
{
    dim3 grid(kl_blocks(tiles * rows * (EP / 8), PACK_THREADS), (unsigned)H);

    if (E % 4 == 0 && ldx % 4 == 0 && ((uintptr_t)x & 15) == 0)
        KL_LAUNCH(ex, (panels_kernel<EP, true>), grid, dim3(PACK_THREADS), 0, (uint4 *)out, x, ldx, S, (uint32_t)tiles,
                  (uint32_t)rows, E);
    else
        KL_LAUNCH(ex, (panels_kernel<EP, false>), grid, dim3(PACK_THREADS), 0, (uint4 *)out, x, ldx, S,
                  (uint32_t)tiles, (uint32_t)rows, E);
}

/* -- the kernel -- */

/* Keys of a tile: as many as stay in registers beside the output, with the biases' addresses if there are any. */
static __host__ __device__ constexpr int tile_keys(int EP, bool bias) { return EP == 128 && !bias ? 176 : 128; }

struct Barriers {
    uint64_t q, k[STAGES], v[STAGES], k_free[STAGES], v_free[STAGES];
};

#define TILE(rows, EP) ((uint32_t)(rows) * (EP) * 2)     /* bytes */

#ifdef KL_HOPPER
/* One thread: all tiles, each as soon as its stage is free. */
template<int EP, int BN> static __device__ __forceinline__ void copy_tiles(const Flash &p, uint8_t *q, uint8_t *k,
                                                                           uint8_t *v, Barriers *bar)
{
    const int64_t tiles = (p.Sk + BN - 1) / BN, h = blockIdx.y;
    const uint16_t *gk = p.k + h * tiles * BN * EP, *gv = p.v + h * tiles * BN * EP;

    kl_bar_expect(&bar->q, TILE(BM, EP));
    kl_bulk_copy(q, p.q + (h * gridDim.x + blockIdx.x) * BM * EP, TILE(BM, EP), &bar->q);
    for (int64_t j = 0; j < tiles; j++) {
        const int st = (int)(j % STAGES);
        const uint32_t before = (uint32_t)(j / STAGES + 1) & 1;

        kl_bar_wait(&bar->k_free[st], before);
        kl_bar_expect(&bar->k[st], TILE(BN, EP));
        kl_bulk_copy(k + st * TILE(BN, EP), gk + j * BN * EP, TILE(BN, EP), &bar->k[st]);
        kl_bar_wait(&bar->v_free[st], before);
        kl_bar_expect(&bar->v[st], TILE(BN, EP));
        kl_bulk_copy(v + st * TILE(BN, EP), gv + j * BN * EP, TILE(BN, EP), &bar->v[st]);
    }
}

/* s = q k^T, under way. q, k: addresses of panels of 64 and BN rows. */
template<int EP, int BN> static __device__ __forceinline__ void score_tile(float (&s)[BN / 8][4], uint32_t q,
                                                                           uint32_t k)
{
#pragma unroll
    for (int e = 0; e < EP; e += 16)
        kl_wgmma_rows(s, kl_panel_desc(q + e / 64 * BM * 128 + e % 64 * 2, 16),
                      kl_panel_desc(k + e / 64 * BN * 128 + e % 64 * 2, 16), e > 0);
}

/* o += weights v, under way. */
template<int EP, int BN> static __device__ __forceinline__ void weigh_tile(float (&o)[EP / 8][4],
                                                                           const uint32_t (&w)[BN / 16][4], uint32_t v)
{
#pragma unroll
    for (int j = 0; j < BN / 16; j++)
        kl_wgmma_columns(o, w[j], kl_panel_desc(v + j * 16 * 128, BN * 128));
}

/* Biases of the tile at j0; keys that do not exist are masked. */
template<int BN, bool BIAS> static __device__ __forceinline__ void finish_scores(const Flash &p, float (&s)[BN / 8][4],
                                                                                 int64_t j0)
{
    const int lane = (int)threadIdx.x % 32, keys = p.Sk - j0 < BN ? (int)(p.Sk - j0) : BN;

    if (!BIAS && keys == BN)
        return;
#pragma unroll
    for (int n = 0; n < BN / 8; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int j = n * 8 + lane % 4 * 2 + e;
            const float b = j >= keys ? -INFINITY : BIAS ? p.key_bias[j0 + j] * p.bias_by : 0;

            s[n][e] += b;
            s[n][e + 2] += b;
        }
}

/* Scores to weights against the new maxima; keep: what brings earlier sums to them. */
template<int BN> static __device__ __forceinline__ void soften(float (&s)[BN / 8][4], float max[2], float sum[2],
                                                               float keep[2], float scale)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float top = max[r], base, add = 0;

#pragma unroll
        for (int n = 0; n < BN / 8; n++)
            top = fmaxf(top, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
        top = kl_quad_max(top);
        base = top == -INFINITY ? 0 : top * scale;      /* -inf scores: weights of 0, not NaN */
        keep[r] = kl_exp2(max[r] * scale - base);
        max[r] = top;
#pragma unroll
        for (int n = 0; n < BN / 8; n++)
#pragma unroll
            for (int e = 2 * r; e < 2 * r + 2; e++) {
                s[n][e] = kl_exp2(s[n][e] * scale - base);
                add += s[n][e];
            }
        sum[r] = sum[r] * keep[r] + add;
    }
}

template<int BN> static __device__ __forceinline__ void round_weights(uint32_t (&w)[BN / 16][4],
                                                                      const float (&s)[BN / 8][4])
{
#pragma unroll
    for (int j = 0; j < BN / 16; j++) {
        w[j][0] = kl_bf16x2(s[2 * j][0], s[2 * j][1]);
        w[j][1] = kl_bf16x2(s[2 * j][2], s[2 * j][3]);
        w[j][2] = kl_bf16x2(s[2 * j + 1][0], s[2 * j + 1][1]);
        w[j][3] = kl_bf16x2(s[2 * j + 1][2], s[2 * j + 1][3]);
    }
}

/* A warp has done with a stage. Each warp says so: a wait for wgmma is the warp's own. */
static __device__ __forceinline__ void release(uint64_t *bar)
{
    if (threadIdx.x % 32 == 0)
        kl_bar_arrive(bar);
}

/* Of 64 queries, those that are there. */
template<int EP> static __device__ __forceinline__ void write_out(const Flash &p, int g, const float (&o)[EP / 8][4],
                                                                  const float sum[2])
{
    const int warp = (int)threadIdx.x % GROUP / 32, lane = (int)threadIdx.x % 32;

#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int64_t i = (int64_t)blockIdx.x * BM + g * 64 + warp * 16 + lane / 4 + r * 8;
        const float total = kl_quad_sum(sum[r]);

        if (i >= p.Sq)
            continue;
#pragma unroll
        for (int n = 0; n < EP / 8; n++)
            if (n * 8 + lane % 4 * 2 < p.E)
                kl_store_pair(p.out, p.half, i * p.ldo + (int64_t)blockIdx.y * p.E + n * 8 + lane % 4 * 2,
                              o[n][2 * r] / total, o[n][2 * r + 1] / total);
    }
}

/* A computing warpgroup, number g: 64 queries. */
template<int EP, bool BIAS> static __device__ __forceinline__ void
attend(const Flash &p, int g, uint8_t *q_tile, uint8_t *k_tile, uint8_t *v_tile, Barriers *bar)
{
    constexpr int BN = tile_keys(EP, BIAS);
    const int64_t tiles = (p.Sk + BN - 1) / BN;
    const uint32_t q = kl_shared_address(q_tile) + g * 64 * 128, k = kl_shared_address(k_tile);
    const uint32_t v = kl_shared_address(v_tile);
    float s[BN / 8][4] = {}, o[EP / 8][4] = {}, max[2] = { -INFINITY, -INFINITY }, sum[2] = { 0, 0 }, keep[2];
    uint32_t w[BN / 16][4];

    if (g)
        kl_named_arrive(1, 2 * GROUP);  /* the first one begins */
    kl_bar_wait(&bar->q, 0);
    kl_bar_wait(&bar->k[0], 0);
    kl_wgmma_begin();
    score_tile<EP, BN>(s, q, k);
    kl_wgmma_commit();
    kl_wgmma_wait<0>();
    kl_wgmma_touch(s);
    release(&bar->k_free[0]);
    finish_scores<BN, BIAS>(p, s, 0);
    soften<BN>(s, max, sum, keep, p.scale);
    round_weights<BN>(w, s);
    for (int64_t j = 1; j < tiles; j++) {
        const int st = (int)(j % STAGES), last = (int)((j - 1) % STAGES);

        kl_bar_wait(&bar->k[st], (uint32_t)(j / STAGES) & 1);
        kl_named_wait(1 + g, 2 * GROUP);
        kl_wgmma_touch(s);
        kl_wgmma_touch(o);
        kl_wgmma_touch(w);
        kl_wgmma_begin();
        score_tile<EP, BN>(s, q, k + st * TILE(BN, EP));
        kl_wgmma_commit();
        kl_bar_wait(&bar->v[last], (uint32_t)((j - 1) / STAGES) & 1);
        kl_wgmma_begin();               /* o and w again: the compiler sees no further back than the wait's loop */
        weigh_tile<EP, BN>(o, w, v + last * TILE(BN, EP));
        kl_wgmma_commit();
        kl_named_arrive(2 - g, 2 * GROUP);
        kl_wgmma_wait<1>();
        kl_wgmma_touch(s);
        release(&bar->k_free[st]);
        finish_scores<BN, BIAS>(p, s, j * BN);
        soften<BN>(s, max, sum, keep, p.scale);
        kl_wgmma_wait<0>();
        kl_wgmma_touch(o);
        release(&bar->v_free[last]);
#pragma unroll
        for (int n = 0; n < EP / 8; n++) {
            o[n][0] *= keep[0];
            o[n][1] *= keep[0];
            o[n][2] *= keep[1];
            o[n][3] *= keep[1];
        }
        round_weights<BN>(w, s);
    }
    if (!g)
        kl_named_wait(1, 2 * GROUP);    /* the other's last word, so that no barrier is left half full */
    kl_bar_wait(&bar->v[(tiles - 1) % STAGES], (uint32_t)((tiles - 1) / STAGES) & 1);
    kl_wgmma_touch(o);
    kl_wgmma_touch(w);
    kl_wgmma_begin();
    weigh_tile<EP, BN>(o, w, v + (uint32_t)((tiles - 1) % STAGES) * TILE(BN, EP));
    kl_wgmma_commit();
    kl_wgmma_wait<0>();
    kl_wgmma_touch(o);
    write_out<EP>(p, g, o, sum);
}
#endif

template<int EP, bool BIAS> static __global__ void __launch_bounds__(THREADS, 1) wgmma_kernel(Flash p)
{
#ifdef KL_HOPPER
    __shared__ Barriers bar;

    KL_SHARED(uint8_t, shared);
    /* panels begin at multiples of 1024: swizzling goes by addresses */
    uint8_t *q = shared + (-kl_shared_address(shared) & 1023), *k = q + TILE(BM, EP);
    uint8_t *v = k + STAGES * TILE(tile_keys(EP, BIAS), EP);

    if (threadIdx.x == 0) {
        kl_bar_init(&bar.q, 1);
        for (int i = 0; i < STAGES; i++) {
            kl_bar_init(&bar.k[i], 1);
            kl_bar_init(&bar.v[i], 1);
            kl_bar_init(&bar.k_free[i], WARPS);
            kl_bar_init(&bar.v_free[i], WARPS);
        }
        kl_bar_init_done();
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        kl_registers_fewer<24>();
        if (threadIdx.x == 0)
            copy_tiles<EP, tile_keys(EP, BIAS)>(p, q, k, v, &bar);
    } else {
        kl_registers_more<240>();
        attend<EP, BIAS>(p, (int)threadIdx.x / GROUP - 1, q, k, v, &bar);
    }
#endif
}

/* -- the host's side -- */

static int padded(int E) { return E <= 64 ? 64 : 128; }

static size_t shared_bytes(int EP, int BN) { return TILE(BM, EP) + 2 * STAGES * TILE(BN, EP) + 1024; }

size_t kl_cuda_attention_wgmma_scratch(int64_t Sq, int64_t Sk, int H, int E)
{
    const int64_t more = tile_keys(padded(E), false), fewer = tile_keys(padded(E), true);
    const int64_t a = kl_ceil_div(Sk, more) * more, b = kl_ceil_div(Sk, fewer) * fewer;

    if (E > 128)
        return 0;
    return (size_t)(kl_ceil_div(Sq, BM) * BM + 2 * (a > b ? a : b)) * (size_t)H * (size_t)padded(E) * 2;
}

template<int EP, bool BIAS> static void launch(KlExec *ex, const Flash *p, int H)
{
    const size_t bytes = shared_bytes(EP, tile_keys(EP, BIAS));

    if (!KL_CUDA(ex, cudaFuncSetAttribute((const void *)wgmma_kernel<EP, BIAS>,
                                          cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes)))
        return;
    KL_LAUNCH(ex, (wgmma_kernel<EP, BIAS>), dim3(kl_blocks(p->Sq, BM), (unsigned)H), dim3(THREADS), bytes, *p);
}

bool kl_cuda_attention_wgmma(KlExec *ex, const KlAttention *a)
{
    const int EP = padded(a->E), BN = tile_keys(EP, a->key_bias != NULL);
    const int64_t q_tiles = kl_ceil_div(a->Sq, BM), tiles = kl_ceil_div(a->Sk, BN);
    uint16_t *q = (uint16_t *)ex->scratch, *k = q + q_tiles * BM * a->H * EP, *v = k + tiles * BN * a->H * EP;
    const Flash p = { q, k, v, a->out, a->operand != 0, a->ldo, a->Sq, a->Sk, a->E, a->scale * LOG2E, a->key_bias,
                      1 / a->scale };

    if (!ex->st->wgmma || a->E > 128 || a->H > 65535 || a->rel_bias || !(a->scale > 0) ||
        a->Sq > MAX_TOKENS || a->Sk > MAX_TOKENS ||
        shared_bytes(EP, BN) > ex->st->prop.sharedMemPerBlockOptin ||
        ex->scratch_bytes < kl_cuda_attention_wgmma_scratch(a->Sq, a->Sk, a->H, a->E))
        return false;
    auto pack = EP == 64 ? panels<64> : panels<128>;

    pack(ex, q, a->q, a->ldq, a->Sq, q_tiles, BM, a->H, a->E);
    pack(ex, k, a->k, a->ldk, a->Sk, tiles, BN, a->H, a->E);
    pack(ex, v, a->v, a->ldv, a->Sk, tiles, BN, a->H, a->E);
    if (EP == 64)
        (a->key_bias ? launch<64, true> : launch<64, false>)(ex, &p, a->H);
    else
        (a->key_bias ? launch<128, true> : launch<128, false>)(ex, &p, a->H);
    return true;
}
