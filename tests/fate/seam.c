/*
 * Colour and detail across the seam between footage and generated pictures, with decoders whose errors are known.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <libavfilter/kling_follow.h>

#include "../check.h"

#define W 52
#define H 38

/* What a test cannot go on without. */
static void need(int cond)
{
    if (!cond) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
}

static double noise(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) / (double)(1 << 24);
}

/* A smooth scene with some grain, another one for each seed. */
static void scene(KlingPicture *p, unsigned seed)
{
    unsigned s = seed;

    for (int c = 0; c < 3; c++)
        for (int y = 0; y < p->height_px; y++)
            for (int x = 0; x < p->width_px; x++)
                p->data[c][y * p->width_px + x] = 0.45 + 0.2 * sin(0.11 * x + 0.3 * seed + c) *
                                                  cos(0.09 * y + c) + 0.05 * (noise(&s) - 0.5);
}

typedef double (*Distort)(double v, int c, int x, int y);

static double shift(double v, int c, int x, int y)
{
    return v * (0.9 + 0.05 * c) + 0.03 * (c - 1) + 0 * (x + y);
}

static double vignette(double v, int c, int x, int y)
{
    return v + 0.05 * x / W - 0.04 * y / H + 0 * c;
}

static double grain(double v, int c, int x, int y)
{
    return v + ((x + y) % 2 ? 0.1 : -0.1) + 0 * c;
}

static double nothing(double v, int c, int x, int y)
{
    return v + 0 * (c + x + y);
}

static void distort(KlingPicture *dst, const KlingPicture *src, Distort fn)
{
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                dst->data[c][y * W + x] = fn(src->data[c][y * W + x], c, x, y);
}

static double worst(const KlingPicture *a, const KlingPicture *b)
{
    double w = 0;

    for (int i = 0; i < 3 * a->width_px * a->height_px; i++)
        w = fmax(w, fabs(a->data[0][i] - b->data[0][i]));
    return w;
}

/* What a decoder with this distortion leaves of a new picture after the correction: the worst pixel. */
static double corrected(Distort fn, double lead_map, int pairs)
{
    KlingPicture real, seen;
    KlingSeamEnd e = { 0 };
    double w;

    need(ff_kling_picture_alloc(&real, W, H) >= 0 && ff_kling_picture_alloc(&seen, W, H) >= 0);
    for (int i = 0; i < pairs; i++) {
        scene(&real, i);
        distort(&seen, &real, fn);
        ff_kling_seam_add(&e, &real, (const float *const *)seen.data, W);
    }
    ff_kling_seam_solve(&e);
    scene(&real, 99);
    distort(&seen, &real, fn);
    ff_kling_seam_apply(&e, &e, &seen, lead_map, 0);
    w = worst(&real, &seen);
    ff_kling_picture_free(&real);
    ff_kling_picture_free(&seen);
    return w;
}

static void test_seam_identity(void)
{
    CHECK(corrected(nothing, 1, 3) == 0, "a model without error is corrected");
    CHECK(corrected(nothing, 0, 3) == 0);
    CHECK(corrected(nothing, 1, 0) == 0, "nothing known, yet corrected");
}

static void test_seam_shift(void)
{
    /* gain and offset are found exactly but for float */
    CHECK(corrected(shift, 0, 3) < 1e-5, "%g", corrected(shift, 0, 3));
    CHECK(corrected(shift, 1, 3) < 1e-5, "%g", corrected(shift, 1, 3));
}

static void test_seam_map(void)
{
    /* within a cell of 3 pixels the gradient is 0.05 * 3 / W; at the borders the map is flat for half a cell more */
    CHECK(corrected(vignette, 1, 3) < 0.012, "%g", corrected(vignette, 1, 3));
    CHECK(corrected(vignette, 0, 3) > 0.03, "%g: gain and offset alone cannot", corrected(vignette, 0, 3));
}

static void test_seam_grain(void)
{
    /* cells of an odd number of pixels keep 1/9 of the grain in their mean; a gain of the pixels would be 0.8 */
    CHECK(fabs(corrected(grain, 0, 3) - 0.1) < 0.01, "%g", corrected(grain, 0, 3));
}

