/*
 * Convolution in bf16 for sm_90a: implicit GEMM with products of warpgroups.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Rows are output pixels, columns output channels, and the sum runs over
 * pictures, taps and input channels. A step is CHUNK channels of one picture
 * and one column of taps: all its kh taps read the same pixels.
 *
 * The output is cut into strips of 8 columns, so that 8 rows of an operand are
 * 8 pixels side by side, here a line: 512 bytes of half panels (hopper.cuh).
 * A stage of shared memory holds the input lines that a tile's lines reach, one
 * under the other, and a tap's operand is the same lines, further down: each
 * pixel is fetched once for kh taps, and every address keeps to the multiples
 * of 512 that the swizzle wants. With a stride operands leave lines out.
 *
 * Weights are packed in the order in which they are used, so that a step's are
 * one run of bytes and arrive by one bulk copy. The first warpgroup of a block
 * fetches: pixels by cp.async, whose addresses do padding and doubling. The
 * others multiply: they share a tile, each some of its lines, or they take
 * turns, a tile each, so that one multiplies while the other writes. Blocks stay
 * for many tiles; the next one's operands arrive while one is written.
 */
#include <limits.h>

#include "conv.h"
#include "hopper.cuh"

#define CHUNK 32                        /* channels of a step */
#define LINE 512                        /* bytes of 8 pixels' channels */
#define STAGES 8                        /* at most */
#define GROUP 128                       /* threads of a warpgroup */

struct Wide {
    KlConvDesc d;
    int oR, oW, icp;
    const uint16_t *w;                  /* [tiles of channels][kt][icp / CHUNK][kw][kh] half panels, a tile's rows */
    const float *bias, *residual;
    const uint16_t *src[3];             /* of the pictures that there are, [R,W,icp] */
    int t[3], pictures;                 /* their place in time */
    float *out;
    int vec;                            /* 1: four channels are written at once */
    int strip;                          /* lines of a strip */
    int wrap;                           /* strip when tiles go on with the next strip's lines, else INT_MAX */
    int across, tiles;                  /* tiles of channels; all tiles */
    int stages;
    uint32_t pixels, stage;             /* bytes: where weights begin in a stage, and of a stage */
};

/* turn: a warpgroup may begin to multiply. Of those that take turns only the one whose stages come next may wait for
 * them: a wait tells a phase from its neighbours, but not from the one before the last. */
struct Barriers { uint64_t full[STAGES], free[STAGES], turn[2]; };

/* How `groups` warpgroups multiply, each `blocks` times 64 pixels by `channels`: in turns, or a tile together. */
template<int GROUPS_, int BLOCKS_, int CHANNELS_, bool TURNS_> struct Cut {
    static_assert(!TURNS_ || GROUPS_ == 2, "two barriers");
    static constexpr int GROUPS = GROUPS_, BLOCKS = BLOCKS_, CHANNELS = CHANNELS_, TURNS = TURNS_ ? GROUPS_ : 1;
    static constexpr int TEAM = GROUPS / TURNS, LINES = TEAM * BLOCKS * 8;     /* warpgroups and lines of a tile */
};

/* -- weights -- */

static __global__ void __launch_bounds__(GROUP)
pack_kernel(uint16_t *out, const float *w, int64_t n, KlConvDesc d, int icp, int tile)
{
    const int64_t i = (int64_t)blockIdx.x * GROUP + threadIdx.x;
    const int e = (int)(i % CHUNK), r = (int)(i / CHUNK % tile);
    int64_t rest = i / CHUNK / tile;
    const int y = (int)(rest % d.kh), x = (int)((rest /= d.kh) % d.kw), chunk = (int)((rest /= d.kw) % (icp / CHUNK));
    const int t = (int)((rest /= icp / CHUNK) % d.kt), o = (int)(rest / d.kt) * tile + r, c = chunk * CHUNK + e;
    const int64_t tap = (t * d.kh + y) * d.kw + x;

    if (i < n)
        out[i - e + ((e / 8 ^ r / 2 % 4) * 8 + e % 8)] =
            c < d.ic && o < d.oc ? kl_bf16(w[(tap * d.ic + c) * d.oc + o]) : 0;
}

