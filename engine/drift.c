/*
 * Holds the colours of a long clip's later windows to those of its first.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "drift.h"

#include <math.h>

/* At most so much in one window, by the seam and by the ramp: what differs more is another scene, or something bright
 * that came into the picture, and following it would be seen. */
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

static KlColours measure(const float *rgb, int64_t n)
{
    KlColours s = { .n = n };

    for (int c = 0; c < 3; c++)
        for (int64_t i = 0; i < n; i++) {
            const double x = rgb[c * n + i];

            s.sum[c] += x;
            s.squares[c] += x * x;
        }
    return s;
}

static void add(KlColours *to, const KlColours *s)
{
    for (int c = 0; c < 3; c++) {
        to->sum[c] += s->sum[c];
        to->squares[c] += s->squares[c];
    }
    to->n += s->n;
}

/* What brings `is` towards `want`. */
static KlColourChange change(double strength, const KlColours *is, const KlColours *want)
{
    KlColourChange d = { { 0 }, { 0 } };

    for (int c = 0; c < 3; c++) {
        d.offset[c] = clamp(strength * (mean(want, c) - mean(is, c)), MAX_OFFSET);
        if (deviation(is, c) > MIN_DEVIATION && deviation(want, c) > MIN_DEVIATION)
            d.log_gain[c] = clamp(strength * log(deviation(want, c) / deviation(is, c)), MAX_LOG_GAIN);
    }
    return d;
}

void kl_drift_window(KlDrift *k, bool afresh)
{
    const KlColours last = k->now;

    k->now = (KlColours){ .n = 0 };
    k->seam = k->ramp = (KlColourChange){ { 0 }, { 0 } };
    if (afresh || !last.n) {            /* the window that begins will be the first */
        k->started = k->at_seam = false;
        return;
    }
    if (!k->started)
        k->first = last;
    k->started = k->at_seam = true;
    k->ramp = change(k->strength, &last, &k->first);
}

static void apply(const KlDrift *k, float *rgb, int64_t n, double at)
{
    for (int c = 0; c < 3; c++) {
        const float centre = (float)k->centre[c];
        const float gain = (float)exp(k->seam.log_gain[c] + at * k->ramp.log_gain[c]);
        const float to = (float)(k->centre[c] + k->seam.offset[c] + at * k->ramp.offset[c]);
        float *x = rgb + c * n;

        for (int64_t i = 0; i < n; i++)
            x[i] = fminf(fmaxf((x[i] - centre) * gain + to, 0), 1);
    }
}

void kl_drift_picture(KlDrift *k, float *rgb, int64_t n, double at)
{
    KlColours s;

    if (!(k->strength > 0))
        return;
    s = measure(rgb, n);
    if (k->at_seam) {
        k->seam = change(k->strength, &s, &k->edge);
        for (int c = 0; c < 3; c++)
            k->centre[c] = mean(&s, c);
        k->at_seam = false;
    }
    if (k->started) {
        apply(k, rgb, n, at);
        s = measure(rgb, n);
    }
    add(&k->now, &s);
    k->edge = s;
}
