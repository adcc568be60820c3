/*
 * Whole pipelines against WanPipeline: prompt to frames through the public API.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tolerance: |delta| <= 1e-3 per channel value in [0,1], the product's promise. The reference is stored in 16 bits
 * (7.6e-6 off at most). Both tables must hold it: f32 differs from the reference only by the order of sums.
 */
#include <math.h>

#include "engine/weights.h"
#include "tests/check.h"
#include "tools/synth.h"
#include "tests/tiny_model.h"

#define TOLERANCE 1e-3
#define STRIDE 11                       /* between a clip's values, where a golden is one row of them */
#define SEED 1

typedef struct Case {
    const char *name, *model;
    enum KlingSampler sampler;
    const char *prompt, *negative;
    int width, height, frames, steps;
    float guidance, shift;
    uint64_t seed;
    int image;                          /* 1: goes on from a picture, the clip's first */
} Case;

/* The same rows as in gen_pipeline.py. */
static const Case cases[] = {
    { "tiny_unipc", "tiny", KLING_SAMPLER_UNIPC, "a red ball falls onto a wooden table and bounces", "",
      64, 48, 9, 4, 5.0f, 3.0f, 7, 0 },
    { "tiny_euler", "tiny", KLING_SAMPLER_EULER, "一个红色的球落在木桌上弹起来", "blue",
      32, 32, 5, 5, 3.0f, 5.0f, 42, 0 },
    { "tiny_unguided", "tiny", KLING_SAMPLER_UNIPC, "", "", 16, 80, 1, 10, 1.0f, 1.0f, 0, 0 },
    { "odd_unipc", "odd", KLING_SAMPLER_UNIPC, "a fish &amp; a star, left of the sea", "red",
      80, 48, 5, 6, 4.5f, 3.0f, 123456789, 0 },
    { "odd_euler", "odd", KLING_SAMPLER_EULER, "night with stars", "", 48, 64, 5, 3, 6.0f, 8.0f, 3, 0 },
    { "expand_unipc", "expand", KLING_SAMPLER_UNIPC, "a car rolls left", "", 48, 48, 5, 4, 5.0f, 3.0f, 11, 0 },
    { "ti2v_unipc", "ti2v", KLING_SAMPLER_UNIPC, "a kite over the beach", "", 64, 96, 9, 4, 5.0f, 5.0f, 21, 0 },
    { "ti2v_euler", "ti2v", KLING_SAMPLER_EULER, "two boats", "fog", 96, 32, 5, 3, 4.0f, 5.0f, 5, 0 },
    { "ti2v_image", "ti2v", KLING_SAMPLER_UNIPC, "the kite turns", "", 96, 64, 9, 4, 5.0f, 5.0f, 22, 1 },
};

static char last_log[512];

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level == KLING_LOG_ERROR)
        snprintf(last_log, sizeof(last_log), "%s", line);
}

/* picture() of gen_pipeline.py as planes, malloc'd. */
static float *picture(int w, int h)
{
    const uint64_t key = synth_key(SEED, "picture");
    const size_t plane = (size_t)w * (size_t)h;
    float *x = malloc(sizeof(*x) * 3 * plane);

    for (size_t c = 0; x && c < 3; c++)
        for (size_t k = 0; k < plane; k++)
            x[c * plane + k] = (float)(0.5 + 0.5 * (double)synth_value(key, k * 3 + c, 0, 1));
    return x;
}

/* The golden's values of a frame, the n-th of its clip. */
static void compare(const KlingFrame *f, int n, const KlTensor *want, double *worst, double *sum)
{
    const int64_t stride = want->ndim == 1 ? STRIDE : 1;
    int64_t at = (int64_t)n * 3 * f->width_px * f->height_px;

    for (int y = 0; y < f->height_px; y++)
        for (int x = 0; x < f->width_px; x++)
            for (int ch = 0; ch < 3; ch++, at++) {
                double e;

                if (at % stride || (at / stride + 1) * 2 > (int64_t)want->bytes)
                    continue;
                e = fabs((double)f->data[ch][y * f->stride + x] -
                         ((const uint16_t *)want->data)[at / stride] / 65535.0);
                *sum += e;
                *worst = e > *worst || isnan(e) ? e : *worst;
            }
}

