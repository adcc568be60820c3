/*
 * CUDA on the CPU, for proofs: the emulator's tests of itself, run by tests/cuda/test_streams.c.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "emu.h"

#include <set>
#include <string>
#include <thread>

#define SEEDS 3000u                     /* orders drawn, where all of a few must come up */

#define WANT(cond) do { if (!(cond)) return #cond; } while (0)
#define GOOD(call) WANT((call) == cudaSuccess)

static std::string trace;               /* what ran */
static cudaStream_t a, b;
static cudaEvent_t e;
static cudaMemPool_t pool;

static void note(char c)
{
    if (!threadIdx.x)
        trace += c;
}

static void add(int *to, const int *from, int v) { to[threadIdx.x] = from[threadIdx.x] + v; }

static void run(cudaStream_t s, char c) { emu_launch("note", dim3(1), dim3(32), 0, s, emu_bind(note, c)); }

static void sum(cudaStream_t s, int *to, const int *from, int v)
{
    emu_launch("add", dim3(1), dim3(32), 0, s, emu_bind(add, to, from, v));
}

static bool open_all()
{
    const cudaMemPoolProps props = {};

    trace.clear();
    return !cudaStreamCreateWithFlags(&a, 0) && !cudaStreamCreateWithFlags(&b, 0) && !cudaEventCreate(&e) &&
           !cudaMemPoolCreate(&pool, &props);
}

static int *take(cudaStream_t s)
{
    void *p = NULL;

    cudaMallocFromPoolAsync(&p, 128, pool, s);
    return (int *)p;
}

/* -- whose turn it is -- */

static std::string turns(unsigned order)
{
    std::string got;

    emu_control.order = order;
    trace.clear();
    run(a, '1'), run(a, '2'), run(b, 'x'), run(b, 'y');
    cudaStreamSynchronize(a);
    got = trace + ".";
    trace.clear();
    cudaStreamSynchronize(b);
    return got + trace;
}

static const char *orders()
{
    std::set<std::string> seen;

    WANT(open_all());
    WANT(turns(EMU_LATE) == "12.xy");
    WANT(turns(EMU_EARLY) == "xy12.");
    for (unsigned s = EMU_SEEDS; s < SEEDS; s++)
        seen.insert(turns(s));
    /* all that end with a's second are cut there, or at any later place */
    WANT(seen.size() == 10);
    for (unsigned s = EMU_SEEDS; s < 20; s++) {
        const std::string once = turns(s);

        turns(EMU_EARLY);
        WANT(turns(s) == once);
    }
    return NULL;
}

static const char *arguments_are_copied()
{
    char c = 'o';

    WANT(open_all());
    run(a, c);
    c = 'n';
    WANT(trace.empty());
    GOOD(cudaStreamSynchronize(a));
    WANT(trace == "o");
    return NULL;
}

static const char *legacy_stream() { run(NULL, 'x'); return NULL; }

static const char *destroyed_stream()
{
    WANT(open_all());
    run(a, '1');
    GOOD(cudaStreamDestroy(a));
    GOOD(cudaDeviceSynchronize());
    WANT(trace == "1");
    run(a, '2');
    return NULL;
}

static const char *threads()
{
    WANT(open_all());
    for (unsigned order = 0; order < 20; order++) {
        cudaStream_t s[2] = { a, b };
        std::thread t[2];

        emu_control.order = order;
        trace.clear();
        for (int i = 0; i < 2; i++)
            t[i] = std::thread([&s, i]() {
                for (int n = 0; n < 50; n++) {
                    run(s[i], (char)('a' + i));
                    if (n % 3 == 0)
                        cudaStreamSynchronize(s[i]);
                }
                cudaStreamSynchronize(s[i]);
            });
        for (std::thread &one : t)
            one.join();
        WANT(trace.size() == 100);
    }
    return NULL;
}

/* -- events -- */

