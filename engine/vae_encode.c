/*
 * Pictures to latent frames.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "vae_internal.h"

#include <stdio.h>
#include <stdlib.h>

struct KlVaeEncoder {
    KlVaeStream s;
    int z, R, W;                        /* of the pictures */
    int chunk;                          /* pictures per latent frame after the first */
    bool first;
    float *mean;                        /* of the running kl_vae_encode() */
    int64_t ldz;
    int made;
};

/* quant_conv's mean half, then (x - mean) / std, as one matrix. Of its 2z outputs the second half is the
 * log-variance, which a mode does not need. */
static int bind_mix(KlDiag *d, const KlWeights *w, const KlVaeConfig *c, KlVaeHalf *h)
{
    int64_t z = c->z_dim, n = 2 * z, shape[5] = { n, n, 1, 1, 1 };
    int ret;

    if ((ret = kl_weights_get_f32(d, w, "quant_conv.weight", 5, shape, &h->mix_w)) < 0 ||
        (ret = kl_weights_get_f32(d, w, "quant_conv.bias", 1, &n, &h->mix_b)) < 0)
        return ret;
    for (int o = 0; o < z; o++) {
        for (int i = 0; i < n; i++)
            h->mix_w[o * n + i] = (float)((double)h->mix_w[o * n + i] / c->std[o]);
        h->mix_b[o] = (float)(((double)h->mix_b[o] - c->mean[o]) / c->std[o]);
    }
    return kl_vae_bind_mix(d, h, z, n);
}

static int bind_downsampler(KlDiag *d, const KlWeights *w, const char *at, int c, bool time, KlVaeStage *s)
{
    char name[128];
    int ret;

    s->kind = time ? KL_VAE_DOWN_TIME : KL_VAE_DOWN;
    s->in = s->out = c;
    snprintf(name, sizeof(name), "%s.resample.1", at);
    if ((ret = kl_vae_bind_conv(d, w, name, c, c, 1, 3, 3, &s->conv[0])) < 0 || !time)
        return ret;
    snprintf(name, sizeof(name), "%s.time_conv", at);
    return kl_vae_bind_conv(d, w, name, c, c, 3, 1, 1, &s->conv[1]);
}

/* One level: residual blocks and, but for the last, a downsampling; around both a shortcut where the VAE has them.
 * Without, the reference's blocks are one flat list, and *flat is the next number in it. */
static int bind_level(KlDiag *d, const KlWeights *w, const KlVaeConfig *c, int level, int *flat, KlVaeHalf *h,
                      KlVaeStage **s)
{
    const bool last = level == c->levels - 1, time = !last && c->temporal_down[level];
    int in = kl_vae_encoder_width(c, level - 1), out = kl_vae_encoder_width(c, level), fold = 0, ret;
    char at[64];

    if (c->residual) {
        fold = (int)(*s - h->stage);
        kl_vae_bind_shuffle((*s)++, KL_VAE_FOLD, in, out, last ? 1 : 2, time ? 2 : 1);
    }
    for (int j = 0; j < c->res_blocks; j++) {
        if (c->residual)
            snprintf(at, sizeof(at), "encoder.down_blocks.%d.resnets.%d", level, j);
        else
            snprintf(at, sizeof(at), "encoder.down_blocks.%d", (*flat)++);
        if ((ret = kl_vae_bind_res(d, h->k, w, at, in, out, (*s)++)) < 0)
            return ret;
        in = out;
    }
    if (last) {
        if (fold)
            *(*s)++ = (KlVaeStage){ .kind = KL_VAE_ADD, .in = out, .out = out, .kept = fold };
        return 0;
    }
    if (c->residual)
        snprintf(at, sizeof(at), "encoder.down_blocks.%d.downsampler", level);
    else
        snprintf(at, sizeof(at), "encoder.down_blocks.%d", (*flat)++);
    (*s)->kept = fold;
    return bind_downsampler(d, w, at, out, time, (*s)++);
}

