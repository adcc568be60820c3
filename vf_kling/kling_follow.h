/*
 * Detail across the seam between footage and generated pictures.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Colour matched (kling_seam.h), a decoded picture still lacks what the VAE lost: grain, fine lines, sharp edges. Where
 * a new picture shows what the known one did, in the same place or moved, the difference between the real and the
 * decoded known one is added to it, so that a background goes on as it was, and what moves loses its sharpness by and
 * by and not at once. What has gone where is told from decoded pictures alone, which have the same losses: blocks are
 * looked for around where they and their neighbours were in the picture before (G. de Haan et al., "True-motion
 * estimation with 3-D recursive search block matching", 1993).
 *
 * Right next to the known picture little can have changed but by moving. There a larger difference is taken for the
 * model's unrest, and most of it is held back: what the model makes of things comes in by and by as well.
 */
#ifndef AVFILTER_KLING_FOLLOW_H
#define AVFILTER_KLING_FOLLOW_H

#include "kling_seam.h"

/** Where the detail of a known picture has gone in a new one. Planes of the picture's size. */
typedef struct KlingKept {
    float *keep;                        /* how much of it is here, 0..1; one allocation that begins here */
    float *dx, *dy;                     /* it lay at (x + dx, y + dy) in the known picture */
    float hold;                         /* how much of a difference to that is held back where it is kept, 0..1 */
} KlingKept;

/** 0 or AVERROR(ENOMEM); keeps nothing. */
int  ff_kling_kept_alloc(KlingKept *k, int width_px, int height_px);
void ff_kling_kept_free(KlingKept *k);

/** What is known at one end. Zeroed memory is a fresh one, which follows nothing. */
typedef struct KlingFollow {
    KlingPicture seen;                  /* the known picture nearest to the seam, as it was decoded */
    KlingPicture real;                  /* as it is */
    KlingPicture rest;                  /* what it lacks, once its colour is corrected in full */
    float *light[2];                    /* of seen, of the picture looked at */
    float *lasting;                     /* per pixel of seen: how well it has been followed all the time, 0..1 */
    float *work[2];                     /* scratch, of a plane */
    float *moves[2];                    /* dx, dy per block of the picture looked at last, and of the one before */
    int nb_x, nb_y;                     /* blocks */
    int any;                            /* whether something is still followed */
} KlingFollow;

/** Takes a known picture, real and decoded (planes with this stride in floats). 0 or AVERROR(ENOMEM). */
int  ff_kling_follow_set(KlingFollow *f, const KlingPicture *real, const float *const decoded[3], long stride);
/** After ff_kling_seam_solve(e) of the same end. 0 or AVERROR(ENOMEM). */
int  ff_kling_follow_solve(KlingFollow *f, const KlingSeamEnd *e);
void ff_kling_follow_free(KlingFollow *f);

/** Looks what of the known picture is in a new one, as it was decoded. That a block has moved is believed where it
 *  leaves less than 3/4 of the difference. A difference, averaged over a few pixels and the channels, counts in full up
 *  to 2/255 and not at all from 8/255; right next to the known picture (near 1, going to 0 away from it) up to 10/255
 *  and from 40/255, and of what counts six tenths are held back. Of that the least around a pixel, as what is lost at
 *  an edge lies on both of its sides and would stay behind as a line where the thing has gone. for_good: what has been
 *  lost once stays lost; pictures are then looked at in order, away from the known one. part scales it all. */
void ff_kling_follow_look(KlingFollow *f, const KlingPicture *decoded, int for_good, double part, double near,
                          KlingKept *kept);
/** p, a new picture with its colour corrected, becomes `full` plus what it lacks there, or, as far as that is held
 *  back, what the known picture has there; as much as kept says. full: the same picture with its colour corrected in
 *  full, as next to the known one. */
void ff_kling_follow_apply(const KlingFollow *f, KlingPicture *p, const KlingPicture *full, const KlingKept *kept);

#endif /* AVFILTER_KLING_FOLLOW_H */
