/*
 * conv: kernels of 1 and 3 in every direction, strides, one-sided padding,
 * doubling, absent pictures, residuals, odd channels.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Bound of one output: a sum of ic*kt*kh*kw products, the bias and the
 * residual. The oracle goes from input to output (it scatters), so that it
 * shares no index arithmetic with a gathering implementation.
 */
#include "kt.h"

enum { NO_RES, RES, RES_IN_PLACE };

typedef struct Case {
    KlConvDesc d;                       /* ic, oc, kt, kh, kw, stride, top, left, bottom, right, up2, R, W */
    KlDType dtype;
    int bias, residual, null_src;       /* null_src: how many of the oldest pictures are NULL */
    int kind;
    float spoil;                        /* put into one input element, unless 0 */
} Case;

static const Case cases[] = {
    { { 1,   1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0 }, KL_F32,  0, NO_RES,       0, KT_EVEN,   0 },
    { { 3,   5, 1, 1, 1, 1, 0, 0, 0, 0, 0, 7, 9, 0 }, KL_F32,  1, NO_RES,       0, KT_SPIKES, 0 },
    { { 16, 16, 3, 3, 3, 1, 1, 1, 1, 1, 0, 6, 5, 0 }, KL_F32,  1, NO_RES,       0, KT_EVEN,   0 },
    { { 16, 16, 3, 3, 3, 1, 1, 1, 1, 1, 0, 6, 5, 0 }, KL_F32,  1, NO_RES,       2, KT_EVEN,   0 },
    { { 7,  17, 3, 3, 3, 1, 1, 1, 1, 1, 0, 3, 9, 0 }, KL_BF16, 1, RES,          1, KT_SPIKES, 0 },
    { { 24, 40, 3, 3, 3, 1, 1, 1, 1, 1, 0, 17, 3, 0 }, KL_F16, 0, RES_IN_PLACE, 0, KT_EVEN,   0 },
    { { 33, 24, 3, 1, 1, 1, 0, 0, 0, 0, 0, 5, 7, 0 }, KL_F32,  1, RES,          1, KT_SPIKES, 0 },
    { { 12, 24, 3, 1, 1, 1, 0, 0, 0, 0, 0, 5, 7, 0 }, KL_BF16, 1, NO_RES,       0, KT_EVEN,   0 },
    { { 12,  6, 1, 3, 3, 1, 1, 1, 1, 1, 1, 5, 7, 0 }, KL_F32,  1, NO_RES,       0, KT_EVEN,   0 },
    { { 32, 16, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 3, 0 }, KL_F16,  1, NO_RES,       0, KT_SPIKES, 0 },
    { { 12, 12, 1, 3, 3, 2, 0, 0, 1, 1, 0, 8, 6, 0 }, KL_F32,  1, NO_RES,       0, KT_EVEN,   0 },
    { { 8,  24, 1, 3, 3, 2, 0, 0, 1, 1, 0, 7, 9, 0 }, KL_BF16, 1, NO_RES,       0, KT_SPIKES, 0 },
    { { 5,   3, 3, 3, 3, 1, 1, 1, 1, 1, 0, 11, 19, 0 }, KL_F32, 1, NO_RES,      0, KT_SPIKES, 0 },
    { { 64, 96, 2, 1, 3, 1, 0, 1, 0, 1, 0, 4, 33, 0 }, KL_F32, 1, RES_IN_PLACE, 1, KT_EVEN,   0 },
    { { 9,  10, 1, 3, 1, 1, 2, 0, 0, 0, 0, 6, 4, 0 }, KL_F32,  0, NO_RES,       0, KT_EVEN,   0 },
    { { 48, 64, 1, 1, 1, 1, 0, 0, 0, 0, 0, 5, 26, 0 }, KL_BF16, 1, RES,         0, KT_EVEN,   0 },
    { { 3,  32, 3, 3, 3, 1, 1, 1, 1, 1, 0, 10, 16, 0 }, KL_F32, 1, NO_RES,      0, KT_EVEN,   0 },
    /* more than one rectangle, group of channels and chunk of every implementation, none of them whole */
    { { 12, 112, 3, 3, 3, 1, 1, 1, 1, 1, 0, 25, 19, 0 }, KL_F32, 1, RES,        0, KT_EVEN,   0 },
    { { 401, 100, 2, 3, 3, 1, 1, 1, 1, 1, 0, 3, 4, 0 }, KL_F32, 1, NO_RES,      0, KT_EVEN,   0 },
    { { 48, 20, 1, 3, 3, 1, 1, 1, 1, 1, 0, 4, 5, 0 }, KL_F32, 0, NO_RES,        0, KT_EVEN,   0 },
    { { 96, 20, 1, 3, 3, 1, 1, 1, 1, 1, 0, 4, 5, 0 }, KL_F32, 0, NO_RES,        0, KT_EVEN,   0 },
    /* after doubling: the same, at the picture's edges, onto a residual, and padded by other than one on each side */
    { { 12, 112, 1, 3, 3, 1, 1, 1, 1, 1, 1, 25, 19, 0 }, KL_BF16, 1, RES,       0, KT_EVEN,   0 },
    { { 401, 20, 1, 3, 3, 1, 1, 1, 1, 1, 1, 3, 2, 0 }, KL_F32, 1, RES_IN_PLACE, 0, KT_EVEN,   0 },
    { { 1,   1, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 0 }, KL_F32,  0, NO_RES,       0, KT_SPIKES, 0 },
    { { 6,   5, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 40, 0 }, KL_F32, 1, NO_RES,       0, KT_SPIKES, 0 },
    { { 6,   5, 1, 3, 3, 1, 2, 1, 0, 1, 1, 4, 3, 0 }, KL_F32,  1, NO_RES,       0, KT_EVEN,   0 },
    { { 6,   5, 2, 3, 3, 1, 1, 1, 1, 1, 1, 4, 3, 0 }, KL_F32,  1, NO_RES,       1, KT_EVEN,   0 },
    { { 801, 9, 3, 1, 1, 1, 0, 0, 0, 0, 0, 2, 5, 0 }, KL_BF16, 1, RES_IN_PLACE, 0, KT_EVEN,   0 },
    { { 16, 16, 3, 3, 3, 1, 1, 1, 1, 1, 0, 6, 5, 0 }, KL_F32,  1, RES,          3, KT_EVEN,   0 },
    /* pictures that a GPU cuts into strips of 8 columns and tiles of 16, 24, 32 and 48 lines by 16, 96, 128 and 192
       channels: tiles that end with a strip or go on in the next one, several for a block, taken together or in turns,
       none of them whole */
    { { 16,  3, 3, 3, 3, 1, 1, 1, 1, 1, 0, 60, 19, 0 }, KL_F32, 1, NO_RES,      1, KT_EVEN,   0 },
    { { 40, 12, 1, 3, 3, 1, 1, 1, 1, 1, 0, 62, 23, 0 }, KL_BF16, 1, RES,        0, KT_EVEN,   0 },
    { { 33, 96, 1, 3, 3, 1, 1, 1, 1, 1, 0, 52, 22, 0 }, KL_F32, 1, RES_IN_PLACE, 0, KT_EVEN,  0 },
    { { 16, 96, 1, 3, 3, 1, 1, 1, 1, 1, 0, 46, 27, 0 }, KL_F32, 0, NO_RES,      0, KT_SPIKES, 0 },
    { { 8,  90, 1, 3, 3, 1, 1, 1, 1, 1, 1, 26, 18, 0 }, KL_F32, 1, RES,         0, KT_EVEN,   0 },
    { { 16, 96, 1, 3, 3, 2, 0, 0, 1, 1, 0, 96, 40, 0 }, KL_F32, 1, NO_RES,      0, KT_EVEN,   0 },
    { { 8,  96, 1, 3, 3, 2, 0, 0, 1, 1, 0, 54, 40, 0 }, KL_F32, 1, NO_RES,      0, KT_EVEN,   0 },
    { { 8,  96, 3, 3, 3, 1, 1, 1, 1, 1, 0, 110, 31, 0 }, KL_BF16, 1, RES_IN_PLACE, 0, KT_EVEN, 0 },
    { { 12, 250, 1, 3, 3, 1, 1, 1, 1, 1, 0, 47, 30, 0 }, KL_F32, 1, RES,        0, KT_EVEN,   0 },
    { { 24, 128, 1, 3, 3, 1, 1, 1, 1, 1, 0, 31, 30, 0 }, KL_F32, 1, RES,        0, KT_EVEN,   0 },
    { { 20, 250, 1, 3, 3, 2, 0, 0, 1, 1, 0, 60, 27, 0 }, KL_F32, 1, NO_RES,     0, KT_EVEN,   0 },
    { { 16, 192, 2, 3, 3, 1, 1, 1, 1, 1, 0, 14, 30, 0 }, KL_BF16, 1, RES,       0, KT_EVEN,   0 },
    { { 40, 380, 1, 3, 3, 1, 1, 1, 1, 1, 0, 20, 18, 0 }, KL_F32, 1, RES_IN_PLACE, 0, KT_EVEN, 0 },
    { { 10, 190, 1, 3, 3, 1, 1, 1, 1, 1, 0, 53, 13, 0 }, KL_F32, 1, NO_RES,     0, KT_EVEN,   0 },
    { { 70, 192, 3, 1, 1, 1, 0, 0, 0, 0, 0, 41, 21, 0 }, KL_F32, 1, NO_RES,     1, KT_EVEN,   0 },
    { { 100, 96, 1, 1, 1, 1, 0, 0, 0, 0, 0, 71, 31, 0 }, KL_BF16, 1, NO_RES,    0, KT_EVEN,   0 },
};

