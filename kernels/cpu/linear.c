/*
 * y = residual + gate * act(x w^T + bias) on the GEMM library.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * y is cut into tiles of about MT x NT. A worker widens its panel of a stored
 * weight a chunk of K at a time, lets the library multiply into its own slice
 * of scratch, and finishes the tile while it is warm. f32 weights are read in
 * place. One or two rows of x need no panel: they are bound by reading w.
 */
#include "kernels/cpu/linear_i8.h"

#define MT 256                          /* at most, rows of a tile */
#define NT 128                          /* at most, columns of a tile */
#define KC 2048                         /* at most, depth of one multiplication */
#define MAX_ROWS 16                     /* of any product's register tile */
#define GEMV_ROWS 2                     /* at most, for the gemv leaf */
#define GEMV_NT 64                      /* columns of a gemv tile */

typedef struct Linear {
    const KlLinear *p;
    const KlLinearLeaf *leaf;
    KlExec *ex;
    int64_t mt, nt, kc;                 /* the cut */
    int64_t tiles_m;
    size_t slice;                       /* scratch bytes of one worker */
} Linear;

static void cut(Linear *l, int64_t M, int64_t N, int64_t K, KlDType w)
{
    const KlProduct *product = l->leaf->product;
    int64_t depth = product ? product->depth : KC, block = kl_dtype_block(w);

    l->mt = kl_even_part(M, MT, product ? product->rows : 8);
    l->nt = kl_even_part(N, NT, 16);
    l->kc = kl_even_part(K, depth / block * block, kl_max64(block, 16));
    l->tiles_m = kl_ceil_div(M, l->mt);
    l->slice = kl_round64((size_t)(l->mt * l->nt) * 4) + kl_round64((size_t)(l->nt * kl_min64(l->kc, K)) * 4);
}

void kl_linear_finish(const KlLinear *p, const KlLinearLeaf *leaf, int64_t m, int64_t n0, int64_t n, const float *acc)
{
    const float *residual = p->residual ? p->residual + m * p->ldy + n0 : NULL;
    const float *gate = residual && p->gate ? p->gate + m / p->group_rows * p->ldgate + n0 : NULL;

    leaf->epilogue(p->y + m * p->ldy + n0, acc, p->bias ? p->bias + n0 : NULL, residual, gate, n, p->act);
}

static void linear_tile(void *arg, int64_t tile, int worker)
{
    const Linear *l = arg;
    const KlLinear *p = l->p;
    int64_t m0 = tile % l->tiles_m * l->mt, n0 = tile / l->tiles_m * l->nt;
    int64_t m = kl_min64(p->M - m0, l->mt), n = kl_min64(p->N - n0, l->nt);
    float *acc = kl_scratch(l->ex, worker, l->slice), *panel = acc + kl_round64((size_t)(l->mt * l->nt) * 4) / 4;

    for (int64_t k0 = 0; k0 < p->K; k0 += l->kc) {
        int64_t kc = kl_min64(p->K - k0, l->kc), ldw = kc;
        const float *w = panel;

        if (p->w.dtype == KL_F32) {
            w = (const float *)p->w.data + n0 * p->K + k0;
            ldw = p->K;
        } else {
            for (int64_t j = 0; j < n; j++)
                l->leaf->widen(panel + j * kc, p->w, (n0 + j) * p->K + k0, kc);
        }
        kl_sgemm('N', 'T', m, n, kc, 1, p->x + m0 * p->ldx + k0, p->ldx, w, ldw, k0 ? 1 : 0, acc, l->nt);
    }
    for (int64_t i = 0; i < m; i++)
        kl_linear_finish(p, l->leaf, m0 + i, n0, n, acc + i * l->nt);
}

/* The same with products of our own: each block of 16 columns is packed and used at once. */
static void product_tile(void *arg, int64_t tile, int worker)
{
    const Linear *l = arg;
    const KlLinear *p = l->p;
    const KlProduct *product = l->leaf->product;
    int64_t m0 = tile % l->tiles_m * l->mt, n0 = tile / l->tiles_m * l->nt;
    int64_t m = kl_min64(p->M - m0, l->mt), n = kl_min64(p->N - n0, l->nt);
    int64_t rows = kl_ceil_div(m, product->rows) * product->rows;
    float *acc = kl_scratch(l->ex, worker, l->slice), *panel = acc + kl_round64((size_t)(l->mt * l->nt) * 4) / 4;
    const float *row[MT + MAX_ROWS];

    for (int64_t i = 0; i < rows; i++)  /* rows behind the last compute it again */
        row[i] = p->x + (m0 + kl_min64(i, m - 1)) * p->ldx;
    for (int64_t k0 = 0; k0 < p->K; k0 += l->kc) {
        int64_t kc = kl_min64(p->K - k0, l->kc);

        for (int64_t j = 0; j < n; j += product->nr) {
            l->leaf->pack(panel, p->w, p->K, n0 + j, n - j, k0, kc);
            product->block(acc + j, l->nt, row, 1, k0, panel, 0, rows, 1, kc, k0 > 0, NULL);
        }
    }
    for (int64_t i = 0; i < m; i++)
        kl_linear_finish(p, l->leaf, m0 + i, n0, n, acc + i * l->nt);
}