static const char *waits()
{
    WANT(open_all());
    for (unsigned order = 0; order < 50; order++) {
        emu_control.order = order;
        trace.clear();
        run(a, '1');
        GOOD(cudaEventRecord(e, a));
        GOOD(cudaStreamWaitEvent(b, e, 0));
        run(b, 'x');
        run(a, '2');
        GOOD(cudaEventRecord(e, a));    /* b waits for the first */
        GOOD(cudaStreamSynchronize(b));
        WANT(trace.find('1') < trace.find('x'));
        WANT(order != EMU_LATE || trace == "1x");
        GOOD(cudaEventSynchronize(e));
        WANT(trace.size() == 3);
    }
    return NULL;
}

static const char *never_recorded()
{
    WANT(open_all());
    run(a, '1');
    GOOD(cudaStreamWaitEvent(b, e, 0));
    run(b, 'x');
    GOOD(cudaEventQuery(e));
    GOOD(cudaEventSynchronize(e));
    GOOD(cudaStreamSynchronize(b));
    WANT(trace == "x");
    return NULL;
}

static const char *destroyed_event()
{
    WANT(open_all());
    run(a, '1');
    GOOD(cudaEventRecord(e, a));
    GOOD(cudaStreamWaitEvent(b, e, 0));
    GOOD(cudaEventDestroy(e));
    run(b, 'x');
    GOOD(cudaStreamSynchronize(b));
    WANT(trace == "1x");
    return NULL;
}

static const char *queries()
{
    cudaEvent_t plain;
    float ms = 0;
    int asked = 0;

    WANT(open_all());
    GOOD(cudaEventCreateWithFlags(&plain, cudaEventDisableTiming));
    for (int i = 0; i < 5; i++)
        run(a, '1');
    GOOD(cudaEventRecord(e, a));
    GOOD(cudaEventRecord(plain, a));
    WANT(cudaEventElapsedTime(&ms, e, e) == cudaErrorNotReady);
    WANT(cudaEventQuery(e) == cudaErrorNotReady);
    WANT(cudaGetLastError() == cudaErrorNotReady);
    WANT(cudaStreamQuery(a) == cudaErrorNotReady);
    while (cudaEventQuery(e) == cudaErrorNotReady)
        asked++;
    WANT(asked > 0 && trace == "11111");
    emu_control.elapsed_ms = 4;
    GOOD(cudaEventElapsedTime(&ms, e, e));
    WANT(ms > 3 && ms < 5);
    WANT(cudaEventElapsedTime(&ms, e, plain) == cudaErrorInvalidResourceHandle);
    GOOD(cudaEventSynchronize(plain));
    GOOD(cudaStreamQuery(a));
    return NULL;
}

/* -- memory -- */

static const char *pageable()
{
    int host[32] = { 5 }, back[32] = { 0 };
    int *p;

    WANT(open_all() && (p = take(a)));
    GOOD(cudaMemcpyAsync(p, host, sizeof(host), cudaMemcpyHostToDevice, a));
    host[0] = 6;                        /* staged already */
    sum(a, p, p, 1);
    GOOD(cudaMemcpyAsync(back, p, sizeof(back), cudaMemcpyDeviceToHost, a));
    WANT(back[0] == 6);
    return NULL;
}

static const char *page_locked()
{
    int *host, *back, *p;

    WANT(open_all() && (p = take(a)));
    GOOD(cudaMallocHost((void **)&host, 128));
    GOOD(cudaMallocHost((void **)&back, 128));
    memset(host, 0, 128);
    memset(back, 0, 128);
    GOOD(cudaMemcpyAsync(p, host, 128, cudaMemcpyHostToDevice, a));
    host[0] = 6;                        /* too early: it shows */
    GOOD(cudaMemcpyAsync(back, p, 128, cudaMemcpyDeviceToHost, a));
    WANT(back[0] == -1 && back[31] == -1);
    GOOD(cudaStreamSynchronize(a));
    WANT(back[0] == 6 && back[31] == 0);
    GOOD(cudaFreeHost(host));
    GOOD(cudaFreeHost(back));
    return NULL;
}

static const char *page_locked_freed()
{
    int *host, *p;

    WANT(open_all() && (p = take(a)));
    GOOD(cudaMallocHost((void **)&host, 128));
    GOOD(cudaMemcpyAsync(p, host, 128, cudaMemcpyHostToDevice, a));
    cudaFreeHost(host);
    return NULL;
}

