/*
 * Executors and memory: a stream each, one pool per device.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "cuda.h"

bool kl_cuda_ok(KlExec *ex, cudaError_t e, const char *call)
{
    if (e == cudaSuccess)
        return true;
    if (!ex->failed) {
        int n = (int)strcspn(call, "(< ");

        if (*call == '(')               /* "(kernel<T>)" */
            n = 1 + (int)strcspn(call + 1, "(<) ");
        snprintf(ex->error, sizeof(ex->error), "%.*s on cuda:%d: %s (%d)", n - (*call == '('), call + (*call == '('),
                 ex->st->device, cudaGetErrorString(e), (int)e);
    }
    ex->failed = 1;
    return false;
}

void kl_cuda_failed(KlExec *ex, const char *fmt, ...)
{
    va_list ap;

    if (!ex->failed) {
        va_start(ap, fmt);
        vsnprintf(ex->error, sizeof(ex->error), fmt, ap);
        va_end(ap);
    }
    ex->failed = 1;
}

bool kl_cuda_enter(KlExec *ex)
{
    ex->half_of = NULL;
    return !ex->failed && KL_CUDA(ex, cudaSetDevice(ex->st->device));
}

uint64_t kl_cuda_taken(const KlCudaState *st)
{
    uint64_t used = 0;

    cudaMemPoolGetAttribute(st->pool, cudaMemPoolAttrUsedMemCurrent, &used);
    return used;
}

void *kl_cuda_take(KlCudaState *st, size_t bytes, cudaStream_t stream)
{
    void *p = NULL;

    if (st->limit != UINT64_MAX && (bytes > st->limit || kl_cuda_taken(st) > st->limit - bytes))
        return NULL;
    if (cudaMallocFromPoolAsync(&p, bytes, st->pool, stream) == cudaSuccess)
        return p;
    cudaGetLastError();                 /* lack of memory is an answer, not a fault that stays */
    return NULL;
}

static void exec_destroy(KlExec **pex)
{
    KlExec *ex = *pex;

    if (!ex)
        return;
    cudaSetDevice(ex->st->device);
    if (ex->stream)
        cudaStreamSynchronize(ex->stream);
    kl_cuda_gemm_close(ex);
    for (int i = 0; i < 2; i++) {
        if (ex->stage[i])
            cudaFreeHost(ex->stage[i]);
        if (ex->staged[i])
            cudaEventDestroy(ex->staged[i]);
    }
    if (ex->scratch)
        cudaFreeAsync(ex->scratch, ex->stream);
    if (ex->stream)
        cudaStreamDestroy(ex->stream);
    free(ex);
    *pex = NULL;
}

static int exec_create(const KlKernels *k, KlExec **pex, const KlExecParams *p)
{
    KlExec *ex = (KlExec *)calloc(1, sizeof(*ex));

    *pex = NULL;
    if (!ex)
        return -1;
    ex->st = (KlCudaState *)k->state;
    ex->precision = p->precision;
    ex->log = p->log;
    ex->log_opaque = p->opaque;
    if (!KL_CUDA(ex, cudaSetDevice(ex->st->device)) ||
        !KL_CUDA(ex, cudaStreamCreateWithFlags(&ex->stream, cudaStreamNonBlocking)) || !kl_cuda_gemm_open(ex)) {
        if (p->log)
            p->log(p->opaque, ex->error);
        exec_destroy(&ex);
        return -1;
    }
    *pex = ex;
    return 0;
}

static int exec_sync(KlExec *ex)
{
    if (!kl_cuda_enter(ex))
        return -1;
    return KL_CUDA(ex, cudaStreamSynchronize(ex->stream)) ? 0 : -1;
}

static const char *exec_error(const KlExec *ex)
{
    return ex->error;
}

/* Activations go before weights: what weights occupy is given up when nothing else is left. */
static void *take(KlExec *ex, size_t bytes)
{
    void *p;

    while (!(p = kl_cuda_take(ex->st, bytes, ex->stream)) && bytes <= ex->st->prop.totalGlobalMem &&
           bytes <= ex->st->limit) {
        cudaStreamSynchronize(ex->stream);
        cudaMemPoolTrimTo(ex->st->pool, 0);
        if ((p = kl_cuda_take(ex->st, bytes, ex->stream)) || !kl_cuda_weights_yield(ex->st, bytes))
            break;
    }
    return p;
}

static void *mem_alloc(KlExec *ex, size_t bytes)
{
    if (ex->failed || !KL_CUDA(ex, cudaSetDevice(ex->st->device)))
        return NULL;
    return bytes > SIZE_MAX - 256 ? NULL : take(ex, bytes ? bytes : 1);
}

static void mem_free(KlExec *ex, void *p)
{
    if (!p)
        return;
    cudaSetDevice(ex->st->device);
    KL_CUDA(ex, cudaFreeAsync(p, ex->stream));
}

