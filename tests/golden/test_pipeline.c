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
#include "tests/tiny_model.h"

#define TOLERANCE 1e-3

typedef struct Case {
    const char *name, *model;
    enum KlingSampler sampler;
    const char *prompt, *negative;
    int width, height, frames, steps;
    float guidance, shift;
    uint64_t seed;
} Case;

/* The same rows as in gen_pipeline.py. */
static const Case cases[] = {
    { "tiny_unipc", "tiny", KLING_SAMPLER_UNIPC, "a red ball falls onto a wooden table and bounces", "",
      64, 48, 9, 4, 5.0f, 3.0f, 7 },
    { "tiny_euler", "tiny", KLING_SAMPLER_EULER, "一个红色的球落在木桌上弹起来", "blue",
      32, 32, 5, 5, 3.0f, 5.0f, 42 },
    { "tiny_unguided", "tiny", KLING_SAMPLER_UNIPC, "", "", 16, 80, 1, 10, 1.0f, 1.0f, 0 },
    { "odd_unipc", "odd", KLING_SAMPLER_UNIPC, "a fish &amp; a star, left of the sea", "red",
      80, 48, 5, 6, 4.5f, 3.0f, 123456789 },
    { "odd_euler", "odd", KLING_SAMPLER_EULER, "night with stars", "", 48, 64, 5, 3, 6.0f, 8.0f, 3 },
    { "expand_unipc", "expand", KLING_SAMPLER_UNIPC, "a car rolls left", "", 48, 48, 5, 4, 5.0f, 3.0f, 11 },
};

static char last_log[512];

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level == KLING_LOG_ERROR)
        snprintf(last_log, sizeof(last_log), "%s", line);
}

static void run_case(const Case *c, const KlWeights *goldens, KlingModel *model, unsigned flags)
{
    const KlTensor *want = kl_weights_find(goldens, c->name);
    const KlingFrame *f;
    KlingJob *job = NULL;
    KlingParams p;
    double worst = 0, sum = 0;
    int n = 0, ret;

    REQUIRE(want && want->dtype == KL_FT_I16 && want->ndim == 4 && want->shape[0] == c->frames, "no golden");
    kling_params_default(model, &p);
    p.prompt = c->prompt;
    p.negative_prompt = c->negative;
    p.width_px = c->width;
    p.height_px = c->height;
    p.frames = c->frames;
    p.steps = c->steps;
    p.guidance = c->guidance;
    p.shift = c->shift;
    p.seed = c->seed;
    p.sampler = c->sampler;
    p.flags = flags;
    ret = kling_job_create(model, &job, &p);
    while (ret == KLING_OK && (ret = kling_job_next_frame(job, &f)) == KLING_OK) {
        const uint16_t *w = (const uint16_t *)want->data + (size_t)n++ * 3 * (size_t)c->width * (size_t)c->height;

        for (int y = 0; y < c->height; y++)
            for (int x = 0; x < c->width; x++)
                for (int ch = 0; ch < 3; ch++) {
                    double e = fabs((double)f->data[ch][y * f->stride + x] - w[(y * c->width + x) * 3 + ch] / 65535.0);

                    sum += e;
                    worst = e > worst || isnan(e) ? e : worst;
                }
    }
    kling_job_destroy(&job);
    CHECK(ret == KLING_EOF && n == c->frames, "status %d after %d frames: %s", ret, n, last_log);
    CHECK(worst <= TOLERANCE, "worst %g", worst);
    printf("# worst pipeline %s %s abs=%.2e mean=%.2e\n", c->name, flags ? "ref" : "cpu", worst,
           sum / (3.0 * c->width * c->height * c->frames));
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
