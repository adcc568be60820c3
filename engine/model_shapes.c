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
    static const char second[] = "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight";
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
    if (c->layers > 1 && !kl_weights_find(w, second))
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' is a T5 text encoder, as other models have it: Wan needs "
                       "UMT5, whose layers have position biases of their own", kl_weights_path(w));
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
    c->image_dim = dim_of(w, 1, "condition_embedder.image_embedder.ff.net.0.proj.weight");
    c->image_len = dim_of(w, 1, "condition_embedder.image_embedder.pos_embed");
    if (c->image_dim > MAX_DIM || c->image_len > KL_DIT_MAX_IMAGE_LEN)
        return strange(d, w, "condition_embedder.image_embedder.ff.net.0.proj.weight", "transformer");
    return kl_config_check(d, kl_weights_path(w), NULL, c, NULL);
}

/* The latents' statistics of the released VAEs: a file without a config does not carry them. 2.1: the defaults of
 * diffusers' AutoencoderKLWan. 2.2: the constants of Wan2_2_VAE in the release's wan/modules/vae2_2.py, which are also
 * those of vae22_diffusers_config in diffusers' scripts/convert_wan_to_diffusers.py. */
static const struct {
    int z_dim;
    bool residual;
    float mean[48], std[48];
} released[] = {
    { 16, false,
      { -0.7571f, -0.7089f, -0.9113f, 0.1075f, -0.1745f, 0.9653f, -0.1517f, 1.5508f,
        0.4134f, -0.0715f, 0.5517f, -0.3632f, -0.1922f, -0.9497f, 0.2503f, -0.2921f },
      { 2.8184f, 1.4541f, 2.3275f, 2.6558f, 1.2196f, 1.7708f, 2.6052f, 2.0743f,
        3.2687f, 2.1526f, 2.8652f, 1.5579f, 1.6382f, 1.1253f, 2.8251f, 1.9160f } },
    { 48, true,
      { -0.2289f, -0.0052f, -0.1323f, -0.2339f, -0.2799f, 0.0174f, 0.1838f, 0.1557f,
        -0.1382f, 0.0542f, 0.2813f, 0.0891f, 0.1570f, -0.0098f, 0.0375f, -0.1825f,
        -0.2246f, -0.1207f, -0.0698f, 0.5109f, 0.2665f, -0.2108f, -0.2158f, 0.2502f,
        -0.2055f, -0.0322f, 0.1109f, 0.1567f, -0.0729f, 0.0899f, -0.2799f, -0.1230f,
        -0.0313f, -0.1649f, 0.0117f, 0.0723f, -0.2839f, -0.2083f, -0.0520f, 0.3748f,
        0.0152f, 0.1957f, 0.1433f, -0.2944f, 0.3573f, -0.0548f, -0.1681f, -0.0667f },
      { 0.4765f, 1.0364f, 0.4514f, 1.1677f, 0.5313f, 0.4990f, 0.4818f, 0.5013f,
        0.8158f, 1.0344f, 0.5894f, 1.0901f, 0.6885f, 0.6165f, 0.8454f, 0.4978f,
        0.5759f, 0.3523f, 0.7135f, 0.6804f, 0.5833f, 1.4146f, 0.8986f, 0.5659f,
        0.7069f, 0.5338f, 0.4889f, 0.4917f, 0.4069f, 0.4999f, 0.6866f, 0.4093f,
        0.5709f, 0.6065f, 0.6415f, 0.4944f, 0.5726f, 1.2042f, 0.5458f, 1.6887f,
        0.3971f, 1.0600f, 0.3943f, 0.5537f, 0.5444f, 0.4089f, 0.7468f, 0.7744f } },
};

/* Levels and their widths, from the decoder; its order is the reverse of the config's. */
static int vae_levels(KlDiag *d, const KlWeights *w, KlVaeConfig *c)
{
    const char *sampler = c->residual ? "upsampler" : "upsamplers.0";

    c->levels = count_of(w, "decoder.up_blocks.", ".resnets.0.conv1.weight");
    if (c->levels < 1 || c->levels > KL_VAE_MAX_LEVELS)
        return strange(d, w, "decoder.up_blocks.0.resnets.0.conv1.weight", "Wan VAE");
    for (int l = 0; l < c->levels; l++) {
        const int up = c->levels - 1 - l;
        char name[160];
        int ch, ret;

        snprintf(name, sizeof(name), "decoder.up_blocks.%d.resnets.0.conv1.weight", up);
        ret = want_dim(d, w, name, 0, 4096 * 64, &ch);
        if (ret < 0)
            return ret;
        c->decoder_dim = l ? c->decoder_dim : ch;
        if (ch % c->decoder_dim || ch / c->decoder_dim > 64 || c->decoder_dim > 4096)
            return strange(d, w, name, "Wan VAE");
        c->dim_mult[l] = ch / c->decoder_dim;
        snprintf(name, sizeof(name), "decoder.up_blocks.%d.%s.time_conv.weight", up, sampler);
        if (l)                          /* the upsampling into level l - 1 */
            c->temporal_down[l - 1] = kl_weights_find(w, name) != NULL;
    }
    return 0;
}

