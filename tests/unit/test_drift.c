/*
 * The drift guard on made-up windows whose brightness and contrast creep.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>

#include "engine/drift.h"
#include "tests/check.h"

#define PIXELS 512
#define PICTURES 16

static float rgb[3 * PIXELS];

/* One picture as a model would make it that goes on from a level of brightness and contrast: the same pattern in every
 * channel, of mean 0.5 + level and deviation near 0.1 * contrast. */
static void paint(double level, double contrast)
{
    for (int i = 0; i < 3 * PIXELS; i++)
        rgb[i] = (float)(0.5 + level + 0.1 * contrast * sqrt(3) * ((i % PIXELS) * 2.0 / (PIXELS - 1) - 1));
}

static double mean(void)
{
    double sum = 0;

    for (int i = 0; i < PIXELS; i++)
        sum += rgb[i];
    return sum / PIXELS;
}

static double contrast(void)
{
    double m = mean(), sum = 0;

    for (int i = 0; i < PIXELS; i++)
        sum += (rgb[i] - m) * (rgb[i] - m);
    return sqrt(sum / PIXELS) / 0.1;
}

/* Windows that each start where the last one's pictures ended, or `jump` above, and add `creep` to the brightness; the
 * last picture's brightness, and the largest step between two pictures. */
static double chain(double strength, int windows, double jump, double creep, double *step)
{
    KlDrift k = { .strength = strength };
    double level = 0, before = 0;

    *step = 0;
    for (int w = 0; w < windows; w++) {
        const double start = level;

        kl_drift_window(&k, false);
        for (int i = 0; i < PICTURES; i++) {
            const double at = (i + 1.0) / PICTURES;

            paint(start + (w ? jump + creep * at : 0), 1);
            kl_drift_picture(&k, rgb, PIXELS, at);
            level = mean() - 0.5;
            if (w || i)
                *step = fmax(*step, fabs(level - before));
            before = level;
        }
    }
    return level;
}

static void test_brightness_settles(void)
{
    const double creep = 0.01;
    double step, end = chain(0, 21, 0, creep, &step);

    CHECK(fabs(end - 20 * creep) < 1e-5, "without a guard: %g", end);
    for (double strength = 0.25; strength <= 1; strength *= 2) {
        end = chain(strength, 200, 0, creep, &step);
        /* What is measured is the mean of a window, which lies half a creep and half a correction before its end. */
        CHECK(fabs(end - creep / strength) < 0.6 * creep, "guard %g: %g", strength, end);
        CHECK(step < 2 * 8.0 / 255 / PICTURES, "guard %g: a jump of %g", strength, step);
    }
}

/* What decoding and encoding again does to the brightness at every seam is taken back at the seam. */
static void test_seams(void)
{
    const double jump = 0.02;
    double step, end = chain(0, 21, jump, 0, &step);

    CHECK(fabs(end - 20 * jump) < 1e-5 && step > 0.99 * jump, "without a guard: %g, %g", end, step);
    end = chain(1, 200, jump, 0, &step);
    CHECK(fabs(end) < 1e-4 && step < 1e-4, "level %g, a jump of %g", end, step);
    end = chain(0.5, 200, jump, 0, &step);
    CHECK(fabs(end) < 2.1 * 0.5 * jump && step < 0.6 * jump, "level %g, a jump of %g", end, step);
}

static void test_contrast_is_held(void)
{
    KlDrift k = { .strength = 1 };
    double c = 1;

    for (int w = 0; w < 100; w++) {     /* each window has 3 % more contrast than the last one's end */
        const double start = c;

        kl_drift_window(&k, false);
        for (int i = 0; i < PICTURES; i++) {
            const double at = (i + 1.0) / PICTURES;

            paint(0, start * (w ? 1 + 0.03 * at : 1));
            kl_drift_picture(&k, rgb, PIXELS, at);
            c = contrast();
        }
    }
    CHECK(c > 1 && c < 1.06, "contrast %g", c);     /* 1.03^99 = 18.7 without a guard */
}

/* Another scene is not pulled back at once, and a new prompt is a new measure. */
static void test_limits(void)
{
    KlDrift k = { .strength = 1 };
    double m = 0;

    for (int w = 0; w < 2; w++) {
        kl_drift_window(&k, false);
        paint(0.1 * w, 1);
        kl_drift_picture(&k, rgb, PIXELS, 1);
    }
    kl_drift_window(&k, false);
    paint(0.1, 1);
    kl_drift_picture(&k, rgb, PIXELS, 1);
    m = mean();
    CHECK(fabs(m - (0.6 - 2 * 8.0 / 255)) < 1e-5, "mean %g", m);    /* by the seam and by the ramp */
    for (int w = 0; w < 3; w++) {
        kl_drift_window(&k, w == 0);
        paint(0.2, 1);
        kl_drift_picture(&k, rgb, PIXELS, 1);
        CHECK(fabs(mean() - 0.7) < 1e-5, "window %d after a new prompt: %g", w, mean());
    }
}

static void test_plain_pictures(void)
{
    KlDrift k = { .strength = 1 };

    for (int w = 0; w < 3; w++) {
        kl_drift_window(&k, false);
        paint(-0.5, 0);
        kl_drift_picture(&k, rgb, PIXELS, 1);
        for (int i = 0; i < 3 * PIXELS; i++)
            CHECK(rgb[i] == 0, "black is %g in window %d", rgb[i], w);
    }
}

static void test_off_touches_nothing(void)
{
    KlDrift k = { 0 };

    for (int w = 0; w < 3; w++) {
        kl_drift_window(&k, false);
        rgb[0] = 7;                     /* would be clamped */
        rgb[1] = 0.1f * (float)w;
        kl_drift_picture(&k, rgb, PIXELS, 1);
        CHECK(rgb[0] == 7 && rgb[1] == 0.1f * (float)w);
    }
}

int main(void)
{
    RUN(test_brightness_settles);
    RUN(test_seams);
    RUN(test_contrast_is_held);
    RUN(test_limits);
    RUN(test_plain_pictures);
    RUN(test_off_touches_nothing);
    return check_exit();
}
