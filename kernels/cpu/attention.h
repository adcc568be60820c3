/*
 * What the builds of the attention leaf share with its init.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_CPU_ATTENTION_H
#define KL_CPU_ATTENTION_H

#include "kernels/cpu/cpu.h"

#define KL_ATT_NR_MAX 32                /* the widest KL_NR */

/* Block sizes: multiples of every KL_MR and KL_NR, chosen so that a worker's buffers stay in a 512 KiB cache. */
static inline int kl_att_queries(int E) { return E <= 128 ? 192 : 96; }
static inline int kl_att_keys(int E) { return E <= 256 ? 96 : 48; }

/* One worker's buffers, in floats:
 *   qt [E, BQ]  the queries, scaled, transposed        k [BK, E]   keys
 *   s  [BK, BQ] scores, then weights, transposed       v [E/NR, BK, NR]
 *   o  [BQ, E rounded up to NR]  sums                  m, l [BQ]  largest score and sum of weights */
static inline size_t kl_att_floats(int E)
{
    size_t bq = kl_att_queries(E), bk = kl_att_keys(E);
    size_t ep = ((size_t)E + KL_ATT_NR_MAX - 1) / KL_ATT_NR_MAX * KL_ATT_NR_MAX;

    return ep * bq + bk * ep + bk * bq + ep * bk + bq * ep + 2 * bq;
}

/* ws: kl_threads() slices of kl_att_floats(E) floats, each 64-byte aligned. */
void kl_attention_f32_avx2(KlExec *ex, const KlAttention *p, float *ws);
void kl_attention_f32_avx512(KlExec *ex, const KlAttention *p, float *ws);
void kl_attention_f32_generic(KlExec *ex, const KlAttention *p, float *ws);

#endif /* KL_CPU_ATTENTION_H */
