/*
 * Normalisations over rows, the plain C ones.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "ref.h"

/* x already normalised: weight, bias, scale and shift of token s, column d. */
static double affine(const KlNorm *p, int64_t s, int64_t d, double v)
{
    if (p->weight)
        v *= p->weight[d];
    if (p->bias)
        v += p->bias[d];
    if (p->scale) {
        int64_t at = s / p->group_rows * p->ldmod + d;

        v = v * (1.0 + p->scale[at]);
        if (p->shift)
            v += p->shift[at];
    }
    return v;
}

static void layer_norm_row(void *arg, int64_t s, int thread)
{
    const KlNorm *p = arg;
    const float *x = p->x + s * p->ldx;
    float *y = p->y + s * p->ldy;
    double mean = 0, var = 0, r;

    (void)thread;
    for (int64_t d = 0; d < p->D; d++)
        mean += x[d];
    mean /= (double)p->D;
    for (int64_t d = 0; d < p->D; d++)
        var += (x[d] - mean) * (x[d] - mean);
    r = 1 / sqrt(var / (double)p->D + p->eps);
    for (int64_t d = 0; d < p->D; d++)
        y[d] = (float)affine(p, s, d, (x[d] - mean) * r);
}

static double inverse_rms(const float *x, int64_t D, float eps)
{
    double sum = 0;

    for (int64_t d = 0; d < D; d++)
        sum += (double)x[d] * x[d];
    return 1 / sqrt(sum / (double)D + eps);
}

static void rms_norm_row(void *arg, int64_t s, int thread)
{
    const KlNorm *p = arg;
    const float *x = p->x + s * p->ldx;
    float *y = p->y + s * p->ldy;
    double r = inverse_rms(x, p->D, p->eps);

    (void)thread;
    for (int64_t d = 0; d < p->D; d++)
        y[d] = (float)(p->weight ? x[d] * r * p->weight[d] : x[d] * r);
}

static void layer_norm(KlExec *ex, const KlNorm *p)
{
    KlNorm args = *p;

    kl_parallel(ex, p->S, layer_norm_row, &args);
}

static void rms_norm(KlExec *ex, const KlNorm *p)
{
    KlNorm args = *p;

    kl_parallel(ex, p->S, rms_norm_row, &args);
}

typedef struct Rope {
    float *x;
    int64_t ldx;
    int64_t D, E;
    const float *weight;
    float eps;
    const float *cos, *sin;
} Rope;

static void qk_norm_rope_row(void *arg, int64_t s, int thread)
{
    const Rope *p = arg;
    float *x = p->x + s * p->ldx;
    double r = inverse_rms(x, p->D, p->eps);

    (void)thread;
    for (int64_t d = 0; d < p->D; d += 2) {
        double a = x[d] * r, b = x[d + 1] * r;

        if (p->weight) {
            a *= p->weight[d];
            b *= p->weight[d + 1];
        }
        if (p->cos) {
            int64_t at = s * (p->E / 2) + d % p->E / 2;
            double c = p->cos[at], sn = p->sin[at], t = a;

            a = t * c - b * sn;
            b = t * sn + b * c;
        }
        x[d] = (float)a;
        x[d + 1] = (float)b;
    }
}

static void qk_norm_rope(KlExec *ex, float *x, int64_t ldx, int64_t S, int H, int E, const float *weight, float eps,
                         const float *cos, const float *sin)
{
    Rope p = { x, ldx, (int64_t)H * E, E, weight, eps, cos, sin };

    kl_parallel(ex, S, qk_norm_rope_row, &p);
}

void kl_ref_init_norm(KlKernels *k)
{
    k->layer_norm = layer_norm;
    k->rms_norm = rms_norm;
    k->qk_norm_rope = qk_norm_rope;
}
