/*
 * What the parts of kling-bench share.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Self-contained: tools are linked into every test as well.
 */
#ifndef KL_BENCH_H
#define KL_BENCH_H

#include <kling/kling.h>

#include "engine/model_internal.h"
#include "kernels/kernels.h"
#include "synth_model.h"

#define GIB (1024.0 * 1024 * 1024)

typedef struct Timer { double wall, cpu; } Timer;      /* seconds */

typedef struct Bench {
    KlKernels k;
    KlExec *ex;
    bool on_device;                     /* not the CPU */
    int64_t device_free;                /* bytes, before anything was taken */
    KlDiag diag;
    KlPrecision precision;
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
void bench_print_memory(const Bench *b, double weights_gib);
void bench_print_rate(const Bench *b, const char *what, Timer t, double flops);
/** n numbers in [-1,1); ends the program when there is no memory. */
float *bench_alloc_f32(size_t n);

/** Random weights of a part, and their size; NULL with a line when memory is short for them and, beside them, for that
 *  share of them. fast: see synth_weights(). */
KlWeights *bench_weights(SynthPart part, const void *cfg, KlDType dtype, bool fast, double beside, void **mem,
                         double *gib);
/** A step with int8 weights beside the same with f32 ones, in turns, and its error; on a CPU. */
int bench_int8(Bench *b, const int size[3]);

/** A model's files: seconds to open and of each stage of one step and one small frame, and the peak of memory. */
int bench_files(const Bench *b, const KlingModelParams *mp);

/* -- what the table computes on, wherever that is -- */

/** n random numbers in [-1,1) in the executor's memory; ends the program when there is none. */
float *bench_random(const Bench *b, size_t n);
void bench_free(const Bench *b, float *p);
/** Has mem_alloc keep the lowest mem_available seen, for bench_device_peak_gib(). */
void bench_watch_memory(Bench *b);
/** Of a device: what was taken of it at most since bench_watch_memory(); 0 on a host. */
double bench_device_peak_gib(const Bench *b);
/** Ends the program with the executor's sentence when the device failed. */
void bench_sync(const Bench *b);

typedef void (*BenchFn)(void *opaque, int set);
/** Median seconds of fn() after every input set has been used once; sets are taken in turns. Calls are enqueued in
 *  batches of about 20 ms, each waited for as a whole. */
double bench_median_s(const Bench *b, BenchFn fn, void *opaque, int sets);

/** Replaces a table's ops by ones that take the time. One table at a time. */
void bench_wrap_ops(KlKernels *k);
void bench_reset_ops(void);
/** Of the last repetition, which took `wall` seconds. */
void bench_print_ops(const Bench *b, double wall);

/** Single ops at the shapes of the released models, at sizes for a CPU. */
void bench_single_ops(Bench *b);
/** The ops of one layer of the transformer and of the VAE's decoder at exactly this clip's shapes: a line each,
 *  "KIND:SHAPE MS TFLOP/s", medians. */
void bench_clip_ops(Bench *b, int width, int height, int frames);

#endif /* KL_BENCH_H */
