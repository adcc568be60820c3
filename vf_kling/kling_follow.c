/*
 * Detail across the seam between footage and generated pictures.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "libavutil/common.h"
#include "libavutil/error.h"
#include "libavutil/mem.h"

#include "kling_follow.h"

#define SAME     (2 / 255.0f)           /* a difference up to this is the model's own unrest */
#define MOVED    (8 / 255.0f)
#define NEAR     4                      /* times that are added to both next to the known picture */
#define HOLD     0.6f                   /* of a difference there */
#define BLOCK    8                      /* pixels, across and down, that are followed as one */
#define MARGIN   2                      /* pixels around a block that it is known by */
#define REACH    2                      /* pixels of the first step from the way so far, halved to 1: three in all */
#define CLEAR    0.75f                  /* a move is believed when it leaves less than this of the difference */

int ff_kling_kept_alloc(KlingKept *k, int width_px, int height_px)
{
    const size_t n = (size_t)width_px * height_px;

    if (!(k->keep = av_calloc(n, 3 * sizeof(*k->keep))))
        return AVERROR(ENOMEM);
    k->dx = k->keep + n;
    k->dy = k->dx + n;
    return 0;
}

void ff_kling_kept_free(KlingKept *k)
{
    av_freep(&k->keep);
    *k = (KlingKept){ 0 };
}

void ff_kling_follow_free(KlingFollow *f)
{
    ff_kling_picture_free(&f->seen);
    ff_kling_picture_free(&f->real);
    ff_kling_picture_free(&f->rest);
    for (int i = 0; i < 2; i++) {
        av_freep(&f->light[i]);
        av_freep(&f->work[i]);
        av_freep(&f->moves[i]);
    }
    av_freep(&f->lasting);
    *f = (KlingFollow){ 0 };
}

static int follow_alloc(KlingFollow *f, int w, int h)
{
    const size_t n = (size_t)w * h;

    f->nb_x = (w + BLOCK - 1) / BLOCK;
    f->nb_y = (h + BLOCK - 1) / BLOCK;
    if (ff_kling_picture_alloc(&f->seen, w, h) < 0 || ff_kling_picture_alloc(&f->real, w, h) < 0 ||
        ff_kling_picture_alloc(&f->rest, w, h) < 0 || !(f->lasting = av_calloc(n, sizeof(*f->lasting))))
        return AVERROR(ENOMEM);
    for (int i = 0; i < 2; i++)
        if (!(f->light[i] = av_calloc(n, sizeof(*f->light[i]))) ||
            !(f->work[i] = av_calloc(n, sizeof(*f->work[i]))) ||
            !(f->moves[i] = av_calloc((size_t)f->nb_x * f->nb_y, 2 * sizeof(*f->moves[i]))))
            return AVERROR(ENOMEM);
    return 0;
}

static void light_of(float *light, const KlingPicture *p)
{
    for (size_t i = 0; i < (size_t)p->width_px * p->height_px; i++)
        light[i] = 0.25f * p->data[0][i] + 0.5f * p->data[1][i] + 0.25f * p->data[2][i];
}

int ff_kling_follow_set(KlingFollow *f, const KlingPicture *real, const float *const decoded[3], long stride)
{
    const int w = real->width_px;

    ff_kling_follow_free(f);
    if (follow_alloc(f, w, real->height_px) < 0) {
        ff_kling_follow_free(f);
        return AVERROR(ENOMEM);
    }
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < real->height_px; y++)
            memcpy(f->seen.data[c] + (ptrdiff_t)y * w, decoded[c] + (ptrdiff_t)y * stride, w * sizeof(float));
    memcpy(f->real.data[0], real->data[0], 3 * sizeof(float) * w * real->height_px);
    memcpy(f->rest.data[0], real->data[0], 3 * sizeof(float) * w * real->height_px);
    light_of(f->light[0], &f->seen);
    return 0;
}