/* What is freed is free for the pool at once, but nobody gets it before the work in front of that has run. */
static const char *freed_later()
{
    int back[32], *p, *q;
    uint64_t used = 1;

    WANT(open_all() && (p = take(a)));
    GOOD(cudaMemsetAsync(p, 0, 128, a));
    sum(a, p, p, 3);
    GOOD(cudaMemcpyAsync(back, p, 128, cudaMemcpyDeviceToHost, a));
    sum(a, p, p, 4);
    GOOD(cudaFreeAsync(p, a));
    GOOD(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used));
    WANT(!used && back[0] == 3);
    WANT((q = take(b)) && q != p);
    GOOD(cudaMemcpyAsync(back, q, 128, cudaMemcpyDeviceToHost, b));
    WANT(back[0] == -1 && back[31] == -1);
    GOOD(cudaStreamSynchronize(a));
    WANT(take(b) == p);
    GOOD(cudaMemcpyAsync(back, p, 128, cudaMemcpyDeviceToHost, b));
    WANT(back[0] == -1);
    return NULL;
}

static const char *memory_runs_out()
{
    void *p, *q;

    WANT(open_all());
    emu_control.memory = 1 << 20;
    GOOD(cudaMallocFromPoolAsync(&p, emu_control.memory - 4096, pool, a));
    WANT(cudaMallocFromPoolAsync(&q, 8192, pool, b) == cudaErrorMemoryAllocation && !q);
    WANT(cudaGetLastError() == cudaErrorMemoryAllocation);
    run(a, '1');
    GOOD(cudaFreeAsync(p, a));
    WANT(trace.empty());
    GOOD(cudaMallocFromPoolAsync(&q, 8192, pool, b));
    WANT(trace == "1");
    return NULL;
}

static const char *touch_freed()
{
    int *p;

    WANT(open_all() && (p = take(a)));
    GOOD(cudaStreamSynchronize(a));
    sum(b, p, p, 1);
    GOOD(cudaFreeAsync(p, a));          /* a should wait for b */
    GOOD(cudaStreamSynchronize(a));
    cudaStreamSynchronize(b);
    return NULL;
}

static const char *touch_too_early()
{
    int *p;

    WANT(open_all() && (p = take(a)));
    sum(b, p, p, 1);                    /* b should wait for a */
    cudaStreamSynchronize(b);
    return NULL;
}

static const char *touch_by_host()
{
    int *p;

    WANT(open_all() && (p = take(a)));
    GOOD(cudaStreamSynchronize(a));
    *(volatile int *)p = 1;
    return NULL;
}

/* -- failures -- */

static const char *fails_later()
{
    int *p;

    WANT(open_all() && (p = take(a)));
    emu_control.fail_later = "note";
    emu_control.fail_with = cudaErrorIllegalAddress;
    run(a, '1');
    GOOD(cudaGetLastError());
    GOOD(cudaEventRecord(e, a));
    GOOD(cudaStreamSynchronize(b));
    WANT(cudaStreamSynchronize(a) == cudaErrorIllegalAddress);
    WANT(cudaStreamSynchronize(b) == cudaErrorIllegalAddress);
    WANT(cudaEventQuery(e) == cudaErrorIllegalAddress);
    run(b, 'x');
    WANT(cudaGetLastError() == cudaErrorIllegalAddress && trace.empty());
    WANT(cudaFreeAsync(p, a) == cudaErrorIllegalAddress && !emu_control.used);
    emu_control.broken = cudaSuccess;
    run(b, 'x');
    GOOD(cudaDeviceSynchronize());
    WANT(trace == "x");
    return NULL;
}

static const char *fails_at_the_call()
{
    WANT(open_all());
    emu_control.fail_with = cudaErrorLaunchFailure;
    emu_control.fail_call = "note";
    run(a, '1');
    WANT(cudaGetLastError() == cudaErrorLaunchFailure);
    emu_control.fail_call = "cudaEventRecord";
    WANT(cudaEventRecord(e, a) == cudaErrorLaunchFailure);
    GOOD(cudaEventRecord(e, a));
    GOOD(cudaStreamSynchronize(a));
    WANT(trace.empty());
    return NULL;
}

