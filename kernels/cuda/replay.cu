/*
 * Keeping the device busy and the host in step: work that comes again as a
 * graph, and how far the host may run ahead.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A replay's first turn runs as it comes and is timed. Where it took longer
 * than LONG_MS, launches hide behind the work by themselves and a graph would
 * only be harder to cancel. Else the next turn's ops are captured, on a stream
 * of their own, and from then on one launch does them all. A graph holds
 * addresses of weights, so all of them must be resident, and it is gone when
 * one of them moves. What cannot be captured is issued once more, and as it
 * comes from then on.
 */
#include <chrono>
#include <new>
#include <vector>

#include "cuda.h"

#define LONG_MS 100.0f
#define TRIES 3                         /* graphs that are lost to moving weights before there is none any more */
#define BEHIND_S 0.2                    /* of work at most that the host is ahead of the device, about */

struct KlReplay {
    /* FIRST: its first turn is being issued; WAITING: for that to be over, or for a turn to capture */
    enum { FRESH, FIRST, WAITING, CAPTURING, READY, NEVER } state;
    cudaEvent_t begin, end;             /* around the first turn */
    cudaGraphExec_t graph;              /* READY */
    std::vector<KlCudaWeight *> used;   /* by it, in order; valid while moves is the state's */
    int64_t moves;                      /* KlCudaState.moves when it was begun */
    const void *scratch;
    int tries;
};

/* -- pace -- */

static double now_seconds()
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/* Waiting sleeps: the cores belong to encoders. */
static bool open_paces(KlExec *ex)
{
    for (int i = 0; i < KL_CUDA_PACES; i++)
        if (!ex->pace[i] &&
            !KL_CUDA(ex, cudaEventCreateWithFlags(&ex->pace[i], cudaEventDisableTiming | cudaEventBlockingSync)))
            return false;
    return true;
}

void kl_cuda_pace(KlExec *ex)
{
    const double now = now_seconds(), piece = now - ex->paced_at;
    const int most = KL_CUDA_PACES / 2;
    int64_t n, behind;

    if (ex->recording || !kl_cuda_enter(ex) || !open_paces(ex))
        return;
    /* Once the host is held back, it comes by as often as the device is through with a piece. */
    behind = piece * most > BEHIND_S ? (int64_t)(BEHIND_S / piece) : most;
    behind = behind < 1 ? 1 : behind;
    n = ex->paces++;
    if (!KL_CUDA(ex, cudaEventRecord(ex->pace[n % KL_CUDA_PACES], ex->stream)))
        return;
    if (n >= behind)
        KL_CUDA(ex, cudaEventSynchronize(ex->pace[(n - behind) % KL_CUDA_PACES]));
    ex->paced_at = now_seconds();
}

void kl_cuda_pace_close(KlExec *ex)
{
    for (int i = 0; i < KL_CUDA_PACES; i++)
        if (ex->pace[i])
            cudaEventDestroy(ex->pace[i]);
}

/* -- a replay's turns -- */

static KlReplay *replay_new(KlExec *ex)
{
    KlReplay *r = new (std::nothrow) KlReplay();

    if (!r)
        return NULL;                    /* nothing is lost but speed */
    if (KL_CUDA(ex, cudaEventCreateWithFlags(&r->begin, 0)) && KL_CUDA(ex, cudaEventCreateWithFlags(&r->end, 0)))
        return r;
    if (r->begin)
        cudaEventDestroy(r->begin);
    delete r;
    return NULL;
}

static void drop_graph(KlExec *ex, KlReplay *r)
{
    if (r->graph) {
        cudaStreamSynchronize(ex->base);        /* it may be under way */
        cudaGraphExecDestroy(r->graph);
    }
    r->graph = NULL;
    r->used.clear();
}

/* Launches the graph if its weights are still where it has them. They count as used, in their order. */
static bool launch(KlExec *ex, KlReplay *r)
{
    KlCudaState *st = ex->st;
    std::lock_guard<std::mutex> hold(st->lock);

    if (r->moves != st->moves || r->scratch != ex->scratch)
        return false;
    for (KlCudaWeight *w : r->used)
        kl_cuda_weight_touch(st, w);
    st->unsettled = true;
    return KL_CUDA(ex, cudaGraphLaunch(r->graph, ex->stream));
}

