/*
 * Weights on the device: resident while they fit, else streamed.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A bound weight goes to the device when a product first uses it, and stays
 * if the budget and the memory allow. What does not fit is copied through one
 * of a few slots for every use, from pinned memory (as much of it as the host
 * can spare), on a stream of its own;
 * as a model uses its weights in the same order again and again, the next one
 * is already on its way while this one multiplies.
 *
 * Resident weights that have not been used while every other one was (a text
 * encoder's, once its prompt is encoded) make room for those in use. Memory
 * that activations ask for is taken from weights when nothing else is left.
 */
#include "cuda.h"

#define LOOK_AHEAD 4096                 /* weights followed to find the next that is not resident */

/* The bound weight behind w; NULL when its data lies in an executor's memory (quantize_rows). Under the lock. */
static KlCudaWeight *bound(const KlCudaState *st, const KlWeight *w)
{
    return st->handles.count(w->data) ? (KlCudaWeight *)w->data : NULL;
}

/* Not cudaDeviceSynchronize(), which is an error while another executor captures. */
void kl_cuda_settle(KlCudaState *st)
{
    for (KlExec *ex = st->execs; ex; ex = ex->next)
        cudaStreamSynchronize(ex->base);
    cudaStreamSynchronize(st->copy);
    st->unsettled = false;
}

/* Waits for whoever may still read a weight. Under the lock. */
static void settle(KlCudaState *st)
{
    if (st->unsettled)
        kl_cuda_settle(st);
}

static void drop(KlCudaState *st, KlCudaWeight *w)
{
    if (!w->dev)
        return;
    st->moves++;
    cudaFreeAsync(w->dev, st->copy);
    w->dev = NULL;
    st->resident -= (int64_t)w->bytes;
}

/* Frees the weight that has rested longest, if for at least `rest` uses; false when there is none. Under the lock. */
static bool drop_oldest(KlCudaState *st, int64_t rest)
{
    KlCudaWeight *oldest = NULL;

    for (KlCudaWeight *w = st->weights; w; w = w->next)
        if (w->dev && st->tick - w->used >= rest && (!oldest || w->used < oldest->used))
            oldest = w;
    if (!oldest)
        return false;
    settle(st);
    drop(st, oldest);
    return true;
}

bool kl_cuda_weights_yield(KlCudaState *st, size_t bytes)
{
    std::lock_guard<std::mutex> hold(st->lock);
    int64_t before = st->resident;

    while (before - st->resident < (int64_t)bytes && drop_oldest(st, 0))
        ;
    if (st->resident < before)
        cudaStreamSynchronize(st->copy);
    return st->resident < before;
}

/* Memory for a weight that shall stay; idle ones make room. */
static void *take_resident(KlCudaState *st, size_t bytes)
{
    void *p;

    while (st->resident + (int64_t)bytes > st->budget)
        if (!drop_oldest(st, st->count))
            return NULL;
    while (!(p = kl_cuda_take(st, bytes, st->copy)))
        if (!drop_oldest(st, st->count))
            return NULL;
    return p;
}

static bool make_resident(KlExec *ex, KlCudaWeight *w)
{
    KlCudaState *st = ex->st;

    if (!(w->dev = take_resident(st, w->bytes)))
        return false;
    st->resident += (int64_t)w->bytes;
    if (!KL_CUDA(ex, cudaMemcpyAsync(w->dev, w->host, w->bytes, cudaMemcpyHostToDevice, st->copy)) ||
        !KL_CUDA(ex, cudaStreamSynchronize(st->copy))) {
        drop(st, w);
        return false;
    }
    return true;
}

/* -- streaming -- */

/* Whether s can hold any weight: its memory is taken here, from resident ones where nothing else is left. */
static bool slot_fits(KlExec *ex, KlCudaSlot *s)
{
    KlCudaState *st = ex->st;

    if (!s->ready && !KL_CUDA(ex, cudaEventCreateWithFlags(&s->ready, cudaEventDisableTiming)))
        return false;
    if (s->bytes >= st->largest)
        return true;
    if (s->dev)
        cudaFreeAsync(s->dev, st->copy);
    s->w = NULL;
    s->bytes = 0;
    while (!(s->dev = kl_cuda_take(st, st->largest, st->copy)))
        if (!drop_oldest(st, 0))
            return false;
    s->bytes = st->largest;
    return true;
}

/* A copy of w that the device can read by itself, while the host can spare the memory; else copies are slower. The
 * weights' own memory is a file's read-only mapping, which CUDA does not register everywhere (it refuses it, and where
 * cudaHostRegisterReadOnly is not supported, that as well). */
static void pin(KlCudaState *st, KlCudaWeight *w)
{
    if (w->pinned || (int64_t)w->bytes > st->pinnable)
        return;
    if (cudaMallocHost(&w->pinned, w->bytes) == cudaSuccess) {
        memcpy(w->pinned, w->host, w->bytes);
        st->pinnable -= (int64_t)w->bytes;
    } else {
        cudaGetLastError();
        w->pinned = NULL;
    }
}

