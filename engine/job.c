/*
 * The public job: parameters checked at the wall, frames pulled or pushed.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bind.h"
#include "job.h"

#define KL_MIN_SIDE_PX 16
#define KL_MAX_SIDE_PX 8192
#define KL_MAX_STEPS   1000
#define KL_MAX_THREADS 1024

void kling_params_default(const KlingModel *model, KlingParams *params)
{
    *params = (KlingParams){
        .width_px  = 832,
        .height_px = 480,
        .frames    = 81,
        .steps     = 50,
        .guidance  = 5,
        .guidance_low = -1,
        .shift     = 3,
    };
    if (model) {
        const KlingModelInfo *info = kling_model_info(model);

        params->width_px  = info->width_px;
        params->height_px = info->height_px;
        params->frames    = info->frames;
        params->steps     = info->steps;
        params->guidance  = info->guidance;
        params->shift     = info->shift;
        params->drift_guard = (float)model->desc.condition.drift_guard;
    }
}

/* -- the wall -- */

static int check_numbers(KlDiag *d, const KlingParams *p)
{
    if (p->width_px % 2 || p->height_px % 2 ||
        p->width_px  < KL_MIN_SIDE_PX || p->width_px  > KL_MAX_SIDE_PX ||
        p->height_px < KL_MIN_SIDE_PX || p->height_px > KL_MAX_SIDE_PX)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "size %dx%d: width and height must be even, %d to %d",
                       p->width_px, p->height_px, KL_MIN_SIDE_PX, KL_MAX_SIDE_PX);
    if (p->frames < 1)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "%d frames: at least 1 is needed", p->frames);
    if (p->steps < 1 || p->steps > KL_MAX_STEPS)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "steps %d: must be 1 to %d", p->steps, KL_MAX_STEPS);
    if (!(p->guidance >= 0 && p->guidance <= 100))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "guidance %g: must be 0 to 100", p->guidance);
    if (!(p->guidance_low <= 100))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "guidance_low %g: must be at most 100; below 0, it is chosen",
                       p->guidance_low);
    if (!(p->shift > 0 && p->shift <= 100))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "shift %g: must be above 0, at most 100", p->shift);
    if (p->threads < 0 || p->threads > KL_MAX_THREADS)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "threads %d: must be 0 (one per core) to %d", p->threads,
                       KL_MAX_THREADS);
    if ((unsigned)p->sampler > KLING_SAMPLER_UNIPC || (unsigned)p->rng > KLING_RNG_CUDA ||
        (unsigned)p->precision > KLING_PRECISION_INT8 || (unsigned)p->format > KLING_FORMAT_RGB24)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "unknown value of sampler, rng, precision or format");
    if (p->context_frames < 0)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "context_frames %d: must be 0 (the model's) or more",
                       p->context_frames);
    if (!(p->drift_guard >= 0 && p->drift_guard <= 1))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "drift_guard %g: must be 0 to 1", p->drift_guard);
    if (p->flags & ~(KLING_FLAG_BITEXACT | KLING_FLAG_KEEP_CONTEXT))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "unknown flags 0x%x", p->flags);
    return KLING_OK;
}

/* name: "lead" or "trail". */
static int check_pictures(KlDiag *d, const KlingParams *p, const char *name, const KlingFrame *f, int n)
{
    if (n < 0 || (n && !f))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "a %s of %d pictures%s", name, n, n < 0 ? "" : " which is NULL");
    for (int i = 0; i < n; i++) {
        if (f[i].width_px != p->width_px || f[i].height_px != p->height_px)
            return kl_fail(d, KLING_ERROR_INVALID_ARG, "picture %d of the %s is %dx%d, the clip %dx%d: both must be "
                           "equal", i, name, f[i].width_px, f[i].height_px, p->width_px, p->height_px);
        if (!f[i].data[0] || !f[i].data[1] || !f[i].data[2] ||
            (f[i].stride < p->width_px && f[i].stride > -p->width_px))
            return kl_fail(d, KLING_ERROR_INVALID_ARG, "picture %d of the %s has a plane that is NULL, or a stride "
                           "below its width", i, name);
    }
    return KLING_OK;
}

