/*
 * The ops over rows and elements, included once per instruction set.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Statistics run in double, lanes side by side, and are rounded to f32 once;
 * what is done to each element then runs in f32. All of it is limited by
 * memory except the activations.
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vec.h"

#define TILE 16384                      /* elements of one tile, about */
#define QUANTIZE 2048                   /* elements widened at once: whole blocks of every format */

/* Rows of D elements in one tile. */
static int64_t tile_rows(int64_t D)
{
    return D >= TILE ? 1 : TILE / D;
}

static double row_sum(const float *x, int64_t D)
{
    KlVecD acc = vecd_zero(), acc2 = vecd_zero();
    double sum;
    int64_t d = 0;

    for (; d + 2 * KL_VL <= D; d += 2 * KL_VL) {
        acc = vecd_add(acc, vecd_from(vec_load(x + d)));
        acc2 = vecd_add(acc2, vecd_from(vec_load(x + d + KL_VL)));
    }
    sum = vecd_sum(vecd_add(acc, acc2));
    for (; d < D; d++)
        sum += x[d];
    return sum;
}

/* sum (x - mean)^2 */
static double row_squares(const float *x, int64_t D, double mean)
{
    KlVecD acc = vecd_zero(), acc2 = vecd_zero(), m = vecd_set(mean);
    double sum;
    int64_t d = 0;

    for (; d + 2 * KL_VL <= D; d += 2 * KL_VL) {
        KlVecD u = vecd_sub(vecd_from(vec_load(x + d)), m), v = vecd_sub(vecd_from(vec_load(x + d + KL_VL)), m);

        acc = vecd_fma(u, u, acc);
        acc2 = vecd_fma(v, v, acc2);
    }
    sum = vecd_sum(vecd_add(acc, acc2));
    for (; d < D; d++)
        sum += (x[d] - mean) * (x[d] - mean);
    return sum;
}

typedef struct Norm {
    KlNorm n;
    int rms;
} Norm;

static void norm_row(const Norm *p, int64_t s)
{
    const KlNorm *n = &p->n;
    const float *x = n->x + s * n->ldx;
    float *y = n->y + s * n->ldy;
    double mean = p->rms ? 0 : row_sum(x, n->D) / (double)n->D;
    double r = 1 / sqrt(row_squares(x, n->D, mean) / (double)n->D + n->eps);
    int64_t mod = n->scale ? s / n->group_rows * n->ldmod : 0;
    KlVec vm = vec_set((float)mean), vr = vec_set((float)r);

    for (int64_t d = 0; d < n->D; d += KL_VL) {
        int k = (int)kl_min64(n->D - d, KL_VL);
        KlVec v;

        if (k == KL_VL) {
            v = (vec_load(x + d) - vm) * vr;
            if (n->weight)
                v = n->bias ? vec_fma(v, vec_load(n->weight + d), vec_load(n->bias + d)) : v * vec_load(n->weight + d);
            else if (n->bias)
                v = v + vec_load(n->bias + d);
            if (n->scale)
                v = vec_fma(v, vec_set(1) + vec_load(n->scale + mod + d),
                            n->shift ? vec_load(n->shift + mod + d) : vec_set(0));
            vec_store(y + d, v);
        } else {
            v = (vec_load_n(x + d, k) - vm) * vr;
            if (n->weight)
                v = v * vec_load_n(n->weight + d, k);
            if (n->bias)
                v = v + vec_load_n(n->bias + d, k);
            if (n->scale)
                v = vec_fma(v, vec_set(1) + vec_load_n(n->scale + mod + d, k),
                            n->shift ? vec_load_n(n->shift + mod + d, k) : vec_set(0));
            vec_store_n(y + d, v, k);
        }
    }
}

static void norm_tile(void *arg, int64_t tile, int worker)
{
    const Norm *p = arg;
    int64_t rows = tile_rows(p->n.D), end = kl_min64((tile + 1) * rows, p->n.S);

    (void)worker;
    for (int64_t s = tile * rows; s < end; s++)
        norm_row(p, s);
}

