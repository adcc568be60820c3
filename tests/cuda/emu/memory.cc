/*
 * CUDA on the CPU, for proofs: the device's memory, page-locked memory, copies.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Memory is taken and freed twice: for the host at the call, which is what the
 * pool counts; where the streams are once the work before it has run, which is
 * when its pages open and close.
 */
#include "emu.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <signal.h>
#include <sys/mman.h>

#define ARENA_BYTES ((size_t)16 << 30)  /* of addresses; the device's memory is what EmuControl says */
#define PAGE ((size_t)4096)

struct Block {
    size_t size;
    uint64_t id;
    bool open, freed;                   /* where the streams are; for the host */
};

static char *arena;
static size_t arena_top, arena_held;    /* held: of all blocks, those whose freeing is still to run with them */
static int sessions;                    /* of emu_arena_enter */
static bool arena_open;
static uint64_t allocations;
static std::map<char *, Block> taken;
static std::map<char *, size_t> idle;   /* by address, neighbours joined */

void emu_arena_enter() { sessions++; }

/* Neighbours in one call each. */
void emu_arena_open()
{
    char *from = NULL, *to = NULL;

    if (arena_open)
        return;
    arena_open = true;
    for (const auto &b : taken) {
        if (!b.second.open)
            continue;
        if (b.first != to) {
            if (from)
                mprotect(from, (size_t)(to - from), PROT_READ | PROT_WRITE);
            from = b.first;
        }
        to = b.first + b.second.size;
    }
    if (from)
        mprotect(from, (size_t)(to - from), PROT_READ | PROT_WRITE);
}

void emu_arena_leave()
{
    if (--sessions || !arena_open)
        return;
    arena_open = false;
    mprotect(arena, arena_top, PROT_NONE);
}

/* For a copy alone its own pages, which is quicker. */
static void pages(const void *p, size_t bytes, int protection)
{
    char *from = (char *)((uintptr_t)p & ~(uintptr_t)(PAGE - 1)), *to = (char *)p + bytes;

    if (!arena_open && bytes)
        mprotect(from, (size_t)(to - from), protection);
}

static bool in_arena(const void *p)
{
    return arena && (const char *)p >= arena && (const char *)p < arena + ARENA_BYTES;
}

static struct sigaction fault_before;

static void fault(int, siginfo_t *info, void *)
{
    if (!in_arena(info->si_addr)) {
        sigaction(SIGSEGV, &fault_before, NULL);
        return;
    }
    if (!emu_running())
        emu_fail("the host touches device memory");
    emu_fail("%s touches device memory that nobody holds", emu_running());
}

static void arena_create()
{
    struct sigaction a;

    arena = (char *)mmap(NULL, ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        emu_fail("no address space");
    memset(&a, 0, sizeof(a));
    a.sa_sigaction = fault;
    a.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &a, &fault_before);
}

static std::map<char *, Block>::iterator block_of(const void *p)
{
    auto it = taken.upper_bound((char *)p);

    if (it == taken.begin() || (char *)p >= (--it)->first + it->second.size)
        return taken.end();
    return it;
}

uint64_t emu_allocation(const void *p)
{
    auto it = block_of(p);

    return it == taken.end() || it->second.freed ? 0 : it->second.id;
}

void emu_check_device(const void *p, const char *what)
{
    EmuHold hold(emu_lock);

    if (!p)
        return;
    if (!in_arena(p))
        emu_fail("%s is host memory", what);
    if (!emu_allocation(p))
        emu_fail("%s is device memory that nobody holds", what);
}

void emu_check_open(const void *p, size_t bytes, const char *what)
{
    auto it = block_of(p);

    if (!in_arena(p))
        emu_fail("%s is host memory", what);
    if (it == taken.end() || !it->second.open)
        emu_fail("%s is device memory that nobody holds", what);
    if ((char *)p + bytes > it->first + it->second.size)
        emu_fail("%s leaves its block of memory", what);
}

