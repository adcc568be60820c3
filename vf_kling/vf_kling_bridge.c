/*
 * The video filter kling_bridge: a footage, a way from its end to the beginning of another, the other one.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The second input is asked for nothing before the first has ended; then for as many frames as the model is to arrive
 * at, which wait until the new ones have been sent. activate() blocks while the engine works.
 */
#include <inttypes.h>

#include "kling_compat.h"

#include "libavutil/mathematics.h"

#include "kling_continue.h"

enum Stage { STAGE_FIRST, STAGE_LOOK, STAGE_NEW, STAGE_SECOND };

typedef struct KlingBridgeContext {
    KlingClip clip;                     /* first */
    KlingContinuation k;

    enum Stage stage;
    KlingHistory last, first;           /* frames of the first input, of the second */
    AVFrame *pending;                   /* of the second, after those in `first` */
    int second_ended, begun;
    int nb_sent;                        /* new frames */
    int64_t second_from, second_to;     /* the time of the second input's first frame, there and on the output */
    int64_t next_pts;                   /* the least that the next frame may have */
} KlingBridgeContext;

static const AVOption kling_bridge_options[] = {
    FF_KLING_OPTIONS,
    FF_KLING_CONTINUE_OPTIONS(KlingBridgeContext, k),
    { NULL }
};

AVFILTER_DEFINE_CLASS(kling_bridge);

static void end(KlingBridgeContext *s)
{
    ff_kling_continue_end(&s->clip, &s->k);
    ff_kling_history_free(&s->last);
    ff_kling_history_free(&s->first);
    av_frame_free(&s->pending);
}

static av_cold void uninit(AVFilterContext *ctx)
{
    end(ctx->priv);
    ff_kling_clip_uninit(ctx);
}

static int check_inputs(AVFilterContext *ctx)
{
    const AVFilterLink *a = ctx->inputs[0], *b = ctx->inputs[1];
    const AVRational ra = ff_filter_link(ctx->inputs[0])->frame_rate, rb = ff_filter_link(ctx->inputs[1])->frame_rate;
    const AVRational square = { 1, 1 };

    if (a->w != b->w || a->h != b->h) {
        av_log(ctx, AV_LOG_ERROR, "the second input is %dx%d, the first %dx%d: put scale=%d:%d before one of them\n",
               b->w, b->h, a->w, a->h, a->w, a->h);
        return AVERROR(EINVAL);
    }
    if (av_cmp_q(a->sample_aspect_ratio.num ? a->sample_aspect_ratio : square,
                 b->sample_aspect_ratio.num ? b->sample_aspect_ratio : square)) {
        av_log(ctx, AV_LOG_ERROR, "the second input's pixels are %d:%d, the first's %d:%d: put scale and setsar before "
               "one of them\n", b->sample_aspect_ratio.num, b->sample_aspect_ratio.den,
               a->sample_aspect_ratio.num, a->sample_aspect_ratio.den);
        return AVERROR(EINVAL);
    }
    if (ra.num && rb.num && av_cmp_q(ra, rb))
        av_log(ctx, AV_LOG_WARNING, "the second input has %d/%d frames per second, the first %d/%d: its frames keep "
               "their times; put fps before it for a constant rate\n", rb.num, rb.den, ra.num, ra.den);
    return 0;
}

static int config_props(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    const AVFilterLink *inlink = ctx->inputs[0];
    KlingBridgeContext *s = ctx->priv;
    int ret;

    if ((ret = ff_kling_continue_check_format(ctx, inlink)) < 0 ||
        (ret = ff_kling_continue_check_format(ctx, ctx->inputs[1])) < 0 || (ret = check_inputs(ctx)) < 0 ||
        (ret = ff_kling_continue_open(ctx, &s->k, inlink, 1, ctx->filter->name)) < 0)
        return ret;
    ff_kling_history_init(&s->last, KLING_HISTORY_LAST, inlink->time_base, ff_kling_continue_lead_span(&s->clip));
    ff_kling_history_init(&s->first, KLING_HISTORY_FIRST, ctx->inputs[1]->time_base,
                          ff_kling_continue_trail_span(&s->clip));
    ff_kling_clip_watch(&s->clip);
    return 0;
}

static int fail(AVFilterLink *outlink, int ret)
{
    KlingBridgeContext *s = outlink->src->priv;

    end(s);
    if (!ff_outlink_get_status(outlink))
        ff_outlink_set_status(outlink, ret, s->next_pts);
    return ret;
}

