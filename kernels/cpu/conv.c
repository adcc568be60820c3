/*
 * Convolution of causal video as products of gathered pixels and packed weights.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The output picture is cut into rectangles and the output channels into
 * groups; a tile is one of each. For its pixels a table of pointers is made,
 * one per tap: padding points at zeros, stride and doubling are address
 * arithmetic. So the inner product sees only rows of channels, nothing is
 * copied, and one code serves every kernel size. A tile's sums stay in scratch
 * [pixel][channel] until bias and residual are added on the way out.
 *
 * Weights are packed [OC/nr][kt][kh*kw][IC][nr]. Sums run over the pictures in
 * time, then the taps, then the channels, in that order for every output.
 *
 * The nine taps of a 3x3 on a picture doubled by nearest neighbour fall on four
 * pixels of the picture itself: for each of an output pixel's four places in its
 * block it is a 2x2, with taps that are sums of the 3x3's (4 products for 9). A
 * sum of up to four weights, made in pairs, errs by at most 2 u of their
 * magnitudes; 4*IC products with 2 u more each stay below the bound of the 9*IC
 * that they stand for, since there is less to add up: 4n u + 2u <= 9n u.
 */
#include "kernels/cpu/product.h"

#include <stdlib.h>
#include <string.h>

#define TILE_SIDE   16                  /* at most, rows and columns of a rectangle */
#define TILE_PIXELS 160                 /* at most: its input, with the edge, stays in a second-level cache */
#define TILE_COST   12                  /* what starting a rectangle costs, in pixels */
#define TILE_OC     96                  /* about, output channels of a group */

struct KlConvWeights {
    const KlProduct *product;
    int ic, oc, kt, taps;               /* taps: kh*kw */
    float *w;                           /* [blocks][kt][taps][ic][nr] */
    float *bias;                        /* [blocks*nr], zeros when absent */
    float *zeros;                       /* [ic], a pixel of the padding */
};

struct KlConv {
    KlConvDesc d;                       /* as executed: of a doubling in phases, the 2x2 on the undoubled picture */
    const KlConvWeights *cw;
    KlExec *ex;
    const float *w;                     /* [phases][blocks][kt][taps][ic][nr] */
    float *own;                         /* w where it is not cw's */
    int phases, taps;                   /* 1, or the 4 places of a pixel in its block; of one phase */
    int R, W;                           /* of one phase's output */
    int oR, oW;                         /* the output picture */
    int tr, tw, tiles_r, tiles_w;       /* rectangles */
    int group, groups, blocks;          /* channel blocks of a tile, tiles, blocks in all */
    int64_t pixels;                     /* of a full rectangle, rounded up to the product's rows */
    int tap_step;                       /* taps multiplied at once */
    int64_t kc;                         /* channels multiplied at once */
    size_t acc_bytes, ptr_bytes, slice; /* scratch of one worker: sums, pointers, gathered pixels */
};

static int even_part(int n, int most)
{
    int parts = (n + most - 1) / most;

    return (n + parts - 1) / parts;
}

static void weights_destroy(KlConvWeights **pcw)
{
    KlConvWeights *cw = *pcw;

    if (!cw)
        return;
    free(cw->w);
    free(cw->bias);
    free(cw->zeros);
    free(cw);
    *pcw = NULL;
}

static float *alloc_zeros(size_t n)
{
    void *p = NULL;

    if (posix_memalign(&p, 64, kl_round64(n * sizeof(float))))
        return NULL;
    memset(p, 0, n * sizeof(float));
    return p;
}

/* w[OC,IC,kt,taps] f32 row of one output channel -> column j of its block. */
static void pack_channel(const KlConvWeights *cw, float *dst, const float *src)
{
    int n = cw->kt * cw->taps, nr = cw->product->nr;

    for (int c = 0; c < cw->ic; c++)
        for (int t = 0; t < n; t++)
            dst[((int64_t)t * cw->ic + c) * nr] = src[(int64_t)c * n + t];
}

