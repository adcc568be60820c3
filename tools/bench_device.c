/*
 * Memory, waiting and medians of kling-bench, on whatever the table runs.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

#define BLOCK 1048573                   /* random numbers drawn at once; a prime: rows of a matrix all differ */
#define SAMPLES 5
#define BATCH_S 0.02
#define MAX_CALLS 400

static KlKernels watched;
static int64_t lowest;

static void *watched_alloc(KlExec *ex, size_t bytes)
{
    void *p = watched.mem_alloc(ex, bytes);
    int64_t left = watched.mem_available(&watched);

    lowest = left < lowest ? left : lowest;
    return p;
}

void bench_watch_memory(Bench *b)
{
    if (!b->on_device)
        return;
    if (!watched.mem_alloc) {
        watched = b->k;
        b->k.mem_alloc = watched_alloc;
    }
    lowest = b->device_free;
}

double bench_device_peak_gib(const Bench *b)
{
    int64_t left;

    if (!b->on_device)
        return 0;
    left = b->k.mem_available(&b->k);           /* scratch is not taken by mem_alloc */
    return (double)(b->device_free - (left < lowest ? left : lowest)) / GIB;
}

void bench_sync(const Bench *b)
{
    if (b->k.exec_sync(b->ex) >= 0)
        return;
    fprintf(stderr, "kling-bench: %s\n", b->k.exec_error(b->ex));
    exit(1);
}

float *bench_random(const Bench *b, size_t n)
{
    static float block[BLOCK];
    static uint64_t seed = 1;
    float *p = b->k.mem_alloc(b->ex, n * sizeof(*p));

    if (!p) {
        fprintf(stderr, "kling-bench: no memory for %.1f MiB\n", (double)n * 4 / (1024 * 1024));
        exit(1);
    }
    for (size_t i = 0; i < BLOCK; i++) {        /* xorshift64 */
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        block[i] = (float)(int32_t)(seed >> 32) * 0x1p-31f;
    }
    for (size_t at = 0; at < n; at += BLOCK)
        if (b->k.mem_upload(b->ex, p + at, block, (n - at < BLOCK ? n - at : BLOCK) * sizeof(*p)) < 0)
            bench_sync(b);
    return p;
}

void bench_free(const Bench *b, float *p)
{
    b->k.mem_free(b->ex, p);
}

static double batch_s(const Bench *b, BenchFn fn, void *opaque, int sets, int calls)
{
    double t = bench_wall_s();

    for (int i = 0; i < calls; i++)
        fn(opaque, i % sets);
    bench_sync(b);
    return (bench_wall_s() - t) / calls;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median_s(const Bench *b, BenchFn fn, void *opaque, int sets)
{
    double s[SAMPLES], once;
    int calls;

    batch_s(b, fn, opaque, sets, sets);
    once = batch_s(b, fn, opaque, sets, 1);
    calls = once < BATCH_S / MAX_CALLS ? MAX_CALLS : once > BATCH_S ? 1 : (int)(BATCH_S / once) + 1;
    for (int i = 0; i < SAMPLES; i++)
        s[i] = batch_s(b, fn, opaque, sets, calls);
    qsort(s, SAMPLES, sizeof(s[0]), ascending);
    return s[SAMPLES / 2];
}
