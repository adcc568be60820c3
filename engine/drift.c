/*
 * Holds the colours of a long clip's later windows to those of its first.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "drift.h"

#include <math.h>

/* At most so much is taken back in one window: what differs more is another scene, or something bright that came into
 * the picture, and following it would be seen. */
#define MAX_OFFSET   (8.0 / 255)
#define MAX_LOG_GAIN 0.1
#define MIN_DEVIATION 1e-3              /* of a plain area: there is no contrast to hold */

static double clamp(double x, double limit)
{
    return fmin(fmax(x, -limit), limit);
}

static double mean(const KlColours *s, int c)
{
    return s->sum[c] / (double)s->n;
}

static double deviation(const KlColours *s, int c)
{
    const double m = mean(s, c);

    return sqrt(fmax(s->squares[c] / (double)s->n - m * m, 0));
}

void kl_drift_window(KlDrift *k, bool afresh)
{
    const KlColours last = k->now;

    k->now = (KlColours){ .n = 0 };
    if (!k->started && last.n) {
        k->first = last;
        k->started = true;
    }
    for (int c = 0; c < 3; c++) {
        k->centre[c] = k->offset[c] = k->log_gain[c] = 0;
        if (afresh || !last.n)
            continue;
        k->centre[c] = mean(&last, c);
        k->offset[c] = clamp(k->strength * (mean(&k->first, c) - mean(&last, c)), MAX_OFFSET);
        if (deviation(&last, c) > MIN_DEVIATION && deviation(&k->first, c) > MIN_DEVIATION)
            k->log_gain[c] = clamp(k->strength * log(deviation(&k->first, c) / deviation(&last, c)), MAX_LOG_GAIN);
    }
    if (afresh)
        k->started = false;
}

void kl_drift_picture(KlDrift *k, float *rgb, int64_t n, double at)
{
    if (!(k->strength > 0))
        return;
    for (int c = 0; c < 3; c++) {
        const float centre = (float)k->centre[c], gain = (float)exp(at * k->log_gain[c]);
        const float offset = (float)(k->centre[c] + at * k->offset[c]);
        const bool change = k->offset[c] != 0 || k->log_gain[c] != 0;
        float *x = rgb + c * n;
        double sum = 0, squares = 0;

        for (int64_t i = 0; i < n; i++) {
            if (change)
                x[i] = fminf(fmaxf((x[i] - centre) * gain + offset, 0), 1);
            sum += x[i];
            squares += (double)x[i] * x[i];
        }
        k->now.sum[c] += sum;
        k->now.squares[c] += squares;
    }
    k->now.n += n;
}
