/*
 * The video source kling: a clip from a text prompt.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * init() looks at the options alone, config_props() maps the model and makes the job, and the first frame that
 * somebody wants starts the work: init() also runs on graphs that are thrown away. activate() blocks while the
 * engine works, the only way of waiting that every version of FFmpeg bears.
 */
#include <inttypes.h>

#include "kling_compat.h"

#include "frame_out.h"
#include "kling_clip.h"

typedef struct KlingSourceContext {
    KlingClip clip;                     /* first */
    int nb_frames;                      /* of the whole clip */
    int64_t next_pts;
} KlingSourceContext;

static const AVOption kling_options[] = {
    FF_KLING_OPTIONS,
    { NULL }
};

AVFILTER_DEFINE_CLASS(kling);

static int query_formats(KLC_QUERY_ARGS)
{
    int ret = KLC_COMMON(formats_from_list, ff_kling_pix_fmts);

    return ret < 0 ? ret : KLC_COMMON_COLOR(AVCOL_SPC_RGB, AVCOL_RANGE_JPEG);
}

/* How many frames are asked for. A model that goes on from a clip makes any number, window by window; of another the
 * next length that it can make is one as well. */
static int count_frames(AVFilterContext *ctx, const KlingModelInfo *info)
{
    KlingSourceContext *s = ctx->priv;
    const KlingClip *c = &s->clip;
    const int longest = (info->frames - 1 + info->frame_multiple - 1) / info->frame_multiple * info->frame_multiple + 1;
    const int n = ff_kling_clip_frames(c, c->frame_rate, info->frames);

    if (n > longest && !(info->caps & KLING_CAP_LEAD_CLIP)) {
        av_log(ctx, AV_LOG_ERROR, "%s is too long: one clip of %s has at most %d frames, %.3f s at %d/%d per second; "
               "ask for less, or join clips with concat or xfade\n", c->frames ? "frames" : "duration", info->name,
               longest, longest / av_q2d(c->frame_rate), c->frame_rate.num, c->frame_rate.den);
        return AVERROR(EINVAL);
    }
    return n;
}

static int config_props(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    KlingSourceContext *s = ctx->priv;
    KlingClip *c = &s->clip;
    FilterLink *l = ff_filter_link(outlink);
    const KlingModelInfo *info;
    KlingParams p;
    int ret;

    if ((ret = ff_kling_clip_open(ctx)) < 0)
        return ret;
    info = kling_model_info(c->model);
    if (!c->width_px) {
        c->width_px  = info->width_px;
        c->height_px = info->height_px;
    }
    if ((ret = count_frames(ctx, info)) < 0)
        return ret;
    s->nb_frames = ret;
    if ((ret = ff_kling_clip_params(ctx, &p, c->width_px, c->height_px, s->nb_frames)) < 0)
        return ret;
    p.format = ff_kling_frame_format(outlink->format);
    if ((ret = ff_kling_clip_begin(ctx, &p)) < 0)
        return ret;
    s->next_pts = 0;

    outlink->w = c->width_px;
    outlink->h = c->height_px;
    outlink->time_base = av_inv_q(c->frame_rate);
    outlink->sample_aspect_ratio = (AVRational){ 1, 1 };
    l->frame_rate = c->frame_rate;
    return 0;
}

static int send_frame(AVFilterLink *outlink, const KlingFrame *f)
{
    KlingSourceContext *s = outlink->src->priv;
    AVFrame *frame = ff_get_video_buffer(outlink, outlink->w, outlink->h);
    int ret;

    if (!frame)
        return AVERROR(ENOMEM);
    ff_kling_frame_fill(frame, f);
    frame->sample_aspect_ratio = (AVRational){ 1, 1 };
    frame->pts = s->next_pts;
    klc_frame_duration(frame, 1);
    klc_frame_key(frame);
    if ((ret = ff_kling_clip_metadata(&s->clip, frame, f->step_ms)) < 0) {
        av_frame_free(&frame);
        return ret;
    }
    if (++s->next_pts == s->nb_frames)
        ff_kling_clip_end(&s->clip);    /* its memory is of use to whoever comes next */
    return ff_filter_frame(outlink, frame);
}

