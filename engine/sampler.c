/*
 * Flow-matching samplers: the grids of noise levels, and Euler's method.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * At noise level sigma the latents are z = (1 - sigma) x0 + sigma noise, and
 * the transformer predicts the velocity v = noise - x0. The reference's habits
 * that change numbers are kept, and named where they happen.
 */
#include "sampler.h"

#include <math.h>
#include <stdlib.h>

#include "unipc.h"

static double shifted(double sigma, double shift)
{
    return shift * sigma / (1 + (shift - 1) * sigma);
}

/* numpy's linspace(start, stop, n)[i] */
static double linspace(double start, double stop, int n, int i)
{
    if (i == 0)
        return start;
    return i == n - 1 ? stop : i * ((stop - start) / (n - 1)) + start;
}

/* FlowMatchEulerDiscreteScheduler shifts its smallest noise level when it is made, spaces the levels evenly down to
 * that, and then shifts them all: the last level is shifted twice. Timesteps are f32 and not rounded to integers. */
static void grid_euler(const KlSamplerConfig *cfg, double *sigmas, double *timesteps)
{
    float train = (float)cfg->train_steps, shift = (float)cfg->shift, min = 1.0f / train;

    min = shift * min / (1.0f + (float)(cfg->shift - 1) * min);
    for (int i = 0; i < cfg->steps; i++) {
        double t = linspace(cfg->train_steps, (double)min * cfg->train_steps, cfg->steps, i);
        float sigma = (float)shifted(t / cfg->train_steps, cfg->shift);

        sigmas[i] = sigma;
        timesteps[i] = sigma * train;
    }
}

/* UniPCMultistepScheduler with use_flow_sigmas. A first level of 1 is moved to 1 - 1e-6, since its logarithmic
 * signal-to-noise ratio would be infinite; timesteps are cut to integers, so the first one is 999, not 1000. */
static void grid_unipc(const KlSamplerConfig *cfg, double *sigmas, double *timesteps)
{
    for (int i = 0; i < cfg->steps; i++) {
        double sigma = shifted(linspace(1, 1.0 / cfg->train_steps, cfg->steps + 1, i), cfg->shift);

        if (i == 0 && fabs(sigma - 1) < 1e-6)
            sigma -= 1e-6;
        sigmas[i] = (float)sigma;
        timesteps[i] = trunc(sigma * cfg->train_steps);
    }
}

void kl_sampler_grid(const KlSamplerConfig *cfg, double *sigmas, double *timesteps)
{
    if (cfg->kind == KLING_SAMPLER_UNIPC)
        grid_unipc(cfg, sigmas, timesteps);
    else
        grid_euler(cfg, sigmas, timesteps);
    sigmas[cfg->steps] = 0;
}

static int run_euler(KlDiag *d, const KlKernels *k, KlExec *ex, const KlSamplerConfig *cfg, const double *sigmas,
                     const double *timesteps, float *z, int64_t n, KlVelocityFn velocity, KlStepFn step_fn,
                     void *opaque)
{
    float *v = k->mem_alloc(ex, (size_t)n * sizeof(*v));
    int ret = 0;

    if (!v)
        return kl_fail_memory(d, "the sampler", (size_t)n * sizeof(*v));
    for (int i = 0; i < cfg->steps; i++) {
        float dt = (float)sigmas[i + 1] - (float)sigmas[i];

        if ((ret = kl_check_cancel(d)) || (ret = velocity(opaque, i, (float)timesteps[i], z, v)))
            break;
        k->lincomb(ex, z, (const float *const[]){ z, v }, (const double[]){ 1, dt }, 2, n);
        if (step_fn)
            step_fn(opaque, i + 1, cfg->steps);
    }
    k->mem_free(ex, v);
    return ret;
}

int kl_sampler_run(KlDiag *d, const KlKernels *k, KlExec *ex, const KlSamplerConfig *cfg, float *z, int64_t n,
                   KlVelocityFn velocity, KlStepFn step_fn, void *opaque)
{
    double *grid;
    int ret;

    if (cfg->steps < 1 || cfg->steps > 100000 || cfg->train_steps < 1 || !(cfg->shift > 0) || !isfinite(cfg->shift))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "sampler: %d steps with shift %g cannot be run", cfg->steps,
                       cfg->shift);
    grid = malloc((2 * (size_t)cfg->steps + 1) * sizeof(*grid));
    if (!grid)
        return kl_fail_memory(d, "the sampler's grid", (2 * (size_t)cfg->steps + 1) * sizeof(*grid));
    kl_sampler_grid(cfg, grid, grid + cfg->steps + 1);
    ret = (cfg->kind == KLING_SAMPLER_UNIPC ? kl_unipc_run : run_euler)
        (d, k, ex, cfg, grid, grid + cfg->steps + 1, z, n, velocity, step_fn, opaque);
    free(grid);
    return ret;
}
