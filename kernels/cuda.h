/*
 * The CUDA table: a library of its own, opened at run time.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * libkling needs no part of CUDA to be built or to start. kernels/cuda/ is
 * compiled by nvcc into libkling_cuda.so, which lies beside libkling.so and
 * gives out one function. Both sides compare KL_CUDA_ABI, made from the text
 * of kernels.h, before anything else is read.
 */
#ifndef KL_CUDA_H
#define KL_CUDA_H

#include <stdbool.h>

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct KlCudaParams {
    int device;                         /* 0.. */
    double vram;                        /* of the device's memory that the table may take: a share up to 1, or bytes.
                                           Weights that do not fit beside the activations are copied from the host for
                                           every use. 0: as much as there is */
    int64_t weight_bytes;               /* likewise, that weights may keep */
    int64_t pinned_bytes;               /* of the host's memory that copies of weights for the device may pin. 0: half
                                           of what is available when the table opens */
    bool no_wgmma;                      /* for proofs and comparisons: no products of warpgroups */
    const char *plugin;                 /* file to open; NULL: libkling_cuda.so beside libkling */
} KlCudaParams;

/** Fills the table with the CUDA one. Negative, with one line in why[size], when the plugin, a driver or the device
 *  is missing, too old, or of another build; the table is then not touched. */
int kl_kernels_init_cuda(KlKernels *k, const KlCudaParams *p, char *why, size_t size);

/* What kl_cuda_plugin() of the library returns. abi never moves. */
typedef struct KlCudaPlugin {
    uint64_t abi;                       /* KL_CUDA_ABI */
    int (*open)(KlKernels *k, const KlCudaParams *p, char *why, size_t size);   /* as kl_kernels_init_cuda */
} KlCudaPlugin;
typedef const KlCudaPlugin *KlCudaPluginFn(void);
#define KL_CUDA_PLUGIN_SYMBOL "kl_cuda_plugin"

#ifdef __cplusplus
}
#endif

#endif /* KL_CUDA_H */