/* -- graphs -- */

static const char *graph()
{
    cudaStreamCaptureStatus status;
    int back[32], *p, *q, v = 10;
    cudaGraphExec_t x;
    cudaGraph_t g;

    WANT(open_all() && (p = take(a)) && (q = take(a)));
    GOOD(cudaMemsetAsync(q, 0, 128, a));
    GOOD(cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal));
    GOOD(cudaStreamIsCapturing(a, &status));
    WANT(status == cudaStreamCaptureStatusActive);
    GOOD(cudaMemcpyAsync(p, q, 128, cudaMemcpyDeviceToDevice, a));
    sum(a, p, p, v);
    v = 20;
    GOOD(cudaEventRecord(e, a));
    GOOD(cudaStreamWaitEvent(a, e, 0));
    GOOD(cudaMemcpyAsync(q, p, 128, cudaMemcpyDeviceToDevice, a));
    run(a, '1');
    GOOD(cudaStreamEndCapture(a, &g));
    GOOD(cudaStreamIsCapturing(a, &status));
    WANT(status == cudaStreamCaptureStatusNone);
    GOOD(cudaStreamSynchronize(a));
    WANT(trace.empty());
    GOOD(cudaGraphInstantiate(&x, g, 0));
    GOOD(cudaGraphDestroy(g));
    for (int i = 0; i < 3; i++) {
        GOOD(cudaGraphLaunch(x, a));
        sum(a, q, q, 1);
    }
    WANT(trace.empty());
    GOOD(cudaGraphExecDestroy(x));
    GOOD(cudaMemcpyAsync(back, q, 128, cudaMemcpyDeviceToHost, a));
    WANT(back[0] == 33 && back[31] == 33 && trace == "111" && emu_control.graph_launches == 3);
    return NULL;
}

/* What spoils a capture: the call fails, and so does the rest of the capture; after it all is well. */
static const char *spoilt(cudaError_t (*call)(), cudaError_t with, cudaStreamCaptureMode mode)
{
    cudaStreamCaptureStatus status;
    cudaGraph_t g = (cudaGraph_t)&status;

    GOOD(cudaStreamBeginCapture(a, mode));
    WANT(cudaStreamBeginCapture(a, mode) == cudaErrorIllegalState);
    run(a, '1');
    WANT(call() == with);
    GOOD(cudaStreamIsCapturing(a, &status));
    WANT(status == cudaStreamCaptureStatusInvalidated);
    cudaGetLastError();
    run(a, '2');
    WANT(cudaGetLastError() == cudaErrorStreamCaptureInvalidated);
    WANT(cudaStreamEndCapture(a, &g) == cudaErrorStreamCaptureInvalidated && !g);
    WANT(cudaStreamEndCapture(a, &g) == cudaErrorIllegalState);
    run(a, '3');
    GOOD(cudaStreamSynchronize(a));
    WANT(trace == "3");
    trace.clear();
    return NULL;
}

static int *device;                     /* for the calls below */
static char host_bytes[128];

static const char *spoilt_captures()
{
    static const struct { cudaError_t (*call)(); cudaError_t with; } cases[] = {
        { []() { return cudaStreamSynchronize(a); }, cudaErrorStreamCaptureUnsupported },
        { []() { return cudaStreamQuery(a); }, cudaErrorStreamCaptureUnsupported },
        { []() { return cudaDeviceSynchronize(); }, cudaErrorStreamCaptureUnsupported },
        { []() { return cudaMemcpyAsync(device, host_bytes, 128, cudaMemcpyHostToDevice, a); },
          cudaErrorStreamCaptureUnsupported },
        { []() { return cudaMemcpyAsync(host_bytes, device, 128, cudaMemcpyDeviceToHost, a); },
          cudaErrorStreamCaptureUnsupported },
        { []() { cudaEventRecord(e, b); return cudaStreamWaitEvent(a, e, 0); }, cudaErrorStreamCaptureIsolation },
        { []() { cudaEventRecord(e, a); return cudaEventQuery(e); }, cudaErrorCapturedEvent },
        { []() { cudaEventRecord(e, a); return cudaEventSynchronize(e); }, cudaErrorCapturedEvent },
    };

    WANT(open_all() && (device = take(a)));
    for (const auto &c : cases)
        for (int mode = 0; mode < 3; mode++)
            if (const char *wrong = spoilt(c.call, c.with, (cudaStreamCaptureMode)mode))
                return wrong;
    return NULL;
}

