/*
 * New frames after given ones, and, where asked for, before others.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Footage -> pictures at the model's size and rate -> job -> pictures, their colour matched -> the footage's rate ->
 * its size and format. Pictures are counted from the last real one, which is number 0; the new ones are 1 to
 * time.pictures, the trail begins with the next.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "kling_compat.h"

#include "libavutil/mathematics.h"
#include "libavutil/pixdesc.h"

#include "kling_pictures.h"

/* ---- what can be gone on from ------------------------------------------------------------------------------ */

int ff_kling_continue_formats(KLC_QUERY_ARGS)
{
    AVFilterFormats *formats = NULL;
    int ret;

    for (const AVPixFmtDescriptor *d = NULL; (d = av_pix_fmt_desc_next(d));) {
        const enum AVPixelFormat f = av_pix_fmt_desc_get_id(d);

        if ((ff_kling_fit_supports(f) || d->flags & AV_PIX_FMT_FLAG_HWACCEL) &&
            (ret = ff_add_format(&formats, f)) < 0)
            return ret;
    }
    return KLC_COMMON(formats, formats);
}

int ff_kling_continue_check_format(AVFilterContext *ctx, const AVFilterLink *inlink)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(inlink->format);

    if (d && !(d->flags & AV_PIX_FMT_FLAG_HWACCEL))
        return 0;
    av_log(ctx, AV_LOG_ERROR, "frames in a device's memory (%s) cannot be read here: put hwdownload,format=nv12 (or "
           "what the frames are) before %s\n", d ? d->name : "unknown", ctx->filter->name);
    return AVERROR(ENOSYS);
}

static int check_caps(AVFilterContext *ctx, const KlingModelInfo *info, int arrive, const char *why)
{
    if (!(info->caps & (KLING_CAP_LEAD_IMAGE | KLING_CAP_LEAD_CLIP))) {
        av_log(ctx, AV_LOG_ERROR, "%s (%s) makes clips from text alone; %s needs a model that goes on from pictures, "
               "such as Wan 2.2 TI2V 5B\n", info->name, info->kind, ctx->filter->name);
        return AVERROR(ENOSYS);
    }
    if (arrive && !(info->caps & (KLING_CAP_TRAIL_IMAGE | KLING_CAP_TRAIL_CLIP))) {
        av_log(ctx, AV_LOG_ERROR, "%s (%s) cannot arrive at a given picture; %s needs a model that was trained for "
               "first and last frames, such as Wan 2.1 FLF2V\n", info->name, info->kind, why);
        return AVERROR(ENOSYS);
    }
    return 0;
}

/* Latent frames of the longest window. */
static int window_latents(const KlingModelInfo *info)
{
    return 1 + (info->frames - 1 + info->frame_multiple - 1) / info->frame_multiple;
}

/* The number of pictures up to n that a job takes whole as a lead: 1 + a multiple, within half a window. */
static int lead_count(const KlingClip *c, int n)
{
    const KlingModelInfo *info = kling_model_info(c->model);
    const int m = info->frame_multiple;

    n = FFMIN(n, c->context ? c->context : FFMAX(info->lead_frames, 1));
    if (!(info->caps & KLING_CAP_LEAD_CLIP))
        n = 1;
    n = FFMIN(n, 1 + (FFMAX(window_latents(info) / 2, 1) - 1) * m);
    return n < 1 ? 1 : 1 + (n - 1) / m * m;
}

static int trail_count(const KlingClip *c, int n)
{
    const KlingModelInfo *info = kling_model_info(c->model);

    return info->caps & KLING_CAP_TRAIL_CLIP ? FFMAX(FFMIN(n, info->trail_frames), 1) : 1;
}

double ff_kling_continue_lead_span(const KlingClip *c)
{
    return (lead_count(c, INT_MAX) - 1) / av_q2d(c->frame_rate);
}

double ff_kling_continue_trail_span(const KlingClip *c)
{
    return (trail_count(c, INT_MAX) - 1) / av_q2d(c->frame_rate);
}

/* ---- the job ----------------------------------------------------------------------------------------------- */

