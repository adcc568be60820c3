/*
 * Given pictures, made into what the transformer is shown of them.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One place knows how each kind of model (KlConditionKind) takes the pictures
 * that a window leads with and arrives at: it says what such a model can do,
 * encodes the pictures once per window, and stands between the sampler's
 * latents and the transformer's input in every call. Sampler and transformer
 * know nothing of it.
 *
 * KL_CONDITION_CHANNELS: a mask and the latents of a whole video, which has the
 * pictures at its ends and grey between, stand behind the noisy latents as
 * channels; an image encoder's rows of the pictures go to the transformer
 * beside them, where it takes some.
 *
 * KL_CONDITION_CLEAN: the pictures' latent frames, clean, stand in place of the
 * noisy ones, with timestep 0; the last window's trail is encoded by a causal
 * cache that has seen nothing but its first picture.
 */
#ifndef KL_CONDITION_H
#define KL_CONDITION_H

#include "model.h"
#include "window.h"

/** caps, lead_frames and trail_frames of *info, whose frames and frame_multiple are set. encoder: the VAE has one. */
void kl_condition_info(const KlConditionDesc *c, bool encoder, KlingModelInfo *info);
/** Latent frames of a window of `info`'s model at its longest. */
int  kl_condition_longest(const KlingModelInfo *info);
/** Pictures of a window that a trail of n pictures takes. */
int  kl_condition_trail_cover(const KlConditionDesc *c, int unit, int n);
/** About what encoding holds at most, beside the decoder's kind of memory that is not alive then. */
size_t kl_condition_bytes(const KlModelDesc *m, const KlVae *vae, int width_px, int height_px);
/** About what is held beside the sampler's latents of F x R x W. */
size_t kl_condition_held_bytes(const KlModelDesc *m, int F, int R, int W);

typedef struct KlConditionParams {
    KlConditionKind kind;
    const KlVae *vae;
    const KlImageEncoder *image;        /* NULL: the transformer takes no rows of one */
    const KlKernels *k;
    KlExec *ex;
    int width_px, height_px;            /* of the pictures, multiples of the VAE's space factor */
    int crop_x_px, crop_y_px;           /* the part of them that was given, not padded: the image encoder sees it */
    int crop_width_px, crop_height_px;
    const KlWindow *win;
    float *const *lead;                 /* [win->lead] host pictures: planes R, G, B in [0,1] */
    float *const *trail;                /* [win->trail] */
    double noise;                       /* level 0..1 to which the lead is noised: 0 for pictures that a user gave */
    enum KlingRng rng;
    uint64_t noise_seed;
    int train_steps;                    /* timestep of noise level 1 */
} KlConditionParams;

typedef struct KlCondition KlCondition;

/** Encodes. Everything in p but kind's tables may go afterwards, except vae, k and ex. Checks cancel between
 *  convolutions. */
int  kl_condition_create(KlDiag *d, KlCondition **c, const KlConditionParams *p);
void kl_condition_destroy(KlCondition **c);
/** The transformer's input for the sampler's latents z[z_dim,F,R,W] at timestep t, valid until the next call, and the
 *  timestep t_frame[F] of each latent frame. z itself is not changed, and is returned where nothing is given. */
const float *kl_condition_input(KlCondition *c, const float *z, float t, float *t_frame);
/** Rows of an image encoder for kl_dit_set_image(), n of them; NULL with n 0 when there are none. */
const float *kl_condition_rows(const KlCondition *c, int *n);
/** After the last step: what is known is put into z as it is. */
void kl_condition_finish(const KlCondition *c, float *z);

#endif /* KL_CONDITION_H */
