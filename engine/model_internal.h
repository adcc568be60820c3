/*
 * What the files of the model loader share among themselves.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_MODEL_INTERNAL_H
#define KL_MODEL_INTERNAL_H

#include "model.h"

typedef enum KlPart { KL_PART_TEXT, KL_PART_DIT, KL_PART_VAE, KL_PART_NB } KlPart;

/** "text encoder", "transformer", "VAE". */
const char *kl_part_name(KlPart part);
/** "text_encoder", "transformer", "vae": of the folder in the diffusers layout and of the parameter. */
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
/** Elements of all tensors. */
int64_t kl_weights_elements(const KlWeights *w);

/* -- model_config.c: descriptions from config files. Every value is in a range that no later sum overflows. -- */

int kl_config_text(KlDiag *d, const char *path, KlTextEncoderConfig *c);
int kl_config_dit(KlDiag *d, const char *path, KlDitConfig *c);
int kl_config_vae(KlDiag *d, const char *path, KlVaeConfig *c);
int kl_config_scheduler(KlDiag *d, const char *path, KlSamplerConfig *c);
/** model_index.json: sets expand_timesteps; refuses pipelines that are not text to video. */
int kl_config_index(KlDiag *d, const char *path, KlModelDesc *desc);
/** The same rules for a description that came from shapes. */
int kl_config_check(KlDiag *d, const char *where, const KlTextEncoderConfig *t, const KlDitConfig *dit,
                    const KlVaeConfig *v);

/* -- model_prefs.c: sizes, lengths and steps that a model was trained for -- */

typedef struct KlPrefs {                /* kling.json; 0 where it says nothing */
    int width_px, height_px, frames, fps_num, fps_den, steps, head_dim;
    double guidance, shift, drift_guard; /* negative where it says nothing, as below */
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
/** A tokenizer near `home`; *path is NULL when there is none. */
int kl_find_tokenizer(KlDiag *d, const char *home, char **path);

#endif /* KL_MODEL_INTERNAL_H */
