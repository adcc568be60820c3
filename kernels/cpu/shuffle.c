/*
 * Pixel shuffles, pixel by pixel: a fine pixel's channels are contiguous, and
 * their coarse channels lie one or a fixed step apart in all common shapes.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/cpu.h"

#include <string.h>

/* Fine pixel (i, j) of a block: channel c is sample c*n + v0, of coarse channel (c*n + v0) / g. */
typedef struct Pixel {
    int64_t n, g, v0;
    int64_t step, first;                /* step > 0: that is c*step + first */
} Pixel;

static Pixel pixel_at(const KlShuffle *p, int i, int j)
{
    int64_t f = p->f, n = p->T * f * f, g = p->C * n / p->D;
    int64_t v0 = p->t * f * f + (p->by_columns ? j * f + i : i * f + j);

    return (Pixel){ n, g, v0, n % g ? 0 : n / g, v0 / g };
}

static void add_pixel(const Pixel *q, float *y, const float *x, int C, float scale)
{
    if (q->step == 1)
        for (int c = 0; c < C; c++)
            y[c + q->first] += x[c] * scale;
    else if (q->step)
        for (int c = 0; c < C; c++)
            y[c * q->step + q->first] += x[c] * scale;
    else
        for (int c = 0; c < C; c++)
            y[(c * q->n + q->v0) / q->g] += x[c] * scale;
}

static void copy_pixel(const Pixel *q, float *y, const float *x, int C)
{
    if (q->step == 1)
        memcpy(y, x + q->first, (size_t)C * sizeof(*y));
    else if (q->step)
        for (int c = 0; c < C; c++)
            y[c] = x[c * q->step + q->first];
    else
        for (int c = 0; c < C; c++)
            y[c] = x[(c * q->n + q->v0) / q->g];
}

/* One row of coarse pixels. */
static void down_row(void *arg, int64_t r, int worker)
{
    const KlShuffle *p = arg;
    int64_t line = (int64_t)p->W * p->f * p->C;
    const float *x = p->x + r * p->f * line;
    float *y = p->y + r * p->W * p->D;

    (void)worker;
    if (!p->add)
        memset(y, 0, (size_t)p->W * (size_t)p->D * sizeof(*y));
    for (int i = 0; i < p->f; i++)
        for (int j = 0; j < p->f; j++) {
            Pixel q = pixel_at(p, i, j);

            for (int w = 0; w < p->W; w++)
                add_pixel(&q, y + (int64_t)w * p->D, x + i * line + ((int64_t)w * p->f + j) * p->C, p->C,
                          1.0f / (float)q.g);
        }
}

static void shuffle_down(KlExec *ex, const KlShuffle *p)
{
    kl_parallel(ex, p->R, down_row, (void *)(uintptr_t)p);
}

static void up_row(void *arg, int64_t r, int worker)
{
    const KlShuffle *p = arg;
    int64_t line = (int64_t)p->W * p->f * p->C;
    const float *x = p->x + r * p->W * p->D;
    float *y = p->y + r * p->f * line;

    (void)worker;
    for (int i = 0; i < p->f; i++)
        for (int j = 0; j < p->f; j++) {
            Pixel q = pixel_at(p, i, j);

            for (int w = 0; w < p->W; w++)
                copy_pixel(&q, y + i * line + ((int64_t)w * p->f + j) * p->C, x + (int64_t)w * p->D, p->C);
        }
}

static void shuffle_up(KlExec *ex, const KlShuffle *p)
{
    kl_parallel(ex, p->R, up_row, (void *)(uintptr_t)p);
}

void kl_cpu_init_shuffle(KlKernels *k)
{
    k->shuffle_down = shuffle_down;
    k->shuffle_up = shuffle_up;
}
