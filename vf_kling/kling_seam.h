/*
 * Colour across the seam between footage and generated pictures.
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

#endif /* AVFILTER_KLING_SEAM_H */