/* Warnings come once, from the real job. */
static void log_errors(void *opaque, enum KlingLogLevel level, const char *line)
{
    if (level == KLING_LOG_ERROR)
        ff_kling_log(opaque, level, line);
}

static KlingFrame as_frame(const KlingPicture *p)
{
    return (KlingFrame){ .data = { p->data[0], p->data[1], p->data[2] }, .stride = p->width_px,
                         .width_px = p->width_px, .height_px = p->height_px };
}

static void choose_size(const KlingClip *c, KlingContinuation *k, int width, int height, AVRational sar)
{
    k->width_px  = c->width_px;
    k->height_px = c->height_px;
    if (!k->width_px)
        ff_kling_fit_size(kling_model_info(c->model), width, height, sar, &k->width_px, &k->height_px);
}

/* Pictures of a job when the options say nothing: a window's. */
static int default_pictures(const KlingClip *c, int nb_lead, int nb_trail)
{
    return FFMAX(kling_model_info(c->model)->frames - nb_lead - nb_trail, 1);
}

/* A job as it will be asked for, from black pictures: everything that is refused is refused now. */
static int try_job(AVFilterContext *ctx, KlingContinuation *k, AVRational rate, int arrive)
{
    KlingClip *c = ctx->priv;
    KlingPicture black;
    KlingParams p;
    KlingFrame f;
    int pictures = default_pictures(c, 1, arrive), ret;

    if (ff_kling_picture_alloc(&black, k->width_px, k->height_px) < 0)
        return AVERROR(ENOMEM);
    memset(black.data[0], 0, sizeof(float) * 3 * black.width_px * black.height_px);
    f = as_frame(&black);
    if (c->duration_us)
        pictures = ff_kling_clip_frames(c, c->frame_rate, 0);
    else if (c->frames && rate.num > 0 && rate.den > 0)
        pictures = FFMAX(av_rescale_q(c->frames, av_inv_q(rate), av_inv_q(c->frame_rate)), 1);
    if ((ret = ff_kling_clip_params(ctx, &p, k->width_px, k->height_px, pictures)) >= 0) {
        p.lead     = &f;
        p.nb_lead  = 1;
        p.trail    = &f;
        p.nb_trail = arrive;
        p.log      = log_errors;
        ret = ff_kling_clip_begin(ctx, &p);
        kling_job_destroy(&c->job);
    }
    ff_kling_picture_free(&black);
    return ret;
}

int ff_kling_continue_open(AVFilterContext *ctx, KlingContinuation *k, const AVFilterLink *inlink, int arrive,
                           const char *why)
{
    KlingClip *c = ctx->priv;
    int ret;

    ff_kling_continue_end(c, k);
    if ((ret = ff_kling_clip_open(ctx)) < 0 ||
        (ret = check_caps(ctx, kling_model_info(c->model), arrive, why)) < 0)
        return ret;
    choose_size(c, k, inlink->w, inlink->h, inlink->sample_aspect_ratio);
    return try_job(ctx, k, ff_filter_link((AVFilterLink *)inlink)->frame_rate, arrive);
}

/* n pictures of the footage at the model's rate, in order of time; at least one. */
static int read_pictures(AVFilterContext *ctx, KlingContinuation *k, const KlingHistory *h, int n,
                         KlingPicture **pictures, int *nb)
{
    const KlingClip *c = ctx->priv;
    const double step = 1 / av_q2d(c->frame_rate);
    int ret;

    if (!(*pictures = av_calloc(n, sizeof(**pictures))))
        return AVERROR(ENOMEM);
    *nb = n;
    for (int i = 0; i < n; i++) {
        const int age = h->end == KLING_HISTORY_LAST ? n - 1 - i : i;

        if ((ret = ff_kling_picture_alloc(&(*pictures)[i], k->width_px, k->height_px)) < 0 ||
            (ret = ff_kling_fit_in(ctx, &k->fit, &(*pictures)[i], ff_kling_history_at(h, age * step))) < 0)
            return ret;
    }
    return 0;
}

