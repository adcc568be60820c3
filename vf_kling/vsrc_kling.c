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
#include <stdio.h>

#include "kling_compat.h"

#include "libavutil/dict.h"
#include "libavutil/mathematics.h"
#include "libavutil/opt.h"
#include "libavutil/parseutils.h"

#include "frame_out.h"
#include "kling_common.h"

typedef struct KlingSourceContext {
    const AVClass *class;

    char *prompt, *prompt_file, *negative_prompt;
    char *model_name, *text_encoder, *vae, *tokenizer, *device;
    int width_px, height_px;            /* 0: the model's */
    int frames;                         /* 0: by duration */
    int64_t duration_us;                /* 0: the model's */
    char *rate;
    int steps;                          /* 0: the model's */
    float guidance;                     /* -1: the model's */
    float shift;                        /* 0: the model's */
    int sampler, rng;
    char *seed;
    int threads, precision, flags, interrupt;

    AVRational frame_rate;              /* 0/1: the model's, until config_props() */
    uint64_t seed_used;
    KlingModel *model;
    KlingJob *job;                      /* NULL when the clip has ended */
    KlingProgressLog progress;
    int started;                        /* the job works */
    unsigned signals_before;            /* ff_kling_interrupt_count() when the graph was configured */
    int nb_frames;                      /* of the whole clip */
    int64_t next_pts;
} KlingSourceContext;

#define OFFSET(x) offsetof(KlingSourceContext, x)
#define FLAGS AV_OPT_FLAG_VIDEO_PARAM | AV_OPT_FLAG_FILTERING_PARAM

#define STRING(name, field, def, help) \
    { name, help, OFFSET(field), AV_OPT_TYPE_STRING, { .str = def }, 0, 0, FLAGS }
