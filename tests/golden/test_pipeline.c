/*
 * Whole pipelines against WanPipeline: prompt to frames through the public API.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "clip.h"

#define STRIDE 11                       /* between a clip's values, where a golden is one row of them */

typedef struct Case {
    ClipCase head;
    enum KlingSampler sampler;
    const char *prompt, *negative;
    int width, height, frames, steps;
    float guidance, shift;
    uint64_t seed;
    int image;                          /* 1: goes on from a picture, the clip's first */
} Case;

/* The same rows as in gen_pipeline.py. */
static const Case cases[] = {
    { { "tiny_unipc", "tiny" }, KLING_SAMPLER_UNIPC, "a red ball falls onto a wooden table and bounces", "",
      64, 48, 9, 4, 5.0f, 3.0f, 7, 0 },
    { { "tiny_euler", "tiny" }, KLING_SAMPLER_EULER, "一个红色的球落在木桌上弹起来", "blue",
      32, 32, 5, 5, 3.0f, 5.0f, 42, 0 },
    { { "tiny_unguided", "tiny" }, KLING_SAMPLER_UNIPC, "", "", 16, 80, 1, 10, 1.0f, 1.0f, 0, 0 },
    { { "odd_unipc", "odd" }, KLING_SAMPLER_UNIPC, "a fish &amp; a star, left of the sea", "red",
      80, 48, 5, 6, 4.5f, 3.0f, 123456789, 0 },
    { { "odd_euler", "odd" }, KLING_SAMPLER_EULER, "night with stars", "", 48, 64, 5, 3, 6.0f, 8.0f, 3, 0 },
    { { "expand_unipc", "expand" }, KLING_SAMPLER_UNIPC, "a car rolls left", "", 48, 48, 5, 4, 5.0f, 3.0f, 11, 0 },
    { { "ti2v_unipc", "ti2v" }, KLING_SAMPLER_UNIPC, "a kite over the beach", "", 64, 96, 9, 4, 5.0f, 5.0f, 21, 0 },
    { { "ti2v_euler", "ti2v" }, KLING_SAMPLER_EULER, "two boats", "fog", 96, 32, 5, 3, 4.0f, 5.0f, 5, 0 },
    { { "ti2v_image", "ti2v" }, KLING_SAMPLER_UNIPC, "the kite turns", "", 96, 64, 9, 4, 5.0f, 5.0f, 22, 1 },
};

static void run_case(const void *opaque, const KlWeights *goldens, KlingModel *model, unsigned flags)
{
    const Case *c = opaque;
    KlingFrame lead;
    KlingParams p;

    clip_pictures("picture", c->image, c->width, c->height, clip_value, &lead);
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
    p.lead = &lead;
    p.nb_lead = c->image;
    p.flags = flags | (c->image ? KLING_FLAG_KEEP_CONTEXT : 0);
    clip_check("pipeline", c->head.name, goldens, STRIDE, model, &p, c->frames);
}

int main(void)
{
    return clip_main("pipeline", cases, sizeof(*cases), KL_ARRAY_LEN(cases), run_case);
}
