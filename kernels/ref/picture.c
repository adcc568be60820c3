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
                       KlActivation act)
{
    PixelNorm p = { y, x, pixels, C, gamma, act };

    kl_parallel(ex, (pixels + PIXELS - 1) / PIXELS, pixel_norm_tile, &p);
}

typedef struct ToRgb {
    float *const *rgb;
    int64_t ld;
    const float *x;
    int W, C;
} ToRgb;

static void to_rgb_row(void *arg, int64_t r, int thread)
{
    const ToRgb *p = arg;

    (void)thread;
    for (int c = 0; c < 3; c++)
        for (int w = 0; w < p->W; w++) {
            double v = p->x[(r * p->W + w) * p->C + c] * 0.5 + 0.5;

            p->rgb[c][r * p->ld + w] = (float)(v < 0 ? 0 : v > 1 ? 1 : v);
        }
}

static void to_rgb(KlExec *ex, float *const rgb[3], int64_t ld, const float *x, int R, int W, int C)
{
    ToRgb p = { rgb, ld, x, W, C };

    kl_parallel(ex, R, to_rgb_row, &p);
}

void kl_ref_init_picture(KlKernels *k)
{
    k->pixel_norm = pixel_norm;
    k->to_rgb = to_rgb;
}
