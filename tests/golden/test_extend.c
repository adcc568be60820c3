/*
 * Clips that go on from pictures, arrive at pictures, or are made window by window, against the reference.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tolerance: |delta| <= 1e-3 per channel value in [0,1], the product's promise, through every window of a chain. Both
 * tables must hold it.
 */
#include <math.h>

#include "engine/weights.h"
#include "tests/check.h"
#include "tests/tiny_model.h"
#include "tools/synth.h"

#define TOLERANCE 1e-3
#define STRIDE 29                       /* every so many values are in the golden */
#define SEED 1                          /* of the pictures */
#define MAX_PICTURES 9

typedef struct Case {
    const char *name, *model;
    enum KlingSampler sampler;
    const char *prompt, *negative;
    int width, height, steps;
    float guidance, shift;
    uint64_t seed;
    float drift_guard;
    int lead, trail, frames;
} Case;

/* The same rows as in gen_extend.py; frames are the new ones. */
static const Case cases[] = {
    { "image_pipeline", "extend", KLING_SAMPLER_UNIPC, "a car rolls left", "", 48, 32, 4, 5, 3, 5, 0, 1, 0, 8 },
    { "image",          "extend", KLING_SAMPLER_UNIPC, "a car rolls left", "", 48, 32, 4, 5, 3, 5, 0, 1, 0, 8 },
    { "lead9_euler",    "extend", KLING_SAMPLER_EULER, "a red ball", "blue", 32, 48, 3, 3, 5, 8, 0, 9, 0, 8 },
    { "lead5_trail8",   "extend", KLING_SAMPLER_UNIPC, "a star", "", 48, 32, 5, 4, 3, 1, 0, 5, 8, 8 },
    { "lead1_trail3",   "extend", KLING_SAMPLER_EULER, "", "", 48, 32, 3, 1, 3, 2, 0, 1, 3, 8 },
    { "trail6",         "extend", KLING_SAMPLER_UNIPC, "a fish", "sea", 32, 32, 3, 2, 3, 3, 0, 0, 6, 5 },
    { "padded",         "extend", KLING_SAMPLER_UNIPC, "a fish", "", 44, 26, 3, 2, 3, 4, 0, 5, 1, 4 },
    { "two_windows",    "extend", KLING_SAMPLER_UNIPC, "a red ball on the grass", "", 48, 32, 3, 3, 3, 6, 0, 0, 0, 37 },
    { "two_euler",      "extend", KLING_SAMPLER_EULER, "night with stars", "red", 32, 32, 3, 3, 3, 6, 0, 5, 4, 28 },
    { "ti2v",           "ti2v",   KLING_SAMPLER_UNIPC, "a kite", "fog", 64, 32, 3, 3, 5, 10, 0.5f, 5, 3, 16 },
    { "three_guarded",  "extend", KLING_SAMPLER_UNIPC, "the sea", "", 48, 32, 3, 3, 3, 9, 0.75f, 0, 0, 53 },
};

static char last_log[512];

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level == KLING_LOG_ERROR)
        snprintf(last_log, sizeof(last_log), "%s", line);
}

/* pictures() of gen_extend.py as planes; freed by free(f[0].data[0]). */
static void pictures(const char *name, int n, int w, int h, KlingFrame *f)
{
    const uint64_t key = synth_key(SEED, name);
    const size_t plane = (size_t)w * (size_t)h;
    float *x = n ? malloc(sizeof(*x) * 3 * plane * (size_t)n) : NULL;

    for (int i = 0; x && i < n; i++) {
        f[i] = (KlingFrame){ .stride = w, .width_px = w, .height_px = h };
        for (size_t c = 0; c < 3; c++) {
            float *p = x + (3 * (size_t)i + c) * plane;

            f[i].data[c] = p;
            for (size_t k = 0; k < plane; k++)
                p[k] = (float)(0.5 + 0.5 * (double)synth_value(key, ((size_t)i * plane + k) * 3 + c, 0, 1));
        }
    }
}

