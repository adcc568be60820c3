/*
 * linear: every dtype, activation and epilogue, odd shapes, strides.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Bound of one output: the sum's (K + 2 terms with bias), carried through the
 * activation, the gate and two more roundings of the residual's addition.
 */
#include "kt.h"

enum { NO_RES, RES, RES_IN_PLACE };

typedef struct Case {
    int M, N, K, dx, dy;                /* ldx = K + dx, ldy = N + dy */
    KlDType dtype;
    KlActivation act;
    int bias, residual, gate_rows;      /* group_rows, 0: no gate */
    int off, kind;
} Case;

static const Case cases[] = {
    {   1,   1,    1, 0, 0, KL_F32,  KL_ACT_NONE,      0, NO_RES,       0, 0, KT_EVEN },
    {   3,   7,   17, 5, 3, KL_F32,  KL_ACT_NONE,      1, NO_RES,       0, 1, KT_SPIKES },
    {  33,  17,  130, 0, 1, KL_F32,  KL_ACT_SILU,      1, NO_RES,       0, 0, KT_EVEN },
    {  17,  33,    7, 1, 0, KL_BF16, KL_ACT_GELU_TANH, 1, NO_RES,       0, 3, KT_SPIKES },
    {   7, 130,   33, 0, 0, KL_F16,  KL_ACT_NONE,      0, RES,          0, 0, KT_EVEN },
    { 130,   3,   64, 0, 6, KL_F16,  KL_ACT_GELU_TANH, 0, RES,         40, 0, KT_EVEN },
    {  65,  48,   96, 7, 0, KL_BF16, KL_ACT_NONE,      1, RES_IN_PLACE, 7, 0, KT_SPIKES },
    {  40,  31,  257, 0, 2, KL_F32,  KL_ACT_SILU,      1, RES_IN_PLACE, 1, 1, KT_EVEN },
    {   1, 192,   64, 0, 0, KL_BF16, KL_ACT_SILU,      1, NO_RES,       0, 0, KT_EVEN },
    { 300,  64,   48, 0, 0, KL_BF16, KL_ACT_NONE,      1, RES_IN_PLACE, 0, 0, KT_EVEN },
    {  37,  70,   33, 0, 1, KL_F16,  KL_ACT_GELU,      1, NO_RES,       0, 0, KT_SPIKES },
    {   5, 600,  520, 0, 0, KL_F16,  KL_ACT_GELU_TANH, 1, NO_RES,       0, 0, KT_SPIKES },
    {   2,   1, 1100, 0, 0, KL_F32,  KL_ACT_NONE,      1, NO_RES,       0, 0, KT_EVEN },
    /* more than one tile, block and chunk of every implementation, none of them whole */
    { 270, 150,  801, 0, 0, KL_BF16, KL_ACT_NONE,      1, RES_IN_PLACE, 101, 0, KT_EVEN },
    {   9,  33, 4203, 0, 0, KL_F16,  KL_ACT_NONE,      1, NO_RES,       0, 0, KT_EVEN },
    {   2,  70,  203, 0, 3, KL_F16,  KL_ACT_SILU,      1, RES,          1, 1, KT_SPIKES },
};

typedef struct Data {
    const Case *c;
    float *x, *bias, *res, *gate, *wv;
    void *mem;
    KlWeight w;
    double *want, *tol;
} Data;

static void run(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    const Case *c = d->c;
    size_t ldy = c->N + c->dy, groups = c->gate_rows ? (c->M + c->gate_rows - 1) / c->gate_rows : 0;
    KlLinear p = { .ldx = c->K + c->dx, .w = d->w, .ldy = ldy, .M = c->M, .N = c->N, .K = c->K, .act = c->act };

    p.x = kt_input_2d(t, d->x, c->M, c->K, p.ldx, c->off);
    if (c->bias)
        p.bias = kt_input(t, d->bias, c->N, c->off);
    if (c->residual == RES_IN_PLACE) {
        p.y = kt_input_2d(t, d->res, c->M, c->N, ldy, c->off);
        p.residual = p.y;
    } else {
        p.y = kt_buf(t, c->M * ldy, c->off);
        if (c->residual == RES)
            p.residual = kt_input_2d(t, d->res, c->M, c->N, ldy, 0);
    }
    if (c->gate_rows) {
        p.ldgate = c->N + 5;
        p.gate = kt_input_2d(t, d->gate, groups, c->N, p.ldgate, c->off);
        p.group_rows = c->gate_rows;
    }
    if (t->k.exec_reserve(t->ex, t->k.linear_scratch(t->ex, c->M, c->N, c->K, d->w.dtype)) < 0)
        snprintf(t->why, sizeof(t->why), "no scratch");
    if (t->k.weight_bind(&t->k, &p.w, c->N, c->K) < 0)
        snprintf(t->why, sizeof(t->why), "the weight was not bound");
    t->k.linear(t->ex, &p);
    kt_sync(t);
    t->k.weight_release(&t->k, &p.w);
    kt_output_2d(t, out, p.y, c->M, c->N, ldy);
}

