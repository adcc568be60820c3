/*
 * The last few pictures of a video, in host memory.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_PICTURES_H
#define KL_PICTURES_H

#include "common.h"

typedef struct KlPictures {
    int width_px, height_px;
    float **pic;                        /* [cap]: pic[0..n) are planes R, G, B in [0,1], dense, oldest first */
    int n, cap;
} KlPictures;

/** Room for cap pictures, allocated as they come. */
int  kl_pictures_create(KlDiag *d, KlPictures *p, int width_px, int height_px, int cap);
void kl_pictures_free(KlPictures *p);
/** The picture after pic[n-1], for the caller to fill: its memory, when all room is taken, is that of the oldest one,
 *  which is gone. NULL with d's error when out of memory. */
float *kl_pictures_next(KlDiag *d, KlPictures *p);
/** dst of the size of p from f, which may be smaller: x0, y0 of dst is f's first pixel, edges are repeated outwards.
 *  Values outside [0,1] are clamped, what is not a number becomes 0. */
void kl_pictures_pad(const KlPictures *p, float *dst, const KlingFrame *f, int x0, int y0);

#endif /* KL_PICTURES_H */
