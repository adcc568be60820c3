/*
 * kling: text-to-video diffusion as a C library
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The only public header of libkling.
 *
 *     KlingContext *ctx = NULL;
 *     KlingModel   *model = NULL;
 *     KlingJob     *job = NULL;
 *     KlingModelParams  mp;
 *     KlingParams       p;
 *     const KlingFrame *f;
 *     int ret;
 *
 *     kling_context_create(&ctx, NULL);
 *     kling_model_params_default(&mp);
 *     mp.model = "path/to/model";
 *     if (kling_model_open(ctx, &model, &mp) < 0)
 *         fprintf(stderr, "%s\n", kling_context_error(ctx));
 *     kling_params_default(model, &p);
 *     p.prompt = "a red ball falls onto a wooden table";
 *     kling_job_create(model, &job, &p);
 *     while ((ret = kling_job_next_frame(job, &f)) == KLING_OK)
 *         use(f->data, f->width, f->height);
 *     if (ret != KLING_EOF)
 *         fprintf(stderr, "%s\n", kling_job_error(job));
 *     kling_job_destroy(&job);
 *     kling_model_destroy(&model);
 *     kling_context_destroy(&ctx);
 *
 * Ownership: strings and params passed in need live only until the call
 * returns, except where an argument says otherwise. Everything created is
 * destroyed by its own destroy function, which takes the address of the
 * pointer, accepts NULL and sets it to NULL. A model holds a reference to its
 * context's settings, a job holds one to its model, so they may be destroyed
 * in any order.
 *
 * Threads: a context or a job is used by one thread at a time; different jobs
 * of one model may run at the same time in different threads and share the
 * weights. Nothing is bound to the thread that created it. kling_job_cancel()
 * may be called from any thread and from a signal handler.
 */
#ifndef KLING_KLING_H
#define KLING_KLING_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KLING_VERSION_MAJOR 0
#define KLING_VERSION_MINOR 3
#define KLING_VERSION_PATCH 0
#define KLING_VERSION_INT \
    (KLING_VERSION_MAJOR << 16 | KLING_VERSION_MINOR << 8 | KLING_VERSION_PATCH)

#if defined(__GNUC__)
#   define KLING_API __attribute__((visibility("default")))
#else
#   define KLING_API
#endif

/* Every function that can fail returns one of these; errors are negative. The
 * sentence that goes with an error is kling_context_error() after a call on a
 * context, kling_job_error() after a call on a job. */
enum KlingStatus {
    KLING_OK                    =   0,
    KLING_EOF                   =   1,   /* the job has given its last frame */
    KLING_ERROR_INVALID_ARG     =  -1,   /* a parameter is out of range */
    KLING_ERROR_NOT_FOUND       =  -2,   /* a model, part or file is missing */
    KLING_ERROR_INVALID_DATA    =  -3,   /* a file is damaged or is not what it claims */
    KLING_ERROR_UNSUPPORTED     =  -4,   /* well formed, but not something this build runs */
    KLING_ERROR_OUT_OF_MEMORY   =  -5,
    KLING_ERROR_IO              =  -6,
    KLING_ERROR_CANCELLED       =  -7,   /* kling_job_cancel() was called */
    KLING_ERROR_DEVICE          =  -8,   /* a device is missing or failed */
    KLING_ERROR_INTERNAL        =  -9,
};

enum KlingLogLevel {
    KLING_LOG_ERROR,
    KLING_LOG_WARNING,
    KLING_LOG_INFO,
    KLING_LOG_VERBOSE,
    KLING_LOG_DEBUG,
};

enum KlingSampler {
    KLING_SAMPLER_DEFAULT = 0,           /* the model's own */
    KLING_SAMPLER_EULER,                 /* flow-matching Euler */
    KLING_SAMPLER_UNIPC,                 /* UniPC, order 2, bh2, flow prediction */
};

/* Which of torch's generators the noise equals for a seed. */
enum KlingRng {
    KLING_RNG_CPU = 0,                   /* mt19937, as torch.Generator("cpu") */
    KLING_RNG_CUDA,                      /* Philox 4x32-10, as torch.Generator("cuda") on a
                                            device of 132 multiprocessors x 2048 threads */
};

