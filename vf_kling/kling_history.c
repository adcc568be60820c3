/*
 * The frames of a footage that a clip goes on from or arrives at.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "kling_compat.h"

#include "libavutil/common.h"
#include "libavutil/error.h"
#include "libavutil/qsort.h"

#include "kling_history.h"

void ff_kling_history_init(KlingHistory *h, enum KlingHistoryEnd end, AVRational time_base, double span)
{
    ff_kling_history_free(h);
    *h = (KlingHistory){ .end = end, .time_base = time_base, .span = span };
}

static void drop(KlingHistory *h, int n)
{
    for (int i = 0; i < n; i++)
        av_frame_free(&h->frame[i]);
    h->nb -= n;
    memmove(h->frame, h->frame + n, h->nb * sizeof(*h->frame));
    memmove(h->time, h->time + n, h->nb * sizeof(*h->time));
}

void ff_kling_history_free(KlingHistory *h)
{
    drop(h, h->nb);
}

AVFrame *ff_kling_history_take(KlingHistory *h)
{
    AVFrame *frame = h->nb ? h->frame[0] : NULL;

    h->frame[0] = NULL;
    drop(h, FFMIN(h->nb, 1));
    return frame;
}

static int compare(const int64_t *a, const int64_t *b)
{
    return FFDIFFSIGN(*a, *b);
}

int64_t ff_kling_history_spacing(const KlingHistory *h)
{
    int64_t sorted[KLING_SPACINGS];

    if (!h->nb_spacings)
        return 0;
    memcpy(sorted, h->spacing, sizeof(sorted));
    AV_QSORT(sorted, h->nb_spacings, int64_t, compare);
    return sorted[h->nb_spacings / 2];
}

/* Frames without a time follow at the spacing seen so far; time never goes back. */
static int64_t note_time(KlingHistory *h, const AVFrame *frame)
{
    int64_t t = frame->pts, d;

    if (!h->nb_added++)
        return h->last_time = t == AV_NOPTS_VALUE ? 0 : t;
    if (t == AV_NOPTS_VALUE)
        t = h->last_time + FFMAX(ff_kling_history_spacing(h), 1);
    t = FFMAX(t, h->last_time + 1);
    d = t - h->last_time;
    h->spacing[h->next_spacing] = d;
    h->next_spacing = (h->next_spacing + 1) % KLING_SPACINGS;
    h->nb_spacings  = FFMIN(h->nb_spacings + 1, KLING_SPACINGS);
    return h->last_time = t;
}

static double seconds(const KlingHistory *h, int from, int to)
{
    return (h->time[to] - h->time[from]) * av_q2d(h->time_base);
}

int ff_kling_history_full(const KlingHistory *h)
{
    return h->end == KLING_HISTORY_FIRST &&
           (h->closed || h->nb == KLING_HISTORY_MAX || (h->nb && seconds(h, 0, h->nb - 1) >= h->span));
}

int ff_kling_history_add(KlingHistory *h, const AVFrame *frame)
{
    const int64_t t = note_time(h, frame);
    const AVFrame *like = h->nb ? h->frame[0] : frame;
    const int other = frame->width != like->width || frame->height != like->height || frame->format != like->format;
    AVFrame *ref;

    if (h->end == KLING_HISTORY_FIRST && (other || ff_kling_history_full(h))) {
        h->closed = 1;
        return 0;
    }
    if (other)
        drop(h, h->nb);
    if (!(ref = av_frame_clone(frame)))
        return AVERROR(ENOMEM);
    if (h->nb == KLING_HISTORY_MAX)
        drop(h, 1);
    h->frame[h->nb] = ref;
    h->time[h->nb++] = t;
    while (h->end == KLING_HISTORY_LAST && h->nb > 1 && seconds(h, 1, h->nb - 1) >= h->span)
        drop(h, 1);
    return 1;
}

int ff_kling_history_count(const KlingHistory *h, double step, double frame_spacing)
{
    return h->nb ? 1 + (int)((seconds(h, 0, h->nb - 1) + frame_spacing / 2) / step) : 0;
}

const AVFrame *ff_kling_history_at(const KlingHistory *h, double age)
{
    const int last = h->end == KLING_HISTORY_LAST;
    int best = last ? h->nb - 1 : 0;
    double error = INFINITY;

    for (int i = 0; i < h->nb; i++) {
        const double e = fabs((last ? seconds(h, i, h->nb - 1) : seconds(h, 0, i)) - age);

        if (e < error) {
            error = e;
            best  = i;
        }
    }
    return h->frame[best];
}
