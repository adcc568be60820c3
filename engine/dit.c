/*
 * The transformer's weights: bound by name, checked by shape.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Matrices stay in the file's mapping and dtype (a device's table copies
 * them), or become int8 in memory (dit_int8.c). Biases, norms and modulation
 * tables, a thousandth of the whole, become f32 copies.
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
    if ((ret = kl_bind_matrix(d, kn, w, name, n, k, &l->w)) < 0 ||
        (ret = kl_dit_bind_deltas(d, kn, w, name, l)) < 0)
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

/* What cross-attention needs for an image encoder's rows. */
static int bind_image_attention(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *block, int64_t dim,
                                KlDitAttention *a)
{
    char prefix[NAME_MAX_LEN / 2];
    int ret;

    snprintf(prefix, sizeof(prefix), "%sattn2.", block);
    if ((ret = bind_linear(d, k, w, prefix, "add_k_proj", dim, dim, &a->image_k)) < 0 ||
        (ret = bind_linear(d, k, w, prefix, "add_v_proj", dim, dim, &a->image_v)) < 0)
        return ret;
    return bind_vector(d, k, w, prefix, "norm_added_k.weight", dim, &a->norm_image_k);
}

static int bind_image(KlDiag *d, const KlWeights *w, KlDit *m)
{
    static const char at[] = "condition_embedder.image_embedder.";
    const KlKernels *k = m->k;
    const int64_t D = m->cfg.dim, I = m->cfg.image_dim, shape[3] = { 1, m->cfg.image_len, I };
    KlDitImage *e = &m->image;
    int ret;

    if ((ret = bind_vector(d, k, w, at, "norm1.weight", I, &e->norm1_w)) < 0 ||
        (ret = bind_vector(d, k, w, at, "norm1.bias", I, &e->norm1_b)) < 0 ||
        (ret = bind_linear(d, k, w, at, "ff.net.0.proj", I, I, &e->ff1)) < 0 ||
        (ret = bind_linear(d, k, w, at, "ff.net.2", D, I, &e->ff2)) < 0 ||
        (ret = bind_vector(d, k, w, at, "norm2.weight", D, &e->norm2_w)) < 0 ||
        (ret = bind_vector(d, k, w, at, "norm2.bias", D, &e->norm2_b)) < 0 || !m->cfg.image_len)
        return ret;
    return kl_bind_f32(d, k, w, "condition_embedder.image_embedder.pos_embed", 3, shape, &e->pos);
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
    if (c->image_dim && (ret = bind_image_attention(d, k, w, prefix, c->dim, &b->cross)) < 0)
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
    static const struct { const char *part, *what; bool image; } unsupported[] = {
        { "image_embedder.", "image conditioning (I2V), which the model's config lacks", true },
        { ".add_k_proj.",    "image conditioning (I2V), which the model's config lacks", true },
        { ".add_v_proj.",    "image conditioning (I2V), which the model's config lacks", true },
        { "vace_",           "a control branch (VACE), which this version does not run", false },
    };
    const KlTensor *t;
    int n;

    if (c->dim < 1 || c->heads < 1 || c->head_dim < 2 || c->head_dim % 2 || c->head_dim > 1024 ||
        (int64_t)c->heads * c->head_dim != c->dim || c->ffn < 1 || c->layers < 1 || c->layers > 4096 ||
        c->in_ch < 1 || c->out_ch < 1 || c->text_dim < 1 || c->text_len < 1 || c->freq_dim < 2 || c->patch_h < 1 ||
        c->patch_w < 1 || !(c->eps >= 0) || c->image_dim < 0 || c->image_len < 0 ||
        c->image_len > KL_DIT_MAX_IMAGE_LEN || (c->image_len && !c->image_dim))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "%s: the transformer's description makes no sense: %d heads of "
                       "%d, dim %d, ffn %d, %d layers, %d to %d channels", kl_weights_path(w), c->heads, c->head_dim,
                       c->dim, c->ffn, c->layers, c->in_ch, c->out_ch);
    t = kl_weights_all(w, &n);
    for (int i = 0; i < n; i++)
        for (size_t j = 0; j < KL_ARRAY_LEN(unsupported); j++)
            if (strstr(t[i].name, unsupported[j].part) && !(unsupported[j].image && c->image_dim))
                return kl_fail(d, KLING_ERROR_UNSUPPORTED, "%s: tensor %s belongs to %s", kl_weights_path(w),
                               t[i].name, unsupported[j].what);
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
    m->lora = kl_weights_max_rank(w, &m->lora_rank);
    m->blocks = calloc((size_t)cfg->layers, sizeof(*m->blocks));
    ret = m->blocks ? bind_ends(d, w, m)
                    : kl_fail_memory(d, "the transformer's description", cfg->layers * sizeof(*m->blocks));
    if (ret >= 0 && cfg->image_dim)
        ret = bind_image(d, w, m);
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
    free(l->own);
    l->own = NULL;
    k->vector_release(k, &l->b);
    kl_dit_release_deltas(k, l);
}

static void release_attention(const KlKernels *k, KlDitAttention *a)
{
    release_linear(k, &a->q);
    release_linear(k, &a->k);
    release_linear(k, &a->v);
    release_linear(k, &a->o);
    release_linear(k, &a->image_k);
    release_linear(k, &a->image_v);
    k->vector_release(k, &a->norm_q);
    k->vector_release(k, &a->norm_k);
    k->vector_release(k, &a->norm_image_k);
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
    KlDitLinear *ends[] = { &m->patch, &m->time1, &m->time2, &m->time_proj, &m->text1, &m->text2, &m->proj_out,
                            &m->image.ff1, &m->image.ff2 };
    float **vectors[] = { &m->image.pos, &m->image.norm1_w, &m->image.norm1_b, &m->image.norm2_w, &m->image.norm2_b };

    for (int i = 0; m->blocks && i < m->cfg.layers; i++)
        release_block(m->k, &m->blocks[i]);
    for (size_t i = 0; i < KL_ARRAY_LEN(ends); i++)
        release_linear(m->k, ends[i]);
    for (size_t i = 0; i < KL_ARRAY_LEN(vectors); i++)
        m->k->vector_release(m->k, vectors[i]);
    m->k->vector_release(m->k, &m->table);
    free(m->blocks);
    free(m);
    *dit = NULL;
}

const KlDitConfig *kl_dit_config(const KlDit *dit)
{
    return &dit->cfg;
}
