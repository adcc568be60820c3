/*
 * patchify, unpatchify, to_pixels, and pixel shuffles.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The first two only move: exact. to_pixels is one multiplication by a half and
 * one rounded addition, then one rounded product and one rounding to a whole
 * number, so every table gives ref's bits. shuffle_up only moves.
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
        Data d = { *c, in };
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

typedef struct Pixels {
    KlPixels p;                         /* without x and out */
    int R, off;
    const float *in;
} Pixels;

/* out: a float for each sample, in the order of memory */
static void run_to_pixels(Kt *t, const void *arg, float *out)
{
    const Pixels *d = arg;
    KlPixels p = d->p;
    const size_t bytes = kl_pixels_bytes(p.rows, p.cols, p.bits), words = (bytes + 3) / 4;
    const size_t size = kl_sample_bytes(p.bits), n = bytes / size;
    float *to = kt_buf(t, words, d->off), guard = kt_guard();
    unsigned char *host = malloc(words * 4), rest[4];

    p.x = kt_input(t, d->in, (size_t)d->R * p.W * p.C, d->off);
    p.out = to;
    t->k.to_pixels(t->ex, &p);
    kt_sync(t);
    t->k.mem_download(t->ex, host, to, words * 4);
    for (size_t i = 0; i < n; i++) {
        uint16_t two;

        memcpy(&two, host + i * size, size < 2 ? 1 : 2);
        if (size == 4)
            memcpy(out + i, host + i * 4, 4);
        else
            out[i] = size == 2 ? two : host[i];
    }
    memcpy(rest, &guard, 4);
    if (memcmp(host + bytes, rest + bytes % 4, words * 4 - bytes))
        snprintf(t->why, sizeof(t->why), "bytes past the last were written");
    free(host);
}

/* Of x in [-1,1] as to_pixels has it, by the contract's words and not by kl_sample(). */
static double sample_of(float x, int bits)
{
    const double v = isnan(x) ? x : (float)fmin(fmax(x * 0.5 + 0.5, 0), 1);

    if (bits == 32)
        return v;
    return isnan(v) ? 0 : rint((float)((float)v * (float)((1 << bits) - 1)));
}

static void test_to_pixels(const KtTable *table)
{
    /* C, R, W, row0, col0, rows, cols, off */
    static const int sizes[][8] = {
        { 3, 1, 1, 0, 0, 1, 1, 0 },      { 3, 7, 17, 0, 0, 7, 17, 1 },    { 12, 33, 3, 2, 1, 30, 2, 0 },
        { 5, 2, 130, 1, 3, 1, 126, 2 },  { 3, 40, 48, 4, 8, 33, 31, 0 },
    };
    static const int kinds[][2] = {     /* bits, packed */
        { 32, 0 }, { 8, 0 }, { 10, 0 }, { 12, 0 }, { 16, 0 }, { 8, 1 }, { 1, 0 }, { 9, 1 },
    };

    for (size_t i = 0; i < KT_LEN(sizes) * KT_LEN(kinds); i++) {
        const int *s = sizes[i / KT_LEN(kinds)], *kind = kinds[i % KT_LEN(kinds)], max = (1 << (kind[0] & 31)) - 1;
        Pixels d = { .p = { .C = s[0], .W = s[2], .row0 = s[3], .col0 = s[4], .rows = s[5], .cols = s[6],
                            .bits = kind[0], .packed = kind[1] }, .R = s[1], .off = s[7] };
        size_t all = (size_t)d.R * d.p.W * d.p.C, plane = (size_t)d.p.rows * d.p.cols, n = 3 * plane;
        float *in = kt_random(all, 1, KT_SPIKES);
        double *want = malloc(n * sizeof(*want)), *tol = calloc(n, sizeof(*tol));
        char label[96];

        for (size_t k = 0; k < all; k++)        /* also halfway between two codes, where ties are to be to even */
            in[k] = k % 5 || kind[0] == 32 ? in[k] * 1.2f : (float)((k % max + 0.5) / max * 2 - 1);
        in[(s[3] * s[2] + s[4]) * s[0]] = NAN;
        if (plane > 2)
            in[(s[3] * s[2] + s[4] + 1) * s[0]] = INFINITY, in[(s[3] * s[2] + s[4] + 1) * s[0] + 1] = -INFINITY;
        for (size_t k = 0; k < n; k++) {
            size_t c = kind[1] ? k % 3 : k / plane, at = kind[1] ? k / 3 : k % plane;
            size_t r = at / d.p.cols + s[3], w = at % d.p.cols + s[4];

            want[k] = sample_of(in[(r * d.p.W + w) * d.p.C + c], kind[0]);
        }
        d.in = in;
        snprintf(label, sizeof(label), "%dx%d of %dx%d, C %d, %d bits%s", d.p.cols, d.p.rows, d.p.W, d.R, d.p.C,
                 kind[0], kind[1] ? ", packed" : "");
        kt_case(table, label, run_to_pixels, &d, n, want, tol);
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
    kt_each("to_pixels", test_to_pixels);
    return check_exit();
}