enum KlingPrecision {
    KLING_PRECISION_AUTO = 0,            /* the fastest that the device does without visible loss */
    KLING_PRECISION_F32,
    KLING_PRECISION_INT8,                /* the matrices of the transformer's blocks in int8, a scale for each of their
                                            rows, multiplied in integers with activations that are rounded token by
                                            token; all else as by auto. What the file does not have in int8 is made
                                            once for all jobs of a model that ask for it, in memory: a byte for each
                                            parameter. Of two experts both are kept where memory allows */
};

/* What the samples of a given picture are: R, G, B, full range, 0 to 2^bits - 1 or 0 to 1. */
enum KlingFormat {
    KLING_FORMAT_F32 = 0,                /* three planes of float */
    KLING_FORMAT_U8,                     /* three planes of uint8_t */
    KLING_FORMAT_U10,                    /* three planes of uint16_t, of which 10 bits are used; U12, U16 likewise */
    KLING_FORMAT_U12,
    KLING_FORMAT_U16,
    KLING_FORMAT_RGB24,                  /* one plane of uint8_t, R, G, B in turns */
};

/* KlingParams.flags */
#define KLING_FLAG_BITEXACT (1u << 0)    /* plain C kernels with double accumulation: slow; the same
                                            bytes on every machine */
#define KLING_FLAG_KEEP_CONTEXT (1u << 1)/* the lead's and the trail's pictures are given as well, as the model
                                            sees them: decoded from its latents */

/* KlingModelInfo.caps: what a model can do. */
#define KLING_CAP_TEXT        (1u << 0)  /* a clip from text alone */
#define KLING_CAP_LEAD_IMAGE  (1u << 1)  /* go on from one picture: image to video */
#define KLING_CAP_LEAD_CLIP   (1u << 2)  /* go on from several pictures, so that motion carries over; clips longer
                                            than one window need it */
#define KLING_CAP_TRAIL_IMAGE (1u << 3)  /* arrive at one picture */
#define KLING_CAP_TRAIL_CLIP  (1u << 4)  /* arrive at several pictures in motion */
#define KLING_CAP_NEEDS_BOTH  (1u << 5)  /* nothing but from one picture to another: both must be given */

typedef struct KlingContext KlingContext;
typedef struct KlingModel KlingModel;
typedef struct KlingJob KlingJob;

/** line: one message, without a newline, valid only during the call. May be
 *  called from the thread that runs a job. */
typedef void (*KlingLogFn)(void *opaque, enum KlingLogLevel level, const char *line);

typedef struct KlingContextParams {
    KlingLogFn log;                      /* NULL: silent */
    void *log_opaque;                    /* must outlive the context, its models and jobs */
} KlingContextParams;

KLING_API unsigned    kling_version(void);
KLING_API const char *kling_status_name(int status);     /* "out of memory", ...; static */

/** params may be NULL. */
KLING_API int  kling_context_create(KlingContext **ctx, const KlingContextParams *params);
KLING_API void kling_context_destroy(KlingContext **ctx);
/** The sentence of the last failed call on this context, "" if none; valid until the next call. */
KLING_API const char *kling_context_error(const KlingContext *ctx);

typedef struct KlingModelParams {
    const char *model;                   /* a diffusers folder, or a transformer file whose other parts
                                            lie beside it or are given below; required */
    const char *text_encoder;            /* folder or file; NULL: the model's own */
    const char *vae;                     /* likewise */
    const char *tokenizer;               /* folder, spiece.model or tokenizer.json; NULL likewise */
    const char *image_encoder;           /* folder or file; NULL likewise; only of models that have one */
    const char *transformer_2;           /* the low-noise one of two experts; NULL likewise */
    const char *device;                  /* "cpu", "cuda", "cuda:N", or "auto", today always the CPU; NULL: auto */
    double vram;                         /* of a GPU's memory that this model and its jobs may take: a share up to 1,
                                            or bytes, at least 1 MiB; 0: as much as there is. Weights that do not fit
                                            are sent to it for every use, which the log says the cost of */
    const char *lora;                    /* LoRA files, "PATH[:STRENGTH][:high|low]" separated by '|': strength 1
                                            where none is given; high and low are the experts of a model that has
                                            two, both where none is given. NULL: none */
} KlingModelParams;

