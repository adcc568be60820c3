/*
 * CUDA on the CPU, for proofs: streams, events, graphs.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Nothing runs at its call. Whoever waits runs what has been put into the
 * queues, one piece at a time, of the stream that EmuControl.order chooses
 * among all whose next piece waits for no event: any order that a device
 * might have found, but for two pieces at the same time.
 */
#include "emu.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <thread>

/* One recording of an event. */
struct Ticket {
    bool done;
    EmuStream *stream;
};

struct Item {
    std::function<void()> run;
    std::shared_ptr<Ticket> wait;       /* or NULL */
};

/* What cudaStreamBeginCapture begins. */
struct Capture {
    uint64_t id;
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    bool spoilt;
    std::vector<std::function<void()>> work;
    std::vector<std::pair<const void *, uint64_t>> needs;   /* addresses, and the allocations they lay in */
};

struct EmuStream {
    std::deque<Item> queue;
    std::unique_ptr<Capture> capture;
    bool destroyed;                     /* it goes when its queue is empty */
    int device;
};

struct EmuEvent {
    std::shared_ptr<Ticket> last;       /* NULL before the first recording */
    uint64_t captured;                  /* the capture that it was last recorded in, or 0 */
    bool timing;
    int device;
};

struct EmuGraph { std::shared_ptr<const Capture> of; };
struct EmuGraphExec { std::shared_ptr<const Capture> of; };

static std::vector<EmuStream *> streams;    /* in the order they were made */
static std::vector<EmuEvent *> events;
static uint64_t captures;

static EmuStream *checked(EmuStream *s)
{
    if (!s)
        emu_fail("the legacy stream is used");
    if (std::find(streams.begin(), streams.end(), s) == streams.end() || s->destroyed)
        emu_fail("a stream that is not there");
    return s;
}

static EmuEvent *checked(EmuEvent *e)
{
    if (std::find(events.begin(), events.end(), e) == events.end())
        emu_fail("an event that is not there");
    return e;
}

/* -- whose turn it is -- */

/* Drawn from the order: numbers, and whose turn it is for how many more pieces of work. */
static struct {
    unsigned order;
    uint64_t state;
    const EmuStream *turn;
    unsigned left;
} luck;

static unsigned draw(unsigned n)
{
    uint64_t z = luck.state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (unsigned)(z >> 33) % n;
}

static bool can_go(const EmuStream *s)
{
    return !s->queue.empty() && (!s->queue.front().wait || s->queue.front().wait->done);
}

static void run_next(EmuStream *s)
{
    Item i = std::move(s->queue.front());

    s->queue.pop_front();
    if (i.run)
        i.run();
    if (s->destroyed && s->queue.empty()) {
        streams.erase(std::find(streams.begin(), streams.end(), s));
        delete s;
    }
}

/* The stream to go on so that s may. */
static EmuStream *towards(EmuStream *s)
{
    for (size_t i = 0; i <= streams.size(); i++) {
        if (can_go(s))
            return s;
        s = s->queue.front().wait->stream;
    }
    emu_fail("streams wait for one another");
}

/* A stream for some time, so that one may be far ahead of the others. */
static EmuStream *drawn()
{
    const unsigned any = draw(1u << 16);
    std::vector<EmuStream *> able;

    for (EmuStream *s : streams)
        if (can_go(s))
            able.push_back(s);
    if (able.empty())
        emu_fail("no stream can go on");
    for (EmuStream *s : able)
        if (s == luck.turn && luck.left) {
            luck.left--;
            return s;
        }
    luck.left = draw(1u << draw(7));
    luck.turn = able[any % able.size()];
    return able[any % able.size()];
}

/* What runs while s is waited for. */
static EmuStream *choose(EmuStream *s)
{
    if (emu_control.order >= EMU_SEEDS)
        return drawn();
    if (emu_control.order == EMU_EARLY)
        for (EmuStream *other : streams)
            if (other != s && can_go(other))
                return other;
    return towards(s);
}

static void finish(EmuStream *s, const Ticket *t)
{
    emu_arena_enter();
    while (t ? !t->done : !s->queue.empty())
        run_next(choose(s));
    emu_arena_leave();
}

void emu_finish(EmuStream *s) { finish(s, NULL); }

/* The streams in turns from the first made, or the last. */
void emu_finish_all()
{
    emu_arena_enter();
    for (;;) {
        EmuStream *first = NULL, *last = NULL;

        for (EmuStream *s : streams)
            if (!s->queue.empty()) {
                first = first ? first : s;
                last = s;
            }
        if (!first)
            break;
        run_next(emu_control.order >= EMU_SEEDS ? drawn() : towards(emu_control.order == EMU_LATE ? first : last));
    }
    emu_arena_leave();
}

