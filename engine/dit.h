/*
 * The Wan transformer: noisy latent video, timestep and context to velocity.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Formulas: diffusers' WanTransformer3DModel. Never knows the sampler, the VAE
 * or text. A KlDit is the weights, shared between jobs; a KlDitSession is one
 * clip's buffers, rotation tables and projected contexts.
 */
#ifndef KL_DIT_H
#define KL_DIT_H

#include "weights.h"

typedef struct KlDitConfig {            /* diffusers' config.json names in comments */
    int dim;                            /* num_attention_heads * attention_head_dim */
    int heads, head_dim;
    int ffn;                            /* ffn_dim */
    int layers;                         /* num_layers */
    int in_ch, out_ch;                  /* in_channels, out_channels */
    int text_dim;                       /* text_dim */
    int text_len;                       /* 512: contexts are padded to this with zero rows */
    int freq_dim;                       /* freq_dim */
    int patch_h, patch_w;               /* patch_size[1], [2]; patch_size[0] must be 1 */
    float eps;                          /* eps */
    bool cross_attn_norm;               /* cross_attn_norm: norm2 affine */
    int image_dim;                      /* image_dim: of an image encoder's rows; 0: takes none */
    int image_len;                      /* pos_embed_seq_len: rows that it takes, of all pictures; 0: any number */
    int rope_max_len;                   /* rope_max_seq_len; only a hint, tables are built for the clip */
} KlDitConfig;

typedef struct KlDit KlDit;
typedef struct KlDitSession KlDitSession;

/** Binds and checks every tensor. w must outlive *dit. */
int  kl_dit_create(KlDiag *d, KlDit **dit, const KlKernels *k, const KlWeights *w, const KlDitConfig *cfg);
void kl_dit_destroy(KlDit **dit);
const KlDitConfig *kl_dit_config(const KlDit *dit);

/** Called after each block of the transformer; may be NULL. */
typedef void (*KlDitBlockFn)(void *opaque, int done, int blocks);
/** Makes the matrices of the blocks int8 with a scale per row (the table's quantize_rows), unless the file has them so:
 *  fresh copies in memory of kl_dit_int8_bytes(), instead of the file's. No session of dit may be open. ex gives the
 *  threads. Checks cancel between matrices; on an error dit is fit only to be destroyed. */
int  kl_dit_make_int8(KlDit *dit, KlExec *ex, KlDiag *d, KlDitBlockFn fn, void *opaque);
size_t kl_dit_int8_bytes(const KlDit *dit);

/** Buffers for latents [in_ch,F,R,W]; R and W are multiples of the patch. dit and ex must outlive it. */
int  kl_dit_session_create(const KlDit *dit, KlExec *ex, KlDiag *d, int F, int R, int W, KlDitSession **s);
/** About what a session for such latents holds, contexts and scratch not counted. */
size_t kl_dit_session_bytes(const KlDit *dit, int F, int R, int W);
void kl_dit_session_destroy(KlDitSession **s);

#define KL_DIT_CONTEXTS 2               /* with and without the prompt */
/** Projects context rows ctx[n,text_dim] (executor memory, n <= text_len) and, for every block, their keys and
 *  values, into slot. The text_len - n padding rows are all equal after projection, so they are kept as one key
 *  with a score bias of log(text_len - n): exactly the softmax over all of them. */
int  kl_dit_set_context(KlDitSession *s, KlDiag *d, int slot, const float *ctx, int n);
#define KL_DIT_MAX_IMAGE_LEN 4096
/** The same for rows[n,image_dim] of an image encoder (image_len of them, or 1..KL_DIT_MAX_IMAGE_LEN), which every slot
 *  attends to beside its own context. A transformer with image_dim does not run without. */
int  kl_dit_set_image(KlDitSession *s, KlDiag *d, const float *rows, int n);
/** v[out_ch,F,R,W] = the model's output for z[in_ch,F,R,W] (executor memory, not overlapping). t[F] (host): the
 *  timestep of each latent frame in 0..1000; all equal for text to video, 0 for clean frames (expand_timesteps).
 *  Checks cancel between blocks. */
int  kl_dit_forward(KlDitSession *s, KlDiag *d, int slot, const float *z, const float *t, float *v);
/** Multiply-adds x 2 of one forward as executed, for benches. */
double kl_dit_flops(const KlDitSession *s, int slot);

#endif /* KL_DIT_H */
