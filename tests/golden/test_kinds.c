/*
 * The kinds of models that take pictures as channels, or have two experts, against diffusers' pipelines (gen_kinds.py).
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "clip.h"

#define STRIDE 13                       /* every so many values are in the golden */

typedef struct Case {
    ClipCase head;
    enum KlingSampler sampler;
    const char *prompt, *negative;
    int width, height, frames, steps;
    float guidance, guidance_low, shift;
    uint64_t seed;
    int pictures;
} Case;

/* The same rows as in gen_kinds.py. */
static const Case cases[] = {
    { { "i2v_unipc", "i2v" }, KLING_SAMPLER_UNIPC, "a car rolls left", "", 64, 48, 9, 4, 5, -1, 3, 5, 1 },
    { { "i2v_euler", "i2v" }, KLING_SAMPLER_EULER, "一个红色的球落在木桌上",
      "blue", 32, 64, 5, 3, 3, -1, 5, 42, 1 },
    { { "i2v_padded", "i2v" }, KLING_SAMPLER_UNIPC, "a fish", "", 44, 26, 5, 3, 2, -1, 3, 4, 1 },
    { { "i2v_unguided", "i2v" }, KLING_SAMPLER_UNIPC, "", "", 48, 32, 5, 5, 1, -1, 3, 1, 1 },
    { { "flf2v_unipc", "flf2v" }, KLING_SAMPLER_UNIPC, "a star turns", "red", 48, 64, 9, 4, 5.5f, -1, 8, 9, 2 },
    { { "flf2v_euler", "flf2v" }, KLING_SAMPLER_EULER, "the sea", "", 32, 32, 5, 3, 4, -1, 3, 3, 2 },
    { { "experts_unipc", "experts" }, KLING_SAMPLER_UNIPC, "night with stars", "", 48, 48, 5, 6, 4, 3, 3, 11, 0 },
    { { "experts_euler", "experts" }, KLING_SAMPLER_EULER, "a red ball", "blue", 32, 48, 9, 5, 4, 1, 5, 2, 0 },
    { { "experts_late", "experts" }, KLING_SAMPLER_UNIPC, "a red ball", "", 32, 32, 5, 4, 2, -1, 12, 2, 0 },
    { { "i2v_experts_unipc", "i2v_experts" }, KLING_SAMPLER_UNIPC, "a boat", "", 48, 32, 9, 6, 3.5f, 3.5f, 5, 7, 1 },
    { { "i2v_experts_euler", "i2v_experts" }, KLING_SAMPLER_EULER, "a boat", "fog", 32, 48, 5, 4, 4, 2, 5, 8, 1 },
    /* the model's own: 3 where guidance is its 4 */
    { { "i2v_experts_last", "i2v_experts" }, KLING_SAMPLER_UNIPC, "a boat", "", 48, 48, 9, 5, 4, -1, 5, 6, 2 },
};

/* As picture() of gen_kinds.py: whole codes of 8 bits. */
static float value(uint64_t key, uint64_t i)
{
    return (float)(floor((synth_uniform(key, i) + 1) * 128) / 255);
}

static void run_case(const void *opaque, const KlWeights *goldens, KlingModel *model, unsigned flags)
{
    const Case *c = opaque;
    KlingFrame first, last;
    KlingParams p;

    clip_pictures("first", c->pictures > 0, c->width, c->height, value, &first);
    clip_pictures("last", c->pictures > 1, c->width, c->height, value, &last);
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
    clip_check("kinds", c->head.name, goldens, STRIDE, model, &p, c->frames);
}

int main(void)
{
    return clip_main("kinds", cases, sizeof(*cases), KL_ARRAY_LEN(cases), run_case);
}
