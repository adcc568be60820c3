/*
 * One clip through the transformer: its memory, contexts and the forward.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "bind.h"
#include "dit_internal.h"

#include <math.h>
#include <stdlib.h>

/* Rows that go through a chain of linears at once: enough that reading (and widening) a weight is a few percent of
 * multiplying with it. */
#define CHUNK_ROWS 4096
#define IMAGE_EPS 1e-5f                 /* of the norms around an image's embedding, whatever the others have */

static int alloc_floats(KlDitSession *s, KlDiag *d, const char *what, int64_t n, float **out)
{
    *out = s->k->mem_alloc(s->ex, (size_t)n * sizeof(float));
    return *out ? 0 : kl_fail_memory(d, what, (size_t)n * sizeof(float));
}

/* For a linear of this shape in any dtype, since files mix them, and for its side branches. */
static size_t linear_scratch(const KlDitSession *s, int64_t M, const KlDitLinear *l)
{
    const int64_t r = s->dit->lora_rank;
    size_t need = 0;

    for (int t = 0; t < KL_DTYPE_NB; t++) {
        need = KL_MAX(need, s->k->linear_scratch(s->ex, M, l->n, l->k, (KlDType)t));
        if (!r || kl_dtype_block((KlDType)t) != 1)
            continue;
        need = KL_MAX(need, s->k->linear_scratch(s->ex, M, r, l->k, (KlDType)t));
        need = KL_MAX(need, s->k->linear_scratch(s->ex, M, l->n, r, (KlDType)t));
    }
    return need;
}

static int reserve(KlDitSession *s, KlDiag *d)
{
    const KlDitConfig *c = &s->dit->cfg;
    const KlDit *m = s->dit;
    const KlDitBlock *b = m->blocks;
    const KlDitLinear *on_tokens[] = { &m->patch, &b->self.q, &b->up, &b->down, &m->proj_out };
    const KlDitLinear *on_few[] = { &m->time1, &m->time2, &m->time_proj, &m->text1, &m->text2, &b->cross.k };
    const int64_t few = KL_MAX(s->F, c->text_len + 1);
    size_t need = 0;

    for (size_t i = 0; i < KL_ARRAY_LEN(on_tokens); i++)
        need = KL_MAX(need, linear_scratch(s, s->S, on_tokens[i]));
    for (size_t i = 0; i < KL_ARRAY_LEN(on_few); i++)
        need = KL_MAX(need, linear_scratch(s, few, on_few[i]));
    need = KL_MAX(need, s->k->attention_scratch(s->ex, s->S, s->S, c->heads, c->head_dim));
    need = KL_MAX(need, s->k->attention_scratch(s->ex, s->S, c->text_len + 1, c->heads, c->head_dim));
    if (s->k->exec_reserve(s->ex, need) < 0)
        return kl_fail_memory(d, "the transformer's scratch", need);
    return 0;
}

static int fill_rope(KlDitSession *s, KlDiag *d)
{
    const KlDitConfig *c = &s->dit->cfg;
    size_t n = (size_t)s->S * (c->head_dim / 2);
    float *host = malloc(2 * n * sizeof(*host));
    int ret = 0;

    if (!host)
        return kl_fail_memory(d, "rotation tables", 2 * n * sizeof(*host));
    kl_dit_rope(host, host + n, c->head_dim, s->F, s->R / c->patch_h, s->W / c->patch_w);
    if (s->k->mem_upload(s->ex, s->cos, host, n * sizeof(*host)) < 0 ||
        s->k->mem_upload(s->ex, s->sin, host + n, n * sizeof(*host)) < 0)
        ret = kl_fail_device(d, s->k, s->ex, "sending the rotation tables");
    free(host);
    return ret;
}

