/*
 * What the VAE's stages do to sizes, and what they cost: memory, multiply-adds.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "vae_internal.h"

KlConvDesc kl_vae_conv_desc(const KlVaeStage *st, int j, int R, int W)
{
    const KlVaeConv *c = &st->conv[j];
    int pad = c->kh / 2;
    KlConvDesc desc = {
        .ic = c->ic, .oc = c->oc, .kt = c->kt, .kh = c->kh, .kw = c->kw, .stride = 1,
        .pad_top = pad, .pad_left = pad, .pad_bottom = pad, .pad_right = pad, .R = R, .W = W,
    };

    /* both of a residual block, and all of a head, follow a norm */
    desc.operand = st->kind == KL_VAE_HEAD || (st->kind == KL_VAE_RES && j < 2);
    if (j == 0 && (st->kind == KL_VAE_UP || st->kind == KL_VAE_UP_TIME))
        desc.up2 = 1;
    if (j == 0 && (st->kind == KL_VAE_DOWN || st->kind == KL_VAE_DOWN_TIME)) {
        desc.stride = 2;
        desc.pad_top = desc.pad_left = 0;
    } else if (j == 1 && st->kind == KL_VAE_DOWN_TIME) {
        desc.R /= 2;                    /* it follows the halving in space */
        desc.W /= 2;
    }
    return desc;
}

void kl_vae_out_size(const KlVaeStage *st, int *R, int *W)
{
    if (st->kind == KL_VAE_UP || st->kind == KL_VAE_UP_TIME) {
        *R *= 2;
        *W *= 2;
    } else if (st->kind == KL_VAE_DOWN || st->kind == KL_VAE_DOWN_TIME) {
        *R /= 2;
        *W /= 2;
    } else if (st->kind == KL_VAE_UNPATCH) {
        *R *= st->shuffle.f;
        *W *= st->shuffle.f;
    } else if (st->kind == KL_VAE_PATCH) {
        *R /= st->shuffle.f;
        *W /= st->shuffle.f;
    }
}

/* Pictures that a stage has in hand at once, its input included and its past not, in floats; in and out are the sizes
 * of one at its input and its output. */
static double in_hand(const KlVaeStage *st, double in, double out)
{
    switch (st->kind) {
    case KL_VAE_RES:                    /* the input, its successor, and the residual */
        return in + 2 * out;
    case KL_VAE_ATTN:                   /* with its normalised copy, queries, keys and values */
        return 5 * in;
    case KL_VAE_UP_TIME:                /* the input, one of the two made of it, and that doubled */
        return 2 * in + out;
    case KL_VAE_DOWN_TIME:              /* halved, then made one of two: the input is gone */
        return KL_MAX(in + out, 2 * out);
    case KL_VAE_KEEP:
    case KL_VAE_FOLD:
    case KL_VAE_ADD:
        return in;
    default:
        return in + out;
    }
}

/* What the convolutions of a stage remember, in floats. */
static double past(const KlVaeStage *st, int R, int W)
{
    double sum = 0;

    if (st->kind == KL_VAE_HEAD)
        return 2.0 * R * W * st->out;
    for (int j = 0; j < KL_VAE_CONVS; j++) {
        KlConvDesc e = kl_vae_conv_desc(st, j, R, W);

        if (st->conv[j].w.data && e.kt == 3 && !(st->kind == KL_VAE_UP_TIME && j == 2))  /* its two share one past */
            sum += 2.0 * e.R * e.W * e.ic;
    }
    return sum;
}

/* Packed weights of convolution j: a doubling's 3x3 may be kept as four 2x2s as well. */
static double packed_floats(const KlVaeStage *st, int j)
{
    const KlVaeConv *c = &st->conv[j];
    const bool doubled = j == 0 && (st->kind == KL_VAE_UP || st->kind == KL_VAE_UP_TIME);

    return c->w.data ? (double)c->ic * c->oc * c->kt * (c->kh * c->kw + (doubled ? 16 : 0)) : 0;
}

size_t kl_vae_stream_bytes(const KlVaeHalf *h, int R, int W)
{
    double packed = 0, pasts = 0, kept = 0, outer = 0, most = 0;

    for (int i = 0; i < h->n; i++) {
        const KlVaeStage *st = &h->stage[i];
        const bool time = st->kind == KL_VAE_UP_TIME;
        double in = (double)R * W * st->in, out, begins = st->kind == KL_VAE_KEEP ? in : 0, folded = 0;

        for (int j = 0; j < KL_VAE_CONVS; j++)
            packed += packed_floats(st, j);
        pasts += past(st, R, W);
        if (st->kind == KL_VAE_FOLD)
            folded = (double)(R / st->shuffle.f) * (W / st->shuffle.f) * st->shuffle.D;
        if (folded && st->shuffle.T == 2)   /* stays until the second picture comes */
            pasts += folded;
        else if (folded)
            begins = folded;
        kept = begins ? begins : kept;
        kl_vae_out_size(st, &R, &W);
        out = (double)R * W * st->out;
        most = KL_MAX(most, outer + kept + in_hand(st, in, out));
        if (time)                       /* waits with them while the earlier picture goes all the way */
            outer += in + kept;
        if (st->kept || time)
            kept = 0;
    }
    return (size_t)(sizeof(float) * (packed + pasts + most));
}

double kl_vae_stream_flops(const KlVaeStream *s, double pictures)
{
    double sum = 0;

    for (int i = 0; i < s->half->n; i++) {
        const KlVaeStage *st = &s->half->stage[i];
        const KlVaeStep *step = &s->step[i];
        double in = pictures, out = pictures;

        if (st->kind == KL_VAE_UP_TIME)
            out = 2 * in;
        else if (st->kind == KL_VAE_DOWN_TIME)
            out = in / 2;
        for (int j = 0; j < KL_VAE_CONVS; j++) {
            const KlVaeConv *c = &st->conv[j];
            KlConvDesc e = kl_vae_conv_desc(st, j, step->R, step->W);
            double pixels = (double)kl_conv_out(e.R, e.up2, e.kh, e.stride, e.pad_top + e.pad_bottom) *
                            kl_conv_out(e.W, e.up2, e.kw, e.stride, e.pad_left + e.pad_right);
            double taps = e.up2 && e.kh == 3 ? 4 : c->kh * c->kw;  /* executed as four 2x2s */
            bool late = st->kind == KL_VAE_UP_TIME ? j == 0 : st->kind == KL_VAE_DOWN_TIME && j == 1;

            if (c->w.data)
                sum += (late ? out : in) * pixels * c->ic * c->oc * c->kt * taps;
        }
        if (st->kind == KL_VAE_ATTN) {
            double n = (double)step->R * step->W;

            sum += in * n * st->in * (4.0 * st->in + 2 * n);
        }
        pictures = out;
    }
    return 2 * sum;
}