/* -- the kernel -- */

#ifdef KL_HOPPER
/* Registers of a thread that multiplies, and of one that fetches: in all warpgroups no more than 65536 and no more than
 * the launch takes, which are 3 of 168 or 4 of 128 a thread. */
static __host__ __device__ constexpr int registers(int groups) { return groups == 3 ? 152 : 232; }
static __host__ __device__ constexpr int fetch_registers(int groups) { return groups == 3 ? 56 : 40; }

/* A tile's place: its first strip and line of it, and tile of channels. */
struct Tile { int strip, line, n; };

static __device__ __forceinline__ Tile tile_at(const Wide &p, int tile, int lines)
{
    const int m = tile / p.across, at = m * lines;

    return { at / p.strip, at % p.strip, tile - m * p.across };
}

/* Where a warpgroup stands in the ring of stages. */
struct Ring { int st; uint32_t parity; };

static __device__ __forceinline__ void advance(const Wide &p, Ring &at)
{
    if (++at.st == p.stages) {
        at.st = 0;
        at.parity ^= 1;
    }
}

/* Past n stages that are others'. */
static __device__ __forceinline__ void skip(const Wide &p, Ring &at, int n)
{
    at.st += n;
    at.parity ^= at.st / p.stages & 1;
    at.st %= p.stages;
}

/* Lines u, u + 4, ... before `end`, the first of which is row r of the doubled input. to: this thread's place in line
 * 0; from: its pixel and channels in row 0; ok: that column exists. */
static __device__ __forceinline__ void fetch_lines(const Wide &p, uint8_t *to, const uint16_t *from, bool ok, int u,
                                                   int end, int r)
{
    const int64_t pitch = (int64_t)p.d.W * p.icp, four = (4 >> p.d.up2) * pitch;
    const unsigned rows = (unsigned)p.d.R << p.d.up2;

    from += (r >> p.d.up2) * pitch;
#pragma unroll 1                        /* registers */
    for (to += u * LINE; u < end; u += 4) {
        kl_cp_async16(to, from, ok && (unsigned)r < rows);
        to += 4 * LINE;
        from += four;
        r += 4;
    }
}

/* A warp's share of a step's pixels, in so many lines: those of the tile's first strip and those of the next one. to:
 * as above; from: the thread's channels of the picture's first pixel; j: column of taps. */
static __device__ __forceinline__ void fetch_pixels(const Wide &p, const Tile &at, int lines, uint8_t *to,
                                                    const uint16_t *from, int j)
{
    const int warp = (int)threadIdx.x / 32, pixel = (int)threadIdx.x % 32 / 4;
    const int here = p.wrap - at.line < lines ? p.wrap - at.line : lines, u = here + warp;
    const int row = at.line * p.d.stride - p.d.pad_top, col = (at.strip * 8 + pixel) * p.d.stride - p.d.pad_left + j;
    const int next = col + 8 * p.d.stride;
    const unsigned cols = (unsigned)p.d.W << p.d.up2;

    fetch_lines(p, to, from + (int64_t)(col >> p.d.up2) * p.icp, (unsigned)col < cols, warp, here, row + warp);
    if (here < lines)
        fetch_lines(p, to, from + (int64_t)(next >> p.d.up2) * p.icp, (unsigned)next < cols, u, lines,
                    row + u - p.wrap);
}

