/*
 * Between the rate of the footage and the model's.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <errno.h>
#include <limits.h>
#include <math.h>

#include "libavutil/common.h"
#include "libavutil/error.h"
#include "libavutil/mathematics.h"

#include "kling_time.h"

AVRational ff_kling_time_spacing(AVRational rate, int64_t median, AVRational tb)
{
    AVRational seen = { 0, 1 };

    if (median > 0)
        av_reduce(&seen.num, &seen.den, median * tb.num, tb.den, INT_MAX);
    if (rate.num > 0 && rate.den > 0) {
        const AVRational said = av_inv_q(rate);
        const double slack = FFMAX(av_q2d(tb), av_q2d(said) / 10);

        if (!seen.num || fabs(av_q2d(seen) - av_q2d(said)) <= slack * (1 + 1e-9))
            return said;
    }
    return seen.num > 0 && seen.den > 0 ? seen : (AVRational){ 1, 25 };
}

/* spacing x rate, with small terms so that frames x step stays within int64_t */
static int set_step(KlingTime *t, int frames, AVRational spacing, AVRational model_rate)
{
    *t = (KlingTime){ .frames = frames };
    av_reduce(&t->step.num, &t->step.den, spacing.num * (int64_t)model_rate.num,
              spacing.den * (int64_t)model_rate.den, INT_MAX);
    return t->step.num > 0 && t->step.den > 0 && frames > 0 && frames < INT_MAX ? 0 : AVERROR(EINVAL);
}

int ff_kling_time_open_end(KlingTime *t, int frames, AVRational spacing, AVRational model_rate)
{
    int ret = set_step(t, frames, spacing, model_rate);
    int64_t n;

    if (ret < 0)
        return ret;
    n = (frames * (int64_t)t->step.num + t->step.den - 1) / t->step.den;
    if (n > INT_MAX)
        return AVERROR(EINVAL);
    t->pictures = FFMAX(n, 1);
    return 0;
}

int ff_kling_time_to_trail(KlingTime *t, int frames, AVRational spacing, AVRational model_rate, int multiple)
{
    int ret = set_step(t, frames, spacing, model_rate);
    double n;

    if (ret < 0)
        return ret;
    n = rint(((frames + 1.0) * av_q2d(t->step) - 1) / multiple) * multiple;
    if (n > INT_MAX - 1)
        return AVERROR(EINVAL);
    t->pictures = FFMAX(n, multiple);
    av_reduce(&t->step.num, &t->step.den, t->pictures + INT64_C(1), frames + INT64_C(1), INT_MAX);
    return 0;
}

void ff_kling_time_at(const KlingTime *t, int n, enum KlingResample mode, int *at, double *part)
{
    const int64_t x = n * (int64_t)t->step.num;

    if (mode == KLING_RESAMPLE_NEAREST) {
        *at   = av_clip64((x + t->step.den / 2) / t->step.den, 1, t->pictures);
        *part = 0;
    } else {
        *at   = x / t->step.den;
        *part = x % t->step.den / (double)t->step.den;
    }
}

int64_t ff_kling_time_pts(int n, AVRational spacing, AVRational tb)
{
    return av_rescale_q(n, spacing, tb);
}