/* One line for what the model cannot do, which names a kind that can. */
static int check_caps(KlDiag *d, const KlingModel *m, const KlingParams *p)
{
    const KlingModelInfo *info = &m->info;
    const int longest = 1 + (kl_condition_longest(info) - 1) * info->frame_multiple;
    const bool is_long = p->frames > longest;
    const unsigned want = (p->nb_lead ? KLING_CAP_LEAD_IMAGE : 0) | (p->nb_lead > 1 ? KLING_CAP_LEAD_CLIP : 0) |
                          (p->nb_trail ? KLING_CAP_TRAIL_IMAGE : 0) | (p->nb_trail > 1 ? KLING_CAP_TRAIL_CLIP : 0);
    const unsigned lacks = want & ~info->caps;

    if ((lacks || is_long) && m->desc.condition.kind != KL_CONDITION_NONE &&
        !kl_vae_has_encoder(m->parts[KL_PARTS_FAST].vae))
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "the VAE of %s has no encoder, so that no clip can go on from "
                       "pictures: give vae= a file that has one", info->name);
    if (info->caps & KLING_CAP_NEEDS_BOTH && (!p->nb_lead || !p->nb_trail))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "%s goes from a first picture to a last one: give both, as the "
                       "filter kling_bridge does", info->name);
    if (!(info->caps & KLING_CAP_TEXT) && !p->nb_lead)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "%s makes a clip from a picture: give one, as the filter "
                       "kling_extend does, or use a text-to-video model", info->name);
    if (lacks & KLING_CAP_LEAD_IMAGE)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "%s makes clips from text alone: going on from pictures needs an "
                       "image-to-video model, such as Wan I2V, or one of the expand_timesteps kind, such as Wan 2.2 "
                       "TI2V", info->name);
    if (lacks & KLING_CAP_LEAD_CLIP)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "%s goes on from one picture, not from %d: that needs a model of "
                       "the expand_timesteps kind, such as Wan 2.2 TI2V", info->name, p->nb_lead);
    if (lacks & KLING_CAP_TRAIL_IMAGE)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "%s cannot arrive at given pictures: that needs a first-and-last-"
                       "frame model (Wan FLF2V, Wan 2.2 I2V), or one of the expand_timesteps kind that was trained for "
                       "it (\"trail_frames\" in its kling.json)", info->name);
    if (lacks & KLING_CAP_TRAIL_CLIP)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "%s arrives at one picture, not at %d: that needs a model of the "
                       "expand_timesteps kind that was trained for it (\"trail_frames\" in its kling.json)",
                       info->name, p->nb_trail);
    return KLING_OK;
}

/* -- what is made -- */

static void plan_geometry(KlGeometry *g, const KlingModel *m, const KlingParams *p)
{
    const KlingModelInfo *info = &m->info;
    const int space = kl_vae_space_factor(m->parts[KL_PARTS_FAST].vae);

    g->width_px  = KL_CEIL_DIV(p->width_px,  info->size_multiple_px) * info->size_multiple_px;
    g->height_px = KL_CEIL_DIV(p->height_px, info->size_multiple_px) * info->size_multiple_px;
    g->crop_x_px = (g->width_px  - p->width_px)  / 2;
    g->crop_y_px = (g->height_px - p->height_px) / 2;
    g->R = g->height_px / space;
    g->W = g->width_px / space;
}

static void plan_trail(KlWindowPlan *w, const KlConditionDesc *c, int lead, int nb_trail)
{
    const int latents = kl_window_trail(w->unit, w->longest, lead, KL_CEIL_DIV(nb_trail, w->unit));

    w->trail = KL_MIN(nb_trail, latents * w->unit);
    w->trail_cover = kl_condition_trail_cover(c, w->unit, w->trail);
}

static int plan_windows(KlingJob *job)
{
    const KlingParams *p = &job->params;
    const KlingModelInfo *info = &job->model->info;
    const KlConditionDesc *c = &job->model->desc.condition;
    KlWindowPlan *w = &job->plan;
    const int context = p->context_frames ? p->context_frames : info->lead_frames;
    bool fits;

    *w = (KlWindowPlan){ .unit = info->frame_multiple, .longest = kl_condition_longest(info), .frames = p->frames };
    w->lead = kl_window_lead(w->unit, w->longest, p->nb_lead);
    w->context = kl_window_lead(w->unit, w->longest, context);
    plan_trail(w, c, w->lead, p->nb_trail);
    fits = kl_window_plan(w);
    if (fits && w->windows > 1 && w->trail) {   /* the last window leads with the context instead */
        plan_trail(w, c, w->context, p->nb_trail);
        fits = kl_window_plan(w);
    }
    if (w->windows > 1 && !(info->caps & KLING_CAP_LEAD_CLIP))
        return kl_fail(&job->diag, KLING_ERROR_INVALID_ARG, "%d frames are longer than one clip of %s, which is %d "
                       "frames: ask for fewer, or give a model that can go on from its own pictures (expand_timesteps, "
                       "such as Wan 2.2 TI2V)", p->frames, info->name,
                       1 + (w->longest - 1) * w->unit - w->lead - w->trail_cover);
    if (!fits || (p->nb_trail && !w->trail))
        return kl_fail(&job->diag, KLING_ERROR_UNSUPPORTED, "a window of %s, %d frames, has no room for new pictures "
                       "between those that are given", info->name, 1 + (w->longest - 1) * w->unit);
    job->win = kl_window_at(w, 0, 0);
    return KLING_OK;
}

