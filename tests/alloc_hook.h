/*
 * Allocations counted, and refused when a test says so.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * malloc() and its kin, and mmap(), are the including program's own, in front
 * of the C library's: libraries behind libkling come through here as well. One
 * program, one include. Only what happens while `armed`, in the thread that set
 * it, is counted.
 */
#ifndef KL_TESTS_ALLOC_HOOK_H
#define KL_TESTS_ALLOC_HOOK_H

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *aligned_alloc(size_t align, size_t n);
void *mmap(void *addr, size_t n, int prot, int flags, int fd, off_t off);
int munmap(void *addr, size_t n);

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void (*free)(void *);
} real;

static _Thread_local volatile int armed;  /* only the test's own thread, only while it wants; volatile, for the
                                           compiler knows that malloc() reads no such thing */
static _Thread_local long countdown;    /* allocations until the one that fails; 0: none fails */
static _Thread_local long live, seen, refused;      /* blocks in use; allocations, and those that failed */
static _Thread_local long long live_bytes, peak_bytes;  /* in use now, and at most */
static _Thread_local void *maps[256];                   /* those of them that are mapped */
static _Thread_local int n_maps;

/* The loader may ask for memory while it looks for malloc: that comes from here and is never given back. */
static _Alignas(64) char early[65536];
static size_t early_used;

static void *early_alloc(size_t n)
{
    char *p = early + early_used;

    n = (n + 63) / 64 * 64;
    if (n > sizeof(early) - early_used)
        return NULL;
    early_used += n;
    return p;
}

static int is_early(const void *p)
{
    return (const char *)p >= early && (const char *)p < early + sizeof(early);
}

/* False while the search is on. */
static int find_real(void)
{
    static int searching;

    if (real.free)
        return 1;
    if (searching)
        return 0;
    searching = 1;
    *(void **)&real.malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **)&real.calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&real.realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&real.aligned_alloc = dlsym(RTLD_NEXT, "aligned_alloc");
    *(void **)&real.posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    *(void **)&real.free = dlsym(RTLD_NEXT, "free");
    return real.free != NULL;
}

static int refuse(void)
{
    if (!armed)
        return 0;
    seen++;
    if (!countdown || --countdown)
        return 0;
    refused++;
    errno = ENOMEM;
    return 1;
}

static void count(int blocks, long long bytes)
{
    live += blocks;
    live_bytes += bytes;
    if (live_bytes > peak_bytes)
        peak_bytes = live_bytes;
}

static void *given(void *p)
{
    if (armed && p)
        count(1, (long long)malloc_usable_size(p));
    return p;
}

static void taken(void *p)
{
    if (armed)
        count(-1, -(long long)malloc_usable_size(p));
}

void *malloc(size_t n)
{
    return !find_real() ? early_alloc(n) : refuse() ? NULL : given(real.malloc(n));
}

void *calloc(size_t n, size_t size)
{
    return !find_real() ? early_alloc(n * size) : refuse() ? NULL : given(real.calloc(n, size));
}

void *realloc(void *p, size_t n)
{
    if (!p)
        return malloc(n);
    if (is_early(p) || refuse())
        return NULL;
    taken(p);
    return given(real.realloc(p, n));
}

void *aligned_alloc(size_t align, size_t n)
{
    return !find_real() || refuse() ? NULL : given(real.aligned_alloc(align, n));
}

int posix_memalign(void **p, size_t align, size_t n)
{
    int ret;

    if (!find_real() || refuse())
        return ENOMEM;
    ret = real.posix_memalign(p, align, n);
    if (!ret)
        given(*p);
    return ret;
}

void free(void *p)
{
    if (!p || is_early(p))
        return;
    taken(p);
    if (find_real())
        real.free(p);
}

/* What is mapped without a file is memory like malloc's; a file's pages are the system's. */
void *mmap(void *addr, size_t n, int prot, int flags, int fd, off_t off)
{
    void *p = refuse() ? MAP_FAILED : (void *)syscall(SYS_mmap, addr, n, prot, flags, fd, off);

    if (armed && fd < 0 && p != MAP_FAILED && n_maps < (int)(sizeof(maps) / sizeof(*maps))) {
        maps[n_maps++] = p;
        count(1, (long long)n);
    }
    return p;
}

int munmap(void *addr, size_t n)
{
    for (int i = 0; armed && i < n_maps; i++)
        if (maps[i] == addr) {
            maps[i] = maps[--n_maps];
            count(-1, -(long long)n);
            break;
        }
    return (int)syscall(SYS_munmap, addr, n);
}

#endif /* KL_TESTS_ALLOC_HOOK_H */
