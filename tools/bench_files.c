/*
 * kling-bench: a model's files as a user has them: seconds to open, of each stage of one step and one frame, and the
 * peak of memory.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Mapped pages count as resident and are the system's to take back; what the
 * process has of its own is the rest. The system keeps a peak of the whole, so
 * the other is sampled.
 */
#include <kling/kling.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define PROMPT "A red ball falls onto a wooden table and bounces, soft light of the afternoon, a camera that moves in"

typedef struct Sampler {
    pthread_t thread;
    atomic_bool stop;
    double own;                         /* GiB, the most seen */
} Sampler;

typedef struct Clock {                  /* when the stages began */
    double open, text, denoise, decode, end;
} Clock;

static void *sample(void *opaque)
{
    Sampler *s = opaque;

    while (!s->stop) {
        const double own = bench_proc_gib("/proc/self/status", "RssAnon:");

        s->own = KL_MAX(s->own, own);
        usleep(5000);
    }
    return NULL;
}

static void on_progress(void *opaque, const KlingProgress *p)
{
    Clock *c = opaque;
    double *at = !strcmp(p->stage, "text") ? &c->text : !strcmp(p->stage, "denoise") ? &c->denoise :
                 !strcmp(p->stage, "decode") ? &c->decode : NULL;

    if (at && !*at)
        *at = bench_wall_s();
}

static int no_frame(void *opaque, const KlingFrame *f)
{
    (void)opaque;
    (void)f;
    return 0;
}

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level <= KLING_LOG_WARNING)
        fprintf(stderr, "kling-bench: %s\n", line);
}

static int one_frame(const Bench *b, KlingModel *model, Clock *c)
{
    const KlingModelInfo *info = kling_model_info(model);
    KlingJob *job = NULL;
    KlingParams p;
    char why[512];
    int ret;

    kling_params_default(model, &p);
    p.prompt = PROMPT;
    p.width_px = p.height_px = 2 * info->size_multiple_px > 64 ? 2 * info->size_multiple_px : 64;
    p.frames = p.steps = 1;
    p.guidance = p.guidance_low = 1;
    p.threads = b->threads;
    p.progress = on_progress;
    p.progress_opaque = c;
    ret = kling_job_create(model, &job, &p);
    if (ret == KLING_OK) {
        ret = kling_job_run(job, no_frame, NULL);
        snprintf(why, sizeof(why), "%s", ret == KLING_OK ? "" : kling_job_error(job));
    } else {
        kling_model_error(model, why, sizeof(why));
    }
    c->end = bench_wall_s();
    kling_job_destroy(&job);
    if (ret != KLING_OK)
        fprintf(stderr, "kling-bench: %s\n", why);
    return ret;
}

int bench_files(const Bench *b, const KlingModelParams *mp)
{
    const KlingContextParams cp = { .log = on_log };
    KlingContext *ctx = NULL;
    KlingModel *model = NULL;
    Clock c = { .open = bench_wall_s() };
    Sampler s = { 0 };
    double opened;
    int ret;

    bench_peak_reset();
    if (pthread_create(&s.thread, NULL, sample, &s))
        return -1;
    ret = kling_context_create(&ctx, &cp);
    if (ret == KLING_OK)
        ret = kling_model_open(ctx, &model, mp);        /* a failure is in the log */
    opened = bench_wall_s();
    if (ret == KLING_OK)
        ret = one_frame(b, model, &c);
    s.stop = true;
    pthread_join(s.thread, NULL);
    if (ret == KLING_OK)
        printf("%s: %s\n"
               "  opened %.2f s, prompt %.2f s, one step %.2f s, one frame decoded %.2f s\n"
               "  peak memory of its own %.0f MiB, resident with mapped files %.0f MiB\n", mp->model,
               kling_model_info(model)->kind, opened - c.open, c.denoise - c.text, c.decode - c.denoise,
               c.end - c.decode, 1024 * s.own, 1024 * bench_proc_gib("/proc/self/status", "VmHWM:"));
    kling_model_destroy(&model);
    kling_context_destroy(&ctx);
    return ret == KLING_OK ? 0 : -1;
}
