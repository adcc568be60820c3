/*
 * Given pictures, made into what the transformer is shown of them.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The reference is diffusers' WanImageToVideoPipeline with expand_timesteps:
 * input = (1 - mask) condition + mask z, timestep = mask t, and after the loop
 * z = (1 - mask) condition + mask z. There the condition is one picture; here
 * it may be several latent frames at either end.
 */
#include "condition.h"

#include <stdlib.h>

#include "bind.h"
#include "rng.h"

/* Repetitions of the trail's first picture that its encoder sees before it, in latent frames after the first: then its
 * cache is what it would be after a long standstill. With random weights, which forget most slowly, latents are 54 to
 * 74 % of their deviation off after 4, 12 to 22 % after 8, 2 to 3 % after 12. It costs as much as encoding a window. */
#define WARM_UP 8
#define MAX_UNIT 16

struct KlCondition {
    const KlKernels *k;
    KlExec *ex;
    int C, F;
    int64_t frame;                      /* R*W of the latents */
    int lead, trail;                    /* latent frames that are known at either end */
    float *clean;                       /* [C,lead+trail,R,W]; NULL: nothing is known */
    float *shown;                       /* the same as the transformer sees it; clean itself without noise */
    float *input;                       /* [C,F,R,W] */
    float t_lead;
};

/* -- what a model can do -- */

int kl_condition_longest(const KlingModelInfo *info)
{
    return 1 + KL_CEIL_DIV(info->frames - 1, info->frame_multiple);
}

int kl_condition_trail_cover(const KlConditionDesc *c, int unit, int n)
{
    (void)c;                            /* whole latent frames in the only kind that takes a trail */
    return KL_CEIL_DIV(n, unit) * unit;
}

void kl_condition_info(const KlConditionDesc *c, bool encoder, KlingModelInfo *info)
{
    const int unit = info->frame_multiple, longest = kl_condition_longest(info);

    info->caps = KLING_CAP_TEXT;
    info->lead_frames = info->trail_frames = 0;
    if (c->kind == KL_CONDITION_NONE || !encoder)
        return;
    info->lead_frames = kl_window_lead(unit, longest, c->lead_frames);
    info->trail_frames = KL_MIN(c->trail_frames, kl_window_trail(unit, longest, 0, longest) * unit);
    if (info->lead_frames)
        info->caps |= KLING_CAP_LEAD_IMAGE;
    if (info->lead_frames > 1)
        info->caps |= KLING_CAP_LEAD_CLIP;
    if (info->trail_frames)
        info->caps |= KLING_CAP_TRAIL_IMAGE;
    if (info->trail_frames > 1)
        info->caps |= KLING_CAP_TRAIL_CLIP;
}

size_t kl_condition_bytes(const KlConditionDesc *c, const KlVae *vae, int width_px, int height_px)
{
    const size_t picture = 3 * sizeof(float) * (size_t)width_px * (size_t)height_px;

    if (c->kind == KL_CONDITION_NONE)
        return 0;
    return kl_vae_encoder_bytes(vae, height_px, width_px) + (size_t)(kl_vae_time_factor(vae) + 1) * picture;
}

/* -- encoding -- */

/* A clip on its way into latents, a picture at a time. */
typedef struct Encoding {
    const KlConditionParams *p;
    KlVaeEncoder *enc;
    int unit;                           /* pictures per latent frame after the first */
    int filled;                         /* of x[] */
    int64_t seen;                       /* pictures */
    float *x[MAX_UNIT];                 /* [R_px,W_px,3] in [-1,1], executor memory */
    float *host;                        /* the same of one picture */
    float *out;                         /* where the next latent frame goes, plane stride ldz */
    int64_t ldz;
} Encoding;

static void encoding_close(Encoding *e)
{
    for (int i = 0; i < MAX_UNIT; i++)
        e->p->k->mem_free(e->p->ex, e->x[i]);
    free(e->host);
    kl_vae_encoder_destroy(&e->enc);
}

