/*
 * LoRAs in the transformer: side branches of its linears.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *     y += gate * strength * (x A^T) B^T         A [rank,k], B [n,rank]
 *     y += gate * strength * x A^T               A [n,k], a whole change
 *
 * A rank of 32 to 128 costs a few percent of the linear itself; what is kept
 * per clip is [rows,rank] floats.
 */
#include "bind.h"
#include "dit_internal.h"

#include <stdlib.h>

static int bind_delta(KlDiag *d, const KlKernels *k, const KlDitLinear *l, const KlDelta *from, KlDitDelta *e)
{
    int ret = 0;

    *e = (KlDitDelta){ .rank = from->rank, .strength = from->strength };
    if (!(e->gain = malloc((size_t)l->n * sizeof(*e->gain))))
        return kl_fail_memory(d, from->name, (size_t)l->n * sizeof(*e->gain));
    for (int64_t i = 0; i < l->n; i++)
        e->gain[i] = from->strength;
    if ((ret = kl_bind_vector(d, k, from->name, &e->gain, l->n)) < 0)
        return ret;
    e->a = from->a;
    if ((ret = kl_bind_weight(d, k, from->name, &e->a, from->rank ? from->rank : l->n, l->k)) < 0 || !from->rank)
        return ret;
    e->b = from->b;
    return kl_bind_weight(d, k, from->name, &e->b, l->n, from->rank);
}

int kl_dit_bind_deltas(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *name, KlDitLinear *l)
{
    int n, ret = 0;
    const KlDelta *from = kl_weights_deltas(w, name, &n);

    if (!n)
        return 0;
    if (!(l->deltas = calloc((size_t)n, sizeof(*l->deltas))))
        return kl_fail_memory(d, "a LoRA", (size_t)n * sizeof(*l->deltas));
    for (int i = 0; i < n && !ret; i++, l->n_deltas++)
        ret = bind_delta(d, k, l, &from[i], &l->deltas[i]);
    return ret;
}

void kl_dit_release_deltas(const KlKernels *k, KlDitLinear *l)
{
    for (int i = 0; i < l->n_deltas; i++) {
        k->weight_release(k, &l->deltas[i].a);
        k->weight_release(k, &l->deltas[i].b);
        k->vector_release(k, &l->deltas[i].gain);
    }
    free(l->deltas);
    l->deltas = NULL;
    l->n_deltas = 0;
}

/* The gate of each group times the strength, [groups,n]. */
static const float *scaled_gate(const KlDitSession *s, const KlDitDelta *e, const float *gate, int64_t ldgate,
                                int64_t groups, int64_t n)
{
    const double strength = e->strength;

    for (int64_t g = 0; g < groups; g++) {
        const float *x[1] = { gate + g * ldgate };

        s->k->lincomb(s->ex, s->delta_gate + g * n, x, &strength, 1, n);
    }
    return s->delta_gate;
}

void kl_dit_add_deltas(const KlDitSession *s, const KlDitLinear *l, const float *x, int64_t ldx, float *y, int64_t ldy,
                       int64_t M, const float *gate, int64_t ldgate, int64_t group_rows, int x_operand)
{
    for (int i = 0; i < l->n_deltas; i++) {
        const KlDitDelta *e = &l->deltas[i];
        const int64_t groups = KL_CEIL_DIV(M, group_rows);
        KlLinear down = { .x = x, .ldx = ldx, .w = e->a, .y = s->low, .ldy = e->rank, .M = M, .N = e->rank,
                          .K = l->k, .x_operand = x_operand };
        KlLinear add = { .x = x, .ldx = ldx, .w = e->a, .y = y, .ldy = ldy, .M = M, .N = l->n, .K = l->k,
                         .residual = y, .gate = e->gain, .ldgate = 0, .group_rows = M,
                         .x_operand = x_operand };

        if (gate) {
            add.gate = scaled_gate(s, e, gate, ldgate, groups, l->n);
            add.ldgate = l->n;
            add.group_rows = group_rows;
        }
        if (e->rank) {
            s->k->linear(s->ex, &down);
            add.x = s->low;
            add.x_operand = 0;
            add.ldx = add.K = e->rank;
            add.w = e->b;
        }
        s->k->linear(s->ex, &add);
    }
}
