/*
 * Channels-last pictures, the plain C ones.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "ref.h"

#define PIXELS 64                       /* of one tile */

typedef struct PixelNorm {
    float *y;
    const float *x;
    int64_t pixels;
    int C;
    const float *gamma;
    KlActivation act;
} PixelNorm;

static void pixel_norm_tile(void *arg, int64_t tile, int thread)
{
    const PixelNorm *p = arg;
    int64_t end = (tile + 1) * PIXELS < p->pixels ? (tile + 1) * PIXELS : p->pixels;

    (void)thread;
    for (int64_t i = tile * PIXELS; i < end; i++) {
        const float *x = p->x + i * p->C;
        float *y = p->y + i * p->C;
        double norm = 0, r;

        for (int c = 0; c < p->C; c++)
            norm += (double)x[c] * x[c];
        norm = sqrt(norm);
        r = sqrt(p->C) / (norm < 1e-12 ? 1e-12 : norm);     /* a NaN stays */
        for (int c = 0; c < p->C; c++)
            y[c] = (float)kl_ref_act(x[c] * r * p->gamma[c], p->act);
    }
}

static void pixel_norm(KlExec *ex, float *y, const float *x, int64_t pixels, int C, const float *gamma,
                       KlActivation act, int operand)
{
    PixelNorm p = { y, x, pixels, C, gamma, act };

    (void)operand;
    kl_parallel(ex, (pixels + PIXELS - 1) / PIXELS, pixel_norm_tile, &p);
}

static void to_pixels_row(void *arg, int64_t r, int thread)
{
    const KlPixels *p = arg;
    const int64_t plane = (int64_t)p->rows * p->cols;

    (void)thread;
    for (int w = 0; w < p->cols; w++)
        for (int c = 0; c < 3; c++) {
            const double d = p->x[((r + p->row0) * p->W + w + p->col0) * p->C + c] * 0.5 + 0.5;
            const float v = (float)(d < 0 ? 0 : d > 1 ? 1 : d);
            const int64_t at = p->packed ? (r * p->cols + w) * 3 + c : c * plane + r * p->cols + w;

            if (p->bits > 16)
                ((float *)p->out)[at] = v;
            else if (p->bits > 8)
                ((uint16_t *)p->out)[at] = (uint16_t)kl_sample(v, p->bits);
            else
                ((uint8_t *)p->out)[at] = (uint8_t)kl_sample(v, p->bits);
        }
}

static void to_pixels(KlExec *ex, const KlPixels *p)
{
    KlPixels copy = *p;

    kl_parallel(ex, p->rows, to_pixels_row, &copy);
}

/* Where the fine picture holds sample v of the block at (r, w); -1 when another picture in time does. */
static int64_t sample_place(const KlShuffle *p, int64_t r, int64_t w, int64_t v)
{
    int64_t f = p->f, j = v % f, i = v / f % f, t = v / (f * f) % p->T, c = v / (f * f) / p->T;
    int64_t row = r * f + (p->by_columns ? j : i), col = w * f + (p->by_columns ? i : j);

    return t == p->t ? (row * p->W * f + col) * p->C + c : -1;
}

static void shuffle_down_row(void *arg, int64_t r, int thread)
{
    const KlShuffle *p = arg;
    int64_t g = (int64_t)p->C * p->T * p->f * p->f / p->D;
    float *y = p->y + r * p->W * p->D;

    (void)thread;
    for (int64_t w = 0; w < p->W; w++)
        for (int64_t d = 0; d < p->D; d++, y++) {
            double sum = 0;

            for (int64_t v = d * g; v < (d + 1) * g; v++) {
                int64_t at = sample_place(p, r, w, v);

                sum += at < 0 ? 0 : p->x[at];
            }
            *y = (float)(p->add ? *y + sum / (double)g : sum / (double)g);
        }
}

static void shuffle_down(KlExec *ex, const KlShuffle *p)
{
    kl_parallel(ex, p->R, shuffle_down_row, (void *)(uintptr_t)p);
}

static void shuffle_up_row(void *arg, int64_t r, int thread)
{
    const KlShuffle *p = arg;
    int64_t g = (int64_t)p->C * p->T * p->f * p->f / p->D;
    const float *x = p->x + r * p->W * p->D;

    (void)thread;
    for (int64_t w = 0; w < p->W; w++)
        for (int64_t d = 0; d < p->D; d++, x++)
            for (int64_t v = d * g; v < (d + 1) * g; v++) {
                int64_t at = sample_place(p, r, w, v);

                if (at >= 0)
                    p->y[at] = *x;
            }
}

static void shuffle_up(KlExec *ex, const KlShuffle *p)
{
    kl_parallel(ex, p->R, shuffle_up_row, (void *)(uintptr_t)p);
}

void kl_ref_init_picture(KlKernels *k)
{
    k->shuffle_down = shuffle_down;
    k->shuffle_up = shuffle_up;
    k->pixel_norm = pixel_norm;
    k->to_pixels = to_pixels;
}
