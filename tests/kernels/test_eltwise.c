/*
 * gated_add, activate, lincomb, convert, gather.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * convert and gather are exact. lincomb is in double: one rounding, and 2^-50
 * of the sum of magnitudes. The others: 2 u per operation.
 */
#include "kt.h"

typedef struct Data {
    int64_t n, S, D;
    int off, in_place, mul, gate_rows, n_in;
    KlActivation act;
    const float *a, *b, *gate;          /* inputs */
    float *x[8];
    double coef[8];
    KlWeight w;
    int32_t ids[64];
} Data;

static const int64_t sizes[] = { 1, 3, 7, 8, 17, 33, 130, 5000, 40001 };

static void run_activate(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    float *x = kt_input(t, d->a, d->n, d->off), *y = d->in_place ? x : kt_buf(t, d->n, d->off);
    const float *mul = d->mul ? kt_input(t, d->b, d->n, d->off) : NULL;

    t->k.activate(t->ex, y, x, mul, d->n, d->act);
    kt_sync(t);
    kt_output_2d(t, out, y, 1, d->n, d->n);
}

static void activate_case(const KtTable *table, Data *d, float *a, const float *b)
{
    double *want = malloc(d->n * sizeof(*want)), *tol = malloc(d->n * sizeof(*tol));
    char label[64];

    d->a = a, d->b = b;
    for (int64_t i = 0; i < d->n; i++) {
        double err = 0;
        long double v = kt_act(a[i], d->act, &err);

        want[i] = (double)(d->mul ? v * b[i] : v);
        tol[i] = (d->mul ? err * fabs(b[i]) : err) + 2 * KT_U * fabs(want[i]) + 1e-42;
    }
    snprintf(label, sizeof(label), "n %d act %d mul %d in place %d", (int)d->n, d->act, d->mul, d->in_place);
    kt_case(table, label, run_activate, d, d->n, want, tol);
    free(want), free(tol);
}

static void test_activate(const KtTable *table)
{
    static const float wild[] = { 0, -0.0f, 1e-40f, -1e-40f, 1e-30f, 20, -20, 88, -88, 89, -89, 104, -104, 1e4f, -1e4f,
                                  1e13f, -1e13f, 3e38f, -3e38f, INFINITY, NAN, 5.5f, -5.5f };
    Data d = { 0 };

    for (size_t i = 0; i < KT_LEN(sizes); i++) {
        float *a = kt_random(sizes[i], 1, KT_SPIKES), *b = kt_random(sizes[i], 2, KT_EVEN);

        for (int64_t j = 0; j < sizes[i]; j++)
            a[j] = fabsf(a[j]) <= 1 ? a[j] * 12 : a[j];
        for (int act = KL_ACT_NONE; act <= KL_ACT_GELU; act++) {
            d = (Data){ .n = sizes[i], .act = act, .mul = (i + act) % 2, .in_place = i % 3 == 0, .off = i % 2 };
            activate_case(table, &d, a, b);
        }
        free(a), free(b);
    }
    for (int act = KL_ACT_NONE; act <= KL_ACT_GELU; act++) {
        float a[KT_LEN(wild)];

        memcpy(a, wild, sizeof(a));
        d = (Data){ .n = KT_LEN(wild), .act = act };
        activate_case(table, &d, a, NULL);
    }
}

static void run_gated_add(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    size_t groups = d->gate_rows ? (d->S + d->gate_rows - 1) / d->gate_rows : 0, n = d->S * d->D;
    float *x = kt_input(t, d->a, n, d->off);
    const float *y = kt_input(t, d->b, n, d->off);
    const float *gate = d->gate_rows ? kt_input_2d(t, d->gate, groups, d->D, d->D + 3, d->off) : NULL;

    t->k.gated_add(t->ex, x, y, d->S, d->D, gate, d->D + 3, d->gate_rows);
    kt_sync(t);
    kt_output_2d(t, out, x, 1, n, n);
}

