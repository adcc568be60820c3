/*
 * LoRAs against WanPipeline with load_lora_weights() (gen_lora.py): each dialect gives the reference's frames.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tolerance: |delta| <= 1e-3 per channel value in [0,1], as for pipelines without one.
 */
#include <math.h>

#include "engine/weights.h"
#include "tests/check.h"
#include "tests/tiny_model.h"

#define TOLERANCE 1e-3
#define DATA "tests/golden/data/"

typedef struct Case {
    const char *name, *golden, *lora;
    int frames, steps;
    float guidance;
    const char *log;                    /* what the log says of the match */
} Case;

/* The same runs as in gen_lora.py. */
static const Case cases[] = {
    { "peft",     "plain", DATA "lora_peft.safetensors:0.8",     5, 4, 1, "40 of 40 tensors match, strength 0.8" },
    { "kohya",    "plain", DATA "lora_kohya.safetensors:0.8",    5, 4, 1, "60 of 60 tensors match" },
    { "original", "plain", DATA "lora_original.safetensors:0.8", 5, 4, 1, "40 of 40 tensors match" },
    { "bias",     "bias",  DATA "lora_bias.safetensors:0.8",     1, 2, 5, "78 of 78 tensors match" },
    { "two",      "two",   DATA "lora_bias.safetensors:.5|" DATA "lora_peft.safetensors:-0.75", 1, 2, 5,
      "40 of 40 tensors match, strength -0.75" },
    { "alpha",    "alpha", DATA "lora_alpha.safetensors:0.8",    1, 2, 5, "40 of 40 tensors match" },
    { "whole",    "whole", DATA "lora_whole.safetensors:0.8",    1, 2, 5, "19 of 19 tensors match" },
};

static char last_error[512], last_match[512];

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level <= KLING_LOG_WARNING)
        snprintf(last_error, sizeof(last_error), "%s", line);
    else if (!strncmp(line, "LoRA ", 5))
        snprintf(last_match, sizeof(last_match), "%s", line);
}

static void run_case(const Case *c, const KlWeights *goldens, KlingModel *model, unsigned flags)
{
    const KlTensor *want = kl_weights_find(goldens, c->golden);
    const KlingFrame *f;
    KlingJob *job = NULL;
    KlingParams p;
    double worst = 0;
    int n = 0, ret;

    REQUIRE(want && want->ndim == 4 && want->shape[0] == c->frames, "no golden");
    kling_params_default(model, &p);
    p.prompt = "a red ball falls onto a wooden table";
    p.negative_prompt = "blue";
    p.width_px = p.height_px = 32;
    p.frames = c->frames;
    p.steps = c->steps;
    p.guidance = c->guidance;
    p.shift = 3;
    p.seed = 7;
    p.sampler = KLING_SAMPLER_UNIPC;
    p.flags = flags;
    ret = kling_job_create(model, &job, &p);
    while (ret == KLING_OK && (ret = kling_job_next_frame(job, &f)) == KLING_OK) {
        const uint16_t *w = (const uint16_t *)want->data + (size_t)n++ * 3 * 32 * 32;

        for (int y = 0; y < 32; y++)
            for (int x = 0; x < 32; x++)
                for (int ch = 0; ch < 3; ch++) {
                    double e = fabs((double)f->data[ch][y * f->stride + x] - w[(y * 32 + x) * 3 + ch] / 65535.0);

                    worst = e > worst || isnan(e) ? e : worst;
                }
    }
    kling_job_destroy(&job);
    CHECK(ret == KLING_EOF && n == c->frames, "status %d after %d frames: %s", ret, n, last_error);
    CHECK(worst <= TOLERANCE, "worst %g", worst);
    printf("# worst lora %s %s abs=%.2e\n", c->name, flags ? "ref" : "cpu", worst);
}

static void run_model(const Case *c, const KlWeights *goldens, const char *path)
{
    KlingContextParams cp = { .log = on_log };
    KlingContext *ctx = NULL;
    KlingModel *model = NULL;
    KlingModelParams mp;
    char name[128];

    kling_model_params_default(&mp);
    mp.model = path;
    mp.lora = c->lora;
    last_error[0] = last_match[0] = 0;
    if (!mp.model || kling_context_create(&ctx, &cp) < 0 || kling_model_open(ctx, &model, &mp) < 0) {
        printf("not ok test_lora_%s: the model does not open: %s\n", c->name, last_error);
        check_failed++;
    } else {
        snprintf(name, sizeof(name), "test_lora_%s_matches", c->name);
        NAMED(name, CHECK(strstr(last_match, c->log) && !last_error[0], "'%s' '%s'", last_match, last_error));
        for (unsigned flags = 0; flags <= KLING_FLAG_BITEXACT; flags++) {
            snprintf(name, sizeof(name), "test_lora_%s_%s", c->name, flags ? "ref" : "cpu");
            NAMED(name, run_case(c, goldens, model, flags));
        }
    }
    kling_model_destroy(&model);
    kling_context_destroy(&ctx);
}

int main(void)
{
    KlWeights *goldens = NULL;
    KlDiag d = { 0 };

    if (kl_weights_open(&d, &goldens, DATA "lora.safetensors") < 0) {
        printf("not ok test_lora: %s\n", d.error);
        return 1;
    }
    for (size_t i = 0; i < KL_ARRAY_LEN(cases); i++)
        run_model(&cases[i], goldens, synthetic_model_path("tiny"));
    kl_weights_close(&goldens);
    return check_exit();
}
