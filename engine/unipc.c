/*
 * UniPC: a predictor and a corrector over the predictions of clean latents.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Zhao et al. 2023, variant B_2(h) = e^h - 1, predicting x0, orders 1 and 2,
 * as diffusers' UniPCMultistepScheduler does it. With alpha = 1 - sigma,
 * lambda = log(alpha / sigma), h the growth of lambda over the step from s to
 * t, m_i the prediction of x0 at step i (0 at s, 1 before it, t at t), and
 * r = (lambda_1 - lambda_0) / h < 0, a step is
 *
 *     x_t = sigma_t/sigma_s x - alpha_t (e^-h - 1) (m_0 + D)
 *     predictor, order 2:  D = (m_1 - m_0) / (2 r)
 *     corrector, order 1:  D = (m_t - m_0) / 2
 *     corrector, order 2:  D = rho_0 (m_1 - m_0) / r + rho_1 (m_t - m_0)
 *
 * The scalars are computed in f32 in the reference's order: for many steps
 * rho loses digits by cancellation, and the digits lost are the reference's.
 */
#include "unipc.h"

#include <math.h>

typedef struct StepScalars {
    float x;                            /* sigma_t / sigma_s */
    float m;                            /* -alpha_t (e^-h - 1) */
    float r;
    float rho[2];                       /* of the corrector, order 2 */
} StepScalars;

static float lambda(float sigma)
{
    return logf(1.0f - sigma) - logf(sigma);
}

/* From level s to t; before is the level before s, used by order 2. t = 0 makes h infinite and the step x_t = m_0. */
static StepScalars step_scalars(float t, float s, float before, int order)
{
    float l0 = lambda(s), h = lambda(t) - l0, phi1 = expm1f(-h), phi, b[2];
    StepScalars c = { t / s, -((1.0f - t) * phi1), 1, { 0.5f, 0.5f } };

    if (order < 2)
        return c;
    c.r = (lambda(before) - l0) / h;
    phi = phi1 / -h - 1.0f;
    b[0] = phi / phi1;
    phi = phi / -h - 0.5f;
    b[1] = phi * 2.0f / phi1;
    /* [1 1; r 1] rho = b, by elimination with the larger pivot first */
    if (fabsf(c.r) <= 1) {
        c.rho[1] = (b[1] - c.r * b[0]) / (1.0f - c.r);
        c.rho[0] = b[0] - c.rho[1];
    } else {
        float f = 1.0f / c.r;

        c.rho[1] = (b[0] - f * b[1]) / (1.0f - f);
        c.rho[0] = (b[1] - c.rho[1]) / c.r;
    }
    return c;
}

/* Moves the step's start `last` to the corrected latents at t, now that mt is known. */
static void correct(const KlKernels *k, KlExec *ex, StepScalars c, int order, float *last, const float *m0,
                    const float *m1, const float *mt, int64_t n)
{
    double a1 = order < 2 ? 0 : (double)c.m * c.rho[0] / c.r, at = (double)c.m * c.rho[1];
    const float *x[4] = { last, m0, mt, m1 };
    double a[4] = { c.x, c.m - a1 - at, at, a1 };

    k->lincomb(ex, last, x, a, order < 2 ? 3 : 4, n);
}

static void predict(const KlKernels *k, KlExec *ex, StepScalars c, int order, float *z, const float *last,
                    const float *m0, const float *m1, int64_t n)
{
    double a1 = order < 2 ? 0 : c.m * 0.5 / c.r;
    const float *x[3] = { last, m0, m1 };
    double a[3] = { c.x, c.m - a1, a1 };

    k->lincomb(ex, z, x, a, order < 2 ? 2 : 3, n);
}

int kl_unipc_run(KlDiag *d, const KlKernels *k, KlExec *ex, const KlSamplerConfig *cfg, const double *sigmas,
                 const double *timesteps, float *z, int64_t n, KlVelocityFn velocity, KlStepFn step_fn, void *opaque)
{
    size_t bytes = (size_t)n * sizeof(float);
    float *m[3] = { 0 };                /* predictions at this step, the one before, and the one before that */
    float *last = NULL;                 /* corrected latents at the start of the last step */
    float *v = NULL;                    /* not in m, which change places: a velocity's memory is always the same */
    int ret = 0, order = 1;

    if (cfg->solver_order < 1 || cfg->solver_order > 2)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "UniPC: order %d is not implemented, only 1 and 2",
                       cfg->solver_order);
    last = k->mem_alloc(ex, bytes);
    v = k->mem_alloc(ex, bytes);
    for (int i = 0; i < 3; i++)
        m[i] = k->mem_alloc(ex, bytes);
    if (!last || !v || !m[0] || !m[1] || !m[2]) {
        ret = kl_fail_memory(d, "the sampler", 5 * bytes);
        goto end;
    }

    for (int i = 0; i < cfg->steps; i++) {
        float *now = m[2];

        if ((ret = kl_check_cancel(d)) || (ret = velocity(opaque, i, (float)timesteps[i], z, v)))
            break;
        k->lincomb(ex, now, (const float *const[]){ z, v }, (const double[]){ 1, -sigmas[i] }, 2, n);
        if (i == 0)
            k->mem_copy(ex, last, z, bytes);
        else
            correct(k, ex, step_scalars((float)sigmas[i], (float)sigmas[i - 1], i > 1 ? (float)sigmas[i - 2] : 0,
                                        order), order, last, m[0], m[1], now, n);
        m[2] = m[1];
        m[1] = m[0];
        m[0] = now;

        order = KL_MIN(cfg->solver_order, i + 1);
        /* the last step goes to noise level 0, where order 2 is not defined, whatever lower_order_final says */
        if (i == cfg->steps - 1 || (cfg->lower_order_final && cfg->steps - i < order))
            order = 1;
        predict(k, ex, step_scalars((float)sigmas[i + 1], (float)sigmas[i], i > 0 ? (float)sigmas[i - 1] : 0, order),
                order, z, last, m[0], m[1], n);
        if (step_fn)
            step_fn(opaque, i + 1, cfg->steps);
    }

end:
    for (int i = 0; i < 3; i++)
        k->mem_free(ex, m[i]);
    k->mem_free(ex, last);
    k->mem_free(ex, v);
    return ret;
}
