/*
 * A job: one clip from its params to its last frame. Shared by job.c (the
 * public calls) and generate.c (the stages).
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_JOB_H
#define KL_JOB_H

#include "internal.h"

#define KL_MAX_TIME_FACTOR 16           /* pictures that one latent frame can decode to */

/** What is generated, which may be larger than what is asked for. */
typedef struct KlGeometry {
    int width_px, height_px;            /* multiples of the model's size_multiple_px */
    int crop_x_px, crop_y_px;           /* where the asked-for picture begins */
    int frames;                         /* 1 + a multiple of frame_multiple */
    int F, R, W;                        /* latent frames, rows, columns */
} KlGeometry;

struct KlingJob {
    KlingModel *model;
    KlDiag diag;
    atomic_int cancel;
    KlingParams params;                 /* prompt and negative_prompt are own copies */
    KlGeometry geo;
    int status;                         /* sticky once not KLING_OK */
    bool sampled;

    const KlParts *parts;
    KlExec *ex;
    float *z;                           /* [z_dim,F,R,W] */
    float *rgb;                         /* executor memory, 3 planes of one whole picture */
    KlVaeDecoder *decoder;
    int next_latent;
    double step_ms;

    float *host[KL_MAX_TIME_FACTOR];    /* decoded pictures that wait for their caller, 3 planes each */
    int queued, taken;                  /* of host[] */
    int decoded;                        /* frames decoded so far */
    KlingFrame frame;                   /* the one handed out */
    KlingFrameFn push;                  /* kling_job_run: hand over at once instead of queueing */
    void *push_opaque;
};

/** Refuses what cannot fit before hours are spent on it: malloc() would promise the memory, and the system end the
 *  program when it is used. Asked when the job is made and again when it starts: others may have taken it since. */
int  kl_job_check_memory(KlingJob *job);
/** Text to latents: everything up to the first decoded frame. */
int  kl_job_sample(KlingJob *job);
/** Decodes one more latent frame into the queue (or through push). */
int  kl_job_decode(KlingJob *job);
/** Frees what the stages hold; the frames in the queue stay. */
void kl_job_release(KlingJob *job);

/** Makes host[slot], cropped, the job's frame. */
void kl_job_expose(KlingJob *job, int slot);

#endif /* KL_JOB_H */
