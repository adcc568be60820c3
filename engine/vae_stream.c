/*
 * Pictures through the VAE's stages, one at a time, depth first.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every picture is a buffer of one pool with exactly one owner: the stage that
 * works on it, or the past of a convolution. A causal convolution reads its
 * past where it lies; the oldest picture then returns to the pool and the
 * newest input takes its place, so nothing is copied. In steady state a clip
 * holds two pictures per causal convolution and at most three more: those of
 * one size return to the system before some of another size are made. The Wan
 * 2.1 decoder at 480x832: 3.99e9 bytes at most, of which 3.5e9 are pasts;
 * at 256x256 0.65e9.
 */
#include "bind.h"
#include "vae_internal.h"

#include <math.h>
#include <stdlib.h>

/* -- packed weights -- */

static void unpack(KlVaeHalf *h)
{
    for (int i = 0; i < h->n; i++)
        for (int j = 0; j < KL_VAE_CONVS; j++)
            if (h->stage[i].conv[j].packed)
                h->k->conv_weights_destroy(&h->stage[i].conv[j].packed);
}

static int half_acquire(KlVaeHalf *h, KlDiag *d)
{
    int ret = 0;

    pthread_mutex_lock(&h->lock);
    for (int i = 0; !h->users && ret >= 0 && i < h->n; i++)
        for (int j = 0; ret >= 0 && j < KL_VAE_CONVS; j++) {
            KlVaeConv *c = &h->stage[i].conv[j];

            if (c->w.data)
                ret = h->k->conv_weights_create(h->k, &c->packed, c->w, c->pack_bias, c->ic, c->oc, c->kt, c->kh,
                                                c->kw);
            if (ret < 0)
                ret = kl_fail_memory(d, "a packed convolution of the VAE",
                                     sizeof(float) * c->ic * c->oc * c->kt * c->kh * c->kw);
        }
    if (ret < 0)
        unpack(h);
    else
        h->users++;
    pthread_mutex_unlock(&h->lock);
    return ret;
}

static void half_release(KlVaeHalf *h)
{
    pthread_mutex_lock(&h->lock);
    if (!--h->users)
        unpack(h);
    pthread_mutex_unlock(&h->lock);
}

/* -- opening -- */

static int open_step(KlVaeStream *s, KlDiag *d, const KlVaeStage *st, KlVaeStep *step, size_t *scratch)
{
    for (int j = 0; j < KL_VAE_CONVS; j++) {
        KlConvDesc desc = kl_vae_conv_desc(st, j, step->R, step->W);

        if (!st->conv[j].w.data)
            continue;
        if (s->k->conv_create(s->ex, &step->c[j].conv, &desc, st->conv[j].packed) < 0)
            return kl_fail(d, KLING_ERROR_OUT_OF_MEMORY, "a convolution of the VAE, %d to %d channels at %dx%d, could "
                           "not be set up: out of memory?", desc.ic, desc.oc, desc.W, desc.R);
        *scratch = KL_MAX(*scratch, s->k->conv_scratch(step->c[j].conv));
    }
    if (st->kind == KL_VAE_ATTN) {
        int64_t n = (int64_t)step->R * step->W;

        *scratch = KL_MAX(*scratch, s->k->attention_scratch(s->ex, n, n, 1, st->in));
        *scratch = KL_MAX(*scratch, s->k->linear_scratch(s->ex, n, 3 * st->in, st->in, st->qkv.dtype));
        *scratch = KL_MAX(*scratch, s->k->linear_scratch(s->ex, n, st->in, st->in, st->proj.dtype));
    }
    return 0;
}

static int open_steps(KlVaeStream *s, KlDiag *d, int R, int W)
{
    int64_t n = (int64_t)R * W, z = s->half->stage[s->half->n - 1].out;
    size_t scratch = 0;
    int ret;

    for (int i = 0; i < s->half->n; i++) {
        s->step[i].R = R;
        s->step[i].W = W;
        if ((ret = open_step(s, d, &s->half->stage[i], &s->step[i], &scratch)) < 0)
            return ret;
        kl_vae_out_size(&s->half->stage[i], &R, &W);
    }
    s->out_R = R;
    s->out_W = W;
    s->out_C = (int)z;
    /* post_quant_conv before the first stage, quant_conv after the last: the larger of both guesses */
    n = KL_MIN(n, (int64_t)R * W);
    z = KL_MAX(z, s->half->stage[0].in);
    scratch = KL_MAX(scratch, s->k->linear_scratch(s->ex, n, z, z, KL_F32));
    if (s->k->exec_reserve(s->ex, scratch) < 0)
        return kl_fail_memory(d, "the VAE's scratch", scratch);
    return 0;
}