void emu_note_pointers(EmuWork *w, const void *arg, size_t bytes)
{
    for (size_t at = 0; at + sizeof(void *) <= bytes; at += sizeof(void *)) {
        const void *p;

        memcpy(&p, (const char *)arg + at, sizeof(p));
        if (in_arena(p))
            w->pointers.push_back(p);
    }
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

static char *arena_take(size_t bytes)
{
    size_t size = (bytes + PAGE - 1) / PAGE * PAGE;
    char *p;

    if (!arena)
        arena_create();
    if (bytes > emu_control.memory || emu_control.used + size > emu_control.memory)
        return NULL;
    if (arena_held + size > emu_control.memory)
        emu_finish_all();               /* what is on its way back */
    if (arena_held + size > emu_control.memory || !(p = find_room(size)))
        return NULL;
    taken[p] = { size, ++allocations, false, false };
    arena_held += size;
    emu_control.used += size;
    emu_control.most = std::max(emu_control.most, emu_control.used);
    return p;
}

static void arena_give(char *p, size_t size)
{
    auto next = idle.lower_bound(p);

    mprotect(p, size, PROT_NONE);
    madvise(p, size, MADV_DONTNEED);
    arena_held -= size;
    if (next != idle.end() && next->first == p + size) {
        size += next->second;
        next = idle.erase(next);
    }
    if (next != idle.begin() && (--next)->first + next->second == p)
        next->second += size;
    else
        idle[p] = size;
}

cudaError_t cudaMallocFromPoolAsync(void **out, size_t bytes, cudaMemPool_t, cudaStream_t s)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaMallocFromPoolAsync");
    char *p;

    *out = NULL;
    if (e)
        return e;
    if (emu_captures(s))
        emu_fail("memory is taken on a stream that is captured");
    if (!bytes || !(p = arena_take(bytes)))
        return emu_error(bytes ? cudaErrorMemoryAllocation : cudaErrorInvalidValue);
    *out = p;
    return emu_push(s, [p]() {
        Block *b = &taken[p];

        b->open = true;
        mprotect(p, b->size, PROT_READ | PROT_WRITE);
        memset(p, 0xff, b->size);       /* NaN as f32, f16 and bf16 */
        pages(p, b->size, PROT_NONE);
    });
}

cudaError_t cudaFreeAsync(void *p, cudaStream_t s)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaFreeAsync");
    auto it = taken.find((char *)p);

    if (e && !emu_control.broken)
        return e;
    if (it == taken.end() || it->second.freed)
        emu_fail("cudaFreeAsync of what is not allocated");
    if (emu_captures(s))
        emu_fail("memory is freed on a stream that is captured");
    it->second.freed = true;
    emu_control.used -= it->second.size;
    emu_push(s, [p]() {
        auto at = taken.find((char *)p);

        if (!at->second.open)
            emu_fail("memory is freed before the stream that takes it has come there");
        arena_give(at->first, at->second.size);
        taken.erase(at);
    });
    return e;
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *total)
{
    EmuHold hold(emu_lock);

    *left = emu_control.memory - arena_held;
    *total = emu_control.memory;
    return emu_enter("cudaMemGetInfo");
}

struct EmuPool { int open; };

cudaError_t cudaMemPoolCreate(cudaMemPool_t *p, const cudaMemPoolProps *)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaMemPoolCreate");

    *p = e ? NULL : new EmuPool;
    emu_control.handles += !e;
    return e;
}

cudaError_t cudaMemPoolDestroy(cudaMemPool_t p)
{
    EmuHold hold(emu_lock);

    delete p;
    emu_control.handles--;
    return emu_state();
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *) { return cudaSuccess; }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }

/* A block is back in the pool at the call that frees it. */
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr a, void *v)
{
    EmuHold hold(emu_lock);

    *(uint64_t *)v = a == cudaMemPoolAttrUsedMemCurrent ? emu_control.used : arena_held;
    return cudaSuccess;
}

/* -- page-locked memory -- */

struct Pinned {
    size_t size;
    int pending;                        /* copies that are still to run */
};
static std::map<char *, Pinned> pinned;

static std::map<char *, Pinned>::iterator pinned_of(const void *p, size_t bytes)
{
    auto it = pinned.upper_bound((char *)p);

    if (it == pinned.begin() || (char *)p >= (--it)->first + it->second.size)
        return pinned.end();
    if ((char *)p + bytes > it->first + it->second.size)
        emu_fail("a copy of %zu bytes leaves its page-locked memory", bytes);
    return it;
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaMallocHost");

    *p = NULL;
    if (e || (e = emu_may_wait()))
        return e;
    if (!bytes || !(*p = malloc(bytes)))
        return emu_error(bytes ? cudaErrorMemoryAllocation : cudaErrorInvalidValue);
    pinned[(char *)*p] = { bytes, 0 };
    emu_control.handles++;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_may_wait();
    auto it = pinned.find((char *)p);

    if (!p || e)
        return e;
    if (it == pinned.end())
        emu_fail("cudaFreeHost of what is not allocated");
    if (it->second.pending)
        emu_fail("page-locked memory is freed under a copy");
    pinned.erase(it);
    free(p);
    emu_control.handles--;
    return emu_state();
}

