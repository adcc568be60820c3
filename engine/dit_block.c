/*
 * The stages of the transformer's forward: what diffusers' modules compute,
 * with norms, gates and residuals folded into the ops' epilogues.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "bind.h"
#include "dit_internal.h"

#include <math.h>

void kl_dit_linear(const KlDitSession *s, const KlDitLinear *l, const float *x, int64_t ldx, float *y, int64_t ldy,
                   int64_t M, KlActivation act, int how)
{
    const int x_operand = how & KL_DIT_X_OPERAND;
    KlLinear p = {
        .x = x, .ldx = ldx, .w = l->w, .bias = l->b, .y = y, .ldy = ldy, .M = M, .N = l->n, .K = l->k, .act = act,
        .x_operand = x_operand, .y_operand = how & KL_DIT_Y_OPERAND, .precise = how & KL_DIT_PRECISE,
    };

    if (l->n_deltas)
        p.act = KL_ACT_NONE;            /* comes behind the changes */
    s->k->linear(s->ex, &p);
    kl_dit_add_deltas(s, l, x, ldx, y, ldy, M, NULL, 0, M, x_operand);
    if (p.act != act)
        s->k->activate(s->ex, y, y, NULL, M * l->n, act);
}

/* x[M,D] += gate * (y[M,k] w^T + b); gate [groups,D] of stride 6D, or NULL. operand: y is one. */
static void linear_add(const KlDitSession *s, const KlDitLinear *l, const float *y, int64_t ldy, float *x, int64_t M,
                       const float *gate, int64_t ldgate, int64_t group_rows, int operand)
{
    KlLinear p = {
        .x = y, .ldx = ldy, .w = l->w, .bias = l->b, .y = x, .ldy = l->n, .M = M, .N = l->n, .K = l->k,
        .residual = x, .gate = gate, .ldgate = ldgate, .group_rows = group_rows, .x_operand = operand,
    };

    s->k->linear(s->ex, &p);
    kl_dit_add_deltas(s, l, y, ldy, x, l->n, M, gate, ldgate, group_rows, operand);
}

/* Whether the rows that go into it may be an operand, in the room of floats: int8 products round them by themselves. */
static bool takes_operand(const KlDitSession *s, const KlDitLinear *l)
{
    return l->w.dtype != KL_I8 && s->k->operand_bytes(s->ex, 1, l->k) <= (size_t)l->k * sizeof(float);
}

/* Whether an attention's result, which takes the place of its queries, may. On a host that is only so where it lies. */
static bool in_place_operand(const KlDitSession *s, const KlDitLinear *o, int64_t rows)
{
    const int64_t D = s->dit->cfg.dim;

    return takes_operand(s, o) && s->k->operand_bytes(s->ex, rows, D) < (size_t)(rows * D) * sizeof(float);
}

/* What follows n floats in `work`: operands begin at multiples of 64 bytes. */
static float *behind(float *p, int64_t n)
{
    return p + KL_CEIL_DIV(n, 16) * 16;
}

/* Rows of the next chunk from row0 on, at most max: one that the modulation's groups can number from its first row,
 * so whole groups or a part of one. */
static int64_t chunk_rows(const KlDitSession *s, int64_t row0, int64_t max)
{
    int64_t left = s->S - row0, g = s->group_rows;

    if (s->groups == 1 || max >= left)
        return KL_MIN(left, max);
    return max < g ? KL_MIN(max, g - row0 % g) : max / g * g;
}

/* Chunks of about equal size. */
static int64_t even_chunk(int64_t S, int64_t max)
{
    return KL_CEIL_DIV(S, KL_CEIL_DIV(S, max));
}

/* y[rows,D] = layer_norm(x) * (1 + scale) + shift; mod: this stage's shift of group 0, its scale follows at +D. */
static void norm_modulate(const KlDitSession *s, float *y, int64_t row0, int64_t rows, const float *mod, int64_t ldmod,
                          int operand)
{
    int64_t D = s->dit->cfg.dim;
    const float *m = mod + row0 / s->group_rows * ldmod;
    KlNorm p = {
        .x = s->x + row0 * D, .ldx = D, .y = y, .ldy = D, .S = rows, .D = D, .eps = s->dit->cfg.eps,
        .scale = m + D, .shift = m, .ldmod = ldmod, .group_rows = s->group_rows,
        .operand = operand,
    };

    s->k->layer_norm(s->ex, &p);
}