static int weights_create(const KlProduct *products, KlConvWeights **pcw, KlWeight w, const float *bias,
                          int ic, int oc, int kt, int kh, int kw)
{
    const KlProduct *product = &products[oc <= products[1].nr];
    KlConvWeights *cw = calloc(1, sizeof(*cw));
    int nr = product->nr, blocks = (oc + nr - 1) / nr;
    int64_t depth = (int64_t)ic * kt * kh * kw;
    float *row;

    *pcw = NULL;
    if (!cw)
        return -1;
    cw->product = product;
    cw->ic = ic, cw->oc = oc, cw->kt = kt, cw->taps = kh * kw;
    cw->w = alloc_zeros((size_t)(depth * blocks) * nr);
    cw->bias = alloc_zeros((size_t)blocks * nr);
    cw->zeros = alloc_zeros((size_t)ic);
    row = malloc((size_t)depth * sizeof(*row));
    if (!cw->w || !cw->bias || !cw->zeros || !row) {
        free(row);
        weights_destroy(&cw);
        return -1;
    }
    for (int o = 0; o < oc; o++) {
        kl_widen_generic(row, w, o * depth, depth);
        pack_channel(cw, cw->w + o / nr * depth * nr + o % nr, row);
    }
    if (bias)
        memcpy(cw->bias, bias, (size_t)oc * sizeof(*bias));
    free(row);
    *pcw = cw;
    return 0;
}

/* Pixels computed when the picture is cut into rectangles of tr x tw, the rounding to the product's rows and the
 * cost of starting them included. */
static int64_t tiling_cost(const KlConv *c, int tr, int tw)
{
    int64_t unit = c->cw->product->rows, cost = 0;

    for (int last_r = 0; last_r < 2; last_r++) {
        for (int last_w = 0; last_w < 2; last_w++) {
            int64_t n = (last_r ? c->R % tr > 0 : c->R / tr) * (int64_t)(last_w ? c->W % tw > 0 : c->W / tw);
            int64_t pixels = (last_r ? c->R % tr : tr) * (last_w ? c->W % tw : tw);

            cost += n * (kl_ceil_div(pixels, unit) * unit + TILE_COST);
        }
    }
    return cost;
}

static void choose_tiling(KlConv *c)
{
    int64_t best = INT64_MAX;

    for (int tr = 1; tr <= TILE_SIDE; tr++) {
        for (int tw = 1; tw <= TILE_SIDE && tr * tw <= TILE_PIXELS; tw++) {
            int64_t cost = tiling_cost(c, tr, tw);

            if (cost >= best)
                continue;
            best = cost;
            c->tr = tr;
            c->tw = tw;
        }
    }
    c->tiles_r = (c->R + c->tr - 1) / c->tr;
    c->tiles_w = (c->W + c->tw - 1) / c->tw;
    c->pixels = kl_ceil_div((int64_t)c->tr * c->tw, c->cw->product->rows) * c->cw->product->rows;
}

static void conv_destroy(KlConv **pc)
{
    if (*pc)
        free((*pc)->own);
    free(*pc);
    *pc = NULL;
}

/* The rows (or columns) of a 3x3 that fall on row `tap` of the 2x2 of phase `at`: of phase 0 the first alone, then two;
 * of phase 1 two, then the last alone. */
static void taps_of(int at, int tap, int *first, int *n)
{
    *first = at ? 2 * tap : tap;
    *n = at == tap ? 1 : 2;
}

/* dst[n] = the sum of 1, 2 or 4 taps, rows added first. */
static void sum_taps(float *dst, const float *src, int64_t n, int r, int nr, int c, int nc)
{
    const float *a = src + (r * 3 + c) * n, *b = a + (nc - 1) * n, *d = a + (nr - 1) * 3 * n, *e = d + (nc - 1) * n;

    for (int64_t i = 0; i < n; i++) {
        float top = nc == 2 ? a[i] + b[i] : a[i], low = nc == 2 ? d[i] + e[i] : d[i];

        dst[i] = nr == 2 ? top + low : top;
    }
}

/* Makes the four 2x2s of a 3x3 on a doubled picture. */
static int split_phases(KlConv *c)
{
    const KlConvWeights *cw = c->cw;
    int64_t n = (int64_t)cw->ic * cw->product->nr, blocks = (cw->oc + cw->product->nr - 1) / cw->product->nr;
    float *to = c->own = alloc_zeros((size_t)(16 * blocks * n));

    if (!to)
        return -1;
    for (int phase = 0; phase < 4; phase++)
        for (int64_t b = 0; b < blocks; b++)
            for (int tap = 0; tap < 4; tap++, to += n) {
                int r, rows, w, cols;

                taps_of(phase / 2, tap / 2, &r, &rows);
                taps_of(phase % 2, tap % 2, &w, &cols);
                sum_taps(to, cw->w + b * 9 * n, n, r, rows, w, cols);
            }
    c->w = c->own;
    c->phases = c->taps = 4;
    c->d.kh = c->d.kw = 2;
    c->d.up2 = 0;
    c->R = c->d.R;
    c->W = c->d.W;
    return 0;
}

