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
 * [block][pixel][nr] until bias and residual are added on the way out.
 *
 * Weights are packed [OC/nr][kt][kh*kw][IC][nr]. Sums run over the pictures in
 * time, then the taps, then the channels, in that order for every output.
 */
#include "kernels/cpu/conv.h"

#include <stdlib.h>
#include <string.h>

#define TILE_R  12                      /* at most, rows of a rectangle */
#define TILE_W  12                      /* at most, columns */
#define TILE_OC 96                      /* about, output channels of a group */

struct KlConvWeights {
    const KlConvLeaf *leaf;
    int ic, oc, kt, taps;               /* taps: kh*kw */
    float *w;                           /* [blocks][kt][taps][ic][nr] */
    float *bias;                        /* [blocks*nr], zeros when absent */
    float *zeros;                       /* [ic], a pixel of the padding */
};

struct KlConv {
    KlConvDesc d;
    const KlConvWeights *cw;
    KlExec *ex;
    int oR, oW;                         /* the output picture */
    int tr, tw, tiles_r, tiles_w;       /* rectangles */
    int group, groups, blocks;          /* channel blocks of a tile, tiles, blocks in all */
    int64_t pixels;                     /* of a full rectangle, rounded up to the leaf's rows */
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
    int n = cw->kt * cw->taps, nr = cw->leaf->nr;

    for (int c = 0; c < cw->ic; c++)
        for (int t = 0; t < n; t++)
            dst[((int64_t)t * cw->ic + c) * nr] = src[(int64_t)c * n + t];
}

static int weights_create(const KlConvLeaf *leaves, KlConvWeights **pcw, KlWeight w, const float *bias,
                          int ic, int oc, int kt, int kh, int kw)
{
    const KlConvLeaf *leaf = &leaves[oc <= leaves[1].nr];
    KlConvWeights *cw = calloc(1, sizeof(*cw));
    int nr = leaf->nr, blocks = (oc + nr - 1) / nr;
    int64_t depth = (int64_t)ic * kt * kh * kw;
    float *row;

    *pcw = NULL;
    if (!cw)
        return -1;
    cw->leaf = leaf;
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
        kl_widen(row, w, o * depth, depth);
        pack_channel(cw, cw->w + o / nr * depth * nr + o % nr, row);
    }
    if (bias)
        memcpy(cw->bias, bias, (size_t)oc * sizeof(*bias));
    free(row);
    *pcw = cw;
    return 0;
}

static void conv_destroy(KlConv **c)
{
    free(*c);
    *c = NULL;
}

static int conv_create(KlExec *ex, KlConv **pc, const KlConvDesc *d, const KlConvWeights *cw)
{
    const KlConvLeaf *leaf = cw->leaf;
    KlConv *c = calloc(1, sizeof(*c));

    *pc = c;
    if (!c)
        return -1;
    c->d = *d;
    c->cw = cw;
    c->ex = ex;
    c->oR = kl_conv_out(d->R, d->up2, d->kh, d->stride, d->pad_top + d->pad_bottom);
    c->oW = kl_conv_out(d->W, d->up2, d->kw, d->stride, d->pad_left + d->pad_right);
    c->tr = even_part(c->oR, TILE_R);
    c->tw = even_part(c->oW, TILE_W);
    c->tiles_r = (c->oR + c->tr - 1) / c->tr;
    c->tiles_w = (c->oW + c->tw - 1) / c->tw;
    c->pixels = kl_ceil_div((int64_t)c->tr * c->tw, leaf->rows) * leaf->rows;
    c->blocks = (cw->oc + leaf->nr - 1) / leaf->nr;
    c->group = even_part(c->blocks, TILE_OC > leaf->nr ? TILE_OC / leaf->nr : 1);
    c->groups = (c->blocks + c->group - 1) / c->group;
    c->kc = even_part(cw->ic, leaf->depth);
    c->tap_step = c->kc < cw->ic || cw->ic >= leaf->depth ? 1 : even_part(cw->taps, leaf->depth / cw->ic);
    c->acc_bytes = kl_round64((size_t)(c->group * c->pixels * leaf->nr) * sizeof(float));
    c->ptr_bytes = kl_round64((size_t)(c->pixels * cw->taps) * sizeof(float *));
    c->slice = c->acc_bytes + c->ptr_bytes;
    if (leaf->gather)
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
    int r0, w0, rows, cols;             /* in the output */
    int64_t pixels;                     /* rows*cols, rounded up to the leaf's rows */
} Rect;

