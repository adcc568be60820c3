/*
 * What the options of every kling filter have in common, and the job that they ask for.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A filter's context begins with a KlingClip and its table of options with FF_KLING_OPTIONS. Functions returning int
 * return 0 or an AVERROR, and have logged one line then, unless they say otherwise.
 */
#ifndef AVFILTER_KLING_CLIP_H
#define AVFILTER_KLING_CLIP_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include <kling/kling.h>

#include "kling_compat.h"

#include "libavutil/opt.h"

#include "kling_common.h"

typedef struct KlingClip {
    const AVClass *class;               /* first: a filter's context begins with it */

    char *prompt, *prompt_file, *negative_prompt;
    char *model_name, *text_encoder, *vae, *tokenizer, *image_encoder, *transformer_2, *lora, *device;
    double vram;                        /* bytes, or a share up to 1; 0: all */
    int width_px, height_px;            /* of what is generated; 0: not given */
    int frames;                         /* 0: by duration */
    int64_t duration_us;                /* 0: the model's */
    char *rate;
    int steps;                          /* 0: the model's */
    float guidance;                     /* -1: the model's */
    float guidance_low;                 /* -1: by guidance */
    float shift;                        /* 0: the model's */
    int sampler, rng;
    char *seed;
    int context;                        /* pictures; 0: the model's */
    float drift_guard;                  /* -1: the model's */
    int threads, precision, flags, interrupt;

    AVRational frame_rate;              /* of the model's pictures; 0/1: the model's, until ff_kling_clip_open() */
    uint64_t seed_used;
    KlingModel *model;                  /* NULL before ff_kling_clip_open() */
    KlingJob *job;                      /* NULL before the clip and after it */
    KlingProgressLog progress;
    int started;                        /* the job works */
    int window;                         /* of a long clip, that is being made; -1: none yet */
    char *window_prompt;                /* what that window is made from */
    int holds_signals;
    unsigned signals_before;            /* ff_kling_interrupt_count() when the graph was configured */
} KlingClip;

/** Looks at the options alone. */
int  ff_kling_clip_init(AVFilterContext *ctx);
void ff_kling_clip_uninit(AVFilterContext *ctx);
/** For a filter's process_command: prompt, prompt_file, negative_prompt and their short names. They take effect with
 *  the next window. */
int  ff_kling_clip_command(AVFilterContext *ctx, const char *cmd, const char *arg, char *res, int res_len, int flags);

/** For config_props: maps the model, again if need be, and resolves frame_rate. */
int  ff_kling_clip_open(AVFilterContext *ctx);
/** The number of frames at `rate` that frames= or duration= ask for, or `otherwise` when they are not given. Beyond
 *  INT_MAX it is INT_MAX. */
int  ff_kling_clip_frames(const KlingClip *c, AVRational rate, int otherwise);
/** Everything that the options say, for a job of `frames` pictures of this size. p points into c, which must not be
 *  given a command before the job is made. */
int  ff_kling_clip_params(AVFilterContext *ctx, KlingParams *p, int width_px, int height_px, int frames);
/** Makes the job; nothing is computed yet. */
int  ff_kling_clip_begin(AVFilterContext *ctx, const KlingParams *p);
/** The next picture, valid until the next call; the first call starts the work. Returns 1, 0 at the end, AVERROR_EXIT
 *  without a line when it was interrupted, or another AVERROR. */
int  ff_kling_clip_next(AVFilterContext *ctx, const KlingFrame **f);
/** Gives the job's memory back, and the signals. */
void ff_kling_clip_end(KlingClip *c);
/** Minds signals from here on and not only while the job works: ffmpeg ends its inputs when it is interrupted, which
 *  must not look like the end of the footage. */
void ff_kling_clip_watch(KlingClip *c);
/** Whether a signal that the filter minds has come since ff_kling_clip_open(). */
int  ff_kling_clip_interrupted(const KlingClip *c);
/** Writes what the frame was made from. Nothing is logged. */
int  ff_kling_clip_metadata(const KlingClip *c, AVFrame *frame, double step_ms);

/* ---- the table of options ---------------------------------------------------------------------------------- */

#define KLING_FLAGS   (AV_OPT_FLAG_VIDEO_PARAM | AV_OPT_FLAG_FILTERING_PARAM)
#define KLING_RUNTIME (KLING_FLAGS | AV_OPT_FLAG_RUNTIME_PARAM)