/* The pictures that are used, padded to the generated size. */
static int copy_pictures(KlingJob *job, KlPictures *to, int cap, const KlingFrame *f, int n)
{
    int ret = kl_pictures_create(&job->diag, to, job->geo.width_px, job->geo.height_px, cap);

    for (int i = 0; ret >= 0 && i < n; i++) {
        float *dst = kl_pictures_next(&job->diag, to);

        if (!dst)
            return KLING_ERROR_OUT_OF_MEMORY;
        kl_pictures_pad(to, dst, &f[i], job->geo.crop_x_px, job->geo.crop_y_px);
    }
    return ret;
}

static int job_init(KlingJob *job, const KlingParams *p)
{
    KlDiag *d = &job->diag;
    const KlWindowPlan *w = &job->plan;
    const int unit = job->model->info.frame_multiple;
    int ret;

    if ((ret = check_numbers(d, p)) < 0 ||
        (ret = check_pictures(d, p, "lead", p->lead, p->nb_lead)) < 0 ||
        (ret = check_pictures(d, p, "trail", p->trail, p->nb_trail)) < 0 ||
        (ret = check_caps(d, job->model, p)) < 0)
        return ret;
    if (unit > KL_MAX_TIME_FACTOR)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "%s: a time compression above %d", job->model->info.name,
                       KL_MAX_TIME_FACTOR);
    job->params = *p;
    job->params.lead = job->params.trail = NULL;
    job->params.prompt = kl_strdup(p->prompt ? p->prompt : "");
    job->params.negative_prompt = kl_strdup(p->negative_prompt ? p->negative_prompt : "");
    if (!job->params.prompt || !job->params.negative_prompt)
        return kl_fail_memory(d, "the prompt", strlen(p->prompt ? p->prompt : "") + 1);
    job->drift.strength = p->drift_guard;
    plan_geometry(&job->geo, job->model, p);
    if ((ret = plan_windows(job)) < 0)
        return ret;
    if (job->geo.width_px != p->width_px || job->geo.height_px != p->height_px || job->win.fresh != job->win.give)
        kl_log(d, KLING_LOG_VERBOSE, "generating %dx%d, %d new frames in the first window; cropped to %dx%d, %d frames",
               job->geo.width_px, job->geo.height_px, job->win.fresh, p->width_px, p->height_px, job->win.give);
    if (w->windows > 1)
        kl_log(d, KLING_LOG_VERBOSE, "%d windows, each but the first going on from %d pictures", w->windows,
               w->context);
    if ((ret = copy_pictures(job, &job->known, w->windows > 1 ? KL_MAX(w->lead, w->context) : w->lead,
                             p->lead + (p->nb_lead - w->lead), w->lead)) < 0 ||
        (ret = copy_pictures(job, &job->trail, w->trail, p->trail, w->trail)) < 0)
        return ret;
    return kl_job_check_memory(job);
}

/* -- the public calls -- */

int kling_job_create(KlingModel *model, KlingJob **job, const KlingParams *params)
{
    KlDiag d = { 0 };
    KlingJob *j;
    int ret;

    if (!job)
        return KLING_ERROR_INVALID_ARG;
    *job = NULL;
    if (!model || !params)
        return KLING_ERROR_INVALID_ARG;
    d.log        = params->log ? params->log : model->log;
    d.log_opaque = params->log ? params->log_opaque : model->log_opaque;
    j = calloc(1, sizeof(*j));
    if (!j) {
        ret = kl_fail_memory(&d, "the job", sizeof(*j));
    } else {
        atomic_init(&j->cancel, 0);
        j->model = kling_model_ref(model);
        j->diag = d;
        j->diag.cancel = &j->cancel;
        ret = job_init(j, params);
        memcpy(d.error, j->diag.error, sizeof(d.error));
        if (ret < 0)
            kling_job_destroy(&j);
    }
    pthread_mutex_lock(&model->lock);
    memcpy(model->error, d.error, sizeof(model->error));
    pthread_mutex_unlock(&model->lock);
    if (ret < 0)
        kl_log(&d, KLING_LOG_ERROR, "%s", d.error);
    *job = j;
    return ret;
}

