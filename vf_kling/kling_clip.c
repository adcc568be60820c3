/*
 * The options that every kling filter has, and the job that they ask for.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kling_compat.h"

#include "libavutil/dict.h"
#include "libavutil/mathematics.h"
#include "libavutil/parseutils.h"

#include "kling_clip.h"

int ff_kling_clip_init(AVFilterContext *ctx)
{
    KlingClip *c = ctx->priv;
    int ret;

    c->window = -1;
    if (c->prompt && c->prompt_file) {
        av_log(ctx, AV_LOG_ERROR, "prompt and prompt_file are both given: one is enough\n");
        return AVERROR(EINVAL);
    }
    if (c->frames && c->duration_us) {
        av_log(ctx, AV_LOG_ERROR, "frames and duration are both given: one is enough\n");
        return AVERROR(EINVAL);
    }
    if (c->rate && (av_parse_video_rate(&c->frame_rate, c->rate) < 0 ||
                    av_cmp_q(c->frame_rate, (AVRational){ 1, 100 }) < 0 ||
                    av_cmp_q(c->frame_rate, (AVRational){ 1000, 1 }) > 0)) {
        av_log(ctx, AV_LOG_ERROR, "rate %s: must be 1/100 to 1000 frames per second, such as 25 or 30000/1001\n",
               c->rate);
        return AVERROR(EINVAL);
    }
    if (c->guidance > -1 && c->guidance < 0) {
        av_log(ctx, AV_LOG_ERROR, "guidance %g: must be 0 to 100, or -1 for the model's\n", c->guidance);
        return AVERROR(EINVAL);
    }
    if (c->guidance_low > -1 && c->guidance_low < 0) {
        av_log(ctx, AV_LOG_ERROR, "guidance_low %g: must be 0 to 100, or -1 to go by guidance\n", c->guidance_low);
        return AVERROR(EINVAL);
    }
    if (c->drift_guard > -1 && c->drift_guard < 0) {
        av_log(ctx, AV_LOG_ERROR, "drift_guard %g: must be 0 to 1, or -1 for the model's\n", c->drift_guard);
        return AVERROR(EINVAL);
    }
    if ((ret = ff_kling_text_check(ctx, "prompt", c->prompt)) < 0 ||
        (ret = ff_kling_text_check(ctx, "negative_prompt", c->negative_prompt)) < 0)
        return ret;
    return ff_kling_seed_parse(ctx, c->seed, &c->seed_used);
}

static void free_job(KlingClip *c)
{
    ff_kling_interrupt_remove(c->job);
    kling_job_destroy(&c->job);
    c->started = 0;
}

void ff_kling_clip_end(KlingClip *c)
{
    free_job(c);
    if (c->holds_signals)
        ff_kling_interrupt_release();
    c->holds_signals = 0;
}

void ff_kling_clip_uninit(AVFilterContext *ctx)
{
    KlingClip *c = ctx->priv;

    kling_job_cancel(c->job);
    ff_kling_clip_end(c);
    ff_kling_model_close(&c->model);
    av_freep(&c->window_prompt);
}

void ff_kling_clip_watch(KlingClip *c)
{
    if (!c->holds_signals)
        c->holds_signals = ff_kling_interrupt_hold(c->interrupt);
}

int ff_kling_clip_interrupted(const KlingClip *c)
{
    return c->interrupt && c->signals_before != ff_kling_interrupt_count();
}

/* ---- commands ---------------------------------------------------------------------------------------------- */

/* *text is replaced by what the file holds. */
static int read_prompt(AVFilterContext *ctx, const char *filename, char **text)
{
    char *file_text = NULL;
    const int ret = ff_kling_text_read(ctx, "prompt_file", filename, &file_text);

    if (ret < 0)
        return ret;
    av_free(*text);
    *text = file_text;
    return 0;
}

int ff_kling_clip_command(AVFilterContext *ctx, const char *cmd, const char *arg, char *res, int res_len, int flags)
{
    KlingClip *c = ctx->priv;
    int ret;

    if (!arg)
        arg = "";
    if (!strcmp(cmd, "prompt_file"))
        ret = read_prompt(ctx, arg, &c->prompt);
    else if ((ret = ff_kling_text_check(ctx, cmd, arg)) >= 0)
        ret = ff_filter_process_command(ctx, cmd, arg, res, res_len, flags);
    if (ret < 0)
        return ret;
    av_freep(&c->prompt_file);          /* that of the options, when it has not been read yet */
    if (!c->job)
        return 0;
    return ff_kling_error(kling_job_set_prompt(c->job, c->prompt, c->negative_prompt ? c->negative_prompt : ""));
}

/* ---- the job ----------------------------------------------------------------------------------------------- */

