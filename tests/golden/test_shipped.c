/*
 * The model that ships against WanPipeline.from_pretrained() of the same folder: prompt to frames.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#define CLIP_LAST_FLAGS(head) (strcmp((head)->name, "whole") ? KLING_FLAG_BITEXACT : 0)

#include "clip.h"

#define STRIDE 101                      /* between a clip's values, where a golden is one row of them */

typedef struct Case {
    ClipCase head;
    const char *prompt, *negative;
    int width, height, frames, steps;
    uint64_t seed;
} Case;

/* The same rows as in gen_shipped.py. */
static const Case cases[] = {
    { { "english", "samples/model" }, "a red ball falls onto a wooden table and bounces", "", 64, 64, 9, 4, 7 },
    { { "chinese", "samples/model" }, "一辆蓝色的汽车在草地上向右移动", "a star", 96, 64, 5, 4, 3 },
    { { "whole", "samples/model" }, "an orange fish swims left over the sea", "", 128, 128, 33, 20, 1 },
};

static void run_case(const void *opaque, const KlWeights *goldens, KlingModel *model, unsigned flags)
{
    const Case *c = opaque;
    KlingParams p;

    kling_params_default(model, &p);
    p.prompt = c->prompt;
    p.negative_prompt = c->negative;
    p.width_px = c->width;
    p.height_px = c->height;
    p.frames = c->frames;
    p.steps = c->steps;
    p.guidance = 5.0f;
    p.seed = c->seed;
    p.flags = flags;
    clip_check("shipped", c->head.name, goldens, STRIDE, model, &p, c->frames);
}

int main(void)
{
    return clip_main("shipped", cases, sizeof(*cases), KL_ARRAY_LEN(cases), run_case);
}
