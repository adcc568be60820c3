/*
 * out = softmax(scale * q k^T + biases) v, the plain C one.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One query of one head at a time, twice over the keys: first for the largest
 * score, then for the sums. Scores are computed again rather than kept, so it
 * needs no memory. A query whose every key is masked gives NaN, as 0/0 does.
 */
#include "ref.h"

#define E_MAX 1024
#define JB 8

typedef struct Query {
    const KlAttention *p;
    int64_t i;
    int h;
    double q[E_MAX];
} Query;

/* The scores of keys j0 .. j0 + n - 1, n <= JB. */
static void scores(const Query *s, int64_t j0, int n, double *out)
{
    const KlAttention *p = s->p;
    const float *k[JB];
    double acc[JB] = { 0 };

    for (int j = 0; j < JB; j++)        /* past the end: the last key again, unused */
        k[j] = p->k + (j0 + (j < n ? j : n - 1)) * p->ldk + (int64_t)s->h * p->E;
    for (int e = 0; e < p->E; e++)
        for (int j = 0; j < JB; j++)
            acc[j] += s->q[e] * k[j][e];
    for (int j = 0; j < n; j++) {
        out[j] = p->scale * acc[j];
        if (p->key_bias)
            out[j] += p->key_bias[j0 + j];
        if (p->rel_bias)
            out[j] += p->rel_bias[s->h * (p->Sq + p->Sk - 1) + j0 + j - s->i + p->Sq - 1];
    }
}

static void attention_query(void *arg, int64_t tile, int thread)
{
    const KlAttention *p = arg;
    Query s = { p, tile / p->H, (int)(tile % p->H), { 0 } };
    double acc[E_MAX] = { 0 }, sc[JB], max = -INFINITY, sum = 0;
    const float *q = p->q + s.i * p->ldq + (int64_t)s.h * p->E;
    float *out = p->out + s.i * p->ldo + (int64_t)s.h * p->E;

    (void)thread;
    for (int e = 0; e < p->E; e++)
        s.q[e] = q[e];
    for (int64_t j0 = 0; j0 < p->Sk; j0 += JB) {
        int n = p->Sk - j0 < JB ? (int)(p->Sk - j0) : JB;

        scores(&s, j0, n, sc);
        for (int j = 0; j < n; j++)
            if (!(sc[j] <= max))        /* a NaN stays */
                max = sc[j];
    }
    for (int64_t j0 = 0; j0 < p->Sk; j0 += JB) {
        int n = p->Sk - j0 < JB ? (int)(p->Sk - j0) : JB;

        scores(&s, j0, n, sc);
        for (int j = 0; j < n; j++) {
            const float *v = p->v + (j0 + j) * p->ldv + (int64_t)s.h * p->E;
            double w = exp(sc[j] - max);

            sum += w;
            for (int e = 0; e < p->E; e++)
                acc[e] += w * v[e];
        }
    }
    for (int e = 0; e < p->E; e++)
        out[e] = (float)(acc[e] / sum);
}

static void attention(KlExec *ex, const KlAttention *p)
{
    KlAttention args = *p;

    kl_parallel(ex, p->Sq * p->H, attention_query, &args);
}

static size_t attention_scratch(const KlExec *ex, int64_t Sq, int64_t Sk, int H, int E)
{
    (void)ex, (void)Sq, (void)Sk, (void)H, (void)E;
    return 0;
}

void kl_ref_init_attention(KlKernels *k)
{
    k->attention = attention;
    k->attention_scratch = attention_scratch;
}
