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
    cudaGetLastError();                 /* or the thread's next launch, be it of another executor, would report it */
    if (ex->recording) {                /* issued once more, it may go, or fail for good */
        ex->unfit = true;
        return false;
    }
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

    if (ex->recording) {
        ex->unfit = true;
        return;
    }
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

/* Among the state's executors, for those who must wait for all of them. */
static void list_in(KlExec *ex)
{
    std::lock_guard<std::mutex> hold(ex->st->lock);

    if ((ex->next = ex->st->execs))
        ex->next->prev = ex;
    ex->st->execs = ex;
}

static void list_out(KlExec *ex)
{
    std::lock_guard<std::mutex> hold(ex->st->lock);

    if (ex->prev)
        ex->prev->next = ex->next;
    else if (ex->st->execs == ex)
        ex->st->execs = ex->next;
    if (ex->next)
        ex->next->prev = ex->prev;
}

static void close_reads(KlExec *ex)
{
    if (ex->out) {
        cudaStreamSynchronize(ex->out);
        cudaStreamDestroy(ex->out);
    }
    if (ex->made)
        cudaEventDestroy(ex->made);
    for (int i = 0; i < KL_CUDA_READS; i++)
        if (ex->read[i])
            cudaEventDestroy(ex->read[i]);
}

static void close_room(KlExec *ex)
{
    for (int i = 0; i < KL_CUDA_UPLOADS; i++)
        if (ex->uploaded[i]) {
            cudaEventSynchronize(ex->uploaded[i]);      /* where waiting for the stream has failed */
            cudaEventDestroy(ex->uploaded[i]);
        }
    if (ex->room)
        cudaFreeHost(ex->room);
}

static void exec_destroy(KlExec **pex)
{
    KlExec *ex = *pex;

    if (!ex)
        return;
    cudaSetDevice(ex->st->device);
    if (ex->base)
        cudaStreamSynchronize(ex->base);
    list_out(ex);
    kl_cuda_gemm_close(ex);
    close_reads(ex);
    close_room(ex);
    kl_cuda_pace_close(ex);
    for (int i = 0; i < 2; i++) {
        if (ex->stage[i])
            cudaFreeHost(ex->stage[i]);
        if (ex->staged[i])
            cudaEventDestroy(ex->staged[i]);
    }
    if (ex->scratch)
        cudaFreeAsync(ex->scratch, ex->stream);
    if (ex->record)
        cudaStreamDestroy(ex->record);
    if (ex->base)
        cudaStreamDestroy(ex->base);
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
        !KL_CUDA(ex, cudaStreamCreateWithFlags(&ex->base, cudaStreamNonBlocking)) || !kl_cuda_gemm_open(ex)) {
        if (p->log)
            p->log(p->opaque, ex->error);
        exec_destroy(&ex);
        return -1;
    }
    ex->stream = ex->base;
    list_in(ex);
    *pex = ex;
    return 0;
}

