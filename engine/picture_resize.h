/*
 * Bicubic resizing of 8-bit pictures, bit for bit as Pillow does it.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * An image encoder was trained on pictures that came through Pillow: what it
 * sees of a picture is made in the same way. Runs on the host; knows no model.
 */
#ifndef KL_PICTURE_RESIZE_H
#define KL_PICTURE_RESIZE_H

#include "common.h"

typedef struct KlResize {
    const float *rgb[3];                /* planes R, G, B in [0,1], rounded to 8 bits on the way in */
    ptrdiff_t stride;                   /* of a plane's rows, in floats */
    int width_px, height_px;            /* of the picture, 1..16384 */
    int to_width_px, to_height_px;      /* of the resized picture, >= 1 */
    int x_px, y_px;                     /* where in that the wanted part begins */
    int part_width_px, part_height_px;  /* lies within it */
} KlResize;

/** out[part_height_px,part_width_px,3] = that part of Image.resize((to_width_px, to_height_px), BICUBIC). */
int kl_picture_resize(KlDiag *d, const KlResize *r, uint8_t *out);

#endif /* KL_PICTURE_RESIZE_H */
