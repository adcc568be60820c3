/*
 * Colour and detail across the seam between footage and generated pictures.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A model does not see the footage but its own latents of it, and what it decodes from them differs a little: in
 * brightness, contrast and tint, and slowly over the picture. The pictures that are known on both sides of the VAE tell
 * by how much, and the new ones are corrected by the opposite. All pictures are planar float R, G, B of one size.
 *
 * Two parts. For good: per channel a gain and an offset that give the decoded pictures the contrast and the mean of the
 * real ones. Fading out over a second: what is left after that, as a map of cells of means, for what stands where it
 * stood. Both look at means of cells only, so that grain and sharpness do not count as contrast; contrast is that
 * between neighbouring cells, so that what changes slowly over the picture does not count either. Towards a trail all
 * of it goes over to what is known there, as fast.
 */
#ifndef AVFILTER_KLING_SEAM_H
#define AVFILTER_KLING_SEAM_H

#define KLING_SEAM_CELLS 16             /* across and down; fewer where there are fewer pixels */

/** A picture: rows of width_px floats without a gap, one plane per channel. */
typedef struct KlingPicture {
    float *data[3];                     /* R, G, B; one allocation that begins at data[0] */
    int width_px, height_px;
} KlingPicture;

/** 0 or AVERROR(ENOMEM); the contents are undefined. */
int  ff_kling_picture_alloc(KlingPicture *p, int width_px, int height_px);
void ff_kling_picture_free(KlingPicture *p);

typedef struct KlingSeamCells {
    float v[3][KLING_SEAM_CELLS][KLING_SEAM_CELLS];
} KlingSeamCells;

/** What is known at one end. Zeroed memory is a fresh one, which corrects nothing. */
typedef struct KlingSeamEnd {
    int nb;                             /* pairs of pictures seen */
    double sum[2][3];                   /* of cells, real and decoded */
    double step2[2][3];                 /* of the squares of differences between neighbouring cells */
    KlingSeamCells cells[2];            /* sums per cell */
    float gain[3], offset[3];           /* set by ff_kling_seam_solve() */
    KlingSeamCells map;                 /* likewise */
} KlingSeamEnd;

/** One picture that is known twice. decoded: planes with this stride in floats, of real's size. */
void ff_kling_seam_add(KlingSeamEnd *e, const KlingPicture *real, const float *const decoded[3], long stride);
/** After the last pair. Without a pair gain is 1, offset and map are 0. Limits: gain 1/2..2, map +-1/8. */
void ff_kling_seam_solve(KlingSeamEnd *e);

/** Corrects a new picture in place. lead_map: how much of the lead's map is added, 0..1. trail_part: how much of
 *  gain and offset is the trail's, and how much of its map is added, 0..1; trail is not read when it is 0. Values are
 *  not clipped. */
void ff_kling_seam_apply(const KlingSeamEnd *lead, const KlingSeamEnd *trail, KlingPicture *p, double lead_map,
                         double trail_part);
/** How much of a map is left at `distance` pictures from the known one when it fades over `length`: half a period of
 *  a cosine. */
double ff_kling_seam_fade(int distance, int length);

/* ---- what can be followed -------------------------------------------------------------------------------- */

/** Where the detail of a known picture has gone in a new one. Planes of the picture's size. */
typedef struct KlingKept {
    float *keep;                        /* how much of it is here, 0..1; one allocation that begins here */
    float *dx, *dy;                     /* it lay at (x + dx, y + dy) in the known picture */
} KlingKept;

/** 0 or AVERROR(ENOMEM); keeps nothing. */
int  ff_kling_kept_alloc(KlingKept *k, int width_px, int height_px);
void ff_kling_kept_free(KlingKept *k);

/** What is known at one end of detail that goes along. Colour matched, a decoded picture still lacks what the VAE lost:
 *  grain, fine lines, sharp edges. Where a new picture shows what the known one did, in the same place or moved, the
 *  difference between the real and the decoded known one is added to it, so that a background goes on as it was, and
 *  what moves loses its sharpness by and by and not at once. What has gone where is told from decoded pictures alone,
 *  which have the same losses: blocks are looked for around where they and their neighbours were in the picture before
 *  (G. de Haan et al., "True-motion estimation with 3-D recursive search block matching", 1993). Zeroed memory is a
 *  fresh one. */
typedef struct KlingFollow {
    KlingPicture seen;                  /* the known picture nearest to the seam, as it was decoded */
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
 *  to 2/255 and not at all from 8/255. Of that the least around a pixel, as what is lost at an edge lies on both of its
 *  sides and would stay behind as a line where the thing has gone. for_good: what has been lost once stays lost;
 *  pictures are then looked at in order, away from the known one. part scales it all. */
void ff_kling_follow_look(KlingFollow *f, const KlingPicture *decoded, int for_good, double part, KlingKept *kept);
/** p, a new picture with its colour corrected, becomes `full` plus what it lacks there, as much as kept says. full: the
 *  same picture with its colour corrected in full, as next to the known one. */
void ff_kling_follow_apply(const KlingFollow *f, KlingPicture *p, const KlingPicture *full, const KlingKept *kept);

#endif /* AVFILTER_KLING_SEAM_H */