static void run_case(const Case *c, const KlWeights *goldens, KlingModel *model, unsigned flags)
{
    const KlTensor *want = kl_weights_find(goldens, c->name);
    const int64_t values = 3 * (int64_t)c->width * c->height * c->frames;
    float *x = c->image ? picture(c->width, c->height) : NULL;
    const size_t plane = (size_t)c->width * (size_t)c->height;
    const KlingFrame lead = { .data = { x, x ? x + plane : x, x ? x + 2 * plane : x }, .stride = c->width,
                              .width_px = c->width, .height_px = c->height };
    const KlingFrame *f;
    KlingJob *job = NULL;
    KlingParams p;
    double worst = 0, sum = 0;
    int n = 0, ret;

    REQUIRE(want && want->dtype == KL_FT_I16 && (want->ndim == 4 || want->ndim == 1), "no golden");
    kling_params_default(model, &p);
    p.prompt = c->prompt;
    p.negative_prompt = c->negative;
    p.width_px = c->width;
    p.height_px = c->height;
    p.frames = c->frames - c->image;
    p.steps = c->steps;
    p.guidance = c->guidance;
    p.shift = c->shift;
    p.seed = c->seed;
    p.sampler = c->sampler;
    p.lead = x ? &lead : NULL;
    p.nb_lead = c->image;
    p.flags = flags | (c->image ? KLING_FLAG_KEEP_CONTEXT : 0);
    ret = kling_job_create(model, &job, &p);
    free(x);                            /* copied */
    while (ret == KLING_OK && (ret = kling_job_next_frame(job, &f)) == KLING_OK)
        compare(f, n++, want, &worst, &sum);
    kling_job_destroy(&job);
    CHECK(ret == KLING_EOF && n == c->frames, "status %d after %d frames: %s", ret, n, last_log);
    CHECK((int64_t)want->bytes == 2 * KL_CEIL_DIV(values, want->ndim == 1 ? STRIDE : 1), "a golden of %zu bytes",
          want->bytes);
    CHECK(worst <= TOLERANCE, "worst %g", worst);
    printf("# worst pipeline %s %s abs=%.2e mean=%.2e\n", c->name, flags ? "ref" : "cpu", worst,
           2 * sum / (double)want->bytes);
}

int main(void)
{
    KlingContextParams cp = { .log = on_log };
    KlWeights *goldens = NULL;
    KlDiag d = { 0 };

    if (kl_weights_open(&d, &goldens, "tests/golden/data/pipeline.safetensors") < 0) {
        printf("not ok test_pipeline: %s\n", d.error);
        return 1;
    }
    for (size_t i = 0; i < KL_ARRAY_LEN(cases); i++) {
        KlingContext *ctx = NULL;
        KlingModel *model = NULL;
        KlingModelParams mp;
        char name[128];

        kling_model_params_default(&mp);
        mp.model = synthetic_model_path(cases[i].model);
        if (!mp.model || kling_context_create(&ctx, &cp) < 0 || kling_model_open(ctx, &model, &mp) < 0) {
            printf("not ok test_pipeline_%s: the model does not open: %s\n", cases[i].name, last_log);
            check_failed++;
        } else {
            for (unsigned flags = 0; flags <= KLING_FLAG_BITEXACT; flags++) {
                snprintf(name, sizeof(name), "test_pipeline_%s_%s", cases[i].name, flags ? "ref" : "cpu");
                NAMED(name, run_case(&cases[i], goldens, model, flags));
            }
        }
        kling_model_destroy(&model);
        kling_context_destroy(&ctx);
    }
    kl_weights_close(&goldens);
    return check_exit();
}
