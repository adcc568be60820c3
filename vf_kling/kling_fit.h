/*
 * Between the footage's frames and the model's pictures: size, pixel format, colour.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Goes through libswscale and 16-bit planar RGB, by the frame's own matrix, range and chroma location; the way back is
 * the exact opposite, so that what the tags do not say (BT.709 from 720 lines on, else BT.601; limited range; chroma
 * on the left) cancels out. Primaries and transfer are not converted: the model sees the footage's code values.
 * Towards 8 bits ordered dither is applied. Alpha becomes opaque.
 */
#ifndef AVFILTER_KLING_FIT_H
#define AVFILTER_KLING_FIT_H

#include <kling/kling.h>

#include "libavutil/frame.h"
#include "libavutil/pixfmt.h"
#include "libavutil/rational.h"

#include "kling_follow.h"

/** Whether frames of this format can be read and written with all of their quality. */
int ff_kling_fit_supports(enum AVPixelFormat format);

/** The size to generate at for footage of width x height with this sample aspect ratio (0/1: square): multiples of
 *  the model's, as near as can be to the footage's shape on the screen and to the area of the model's own size. */
void ff_kling_fit_size(const KlingModelInfo *info, int width, int height, AVRational sar, int *width_px,
                       int *height_px);

typedef struct KlingFitWay KlingFitWay;

/** Zeroed memory is a fresh one; it keeps the scalers from one frame to the next. */
typedef struct KlingFit {
    KlingFitWay *in, *out;
} KlingFit;

void ff_kling_fit_free(KlingFit *f);
/** Fills p, of the model's size, from a frame of any size. Values are in [0, 1]. Returns 0 or an AVERROR, and has
 *  logged one line then; so does the next. */
int ff_kling_fit_in(void *log, KlingFit *f, KlingPicture *p, const AVFrame *frame);
/** Fills a frame whose buffers, size, format and colour properties are set. Values are clipped to [0, 1]; NaN is 0. */
int ff_kling_fit_out(void *log, KlingFit *f, AVFrame *frame, const KlingPicture *p);

/* ---- detail finer than the model's pictures -------------------------------------------------------------- */

/** A frame of the footage, and what is left of it after the way into the model's size and back. Where a new frame
 *  shows the same, the difference makes it as sharp as the footage. Zeroed memory is a fresh one. */
typedef struct KlingFitDetail {
    AVFrame *real, *plain;
} KlingFitDetail;

/** Takes a reference to real. scratch: a picture of the model's size, overwritten. Formats whose components do not lie
 *  in 8 or 16 bits each (float) are left alone: such a detail adds nothing. Returns 0 or an AVERROR, and has logged one
 *  line then. */
int  ff_kling_fit_detail_set(void *log, KlingFit *f, KlingFitDetail *d, const AVFrame *real, KlingPicture *scratch);
void ff_kling_fit_detail_free(KlingFitDetail *d);
/** Adds it to a frame that ff_kling_fit_out() has filled, if that has the same size, format and colour properties:
 *  `part` of what kept says, of the model's size. Alpha is not touched. */
void ff_kling_fit_detail_add(const KlingFitDetail *d, AVFrame *frame, const KlingKept *kept, int width_px,
                             int height_px, double part);

#endif /* AVFILTER_KLING_FIT_H */