void kl_dit_patch_embed(KlDitSession *s, const float *z)
{
    const KlDitConfig *c = &s->dit->cfg;
    const KlDitLinear *l = &s->dit->patch;

    s->k->patchify(s->ex, s->work, z, c->in_ch, s->F, s->R, s->W, c->patch_h, c->patch_w);
    kl_dit_linear(s, l, s->work, l->k, s->x, c->dim, s->S, KL_ACT_NONE, KL_DIT_PRECISE);
}

int kl_dit_set_time(KlDitSession *s, KlDiag *d, const float *t)
{
    int freq = s->dit->cfg.freq_dim;

    s->groups = 1;
    for (int f = 1; f < s->F; f++)
        if (t[f] != t[0])
            s->groups = s->F;
    s->group_rows = s->groups == 1 ? s->S : s->frame_tok;
    for (int g = 0; g < s->groups; g++)
        kl_dit_timestep(s->host_freq + (int64_t)g * freq, freq, t[g]);
    if (s->k->mem_upload(s->ex, s->freq, s->host_freq, (size_t)s->groups * freq * sizeof(float)) < 0)
        return kl_fail_device(d, s->k, s->ex, "sending the timesteps");
    return 0;
}

void kl_dit_time_embed(KlDitSession *s)
{
    const KlDit *m = s->dit;
    int64_t D = m->cfg.dim;
    int freq = m->cfg.freq_dim;

    kl_dit_linear(s, &m->time1, s->freq, freq, s->hidden, D, s->groups, KL_ACT_SILU, KL_DIT_PRECISE);
    kl_dit_linear(s, &m->time2, s->hidden, D, s->temb, D, s->groups, KL_ACT_NONE, KL_DIT_PRECISE);
    s->k->activate(s->ex, s->hidden, s->temb, NULL, s->groups * D, KL_ACT_SILU);
    kl_dit_linear(s, &m->time_proj, s->hidden, D, s->tproj, 6 * D, s->groups, KL_ACT_NONE, KL_DIT_PRECISE);
}

void kl_dit_modulate(KlDitSession *s, const float *table)
{
    static const double one[2] = { 1, 1 };
    int64_t n = 6 * (int64_t)s->dit->cfg.dim;

    for (int g = 0; g < s->groups; g++) {
        const float *x[2] = { s->tproj + g * n, table };

        s->k->lincomb(s->ex, s->mod + g * n, x, one, 2, n);
    }
}

void kl_dit_self_attention(KlDitSession *s, const KlDitBlock *b)
{
    const KlDitConfig *c = &s->dit->cfg;
    const KlDitAttention *a = &b->self;
    int64_t D = c->dim, ld = 3 * D, half = c->head_dim / 2, max = even_chunk(s->S, s->chunk), rows;
    const int in = takes_operand(s, &a->q) && takes_operand(s, &a->k) && takes_operand(s, &a->v) ? KL_DIT_X_OPERAND : 0;
    const int out = in_place_operand(s, &a->o, s->S);
    float *qkv = s->work, *h = behind(s->work, s->S * ld);
    KlAttention p = {
        .q = qkv, .ldq = ld, .k = qkv + D, .ldk = ld, .v = qkv + 2 * D, .ldv = ld, .out = qkv,
        .ldo = out ? D : ld, .operand = out, .Sq = s->S, .Sk = s->S, .H = c->heads, .E = c->head_dim,
        .scale = (float)(1 / sqrt(c->head_dim)),
    };

    for (int64_t r = 0; r < s->S; r += rows) {
        float *q = qkv + r * ld;
        const float *cs = s->cos + r * half, *sn = s->sin + r * half;

        rows = chunk_rows(s, r, max);
        norm_modulate(s, h, r, rows, s->mod, 6 * D, in);
        kl_dit_linear(s, &a->q, h, D, q, ld, rows, KL_ACT_NONE, in);
        kl_dit_linear(s, &a->k, h, D, q + D, ld, rows, KL_ACT_NONE, in);
        kl_dit_linear(s, &a->v, h, D, q + 2 * D, ld, rows, KL_ACT_NONE, in);
        s->k->qk_norm_rope(s->ex, q, ld, rows, c->heads, c->head_dim, a->norm_q, c->eps, cs, sn);
        s->k->qk_norm_rope(s->ex, q + D, ld, rows, c->heads, c->head_dim, a->norm_k, c->eps, cs, sn);
    }
    s->k->attention(s->ex, &p);
    linear_add(s, &a->o, qkv, p.ldo, s->x, s->S, s->mod + 2 * D, 6 * D, s->group_rows, out);
}

