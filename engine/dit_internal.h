/*
 * The transformer's insides, for its own files and for tests of its parts.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Letters: S tokens of the clip, D model dimension, H heads of E, groups of
 * tokens that share a timestep (1, or one per latent frame).
 */
#ifndef KL_DIT_INTERNAL_H
#define KL_DIT_INTERNAL_H

#include "dit.h"

typedef struct KlDitDelta {             /* a LoRA's change of one linear: + strength * B A, or + strength * A */
    KlWeight a, b;                      /* [rank,k], [n,rank]; or [n,k] and absent */
    int64_t rank;                       /* or 0 */
    float strength;
    float *gain;                        /* [n], all strength */
} KlDitDelta;

typedef struct KlDitLinear {
    KlWeight w;                         /* [n,k] in the file's dtype, or int8 of the transformer's own */
    void *own;                          /* what such a w lies in, malloc'd; or NULL */
    float *b;                           /* [n] */
    int64_t n, k;
    KlDitDelta *deltas;                 /* n_deltas */
    int n_deltas;
} KlDitLinear;

typedef struct KlDitAttention {
    KlDitLinear q, k, v, o;             /* [D,D] */
    float *norm_q, *norm_k;             /* [D] */
    KlDitLinear image_k, image_v;       /* [D,D], of cross-attention to an image encoder's rows; or absent */
    float *norm_image_k;                /* [D] */
} KlDitAttention;

/* An image encoder's rows, made the transformer's own: norm2(ff(norm1(rows + pos))). */
typedef struct KlDitImage {
    float *pos;                         /* [image_len,image_dim] or NULL */
    float *norm1_w, *norm1_b;           /* [image_dim] */
    KlDitLinear ff1, ff2;               /* [image_dim,image_dim], [D,image_dim] */
    float *norm2_w, *norm2_b;           /* [D] */
} KlDitImage;

typedef struct KlDitBlock {
    float *table;                       /* [6,D]: shift, scale, gate of attention, then of the ffn */
    KlDitAttention self, cross;
    float *norm2_w, *norm2_b;           /* [D], NULL without cross_attn_norm */
    KlDitLinear up, down;               /* [ffn,D], [D,ffn] */
} KlDitBlock;

struct KlDit {
    const KlKernels *k;
    KlDitConfig cfg;
    KlDitLinear patch;                  /* [D, in_ch*ph*pw] */
    KlDitLinear time1, time2, time_proj;/* [D,freq], [D,D], [6D,D] */
    KlDitLinear text1, text2;           /* [D,text_dim], [D,D] */
    KlDitImage image;                   /* absent without image_dim */
    KlDitLinear proj_out;               /* [out_ch*ph*pw, D] */
    float *table;                       /* [2,D]: shift, scale of the head */
    KlDitBlock *blocks;                 /* [layers] */
    bool lora;                          /* some linear has deltas, of at most this rank */
    int64_t lora_rank;
};

typedef struct KlDitTurn {              /* a slot's forward, and what it was the last time */
    KlReplay *replay;
    const float *z;
    float *v;
    int groups;
} KlDitTurn;

typedef struct KlDitContext {           /* one prompt, projected for every block */
    float *kv;                          /* [layers, keys, 2D]: key row, then value row */
    float *key_bias;                    /* [keys], NULL when no padding is left out */
    int keys;                           /* 0: slot is empty */
    int cap;                            /* keys that kv has room for */
} KlDitContext;

/* One clip's memory. Besides x there is one block, `work`, that every stage of a block lays out for itself:
 *   attention   q,k,v interleaved [S,3D], which the result takes the place of, and the normalised input [chunk,D]
 *   cross       normalised input (then attention to the image's rows) and queries [chunk,2D]
 *   ffn         normalised input and hidden rows [chunk,D+ffn]
 * so a session holds about 4*S*D floats of activations whatever the number of blocks. At 480x832x81 (S 32,760):
 * 0.20 + 0.63 GB for D 1536 (1.3B), 0.67 + 2.1 GB for D 5120 (14B); rotation tables 17 MB. A prompt's keys and values
 * take layers * keys * 2D floats more: 0.37 MB per token and slot for 1.3B, 1.6 MB for 14B; so do an image's rows. */
struct KlDitSession {
    const KlDit *dit;
    const KlKernels *k;
    KlExec *ex;
    int F, R, W;
    int64_t S, frame_tok;               /* tokens of the clip, of one latent frame */
    int64_t chunk;                      /* rows normalised at once before the q, k, v projections */
    int64_t work_floats;
    float *x;                           /* [S,D] */
    float *work;
    float *cos, *sin;                   /* [S,E/2] */
    float *freq;                        /* [F,freq_dim] */
    float *temb, *hidden;               /* [F,D] */
    float *tproj, *mod;                 /* [F,6D]; mod = tproj + a block's table */
    float *head_mod;                    /* [F,2D] */
    float *low;                         /* [rows of any linear,lora_rank], NULL without a LoRA */
    float *delta_gate;                  /* [F,D], likewise */
    float *host_freq;                   /* [F,freq_dim], the host's */
    int groups;
    int64_t group_rows;
    KlDitContext ctx[KL_DIT_CONTEXTS];
    KlDitContext image;                 /* of an image encoder's rows; no bias */
    KlDitTurn turn[KL_DIT_CONTEXTS];
};

/** cos[S,E/2], sin[S,E/2] (host) for F x gr x gw tokens: the head is split into time, row, column parts. */
void kl_dit_rope(float *cos, float *sin, int E, int F, int gr, int gw);
/** out[dim] (host): the reference's sinusoid of one timestep, cosines first. */
void kl_dit_timestep(float *out, int dim, float t);

/** The only part of a forward that is new in each step: sends t[F]. */
int  kl_dit_set_time(KlDitSession *s, KlDiag *d, const float *t);
/* The stages of one forward, in order; they cannot fail. */
void kl_dit_patch_embed(KlDitSession *s, const float *z);
void kl_dit_time_embed(KlDitSession *s);
void kl_dit_modulate(KlDitSession *s, const float *table);
void kl_dit_self_attention(KlDitSession *s, const KlDitBlock *b);
void kl_dit_cross_attention(KlDitSession *s, const KlDitBlock *b, int layer, int slot);
void kl_dit_ffn(KlDitSession *s, const KlDitBlock *b);
void kl_dit_head(KlDitSession *s, float *v);

/* How (kernels.h): which rows are operands, y of linears without deltas; or precise. */
enum { KL_DIT_X_OPERAND = 1, KL_DIT_Y_OPERAND = 2, KL_DIT_PRECISE = 4 };
/** y[M,n] = act(x[M,k] w^T + b); ldy is n where there is an activation. */
void kl_dit_linear(const KlDitSession *s, const KlDitLinear *l, const float *x, int64_t ldx, float *y, int64_t ldy,
                   int64_t M, KlActivation act, int how);

/* -- dit_lora.c -- */

/** The changes of the tensor `name`, bound to l, whose n and k are set. */
int  kl_dit_bind_deltas(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *name, KlDitLinear *l);
void kl_dit_release_deltas(const KlKernels *k, KlDitLinear *l);
/** y[M,n] += gate * the changes of l applied to x[M,k]; gate [groups,n] of stride ldgate, or NULL (1). */
void kl_dit_add_deltas(const KlDitSession *s, const KlDitLinear *l, const float *x, int64_t ldx, float *y, int64_t ldy,
                       int64_t M, const float *gate, int64_t ldgate, int64_t group_rows, int x_operand);

#endif /* KL_DIT_INTERNAL_H */