static int encoding_open(KlDiag *d, Encoding *e, const KlConditionParams *p)
{
    const size_t bytes = 3 * sizeof(float) * (size_t)p->width_px * (size_t)p->height_px;
    int ret;

    *e = (Encoding){ .p = p, .unit = kl_vae_time_factor(p->vae) };
    if (e->unit > MAX_UNIT)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "a VAE with a time compression above %d", MAX_UNIT);
    if (!(e->host = malloc(bytes)))
        return kl_fail_memory(d, "a picture to encode", bytes);
    for (int i = 0; i < e->unit; i++)
        if (!(e->x[i] = p->k->mem_alloc(p->ex, bytes)))
            return kl_fail_memory(d, "a picture to encode", bytes);
    if ((ret = kl_vae_encoder_create(p->vae, p->ex, d, p->height_px, p->width_px, &e->enc)) < 0)
        return ret;
    return 0;
}

/* Planes in [0,1] to channels-last in [-1,1]; a latent frame goes to e->out with the last picture that it is of. */
static int encode_picture(KlDiag *d, Encoding *e, const float *rgb)
{
    const int64_t n = (int64_t)e->p->width_px * e->p->height_px;
    const int wanted = e->seen++ ? e->unit : 1;

    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            e->host[3 * i + c] = 2 * rgb[c * n + i] - 1;
    if (e->p->k->mem_upload(e->p->ex, e->x[e->filled], e->host, 3 * sizeof(float) * (size_t)n) < 0)
        return kl_fail_device(d, e->p->k, e->p->ex, "sending a picture");
    if (++e->filled < wanted)
        return 0;
    e->filled = 0;
    return kl_vae_encode(e->enc, d, (const float *const *)e->x, wanted, e->out, e->ldz);
}

/* The lead's latent frames into c->clean. */
static int encode_lead(KlDiag *d, KlCondition *c, const KlConditionParams *p)
{
    Encoding e;
    int ret = encoding_open(d, &e, p);

    e.ldz = (c->lead + c->trail) * c->frame;
    for (int i = 0; ret >= 0 && i < p->win->lead; i++) {
        e.out = c->clean + KL_CEIL_DIV(i, e.unit) * c->frame;
        ret = encode_picture(d, &e, p->lead[i]);
    }
    encoding_close(&e);
    return ret;
}

/* The trail's, after the lead's. Its last picture is repeated until the latent frame is full. */
static int encode_trail(KlDiag *d, KlCondition *c, const KlConditionParams *p)
{
    Encoding e;
    int ret = encoding_open(d, &e, p);

    e.ldz = (c->lead + c->trail) * c->frame;
    e.out = c->clean + c->lead * c->frame;      /* overwritten until the trail itself comes */
    for (int i = 0; ret >= 0 && i < 1 + WARM_UP * e.unit; i++)
        ret = encode_picture(d, &e, p->trail[0]);
    for (int i = 0; ret >= 0 && i < c->trail * e.unit; i++) {
        e.out = c->clean + (c->lead + i / e.unit) * c->frame;
        ret = encode_picture(d, &e, p->trail[KL_MIN(i, p->win->trail - 1)]);
    }
    encoding_close(&e);
    return ret;
}

/* c->shown: the lead at noise level p->noise, (1 - noise) x + noise n as the sampler's latents are. */
static int add_noise(KlDiag *d, KlCondition *c, const KlConditionParams *p)
{
    const int64_t known = (c->lead + c->trail) * c->frame, lead = c->lead * c->frame;
    const size_t bytes = sizeof(float) * (size_t)(c->C * lead);
    const double a[2] = { 1 - p->noise, p->noise };
    float *host = malloc(bytes), *noise = c->k->mem_alloc(c->ex, bytes);
    int ret = 0;

    c->shown = c->k->mem_alloc(c->ex, sizeof(float) * (size_t)(c->C * known));
    if (!host || !noise || !c->shown) {
        ret = kl_fail_memory(d, "the context's noise", bytes);
    } else {
        kl_randn(p->rng, host, c->C * lead, p->noise_seed);
        if (c->k->mem_upload(c->ex, noise, host, bytes) < 0)
            ret = kl_fail_device(d, c->k, c->ex, "sending the context's noise");
    }
    if (ret >= 0) {
        c->k->mem_copy(c->ex, c->shown, c->clean, sizeof(float) * (size_t)(c->C * known));
        for (int i = 0; i < c->C; i++) {
            float *out = c->shown + i * known;
            const float *const x[2] = { out, noise + i * lead };

            c->k->lincomb(c->ex, out, x, a, 2, lead);
        }
        c->t_lead = (float)(p->noise * p->train_steps);
    }
    c->k->mem_free(c->ex, noise);
    free(host);
    return ret;
}

