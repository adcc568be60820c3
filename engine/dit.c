/*
 * The transformer's weights: bound by name, checked by shape.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Matrices stay in the file's mapping and dtype (a device's table copies
 * them). Biases, norms and modulation tables, a thousandth of the whole,
 * become f32 copies.
 */
#include "bind.h"
#include "dit_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LEN 160

static int bind_vector(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *prefix, const char *suffix,
                       int64_t n, float **out)
{
    char name[NAME_MAX_LEN];

    snprintf(name, sizeof(name), "%s%s", prefix, suffix);
    return kl_bind_f32(d, k, w, name, 1, &n, out);
}

static int bind_table(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *prefix, int rows, int64_t dim,
                      float **out)
{
    char name[NAME_MAX_LEN];
    int64_t shape[3] = { 1, rows, dim };

    snprintf(name, sizeof(name), "%sscale_shift_table", prefix);
    return kl_bind_f32(d, k, w, name, 3, shape, out);
}

static int bind_linear(KlDiag *d, const KlKernels *kn, const KlWeights *w, const char *prefix, const char *suffix,
                       int64_t n, int64_t k, KlDitLinear *l)
{
    char name[NAME_MAX_LEN];
    int ret;

    l->n = n;
    l->k = k;
    snprintf(name, sizeof(name), "%s%s.weight", prefix, suffix);
    if ((ret = kl_bind_matrix(d, kn, w, name, n, k, &l->w)) < 0)
        return ret;
    snprintf(name, sizeof(name), "%s%s.bias", prefix, suffix);
    return kl_bind_f32(d, kn, w, name, 1, &n, &l->b);
}

static int bind_attention(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *block, const char *which,
                          int64_t dim, KlDitAttention *a)
{
    char prefix[NAME_MAX_LEN / 2];
    int ret;

    snprintf(prefix, sizeof(prefix), "%s%s.", block, which);
    if ((ret = bind_linear(d, k, w, prefix, "to_q", dim, dim, &a->q)) < 0 ||
        (ret = bind_linear(d, k, w, prefix, "to_k", dim, dim, &a->k)) < 0 ||
        (ret = bind_linear(d, k, w, prefix, "to_v", dim, dim, &a->v)) < 0 ||
        (ret = bind_linear(d, k, w, prefix, "to_out.0", dim, dim, &a->o)) < 0 ||
        (ret = bind_vector(d, k, w, prefix, "norm_q.weight", dim, &a->norm_q)) < 0)
        return ret;
    return bind_vector(d, k, w, prefix, "norm_k.weight", dim, &a->norm_k);
}

static int bind_block(KlDiag *d, const KlWeights *w, const KlDit *m, int index, KlDitBlock *b)
{
    const KlDitConfig *c = &m->cfg;
    const KlKernels *k = m->k;
    char prefix[NAME_MAX_LEN / 4];
    int ret;

    snprintf(prefix, sizeof(prefix), "blocks.%d.", index);
    if ((ret = bind_table(d, k, w, prefix, 6, c->dim, &b->table)) < 0 ||
        (ret = bind_attention(d, k, w, prefix, "attn1", c->dim, &b->self)) < 0 ||
        (ret = bind_attention(d, k, w, prefix, "attn2", c->dim, &b->cross)) < 0 ||
        (ret = bind_linear(d, k, w, prefix, "ffn.net.0.proj", c->ffn, c->dim, &b->up)) < 0 ||
        (ret = bind_linear(d, k, w, prefix, "ffn.net.2", c->dim, c->ffn, &b->down)) < 0)
        return ret;
    if (c->cross_attn_norm &&
        ((ret = bind_vector(d, k, w, prefix, "norm2.weight", c->dim, &b->norm2_w)) < 0 ||
         (ret = bind_vector(d, k, w, prefix, "norm2.bias", c->dim, &b->norm2_b)) < 0))
        return ret;
    return 0;
}

static int bind_ends(KlDiag *d, const KlWeights *w, KlDit *m)
{
    const KlDitConfig *c = &m->cfg;
    const KlKernels *k = m->k;
    int64_t patch = (int64_t)c->patch_h * c->patch_w;
    int ret;

    if ((ret = bind_linear(d, k, w, "", "patch_embedding", c->dim, c->in_ch * patch, &m->patch)) < 0 ||
        (ret = bind_linear(d, k, w, "condition_embedder.", "time_embedder.linear_1", c->dim, c->freq_dim,
                           &m->time1)) < 0 ||
        (ret = bind_linear(d, k, w, "condition_embedder.", "time_embedder.linear_2", c->dim, c->dim, &m->time2)) < 0 ||
        (ret = bind_linear(d, k, w, "condition_embedder.", "time_proj", 6 * (int64_t)c->dim, c->dim,
                           &m->time_proj)) < 0 ||
        (ret = bind_linear(d, k, w, "condition_embedder.", "text_embedder.linear_1", c->dim, c->text_dim,
                           &m->text1)) < 0 ||
        (ret = bind_linear(d, k, w, "condition_embedder.", "text_embedder.linear_2", c->dim, c->dim, &m->text2)) < 0 ||
        (ret = bind_linear(d, k, w, "", "proj_out", c->out_ch * patch, c->dim, &m->proj_out)) < 0)
        return ret;
    return bind_table(d, k, w, "", 2, c->dim, &m->table);
}