static int make_job(AVFilterContext *ctx, KlingContinuation *k)
{
    KlingFrame *f = av_calloc(k->nb_lead + k->nb_trail, sizeof(*f));
    KlingParams p;
    int ret;

    if (!f)
        return AVERROR(ENOMEM);
    for (int i = 0; i < k->nb_lead; i++)
        f[i] = as_frame(&k->lead[i]);
    for (int i = 0; i < k->nb_trail; i++)
        f[k->nb_lead + i] = as_frame(&k->trail[i]);
    if ((ret = ff_kling_clip_params(ctx, &p, k->width_px, k->height_px, k->time.pictures)) >= 0) {
        p.flags   |= KLING_FLAG_KEEP_CONTEXT;
        p.lead     = f;
        p.nb_lead  = k->nb_lead;
        p.trail    = f + k->nb_lead;
        p.nb_trail = k->nb_trail;
        ret = ff_kling_clip_begin(ctx, &p);
    }
    av_free(f);
    return ret;
}

static int set_time(AVFilterContext *ctx, KlingContinuation *k, int nb_lead, int nb_trail)
{
    const KlingClip *c = ctx->priv;
    const int pictures = default_pictures(c, nb_lead, nb_trail);
    const double seconds = pictures / av_q2d(c->frame_rate);
    const int frames = ff_kling_clip_frames(c, av_inv_q(k->spacing),
                                            av_clip64(seconds / av_q2d(k->spacing), 1, INT_MAX - 1));
    const int ret = nb_trail ? ff_kling_time_to_trail(&k->time, frames, k->spacing, c->frame_rate,
                                                      kling_model_info(c->model)->frame_multiple)
                             : ff_kling_time_open_end(&k->time, frames, k->spacing, c->frame_rate);

    if (ret < 0)
        av_log(ctx, AV_LOG_ERROR, "%s is too long: %d frames\n", c->frames ? "frames" : "duration", frames);
    return ret;
}

static int take_detail(AVFilterContext *ctx, KlingContinuation *k, const AVFrame *first_of_trail)
{
    int ret;

    if (!k->detail)
        return 0;
    if ((ret = ff_kling_fit_detail_set(ctx, &k->fit, &k->lead_detail, k->like, &k->full)) < 0)
        return ret;
    return first_of_trail ? ff_kling_fit_detail_set(ctx, &k->fit, &k->trail_detail, first_of_trail, &k->full) : 0;
}

int ff_kling_continue_begin(AVFilterContext *ctx, KlingContinuation *k, const KlingHistory *before,
                            const KlingHistory *after, AVRational rate)
{
    const KlingClip *c = ctx->priv;
    const KlingModelInfo *info = kling_model_info(c->model);
    const AVFrame *last = before->frame[before->nb - 1];
    const double step = 1 / av_q2d(c->frame_rate);
    int nb_lead, nb_trail = 0, ret;

    k->spacing = ff_kling_time_spacing(rate, ff_kling_history_spacing(before), before->time_base);
    nb_lead = lead_count(c, ff_kling_history_count(before, step, av_q2d(k->spacing)));
    if (after)
        nb_trail = trail_count(c, ff_kling_history_count(after, step, av_q2d(k->spacing)));
    choose_size(c, k, last->width, last->height, last->sample_aspect_ratio);
    if (!(k->like = av_frame_clone(last)))
        return AVERROR(ENOMEM);
    if ((ret = set_time(ctx, k, nb_lead, nb_trail)) < 0 ||
        (ret = read_pictures(ctx, k, before, nb_lead, &k->lead, &k->nb_lead)) < 0 ||
        (after && (ret = read_pictures(ctx, k, after, nb_trail, &k->trail, &k->nb_trail)) < 0))
        return ret;
    k->fade = FFMAX(lrint(av_q2d(c->frame_rate)), 1);
    if (nb_trail)
        k->fade = FFMIN(k->fade, k->time.pictures + 1);
    if ((ret = ff_kling_pictures_alloc(k)) < 0 || (ret = take_detail(ctx, k, after ? after->frame[0] : NULL)) < 0 ||
        (ret = make_job(ctx, k)) < 0)
        return ret;
    if (klc_frame_interlaced(last))
        av_log(ctx, AV_LOG_WARNING, "the footage is interlaced, the new frames are not: deinterlace it first\n");
    if (nb_trail)
        av_log(ctx, AV_LOG_INFO, "%s on %s: %dx%d, %d pictures after %d and before %d known ones, %d frames, seed %"
               PRIu64"\n", info->name, info->device, k->width_px, k->height_px, k->time.pictures, nb_lead, nb_trail,
               k->time.frames, c->seed_used);
    else
        av_log(ctx, AV_LOG_INFO, "%s on %s: %dx%d, %d pictures after %d known ones, %d frames, seed %"PRIu64"\n",
               info->name, info->device, k->width_px, k->height_px, k->time.pictures, nb_lead, k->time.frames,
               c->seed_used);
    return 0;
}

