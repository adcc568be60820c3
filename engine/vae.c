/*
 * The VAE's weights and the facts that follow from its description.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "vae_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_CHANNELS 65536

static int decoder_dim(const KlVaeConfig *c)
{
    return c->decoder_dim ? c->decoder_dim : c->base_dim;
}

int kl_vae_encoder_width(const KlVaeConfig *c, int level)
{
    return c->base_dim * (level < 0 ? 1 : c->dim_mult[level]);
}

int kl_vae_decoder_width(const KlVaeConfig *c, int level)
{
    return decoder_dim(c) * c->dim_mult[KL_MIN(level, c->levels - 1)];
}

int kl_vae_picture_channels(const KlVaeConfig *c)
{
    return c->patch ? 3 * c->patch * c->patch : 3;
}

/* Samples of a block that an upsampling from level l, or a downsampling from level l - 1, makes of one. */
static int block_of(const KlVaeConfig *c, int l)
{
    return c->temporal_down[l - 1] ? 8 : 4;
}

static int check_shortcuts(KlDiag *d, const KlVaeConfig *c, const char *where)
{
    for (int l = 0; l < c->levels; l++) {
        const int in = kl_vae_encoder_width(c, l - 1), out = kl_vae_encoder_width(c, l);
        const int wide = kl_vae_decoder_width(c, l + 1), up = kl_vae_decoder_width(c, l);

        if (in * (l + 1 < c->levels ? block_of(c, l + 1) : 1) % out)
            return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' has a shortcut of its encoder from %d to %d channels, "
                           "which does not come out even", where, in, out);
        if (l && up * block_of(c, l) % wide)
            return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' has a shortcut of its decoder from %d to %d channels, "
                           "which does not come out even", where, wide, up);
    }
    return 0;
}

int kl_vae_check_config(KlDiag *d, const KlVaeConfig *c, const char *where)
{
    const int last = c->levels - 1;
    const int middle[] = { kl_vae_encoder_width(c, last), kl_vae_decoder_width(c, last) };

    for (int l = 1; l <= last && !c->residual; l++) /* each upsampling halves the channels */
        if (kl_vae_decoder_width(c, l) % 2)
            return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' has an odd number of channels (%d) at a level above "
                           "the first", where, kl_vae_decoder_width(c, l));
    for (int i = 0; i < 2; i++)         /* the middle's attention is one head of this width */
        if (middle[i] > 1024 || middle[i] % 2)
            return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' has %d channels in its middle; even numbers up to 1024 "
                           "are supported", where, middle[i]);
    return c->residual ? check_shortcuts(d, c, where) : 0;
}

static int check_config(KlDiag *d, const KlVaeConfig *c, const char *path)
{
    bool ok = c->base_dim >= 1 && c->decoder_dim >= 0 && c->z_dim >= 1 && c->z_dim <= KL_VAE_MAX_Z && c->levels >= 1 &&
              c->levels <= KL_VAE_MAX_LEVELS && c->res_blocks >= 1 && c->res_blocks <= 64 && c->patch >= 0 &&
              c->patch <= KL_VAE_MAX_PATCH;

    for (int i = 0; ok && i < c->levels; i++)
        ok = c->dim_mult[i] >= 1 && (int64_t)KL_MAX(c->base_dim, c->decoder_dim) * c->dim_mult[i] <= MAX_CHANNELS;
    for (int i = 0; ok && i < c->z_dim; i++)
        ok = c->std[i] > 0;
    if (!ok)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "%s: the VAE's description makes no sense: base_dim %d, z_dim %d, "
                       "%d levels, %d residual blocks, patches of %d (positive latents_std)", path, c->base_dim,
                       c->z_dim, c->levels, c->res_blocks, c->patch);
    return kl_vae_check_config(d, c, path);
}

int kl_vae_create(KlDiag *d, KlVae **vae, const KlKernels *k, const KlWeights *w, const KlVaeConfig *cfg)
{
    KlVae *v;
    int ret;

    *vae = NULL;
    if ((ret = check_config(d, cfg, kl_weights_path(w))) < 0)
        return ret;
    if (!(v = calloc(1, sizeof(*v))))
        return kl_fail_memory(d, "the VAE's description", sizeof(*v));
    v->k = k;
    v->cfg = *cfg;
    snprintf(v->path, sizeof(v->path), "%s", kl_weights_path(w));
    ret = kl_vae_decoder_bind(d, w, v, &v->dec);
    if (ret >= 0 && kl_weights_find(w, "encoder.conv_in.weight"))
        ret = kl_vae_encoder_bind(d, w, v, &v->enc);
    if (ret < 0)
        kl_vae_destroy(&v);
    *vae = v;
    return ret;
}

void kl_vae_destroy(KlVae **vae)
{
    if (!*vae)
        return;
    kl_vae_half_free(&(*vae)->dec);
    kl_vae_half_free(&(*vae)->enc);
    free(*vae);
    *vae = NULL;
}

const KlVaeConfig *kl_vae_config(const KlVae *vae)
{
    return &vae->cfg;
}

int kl_vae_space_factor(const KlVae *vae)
{
    return (vae->cfg.patch ? vae->cfg.patch : 1) << (vae->cfg.levels - 1);
}

int kl_vae_time_factor(const KlVae *vae)
{
    int f = 1;

    for (int i = 0; i < vae->cfg.levels - 1; i++)
        f <<= vae->cfg.temporal_down[i];
    return f;
}
