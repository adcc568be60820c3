/*
 * Descriptions of a model's parts from the names and shapes of their tensors.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For files that come without a config. What no shape shows is what every
 * released model has: heads of 128, eps 1e-6, relative positions up to 128.
 * The parts' own binding then checks every tensor against the result.
 */
#include <stdio.h>
#include <string.h>

#include "model_internal.h"

#define MAX_DIM 65536

/* Dim `i` of the tensor `name`; 0 when there is no such tensor or dim, or it is out of any range. */
static int dim_of(const KlWeights *w, int i, const char *name)
{
    const KlTensor *t = kl_weights_find(w, name);

    return t && i < t->ndim && t->shape[i] <= 1 << 24 ? (int)t->shape[i] : 0;
}

/* How many tensors BEFORE<n>AFTER exist, counted from n = 0. */
static int count_of(const KlWeights *w, const char *before, const char *after)
{
    int n = 0;

    for (; n < 1024; n++) {
        char name[160];

        snprintf(name, sizeof(name), "%s%d%s", before, n, after);
        if (!kl_weights_find(w, name))
            break;
    }
    return n;
}

/* The first tensor that a description needs and that is absent or of another kind. */
static int strange(KlDiag *d, const KlWeights *w, const char *name, const char *what)
{
    if (!kl_weights_find(w, name))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "no tensor '%s' in '%s'", name, kl_weights_path(w));
    return kl_fail(d, KLING_ERROR_INVALID_DATA, "tensor '%s' in '%s' has a shape that no %s has", name,
                   kl_weights_path(w), what);
}

/* Dim i of name into *out, 1..max. */
static int want_dim(KlDiag *d, const KlWeights *w, const char *name, int i, int max, int *out)
{
    *out = dim_of(w, i, name);
    return *out >= 1 && *out <= max ? 0 : strange(d, w, name, "Wan model");
}

int kl_shapes_text(KlDiag *d, const KlWeights *w, KlTextEncoderConfig *c)
{
    static const char bias[] = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    static const char q[] = "encoder.block.0.layer.0.SelfAttention.q.weight";
    int inner = 0, ret;

    *c = (KlTextEncoderConfig){ .rel_max_distance = 128, .eps = 1e-6f };
    ret = want_dim(d, w, "shared.weight", 0, 1 << 24, &c->vocab);
    if (!ret)
        ret = want_dim(d, w, "shared.weight", 1, MAX_DIM, &c->dim);
    if (!ret)
        ret = want_dim(d, w, bias, 0, 4096, &c->rel_buckets);
    if (!ret)
        ret = want_dim(d, w, bias, 1, MAX_DIM, &c->heads);
    if (!ret)
        ret = want_dim(d, w, q, 0, MAX_DIM, &inner);
    if (!ret && (inner % c->heads || inner / c->heads > 1024))
        ret = strange(d, w, q, "text encoder");
    if (!ret)
        ret = want_dim(d, w, "encoder.block.0.layer.1.DenseReluDense.wi_0.weight", 0, 1 << 20, &c->ffn);
    if (ret < 0)
        return ret;
    c->head_dim = inner / c->heads;
    c->layers = count_of(w, "encoder.block.", ".layer.0.SelfAttention.q.weight");
    return kl_config_check(d, kl_weights_path(w), c, NULL, NULL);
}

int kl_shapes_dit(KlDiag *d, const KlWeights *w, int head_dim, KlDitConfig *c)
{
    static const char patch[] = "patch_embedding.weight", out[] = "proj_out.weight";
    static const char text[] = "condition_embedder.text_embedder.linear_1.weight";
    static const char freq[] = "condition_embedder.time_embedder.linear_1.weight";
    int rows = 0, depth = 0, ret;

    *c = (KlDitConfig){ .text_len = 512, .eps = 1e-6f, .rope_max_len = 1024 };
    c->head_dim = head_dim > 0 ? head_dim : 128;
    ret = want_dim(d, w, patch, 0, MAX_DIM, &c->dim);
    if (!ret)
        ret = want_dim(d, w, patch, 1, 1024, &c->in_ch);
    if (!ret)
        ret = want_dim(d, w, patch, 2, 1, &depth);
    if (!ret)
        ret = want_dim(d, w, patch, 3, 16, &c->patch_h);
    if (!ret)
        ret = want_dim(d, w, patch, 4, 16, &c->patch_w);
    if (!ret)
        ret = want_dim(d, w, "blocks.0.ffn.net.0.proj.weight", 0, 1 << 20, &c->ffn);
    if (!ret)
        ret = want_dim(d, w, text, 1, MAX_DIM, &c->text_dim);
    if (!ret)
        ret = want_dim(d, w, freq, 1, MAX_DIM, &c->freq_dim);
    if (!ret)
        ret = want_dim(d, w, out, 0, 1 << 20, &rows);
    if (ret < 0)
        return ret;
    if (rows % (c->patch_h * c->patch_w))
        return strange(d, w, out, "transformer");
    if (c->dim % c->head_dim)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "the width %d of '%s' is no multiple of %d: give \"head_dim\" in a "
                       "kling.json beside it", c->dim, kl_weights_path(w), c->head_dim);
    c->out_ch = rows / (c->patch_h * c->patch_w);
    c->heads = c->dim / c->head_dim;
    c->layers = count_of(w, "blocks.", ".attn1.to_q.weight");
    c->cross_attn_norm = kl_weights_find(w, "blocks.0.norm2.weight") != NULL;
    return kl_config_check(d, kl_weights_path(w), NULL, c, NULL);
}

