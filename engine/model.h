/*
 * A model folder or file, resolved into its parts and their descriptions.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Reads JSON configs, finds the parts, recognises layouts of names (diffusers,
 * original, repackaged) and renames to the canonical one. Computes nothing.
 */
#ifndef KL_MODEL_H
#define KL_MODEL_H

#include "dit.h"
#include "image_encoder.h"
#include "sampler.h"
#include "text_encoder.h"
#include "tokenizer.h"
#include "vae.h"
#include "weights.h"

/** How a model takes pictures that are given (condition.h). */
typedef enum KlConditionKind {
    KL_CONDITION_NONE,
    KL_CONDITION_CLEAN,                 /* clean latent frames at timestep 0 in place of noisy ones: expand_timesteps */
    KL_CONDITION_CHANNELS,              /* a mask and the latents of a video with the pictures, as channels beside the
                                           noisy ones: dit.in_ch is 2 z_dim and the VAE's time factor */
} KlConditionKind;

typedef struct KlConditionDesc {
    KlConditionKind kind;
    int lead_frames, trail_frames;      /* pictures that it was trained to take, 0: none */
    bool needs_lead, needs_trail;       /* it makes no clip without */
    double drift_guard;                 /* KlingParams.drift_guard by default */
} KlConditionDesc;

/** What a model is, from its configs or, for single files, from its tensors' names and shapes. */
typedef struct KlModelDesc {
    char name[256], kind[128];
    KlTextEncoderConfig text;
    KlDitConfig dit;
    KlVaeConfig vae;
    KlImageEncoderConfig image;         /* where dit.image_dim */
    KlSamplerConfig sampler;            /* kind and shift as the scheduler's config says */
    bool expand_timesteps;              /* a timestep per token */
    KlConditionDesc condition;
    double boundary;                    /* of two experts: the first works on noise levels from this on, the second,
                                           which has the same shapes, below; 0: there is one transformer */
    int width_px, height_px, frames, fps_num, fps_den, steps;
    float guidance, guidance_low;       /* of the only or first expert, of the second */
} KlModelDesc;

typedef struct KlModelFiles {           /* the open parts; each may be closed on its own */
    KlWeights *text, *dit, *vae;
    KlWeights *dit_low, *image;         /* where desc has a boundary, dit.image_dim */
    KlTokenizer *tokenizer;
} KlModelFiles;

/** Opens what params name. On an error nothing stays open. The one-line error names the part, the file and what
 *  to do ("no vae in DIR: give vae=... or put ... beside it"). */
int  kl_model_files_open(KlDiag *d, KlModelFiles *f, KlModelDesc *desc, const KlingModelParams *params);
void kl_model_files_close(KlModelFiles *f);

#endif /* KL_MODEL_H */