/* Values of *f that the golden has, *at being the index of its first value in the clip. */
static void compare(const KlingFrame *f, int64_t *at, const KlTensor *want, double *worst, double *sum)
{
    for (int y = 0; y < f->height_px; y++)
        for (int x = 0; x < f->width_px; x++)
            for (int c = 0; c < 3; c++, (*at)++) {
                double e;

                if (*at % STRIDE || *at / STRIDE >= want->shape[0])
                    continue;
                e = fabs((double)f->data[c][y * f->stride + x] -
                         ((const uint16_t *)want->data)[*at / STRIDE] / 65535.0);
                *sum += e;
                *worst = e > *worst || isnan(e) ? e : *worst;
            }
}

static void run_case(const Case *c, const KlWeights *goldens, KlingModel *model, unsigned flags)
{
    const KlTensor *want = kl_weights_find(goldens, c->name);
    KlingFrame lead[MAX_PICTURES] = { 0 }, trail[MAX_PICTURES] = { 0 };
    double worst = 0, sum = 0;
    const KlingFrame *f;
    KlingJob *job = NULL;
    KlingParams p;
    int64_t at = 0;
    int ret;

    REQUIRE(want && want->dtype == KL_FT_I16 && want->ndim == 1, "no golden");
    kling_params_default(model, &p);
    pictures("lead", c->lead, c->width, c->height, lead);
    pictures("trail", c->trail, c->width, c->height, trail);
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
    p.drift_guard = c->drift_guard;
    p.lead = lead;
    p.nb_lead = c->lead;
    p.trail = trail;
    p.nb_trail = c->trail;
    p.flags = flags | KLING_FLAG_KEEP_CONTEXT;
    ret = kling_job_create(model, &job, &p);
    free((float *)lead[0].data[0]);     /* copied */
    free((float *)trail[0].data[0]);
    while (ret == KLING_OK && (ret = kling_job_next_frame(job, &f)) == KLING_OK)
        compare(f, &at, want, &worst, &sum);
    kling_job_destroy(&job);
    CHECK(ret == KLING_EOF && at == 3 * (int64_t)c->width * c->height * (c->lead + c->frames + c->trail),
          "status %d after %lld values: %s", ret, (long long)at, last_log);
    CHECK(KL_CEIL_DIV(at, STRIDE) == want->shape[0], "%lld values, the golden has %lld", (long long)at,
          (long long)want->shape[0]);
    CHECK(worst <= TOLERANCE, "worst %g", worst);
    printf("# worst extend %s %s abs=%.2e mean=%.2e\n", c->name, flags ? "ref" : "cpu", worst,
           sum / (double)want->shape[0]);
}

int main(void)
{
    KlingContextParams cp = { .log = on_log };
    KlWeights *goldens = NULL;
    KlingContext *ctx = NULL;
    KlDiag d = { 0 };
    char name[128];

    if (kling_context_create(&ctx, &cp) < 0 ||
        kl_weights_open(&d, &goldens, "tests/golden/data/extend.safetensors") < 0) {
        printf("not ok test_extend: %s\n", d.error);
        return 1;
    }
    for (size_t i = 0; i < KL_ARRAY_LEN(cases); i++) {
        KlingModel *model = NULL;
        KlingModelParams mp;

        kling_model_params_default(&mp);
        mp.model = synthetic_model_path(cases[i].model);
        if (!mp.model || kling_model_open(ctx, &model, &mp) < 0) {
            printf("not ok test_extend_%s: the model does not open: %s\n", cases[i].name, last_log);
            check_failed++;
            continue;
        }
        for (unsigned flags = 0; flags <= KLING_FLAG_BITEXACT; flags++) {
            snprintf(name, sizeof(name), "test_extend_%s_%s", cases[i].name, flags ? "ref" : "cpu");
            NAMED(name, run_case(&cases[i], goldens, model, flags));
        }
        kling_model_destroy(&model);
    }
    kl_weights_close(&goldens);
    kling_context_destroy(&ctx);
    return check_exit();
}