static void gemv_tile(void *arg, int64_t tile, int worker)
{
    const Linear *l = arg;
    const KlLinear *p = l->p;
    int64_t n0 = tile * GEMV_NT, n = kl_min64(p->N - n0, GEMV_NT);
    float acc[GEMV_NT];

    (void)worker;
    for (int64_t m = 0; m < p->M; m++) {
        l->leaf->gemv(acc, p->x + m * p->ldx, p->w, n0, n, p->K);
        kl_linear_finish(p, l->leaf, m, n0, n, acc);
    }
}

static void linear(KlExec *ex, const KlLinear *p, const KlLinearLeaf *leaf)
{
    Linear l = { .p = p, .leaf = leaf, .ex = ex };

    if (p->M <= GEMV_ROWS && leaf->gemv) {
        kl_parallel(ex, kl_ceil_div(p->N, GEMV_NT), gemv_tile, &l);
        return;
    }
    cut(&l, p->M, p->N, p->K, p->w.dtype);
    kl_parallel(ex, l.tiles_m * kl_ceil_div(p->N, l.nt), leaf->product ? product_tile : linear_tile, &l);
}

static size_t scratch_of(const KlExec *ex, int64_t M, int64_t N, int64_t K, KlDType w,
                         const KlLinearLeaf *leaf)
{
    Linear l = { .leaf = leaf };

    cut(&l, M, N, K, w);
    return l.slice * (size_t)kl_threads(ex);
}

static size_t scratch_dnnl(const KlExec *ex, int64_t M, int64_t N, int64_t K, KlDType w)
{
    return w == KL_I8 ? kl_linear_i8_scratch(ex, M, N, K, &kl_i8_leaf_generic)
                      : scratch_of(ex, M, N, K, w, &kl_linear_leaf_generic);
}

static void kl_linear_dnnl(KlExec *ex, const KlLinear *p)
{
    if (p->w.dtype == KL_I8)
        kl_linear_i8(ex, p, &kl_linear_leaf_generic, &kl_i8_leaf_generic);
    else
        linear(ex, p, &kl_linear_leaf_generic);
}

#if defined(__x86_64__) || defined(__i386__)
static size_t scratch_avx2(const KlExec *ex, int64_t M, int64_t N, int64_t K, KlDType w)
{
    return w == KL_I8 ? kl_linear_i8_scratch(ex, M, N, K, &kl_i8_leaf_avx2)
                      : scratch_of(ex, M, N, K, w, &kl_linear_leaf_avx2);
}

static void kl_linear_avx2(KlExec *ex, const KlLinear *p)
{
    if (p->w.dtype == KL_I8)
        kl_linear_i8(ex, p, &kl_linear_leaf_avx2, &kl_i8_leaf_avx2);
    else
        linear(ex, p, &kl_linear_leaf_avx2);
}

static size_t scratch_avx512(const KlExec *ex, int64_t M, int64_t N, int64_t K, KlDType w)
{
    return w == KL_I8 ? scratch_avx2(ex, M, N, K, w) : scratch_of(ex, M, N, K, w, &kl_linear_leaf_avx512);
}

static void kl_linear_avx512(KlExec *ex, const KlLinear *p)
{
    if (p->w.dtype == KL_I8)
        kl_linear_i8(ex, p, &kl_linear_leaf_avx512, &kl_i8_leaf_avx2);
    else
        linear(ex, p, &kl_linear_leaf_avx512);
}

static size_t scratch_vnni(const KlExec *ex, int64_t M, int64_t N, int64_t K, KlDType w)
{
    return w == KL_I8 ? kl_linear_i8_scratch(ex, M, N, K, &kl_i8_leaf_dnnl) : scratch_avx512(ex, M, N, K, w);
}

static void kl_linear_vnni(KlExec *ex, const KlLinear *p)
{
    if (p->w.dtype == KL_I8)
        kl_linear_i8(ex, p, &kl_linear_leaf_avx512, &kl_i8_leaf_dnnl);
    else
        linear(ex, p, &kl_linear_leaf_avx512);
}
#endif

void kl_cpu_init_linear(KlKernels *k, unsigned flags)
{
    k->linear = kl_linear_dnnl;
    k->linear_scratch = scratch_dnnl;
#if defined(__x86_64__) || defined(__i386__)
    if (!(flags & KL_CPU_AVX2))
        return;
    k->linear = kl_linear_avx2;
    k->linear_scratch = scratch_avx2;
    if (!(flags & KL_CPU_AVX512))
        return;
    k->linear = kl_linear_avx512;
    k->linear_scratch = scratch_avx512;
    if (!(flags & KL_CPU_VNNI))
        return;
    k->linear = kl_linear_vnni;
    k->linear_scratch = scratch_vnni;
#else
    (void)flags;
#endif
}