static void layer_norm(KlExec *ex, const KlNorm *n)
{
    Norm p = { *n, 0 };

    kl_parallel(ex, kl_ceil_div(n->S, tile_rows(n->D)), norm_tile, &p);
}

static void rms_norm(KlExec *ex, const KlNorm *n)
{
    Norm p = { *n, 1 };

    p.n.bias = p.n.scale = p.n.shift = NULL;
    kl_parallel(ex, kl_ceil_div(n->S, tile_rows(n->D)), norm_tile, &p);
}

typedef struct Rope {
    float *x;
    int64_t ldx, S, D;
    int H, E;
    const float *weight;
    float eps;
    const float *cos, *sin;
} Rope;

/* One head of one row: x r w, then the rotation. */
static void rope_head(const Rope *p, float *x, const float *w, const float *c, const float *s, float r)
{
    int e = 0;

    for (; e + KL_VL <= p->E; e += KL_VL) {
        KlVec v = vec_load(x + e) * vec_set(r);

        if (w)
            v = v * vec_load(w + e);
        if (c)
            v = vec_rotate(v, vec_load_dup(c + e / 2), vec_load_dup(s + e / 2));
        vec_store(x + e, v);
    }
    for (; e < p->E; e += 2) {
        float a = x[e] * r, b = x[e + 1] * r, t;

        if (w) {
            a *= w[e];
            b *= w[e + 1];
        }
        if (c) {
            t = a * c[e / 2] - b * s[e / 2];
            b = a * s[e / 2] + b * c[e / 2];
            a = t;
        }
        x[e] = a;
        x[e + 1] = b;
    }
}

static void rope_tile(void *arg, int64_t tile, int worker)
{
    const Rope *p = arg;
    int64_t rows = tile_rows(p->D), end = kl_min64((tile + 1) * rows, p->S);

    (void)worker;
    for (int64_t s = tile * rows; s < end; s++) {
        float *x = p->x + s * p->ldx;
        const float *c = p->cos ? p->cos + s * (p->E / 2) : NULL, *sn = p->cos ? p->sin + s * (p->E / 2) : NULL;
        float r = (float)(1 / sqrt(row_squares(x, p->D, 0) / (double)p->D + p->eps));

        for (int h = 0; h < p->H; h++)
            rope_head(p, x + h * p->E, p->weight ? p->weight + h * p->E : NULL, c, sn, r);
    }
}

static void qk_norm_rope(KlExec *ex, float *x, int64_t ldx, int64_t S, int H, int E, const float *weight, float eps,
                         const float *cos, const float *sin)
{
    Rope p = { x, ldx, S, (int64_t)H * E, H, E, weight, eps, cos, sin };

    kl_parallel(ex, kl_ceil_div(S, tile_rows(p.D)), rope_tile, &p);
}

typedef struct PixelNorm {
    float *y;
    const float *x;
    int64_t pixels;
    int C;
    const float *gamma;
    KlActivation act;
} PixelNorm;

static inline __attribute__((always_inline))
void pixel_norm_rows(const PixelNorm *p, int64_t from, int64_t end, KlActivation act)
{
    for (int64_t i = from; i < end; i++) {
        const float *x = p->x + i * p->C;
        float *y = p->y + i * p->C;
        double norm = sqrt(row_squares(x, p->C, 0));
        KlVec r = vec_set((float)(sqrt(p->C) / (norm < 1e-12 ? 1e-12 : norm)));
        int c = 0;

        for (; c + KL_VL <= p->C; c += KL_VL)
            vec_store(y + c, vec_act(vec_load(x + c) * r * vec_load(p->gamma + c), act));
        if (c < p->C)
            vec_store_n(y + c, vec_act(vec_load_n(x + c, p->C - c) * r * vec_load_n(p->gamma + c, p->C - c), act),
                        p->C - c);
    }
}

static void pixel_norm_tile(void *arg, int64_t tile, int worker)
{
    const PixelNorm *p = arg;
    int64_t rows = tile_rows(p->C), end = kl_min64((tile + 1) * rows, p->pixels);

    (void)worker;
    if (p->act == KL_ACT_SILU)
        pixel_norm_rows(p, tile * rows, end, KL_ACT_SILU);
    else if (p->act == KL_ACT_GELU_TANH)
        pixel_norm_rows(p, tile * rows, end, KL_ACT_GELU_TANH);
    else if (p->act == KL_ACT_GELU)
        pixel_norm_rows(p, tile * rows, end, KL_ACT_GELU);
    else
        pixel_norm_rows(p, tile * rows, end, KL_ACT_NONE);
}

