/*
 * The VAE's weights and the facts that follow from its description.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "vae_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_CHANNELS 65536

static int check_config(KlDiag *d, const KlVaeConfig *c, const char *path)
{
    bool ok = c->base_dim >= 1 && c->z_dim >= 1 && c->z_dim <= KL_VAE_MAX_Z && c->levels >= 1 &&
              c->levels <= KL_VAE_MAX_LEVELS && c->res_blocks >= 1 && c->res_blocks <= 64;

    for (int i = 0; ok && i < c->levels; i++) {
        ok = c->dim_mult[i] >= 1 && (int64_t)c->base_dim * c->dim_mult[i] <= MAX_CHANNELS;
        if (ok && i)                    /* the decoder halves the width on leaving a level */
            ok = c->base_dim * c->dim_mult[i] % 2 == 0;
    }
    if (ok)                             /* the middle's attention is one head of this width */
        ok = c->base_dim * c->dim_mult[c->levels - 1] <= 1024 && c->base_dim * c->dim_mult[c->levels - 1] % 2 == 0;
    for (int i = 0; ok && i < c->z_dim; i++)
        ok = c->std[i] > 0;
    if (!ok)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "%s: the VAE's description makes no sense: base_dim %d, z_dim %d, "
                       "%d levels, %d residual blocks (even widths up to 1024 in the middle, positive latents_std)",
                       path, c->base_dim, c->z_dim, c->levels, c->res_blocks);
    return 0;
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
    return 1 << (vae->cfg.levels - 1);
}

int kl_vae_time_factor(const KlVae *vae)
{
    int f = 1;

    for (int i = 0; i < vae->cfg.levels - 1; i++)
        f <<= vae->cfg.temporal_down[i];
    return f;
}