static int exec_sync(KlExec *ex)
{
    if (!kl_cuda_enter(ex))
        return -1;
    return KL_CUDA(ex, cudaStreamSynchronize(ex->stream)) &&
           (!ex->out || KL_CUDA(ex, cudaStreamSynchronize(ex->out))) ? 0 : -1;
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
        if (!KL_CUDA(ex, cudaStreamSynchronize(ex->stream)))
            return NULL;
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

/* Page-locked room for small uploads, so that none of them waits for the device: those of a step must not. */
static bool open_room(KlExec *ex)
{
    for (int i = 0; i < KL_CUDA_UPLOADS; i++)
        if (!ex->uploaded[i] && !KL_CUDA(ex, cudaEventCreateWithFlags(&ex->uploaded[i], cudaEventDisableTiming)))
            return false;
    if (!ex->room && cudaMallocHost(&ex->room, KL_CUDA_UPLOADS * KL_CUDA_UPLOAD) != cudaSuccess) {
        cudaGetLastError();
        ex->room = NULL;
    }
    return ex->room != NULL;
}

static bool upload_small(KlExec *ex, void *dst, const void *host, size_t bytes)
{
    const int slot = (int)(ex->uploads++ % KL_CUDA_UPLOADS);
    char *at = (char *)ex->room + (size_t)slot * KL_CUDA_UPLOAD;

    if (ex->uploads > KL_CUDA_UPLOADS && !KL_CUDA(ex, cudaEventSynchronize(ex->uploaded[slot])))
        return false;
    memcpy(at, host, bytes);
    return KL_CUDA(ex, cudaMemcpyAsync(dst, at, bytes, cudaMemcpyHostToDevice, ex->stream)) &&
           KL_CUDA(ex, cudaEventRecord(ex->uploaded[slot], ex->stream));
}

static int mem_upload(KlExec *ex, void *dst, const void *host, size_t bytes)
{
    if (!kl_cuda_enter(ex))
        return -1;
    KL_ON_DEVICE(dst);
    if (!bytes)
        return 0;
    if (bytes <= KL_CUDA_UPLOAD && open_room(ex))
        return upload_small(ex, dst, host, bytes) ? 0 : -1;
    /* whether pageable memory is read before or after the return is the driver's affair */
    return !ex->failed && KL_CUDA(ex, cudaMemcpyAsync(dst, host, bytes, cudaMemcpyHostToDevice, ex->stream)) &&
           KL_CUDA(ex, cudaStreamSynchronize(ex->stream)) ? 0 : -1;
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

/* -- reads beside the work: on a stream of their own -- */

static void *mem_host_alloc(KlExec *ex, size_t bytes)
{
    void *p = NULL;

    if (ex->failed || !KL_CUDA(ex, cudaSetDevice(ex->st->device)))
        return NULL;
    if (cudaMallocHost(&p, bytes ? bytes : 1) == cudaSuccess)
        return p;
    cudaGetLastError();
    return NULL;
}

static void mem_host_free(KlExec *ex, void *host)
{
    if (!host)
        return;
    cudaSetDevice(ex->st->device);
    if (ex->out)
        cudaStreamSynchronize(ex->out);
    cudaFreeHost(host);
}

static bool open_reads(KlExec *ex)
{
    if (ex->out)
        return true;
    for (int i = 0; i < KL_CUDA_READS; i++)
        if (!ex->read[i] && !KL_CUDA(ex, cudaEventCreateWithFlags(&ex->read[i], cudaEventDisableTiming)))
            return false;
    return (ex->made || KL_CUDA(ex, cudaEventCreateWithFlags(&ex->made, cudaEventDisableTiming))) &&
           KL_CUDA(ex, cudaStreamCreateWithFlags(&ex->out, cudaStreamNonBlocking));
}

static int64_t mem_read(KlExec *ex, void *host, const void *src, size_t bytes)
{
    const int64_t ticket = ex->reads + 1;
    cudaEvent_t done;

    if (!kl_cuda_enter(ex) || !open_reads(ex))
        return -1;
    KL_ON_DEVICE(src);
    done = ex->read[ticket % KL_CUDA_READS];
    /* the event's last read must be over before it stands for another */
    if ((ticket > KL_CUDA_READS && !KL_CUDA(ex, cudaEventSynchronize(done))) ||
        !KL_CUDA(ex, cudaEventRecord(ex->made, ex->stream)) ||
        !KL_CUDA(ex, cudaStreamWaitEvent(ex->out, ex->made, 0)) ||
        (bytes && !KL_CUDA(ex, cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, ex->out))) ||
        !KL_CUDA(ex, cudaEventRecord(done, ex->out)))
        return -1;
    return ex->reads = ticket;
}

static int mem_read_wait(KlExec *ex, int64_t ticket)
{
    if (!kl_cuda_enter(ex))
        return -1;
    if (ticket < 1 || ticket > ex->reads || ticket <= ex->reads - KL_CUDA_READS)
        return 0;                       /* none, or over already: see mem_read */
    return KL_CUDA(ex, cudaEventSynchronize(ex->read[ticket % KL_CUDA_READS])) ? 0 : -1;
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
    k->mem_host_alloc = mem_host_alloc;
    k->mem_host_free = mem_host_free;
    k->mem_read      = mem_read;
    k->mem_read_wait = mem_read_wait;
    k->mem_copy      = mem_copy;
    k->mem_zero      = mem_zero;
}