static int exec_reserve(KlExec *ex, size_t bytes)
{
    void *p;

    if (bytes <= ex->scratch_bytes)
        return 0;
    p = mem_alloc(ex, bytes);
    if (!p)
        return -1;
    mem_free(ex, ex->scratch);
    ex->half_of = NULL;
    ex->scratch = (uint8_t *)p;
    ex->scratch_bytes = bytes;
    return 0;
}

static int64_t mem_available(const KlKernels *k)
{
    KlCudaState *st = (KlCudaState *)k->state;
    size_t left = 0, total = 0;
    uint64_t reserved = 0, used = 0;

    cudaSetDevice(st->device);
    if (cudaMemGetInfo(&left, &total) != cudaSuccess ||
        cudaMemPoolGetAttribute(st->pool, cudaMemPoolAttrReservedMemCurrent, &reserved) != cudaSuccess)
        return INT64_MAX;
    used = kl_cuda_taken(st);
    left += reserved - used;
    if (left > st->limit - (used < st->limit ? used : st->limit))
        left = st->limit - (used < st->limit ? used : st->limit);
    std::lock_guard<std::mutex> hold(st->lock);
    return kl_cuda_spare(st, (int64_t)left + st->resident);         /* weights yield to activations */
}

static int mem_upload(KlExec *ex, void *dst, const void *host, size_t bytes)
{
    if (!kl_cuda_enter(ex))
        return -1;
    KL_ON_DEVICE(dst);
    /* From pageable memory: staged before the call returns. */
    return !bytes || KL_CUDA(ex, cudaMemcpyAsync(dst, host, bytes, cudaMemcpyHostToDevice, ex->stream)) ? 0 : -1;
}

static bool open_stage(KlExec *ex)
{
    for (int i = 0; i < 2; i++) {
        if (!ex->stage[i] && cudaMallocHost(&ex->stage[i], KL_CUDA_STAGE) != cudaSuccess) {
            cudaGetLastError();
            ex->stage[i] = NULL;
            return false;
        }
        if (!ex->staged[i] && !KL_CUDA(ex, cudaEventCreateWithFlags(&ex->staged[i], cudaEventDisableTiming)))
            return false;
    }
    return true;
}

/* Through two pinned buffers: while one is copied out by the CPU the device fills the other. */
static bool download_staged(KlExec *ex, char *host, const char *src, size_t bytes)
{
    size_t chunks = (bytes + KL_CUDA_STAGE - 1) / KL_CUDA_STAGE;

    for (size_t i = 0; i <= chunks; i++) {
        if (i < chunks) {
            size_t at = i * KL_CUDA_STAGE, n = bytes - at < KL_CUDA_STAGE ? bytes - at : KL_CUDA_STAGE;

            if (!KL_CUDA(ex, cudaMemcpyAsync(ex->stage[i % 2], src + at, n, cudaMemcpyDeviceToHost, ex->stream)) ||
                !KL_CUDA(ex, cudaEventRecord(ex->staged[i % 2], ex->stream)))
                return false;
        }
        if (i) {
            size_t at = (i - 1) * KL_CUDA_STAGE, n = bytes - at < KL_CUDA_STAGE ? bytes - at : KL_CUDA_STAGE;

            if (!KL_CUDA(ex, cudaEventSynchronize(ex->staged[(i - 1) % 2])))
                return false;
            memcpy(host + at, ex->stage[(i - 1) % 2], n);
        }
    }
    return true;
}

static int mem_download(KlExec *ex, void *host, const void *src, size_t bytes)
{
    if (!kl_cuda_enter(ex))
        return -1;
    if (!bytes)
        return exec_sync(ex);
    KL_ON_DEVICE(src);
    if (open_stage(ex))
        return download_staged(ex, (char *)host, (const char *)src, bytes) ? 0 : -1;
    if (ex->failed || !KL_CUDA(ex, cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, ex->stream)))
        return -1;
    return exec_sync(ex);
}

static void mem_copy(KlExec *ex, void *dst, const void *src, size_t bytes)
{
    if (kl_cuda_enter(ex) && bytes)
        KL_CUDA(ex, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, ex->stream));
}

static void mem_zero(KlExec *ex, void *dst, size_t bytes)
{
    if (kl_cuda_enter(ex) && bytes)
        KL_CUDA(ex, cudaMemsetAsync(dst, 0, bytes, ex->stream));
}

void kl_cuda_init_exec(KlKernels *k)
{
    k->exec_create   = exec_create;
    k->exec_destroy  = exec_destroy;
    k->exec_sync     = exec_sync;
    k->exec_error    = exec_error;
    k->exec_reserve  = exec_reserve;
    k->mem_available = mem_available;
    k->mem_alloc     = mem_alloc;
    k->mem_free      = mem_free;
    k->mem_upload    = mem_upload;
    k->mem_download  = mem_download;
    k->mem_copy      = mem_copy;
    k->mem_zero      = mem_zero;
}