int kl_vae_stream_open(KlVaeStream *s, KlDiag *d, KlVaeHalf *half, KlExec *ex, int R, int W)
{
    int ret;

    if (R < 1 || W < 1 || R > 1 << 15 || W > 1 << 15)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "pictures of %dx%d do not fit the VAE", W, R);
    if ((ret = half_acquire(half, d)) < 0)
        return ret;
    s->half = half;
    s->k = half->k;
    s->ex = ex;
    s->pool_cap = half->n * (KL_VAE_CONVS * 2 + 1) + 16;
    s->step = calloc((size_t)half->n, sizeof(*s->step));
    s->pool = calloc((size_t)s->pool_cap, sizeof(*s->pool));
    ret = s->step && s->pool ? open_steps(s, d, R, W)
                             : kl_fail_memory(d, "the VAE's cache", s->pool_cap * sizeof(*s->pool));
    if (ret < 0)
        kl_vae_stream_close(s);
    return ret;
}

void kl_vae_stream_close(KlVaeStream *s)
{
    if (!s->half)
        return;
    for (int i = 0; s->step && i < s->half->n; i++)
        for (int j = 0; j < KL_VAE_CONVS; j++)
            if (s->step[i].c[j].conv)
                s->k->conv_destroy(&s->step[i].c[j].conv);
    for (int i = 0; s->pool && i < s->pool_n; i++)
        s->k->mem_free(s->ex, s->pool[i].p);
    free(s->step);
    free(s->pool);
    half_release(s->half);
    *s = (KlVaeStream){ 0 };
}

/* -- running -- */

/* out = conv(x) + residual of one picture. */
static int conv_one(KlVaeStream *s, KlDiag *d, const KlConv *conv, const float *x, float *out, const float *residual)
{
    const float *src[1] = { x };
    int ret = kl_pace(d, s->k, s->ex);

    if (ret >= 0)
        s->k->conv(s->ex, conv, out, src, residual);
    return ret;
}

/* out = conv(past, x) + residual; past[] are the two pictures before x. */
static int conv_past(KlVaeStream *s, KlDiag *d, const KlConv *conv, float *const past[2], const float *x, float *out,
                     const float *residual)
{
    const float *src[3] = { past[0], past[1], x };
    int ret = kl_pace(d, s->k, s->ex);

    if (ret >= 0)
        s->k->conv(s->ex, conv, out, src, residual);
    return ret;
}

/* x becomes the newest of the past. */
static void remember(KlVaeStream *s, KlVaeCausal *c, float *x)
{
    kl_vae_give(s, c->past[0]);
    c->past[0] = c->past[1];
    c->past[1] = x;
}

static int run_causal(KlVaeStream *s, KlDiag *d, const KlVaeStage *st, KlVaeStep *step, float **x)
{
    float *out = kl_vae_take(s, d, (int64_t)step->R * step->W * st->out);
    int ret;

    if (!out)
        return KLING_ERROR_OUT_OF_MEMORY;
    if ((ret = conv_past(s, d, step->c[0].conv, step->c[0].past, *x, out, NULL)) < 0)
        return ret;
    remember(s, &step->c[0], *x);
    *x = out;
    return 0;
}

/* *x normalised for a convolution, in its place. */
static int norm_for_conv(KlVaeStream *s, KlDiag *d, int64_t pixels, int channels, const float *gamma, float **x)
{
    float *y = kl_vae_take_operand(s, d, *x, pixels, channels);

    if (!y)
        return KLING_ERROR_OUT_OF_MEMORY;
    s->k->pixel_norm(s->ex, y, *x, pixels, channels, gamma, KL_ACT_SILU, 1);
    if (y != *x)
        kl_vae_give(s, *x);
    *x = y;
    return 0;
}

static int run_head(KlVaeStream *s, KlDiag *d, const KlVaeStage *st, KlVaeStep *step, float **x)
{
    int64_t pixels = (int64_t)step->R * step->W;
    float **sum = step->c[0].past, *out = kl_vae_take(s, d, pixels * st->out), *later;
    int ret;

    if (!out)
        return KLING_ERROR_OUT_OF_MEMORY;
    if ((ret = norm_for_conv(s, d, pixels, st->in, st->gamma[0], x)) < 0 ||
        (ret = conv_one(s, d, step->c[0].conv, *x, out, sum[0])) < 0)
        return ret;
    kl_vae_give(s, sum[0]);
    sum[0] = sum[1];
    if (!sum[0] && !(sum[0] = kl_vae_take(s, d, pixels * st->out)))
        return KLING_ERROR_OUT_OF_MEMORY;
    if ((ret = conv_one(s, d, step->c[1].conv, *x, sum[0], sum[1])) < 0)
        return ret;
    if (!(later = kl_vae_take(s, d, pixels * st->out)))
        return KLING_ERROR_OUT_OF_MEMORY;
    sum[1] = later;
    if ((ret = conv_one(s, d, step->c[2].conv, *x, later, NULL)) < 0)
        return ret;
    kl_vae_give(s, *x);
    *x = out;
    return 0;
}

