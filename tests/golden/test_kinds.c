/*
 * The kinds of models that take pictures as channels, or have two experts, against diffusers' pipelines (gen_kinds.py).
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tolerance: |delta| <= 1e-3 per channel value in [0,1], the product's promise. Both tables must hold it.
 */
#include <math.h>

#include "engine/weights.h"
#include "tests/check.h"
#include "tests/tiny_model.h"
#include "tools/synth.h"

#define TOLERANCE 1e-3
#define STRIDE 13                       /* every so many values are in the golden */
#define SEED 1                          /* of the pictures */

typedef struct Case {
    const char *name, *model;
    enum KlingSampler sampler;
    const char *prompt, *negative;
    int width, height, frames, steps;
    float guidance, guidance_low, shift;
    uint64_t seed;
    int pictures;
} Case;

/* The same rows as in gen_kinds.py. */
static const Case cases[] = {
    { "i2v_unipc", "i2v", KLING_SAMPLER_UNIPC, "a car rolls left", "", 64, 48, 9, 4, 5, -1, 3, 5, 1 },
    { "i2v_euler", "i2v", KLING_SAMPLER_EULER, "一个红色的球落在木桌上",
      "blue", 32, 64, 5, 3, 3, -1, 5, 42, 1 },
    { "i2v_padded", "i2v", KLING_SAMPLER_UNIPC, "a fish", "", 44, 26, 5, 3, 2, -1, 3, 4, 1 },
    { "i2v_unguided", "i2v", KLING_SAMPLER_UNIPC, "", "", 48, 32, 5, 5, 1, -1, 3, 1, 1 },
    { "flf2v_unipc", "flf2v", KLING_SAMPLER_UNIPC, "a star turns", "red", 48, 64, 9, 4, 5.5f, -1, 8, 9, 2 },
    { "flf2v_euler", "flf2v", KLING_SAMPLER_EULER, "the sea", "", 32, 32, 5, 3, 4, -1, 3, 3, 2 },
    { "experts_unipc", "experts", KLING_SAMPLER_UNIPC, "night with stars", "", 48, 48, 5, 6, 4, 3, 3, 11, 0 },
    { "experts_euler", "experts", KLING_SAMPLER_EULER, "a red ball", "blue", 32, 48, 9, 5, 4, 1, 5, 2, 0 },
    { "experts_late", "experts", KLING_SAMPLER_UNIPC, "a red ball", "", 32, 32, 5, 4, 2, -1, 12, 2, 0 },
    { "i2v_experts_unipc", "i2v_experts", KLING_SAMPLER_UNIPC, "a boat", "", 48, 32, 9, 6, 3.5f, 3.5f, 5, 7, 1 },
    { "i2v_experts_euler", "i2v_experts", KLING_SAMPLER_EULER, "a boat", "fog", 32, 48, 5, 4, 4, 2, 5, 8, 1 },
    /* the model's own: 3 where guidance is its 4 */
    { "i2v_experts_last", "i2v_experts", KLING_SAMPLER_UNIPC, "a boat", "", 48, 48, 9, 5, 4, -1, 5, 6, 2 },
};

static char last_log[512];

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level == KLING_LOG_ERROR)
        snprintf(last_log, sizeof(last_log), "%s", line);
}

/* picture() of gen_kinds.py as planes; freed by free(f->data[0]). */
static KlingFrame picture(const char *name, int w, int h)
{
    const uint64_t key = synth_key(SEED, name);
    const size_t plane = (size_t)w * (size_t)h;
    float *x = malloc(sizeof(*x) * 3 * plane);

    for (size_t i = 0; x && i < 3 * plane; i++)
        x[i % 3 * plane + i / 3] = (float)(floor((synth_uniform(key, i) + 1) * 128) / 255);
    return (KlingFrame){ .data = { x, x + plane, x + 2 * plane }, .stride = w, .width_px = w, .height_px = h };
}

/* Values of *f that the golden has, *at being the index of its first value in the clip. */
static void compare(const KlingFrame *f, int64_t *at, const KlTensor *want, double *worst)
{
    for (int y = 0; y < f->height_px; y++)
        for (int x = 0; x < f->width_px; x++)
            for (int c = 0; c < 3; c++, (*at)++) {
                double e;

                if (*at % STRIDE || *at / STRIDE >= want->shape[0])
                    continue;
                e = fabs((double)f->data[c][y * f->stride + x] -
                         ((const uint16_t *)want->data)[*at / STRIDE] / 65535.0);
                *worst = e > *worst || isnan(e) ? e : *worst;
            }
}

static void run_case(const Case *c, const KlWeights *goldens, KlingModel *model, unsigned flags)
{
    const KlTensor *want = kl_weights_find(goldens, c->name);
    KlingFrame first = picture("first", c->width, c->height), last = picture("last", c->width, c->height);
    const KlingFrame *f;
    KlingJob *job = NULL;
    KlingParams p;
    double worst = 0;
    int64_t at = 0;
    int ret;

    REQUIRE(want && want->dtype == KL_FT_I16 && want->ndim == 1, "no golden");
    kling_params_default(model, &p);
    CHECK(p.guidance_low < 0, "guidance_low is %g", p.guidance_low);
    p.prompt = c->prompt;
    p.negative_prompt = c->negative;
    p.width_px = c->width;
    p.height_px = c->height;
    p.frames = c->frames - c->pictures;
    p.steps = c->steps;
    p.guidance = c->guidance;
    p.guidance_low = c->guidance_low;
    p.shift = c->shift;
    p.seed = c->seed;
    p.sampler = c->sampler;
    p.lead = &first;
    p.nb_lead = c->pictures > 0;
    p.trail = &last;
    p.nb_trail = c->pictures > 1;
    p.flags = flags | KLING_FLAG_KEEP_CONTEXT;
    ret = kling_job_create(model, &job, &p);
    free((float *)first.data[0]);       /* copied */
    free((float *)last.data[0]);
    while (ret == KLING_OK && (ret = kling_job_next_frame(job, &f)) == KLING_OK)
        compare(f, &at, want, &worst);
    kling_job_destroy(&job);
    CHECK(ret == KLING_EOF && at == 3 * (int64_t)c->width * c->height * c->frames, "status %d after %lld values: %s",
          ret, (long long)at, last_log);
    CHECK(KL_CEIL_DIV(at, STRIDE) == want->shape[0], "%lld values, the golden has %lld", (long long)at,
          (long long)want->shape[0]);
    CHECK(worst <= TOLERANCE, "worst %g", worst);
    printf("# worst kinds %s %s abs=%.2e\n", c->name, flags ? "ref" : "cpu", worst);
}

int main(void)
{
    KlingContextParams cp = { .log = on_log };
    KlWeights *goldens = NULL;
    KlDiag d = { 0 };

    if (kl_weights_open(&d, &goldens, "tests/golden/data/kinds.safetensors") < 0) {
        printf("not ok test_kinds: %s\n", d.error);
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
            printf("not ok test_kinds_%s: the model does not open: %s\n", cases[i].name, last_log);
            check_failed++;
        } else {
            for (unsigned flags = 0; flags <= KLING_FLAG_BITEXACT; flags++) {
                snprintf(name, sizeof(name), "test_kinds_%s_%s", cases[i].name, flags ? "ref" : "cpu");
                NAMED(name, run_case(&cases[i], goldens, model, flags));
            }
        }
        kling_model_destroy(&model);
        kling_context_destroy(&ctx);
    }
    kl_weights_close(&goldens);
    return check_exit();
}