static int finish(AVFilterLink *outlink, int interrupted)
{
    KlingBridgeContext *s = outlink->src->priv;

    if (interrupted && s->begun)
        av_log(outlink->src, AV_LOG_WARNING, "interrupted after %d of %d new frames\n", s->nb_sent, s->k.time.frames);
    end(s);
    ff_outlink_set_status(outlink, AVERROR_EOF, s->next_pts);
    return 0;
}

/* ---- the first input, and what waits of the second --------------------------------------------------------- */

static int pass_first(AVFilterLink *outlink, AVFrame *frame)
{
    KlingBridgeContext *s = outlink->src->priv;
    int ret = ff_kling_history_add(&s->last, frame);

    if (ret < 0) {
        av_frame_free(&frame);
        return fail(outlink, ret);
    }
    s->next_pts = s->last.last_time + 1;
    return ff_filter_frame(outlink, frame);
}

/* 1 when the second input's first frames are there, 0 when more must come. */
static int look_ahead(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    KlingBridgeContext *s = ctx->priv;
    AVFrame *frame;
    int64_t pts;
    int ret;

    while (!ff_kling_history_full(&s->first) && !s->second_ended) {
        if ((ret = ff_inlink_consume_frame(ctx->inputs[1], &frame)) < 0)
            return ret;
        if (!ret) {
            if (!ff_inlink_acknowledge_status(ctx->inputs[1], &ret, &pts)) {
                ff_inlink_request_frame(ctx->inputs[1]);
                return 0;
            }
            if (ret != AVERROR_EOF)
                return ret;
            s->second_ended = 1;
        } else if ((ret = ff_kling_history_add(&s->first, frame)) > 0) {
            av_frame_free(&frame);
        } else {
            s->pending = frame;
            if (ret < 0)
                return ret;
        }
    }
    return 1;
}

/* ---- the new frames ---------------------------------------------------------------------------------------- */

static int begin(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    KlingBridgeContext *s = ctx->priv;
    int ret;

    if (!s->last.nb || !s->first.nb) {
        av_log(ctx, AV_LOG_ERROR, "the %s input has no frame: there is nothing to %s\n",
               s->last.nb ? "second" : "first", s->last.nb ? "arrive at" : "go on from");
        return AVERROR(EINVAL);
    }
    if ((ret = ff_kling_continue_begin(ctx, &s->k, &s->last, &s->first,
                                       ff_filter_link(ctx->inputs[0])->frame_rate)) < 0)
        return ret;
    s->begun = 1;
    ff_kling_history_free(&s->last);
    s->second_from = s->first.time[0];
    s->second_to   = FFMAX(s->last.last_time + ff_kling_time_pts(s->k.time.frames + 1, s->k.spacing,
                                                                 outlink->time_base), s->next_pts);
    return 0;
}

static int send_new(AVFilterLink *outlink, AVFrame *frame)
{
    KlingBridgeContext *s = outlink->src->priv;
    const AVRational tb = outlink->time_base;

    s->nb_sent++;
    frame->pts  = FFMAX(s->last.last_time + ff_kling_time_pts(s->nb_sent, s->k.spacing, tb), s->next_pts);
    s->next_pts = FFMAX(s->last.last_time + ff_kling_time_pts(s->nb_sent + 1, s->k.spacing, tb), frame->pts + 1);
    klc_frame_duration(frame, s->next_pts - frame->pts);
    return ff_filter_frame(outlink, frame);
}

/* Returns 1 when there are no more. */
static int generate(AVFilterLink *outlink)
{
    KlingBridgeContext *s = outlink->src->priv;
    AVFrame *frame;
    int ret;

    if (ff_kling_clip_interrupted(&s->clip))
        return finish(outlink, 1);
    if (!s->begun && (ret = begin(outlink)) < 0)
        return fail(outlink, ret);
    ret = ff_kling_continue_next(outlink, &s->k, &frame);
    if (ret > 0)
        return (ret = send_new(outlink, frame)) < 0 ? fail(outlink, ret) : 0;
    if (ret < 0)
        return ret == AVERROR_EXIT ? finish(outlink, 1) : fail(outlink, ret);
    ff_kling_continue_end(&s->clip, &s->k);
    return 1;
}

/* ---- the second input -------------------------------------------------------------------------------------- */