static void test_seam_limits(void)
{
    KlingPicture real, seen;
    KlingSeamEnd e = { 0 };

    REQUIRE(ff_kling_picture_alloc(&real, W, H) >= 0 && ff_kling_picture_alloc(&seen, W, H) >= 0);
    scene(&real, 1);
    for (int i = 0; i < 3 * W * H; i++)
        seen.data[0][i] = 0.5;
    ff_kling_seam_add(&e, &real, (const float *const *)seen.data, W);
    ff_kling_seam_solve(&e);
    for (int c = 0; c < 3; c++) {
        CHECK(e.gain[c] == 1, "a flat picture has no contrast to match: %g", e.gain[c]);
        for (int i = 0; i < KLING_SEAM_CELLS * KLING_SEAM_CELLS; i++)
            CHECK(fabsf(e.map.v[c][i / KLING_SEAM_CELLS][i % KLING_SEAM_CELLS]) <= 0.125f);
    }
    e = (KlingSeamEnd){ 0 };
    for (int i = 0; i < 3 * W * H; i++)
        seen.data[0][i] = 0.5 + 0.1 * (real.data[0][i] - 0.5);
    ff_kling_seam_add(&e, &real, (const float *const *)seen.data, W);
    ff_kling_seam_solve(&e);
    CHECK(e.gain[1] == 2, "gain %g", e.gain[1]);
    ff_kling_picture_free(&real);
    ff_kling_picture_free(&seen);
}

static void test_seam_trail(void)
{
    KlingPicture real, seen;
    KlingSeamEnd lead = { 0 }, trail = { 0 };

    REQUIRE(ff_kling_picture_alloc(&real, W, H) >= 0 && ff_kling_picture_alloc(&seen, W, H) >= 0);
    scene(&real, 1);
    ff_kling_seam_add(&lead, &real, (const float *const *)real.data, W);
    distort(&seen, &real, shift);
    ff_kling_seam_add(&trail, &real, (const float *const *)seen.data, W);
    ff_kling_seam_solve(&lead);
    ff_kling_seam_solve(&trail);
    ff_kling_seam_apply(&lead, &trail, &seen, 0, 1);
    CHECK(worst(&real, &seen) < 1e-5, "at the trail: %g", worst(&real, &seen));
    distort(&seen, &real, nothing);
    ff_kling_seam_apply(&lead, &trail, &seen, 1, 0);
    CHECK(worst(&real, &seen) == 0, "at the lead");
    ff_kling_picture_free(&real);
    ff_kling_picture_free(&seen);
}

static void test_seam_fade(void)
{
    CHECK(ff_kling_seam_fade(0, 16) == 1 && ff_kling_seam_fade(16, 16) == 0 && ff_kling_seam_fade(40, 16) == 0);
    CHECK(ff_kling_seam_fade(0, 1) == 1 && ff_kling_seam_fade(1, 1) == 0);
    for (int i = 1; i <= 16; i++)
        CHECK(ff_kling_seam_fade(i, 16) < ff_kling_seam_fade(i - 1, 16), "%d", i);
}

/* ---- what can be followed ------------------------------------------------------------------------------------ */

/* Blurred, as a VAE does it, and darker. */
static void blur(KlingPicture *dst, const KlingPicture *src)
{
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                double sum = 0;

                for (int i = 0; i < 9; i++) {
                    const int u = x + i % 3 - 1, v = y + i / 3 - 1;

                    sum += src->data[c][(v < 0 ? 0 : v >= H ? H - 1 : v) * W + (u < 0 ? 0 : u >= W ? W - 1 : u)];
                }
                dst->data[c][y * W + x] = sum / 9 - 0.02;
            }
}

/* A light square on it. */
static void put_object(KlingPicture *p, int x0)
{
    for (int c = 0; c < 3; c++)
        for (int y = 10; y < 18; y++)
            for (int x = x0; x < x0 + 8; x++)
                p->data[c][y * W + x] = 0.95;
}

/* The scene with an object at x (none: -1), decoded, corrected as a continuation of the plain scene. */
static void go_on(KlingSeamEnd *e, KlingFollow *s, KlingPicture *p, KlingPicture *real, int x)
{
    KlingPicture full;
    KlingKept kept;

    need(ff_kling_picture_alloc(&full, W, H) >= 0 && ff_kling_kept_alloc(&kept, W, H) >= 0);
    scene(real, 5);
    if (x >= 0)
        put_object(real, x);
    blur(p, real);
    memcpy(full.data[0], p->data[0], sizeof(float) * 3 * W * H);
    ff_kling_follow_look(s, p, 1, 1, 0, &kept);
    ff_kling_seam_apply(e, e, p, 0, 0);
    ff_kling_seam_apply(e, e, &full, 1, 0);
    ff_kling_follow_apply(s, p, &full, &kept);
    ff_kling_kept_free(&kept);
    ff_kling_picture_free(&full);
}

static double difference(const KlingPicture *a, const KlingPicture *b, int x0, int x1)
{
    double w = 0;

    for (int c = 0; c < 3; c++)
        for (int y = 0; y < H; y++)
            for (int x = x0; x < x1; x++)
                w = fmax(w, fabs(a->data[c][y * W + x] - b->data[c][y * W + x]));
    return w;
}

