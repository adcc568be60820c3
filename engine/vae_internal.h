/*
 * The VAE's insides: stages that pictures are pushed through one by one.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Both halves are a row of stages. A stage takes ownership of one picture
 * x[R,W,C] and hands one on; the stages that double pictures in time hand on
 * two, one after the other, and those that halve them sometimes none. Since
 * every convolution is causal and remembers its own last inputs, pictures can
 * go through depth first: nothing ever waits in a queue.
 */
#ifndef KL_VAE_INTERNAL_H
#define KL_VAE_INTERNAL_H

#include <pthread.h>

#include "vae.h"

#define KL_VAE_CONVS 3                  /* at most, of one stage */

typedef enum KlVaeKind {
    KL_VAE_CONV,                        /* conv0: causal 3x3x3 */
    KL_VAE_RES,                         /* conv0, conv1: causal 3x3x3; conv2: 1x1x1 shortcut where widths differ */
    KL_VAE_ATTN,                        /* one head over a picture's pixels */
    KL_VAE_UP,                          /* conv0: 3x3 after doubling in space */
    KL_VAE_UP_TIME,                     /* conv1, conv2: causal 3x1x1, the earlier and the later of two pictures;
                                           then conv0 as KL_VAE_UP on each */
    KL_VAE_DOWN,                        /* conv0: 3x3 of stride 2 */
    KL_VAE_DOWN_TIME,                   /* conv0 as KL_VAE_DOWN, then conv1: 3x1x1 of stride 2 in time */
    KL_VAE_KEEP,                        /* the picture is passed on, and a copy kept for a shortcut */
    KL_VAE_FOLD,                        /* the picture is passed on, and its mean over the blocks of shuffle kept,
                                           pictures in time added together */
    KL_VAE_ADD,                         /* adds what was kept */
    KL_VAE_PATCH,                       /* pixels to channels by shuffle */
    KL_VAE_UNPATCH,                     /* channels to pixels by shuffle */
    KL_VAE_HEAD,                        /* norm, SiLU, then a causal 3x3x3 taken apart in time: conv0, conv1, conv2 are
                                           its 3x3s on this picture, the one before and the one before that. What it
                                           remembers is then sums of few channels instead of pictures of many */
} KlVaeKind;

typedef struct KlVaeConv {
    KlWeight w;                         /* [oc,ic,kt,kh,kw], data NULL: the stage has no such convolution */
    float *own;                         /* w.data where it is a copy */
    float *bias;                        /* [oc], the owner's */
    const float *pack_bias;             /* bias, or a part of it */
    KlConvWeights *packed;              /* NULL until a clip needs them */
    int ic, oc, kt, kh, kw;
} KlVaeConv;

typedef struct KlVaeStage {
    KlVaeKind kind;
    int in, out;                        /* channels */
    KlVaeConv conv[KL_VAE_CONVS];
    float *gamma[2];                    /* [in], [out] of a RES; [in] of ATTN and HEAD */
    KlWeight qkv, proj;                 /* ATTN: [3*in,in], [in,in] */
    float *qkv_bias, *proj_bias;
    int kept;                           /* UP, DOWN (also _TIME), ADD: the stage whose kept picture is added to the
                                           output; 0: none. A DOWN adds it as it is, an UP by its shuffle */
    KlShuffle shuffle;                  /* FOLD, PATCH, UNPATCH, UP (also _TIME) with kept: C, D, f, T, by_columns */
} KlVaeStage;

/* The encoder or the decoder. Packed convolution weights (f32, the size of the half's parameters) exist only while a
 * clip uses them. */
typedef struct KlVaeHalf {
    const KlKernels *k;
    KlVaeStage *stage;
    int n;
    float *mix_w;                       /* post_quant_conv or quant_conv, with the latents' scaling folded in */
    KlWeight mix;                       /* the same, bound */
    float *mix_b;
    pthread_mutex_t lock;               /* of users and the packed weights' coming and going */
    int users;
} KlVaeHalf;

struct KlVae {
    const KlKernels *k;
    KlVaeConfig cfg;
    KlVaeHalf *dec, *enc;               /* enc NULL: not in the file */
    char path[256];                     /* of the file, for messages */
};

/** Channels of level 0..levels-1; the encoder's of -1 is what it begins with, the decoder's of `levels` the middle. */
int  kl_vae_encoder_width(const KlVaeConfig *c, int level);
int  kl_vae_decoder_width(const KlVaeConfig *c, int level);
/** Of a picture as the first or last convolution sees it: 3, or 3*patch*patch. */
int  kl_vae_picture_channels(const KlVaeConfig *c);

/** Binds the stages of one half; *half is NULL on an error. */
int  kl_vae_decoder_bind(KlDiag *d, const KlWeights *w, const KlVae *vae, KlVaeHalf **half);
int  kl_vae_encoder_bind(KlDiag *d, const KlWeights *w, const KlVae *vae, KlVaeHalf **half);
void kl_vae_half_free(KlVaeHalf **half);

