/*
 * attention: odd lengths and heads, strides, masks, biases, in place.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Bound of one output, from the error d_j of score j:
 *   d_j = u (E terms of |scale| sum|q||k|  + 4 |score| + 2 |biases|) + 2 u |score - max|
 * each weight then errs by the factor exp(d_j + mean of d), 6 u of the
 * exponential and of scaling by it, and the sums over keys by their Sk terms.
 * Weights below 2^-126 of the largest may be dropped: 1e-30 of the values.
 */
#include "kt.h"

typedef struct Case {
    int Sq, Sk, H, E;
    int gap;                            /* strides are H*E + gap, or one shared buffer of [q k v] rows when -1 */
    int in_place;
    int bias;                           /* 1: key_bias with masked keys, 2: rel_bias, 3: both */
    int off;
    float amp;                          /* of q: large ones make the softmax pick few keys */
} Case;

static const Case cases[] = {
    {   1,   1,  1,   2,  0, 0, 0, 0,  1 },
    {   1,  33,  3,   6,  0, 0, 0, 1,  1 },
    {  33,   1,  2,  12,  5, 0, 0, 0,  1 },
    {   7,  17,  2,  10,  3, 1, 0, 0,  1 },
    {  17,   7,  3,  24,  0, 1, 1, 0,  8 },
    {  33, 130,  2,  22, -1, 0, 0, 0,  1 },
    { 130,  97,  1,  64, -1, 1, 3, 0, 30 },
    {  64,  64,  4,  64,  0, 0, 2, 3,  1 },
    { 200, 195,  2, 128,  0, 0, 0, 0,  1 },
    { 193,  96,  1, 128,  7, 0, 1, 0, 30 },
    {  12, 300,  2, 130,  0, 0, 2, 0,  1 },
    { 100,  49,  1, 384,  0, 0, 0, 0,  1 },
    {  97, 145,  1, 258, -1, 0, 1, 0,  1 },
    {   3,   5,  1, 1024, 0, 0, 0, 0,  1 },
    { 130, 900,  2, 128,  0, 1, 0, 0,  1 },     /* tiles of keys go around stages more than twice */
    {  70, 769,  3,  40,  5, 0, 1, 1, 30 },
    {  48, 240,  5,  34,  0, 0, 3, 0, 30 },
};

typedef struct Data {
    const Case *c;
    float *q, *k, *v, *key_bias, *rel_bias, scale;
    double *want, *tol;
} Data;

static void run(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    const Case *c = d->c;
    size_t D = (size_t)c->H * c->E, ld = D + (c->gap > 0 ? c->gap : 0);
    KlAttention p = { .ldq = ld, .ldk = ld, .ldv = ld, .ldo = ld, .Sq = c->Sq, .Sk = c->Sk, .H = c->H, .E = c->E,
                      .scale = d->scale };

    if (c->gap < 0) {                   /* k and v interleaved, q in a wide row */
        float *kv = kt_buf(t, c->Sk * 2 * D, c->off);

        for (int j = 0; j < c->Sk; j++) {
            t->k.mem_upload(t->ex, kv + j * 2 * D, d->k + j * D, D * sizeof(float));
            t->k.mem_upload(t->ex, kv + j * 2 * D + D, d->v + j * D, D * sizeof(float));
        }
        p.k = kv, p.v = kv + D, p.ldk = p.ldv = 2 * D;
        p.ldq = 3 * D;
    } else {
        p.k = kt_input_2d(t, d->k, c->Sk, D, ld, c->off);
        p.v = kt_input_2d(t, d->v, c->Sk, D, ld, c->off);
    }
    p.q = kt_input_2d(t, d->q, c->Sq, D, p.ldq, c->off);
    if (c->in_place) {
        p.out = (float *)p.q;
        p.ldo = p.ldq;
    } else {
        p.out = kt_buf(t, c->Sq * p.ldo, c->off);
    }
    if (c->bias & 1)
        p.key_bias = kt_input(t, d->key_bias, c->Sk, c->off);
    if (c->bias & 2)
        p.rel_bias = kt_input(t, d->rel_bias, (size_t)c->H * (c->Sq + c->Sk - 1), c->off);
    if (t->k.exec_reserve(t->ex, t->k.attention_scratch(t->ex, c->Sq, c->Sk, c->H, c->E)) < 0)
        snprintf(t->why, sizeof(t->why), "no scratch");
    t->k.attention(t->ex, &p);
    kt_sync(t);
    kt_output_2d(t, out, p.out, c->Sq, D, p.ldo);
}