static int run_res(KlVaeStream *s, KlDiag *d, const KlVaeStage *st, KlVaeStep *step, float **x)
{
    int64_t pixels = (int64_t)step->R * step->W;
    bool shortcut = st->conv[2].w.data;
    float *h = *x, *a, *b;
    int ret;

    /* The residual: the input, or what a shortcut makes of it. */
    if (shortcut) {
        if (!(h = kl_vae_take(s, d, pixels * st->out)))
            return KLING_ERROR_OUT_OF_MEMORY;
        if ((ret = conv_one(s, d, step->c[2].conv, *x, h, NULL)) < 0)
            return ret;
    }
    if (!(a = kl_vae_take_operand(s, d, shortcut ? *x : NULL, pixels, st->in)))
        return KLING_ERROR_OUT_OF_MEMORY;
    s->k->pixel_norm(s->ex, a, *x, pixels, st->in, st->gamma[0], KL_ACT_SILU, 1);
    if (shortcut && a != *x)
        kl_vae_give(s, *x);
    if (!(b = kl_vae_take(s, d, pixels * st->out)))
        return KLING_ERROR_OUT_OF_MEMORY;
    if ((ret = conv_past(s, d, step->c[0].conv, step->c[0].past, a, b, NULL)) < 0)
        return ret;
    remember(s, &step->c[0], a);
    if ((ret = norm_for_conv(s, d, pixels, st->out, st->gamma[1], &b)) < 0 ||
        (ret = conv_past(s, d, step->c[1].conv, step->c[1].past, b, h, h)) < 0)
        return ret;
    remember(s, &step->c[1], b);
    *x = h;
    return 0;
}

static int run_attn(KlVaeStream *s, KlDiag *d, const KlVaeStage *st, const KlVaeStep *step, float *x)
{
    int64_t n = (int64_t)step->R * step->W, C = st->in, ld = 3 * C;
    const int operand = st->qkv.dtype != KL_I8;
    float *qkv = kl_vae_take(s, d, n * ld), *h = NULL;
    KlLinear in = { .ldx = C, .w = st->qkv, .bias = st->qkv_bias, .y = qkv, .ldy = ld, .M = n, .N = ld,
                    .K = C, .x_operand = operand };
    KlLinear out = { .x = qkv, .ldx = ld, .w = st->proj, .bias = st->proj_bias, .y = x, .ldy = C, .M = n, .N = C,
                     .K = C, .residual = x, .group_rows = 1 };
    KlAttention att = { .q = qkv, .ldq = ld, .k = qkv + C, .ldk = ld, .v = qkv + 2 * C, .ldv = ld, .out = qkv,
                        .ldo = ld, .Sq = n, .Sk = n, .H = 1, .E = st->in, .scale = (float)(1 / sqrt((double)C)) };
    int ret = kl_pace(d, s->k, s->ex);

    if (ret < 0)
        return ret;
    if (qkv)
        h = operand ? kl_vae_take_operand(s, d, NULL, n, st->in) : kl_vae_take(s, d, n * C);
    if (!h)
        return KLING_ERROR_OUT_OF_MEMORY;
    s->k->pixel_norm(s->ex, h, x, n, st->in, st->gamma[0], KL_ACT_NONE, operand);
    in.x = h;
    s->k->linear(s->ex, &in);
    kl_vae_give(s, h);
    if ((ret = kl_pace(d, s->k, s->ex)) < 0)
        return ret;
    s->k->attention(s->ex, &att);
    s->k->linear(s->ex, &out);
    kl_vae_give(s, qkv);
    return 0;
}

/* -- shortcuts and patches -- */

static int run_keep(KlVaeStream *s, KlDiag *d, const KlVaeStage *st, KlVaeStep *step, const float *x)
{
    int64_t n = (int64_t)step->R * step->W * st->in;

    if (!(step->kept = kl_vae_take(s, d, n)))
        return KLING_ERROR_OUT_OF_MEMORY;
    s->k->mem_copy(s->ex, step->kept, x, (size_t)n * sizeof(*x));
    return 0;
}

