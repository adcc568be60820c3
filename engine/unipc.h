/*
 * The UniPC solver of the sampler (unipc.c); not for use beside sampler.c.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_UNIPC_H
#define KL_UNIPC_H

#include "sampler.h"

/** kl_sampler_run() for KLING_SAMPLER_UNIPC on a ready grid. */
int kl_unipc_run(KlDiag *d, const KlKernels *k, KlExec *ex, const KlSamplerConfig *cfg, const double *sigmas,
                 const double *timesteps, float *z, int64_t n, KlVelocityFn velocity, KlStepFn step_fn, void *opaque);

#endif /* KL_UNIPC_H */