static void test_gated_add(const KtTable *table)
{
    static const struct { int S, D, rows, off; } cases[] = {
        { 1, 1, 1, 0 }, { 3, 7, 0, 1 }, { 17, 33, 5, 0 }, { 33, 130, 33, 3 }, { 130, 48, 1, 0 }, { 2, 20000, 1, 0 },
    };

    for (size_t i = 0; i < KT_LEN(cases); i++) {
        size_t n = (size_t)cases[i].S * cases[i].D;
        float *a = kt_random(n, 1, KT_SPIKES), *b = kt_random(n, 2, KT_SPIKES), *g = kt_random(n, 3, KT_EVEN);
        Data d = { .S = cases[i].S, .D = cases[i].D, .gate_rows = cases[i].rows, .off = cases[i].off, .a = a, .b = b,
                   .gate = g };
        double *want = malloc(n * sizeof(*want)), *tol = malloc(n * sizeof(*tol));
        char label[64];

        if (n > 100)
            b[n / 2] = NAN;
        for (size_t j = 0; j < n; j++) {
            size_t group = d.gate_rows ? j / d.D / d.gate_rows : 0;
            double v = (double)b[j] * (d.gate_rows ? g[group * d.D + j % d.D] : 1);

            want[j] = a[j] + v;
            tol[j] = KT_U * (fabs(v) + fabs(want[j])) * 1.001 + 1e-44;
        }
        snprintf(label, sizeof(label), "S %d D %d rows %d", cases[i].S, cases[i].D, cases[i].rows);
        kt_case(table, label, run_gated_add, &d, n, want, tol);
        free(a), free(b), free(g), free(want), free(tol);
    }
}

static void run_lincomb(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    const float *x[8];
    float *y;

    for (int i = 0; i < d->n_in; i++)
        x[i] = kt_input(t, d->x[i], d->n, d->off);
    y = d->in_place ? (float *)x[d->n_in - 1] : kt_buf(t, d->n, d->off);
    t->k.lincomb(t->ex, y, x, d->coef, d->n_in, d->n);
    kt_sync(t);
    kt_output_2d(t, out, y, 1, d->n, d->n);
}

static void test_lincomb(const KtTable *table)
{
    for (int n_in = 1; n_in <= 8; n_in++) {
        int64_t n = sizes[n_in];
        Data d = { .n = n, .n_in = n_in, .in_place = n_in % 2, .off = n_in % 3 };
        double *want = calloc(n, sizeof(*want)), *tol = calloc(n, sizeof(*tol));
        char label[64];

        for (int i = 0; i < n_in; i++) {
            d.x[i] = kt_random(n, 10 + i, KT_SPIKES);
            d.coef[i] = i == 1 ? -1.0 + 1e-9 : 1.0 / (i + 3);       /* f32 coefficients would show */
        }
        if (n_in > 1)                   /* nearly cancels: accumulation in f32 would show */
            memcpy(d.x[1], d.x[0], n * sizeof(float)), d.coef[0] = 1;
        for (int64_t j = 0; j < n; j++) {
            long double sum = 0;

            for (int i = n_in - 1; i >= 0; i--) {
                sum += (long double)d.coef[i] * d.x[i][j];
                tol[j] += fabs(d.coef[i] * d.x[i][j]);
            }
            want[j] = (double)sum;
            tol[j] *= table->ref ? 0x1p-24 : 0x1p-50;       /* kt_case() takes 2^-26 of a bound for ref */
            tol[j] += KT_U * fabs(want[j]) * 1.001 + 0x1p-149;
        }
        snprintf(label, sizeof(label), "n_in %d n %d", n_in, (int)n);
        kt_case(table, label, run_lincomb, &d, n, want, tol);
        for (int i = 0; i < n_in; i++)
            free(d.x[i]);
        free(want), free(tol);
    }
}

static void run_convert(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    float *y = kt_buf(t, d->n, d->off);
    KlWeight w = d->w;

    if (t->k.weight_bind(&t->k, &w, 1, d->n) < 0)
        snprintf(t->why, sizeof(t->why), "the weight was not bound");
    t->k.convert(t->ex, y, w, d->n);
    kt_sync(t);
    t->k.weight_release(&t->k, &w);
    kt_output_2d(t, out, y, 1, d->n, d->n);
}

static int may_scale(KlWeight w)
{
    return w.dtype == KL_F8_E4M3 || w.dtype == KL_F8_E5M2 || w.dtype == KL_I8;
}

