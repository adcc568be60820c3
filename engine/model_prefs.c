/*
 * What a model was trained for: size, length, rate, steps.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * diffusers' configs do not hold it. It comes from a kling.json in the model's
 * folder, else from a table of the released models, else from the smallest of
 * them.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"
#include "model_internal.h"

#define LEAD_FRAMES 5                   /* two latent frames: from one alone no motion carries over */
#define DRIFT_GUARD 0.5

/* A released transformer, told by its shape and by how many there are. */
typedef struct Known {
    int dim, layers, in_ch;
    int pictures;                       /* whose rows of an image encoder it takes */
    int experts;
    const char *kind;
    int width_px, height_px, frames, fps, steps;
    float guidance, guidance_low, shift;
    double boundary;
    bool expand_timesteps;
} Known;

static const Known known[] = {
    { 1536, 30, 16, 0, 1, "Wan 2.1 T2V 1.3B",   832, 480,  81, 16, 50, 5.0f, 5.0f,  3.0f, 0,     false },
    { 5120, 40, 16, 0, 1, "Wan 2.1 T2V 14B",   1280, 720,  81, 16, 50, 5.0f, 5.0f,  5.0f, 0,     false },
    { 5120, 40, 36, 1, 1, "Wan 2.1 I2V 14B",   1280, 720,  81, 16, 50, 5.0f, 5.0f,  5.0f, 0,     false },
    { 5120, 40, 36, 2, 1, "Wan 2.1 FLF2V 14B", 1280, 720,  81, 16, 50, 5.0f, 5.0f, 16.0f, 0,     false },
    { 5120, 40, 16, 0, 2, "Wan 2.2 T2V A14B",  1280, 720,  81, 16, 40, 4.0f, 3.0f, 12.0f, 0.875, false },
    { 5120, 40, 36, 0, 2, "Wan 2.2 I2V A14B",  1280, 720,  81, 16, 40, 3.5f, 3.5f,  5.0f, 0.9,   false },
    { 3072, 30, 48, 0, 1, "Wan 2.2 TI2V 5B",   1280, 704, 121, 24, 50, 5.0f, 5.0f,  5.0f, 0,     true },
};

/* Of transformers that were not released: the first that takes as many pictures and has as many experts. */
static const Known unknown[] = {
    { 0, 0, 0,  0, 1, "Wan T2V",                832, 480,  81, 16, 50, 5.0f, 5.0f,  3.0f, 0,     false },
    { 0, 0, 36, 0, 1, "Wan I2V",                832, 480,  81, 16, 50, 5.0f, 5.0f,  3.0f, 0,     false },
    { 0, 0, 36, 1, 1, "Wan I2V",                832, 480,  81, 16, 50, 5.0f, 5.0f,  3.0f, 0,     false },
    { 0, 0, 36, 2, 1, "Wan FLF2V",              832, 480,  81, 16, 50, 5.0f, 5.0f,  3.0f, 0,     false },
    { 0, 0, 0,  0, 2, "Wan T2V of two experts", 832, 480,  81, 16, 40, 4.0f, 3.0f,  5.0f, 0.875, false },
    { 0, 0, 36, 0, 2, "Wan I2V of two experts", 832, 480,  81, 16, 40, 3.5f, 3.5f,  5.0f, 0.9,   false },
    { 0, 0, 36, 1, 2, "Wan I2V of two experts", 832, 480,  81, 16, 40, 3.5f, 3.5f,  5.0f, 0.9,   false },
    { 0, 0, 36, 2, 2, "Wan FLF2V of two experts", 832, 480, 81, 16, 40, 3.5f, 3.5f, 5.0f, 0.9,   false },
};

/* "24", "30000/1001" or a number. */
static int read_fps(KlDiag *d, const json_t *root, const char *path, KlPrefs *p)
{
    const json_t *v = json_object_get(root, "fps");
    const char *s = json_string_value(v);
    char *end = NULL;
    long num = 0, den = 1;

    if (!v)
        return 0;
    if (json_is_integer(v) && json_integer_value(v) <= 1000)
        num = (long)json_integer_value(v);
    else if (s)
        num = strtol(s, &end, 10);
    if (s && *end == '/')
        den = strtol(end + 1, &end, 10);
    if ((s && *end) || num < 1 || den < 1 || num > INT_MAX || den > INT_MAX || num / den > 1000 || den / num > 1000)
        return kl_fail(d, KLING_ERROR_INVALID_DATA,
                       "\"fps\" in '%s' is neither a whole number in 1..1000 nor text such as \"30000/1001\"", path);
    p->fps_num = (int)num;
    p->fps_den = (int)den;
    return 0;
}

