/*
 * A job: one clip from its params to its last frame. Shared by job.c (the
 * public calls), generate.c (the stages) and delivery.c (pictures out).
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_JOB_H
#define KL_JOB_H

#include "condition.h"
#include "drift.h"
#include "internal.h"
#include "pictures.h"
#include "window.h"

#define KL_MAX_TIME_FACTOR 16           /* pictures that one latent frame can decode to */
#define KL_QUEUE (2 * KL_MAX_TIME_FACTOR)   /* pictures at most on their way to the caller */

/** What is generated, which may be larger than what is asked for. */
typedef struct KlGeometry {
    int width_px, height_px;            /* multiples of the model's size_multiple_px */
    int crop_x_px, crop_y_px;           /* where the asked-for picture begins */
    int R, W;                           /* latent rows, columns */
} KlGeometry;

/** A decoded picture on its way to the caller. */
typedef struct KlQueued {
    void *host;                         /* the table's host memory, kept for the slot's next picture; NULL: none yet */
    int64_t ticket;                     /* of the read into it */
    bool give, fresh, keep;             /* for the caller; new, not context; the next window goes on from it */
    double at;                          /* of a new one: its place in the window, above 0, 1 for the last */
} KlQueued;

struct KlingJob {
    KlingModel *model;
    KlDiag diag;
    atomic_int cancel;
    KlingParams params;                 /* prompt and negative_prompt are own copies; lead and trail are not kept */
    KlGeometry geo;
    KlWindowPlan plan;
    int status;                         /* sticky once not KLING_OK */

    const KlParts *parts;
    KlExec *ex;
    float *rows[KL_DIT_CONTEXTS];       /* the prompts' embeddings, host memory; NULL: to be made */
    int n_rows[KL_DIT_CONTEXTS];
    bool new_prompt;                    /* since the running window began */

    KlPictures known;                   /* the end of the lead and of what was made: the next window goes on from it */
    KlPictures trail;
    KlDrift drift;

    KlWindow win;                       /* the running window, or the next one */
    bool running, finished;
    float *z;                           /* [z_dim,F,R,W] of the running window */
    KlVaeDecoder *decoder;
    int next_latent;
    int seen, end;                      /* pictures of the window: decoded, and wanted in all */
    int made;                           /* new pictures to be given, of all windows so far */
    double step_ms;

    void *samples[2];                   /* executor memory: the last pictures that were sent, in turns */
    KlQueued queue[KL_QUEUE];           /* the first kl_job_run_ahead() + a latent frame's of them are used in turns */
    int64_t sent, taken;                /* pictures: their reads begun; out of the queue, given or not */
    void *converted;                    /* host memory: the picture handed out, where it is not as it was read */
    int given;
    KlingFrame frame;                   /* the one handed out */
};

/** Refuses what cannot fit before hours are spent on it: malloc() would promise the memory, and the system end the
 *  program when it is used. Asked when the job is made and again when it starts: others may have taken it since. */
int  kl_job_check_memory(KlingJob *job);
/** The guidance of the only or first expert, or of the second (low). */
double kl_job_guidance(const KlingJob *job, bool low);
/** The next window from text and known pictures to latents: everything up to its first decoded frame. */
int  kl_job_sample(KlingJob *job);
/** Decodes one more latent frame of the running window into the queue; ends the window after its last. */
int  kl_job_decode(KlingJob *job);
/** Frees what the stages and the queue hold. */
void kl_job_release(KlingJob *job);

/* -- delivery.c -- */

/** A KlVaePictureFn: picks the window's next picture, if it is for somebody, and begins to read it into the queue. */
int  kl_job_send(void *opaque, const float *x);
#define KL_STOP_DECODING 1              /* its answer when the rest of this latent frame is not wanted */
/** The queue's oldest picture, waited for, its colours held: handed out as job->frame, true, or only remembered for the
 *  next window, false. Negative on an error. */
int  kl_job_take(KlingJob *job);
/** How many pictures may be in the queue when a latent frame is decoded into it. */
int  kl_job_run_ahead(const KlingJob *job);
/** Waits for reads under way and frees the queue. */
void kl_job_drain(KlingJob *job);
#endif /* KL_JOB_H */