#define KLING_STRING(name, field, def, help) \
    { name, help, offsetof(KlingClip, field), AV_OPT_TYPE_STRING, { .str = def }, 0, 0, KLING_FLAGS }
#define KLING_TEXT(name, field, help) \
    { name, help, offsetof(KlingClip, field), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, KLING_RUNTIME }
#define KLING_NUMBER(name, field, type, def, min, max, help) \
    { name, help, offsetof(KlingClip, field), AV_OPT_TYPE_ ## type, { def }, min, max, KLING_FLAGS }
#define KLING_CHOICE(name, field, def, max, help) \
    { name, help, offsetof(KlingClip, field), AV_OPT_TYPE_INT, { .i64 = def }, 0, max, KLING_FLAGS, name }
#define KLING_VALUE(unit, name, value, help) \
        { name, help, 0, AV_OPT_TYPE_CONST, { .i64 = value }, 0, 0, KLING_FLAGS, unit }

#define KLING_HELP_PROMPT   "set what the video shows, UTF-8 text"
#define KLING_HELP_NEGATIVE "set what the video should not show, UTF-8 text"
#define KLING_HELP_MODEL    "set the model's folder or file; by default $KLING_MODEL, then the model that ships"
#define KLING_HELP_EXPERT   "use this folder or file as the second, low-noise one of a model's two transformers"
#define KLING_HELP_LORA     "apply these LoRA files, PATH[:STRENGTH][:high|low], separated by |"
#define KLING_HELP_SIZE     "set the size in pixels that is generated, even, 16x16 to 8192x8192; by default the model's"
#define KLING_HELP_DURATION "set the length in seconds of what is generated; 0 is what the model makes at once"
#define KLING_HELP_RATE     "set the frames per second of what is generated, 1/100 to 1000; by default the model's"
#define KLING_HELP_GUIDANCE "set the classifier-free guidance scale, 0 to 100; 1 turns it off, -1 is the model's"
#define KLING_HELP_LOW      "set the guidance scale of the second of two transformers, 0 to 100; -1 is by guidance"
#define KLING_HELP_CONTEXT  "set how many pictures each further part of the video goes on from; 0 is the model's"
#define KLING_HELP_DRIFT    "set how much the colours of a long video are held, 0 to 1; 0 is off, -1 the model's"
#define KLING_HELP_VRAM     "set how much of a GPU's memory to use, in bytes or as a share up to 1; 0 is all of it"

#define FF_KLING_OPTIONS \
    KLING_TEXT("prompt",            prompt,          KLING_HELP_PROMPT), \
    KLING_TEXT("p",                 prompt,          KLING_HELP_PROMPT), \
    KLING_TEXT("prompt_file",       prompt_file,     "read the prompt from this UTF-8 text file"), \
    KLING_TEXT("negative_prompt",   negative_prompt, KLING_HELP_NEGATIVE), \
    KLING_TEXT("n",                 negative_prompt, KLING_HELP_NEGATIVE), \
    KLING_STRING("model",           model_name,      NULL, KLING_HELP_MODEL), \
    KLING_STRING("m",               model_name,      NULL, KLING_HELP_MODEL), \
    KLING_STRING("text_encoder",    text_encoder,    NULL, \
                 "use this folder or file instead of the model's text encoder"), \
    KLING_STRING("vae",             vae,             NULL, "use this folder or file instead of the model's VAE"), \
    KLING_STRING("tokenizer",       tokenizer,       NULL, \
                 "use this folder, spiece.model or tokenizer.json instead of the model's tokenizer"), \
    KLING_STRING("image_encoder",   image_encoder,   NULL, \
                 "use this folder or file instead of the model's image encoder"), \
    KLING_STRING("transformer_2",   transformer_2,   NULL, KLING_HELP_EXPERT), \
    KLING_STRING("lora",            lora,            NULL, KLING_HELP_LORA), \
    KLING_NUMBER("size",            width_px,    IMAGE_SIZE, .str = NULL, 0, 0, KLING_HELP_SIZE), \
    KLING_NUMBER("s",               width_px,    IMAGE_SIZE, .str = NULL, 0, 0, KLING_HELP_SIZE), \
    KLING_NUMBER("frames",          frames,      INT,        .i64 = 0,  0, INT_MAX, \
                 "set the length in frames of what is generated; 0 is by duration"), \
    KLING_NUMBER("duration",        duration_us, DURATION,   .i64 = 0,  0, INT64_MAX, KLING_HELP_DURATION), \
    KLING_NUMBER("d",               duration_us, DURATION,   .i64 = 0,  0, INT64_MAX, KLING_HELP_DURATION), \
    KLING_STRING("rate",            rate,            NULL, KLING_HELP_RATE), \
    KLING_STRING("r",               rate,            NULL, KLING_HELP_RATE), \
    KLING_NUMBER("steps",           steps,       INT,        .i64 = 0,  0, 1000, \
                 "set the number of denoising steps; 0 is the model's"), \
    KLING_NUMBER("guidance",        guidance,    FLOAT,      .dbl = -1, -1, 100, KLING_HELP_GUIDANCE), \
    KLING_NUMBER("cfg",             guidance,    FLOAT,      .dbl = -1, -1, 100, KLING_HELP_GUIDANCE), \
    KLING_NUMBER("guidance_low",    guidance_low, FLOAT,     .dbl = -1, -1, 100, KLING_HELP_LOW), \
    KLING_NUMBER("shift",           shift,       FLOAT,      .dbl = 0,  0, 100, \
                 "set the flow shift; 0 is the model's"), \
    KLING_CHOICE("sampler",         sampler,   KLING_SAMPLER_DEFAULT, KLING_SAMPLER_UNIPC, "set the sampler"), \
        KLING_VALUE("sampler", "auto",  KLING_SAMPLER_DEFAULT, "the model's own"), \
        KLING_VALUE("sampler", "euler", KLING_SAMPLER_EULER,   "flow-matching Euler"), \
        KLING_VALUE("sampler", "unipc", KLING_SAMPLER_UNIPC,   "UniPC of order 2"), \
    KLING_STRING("seed",            seed,            "-1", \
                 "set the noise's seed, 0 to 18446744073709551615; -1 draws one and logs it"), \
    KLING_CHOICE("rng",             rng,       KLING_RNG_CPU, KLING_RNG_CUDA, \
                 "set which of torch's generators makes the noise"), \
        KLING_VALUE("rng", "cpu",  KLING_RNG_CPU,  "as torch.Generator(\"cpu\")"), \
        KLING_VALUE("rng", "cuda", KLING_RNG_CUDA, "as torch.Generator(\"cuda\")"), \
    KLING_NUMBER("context",         context,     INT,        .i64 = 0,  0, 100000, KLING_HELP_CONTEXT), \
    KLING_NUMBER("drift_guard",     drift_guard, FLOAT,      .dbl = -1, -1, 1, KLING_HELP_DRIFT), \
    KLING_STRING("device",          device,          "auto", "set what computes: auto, cpu, cuda or cuda:N"), \
    KLING_NUMBER("vram",            vram,        DOUBLE,     .dbl = 0,  0, 1e18, KLING_HELP_VRAM), \
    KLING_NUMBER("threads",         threads,     INT,        .i64 = 0,  0, 1024, \
                 "set the number of threads; 0 is one per core"), \
    KLING_CHOICE("precision",       precision, KLING_PRECISION_AUTO, KLING_PRECISION_INT8, \
                 "set what is computed in"), \
        KLING_VALUE("precision", "auto", KLING_PRECISION_AUTO, "the fastest without visible loss"), \
        KLING_VALUE("precision", "f32",  KLING_PRECISION_F32,  "32-bit float"), \
        KLING_VALUE("precision", "int8", KLING_PRECISION_INT8, "int8 products in the transformer's blocks"), \
    { "flags", "set flags", offsetof(KlingClip, flags), AV_OPT_TYPE_FLAGS, { .i64 = 0 }, 0, KLING_FLAG_BITEXACT, \
      KLING_FLAGS, "flags" }, \
        KLING_VALUE("flags", "bitexact", KLING_FLAG_BITEXACT, "the same bytes on every machine; slow"), \
    KLING_NUMBER("interrupt",       interrupt,   BOOL,       .i64 = KLING_INTERRUPT_AUTO, -1, 1, \
                 "let SIGINT and SIGTERM end the clip; auto is in programs that handle them, as ffmpeg does")

#endif /* AVFILTER_KLING_CLIP_H */