static bool begin_capture(KlExec *ex, KlReplay *r)
{
    if (!ex->record && !KL_CUDA(ex, cudaStreamCreateWithFlags(&ex->record, cudaStreamNonBlocking)))
        return false;
    {
        std::lock_guard<std::mutex> hold(ex->st->lock);

        r->moves = ex->st->moves;
    }
    r->scratch = ex->scratch;
    /* Other threads may go on allocating and loading: only what this one does counts. */
    if (cudaStreamBeginCapture(ex->record, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
        cudaGetLastError();
        return false;
    }
    ex->stream = ex->record;
    ex->recording = r;
    ex->unfit = false;
    return true;
}

/* Whether the first turn is over, and took so little that a graph pays. */
static bool is_short(KlReplay *r)
{
    float ms = 0;
    const bool over = cudaEventQuery(r->end) == cudaSuccess;

    if (over && cudaEventElapsedTime(&ms, r->begin, r->end) == cudaSuccess && ms <= LONG_MS)
        return true;
    cudaGetLastError();                 /* or the next launch would be taken for what failed */
    if (over)
        r->state = KlReplay::NEVER;
    return false;
}

/* The graph is of no more use, as weights have moved. The next turn runs as it comes, which takes them to the device
 * again. */
static void retry(KlExec *ex, KlReplay *r)
{
    drop_graph(ex, r);
    r->state = ++r->tries < TRIES ? KlReplay::WAITING : KlReplay::NEVER;
}

static int replay_begin(KlExec *ex, KlReplay **pr)
{
    KlReplay *r;

    if (!kl_cuda_enter(ex) || (!*pr && !(*pr = replay_new(ex))))
        return 0;
    r = *pr;
    switch (r->state) {
    case KlReplay::FRESH:
        if (KL_CUDA(ex, cudaEventRecord(r->begin, ex->stream)))
            r->state = KlReplay::FIRST;
        return 0;
    case KlReplay::WAITING:
        if (is_short(r))
            r->state = begin_capture(ex, r) ? KlReplay::CAPTURING : KlReplay::NEVER;
        return 0;
    case KlReplay::READY:
        if (launch(ex, r)) {
            kl_cuda_pace(ex);
            return 1;
        }
        retry(ex, r);
        return 0;
    default:
        return 0;
    }
}

/* What was captured, as a graph that can be launched. */
static bool end_capture(KlExec *ex, KlReplay *r, int whole)
{
    cudaGraph_t graph = NULL;
    bool good = cudaStreamEndCapture(ex->record, &graph) == cudaSuccess && graph;

    ex->stream = ex->base;
    ex->recording = NULL;
    good = good && whole && !ex->unfit && cudaGraphInstantiate(&r->graph, graph, 0) == cudaSuccess;
    cudaGetLastError();
    if (graph)
        cudaGraphDestroy(graph);
    return good;
}

static int replay_end(KlExec *ex, KlReplay *r, int whole)
{
    if (!r || (r->state != KlReplay::FIRST && r->state != KlReplay::CAPTURING))
        return 0;
    if (r->state == KlReplay::FIRST) {
        r->state = KlReplay::FRESH;
        if (whole && kl_cuda_enter(ex) && KL_CUDA(ex, cudaEventRecord(r->end, ex->stream)))
            r->state = KlReplay::WAITING;
        return 0;
    }
    if (!end_capture(ex, r, whole)) {
        drop_graph(ex, r);
        r->state = whole ? KlReplay::NEVER : KlReplay::WAITING;
        return whole && !ex->failed;
    }
    r->state = KlReplay::READY;
    if (launch(ex, r)) {
        kl_cuda_pace(ex);
        return 0;
    }
    retry(ex, r);
    return !ex->failed;
}

static void replay_forget(KlExec *ex, KlReplay **pr)
{
    KlReplay *r = *pr;

    if (!r)
        return;
    cudaSetDevice(ex->st->device);
    drop_graph(ex, r);
    cudaEventDestroy(r->begin);
    cudaEventDestroy(r->end);
    delete r;
    *pr = NULL;
}

/* Under the lock. */
void kl_cuda_replay_note(KlExec *ex, KlCudaWeight *w)
{
    if (!w->dev)
        ex->unfit = true;
    try {
        ex->recording->used.push_back(w);
    } catch (const std::bad_alloc &) {  /* the callers are C */
        ex->unfit = true;
    }
}

void kl_cuda_init_replay(KlKernels *k)
{
    k->exec_pace     = kl_cuda_pace;
    k->replay_begin  = replay_begin;
    k->replay_end    = replay_end;
    k->replay_forget = replay_forget;
}