static void oracle(Data *d)
{
    const Case *c = d->c;

    for (int m = 0; m < c->M; m++)
        for (int n = 0; n < c->N; n++) {
            long double sum = c->bias ? d->bias[n] : 0;
            double mag = fabs((double)sum), tol, out;

            for (int k = c->K - 1; k >= 0; k--) {
                long double v = (long double)d->x[(size_t)m * c->K + k] * d->wv[(size_t)n * c->K + k];

                sum += v;
                mag += fabs((double)v);
            }
            tol = kt_sum_u(c->K + 2) * mag + 0x1p-149 * (c->K + 2);
            sum = kt_act(sum, c->act, &tol);
            if (c->residual) {
                double g = c->gate_rows ? d->gate[(size_t)(m / c->gate_rows) * c->N + n] : 1;

                sum *= g;
                tol = tol * fabs(g) + 2 * KT_U * fabs((double)sum);
                sum += d->res[(size_t)m * c->N + n];
            }
            out = (double)sum;
            d->want[(size_t)m * c->N + n] = out;
            d->tol[(size_t)m * c->N + n] = tol + 2 * KT_U * fabs(out);
        }
}

/* spoil: 0, or an element put into x where it must reach exactly one row of y. */
static void one(const KtTable *table, const Case *c, float spoil)
{
    size_t mn = (size_t)c->M * c->N;
    Data d = { .c = c };
    char label[96];

    snprintf(label, sizeof(label), "M %d N %d K %d dtype %d act %d%s", c->M, c->N, c->K, c->dtype, c->act,
             spoil == 0 ? "" : " spoiled");
    d.x = kt_random((size_t)c->M * c->K, 1, c->kind);
    d.bias = kt_random(c->N, 2, c->kind);
    d.res = kt_random(mn, 3, c->kind);
    d.gate = kt_random(mn, 4, KT_EVEN);
    d.w = kt_weight((size_t)c->N * c->K, 5, KT_EVEN, c->dtype, &d.mem, &d.wv);
    d.want = malloc(mn * sizeof(double));
    d.tol = malloc(mn * sizeof(double));
    if (spoil != 0)
        d.x[(size_t)(c->M / 2) * c->K + c->K / 2] = spoil;
    oracle(&d);
    kt_case(table, label, run, &d, mn, d.want, d.tol);
    free(d.x), free(d.bias), free(d.res), free(d.gate), free(d.wv), free(d.mem), free(d.want), free(d.tol);
}

static void test_linear(const KtTable *table)
{
    for (size_t i = 0; i < KT_LEN(cases); i++)
        one(table, &cases[i], 0);
}

static void test_linear_nan(const KtTable *table)
{
    static const Case c[] = {
        { 33, 17, 40, 0, 0, KL_F32,  KL_ACT_NONE, 1, NO_RES, 0, 0, KT_EVEN },
        { 70, 48, 32, 0, 0, KL_BF16, KL_ACT_NONE, 1, RES,    0, 0, KT_EVEN },
        { 70, 48, 32, 0, 0, KL_F16,  KL_ACT_SILU, 1, NO_RES, 0, 0, KT_EVEN },
    };

    for (size_t i = 0; i < KT_LEN(c); i++) {
        one(table, &c[i], NAN);
        one(table, &c[i], INFINITY);
    }
}

int main(void)
{
    kt_each("linear", test_linear);
    kt_each("linear_nan", test_linear_nan);
    return check_exit();
}
