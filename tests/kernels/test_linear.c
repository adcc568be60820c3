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

/* Every stored form, K rounded up to whole blocks or odd: gemv, one tile, and more than one tile and chunk of K. */
static const Case stored_cases[] = {
    {   1,  37,   32, 0, 0, KL_F32,  KL_ACT_NONE,      1, NO_RES,       0, 1, KT_EVEN },
    {   2,   9,  192, 3, 0, KL_F32,  KL_ACT_SILU,      1, NO_RES,       0, 0, KT_SPIKES },
    {   2,   5,  544, 0, 1, KL_F32,  KL_ACT_NONE,      0, NO_RES,       0, 0, KT_EVEN },
    {   3,   1,   64, 0, 0, KL_F32,  KL_ACT_NONE,      0, NO_RES,       0, 0, KT_EVEN },
    {  35,  17,   32, 1, 5, KL_F32,  KL_ACT_GELU_TANH, 1, RES,         40, 0, KT_EVEN },
    { 263, 133,  544, 0, 0, KL_F32,  KL_ACT_NONE,      1, RES_IN_PLACE, 7, 0, KT_EVEN },
    {   7,  20, 2240, 0, 0, KL_F32,  KL_ACT_NONE,      0, NO_RES,       0, 0, KT_EVEN },
};

/* int8 whose rows all begin where 16 bytes do, as every model's: one tile of a device, and more than one each way, with
 * and without a rest of K, y's rows at even and at odd places. */
static const Case whole_cases[] = {
    {   1,   3,  16, 0, 0, KL_I8, KL_ACT_NONE,      0, NO_RES, 0, 0, KT_EVEN },
    { 128, 128, 256, 0, 0, KL_I8, KL_ACT_NONE,      1, NO_RES, 0, 0, KT_SPIKES },
    { 131, 259, 336, 3, 1, KL_I8, KL_ACT_GELU_TANH, 1, RES,    7, 1, KT_EVEN },
    { 259, 130, 592, 0, 0, KL_I8, KL_ACT_NONE,      0, NO_RES, 0, 0, KT_EVEN },
    {  40,  31,  80, 1, 3, KL_I8, KL_ACT_NONE,      0, NO_RES, 0, 0, KT_EVEN },
};