int ff_kling_follow_solve(KlingFollow *f, const KlingSeamEnd *e)
{
    const size_t n = (size_t)f->seen.width_px * f->seen.height_px;
    KlingPicture corrected;

    if (!f->lasting)
        return 0;
    if (ff_kling_picture_alloc(&corrected, f->seen.width_px, f->seen.height_px) < 0)
        return AVERROR(ENOMEM);
    memcpy(corrected.data[0], f->seen.data[0], 3 * n * sizeof(float));
    ff_kling_seam_apply(e, e, &corrected, 1, 0);
    for (size_t i = 0; i < 3 * n; i++)
        f->rest.data[0][i] -= corrected.data[0][i];
    for (size_t i = 0; i < n; i++)
        f->lasting[i] = 1;
    f->any = 1;
    ff_kling_picture_free(&corrected);
    return 0;
}

/* Between four pixels; NaN outside the picture. */
static float sample(const float *plane, int w, int h, float x, float y)
{
    const int inside = x >= 0 && y >= 0 && x <= w - 1 && y <= h - 1;
    const int x0 = inside ? (int)x : 0, y0 = inside ? (int)y : 0;
    const int right = x0 + 1 < w, down = y0 + 1 < h ? w : 0;
    const float u = x - x0, v = y - y0, *p = plane + (ptrdiff_t)y0 * w + x0;
    const float up = p[0] + u * (p[right] - p[0]);

    if (!inside)
        return NAN;
    return u == 0 && v == 0 ? p[0] : up + v * (p[down] + u * (p[down + right] - p[down]) - up);
}

/* The mean difference of the block at (x0, y0), a little more than it, to what lay (dx, dy) from there. Infinite where
 * less than half of that is in the picture. */
static float block_error(const KlingFollow *f, int x0, int y0, float dx, float dy)
{
    const int w = f->seen.width_px, h = f->seen.height_px;
    const int left = FFMAX(x0 - MARGIN, 0), right = FFMIN(x0 + BLOCK + MARGIN, w);
    const int top = FFMAX(y0 - MARGIN, 0), bottom = FFMIN(y0 + BLOCK + MARGIN, h);
    const int from_x = FFMAX(left, (int)ceilf(-dx)), to_x = FFMIN(right, (int)floorf(w - 1 - dx) + 1);
    const int from_y = FFMAX(top, (int)ceilf(-dy)), to_y = FFMIN(bottom, (int)floorf(h - 1 - dy) + 1);
    const int whole = dx == (int)dx && dy == (int)dy;
    const int nb = FFMAX(to_x - from_x, 0) * FFMAX(to_y - from_y, 0);
    float sum = 0;

    if (2 * nb < (right - left) * (bottom - top))
        return INFINITY;
    for (int y = from_y; y < to_y; y++) {
        const float *now = f->light[1] + (ptrdiff_t)y * w;
        const float *then = f->light[0] + (y + (ptrdiff_t)dy) * w + (ptrdiff_t)dx;

        for (int x = from_x; x < to_x; x++)
            sum += fabsf(now[x] - (whole ? then[x] : sample(f->light[0], w, h, x + dx, y + dy)));
    }
    return sum / nb;
}

/* The vertex of the parabola through errors at -1, 0 and 1, within half a pixel. */
static float vertex(float before, float at, float after)
{
    const float bend = before - 2 * at + after;

    return isfinite(bend) && bend > 1e-6f ? av_clipf(0.5f * (before - after) / bend, -0.5f, 0.5f) : 0;
}

/* Goes from (*x, *y) to the best of the eight places around, `step` away. */
static void refine(const KlingFollow *f, int x0, int y0, int step, int *x, int *y, float *best)
{
    const int cx = *x, cy = *y;

    for (int i = 0; i < 9; i++) {
        const int u = cx + (i % 3 - 1) * step, v = cy + (i / 3 - 1) * step;
        const float e = i == 4 ? INFINITY : block_error(f, x0, y0, u, v);

        if (e < *best) {
            *best = e;
            *x    = u;
            *y    = v;
        }
    }
}

