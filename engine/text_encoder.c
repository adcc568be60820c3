/*
 * UMT5 encoder: token ids to context rows.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A T5 v1.1 encoder whose every layer has its own relative position bias:
 *
 *     x += o(attention(rms(x)));   x += wo(gelu(wi_0(rms(x))) * wi_1(rms(x)))
 *
 * without biases and without a scale on the scores. Letters: S tokens, D model
 * dimension, H heads, E elements of a head, F of the feed-forward.
 */
#include "text_encoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bind.h"

#define MAX_TOK 4096

typedef struct Layer {
    KlWeight q, k, v;                   /* [H*E,D] */
    KlWeight o;                         /* [D,H*E] */
    KlWeight wi_0, wi_1;                /* [F,D] */
    KlWeight wo;                        /* [D,F] */
    float *rel;                         /* [buckets,H] */
} Layer;

struct KlTextEncoder {
    KlTextEncoderConfig cfg;
    const KlKernels *k;
    KlWeight embed;                     /* [vocab,D], the host's: a prompt reads a few rows */
    Layer *layers;
    float *norms;                       /* [2 layers + 1,D]: before attention, before feed-forward, ...; last */
};

static int check_config(KlDiag *d, const KlTextEncoderConfig *c)
{
    if (c->vocab < 1 || c->dim < 1 || c->dim > 1 << 20 || c->heads < 1 || c->heads > 4096 || c->head_dim < 2 ||
        c->head_dim > 1024 || c->head_dim % 2 || c->ffn < 1 || c->ffn > 1 << 24 || c->layers < 1 || c->layers > 1024 ||
        !(c->eps >= 0))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "text encoder: config.json asks for %d layers of dim %d, %d heads "
                       "of %d, ffn %d, vocabulary %d, which cannot be", c->layers, c->dim, c->heads, c->head_dim,
                       c->ffn, c->vocab);
    if (c->rel_buckets < 4 || c->rel_buckets > 1 << 20 || c->rel_buckets % 2 ||
        c->rel_max_distance <= c->rel_buckets / 4)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "text encoder: config.json asks for %d position buckets up to "
                       "distance %d, which cannot be", c->rel_buckets, c->rel_max_distance);
    return 0;
}

static int bind_layer(KlDiag *d, KlTextEncoder *te, const KlWeights *w, int i)
{
    const KlTextEncoderConfig *c = &te->cfg;
    const int64_t inner = (int64_t)c->heads * c->head_dim;
    Layer *l = &te->layers[i];
    const struct {
        const char *name;
        int64_t n, k;
        KlWeight *w;
    } mats[] = {
        { "0.SelfAttention.q", inner, c->dim, &l->q },      { "0.SelfAttention.k", inner, c->dim, &l->k },
        { "0.SelfAttention.v", inner, c->dim, &l->v },      { "0.SelfAttention.o", c->dim, inner, &l->o },
        { "1.DenseReluDense.wi_0", c->ffn, c->dim, &l->wi_0 }, { "1.DenseReluDense.wi_1", c->ffn, c->dim, &l->wi_1 },
        { "1.DenseReluDense.wo", c->dim, c->ffn, &l->wo },
    };
    char name[128];
    int ret;

    for (size_t m = 0; m < KL_ARRAY_LEN(mats); m++) {
        snprintf(name, sizeof(name), "encoder.block.%d.layer.%s.weight", i, mats[m].name);
        if ((ret = kl_bind_matrix_2d(d, te->k, w, name, mats[m].n, mats[m].k, mats[m].w)) < 0)
            return ret;
    }
    snprintf(name, sizeof(name), "encoder.block.%d.layer.0.SelfAttention.relative_attention_bias.weight", i);
    return kl_weights_get_f32(d, w, name, 2, (const int64_t[]){ c->rel_buckets, c->heads }, &l->rel);
}

static int bind_norm(KlDiag *d, KlTextEncoder *te, const KlWeights *w, const char *name, int row)
{
    const int64_t dim = te->cfg.dim;
    float *v;
    int ret = kl_weights_get_f32(d, w, name, 1, &dim, &v);

    if (ret < 0)
        return ret;
    memcpy(te->norms + row * dim, v, (size_t)dim * sizeof(*v));
    free(v);
    return 0;
}

static int bind_all(KlDiag *d, KlTextEncoder *te, const KlWeights *w)
{
    const KlTextEncoderConfig *c = &te->cfg;
    const char *embed = kl_weights_find(w, "shared.weight") ? "shared.weight" : "encoder.embed_tokens.weight";
    char name[128];
    int ret;

    if ((ret = kl_weights_get(d, w, embed, 2, (const int64_t[]){ c->vocab, c->dim }, &te->embed)) < 0)
        return ret;
    for (int i = 0; i < c->layers; i++) {
        if ((ret = bind_layer(d, te, w, i)) < 0)
            return ret;
        for (int j = 0; j < 2; j++) {
            snprintf(name, sizeof(name), "encoder.block.%d.layer.%d.layer_norm.weight", i, j);
            if ((ret = bind_norm(d, te, w, name, 2 * i + j)) < 0)
                return ret;
        }
    }
    return bind_norm(d, te, w, "encoder.final_layer_norm.weight", 2 * c->layers);
}

