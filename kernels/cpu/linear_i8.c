/*
 * y = residual + gate * act(x w^T + bias) with int8 weights, in integers.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Up to CHUNK rows of x are quantized into scratch that all workers share;
 * then y is cut into tiles as in linear.c. A product of our own packs the
 * weight, widened to int16, a block of columns at a time; the library reads
 * it as it lies. Sums are exact, so the way of cutting does not show.
 */
#include "kernels/cpu/linear_i8.h"

#define CHUNK 1024                      /* rows quantized at once: bounds the scratch */
#define MT 256                          /* at most, rows of a tile */
#define NT 128                          /* at most, columns of a tile */

typedef struct LinearI8 {
    const KlLinear *p;
    const KlLinearLeaf *leaf;
    const KlI8Leaf *i8;
    int64_t m0, rows;                   /* the chunk */
    int64_t mt, nt, kc, tiles_m;        /* the cut */
    size_t row_bytes;                   /* of a quantized row */
    size_t slice;                       /* scratch bytes of one worker */
    char *ws;                           /* the workers' slices, then: */
    char *q;                            /* [rows rounded up to groups] quantized rows */
    float *scale;                       /* [rows] */
} LinearI8;

static void cut(LinearI8 *l, int64_t M, int64_t N, int64_t K)
{
    const KlI8Leaf *i8 = l->i8;
    int64_t padded = kl_ceil_div(K, KL_I8_PAD) * KL_I8_PAD;

    l->rows = kl_min64(M, CHUNK);
    l->mt = kl_even_part(l->rows, MT, i8->block ? i8->rows : 8);
    l->nt = kl_even_part(N, NT, 16);
    l->kc = i8->block ? kl_even_part(K, i8->depth, KL_I8_PAD) : padded;
    l->row_bytes = (size_t)padded * (i8->offset ? 1 : 2);
    l->slice = kl_round64((size_t)(l->mt * l->nt) * 4) + (i8->block ? kl_round64((size_t)(i8->nr * l->kc) * 2) : 0);
}

static size_t rows_bytes(const LinearI8 *l)
{
    return kl_round64((size_t)(kl_ceil_div(l->rows, l->i8->rows) * l->i8->rows) * l->row_bytes);
}

static size_t shared_bytes(const LinearI8 *l)
{
    return rows_bytes(l) + kl_round64((size_t)l->rows * sizeof(float));
}

/* A group of rows, zeros behind the last. */
static void quantize_group(void *arg, int64_t group, int worker)
{
    const LinearI8 *l = arg;
    int rows = l->i8->rows;
    char *q = l->q + (size_t)(group * rows) * l->row_bytes;

    (void)worker;
    if (l->rows - group * rows < rows)
        memset(q, 0, (size_t)rows * l->row_bytes);
    for (int64_t m = group * rows; m < kl_min64((group + 1) * rows, l->rows); m++)
        l->scale[m] = l->i8->quantize(q + (m - group * rows) * 2 * (int64_t)sizeof(int16_t),
                                      l->p->x + (l->m0 + m) * l->p->ldx, l->p->K);
}

static void multiply_own(const LinearI8 *l, int32_t *acc, int64_t m0, int64_t m, int64_t n0, int64_t n)
{
    const KlI8Leaf *i8 = l->i8;
    int16_t *panel = (int16_t *)(void *)((char *)acc + kl_round64((size_t)(l->mt * l->nt) * 4));
    const int8_t *w = (const int8_t *)l->p->w.data + n0 * l->p->K;
    const int16_t *a = (const int16_t *)(const void *)(l->q + (size_t)m0 * l->row_bytes);
    int64_t rows = kl_ceil_div(m, i8->rows) * i8->rows, group = (int64_t)(l->row_bytes / 2) * i8->rows;

    for (int64_t k0 = 0; k0 < l->p->K; k0 += l->kc) {
        int64_t kc = kl_min64(l->p->K - k0, l->kc), padded = kl_ceil_div(kc, KL_I8_PAD) * KL_I8_PAD;

        for (int64_t j = 0; j < n; j += i8->nr) {
            i8->pack(panel, w + j * l->p->K + k0, l->p->K, n - j, kc);
            i8->block(acc + j, l->nt, a + k0 * i8->rows, group, panel, rows, padded, k0 > 0);
        }
    }
}

static void i8_tile(void *arg, int64_t tile, int worker)
{
    const LinearI8 *l = arg;
    const KlLinear *p = l->p;
    int64_t m0 = tile % l->tiles_m * l->mt, n0 = tile / l->tiles_m * l->nt;
    int64_t m = kl_min64(l->rows - m0, l->mt), n = kl_min64(p->N - n0, l->nt);
    int32_t *acc = (int32_t *)(void *)(l->ws + (size_t)worker * l->slice);
    int per_column = p->w.scale && p->w.scale_group;

    if (l->i8->block)
        multiply_own(l, acc, m0, m, n0, n);
    else
        kl_gemm_u8s8(m, n, p->K, (const uint8_t *)l->q + (size_t)m0 * l->row_bytes, (int64_t)l->row_bytes,
                     (uint8_t)l->i8->offset, (const int8_t *)p->w.data + n0 * p->K, p->K, acc, l->nt);
    for (int64_t i = 0; i < m; i++) {
        int64_t at = l->m0 + m0 + i;
        float row[NT];

        l->i8->rescale(row, acc + i * l->nt, l->scale[m0 + i], p->w.scale ? p->w.scale + (per_column ? n0 : 0) : NULL,
                       per_column, n);
        kl_linear_finish(p, l->leaf, at, n0, n, row);
    }
}

void kl_linear_i8(KlExec *ex, const KlLinear *p, const KlLinearLeaf *leaf, const KlI8Leaf *i8)
{
    LinearI8 l = { .p = p, .leaf = leaf, .i8 = i8 };
    size_t threads = (size_t)kl_threads(ex);

    cut(&l, p->M, p->N, p->K);
    l.ws = kl_scratch(ex, 0, kl_linear_i8_scratch(ex, p->M, p->N, p->K, i8) / threads);
    l.q = l.ws + threads * l.slice;
    l.scale = (float *)(void *)(l.q + rows_bytes(&l));
    for (l.m0 = 0; l.m0 < p->M; l.m0 += CHUNK) {
        l.rows = kl_min64(p->M - l.m0, CHUNK);
        l.tiles_m = kl_ceil_div(l.rows, l.mt);
        kl_parallel(ex, kl_ceil_div(l.rows, i8->rows), quantize_group, &l);
        kl_parallel(ex, l.tiles_m * kl_ceil_div(p->N, l.nt), i8_tile, &l);
    }
}

size_t kl_linear_i8_scratch(const KlExec *ex, int64_t M, int64_t N, int64_t K, const KlI8Leaf *i8)
{
    LinearI8 l = { .i8 = i8 };
    size_t threads = (size_t)kl_threads(ex);

    cut(&l, M, N, K);
    return (l.slice + kl_round64((shared_bytes(&l) + threads - 1) / threads)) * threads;
}
