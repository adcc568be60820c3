/*
 * Latent frames to pictures.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "vae_internal.h"

#include <stdio.h>
#include <stdlib.h>

struct KlVaeDecoder {
    KlVaeStream s;
    int z, R, W;
    KlVaePictureFn fn;                  /* of the running kl_vae_decode() */
    void *opaque;
};

/* x*std + mean, then post_quant_conv: both are linear per pixel, so one matrix does it. */
static int bind_mix(KlDiag *d, const KlWeights *w, const KlVaeConfig *c, KlVaeHalf *h)
{
    int64_t z = c->z_dim, shape[5] = { z, z, 1, 1, 1 };
    int ret;

    if ((ret = kl_weights_get_f32(d, w, "post_quant_conv.weight", 5, shape, &h->mix_w)) < 0 ||
        (ret = kl_weights_get_f32(d, w, "post_quant_conv.bias", 1, &z, &h->mix_b)) < 0)
        return ret;
    for (int o = 0; o < z; o++) {
        double b = h->mix_b[o];

        for (int i = 0; i < z; i++) {
            float *p = &h->mix_w[o * z + i];

            b += (double)*p * c->mean[i];
            *p = (float)((double)*p * c->std[i]);
        }
        h->mix_b[o] = (float)b;
    }
    return kl_vae_bind_mix(d, h, z, z);
}

static int bind_upsampler(KlDiag *d, const KlWeights *w, const KlVaeConfig *cfg, int block, int c, bool time,
                          KlVaeStage *s)
{
    const char *at = cfg->residual ? "upsampler" : "upsamplers.0";
    const int out = cfg->residual ? c : c / 2;
    char name[128];
    int ret;

    s->kind = time ? KL_VAE_UP_TIME : KL_VAE_UP;
    s->in = c;
    s->out = out;
    snprintf(name, sizeof(name), "decoder.up_blocks.%d.%s.resample.1", block, at);
    if ((ret = kl_vae_bind_conv(d, w, name, c, out, 1, 3, 3, &s->conv[0])) < 0 || !time)
        return ret;
    /* One convolution of twice the channels in the reference: the first half of them is the earlier picture. Two
     * here, so that each picture is dense and the earlier can leave first. */
    snprintf(name, sizeof(name), "decoder.up_blocks.%d.%s.time_conv", block, at);
    if ((ret = kl_vae_bind_conv(d, w, name, c, 2 * c, 3, 1, 1, &s->conv[1])) < 0)
        return ret;
    s->conv[1].oc = c;
    s->conv[2] = s->conv[1];
    s->conv[2].bias = NULL;             /* conv[1] owns it */
    s->conv[2].pack_bias = s->conv[1].bias + c;
    s->conv[2].w = kl_weight_from(s->conv[1].w, (int64_t)c * c * 3);
    return 0;
}

/* One level: residual blocks and, but for the last, an upsampling; around both a shortcut where the VAE has them.
 * Returns the channels that it hands on, or a status. */
static int bind_level(KlDiag *d, const KlWeights *w, const KlVaeConfig *c, int block, int in, KlVaeHalf *h,
                      KlVaeStage **s)
{
    const int level = c->levels - 1 - block, out = kl_vae_decoder_width(c, level), wide = in;
    const bool time = level && c->temporal_down[level - 1];
    int keep = 0, ret;

    if (c->residual && level) {
        keep = (int)(*s - h->stage);
        **s = (KlVaeStage){ .kind = KL_VAE_KEEP, .in = in, .out = in };
        ++*s;
    }
    for (int j = 0; j <= c->res_blocks; j++) {
        char name[64];

        snprintf(name, sizeof(name), "decoder.up_blocks.%d.resnets.%d", block, j);
        if ((ret = kl_vae_bind_res(d, h->k, w, name, in, out, (*s)++)) < 0)
            return ret;
        in = out;
    }
    if (!level)
        return out;
    if ((ret = bind_upsampler(d, w, c, block, out, time, *s)) < 0)
        return ret;
    (*s)->kept = keep;
    if (keep)
        (*s)->shuffle = (KlShuffle){ .C = out, .D = wide, .f = 2, .T = time ? 2 : 1 };
    return (*s)++->out;
}

