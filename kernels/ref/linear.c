/*
 * y = residual + gate * act(x w^T + bias), the plain C one.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Work is cut into MB x NB tiles of y. Within one, weights are widened a chunk
 * of K at a time into [k][NB], so that each of the NB sums still runs over k
 * in order while the compiler keeps them side by side.
 */
#include "ref.h"

#define MB 32
#define NB 8
#define KB 256

static void widen(double *out, const KlLinear *p, int64_t n0, int64_t k0, int nb, int kb)
{
    float row[KB] = { 0 };
    KlWeight w = p->w;

    if (w.dtype == KL_I8)
        w.scale = NULL;                 /* goes to the integers' sum */
    for (int j = 0; j < NB; j++) {
        if (j < nb)
            kl_widen_plain(row, w, (n0 + j) * p->K + k0, kb);
        else
            memset(row, 0, sizeof(row));
        for (int k = 0; k < kb; k++)
            out[k * NB + j] = row[k];
    }
}

/* scale and by of a row of x, as quantize_rows has them */
static float row_scale(const float *x, int64_t K, float *by)
{
    float max = 0;

    for (int64_t k = 0; k < K; k++)
        max = kl_ref_larger(max, x[k]);
    return kl_i8_scale(max, by);
}

static void dot_chunk(double *restrict acc, const float *restrict x, const double *restrict w, int kb)
{
    double a[NB];

    for (int j = 0; j < NB; j++)
        a[j] = acc[j];
    for (int k = 0; k < kb; k++) {
        double v = x[k];

        for (int j = 0; j < NB; j++)
            a[j] += v * w[k * NB + j];
    }
    for (int j = 0; j < NB; j++)
        acc[j] = a[j];
}

static void store_row(const KlLinear *p, int64_t m, int64_t n0, int nb, const double *acc)
{
    for (int j = 0; j < nb; j++) {
        int64_t n = n0 + j;
        double v = acc[j];

        if (p->bias)
            v += p->bias[n];
        v = kl_ref_act(v, p->act);
        if (p->residual) {
            if (p->gate)
                v *= p->gate[m / p->group_rows * p->ldgate + n];
            v += p->residual[m * p->ldy + n];
        }
        p->y[m * p->ldy + n] = (float)v;
    }
}

static void linear_tile(void *arg, int64_t tile, int thread)
{
    const KlLinear *p = arg;
    int64_t tiles_n = (p->N + NB - 1) / NB;
    int64_t m0 = tile / tiles_n * MB, n0 = tile % tiles_n * NB;
    int mb = p->M - m0 < MB ? (int)(p->M - m0) : MB;
    int nb = p->N - n0 < NB ? (int)(p->N - n0) : NB;
    double acc[MB * NB] = { 0 }, w[KB * NB];
    float scale[MB], by[MB], quantized[KB];

    (void)thread;
    if (p->w.dtype == KL_I8)
        for (int m = 0; m < mb; m++)
            scale[m] = row_scale(p->x + (m0 + m) * p->ldx, p->K, &by[m]);
    for (int64_t k0 = 0; k0 < p->K; k0 += KB) {
        int kb = p->K - k0 < KB ? (int)(p->K - k0) : KB;

        widen(w, p, n0, k0, nb, kb);
        for (int m = 0; m < mb; m++) {
            const float *x = p->x + (m0 + m) * p->ldx + k0;

            if (p->w.dtype == KL_I8) {
                for (int k = 0; k < kb; k++)
                    quantized[k] = kl_ref_i8(x[k], by[m]);
                x = quantized;
            }
            dot_chunk(acc + m * NB, x, w, kb);
        }
    }
    for (int m = 0; m < mb; m++) {
        for (int j = 0; j < nb && p->w.dtype == KL_I8; j++)
            acc[m * NB + j] *= (double)scale[m] * kl_row_scale(p->w, n0 + j);
        store_row(p, m0 + m, n0, nb, acc + m * NB);
    }
}

static void linear(KlExec *ex, const KlLinear *p)
{
    KlLinear args = *p;

    kl_parallel(ex, (p->M + MB - 1) / MB * ((p->N + NB - 1) / NB), linear_tile, &args);
}

static size_t linear_scratch(const KlExec *ex, int64_t M, int64_t N, int64_t K, KlDType w)
{
    (void)ex, (void)M, (void)N, (void)K, (void)w;
    return 0;
}

void kl_ref_init_linear(KlKernels *k)
{
    k->linear = linear;
    k->linear_scratch = linear_scratch;
}
