/*
 * Given pictures, made into what the transformer is shown of them.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The reference is diffusers' WanImageToVideoPipeline with expand_timesteps:
 * input = (1 - mask) condition + mask z, timestep = mask t, and after the loop
 * z = (1 - mask) condition + mask z. There the condition is one picture; here
 * it may be several latent frames at either end. Without expand_timesteps the
 * pipeline encodes the pictures with grey ones between them, and shows the
 * transformer z, a mask and those latents, one behind the other.
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
    float *input;                       /* [C,F,R,W]; of KL_CONDITION_CHANNELS [2C+unit,F,R,W], all but the first C
                                           set once */
    bool channels;
    float *rows;                        /* of an image encoder, or NULL */
    int n_rows;
    float t_lead;
};

/* -- what a model can do -- */

int kl_condition_longest(const KlingModelInfo *info)
{
    return 1 + KL_CEIL_DIV(info->frames - 1, info->frame_multiple);
}

int kl_condition_trail_cover(const KlConditionDesc *c, int unit, int n)
{
    if (c->kind == KL_CONDITION_CHANNELS)   /* no latent frame of its own: the last picture of a whole video */
        return n;
    return KL_CEIL_DIV(n, unit) * unit;
}

void kl_condition_info(const KlConditionDesc *c, bool encoder, KlingModelInfo *info)
{
    const int unit = info->frame_multiple, longest = kl_condition_longest(info);

    info->caps = c->needs_lead ? 0 : KLING_CAP_TEXT;
    if (c->needs_lead && c->needs_trail)
        info->caps |= KLING_CAP_NEEDS_BOTH;
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

size_t kl_condition_bytes(const KlModelDesc *m, const KlVae *vae, int width_px, int height_px)
{
    const size_t picture = 3 * sizeof(float) * (size_t)width_px * (size_t)height_px;
    const size_t image = m->dit.image_dim ? kl_image_encoder_bytes(&m->image) : 0;

    if (m->condition.kind == KL_CONDITION_NONE)
        return 0;
    return KL_MAX(kl_vae_encoder_bytes(vae, height_px, width_px) + (size_t)(kl_vae_time_factor(vae) + 1) * picture,
                  image);
}

size_t kl_condition_held_bytes(const KlModelDesc *m, int F, int R, int W)
{
    const size_t tokens = m->dit.image_dim ? 2 * (size_t)kl_image_encoder_tokens(&m->image) : 0;

    if (m->condition.kind == KL_CONDITION_NONE)
        return 0;
    return sizeof(float) * (2 * (size_t)m->dit.in_ch * (size_t)F * (size_t)R * (size_t)W +
                            tokens * (size_t)m->dit.image_dim);
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

/* A picture of the video that KL_CONDITION_CHANNELS encodes: the pictures at its ends, grey between. */
static const float *video_picture(const KlConditionParams *p, int i, int frames, const float *grey)
{
    if (i < p->win->lead)
        return p->lead[i];
    return i < frames - p->win->trail ? grey : p->trail[i - (frames - p->win->trail)];
}

/* The video's latents, to out[C,F,R,W]. */
static int encode_video(KlDiag *d, const KlCondition *c, const KlConditionParams *p, float *out)
{
    const int64_t n = 3 * (int64_t)p->width_px * p->height_px;
    float *grey = malloc(sizeof(*grey) * (size_t)n);
    Encoding e;
    int ret = encoding_open(d, &e, p);

    if (ret >= 0 && !grey)
        ret = kl_fail_memory(d, "a picture to encode", sizeof(*grey) * (size_t)n);
    for (int64_t i = 0; ret >= 0 && i < n; i++)
        grey[i] = 0.5f;
    e.ldz = c->F * c->frame;
    for (int i = 0, frames = 1 + (c->F - 1) * e.unit; ret >= 0 && i < frames; i++) {
        e.out = out + KL_CEIL_DIV(i, e.unit) * c->frame;
        ret = encode_picture(d, &e, video_picture(p, i, frames, grey));
    }
    encoding_close(&e);
    free(grey);
    return ret;
}

/* mask[unit,F,R,W]: 1 for each picture that is given. The first latent frame is of one picture, which counts for all
 * of the unit. */
static int fill_mask(KlDiag *d, const KlCondition *c, const KlConditionParams *p, float *mask)
{
    const int unit = kl_vae_time_factor(p->vae), frames = 1 + (c->F - 1) * unit;
    const int64_t n = unit * c->F * c->frame;
    float *host = malloc(sizeof(*host) * (size_t)n);
    int ret = 0;

    if (!host)
        return kl_fail_memory(d, "the given pictures' mask", sizeof(*host) * (size_t)n);
    for (int u = 0; u < unit; u++)
        for (int f = 0; f < c->F; f++) {
            const int picture = f ? 1 + (f - 1) * unit + u : 0;
            const float given = picture < p->win->lead || picture >= frames - p->win->trail;

            for (int64_t i = 0; i < c->frame; i++)
                host[(u * c->F + f) * c->frame + i] = given;
        }
    if (c->k->mem_upload(c->ex, mask, host, sizeof(*host) * (size_t)n) < 0)
        ret = kl_fail_device(d, c->k, c->ex, "sending the given pictures' mask");
    free(host);
    return ret;
}

/* Rows of the image encoder: of the first given picture, and of the last where there is one. */
static int encode_rows(KlDiag *d, KlCondition *c, const KlConditionParams *p)
{
    const KlImageEncoderConfig *ic = kl_image_encoder_config(p->image);
    const int tokens = kl_image_encoder_tokens(ic), images = !!p->win->lead + !!p->win->trail;
    const int64_t plane = (int64_t)p->width_px * p->height_px, at = (int64_t)p->crop_y_px * p->width_px + p->crop_x_px;
    float *pixels = malloc(3 * sizeof(*pixels) * (size_t)ic->image_px * (size_t)ic->image_px);
    int ret = 0;

    c->n_rows = images * tokens;
    c->rows = c->k->mem_alloc(c->ex, sizeof(float) * (size_t)c->n_rows * (size_t)ic->dim);
    if (!pixels || !c->rows)
        ret = kl_fail_memory(d, "the image encoder's rows", sizeof(float) * (size_t)c->n_rows * (size_t)ic->dim);
    for (int i = 0; i < images && ret >= 0; i++) {
        const float *pic = i ? p->trail[p->win->trail - 1] : p->win->lead ? p->lead[0] : p->trail[0];
        const float *const rgb[3] = { pic + at, pic + plane + at, pic + 2 * plane + at };

        ret = kl_image_encoder_prepare(ic, d, rgb, p->width_px, p->crop_width_px, p->crop_height_px, pixels);
        if (ret >= 0)
            ret = kl_image_encoder_run(p->image, c->ex, d, pixels, c->rows + (int64_t)i * tokens * ic->dim);
    }
    free(pixels);
    return ret;
}

static int create_channels(KlDiag *d, KlCondition *c, const KlConditionParams *p)
{
    const int64_t plane = c->F * c->frame;
    const int unit = kl_vae_time_factor(p->vae);
    const size_t bytes = sizeof(float) * (size_t)((2 * c->C + unit) * plane);
    int ret;

    c->channels = true;
    if (!(c->input = c->k->mem_alloc(c->ex, bytes)))
        return kl_fail_memory(d, "the transformer's input", bytes);
    if (p->image && (ret = encode_rows(d, c, p)) < 0)
        return ret;
    ret = fill_mask(d, c, p, c->input + c->C * plane);
    return ret < 0 ? ret : encode_video(d, c, p, c->input + (c->C + unit) * plane);
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
    else if (p->kind == KL_CONDITION_CHANNELS)
        ret = create_channels(d, c, p);
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
    c->k->mem_free(c->ex, c->rows);
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
    if (!c->input)
        return z;
    c->k->mem_copy(c->ex, c->input, z, sizeof(float) * (size_t)(c->C * c->F * c->frame));
    if (!c->channels)
        put_known(c, c->input, c->shown);
    return c->input;
}

const float *kl_condition_rows(const KlCondition *c, int *n)
{
    *n = c->n_rows;
    return c->rows;
}

void kl_condition_finish(const KlCondition *c, float *z)
{
    if (c->clean)
        put_known(c, z, c->clean);
}