/* A file without any frame is one that few players open: a clip that was stopped before its first frame is one
 * black frame. */
static int send_black(AVFilterLink *outlink)
{
    float *row = av_calloc(outlink->w, sizeof(*row));     /* a line of zeros in any format */
    int ret;

    if (!row)
        return AVERROR(ENOMEM);
    ret = send_frame(outlink, &(KlingFrame){ .plane = { row, row, row }, .width_px = outlink->w,
                                             .height_px = outlink->h });
    av_free(row);
    return ret;
}

/* ffmpeg's probing drops the first error that it meets and asks again: the link must know of it, or the graph stalls
 * for ever. */
static int fail(AVFilterLink *outlink, int ret)
{
    KlingSourceContext *s = outlink->src->priv;

    ff_kling_clip_end(&s->clip);
    if (!ff_outlink_get_status(outlink))
        ff_outlink_set_status(outlink, ret, s->next_pts);
    return ret;
}

static void log_start(AVFilterContext *ctx)
{
    const KlingSourceContext *s = ctx->priv;
    const KlingClip *c = &s->clip;
    const KlingModelInfo *info = kling_model_info(c->model);

    av_log(ctx, AV_LOG_INFO, "%s on %s: %dx%d, %d frames, seed %"PRIu64"\n", info->name, info->device,
           c->width_px, c->height_px, s->nb_frames, c->seed_used);
}

static int activate(AVFilterContext *ctx)
{
    KlingSourceContext *s = ctx->priv;
    KlingClip *c = &s->clip;
    AVFilterLink *outlink = ctx->outputs[0];
    const KlingFrame *f;
    int started, ret = 0;

    if (ff_outlink_get_status(outlink)) {   /* nobody wants more */
        ff_kling_clip_end(c);
        return 0;
    }
    if (!ff_outlink_frame_wanted(outlink))
        return FFERROR_NOT_READY;
    started = c->started;
    if (ff_kling_clip_interrupted(c)) {
        ff_kling_clip_end(c);           /* also a clip that was not begun */
    } else if (c->job) {
        if (!started)
            log_start(ctx);
        started = 1;
        ret = ff_kling_clip_next(ctx, &f);
        if (ret > 0)
            return (ret = send_frame(outlink, f)) < 0 ? fail(outlink, ret) : ret;
    }
    ff_kling_clip_end(c);
    if (ret < 0 && ret != AVERROR_EXIT)
        return fail(outlink, ret);
    if (s->next_pts < s->nb_frames)
        av_log(ctx, AV_LOG_WARNING, "interrupted after %"PRId64" of %d frames\n", s->next_pts, s->nb_frames);
    if (!s->next_pts && started && (ret = send_black(outlink)) < 0)
        return ret;
    ff_outlink_set_status(outlink, AVERROR_EOF, s->next_pts);
    return 0;
}

static const AVFilterPad kling_outputs[] = {
    {
        .name         = "default",
        .type         = AVMEDIA_TYPE_VIDEO,
        .config_props = config_props,
    },
};

const FFFilter ff_vsrc_kling = {
    KLC_P(name)        = "kling",
    KLC_P(description) = NULL_IF_CONFIG_SMALL("Generate a video from a text prompt."),
    KLC_P(priv_class)  = &kling_class,
    KLC_P(inputs)      = NULL,
    .priv_size         = sizeof(KlingSourceContext),
    .init              = ff_kling_clip_init,
    .uninit            = ff_kling_clip_uninit,
    .activate          = activate,
    .process_command   = ff_kling_clip_command,
    FILTER_OUTPUTS(kling_outputs),
    KLC_QUERY_FUNC(query_formats),
};