static int conv_create(KlExec *ex, KlConv **pc, const KlConvDesc *d, const KlConvWeights *cw)
{
    const KlProduct *product = cw->product;
    KlConv *c = calloc(1, sizeof(*c));

    *pc = c;
    if (!c)
        return -1;
    c->d = *d;
    c->cw = cw;
    c->ex = ex;
    c->oR = kl_conv_out(d->R, d->up2, d->kh, d->stride, d->pad_top + d->pad_bottom);
    c->oW = kl_conv_out(d->W, d->up2, d->kw, d->stride, d->pad_left + d->pad_right);
    c->w = cw->w;
    c->phases = 1;
    c->taps = cw->taps;
    c->R = c->oR;
    c->W = c->oW;
    if (d->up2 && d->kt == 1 && d->kh == 3 && d->kw == 3 && d->stride == 1 && d->pad_top == 1 && d->pad_left == 1 &&
        d->pad_bottom == 1 && d->pad_right == 1 && split_phases(c) < 0) {
        conv_destroy(pc);
        return -1;
    }
    choose_tiling(c);
    c->blocks = (cw->oc + product->nr - 1) / product->nr;
    c->group = even_part(c->blocks, TILE_OC > product->nr ? TILE_OC / product->nr : 1);
    c->groups = (c->blocks + c->group - 1) / c->group;
    c->kc = even_part(cw->ic, product->depth);
    c->tap_step = c->kc < cw->ic || cw->ic >= product->depth ? 1 : even_part(c->taps, product->depth / cw->ic);
    c->acc_bytes = kl_round64((size_t)(c->group * c->pixels * product->nr) * sizeof(float));
    c->ptr_bytes = kl_round64((size_t)(c->pixels * c->taps) * sizeof(float *));
    c->slice = c->acc_bytes + c->ptr_bytes;
    if (product->gather)
        c->slice += kl_round64((size_t)(c->pixels * c->tap_step * c->kc) * sizeof(float));
    return 0;
}

static size_t conv_scratch(const KlConv *c)
{
    return c->slice * (size_t)kl_threads(c->ex);
}

typedef struct Run {
    KlExec *ex;
    const KlConv *c;
    float *out;
    const float *const *src;
    const float *residual;
} Run;

typedef struct Rect {
    int r0, w0, rows, cols;             /* in the phase's output */
    int a, b;                           /* the phase: which row and column of a block */
    int64_t pixels;                     /* rows*cols, rounded up to the product's rows */
} Rect;

/* ptr[pixel][tap] of one input picture; pixels behind the rectangle's end point at zeros. */
static void point(const KlConv *c, const Rect *q, const float *src, const float **ptr)
{
    const KlConvDesc *d = &c->d;
    int64_t n = (int64_t)q->rows * q->cols;
    int R = d->R << d->up2, W = d->W << d->up2, top = d->pad_top - q->a, left = d->pad_left - q->b;

    for (int64_t p = 0; p < q->pixels; p++) {
        int r0 = (q->r0 + (int)(p / q->cols)) * d->stride - top;
        int w0 = (q->w0 + (int)(p % q->cols)) * d->stride - left;

        for (int i = 0; i < d->kh; i++) {
            for (int j = 0; j < d->kw; j++) {
                int r = r0 + i, w = w0 + j;
                int inside = p < n && r >= 0 && w >= 0 && r < R && w < W;

                *ptr++ = inside ? src + ((int64_t)(r >> d->up2) * d->W + (w >> d->up2)) * d->ic : c->cw->zeros;
            }
        }
    }
}

/* acc[pixel][ld] += one picture's part. */
static void multiply(const KlConv *c, const Rect *q, int t, int block0, int blocks, float *acc, const float *const *ptr,
                     float *tmp, int add)
{
    const KlConvWeights *cw = c->cw;
    const KlProduct *product = cw->product;
    int64_t nr = product->nr, tap_w = (int64_t)cw->ic * nr, ld = c->group * nr;

    for (int b = 0; b < blocks; b++, acc += nr) {
        int64_t block = (int64_t)(q->a * 2 + q->b) * c->blocks + block0 + b;
        const float *w = c->w + (block * cw->kt + t) * c->taps * tap_w;

        for (int tap = 0; tap < c->taps; tap += c->tap_step) {
            int taps = tap + c->tap_step < c->taps ? c->tap_step : c->taps - tap;

            for (int64_t k0 = 0; k0 < cw->ic; k0 += c->kc)
                product->block(acc, ld, ptr + tap, c->taps, k0, w + tap * tap_w + k0 * nr, tap_w, q->pixels, taps,
                               kl_min64(cw->ic - k0, c->kc), add || tap || k0, tmp);
        }
    }
}