/* Floats that the hungriest stage lays out in `work`. */
static int64_t work_floats(const KlDitSession *s)
{
    const KlDit *m = s->dit;
    int64_t D = m->cfg.dim, n;

    n = s->S * 3 * D + s->chunk * D;
    n = KL_MAX(n, s->chunk * (D + m->cfg.ffn));
    n = KL_MAX(n, s->S * m->patch.k);
    n = KL_MAX(n, s->S * (D + m->proj_out.n));
    return KL_MAX(n, (m->cfg.text_len + 1) * (m->cfg.text_dim + 2 * D));
}

/* Rows of the largest linear times the rank. */
static int64_t lora_floats(const KlDitSession *s)
{
    const KlDitConfig *c = &s->dit->cfg;
    const int64_t few = KL_MAX(c->text_len + 1, c->image_dim ? KL_DIT_MAX_IMAGE_LEN : 0);
    const int64_t rows = KL_MAX(KL_MAX(s->S, s->F), few);

    return s->dit->lora ? rows * KL_MAX(s->dit->lora_rank, 1) : 0;
}

/* What the side branches of LoRAs write to. */
static int lora_alloc(KlDitSession *s, KlDiag *d)
{
    const KlDit *m = s->dit;
    int ret;

    if (!m->lora)
        return 0;
    if ((ret = alloc_floats(s, d, "a LoRA", lora_floats(s), &s->low)) < 0)
        return ret;
    return alloc_floats(s, d, "a LoRA", (int64_t)s->F * m->cfg.dim, &s->delta_gate);
}

static int session_alloc(KlDitSession *s, KlDiag *d)
{
    const KlDitConfig *c = &s->dit->cfg;
    int64_t D = c->dim, half = c->head_dim / 2;
    int ret;

    s->work_floats = work_floats(s);
    if ((ret = alloc_floats(s, d, "the transformer's tokens", s->S * D, &s->x)) < 0 ||
        (ret = alloc_floats(s, d, "the transformer's activations", s->work_floats + 16, &s->work)) < 0 ||
        (ret = alloc_floats(s, d, "rotation tables", s->S * half, &s->cos)) < 0 ||
        (ret = alloc_floats(s, d, "rotation tables", s->S * half, &s->sin)) < 0 ||
        (ret = alloc_floats(s, d, "time embedding", (int64_t)s->F * c->freq_dim, &s->freq)) < 0 ||
        (ret = alloc_floats(s, d, "time embedding", s->F * D, &s->temb)) < 0 ||
        (ret = alloc_floats(s, d, "time embedding", s->F * D, &s->hidden)) < 0 ||
        (ret = alloc_floats(s, d, "modulation", s->F * 6 * D, &s->tproj)) < 0 ||
        (ret = alloc_floats(s, d, "modulation", s->F * 6 * D, &s->mod)) < 0 ||
        (ret = alloc_floats(s, d, "modulation", s->F * 2 * D, &s->head_mod)) < 0)
        return ret;
    if (!(s->host_freq = malloc((size_t)s->F * c->freq_dim * sizeof(float))))
        return kl_fail_memory(d, "time embedding", (size_t)s->F * c->freq_dim * sizeof(float));
    if ((ret = lora_alloc(s, d)) < 0 || (ret = reserve(s, d)) < 0)
        return ret;
    return fill_rope(s, d);
}

static KlDitSession plan(const KlDit *dit, int F, int R, int W)
{
    KlDitSession s = { .dit = dit, .k = dit->k, .F = F, .R = R, .W = W, .groups = 1 };

    s.frame_tok = (int64_t)(R / dit->cfg.patch_h) * (W / dit->cfg.patch_w);
    s.S = F * s.frame_tok;
    s.chunk = KL_MIN(s.S, CHUNK_ROWS);
    s.group_rows = s.S;
    return s;
}

size_t kl_dit_session_bytes(const KlDit *dit, int F, int R, int W)
{
    const KlDitSession s = plan(dit, F, R, W);
    const int64_t D = dit->cfg.dim;

    return sizeof(float) * (size_t)(s.S * (D + dit->cfg.head_dim) + work_floats(&s) + lora_floats(&s) +
                                    F * (dit->cfg.freq_dim + 16 * D));
}