/** What a model is and prefers. Strings live as long as the model. */
typedef struct KlingModelInfo {
    const char *name;                    /* the folder's or file's name */
    const char *kind;                    /* such as "Wan 2.1 T2V", with the transformer's size */
    const char *device;                  /* such as "cpu (avx2)", "cuda:0 (NVIDIA H200)" */
    unsigned caps;                       /* KLING_CAP_* */
    int width_px, height_px;             /* preferred size */
    int frames;                          /* preferred clip length, the longest that is generated at once: a window,
                                            its lead and trail counted */
    int lead_frames;                     /* preferred number of pictures to go on from, 0 if it cannot; 1 + a
                                            multiple of frame_multiple */
    int trail_frames;                    /* preferred number of pictures to arrive at, 0 if it cannot */
    int fps_num, fps_den;                /* frames per second it was trained at */
    int steps;                           /* preferred number of denoising steps */
    float guidance, shift;
    float guidance_low;                  /* of the second expert of a model that has two, else guidance */
    enum KlingSampler sampler;
    int size_multiple_px;                /* generated sizes are multiples of this; outputs are cropped */
    int frame_multiple;                  /* generated lengths are 1 + a multiple of this */
    int max_prompt_tok;                  /* longer prompts are truncated with a warning */
    int64_t parameters;                  /* of all parts together */
} KlingModelInfo;

KLING_API void kling_model_params_default(KlingModelParams *params);
/** Opens and checks every part: names, shapes and dtypes against the model's
 *  description. Weights are mapped, not read. The model keeps the context's
 *  log; params need live only until the return. */
KLING_API int  kling_model_open(KlingContext *ctx, KlingModel **model, const KlingModelParams *params);
/** Another reference to the same weights; never fails. */
KLING_API KlingModel *kling_model_ref(KlingModel *model);
KLING_API void kling_model_destroy(KlingModel **model);
KLING_API const KlingModelInfo *kling_model_info(const KlingModel *model);

typedef struct KlingProgress {
    int step, steps;                     /* denoising steps done and in all; of "quantize": blocks of the transformer */
    double step_seconds;                 /* mean over the steps done, 0 before the first */
    double seconds_left;                 /* estimate to the end of this window's denoising, -1 if unknown */
    const char *stage;                   /* "text", "encode", "quantize", "denoise", "decode" */
    int window, windows;                 /* of a long clip: 0, 1, ... and how many in all */
} KlingProgress;

/** Called between the stages and after each step, in the thread that runs the job. */
typedef void (*KlingProgressFn)(void *opaque, const KlingProgress *progress);

typedef struct KlingFrame KlingFrame;

typedef struct KlingParams {
    const char *prompt;                  /* UTF-8; NULL or "" is allowed */
    const char *negative_prompt;         /* UTF-8; NULL or "" is allowed; unused when guidance is 1 */
    int width_px, height_px;             /* even, 16..8192 */
    int frames;                          /* new pictures to give, 1..INT_MAX. More than one window are made window
                                            by window, each going on from the end of the one before, in the memory
                                            of one window. A length that the model cannot make is rounded up and the
                                            last ones dropped; before a trail ones here and there, so that both ends
                                            join. None is when frames is a multiple of frame_multiple, plus 1 without
                                            a lead */
    int steps;                           /* 1..1000 */
    float guidance;                      /* classifier-free guidance scale, 0..100; 1 turns it off */
    float guidance_low;                  /* of the second expert, at low noise, of a model that has two, 0..100; below
                                            0: the model's where guidance is the model's, else guidance */
    float shift;                         /* flow shift, > 0..100 */
    enum KlingSampler sampler;
    enum KlingRng rng;
    uint64_t seed;                       /* of the first window's noise; window i takes output 2i of the splitmix64
                                            generator that starts at it */
    int threads;                         /* 0: one per core */
    enum KlingPrecision precision;
    enum KlingFormat format;             /* of the pictures that the job gives; rounded where they are made, so that on
                                            a GPU no more than these samples are copied out */
    unsigned flags;                      /* KLING_FLAG_* */
    /* What the clip goes on from and arrives at: pictures of width_px x height_px at the model's frame rate, in order
     * of time, copied by kling_job_create(). The new pictures come right after lead[nb_lead - 1] and right before
     * trail[0]. Of a lead the last pictures that make a valid count are used, of a trail the first; more than half a
     * window of either is not. What the model cannot do (KlingModelInfo.caps) is refused. */
    const KlingFrame *lead;
    int nb_lead;                         /* 0: none */
    const KlingFrame *trail;
    int nb_trail;                        /* 0: none */
    int context_frames;                  /* pictures that each later window goes on from; 0: the model's lead_frames */
    float drift_guard;                   /* 0..1: how much the colours of each later window are held to those of
                                            the first (since the prompt changed), and how much its context is noised
                                            (at 1 to the level 0.02), against drift; 0 turns it off */
    KlingProgressFn progress;            /* NULL: none */
    void *progress_opaque;               /* must outlive the job */
    KlingLogFn log;                      /* this job's log; NULL: the context's */
    void *log_opaque;
} KlingParams;

