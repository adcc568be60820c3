/*
 * patchify, unpatchify, to_rgb.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The first two only move: exact. to_rgb is one multiplication by a half and
 * one rounded addition, so every table gives ref's bits.
 */
#include "kt.h"

typedef struct Case {
    int C, F, R, W, ph, pw, off;
} Case;

static const Case cases[] = {
    { 1, 1, 1, 1, 1, 1, 0 }, { 3, 2, 4, 6, 2, 2, 1 }, { 16, 3, 10, 14, 2, 2, 0 }, { 5, 1, 9, 4, 3, 1, 0 },
    { 7, 2, 5, 33, 1, 3, 3 }, { 48, 1, 2, 34, 2, 2, 0 },
};

typedef struct Data {
    Case c;
    const float *in;
    int ld;                             /* to_rgb: past W */
} Data;

static void run_patchify(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    const Case *c = &d->c;
    size_t n = (size_t)c->C * c->F * c->R * c->W;
    float *z = kt_input(t, d->in, n, c->off), *tok = kt_buf(t, n, c->off);

    t->k.patchify(t->ex, tok, z, c->C, c->F, c->R, c->W, c->ph, c->pw);
    kt_sync(t);
    kt_output_2d(t, out, tok, 1, n, n);
}

static void run_unpatchify(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    const Case *c = &d->c;
    size_t n = (size_t)c->C * c->F * c->R * c->W;
    float *tok = kt_input(t, d->in, n, c->off), *z = kt_buf(t, n, c->off);

    t->k.unpatchify(t->ex, z, tok, c->C, c->F, c->R, c->W, c->ph, c->pw);
    kt_sync(t);
    kt_output_2d(t, out, z, 1, n, n);
}

/* For latent element n, in order (c, f, r, w): its place among the tokens, channels first or last within one. */
static size_t token_place(const Case *c, size_t n, int channels_last)
{
    size_t w = n % c->W, r = n / c->W % c->R, f = n / c->W / c->R % c->F, ch = n / c->W / c->R / c->F;
    size_t tok = (f * (c->R / c->ph) + r / c->ph) * (c->W / c->pw) + w / c->pw, i = r % c->ph, j = w % c->pw;
    size_t in = channels_last ? (i * c->pw + j) * c->C + ch : (ch * c->ph + i) * c->pw + j;

    return tok * c->C * c->ph * c->pw + in;
}

static void test_patches(const KtTable *table)
{
    for (size_t i = 0; i < KT_LEN(cases); i++) {
        const Case *c = &cases[i];
        size_t n = (size_t)c->C * c->F * c->R * c->W;
        float *in = kt_random(n, 1, KT_SPIKES);
        double *want = malloc(n * sizeof(*want)), *tol = calloc(n, sizeof(*tol));
        Data d = { *c, in, 0 };
        char label[64];

        in[n / 2] = NAN;
        snprintf(label, sizeof(label), "C %d F %d %dx%d patch %dx%d", c->C, c->F, c->R, c->W, c->ph, c->pw);
        for (size_t k = 0; k < n; k++)
            want[token_place(c, k, 0)] = in[k];
        kt_case(table, label, run_patchify, &d, n, want, tol);
        for (size_t k = 0; k < n; k++)
            want[k] = in[token_place(c, k, 1)];
        kt_case(table, label, run_unpatchify, &d, n, want, tol);
        free(in), free(want), free(tol);
    }
}

static void run_to_rgb(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    const Case *c = &d->c;
    size_t ld = c->W + d->ld, n = (size_t)c->R * c->W;
    float *x = kt_input(t, d->in, n * c->C, c->off);
    float *rgb[3];

    for (int i = 0; i < 3; i++)
        rgb[i] = kt_buf(t, c->R * ld, c->off);
    t->k.to_rgb(t->ex, rgb, ld, x, c->R, c->W, c->C);
    kt_sync(t);
    for (int i = 0; i < 3; i++)
        kt_output_2d(t, out + i * n, rgb[i], c->R, c->W, ld);
}

static void test_to_rgb(const KtTable *table)
{
    static const struct { int C, R, W, ld, off; } sizes[] = {
        { 3, 1, 1, 0, 0 }, { 3, 7, 17, 5, 1 }, { 12, 33, 3, 0, 0 }, { 5, 2, 130, 2, 0 },
    };

    for (size_t i = 0; i < KT_LEN(sizes); i++) {
        Data d = { .c = { .C = sizes[i].C, .R = sizes[i].R, .W = sizes[i].W, .off = sizes[i].off }, .ld = sizes[i].ld };
        size_t n = (size_t)d.c.R * d.c.W;
        float *in = kt_random(n * d.c.C, 1, KT_SPIKES);
        double *want = malloc(3 * n * sizeof(*want)), *tol = calloc(3 * n, sizeof(*tol));

        for (size_t k = 0; k < n * d.c.C; k++)
            in[k] *= 1.2f;
        in[0] = NAN;
        if (n > 2)
            in[d.c.C] = INFINITY, in[d.c.C + 1] = -INFINITY;
        for (int c = 0; c < 3; c++)
            for (size_t k = 0; k < n; k++) {
                float v = in[k * d.c.C + c];

                want[c * n + k] = isnan(v) ? NAN : (float)fmin(fmax(v * 0.5 + 0.5, 0), 1);
            }
        d.in = in;
        kt_case(table, "to_rgb", run_to_rgb, &d, 3 * n, want, tol);
        free(in), free(want), free(tol);
    }
}

int main(void)
{
    kt_each("patches", test_patches);
    kt_each("to_rgb", test_to_rgb);
    return check_exit();
}