/* One query of one head: fills score and its error. */
static void oracle_scores(const Data *d, int h, int i, long double *s, double *err)
{
    const Case *c = d->c;
    size_t D = (size_t)c->H * c->E;

    for (int j = 0; j < c->Sk; j++) {
        long double sum = 0;
        double mag = 0, bias = 0;

        for (int e = c->E - 1; e >= 0; e--) {
            long double v = (long double)d->q[i * D + h * c->E + e] * d->k[j * D + h * c->E + e];

            sum += v;
            mag += fabs((double)v);
        }
        if (c->bias & 1)
            bias += d->key_bias[j];
        if (c->bias & 2)
            bias += d->rel_bias[(size_t)h * (c->Sq + c->Sk - 1) + (j - i + c->Sq - 1)];
        s[j] = d->scale * sum + bias;
        err[j] = isinf(bias) ? 0 : kt_sum_u(c->E + 2) * fabs(d->scale) * mag + KT_U * (4 * fabs((double)s[j]) +
                                                                                       2 * fabs(bias));
    }
}

static void oracle_query(Data *d, int h, int i, long double *s, double *err)
{
    const Case *c = d->c;
    size_t D = (size_t)c->H * c->E;
    long double max = -INFINITY, sum = 0;
    double mean = 0;
    int nan = 0;

    oracle_scores(d, h, i, s, err);
    for (int j = 0; j < c->Sk; j++) {
        nan |= isnan((double)s[j]);
        max = s[j] > max ? s[j] : max;
    }
    for (int j = 0; j < c->Sk; j++) {
        if (!isinf((double)s[j]))           /* valgrind has no long double: its LDBL_MAX is infinite */
            err[j] += 2 * KT_U * fabs((double)(s[j] - max));
        s[j] = nan ? NAN : expl(s[j] - max);
        sum += s[j];
        mean += (double)s[j] * err[j];
    }
    mean /= (double)sum;
    for (int e = 0; e < c->E; e++) {
        size_t at = i * D + (size_t)h * c->E + e;
        long double out = 0;
        double mag = 0, tol = 0, big = 0;

        for (int j = 0; j < c->Sk; j++) {
            long double v = s[j] / sum * d->v[j * D + h * c->E + e];

            out += v;
            mag += fabs((double)v);
            tol += fabs((double)v) * expm1(err[j] + mean);
            big = fmax(big, fabs((double)d->v[j * D + h * c->E + e]));
        }
        d->want[at] = (double)out;
        if (kt_half())                  /* weights rounded to bf16, and 2^x within 2 ulp of it */
            tol += (0x1p-8 + 4 * KT_U) * mag;
        d->tol[at] = tol + (kt_sum_u(c->Sk) * 2 + 6 * KT_U) * mag + 1e-30 * big + 2 * KT_U * fabs((double)out);
    }
}

enum { PLAIN, NAN_KEY, MASK_ALL, NAN_VALUE };

