/*
 * The public job: parameters checked at the wall, frames pulled or pushed.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    }
}

static int check_params(KlDiag *d, const KlingModelInfo *info, const KlingParams *p)
{
    const int longest = 1 + KL_CEIL_DIV(info->frames - 1, info->frame_multiple) * info->frame_multiple;

    if (p->width_px % 2 || p->height_px % 2 ||
        p->width_px  < KL_MIN_SIDE_PX || p->width_px  > KL_MAX_SIDE_PX ||
        p->height_px < KL_MIN_SIDE_PX || p->height_px > KL_MAX_SIDE_PX)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "size %dx%d: width and height must be even, %d to %d",
                       p->width_px, p->height_px, KL_MIN_SIDE_PX, KL_MAX_SIDE_PX);
    if (p->frames < 1)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "%d frames: at least 1 is needed", p->frames);
    if (p->frames > longest)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "%d frames are longer than one clip of %s, which is %d frames: ask "
                       "for fewer", p->frames, info->name, longest);
    if (p->steps < 1 || p->steps > KL_MAX_STEPS)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "steps %d: must be 1 to %d", p->steps, KL_MAX_STEPS);
    if (!(p->guidance >= 0 && p->guidance <= 100))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "guidance %g: must be 0 to 100", p->guidance);
    if (!(p->shift > 0 && p->shift <= 100))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "shift %g: must be above 0, at most 100", p->shift);
    if (p->threads < 0 || p->threads > KL_MAX_THREADS)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "threads %d: must be 0 (one per core) to %d", p->threads,
                       KL_MAX_THREADS);
    if ((unsigned)p->sampler > KLING_SAMPLER_UNIPC || (unsigned)p->rng > KLING_RNG_CUDA ||
        (unsigned)p->precision > KLING_PRECISION_F32)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "unknown value of sampler, rng or precision");
    if (p->nb_lead || p->nb_trail)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "%s makes clips from text alone", info->name);
    if (p->flags & ~(KLING_FLAG_BITEXACT | KLING_FLAG_KEEP_CONTEXT))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "unknown flags 0x%x", p->flags);
    return KLING_OK;
}

static void plan_geometry(KlGeometry *g, const KlingModel *m, const KlingParams *p)
{
    const KlingModelInfo *info = &m->info;
    const int space = kl_vae_space_factor(m->parts[KL_PARTS_FAST].vae);

    g->width_px  = KL_CEIL_DIV(p->width_px,  info->size_multiple_px) * info->size_multiple_px;
    g->height_px = KL_CEIL_DIV(p->height_px, info->size_multiple_px) * info->size_multiple_px;
    g->crop_x_px = (g->width_px  - p->width_px)  / 2;
    g->crop_y_px = (g->height_px - p->height_px) / 2;
    g->F = 1 + KL_CEIL_DIV(p->frames - 1, info->frame_multiple);
    g->frames = 1 + (g->F - 1) * info->frame_multiple;
    g->R = g->height_px / space;
    g->W = g->width_px / space;
}

static int job_init(KlingJob *job, const KlingParams *p)
{
    KlDiag *d = &job->diag;
    int ret;

    if ((ret = check_params(d, &job->model->info, p)) < 0)
        return ret;
    if (kl_vae_time_factor(job->model->parts[KL_PARTS_FAST].vae) > KL_MAX_TIME_FACTOR)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "%s: a time compression above %d", job->model->info.name,
                       KL_MAX_TIME_FACTOR);
    job->params = *p;
    job->params.prompt = kl_strdup(p->prompt ? p->prompt : "");
    job->params.negative_prompt = kl_strdup(p->negative_prompt ? p->negative_prompt : "");
    if (!job->params.prompt || !job->params.negative_prompt)
        return kl_fail_memory(d, "the prompt", strlen(p->prompt ? p->prompt : "") + 1);
    plan_geometry(&job->geo, job->model, p);
    if (job->geo.width_px != p->width_px || job->geo.height_px != p->height_px || job->geo.frames != p->frames)
        kl_log(d, KLING_LOG_VERBOSE, "generating %dx%d, %d frames; cropped to %dx%d, %d frames",
               job->geo.width_px, job->geo.height_px, job->geo.frames, p->width_px, p->height_px, p->frames);
    return kl_job_check_memory(job);
}

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
    for (int i = 0; i < KL_MAX_TIME_FACTOR; i++)
        free(j->host[i]);
    free((char *)j->params.prompt);
    free((char *)j->params.negative_prompt);
    kling_model_destroy(&j->model);
    free(j);
}

/* Errors stay; everything but the error's sentence and the handed-out frame is freed at once. */
static int settle(KlingJob *job, int status)
{
    if (status != KLING_OK) {
        job->status = status;
        kl_job_release(job);
        if (status < 0 && status != KLING_ERROR_CANCELLED)
            kl_log(&job->diag, KLING_LOG_ERROR, "%s", job->diag.error);
    }
    return status;
}

static int advance(KlingJob *job)
{
    int ret;

    if ((ret = kl_check_cancel(&job->diag)) < 0)
        return ret;
    if (!job->sampled)
        ret = kl_job_sample(job);
    return ret < 0 ? ret : kl_job_decode(job);
}

void kl_job_expose(KlingJob *job, int slot)
{
    const ptrdiff_t stride = job->geo.width_px;
    const ptrdiff_t plane = stride * job->geo.height_px;
    const float *base = job->host[slot] + job->geo.crop_y_px * stride + job->geo.crop_x_px;

    job->frame = (KlingFrame){
        .data      = { base, base + plane, base + 2 * plane },
        .stride    = stride,
        .width_px  = job->params.width_px,
        .height_px = job->params.height_px,
        .index     = job->decoded - job->queued + slot,
        .step_ms   = job->step_ms,
    };
}

int kling_job_next_frame(KlingJob *job, const KlingFrame **frame)
{
    int ret;

    *frame = NULL;
    if (job->status != KLING_OK)
        return job->status;
    if ((ret = kl_check_cancel(&job->diag)) < 0)
        return settle(job, ret);
    if (job->taken == job->queued) {
        if (job->decoded == job->params.frames)
            return settle(job, KLING_EOF);
        job->taken = job->queued = 0;
        if ((ret = advance(job)) < 0)
            return settle(job, ret);
    }
    kl_job_expose(job, job->taken++);
    *frame = &job->frame;
    return KLING_OK;
}

int kling_job_run(KlingJob *job, KlingFrameFn fn, void *opaque)
{
    const KlingFrame *f;
    int ret = KLING_OK;

    while (job->status == KLING_OK && job->taken < job->queued) {
        ret = kling_job_next_frame(job, &f);
        if (ret == KLING_OK && fn(opaque, f))
            ret = settle(job, kl_fail(&job->diag, KLING_ERROR_CANCELLED, "stopped by the frame callback"));
    }
    if (job->status != KLING_OK)
        return job->status == KLING_EOF ? KLING_OK : job->status;
    job->push = fn;
    job->push_opaque = opaque;
    while (ret >= 0 && job->decoded < job->params.frames)
        ret = advance(job);
    job->push = NULL;
    if (ret < 0)
        return settle(job, ret);
    settle(job, KLING_EOF);
    return KLING_OK;
}

int kling_job_set_prompt(KlingJob *job, const char *prompt, const char *negative_prompt)
{
    (void)prompt;
    (void)negative_prompt;
    return job->status < 0 ? job->status : KLING_OK;    /* its only window has begun, or is about to */
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
