/*
 * CLIP's vision tower: a picture to the rows that a transformer is shown of it.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A transformer over a class row and one row per patch:
 *
 *     x = norm(rows + positions);   x += o(attention(norm1(x)));   x += fc2(gelu(fc1(norm2(x))))
 *
 * Letters: S rows, D model dimension, H heads of E, F of the feed-forward.
 */
#include "image_encoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bind.h"
#include "picture_resize.h"

typedef struct Linear {
    KlWeight w;                         /* [n,k] */
    float *b;                           /* [n] */
    int64_t n, k;
} Linear;

typedef struct Norm {
    float *w, *b;                       /* [D] */
} Norm;

typedef struct Layer {
    Norm norm1, norm2;
    Linear qkv[3];                      /* [D,D] each; a file that has them as one [3D,D]: qkv[0] alone */
    Linear o, fc1, fc2;                 /* [D,D], [F,D], [D,F] */
} Layer;

struct KlImageEncoder {
    KlImageEncoderConfig cfg;
    const KlKernels *k;
    KlWeight patch;                     /* [D,3*p*p] */
    float *pos;                         /* [S,D]; the class row is added to the first */
    Norm pre;
    Layer *layers;                      /* [layers - 1] */
};

void kl_image_encoder_defaults(KlImageEncoderConfig *c)
{
    static const float mean[3] = { 0.48145466f, 0.4578275f, 0.40821073f };
    static const float std[3] = { 0.26862954f, 0.26130258f, 0.27577711f };

    c->short_px = c->image_px;
    memcpy(c->mean, mean, sizeof(mean));
    memcpy(c->std, std, sizeof(std));
}

int kl_image_encoder_tokens(const KlImageEncoderConfig *c)
{
    const int side = c->image_px / c->patch_px;

    return 1 + side * side;
}

const KlImageEncoderConfig *kl_image_encoder_config(const KlImageEncoder *ie)
{
    return &ie->cfg;
}

/* -- weights -- */

static int check_config(KlDiag *d, const KlImageEncoderConfig *c, const KlWeights *w)
{
    if (c->dim < 2 || c->dim > 1 << 16 || c->heads < 1 || c->dim % c->heads || c->dim / c->heads % 2 ||
        c->dim / c->heads > 1024 || c->ffn < 1 || c->ffn > 1 << 20 || c->layers < 1 || c->layers > 1024 ||
        c->patch_px < 1 || c->image_px < c->patch_px || c->image_px > 4096 || c->image_px % c->patch_px ||
        c->image_px / c->patch_px > 128 || c->short_px < c->image_px || c->short_px > 1 << 16 || !(c->eps >= 0))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "%s: the image encoder's description makes no sense: %d layers of "
                       "dim %d, %d heads, ffn %d, pictures of %d in patches of %d", kl_weights_path(w), c->layers,
                       c->dim, c->heads, c->ffn, c->image_px, c->patch_px);
    return 0;
}

static int bind_vector(KlDiag *d, const KlImageEncoder *ie, const KlWeights *w, const char *at, const char *what,
                       int64_t n, float **out)
{
    char name[128];

    snprintf(name, sizeof(name), "%s%s", at, what);
    return kl_bind_f32(d, ie->k, w, name, 1, &n, out);
}

static int bind_norm(KlDiag *d, const KlImageEncoder *ie, const KlWeights *w, const char *at, Norm *n)
{
    const int ret = bind_vector(d, ie, w, at, ".weight", ie->cfg.dim, &n->w);

    return ret < 0 ? ret : bind_vector(d, ie, w, at, ".bias", ie->cfg.dim, &n->b);
}

static int bind_linear(KlDiag *d, const KlImageEncoder *ie, const KlWeights *w, const char *at, const char *what,
                       int64_t n, int64_t k, Linear *l)
{
    char name[128];
    int ret;

    l->n = n;
    l->k = k;
    snprintf(name, sizeof(name), "%s%s.weight", at, what);
    if ((ret = kl_bind_matrix_2d(d, ie->k, w, name, n, k, &l->w)) < 0)
        return ret;
    snprintf(name, sizeof(name), "%s%s.bias", at, what);
    return kl_bind_f32(d, ie->k, w, name, 1, &n, &l->b);
}