/* The device does not wait until somebody waits for it. */
static void run_some()
{
    if (emu_control.order != luck.order)
        luck = { emu_control.order, emu_control.order, NULL, 0 };
    if (emu_control.order < EMU_SEEDS || draw(8))
        return;
    emu_arena_enter();
    for (unsigned n = draw(1u << draw(5)) + 1; n; n--) {
        if (std::none_of(streams.begin(), streams.end(), can_go))
            break;
        run_next(drawn());
    }
    emu_arena_leave();
}

cudaError_t emu_push(EmuStream *s, const std::function<void()> &run)
{
    Capture *c = checked(s)->capture.get();

    if (c && c->spoilt)
        return emu_error(cudaErrorStreamCaptureInvalidated);
    if (c) {
        c->work.push_back(run);
        return cudaSuccess;
    }
    s->queue.push_back({ run, NULL });
    run_some();
    return cudaSuccess;
}

/* -- streams -- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaStreamCreateWithFlags");

    *s = NULL;
    if (e)
        return e;
    streams.push_back(*s = new EmuStream());
    (*s)->device = emu_device;
    emu_control.handles++;
    return cudaSuccess;
}

void emu_check_current(cudaStream_t s, const char *name)
{
    if (checked(s)->device != emu_device)
        emu_fail("%s is launched into a stream of cuda:%d while cuda:%d is current", name, s->device, emu_device);
}

/* What it has still to do is done some time. */
cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    EmuHold hold(emu_lock);

    checked(s)->capture.reset();
    s->destroyed = true;
    emu_control.handles--;
    if (s->queue.empty()) {
        streams.erase(std::find(streams.begin(), streams.end(), s));
        delete s;
    }
    return emu_state();
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaStreamSynchronize");

    if (e)
        return e;
    if (emu_captures(s))
        return emu_spoil(s);
    if ((e = emu_may_wait()))
        return e;
    emu_finish(s);
    return emu_state();
}

/* One that asks again and again comes to an end, as every question is a step. */
static cudaError_t query(EmuStream *s, const Ticket *t)
{
    if (emu_control.order == EMU_EARLY)
        finish(s, t);
    if (t ? t->done : s->queue.empty())
        return emu_state();
    emu_arena_enter();
    run_next(choose(s));
    emu_arena_leave();
    return emu_error(cudaErrorNotReady);
}

cudaError_t cudaStreamQuery(cudaStream_t s)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaStreamQuery");

    if (e)
        return e;
    if (emu_captures(s))
        return emu_spoil(s);
    return (e = emu_may_wait()) ? e : query(s, NULL);
}

cudaError_t cudaDeviceSynchronize()
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaDeviceSynchronize");

    if (e)
        return e;
    for (EmuStream *s : streams)
        if (s->capture)
            e = emu_spoil(s);
    if (e)
        return e;
    emu_finish_all();
    return emu_state();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t ev, unsigned)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaStreamWaitEvent");
    Capture *c = checked(s)->capture.get();

    checked(ev);
    if (e)
        return e;
    if (c && c->spoilt)
        return emu_error(cudaErrorStreamCaptureInvalidated);
    if (c) {
        if (ev->captured == c->id || (!ev->captured && !ev->last))
            return cudaSuccess;
        emu_spoil(s);
        return emu_error(cudaErrorStreamCaptureIsolation);
    }
    for (EmuStream *other : streams)
        if (other->capture && ev->captured == other->capture->id)
            emu_fail("a capture of more than one stream is not emulated");
    if (ev->captured)
        return emu_error(cudaErrorCapturedEvent);
    if (ev->last && !ev->last->done)
        s->queue.push_back({ NULL, ev->last });
    return cudaSuccess;
}

/* -- events -- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *ev, unsigned flags)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaEventCreateWithFlags");

    *ev = NULL;
    if (e)
        return e;
    events.push_back(*ev = new EmuEvent { NULL, 0, !(flags & cudaEventDisableTiming), emu_device });
    emu_control.handles++;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *ev) { return cudaEventCreateWithFlags(ev, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t ev)
{
    EmuHold hold(emu_lock);

    events.erase(std::find(events.begin(), events.end(), checked(ev)));
    delete ev;
    emu_control.handles--;
    return emu_state();
}

cudaError_t cudaEventRecord(cudaEvent_t ev, cudaStream_t s)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaEventRecord");
    Capture *c = checked(s)->capture.get();
    std::shared_ptr<Ticket> t;

    checked(ev);
    if (e)
        return e;
    if (ev->device != s->device)
        emu_fail("an event of cuda:%d is recorded in a stream of cuda:%d", ev->device, s->device);
    if (c && c->spoilt)
        return emu_error(cudaErrorStreamCaptureInvalidated);
    ev->captured = c ? c->id : 0;
    if (c)
        return cudaSuccess;
    ev->last = t = std::make_shared<Ticket>(Ticket { false, s });
    return emu_push(s, [t]() { t->done = true; });
}

/* What ends a question before it is asked; cudaErrorNotReady: it is to be asked. */
static cudaError_t ask(const char *call, const EmuEvent *ev)
{
    cudaError_t e = emu_enter(call);

    if (e)
        return e;
    if (ev->captured) {
        for (EmuStream *s : streams)
            if (s->capture && s->capture->id == ev->captured)
                emu_spoil(s);
        return emu_error(cudaErrorCapturedEvent);
    }
    if ((e = emu_may_wait()))
        return e;
    return ev->last && !ev->last->done ? cudaErrorNotReady : emu_state();
}