static void pixel_norm(KlExec *ex, float *y, const float *x, int64_t pixels, int C, const float *gamma,
                       KlActivation act, int operand)
{
    PixelNorm p = { y, x, pixels, C, gamma, act };

    (void)operand;
    kl_parallel(ex, kl_ceil_div(pixels, tile_rows(C)), pixel_norm_tile, &p);
}

typedef struct GatedAdd {
    float *x;
    const float *y;
    int64_t S, D;
    const float *gate;
    int64_t ldgate, group_rows;
} GatedAdd;

static void gated_add_row(const GatedAdd *p, int64_t s)
{
    float *x = p->x + s * p->D;
    const float *y = p->y + s * p->D, *g = p->gate ? p->gate + s / p->group_rows * p->ldgate : NULL;
    int64_t d = 0;
    int k;

    for (; d + KL_VL <= p->D; d += KL_VL) {
        KlVec v = vec_load(y + d);

        vec_store(x + d, g ? vec_fma(vec_load(g + d), v, vec_load(x + d)) : vec_load(x + d) + v);
    }
    k = (int)(p->D - d);
    if (k)
        vec_store_n(x + d, vec_fma(g ? vec_load_n(g + d, k) : vec_set(1), vec_load_n(y + d, k),
                                   vec_load_n(x + d, k)), k);
}

static void gated_add_tile(void *arg, int64_t tile, int worker)
{
    const GatedAdd *p = arg;
    int64_t rows = tile_rows(p->D), end = kl_min64((tile + 1) * rows, p->S);

    (void)worker;
    for (int64_t s = tile * rows; s < end; s++)
        gated_add_row(p, s);
}

static void gated_add(KlExec *ex, float *x, const float *y, int64_t S, int64_t D, const float *gate, int64_t ldgate,
                      int64_t group_rows)
{
    GatedAdd p = { x, y, S, D, gate, ldgate, group_rows };

    kl_parallel(ex, kl_ceil_div(S, tile_rows(D)), gated_add_tile, &p);
}

typedef struct Activate {
    float *y;
    const float *x, *mul;
    int64_t n;
    KlActivation act;
} Activate;

static inline __attribute__((always_inline))
void activate_range(const Activate *p, int64_t i, int64_t end, KlActivation act)
{
    int k;

    for (; i + KL_VL <= end; i += KL_VL) {
        KlVec v = vec_act(vec_load(p->x + i), act);

        vec_store(p->y + i, p->mul ? v * vec_load(p->mul + i) : v);
    }
    k = (int)(end - i);
    if (k > 0)
        vec_store_n(p->y + i, vec_act(vec_load_n(p->x + i, k), act) * (p->mul ? vec_load_n(p->mul + i, k) : vec_set(1)),
                    k);
}

static void activate_tile(void *arg, int64_t tile, int worker)
{
    const Activate *p = arg;
    int64_t from = tile * TILE, end = kl_min64(from + TILE, p->n);

    (void)worker;
    if (p->act == KL_ACT_SILU)
        activate_range(p, from, end, KL_ACT_SILU);
    else if (p->act == KL_ACT_GELU_TANH)
        activate_range(p, from, end, KL_ACT_GELU_TANH);
    else if (p->act == KL_ACT_GELU)
        activate_range(p, from, end, KL_ACT_GELU);
    else
        activate_range(p, from, end, KL_ACT_NONE);
}

static void activate(KlExec *ex, float *y, const float *x, const float *mul, int64_t n, KlActivation act)
{
    Activate p = { y, x, mul, n, act };

    kl_parallel(ex, kl_ceil_div(n, TILE), activate_tile, &p);
}

typedef struct Lincomb {
    float *out;
    const float *const *x;
    const double *a;
    int n_in;
    int64_t n;
} Lincomb;