void kling_job_destroy(KlingJob **job)
{
    KlingJob *j;

    if (!job || !*job)
        return;
    j = *job;
    *job = NULL;
    kl_job_release(j);
    free((char *)j->params.prompt);
    free((char *)j->params.negative_prompt);
    kling_model_destroy(&j->model);
    free(j);
}

/* Errors stay; everything but the error's sentence is freed at once. */
static int settle(KlingJob *job, int status)
{
    /* a device that is lost has no memory either */
    if (status == KLING_ERROR_OUT_OF_MEMORY && job->ex && *job->parts->kernels.exec_error(job->ex))
        status = kl_fail_device(&job->diag, &job->parts->kernels, job->ex, "the device failed");
    if (status != KLING_OK) {
        job->status = status;
        kl_job_release(job);
        if (status < 0 && status != KLING_ERROR_CANCELLED)
            kl_log(&job->diag, KLING_LOG_ERROR, "%s", job->diag.error);
    }
    return status;
}

/* Whether to decode before a picture is taken from the queue. A window is begun only when nobody waits for the one
 * before. */
static bool is_low(const KlingJob *job)
{
    const int64_t waiting = job->sent - job->taken;

    return !job->finished && (!waiting || (job->running && waiting <= kl_job_run_ahead(job)));
}

static int advance(KlingJob *job)
{
    int ret;

    if ((ret = kl_check_cancel(&job->diag)) < 0)
        return ret;
    if (!job->running)
        ret = kl_job_sample(job);
    return ret < 0 ? ret : kl_job_decode(job);
}

int kling_job_next_frame(KlingJob *job, const KlingFrame **frame)
{
    int ret;

    *frame = NULL;
    if (job->status != KLING_OK)
        return job->status;
    if ((ret = kl_check_cancel(&job->diag)) < 0)
        return settle(job, ret);
    do {                                /* what the next window goes on from is decoded as well, and not given */
        while (is_low(job))
            if ((ret = advance(job)) < 0)
                return settle(job, ret);
        if (job->taken == job->sent)
            return settle(job, KLING_EOF);
        if ((ret = kl_job_take(job)) < 0)
            return settle(job, ret);
    } while (!ret);
    *frame = &job->frame;
    return KLING_OK;
}

int kling_job_run(KlingJob *job, KlingFrameFn fn, void *opaque)
{
    const KlingFrame *f;
    int ret;

    while ((ret = kling_job_next_frame(job, &f)) == KLING_OK)
        if (fn(opaque, f))
            return settle(job, kl_fail(&job->diag, KLING_ERROR_CANCELLED, "stopped by the frame callback"));
    return ret == KLING_EOF ? KLING_OK : ret;
}

/* Makes *text a copy of fresh, when that differs; its embedding is then to be made again. */
static int replace_prompt(KlingJob *job, const char **text, const char *fresh, int slot)
{
    char *copy;

    if (!strcmp(*text, fresh))
        return KLING_OK;
    if (!(copy = kl_strdup(fresh)))
        return kl_fail_memory(&job->diag, "the prompt", strlen(fresh) + 1);
    free((char *)*text);
    *text = copy;
    if (job->rows[slot])                /* not so of a negative prompt without guidance: then nothing changes */
        job->new_prompt = true;
    free(job->rows[slot]);
    job->rows[slot] = NULL;
    return KLING_OK;
}

int kling_job_set_prompt(KlingJob *job, const char *prompt, const char *negative_prompt)
{
    int ret;

    if (job->status != KLING_OK)
        return job->status < 0 ? job->status : KLING_OK;
    if ((ret = replace_prompt(job, &job->params.prompt, prompt ? prompt : "", 0)) < 0 ||
        (negative_prompt && (ret = replace_prompt(job, &job->params.negative_prompt, negative_prompt, 1)) < 0))
        return ret;                     /* without an end to the job: its frame callback may be running */
    return KLING_OK;
}

void kling_job_cancel(KlingJob *job)
{
    if (job)
        atomic_store_explicit(&job->cancel, 1, memory_order_relaxed);
}

const char *kling_job_error(const KlingJob *job)
{
    return job ? job->diag.error : "";
}
