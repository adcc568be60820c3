/*
 * Clips that go on from pictures, arrive at pictures, or are made window by window, against the reference.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The tolerance holds through every window of a chain.
 */
#include "clip.h"

#define STRIDE 29                       /* every so many values are in the golden */
#define MAX_PICTURES 9

typedef struct Case {
    ClipCase head;
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
    { { "image_pipeline", "extend" }, KLING_SAMPLER_UNIPC, "a car rolls left", "", 48, 32, 4, 5, 3, 5, 0, 1, 0, 8 },
    { { "image", "extend" }, KLING_SAMPLER_UNIPC, "a car rolls left", "", 48, 32, 4, 5, 3, 5, 0, 1, 0, 8 },
    { { "lead9_euler", "extend" }, KLING_SAMPLER_EULER, "a red ball", "blue", 32, 48, 3, 3, 5, 8, 0, 9, 0, 8 },
    { { "lead5_trail8", "extend" }, KLING_SAMPLER_UNIPC, "a star", "", 48, 32, 5, 4, 3, 1, 0, 5, 8, 8 },
    { { "lead1_trail3", "extend" }, KLING_SAMPLER_EULER, "", "", 48, 32, 3, 1, 3, 2, 0, 1, 3, 8 },
    { { "trail6", "extend" }, KLING_SAMPLER_UNIPC, "a fish", "sea", 32, 32, 3, 2, 3, 3, 0, 0, 6, 5 },
    { { "padded", "extend" }, KLING_SAMPLER_UNIPC, "a fish", "", 44, 26, 3, 2, 3, 4, 0, 5, 1, 4 },
    { { "two_windows", "extend" }, KLING_SAMPLER_UNIPC, "a red ball on the grass", "",
      48, 32, 3, 3, 3, 6, 0, 0, 0, 37 },
    { { "two_euler", "extend" }, KLING_SAMPLER_EULER, "night with stars", "red", 32, 32, 3, 3, 3, 6, 0, 5, 4, 28 },
    { { "ti2v", "ti2v" }, KLING_SAMPLER_UNIPC, "a kite", "fog", 64, 32, 3, 3, 5, 10, 0.5f, 5, 3, 16 },
    { { "three_guarded", "extend" }, KLING_SAMPLER_UNIPC, "the sea", "", 48, 32, 3, 3, 3, 9, 0.75f, 0, 0, 53 },
};

static void run_case(const void *opaque, const KlWeights *goldens, KlingModel *model, unsigned flags)
{
    const Case *c = opaque;
    KlingFrame lead[MAX_PICTURES], trail[MAX_PICTURES];
    KlingParams p;

    clip_pictures("lead", c->lead, c->width, c->height, clip_value, lead);
    clip_pictures("trail", c->trail, c->width, c->height, clip_value, trail);
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
    p.drift_guard = c->drift_guard;
    p.lead = lead;
    p.nb_lead = c->lead;
    p.trail = trail;
    p.nb_trail = c->trail;
    p.flags = flags | KLING_FLAG_KEEP_CONTEXT;
    clip_check("extend", c->head.name, goldens, STRIDE, model, &p, c->lead + c->frames + c->trail);
}

int main(void)
{
    return clip_main("extend", cases, sizeof(*cases), KL_ARRAY_LEN(cases), run_case);
}
