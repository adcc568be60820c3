/*
 * Attention, a block of queries of one head at a time, included once per
 * instruction set.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Keys are walked in blocks with the softmax kept "online": m is the largest
 * score so far, l the sum of 2^(score - m), o the weighted sum of values; when
 * m grows, l and o shrink by 2^(old m - m). Scores are computed transposed,
 * [key, query], so that maxima and sums run down the columns, one lane per
 * query, and so that the weights lie as the second product's tile reads them.
 * Scores carry a factor of log2(e), put into the queries.
 */
#include "kernels/cpu/attention.h"
#include "kernels/cpu/vec.h"

#define LOG2E 1.44269504f

typedef struct AttBlock {
    const KlAttention *p;
    int h, nq, bq, bk, ep;              /* nq: queries in this block */
    int64_t i0;                         /* the first of them */
    float *qt, *k, *v, *s, *o, *m, *l;
} AttBlock;

/* c[KL_MR, KL_NR] = [c +] a[KL_MR, n] b[n, KL_NR]; element (i, j) of a is at a[i * ar + j * ac]. */
static inline __attribute__((always_inline))
void att_tile(int n, const float *a, int64_t ar, int64_t ac, const float *b, int64_t ldb, float *c, int64_t ldc,
              int add)
{
    KlVec acc[KL_MR][2];

#pragma GCC unroll 12
    for (int i = 0; i < KL_MR; i++)
        for (int j = 0; j < 2; j++)
            acc[i][j] = vec_set(0);
    for (int k = 0; k < n; k++) {
        KlVec b0 = vec_load(b + k * ldb), b1 = vec_load(b + k * ldb + KL_VL);

#pragma GCC unroll 12
        for (int i = 0; i < KL_MR; i++) {
            KlVec x = vec_set(a[i * ar + k * ac]);

            acc[i][0] = vec_fma(x, b0, acc[i][0]);
            acc[i][1] = vec_fma(x, b1, acc[i][1]);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < KL_MR; i++)
        for (int j = 0; j < 2; j++) {
            float *to = c + i * ldc + j * KL_VL;

            if (add)
                acc[i][j] = vec_load(to) + acc[i][j];
            vec_store(to, acc[i][j]);
        }
}

/* The queries as qt[ceil(nq/NR)][E][NR], zeros past the last. */
static __attribute__((noinline)) void att_load_queries(const AttBlock *b)
{
    const KlAttention *p = b->p;
    float scale = p->scale * LOG2E;

    for (int i = 0; i < (b->nq + KL_NR - 1) / KL_NR * KL_NR; i++) {
        const float *q = p->q + (b->i0 + i) * p->ldq + (int64_t)b->h * p->E;
        float *to = b->qt + (size_t)(i / KL_NR) * p->E * KL_NR + i % KL_NR;

        for (int e = 0; e < p->E; e++)
            to[e * KL_NR] = i < b->nq ? q[e] * scale : 0;
    }
}

/* Asks for a row of the next block, which lies a stride away from its neighbours where no hardware looks ahead. */
static inline void att_prefetch(const float *row, int E)
{
    for (int e = 0; e < E; e += 16)
        __builtin_prefetch(row + e, 0, 2);
}

/* Keys j0 .. j0 + n - 1 as k[n rounded up to MR][E], and values as v[E/NR][n][NR], zeros past the last. */
static __attribute__((noinline)) void att_load_keys(const AttBlock *b, int64_t j0, int n)
{
    const KlAttention *p = b->p;
    int E = p->E, whole = E / KL_NR * KL_NR;

    for (int j = 0; j < n; j++) {
        const float *k = p->k + (j0 + j) * p->ldk + (int64_t)b->h * E;
        const float *v = p->v + (j0 + j) * p->ldv + (int64_t)b->h * E;
        float *to_k = b->k + (size_t)j * E, *to_v = b->v + j * KL_NR;

        if (j0 + b->bk + j < p->Sk) {
            att_prefetch(k + b->bk * p->ldk, E);
            att_prefetch(v + b->bk * p->ldv, E);
        }
        for (int e = 0; e < whole; e += KL_NR, to_v += n * KL_NR) {
            vec_store(to_k + e, vec_load(k + e));
            vec_store(to_k + e + KL_VL, vec_load(k + e + KL_VL));
            vec_store(to_v, vec_load(v + e));
            vec_store(to_v + KL_VL, vec_load(v + e + KL_VL));
        }
        for (int e = whole; e < b->ep; e++) {
            to_v[e - whole] = e < E ? v[e] : 0;
            if (e < E)
                to_k[e] = k[e];
        }
    }
    for (int j = n; j % KL_MR; j++)
        memset(b->k + (size_t)j * E, 0, E * sizeof(*b->k));
}

static __attribute__((noinline)) void att_scores(const AttBlock *b, int n)
{
    int E = b->p->E;

    for (int i = 0; i < b->nq; i += KL_NR)
        for (int j = 0; j < n; j += KL_MR)
            att_tile(E, b->k + (size_t)j * E, E, 1, b->qt + (size_t)i * E, KL_NR, b->s + (size_t)j * b->bq + i, b->bq,
                     0);
}

static __attribute__((noinline)) void att_biases(const AttBlock *b, int64_t j0, int n)
{
    const KlAttention *p = b->p;
    const float *rel = p->rel_bias ? p->rel_bias + b->h * (p->Sq + p->Sk - 1) + j0 - b->i0 + p->Sq - 1 : NULL;

    for (int j = 0; j < n; j++) {
        float *s = b->s + (size_t)j * b->bq, key = p->key_bias ? p->key_bias[j0 + j] * LOG2E : 0;

        for (int i = 0; i < b->nq; i++)
            s[i] += rel ? key + rel[j - i] * LOG2E : key;
    }
}

/* Turns scores into weights; the sums so far shrink to the new largest score. */
static __attribute__((noinline)) void att_softmax(const AttBlock *b, int n)
{
    for (int i = 0; i < b->nq; i += KL_VL) {
        KlVec old = vec_load(b->m + i), max = old, base, shrink, sum = vec_set(0);
        float *s = b->s + i, by[KL_VL];

        for (int j = 0; j < n; j++)
            max = vec_max(max, vec_load(s + (size_t)j * b->bq));
        base = vec_no_minus_inf(max);   /* every key masked so far: weights 0, not NaN */
        for (int j = 0; j < n; j++) {
            KlVec w = vec_exp2_down(vec_load(s + (size_t)j * b->bq) - base);

            sum = sum + w;
            vec_store(s + (size_t)j * b->bq, w);
        }
        vec_store(b->m + i, max);
        if (vec_all_equal(old, max)) {
            vec_store(b->l + i, vec_load(b->l + i) + sum);
            continue;
        }
        shrink = vec_exp2_down(old - base);
        vec_store(b->l + i, vec_fma(vec_load(b->l + i), shrink, sum));
        vec_store(by, shrink);
        for (int r = 0; r < KL_VL && i + r < b->nq; r++)
            for (int e = 0; e < b->ep; e += KL_VL) {
                float *o = b->o + (size_t)(i + r) * b->ep + e;

                vec_store(o, vec_load(o) * vec_set(by[r]));
            }
    }
}

static __attribute__((noinline)) void att_values(const AttBlock *b, int n)
{
    for (int e = 0; e < b->ep; e += KL_NR)
        for (int i = 0; i < b->nq; i += KL_MR)
            att_tile(n, b->s + i, 1, b->bq, b->v + (size_t)e * n, KL_NR, b->o + (size_t)i * b->ep + e, b->ep, 1);
}

static __attribute__((noinline)) void att_store(const AttBlock *b)
{
    const KlAttention *p = b->p;

    for (int i = 0; i < b->nq; i++) {
        float *out = p->out + (b->i0 + i) * p->ldo + (int64_t)b->h * p->E;
        const float *o = b->o + (size_t)i * b->ep;
        float r = 1 / b->l[i];

        for (int e = 0; e < p->E; e++)
            out[e] = o[e] * r;
    }
}

typedef struct AttRun {
    const KlAttention *p;
    float *ws;
} AttRun;

static void att_tile_of_queries(void *arg, int64_t tile, int worker)
{
    const AttRun *run = arg;
    const KlAttention *p = run->p;
    int E = p->E;
    AttBlock b = { .p = p, .bq = kl_att_queries(E), .bk = kl_att_keys(E) };
    int64_t blocks = kl_ceil_div(p->Sq, b.bq);

    b.h = (int)(tile / blocks);
    b.i0 = tile % blocks * b.bq;
    b.nq = (int)kl_min64(p->Sq - b.i0, b.bq);
    b.ep = (E + KL_NR - 1) / KL_NR * KL_NR;
    b.qt = run->ws + kl_att_floats(E) * worker;
    b.o = b.qt + (size_t)b.ep * b.bq;
    b.k = b.o + (size_t)b.ep * b.bq;
    b.v = b.k + (size_t)b.ep * b.bk;
    b.s = b.v + (size_t)b.ep * b.bk;
    b.m = b.s + (size_t)b.bk * b.bq;
    b.l = b.m + b.bq;

    memset(b.o, 0, (size_t)b.ep * b.bq * sizeof(*b.o));
    memset(b.s, 0, (size_t)b.bk * b.bq * sizeof(*b.s));
    for (int i = 0; i < b.bq; i++) {
        b.m[i] = -INFINITY;
        b.l[i] = 0;
    }
    att_load_queries(&b);
    for (int64_t j0 = 0; j0 < p->Sk; j0 += b.bk) {
        int n = (int)kl_min64(p->Sk - j0, b.bk);

        att_load_keys(&b, j0, n);
        att_scores(&b, n);
        if (p->key_bias || p->rel_bias)
            att_biases(&b, j0, n);
        att_softmax(&b, n);
        att_values(&b, n);
    }
    att_store(&b);
}

void KL_FN(kl_attention_f32)(KlExec *ex, const KlAttention *p, float *ws)
{
    AttRun run = { p, ws };

    kl_parallel(ex, kl_ceil_div(p->Sq, kl_att_queries(p->E)) * p->H, att_tile_of_queries, &run);
}