void kl_dit_cross_attention(KlDitSession *s, const KlDitBlock *b, int layer, int slot)
{
    const KlDitConfig *c = &s->dit->cfg;
    const KlDitAttention *a = &b->cross;
    const KlDitContext *ctx = &s->ctx[slot], *image = &s->image;
    int64_t D = c->dim, max = even_chunk(s->S, KL_MAX(s->work_floats / (2 * D), 1));
    const float *kv = ctx->kv + (int64_t)layer * ctx->keys * 2 * D;
    const float *image_kv = image->keys ? image->kv + (int64_t)layer * image->keys * 2 * D : NULL;
    const int normed = c->cross_attn_norm && takes_operand(s, &a->q) ? KL_DIT_X_OPERAND : 0;

    for (int64_t r = 0, rows; r < s->S; r += rows) {
        const float *in = s->x + r * D;
        float *h = s->work, *q;
        KlNorm norm = { .ldx = D, .ldy = D, .D = D, .eps = c->eps, .weight = b->norm2_w, .bias = b->norm2_b,
                        .operand = normed };
        KlAttention p = {
            .ldq = D, .k = kv, .ldk = 2 * D, .v = kv + D, .ldv = 2 * D, .ldo = D, .Sk = ctx->keys,
            .H = c->heads, .E = c->head_dim, .scale = (float)(1 / sqrt(c->head_dim)), .key_bias = ctx->key_bias,
        };

        rows = KL_MIN(max, s->S - r);
        q = behind(h, rows * D);
        if (c->cross_attn_norm) {
            norm.x = in;
            norm.y = h;
            norm.S = rows;
            s->k->layer_norm(s->ex, &norm);
            in = h;
        }
        kl_dit_linear(s, &a->q, in, D, q, D, rows, KL_ACT_NONE, normed);
        s->k->qk_norm_rope(s->ex, q, D, rows, c->heads, c->head_dim, a->norm_q, c->eps, NULL, NULL);
        p.q = p.out = q;
        p.Sq = rows;
        p.operand = !image->keys && in_place_operand(s, &a->o, rows);
        if (image->keys) {              /* a softmax of its own, whose result is added */
            KlAttention pi = p;

            pi.k = image_kv;
            pi.v = image_kv + D;
            pi.Sk = image->keys;
            pi.key_bias = NULL;
            pi.out = h;
            s->k->attention(s->ex, &pi);
        }
        s->k->attention(s->ex, &p);
        if (image->keys)
            s->k->gated_add(s->ex, q, h, rows, D, NULL, 0, 1);
        linear_add(s, &a->o, q, D, s->x + r * D, rows, NULL, 0, 1, p.operand);
    }
}

void kl_dit_ffn(KlDitSession *s, const KlDitBlock *b)
{
    int64_t D = s->dit->cfg.dim, ffn = s->dit->cfg.ffn, ld = 6 * D;
    int64_t max = even_chunk(s->S, KL_MAX(s->work_floats / (D + ffn), 1));
    const float *mod = s->mod + 3 * D;
    const int in = takes_operand(s, &b->up), between = takes_operand(s, &b->down) && !b->up.n_deltas;

    for (int64_t r = 0, rows; r < s->S; r += rows) {
        float *h = s->work, *hidden;

        rows = chunk_rows(s, r, max);
        hidden = behind(h, rows * D);
        norm_modulate(s, h, r, rows, mod, ld, in);
        kl_dit_linear(s, &b->up, h, D, hidden, ffn, rows, KL_ACT_GELU_TANH,
                      (in ? KL_DIT_X_OPERAND : 0) | (between ? KL_DIT_Y_OPERAND : 0));
        linear_add(s, &b->down, hidden, ffn, s->x + r * D, rows, mod + 2 * D + r / s->group_rows * ld, ld,
                   s->group_rows, between);
    }
}

void kl_dit_head(KlDitSession *s, float *v)
{
    static const double one[2] = { 1, 1 };
    const KlDit *m = s->dit;
    const KlDitConfig *c = &m->cfg;
    int64_t D = c->dim;
    float *tok = behind(s->work, s->S * D);

    for (int g = 0; g < s->groups; g++)
        for (int i = 0; i < 2; i++) {
            const float *x[2] = { s->temb + g * D, m->table + i * D };

            s->k->lincomb(s->ex, s->head_mod + (2 * g + i) * D, x, one, 2, D);
        }
    norm_modulate(s, s->work, 0, s->S, s->head_mod, 2 * D, 0);
    kl_dit_linear(s, &m->proj_out, s->work, D, tok, m->proj_out.n, s->S, KL_ACT_NONE, KL_DIT_PRECISE);
    s->k->unpatchify(s->ex, v, tok, c->out_ch, s->F, s->R, s->W, c->patch_h, c->patch_w);
}