/** Builders for the two binds. */
int  kl_vae_half_alloc(KlDiag *d, const KlKernels *k, int stages, KlVaeHalf **half);
int  kl_vae_bind_conv(KlDiag *d, const KlWeights *w, const char *name, int ic, int oc, int kt, int kh, int kw,
                      KlVaeConv *c);
/** Binds h->mix_w[n,k] and h->mix_b[n] once they are made. */
int  kl_vae_bind_mix(KlDiag *d, KlVaeHalf *h, int64_t n, int64_t k);
int  kl_vae_bind_gamma(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *name, int ndim, int c,
                       float **gamma);
int  kl_vae_bind_causal(KlDiag *d, const KlWeights *w, const char *name, int ic, int oc, KlVaeStage *s);
int  kl_vae_bind_res(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *prefix,
                      int in, int out, KlVaeStage *s);
int  kl_vae_bind_attn(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *prefix,
                      int c, KlVaeStage *s);
/** Blocks of f x f pixels in T pictures; C channels of the fine picture, D of the coarse one. */
void kl_vae_bind_shuffle(KlVaeStage *s, KlVaeKind kind, int C, int D, int f, int T);
int  kl_vae_bind_head(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *prefix,
                      int c, int out, KlVaeStage *s);
/** resnet, attention, resnet into s[0..3). */
int  kl_vae_bind_mid(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *prefix, int c, KlVaeStage *s);

/* One convolution of a clip, with what it remembers. */
typedef struct KlVaeCausal {
    KlConv *conv;
    float *past[2];                     /* older, newer; NULL: zeros. From the pool. Of a HEAD: what the past adds to
                                           the next output, and to the one after */
} KlVaeCausal;

typedef struct KlVaeStep {              /* a stage bound to a picture's size */
    int R, W;                           /* of the stage's input */
    KlVaeCausal c[KL_VAE_CONVS];
    int64_t seen;                       /* pictures so far */
    float *kept;                        /* KEEP, FOLD: until the shortcut's end takes it */
} KlVaeStep;

typedef struct KlVaeBuffer {
    float *p;
    size_t bytes;
    bool used;
} KlVaeBuffer;

/** The last picture's way out; x is the stream's. Non-zero stops. */
typedef int (*KlVaeSinkFn)(void *opaque, KlDiag *d, const float *x);

/* A clip going through a half. */
typedef struct KlVaeStream {
    KlVaeHalf *half;
    const KlKernels *k;
    KlExec *ex;
    KlVaeStep *step;                    /* [half->n] */
    KlVaeBuffer *pool;                  /* every picture that is alive or may be used again */
    int pool_n, pool_cap;
    size_t pool_bytes, pool_peak;       /* held now, held at most */
    int out_R, out_W, out_C;
    KlVaeSinkFn sink;
    void *opaque;
    int failed;                         /* a stream that stopped half way is of no more use */
} KlVaeStream;

/** R, W: of the pictures that will be pushed. */
int  kl_vae_stream_open(KlVaeStream *s, KlDiag *d, KlVaeHalf *half, KlExec *ex, int R, int W);
void kl_vae_stream_close(KlVaeStream *s);
/** A picture of `floats` from the pool; NULL with d->error when out of memory. */
float *kl_vae_take(KlVaeStream *s, KlDiag *d, int64_t floats);
/** What becomes an operand (kernels.h) of x[pixels,channels]: x itself where that can be, else, or for x NULL, one
 *  from the pool. */
float *kl_vae_take_operand(KlVaeStream *s, KlDiag *d, float *x, int64_t pixels, int channels);
/** Back to the pool; NULL is allowed. */
void kl_vae_give(KlVaeStream *s, const float *p);
/** Pushes x[R,W,C] (from kl_vae_take, now the stream's) through all stages. */
int  kl_vae_push(KlVaeStream *s, KlDiag *d, float *x);
/** The description of convolution j of a stage that gets pictures of R x W, whether there is one or not. */
KlConvDesc kl_vae_conv_desc(const KlVaeStage *st, int j, int R, int W);
/** The size of the pictures that a stage hands on, from that of its input. */
void kl_vae_out_size(const KlVaeStage *st, int *R, int *W);
/** What a stream of pictures of R x W holds at most: packed weights (without the backend's rounding up), pasts, and the
 *  pictures in hand. */
size_t kl_vae_stream_bytes(const KlVaeHalf *h, int R, int W);
/** Multiply-adds x 2 of `pictures` pictures pushed one after the other, none of them the first. */
double kl_vae_stream_flops(const KlVaeStream *s, double pictures);

#endif /* KL_VAE_INTERNAL_H */