/* Of the Wan 2.1 VAE: a file without a config does not carry them. */
static const float wan21_mean[16] = {
    -0.7571f, -0.7089f, -0.9113f, 0.1075f, -0.1745f, 0.9653f, -0.1517f, 1.5508f,
    0.4134f, -0.0715f, 0.5517f, -0.3632f, -0.1922f, -0.9497f, 0.2503f, -0.2921f,
};
static const float wan21_std[16] = {
    2.8184f, 1.4541f, 2.3275f, 2.6558f, 1.2196f, 1.7708f, 2.6052f, 2.0743f,
    3.2687f, 2.1526f, 2.8652f, 1.5579f, 1.6382f, 1.1253f, 2.8251f, 1.9160f,
};

/* Levels and their widths, from the decoder; its order is the reverse of the config's. */
static int vae_levels(KlDiag *d, const KlWeights *w, KlVaeConfig *c)
{
    c->levels = count_of(w, "decoder.up_blocks.", ".resnets.0.conv1.weight");
    if (c->levels < 1 || c->levels > KL_VAE_MAX_LEVELS)
        return strange(d, w, "decoder.up_blocks.0.resnets.0.conv1.weight", "Wan 2.1 VAE");
    for (int l = 0; l < c->levels; l++) {
        const int up = c->levels - 1 - l;
        char name[160];
        int ch, ret;

        snprintf(name, sizeof(name), "decoder.up_blocks.%d.resnets.0.conv1.weight", up);
        ret = want_dim(d, w, name, 0, 4096 * 64, &ch);
        if (ret < 0)
            return ret;
        c->base_dim = l ? c->base_dim : ch;
        if (ch % c->base_dim || ch / c->base_dim > 64 || c->base_dim > 4096)
            return strange(d, w, name, "Wan 2.1 VAE");
        c->dim_mult[l] = ch / c->base_dim;
        snprintf(name, sizeof(name), "decoder.up_blocks.%d.upsamplers.0.time_conv.weight", up);
        if (l)                          /* the upsampling into level l - 1 */
            c->temporal_down[l - 1] = kl_weights_find(w, name) != NULL;
    }
    return 0;
}

int kl_shapes_vae(KlDiag *d, const KlWeights *w, KlVaeConfig *c)
{
    int resnets, ret;

    *c = (KlVaeConfig){ 0 };
    ret = want_dim(d, w, "post_quant_conv.weight", 0, 1 << 20, &c->z_dim);
    if (!ret)
        ret = vae_levels(d, w, c);
    if (ret < 0)
        return ret;
    resnets = count_of(w, "decoder.up_blocks.0.resnets.", ".conv1.weight");
    if (resnets < 2 || resnets > 17)
        return strange(d, w, "decoder.up_blocks.0.resnets.1.conv1.weight", "Wan 2.1 VAE");
    c->res_blocks = resnets - 1;
    if (c->z_dim == 48)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' is the Wan 2.2 VAE (of TI2V-5B), which is not supported",
                       kl_weights_path(w));
    if (c->z_dim != 16)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' has latents of %d channels, whose mean and spread only a "
                       "config.json can tell: use the diffusers folder", kl_weights_path(w), c->z_dim);
    memcpy(c->mean, wan21_mean, sizeof(wan21_mean));
    memcpy(c->std, wan21_std, sizeof(wan21_std));
    return kl_config_check(d, kl_weights_path(w), NULL, NULL, c);
}

int64_t kl_weights_elements(const KlWeights *w)
{
    int n;
    const KlTensor *t = kl_weights_all(w, &n);
    int64_t sum = 0;

    for (int i = 0; i < n; i++) {
        int64_t e = t[i].bytes > 0;

        for (int k = 0; k < t[i].ndim && e; k++)
            e *= t[i].shape[k];         /* bounded by the bytes, which were checked */
        sum += e;
    }
    return sum;
}