cudaError_t cudaEventSynchronize(cudaEvent_t ev)
{
    EmuHold hold(emu_lock);
    cudaError_t e = ask("cudaEventSynchronize", checked(ev));

    if (e != cudaErrorNotReady)
        return e;
    finish(ev->last->stream, ev->last.get());
    return emu_state();
}

cudaError_t cudaEventQuery(cudaEvent_t ev)
{
    EmuHold hold(emu_lock);
    cudaError_t e = ask("cudaEventQuery", checked(ev));

    return e == cudaErrorNotReady ? query(ev->last->stream, ev->last.get()) : e;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaEventElapsedTime");

    checked(from);
    checked(to);
    if (e)
        return e;
    if (!from->timing || !to->timing || !from->last || !to->last || from->captured || to->captured)
        return emu_error(cudaErrorInvalidResourceHandle);
    if (!from->last->done || !to->last->done)
        return emu_error(cudaErrorNotReady);
    *ms = emu_control.elapsed_ms;
    return cudaSuccess;
}

/* -- graphs -- */

bool emu_captures(EmuStream *s) { return checked(s)->capture != NULL; }

cudaError_t emu_spoil(EmuStream *s)
{
    s->capture->spoilt = true;
    return emu_error(cudaErrorStreamCaptureUnsupported);
}

cudaError_t emu_may_wait()
{
    cudaError_t e = cudaSuccess;

    for (EmuStream *s : streams)
        if (s->capture && (s->capture->mode == cudaStreamCaptureModeGlobal ||
                           (s->capture->mode == cudaStreamCaptureModeThreadLocal &&
                            s->capture->thread == std::this_thread::get_id())))
            e = emu_spoil(s);
    return e;
}

void emu_graph_needs(EmuStream *s, const std::vector<const void *> &pointers)
{
    if (!emu_captures(s))
        return;
    for (const void *p : pointers)
        if (const uint64_t id = emu_allocation(p))
            s->capture->needs.push_back({ p, id });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaStreamBeginCapture");

    if (e)
        return e;
    if (emu_captures(s))
        return emu_error(cudaErrorIllegalState);
    s->capture.reset(new Capture { ++captures, mode, std::this_thread::get_id(), false, {}, {} });
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaStreamEndCapture");

    *g = NULL;
    if (!emu_captures(s))
        return e ? e : emu_error(cudaErrorIllegalState);
    if (s->capture->mode != cudaStreamCaptureModeRelaxed && s->capture->thread != std::this_thread::get_id()) {
        emu_spoil(s);
        return emu_error(cudaErrorStreamCaptureWrongThread);
    }
    std::shared_ptr<const Capture> of = std::move(s->capture);
    if (e || of->spoilt)
        return e ? e : emu_error(cudaErrorStreamCaptureInvalidated);
    *g = new EmuGraph { of };
    emu_control.handles++;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus *status)
{
    EmuHold hold(emu_lock);

    *status = !emu_captures(s) ? cudaStreamCaptureStatusNone : s->capture->spoilt ? cudaStreamCaptureStatusInvalidated :
              cudaStreamCaptureStatusActive;
    return emu_enter("cudaStreamIsCapturing");
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaGraphInstantiate");

    *x = e ? NULL : new EmuGraphExec { g->of };
    emu_control.handles += !e;
    return e;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaGraphLaunch");
    std::shared_ptr<const Capture> of = x->of;

    if (e)
        return e;
    if (emu_captures(s))
        emu_fail("a graph inside a graph is not emulated");
    for (const auto &need : of->needs)
        if (emu_allocation(need.first) != need.second)
            emu_fail("a graph is launched whose memory has been freed");
    emu_check_current(s, "a graph");
    emu_control.graph_launches++;
    return emu_push(s, [of]() {
        for (const auto &run : of->work)
            run();
    });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x)
{
    EmuHold hold(emu_lock);

    delete x;
    emu_control.handles--;
    return emu_state();
}

cudaError_t cudaGraphDestroy(cudaGraph_t g)
{
    EmuHold hold(emu_lock);

    delete g;
    emu_control.handles--;
    return emu_state();
}
