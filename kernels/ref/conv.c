/*
 * Convolution of causal video, the plain C one.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Sums run over (t, i, j, input channel) in that order. Weights are kept in
 * f32 as [OC/OB][kt][kh][kw][IC][OB], so that OB sums run side by side.
 */
#include <stdlib.h>

#include "ref.h"

#define OB 8

struct KlConvWeights {
    int ic, oc, kt, kh, kw;
    float *bias;                        /* [OC rounded up to OB], zeros when absent */
    float w[];
};

struct KlConv {
    KlConvDesc d;
    int oR, oW;
    const KlConvWeights *cw;
};

static void conv_weights_destroy(KlConvWeights **cw)
{
    if (*cw)
        free((*cw)->bias);
    free(*cw);
    *cw = NULL;
}

static int conv_weights_create(const KlKernels *k, KlConvWeights **cw, KlWeight w, const float *bias,
                               int ic, int oc, int kt, int kh, int kw)
{
    size_t taps = (size_t)kt * kh * kw, blocks = ((size_t)oc + OB - 1) / OB;
    size_t depth = (size_t)ic * taps;
    KlConvWeights *s = calloc(1, sizeof(*s) + blocks * depth * OB * sizeof(s->w[0]));
    float *row = malloc(depth * sizeof(*row));

    (void)k;
    *cw = NULL;
    if (s)
        s->bias = calloc(blocks * OB, sizeof(s->bias[0]));
    if (!s || !s->bias || !row) {
        free(row);
        conv_weights_destroy(&s);
        return -1;
    }
    s->ic = ic, s->oc = oc, s->kt = kt, s->kh = kh, s->kw = kw;
    if (bias)
        memcpy(s->bias, bias, oc * sizeof(*bias));
    for (int o = 0; o < oc; o++) {
        float *to = s->w + o / OB * depth * OB + o % OB;

        kl_widen_plain(row, w, (int64_t)(o * depth), (int64_t)depth);
        for (int c = 0; c < ic; c++)
            for (size_t t = 0; t < taps; t++)
                to[(t * ic + c) * OB] = row[c * taps + t];
    }
    free(row);
    *cw = s;
    return 0;
}

static int conv_create(KlExec *ex, KlConv **c, const KlConvDesc *d, const KlConvWeights *cw)
{
    (void)ex;
    *c = malloc(sizeof(**c));
    if (!*c)
        return -1;
    (*c)->d = *d;
    (*c)->cw = cw;
    (*c)->oR = kl_conv_out(d->R, d->up2, d->kh, d->stride, d->pad_top + d->pad_bottom);
    (*c)->oW = kl_conv_out(d->W, d->up2, d->kw, d->stride, d->pad_left + d->pad_right);
    return 0;
}

static void conv_destroy(KlConv **c)
{
    free(*c);
    *c = NULL;
}

static size_t conv_scratch(const KlConv *c)
{
    (void)c;
    return 0;
}

typedef struct Run {
    const KlConv *c;
    float *out;
    const float *const *src;
    const float *residual;
} Run;

/* acc[OB] += sum over the channels of one input pixel. */
static void add_tap(double *restrict acc, const float *restrict x, const float *restrict w, int ic)
{
    double a[OB];

    for (int j = 0; j < OB; j++)
        a[j] = acc[j];
    for (int c = 0; c < ic; c++) {
        double v = x[c];

        for (int j = 0; j < OB; j++)
            a[j] += v * w[c * OB + j];
    }
    for (int j = 0; j < OB; j++)
        acc[j] = a[j];
}

static void conv_pixel(const Run *p, int y, int x, int block, double *acc)
{
    const KlConvDesc *d = &p->c->d;
    int64_t tap = (int64_t)block * d->kt * d->kh * d->kw;

    for (int t = 0; t < d->kt; t++)
        for (int i = 0; i < d->kh; i++)
            for (int j = 0; j < d->kw; j++, tap++) {
                int r = y * d->stride - d->pad_top + i, c = x * d->stride - d->pad_left + j;

                if (!p->src[t] || r < 0 || c < 0 || r >= d->R << d->up2 || c >= d->W << d->up2)
                    continue;
                r >>= d->up2;
                c >>= d->up2;
                add_tap(acc, p->src[t] + ((int64_t)r * d->W + c) * d->ic, p->c->cw->w + tap * d->ic * OB, d->ic);
            }
}

/* One row of output pixels, OB output channels. */
static void conv_tile(void *arg, int64_t tile, int thread)
{
    const Run *p = arg;
    const KlConv *c = p->c;
    int oc = c->d.oc, y = (int)(tile % c->oR), block = (int)(tile / c->oR);

    (void)thread;
    for (int x = 0; x < c->oW; x++) {
        int64_t at = ((int64_t)y * c->oW + x) * oc;
        double acc[OB] = { 0 };

        conv_pixel(p, y, x, block, acc);
        for (int o = block * OB; o < oc && o < (block + 1) * OB; o++) {
            double v = acc[o - block * OB] + c->cw->bias[o];

            p->out[at + o] = (float)(p->residual ? v + p->residual[at + o] : v);
        }
    }
}

static void conv(KlExec *ex, const KlConv *c, float *out, const float *const *src, const float *residual)
{
    Run p = { c, out, src, residual };

    kl_parallel(ex, (int64_t)c->oR * ((c->d.oc + OB - 1) / OB), conv_tile, &p);
}

void kl_ref_init_conv(KlKernels *k)
{
    k->conv_weights_create = conv_weights_create;
    k->conv_weights_destroy = conv_weights_destroy;
    k->conv_create = conv_create;
    k->conv_destroy = conv_destroy;
    k->conv_scratch = conv_scratch;
    k->conv = conv;
}