/* Runs the stage's shuffle for picture t of its T, between a fine and a coarse picture of R x W. */
static void shuffle(KlVaeStream *s, const KlVaeStage *st, int R, int W, int t, int add, const float *x, float *y)
{
    KlShuffle p = st->shuffle;

    p.R = R;
    p.W = W;
    p.t = t;
    p.add = add;
    p.x = x;
    p.y = y;
    if (st->kind == KL_VAE_FOLD || st->kind == KL_VAE_PATCH)
        s->k->shuffle_down(s->ex, &p);
    else
        s->k->shuffle_up(s->ex, &p);
}

/* With T of 2, the clip's first picture is the later of a pair whose earlier one is zeros. */
static int run_fold(KlVaeStream *s, KlDiag *d, const KlVaeStage *st, KlVaeStep *step, const float *x)
{
    int R = step->R / st->shuffle.f, W = step->W / st->shuffle.f;
    int t = st->shuffle.T == 2 && step->seen++ % 2 == 0;

    if (!step->kept && !(step->kept = kl_vae_take(s, d, (int64_t)R * W * st->shuffle.D)))
        return KLING_ERROR_OUT_OF_MEMORY;
    shuffle(s, st, R, W, t, t && step->seen > 1, x, step->kept);
    return 0;
}

static int run_patch(KlVaeStream *s, KlDiag *d, const KlVaeStage *st, const KlVaeStep *step, float **x)
{
    const bool down = st->kind == KL_VAE_PATCH;
    int R = step->R, W = step->W;
    float *out;

    kl_vae_out_size(st, &R, &W);
    if (!(out = kl_vae_take(s, d, (int64_t)R * W * st->out)))
        return KLING_ERROR_OUT_OF_MEMORY;
    shuffle(s, st, down ? R : step->R, down ? W : step->W, 0, 0, *x, out);
    kl_vae_give(s, *x);
    *x = out;
    return 0;
}

/* What the shortcut that ends at this stage adds, as a picture of the stage's output that is now the caller's: a
 * folded one as it is, a kept one shuffled up to number t of its T. NULL without an error: there is no shortcut. */
static int take_shortcut(KlVaeStream *s, KlDiag *d, const KlVaeStage *st, const KlVaeStep *step, int t, float **out)
{
    const bool up = st->kind == KL_VAE_UP || st->kind == KL_VAE_UP_TIME;
    KlVaeStep *from = &s->step[st->kept];

    *out = NULL;
    if (!st->kept)
        return 0;
    if (!up) {
        *out = from->kept;
        from->kept = NULL;
        return 0;
    }
    if (!(*out = kl_vae_take(s, d, 4 * (int64_t)step->R * step->W * st->out)))
        return KLING_ERROR_OUT_OF_MEMORY;
    shuffle(s, st, step->R, step->W, t, 0, from->kept, *out);
    if (t == st->shuffle.T - 1) {
        kl_vae_give(s, from->kept);
        from->kept = NULL;
    }
    return 0;
}

static int run_add(KlVaeStream *s, KlDiag *d, const KlVaeStage *st, const KlVaeStep *step, float *x)
{
    float *kept;
    int ret = take_shortcut(s, d, st, step, 0, &kept);

    s->k->gated_add(s->ex, x, kept, (int64_t)step->R * step->W, st->in, NULL, 0, 1);
    kl_vae_give(s, kept);
    return ret;
}

/* -- resampling -- */

/* x's successor after the stage's spatial convolution and shortcut, of whose T pictures this is number t; x returns to
 * the pool. */
static int run_resize(KlVaeStream *s, KlDiag *d, const KlVaeStage *st, const KlVaeStep *step, int t, float **x)
{
    int R = step->R, W = step->W, ret;
    float *out = NULL, *add = NULL;

    /* of a DOWN_TIME the shortcut ends after the halving in time */
    if (st->kind != KL_VAE_DOWN_TIME && (ret = take_shortcut(s, d, st, step, t, &add)) < 0)
        return ret;
    kl_vae_out_size(st, &R, &W);
    if (!(out = add) && !(out = kl_vae_take(s, d, (int64_t)R * W * st->out)))
        return KLING_ERROR_OUT_OF_MEMORY;
    if ((ret = conv_one(s, d, step->c[0].conv, *x, out, add)) < 0)
        return ret;
    kl_vae_give(s, *x);
    *x = out;
    return 0;
}

static int run_from(KlVaeStream *s, KlDiag *d, int i, float *x);

