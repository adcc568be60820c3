/*
 * layer_norm, rms_norm, qk_norm_rope, pixel_norm.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Bounds. Statistics must be good to f32: the mean errs by its rounding, the
 * inverse deviation by 2 u; subtracting and scaling add 2 u, every further
 * multiplication 2 u of its result (a factor's own rounding and the product),
 * every addition u. A mean in plain f32 sums breaks this.
 */
#include "kt.h"

typedef struct Case {
    int S, D, H;                        /* H: heads, for qk_norm_rope */
    int dx, dy, in_place;
    int weight, bias, mod_rows;         /* mod_rows: group_rows, 0: no scale and shift */
    float offset;                       /* added to every x */
    int off, kind;
} Case;

static const Case cases[] = {
    {   1,    2,  1, 0, 0, 0, 0, 0, 0,    0, 0, KT_EVEN },
    {   3,    6,  1, 0, 0, 1, 1, 1, 0,    1, 1, KT_EVEN },
    {  17,   34,  1, 5, 3, 0, 1, 0, 0,    0, 0, KT_SPIKES },
    {   7,  130,  5, 0, 1, 0, 0, 0, 3,  100, 3, KT_EVEN },
    {  33,  128,  1, 2, 0, 1, 1, 1, 0, 1000, 0, KT_EVEN },
    {  33,   66,  3, 7, 7, 1, 1, 0, 1,    0, 0, KT_SPIKES },
    { 130,   96,  8, 0, 0, 1, 0, 0, 40,   3, 0, KT_EVEN },
    {   5, 1536, 12, 0, 0, 1, 1, 0, 5,    0, 0, KT_SPIKES },
    {   2,  520,  4, 0, 8, 0, 1, 1, 1,  -50, 1, KT_EVEN },
};

typedef struct Data {
    const Case *c;
    float *x, *weight, *bias, *scale, *shift, *cos, *sin;
    int rms, act;
    double *want, *tol;
} Data;

#define EPS 1e-6f

static void run_norm(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    const Case *c = d->c;
    int groups = c->mod_rows ? (c->S + c->mod_rows - 1) / c->mod_rows : 0;
    KlNorm p = { .ldx = c->D + c->dx, .ldy = c->D + c->dy, .S = c->S, .D = c->D, .eps = EPS,
                 .group_rows = c->mod_rows };

    p.x = kt_input_2d(t, d->x, c->S, c->D, p.ldx, c->off);
    if (c->in_place) {
        p.y = (float *)p.x;
        p.ldy = p.ldx;
    } else {
        p.y = kt_buf(t, c->S * p.ldy, c->off);
    }
    if (c->weight)
        p.weight = kt_input(t, d->weight, c->D, c->off);
    if (c->bias && !d->rms)
        p.bias = kt_input(t, d->bias, c->D, c->off);
    if (c->mod_rows && !d->rms) {
        p.ldmod = c->D + 3;
        p.scale = kt_input_2d(t, d->scale, groups, c->D, p.ldmod, c->off);
        p.shift = kt_input_2d(t, d->shift, groups, c->D, p.ldmod, c->off);
    }
    (d->rms ? t->k.rms_norm : t->k.layer_norm)(t->ex, &p);
    kt_sync(t);
    kt_output_2d(t, out, p.y, c->S, c->D, p.ldy);
}

/* x[D] normalised: v and its error. */
static void oracle_row(const float *x, int D, int rms, long double eps, long double *v, double *err)
{
    long double mean = 0, var = 0;

    for (int i = D - 1; i >= 0 && !rms; i--)
        mean += x[i];
    mean /= D;
    for (int i = D - 1; i >= 0; i--)
        var += (x[i] - mean) * (x[i] - mean);
    var = sqrtl(var / D + eps);
    for (int i = 0; i < D; i++) {
        v[i] = (x[i] - mean) / var;
        err[i] = KT_U * (fabs((double)(mean / var)) + 4 * fabs((double)v[i]));
    }
}