static int read_prefs(KlDiag *d, const json_t *root, const char *path, KlPrefs *p)
{
    bool expand = false;
    int ret = kl_json_int(d, root, path, "width", 0, 16, 8192, &p->width_px);

    if (!ret)
        ret = kl_json_int(d, root, path, "height", 0, 16, 8192, &p->height_px);
    if (!ret && (p->width_px % 2 || p->height_px % 2))
        ret = kl_fail(d, KLING_ERROR_INVALID_DATA, "the size %dx%d in '%s' is not even", p->width_px,
                      p->height_px, path);
    if (!ret)
        ret = kl_json_int(d, root, path, "frames", 0, 1, 100000, &p->frames);
    if (!ret)
        ret = kl_json_int(d, root, path, "steps", 0, 1, 1000, &p->steps);
    if (!ret)
        ret = kl_json_int(d, root, path, "head_dim", 0, 6, 1024, &p->head_dim);
    if (!ret)
        ret = kl_json_int(d, root, path, "image_heads", 0, 1, 4096, &p->image_heads);
    if (!ret)
        ret = kl_json_real(d, root, path, "guidance", -1, 0, 100, &p->guidance);
    if (!ret)
        ret = kl_json_real(d, root, path, "guidance_low", -1, 0, 100, &p->guidance_low);
    if (!ret)
        ret = kl_json_real(d, root, path, "boundary", -1, 1e-6, 1, &p->boundary);
    if (!ret)
        ret = kl_json_real(d, root, path, "shift", -1, 1e-3, 100, &p->shift);
    if (!ret)
        ret = kl_json_int(d, root, path, "lead_frames", -1, 0, 100000, &p->lead_frames);
    if (!ret)
        ret = kl_json_int(d, root, path, "trail_frames", -1, 0, 100000, &p->trail_frames);
    if (!ret)
        ret = kl_json_real(d, root, path, "drift_guard", -1, 0, 1, &p->drift_guard);
    if (!ret && json_object_get(root, "expand_timesteps")) {
        ret = kl_json_bool(d, root, path, "expand_timesteps", false, &expand);
        p->expand_timesteps = expand;
    }
    return ret ? ret : read_fps(d, root, path, p);
}

int kl_prefs_read(KlDiag *d, const char *path, KlPrefs *p)
{
    json_t *root;
    int ret;

    *p = (KlPrefs){ .guidance = -1, .guidance_low = -1, .boundary = -1, .shift = -1, .drift_guard = -1,
                    .lead_frames = -1, .trail_frames = -1, .expand_timesteps = -1 };
    if (!kl_is_file(path))
        return 0;
    ret = kl_json_load(d, &root, path);
    if (!ret)
        ret = read_prefs(d, root, path, p);
    json_decref(root);
    return ret;
}

/* Pictures whose rows of an image encoder the transformer takes. */
static int pictures(const KlModelDesc *desc)
{
    if (!desc->dit.image_dim)
        return 0;
    if (!desc->image.patch_px)          /* not known, for a transformer by itself */
        return desc->dit.image_len ? 2 : 1;
    return desc->dit.image_len == 2 * kl_image_encoder_tokens(&desc->image) ? 2 : 1;
}

/* A model with channels for a picture's latents goes on from one. One that was trained without an image encoder shows
 * a last picture in the same channels; with one, the encoder's rows must have been trained for two. */
static void apply_channels(KlModelDesc *desc, const KlPrefs *p)
{
    KlConditionDesc *c = &desc->condition;
    const int n = pictures(desc);

    c->kind = KL_CONDITION_CHANNELS;
    c->lead_frames = 1;
    c->needs_lead = true;
    c->needs_trail = n == 2;
    c->trail_frames = n == 1 ? 0 : n == 2 || p->trail_frames;
}