/* ptr[pixel][tap] of one input picture; pixels behind the rectangle's end point at zeros. */
static void point(const KlConv *c, const Rect *q, const float *src, const float **ptr)
{
    const KlConvDesc *d = &c->d;
    int64_t n = (int64_t)q->rows * q->cols;
    int R = d->R << d->up2, W = d->W << d->up2;

    for (int64_t p = 0; p < q->pixels; p++) {
        int r0 = (q->r0 + (int)(p / q->cols)) * d->stride - d->pad_top;
        int w0 = (q->w0 + (int)(p % q->cols)) * d->stride - d->pad_left;

        for (int i = 0; i < d->kh; i++) {
            for (int j = 0; j < d->kw; j++) {
                int r = r0 + i, w = w0 + j;
                int inside = p < n && r >= 0 && w >= 0 && r < R && w < W;

                *ptr++ = inside ? src + ((int64_t)(r >> d->up2) * d->W + (w >> d->up2)) * d->ic : c->cw->zeros;
            }
        }
    }
}

/* acc[block][pixel][nr] += one picture's part. */
static void multiply(const KlConv *c, const Rect *q, int t, int block0, int blocks, float *acc, const float *const *ptr,
                     float *tmp, int add)
{
    const KlConvWeights *cw = c->cw;
    const KlConvLeaf *leaf = cw->leaf;
    int64_t nr = leaf->nr, tap_w = (int64_t)cw->ic * nr;

    for (int b = 0; b < blocks; b++, acc += c->pixels * nr) {
        const float *w = cw->w + ((int64_t)(block0 + b) * cw->kt + t) * cw->taps * tap_w;

        for (int tap = 0; tap < cw->taps; tap += c->tap_step) {
            int taps = tap + c->tap_step < cw->taps ? c->tap_step : cw->taps - tap;

            for (int64_t k0 = 0; k0 < cw->ic; k0 += c->kc)
                leaf->block(acc, ptr + tap, cw->taps, k0, w + tap * tap_w + k0 * nr, tap_w, q->pixels, taps,
                            kl_min64(cw->ic - k0, c->kc), add || tap || k0, tmp);
        }
    }
}

static void store(const Run *run, const Rect *q, int block0, int blocks, const float *acc)
{
    const KlConv *c = run->c;
    int64_t nr = c->cw->leaf->nr, oc = c->cw->oc, n = (int64_t)q->rows * q->cols;

    for (int b = 0; b < blocks; b++, acc += c->pixels * nr) {
        int64_t o0 = (block0 + b) * nr, on = kl_min64(oc - o0, nr);
        const float *bias = c->cw->bias + o0;

        for (int64_t p = 0; p < n; p++) {
            int64_t at = ((q->r0 + p / q->cols) * c->oW + q->w0 + p % q->cols) * oc + o0;
            const float *a = acc + p * nr;

            if (run->residual)
                for (int64_t o = 0; o < on; o++)
                    run->out[at + o] = a[o] + bias[o] + run->residual[at + o];
            else
                for (int64_t o = 0; o < on; o++)
                    run->out[at + o] = a[o] + bias[o];
        }
    }
}

