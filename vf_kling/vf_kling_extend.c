/*
 * The video filter kling_extend: a footage goes on after its end.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Frames pass by reference; of the last ones (and, to loop, the first ones) a reference is kept. The end of the input
 * starts the work, once a frame beyond it is asked for. activate() blocks while the engine works.
 */
#include <inttypes.h>

#include "kling_compat.h"

#include "kling_continue.h"

typedef struct KlingExtendContext {
    KlingClip clip;                     /* first */
    int only, loop;
    KlingContinuation k;

    KlingHistory last, first;
    int input_ended, begun;
    int nb_sent;                        /* new frames */
    int64_t next_pts;                   /* the least that the next frame may have */
} KlingExtendContext;

#define OFFSET(x) offsetof(KlingExtendContext, x)

static const AVOption kling_extend_options[] = {
    FF_KLING_OPTIONS,
    { "only", "give the new frames alone, from time 0", OFFSET(only), AV_OPT_TYPE_BOOL, { .i64 = 0 }, 0, 1,
      KLING_FLAGS },
    { "loop", "arrive at the first frame again", OFFSET(loop), AV_OPT_TYPE_BOOL, { .i64 = 0 }, 0, 1, KLING_FLAGS },
    FF_KLING_CONTINUE_OPTIONS(KlingExtendContext, k),
    { NULL }
};

AVFILTER_DEFINE_CLASS(kling_extend);

static void end(KlingExtendContext *s)
{
    ff_kling_continue_end(&s->clip, &s->k);
    ff_kling_history_free(&s->last);
    ff_kling_history_free(&s->first);
}

static av_cold void uninit(AVFilterContext *ctx)
{
    end(ctx->priv);
    ff_kling_clip_uninit(ctx);
}

static int config_props(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    AVFilterLink *inlink = ctx->inputs[0];
    KlingExtendContext *s = ctx->priv;
    int ret;

    if ((ret = ff_kling_continue_check_format(ctx, inlink)) < 0 ||
        (ret = ff_kling_continue_open(ctx, &s->k, inlink, s->loop, "loop=1")) < 0)
        return ret;
    ff_kling_history_init(&s->last, KLING_HISTORY_LAST, inlink->time_base, ff_kling_continue_lead_span(&s->clip));
    if (s->loop)
        ff_kling_history_init(&s->first, KLING_HISTORY_FIRST, inlink->time_base,
                              ff_kling_continue_trail_span(&s->clip));
    ff_kling_clip_watch(&s->clip);
    return 0;
}

/* As in vsrc_kling.c: the link must know of an error too. */
static int fail(AVFilterLink *outlink, int ret)
{
    KlingExtendContext *s = outlink->src->priv;

    end(s);
    if (!ff_outlink_get_status(outlink))
        ff_outlink_set_status(outlink, ret, s->next_pts);
    return ret;
}

static int pass(AVFilterLink *outlink, AVFrame *frame)
{
    KlingExtendContext *s = outlink->src->priv;
    int ret = ff_kling_history_add(&s->last, frame);

    if (ret >= 0 && s->loop)
        ret = ff_kling_history_add(&s->first, frame);
    if (ret < 0) {
        av_frame_free(&frame);
        return fail(outlink, ret);
    }
    if (s->only) {
        av_frame_free(&frame);
        ff_filter_set_ready(outlink->src, 100);
        return 0;
    }
    s->next_pts = s->last.last_time + 1;
    return ff_filter_frame(outlink, frame);
}

/* The frame's time on the output and how long it lasts. */
static int send(AVFilterLink *outlink, AVFrame *frame)
{
    KlingExtendContext *s = outlink->src->priv;
    const AVRational tb = outlink->time_base;
    const int64_t base = s->only ? 0 : s->last.last_time;
    const int n = s->nb_sent + !s->only;

    frame->pts = FFMAX(base + ff_kling_time_pts(n, s->k.spacing, tb), s->next_pts);
    s->next_pts = FFMAX(base + ff_kling_time_pts(n + 1, s->k.spacing, tb), frame->pts + 1);
    klc_frame_duration(frame, s->next_pts - frame->pts);
    s->nb_sent++;
    return ff_filter_frame(outlink, frame);
}