/* The fetching warpgroup. lines, channels: of a tile. */
static __device__ __forceinline__ void fetch(const Wide &p, int lines, int channels, uint8_t *stages, Barriers *bar)
{
    const int steps = p.icp / CHUNK * p.d.kw, piece = (int)threadIdx.x % 4, pixel = (int)threadIdx.x % 32 / 4;
    const int in_lines = (lines - 1) * p.d.stride + p.d.kh, place = pixel * 64 + (piece ^ pixel / 2) * 16;
    const uint32_t bytes = (uint32_t)(p.d.kh * channels * CHUNK * 2);
    Ring ring = { 0, 1 };

    for (int tile = (int)blockIdx.x; tile < p.tiles; tile += (int)gridDim.x) {
        const Tile at = tile_at(p, tile, lines);

        for (int n = 0; n < p.pictures; n++) {
            const uint16_t *from = p.src[n] + piece * 8;
            const uint8_t *w = (const uint8_t *)p.w + ((int64_t)at.n * p.d.kt + p.t[n]) * steps * bytes;

            for (int s = 0, j = 0; s < steps; s++) {
                uint8_t *stage = stages + ring.st * p.stage;
                uint64_t *full = &bar->full[ring.st];

                kl_bar_wait(&bar->free[ring.st], ring.parity);
                if (threadIdx.x == 0) {
                    kl_bar_expect(full, bytes);
                    kl_bulk_copy(stage + p.pixels, w, bytes, full);
                }
                fetch_pixels(p, at, in_lines, stage + place, from, j);
                kl_cp_arrive(full);
                advance(p, ring);
                w += bytes;
                if (++j == p.d.kw) {
                    j = 0;
                    from += CHUNK;
                }
            }
        }
    }
    kl_cp_commit();
    kl_cp_wait<0>();                    /* no thread leaves before its copies have landed */
}

/* The output pixel of a thread in half e of its warp's 16 rows in block m of warpgroup g: its first channel's place, or
 * -1 when there is no such pixel. */
template<int MB> static __device__ __forceinline__ int64_t pixel_at(const Wide &p, const Tile &at, int g, int m, int e)
{
    const int warp = (int)threadIdx.x % GROUP / 32, lane = (int)threadIdx.x % 32;
    const int line = at.line + (g * MB + m) * 8 + warp * 2 + e;
    const bool on = line >= p.wrap;
    const int y = line - (on ? p.wrap : 0), x = (at.strip + on) * 8 + lane / 4;

    return y < p.oR && x < p.oW ? ((int64_t)y * p.oW + x) * p.d.oc : -1;
}

/* Brings what write_tile will add. Four lanes share a pixel. */
template<int MB, int BN> static __device__ __forceinline__ void expect_residual(const Wide &p, const Tile &at, int g)
{
    if (!p.residual)
        return;
#pragma unroll
    for (int i = 0; i < 2 * MB; i++) {
        const int64_t pixel = pixel_at<MB>(p, at, g, i / 2, i % 2);

        for (int o = (int)threadIdx.x % 4 * 32; o < BN && pixel >= 0 && at.n * BN + o < p.d.oc; o += 128)
            kl_prefetch(p.residual + pixel + at.n * BN + o);
    }
}

/* Of N pairs of products' columns, 16 channels each, four channels of each, which begin at o, o + 16, ... The loads
 * come first, all at once: the compiler may not move them over stores to what they may alias. */
template<int N> static __device__ __forceinline__ void write_fours(const Wide &p, int64_t pixel, int o,
                                                                   const float (&v)[N][4])
{
    const float4 none = make_float4(0, 0, 0, 0);
    float4 r[N];

#pragma unroll
    for (int n = 0; n < N; n++)
        r[n] = p.residual && pixel >= 0 && o + n * 16 < p.d.oc ? *(const float4 *)(p.residual + pixel + o + n * 16)
                                                               : none;
#pragma unroll
    for (int n = 0; n < N; n++) {
        const float4 b = p.bias && o + n * 16 < p.d.oc ? __ldg((const float4 *)(p.bias + o + n * 16)) : none;

        if (pixel >= 0 && o + n * 16 < p.d.oc)
            *(float4 *)(p.out + pixel + o + n * 16) = make_float4(v[n][0] + b.x + r[n].x, v[n][1] + b.y + r[n].y,
                                                                  v[n][2] + b.z + r[n].z, v[n][3] + b.w + r[n].w);
    }
}

/* The same for any number of channels and any addresses. */
template<int N> static __device__ __forceinline__ void write_singly(const Wide &p, int64_t pixel, int o,
                                                                    const float (&v)[N][4])
{
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int c = o + n * 16 + i;

            if (pixel >= 0 && c < p.d.oc)
                p.out[pixel + c] = v[n][i] + (p.bias ? p.bias[c] : 0) + (p.residual ? p.residual[pixel + c] : 0);
        }
}

