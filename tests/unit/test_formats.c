/*
 * KlingParams.format: every one of them is the float clip, rounded; cropped or not, of one window or several.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <stdint.h>

#include "kling/kling.h"
#include "tests/check.h"
#include "tests/tiny_model.h"

#define MAX_W 48
#define MAX_H 32
#define MAX_FRAMES 40

static KlingContext *ctx;
static KlingModel *model;               /* windows of 25 pictures */
static char last_log[1024];

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level == KLING_LOG_ERROR)
        snprintf(last_log, sizeof(last_log), "%s", line);
}

typedef struct Kind {
    enum KlingFormat format;
    int bits, packed;                   /* bits 0: float */
} Kind;

static const Kind kinds[] = {
    { KLING_FORMAT_F32, 0, 0 },  { KLING_FORMAT_U8, 8, 0 },   { KLING_FORMAT_U10, 10, 0 },
    { KLING_FORMAT_U12, 12, 0 }, { KLING_FORMAT_U16, 16, 0 }, { KLING_FORMAT_RGB24, 8, 1 },
};

static double values[2][MAX_FRAMES][3][MAX_H][MAX_W];   /* of the float clip, and of the one that is compared */

/* Sample c of pixel (y,x), through plane and linesize. */
static double sample(const KlingFrame *f, const Kind *k, int c, int y, int x)
{
    const uint8_t *line = (const uint8_t *)f->plane[k->packed ? 0 : c] + y * f->linesize;

    if (!k->bits)
        return ((const float *)(const void *)line)[x];
    if (k->bits > 8)
        return ((const uint16_t *)(const void *)line)[x];
    return line[k->packed ? 3 * x + c : x];
}

/* How many frames came, or a status. */
static int read_clip(double (*to)[3][MAX_H][MAX_W], const KlingParams *p, const Kind *k)
{
    const KlingFrame *f;
    KlingJob *job = NULL;
    int n = 0, status = kling_job_create(model, &job, p);

    while (status == KLING_OK && (status = kling_job_next_frame(job, &f)) == KLING_OK) {
        if (n == MAX_FRAMES || f->index != n || f->width_px != p->width_px || f->height_px != p->height_px ||
            (f->data[0] == NULL) != (k->bits != 0) || (f->plane[1] == NULL) != (k->packed != 0))
            status = KLING_ERROR_INTERNAL;
        for (int c = 0; c < 3 && status == KLING_OK; c++)
            for (int y = 0; y < p->height_px; y++)
                for (int x = 0; x < p->width_px; x++) {
                    to[n][c][y][x] = sample(f, k, c, y, x);
                    if (f->data[c] && f->data[c][y * f->stride + x] != (float)to[n][c][y][x])
                        status = KLING_ERROR_INTERNAL;
                }
        n++;
    }
    kling_job_destroy(&job);
    return status == KLING_EOF ? n : status;
}

static void compare(KlingParams *p, const Kind *k)
{
    int n, bad = 0;

    p->format = k->format;
    n = read_clip(values[1], p, k);
    CHECK(n == p->frames, "%d bits: %d: %s", k->bits, n, last_log);
    for (int i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < p->height_px; y++)
                for (int x = 0; x < p->width_px; x++) {
                    const float v = (float)values[0][i][c][y][x];

                    bad += values[1][i][c][y][x] != (k->bits ? rintf(v * (float)((1 << k->bits) - 1)) : v);
                }
    CHECK(!bad, "%d bits%s, %dx%d, %d frames: %d samples", k->bits, k->packed ? ", packed" : "", p->width_px,
          p->height_px, n, bad);
}

static void test_formats(void)
{
    /* whole pictures and cropped ones; one window, and two, whose colours are held */
    static const int sizes[][3] = { { 20, 18, 2 }, { 32, 32, 6 }, { 38, 18, 5 }, { 34, 20, 37 } };
    const size_t n_sizes = getenv("KLING_TEST_QUICK") ? 1 : sizeof(sizes) / sizeof(sizes[0]);  /* under valgrind */
    KlingParams p;

    kling_params_default(model, &p);
    p.prompt = "a red ball on the grass";
    p.steps = 1;
    p.guidance = 1;
    p.seed = 5;
    p.threads = 1;
    p.drift_guard = 0.8f;
    for (size_t s = 0; s < n_sizes; s++) {
        int n;

        p.width_px = sizes[s][0];
        p.height_px = sizes[s][1];
        p.frames = sizes[s][2];
        p.format = KLING_FORMAT_F32;
        n = read_clip(values[0], &p, &kinds[0]);
        REQUIRE(n == p.frames, "%d: %s", n, last_log);
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
            compare(&p, &kinds[k]);
    }
}

static void test_refused(void)
{
    KlingParams p;
    KlingJob *job;

    kling_params_default(model, &p);
    p.width_px = p.height_px = 32;
    p.format = (enum KlingFormat)(KLING_FORMAT_RGB24 + 1);
    CHECK(kling_job_create(model, &job, &p) == KLING_ERROR_INVALID_ARG && !job && strstr(last_log, "format"), "%s",
          last_log);
}

int main(void)
{
    KlingContextParams cp = { .log = on_log };
    KlingModelParams mp;

    kling_model_params_default(&mp);
    mp.model = synthetic_model_path("extend");
    if (!mp.model || kling_context_create(&ctx, &cp) < 0 || kling_model_open(ctx, &model, &mp) < 0) {
        printf("not ok test_formats: the model: %s\n", last_log);
        return 1;
    }
    RUN(test_formats);
    RUN(test_refused);
    kling_model_destroy(&model);
    kling_context_destroy(&ctx);
    return check_exit();
}
