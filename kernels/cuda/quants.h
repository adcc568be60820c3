/*
 * Weights that are not whole floats, on the device.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_CUDA_QUANTS_H
#define KL_CUDA_QUANTS_H

#include "cuda.h"

/** out[N,Kp] = w[N,K] in bf16 (half) or f32, zeros behind K; data and scale lie on the device. K == Kp for GGUF's
 *  blocks. */
void kl_cuda_widen(KlExec *ex, void *out, bool half, const KlWeight *w, const void *data, const float *scale,
                   int64_t N, int64_t K, int64_t Kp);
/** y[M,N] (stride ldy) = x w^T with w in int8, as KlLinear says of it; scratch as kl_cuda_int8_scratch(). */
void kl_cuda_int8(KlExec *ex, float *y, int64_t ldy, const float *x, int64_t ldx, const KlWeight *w,
                  const void *data, const float *scale, int64_t M, int64_t N, int64_t K, void *scratch);
size_t kl_cuda_int8_scratch(int64_t M, int64_t K);

#endif /* KL_CUDA_QUANTS_H */