static const Case spoiled[] = {
    { { 16, 16, 3, 3, 3, 1, 1, 1, 1, 1, 0, 6, 5, 0 }, KL_F32,  1, NO_RES,       0, KT_EVEN,   NAN },
    { { 16, 17, 3, 3, 3, 1, 1, 1, 1, 1, 0, 6, 5, 0 }, KL_BF16, 1, RES,          0, KT_EVEN,   INFINITY },
    { { 6,   3, 1, 3, 3, 1, 1, 1, 1, 1, 1, 6, 5, 0 }, KL_F32,  1, NO_RES,       0, KT_EVEN,   NAN },
    { { 8,   8, 3, 1, 1, 1, 0, 0, 0, 0, 0, 6, 5, 0 }, KL_F32,  1, NO_RES,       0, KT_EVEN,   NAN },
};

typedef struct Data {
    const Case *c;
    float *src[3], *bias, *res, *wv;
    void *mem;
    KlWeight w;
    int oR, oW;
    double *want, *tol;
} Data;

static void run(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    const KlConvDesc *c = &d->c->d;
    size_t in = (size_t)c->R * c->W * c->ic, n = (size_t)d->oR * d->oW * c->oc;
    const float *src[3] = { NULL }, *res = NULL;
    KlConvWeights *cw = NULL;
    KlConv *conv = NULL;
    float *y;

    for (int i = d->c->null_src; i < c->kt; i++)
        src[i] = kt_input(t, d->src[i], in, 0);
    y = d->c->residual == RES_IN_PLACE ? kt_input(t, d->res, n, 0) : kt_buf(t, n, 0);
    if (d->c->residual)
        res = d->c->residual == RES_IN_PLACE ? y : kt_input(t, d->res, n, 0);
    if (t->k.conv_weights_create(&t->k, &cw, d->w, d->c->bias ? d->bias : NULL, c->ic, c->oc,
                                 c->kt, c->kh, c->kw) < 0 ||
        t->k.conv_create(t->ex, &conv, c, cw) < 0 ||
        t->k.exec_reserve(t->ex, t->k.conv_scratch(conv)) < 0) {
        snprintf(t->why, sizeof(t->why), "not created");
    } else {
        t->k.conv(t->ex, conv, y, src, res);
    }
    t->k.conv_destroy(&conv);           /* while it may still be at work */
    t->k.conv_weights_destroy(&cw);
    kt_sync(t);
    if (!t->why[0])
        kt_output_2d(t, out, y, 1, n, n);
    if (conv || cw)
        snprintf(t->why, sizeof(t->why), "destroy left a pointer");
}