#define NUMBER(name, field, type, def, min, max, help) \
    { name, help, OFFSET(field), AV_OPT_TYPE_ ## type, { def }, min, max, FLAGS }
#define CHOICE(name, field, def, max, help) \
    { name, help, OFFSET(field), AV_OPT_TYPE_INT, { .i64 = def }, 0, max, FLAGS, name }
#define VALUE(unit, name, value, help) \
        { name, help, 0, AV_OPT_TYPE_CONST, { .i64 = value }, 0, 0, FLAGS, unit }

#define HELP_PROMPT   "set what the video shows, UTF-8 text"
#define HELP_NEGATIVE "set what the video should not show, UTF-8 text"
#define HELP_MODEL    "set the model's folder or file; by default $KLING_MODEL, then the model that ships"
#define HELP_SIZE     "set the size in pixels, even, 16x16 to 8192x8192; by default the model's"
#define HELP_DURATION "set the length in seconds, up to the model's clip; 0 is the model's clip"
#define HELP_RATE     "set the frames per second, 1/100 to 1000; by default the model's"
#define HELP_GUIDANCE "set the classifier-free guidance scale, 0 to 100; 1 turns it off, -1 is the model's"

static const AVOption kling_options[] = {
    STRING("prompt",          prompt,          NULL, HELP_PROMPT),
    STRING("p",               prompt,          NULL, HELP_PROMPT),
    STRING("prompt_file",     prompt_file,     NULL, "read the prompt from this UTF-8 text file"),
    STRING("negative_prompt", negative_prompt, NULL, HELP_NEGATIVE),
    STRING("n",               negative_prompt, NULL, HELP_NEGATIVE),
    STRING("model",           model_name,      NULL, HELP_MODEL),
    STRING("m",               model_name,      NULL, HELP_MODEL),
    STRING("text_encoder",    text_encoder,    NULL, "use this folder or file instead of the model's text encoder"),
    STRING("vae",             vae,             NULL, "use this folder or file instead of the model's VAE"),
    STRING("tokenizer",       tokenizer,       NULL,
           "use this folder, spiece.model or tokenizer.json instead of the model's tokenizer"),
    NUMBER("size",            width_px,    IMAGE_SIZE, .str = NULL, 0, 0, HELP_SIZE),
    NUMBER("s",               width_px,    IMAGE_SIZE, .str = NULL, 0, 0, HELP_SIZE),
    NUMBER("frames",          frames,      INT,        .i64 = 0,  0, INT_MAX,
           "set the length in frames, up to the model's clip; 0 is by duration"),
    NUMBER("duration",        duration_us, DURATION,   .i64 = 0,  0, INT64_MAX, HELP_DURATION),
    NUMBER("d",               duration_us, DURATION,   .i64 = 0,  0, INT64_MAX, HELP_DURATION),
    STRING("rate",            rate,            NULL, HELP_RATE),
    STRING("r",               rate,            NULL, HELP_RATE),
    NUMBER("steps",           steps,       INT,        .i64 = 0,  0, 1000,
           "set the number of denoising steps; 0 is the model's"),
    NUMBER("guidance",        guidance,    FLOAT,      .dbl = -1, -1, 100, HELP_GUIDANCE),
    NUMBER("cfg",             guidance,    FLOAT,      .dbl = -1, -1, 100, HELP_GUIDANCE),
    NUMBER("shift",           shift,       FLOAT,      .dbl = 0,  0, 100, "set the flow shift; 0 is the model's"),
    CHOICE("sampler",         sampler,   KLING_SAMPLER_DEFAULT, KLING_SAMPLER_UNIPC, "set the sampler"),
        VALUE("sampler", "auto",  KLING_SAMPLER_DEFAULT, "the model's own"),
        VALUE("sampler", "euler", KLING_SAMPLER_EULER,   "flow-matching Euler"),
        VALUE("sampler", "unipc", KLING_SAMPLER_UNIPC,   "UniPC of order 2"),
    STRING("seed",            seed,            "-1",
           "set the noise's seed, 0 to 18446744073709551615; -1 draws one and logs it"),
    CHOICE("rng",             rng,       KLING_RNG_CPU, KLING_RNG_CUDA,
           "set which of torch's generators makes the noise"),
        VALUE("rng", "cpu",  KLING_RNG_CPU,  "as torch.Generator(\"cpu\")"),
        VALUE("rng", "cuda", KLING_RNG_CUDA, "as torch.Generator(\"cuda\")"),
    STRING("device",          device,          "auto", "set what computes: auto or cpu"),
    NUMBER("threads",         threads,     INT,        .i64 = 0,  0, 1024,
           "set the number of threads; 0 is one per core"),
    CHOICE("precision",       precision, KLING_PRECISION_AUTO, KLING_PRECISION_F32, "set what is computed in"),
        VALUE("precision", "auto", KLING_PRECISION_AUTO, "the fastest without visible loss"),
        VALUE("precision", "f32",  KLING_PRECISION_F32,  "32-bit float"),
    { "flags", "set flags", OFFSET(flags), AV_OPT_TYPE_FLAGS, { .i64 = 0 }, 0, KLING_FLAG_BITEXACT, FLAGS, "flags" },
        VALUE("flags", "bitexact", KLING_FLAG_BITEXACT, "the same bytes on every machine; slow"),
    NUMBER("interrupt",       interrupt,   BOOL,       .i64 = KLING_INTERRUPT_AUTO, -1, 1,
           "let SIGINT and SIGTERM end the clip; auto is in programs that handle them, as ffmpeg does"),
    { NULL }
};

AVFILTER_DEFINE_CLASS(kling);

static av_cold int init(AVFilterContext *ctx)
{
    KlingSourceContext *s = ctx->priv;
    int ret;

    if (s->prompt && s->prompt_file) {
        av_log(ctx, AV_LOG_ERROR, "prompt and prompt_file are both given: one is enough\n");
        return AVERROR(EINVAL);
    }
    if (s->frames && s->duration_us) {
        av_log(ctx, AV_LOG_ERROR, "frames and duration are both given: one is enough\n");
        return AVERROR(EINVAL);
    }
    if (s->rate && (av_parse_video_rate(&s->frame_rate, s->rate) < 0 ||
                    av_cmp_q(s->frame_rate, (AVRational){ 1, 100 }) < 0 ||
                    av_cmp_q(s->frame_rate, (AVRational){ 1000, 1 }) > 0)) {
        av_log(ctx, AV_LOG_ERROR, "rate %s: must be 1/100 to 1000 frames per second, such as 25 or 30000/1001\n",
               s->rate);
        return AVERROR(EINVAL);
    }
    if (s->guidance > -1 && s->guidance < 0) {
        av_log(ctx, AV_LOG_ERROR, "guidance %g: must be 0 to 100, or -1 for the model's\n", s->guidance);
        return AVERROR(EINVAL);
    }
    if ((ret = ff_kling_text_check(ctx, "prompt", s->prompt)) < 0 ||
        (ret = ff_kling_text_check(ctx, "negative_prompt", s->negative_prompt)) < 0)
        return ret;
    return ff_kling_seed_parse(ctx, s->seed, &s->seed_used);
}

static void end_clip(KlingSourceContext *s)
{
    ff_kling_interrupt_remove(s->job);
    kling_job_destroy(&s->job);
}

static av_cold void uninit(AVFilterContext *ctx)
{
    KlingSourceContext *s = ctx->priv;

    kling_job_cancel(s->job);
    end_clip(s);
    ff_kling_model_close(&s->model);
}

static int query_formats(KLC_QUERY_ARGS)
{
    int ret = KLC_COMMON(formats_from_list, ff_kling_pix_fmts);

    return ret < 0 ? ret : KLC_COMMON_COLOR(AVCOL_SPC_RGB, AVCOL_RANGE_JPEG);
}

static int open_model(AVFilterContext *ctx)
{
    KlingSourceContext *s = ctx->priv;
    KlingModelParams p;

    ff_kling_model_close(&s->model);
    kling_model_params_default(&p);
    p.model        = s->model_name;
    p.text_encoder = s->text_encoder;
    p.vae          = s->vae;
    p.tokenizer    = s->tokenizer;
    p.device       = s->device;
    return ff_kling_model_open(ctx, &s->model, &p);
}

/* How many frames are asked for, at most a clip; the next length that the model can make is one as well. */
static int count_frames(AVFilterContext *ctx, const KlingModelInfo *info)
{
    KlingSourceContext *s = ctx->priv;
    const int longest = (info->frames - 1 + info->frame_multiple - 1) / info->frame_multiple * info->frame_multiple + 1;
    int64_t n = s->frames ? s->frames : info->frames;

    if (s->duration_us) {
        n = av_rescale_q(s->duration_us, AV_TIME_BASE_Q, av_inv_q(s->frame_rate));
        if (n < 1)                      /* shorter than half a frame, or out of int64_t */
            n = s->duration_us < AV_TIME_BASE ? 1 : INT64_MAX;
    }
    if (n > longest) {
        av_log(ctx, AV_LOG_ERROR, "%s is too long: one clip of %s has at most %d frames, %.3f s at %d/%d per second; "
               "ask for less, or join clips with concat or xfade\n", s->frames ? "frames" : "duration", info->name,
               longest, longest / av_q2d(s->frame_rate), s->frame_rate.num, s->frame_rate.den);
        return AVERROR(EINVAL);
    }
    return n;
}

static int create_job(AVFilterContext *ctx)
{
    KlingSourceContext *s = ctx->priv;
    char *file_text = NULL;
    KlingParams p;
    int ret;

    if (s->prompt_file && (ret = ff_kling_text_read(ctx, "prompt_file", s->prompt_file, &file_text)) < 0)
        return ret;
    if (file_text) {
        av_free(s->prompt);
        s->prompt = file_text;
    }
    s->progress = (KlingProgressLog){ .log = ctx };
    kling_params_default(s->model, &p);
    p.prompt          = s->prompt;
    p.negative_prompt = s->negative_prompt;
    p.width_px        = s->width_px;
    p.height_px       = s->height_px;
    p.frames          = s->nb_frames;
    p.steps           = s->steps ? s->steps : p.steps;
    p.guidance        = s->guidance < 0 ? p.guidance : s->guidance;
    p.shift           = s->shift > 0 ? s->shift : p.shift;
    p.sampler         = s->sampler;
    p.rng             = s->rng;
    p.seed            = s->seed_used;
    p.threads         = s->threads ? s->threads : ctx->nb_threads;  /* libavfilter keeps threads= for itself */
    p.precision       = s->precision;
    p.flags           = s->flags;
    p.progress        = ff_kling_progress;
    p.progress_opaque = &s->progress;
    p.log             = ff_kling_log;
    p.log_opaque      = ctx;
    return ff_kling_error(kling_job_create(s->model, &s->job, &p));
}

static int config_props(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    KlingSourceContext *s = ctx->priv;
    FilterLink *l = ff_filter_link(outlink);
    const KlingModelInfo *info;
    int ret;

    end_clip(s);
    if ((ret = open_model(ctx)) < 0)
        return ret;
    info = kling_model_info(s->model);
    if (!s->width_px) {
        s->width_px  = info->width_px;
        s->height_px = info->height_px;
    }
    if (!s->rate)
        s->frame_rate = (AVRational){ info->fps_num, info->fps_den };
    if ((ret = count_frames(ctx, info)) < 0)
        return ret;
    s->nb_frames = ret;
    if ((ret = create_job(ctx)) < 0)
        return ret;
    s->started  = 0;
    s->next_pts = 0;
    s->signals_before = ff_kling_interrupt_count();

    outlink->w = s->width_px;
    outlink->h = s->height_px;
    outlink->time_base = av_inv_q(s->frame_rate);
    outlink->sample_aspect_ratio = (AVRational){ 1, 1 };
    l->frame_rate = s->frame_rate;
    return 0;
}

static void start(AVFilterContext *ctx)
{
    KlingSourceContext *s = ctx->priv;
    const KlingModelInfo *info = kling_model_info(s->model);

    av_log(ctx, AV_LOG_INFO, "%s on %s: %dx%d, %d frames, seed %"PRIu64"\n", info->name, info->device,
           s->width_px, s->height_px, s->nb_frames, s->seed_used);
    ff_kling_interrupt_add(ctx, s->job, s->interrupt);
    s->started = 1;
}

static int set_metadata(AVFrame *frame, const KlingSourceContext *s, const KlingFrame *f)
{
    char seed[32], step_ms[32];
    int ret;

    snprintf(seed, sizeof(seed), "%"PRIu64, s->seed_used);
    snprintf(step_ms, sizeof(step_ms), "%.3f", f->step_ms);
    if ((ret = av_dict_set(&frame->metadata, "lavfi.kling.prompt", s->prompt ? s->prompt : "", 0)) < 0 ||
        (ret = av_dict_set(&frame->metadata, "lavfi.kling.seed", seed, 0)) < 0 ||
        (ret = av_dict_set(&frame->metadata, "lavfi.kling.model", kling_model_info(s->model)->name, 0)) < 0 ||
        (ret = av_dict_set(&frame->metadata, "lavfi.kling.step_ms", step_ms, 0)) < 0)
        return ret;
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
    if ((ret = set_metadata(frame, s, f)) < 0) {
        av_frame_free(&frame);
        return ret;
    }
    if (++s->next_pts == s->nb_frames)
        end_clip(s);                    /* its memory is of use to whoever comes next */
    return ff_filter_frame(outlink, frame);
}

/* A file without any frame is one that few players open: a clip that was stopped before its first frame is one
 * black frame. */
static int send_black(AVFilterLink *outlink)
{
    float *row = av_calloc(outlink->w, sizeof(*row));
    int ret;

    if (!row)
        return AVERROR(ENOMEM);
    ret = send_frame(outlink, &(KlingFrame){ .data = { row, row, row }, .width_px = outlink->w,
                                             .height_px = outlink->h });
    av_free(row);
    return ret;
}

/* ffmpeg's probing drops the first error that it meets and asks again: the link must know of it, or the graph stalls
 * for ever. */
static int fail(AVFilterLink *outlink, int ret)
{
    KlingSourceContext *s = outlink->src->priv;

    end_clip(s);
    if (!ff_outlink_get_status(outlink))
        ff_outlink_set_status(outlink, ret, s->next_pts);
    return ret;
}

static int activate(AVFilterContext *ctx)
{
    KlingSourceContext *s = ctx->priv;
    AVFilterLink *outlink = ctx->outputs[0];
    const KlingFrame *f;
    int ret;

    if (ff_outlink_get_status(outlink)) {   /* nobody wants more */
        end_clip(s);
        return 0;
    }
    if (!ff_outlink_frame_wanted(outlink))
        return FFERROR_NOT_READY;
    if (s->interrupt && s->signals_before != ff_kling_interrupt_count())
        end_clip(s);                    /* also a clip that was not begun */
    if (s->job && !s->started)
        start(ctx);
    ret = s->job ? kling_job_next_frame(s->job, &f) : KLING_EOF;
    if (ret == KLING_OK)
        return (ret = send_frame(outlink, f)) < 0 ? fail(outlink, ret) : ret;
    end_clip(s);
    if (ret < 0 && ret != KLING_ERROR_CANCELLED)
        return fail(outlink, ff_kling_error(ret));
    if (s->next_pts < s->nb_frames)
        av_log(ctx, AV_LOG_WARNING, "interrupted after %"PRId64" of %d frames\n", s->next_pts, s->nb_frames);
    if (!s->next_pts && s->started && (ret = send_black(outlink)) < 0)
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
    .init              = init,
    .uninit            = uninit,
    .activate          = activate,
    FILTER_OUTPUTS(kling_outputs),
    KLC_QUERY_FUNC(query_formats),
};