int kl_text_encoder_create(KlDiag *d, KlTextEncoder **te, const KlKernels *k, const KlWeights *w,
                           const KlTextEncoderConfig *cfg)
{
    size_t norms = (2 * (size_t)KL_MAX(cfg->layers, 0) + 1) * (size_t)KL_MAX(cfg->dim, 0);
    int ret = check_config(d, cfg);

    *te = NULL;
    if (ret < 0)
        return ret;
    *te = calloc(1, sizeof(**te));
    if (!*te)
        return kl_fail_memory(d, "the text encoder", sizeof(**te));
    (*te)->cfg = *cfg;
    (*te)->k = k;
    (*te)->layers = calloc((size_t)cfg->layers, sizeof(*(*te)->layers));
    (*te)->norms = malloc(norms * sizeof(float));
    if (!(*te)->layers || !(*te)->norms)
        ret = kl_fail_memory(d, "the text encoder", norms * sizeof(float));
    else
        ret = bind_all(d, *te, w);
    if (ret < 0)
        kl_text_encoder_destroy(te);
    return ret;
}

static void release_layer(const KlKernels *k, Layer *l)
{
    KlWeight *all[] = { &l->q, &l->k, &l->v, &l->o, &l->wi_0, &l->wi_1, &l->wo };

    for (size_t i = 0; i < KL_ARRAY_LEN(all); i++)
        k->weight_release(k, all[i]);
    free(l->rel);
}

void kl_text_encoder_destroy(KlTextEncoder **te)
{
    if (!*te)
        return;
    for (int i = 0; (*te)->layers && i < (*te)->cfg.layers; i++)
        release_layer((*te)->k, &(*te)->layers[i]);
    free((*te)->layers);
    free((*te)->norms);
    free(*te);
    *te = NULL;
}

const KlTextEncoderConfig *kl_text_encoder_config(const KlTextEncoder *te)
{
    return &te->cfg;
}

/* Bucket of the distance key - query: half of them for keys after the query; of each half, one half for the exact
 * small distances, the other for logarithmically wider ranges up to the largest. In f32, as torch rounds: some
 * distances lie exactly on an edge. */
static int bucket(const KlTextEncoderConfig *c, int distance)
{
    int half = c->rel_buckets / 2, exact = half / 2, base = distance > 0 ? half : 0, b;
    float range = (float)log((double)c->rel_max_distance / exact);

    distance = abs(distance);
    if (distance < exact)
        return base + distance;
    b = exact + (int)(logf((float)distance / (float)exact) / range * (float)(half - exact));
    return base + KL_MIN(b, half - 1);
}

/* What one run keeps in executor memory. */
typedef struct Run {
    const KlTextEncoder *te;
    const KlKernels *k;
    KlExec *ex;
    int64_t S, D, inner, F;
    float *x;                           /* [S,D], the caller's output */
    float *h;                           /* [S,D] */
    float *qkv;                         /* [S,3*H*E] */
    float *ff;                          /* [2,S,F] */
    float *norms;                       /* [2 layers + 1,D] */
    float *rel;                         /* [layers,H,2S-1] */
} Run;

static int upload_tables(Run *r, KlDiag *d)
{
    const KlTextEncoderConfig *c = &r->te->cfg;
    const size_t width = 2 * (size_t)r->S - 1, norms = (2 * (size_t)c->layers + 1) * (size_t)r->D * sizeof(float);
    const size_t bytes = (size_t)c->layers * (size_t)c->heads * width * sizeof(float);
    float *host = malloc(bytes), *p = host;
    int ret;

    r->norms = r->k->mem_alloc(r->ex, norms);
    r->rel = r->k->mem_alloc(r->ex, bytes);
    if (!host || !r->norms || !r->rel) {
        free(host);
        return kl_fail_memory(d, "text encoding", 2 * bytes + norms);
    }
    for (int i = 0; i < c->layers; i++)
        for (int h = 0; h < c->heads; h++)
            for (int j = 1 - (int)r->S; j < (int)r->S; j++)
                *p++ = r->te->layers[i].rel[bucket(c, j) * c->heads + h];
    ret = r->k->mem_upload(r->ex, r->rel, host, bytes);
    if (ret >= 0)
        ret = r->k->mem_upload(r->ex, r->norms, r->te->norms, norms);
    free(host);
    return ret < 0 ? kl_fail_device(d, r->k, r->ex, "text encoding") : 0;
}