/* Adds the input pixel (r, w) of picture t to every output that it reaches. */
static void scatter(const Data *d, int t, int r, int w, long double *sum, double *mag)
{
    const KlConvDesc *c = &d->c->d;

    for (int i = 0; i < c->kh; i++)
        for (int j = 0; j < c->kw; j++) {
            int y = r + c->pad_top - i, x = w + c->pad_left - j;

            if (y < 0 || x < 0 || y % c->stride || x % c->stride || y / c->stride >= d->oR || x / c->stride >= d->oW)
                continue;
            for (int o = 0; o < c->oc; o++) {
                size_t at = ((size_t)(y / c->stride) * d->oW + x / c->stride) * c->oc + o;

                for (int k = 0; k < c->ic; k++) {
                    size_t in = ((size_t)(r >> c->up2) * c->W + (w >> c->up2)) * c->ic + k;
                    size_t wi = ((((size_t)o * c->ic + k) * c->kt + t) * c->kh + i) * c->kw + j;
                    long double v = (long double)d->src[t][in] * d->wv[wi];

                    sum[at] += v;
                    mag[at] += fabs((double)v);
                }
            }
        }
}

static void oracle(Data *d)
{
    const KlConvDesc *c = &d->c->d;
    size_t n = (size_t)d->oR * d->oW * c->oc;
    long double *sum = calloc(n, sizeof(*sum));

    memset(d->tol, 0, n * sizeof(*d->tol));
    for (int t = d->c->null_src; t < c->kt; t++)
        for (int r = 0; r < c->R << c->up2; r++)
            for (int w = 0; w < c->W << c->up2; w++)
                scatter(d, t, r, w, sum, d->tol);
    for (size_t i = 0; i < n; i++) {
        double b = d->c->bias ? d->bias[i % c->oc] : 0, r = d->c->residual ? d->res[i] : 0;

        d->want[i] = (double)(sum[i] + b + r);
        d->tol[i] = kt_sum_u((double)c->ic * c->kt * c->kh * c->kw + 3) * (d->tol[i] + fabs(b) + fabs(r)) +
                    2 * KT_U * fabs(d->want[i]) + 1e-42;
    }
    free(sum);
}