/** One decoded picture, full range, as the model made it (BT.709 primaries and sRGB-like transfer by training data's
 *  nature). Of a lead or trail only data, stride, width_px and height_px are read. */
struct KlingFrame {
    const float *data[3];                /* KLING_FORMAT_F32: R, G, B in [0, 1], height_px rows of stride floats; given
                                            in another format: NULL */
    ptrdiff_t stride;                    /* in floats */
    int width_px, height_px;
    int index;                           /* 0, 1, 2, ... of all that are given */
    double step_ms;                      /* mean milliseconds per denoising step of this clip */
    const void *plane[3];                /* samples of KlingParams.format, whichever it is: R, G, B; or all in the
                                            first, the others NULL. A value is rounded to the nearest, ties to even; a
                                            NaN is 0, but of floats */
    ptrdiff_t linesize;                  /* in bytes */
};

/** Return 0 to go on, anything else to stop with KLING_ERROR_CANCELLED. */
typedef int (*KlingFrameFn)(void *opaque, const KlingFrame *frame);

/** The model's preferences; model may be NULL for the library's. */
KLING_API void kling_params_default(const KlingModel *model, KlingParams *params);
/** Checks everything that can be checked, allocates little, computes nothing.
 *  The prompt is copied. On an error *job is NULL and kling_model_error(model)
 *  has the sentence. */
KLING_API int  kling_job_create(KlingModel *model, KlingJob **job, const KlingParams *params);
/** The sentence of the last failed kling_job_create() in the calling program; "" if none. Copied into
 *  buf, always terminated. */
KLING_API void kling_model_error(const KlingModel *model, char *buf, size_t size);
KLING_API void kling_job_destroy(KlingJob **job);
/** Blocks until the next frame is decoded. *frame is valid until the next call
 *  on this job. KLING_OK, KLING_EOF after the last frame, or an error, after
 *  which every further call returns the same error. */
KLING_API int  kling_job_next_frame(KlingJob *job, const KlingFrame **frame);
/** From the next window on: the prompt (NULL is "") and, when not NULL, the negative prompt. Copied. In the thread that
 *  uses the job, between two calls, or from its frame callback. A job whose last window has begun keeps its prompt,
 *  which is not an error; out of memory is one, but does not end the job. */
KLING_API int  kling_job_set_prompt(KlingJob *job, const char *prompt, const char *negative_prompt);
/** The same, pushed: calls fn for each remaining frame. KLING_OK at the end. */
KLING_API int  kling_job_run(KlingJob *job, KlingFrameFn fn, void *opaque);
/** Makes the running and every later call return KLING_ERROR_CANCELLED, within
 *  one block of the transformer or one convolution of the VAE. Any thread;
 *  async-signal-safe. */
KLING_API void kling_job_cancel(KlingJob *job);
KLING_API const char *kling_job_error(const KlingJob *job);

#ifdef __cplusplus
}
#endif
#endif /* KLING_KLING_H */
