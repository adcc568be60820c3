/*
 * From the engine's pictures to AVFrames: sample formats, colour tags.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef AVFILTER_KLING_FRAME_OUT_H
#define AVFILTER_KLING_FRAME_OUT_H

#include <kling/kling.h>

#include "libavutil/frame.h"
#include "libavutil/pixfmt.h"

/** The pixel formats that ff_kling_frame_fill() writes, the preferred one first; ends with AV_PIX_FMT_NONE. */
extern const enum AVPixelFormat ff_kling_pix_fmts[];

/** What to ask a job for so that its pictures have the samples of one of them. */
enum KlingFormat ff_kling_frame_format(enum AVPixelFormat format);

/** Copies src, of ff_kling_frame_format(dst->format), into the buffers of dst, which has src's size.
 *  Sets the colour properties: RGB, full range, BT.709 primaries, sRGB transfer. */
void ff_kling_frame_fill(AVFrame *dst, const KlingFrame *src);

#endif /* AVFILTER_KLING_FRAME_OUT_H */
