/*
 * Flow-matching samplers: from noise to latents by a velocity callback.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Formulas: diffusers' FlowMatchEulerDiscreteScheduler (shift) and
 * UniPCMultistepScheduler (flow_shift, use_flow_sigmas, prediction_type
 * flow_prediction, bh2, order 2). Never knows the transformer.
 */
#ifndef KL_SAMPLER_H
#define KL_SAMPLER_H

#include "common.h"
#include "kernels/kernels.h"

typedef struct KlSamplerConfig {
    enum KlingSampler kind;             /* EULER or UNIPC */
    int steps;                          /* >= 1 */
    double shift;
    int train_steps;                    /* 1000 */
    int solver_order;                   /* UniPC: 2 */
    bool lower_order_final;             /* UniPC: true */
} KlSamplerConfig;

/** Fills sigmas[steps+1] (last is 0) and timesteps[steps] as the reference scheduler does. */
void kl_sampler_grid(const KlSamplerConfig *cfg, double *sigmas, double *timesteps);

/** v = velocity at z for timestep t (0..1000), both n floats in executor memory, the same in every call of a run.
 *  Non-zero stops. */
typedef int (*KlVelocityFn)(void *opaque, int step, float t, const float *z, float *v);
/** After each step. */
typedef void (*KlStepFn)(void *opaque, int step_done, int steps);

/** Runs all steps in place on z[n] (executor memory). */
int kl_sampler_run(KlDiag *d, const KlKernels *k, KlExec *ex, const KlSamplerConfig *cfg, float *z, int64_t n,
                   KlVelocityFn velocity, KlStepFn step_fn, void *opaque);

#endif /* KL_SAMPLER_H */
