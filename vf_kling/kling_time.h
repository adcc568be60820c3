/*
 * Between the rate of the footage and the model's: how long a frame is, where a frame lies among the model's pictures.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Arithmetic only, exact in rationals.
 */
#ifndef AVFILTER_KLING_TIME_H
#define AVFILTER_KLING_TIME_H

#include <stdint.h>

#include "libavutil/rational.h"

enum KlingResample {
    KLING_RESAMPLE_BLEND,               /* a mix of the two pictures that a frame lies between */
    KLING_RESAMPLE_NEAREST,             /* the nearer one */
};

/** The spacing of the footage's frames in seconds. `rate` is what the link says, 0/1 when it says nothing; `median` is
 *  that of the last spacings in units of tb, 0 when there is only one frame. The link is believed while what was seen
 *  is within a tick or a tenth of a frame of it; variable rates go on at the median. Without either it is 1/25. */
AVRational ff_kling_time_spacing(AVRational rate, int64_t median, AVRational tb);

/** New frames and the model's pictures. Frame n of 1..frames lies n * step pictures after the last real frame; the
 *  first new picture is at 1. */
typedef struct KlingTime {
    int frames;                         /* of the footage's rate */
    int pictures;                       /* that the model makes for them */
    AVRational step;                    /* pictures per frame */
} KlingTime;

/** For `frames` new frames that lead nowhere: at the footage's speed, the last picture lies at the last frame or
 *  after it. model_rate is that of the pictures. Returns AVERROR(EINVAL) when there are too many. */
int ff_kling_time_open_end(KlingTime *t, int frames, AVRational spacing, AVRational model_rate);
/** For frames that arrive at a known one, which would be number frames + 1: a multiple of `multiple` pictures, the one
 *  nearest to the footage's speed, evenly spread over the frames. */
int ff_kling_time_to_trail(KlingTime *t, int frames, AVRational spacing, AVRational model_rate, int multiple);
/** Where frame n lies: *part in [0, 1) of the way from picture *at to the next one. Picture 0 is the last real one;
 *  the one after the last is the first of the trail. With KLING_RESAMPLE_NEAREST *part is 0 and *at a new picture. */
void ff_kling_time_at(const KlingTime *t, int n, enum KlingResample mode, int *at, double *part);
/** The time of frame n, `spacing` seconds each, in units of tb from 0; neighbours may be equal where tb is coarse. */
int64_t ff_kling_time_pts(int n, AVRational spacing, AVRational tb);

#endif /* AVFILTER_KLING_TIME_H */