static int send_second(AVFilterLink *outlink, AVFrame *frame)
{
    KlingBridgeContext *s = outlink->src->priv;
    const AVRational from = outlink->src->inputs[1]->time_base, to = outlink->time_base;
    const int64_t duration = av_rescale_q(klc_frame_get_duration(frame), from, to);

    frame->pts = frame->pts == AV_NOPTS_VALUE ? s->next_pts :
                 FFMAX(s->second_to + av_rescale_q(frame->pts - s->second_from, from, to), s->next_pts);
    klc_frame_duration(frame, duration);
    s->next_pts = frame->pts + 1;
    return ff_filter_frame(outlink, frame);
}

static int pass_second(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    KlingBridgeContext *s = ctx->priv;
    AVFrame *frame = ff_kling_history_take(&s->first);
    int64_t pts;
    int ret;

    if (!frame)
        FFSWAP(AVFrame *, frame, s->pending);
    if (!frame && !s->second_ended && (ret = ff_inlink_consume_frame(ctx->inputs[1], &frame)) < 0)
        return fail(outlink, ret);
    if (frame)
        return send_second(outlink, frame);
    if (!s->second_ended && ff_inlink_acknowledge_status(ctx->inputs[1], &ret, &pts)) {
        if (ret != AVERROR_EOF)
            return fail(outlink, ret);
        s->second_ended = 1;
    }
    if (s->second_ended)
        return finish(outlink, 0);
    if (!ff_outlink_frame_wanted(outlink))
        return FFERROR_NOT_READY;
    ff_inlink_request_frame(ctx->inputs[1]);
    return 0;
}

static int activate(AVFilterContext *ctx)
{
    KlingBridgeContext *s = ctx->priv;
    AVFilterLink *outlink = ctx->outputs[0];
    AVFrame *frame;
    int64_t pts;
    int ret;

    if ((ret = ff_outlink_get_status(outlink))) {   /* nobody wants more */
        ff_inlink_set_status(ctx->inputs[0], ret);
        ff_inlink_set_status(ctx->inputs[1], ret);
        end(s);
        return 0;
    }
    if (s->stage == STAGE_FIRST) {
        if ((ret = ff_inlink_consume_frame(ctx->inputs[0], &frame)) < 0)
            return fail(outlink, ret);
        if (ret)
            return pass_first(outlink, frame);
        if (ff_inlink_acknowledge_status(ctx->inputs[0], &ret, &pts)) {
            if (ret != AVERROR_EOF)
                return fail(outlink, ret);
            s->stage = STAGE_LOOK;
        }
    }
    if (!ff_outlink_frame_wanted(outlink))
        return FFERROR_NOT_READY;
    if (s->stage == STAGE_FIRST) {
        ff_inlink_request_frame(ctx->inputs[0]);
        return 0;
    }
    if (s->stage == STAGE_LOOK) {
        if (ff_kling_clip_interrupted(&s->clip))
            return finish(outlink, 1);
        if ((ret = look_ahead(outlink)) <= 0)
            return ret < 0 ? fail(outlink, ret) : 0;
        s->stage = STAGE_NEW;
    }
    if (s->stage == STAGE_NEW) {
        if ((ret = generate(outlink)) <= 0)
            return ret;
        s->stage = STAGE_SECOND;
    }
    return pass_second(outlink);
}

static const AVFilterPad kling_bridge_inputs[] = {
    {
        .name         = "first",
        .type         = AVMEDIA_TYPE_VIDEO,
    },
    {
        .name         = "second",
        .type         = AVMEDIA_TYPE_VIDEO,
    },
};

static const AVFilterPad kling_bridge_outputs[] = {
    {
        .name         = "default",
        .type         = AVMEDIA_TYPE_VIDEO,
        .config_props = config_props,
    },
};

const FFFilter ff_vf_kling_bridge = {
    KLC_P(name)        = "kling_bridge",
    KLC_P(description) = NULL_IF_CONFIG_SMALL("Join two videos by a way from one's end to the other's beginning."),
    KLC_P(priv_class)  = &kling_bridge_class,
    .priv_size         = sizeof(KlingBridgeContext),
    .init              = ff_kling_clip_init,
    .uninit            = uninit,
    .activate          = activate,
    .process_command   = ff_kling_clip_command,
    FILTER_INPUTS(kling_bridge_inputs),
    FILTER_OUTPUTS(kling_bridge_outputs),
    KLC_QUERY_FUNC(ff_kling_continue_formats),
};