/* Two pictures from one and its past; the earlier goes all the way out before the later is made. The clip's first
 * picture is passed on alone, as a later one, and, as in the reference, not remembered. */
static int run_up_time(KlVaeStream *s, KlDiag *d, int i, float **x)
{
    const KlVaeStage *st = &s->half->stage[i];
    KlVaeStep *step = &s->step[i];
    KlVaeCausal *c = &step->c[1];
    float *in = *x;
    int ret;

    for (int j = 1; step->seen && j <= 2; j++) {
        float *y = kl_vae_take(s, d, (int64_t)step->R * step->W * st->in);

        if (!y)
            return KLING_ERROR_OUT_OF_MEMORY;
        if ((ret = conv_past(s, d, step->c[j].conv, c->past, in, y, NULL)) < 0)
            return ret;
        if (j == 2)
            remember(s, c, in);
        if ((ret = run_resize(s, d, st, step, j - 1, &y)) < 0 || (j == 1 && (ret = run_from(s, d, i + 1, y))))
            return ret;
        *x = y;
    }
    return step->seen++ ? 0 : run_resize(s, d, st, step, 1, x);
}

/* Halved in space; then every second picture after the first comes out, made from itself and the two before it. *x is
 * NULL when none does. */
static int run_down_time(KlVaeStream *s, KlDiag *d, const KlVaeStage *st, KlVaeStep *step, float **x)
{
    KlVaeCausal *c = &step->c[1];
    int64_t pixels = (int64_t)(step->R / 2) * (step->W / 2), n = pixels * st->out;
    int64_t index = step->seen++;
    float *y, *add;
    int ret = run_resize(s, d, st, step, 0, x);

    if (ret < 0)
        return ret;
    if (index & 1) {
        c->past[1] = *x;
        *x = NULL;
        return 0;
    }
    if ((ret = take_shortcut(s, d, st, step, 0, &add)) < 0)
        return ret;
    if (!(y = add) && !(y = kl_vae_take(s, d, n)))
        return KLING_ERROR_OUT_OF_MEMORY;
    if (!index) {
        if (add)
            s->k->gated_add(s->ex, y, *x, pixels, st->out, NULL, 0, 1);
        else
            s->k->mem_copy(s->ex, y, *x, (size_t)n * sizeof(*y));
    } else {
        if ((ret = conv_past(s, d, c->conv, c->past, *x, y, add)) < 0)
            return ret;
        kl_vae_give(s, c->past[0]);
        kl_vae_give(s, c->past[1]);
    }
    c->past[0] = *x;
    c->past[1] = NULL;
    *x = y;
    return 0;
}

/* x through stages i, i+1, ... and out. */
static int run_from(KlVaeStream *s, KlDiag *d, int i, float *x)
{
    int ret = 0;

    for (; i < s->half->n && x; i++) {
        const KlVaeStage *st = &s->half->stage[i];
        KlVaeStep *step = &s->step[i];

        switch (st->kind) {
        case KL_VAE_CONV:
            ret = run_causal(s, d, st, step, &x);
            break;
        case KL_VAE_HEAD:
            ret = run_head(s, d, st, step, &x);
            break;
        case KL_VAE_RES:
            ret = run_res(s, d, st, step, &x);
            break;
        case KL_VAE_ATTN:
            ret = run_attn(s, d, st, step, x);
            break;
        case KL_VAE_KEEP:
            ret = run_keep(s, d, st, step, x);
            break;
        case KL_VAE_FOLD:
            ret = run_fold(s, d, st, step, x);
            break;
        case KL_VAE_ADD:
            ret = run_add(s, d, st, step, x);
            break;
        case KL_VAE_PATCH:
        case KL_VAE_UNPATCH:
            ret = run_patch(s, d, st, step, &x);
            break;
        case KL_VAE_UP:
        case KL_VAE_DOWN:
            ret = run_resize(s, d, st, step, 0, &x);
            break;
        case KL_VAE_UP_TIME:
            ret = run_up_time(s, d, i, &x);
            break;
        case KL_VAE_DOWN_TIME:
            ret = run_down_time(s, d, st, step, &x);
            break;
        }
        if (ret)
            return ret;
    }
    if (!x)
        return 0;
    ret = s->sink(s->opaque, d, x);
    kl_vae_give(s, x);
    return ret;
}

int kl_vae_push(KlVaeStream *s, KlDiag *d, float *x)
{
    if (s->failed)
        return kl_fail(d, s->failed < 0 ? s->failed : KLING_ERROR_INTERNAL, "the VAE was stopped half way");
    return s->failed = run_from(s, d, 0, x);
}
