/*
 * libkling in another program, without FFmpeg: a prompt to a stream of PPM pictures.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *     cc embed.c -o embed $(pkg-config --cflags --libs kling)
 *     ./embed MODEL "a red ball on the grass" [SEED [FRAMES]] > clip.ppm
 *     ffplay -f image2pipe -c:v ppm clip.ppm
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <kling/kling.h>

static KlingJob *running;

static void on_interrupt(int sig)
{
    (void)sig;
    kling_job_cancel(running);
}

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level <= KLING_LOG_WARNING)
        fprintf(stderr, "kling: %s\n", line);
}

static void on_progress(void *opaque, const KlingProgress *p)
{
    (void)opaque;
    fprintf(stderr, "\rpart %d of %d: %s %d/%d  %.2f s a step ", p->window + 1, p->windows, p->stage, p->step,
            p->steps, p->step_seconds);
}

static unsigned char to_byte(float x)
{
    return (unsigned char)(x * 255.0f + 0.5f);      /* the library clamps to [0,1] */
}

/* Called for every frame as soon as it is decoded. */
static int on_frame(void *opaque, const KlingFrame *f)
{
    FILE *out = opaque;

    fprintf(out, "P6\n%d %d\n255\n", f->width_px, f->height_px);
    for (int y = 0; y < f->height_px; y++)
        for (int x = 0; x < f->width_px; x++)
            for (int c = 0; c < 3; c++)
                fputc(to_byte(f->data[c][y * f->stride + x]), out);
    return ferror(out);
}

int main(int argc, char **argv)
{
    KlingContextParams cp = { .log = on_log };
    KlingContext *ctx = NULL;
    KlingModel *model = NULL;
    KlingModelParams mp;
    KlingParams p;
    int ret;

    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL PROMPT [SEED [FRAMES]] > clip.ppm\n", argv[0]);
        return 2;
    }
    kling_model_params_default(&mp);
    mp.model = argv[1];
    if ((ret = kling_context_create(&ctx, &cp)) == KLING_OK &&
        (ret = kling_model_open(ctx, &model, &mp)) == KLING_OK) {
        kling_params_default(model, &p);
        p.prompt = argv[2];
        p.seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
        p.frames = argc > 4 ? atoi(argv[4]) : p.frames;     /* any number, where the model can go on from pictures */
        p.progress = on_progress;
        ret = kling_job_create(model, &running, &p);
    }
    if (ret == KLING_OK) {
        signal(SIGINT, on_interrupt);
        ret = kling_job_run(running, on_frame, stdout);
        fprintf(stderr, "\n%s\n", kling_status_name(ret));
    }
    kling_job_destroy(&running);
    kling_model_destroy(&model);
    kling_context_destroy(&ctx);
    return ret == KLING_OK ? 0 : 1;
}
