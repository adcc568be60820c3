/*
 * What the files of the model loader share among themselves.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_MODEL_INTERNAL_H
#define KL_MODEL_INTERNAL_H

#include "model.h"

typedef enum KlPart {
    KL_PART_TEXT, KL_PART_DIT, KL_PART_VAE,
    KL_PART_IMAGE,                      /* only of some models */
    KL_PART_DIT_LOW,                    /* the second expert, only of some */
    KL_PART_NB
} KlPart;

/** "text encoder", "transformer", "VAE", "image encoder", "low-noise transformer". */
const char *kl_part_name(KlPart part);
/** "text_encoder", "transformer", "vae", "image_encoder", "transformer_2": of the folder in the diffusers layout and of
 *  the parameter. */
const char *kl_part_key(KlPart part);

/* -- model_names.c: which names a file uses -- */

/** Recognises the layout of w's names, refuses what is known but cannot be run, and renames to the canonical
 *  (diffusers, transformers) names. */
int kl_names_canonical(KlDiag *d, KlWeights *w, KlPart part);
/** The rules from the original release's names to the canonical ones. residual_vae: of a VAE, those of Wan 2.2. */
const KlRename *kl_names_original(KlPart part, bool residual_vae, int *n);
/** The rules from the names that GGUF files have to the canonical ones. */
const KlRename *kl_names_gguf(KlPart part, int *n);
/** What `name` was before the rules renamed it, malloc'd; NULL when no rule leads to it. For tests and tools. */
char *kl_rename_backwards(const char *name, const KlRename *rules, int n_rules);

/* -- model_shapes.c: descriptions from tensors alone. w has canonical names. -- */

int kl_shapes_text(KlDiag *d, const KlWeights *w, KlTextEncoderConfig *c);
/** head_dim does not show in any shape: it is 128 in every released model; head_dim > 0 overrides. */
int kl_shapes_dit(KlDiag *d, const KlWeights *w, int head_dim, KlDitConfig *c);
int kl_shapes_vae(KlDiag *d, const KlWeights *w, KlVaeConfig *c);
/** heads do not show in any shape: they are of 80 in ViT-H, which all released models have; heads > 0 overrides. */
int kl_shapes_image(KlDiag *d, const KlWeights *w, int heads, KlImageEncoderConfig *c);
/** Elements of all tensors. */
int64_t kl_weights_elements(const KlWeights *w);

/* -- model_config.c: descriptions from config files. Every value is in a range that no later sum overflows. -- */

int kl_config_text(KlDiag *d, const char *path, KlTextEncoderConfig *c);
int kl_config_dit(KlDiag *d, const char *path, KlDitConfig *c);
int kl_config_vae(KlDiag *d, const char *path, KlVaeConfig *c);
int kl_config_scheduler(KlDiag *d, const char *path, KlSamplerConfig *c);
int kl_config_image(KlDiag *d, const char *path, KlImageEncoderConfig *c);
/** preprocessor_config.json, after the image encoder's own config. */
int kl_config_image_processor(KlDiag *d, const char *path, KlImageEncoderConfig *c);
/** model_index.json: sets expand_timesteps and boundary; refuses pipelines that are neither text nor image to video. */
int kl_config_index(KlDiag *d, const char *path, KlModelDesc *desc);
/** The same rules for a description that came from shapes. */
int kl_config_check(KlDiag *d, const char *where, const KlTextEncoderConfig *t, const KlDitConfig *dit,
                    const KlVaeConfig *v);

/* -- model_prefs.c: sizes, lengths and steps that a model was trained for -- */

typedef struct KlPrefs {                /* kling.json; 0 where it says nothing */
    int width_px, height_px, frames, fps_num, fps_den, steps, head_dim, image_heads;
    double guidance, guidance_low, boundary, shift, drift_guard; /* negative where it says nothing, as below */
    int lead_frames, trail_frames;
    int expand_timesteps;
} KlPrefs;

/** path may not exist: then nothing is said. */
int  kl_prefs_read(KlDiag *d, const char *path, KlPrefs *p);
/** Fills what is preferred: by the recognised kind, then overwritten by p. has_scheduler: desc->sampler is set;
 *  has_index: desc->expand_timesteps is. */
void kl_prefs_apply(KlModelDesc *desc, const KlPrefs *p, const KlWeights *dit, bool has_scheduler, bool has_index);

/* -- model_find.c: where the parts are -- */

bool kl_is_dir(const char *path);
bool kl_is_file(const char *path);
/** dir/name, malloc'd; NULL with d's error when out of memory. */
char *kl_path_join(KlDiag *d, const char *dir, const char *name);
/** The folder that holds path (which may end in slashes), malloc'd. */
char *kl_path_dir(KlDiag *d, const char *path);
/** The part beside a transformer file or in a folder of parts; *path is malloc'd. home: the folder to search.
 *  latent_ch: of a VAE, the channels of its latents, to choose by among several; 0: not known. */
int kl_find_part(KlDiag *d, KlPart part, const char *home, int latent_ch, char **path);
/** The other of a pair of experts, by the names of path and its folder ("..high_noise..", "..low_noise.."), whether it
 *  is there or not; *other is malloc'd, NULL when path is none. is_low: path is the second. */
int kl_find_expert(KlDiag *d, const char *path, bool *is_low, char **other);
/** A tokenizer near `home`; *path is NULL when there is none. */
int kl_find_tokenizer(KlDiag *d, const char *home, char **path);

#endif /* KL_MODEL_INTERNAL_H */