static void oracle_norm(Data *d)
{
    const Case *c = d->c;
    long double *v = malloc(c->D * sizeof(*v));
    double *err = malloc(c->D * sizeof(*err));

    for (int s = 0; s < c->S; s++) {
        oracle_row(d->x + (size_t)s * c->D, c->D, d->rms, EPS, v, err);
        for (int i = 0; i < c->D; i++) {
            size_t at = (size_t)s * c->D + i, mod = c->mod_rows ? (size_t)(s / c->mod_rows) * c->D + i : 0;

            if (c->weight) {
                v[i] *= d->weight[i];
                err[i] = err[i] * fabs(d->weight[i]) + 2 * KT_U * fabs((double)v[i]);
            }
            if (c->bias && !d->rms) {
                v[i] += d->bias[i];
                err[i] += KT_U * fabs((double)v[i]);
            }
            if (c->mod_rows && !d->rms) {
                v[i] *= 1.0L + d->scale[mod];
                err[i] = err[i] * fabs(1 + d->scale[mod]) + 2 * KT_U * fabs((double)v[i]);
                v[i] += d->shift[mod];
            }
            d->want[at] = (double)v[i];
            d->tol[at] = err[i] * 1.001 + KT_U * fabs((double)v[i]) + 1e-42;
        }
    }
    free(v), free(err);
}

static void run_rope(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    const Case *c = d->c;
    int64_t ldx = c->D + c->dx;
    size_t half = (size_t)c->S * (c->D / c->H / 2);
    float *x = kt_input_2d(t, d->x, c->S, c->D, ldx, c->off);
    const float *w = c->weight ? kt_input(t, d->weight, c->D, c->off) : NULL;
    const float *cs = c->mod_rows ? NULL : kt_input(t, d->cos, half, c->off);
    const float *sn = c->mod_rows ? NULL : kt_input(t, d->sin, half, c->off);

    t->k.qk_norm_rope(t->ex, x, ldx, c->S, c->H, c->D / c->H, w, EPS, cs, sn);
    kt_sync(t);
    kt_output_2d(t, out, x, c->S, c->D, ldx);
}

/* Cases with mod_rows run without a rotation. */
static void oracle_rope(Data *d)
{
    const Case *c = d->c;
    int E = c->D / c->H;
    long double *v = malloc(c->D * sizeof(*v));
    double *err = malloc(c->D * sizeof(*err));

    for (int s = 0; s < c->S; s++) {
        oracle_row(d->x + (size_t)s * c->D, c->D, 1, EPS, v, err);
        for (int i = 0; i < c->D; i++)
            if (c->weight) {
                v[i] *= d->weight[i];
                err[i] = err[i] * fabs(d->weight[i]) + 2 * KT_U * fabs((double)v[i]);
            }
        for (int i = 0; i < c->D; i++) {
            size_t at = (size_t)s * c->D + i, ct = (size_t)s * (E / 2) + i % E / 2;
            int other = i ^ 1;
            double cs = c->mod_rows ? 1 : d->cos[ct], sn = c->mod_rows ? 0 : d->sin[ct];

            d->want[at] = (double)(v[i] * cs + v[other] * (i % 2 ? sn : -sn));
            d->tol[at] = (err[i] * fabs(cs) + err[other] * fabs(sn)) * 1.001 + 1e-42 +
                         2 * KT_U * (fabs((double)v[i] * cs) + fabs((double)v[other] * sn));
        }
    }
    free(v), free(err);
}

static void run_pixel(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    const Case *c = d->c;
    size_t n = (size_t)c->S * c->D;
    float *x = kt_input(t, d->x, n, c->off), *y = c->in_place ? x : kt_buf(t, n, c->off);
    const float *gamma = kt_input(t, d->weight, c->D, c->off);

    t->k.pixel_norm(t->ex, y, x, c->S, c->D, gamma, d->act, 0);
    kt_sync(t);
    kt_output_2d(t, out, y, 1, n, n);
}

static void oracle_pixel(Data *d)
{
    const Case *c = d->c;

    for (int s = 0; s < c->S; s++) {
        const float *x = d->x + (size_t)s * c->D;
        long double norm = 0;

        for (int i = c->D - 1; i >= 0; i--)
            norm += (long double)x[i] * x[i];
        norm = sqrtl(norm);
        if (norm < 1e-12L)
            norm = 1e-12L;
        for (int i = 0; i < c->D; i++) {
            long double v = x[i] / norm * sqrtl(c->D) * d->weight[i];
            double tol = 5 * KT_U * fabs((double)v) + 1e-42;

            v = kt_act(v, d->act, &tol);
            d->want[(size_t)s * c->D + i] = (double)v;
            d->tol[(size_t)s * c->D + i] = tol + KT_U * fabs((double)v);
        }
    }
}