int kl_dit_session_create(const KlDit *dit, KlExec *ex, KlDiag *d, int F, int R, int W, KlDitSession **out)
{
    const KlDitConfig *c = &dit->cfg;
    KlDitSession *s;
    int ret;

    *out = NULL;
    if (F < 1 || R < 1 || W < 1 || F > 1 << 16 || R > 1 << 14 || W > 1 << 14 || R % c->patch_h || W % c->patch_w)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "latents of %d frames of %dx%d do not fit the transformer's "
                       "patches of %dx%d", F, W, R, c->patch_w, c->patch_h);
    if (!(s = calloc(1, sizeof(*s))))
        return kl_fail_memory(d, "a transformer session", sizeof(*s));
    *s = plan(dit, F, R, W);
    s->ex = ex;
    if ((ret = session_alloc(s, d)) < 0)
        kl_dit_session_destroy(&s);
    *out = s;
    return ret;
}

static void forget_turns(KlDitSession *s)
{
    for (int i = 0; i < KL_DIT_CONTEXTS; i++)
        s->k->replay_forget(s->ex, &s->turn[i].replay);
}

static void context_free(KlDitSession *s, KlDitContext *c)
{
    s->k->mem_free(s->ex, c->kv);
    s->k->mem_free(s->ex, c->key_bias);
    *c = (KlDitContext){ 0 };
}

void kl_dit_session_destroy(KlDitSession **session)
{
    KlDitSession *s = *session;

    if (!s)
        return;
    float *all[] = { s->x, s->work, s->cos, s->sin, s->freq, s->temb, s->hidden, s->tproj, s->mod, s->head_mod, s->low,
                     s->delta_gate };

    forget_turns(s);
    for (size_t i = 0; i < KL_ARRAY_LEN(all); i++)
        s->k->mem_free(s->ex, all[i]);
    for (int i = 0; i < KL_DIT_CONTEXTS; i++)
        context_free(s, &s->ctx[i]);
    context_free(s, &s->image);
    free(s->host_freq);
    free(s);
    *session = NULL;
}

/* Room for `keys` rows per block, and the bias that makes the last one stand for `padding` equal rows. */
static int context_alloc(KlDitSession *s, KlDiag *d, KlDitContext *c, int keys, int padding)
{
    float *host;
    int ret;

    forget_turns(s);
    if (keys > c->cap) {
        context_free(s, c);
        if ((ret = alloc_floats(s, d, "a prompt's keys and values",
                                (int64_t)s->dit->cfg.layers * keys * 2 * s->dit->cfg.dim, &c->kv)) < 0)
            return ret;
        c->cap = keys;
    }
    s->k->mem_free(s->ex, c->key_bias);
    c->key_bias = NULL;
    c->keys = keys;
    if (!padding)
        return 0;
    if ((ret = alloc_floats(s, d, "a prompt's mask", keys, &c->key_bias)) < 0)
        return ret;
    if (!(host = calloc((size_t)keys, sizeof(*host))))
        return kl_fail_memory(d, "a prompt's mask", keys * sizeof(*host));
    host[keys - 1] = (float)log(padding);
    ret = s->k->mem_upload(s->ex, c->key_bias, host, keys * sizeof(*host));
    free(host);
    return ret < 0 ? kl_fail_device(d, s->k, s->ex, "sending the prompt's mask") : 0;
}

/* Keys and values of emb[c->keys,D] for every block, by its `image` or text projections. */
static int project_context(KlDitSession *s, KlDiag *d, KlDitContext *c, const float *emb, bool image)
{
    const KlDitConfig *cfg = &s->dit->cfg;
    const int64_t D = cfg->dim;

    for (int i = 0; i < cfg->layers; i++) {
        const KlDitAttention *a = &s->dit->blocks[i].cross;
        float *kv = c->kv + (int64_t)i * c->keys * 2 * D;
        int ret = kl_pace(d, s->k, s->ex);

        if (ret < 0) {
            context_free(s, c);
            return ret;
        }
        kl_dit_linear(s, image ? &a->image_k : &a->k, emb, D, kv, 2 * D, c->keys, KL_ACT_NONE, 0);
        kl_dit_linear(s, image ? &a->image_v : &a->v, emb, D, kv + D, 2 * D, c->keys, KL_ACT_NONE, 0);
        s->k->qk_norm_rope(s->ex, kv, 2 * D, c->keys, cfg->heads, cfg->head_dim, image ? a->norm_image_k : a->norm_k,
                           cfg->eps, NULL, NULL);
    }
    return 0;
}