/* The encoder's width, and the size of patches from the decoder's last channels. */
static int vae_ends(KlDiag *d, const KlWeights *w, KlVaeConfig *c)
{
    static const char in[] = "encoder.conv_in.weight", last[] = "decoder.conv_out.weight";
    int colours, patch = 1, ret = want_dim(d, w, last, 0, 1 << 20, &colours);

    c->base_dim = c->decoder_dim;
    if (!ret && kl_weights_find(w, in))
        ret = want_dim(d, w, in, 0, 4096, &c->base_dim);
    if (ret < 0)
        return ret;
    while (patch < KL_VAE_MAX_PATCH && 3 * patch * patch < colours)
        patch++;
    if (3 * patch * patch != colours)
        return strange(d, w, last, "Wan VAE");
    c->patch = patch > 1 ? patch : 0;
    return 0;
}

int kl_shapes_vae(KlDiag *d, const KlWeights *w, KlVaeConfig *c)
{
    int resnets, ret;

    *c = (KlVaeConfig){ .residual = kl_weights_find(w, "decoder.up_blocks.0.upsampler.resample.1.weight") != NULL };
    ret = want_dim(d, w, "post_quant_conv.weight", 0, 1 << 20, &c->z_dim);
    if (!ret)
        ret = vae_levels(d, w, c);
    if (!ret)
        ret = vae_ends(d, w, c);
    if (ret < 0)
        return ret;
    resnets = count_of(w, "decoder.up_blocks.0.resnets.", ".conv1.weight");
    if (resnets < 2 || resnets > 17)
        return strange(d, w, "decoder.up_blocks.0.resnets.1.conv1.weight", "Wan VAE");
    c->res_blocks = resnets - 1;
    for (size_t i = 0; i < KL_ARRAY_LEN(released); i++)
        if (c->z_dim == released[i].z_dim && c->residual == released[i].residual) {
            memcpy(c->mean, released[i].mean, sizeof(*c->mean) * (size_t)c->z_dim);
            memcpy(c->std, released[i].std, sizeof(*c->std) * (size_t)c->z_dim);
            return kl_config_check(d, kl_weights_path(w), NULL, NULL, c);
        }
    return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' has latents of %d channels, whose mean and spread only a "
                   "config.json can tell: use the diffusers folder", kl_weights_path(w), c->z_dim);
}

int kl_shapes_image(KlDiag *d, const KlWeights *w, int heads, KlImageEncoderConfig *c)
{
    static const char patch[] = "embeddings.patch_embedding.weight";
    static const char pos[] = "embeddings.position_embedding.weight";
    const KlTensor *t = kl_weights_find(w, pos);
    int tokens = dim_of(w, t && t->ndim == 3, pos), side = 1, ret;

    *c = (KlImageEncoderConfig){ .eps = 1e-5f };
    ret = want_dim(d, w, patch, 0, MAX_DIM, &c->dim);
    if (!ret)
        ret = want_dim(d, w, patch, 2, 256, &c->patch_px);
    if (!ret)
        ret = want_dim(d, w, "encoder.layers.0.mlp.fc1.weight", 0, 1 << 20, &c->ffn);
    if (ret < 0)
        return ret;
    while (side < 64 && side * side < tokens - 1)
        side++;
    if (side * side != tokens - 1)
        return strange(d, w, pos, "CLIP vision tower");
    c->image_px = side * c->patch_px;
    c->layers = count_of(w, "encoder.layers.", ".layer_norm1.weight");
    c->heads = heads > 0 ? heads : c->dim / 80;
    if (c->heads < 1 || c->dim % c->heads || c->dim / c->heads % 2)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "the width %d of '%s' is no multiple of 80: give \"image_heads\" in "
                       "a kling.json beside the transformer", c->dim, kl_weights_path(w));
    kl_image_encoder_defaults(c);
    return 0;
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