/* Where the block lay. Nowhere else than here unless that is clearly better. */
static void search_block(const KlingFollow *f, int bx, int by, const float *before, float move[2])
{
    const int x0 = bx * BLOCK, y0 = by * BLOCK;
    const float here = block_error(f, x0, y0, 0, 0);
    float best = here, u, v;
    int x = 0, y = 0;

    move[0] = move[1] = 0;
    if (here <= SAME)
        return;
    for (int j = FFMAX(by - 1, 0); j <= FFMIN(by + 1, f->nb_y - 1); j++)
        for (int i = FFMAX(bx - 1, 0); i <= FFMIN(bx + 1, f->nb_x - 1); i++) {
            const float *m = before + 2 * ((ptrdiff_t)j * f->nb_x + i);
            const int mx = lrintf(m[0]), my = lrintf(m[1]);
            const float e = mx || my ? block_error(f, x0, y0, mx, my) : INFINITY;

            if (e < best)
                best = e, x = mx, y = my;
        }
    for (int step = REACH; step; step /= 2)
        refine(f, x0, y0, step, &x, &y, &best);
    u = x + vertex(block_error(f, x0, y0, x - 1, y), best, block_error(f, x0, y0, x + 1, y));
    v = y + vertex(block_error(f, x0, y0, x, y - 1), best, block_error(f, x0, y0, x, y + 1));
    if (block_error(f, x0, y0, u, v) < CLEAR * here) {
        move[0] = u;
        move[1] = v;
    }
}

static void search(KlingFollow *f, const KlingPicture *decoded)
{
    FFSWAP(float *, f->moves[0], f->moves[1]);
    light_of(f->light[1], decoded);
    for (int by = 0; by < f->nb_y; by++)
        for (int bx = 0; bx < f->nb_x; bx++)
            search_block(f, bx, by, f->moves[1], f->moves[0] + 2 * ((ptrdiff_t)by * f->nb_x + bx));
}

/* Means over 2 r + 1 values, fewer at the ends; n of them, `step` apart. dst is not src. */
static void box(float *dst, const float *src, int n, ptrdiff_t step, int r)
{
    double sum = 0;
    int nb = 0;

    for (int i = -r; i < n; i++) {
        if (i + r < n) {
            sum += src[(i + r) * step];
            nb++;
        }
        if (i - r - 1 >= 0) {
            sum -= src[(i - r - 1) * step];
            nb--;
        }
        if (i >= 0)
            dst[i * step] = sum / nb;
    }
}

/* The least of 2 r + 1 values, fewer at the ends; n of them, `step` apart. dst is not src. */
static void least(float *dst, const float *src, int n, ptrdiff_t step, int r)
{
    for (int i = 0; i < n; i++) {
        float v = src[i * step];

        for (int k = FFMAX(i - r, 0); k <= FFMIN(i + r, n - 1); k++)
            v = FFMIN(v, src[k * step]);
        dst[i * step] = v;
    }
}

/* Runs a filter of rows and columns over f->work[0], which has the result. */
static void around(KlingFollow *f, void (*filter)(float *, const float *, int, ptrdiff_t, int))
{
    const int w = f->seen.width_px, h = f->seen.height_px, r = FFMAX(FFMIN(w, h) / 64, 1);

    for (int y = 0; y < h; y++)
        filter(f->work[1] + (ptrdiff_t)y * w, f->work[0] + (ptrdiff_t)y * w, w, 1, r);
    for (int x = 0; x < w; x++)
        filter(f->work[0] + x, f->work[1] + x, h, w, r);
}

/* The move of the block that lies `beside` blocks from that of pixel (x, y); none when beside is NULL. */
static const float *move_near(const KlingFollow *f, int x, int y, const int *beside)
{
    static const float none[2];

    if (!beside)
        return none;
    x = av_clip(x / BLOCK + beside[0], 0, f->nb_x - 1);
    y = av_clip(y / BLOCK + beside[1], 0, f->nb_y - 1);
    return f->moves[0] + 2 * ((ptrdiff_t)y * f->nb_x + x);
}

/* For every pixel such a move, where it is clearly nearer to what was seen than the one that kept has; kept->keep is
 * the difference. */
static void try_moves(KlingFollow *f, const KlingPicture *p, const int *beside, KlingKept *kept)
{
    const int w = p->width_px, h = p->height_px;

    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const ptrdiff_t i = (ptrdiff_t)y * w + x;
            const float *m = move_near(f, x, y, beside);
            float d = 0;

            for (int c = 0; c < 3; c++)
                d += fabsf(p->data[c][i] - sample(f->seen.data[c], w, h, x + m[0], y + m[1])) / 3;
            f->work[0][i] = d == d ? d : 1;
        }
    around(f, box);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const ptrdiff_t i = (ptrdiff_t)y * w + x;
            const float *m = move_near(f, x, y, beside);

            if (f->work[0][i] < CLEAR * kept->keep[i]) {
                kept->keep[i] = f->work[0][i];
                kept->dx[i]   = m[0];
                kept->dy[i]   = m[1];
            }
        }
}

