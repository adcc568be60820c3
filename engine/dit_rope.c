/*
 * The transformer's two position codes: rotations of heads, sinusoids of time.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "dit_internal.h"

#include <math.h>
#include <string.h>

#define THETA 10000.0

/* One axis: dim/2 rotations at the columns from `col` on, position pos(token). */
static void rope_axis(float *cos_, float *sin_, int half, int col, int dim, int64_t row0, int64_t rows, int pos)
{
    for (int i = 0; i < dim / 2; i++) {
        double a = pos * (1.0 / pow(THETA, (double)(2 * i) / dim));
        float c = (float)cos(a), s = (float)sin(a);

        for (int64_t r = row0; r < row0 + rows; r++) {
            cos_[r * half + col + i] = c;
            sin_[r * half + col + i] = s;
        }
    }
}

void kl_dit_rope(float *cos_, float *sin_, int E, int F, int gr, int gw)
{
    int half = E / 2, hw = 2 * (E / 6), t = E - 2 * hw;

    for (int f = 0; f < F; f++) {
        int64_t frame = (int64_t)f * gr * gw;

        rope_axis(cos_, sin_, half, 0, t, frame, (int64_t)gr * gw, f);
        for (int i = 0; i < gr; i++)
            rope_axis(cos_, sin_, half, t / 2, hw, frame + (int64_t)i * gw, gw, i);
    }
    /* The columns' part of the first row of tokens serves all rows. */
    for (int j = 0; j < gw; j++)
        rope_axis(cos_, sin_, half, (t + hw) / 2, hw, j, 1, j);
    for (int64_t row = 1; row < (int64_t)F * gr; row++)
        for (int j = 0; j < gw; j++) {
            int64_t to = (row * gw + j) * half + (t + hw) / 2, from = (int64_t)j * half + (t + hw) / 2;

            memcpy(cos_ + to, cos_ + from, hw / 2 * sizeof(float));
            memcpy(sin_ + to, sin_ + from, hw / 2 * sizeof(float));
        }
}

/* The reference computes the angle in f32: at t = 1000 its rounding is worth 3e-5 of a radian, more than all other
 * errors of a forward together. So the angle is rounded where the reference rounds it, and only then taken in
 * double. */
void kl_dit_timestep(float *out, int dim, float t)
{
    int half = dim / 2;

    for (int i = 0; i < half; i++) {
        float e = (float)-log(THETA) * (float)i / (float)half;
        float f = (float)exp((double)e);
        float a = t * f;

        out[i] = (float)cos((double)a);
        out[half + i] = (float)sin((double)a);
    }
    if (dim & 1)
        out[dim - 1] = 0;
}
