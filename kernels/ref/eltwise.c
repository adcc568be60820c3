/*
 * Element by element, the plain C ones.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "ref.h"

#define BLOCK 4096                      /* elements of one tile */

static int64_t blocks(int64_t n)
{
    return (n + BLOCK - 1) / BLOCK;
}

static int64_t block_end(int64_t i, int64_t n)
{
    return n - i * BLOCK < BLOCK ? n : (i + 1) * BLOCK;
}

typedef struct GatedAdd {
    float *x;
    const float *y;
    int64_t D;
    const float *gate;
    int64_t ldgate, group_rows;
} GatedAdd;

static void gated_add_row(void *arg, int64_t s, int thread)
{
    const GatedAdd *p = arg;
    float *x = p->x + s * p->D;
    const float *y = p->y + s * p->D;
    const float *g = p->gate ? p->gate + s / p->group_rows * p->ldgate : NULL;

    (void)thread;
    for (int64_t d = 0; d < p->D; d++)
        x[d] = (float)(x[d] + (g ? (double)g[d] * y[d] : (double)y[d]));
}

static void gated_add(KlExec *ex, float *x, const float *y, int64_t S, int64_t D, const float *gate, int64_t ldgate,
                      int64_t group_rows)
{
    GatedAdd p = { x, y, D, gate, ldgate, group_rows };

    kl_parallel(ex, S, gated_add_row, &p);
}

typedef struct Activate {
    float *y;
    const float *x, *mul;
    int64_t n;
    KlActivation act;
} Activate;

static void activate_block(void *arg, int64_t i, int thread)
{
    const Activate *p = arg;

    (void)thread;
    for (int64_t j = i * BLOCK; j < block_end(i, p->n); j++) {
        double v = kl_ref_act(p->x[j], p->act);

        p->y[j] = (float)(p->mul ? v * p->mul[j] : v);
    }
}

static void activate(KlExec *ex, float *y, const float *x, const float *mul, int64_t n, KlActivation act)
{
    Activate p = { y, x, mul, n, act };

    kl_parallel(ex, blocks(n), activate_block, &p);
}

typedef struct Lincomb {
    float *out;
    const float *const *x;
    const double *a;
    int n_in;
    int64_t n;
} Lincomb;

static void lincomb_block(void *arg, int64_t i, int thread)
{
    const Lincomb *p = arg;

    (void)thread;
    for (int64_t j = i * BLOCK; j < block_end(i, p->n); j++) {
        double v = 0;

        for (int k = 0; k < p->n_in; k++)
            v += p->a[k] * p->x[k][j];
        p->out[j] = (float)v;
    }
}

static void lincomb(KlExec *ex, float *out, const float *const *x, const double *a, int n_in, int64_t n)
{
    Lincomb p = { out, x, a, n_in, n };

    kl_parallel(ex, blocks(n), lincomb_block, &p);
}

typedef struct Convert {
    float *out;
    KlWeight w;
    int64_t n;
} Convert;

static void convert_block(void *arg, int64_t i, int thread)
{
    const Convert *p = arg;

    (void)thread;
    kl_widen_plain(p->out + i * BLOCK, p->w, i * BLOCK, block_end(i, p->n) - i * BLOCK);
}

static void convert(KlExec *ex, float *out, KlWeight w, int64_t n)
{
    Convert p = { out, w, n };

    kl_parallel(ex, blocks(n), convert_block, &p);
}

typedef struct Gather {
    float *out;
    KlWeight table;
    const int32_t *ids;
    int64_t D;
} Gather;

static void gather_row(void *arg, int64_t s, int thread)
{
    const Gather *p = arg;

    (void)thread;
    kl_widen_plain(p->out + s * p->D, p->table, p->ids[s] * p->D, p->D);
}

static void gather(KlExec *ex, float *out, KlWeight table, const int32_t *ids, int64_t S, int64_t D)
{
    Gather p = { out, table, ids, D };

    kl_parallel(ex, S, gather_row, &p);
}

typedef struct QuantizeRows {
    int8_t *q;
    float *scale;
    KlWeight w;
    int64_t K;
} QuantizeRows;

static void quantize_row(void *arg, int64_t n, int thread)
{
    const QuantizeRows *p = arg;
    float x[BLOCK], max = 0, by;

    (void)thread;
    for (int64_t k = 0; k < p->K; k += BLOCK) {
        int kc = (int)(block_end(k / BLOCK, p->K) - k);

        kl_widen_plain(x, p->w, n * p->K + k, kc);
        for (int i = 0; i < kc; i++)
            max = kl_ref_larger(max, x[i]);
    }
    p->scale[n] = kl_i8_scale(max, &by);
    for (int64_t k = 0; k < p->K; k += BLOCK) {
        int kc = (int)(block_end(k / BLOCK, p->K) - k);

        kl_widen_plain(x, p->w, n * p->K + k, kc);
        for (int i = 0; i < kc; i++)
            p->q[n * p->K + k + i] = kl_ref_i8(x[i], by);
    }
}

static void quantize_rows(KlExec *ex, int8_t *q, float *scale, KlWeight w, int64_t N, int64_t K)
{
    QuantizeRows p = { q, scale, w, K };

    kl_parallel(ex, N, quantize_row, &p);
}

void kl_ref_init_eltwise(KlKernels *k)
{
    k->gated_add = gated_add;
    k->activate = activate;
    k->lincomb = lincomb;
    k->convert = convert;
    k->gather = gather;
    k->quantize_rows = quantize_rows;
}