static int bind_layer(KlDiag *d, const KlImageEncoder *ie, const KlWeights *w, int i, Layer *l)
{
    static const char *const qkv[] = { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj" };
    const int64_t D = ie->cfg.dim, F = ie->cfg.ffn;
    char at[64], name[96];
    int ret = 0;

    snprintf(at, sizeof(at), "encoder.layers.%d.", i);
    snprintf(name, sizeof(name), "%sself_attn.qkv_proj.weight", at);
    if (kl_weights_find(w, name))
        ret = bind_linear(d, ie, w, at, "self_attn.qkv_proj", 3 * D, D, &l->qkv[0]);
    else
        for (int j = 0; j < 3 && ret >= 0; j++)
            ret = bind_linear(d, ie, w, at, qkv[j], D, D, &l->qkv[j]);
    if (ret < 0 || (ret = bind_linear(d, ie, w, at, "self_attn.out_proj", D, D, &l->o)) < 0 ||
        (ret = bind_linear(d, ie, w, at, "mlp.fc1", F, D, &l->fc1)) < 0 ||
        (ret = bind_linear(d, ie, w, at, "mlp.fc2", D, F, &l->fc2)) < 0)
        return ret;
    snprintf(name, sizeof(name), "%slayer_norm1", at);
    if ((ret = bind_norm(d, ie, w, name, &l->norm1)) < 0)
        return ret;
    snprintf(name, sizeof(name), "%slayer_norm2", at);
    return bind_norm(d, ie, w, name, &l->norm2);
}

/* The original release keeps [1,S,D] and [1,1,D] of what is [S,D] and [D] elsewhere. */
static int get_rows(KlDiag *d, const KlWeights *w, const char *name, int64_t rows, int64_t dim, float **out)
{
    const KlTensor *t = kl_weights_find(w, name);
    const int64_t shape[3] = { 1, rows, dim };
    const int ndim = t && t->ndim == 3 ? 3 : rows == 1 ? 1 : 2;

    return kl_weights_get_f32(d, w, name, ndim, shape + 3 - ndim, out);
}

static int bind_positions(KlDiag *d, KlImageEncoder *ie, const KlWeights *w)
{
    const int64_t S = kl_image_encoder_tokens(&ie->cfg), D = ie->cfg.dim;
    float *class, *pos;
    int ret = get_rows(d, w, "embeddings.class_embedding", 1, D, &class);

    if (ret < 0)
        return ret;
    if ((ret = get_rows(d, w, "embeddings.position_embedding.weight", S, D, &pos)) >= 0) {
        for (int64_t i = 0; i < D; i++)
            pos[i] += class[i];
        if ((ret = kl_bind_vector(d, ie->k, "the image encoder's positions", &pos, S * D)) >= 0)
            ie->pos = pos;
    }
    free(class);
    return ret;
}

int kl_image_encoder_create(KlDiag *d, KlImageEncoder **out, const KlKernels *k, const KlWeights *w,
                            const KlImageEncoderConfig *c)
{
    KlImageEncoder *ie;
    int ret;

    *out = NULL;
    if ((ret = check_config(d, c, w)) < 0)
        return ret;
    if (!(ie = calloc(1, sizeof(*ie))))
        return kl_fail_memory(d, "the image encoder", sizeof(*ie));
    ie->cfg = *c;
    ie->k = k;
    if (!(ie->layers = calloc((size_t)c->layers, sizeof(*ie->layers))))
        ret = kl_fail_memory(d, "the image encoder", (size_t)c->layers * sizeof(*ie->layers));
    else if ((ret = kl_bind_matrix(d, k, w, "embeddings.patch_embedding.weight", c->dim,
                                   3 * (int64_t)c->patch_px * c->patch_px, &ie->patch)) >= 0 &&
             (ret = bind_positions(d, ie, w)) >= 0)
        ret = bind_norm(d, ie, w, "pre_layrnorm", &ie->pre);
    for (int i = 0; ret >= 0 && i < c->layers - 1; i++)
        ret = bind_layer(d, ie, w, i, &ie->layers[i]);
    if (ret < 0)
        kl_image_encoder_destroy(&ie);
    *out = ie;
    return ret;
}

static void release_norm(const KlKernels *k, Norm *n)
{
    k->vector_release(k, &n->w);
    k->vector_release(k, &n->b);
}

static void release_layer(const KlKernels *k, Layer *l)
{
    Linear *all[] = { &l->qkv[0], &l->qkv[1], &l->qkv[2], &l->o, &l->fc1, &l->fc2 };

    for (size_t i = 0; i < KL_ARRAY_LEN(all); i++) {
        k->weight_release(k, &all[i]->w);
        k->vector_release(k, &all[i]->b);
    }
    release_norm(k, &l->norm1);
    release_norm(k, &l->norm2);
}

void kl_image_encoder_destroy(KlImageEncoder **p)
{
    KlImageEncoder *ie = *p;

    if (!ie)
        return;
    for (int i = 0; ie->layers && i < ie->cfg.layers - 1; i++)
        release_layer(ie->k, &ie->layers[i]);
    ie->k->weight_release(ie->k, &ie->patch);
    ie->k->vector_release(ie->k, &ie->pos);
    release_norm(ie->k, &ie->pre);
    free(ie->layers);
    free(ie);
    *p = NULL;
}

/* -- pictures -- */

int kl_image_encoder_prepare(const KlImageEncoderConfig *c, KlDiag *d, const float *const rgb[3], ptrdiff_t stride,
                             int width_px, int height_px, float *out)
{
    const int64_t shorter = KL_MIN(width_px, height_px), n = (int64_t)c->image_px * c->image_px;
    KlResize r = { .rgb = { rgb[0], rgb[1], rgb[2] }, .stride = stride, .width_px = width_px, .height_px = height_px,
                   .part_width_px = c->image_px, .part_height_px = c->image_px };
    uint8_t *bytes = malloc(3 * (size_t)n);
    int ret;

    if (!bytes)
        return kl_fail_memory(d, "a picture for the image encoder", 3 * (size_t)n);
    r.to_width_px = (int)(c->short_px * (int64_t)width_px / shorter);
    r.to_height_px = (int)(c->short_px * (int64_t)height_px / shorter);
    r.x_px = (r.to_width_px - c->image_px) / 2;
    r.y_px = (r.to_height_px - c->image_px) / 2;
    ret = kl_picture_resize(d, &r, bytes);
    for (int ch = 0; ch < 3 && !ret; ch++)
        for (int64_t i = 0; i < n; i++)
            out[ch * n + i] = ((float)(bytes[3 * i + ch] * (1 / 255.0)) - c->mean[ch]) / c->std[ch];
    free(bytes);
    return ret;
}

/* -- running -- */

/* What one run keeps in executor memory. */
typedef struct Run {
    const KlImageEncoder *ie;
    const KlKernels *k;
    KlExec *ex;
    int64_t S, D, F;
    float *x;                           /* [S,D], the caller's output */
    float *h;                           /* [S,D] */
    float *work;                        /* the picture and its patches; then q, k, v [S,3D], or hidden rows [S,F] */
} Run;

static int64_t work_floats(const KlImageEncoderConfig *c)
{
    const int64_t S = kl_image_encoder_tokens(c), picture = 3 * (int64_t)c->image_px * c->image_px;

    return KL_MAX(2 * picture, S * KL_MAX(3 * (int64_t)c->dim, c->ffn));
}

size_t kl_image_encoder_bytes(const KlImageEncoderConfig *c)
{
    return sizeof(float) * (size_t)(2 * (int64_t)kl_image_encoder_tokens(c) * c->dim + work_floats(c));
}

static int reserve(Run *r, KlDiag *d)
{
    const KlImageEncoderConfig *c = &r->ie->cfg;
    const int64_t patch = 3 * (int64_t)c->patch_px * c->patch_px;
    size_t most = r->k->attention_scratch(r->ex, r->S, r->S, c->heads, c->dim / c->heads);

    for (int t = 0; t < KL_DTYPE_NB; t++) {     /* files may mix dtypes */
        const size_t s[] = {
            r->k->linear_scratch(r->ex, r->S, r->D, patch, (KlDType)t),
            r->k->linear_scratch(r->ex, r->S, r->D, r->D, (KlDType)t),
            r->k->linear_scratch(r->ex, r->S, 3 * r->D, r->D, (KlDType)t),
            r->k->linear_scratch(r->ex, r->S, r->F, r->D, (KlDType)t),
            r->k->linear_scratch(r->ex, r->S, r->D, r->F, (KlDType)t),
        };

        for (size_t i = 0; i < KL_ARRAY_LEN(s); i++)
            most = KL_MAX(most, s[i]);
    }
    r->h = r->k->mem_alloc(r->ex, (size_t)(r->S * r->D) * sizeof(float));
    r->work = r->k->mem_alloc(r->ex, (size_t)work_floats(c) * sizeof(float));
    if (!r->h || !r->work || r->k->exec_reserve(r->ex, most) < 0)
        return kl_fail_memory(d, "image encoding", kl_image_encoder_bytes(c) + most);
    return 0;
}

static void norm(const Run *r, float *y, const Norm *n)
{
    const KlNorm p = { .x = r->x, .ldx = r->D, .y = y, .ldy = r->D, .S = r->S, .D = r->D, .eps = r->ie->cfg.eps,
                       .weight = n->w, .bias = n->b };

    r->k->layer_norm(r->ex, &p);
}

/* y = act(x w^T + b), or y += x w^T + b */
static void linear(const Run *r, const float *x, int64_t ldx, const Linear *l, float *y, int64_t ldy, KlActivation act,
                   bool add)
{
    const KlLinear p = { .x = x, .ldx = ldx, .w = l->w, .bias = l->b, .y = y, .ldy = ldy, .M = r->S, .N = l->n,
                         .K = l->k, .act = act, .residual = add ? y : NULL };

    r->k->linear(r->ex, &p);
}

static int embed(const Run *r, KlDiag *d, const float *pixels)
{
    const KlImageEncoderConfig *c = &r->ie->cfg;
    const int64_t n = 3 * (int64_t)c->image_px * c->image_px, K = 3 * (int64_t)c->patch_px * c->patch_px;
    const KlLinear p = { .x = r->work + n, .ldx = K, .w = r->ie->patch, .y = r->x + r->D, .ldy = r->D, .M = r->S - 1,
                         .N = r->D, .K = K };

    if (r->k->mem_upload(r->ex, r->work, pixels, (size_t)n * sizeof(float)) < 0)
        return kl_fail_device(d, r->k, r->ex, "sending a picture to the image encoder");
    r->k->patchify(r->ex, r->work + n, r->work, 3, 1, c->image_px, c->image_px, c->patch_px, c->patch_px);
    r->k->linear(r->ex, &p);
    r->k->mem_zero(r->ex, r->x, (size_t)r->D * sizeof(float));
    r->k->gated_add(r->ex, r->x, r->ie->pos, r->S, r->D, NULL, 0, 1);
    norm(r, r->x, &r->ie->pre);
    return 0;
}

static void attention(const Run *r, const Layer *l)
{
    const int64_t ld = 3 * r->D;
    const int H = r->ie->cfg.heads, E = r->ie->cfg.dim / H;
    float *q = r->work;
    const KlAttention p = { .q = q, .ldq = ld, .k = q + r->D, .ldk = ld, .v = q + 2 * r->D, .ldv = ld, .out = q,
                            .ldo = ld, .Sq = r->S, .Sk = r->S, .H = H, .E = E, .scale = (float)(1 / sqrt(E)) };

    norm(r, r->h, &l->norm1);
    for (int j = 0; j < 3 && l->qkv[j].n; j++)
        linear(r, r->h, r->D, &l->qkv[j], q + j * r->D, ld, KL_ACT_NONE, false);
    r->k->attention(r->ex, &p);
    linear(r, q, ld, &l->o, r->x, r->D, KL_ACT_NONE, true);
}

static void feed_forward(const Run *r, const Layer *l)
{
    norm(r, r->h, &l->norm2);
    linear(r, r->h, r->D, &l->fc1, r->work, r->F, KL_ACT_GELU, false);
    linear(r, r->work, r->F, &l->fc2, r->x, r->D, KL_ACT_NONE, true);
}

int kl_image_encoder_run(const KlImageEncoder *ie, KlExec *ex, KlDiag *d, const float *pixels, float *out)
{
    const KlImageEncoderConfig *c = &ie->cfg;
    Run r = { .ie = ie, .k = ie->k, .ex = ex, .S = kl_image_encoder_tokens(c), .D = c->dim, .F = c->ffn, .x = out };
    int ret;

    if ((ret = reserve(&r, d)) >= 0 && (ret = embed(&r, d, pixels)) >= 0) {
        for (int i = 0; i < c->layers - 1 && !(ret = kl_pace(d, r.k, ex)); i++) {
            attention(&r, &ie->layers[i]);
            feed_forward(&r, &ie->layers[i]);
        }
        if (r.k->exec_sync(ex) < 0 && !ret)
            ret = kl_fail_device(d, r.k, ex, "image encoding");
    }
    r.k->mem_free(ex, r.h);
    r.k->mem_free(ex, r.work);
    return ret;
}
