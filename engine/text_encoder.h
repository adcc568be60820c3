/*
 * UMT5 encoder: token ids to context rows.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Formulas: transformers' UMT5EncoderModel. Never knows video, prompts or files.
 */
#ifndef KL_TEXT_ENCODER_H
#define KL_TEXT_ENCODER_H

#include "weights.h"

typedef struct KlTextEncoderConfig {    /* transformers' config.json names in comments */
    int vocab;                          /* vocab_size */
    int dim;                            /* d_model */
    int heads, head_dim;                /* num_heads, d_kv */
    int ffn;                            /* d_ff */
    int layers;                         /* num_layers */
    int rel_buckets, rel_max_distance;  /* relative_attention_num_buckets, relative_attention_max_distance */
    float eps;                          /* layer_norm_epsilon */
} KlTextEncoderConfig;

typedef struct KlTextEncoder KlTextEncoder;

/** Binds and checks every tensor. w must outlive *te. */
int  kl_text_encoder_create(KlDiag *d, KlTextEncoder **te, const KlKernels *k, const KlWeights *w,
                            const KlTextEncoderConfig *cfg);
void kl_text_encoder_destroy(KlTextEncoder **te);
const KlTextEncoderConfig *kl_text_encoder_config(const KlTextEncoder *te);
/** out[n,dim] (executor memory) from ids[n] (host), 1 <= n <= 4096: the rows of the true tokens, the end token
 *  included. Padding is not computed: masked keys add nothing to a true row. Checks cancel between layers. */
int  kl_text_encoder_run(const KlTextEncoder *te, KlExec *ex, KlDiag *d, const int32_t *ids, int n, float *out);

#endif /* KL_TEXT_ENCODER_H */