typedef struct Data {
    const Case *c;
    float *x, *bias, *res, *gate, *wv;
    int scales;                         /* of the weight: 0 none, 1 one, 2 one per row */
    float *scale;
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

/* Without bias: the sum, and in *tol its bound less that of adding the bias. */
static long double product(const Data *d, int m, int n, double *tol)
{
    const float *x = d->x + (size_t)m * d->c->K, *w = d->wv + (size_t)n * d->c->K;
    long double sum = 0;
    double mag = d->c->bias ? fabs((double)d->bias[n]) : 0;

    for (int k = d->c->K - 1; k >= 0; k--) {
        long double v = (long double)x[k] * w[k];

        sum += v;
        mag += fabs((double)v);
    }
    *tol = kt_sum_u(d->c->K + 2) * mag + 0x1p-149 * (d->c->K + 2);
    if (kt_half() && d->c->dtype > KL_BF16)     /* decoded, then rounded to bf16 */
        *tol += 0x1p-8 * mag;
    return sum;
}

/* The same for int8: kernels.h has the formula, in which the sum is exact. Four roundings: of the scales' product, the
 * sum, their product and the bias. */
static long double product_i8(const Data *d, int m, int n, double *tol)
{
    const float *x = d->x + (size_t)m * d->c->K, *w = d->wv + (size_t)n * d->c->K;
    float max = 0, by, sw = d->scales ? d->scale[d->scales == 2 ? n : 0] : 1;
    int64_t sum = 0;
    double v;

    for (int k = 0; k < d->c->K; k++) {
        if (!isfinite(x[k]))
            return NAN;
        max = fmaxf(max, fabsf(x[k]));
    }
    by = max < 0x1p-100f ? 0 : 127 / max;
    for (int k = 0; k < d->c->K; k++)
        sum += (int64_t)rintf(x[k] * by) * (int64_t)w[k];
    v = (max < 0x1p-100f ? 0 : max / 127) * (double)sw * (double)sum;
    *tol = 3 * KT_U * fabs(v) + KT_U * (fabs(v) + (d->c->bias ? fabs((double)d->bias[n]) : 0)) + 0x1p-148;
    return v;
}

static void oracle(Data *d)
{
    const Case *c = d->c;

    for (int m = 0; m < c->M; m++)
        for (int n = 0; n < c->N; n++) {
            double tol = 0, out;
            long double sum = c->dtype == KL_I8 ? product_i8(d, m, n, &tol) : product(d, m, n, &tol);

            sum += c->bias ? d->bias[n] : 0;
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
static void one(const KtTable *table, const Case *c, int scales, float spoil)
{
    size_t mn = (size_t)c->M * c->N;
    Data d = { .c = c, .scales = scales };
    char label[96];

    snprintf(label, sizeof(label), "M %d N %d K %d %s act %d%s", c->M, c->N, c->K, kl_dtype_info(c->dtype)->name,
             c->act, spoil == 0 ? "" : " spoiled");
    d.x = kt_random((size_t)c->M * c->K, 1, c->kind);
    d.bias = kt_random(c->N, 2, c->kind);
    d.res = kt_random(mn, 3, c->kind);
    d.gate = kt_random(mn, 4, KT_EVEN);
    d.scale = kt_random(c->N, 6, KT_EVEN);
    d.w = kt_weight((size_t)c->N * c->K, 5, KT_EVEN, c->dtype, &d.mem, &d.wv);
    if (scales) {
        d.w.scale = d.scale;
        d.w.scale_group = scales == 2 ? c->K : 0;
    }
    for (size_t i = 0; i < (size_t)c->N * c->K && scales && c->dtype != KL_I8; i++)
        d.wv[i] *= d.scale[scales == 2 ? i / c->K : 0];
    d.want = malloc(mn * sizeof(double));
    d.tol = malloc(mn * sizeof(double));
    if (spoil != 0)
        d.x[(size_t)(c->M / 2) * c->K + c->K / 2] = spoil;
    oracle(&d);
    kt_case(table, label, run, &d, mn, d.want, d.tol);
    free(d.x), free(d.bias), free(d.res), free(d.gate), free(d.wv), free(d.mem), free(d.want), free(d.tol);
    free(d.scale);
}

static void test_linear(const KtTable *table)
{
    for (size_t i = 0; i < KT_LEN(cases); i++)
        one(table, &cases[i], 0, 0);
}

/* More rows than int8 quantizes at once. */
static const Case more_rows = { 1030, 5, 41, 2, 0, KL_I8, KL_ACT_NONE, 1, NO_RES, 0, 0, KT_EVEN };

static void test_linear_stored(const KtTable *table)
{
    for (int dtype = KL_BF16 + 1; dtype < KL_DTYPE_NB; dtype++)
        for (size_t i = 0; i < KT_LEN(stored_cases); i++) {
            Case c = stored_cases[i];
            int block = kl_dtype_block((KlDType)dtype);

            c.dtype = (KlDType)dtype;
            c.K = block == 1 ? c.K + 5 + (int)i : (c.K + block - 1) / block * block;
            one(table, &c, block == 1 ? (int)i % 3 : 0, 0);
        }
    one(table, &more_rows, 2, 0);
    for (size_t i = 0; i < KT_LEN(whole_cases); i++)
        one(table, &whole_cases[i], (int)(i + 1) % 3, 0);
}

static void test_linear_nan(const KtTable *table)
{
    static const Case c[] = {
        { 33, 17, 40, 0, 0, KL_F32,  KL_ACT_NONE, 1, NO_RES, 0, 0, KT_EVEN },
        { 70, 48, 32, 0, 0, KL_BF16, KL_ACT_NONE, 1, RES,    0, 0, KT_EVEN },
        { 70, 48, 32, 0, 0, KL_F16,  KL_ACT_SILU, 1, NO_RES, 0, 0, KT_EVEN },
        { 33, 17, 41, 0, 0, KL_I8,   KL_ACT_SILU, 1, NO_RES, 0, 0, KT_EVEN },
        {  1, 17, 41, 0, 0, KL_I8,   KL_ACT_NONE, 1, RES,    0, 0, KT_EVEN },
        { 33, 17, 48, 0, 0, KL_I8,   KL_ACT_NONE, 0, NO_RES, 0, 0, KT_EVEN },
        { 33, 17, 41, 0, 0, KL_F8_E4M3, KL_ACT_NONE, 1, NO_RES, 0, 0, KT_EVEN },
        { 33, 17, 64, 0, 0, KL_Q8_0, KL_ACT_NONE, 1, NO_RES, 0, 0, KT_EVEN },
    };

    for (size_t i = 0; i < KT_LEN(c); i++) {
        int scales = kl_dtype_block(c[i].dtype) == 1 && c[i].dtype > KL_BF16 ? 1 + (int)i % 2 : 0;

        one(table, &c[i], scales, NAN);
        one(table, &c[i], scales, INFINITY);
    }
}

int main(void)
{
    kt_each("linear", test_linear);
    kt_each("linear_stored", test_linear_stored);
    kt_each("linear_nan", test_linear_nan);
    return check_exit();
}
