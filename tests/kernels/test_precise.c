/*
 * linear with `precise`: f32 operands whatever the precision, for few rows and for small weights.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Unlike the other tests' inputs, these are not cut to bf16 when products are:
 * an operand that was rounded is far beyond the bound of a sum of K products.
 */
#include "kt.h"

typedef struct Case {
    int M, N, K;
    KlDType dtype;
    KlActivation act;
    int gate_rows;                      /* 0: no residual */
    int off;
} Case;

static const Case cases[] = {
    { 1, 1, 1, KL_F32, KL_ACT_NONE, 0, 0 },         { 1, 37, 64, KL_BF16, KL_ACT_SILU, 0, 0 },
    { 2, 18, 130, KL_F16, KL_ACT_NONE, 0, 0 },      { 8, 5, 33, KL_BF16, KL_ACT_NONE, 0, 1 },
    { 9, 16, 256, KL_F32, KL_ACT_GELU_TANH, 0, 0 }, { 21, 35, 96, KL_BF16, KL_ACT_NONE, 5, 0 },
    { 64, 7, 132, KL_F32, KL_ACT_NONE, 64, 3 },     { 65, 20, 44, KL_BF16, KL_ACT_NONE, 0, 0 },
    { 130, 12, 50, KL_F16, KL_ACT_SILU, 40, 0 },    { 70, 48, 64, KL_Q8_0, KL_ACT_NONE, 0, 0 },
};

typedef struct Data {
    const Case *c;
    float *x, *bias, *res, *gate;
    KlWeight w;
    const float *wv;
} Data;

/* Uniform in [-1,1), all 24 bits of it. */
static float *whole(size_t n, uint64_t seed)
{
    float *p = malloc((n + 1) * sizeof(*p));

    for (size_t i = 0; i < n; i++)
        p[i] = (float)synth_uniform(synth_key(seed, "precise"), i);
    return p;
}

static void run(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    const Case *c = d->c;
    const size_t all = (size_t)c->M * c->N, groups = c->gate_rows ? (c->M + c->gate_rows - 1) / c->gate_rows : 0;
    KlLinear p = { .ldx = c->K + c->off, .w = d->w, .ldy = c->N, .M = c->M, .N = c->N, .K = c->K, .act = c->act,
                   .precise = 1 };

    p.x = kt_input_2d(t, d->x, c->M, c->K, p.ldx, c->off);
    p.bias = kt_input(t, d->bias, c->N, c->off);
    p.y = c->gate_rows ? kt_input(t, d->res, all, 0) : kt_buf(t, all, 0);
    if (c->gate_rows) {
        p.residual = p.y;
        p.gate = kt_input(t, d->gate, groups * c->N, 0);
        p.ldgate = c->N;
        p.group_rows = c->gate_rows;
    }
    if (t->k.exec_reserve(t->ex, t->k.linear_scratch(t->ex, c->M, c->N, c->K, d->w.dtype)) < 0 ||
        t->k.weight_bind(&t->k, &p.w, c->N, c->K) < 0)
        snprintf(t->why, sizeof(t->why), "out of memory");
    t->k.linear(t->ex, &p);
    kt_sync(t);
    t->k.weight_release(&t->k, &p.w);
    kt_output_2d(t, out, p.y, c->M, c->N, c->N);
}

static long double act(long double v, KlActivation a)
{
    if (a == KL_ACT_SILU)
        return v / (1 + expl(-v));
    if (a == KL_ACT_GELU_TANH)
        return 0.5L * v * (1 + tanhl(0.79788456080286535588L * (v + 0.044715L * v * v * v)));
    return v;
}

static void oracle(const Data *d, double *want, double *tol)
{
    const Case *c = d->c;

    for (int m = 0; m < c->M; m++)
        for (int n = 0; n < c->N; n++) {
            long double sum = d->bias[n];
            double mag = fabs(d->bias[n]), gate = 1, off;
            const size_t at = (size_t)m * c->N + n;

            for (int k = 0; k < c->K; k++) {
                const long double v = (long double)d->x[(size_t)m * c->K + k] * d->wv[(size_t)n * c->K + k];

                sum += v;
                mag += fabs((double)v);
            }
            off = 1.13 * kt_sum_u(c->K + 2) * mag;      /* the steepest that an activation is */
            sum = act(sum, c->act);
            off += c->act ? 8 * KT_U * fabs((double)sum) : 0;
            if (c->gate_rows) {
                gate = d->gate[(size_t)(m / c->gate_rows) * c->N + n];
                sum = d->res[at] + gate * sum;
                off = off * fabs(gate) + 2 * KT_U * (fabs((double)sum) + fabs(d->res[at]));
            }
            want[at] = (double)sum;
            tol[at] = off + 1e-42;
        }
}

static void test_precise(const KtTable *table)
{
    for (size_t i = 0; i < KT_LEN(cases); i++) {
        const Case *c = &cases[i];
        const size_t n = (size_t)c->M * c->N;
        double *want = calloc(n, sizeof(*want)), *tol = calloc(n, sizeof(*tol));
        float *own = whole((size_t)c->N * c->K, 5), *values = NULL;
        void *mem = NULL;
        Data d = { .c = c, .x = whole((size_t)c->M * c->K, 1), .bias = whole(c->N, 2), .res = whole(n, 3),
                   .gate = whole(n, 4), .w = { .data = own, .dtype = KL_F32 }, .wv = own };
        char label[64];

        if (c->dtype != KL_F32) {       /* exact in their own dtypes */
            d.w = kt_weight((size_t)c->N * c->K, 6, KT_EVEN, c->dtype, &mem, &values);
            d.wv = values;
        }
        snprintf(label, sizeof(label), "%dx%dx%d %s", c->M, c->N, c->K, kl_dtype_info(c->dtype)->name);
        oracle(&d, want, tol);
        kt_case(table, label, run, &d, n, want, tol);
        free(d.x), free(d.bias), free(d.res), free(d.gate), free(own), free(values), free(mem), free(want), free(tol);
    }
}

int main(void)
{
    kt_each("precise", test_precise);
    return check_exit();
}