void ff_kling_continue_end(KlingClip *c, KlingContinuation *k)
{
    const KlingContinuation options = { .resample = k->resample, .detail = k->detail };

    ff_kling_clip_end(c);
    ff_kling_pictures_free(k);
    ff_kling_follow_free(&k->lead_follow);
    ff_kling_follow_free(&k->trail_follow);
    ff_kling_fit_detail_free(&k->lead_detail);
    ff_kling_fit_detail_free(&k->trail_detail);
    ff_kling_fit_free(&k->fit);
    av_frame_free(&k->like);
    *k = options;
}

/* ---- its frames -------------------------------------------------------------------------------------------- */

/* What holds for the whole footage, not what belongs to one of its frames (captions, time code, motion vectors). */
static int copy_properties(AVFrame *dst, const AVFrame *src)
{
    static const enum AVFrameSideDataType lasting[] = {
        AV_FRAME_DATA_MASTERING_DISPLAY_METADATA, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL, AV_FRAME_DATA_ICC_PROFILE,
        AV_FRAME_DATA_DISPLAYMATRIX, AV_FRAME_DATA_STEREO3D, AV_FRAME_DATA_SPHERICAL,
    };

    dst->sample_aspect_ratio = src->sample_aspect_ratio;
    dst->colorspace          = src->colorspace;
    dst->color_range         = src->color_range;
    dst->color_primaries     = src->color_primaries;
    dst->color_trc           = src->color_trc;
    dst->chroma_location     = src->chroma_location;
    for (int i = 0; i < FF_ARRAY_ELEMS(lasting); i++) {
        const AVFrameSideData *from = av_frame_get_side_data(src, lasting[i]);
        AVBufferRef *ref = from ? av_buffer_ref(from->buf) : NULL;

        if (from && (!ref || !av_frame_new_side_data_from_buf(dst, lasting[i], ref))) {
            av_buffer_unref(&ref);
            return AVERROR(ENOMEM);
        }
    }
    return 0;
}

int ff_kling_continue_next(AVFilterLink *outlink, KlingContinuation *k, AVFrame **frame)
{
    AVFilterContext *ctx = outlink->src;
    const KlingPicture *p;
    double part;
    AVFrame *f;
    int ret;

    if (k->nb_done == k->time.frames)
        return 0;
    if ((ret = ff_kling_pictures_at(ctx, k, k->nb_done + 1, &p, &part)) < 0)
        return ret;
    if (!(f = ff_get_video_buffer(outlink, k->like->width, k->like->height)))
        return AVERROR(ENOMEM);
    if ((ret = copy_properties(f, k->like)) < 0 ||
        (ret = ff_kling_clip_metadata(ctx->priv, f, k->step_ms)) < 0 ||
        (ret = ff_kling_fit_out(ctx, &k->fit, f, p)) < 0) {
        av_frame_free(&f);
        return ret;
    }
    for (int i = 0; i < 2; i++) {
        const KlingFitDetail *d = i ? &k->trail_detail : &k->lead_detail;

        ff_kling_fit_detail_add(d, f, &k->prev_kept[i], k->width_px, k->height_px, 1 - part);
        ff_kling_fit_detail_add(d, f, &k->next_kept[i], k->width_px, k->height_px, part);
    }
    klc_frame_key(f);
    k->nb_done++;
    *frame = f;
    return 1;
}