static int check_config(KlDiag *d, const KlDitConfig *c, const KlWeights *w)
{
    static const struct { const char *part, *what; } unsupported[] = {
        { "image_embedder.", "image conditioning (I2V)" },
        { ".add_k_proj.",    "image conditioning (I2V)" },
        { ".add_v_proj.",    "image conditioning (I2V)" },
        { "vace_",           "a control branch (VACE)" },
    };
    const KlTensor *t;
    int n;

    if (c->dim < 1 || c->heads < 1 || c->head_dim < 2 || c->head_dim % 2 || c->head_dim > 1024 ||
        (int64_t)c->heads * c->head_dim != c->dim || c->ffn < 1 || c->layers < 1 || c->layers > 4096 ||
        c->in_ch < 1 || c->out_ch < 1 || c->text_dim < 1 || c->text_len < 1 || c->freq_dim < 2 || c->patch_h < 1 ||
        c->patch_w < 1 || !(c->eps >= 0))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "%s: the transformer's description makes no sense: %d heads of "
                       "%d, dim %d, ffn %d, %d layers, %d to %d channels", kl_weights_path(w), c->heads, c->head_dim,
                       c->dim, c->ffn, c->layers, c->in_ch, c->out_ch);
    t = kl_weights_all(w, &n);
    for (int i = 0; i < n; i++)
        for (size_t j = 0; j < KL_ARRAY_LEN(unsupported); j++)
            if (strstr(t[i].name, unsupported[j].part))
                return kl_fail(d, KLING_ERROR_UNSUPPORTED, "%s: tensor %s belongs to %s, which this version does "
                               "not run; give a text-to-video model", kl_weights_path(w), t[i].name,
                               unsupported[j].what);
    return 0;
}

int kl_dit_create(KlDiag *d, KlDit **dit, const KlKernels *k, const KlWeights *w, const KlDitConfig *cfg)
{
    KlDit *m;
    int ret;

    *dit = NULL;
    if ((ret = check_config(d, cfg, w)) < 0)
        return ret;
    if (!(m = calloc(1, sizeof(*m))))
        return kl_fail_memory(d, "the transformer's description", sizeof(*m));
    m->k = k;
    m->cfg = *cfg;
    m->blocks = calloc((size_t)cfg->layers, sizeof(*m->blocks));
    ret = m->blocks ? bind_ends(d, w, m)
                    : kl_fail_memory(d, "the transformer's description", cfg->layers * sizeof(*m->blocks));
    for (int i = 0; ret >= 0 && i < cfg->layers; i++)
        ret = bind_block(d, w, m, i, &m->blocks[i]);
    if (ret < 0)
        kl_dit_destroy(&m);
    *dit = m;
    return ret;
}

static void release_linear(const KlKernels *k, KlDitLinear *l)
{
    k->weight_release(k, &l->w);
    k->vector_release(k, &l->b);
}

static void release_attention(const KlKernels *k, KlDitAttention *a)
{
    release_linear(k, &a->q);
    release_linear(k, &a->k);
    release_linear(k, &a->v);
    release_linear(k, &a->o);
    k->vector_release(k, &a->norm_q);
    k->vector_release(k, &a->norm_k);
}

static void release_block(const KlKernels *k, KlDitBlock *b)
{
    release_attention(k, &b->self);
    release_attention(k, &b->cross);
    release_linear(k, &b->up);
    release_linear(k, &b->down);
    k->vector_release(k, &b->table);
    k->vector_release(k, &b->norm2_w);
    k->vector_release(k, &b->norm2_b);
}

void kl_dit_destroy(KlDit **dit)
{
    KlDit *m = *dit;

    if (!m)
        return;
    KlDitLinear *ends[] = { &m->patch, &m->time1, &m->time2, &m->time_proj, &m->text1, &m->text2, &m->proj_out };

    for (int i = 0; m->blocks && i < m->cfg.layers; i++)
        release_block(m->k, &m->blocks[i]);
    for (size_t i = 0; i < KL_ARRAY_LEN(ends); i++)
        release_linear(m->k, ends[i]);
    m->k->vector_release(m->k, &m->table);
    free(m->blocks);
    free(m);
    *dit = NULL;
}

const KlDitConfig *kl_dit_config(const KlDit *dit)
{
    return &dit->cfg;
}