static void one(const KtTable *table, const Case *c, int spoil)
{
    size_t D = (size_t)c->H * c->E;
    Data d = { .c = c, .scale = 1 / sqrtf((float)c->E) };
    long double *s = malloc(c->Sk * sizeof(*s));
    double *err = malloc(c->Sk * sizeof(*err));
    char label[96];

    snprintf(label, sizeof(label), "Sq %d Sk %d H %d E %d bias %d spoil %d", c->Sq, c->Sk, c->H, c->E, c->bias, spoil);
    d.q = kt_random(c->Sq * D, 1, KT_EVEN);
    d.k = kt_random(c->Sk * D, 2, KT_EVEN);
    d.v = kt_random(c->Sk * D, 3, spoil == NAN_VALUE ? KT_EVEN : KT_SPIKES);
    d.key_bias = kt_random(c->Sk, 4, KT_EVEN);
    d.rel_bias = kt_random((size_t)c->H * (c->Sq + c->Sk - 1), 5, KT_EVEN);
    for (size_t i = 0; i < c->Sq * D; i++)
        d.q[i] = kt_cut(d.q[i] * c->amp);
    d.q[D / 2] = 300;                   /* one query with large scores of both signs */
    for (int j = 0; j < c->Sk; j++) {
        if (spoil == MASK_ALL || (j % 3 == 1) || (j < 100 && c->Sk > 100))
            d.key_bias[j] = -INFINITY;
        else
            d.key_bias[j] *= 5;
    }
    if (spoil == NAN_KEY)
        d.k[(c->Sk - 1) * D + D - 1] = NAN;
    if (spoil == NAN_VALUE)
        d.v[(c->Sk / 2) * D + D / 3] = NAN;
    d.want = malloc(c->Sq * D * sizeof(double));
    d.tol = malloc(c->Sq * D * sizeof(double));
    for (int h = 0; h < c->H; h++)
        for (int i = 0; i < c->Sq; i++)
            oracle_query(&d, h, i, s, err);
    kt_case(table, label, run, &d, c->Sq * D, d.want, d.tol);
    free(d.q), free(d.k), free(d.v), free(d.key_bias), free(d.rel_bias), free(d.want), free(d.tol), free(s), free(err);
}

static void test_attention(const KtTable *table)
{
    for (size_t i = 0; i < KT_LEN(cases); i++)
        one(table, &cases[i], PLAIN);
}

/* A NaN key spoils its head; a NaN value its column; a query whose every key is masked is 0/0. */
static void test_attention_nan(const KtTable *table)
{
    static const Case c = { 20, 40, 3, 16, 0, 0, 0, 0, 1 }, masked = { 9, 110, 2, 8, 0, 0, 1, 0, 1 };

    one(table, &c, NAN_KEY);
    one(table, &c, NAN_VALUE);
    one(table, &masked, MASK_ALL);
}

/* The op must not rely on scratch that was never reserved. */
static void run_without_scratch(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    KlAttention p = { .ldq = 8, .ldk = 8, .ldv = 8, .ldo = 8, .Sq = 3, .Sk = 5, .H = 1, .E = 8, .scale = d->scale };

    p.q = kt_input(t, d->q, 24, 0);
    p.k = kt_input(t, d->k, 40, 0);
    p.v = kt_input(t, d->v, 40, 0);
    p.out = kt_buf(t, 24, 0);
    t->k.attention(t->ex, &p);
    kt_output_2d(t, out, p.out, 3, 8, 8);
}

static void test_attention_no_scratch(const KtTable *table)
{
    static const Case c = { 3, 5, 1, 8, 0, 0, 0, 0, 1 };
    double want[24], tol[24], err[5];
    long double s[5];
    Data d = { .c = &c, .scale = 0.5f, .want = want, .tol = tol };

    d.q = kt_random(24, 1, KT_EVEN);
    d.k = kt_random(40, 2, KT_EVEN);
    d.v = kt_random(40, 3, KT_EVEN);
    for (int i = 0; i < 3; i++)
        oracle_query(&d, 0, i, s, err);
    kt_case(table, "no scratch", run_without_scratch, &d, 24, want, tol);
    free(d.q), free(d.k), free(d.v);
}

int main(void)
{
    kt_each("attention", test_attention);
    kt_each("attention_nan", test_attention_nan);
    kt_each("attention_no_scratch", test_attention_no_scratch);
    return check_exit();
}