typedef void (*Oracle)(Data *d);

static void one(const KtTable *table, const Case *c, const char *op, KtOp run, Oracle oracle, int flag, float spoil)
{
    size_t n = (size_t)c->S * c->D;
    Data d = { .c = c, .rms = flag, .act = flag };
    char label[96];

    snprintf(label, sizeof(label), "%s S %d D %d H %d%s", op, c->S, c->D, c->H, spoil != 0 ? " spoiled" : "");
    d.x = kt_random(n, 1, c->kind);
    for (size_t i = 0; i < n; i++)
        d.x[i] += c->offset;
    for (int i = 0; i < c->D && c->S > 2; i++)  /* one row of nothing */
        d.x[c->D + i] = 0;
    if (spoil != 0)
        d.x[n / 2] = spoil;
    d.weight = kt_random(c->D, 2, KT_EVEN);
    d.bias = kt_random(c->D, 3, c->kind);
    d.scale = kt_random(n, 4, KT_EVEN);
    d.shift = kt_random(n, 5, KT_EVEN);
    d.cos = kt_random(n, 6, KT_EVEN);
    d.sin = kt_random(n, 7, KT_EVEN);
    for (size_t i = 0; i < n; i++) {
        d.sin[i] = (float)sin(3.0 * d.cos[i]);
        d.cos[i] = (float)cos(3.0 * d.cos[i]);
    }
    d.want = malloc(n * sizeof(double));
    d.tol = malloc(n * sizeof(double));
    oracle(&d);
    kt_case(table, label, run, &d, n, d.want, d.tol);
    free(d.x), free(d.weight), free(d.bias), free(d.scale), free(d.shift), free(d.cos), free(d.sin), free(d.want);
    free(d.tol);
}

static void test_layer_norm(const KtTable *table)
{
    for (size_t i = 0; i < KT_LEN(cases); i++)
        one(table, &cases[i], "layer_norm", run_norm, oracle_norm, 0, 0);
    one(table, &cases[4], "layer_norm", run_norm, oracle_norm, 0, NAN);
    one(table, &cases[4], "layer_norm", run_norm, oracle_norm, 0, INFINITY);
}

static void test_rms_norm(const KtTable *table)
{
    for (size_t i = 0; i < KT_LEN(cases); i++)
        one(table, &cases[i], "rms_norm", run_norm, oracle_norm, 1, 0);
    one(table, &cases[4], "rms_norm", run_norm, oracle_norm, 1, NAN);
    one(table, &cases[4], "rms_norm", run_norm, oracle_norm, 1, -INFINITY);
}

static void test_qk_norm_rope(const KtTable *table)
{
    for (size_t i = 0; i < KT_LEN(cases); i++)
        one(table, &cases[i], "qk_norm_rope", run_rope, oracle_rope, 0, 0);
    one(table, &cases[4], "qk_norm_rope", run_rope, oracle_rope, 0, NAN);
}

static void test_pixel_norm(const KtTable *table)
{
    for (size_t i = 0; i < KT_LEN(cases); i++)
        one(table, &cases[i], "pixel_norm", run_pixel, oracle_pixel, i % 2 ? KL_ACT_SILU : KL_ACT_NONE, 0);
    one(table, &cases[2], "pixel_norm", run_pixel, oracle_pixel, KL_ACT_GELU_TANH, 0);
    one(table, &cases[3], "pixel_norm", run_pixel, oracle_pixel, KL_ACT_GELU, 0);
    one(table, &cases[4], "pixel_norm", run_pixel, oracle_pixel, KL_ACT_SILU, NAN);
}

int main(void)
{
    kt_each("layer_norm", test_layer_norm);
    kt_each("rms_norm", test_rms_norm);
    kt_each("qk_norm_rope", test_qk_norm_rope);
    kt_each("pixel_norm", test_pixel_norm);
    return check_exit();
}