static void store(const Run *run, const Rect *q, int block0, int blocks, const float *acc)
{
    const KlConv *c = run->c;
    int64_t nr = c->cw->product->nr, ld = c->group * nr, o0 = block0 * nr, oc = c->cw->oc;
    int64_t on = kl_min64(oc - o0, blocks * nr);
    const float *bias = c->cw->bias + o0;
    int step = c->phases == 4 ? 2 : 1;

    for (int r = 0; r < q->rows; r++) {
        for (int w = 0; w < q->cols; w++, acc += ld) {
            int64_t row = (int64_t)(q->r0 + r) * step + q->a, col = (int64_t)(q->w0 + w) * step + q->b;
            int64_t at = (row * c->oW + col) * oc + o0;
            const float *residual = run->residual ? run->residual + at : NULL;
            float *out = run->out + at;

            for (int64_t o = 0; o < on; o++)
                out[o] = residual ? acc[o] + bias[o] + residual[o] : acc[o] + bias[o];
        }
    }
}

static void conv_tile(void *arg, int64_t tile, int worker)
{
    const Run *run = arg;
    const KlConv *c = run->c;
    int block0 = (int)(tile % c->groups) * c->group;
    int blocks = block0 + c->group < c->blocks ? c->group : c->blocks - block0;
    int64_t at = tile / c->groups / c->phases;
    int phase = (int)(tile / c->groups % c->phases);
    Rect q = { .r0 = (int)(at / c->tiles_w) * c->tr, .w0 = (int)(at % c->tiles_w) * c->tw, .a = phase / 2,
               .b = phase % 2 };
    uint8_t *scratch = kl_scratch(run->ex, worker, c->slice);
    float *acc = (float *)(void *)scratch, *tmp = (float *)(void *)(scratch + c->acc_bytes + c->ptr_bytes);
    const float **ptr = (const float **)(void *)(scratch + c->acc_bytes);
    int add = 0;

    q.rows = c->R - q.r0 < c->tr ? c->R - q.r0 : c->tr;
    q.cols = c->W - q.w0 < c->tw ? c->W - q.w0 : c->tw;
    q.pixels = kl_ceil_div((int64_t)q.rows * q.cols, c->cw->product->rows) * c->cw->product->rows;
    for (int t = 0; t < c->cw->kt; t++) {
        if (!run->src[t])
            continue;
        point(c, &q, run->src[t], ptr);
        multiply(c, &q, t, block0, blocks, acc, ptr, tmp, add);
        add = 1;
    }
    if (!add)
        memset(acc, 0, c->acc_bytes);
    store(run, &q, block0, blocks, acc);
}

static void conv(KlExec *ex, const KlConv *c, float *out, const float *const *src, const float *residual)
{
    Run run = { ex, c, out, src, residual };

    kl_parallel(ex, (int64_t)c->tiles_r * c->tiles_w * c->groups * c->phases, conv_tile, &run);
}

static int kl_conv_weights_create_dnnl(const KlKernels *k, KlConvWeights **cw, KlWeight w, const float *bias,
                                       int ic, int oc, int kt, int kh, int kw)
{
    (void)k;
    return weights_create(kl_product_dnnl, cw, w, bias, ic, oc, kt, kh, kw);
}

#if defined(__x86_64__) || defined(__i386__)
static int kl_conv_weights_create_avx2(const KlKernels *k, KlConvWeights **cw, KlWeight w, const float *bias,
                                       int ic, int oc, int kt, int kh, int kw)
{
    (void)k;
    return weights_create(kl_product_avx2, cw, w, bias, ic, oc, kt, kh, kw);
}

static int kl_conv_weights_create_avx512(const KlKernels *k, KlConvWeights **cw, KlWeight w, const float *bias,
                                         int ic, int oc, int kt, int kh, int kw)
{
    (void)k;
    return weights_create(kl_product_avx512, cw, w, bias, ic, oc, kt, kh, kw);
}
#endif

void kl_cpu_init_conv(KlKernels *k, unsigned flags)
{
    k->conv_weights_create = kl_conv_weights_create_dnnl;       /* the packed weights know their product */
    k->conv_weights_destroy = weights_destroy;
    k->conv_create = conv_create;
    k->conv_destroy = conv_destroy;
    k->conv_scratch = conv_scratch;
    k->conv = conv;
#if defined(__x86_64__) || defined(__i386__)
    if (flags & KL_CPU_AVX2)
        k->conv_weights_create = flags & KL_CPU_AVX512 ? kl_conv_weights_create_avx512 : kl_conv_weights_create_avx2;
#else
    (void)flags;
#endif
}
