/*
 * A convolution on the device.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_CUDA_CONV_H
#define KL_CUDA_CONV_H

#include "cuda.h"

struct KlConvWeights {
    KlCudaState *st;
    int ic, oc, taps;                   /* taps = kt*kh*kw */
    float *w;                           /* [taps][IC][OC] */
    float *bias;                        /* [OC] or NULL */
};

struct KlConv {
    KlExec *ex;
    KlConvDesc d;
    int oR, oW;
    const KlConvWeights *cw;
    int icp;                            /* IC rounded up, of the bf16 operands; 0: f32 */
    uint16_t *half;                     /* weights in bf16, zeros behind IC: [OC][taps][icp], or as conv_wgmma.cu's */
    int tile;                           /* channels of its tiles; 0: conv_mma.cu multiplies */
};

/* Bytes of the bf16 copies of one call's input pictures. */
size_t kl_cuda_conv_mma_scratch(const KlConv *c);
/* Sets icp and half; false when out of memory. */
bool kl_cuda_conv_mma_pack(KlConv *c);

/* The same for sm_90a. Sets tile, too. */
bool kl_cuda_conv_wgmma_pack(KlConv *c);
/* Of the pictures that there are as operands [R,W,icp], and their place in time. False when half is not packed for
 * it. */
bool kl_cuda_conv_wgmma(KlExec *ex, const KlConv *c, float *out, const uint16_t *const *src, const int *t,
                        int pictures, const float *residual);

#endif /* KL_CUDA_CONV_H */
