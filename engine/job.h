/*
 * A job: one clip from its params to its last frame. Shared by job.c (the
 * public calls) and generate.c (the stages).
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

/** What is generated, which may be larger than what is asked for. */
typedef struct KlGeometry {
    int width_px, height_px;            /* multiples of the model's size_multiple_px */
    int crop_x_px, crop_y_px;           /* where the asked-for picture begins */
    int R, W;                           /* latent rows, columns */
} KlGeometry;

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
    int made;                           /* new pictures given */
    double step_ms;

    float *rgb;                         /* executor memory, 3 planes of one whole picture */
    float *host[KL_MAX_TIME_FACTOR];    /* decoded pictures that wait for their caller, 3 planes each */
    int queued, taken;                  /* of host[] */
    int given;                          /* pictures given out or queued so far */
    KlingFrame frame;                   /* the one handed out */
    KlingFrameFn push;                  /* kling_job_run: hand over at once instead of queueing */
    void *push_opaque;
};

/** Refuses what cannot fit before hours are spent on it: malloc() would promise the memory, and the system end the
 *  program when it is used. Asked when the job is made and again when it starts: others may have taken it since. */
int  kl_job_check_memory(KlingJob *job);
/** The guidance of the only or first expert, or of the second (low). */
double kl_job_guidance(const KlingJob *job, bool low);
/** The next window from text and known pictures to latents: everything up to its first decoded frame. */
int  kl_job_sample(KlingJob *job);
/** Decodes one more latent frame into the queue (or through push); ends the window after its last. */
int  kl_job_decode(KlingJob *job);
/** Frees what the stages hold; the frames in the queue stay. */
void kl_job_release(KlingJob *job);

/** Makes host[slot], cropped, the job's frame. */
void kl_job_expose(KlingJob *job, int slot);

#endif /* KL_JOB_H */
