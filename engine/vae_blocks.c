/*
 * Binding the VAE's stages to named tensors, and packing their convolutions.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "bind.h"
#include "vae_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LEN 160

int kl_vae_half_alloc(KlDiag *d, const KlKernels *k, int stages, KlVaeHalf **half)
{
    KlVaeHalf *h = calloc(1, sizeof(*h));

    *half = NULL;
    if (h)
        h->stage = calloc((size_t)stages, sizeof(*h->stage));
    if (!h || !h->stage || pthread_mutex_init(&h->lock, NULL)) {
        free(h ? h->stage : NULL);
        free(h);
        return kl_fail_memory(d, "the VAE's description", stages * sizeof(*h->stage));
    }
    h->k = k;
    h->n = stages;
    *half = h;
    return 0;
}

void kl_vae_half_free(KlVaeHalf **half)
{
    KlVaeHalf *h = *half;

    if (!h)
        return;
    for (int i = 0; i < h->n; i++) {
        KlVaeStage *s = &h->stage[i];

        for (int j = 0; j < KL_VAE_CONVS; j++) {
            free(s->conv[j].bias);
            free(s->conv[j].own);
        }
        h->k->vector_release(h->k, &s->gamma[0]);
        h->k->vector_release(h->k, &s->gamma[1]);
        h->k->weight_release(h->k, &s->qkv);
        h->k->weight_release(h->k, &s->proj);
        h->k->vector_release(h->k, &s->qkv_bias);
        h->k->vector_release(h->k, &s->proj_bias);
    }
    free(h->stage);
    h->k->weight_release(h->k, &h->mix);
    h->k->vector_release(h->k, &h->mix_b);
    free(h->mix_w);
    pthread_mutex_destroy(&h->lock);
    free(h);
    *half = NULL;
}

int kl_vae_bind_conv(KlDiag *d, const KlWeights *w, const char *name, int ic, int oc, int kt, int kh, int kw,
                     KlVaeConv *c)
{
    char full[NAME_MAX_LEN];
    int64_t shape[5] = { oc, ic, kt, kh, kw }, flat[4] = { oc, ic, kh, kw }, n = oc;
    bool video = kt > 1 || kh == 1;     /* a Conv3d in the reference, else a Conv2d */
    int ret;

    c->ic = ic;
    c->oc = oc;
    c->kt = kt;
    c->kh = kh;
    c->kw = kw;
    snprintf(full, sizeof(full), "%s.weight", name);
    if ((ret = kl_weights_get(d, w, full, video ? 5 : 4, video ? shape : flat, &c->w)) < 0)
        return ret;
    snprintf(full, sizeof(full), "%s.bias", name);
    ret = kl_weights_get_f32(d, w, full, 1, &n, &c->bias);
    c->pack_bias = c->bias;
    return ret;
}

int kl_vae_bind_mix(KlDiag *d, KlVaeHalf *h, int64_t n, int64_t k)
{
    int ret;

    h->mix = (KlWeight){ .data = h->mix_w, .dtype = KL_F32 };
    if ((ret = kl_bind_weight(d, h->k, "the VAE's latent scaling", &h->mix, n, k)) < 0)
        return ret;
    return kl_bind_vector(d, h->k, "the VAE's latent scaling", &h->mix_b, n);
}

int kl_vae_bind_gamma(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *name, int ndim, int c,
                      float **gamma)
{
    int64_t shape[4] = { c, 1, 1, 1 };

    return kl_bind_f32(d, k, w, name, ndim, shape, gamma);
}

int kl_vae_bind_causal(KlDiag *d, const KlWeights *w, const char *name, int ic, int oc, KlVaeStage *s)
{
    s->kind = KL_VAE_CONV;
    s->in = ic;
    s->out = oc;
    return kl_vae_bind_conv(d, w, name, ic, oc, 3, 3, 3, &s->conv[0]);
}

int kl_vae_bind_res(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *prefix,
                    int in, int out, KlVaeStage *s)
{
    char name[NAME_MAX_LEN - 16];
    int ret;

    s->kind = KL_VAE_RES;
    s->in = in;
    s->out = out;
    snprintf(name, sizeof(name), "%s.norm1.gamma", prefix);
    if ((ret = kl_vae_bind_gamma(d, k, w, name, 4, in, &s->gamma[0])) < 0)
        return ret;
    snprintf(name, sizeof(name), "%s.conv1", prefix);
    if ((ret = kl_vae_bind_conv(d, w, name, in, out, 3, 3, 3, &s->conv[0])) < 0)
        return ret;
    snprintf(name, sizeof(name), "%s.norm2.gamma", prefix);
    if ((ret = kl_vae_bind_gamma(d, k, w, name, 4, out, &s->gamma[1])) < 0)
        return ret;
    snprintf(name, sizeof(name), "%s.conv2", prefix);
    if ((ret = kl_vae_bind_conv(d, w, name, out, out, 3, 3, 3, &s->conv[1])) < 0 || in == out)
        return ret;
    snprintf(name, sizeof(name), "%s.conv_shortcut", prefix);
    return kl_vae_bind_conv(d, w, name, in, out, 1, 1, 1, &s->conv[2]);
}

