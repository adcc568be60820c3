/*
 * The causal video VAEs of Wan 2.1 and 2.2, streaming: one latent frame at a time.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Formulas: diffusers' AutoencoderKLWan. Never knows text or the transformer.
 * A KlVae is the weights, shared; a decoder or encoder is one clip's causal
 * cache. After the last upsampling in time, pictures go through one by one, so
 * a decoder holds its cache and one picture's activations, never a clip.
 */
#ifndef KL_VAE_H
#define KL_VAE_H

#include "weights.h"

#define KL_VAE_MAX_Z 64
#define KL_VAE_MAX_LEVELS 8
#define KL_VAE_MAX_PATCH 8

typedef struct KlVaeConfig {            /* diffusers' config.json names in comments */
    int base_dim;                       /* base_dim */
    int decoder_dim;                    /* decoder_base_dim; 0: base_dim */
    bool residual;                      /* is_residual: a shortcut around each level, and no halving of the channels
                                           by the decoder's upsamplings */
    int patch;                          /* patch_size: pixels of patch x patch become channels; 0: none */
    int z_dim;                          /* z_dim */
    int levels;                         /* len(dim_mult) */
    int dim_mult[KL_VAE_MAX_LEVELS];    /* dim_mult */
    int res_blocks;                     /* num_res_blocks */
    bool temporal_down[KL_VAE_MAX_LEVELS]; /* temperal_downsample, levels - 1 of them, encoder's order */
    float mean[KL_VAE_MAX_Z], std[KL_VAE_MAX_Z];  /* latents_mean, latents_std */
} KlVaeConfig;

/** That the widths fit together: halves of even ones, shortcuts that come out even, a middle of at most 1024. Every
 *  member is in a range of its own (widths times multipliers up to 2^18). where: the file, for the error. */
int  kl_vae_check_config(KlDiag *d, const KlVaeConfig *c, const char *where);

typedef struct KlVae KlVae;
typedef struct KlVaeDecoder KlVaeDecoder;
typedef struct KlVaeEncoder KlVaeEncoder;

/** Binds and checks every tensor that is there; an absent encoder is allowed and found at kl_vae_encoder_create.
 *  w must outlive *vae. */
int  kl_vae_create(KlDiag *d, KlVae **vae, const KlKernels *k, const KlWeights *w, const KlVaeConfig *cfg);
void kl_vae_destroy(KlVae **vae);
const KlVaeConfig *kl_vae_config(const KlVae *vae);
int  kl_vae_space_factor(const KlVae *vae);    /* pixels per latent, 8 or 16 */
int  kl_vae_time_factor(const KlVae *vae);     /* pixel frames per latent frame after the first, 4 */

/** For latent frames of R x W. vae and ex must outlive it. */
int  kl_vae_decoder_create(const KlVae *vae, KlExec *ex, KlDiag *d, int R, int W, KlVaeDecoder **dec);
void kl_vae_decoder_destroy(KlVaeDecoder **dec);
/** One picture out: x[R_px,W_px,3] channels-last (executor memory, valid during the call), about [-1,1],
 *  unclamped. Non-zero stops the decoder with that status. */
typedef int (*KlVaePictureFn)(void *opaque, const float *x);
/** z[z_dim,R,W] with plane stride ldz (executor memory), the sampler's normalised latents of the next latent frame:
 *  1 picture for the first, time_factor for each later one. Checks cancel between convolutions. */
int  kl_vae_decode(KlVaeDecoder *dec, KlDiag *d, const float *z, int64_t ldz, KlVaePictureFn fn, void *opaque);
/** About what decoding latent frames of R x W holds at most. */
size_t kl_vae_decoder_bytes(const KlVae *vae, int R, int W);
double kl_vae_decode_flops(const KlVaeDecoder *dec);   /* of one later latent frame, as executed */

/** For pictures of R_px x W_px, multiples of the space factor. */
int  kl_vae_encoder_create(const KlVae *vae, KlExec *ex, KlDiag *d, int R_px, int W_px, KlVaeEncoder **enc);
void kl_vae_encoder_destroy(KlVaeEncoder **enc);
/** Whether the file has an encoder, and about what encoding pictures of R_px x W_px holds at most (0 without one). */
bool kl_vae_has_encoder(const KlVae *vae);
size_t kl_vae_encoder_bytes(const KlVae *vae, int R_px, int W_px);
/** x[n][R_px,W_px,3] in [-1,1] (executor memory): n = 1 for the first call, time_factor after. mean[z_dim,R,W] with
 *  plane stride ldz: the posterior's mode, normalised as the sampler wants it. */
int  kl_vae_encode(KlVaeEncoder *enc, KlDiag *d, const float *const *x, int n, float *mean, int64_t ldz);

#endif /* KL_VAE_H */