static void one(const KtTable *table, const Case *c)
{
    const KlConvDesc *k = &c->d;
    size_t in = (size_t)k->R * k->W * k->ic, n;
    Data d = { .c = c };
    char label[128];

    snprintf(label, sizeof(label), "%d->%d %dx%dx%d/%d up %d on %dx%d dtype %d", k->ic, k->oc, k->kt, k->kh, k->kw,
             k->stride, k->up2, k->R, k->W, c->dtype);
    d.oR = kl_conv_out(k->R, k->up2, k->kh, k->stride, k->pad_top + k->pad_bottom);
    d.oW = kl_conv_out(k->W, k->up2, k->kw, k->stride, k->pad_left + k->pad_right);
    n = (size_t)d.oR * d.oW * k->oc;
    for (int i = 0; i < k->kt; i++)
        d.src[i] = kt_random(in, 10 + i, c->kind);
    if (c->spoil != 0)
        d.src[k->kt - 1][in / 2] = c->spoil;
    d.bias = kt_random(k->oc, 2, KT_EVEN);
    d.res = kt_random(n, 3, c->kind);
    d.w = kt_weight((size_t)k->oc * k->ic * k->kt * k->kh * k->kw, 5, KT_EVEN, c->dtype, &d.mem, &d.wv);
    d.want = malloc(n * sizeof(double));
    d.tol = malloc(n * sizeof(double));
    oracle(&d);
    kt_case(table, label, run, &d, n, d.want, d.tol);
    free(d.src[0]), free(d.src[1]), free(d.src[2]), free(d.bias), free(d.res), free(d.wv), free(d.mem);
    free(d.want), free(d.tol);
}

static void test_conv(const KtTable *table)
{
    for (size_t i = 0; i < KT_LEN(cases); i++)
        one(table, &cases[i]);
}

static void test_conv_nan(const KtTable *table)
{
    for (size_t i = 0; i < KT_LEN(spoiled); i++)
        one(table, &spoiled[i]);
}

int main(void)
{
    kt_each("conv", test_conv);
    kt_each("conv_nan", test_conv_nan);
    return check_exit();
}