int kl_vae_decoder_bind(KlDiag *d, const KlWeights *w, const KlVae *vae, KlVaeHalf **half)
{
    const KlVaeConfig *c = &vae->cfg;
    int top = kl_vae_decoder_width(c, c->levels), in = top, colours = kl_vae_picture_channels(c), ret;
    KlVaeStage *s;

    if ((ret = kl_vae_half_alloc(d, vae->k, 1 + 3 + c->levels * (c->res_blocks + 1) +
                                 (c->levels - 1) * (1 + c->residual) + 1 + (c->patch > 0), half)) < 0)
        return ret;
    s = (*half)->stage;
    if ((ret = bind_mix(d, w, c, *half)) < 0 ||
        (ret = kl_vae_bind_causal(d, w, "decoder.conv_in", c->z_dim, top, s++)) < 0 ||
        (ret = kl_vae_bind_mid(d, vae->k, w, "decoder", top, s)) < 0)
        goto fail;
    s += 3;
    for (int i = 0; i < c->levels; i++)
        if ((ret = in = bind_level(d, w, c, i, in, *half, &s)) < 0)
            goto fail;
    if ((ret = kl_vae_bind_head(d, vae->k, w, "decoder", in, colours, s++)) < 0)
        goto fail;
    if (c->patch)
        kl_vae_bind_shuffle(s, KL_VAE_UNPATCH, 3, colours, c->patch, 1);
    return 0;
fail:
    kl_vae_half_free(half);
    return ret;
}

static int give_picture(void *opaque, KlDiag *d, const float *x)
{
    KlVaeDecoder *dec = opaque;

    (void)d;
    return dec->fn(dec->opaque, x);
}

int kl_vae_decoder_create(const KlVae *vae, KlExec *ex, KlDiag *d, int R, int W, KlVaeDecoder **out)
{
    KlVaeDecoder *dec = calloc(1, sizeof(*dec));
    int ret;

    *out = NULL;
    if (!dec)
        return kl_fail_memory(d, "a VAE decoder", sizeof(*dec));
    dec->z = vae->cfg.z_dim;
    dec->R = R;
    dec->W = W;
    dec->s.sink = give_picture;
    dec->s.opaque = dec;
    if ((ret = kl_vae_stream_open(&dec->s, d, vae->dec, ex, R, W)) < 0) {
        free(dec);
        return ret;
    }
    *out = dec;
    return 0;
}

void kl_vae_decoder_destroy(KlVaeDecoder **dec)
{
    if (!*dec)
        return;
    kl_vae_stream_close(&(*dec)->s);
    free(*dec);
    *dec = NULL;
}

int kl_vae_decode(KlVaeDecoder *dec, KlDiag *d, const float *z, int64_t ldz, KlVaePictureFn fn, void *opaque)
{
    KlVaeStream *s = &dec->s;
    int64_t n = (int64_t)dec->R * dec->W, C = dec->z;
    float *planes, *tok, *x;
    KlLinear mix = { .ldx = C, .w = s->half->mix, .bias = s->half->mix_b, .ldy = C, .M = n, .N = C,
                     .K = C, .precise = 1 };

    if (!(planes = kl_vae_take(s, d, n * C)) || !(tok = kl_vae_take(s, d, n * C)))
        return KLING_ERROR_OUT_OF_MEMORY;
    for (int c = 0; c < C; c++)
        s->k->mem_copy(s->ex, planes + c * n, z + c * ldz, (size_t)n * sizeof(*z));
    s->k->patchify(s->ex, tok, planes, dec->z, 1, dec->R, dec->W, 1, 1);
    x = planes;
    mix.x = tok;
    mix.y = x;
    s->k->linear(s->ex, &mix);
    kl_vae_give(s, tok);
    dec->fn = fn;
    dec->opaque = opaque;
    return kl_vae_push(s, d, x);
}

size_t kl_vae_decoder_bytes(const KlVae *vae, int R, int W)
{
    return kl_vae_stream_bytes(vae->dec, R, W);
}

double kl_vae_decode_flops(const KlVaeDecoder *dec)
{
    return kl_vae_stream_flops(&dec->s, 1) + 2.0 * dec->R * dec->W * dec->z * dec->z;
}