/* One scale, or one for every `group` elements; the other dtypes have none. */
static void give_scale(KlWeight *w, int64_t group)
{
    static float scale[2000];

    for (int i = 0; i < 2000; i++)
        scale[i] = 0.37f + (float)i / 711;
    w->scale = may_scale(*w) ? scale : NULL;
    w->scale_group = may_scale(*w) ? group : 0;
}

static float scaled(KlWeight w, float value, int64_t i)
{
    return w.scale ? value * w.scale[w.scale_group ? i / w.scale_group : 0] : value;
}

/* Every one of the 65536 half floats; f32 are bytes. */
static void test_convert(const KtTable *table)
{
    static uint16_t all[65537];
    static double want[65536], tol[65536];

    for (int dtype = KL_F16; dtype <= KL_BF16; dtype++) {
        Data d = { .n = 65536, .w = { .data = all + 1, .dtype = dtype }, .off = 1 };
        int ebits = dtype == KL_F16 ? 5 : 8, mbits = 15 - ebits, bias = (1 << (ebits - 1)) - 1;

        for (int i = 0; i < 65536; i++) {
            int m = i & ((1 << mbits) - 1), e = i >> mbits & ((1 << ebits) - 1);
            double v = e ? ldexp(m + (1 << mbits), e - bias - mbits) : ldexp(m, 1 - bias - mbits);

            if (e == (1 << ebits) - 1)
                v = m ? NAN : INFINITY;
            all[i + 1] = (uint16_t)i;
            want[i] = i & 0x8000 ? -v : v;
        }
        kt_case(table, dtype == KL_F16 ? "f16" : "bf16", run_convert, &d, 65536, want, tol);
    }
    for (size_t i = 0; i < KT_LEN(sizes); i++)
        for (int dtype = KL_F32; dtype < KL_DTYPE_NB; dtype++) {
            int64_t block = kl_dtype_block((KlDType)dtype);
            Data d = { .n = (sizes[i] + block - 1) / block * block };
            void *mem;
            float *values;

            d.w = kt_weight(d.n, 3, KT_SPIKES, dtype, &mem, &values);
            for (int64_t group = 0; group <= (may_scale(d.w) ? 37 : 0); group += 37) {
                give_scale(&d.w, group);
                for (int64_t j = 0; j < d.n; j++)
                    want[j] = scaled(d.w, values[j], j);
                kt_case(table, kl_dtype_info((KlDType)dtype)->name, run_convert, &d, d.n, want, tol);
            }
            free(mem), free(values);
        }
}

static void run_gather(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    float *y = kt_buf(t, d->S * d->D, d->off);

    t->k.gather(t->ex, y, d->w, d->ids, d->S, d->D);
    kt_sync(t);
    kt_output_2d(t, out, y, 1, d->S * d->D, d->S * d->D);
}

static void test_gather(const KtTable *table)
{
    static const int widths[] = { 1, 3, 8, 17, 33, 130, 512 };

    for (size_t i = 0; i < KT_LEN(widths); i++)
        for (int dtype = KL_F32; dtype < KL_DTYPE_NB; dtype++) {
            int rows = 23, block = kl_dtype_block((KlDType)dtype);
            Data d = { .S = 37, .D = (widths[i] + block - 1) / block * block };
            double *want = malloc(d.S * d.D * sizeof(*want)), *tol = calloc(d.S * d.D, sizeof(*tol));
            void *mem;
            float *values;
            char label[64];

            d.w = kt_weight((size_t)rows * d.D, 3, KT_EVEN, dtype, &mem, &values);
            give_scale(&d.w, d.D);
            for (int s = 0; s < d.S; s++) {
                d.ids[s] = s == 0 ? rows - 1 : s * 7 % rows;
                for (int64_t j = 0; j < d.D; j++)
                    want[s * d.D + j] = scaled(d.w, values[d.ids[s] * d.D + j], d.ids[s] * d.D + j);
            }
            snprintf(label, sizeof(label), "D %d %s", (int)d.D, kl_dtype_info((KlDType)dtype)->name);
            kt_case(table, label, run_gather, &d, d.S * d.D, want, tol);
            free(mem), free(values), free(want), free(tol);
        }
}

int main(void)
{
    kt_each("activate", test_activate);
    kt_each("gated_add", test_gated_add);
    kt_each("lincomb", test_lincomb);
    kt_each("convert", test_convert);
    kt_each("gather", test_gather);
    return check_exit();
}