/* The pixel of the known picture that pixel (x, y) shows. */
static ptrdiff_t source_of(const KlingFollow *f, const KlingKept *kept, int x, int y)
{
    const int w = f->seen.width_px, h = f->seen.height_px;
    const ptrdiff_t i = (ptrdiff_t)y * w + x;

    return (ptrdiff_t)av_clip(lrintf(y + kept->dy[i]), 0, h - 1) * w + av_clip(lrintf(x + kept->dx[i]), 0, w - 1);
}

/* What of the known picture is not to be seen any more is lost, and so is what shows it later. Pixels of it that
 * rounding has left out go by their neighbours. */
static void lose(KlingFollow *f, KlingKept *kept)
{
    const int w = f->seen.width_px, h = f->seen.height_px;
    float *now = f->work[0];

    for (ptrdiff_t i = 0; i < (ptrdiff_t)w * h; i++)
        now[i] = -1;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const ptrdiff_t from = source_of(f, kept, x, y);

            now[from] = FFMAX(now[from], kept->keep[(ptrdiff_t)y * w + x]);
        }
    f->any = 0;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const ptrdiff_t i = (ptrdiff_t)y * w + x;
            float v = now[i];

            for (int k = 0; now[i] < 0 && k < 9; k++) {
                const int u = av_clip(x + k % 3 - 1, 0, w - 1), t = av_clip(y + k / 3 - 1, 0, h - 1);

                v = FFMAX(v, now[(ptrdiff_t)t * w + u]);
            }
            f->lasting[i] = FFMIN(f->lasting[i], FFMAX(v, 0));
            f->any |= f->lasting[i] > 0;
        }
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            float *keep = kept->keep + (ptrdiff_t)y * w + x;

            *keep = FFMIN(*keep, f->lasting[source_of(f, kept, x, y)]);
        }
}

void ff_kling_follow_look(KlingFollow *f, const KlingPicture *decoded, int for_good, double part, double near,
                          KlingKept *kept)
{
    static const int beside[][2] = { { 0, 0 }, { -1, 0 }, { 1, 0 }, { 0, -1 }, { 0, 1 } };
    const size_t n = (size_t)decoded->width_px * decoded->height_px;
    const float same = (1 + NEAR * near) * SAME, moved = (1 + NEAR * near) * MOVED;

    kept->hold = HOLD * near;
    if (!f->lasting || (for_good && !f->any)) {
        memset(kept->keep, 0, n * sizeof(*kept->keep));
        return;
    }
    search(f, decoded);
    for (size_t i = 0; i < n; i++)
        kept->keep[i] = INFINITY;
    try_moves(f, decoded, NULL, kept);
    for (int i = 0; i < FF_ARRAY_ELEMS(beside); i++)
        try_moves(f, decoded, beside[i], kept);
    for (size_t i = 0; i < n; i++) {
        const float t = av_clipf((moved - kept->keep[i]) / (moved - same), 0, 1);

        kept->keep[i] = t * t * (3 - 2 * t);
    }
    if (for_good)
        lose(f, kept);
    memcpy(f->work[0], kept->keep, n * sizeof(*kept->keep));
    around(f, least);
    for (size_t i = 0; i < n; i++)
        kept->keep[i] = part * f->work[0][i];
}

void ff_kling_follow_apply(const KlingFollow *f, KlingPicture *p, const KlingPicture *full, const KlingKept *kept)
{
    const int w = p->width_px, h = p->height_px;

    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const ptrdiff_t i = (ptrdiff_t)y * w + x;

            for (int c = 0; c < 3 && kept->keep[i] > 0; c++) {
                const float lost = sample(f->rest.data[c], w, h, x + kept->dx[i], y + kept->dy[i]);
                const float real = sample(f->real.data[c], w, h, x + kept->dx[i], y + kept->dy[i]);
                const float with = full->data[c][i] + lost;

                if (lost == lost)
                    p->data[c][i] += kept->keep[i] * (with + kept->hold * (real - with) - p->data[c][i]);
            }
        }
}
