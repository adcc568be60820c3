/*
 * The plugin's one door: a device opened, a table filled.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <new>

#include "cuda.h"

#define OLDEST_CC 80                    /* bf16 on the tensor cores, cp.async */

static void close_state(KlCudaState *st)
{
    cudaSetDevice(st->device);
    if (st->copy) {
        kl_cuda_weights_close(st);
        cudaStreamSynchronize(st->copy);
        cudaStreamDestroy(st->copy);
    }
    if (st->passed)
        cudaEventDestroy(st->passed);
    if (st->pool)
        cudaMemPoolDestroy(st->pool);
    delete st;
}

static void table_close(KlKernels *k)
{
    if (k->state)
        close_state((KlCudaState *)k->state);
    k->state = NULL;
}

/* What a user can act on. */
static int find_device(const KlCudaParams *p, cudaDeviceProp *prop, char *why, size_t size)
{
    int n = 0, driver = 0, runtime = 0;
    cudaError_t e = cudaGetDeviceCount(&n);

    cudaGetLastError();
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (!driver)
        return snprintf(why, size, "no NVIDIA driver answers (libcuda.so.1)"), -1;
    if (e == cudaErrorInsufficientDriver)
        return snprintf(why, size, "the NVIDIA driver is for CUDA %d.%d; a driver for CUDA %d.%d or newer is needed",
                        driver / 1000, driver % 100 / 10, runtime / 1000, runtime % 100 / 10), -1;
    if (e == cudaErrorNoDevice || (e == cudaSuccess && n < 1))
        return snprintf(why, size, "the NVIDIA driver shows no GPU"), -1;
    if (e != cudaSuccess)
        return snprintf(why, size, "cudaGetDeviceCount: %s (%d)", cudaGetErrorString(e), (int)e), -1;
    if (p->device < 0 || p->device >= n)
        return snprintf(why, size, "there is no cuda:%d; this machine has cuda:0 to cuda:%d", p->device, n - 1), -1;
    if ((e = cudaGetDeviceProperties(prop, p->device)) != cudaSuccess)
        return snprintf(why, size, "cudaGetDeviceProperties: %s (%d)", cudaGetErrorString(e), (int)e), -1;
    if (prop->major * 10 + prop->minor < OLDEST_CC)
        return snprintf(why, size, "cuda:%d (%s) has compute capability %d.%d; %d.%d or newer is needed", p->device,
                        prop->name, prop->major, prop->minor, OLDEST_CC / 10, OLDEST_CC % 10), -1;
    return 0;
}

static uint64_t limit_of(const KlCudaParams *p, const cudaDeviceProp *prop)
{
    double bytes = p->vram > 1 ? p->vram : p->vram * (double)prop->totalGlobalMem;

    return p->vram > 0 && bytes < (double)prop->totalGlobalMem ? (uint64_t)bytes : UINT64_MAX;
}

static cudaError_t open_pool(KlCudaState *st)
{
    cudaMemPoolProps props;
    uint64_t keep = st->limit;          /* what was freed stays for the next use, until memory runs short */
    cudaError_t e;

    memset(&props, 0, sizeof(props));
    props.allocType = cudaMemAllocationTypePinned;
    props.location.type = cudaMemLocationTypeDevice;
    props.location.id = st->device;
    if ((e = cudaMemPoolCreate(&st->pool, &props)) != cudaSuccess)
        return e;
    return cudaMemPoolSetAttribute(st->pool, cudaMemPoolAttrReleaseThreshold, &keep);
}

static int cuda_open(KlKernels *k, const KlCudaParams *p, char *why, size_t size)
{
    KlCudaState *st = new (std::nothrow) KlCudaState();
    cudaError_t e;

    if (!st)
        return snprintf(why, size, "out of memory"), -1;
    if (find_device(p, &st->prop, why, size) < 0) {
        delete st;
        return -1;
    }
    st->device = p->device;
    st->wgmma = st->prop.major == 9 && !p->no_wgmma;
    st->limit = limit_of(p, &st->prop);
    st->pinnable = p->pinned_bytes;
    st->budget = p->weight_bytes > 0 ? p->weight_bytes : INT64_MAX / 2;
    if ((e = cudaSetDevice(st->device)) != cudaSuccess || (e = open_pool(st)) != cudaSuccess ||
        (e = cudaStreamCreateWithFlags(&st->copy, cudaStreamNonBlocking)) != cudaSuccess ||
        (e = cudaEventCreateWithFlags(&st->passed, cudaEventDisableTiming)) != cudaSuccess) {
        snprintf(why, size, "cuda:%d (%s) could not be opened: %s (%d)", p->device, st->prop.name,
                 cudaGetErrorString(e), (int)e);
        cudaGetLastError();
        close_state(st);
        return -1;
    }
    memset(k, 0, sizeof(*k));
    snprintf(k->name, sizeof(k->name), "cuda:%d (%.40s)", st->device, st->prop.name);
    k->state = st;
    k->ahead = 1;
    k->close = table_close;
    kl_cuda_init_exec(k);
    kl_cuda_init_replay(k);
    kl_cuda_init_weights(k);
    kl_cuda_init_rows(k);
    kl_cuda_init_eltwise(k);
    kl_cuda_init_layout(k);
    kl_cuda_init_linear(k);
    kl_cuda_init_quants(k);
    kl_cuda_init_attention(k);
    kl_cuda_init_conv(k);
    return 0;
}

extern "C" __attribute__((visibility("default"))) const KlCudaPlugin *kl_cuda_plugin(void)
{
    static const KlCudaPlugin plugin = { KL_CUDA_ABI, cuda_open };

    return &plugin;
}
