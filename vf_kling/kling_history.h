/*
 * The frames of a footage that a clip goes on from or arrives at: its last ones or its first ones.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Holds references, no copies, and never more than KLING_HISTORY_MAX of them.
 */
#ifndef AVFILTER_KLING_HISTORY_H
#define AVFILTER_KLING_HISTORY_H

#include <stdint.h>

#include "libavutil/frame.h"
#include "libavutil/rational.h"

#define KLING_HISTORY_MAX 256
#define KLING_SPACINGS    32

enum KlingHistoryEnd {
    KLING_HISTORY_LAST,
    KLING_HISTORY_FIRST,
};

typedef struct KlingHistory {
    enum KlingHistoryEnd end;
    AVRational time_base;
    double span;                        /* seconds between the first and the last frame that is needed */
    AVFrame *frame[KLING_HISTORY_MAX];  /* in order of time, all of one size and format */
    int64_t time[KLING_HISTORY_MAX];    /* increasing, in time_base: pts, or what stands in for a missing one */
    int nb;
    int closed;                         /* a frame of another kind has come: no more first ones */
    int64_t last_time;                  /* of the last frame that was added, kept or not */
    int64_t nb_added;
    int64_t spacing[KLING_SPACINGS];    /* the last ones seen, a ring of nb_spacings */
    int nb_spacings, next_spacing;
} KlingHistory;

/** Keeps the last or the first `span` seconds. */
void ff_kling_history_init(KlingHistory *h, enum KlingHistoryEnd end, AVRational time_base, double span);
/** Frees the frames; what was seen of their times stays. */
void ff_kling_history_free(KlingHistory *h);
/** Takes a reference if the frame is needed. A frame of another size or format makes those before it worthless:
 *  of the last frames they are dropped; of the first ones it is the end. 1 when the frame was kept, 0 when it was
 *  not, AVERROR(ENOMEM). */
int  ff_kling_history_add(KlingHistory *h, const AVFrame *frame);
/** The first frame held, which is the caller's from here on; NULL when there is none. */
AVFrame *ff_kling_history_take(KlingHistory *h);
/** Whether the first frames are all there; of the last ones it cannot be said. */
int  ff_kling_history_full(const KlingHistory *h);
/** How many pictures, `step` seconds apart, lie between the first and the last frame held; half a frame of the
 *  footage may be missing. 0 when there is none. */
int  ff_kling_history_count(const KlingHistory *h, double step, double frame_spacing);
/** The frame nearest to `seconds` before the last one held (after the first one, of the first frames). */
const AVFrame *ff_kling_history_at(const KlingHistory *h, double seconds);
/** The median of the last spacings, in time_base; 0 when there was none. */
int64_t ff_kling_history_spacing(const KlingHistory *h);

#endif /* AVFILTER_KLING_HISTORY_H */
