/*
 * Which table of kernels a model runs on.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "device.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/cuda.h"

#define LEAST_VRAM (1 << 20)            /* bytes; less is a unit forgotten */

/* N of "cuda:N", 0 of "cuda"; -1 for anything else. */
static int cuda_number(const char *device)
{
    char *end;
    long n;

    if (!strcmp(device, "cuda"))
        return 0;
    if (strncmp(device, "cuda:", 5) || device[5] < '0' || device[5] > '9')
        return -1;
    n = strtol(device + 5, &end, 10);
    return *end || n > 1023 ? -1 : (int)n;
}

int kl_device_open(KlDiag *d, KlKernels *k, const char *device, const KlDeviceParams *params)
{
    const bool any = !device || !*device || !strcmp(device, "auto");
    const double vram = params->vram;
    KlCudaParams p = { .vram = vram, .plugin = params->plugin, .no_wgmma = params->no_wgmma };
    char why[400];

    if (!(vram >= 0) || (vram > 1 && vram < LEAST_VRAM))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "vram %g: must be a share of the device's memory up to 1, or bytes, "
                       "at least 1 MiB, such as 8G; 0 is all of it", vram);

    /* Until the CUDA table has run on a GPU, only who names it gets it. */
    if (!any && strcmp(device, "cpu")) {
        p.device = cuda_number(device);
        if (p.device < 0)
            return kl_fail(d, KLING_ERROR_INVALID_ARG, "unknown device '%s': auto, cpu, cuda or cuda:N", device);
        if (kl_kernels_init_cuda(k, &p, why, sizeof(why)) >= 0) {
            kl_log(d, KLING_LOG_WARNING, "%s: the CUDA kernels have never run on a GPU; device=cpu is proven", k->name);
            return KLING_OK;
        }
        return kl_fail(d, KLING_ERROR_DEVICE, "device %s: %s; use device=cpu", device, why);
    }
    if (vram > 0)
        kl_log(d, KLING_LOG_WARNING, "vram limits a GPU's memory; device=%s has none and does not heed it",
               any ? "auto" : device);
    kl_kernels_init_cpu(k, KL_CPU_ALL);
    return KLING_OK;
}
