/*
 * CUDA on the CPU, for proofs: fibers, launches, the device.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "emu.h"
#include "emu_device.h"
#include "emu_hopper.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <ucontext.h>

#define STACK_BYTES ((size_t)128 << 10)
#define SHARED_BYTES ((size_t)227 << 10)

void emu_fail(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    printf("not ok emulated CUDA: ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    fflush(stdout);
    abort();
}

static unsigned order_wanted()
{
    const char *order = getenv("KLING_EMU_ORDER");

    return order ? (unsigned)strtoul(order, NULL, 10) : (unsigned)EMU_LATE;
}

std::recursive_mutex emu_lock;
EmuControl emu_control = { 1, 9, 13000, (size_t)2 << 30, NULL, cudaSuccess, 0, 0, 0, 0, order_wanted(), NULL,
                           cudaSuccess, 0, 0, 1, getenv("KLING_EMU_PLAIN") != NULL };
extern "C" __attribute__((visibility("default"))) EmuControl *kl_emu_control(void) { return &emu_control; }

static thread_local cudaError_t last_error;

cudaError_t emu_error(cudaError_t e)
{
    if (e)
        last_error = e;
    return e;
}

static cudaError_t trip(const char *call)
{
    if (!emu_control.fail_call || strcmp(emu_control.fail_call, call))
        return cudaSuccess;
    emu_control.fail_call = NULL;
    return (cudaError_t)emu_control.fail_with;
}

cudaError_t emu_enter(const char *call)
{
    cudaError_t e = trip(call);

    if (emu_control.broken)
        emu_finish_all();               /* what is left to do is not done any more */
    return e ? emu_error(e) : emu_state();
}

/* What the plugin's containers allocate, to be failed as a call is; the plugin is linked to its own. */
void *operator new(size_t bytes)
{
    void *p = trip("operator new") == cudaSuccess ? malloc(bytes ? bytes : 1) : NULL;

    if (!p)
        throw std::bad_alloc();
    return p;
}

void operator delete(void *p) noexcept { free(p); }
void operator delete(void *p, size_t) noexcept { free(p); }

/* -- fibers -- */

struct Fiber {
    void *sp;                           /* saved by switch_to */
    char *stack;
    EmuPlace place;
    enum { READY, AT_BARRIER, AT_WARP, WAITS, DONE } state;
    bool (*ready)(const void *arg);     /* what it waits for */
    const void *ready_arg;
    EmuCopies copies;
};

struct Warp {
    void *args[32];
    void (*fn)(void *const *);
    int arrived;
};

struct Block {
    std::vector<Fiber> fiber;
    std::vector<Warp> warp;
    const std::function<void()> *thread;
    const char *name;
    int current, left, at_barrier;
    void *scheduler;
    char *shared;
};

static thread_local Block *block;

#if defined(__x86_64__)
/* Saves the callee's registers on the stack and exchanges stacks. */
extern "C" void emu_switch(void **save, void *load);
asm(".text\n.globl emu_switch\n.type emu_switch,@function\nemu_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
    ".size emu_switch,.-emu_switch\n");
static void *fiber_new(char *stack, void (*entry)())
{
    void **sp = (void **)(((uintptr_t)stack + STACK_BYTES) & ~(uintptr_t)15);

    *--sp = NULL;                       /* where entry would return to; keeps the alignment of a call */
    *--sp = (void *)entry;
    for (int i = 0; i < 6; i++)
        *--sp = NULL;
    return sp;
}
#else
struct Ucontext { ucontext_t c; };
static thread_local std::vector<ucontext_t *> made;
static void emu_switch(void **save, void *load)
{
    ucontext_t here, *to = (ucontext_t *)load;

    *save = &here;
    swapcontext(&here, to);
}
static void *fiber_new(char *stack, void (*entry)())
{
    ucontext_t *c = new (stack) ucontext_t;

    getcontext(c);
    c->uc_stack.ss_sp = stack + 2048;
    c->uc_stack.ss_size = STACK_BYTES - 2048;
    c->uc_link = NULL;
    makecontext(c, entry, 0);
    return c;
}
#endif