/* The sums of warpgroup g. Two lanes that hold halves of the same 4 channels in two products' columns exchange them,
 * so that each writes 16 bytes. */
template<int MB, int BN> static __device__ __forceinline__ void write_tile(const Wide &p, const Tile &at, int g,
                                                                           const float (&acc)[MB][BN / 8][4])
{
    constexpr int PAIRS = BN / 16, N = PAIRS % 3 ? PAIRS % 2 ? 1 : 2 : 3;   /* pairs at once: registers */
    const int odd = (int)threadIdx.x % 2, first = at.n * BN + odd * 8 + (int)threadIdx.x % 4 / 2 * 4;

#pragma unroll
    for (int i = 0; i < 2 * MB; i++) {
        const int64_t pixel = pixel_at<MB>(p, at, g, i / 2, i % 2);

#pragma unroll
        for (int n0 = 0; n0 < PAIRS; n0 += N) {
            float v[N][4];

#pragma unroll
            for (int n = 0; n < N; n++) {
                const float *a = &acc[i / 2][2 * (n0 + n)][i % 2 * 2], *b = &acc[i / 2][2 * (n0 + n) + 1][i % 2 * 2];
                const float x = __shfl_xor_sync(KL_FULL, odd ? a[0] : b[0], 1);
                const float y = __shfl_xor_sync(KL_FULL, odd ? a[1] : b[1], 1);

                v[n][0] = odd ? x : a[0];
                v[n][1] = odd ? y : a[1];
                v[n][2] = odd ? b[0] : x;
                v[n][3] = odd ? b[1] : y;
            }
            if (p.vec)
                write_fours<N>(p, pixel, first + n0 * 16, v);
            else
                write_singly<N>(p, pixel, first + n0 * 16, v);
        }
    }
}

/* A warp has done with a stage. Each warp says so: a wait for wgmma is the warp's own. */
static __device__ __forceinline__ void release(uint64_t *bar)
{
    if (threadIdx.x % 32 == 0)
        kl_bar_arrive(bar);
}

/* The products of a step, under way: of MB blocks of 64 pixels. a, b: addresses of its pixels and weights. The taps'
 * number is a constant so that the compiler sees them as the one group that they are. */
template<int MB, int BN, int KH> static __device__ __forceinline__ void
multiply(float (&acc)[MB][BN / 8][4], uint32_t a, uint32_t b, uint32_t line)
{
#pragma unroll
    for (int i = 0; i < KH; i++)
#pragma unroll
        for (int k = 0; k < CHUNK * 2; k += 32)
#pragma unroll
            for (int m = 0; m < MB; m++)
                kl_wgmma_rows(acc[m], kl_half_panel_desc(a + m * 8 * line + i * LINE + k, line),
                              kl_half_panel_desc(b + i * (BN * CHUNK * 2) + k, LINE), 1);
}

/* acc of a tile, all of it, for warpgroup g of those that share it. next: what to tell once the last stage has come. */
template<int MB, int BN, int KH> static __device__ __forceinline__ void
sum_up(const Wide &p, int g, int steps, float (&acc)[MB][BN / 8][4], uint8_t *stages, Barriers *bar, Ring &at,
       uint64_t *next)
{
    const uint32_t line = (uint32_t)p.d.stride * LINE, base = kl_shared_address(stages);
    int last = 0;

    for (int s = 0; s < steps; s++) {
        const uint32_t stage = base + at.st * p.stage;

        kl_bar_wait(&bar->full[at.st], at.parity);
        kl_async_fence();
#pragma unroll
        for (int m = 0; m < MB; m++)
            kl_wgmma_touch(acc[m]);
        kl_wgmma_begin();
        multiply<MB, BN, KH>(acc, stage + g * MB * 8 * line, stage + p.pixels, line);
        kl_wgmma_commit();
        kl_wgmma_wait<1>();             /* the step before is done with */
        if (s)
            release(&bar->free[last]);
        last = at.st;
        advance(p, at);
    }
    if (next)
        release(next);
    kl_wgmma_wait<0>();
#pragma unroll
    for (int m = 0; m < MB; m++)
        kl_wgmma_touch(acc[m]);
    if (steps)
        release(&bar->free[last]);
}

