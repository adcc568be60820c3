/*
 * Noise equal to torch's generators.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_RNG_H
#define KL_RNG_H

#include "common.h"

/** out[n] = torch.randn(n, generator=torch.Generator("cpu").manual_seed(seed)) in f32: mt19937; n >= 16 takes
 *  torch's vectorised Box-Muller over blocks of 16 with its last block redrawn, n < 16 its scalar path. */
void kl_randn_cpu(float *out, int64_t n, uint64_t seed);

/** out[n] = torch.randn(n, device="cuda") after torch.cuda.manual_seed(seed), on a device that runs at most
 *  max_threads threads at once (multiprocessors x threads per multiprocessor): Philox 4x32-10, counter offset 0. */
void kl_randn_cuda(float *out, int64_t n, uint64_t seed, int64_t max_threads);
#define KL_CUDA_MAX_THREADS (132 * 2048)

/** Either of them. */
void kl_randn(enum KlingRng rng, float *out, int64_t n, uint64_t seed);

/** The seed of the i-th stream of numbers that belongs to a seed; the 0th is the seed itself, every other one output i
 *  of the splitmix64 generator that starts at it (Steele et al. 2014). Its halves are as good as the whole, which
 *  matters because torch's CPU generator takes the lower half alone. */
uint64_t kl_seed_stream(uint64_t seed, uint64_t i);

#endif /* KL_RNG_H */