static void conv_tile(void *arg, int64_t tile, int worker)
{
    const Run *run = arg;
    const KlConv *c = run->c;
    int block0 = (int)(tile % c->groups) * c->group;
    int blocks = block0 + c->group < c->blocks ? c->group : c->blocks - block0;
    int64_t at = tile / c->groups;
    Rect q = { .r0 = (int)(at / c->tiles_w) * c->tr, .w0 = (int)(at % c->tiles_w) * c->tw };
    uint8_t *scratch = kl_scratch(run->ex, worker, c->slice);
    float *acc = (float *)(void *)scratch, *tmp = (float *)(void *)(scratch + c->acc_bytes + c->ptr_bytes);
    const float **ptr = (const float **)(void *)(scratch + c->acc_bytes);
    int add = 0;

    q.rows = c->oR - q.r0 < c->tr ? c->oR - q.r0 : c->tr;
    q.cols = c->oW - q.w0 < c->tw ? c->oW - q.w0 : c->tw;
    q.pixels = kl_ceil_div((int64_t)q.rows * q.cols, c->cw->leaf->rows) * c->cw->leaf->rows;
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

    kl_parallel(ex, (int64_t)c->tiles_r * c->tiles_w * c->groups, conv_tile, &run);
}

/* -- without a micro kernel of our own: pixels are gathered, the library multiplies -- */

static void gather_multiply(int nr, float *c, const float *const *a, int64_t lda, int64_t k0, const float *b,
                            int64_t pixels, int taps, int64_t kc, int add, float *tmp)
{
    float *to = tmp;

    for (int64_t p = 0; p < pixels; p++)
        for (int t = 0; t < taps; t++, to += kc)
            memcpy(to, a[p * lda + t] + k0, (size_t)kc * sizeof(float));
    kl_sgemm('N', 'N', pixels, nr, taps * kc, 1, tmp, taps * kc, b, nr, (float)add, c, nr);
}

static void block_wide(float *c, const float *const *a, int64_t lda, int64_t k0, const float *b, int64_t ldb,
                       int64_t pixels, int taps, int64_t kc, int add, float *tmp)
{
    (void)ldb;                          /* taps follow each other densely */
    gather_multiply(96, c, a, lda, k0, b, pixels, taps, kc, add, tmp);
}

static void block_narrow(float *c, const float *const *a, int64_t lda, int64_t k0, const float *b, int64_t ldb,
                         int64_t pixels, int taps, int64_t kc, int add, float *tmp)
{
    (void)ldb;
    gather_multiply(16, c, a, lda, k0, b, pixels, taps, kc, add, tmp);
}

static const KlConvLeaf leaf_dnnl[2] = {
    { .nr = 96, .rows = 1, .depth = 768, .gather = 1, .block = block_wide },
    { .nr = 16, .rows = 1, .depth = 768, .gather = 1, .block = block_narrow },
};

static int kl_conv_weights_create_dnnl(const KlKernels *k, KlConvWeights **cw, KlWeight w, const float *bias,
                                       int ic, int oc, int kt, int kh, int kw)
{
    (void)k;
    return weights_create(leaf_dnnl, cw, w, bias, ic, oc, kt, kh, kw);
}

#if defined(__x86_64__) || defined(__i386__)
static int kl_conv_weights_create_avx2(const KlKernels *k, KlConvWeights **cw, KlWeight w, const float *bias,
                                       int ic, int oc, int kt, int kh, int kw)
{
    (void)k;
    return weights_create(kl_conv_leaf_avx2, cw, w, bias, ic, oc, kt, kh, kw);
}
#endif

void kl_cpu_init_conv(KlKernels *k, unsigned flags)
{
    k->conv_weights_create = kl_conv_weights_create_dnnl;       /* the packed weights know their leaf */
    k->conv_weights_destroy = weights_destroy;
    k->conv_create = conv_create;
    k->conv_destroy = conv_destroy;
    k->conv_scratch = conv_scratch;
    k->conv = conv;
#if defined(__x86_64__) || defined(__i386__)
    if (flags & KL_CPU_AVX2 && !(flags & KL_CPU_AVX512))        /* with wider vectors the library is ahead */
        k->conv_weights_create = kl_conv_weights_create_avx2;
#else
    (void)flags;
#endif
}