/* Starts the copy of w into slot s; the copying stream has been told to wait for the slot's last user. */
static bool send(KlExec *ex, KlCudaSlot *s, KlCudaWeight *w)
{
    KlCudaState *st = ex->st;

    pin(st, w);
    st->streamed += (int64_t)w->bytes;
    s->w = NULL;
    if (!KL_CUDA(ex, cudaMemcpyAsync(s->dev, w->pinned ? w->pinned : w->host, w->bytes, cudaMemcpyHostToDevice,
                                     st->copy)) || !KL_CUDA(ex, cudaEventRecord(s->ready, st->copy)))
        return false;
    s->w = w;
    return true;
}

int64_t kl_cuda_spare(const KlCudaState *st, int64_t room)
{
    int64_t slots = 0;

    if (st->bound > room)
        for (int i = 0; i < KL_CUDA_SLOTS; i++)
            if (st->slot[i].bytes < st->largest)
                slots += (int64_t)st->largest;
    return room > slots ? room - slots : 0;
}

static KlCudaSlot *slot_of(KlCudaState *st, const KlCudaWeight *w)
{
    for (int i = 0; i < KL_CUDA_SLOTS; i++)
        if (st->slot[i].w == w)
            return &st->slot[i];
    return NULL;
}

/* The weight that will be streamed next after w, as far as the last time tells; NULL when unknown. */
static KlCudaWeight *following(const KlCudaWeight *w)
{
    KlCudaWeight *f = w->after;

    for (int i = 0; f && f->dev && i < LOOK_AHEAD; i++)
        f = f->after;
    return f && !f->dev && f != w ? f : NULL;
}

/* A slot for the next weight, not `busy`: one that holds none, else that of one which has been used; NULL when there
 * is no memory for any. */
static KlCudaSlot *choose_slot(KlExec *ex, const KlCudaSlot *busy)
{
    for (int held = 0; held < 2; held++)
        for (int i = 0; i < KL_CUDA_SLOTS; i++) {
            KlCudaSlot *s = &ex->st->slot[i];

            if (s != busy && !!s->w == held && slot_fits(ex, s))
                return s;
        }
    return NULL;
}

/* Without memory for a second slot each weight is waited for. */
static void prefetch(KlExec *ex, const KlCudaWeight *w, const KlCudaSlot *busy)
{
    KlCudaWeight *f = following(w);
    KlCudaSlot *s;

    if (f && !slot_of(ex->st, f) && (s = choose_slot(ex, busy)))
        send(ex, s, f);
}

static const void *use_streamed(KlExec *ex, KlCudaWeight *w)
{
    KlCudaState *st = ex->st;
    KlCudaSlot *s = slot_of(st, w);

    if (!s) {
        if (!(s = choose_slot(ex, NULL))) {
            kl_cuda_failed(ex, "cuda:%d: out of memory: a weight of %zu bytes cannot even be streamed; %s, or the clip "
                           "is too large for it", st->device, st->largest, st->limit != UINT64_MAX ?
                           "vram is too small" : "other programs may hold the device's memory");
            return NULL;
        }
        if (!send(ex, s, w))
            return NULL;
    }
    if (!KL_CUDA(ex, cudaStreamWaitEvent(ex->stream, s->ready, 0)))
        return NULL;
    prefetch(ex, w, s);
    return s->dev;
}

void kl_cuda_weight_touch(KlCudaState *st, KlCudaWeight *w)
{
    w->used = ++st->tick;
    if (st->last)
        st->last->after = w;
    st->last = w;
}

const void *kl_cuda_weight_use(KlExec *ex, const KlWeight *kw)
{
    KlCudaState *st = ex->st;
    KlCudaWeight *w;
    const void *at;

    st->lock.lock();
    if (!(w = bound(st, kw)))
        return kw->data;
    if (ex->recording) {
        kl_cuda_replay_note(ex, w);
        return w->dev;
    }
    kl_cuda_weight_touch(st, w);
    at = w->dev || make_resident(ex, w) ? w->dev : ex->failed ? NULL : use_streamed(ex, w);
    st->unsettled = true;               /* last: making room for it may have waited for what was used before */
    return at;
}

void kl_cuda_weight_done(KlExec *ex, const KlWeight *kw)
{
    KlCudaState *st = ex->st;
    KlCudaWeight *w = bound(st, kw);

    /* Later copies wait for this use. The next weight's has been started before. */
    if (w && !w->dev && !ex->recording && !ex->failed && KL_CUDA(ex, cudaEventRecord(st->passed, ex->stream)))
        KL_CUDA(ex, cudaStreamWaitEvent(st->copy, st->passed, 0));
    st->lock.unlock();
}

