/*
 * A clip of windows in constant memory, and what happens when memory runs out in one of them.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Bytes are counted as they are asked for and given back, not as the system
 * sees them. One thread, so that every allocation is the test's own.
 */
#include <stdint.h>

#include "kling/kling.h"
#include "tests/alloc_hook.h"
#include "tests/check.h"
#include "tests/tiny_model.h"

#define SIDE 16

static KlingContext *ctx;
static KlingModel *model;
static float grey[SIDE * SIDE];
static const KlingFrame picture = { .data = { grey, grey, grey }, .stride = SIDE, .width_px = SIDE, .height_px = SIDE };

/* The number of pictures given, or the status. */
static int run(int frames, int lead, int trail, char error[512])
{
    const KlingFrame given[5] = { picture, picture, picture, picture, picture };
    const KlingFrame *f;
    KlingJob *job = NULL;
    KlingParams p;
    int ret, n = 0;

    kling_params_default(model, &p);
    p.width_px = p.height_px = SIDE;
    p.frames = frames;
    p.steps = 1;
    p.guidance = 3;
    p.threads = 1;
    p.drift_guard = 1;
    p.lead = p.trail = given;
    p.nb_lead = lead;
    p.nb_trail = trail;
    ret = kling_job_create(model, &job, &p);
    if (ret < 0)
        kling_model_error(model, error, 512);
    while (ret == KLING_OK && (ret = kling_job_next_frame(job, &f)) == KLING_OK)
        n++;
    if (ret < 0 && job)
        snprintf(error, 512, "%s", kling_job_error(job));
    kling_job_destroy(&job);
    return ret < 0 ? ret : n;
}

static long long peak_of(int frames, int lead, int trail)
{
    char error[512] = "";
    int n;

    live = 0;
    live_bytes = peak_bytes = 0;
    armed = 1;
    n = run(frames, lead, trail, error);
    armed = 0;
    CHECK(n == frames, "%d of %d frames: %s", n, frames, error);
    CHECK(!live && !live_bytes, "%ld blocks, %lld bytes leak", live, live_bytes);
    return peak_bytes;
}

/* 25 new pictures in the first window, 16 in each later one. */
static void test_constant_memory(void)
{
    long long one, two, many;

    run(1, 0, 0, (char[512]){ 0 });     /* the prompt is remembered now */
    one = peak_of(25, 0, 0);
    two = peak_of(25 + 16, 0, 0);
    many = peak_of(25 + 16 * (getenv("KLING_TEST_QUICK") ? 2 : 24), 0, 0);
    /* a block may be a little larger than asked for, depending on what was free */
    CHECK(many <= two + two / 1000, "%lld bytes for many windows, %lld for two", many, two);
    /* beside the one window's: 9 pictures, the encoder, which needs less than the decoder, and latents */
    CHECK(one > 100000 && two < one + one / 4, "%lld bytes for one window, %lld for two", one, two);
    two = peak_of(32, 5, 5);
    many = peak_of(32 + 16 * 6, 5, 5);
    CHECK(many <= two + two / 50, "%lld bytes for many windows, %lld for two", many, two);
    printf("# at most %lld bytes in one window, %lld in two, %lld in many\n", one, two, many);
}

/* Every so many-th allocation of a clip of two windows with lead and trail is refused once. */
static void test_refused_memory(void)
{
    const int step = getenv("KLING_TEST_QUICK") ? 41 : 1;
    int ret = run(18, 5, 3, (char[512]){ 0 }), n, tried = 0;
    int stride = 1;

    REQUIRE(ret == 18, "status %d with all the memory", ret);
    for (n = 1; n < 1000000; n += stride * step) {
        char error[512] = "";

        live = seen = refused = 0;
        countdown = n;
        armed = 1;
        ret = run(18, 5, 3, error);
        armed = 0;
        tried++;
        CHECK(!live, "%ld blocks leak after refusal %d", live, n);
        if (!refused)
            break;
        CHECK(ret == KLING_ERROR_OUT_OF_MEMORY || ret == 18, "refusal %d gives status %d: %s", n, ret, error);
        CHECK(ret == 18 || ((strstr(error, "memory") || strstr(error, "threads")) && !strchr(error, '\n')),
              "refusal %d says '%s'", n, error);
        stride = 1 + n / 100;           /* most are the VAE's pictures, over and over */
    }
    CHECK(ret == 18, "status %d in the end", ret);
    printf("# %d of %d allocations refused once\n", tried - 1, n);
}

int main(void)
{
    KlingModelParams p;

    kling_model_params_default(&p);
    p.model = synthetic_model_path("extend");
    if (!p.model || kling_context_create(&ctx, NULL) < 0 || kling_model_open(ctx, &model, &p) < 0) {
        printf("not ok test_alloc_extend: the model does not open\n");
        return 1;
    }
    RUN(test_constant_memory);
    RUN(test_refused_memory);
    kling_model_destroy(&model);
    kling_context_destroy(&ctx);
    return check_exit();
}