/* One pixel that has changed: the mean of 3x3 differs around it, and what is next to that is not added either. */
static void check_around(KlingFollow *f, KlingPicture *p)
{
    KlingKept kept;
    int bad = 0;

    need(ff_kling_kept_alloc(&kept, W, H) >= 0);
    for (int c = 0; c < 3; c++)
        p->data[c][14 * W + 20] += 1;
    ff_kling_follow_look(f, p, 0, 0.5, 0, &kept);
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            bad += kept.keep[y * W + x] != (abs(x - 20) <= 2 && abs(y - 14) <= 2 ? 0 : 0.5f);
    CHECK(!bad, "%d pixels", bad);
    ff_kling_kept_free(&kept);
}

static void test_still(void)
{
    KlingPicture real, p, plain;
    KlingSeamEnd e = { 0 };
    KlingFollow s = { 0 };
    KlingKept kept;

    need(ff_kling_picture_alloc(&real, W, H) >= 0 && ff_kling_picture_alloc(&p, W, H) >= 0 &&
         ff_kling_picture_alloc(&plain, W, H) >= 0);
    scene(&real, 5);
    blur(&p, &real);
    ff_kling_seam_add(&e, &real, (const float *const *)p.data, W);
    ff_kling_seam_solve(&e);
    REQUIRE(ff_kling_follow_set(&s, &real, (const float *const *)p.data, W) >= 0);
    REQUIRE(ff_kling_follow_solve(&s, &e) >= 0);
    check_around(&s, &p);

    go_on(&e, &s, &p, &real, -1);
    CHECK(difference(&p, &real, 0, W) < 1e-6, "what stands still has lost %g", difference(&p, &real, 0, W));
    go_on(&e, &s, &p, &real, 8);
    CHECK(difference(&p, &real, 22, W) < 1e-6, "beside the object: %g", difference(&p, &real, 22, W));
    /* on the object it is as without this: nothing of the scene behind it shines through */
    blur(&plain, &real);
    ff_kling_seam_apply(&e, &e, &plain, 0, 0);
    CHECK(fabs(p.data[1][14 * W + 12] - plain.data[1][14 * W + 12]) < 1e-6);
    /* it has gone on: where it was, the old detail does not come back */
    go_on(&e, &s, &p, &real, 30);
    blur(&plain, &real);
    ff_kling_seam_apply(&e, &e, &plain, 0, 0);
    CHECK(fabs(p.data[1][14 * W + 12] - plain.data[1][14 * W + 12]) < 1e-6);
    CHECK(difference(&p, &real, 44, W) < 1e-6);
    /* everything moves: nothing is added any more */
    for (int i = 0; i < 3 * W * H; i++)
        p.data[0][i] = 1 - p.data[0][i];
    need(ff_kling_kept_alloc(&kept, W, H) >= 0);
    ff_kling_follow_look(&s, &p, 1, 1, 0, &kept);
    CHECK(!s.any);
    for (int i = 0; i < W * H; i++)
        CHECK(!kept.keep[i], "pixel %d is kept", i);
    ff_kling_kept_free(&kept);
    ff_kling_follow_free(&s);
    ff_kling_picture_free(&real);
    ff_kling_picture_free(&p);
    ff_kling_picture_free(&plain);
}

/* A wall of waves that has gone (dx, dy) to the right and down. */
static void wall(KlingPicture *p, double dx, double dy)
{
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                const double u = x - dx, v = y - dy;

                p->data[c][y * W + x] = 0.5 + 0.08 * (sin(1.1 * u + 0.3 * v + c) + sin(0.8 * v - 0.5 * u) +
                                                      sin(0.23 * u + 0.31 * v) + sin(0.45 * u - 0.62 * v) +
                                                      sin(0.61 * u + 0.92 * v));
            }
}

static double inside(const KlingPicture *a, const KlingPicture *b, int margin)
{
    double sum = 0;
    int nb = 0;

    for (int c = 0; c < 3; c++)
        for (int y = margin; y < H - margin; y++)
            for (int x = margin; x < W - margin; x++, nb++)
                sum += fabs(a->data[c][y * W + x] - b->data[c][y * W + x]);
    return sum / nb;
}