static int create_clean(KlDiag *d, KlCondition *c, const KlConditionParams *p)
{
    const int unit = kl_vae_time_factor(p->vae);
    size_t bytes;
    int ret = 0;

    c->lead = p->win->lead ? 1 + (p->win->lead - 1) / unit : 0;
    c->trail = p->win->trail_cover / unit;
    if (!c->lead && !c->trail)
        return 0;
    bytes = sizeof(float) * (size_t)(c->C * (c->lead + c->trail) * c->frame);
    c->shown = c->clean = c->k->mem_alloc(c->ex, bytes);
    if (!c->clean)
        return kl_fail_memory(d, "the given pictures' latents", bytes);
    if (c->lead && (ret = encode_lead(d, c, p)) < 0)
        return ret;
    if (c->trail && (ret = encode_trail(d, c, p)) < 0)
        return ret;
    if (c->lead && p->noise > 0 && (ret = add_noise(d, c, p)) < 0)
        return ret;
    bytes = sizeof(float) * (size_t)(c->C * c->F * c->frame);
    c->input = c->k->mem_alloc(c->ex, bytes);
    return c->input ? 0 : kl_fail_memory(d, "the transformer's input", bytes);
}

int kl_condition_create(KlDiag *d, KlCondition **out, const KlConditionParams *p)
{
    const int factor = kl_vae_space_factor(p->vae);
    KlCondition *c = calloc(1, sizeof(*c));
    int ret = 0;

    *out = NULL;
    if (!c)
        return kl_fail_memory(d, "the condition", sizeof(*c));
    c->k = p->k;
    c->ex = p->ex;
    c->C = kl_vae_config(p->vae)->z_dim;
    c->F = p->win->F;
    c->frame = (int64_t)(p->height_px / factor) * (p->width_px / factor);
    if (p->kind == KL_CONDITION_CLEAN)
        ret = create_clean(d, c, p);
    if (ret < 0)
        kl_condition_destroy(&c);
    *out = c;
    return ret;
}

void kl_condition_destroy(KlCondition **condition)
{
    KlCondition *c = *condition;

    if (!c)
        return;
    if (c->shown != c->clean)
        c->k->mem_free(c->ex, c->shown);
    c->k->mem_free(c->ex, c->clean);
    c->k->mem_free(c->ex, c->input);
    free(c);
    *condition = NULL;
}

/* -- in every call -- */

/* The known frames from [C,lead+trail,R,W] into their places in z. */
static void put_known(const KlCondition *c, float *z, const float *known)
{
    const size_t lead = sizeof(float) * (size_t)(c->lead * c->frame);
    const size_t trail = sizeof(float) * (size_t)(c->trail * c->frame);

    for (int i = 0; i < c->C; i++) {
        const float *from = known + i * (c->lead + c->trail) * c->frame;
        float *to = z + i * c->F * c->frame;

        if (lead)
            c->k->mem_copy(c->ex, to, from, lead);
        if (trail)
            c->k->mem_copy(c->ex, to + (c->F - c->trail) * c->frame, from + c->lead * c->frame, trail);
    }
}

const float *kl_condition_input(KlCondition *c, const float *z, float t, float *t_frame)
{
    for (int f = 0; f < c->F; f++)
        t_frame[f] = f < c->lead ? c->t_lead : f < c->F - c->trail ? t : 0;
    if (!c->clean)
        return z;
    c->k->mem_copy(c->ex, c->input, z, sizeof(float) * (size_t)(c->C * c->F * c->frame));
    put_known(c, c->input, c->shown);
    return c->input;
}

void kl_condition_finish(const KlCondition *c, float *z)
{
    if (c->clean)
        put_known(c, z, c->clean);
}