/* A model of the expand_timesteps kind was at least trained to go on from a picture, and takes several as well;
 * whether one was trained to arrive somewhere only its kling.json can say. */
static void apply_condition(KlModelDesc *desc, const KlPrefs *p)
{
    KlConditionDesc *c = &desc->condition;

    if (p->expand_timesteps >= 0)
        desc->expand_timesteps = p->expand_timesteps;
    c->drift_guard = p->drift_guard >= 0 ? p->drift_guard : DRIFT_GUARD;
    if (desc->dit.in_ch != desc->dit.out_ch)
        apply_channels(desc, p);
    if (!desc->expand_timesteps || c->kind)
        return;
    c->kind = KL_CONDITION_CLEAN;
    c->lead_frames = p->lead_frames >= 0 ? p->lead_frames : LEAD_FRAMES;
    c->trail_frames = KL_MAX(p->trail_frames, 0);
}

static const Known *recognise(const KlModelDesc *desc)
{
    const KlDitConfig *c = &desc->dit;
    const int experts = desc->boundary ? 2 : 1, n = pictures(desc);
    const bool channels = c->in_ch != c->out_ch;

    for (size_t i = 0; i < KL_ARRAY_LEN(known); i++)
        if (known[i].dim == c->dim && known[i].layers == c->layers && known[i].in_ch == c->in_ch &&
            known[i].pictures == n && known[i].experts == experts)
            return &known[i];
    for (size_t i = 0; i < KL_ARRAY_LEN(unknown); i++)
        if (channels == (unknown[i].in_ch != 0) && unknown[i].pictures == n && unknown[i].experts == experts)
            return &unknown[i];
    return unknown;
}

static void describe(KlModelDesc *desc, const Known *k, const KlWeights *dit)
{
    const double n = (double)kl_weights_elements(dit);

    if (k->dim)
        snprintf(desc->kind, sizeof(desc->kind), "%s", k->kind);
    else if (n >= 1e9)
        snprintf(desc->kind, sizeof(desc->kind), "%s %.1fB", k->kind, n / 1e9);
    else if (n >= 1e6)
        snprintf(desc->kind, sizeof(desc->kind), "%s %.0fM", k->kind, n / 1e6);
    else
        snprintf(desc->kind, sizeof(desc->kind), "%s %.0fk", k->kind, n / 1e3);
}

void kl_prefs_apply(KlModelDesc *desc, const KlPrefs *p, const KlWeights *dit, bool has_scheduler, bool has_index)
{
    const Known *k = recognise(desc);

    describe(desc, k, dit);
    if (!has_scheduler)
        desc->sampler = (KlSamplerConfig){ .kind = KLING_SAMPLER_UNIPC, .shift = k->shift, .train_steps = 1000,
                                           .solver_order = 2, .lower_order_final = true };
    if (p->shift > 0)
        desc->sampler.shift = p->shift;
    desc->width_px = k->width_px;
    desc->height_px = k->height_px;
    if (k->shift > 4 && desc->sampler.shift < 4) {  /* the 14B's scheduler is set up for 480p */
        desc->width_px = unknown->width_px;
        desc->height_px = unknown->height_px;
    }
    if (p->width_px && p->height_px) {
        desc->width_px = p->width_px;
        desc->height_px = p->height_px;
    }
    if (desc->boundary < 0)
        desc->boundary = p->boundary > 0 ? p->boundary : k->boundary;
    desc->frames = p->frames ? p->frames : k->frames;
    desc->fps_num = p->fps_num ? p->fps_num : k->fps;
    desc->fps_den = p->fps_num ? p->fps_den : 1;
    desc->steps = p->steps ? p->steps : k->steps;
    desc->sampler.steps = desc->steps;
    desc->guidance = p->guidance >= 0 ? (float)p->guidance : k->guidance;
    desc->guidance_low = p->guidance_low >= 0 ? (float)p->guidance_low :
                         p->guidance >= 0 ? desc->guidance : k->guidance_low;
    if (!has_index)                     /* which would say it */
        desc->expand_timesteps = k->expand_timesteps;
    apply_condition(desc, p);
}