static int reserve(Run *r, KlDiag *d)
{
    const KlTextEncoderConfig *c = &r->te->cfg;
    const int64_t shapes[][2] = { { r->inner, r->D }, { r->D, r->inner }, { r->F, r->D }, { r->D, r->F } };
    const size_t act = (size_t)(r->S * (r->D + 3 * r->inner + 2 * r->F)) * sizeof(float);
    size_t most = r->k->attention_scratch(r->ex, r->S, r->S, c->heads, c->head_dim);

    for (int t = 0; t < KL_DTYPE_NB; t++)       /* files mix dtypes, layer by layer */
        for (size_t i = 0; i < KL_ARRAY_LEN(shapes); i++)
            if (shapes[i][1] % kl_dtype_block((KlDType)t) == 0)
                most = KL_MAX(most, r->k->linear_scratch(r->ex, r->S, shapes[i][0], shapes[i][1], (KlDType)t));
    r->h = r->k->mem_alloc(r->ex, (size_t)(r->S * r->D) * sizeof(float));
    r->qkv = r->k->mem_alloc(r->ex, (size_t)(r->S * 3 * r->inner) * sizeof(float));
    r->ff = r->k->mem_alloc(r->ex, (size_t)(r->S * 2 * r->F) * sizeof(float));
    if (!r->h || !r->qkv || !r->ff || r->k->exec_reserve(r->ex, most) < 0)
        return kl_fail_memory(d, "text encoding", act + most);
    return upload_tables(r, d);
}

static void norm(const Run *r, float *y, int row)
{
    const KlNorm p = { .x = r->x, .ldx = r->D, .y = y, .ldy = r->D, .S = r->S, .D = r->D, .eps = r->te->cfg.eps,
                       .weight = r->norms + row * r->D };

    r->k->rms_norm(r->ex, &p);
}

/* y = x w^T, or y += x w^T */
static void linear(const Run *r, const float *x, int64_t ldx, int64_t K, KlWeight w, float *y, int64_t ldy, int64_t N,
                   bool add)
{
    const KlLinear p = { .x = x, .ldx = ldx, .w = w, .y = y, .ldy = ldy, .M = r->S, .N = N, .K = K,
                         .residual = add ? y : NULL };

    r->k->linear(r->ex, &p);
}

static void attention(const Run *r, int i)
{
    const KlTextEncoderConfig *c = &r->te->cfg;
    const Layer *l = &r->te->layers[i];
    const int64_t inner = r->inner, ld = 3 * inner;
    float *q = r->qkv, *k = q + inner, *v = k + inner;
    const KlAttention p = { .q = q, .ldq = ld, .k = k, .ldk = ld, .v = v, .ldv = ld, .out = q, .ldo = ld,
                            .Sq = r->S, .Sk = r->S, .H = c->heads, .E = c->head_dim, .scale = 1,
                            .rel_bias = r->rel + i * c->heads * (2 * r->S - 1) };

    norm(r, r->h, 2 * i);
    linear(r, r->h, r->D, r->D, l->q, q, ld, inner, false);
    linear(r, r->h, r->D, r->D, l->k, k, ld, inner, false);
    linear(r, r->h, r->D, r->D, l->v, v, ld, inner, false);
    r->k->attention(r->ex, &p);
    linear(r, q, ld, inner, l->o, r->x, r->D, r->D, true);
}

static void feed_forward(const Run *r, int i)
{
    const Layer *l = &r->te->layers[i];
    float *a = r->ff, *b = a + r->S * r->F;

    norm(r, r->h, 2 * i + 1);
    linear(r, r->h, r->D, r->D, l->wi_0, a, r->F, r->F, false);
    linear(r, r->h, r->D, r->D, l->wi_1, b, r->F, r->F, false);
    r->k->activate(r->ex, a, a, b, r->S * r->F, KL_ACT_GELU_TANH);
    linear(r, a, r->F, r->F, l->wo, r->x, r->D, r->D, true);
}

int kl_text_encoder_run(const KlTextEncoder *te, KlExec *ex, KlDiag *d, const int32_t *ids, int n, float *out)
{
    const KlTextEncoderConfig *c = &te->cfg;
    Run r = { .te = te, .k = te->k, .ex = ex, .S = n, .D = c->dim, .inner = (int64_t)c->heads * c->head_dim,
              .F = c->ffn, .x = out };
    int ret;

    if (n < 1 || n > MAX_TOK)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "text encoder: %d tokens; 1 to %d can be encoded", n, MAX_TOK);
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= c->vocab)
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "token %d is outside the text encoder's vocabulary of %d: the "
                           "tokenizer belongs to another model", ids[i], c->vocab);

    if ((ret = reserve(&r, d)) >= 0) {
        r.k->gather(ex, r.x, te->embed, ids, r.S, r.D);
        for (int i = 0; i < c->layers && !(ret = kl_pace(d, r.k, ex)); i++) {
            attention(&r, i);
            feed_forward(&r, i);
        }
        norm(&r, r.x, 2 * c->layers);
        if (r.k->exec_sync(ex) < 0 && !ret)
            ret = kl_fail_device(d, r.k, ex, "text encoding");
    }
    r.k->mem_free(ex, r.h);
    r.k->mem_free(ex, r.qkv);
    r.k->mem_free(ex, r.ff);
    r.k->mem_free(ex, r.norms);
    r.k->mem_free(ex, r.rel);
    return ret;
}