int ff_kling_clip_open(AVFilterContext *ctx)
{
    KlingClip *c = ctx->priv;
    const KlingModelInfo *info;
    KlingModelParams p;
    int ret;

    free_job(c);
    ff_kling_model_close(&c->model);
    kling_model_params_default(&p);
    p.model         = c->model_name;
    p.text_encoder  = c->text_encoder;
    p.vae           = c->vae;
    p.tokenizer     = c->tokenizer;
    p.image_encoder = c->image_encoder;
    p.transformer_2 = c->transformer_2;
    p.lora          = c->lora;
    p.device        = c->device;
    p.vram          = c->vram;
    if ((ret = ff_kling_model_open(ctx, &c->model, &p)) < 0)
        return ret;
    info = kling_model_info(c->model);
    if (!c->rate)
        c->frame_rate = (AVRational){ info->fps_num, info->fps_den };
    c->signals_before = ff_kling_interrupt_count();
    return 0;
}

int ff_kling_clip_frames(const KlingClip *c, AVRational rate, int otherwise)
{
    int64_t n = c->frames ? c->frames : otherwise;

    if (c->duration_us) {
        n = av_rescale_q(c->duration_us, AV_TIME_BASE_Q, av_inv_q(rate));
        if (n < 1)                      /* shorter than half a frame, or out of int64_t */
            n = c->duration_us < AV_TIME_BASE ? 1 : INT_MAX;
    }
    return FFMIN(n, INT_MAX);
}

/* Frames of a window leave before the next one is begun: those that come are of the window heard of last. */
static void on_progress(void *opaque, const KlingProgress *p)
{
    KlingClip *c = opaque;

    if (p->window != c->window) {
        c->window = p->window;
        av_free(c->window_prompt);
        c->window_prompt = c->prompt ? av_strdup(c->prompt) : NULL;
    }
    ff_kling_progress(&c->progress, p);
}

int ff_kling_clip_params(AVFilterContext *ctx, KlingParams *p, int width_px, int height_px, int frames)
{
    KlingClip *c = ctx->priv;
    int ret;

    if (c->prompt_file && (ret = read_prompt(ctx, c->prompt_file, &c->prompt)) < 0)
        return ret;
    av_freep(&c->prompt_file);          /* a command may replace the text from here on */
    c->progress = (KlingProgressLog){ .log = ctx };
    kling_params_default(c->model, p);
    p->prompt          = c->prompt;
    p->negative_prompt = c->negative_prompt;
    p->width_px        = width_px;
    p->height_px       = height_px;
    p->frames          = frames;
    p->steps           = c->steps ? c->steps : p->steps;
    p->guidance        = c->guidance < 0 ? p->guidance : c->guidance;
    p->guidance_low    = c->guidance_low;
    p->shift           = c->shift > 0 ? c->shift : p->shift;
    p->sampler         = c->sampler;
    p->rng             = c->rng;
    p->seed            = c->seed_used;
    p->context_frames  = c->context;
    p->drift_guard     = c->drift_guard < 0 ? p->drift_guard : c->drift_guard;
    p->threads         = c->threads ? c->threads : ctx->nb_threads;  /* libavfilter keeps threads= for itself */
    p->precision       = c->precision;
    p->flags           = c->flags;
    p->progress        = on_progress;
    p->progress_opaque = c;
    p->log             = ff_kling_log;
    p->log_opaque      = ctx;
    return 0;
}

int ff_kling_clip_begin(AVFilterContext *ctx, const KlingParams *p)
{
    KlingClip *c = ctx->priv;

    free_job(c);
    c->window = -1;
    return ff_kling_error(kling_job_create(c->model, &c->job, p));
}

int ff_kling_clip_next(AVFilterContext *ctx, const KlingFrame **f)
{
    KlingClip *c = ctx->priv;
    int ret;

    if (!c->started)
        ff_kling_interrupt_add(ctx, c->job, c->interrupt);
    c->started = 1;
    if (ff_kling_clip_interrupted(c))
        return AVERROR_EXIT;
    ret = kling_job_next_frame(c->job, f);
    return ret == KLING_OK ? 1 : ret == KLING_EOF ? 0 : ff_kling_error(ret);
}

int ff_kling_clip_metadata(const KlingClip *c, AVFrame *frame, double step_ms)
{
    const char *prompt = c->window < 0 ? c->prompt : c->window_prompt;
    char text[32];
    int ret;

    if ((ret = av_dict_set(&frame->metadata, "lavfi.kling.prompt", prompt ? prompt : "", 0)) < 0)
        return ret;
    snprintf(text, sizeof(text), "%"PRIu64, c->seed_used);
    if ((ret = av_dict_set(&frame->metadata, "lavfi.kling.seed", text, 0)) < 0 ||
        (ret = av_dict_set(&frame->metadata, "lavfi.kling.model", kling_model_info(c->model)->name, 0)) < 0)
        return ret;
    snprintf(text, sizeof(text), "%.3f", step_ms);
    return FFMIN(av_dict_set(&frame->metadata, "lavfi.kling.step_ms", text, 0), 0);
}