/* -- copies -- */

static void check_range(const void *p, size_t bytes, bool device)
{
    if (in_arena(p) != device)
        emu_fail("a copy takes %s memory for the %s's", device ? "host" : "device", device ? "device" : "host");
    if (!device)
        return;
    auto it = block_of(p);
    if (it == taken.end() || it->second.freed)
        emu_fail("a copy of device memory that nobody holds");
    if ((char *)p + bytes > it->first + it->second.size)
        emu_fail("a copy of %zu bytes leaves its block of memory", bytes);
}

/* Which of the two are the device's is in kind. */
static void copy_now(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind)
{
    if (emu_control.broken)
        return;
    if (kind != cudaMemcpyDeviceToHost)
        emu_check_open(dst, bytes, "the destination of a copy");
    if (kind != cudaMemcpyHostToDevice)
        emu_check_open(src, bytes, "the source of a copy");
    if (kind == cudaMemcpyDeviceToDevice)
        emu_arena_open();
    pages(kind == cudaMemcpyDeviceToHost ? src : dst, bytes, PROT_READ | PROT_WRITE);
    memmove(dst, src, bytes);
    pages(kind == cudaMemcpyDeviceToHost ? src : dst, bytes, PROT_NONE);
}

/* The host's part in memory that is page-locked: read or written when the copy runs. In a graph as often. */
static cudaError_t copy_pinned(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s)
{
    const bool to_host = kind == cudaMemcpyDeviceToHost;
    auto it = pinned_of(to_host ? dst : src, bytes);
    char *base = it->first;

    if (emu_captures(s))
        return emu_push(s, [=]() {
            if (!pinned.count(base))
                emu_fail("a graph copies page-locked memory that has been freed");
            copy_now(dst, src, bytes, kind);
        });
    if (to_host && !it->second.pending)
        memset(dst, 0xff, bytes);       /* who reads it too early shall see */
    it->second.pending++;
    return emu_push(s, [=]() {
        pinned[base].pending--;
        copy_now(dst, src, bytes, kind);
    });
}

/* Bytes to the device are staged at the call; those to the host are there when it returns. */
static cudaError_t copy_pageable(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s)
{
    cudaError_t e;

    if (emu_captures(s))
        return emu_spoil(s);
    if (kind == cudaMemcpyHostToDevice) {
        std::shared_ptr<char> stage((char *)malloc(bytes ? bytes : 1), free);

        memcpy(stage.get(), src, bytes);
        return emu_push(s, [=]() { copy_now(dst, stage.get(), bytes, kind); });
    }
    e = emu_push(s, [=]() { copy_now(dst, src, bytes, kind); });
    emu_finish(s);
    return e ? e : emu_state();
}

cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaMemcpyAsync");

    if (e)
        return e;
    check_range(dst, bytes, kind != cudaMemcpyDeviceToHost);
    check_range(src, bytes, kind != cudaMemcpyHostToDevice);
    if (kind == cudaMemcpyHostToDevice)
        emu_control.copies_to_device++;
    emu_graph_needs(s, { dst, src });
    if (kind == cudaMemcpyDeviceToDevice)
        return emu_push(s, [=]() { copy_now(dst, src, bytes, kind); });
    if (pinned_of(kind == cudaMemcpyDeviceToHost ? dst : src, bytes) != pinned.end())
        return copy_pinned(dst, src, bytes, kind, s);
    return copy_pageable(dst, src, bytes, kind, s);
}

cudaError_t cudaMemsetAsync(void *dst, int v, size_t bytes, cudaStream_t s)
{
    EmuHold hold(emu_lock);
    cudaError_t e = emu_enter("cudaMemsetAsync");

    if (e)
        return e;
    check_range(dst, bytes, true);
    emu_graph_needs(s, { dst });
    return emu_push(s, [=]() {
        if (emu_control.broken)
            return;
        emu_check_open(dst, bytes, "what is filled");
        pages(dst, bytes, PROT_READ | PROT_WRITE);
        memset(dst, v, bytes);
        pages(dst, bytes, PROT_NONE);
    });
}