const float *kl_cuda_weight_scale(KlExec *ex, const KlWeight *kw)
{
    KlCudaWeight *w = bound(ex->st, kw);

    return w ? w->scale : kw->scale;
}

/* -- binding -- */

/* A copy of n floats on the device, done on return; NULL when out of memory. */
static float *send_floats(KlCudaState *st, const float *host, int64_t n)
{
    size_t bytes = (size_t)n * sizeof(*host);
    void *dev;

    if (cudaSetDevice(st->device) != cudaSuccess || !(dev = kl_cuda_take(st, bytes ? bytes : 1, st->copy)))
        return NULL;
    if (cudaMemcpyAsync(dev, host, bytes, cudaMemcpyHostToDevice, st->copy) == cudaSuccess &&
        cudaStreamSynchronize(st->copy) == cudaSuccess)
        return (float *)dev;
    cudaFreeAsync(dev, st->copy);
    return NULL;
}

static int weight_bind(const KlKernels *k, KlWeight *kw, int64_t N, int64_t K)
{
    KlCudaState *st = (KlCudaState *)k->state;
    KlCudaWeight *w = (KlCudaWeight *)calloc(1, sizeof(*w));
    int64_t n;

    if (!w)
        return -1;
    w->host = kw->data;
    n = kw->scale_group ? kl_ceil_div(N * K, kw->scale_group) : 1;
    if (kw->scale && !(w->scale = send_floats(st, kw->scale, n))) {
        free(w);
        return -1;
    }
    w->bytes = kl_dtype_bytes(kw->dtype, N * K);
    std::lock_guard<std::mutex> hold(st->lock);
    try {
        st->handles.insert(w);
    } catch (const std::bad_alloc &) {  /* the callers are C */
        if (w->scale)
            cudaFreeAsync(w->scale, st->copy);
        free(w);
        return -1;
    }
    w->next = st->weights;
    if (w->next)
        w->next->prev = w;
    st->weights = w;
    st->count++;
    st->bound += (int64_t)w->bytes;
    st->largest = w->bytes > st->largest ? w->bytes : st->largest;
    kw->data = w;
    kw->scale = NULL;                   /* kept with the handle */
    return 0;
}

static void weight_release(const KlKernels *k, KlWeight *kw)
{
    KlCudaState *st = (KlCudaState *)k->state;
    std::lock_guard<std::mutex> hold(st->lock);
    KlCudaWeight *w = bound(st, kw);

    kw->data = NULL;
    kw->scale = NULL;
    if (!w)
        return;
    cudaSetDevice(st->device);
    settle(st);
    for (KlCudaWeight *o = st->weights; o; o = o->next)
        if (o->after == w)
            o->after = w->after == w ? NULL : w->after;
    if (st->last == w)
        st->last = NULL;
    for (int i = 0; i < KL_CUDA_SLOTS; i++)
        if (st->slot[i].w == w) {
            cudaStreamSynchronize(st->copy);
            st->slot[i].w = NULL;
        }
    drop(st, w);
    if (w->pinned) {
        cudaFreeHost(w->pinned);
        st->pinnable += (int64_t)w->bytes;
    }
    (w->prev ? w->prev->next : st->weights) = w->next;
    if (w->next)
        w->next->prev = w->prev;
    st->count--;
    st->bound -= (int64_t)w->bytes;
    st->handles.erase(w);
    if (w->scale)
        cudaFreeAsync(w->scale, st->copy);
    free(w);
}

static void weight_stats(const KlKernels *k, KlWeightStats *stats)
{
    KlCudaState *st = (KlCudaState *)k->state;
    std::lock_guard<std::mutex> hold(st->lock);

    stats->bound = st->bound;
    stats->resident = st->resident;
    stats->streamed = st->streamed;
}

void kl_cuda_weights_close(KlCudaState *st)
{
    for (int i = 0; i < KL_CUDA_SLOTS; i++) {
        if (st->slot[i].dev)
            cudaFreeAsync(st->slot[i].dev, st->copy);
        if (st->slot[i].ready)
            cudaEventDestroy(st->slot[i].ready);
    }
}

static int vector_bind(const KlKernels *k, float **v, int64_t n)
{
    float *dev = send_floats((KlCudaState *)k->state, *v, n);

    if (!dev)
        return -1;
    free(*v);
    *v = dev;
    return 0;
}

static void vector_release(const KlKernels *k, float **v)
{
    KlCudaState *st = (KlCudaState *)k->state;

    if (!*v)
        return;
    std::lock_guard<std::mutex> hold(st->lock);
    cudaSetDevice(st->device);
    settle(st);                         /* whoever uses vectors uses weights */
    cudaFreeAsync(*v, st->copy);
    *v = NULL;
}

void kl_cuda_init_weights(KlKernels *k)
{
    k->weight_bind    = weight_bind;
    k->weight_release = weight_release;
    k->weight_stats   = weight_stats;
    k->vector_bind    = vector_bind;
    k->vector_release = vector_release;
}