/* The same bits as ref: no fused multiply-add. */
static void lincomb_tile(void *arg, int64_t tile, int worker)
{
    const Lincomb *p = arg;
    int64_t i = tile * TILE, end = kl_min64(i + TILE, p->n);

    (void)worker;
    for (; i + KL_VL <= end; i += KL_VL) {
        KlVecD v = vecd_zero();

        for (int k = 0; k < p->n_in; k++)
            v = vecd_mul_add(vecd_set(p->a[k]), vecd_from(vec_load(p->x[k] + i)), v);
        vec_store(p->out + i, vecd_to_f32(v));
    }
    for (; i < end; i++) {
        double v = 0;

        for (int k = 0; k < p->n_in; k++)
            v += p->a[k] * p->x[k][i];
        p->out[i] = (float)v;
    }
}

static void lincomb(KlExec *ex, float *out, const float *const *x, const double *a, int n_in, int64_t n)
{
    Lincomb p = { out, x, a, n_in, n };

    kl_parallel(ex, kl_ceil_div(n, TILE), lincomb_tile, &p);
}

typedef struct Widen {
    float *out;
    KlWeight w;
    const int32_t *ids;                 /* NULL: one row of n */
    int64_t n;
} Widen;

static void convert_tile(void *arg, int64_t tile, int worker)
{
    const Widen *p = arg;
    int64_t from = tile * TILE;

    (void)worker;
    KL_FN(kl_widen)(p->out + from, p->w, from, kl_min64(TILE, p->n - from));
}

static void convert(KlExec *ex, float *out, KlWeight w, int64_t n)
{
    Widen p = { out, w, NULL, n };

    kl_parallel(ex, kl_ceil_div(n, TILE), convert_tile, &p);
}

static void gather_row(void *arg, int64_t s, int worker)
{
    const Widen *p = arg;

    (void)worker;
    KL_FN(kl_widen)(p->out + s * p->n, p->w, p->ids[s] * p->n, p->n);
}

static void gather(KlExec *ex, float *out, KlWeight table, const int32_t *ids, int64_t S, int64_t D)
{
    Widen p = { out, table, ids, D };

    kl_parallel(ex, S, gather_row, &p);
}

typedef struct Quantize {
    int8_t *q;
    float *scale;
    KlWeight w;
    int64_t K;
} Quantize;

static void quantize_row(void *arg, int64_t n, int worker)
{
    const Quantize *p = arg;
    int8_t *q = p->q + n * p->K;
    float x[QUANTIZE], max = 0, by;

    (void)worker;
    for (int64_t k = 0; k < p->K; k += QUANTIZE) {
        int64_t m = kl_min64(p->K - k, QUANTIZE);
        float part;

        KL_FN(kl_widen)(x, p->w, n * p->K + k, m);
        part = kl_max_magnitude(x, m);
        max = part <= max ? max : part; /* a NaN goes through */
        if (isnan(max))
            break;
    }
    p->scale[n] = kl_i8_scale(max, &by);
    if (by == 0) {
        memset(q, 0, (size_t)p->K);
        return;
    }
    for (int64_t k = 0; k < p->K; k += QUANTIZE) {
        int64_t m = kl_min64(p->K - k, QUANTIZE);

        KL_FN(kl_widen)(x, p->w, n * p->K + k, m);
        for (int64_t i = 0; i < m; i++)
            q[k + i] = (int8_t)kl_i8_bits(x[i], by);
    }
}

static void quantize_rows(KlExec *ex, int8_t *q, float *scale, KlWeight w, int64_t N, int64_t K)
{
    Quantize p = { q, scale, w, K };

    kl_parallel(ex, N, quantize_row, &p);
}

void KL_FN(kl_rows_init)(KlKernels *k)
{
    k->layer_norm = layer_norm;
    k->rms_norm = rms_norm;
    k->qk_norm_rope = qk_norm_rope;
    k->pixel_norm = pixel_norm;
    k->gated_add = gated_add;
    k->activate = activate;
    k->lincomb = lincomb;
    k->convert = convert;
    k->gather = gather;
    k->quantize_rows = quantize_rows;
}
