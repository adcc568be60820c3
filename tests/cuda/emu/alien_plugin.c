/*
 * A CUDA plugin of another build: it must be refused before it is called.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdlib.h>

#include "kernels/cuda.h"

static int called(KlKernels *k, const KlCudaParams *p, char *why, size_t size)
{
    (void)k, (void)p, (void)why, (void)size;
    abort();
}

__attribute__((visibility("default"))) const KlCudaPlugin *kl_cuda_plugin(void);
const KlCudaPlugin *kl_cuda_plugin(void)
{
    static const KlCudaPlugin plugin = { KL_CUDA_ABI + 1, called };

    return &plugin;
}
