/*
 * Clocks, memory and lines of kling-bench.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

double bench_wall_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double bench_cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

Timer bench_start(void)
{
    return (Timer){ bench_wall_s(), bench_cpu_s() };
}

Timer bench_stop(Timer t)
{
    return (Timer){ bench_wall_s() - t.wall, bench_cpu_s() - t.cpu };
}

/* A line of /proc, in GiB; 0 where there is none. */
double bench_proc_gib(const char *path, const char *key)
{
    FILE *f = fopen(path, "r");
    char line[256];
    double kb = 0;

    while (f && fgets(line, sizeof(line), f))
        if (!strncmp(line, key, strlen(key)))
            kb = atof(line + strlen(key));
    if (f)
        fclose(f);
    return kb / (1024 * 1024);
}

void bench_peak_reset(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");

    if (!f)
        return;
    fputs("5", f);
    fclose(f);
}

void bench_print_memory(const Bench *b, double weights_gib)
{
    double hwm = bench_proc_gib("/proc/self/status", "VmHWM:"), device = bench_device_peak_gib(b);

    if (b->on_device)
        printf("  peak memory %.2f GiB on the device beside %.2f GiB of weights, %.2f GiB on the host\n", device,
               weights_gib, hwm);
    else
        printf("  peak memory %.2f GiB, %.2f GiB of it weights\n", hwm, weights_gib);
}

void bench_print_rate(const Bench *b, const char *what, Timer t, double flops)
{
    double all = flops / t.wall * 1e-9, core = flops / t.cpu * 1e-9;

    if (b->on_device) {
        printf("  %-34s %8.3f s %7.1f TFLOP/s\n", what, t.wall, all * 1e-3);
        fflush(stdout);
        return;
    }
    printf("  %-34s %8.3f s %7.1f GFLOP/s %4.0f %% of sgemm  (a core: %6.1f, %3.0f %%)\n", what, t.wall, all,
           100 * all / b->peak, core, 100 * core / b->peak_core);
    fflush(stdout);
}

void bench_keep_best(Timer *best, Timer t)
{
    if (!best->wall || t.wall < best->wall)
        *best = t;
}

float *bench_alloc_f32(size_t n)
{
    float *p = aligned_alloc(64, (n * sizeof(*p) + 63) / 64 * 64);

    if (!p) {
        fprintf(stderr, "kling-bench: no memory for %.1f MiB\n", (double)n * 4 / (1024 * 1024));
        exit(1);
    }
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(i * 2654435761u % 2048) / 1024.0f - 1;
    return p;
}

static void add_bytes(void *opaque, const char *name, int ndim, const int64_t *shape)
{
    double n = 1;

    (void)name;
    for (int i = 0; i < ndim; i++)
        n *= (double)shape[i];
    *(double *)opaque += n;
}

KlWeights *bench_weights(SynthPart part, const void *cfg, KlDType dtype, bool fast, double beside, void **mem,
                         double *gib)
{
    double n = 0, have = bench_proc_gib("/proc/meminfo", "MemAvailable:");
    KlWeights *w = NULL;

    synth_list(part, cfg, add_bytes, &n);
    *gib = n * (double)kl_dtype_bytes(dtype, 1) / GIB;
    if (have && *gib * (1 + beside) + 1.5 > have) {
        printf("  skipped: the weights take %.1f GiB, %.1f GiB of memory are free%s\n", *gib, have,
               part == SYNTH_VAE ? "" : "; --layers N measures a part of it");
        return NULL;
    }
    if (synth_weights(part, cfg, 1, dtype, fast, &w, mem) < 0) {
        printf("  skipped: no memory for %.1f GiB of weights\n", *gib);
        return NULL;
    }
    return w;
}
