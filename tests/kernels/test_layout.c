/*
 * patchify, unpatchify, to_rgb, and pixel shuffles.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The first two only move: exact. to_rgb is one multiplication by a half and
 * one rounded addition, so every table gives ref's bits. shuffle_up only moves.
 * shuffle_down is a sum of g terms, each scaled by a rounded 1/g (2 u), and
 * perhaps of what was there; each t of T is one call, so g + 1 terms bound all.
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

typedef struct Shuffle {
    KlShuffle p;
    const float *fine, *coarse;         /* [T][R*f,W*f,C], [R,W,D] */
    int off;
} Shuffle;

static size_t fine_size(const KlShuffle *p)
{
    return (size_t)p->R * p->W * p->f * p->f * p->C;
}

/* Into coarse, every t; after what was there where add is set. */
static void run_shuffle_down(Kt *t, const void *arg, float *out)
{
    const Shuffle *s = arg;
    KlShuffle p = s->p;
    size_t n = (size_t)p.R * p.W * p.D;
    float *y = p.add ? kt_input(t, s->coarse, n, s->off) : kt_buf(t, n, s->off);

    p.y = y;
    for (p.t = 0; p.t < p.T; p.t++) {
        p.x = kt_input(t, s->fine + p.t * fine_size(&p), fine_size(&p), s->off);
        t->k.shuffle_down(t->ex, &p);
        p.add = 1;
    }
    t->k.exec_sync(t->ex);
    kt_output_2d(t, out, y, 1, n, n);
}

static void run_shuffle_up(Kt *t, const void *arg, float *out)
{
    const Shuffle *s = arg;
    KlShuffle p = s->p;

    p.x = kt_input(t, s->coarse, (size_t)p.R * p.W * p.D, s->off);
    for (p.t = 0; p.t < p.T; p.t++) {
        float *y = p.y = kt_buf(t, fine_size(&p), s->off);

        t->k.shuffle_up(t->ex, &p);
        t->k.exec_sync(t->ex);
        kt_output_2d(t, out + p.t * fine_size(&p), y, 1, fine_size(&p), fine_size(&p));
    }
}

/* The coarse element that fine element n of picture t belongs to, from the order of torch's view and permute. */
static size_t coarse_place(const KlShuffle *p, size_t n, int t)
{
    size_t f = p->f, c = n % p->C, x = n / p->C % (p->W * f), y = n / p->C / (p->W * f), i = y % f, j = x % f;
    size_t v = p->by_columns ? ((c * p->T + t) * f + j) * f + i : ((c * p->T + t) * f + i) * f + j;

    return (y / f * p->W + x / f) * p->D + v * p->D / (p->C * p->T * f * f);
}

static void shuffle_case(const KtTable *table, Shuffle *s, const char *label)
{
    const KlShuffle *p = &s->p;
    size_t n = fine_size(p), all = n * p->T, coarse = (size_t)p->R * p->W * p->D, g = all / coarse;
    float *fine = kt_random(all, 1, KT_SPIKES), *small = kt_random(coarse, 2, KT_SPIKES);
    double *up = calloc(all, sizeof(*up)), *none = calloc(all, sizeof(*none));
    double *down = calloc(coarse, sizeof(*down)), *tol = calloc(coarse, sizeof(*tol));

    s->fine = fine;
    s->coarse = small;
    for (size_t k = 0; k < coarse && p->add; k++) {
        down[k] = small[k];
        tol[k] = fabs(small[k]);
    }
    for (size_t k = 0; k < all; k++) {
        size_t at = coarse_place(p, k % n, (int)(k / n));

        up[k] = small[at];
        down[at] += (double)fine[k] / (double)g;
        tol[at] += fabs(fine[k]) / (double)g;
    }
    for (size_t k = 0; k < coarse; k++) /* ref rounds once per call: T - 1 times more than its bound knows of */
        tol[k] = tol[k] * (kt_sum_u((double)g + 1) + 2 * KT_U + (table->ref ? 4 * (p->T - 1) : 0)) + g * 0x1p-149;
    kt_case(table, label, run_shuffle_down, s, coarse, down, tol);
    kt_case(table, label, run_shuffle_up, s, all, up, none);
    free(fine), free(small), free(up), free(none), free(down), free(tol);
}

static void test_shuffle(const KtTable *table)
{
    /* R, W, C, D, f, T, by_columns, add, off: down and up shortcuts with and without time, a picture's patches, means
     * of whole channels, and groups that are neither a part nor a multiple of a block */
    static const int t[][9] = {
        { 1, 1, 1, 1, 1, 1, 0, 0, 0 },   { 3, 5, 16, 16, 2, 1, 0, 1, 1 }, { 4, 3, 16, 32, 2, 2, 0, 0, 0 },
        { 2, 7, 12, 12, 2, 2, 0, 1, 3 }, { 5, 2, 8, 16, 2, 1, 0, 0, 0 },  { 3, 4, 3, 12, 2, 1, 1, 0, 0 },
        { 2, 3, 3, 27, 3, 1, 1, 0, 1 },  { 6, 5, 24, 8, 1, 1, 0, 0, 0 },  { 2, 2, 3, 2, 2, 1, 0, 0, 0 },
        { 3, 3, 9, 6, 2, 2, 1, 1, 0 },   { 2, 35, 20, 20, 1, 1, 0, 1, 0 }, { 2, 3, 10, 4, 2, 3, 0, 0, 2 },
    };

    for (size_t i = 0; i < KT_LEN(t); i++) {
        Shuffle s = { .p = { .R = t[i][0], .W = t[i][1], .C = t[i][2], .D = t[i][3], .f = t[i][4], .T = t[i][5],
                             .by_columns = t[i][6], .add = t[i][7] }, .off = t[i][8] };
        char label[96];

        snprintf(label, sizeof(label), "%d to %d channels, %dx%d, f %d, T %d%s%s", s.p.C, s.p.D, s.p.W, s.p.R, s.p.f,
                 s.p.T, s.p.by_columns ? ", by columns" : "", s.p.add ? ", added" : "");
        shuffle_case(table, &s, label);
    }
}

int main(void)
{
    kt_each("shuffle", test_shuffle);
    kt_each("patches", test_patches);
    kt_each("to_rgb", test_to_rgb);
    return check_exit();
}