int kl_dit_set_context(KlDitSession *s, KlDiag *d, int slot, const float *rows, int n)
{
    const KlDit *m = s->dit;
    const KlDitConfig *cfg = &m->cfg;
    int64_t D = cfg->dim, T = cfg->text_dim;
    KlDitContext *c;
    float *in = s->work, *h, *emb;
    int keys, ret;

    if (slot < 0 || slot >= KL_DIT_CONTEXTS || n < 0 || n > cfg->text_len)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "a context of %d tokens in slot %d: at most %d tokens, slots 0 "
                       "to %d", n, slot, cfg->text_len, KL_DIT_CONTEXTS - 1);
    c = &s->ctx[slot];
    keys = n < cfg->text_len ? n + 1 : n;
    if ((ret = context_alloc(s, d, c, keys, cfg->text_len - n)) < 0) {
        context_free(s, c);
        return ret;
    }
    h = in + keys * T;
    emb = h + keys * D;
    if (n)
        s->k->mem_copy(s->ex, in, rows, (size_t)n * T * sizeof(float));
    if (keys > n)
        s->k->mem_zero(s->ex, in + n * T, (size_t)T * sizeof(float));
    kl_dit_linear(s, &m->text1, in, T, h, D, keys, KL_ACT_GELU_TANH, 0);
    kl_dit_linear(s, &m->text2, h, D, emb, D, keys, KL_ACT_NONE, 0);
    return project_context(s, d, c, emb, false);
}

/* emb[n,D] = norm2(ff(norm1(rows + pos))); work[n,2*image_dim]. */
static void embed_image(const KlDitSession *s, const float *rows, int n, float *work, float *emb)
{
    const KlDit *m = s->dit;
    const KlDitImage *e = &m->image;
    const int64_t I = m->cfg.image_dim, D = m->cfg.dim;
    float *x = work, *h = work + n * I;
    KlNorm norm1 = { .x = x, .ldx = I, .y = x, .ldy = I, .S = n, .D = I, .eps = IMAGE_EPS, .weight = e->norm1_w,
                     .bias = e->norm1_b };
    KlNorm norm2 = { .x = emb, .ldx = D, .y = emb, .ldy = D, .S = n, .D = D, .eps = IMAGE_EPS, .weight = e->norm2_w,
                     .bias = e->norm2_b };

    s->k->mem_copy(s->ex, x, rows, (size_t)(n * I) * sizeof(float));
    if (e->pos)
        s->k->gated_add(s->ex, x, e->pos, n, I, NULL, 0, 1);
    s->k->layer_norm(s->ex, &norm1);
    kl_dit_linear(s, &e->ff1, x, I, h, I, n, KL_ACT_GELU, 0);
    kl_dit_linear(s, &e->ff2, h, I, emb, D, n, KL_ACT_NONE, 0);
    s->k->layer_norm(s->ex, &norm2);
}

/* Scratch for n rows, which were not known when the session was made. */
static int reserve_image(KlDitSession *s, KlDiag *d, int n)
{
    const KlDit *m = s->dit;
    const KlDitLinear *on_rows[] = { &m->image.ff1, &m->image.ff2, &m->blocks->cross.image_k };
    size_t need = s->k->attention_scratch(s->ex, s->S, n, m->cfg.heads, m->cfg.head_dim);

    for (size_t i = 0; i < KL_ARRAY_LEN(on_rows); i++)
        need = KL_MAX(need, linear_scratch(s, n, on_rows[i]));
    return s->k->exec_reserve(s->ex, need) < 0 ? kl_fail_memory(d, "the transformer's scratch", need) : 0;
}

