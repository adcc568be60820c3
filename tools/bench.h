/*
 * What the parts of kling-bench share.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Self-contained: tools are linked into every test as well.
 */
#ifndef KL_BENCH_H
#define KL_BENCH_H

#include "engine/model_internal.h"
#include "kernels/kernels.h"

#define GIB (1024.0 * 1024 * 1024)

typedef struct Timer { double wall, cpu; } Timer;      /* seconds */

typedef struct Bench {
    KlKernels k;
    KlExec *ex;
    KlDiag diag;
    int threads, reps, ops, layers, text_tokens;
    double peak, peak_core;             /* GFLOP/s of sgemm: by wall time, by processor time of one core */
    const char *stages;
    KlDitConfig dit;
    KlVaeConfig vae, vae22;             /* the model's, Wan 2.2's */
    int space;                          /* pixels per latent of the model's VAE */
    KlTextEncoderConfig text;
    const char *model;
} Bench;

double bench_wall_s(void);
double bench_cpu_s(void);
Timer bench_start(void);
Timer bench_stop(Timer t);
void bench_keep_best(Timer *best, Timer t);
/** A line of a file of /proc, in GiB; 0 where there is none. */
double bench_proc_gib(const char *path, const char *key);
/** Makes VmHWM start again. */
void bench_peak_reset(void);
void bench_print_memory(double weights_gib);
void bench_print_rate(const Bench *b, const char *what, Timer t, double flops);
/** n numbers in [-1,1); ends the program when there is no memory. */
float *bench_alloc_f32(size_t n);

/** Replaces a table's ops by ones that take the time. One table at a time. */
void bench_wrap_ops(KlKernels *k);
void bench_reset_ops(void);
/** Of the last repetition, which took `wall` seconds. */
void bench_print_ops(const Bench *b, double wall);

/** Single ops at the shapes of the released models. */
void bench_single_ops(Bench *b);

#endif /* KL_BENCH_H */