int kl_vae_encoder_bind(KlDiag *d, const KlWeights *w, const KlVae *vae, KlVaeHalf **half)
{
    const KlVaeConfig *c = &vae->cfg;
    int colours = kl_vae_picture_channels(c), out = kl_vae_encoder_width(c, c->levels - 1), flat = 0, ret;
    KlVaeStage *s;

    if ((ret = kl_vae_half_alloc(d, vae->k, (c->patch > 0) + 1 + c->levels * (c->res_blocks + c->residual) +
                                 c->levels - 1 + c->residual + 3 + 1, half)) < 0)
        return ret;
    s = (*half)->stage;
    if (c->patch)
        kl_vae_bind_shuffle(s++, KL_VAE_PATCH, 3, colours, c->patch, 1);
    if ((ret = bind_mix(d, w, c, *half)) < 0 ||
        (ret = kl_vae_bind_causal(d, w, "encoder.conv_in", colours, c->base_dim, s++)) < 0)
        goto fail;
    for (int l = 0; l < c->levels; l++)
        if ((ret = bind_level(d, w, c, l, &flat, *half, &s)) < 0)
            goto fail;
    if ((ret = kl_vae_bind_mid(d, vae->k, w, "encoder", out, s)) < 0 ||
        (ret = kl_vae_bind_head(d, vae->k, w, "encoder", out, 2 * c->z_dim, s + 3)) < 0)
        goto fail;
    return 0;
fail:
    kl_vae_half_free(half);
    return ret;
}

/* h[R,W,2z], the encoder's last picture, to mean[z][R,W]. */
static int give_latent(void *opaque, KlDiag *d, const float *h)
{
    KlVaeEncoder *enc = opaque;
    KlVaeStream *s = &enc->s;
    int64_t n = (int64_t)s->out_R * s->out_W, z = enc->z;
    float *tok = kl_vae_take(s, d, n * z), *planes = tok ? kl_vae_take(s, d, n * z) : NULL;
    KlLinear mix = { .x = h, .ldx = 2 * z, .w = s->half->mix, .bias = s->half->mix_b, .y = tok,
                     .ldy = z, .M = n, .N = z, .K = 2 * z };

    if (!planes)
        return KLING_ERROR_OUT_OF_MEMORY;
    s->k->linear(s->ex, &mix);
    s->k->unpatchify(s->ex, planes, tok, enc->z, 1, s->out_R, s->out_W, 1, 1);
    for (int c = 0; c < z; c++)
        s->k->mem_copy(s->ex, enc->mean + c * enc->ldz, planes + c * n, (size_t)n * sizeof(*planes));
    kl_vae_give(s, tok);
    kl_vae_give(s, planes);
    enc->made++;
    return 0;
}

int kl_vae_encoder_create(const KlVae *vae, KlExec *ex, KlDiag *d, int R_px, int W_px, KlVaeEncoder **out)
{
    int factor = kl_vae_space_factor(vae), ret;
    KlVaeEncoder *enc;

    *out = NULL;
    if (!vae->enc)
        return kl_fail(d, KLING_ERROR_NOT_FOUND, "%s has no encoder: give a VAE file that has one", vae->path);
    if (R_px < 1 || W_px < 1 || R_px % factor || W_px % factor)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "pictures of %dx%d cannot be encoded: sides must be multiples of "
                       "%d", W_px, R_px, factor);
    if (!(enc = calloc(1, sizeof(*enc))))
        return kl_fail_memory(d, "a VAE encoder", sizeof(*enc));
    enc->z = vae->cfg.z_dim;
    enc->R = R_px;
    enc->W = W_px;
    enc->chunk = kl_vae_time_factor(vae);
    enc->first = true;
    enc->s.sink = give_latent;
    enc->s.opaque = enc;
    if ((ret = kl_vae_stream_open(&enc->s, d, vae->enc, ex, R_px, W_px)) < 0) {
        free(enc);
        return ret;
    }
    *out = enc;
    return 0;
}

void kl_vae_encoder_destroy(KlVaeEncoder **enc)
{
    if (!*enc)
        return;
    kl_vae_stream_close(&(*enc)->s);
    free(*enc);
    *enc = NULL;
}

bool kl_vae_has_encoder(const KlVae *vae)
{
    return vae->enc != NULL;
}

size_t kl_vae_encoder_bytes(const KlVae *vae, int R_px, int W_px)
{
    return vae->enc ? kl_vae_stream_bytes(vae->enc, R_px, W_px) : 0;
}

int kl_vae_encode(KlVaeEncoder *enc, KlDiag *d, const float *const *x, int n, float *mean, int64_t ldz)
{
    int64_t floats = (int64_t)enc->R * enc->W * 3;
    int ret;

    if (n != (enc->first ? 1 : enc->chunk))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "%d pictures given to the VAE's encoder, which takes 1 at first and "
                       "then %d at a time", n, enc->chunk);
    enc->first = false;
    enc->mean = mean;
    enc->ldz = ldz;
    for (int i = 0; i < n; i++) {
        float *own = kl_vae_take(&enc->s, d, floats);

        if (!own)
            return KLING_ERROR_OUT_OF_MEMORY;
        enc->s.k->mem_copy(enc->s.ex, own, x[i], (size_t)floats * sizeof(*own));
        if ((ret = kl_vae_push(&enc->s, d, own)) < 0)
            return ret;
    }
    return 0;
}