/* Waits that have nothing to do with a capture: what its mode makes of them. */
static const char *waits_beside_a_capture()
{
    cudaError_t other[3];
    cudaGraph_t g;

    WANT(open_all());
    for (int mode = 0; mode < 2; mode++)
        if (const char *wrong = spoilt([]() { return cudaStreamSynchronize(b); }, cudaErrorStreamCaptureUnsupported,
                                       (cudaStreamCaptureMode)mode))
            return wrong;
    for (int mode = 0; mode < 3; mode++) {
        GOOD(cudaStreamBeginCapture(a, (cudaStreamCaptureMode)mode));
        std::thread([&]() { other[mode] = cudaStreamSynchronize(b); }).join();
        WANT((cudaStreamEndCapture(a, &g) == cudaSuccess) == !other[mode]);
        if (g)
            GOOD(cudaGraphDestroy(g));
    }
    WANT(other[0] == cudaErrorStreamCaptureUnsupported && !other[1] && !other[2]);
    GOOD(cudaStreamBeginCapture(a, cudaStreamCaptureModeRelaxed));
    GOOD(cudaStreamSynchronize(b));
    GOOD(cudaStreamEndCapture(a, &g));
    return NULL;
}

static const char *graph_of_freed_memory()
{
    cudaGraphExec_t x;
    cudaGraph_t g;
    int *p;

    WANT(open_all() && (p = take(a)));
    GOOD(cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal));
    sum(a, p, p, 1);
    GOOD(cudaStreamEndCapture(a, &g));
    GOOD(cudaGraphInstantiate(&x, g, 0));
    GOOD(cudaFreeAsync(p, a));
    GOOD(cudaStreamSynchronize(a));
    WANT(take(a) == p);                 /* another's now */
    cudaGraphLaunch(x, a);
    return NULL;
}

static const char *memory_in_a_capture()
{
    WANT(open_all());
    GOOD(cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal));
    take(a);
    return NULL;
}

extern "C" __attribute__((visibility("default"))) const EmuCase *kl_emu_cases(size_t *n)
{
    static const EmuCase cases[] = {
        { "orders", orders, NULL },
        { "arguments_are_copied", arguments_are_copied, NULL },
        { "legacy_stream", legacy_stream, "the legacy stream is used" },
        { "destroyed_stream", destroyed_stream, "a stream that is not there" },
        { "threads", threads, NULL },
        { "waits", waits, NULL },
        { "never_recorded", never_recorded, NULL },
        { "destroyed_event", destroyed_event, NULL },
        { "queries", queries, NULL },
        { "pageable", pageable, NULL },
        { "page_locked", page_locked, NULL },
        { "page_locked_freed", page_locked_freed, "page-locked memory is freed under a copy" },
        { "freed_later", freed_later, NULL },
        { "memory_runs_out", memory_runs_out, NULL },
        { "touch_freed", touch_freed, "add touches device memory that nobody holds" },
        { "touch_too_early", touch_too_early, "add touches device memory that nobody holds" },
        { "touch_by_host", touch_by_host, "the host touches device memory" },
        { "fails_later", fails_later, NULL },
        { "fails_at_the_call", fails_at_the_call, NULL },
        { "graph", graph, NULL },
        { "spoilt_captures", spoilt_captures, NULL },
        { "waits_beside_a_capture", waits_beside_a_capture, NULL },
        { "graph_of_freed_memory", graph_of_freed_memory, "a graph is launched whose memory has been freed" },
        { "memory_in_a_capture", memory_in_a_capture, "memory is taken on a stream that is captured" },
    };

    *n = sizeof(cases) / sizeof(cases[0]);
    return cases;
}