/* Multiplying warpgroup number `group`. */
template<typename C> static __device__ __forceinline__ void convolve(const Wide &p, int group, uint8_t *stages,
                                                                     Barriers *bar)
{
    constexpr int MB = C::BLOCKS, BN = C::CHANNELS;
    const int steps = p.pictures * (p.icp / CHUNK) * p.d.kw, turn = group / C::TEAM, g = group % C::TEAM;
    uint64_t *next = C::TURNS > 1 ? &bar->turn[(turn + 1) % C::TURNS] : NULL;
    uint32_t parity = turn ? 0 : 1;     /* the first one need not wait */
    Ring at = { 0, 0 };

    skip(p, at, turn * steps);
    for (int tile = (int)(blockIdx.x + turn * gridDim.x); tile < p.tiles; tile += (int)(C::TURNS * gridDim.x)) {
        const Tile place = tile_at(p, tile, C::LINES);
        float acc[MB][BN / 8][4] = {};

        expect_residual<MB, BN>(p, place, g);
        if (C::TURNS > 1)
            kl_bar_wait(&bar->turn[turn], parity);
        if (p.d.kh == 3)
            sum_up<MB, BN, 3>(p, g, steps, acc, stages, bar, at, next);
        else
            sum_up<MB, BN, 1>(p, g, steps, acc, stages, bar, at, next);
        write_tile<MB, BN>(p, place, g, acc);
        skip(p, at, (C::TURNS - 1) * steps);
        parity ^= 1;
    }
}
#endif

template<typename C> static __global__ void __launch_bounds__((C::GROUPS + 1) * GROUP, 1) wide_kernel(Wide p)
{
#ifdef KL_HOPPER
    __shared__ Barriers bar;

    KL_SHARED(uint8_t, shared);
    uint8_t *stages = shared + (-kl_shared_address(shared) & 1023);     /* swizzling goes by addresses */

    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            kl_bar_init(&bar.full[i], GROUP + 1);       /* each thread's pixels; the weights */
            kl_bar_init(&bar.free[i], C::TEAM * GROUP / 32);
        }
        for (int i = 0; i < 2; i++)
            kl_bar_init(&bar.turn[i], GROUP / 32);
        kl_bar_init_done();
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        kl_registers_fewer<fetch_registers(C::GROUPS)>();
        fetch(p, C::LINES, C::CHANNELS, stages, &bar);
    } else {
        kl_registers_more<registers(C::GROUPS)>();
        /* so said the compiler sees that it is the warp's, and computes with it once for all lanes */
        convolve<C>(p, __shfl_sync(KL_FULL, (int)threadIdx.x / GROUP, 0) - 1, stages, &bar);
    }
#endif
}

/* -- the host's side -- */

template<typename C> static void launch(KlExec *ex, const Wide *p, unsigned blocks, size_t bytes)
{
    if (KL_CUDA(ex, cudaFuncSetAttribute((const void *)wide_kernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         (int)bytes)))
        KL_LAUNCH(ex, wide_kernel<C>, dim3(blocks), dim3((C::GROUPS + 1) * GROUP), bytes, *p);
}

struct Form {
    int channels, lines, turns;         /* of a tile; whether its writing is hidden */
    void (*launch)(KlExec *ex, const Wide *p, unsigned blocks, size_t bytes);
};

template<typename C> static constexpr Form form() { return { C::CHANNELS, C::LINES, C::TURNS > 1, launch<C> }; }

/* Where two take as long, the first. */
static const Form forms[] = {
    form<Cut<3, 1, 192, false>>(), form<Cut<2, 1, 192, false>>(),
    form<Cut<2, 2, 128, false>>(), form<Cut<2, 3, 128, true>>(),
    form<Cut<3, 2, 96, false>>(), form<Cut<2, 4, 96, true>>(), form<Cut<3, 1, 96, false>>(),
    form<Cut<3, 2, 16, false>>(),
};