int kl_dit_set_image(KlDitSession *s, KlDiag *d, const float *rows, int n)
{
    const KlDitConfig *cfg = &s->dit->cfg;
    const int64_t floats = n * (2 * (int64_t)cfg->image_dim + cfg->dim);
    float *work = NULL;
    int ret;

    if (!cfg->image_dim)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "this transformer takes no image encoder's rows");
    if (n < 1 || n > KL_DIT_MAX_IMAGE_LEN || (cfg->image_len && n != cfg->image_len))
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "%d rows of an image encoder: the transformer takes %s%d", n,
                       cfg->image_len ? "" : "1 to ", cfg->image_len ? cfg->image_len : KL_DIT_MAX_IMAGE_LEN);
    if ((ret = reserve_image(s, d, n)) < 0 ||
        (ret = alloc_floats(s, d, "the embedding of pictures", floats, &work)) < 0)
        return ret;
    if ((ret = context_alloc(s, d, &s->image, n, 0)) < 0) {
        context_free(s, &s->image);
    } else {
        float *emb = work + 2 * (int64_t)n * cfg->image_dim;

        embed_image(s, rows, n, work, emb);
        ret = project_context(s, d, &s->image, emb, true);
    }
    s->k->mem_free(s->ex, work);
    return ret;
}

/* A forward's ops; they are the same for the same slot, z, v and groups. */
static int run_stages(KlDitSession *s, KlDiag *d, int slot, const float *z, float *v)
{
    const KlDit *m = s->dit;
    int ret;

    kl_dit_time_embed(s);
    kl_dit_patch_embed(s, z);
    for (int i = 0; i < m->cfg.layers; i++) {
        const KlDitBlock *b = &m->blocks[i];

        if ((ret = kl_pace(d, s->k, s->ex)) < 0)
            return ret;
        kl_dit_modulate(s, b->table);
        kl_dit_self_attention(s, b);
        kl_dit_cross_attention(s, b, i, slot);
        kl_dit_ffn(s, b);
    }
    kl_dit_head(s, v);
    return kl_check_cancel(d);
}

int kl_dit_forward(KlDitSession *s, KlDiag *d, int slot, const float *z, const float *t, float *v)
{
    KlDitTurn *turn;
    int ret;

    if (slot < 0 || slot >= KL_DIT_CONTEXTS || !s->ctx[slot].keys)
        return kl_fail(d, KLING_ERROR_INTERNAL, "the transformer has no context in slot %d", slot);
    if (s->dit->cfg.image_dim && !s->image.keys)
        return kl_fail(d, KLING_ERROR_INTERNAL, "the transformer was shown no image encoder's rows");
    if ((ret = kl_check_cancel(d)) < 0 || (ret = kl_dit_set_time(s, d, t)) < 0)
        return ret;
    turn = &s->turn[slot];
    if (turn->z != z || turn->v != v || turn->groups != s->groups)
        s->k->replay_forget(s->ex, &turn->replay);
    turn->z = z;
    turn->v = v;
    turn->groups = s->groups;
    do {
        if (s->k->replay_begin(s->ex, &turn->replay))
            return kl_check_cancel(d);
        ret = run_stages(s, d, slot, z, v);
    } while (s->k->replay_end(s->ex, turn->replay, ret >= 0));
    return ret;
}

double kl_dit_flops(const KlDitSession *s, int slot)
{
    const KlDit *m = s->dit;
    double S = s->S, D = m->cfg.dim, ffn = m->cfg.ffn, keys = s->ctx[slot].keys + s->image.keys;
    double block = 6 * D * D + 2 * D * ffn + 2 * S * D + 2 * keys * D;   /* multiply-adds per token */
    double ends = D * (m->patch.k + m->proj_out.n);
    double time = s->groups * D * (m->cfg.freq_dim + 7 * D);

    return 2 * (S * (m->cfg.layers * block + ends) + time);
}
