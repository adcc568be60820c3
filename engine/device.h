/*
 * Which table of kernels a model runs on.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The one place that knows their names; everything after it knows a table.
 */
#ifndef KL_DEVICE_H
#define KL_DEVICE_H

#include "common.h"
#include "kernels/kernels.h"

typedef struct KlDeviceParams {
    double vram;                        /* KlingModelParams.vram */
    const char *plugin;                 /* the CUDA table's file; NULL: the one beside libkling */
    bool no_wgmma;                      /* KlCudaParams.no_wgmma */
} KlDeviceParams;

/** Fills k for "cpu", "cuda", "cuda:N", or "auto" (NULL, ""): cpu, until the CUDA table has run on a GPU. An error's
 *  sentence says what is missing. Freed with k->close(). */
int kl_device_open(KlDiag *d, KlKernels *k, const char *device, const KlDeviceParams *params);

#endif /* KL_DEVICE_H */