const EmuPlace &emu_place() { return block->fiber[block->current].place; }
char *emu_shared() { return block->shared; }
EmuCopies &emu_copies() { return block->fiber[block->current].copies; }

static void yield()
{
    Block *b = block;

    emu_switch(&b->fiber[b->current].sp, b->scheduler);
}

static void fiber_main()
{
    Block *b = block;

    (*b->thread)();
    for (const auto &g : b->fiber[b->current].copies.groups)
        if (!g.empty())
            emu_fail("%s ends with copies that nobody waited for", b->name);
    b->fiber[b->current].state = Fiber::DONE;
    b->left--;
    yield();
    emu_fail("a finished thread was resumed");
}

void __syncthreads()
{
    Fiber *f = &block->fiber[block->current];

    f->state = Fiber::AT_BARRIER;
    block->at_barrier++;
    yield();
}

void emu_wait(bool (*ready)(const void *), const void *arg)
{
    Fiber *f = &block->fiber[block->current];

    if (ready(arg))
        return;
    f->ready = ready;
    f->ready_arg = arg;
    f->state = Fiber::WAITS;
    yield();
}

void emu_warp(void *arg, void (*fn)(void *const *))
{
    Block *b = block;
    int w = b->current / 32;
    Warp *p = &b->warp[w];

    if (p->arrived && p->fn != fn)
        emu_fail("%s: lanes of warp %d are at different instructions", b->name, w);
    p->fn = fn;
    p->args[b->current % 32] = arg;
    if (++p->arrived < 32) {
        b->fiber[b->current].state = Fiber::AT_WARP;
        yield();
        return;
    }
    fn(p->args);
    p->arrived = 0;
    for (int i = w * 32; i < w * 32 + 32; i++)
        b->fiber[i].state = Fiber::READY;
}

static void run_block(Block *b)
{
    int n = (int)b->fiber.size();

    b->left = n;
    b->at_barrier = 0;
    for (int i = 0; i < n; i++) {
        b->fiber[i].state = Fiber::READY;
        b->fiber[i].copies = EmuCopies();
        b->fiber[i].sp = fiber_new(b->fiber[i].stack, fiber_main);
    }
    for (Warp &w : b->warp)
        w.arrived = 0;
    emu_hopper_begin(n / 32);
    while (b->left) {
        bool ran = false;

        for (int i = 0; i < n; i++) {
            Fiber *f = &b->fiber[i];

            if (f->state == Fiber::WAITS && f->ready(f->ready_arg))
                f->state = Fiber::READY;
            if (f->state != Fiber::READY)
                continue;
            b->current = i;
            ran = true;
            emu_switch(&b->scheduler, f->sp);
        }
        if (ran || emu_hopper_copy())
            continue;
        if (b->at_barrier != b->left)
            emu_fail("%s: %d of %d threads wait where the others never come", b->name, b->at_barrier, b->left);
        b->at_barrier = 0;
        for (Fiber &f : b->fiber)
            if (f.state == Fiber::AT_BARRIER)
                f.state = Fiber::READY;
    }
    emu_hopper_end(b->name);
}

static thread_local std::vector<char *> stacks;
static thread_local char *shared_memory;

const char *emu_running() { return block ? block->name : NULL; }

static void run_grid(const char *name, dim3 grid, dim3 dim, size_t shared, const std::function<void()> &thread)
{
    const size_t n = dim.x;
    Block b;

    while (stacks.size() < n)
        stacks.push_back((char *)aligned_alloc(64, STACK_BYTES));
    if (!shared_memory)
        shared_memory = (char *)aligned_alloc(1024, SHARED_BYTES + 1024);
    b.fiber.resize(n);
    b.warp.resize(n / 32);
    b.thread = &thread;
    b.name = name;
    b.shared = shared_memory;
    block = &b;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                memset(shared_memory, 0xff, shared);
                for (size_t i = 0; i < n; i++) {
                    b.fiber[i].stack = stacks[i];
                    b.fiber[i].place = { dim3((unsigned)i, 0, 0), dim3(x, y, z), dim, grid };
                }
                run_block(&b);
            }
    block = NULL;
}