/* Channels of a tile: the fewest to multiply in vain. */
static int tile_channels(int oc)
{
    int best = 0;

    if (oc <= 16)
        return 16;
    for (const Form &f : forms)
        if (f.channels > 16 && (!best || kl_round_up(oc, f.channels) < kl_round_up(oc, best)))
            best = f.channels;
    return best;
}

bool kl_cuda_conv_wgmma_pack(KlConv *c)
{
    const int icp = (int)kl_round_up((size_t)c->d.ic, CHUNK), tile = tile_channels(c->d.oc);
    const int64_t n = (int64_t)kl_round_up((size_t)c->d.oc, (size_t)tile) * c->cw->taps * icp;

    c->half = (uint16_t *)kl_cuda_take(c->ex->st, (size_t)n * 2, c->ex->stream);
    if (!c->half)
        return false;
    c->icp = icp;
    c->tile = tile;
    KL_LAUNCH(c->ex, pack_kernel, dim3(kl_blocks(n, GROUP)), dim3(GROUP), 0, c->half, (const float *)c->cw->w, n, c->d,
              icp, tile);
    return !c->ex->failed;
}

/* Bytes of dynamic shared memory; sets stages. Barriers and what aligns the stages are within 2 KB. */
static size_t fit(Wide *p, const Form *f, size_t limit)
{
    const size_t most = limit - 2048;

    p->pixels = (uint32_t)(((f->lines - 1) * p->d.stride + p->d.kh) * LINE);
    p->stage = p->pixels + (uint32_t)(p->d.kh * f->channels * CHUNK * 2);
    p->stages = (int)(most / p->stage < STAGES ? most / p->stage : STAGES);
    return p->stages * (size_t)p->stage + 1024;
}

/* How long it takes, in eighths of a line of a tile, with whole tiles in each strip or with tiles that go on in the
 * next one. To write a tile is an eighth of its work, which those that take turns hide but for the last. */
static int64_t plan(Wide *p, const Form *f, int processors, bool on)
{
    const int64_t strips = kl_ceil_div(p->oW, 8);

    p->strip = on ? p->oR + p->d.kh - 1 : (int)kl_round_up((size_t)p->oR, (size_t)f->lines);
    p->wrap = on ? p->strip : INT_MAX;
    p->tiles = (int)(kl_ceil_div(strips * p->strip, f->lines) * p->across);
    const int64_t rounds = kl_ceil_div(p->tiles, processors);

    return f->lines * (8 * rounds + (f->turns ? 1 : rounds));
}

bool kl_cuda_conv_wgmma(KlExec *ex, const KlConv *c, float *out, const uint16_t *const *src, const int *t,
                        int pictures, const float *residual)
{
    const int processors = ex->st->prop.multiProcessorCount;
    const Form *form = NULL;
    int64_t least = INT64_MAX;
    Wide p = {}, best = {};

    if (!c->tile)
        return false;
    p.d = c->d;
    p.oR = c->oR;
    p.oW = c->oW;
    p.icp = c->icp;
    p.w = c->half;
    p.bias = c->cw->bias;
    p.residual = residual;
    p.out = out;
    p.pictures = pictures;
    for (int i = 0; i < pictures; i++) {
        p.src[i] = src[i];
        p.t[i] = t[i];
    }
    p.vec = c->d.oc % 4 == 0 && (((uintptr_t)out | (uintptr_t)residual) & 15) == 0;
    p.across = (int)kl_ceil_div(c->d.oc, c->tile);
    for (const Form &f : forms)
        for (int on = 0; on < 2 && f.channels == c->tile; on++) {
            const int64_t time = plan(&p, &f, processors, on);

            /* a tile's input lines may be of two strips only */
            if ((on && (c->d.stride > 1 || p.strip < f.lines + c->d.kh - 1)) || time >= least)
                continue;
            least = time;
            best = p;
            form = &f;
        }
    const size_t bytes = fit(&best, form, ex->st->prop.sharedMemPerBlockOptin);

    form->launch(ex, &best, (unsigned)(best.tiles < processors ? best.tiles : processors), bytes);
    return true;
}
