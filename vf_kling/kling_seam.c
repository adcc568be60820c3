/*
 * Colour across the seam between footage and generated pictures.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <errno.h>
#include <math.h>
#include <stddef.h>

#include "libavutil/common.h"
#include "libavutil/error.h"
#include "libavutil/mathematics.h"
#include "libavutil/mem.h"

#include "kling_seam.h"

#define GAIN_MAX 2.0
#define MAP_MAX  0.125
#define FLAT     (0.5 / 255)            /* neighbours that differ by less tell nothing about contrast */

int ff_kling_picture_alloc(KlingPicture *p, int width_px, int height_px)
{
    const size_t plane = (size_t)width_px * height_px;
    float *mem = av_calloc(plane, 3 * sizeof(*mem));

    if (!mem)
        return AVERROR(ENOMEM);
    *p = (KlingPicture){ .data = { mem, mem + plane, mem + 2 * plane }, .width_px = width_px,
                         .height_px = height_px };
    return 0;
}

void ff_kling_picture_free(KlingPicture *p)
{
    av_freep(&p->data[0]);
    *p = (KlingPicture){ 0 };
}

/* Cells along a side of n pixels; cell i has the pixels [i n / cells, (i + 1) n / cells). */
static int nb_cells(int n)
{
    return FFMIN(n, KLING_SEAM_CELLS);
}

static void cell_means(float out[KLING_SEAM_CELLS][KLING_SEAM_CELLS], const float *plane, ptrdiff_t stride, int w,
                       int h)
{
    const int nx = nb_cells(w), ny = nb_cells(h);

    for (int cy = 0; cy < ny; cy++) {
        const int y0 = (int64_t)cy * h / ny, y1 = (cy + INT64_C(1)) * h / ny;

        for (int cx = 0; cx < nx; cx++) {
            const int x0 = (int64_t)cx * w / nx, x1 = (cx + INT64_C(1)) * w / nx;
            double sum = 0;

            for (int y = y0; y < y1; y++)
                for (int x = x0; x < x1; x++)
                    sum += plane[y * stride + x];
            out[cy][cx] = sum / ((double)(y1 - y0) * (x1 - x0));
        }
    }
}

void ff_kling_seam_add(KlingSeamEnd *e, const KlingPicture *real, const float *const decoded[3], long stride)
{
    const int nx = nb_cells(real->width_px), ny = nb_cells(real->height_px);
    float mean[KLING_SEAM_CELLS][KLING_SEAM_CELLS];

    for (int side = 0; side < 2; side++)
        for (int c = 0; c < 3; c++) {
            cell_means(mean, side ? decoded[c] : real->data[c], side ? stride : real->width_px, real->width_px,
                       real->height_px);
            for (int y = 0; y < ny; y++)
                for (int x = 0; x < nx; x++) {
                    const double across = x ? mean[y][x] - mean[y][x - 1] : 0;
                    const double down   = y ? mean[y][x] - mean[y - 1][x] : 0;

                    e->sum[side][c]   += mean[y][x] / (nx * ny);
                    e->step2[side][c] += (across * across + down * down) / (2 * nx * ny);
                    e->cells[side].v[c][y][x] += mean[y][x];
                }
        }
    e->nb++;
}

void ff_kling_seam_solve(KlingSeamEnd *e)
{
    for (int c = 0; c < 3; c++) {
        double mean[2] = { 0 }, step[2] = { 0 }, gain = 1;

        for (int side = 0; side < 2 && e->nb; side++) {
            mean[side] = e->sum[side][c] / e->nb;
            step[side] = sqrt(e->step2[side][c] / e->nb);
        }
        if (step[0] > FLAT && step[1] > FLAT)
            gain = av_clipd(step[0] / step[1], 1 / GAIN_MAX, GAIN_MAX);
        e->gain[c]   = gain;
        e->offset[c] = mean[0] - gain * mean[1];
        for (int y = 0; y < KLING_SEAM_CELLS; y++)
            for (int x = 0; x < KLING_SEAM_CELLS; x++)
                e->map.v[c][y][x] = !e->nb ? 0 :
                    av_clipd(e->cells[0].v[c][y][x] / e->nb - gain * (e->cells[1].v[c][y][x] / e->nb) - e->offset[c],
                             -MAP_MAX, MAP_MAX);
    }
}

double ff_kling_seam_fade(int distance, int length)
{
    if (distance >= length)
        return 0;
    return distance <= 0 ? 1 : 0.5 + 0.5 * cos(M_PI * distance / length);
}

/* The cells around a pixel, by their centres, and how far it is from the first to the second. */
static void cells_at(int x, int n, int cells, int *first, int *second, float *part)
{
    const float at = (x + 0.5f) * cells / n - 0.5f;
    const int i = (int)floorf(at);

    *part   = at - i;
    *first  = FFMAX(i, 0);
    *second = FFMIN(i + 1, cells - 1);
}

static void apply_row(float *row, int w, const float *add, float gain, float offset)
{
    const int n = nb_cells(w);

    for (int x = 0; x < w; x++) {
        float part;
        int a, b;

        cells_at(x, w, n, &a, &b, &part);
        row[x] = gain * row[x] + offset + add[a] + part * (add[b] - add[a]);
    }
}

void ff_kling_seam_apply(const KlingSeamEnd *lead, const KlingSeamEnd *trail, KlingPicture *p, double lead_map,
                         double trail_part)
{
    const KlingSeamEnd *end = trail_part > 0 ? trail : lead;
    const int ny = nb_cells(p->height_px);

    for (int c = 0; c < 3; c++) {
        const float gain   = lead->gain[c]   + trail_part * (end->gain[c]   - lead->gain[c]);
        const float offset = lead->offset[c] + trail_part * (end->offset[c] - lead->offset[c]);

        for (int y = 0; y < p->height_px; y++) {
            float add[KLING_SEAM_CELLS], part;
            int a, b;

            cells_at(y, p->height_px, ny, &a, &b, &part);
            for (int x = 0; x < KLING_SEAM_CELLS; x++) {
                const float up   = lead_map * lead->map.v[c][a][x] + trail_part * end->map.v[c][a][x];
                const float down = lead_map * lead->map.v[c][b][x] + trail_part * end->map.v[c][b][x];

                add[x] = up + part * (down - up);
            }
            apply_row(p->data[c] + (ptrdiff_t)y * p->width_px, p->width_px, add, gain, offset);
        }
    }
}
