/*
 * CUDA on the CPU, for proofs: fibers, device memory, the runtime's calls.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "cuda_runtime.h"
#include "emu_device.h"
#include "emu_hopper.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#define ARENA_BYTES ((size_t)16 << 30)  /* of addresses; the device's memory is what EmuControl says */
#define STACK_BYTES ((size_t)128 << 10)
#define SHARED_BYTES ((size_t)227 << 10)
#define PAGE ((size_t)4096)

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

static EmuControl control = { 1, 9, 13000, (size_t)2 << 30, NULL, cudaSuccess, 0, 0, 0, 0 };
extern "C" __attribute__((visibility("default"))) EmuControl *kl_emu_control(void) { return &control; }

static cudaError_t trip(const char *call)
{
    if (!control.fail_call || strcmp(control.fail_call, call))
        return cudaSuccess;
    control.fail_call = NULL;
    return control.fail_with;
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

/* -- device memory: an arena that is closed but for launches and copies -- */

static std::recursive_mutex lock;
static char *arena;
static size_t arena_top, arena_used;
static int arena_open;
static std::map<char *, size_t> taken;
static std::map<char *, size_t> idle;   /* by address, neighbours joined */

static void arena_enter()
{
    std::lock_guard<std::recursive_mutex> hold(lock);

    if (!arena_open++ && arena_top)
        mprotect(arena, arena_top, PROT_READ | PROT_WRITE);
}

static void arena_leave()
{
    std::lock_guard<std::recursive_mutex> hold(lock);

    if (!--arena_open && arena_top)
        mprotect(arena, arena_top, PROT_NONE);
}

static bool in_arena(const void *p)
{
    return arena && (const char *)p >= arena && (const char *)p < arena + ARENA_BYTES;
}

void emu_check_device(const void *p, const char *what)
{
    std::lock_guard<std::recursive_mutex> hold(lock);

    if (!p)
        return;
    if (!in_arena(p))
        emu_fail("%s is host memory", what);
    auto it = taken.upper_bound((char *)p);
    if (it == taken.begin() || (char *)p >= (--it)->first + it->second)
        emu_fail("%s is device memory that nobody holds", what);
}

/* First fit; what nobody holds has no pages. */
static char *find_room(size_t size)
{
    for (auto it = idle.begin(); it != idle.end(); ++it)
        if (it->second >= size) {
            char *p = it->first;
            size_t rest = it->second - size;

            idle.erase(it);
            if (rest)
                idle[p + size] = rest;
            return p;
        }
    if (arena_top + size > ARENA_BYTES)
        return NULL;
    arena_top += size;
    return arena + arena_top - size;
}

static void *arena_take(size_t bytes)
{
    size_t size = (bytes + PAGE - 1) / PAGE * PAGE;
    char *p;

    if (bytes > control.memory || arena_used + size > control.memory)
        return NULL;
    if (!arena) {
        arena = (char *)mmap(NULL, ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED)
            emu_fail("no address space");
    }
    if (!(p = find_room(size)))
        return NULL;
    if (arena_open)
        mprotect(p, size, PROT_READ | PROT_WRITE);
    taken[p] = size;
    control.used = arena_used += size;
    control.most = std::max(control.most, arena_used);
    return p;
}

static void arena_give(char *p, size_t size)
{
    auto next = idle.lower_bound(p);

    madvise(p, size, MADV_DONTNEED);
    control.used = arena_used -= size;
    if (next != idle.end() && next->first == p + size) {
        size += next->second;
        next = idle.erase(next);
    }
    if (next != idle.begin() && (--next)->first + next->second == p)
        next->second += size;
    else
        idle[p] = size;
}

static void fill(void *p, size_t bytes)
{
    arena_enter();
    memset(p, 0xff, bytes);             /* NaN as f32, f16 and bf16 */
    arena_leave();
}

cudaError_t cudaMallocFromPoolAsync(void **p, size_t bytes, cudaMemPool_t, cudaStream_t)
{
    std::lock_guard<std::recursive_mutex> hold(lock);
    cudaError_t e = trip("cudaMallocFromPoolAsync");

    *p = NULL;
    if (e)
        return e;
    if (!bytes || !(*p = arena_take(bytes)))
        return bytes ? cudaErrorMemoryAllocation : cudaErrorInvalidValue;
    fill(*p, taken[(char *)*p]);
    return cudaSuccess;
}

cudaError_t cudaFreeAsync(void *p, cudaStream_t)
{
    std::lock_guard<std::recursive_mutex> hold(lock);
    auto it = taken.find((char *)p);

    if (it == taken.end())
        emu_fail("cudaFreeAsync of what was not allocated");
    arena_give(it->first, it->second);
    taken.erase(it);
    return cudaSuccess;
}

static void check_range(const void *p, size_t bytes, bool device)
{
    std::lock_guard<std::recursive_mutex> hold(lock);

    if (in_arena(p) != device)
        emu_fail("a copy takes %s memory for the %s's", device ? "host" : "device", device ? "device" : "host");
    if (!device)
        return;
    auto it = taken.upper_bound((char *)p);
    if (it == taken.begin() || (char *)p + bytes > (--it)->first + it->second)
        emu_fail("a copy of %zu bytes leaves its block of memory", bytes);
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t)
{
    cudaError_t e = trip("cudaMemcpyAsync");

    if (e)
        return e;
    check_range(dst, bytes, kind != cudaMemcpyDeviceToHost);
    check_range(src, bytes, kind != cudaMemcpyHostToDevice);
    if (kind == cudaMemcpyHostToDevice)
        control.copies_to_device++;
    arena_enter();
    memmove(dst, src, bytes);
    arena_leave();
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *dst, int v, size_t bytes, cudaStream_t)
{
    check_range(dst, bytes, true);
    arena_enter();
    memset(dst, v, bytes);
    arena_leave();
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *total)
{
    *left = control.memory - arena_used;
    *total = control.memory;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    cudaError_t e = trip("cudaMallocHost");

    *p = e ? NULL : malloc(bytes);
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *p) { free(p); return cudaSuccess; }

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
static thread_local cudaError_t last_error;

void emu_launch(const char *name, dim3 grid, dim3 dim, size_t shared, const std::function<void()> &thread)
{
    size_t n = (size_t)dim.x * dim.y * dim.z;
    Block b;

    if ((last_error = trip(name)))
        return;
    if (!n || n > 1024 || n % 32 || dim.y != 1 || dim.z != 1)
        emu_fail("%s: %zu threads in a block", name, n);
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
        emu_fail("%s: a grid of %u x %u x %u blocks", name, grid.x, grid.y, grid.z);
    if (shared > SHARED_BYTES)
        emu_fail("%s: %zu bytes of shared memory", name, shared);
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
    control.launches++;
    arena_enter();
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
    arena_leave();
    block = NULL;
}

/* -- the rest of the runtime: everything happens at once -- */

struct EmuStream { int open; };
struct EmuEvent { int open; };
struct EmuPool { int open; };

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = control.devices;
    return trip("cudaGetDeviceCount");
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    if (device < 0 || device >= control.devices)
        return cudaErrorInvalidDevice;
    memset(p, 0, sizeof(*p));
    snprintf(p->name, sizeof(p->name), "emulated");
    p->major = control.cc_major;
    p->multiProcessorCount = 4;
    p->totalGlobalMem = control.memory;
    p->sharedMemPerBlockOptin = SHARED_BYTES;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *v) { *v = control.driver_version; return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *v) { *v = 13000; return cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return device < control.devices ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaDeviceSynchronize() { return trip("cudaDeviceSynchronize"); }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return trip("cudaStreamSynchronize"); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) { *s = new EmuStream; return cudaSuccess; }
cudaError_t cudaStreamDestroy(cudaStream_t s) { delete s; return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) { *e = new EmuEvent; return cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t e) { delete e; return cudaSuccess; }
cudaError_t cudaMemPoolCreate(cudaMemPool_t *p, const cudaMemPoolProps *) { *p = new EmuPool; return cudaSuccess; }
cudaError_t cudaMemPoolDestroy(cudaMemPool_t p) { delete p; return cudaSuccess; }
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *) { return cudaSuccess; }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *v)
{
    *(uint64_t *)v = arena_used;
    return cudaSuccess;
}

cudaError_t cudaGetLastError()
{
    cudaError_t e = last_error;

    last_error = cudaSuccess;
    return e;
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess:                 return "no error";
    case cudaErrorMemoryAllocation:   return "out of memory";
    case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:           return "no CUDA-capable device is detected";
    case cudaErrorIllegalAddress:     return "an illegal memory access was encountered";
    default:                          return "unspecified failure";
    }
}