/* On a device that is broken nothing runs any more. */
static void run_kernel(const char *name, dim3 grid, dim3 dim, size_t shared, const std::function<void()> &thread)
{
    if (emu_control.broken)
        return;
    if (emu_control.fail_later && !strcmp(emu_control.fail_later, name)) {
        emu_control.fail_later = NULL;
        emu_control.broken = emu_control.fail_with;
        return;
    }
    emu_arena_open();
    run_grid(name, grid, dim, shared, thread);
}

void emu_launch(const char *name, dim3 grid, dim3 dim, size_t shared, cudaStream_t s, const EmuWork &work)
{
    EmuHold hold(emu_lock);
    size_t n = (size_t)dim.x * dim.y * dim.z;

    if (emu_enter(name))
        return;
    if (!n || n > 1024 || n % 32 || dim.y != 1 || dim.z != 1)
        emu_fail("%s: %zu threads in a block", name, n);
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
        emu_fail("%s: a grid of %u x %u x %u blocks", name, grid.x, grid.y, grid.z);
    if (shared > SHARED_BYTES)
        emu_fail("%s: %zu bytes of shared memory", name, shared);
    emu_check_current(s, name);
    emu_control.launches++;
    emu_graph_needs(s, work.pointers);
    const std::function<void()> &thread = work.thread;
    emu_push(s, [=]() { run_kernel(name, grid, dim, shared, thread); });
}

/* -- the device -- */

cudaError_t cudaGetDeviceCount(int *n)
{
    EmuHold hold(emu_lock);

    *n = emu_control.devices;
    return emu_enter("cudaGetDeviceCount");
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    if (device < 0 || device >= emu_control.devices)
        return emu_error(cudaErrorInvalidDevice);
    memset(p, 0, sizeof(*p));
    snprintf(p->name, sizeof(p->name), "emulated");
    p->major = emu_control.cc_major;
    p->multiProcessorCount = 4;
    p->totalGlobalMem = emu_control.memory;
    p->sharedMemPerBlockOptin = SHARED_BYTES;
    return cudaSuccess;
}

thread_local int emu_device;

cudaError_t cudaSetDevice(int device)
{
    EmuHold hold(emu_lock);

    if (device >= emu_control.devices)
        return emu_error(cudaErrorInvalidDevice);
    emu_device = device;
    return emu_enter("cudaSetDevice");
}

cudaError_t cudaDriverGetVersion(int *v) { *v = emu_control.driver_version; return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *v) { *v = 13000; return cudaSuccess; }

cudaError_t cudaGetLastError()
{
    cudaError_t e = last_error;

    last_error = cudaSuccess;
    return emu_control.broken ? (cudaError_t)emu_control.broken : e;
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess:                        return "no error";
    case cudaErrorMemoryAllocation:          return "out of memory";
    case cudaErrorInsufficientDriver:        return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:                  return "no CUDA-capable device is detected";
    case cudaErrorInvalidResourceHandle:     return "invalid resource handle";
    case cudaErrorNotReady:                  return "device not ready";
    case cudaErrorIllegalAddress:            return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure:             return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:  return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:  return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureIsolation:    return "dependency created on uncaptured work in another stream";
    case cudaErrorCapturedEvent:             return "operation not permitted on an event last recorded in a capturing "
                                                    "stream";
    case cudaErrorStreamCaptureWrongThread:  return "attempt to terminate a thread-local capture sequence from another "
                                                    "thread";
    default:                                 return "unspecified failure";
    }
}
