/*
 * Whole synthetic parts of a model: every tensor that a description asks for,
 * filled by synth.h's rule, in memory or as files.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For tests, benches and kling-synth; not part of the library.
 */
#ifndef KL_SYNTH_MODEL_H
#define KL_SYNTH_MODEL_H

#include "engine/dit.h"
#include "engine/image_encoder.h"
#include "engine/text_encoder.h"
#include "engine/vae.h"

typedef void (*SynthFn)(void *opaque, const char *name, int ndim, const int64_t *shape);

/** Calls fn for every tensor of the part, by its diffusers / transformers name. */
void synth_list_text_encoder(const KlTextEncoderConfig *c, SynthFn fn, void *opaque);
void synth_list_dit(const KlDitConfig *c, SynthFn fn, void *opaque);
void synth_list_vae(const KlVaeConfig *c, SynthFn fn, void *opaque);
void synth_list_image_encoder(const KlImageEncoderConfig *c, SynthFn fn, void *opaque);

typedef enum SynthPart { SYNTH_TEXT_ENCODER, SYNTH_DIT, SYNTH_VAE, SYNTH_IMAGE_ENCODER } SynthPart;

/** The same by part; cfg is the part's config. */
void synth_list(SynthPart part, const void *cfg, SynthFn fn, void *opaque);
/** The values of one tensor, in dtype. fast: see below. */
void synth_fill(void *dst, uint64_t seed, KlDType dtype, int fast, const char *name, int ndim, const int64_t *shape);

/** Weights in one block of memory, filled by synth_rule() and rounded to dtype. fast != 0 fills with a cheap
 *  generator of the same range instead (benches). cfg is the part's config. *mem is freed by the caller after
 *  kl_weights_close(). 0 or a negative KlingStatus. */
int synth_weights(SynthPart part, const void *cfg, uint64_t seed, KlDType dtype, int fast, KlWeights **w, void **mem);
/** The same as one safetensors file. */
int synth_file(SynthPart part, const void *cfg, uint64_t seed, KlDType dtype, const char *path);

/** Other forms of a part's file. Zeroes are the plain form. */
typedef struct SynthFileForm {
    const KlRename *rules;              /* applied backwards: a tensor named `to` is written as `from` */
    int n_rules;
    const char *prefix;                 /* before every name, or NULL */
    int shard, shards;                  /* writes only the tensors of shard 0..shards-1; shards 0 is all */
    bool sparse;                        /* zeros, as a hole in the file, instead of values */
    const void *spiece;                 /* written as a U8 tensor spiece_model, or NULL */
    size_t spiece_bytes;
    SynthFn told;                       /* called for each tensor with the name written, or NULL */
    void *opaque;
} SynthFileForm;

/** The values depend on the canonical names alone, so all forms of a part are the same model. */
int synth_file_form(SynthPart part, const void *cfg, uint64_t seed, KlDType dtype, const char *path,
                    const SynthFileForm *form);

#endif /* KL_SYNTH_MODEL_H */