/* The camera pans by whole pixels and by parts of them: most of the lost detail comes along. */
static void test_follow_pan(void)
{
    static const double step[][2] = { { 2, 0 }, { -3, 1 }, { 1.5, 0.75 }, { 0.3, -0.4 } };
    KlingPicture real, p, plain;

    need(ff_kling_picture_alloc(&real, W, H) >= 0 && ff_kling_picture_alloc(&p, W, H) >= 0 &&
         ff_kling_picture_alloc(&plain, W, H) >= 0);
    for (int t = 0; t < 4; t++) {
        KlingSeamEnd e = { .gain = { 1, 1, 1 }, .offset = { 0.02, 0.02, 0.02 } };
        KlingFollow f = { 0 };
        KlingKept kept;

        need(ff_kling_kept_alloc(&kept, W, H) >= 0);
        wall(&real, 0, 0);
        blur(&p, &real);
        REQUIRE(ff_kling_follow_set(&f, &real, (const float *const *)p.data, W) >= 0);
        REQUIRE(ff_kling_follow_solve(&f, &e) >= 0);
        for (int i = 1; i <= 4; i++) {
            double without, with;

            wall(&real, i * step[t][0], i * step[t][1]);
            blur(&p, &real);
            ff_kling_follow_look(&f, &p, 1, 1, 0, &kept);
            ff_kling_seam_apply(&e, &e, &p, 1, 0);
            memcpy(plain.data[0], p.data[0], sizeof(float) * 3 * W * H);
            ff_kling_follow_apply(&f, &p, &plain, &kept);
            without = inside(&plain, &real, 14);
            with    = inside(&p, &real, 14);
            CHECK(with < (t < 2 && i < 3 ? 1e-3 : t < 2 ? 0.3 * without : 0.45 * without),
                  "step %g, %g, picture %d: %g, %g without", step[t][0], step[t][1], i, with, without);
            CHECK(fabs(kept.dx[H / 2 * W + W / 2] + i * step[t][0]) < 0.2 &&
                  fabs(kept.dy[H / 2 * W + W / 2] + i * step[t][1]) < 0.2, "step %g, %g, picture %d: %g %g", step[t][0],
                  step[t][1], i, kept.dx[H / 2 * W + W / 2], kept.dy[H / 2 * W + W / 2]);
        }
        ff_kling_kept_free(&kept);
        ff_kling_follow_free(&f);
    }
    ff_kling_picture_free(&real);
    ff_kling_picture_free(&p);
    ff_kling_picture_free(&plain);
}

/* Next to the known picture the model's unrest is mostly held back, further away it is not, and an object never is. */
static void test_near(void)
{
    static const struct { double near, unrest, left; } tries[] = {
        { 1, 0.03, 0.4 }, { 1, -0.03, 0.4 }, { 0.5, 0.015, 0.7 }, { 0, 0.006, 1 },
    };
    KlingPicture real, p, plain;

    need(ff_kling_picture_alloc(&real, W, H) >= 0 && ff_kling_picture_alloc(&p, W, H) >= 0 &&
         ff_kling_picture_alloc(&plain, W, H) >= 0);
    wall(&real, 0, 0);
    for (int t = 0; t < 4; t++) {
        KlingSeamEnd e = { .gain = { 1, 1, 1 }, .offset = { 0.02, 0.02, 0.02 } };
        KlingFollow f = { 0 };
        KlingKept kept;

        need(ff_kling_kept_alloc(&kept, W, H) >= 0);
        blur(&p, &real);
        REQUIRE(ff_kling_follow_set(&f, &real, (const float *const *)p.data, W) >= 0);
        REQUIRE(ff_kling_follow_solve(&f, &e) >= 0);
        for (int i = 0; i < 3 * W * H; i++)
            p.data[0][i] += tries[t].unrest;
        put_object(&p, 30);
        ff_kling_follow_look(&f, &p, 1, 1, tries[t].near, &kept);
        ff_kling_seam_apply(&e, &e, &p, 1, 0);
        memcpy(plain.data[0], p.data[0], sizeof(float) * 3 * W * H);
        ff_kling_follow_apply(&f, &p, &plain, &kept);
        CHECK(fabs(p.data[1][14 * W + 8] - real.data[1][14 * W + 8] - tries[t].left * tries[t].unrest) < 1e-5,
              "try %d: %g of %g", t, p.data[1][14 * W + 8] - real.data[1][14 * W + 8], tries[t].unrest);
        CHECK(fabs(p.data[1][14 * W + 34] - plain.data[1][14 * W + 34]) < 1e-6, "try %d: %g for %g on the object", t,
              p.data[1][14 * W + 34], plain.data[1][14 * W + 34]);
        ff_kling_kept_free(&kept);
        ff_kling_follow_free(&f);
    }
    ff_kling_picture_free(&real);
    ff_kling_picture_free(&p);
    ff_kling_picture_free(&plain);
}

int main(void)
{
    RUN(test_seam_identity);
    RUN(test_seam_shift);
    RUN(test_seam_map);
    RUN(test_seam_grain);
    RUN(test_seam_limits);
    RUN(test_seam_trail);
    RUN(test_seam_fade);
    RUN(test_still);
    RUN(test_follow_pan);
    RUN(test_near);
    return check_exit();
}