int kl_vae_bind_attn(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *prefix, int c, KlVaeStage *s)
{
    char name[NAME_MAX_LEN];
    int64_t n = 3 * (int64_t)c, m = c;
    int ret;

    s->kind = KL_VAE_ATTN;
    s->in = s->out = c;
    snprintf(name, sizeof(name), "%s.norm.gamma", prefix);
    if ((ret = kl_vae_bind_gamma(d, k, w, name, 3, c, &s->gamma[0])) < 0)
        return ret;
    snprintf(name, sizeof(name), "%s.to_qkv.weight", prefix);
    if ((ret = kl_bind_matrix(d, k, w, name, n, c, &s->qkv)) < 0)
        return ret;
    snprintf(name, sizeof(name), "%s.to_qkv.bias", prefix);
    if ((ret = kl_bind_f32(d, k, w, name, 1, &n, &s->qkv_bias)) < 0)
        return ret;
    snprintf(name, sizeof(name), "%s.proj.weight", prefix);
    if ((ret = kl_bind_matrix(d, k, w, name, c, c, &s->proj)) < 0)
        return ret;
    snprintf(name, sizeof(name), "%s.proj.bias", prefix);
    return kl_bind_f32(d, k, w, name, 1, &m, &s->proj_bias);
}

void kl_vae_bind_shuffle(KlVaeStage *s, KlVaeKind kind, int C, int D, int f, int T)
{
    s->kind = kind;
    s->in = kind == KL_VAE_UNPATCH ? D : C;
    s->out = kind == KL_VAE_PATCH ? D : C;
    s->shuffle = (KlShuffle){ .C = C, .D = D, .f = f, .T = T, .by_columns = kind != KL_VAE_FOLD };
}

int kl_vae_bind_head(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *prefix,
                     int c, int out, KlVaeStage *s)
{
    char name[NAME_MAX_LEN - 16];
    int64_t shape[5] = { out, c, 3, 3, 3 }, rows = (int64_t)out * c, n = out;
    float *all;
    int ret;

    s->kind = KL_VAE_HEAD;
    s->in = c;
    s->out = out;
    snprintf(name, sizeof(name), "%s.norm_out.gamma", prefix);
    if ((ret = kl_vae_bind_gamma(d, k, w, name, 4, c, &s->gamma[0])) < 0)
        return ret;
    snprintf(name, sizeof(name), "%s.conv_out.bias", prefix);
    if ((ret = kl_weights_get_f32(d, w, name, 1, &n, &s->conv[0].bias)) < 0)
        return ret;
    s->conv[0].pack_bias = s->conv[0].bias;
    snprintf(name, sizeof(name), "%s.conv_out.weight", prefix);
    if ((ret = kl_weights_get_f32(d, w, name, 5, shape, &all)) < 0)
        return ret;
    for (int j = 0; j < 3; j++) {
        KlVaeConv *v = &s->conv[j];

        v->ic = c;
        v->oc = out;
        v->kt = 1;
        v->kh = v->kw = 3;
        if (!(v->own = malloc((size_t)rows * 9 * sizeof(*v->own)))) {
            free(all);
            return kl_fail_memory(d, "the VAE's last convolution", (size_t)rows * 9 * sizeof(*v->own));
        }
        for (int64_t i = 0; i < rows; i++)      /* tap 2 of a causal convolution is the newest picture */
            memcpy(v->own + i * 9, all + (i * 3 + 2 - j) * 9, 9 * sizeof(*all));
        v->w = (KlWeight){ .data = v->own, .dtype = KL_F32 };
    }
    free(all);
    return 0;
}

int kl_vae_bind_mid(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *prefix, int c, KlVaeStage *s)
{
    char name[NAME_MAX_LEN - 32];
    int ret;

    snprintf(name, sizeof(name), "%s.mid_block.resnets.0", prefix);
    if ((ret = kl_vae_bind_res(d, k, w, name, c, c, &s[0])) < 0)
        return ret;
    snprintf(name, sizeof(name), "%s.mid_block.attentions.0", prefix);
    if ((ret = kl_vae_bind_attn(d, k, w, name, c, &s[1])) < 0)
        return ret;
    snprintf(name, sizeof(name), "%s.mid_block.resnets.1", prefix);
    return kl_vae_bind_res(d, k, w, name, c, c, &s[2]);
}