/* Nothing more comes. A file without any frame is one that few players open: when only the new frames are wanted and
 * none is there yet, the last real one stands in for them. */
static int finish(AVFilterLink *outlink, int interrupted)
{
    KlingExtendContext *s = outlink->src->priv;
    int ret = 0;

    if (interrupted && s->begun)
        av_log(outlink->src, AV_LOG_WARNING, "interrupted after %d of %d new frames\n", s->nb_sent, s->k.time.frames);
    if (interrupted && s->only && !s->nb_sent && s->k.like) {
        AVFrame *frame = s->k.like;

        s->k.like = NULL;
        ret = send(outlink, frame);
    }
    end(s);
    ff_outlink_set_status(outlink, AVERROR_EOF, s->next_pts);
    return FFMIN(ret, 0);
}

static int begin(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    KlingExtendContext *s = ctx->priv;
    int ret;

    if (!s->last.nb) {
        av_log(ctx, AV_LOG_ERROR, "the input has no frame: there is nothing to go on from\n");
        return AVERROR(EINVAL);
    }
    ret = ff_kling_continue_begin(ctx, &s->k, &s->last, s->loop ? &s->first : NULL,
                                  ff_filter_link(ctx->inputs[0])->frame_rate);
    ff_kling_history_free(&s->last);
    ff_kling_history_free(&s->first);
    s->begun = ret >= 0;
    return ret;
}

static int generate(AVFilterLink *outlink)
{
    KlingExtendContext *s = outlink->src->priv;
    AVFrame *frame;
    int ret;

    if (ff_kling_clip_interrupted(&s->clip))
        return finish(outlink, 1);
    if (!s->begun && (ret = begin(outlink)) < 0)
        return fail(outlink, ret);
    ret = ff_kling_continue_next(outlink, &s->k, &frame);
    if (ret > 0)
        return (ret = send(outlink, frame)) < 0 ? fail(outlink, ret) : ret;
    return ret == 0 || ret == AVERROR_EXIT ? finish(outlink, ret < 0) : fail(outlink, ret);
}

static int activate(AVFilterContext *ctx)
{
    KlingExtendContext *s = ctx->priv;
    AVFilterLink *inlink = ctx->inputs[0], *outlink = ctx->outputs[0];
    AVFrame *frame;
    int64_t pts;
    int ret;

    if ((ret = ff_outlink_get_status(outlink))) {   /* nobody wants more */
        ff_inlink_set_status(inlink, ret);
        end(s);
        return 0;
    }
    if (!s->input_ended) {
        if ((ret = ff_inlink_consume_frame(inlink, &frame)) < 0)
            return fail(outlink, ret);
        if (ret)
            return pass(outlink, frame);
        if (ff_inlink_acknowledge_status(inlink, &ret, &pts)) {
            if (ret != AVERROR_EOF)
                return fail(outlink, ret);
            s->input_ended = 1;
        }
    }
    if (!ff_outlink_frame_wanted(outlink))
        return FFERROR_NOT_READY;
    if (s->input_ended)
        return generate(outlink);
    ff_inlink_request_frame(inlink);
    return 0;
}

static const AVFilterPad kling_extend_inputs[] = {
    {
        .name         = "default",
        .type         = AVMEDIA_TYPE_VIDEO,
    },
};

static const AVFilterPad kling_extend_outputs[] = {
    {
        .name         = "default",
        .type         = AVMEDIA_TYPE_VIDEO,
        .config_props = config_props,
    },
};

const FFFilter ff_vf_kling_extend = {
    KLC_P(name)        = "kling_extend",
    KLC_P(description) = NULL_IF_CONFIG_SMALL("Let a video go on after its end."),
    KLC_P(priv_class)  = &kling_extend_class,
    .priv_size         = sizeof(KlingExtendContext),
    .init              = ff_kling_clip_init,
    .uninit            = uninit,
    .activate          = activate,
    .process_command   = ff_kling_clip_command,
    FILTER_INPUTS(kling_extend_inputs),
    FILTER_OUTPUTS(kling_extend_outputs),
    KLC_QUERY_FUNC(ff_kling_continue_formats),
};
