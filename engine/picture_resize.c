/*
 * Bicubic resizing of 8-bit pictures, bit for bit as Pillow does it.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Two passes, rows first, 8 bits between them. The filter (Keys, a = -1/2) is
 * stretched when a picture gets smaller, which keeps it from aliasing; its
 * weights, made to sum to 1, are rounded to 22 bits behind the point.
 */
#include "picture_resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BITS 22                         /* of a weight, behind the point */

/* What one output sample is made of: n input samples from `first` on, weights w. */
typedef struct Tap {
    int first, n;
    const int32_t *w;
} Tap;

/* The taps of `n` output samples. */
typedef struct Taps {
    Tap *tap;
    int32_t *w;
} Taps;

static void taps_free(Taps *t)
{
    free(t->tap);
    free(t->w);
}

static double bicubic(double x)
{
    x = fabs(x);
    if (x < 1)
        return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

/* Samples from..from+n of `size` input samples resized to `to`. */
static int taps_create(KlDiag *d, Taps *t, int size, int to, int from, int n)
{
    const double scale = (double)size / to, stretch = KL_MAX(scale, 1.0), support = 2 * stretch;
    const size_t most = 2 * (size_t)ceil(support) + 1;
    double *k = malloc(most * sizeof(*k));

    t->tap = calloc((size_t)n, sizeof(*t->tap));
    t->w = malloc(most * (size_t)n * sizeof(*t->w));
    if (!k || !t->tap || !t->w) {
        free(k);
        return kl_fail_memory(d, "the filter that resizes a picture", most * (size_t)n * sizeof(*t->w));
    }
    for (int i = 0; i < n; i++) {
        const double centre = (from + i + 0.5) * scale, per = 1 / stretch;
        const int first = KL_MAX((int)(centre - support + 0.5), 0);
        const int end = KL_MIN((int)(centre + support + 0.5), size);
        int32_t *w = t->w + most * (size_t)i;
        double sum = 0;

        for (int j = 0; j < end - first; j++)
            sum += k[j] = bicubic((j + first - centre + 0.5) * per);
        for (int j = 0; j < end - first; j++) {
            const double v = sum != 0 ? k[j] / sum : k[j];

            w[j] = (int32_t)((v < 0 ? -0.5 : 0.5) + v * (1 << BITS));
        }
        t->tap[i] = (Tap){ first, end - first, w };
    }
    free(k);
    return 0;
}

static uint8_t round_bits(int64_t sum)
{
    sum = (sum + (1 << (BITS - 1))) >> BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* out[n,3]: a row of the picture, resized; bytes[width,3] is room for it in 8 bits. */
static void resize_row(const KlResize *r, const Taps *t, int y, uint8_t *bytes, uint8_t *out)
{
    for (int x = 0; x < r->width_px; x++)
        for (int c = 0; c < 3; c++) {
            const float v = r->rgb[c][y * r->stride + x] * 255;

            bytes[3 * x + c] = (uint8_t)(v > 0 ? lrintf(KL_MIN(v, 255.0f)) : 0);  /* a NaN is 0 */
        }
    if (r->to_width_px == r->width_px) {
        memcpy(out, bytes + 3 * r->x_px, 3 * (size_t)r->part_width_px);
        return;
    }
    for (int i = 0; i < r->part_width_px; i++)
        for (int c = 0; c < 3; c++) {
            const Tap *tap = &t->tap[i];
            int64_t sum = 0;

            for (int j = 0; j < tap->n; j++)
                sum += (int64_t)tap->w[j] * bytes[3 * (tap->first + j) + c];
            out[3 * i + c] = round_bits(sum);
        }
}

/* out[part]: columns of rows[] resized; rows[0] is the picture's row `top`. */
static void resize_columns(const KlResize *r, const Taps *t, const uint8_t *rows, int top, uint8_t *out)
{
    const size_t width = 3 * (size_t)r->part_width_px;

    for (int i = 0; i < r->part_height_px; i++, out += width) {
        const Tap *tap = &t->tap[i];

        if (r->to_height_px == r->height_px) {
            memcpy(out, rows + (size_t)i * width, width);
            continue;
        }
        for (size_t x = 0; x < width; x++) {
            int64_t sum = 0;

            for (int j = 0; j < tap->n; j++)
                sum += (int64_t)tap->w[j] * rows[(size_t)(tap->first + j - top) * width + x];
            out[x] = round_bits(sum);
        }
    }
}

int kl_picture_resize(KlDiag *d, const KlResize *r, uint8_t *out)
{
    Taps across = { 0 }, down = { 0 };
    uint8_t *bytes = malloc(3 * (size_t)r->width_px), *rows = NULL;
    int ret = taps_create(d, &across, r->width_px, r->to_width_px, r->x_px, r->part_width_px);

    if (!ret)
        ret = taps_create(d, &down, r->height_px, r->to_height_px, r->y_px, r->part_height_px);
    if (!ret) {
        const Tap *last = &down.tap[r->part_height_px - 1];
        const bool keep = r->to_height_px == r->height_px;
        const int top = keep ? r->y_px : down.tap[0].first;
        const int end = keep ? r->y_px + r->part_height_px : last->first + last->n;
        const size_t width = 3 * (size_t)r->part_width_px;

        rows = malloc((size_t)(end - top) * width);
        if (!bytes || !rows) {
            ret = kl_fail_memory(d, "resizing a picture", (size_t)(end - top) * width);
        } else {
            for (int y = top; y < end; y++)
                resize_row(r, &across, y, bytes, rows + (size_t)(y - top) * width);
            resize_columns(r, &down, rows, top, out);
        }
    }
    free(rows);
    free(bytes);
    taps_free(&across);
    taps_free(&down);
    return ret;
}
