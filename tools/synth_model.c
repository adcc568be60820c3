/*
 * Whole synthetic parts of a model: every tensor that a description asks for.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The names and shapes are those that save_pretrained() of diffusers and
 * transformers writes; tests/golden/data/names.txt proves it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "synth.h"
#include "synth_model.h"

/* -- listing -- */

typedef struct Out {
    SynthFn fn;
    void *opaque;
} Out;

/* Tells one tensor; the dims are ndim int64_t. */
KL_PRINTF(4, 5)
static void tell(const Out *o, int ndim, const int64_t *shape, const char *fmt, ...)
{
    char name[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(name, sizeof(name), fmt, ap);
    va_end(ap);
    o->fn(o->opaque, name, ndim, shape);
}

#define SHAPE(...) (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (const int64_t[]){ __VA_ARGS__ }

static void tell_linear(const Out *o, const char *name, int64_t n, int64_t k)
{
    tell(o, SHAPE(n, k), "%s.weight", name);
    tell(o, SHAPE(n), "%s.bias", name);
}

void synth_list_text_encoder(const KlTextEncoderConfig *c, SynthFn fn, void *opaque)
{
    const Out o = { fn, opaque };
    const int64_t dim = c->dim, inner = (int64_t)c->heads * c->head_dim;

    tell(&o, SHAPE(c->vocab, dim), "shared.weight");
    for (int i = 0; i < c->layers; i++) {
        for (int j = 0; j < 3; j++)
            tell(&o, SHAPE(inner, dim), "encoder.block.%d.layer.0.SelfAttention.%c.weight", i, "qkv"[j]);
        tell(&o, SHAPE(dim, inner), "encoder.block.%d.layer.0.SelfAttention.o.weight", i);
        tell(&o, SHAPE(c->rel_buckets, c->heads),
             "encoder.block.%d.layer.0.SelfAttention.relative_attention_bias.weight", i);
        tell(&o, SHAPE(dim), "encoder.block.%d.layer.0.layer_norm.weight", i);
        tell(&o, SHAPE(c->ffn, dim), "encoder.block.%d.layer.1.DenseReluDense.wi_0.weight", i);
        tell(&o, SHAPE(c->ffn, dim), "encoder.block.%d.layer.1.DenseReluDense.wi_1.weight", i);
        tell(&o, SHAPE(dim, c->ffn), "encoder.block.%d.layer.1.DenseReluDense.wo.weight", i);
        tell(&o, SHAPE(dim), "encoder.block.%d.layer.1.layer_norm.weight", i);
    }
    tell(&o, SHAPE(dim), "encoder.final_layer_norm.weight");
}

static void list_dit_block(const Out *o, const KlDitConfig *c, int i)
{
    static const char *const proj[] = { "to_q", "to_k", "to_v", "to_out.0" };
    const int64_t dim = c->dim;
    char name[64];

    tell(o, SHAPE(1, 6, dim), "blocks.%d.scale_shift_table", i);
    for (int a = 1; a <= 2; a++) {
        for (int j = 0; j < 4; j++) {
            snprintf(name, sizeof(name), "blocks.%d.attn%d.%s", i, a, proj[j]);
            tell_linear(o, name, dim, dim);
        }
        tell(o, SHAPE(dim), "blocks.%d.attn%d.norm_q.weight", i, a);
        tell(o, SHAPE(dim), "blocks.%d.attn%d.norm_k.weight", i, a);
    }
    if (c->image_dim) {
        snprintf(name, sizeof(name), "blocks.%d.attn2.add_k_proj", i);
        tell_linear(o, name, dim, dim);
        snprintf(name, sizeof(name), "blocks.%d.attn2.add_v_proj", i);
        tell_linear(o, name, dim, dim);
        tell(o, SHAPE(dim), "blocks.%d.attn2.norm_added_k.weight", i);
    }
    if (c->cross_attn_norm) {
        tell(o, SHAPE(dim), "blocks.%d.norm2.weight", i);
        tell(o, SHAPE(dim), "blocks.%d.norm2.bias", i);
    }
    snprintf(name, sizeof(name), "blocks.%d.ffn.net.0.proj", i);
    tell_linear(o, name, c->ffn, dim);
    snprintf(name, sizeof(name), "blocks.%d.ffn.net.2", i);
    tell_linear(o, name, dim, c->ffn);
}

static void list_image_embedder(const Out *o, const KlDitConfig *c)
{
    const int64_t I = c->image_dim, dim = c->dim;

    if (c->image_len)
        tell(o, SHAPE(1, c->image_len, I), "condition_embedder.image_embedder.pos_embed");
    tell(o, SHAPE(I), "condition_embedder.image_embedder.norm1.weight");
    tell(o, SHAPE(I), "condition_embedder.image_embedder.norm1.bias");
    tell_linear(o, "condition_embedder.image_embedder.ff.net.0.proj", I, I);
    tell_linear(o, "condition_embedder.image_embedder.ff.net.2", dim, I);
    tell(o, SHAPE(dim), "condition_embedder.image_embedder.norm2.weight");
    tell(o, SHAPE(dim), "condition_embedder.image_embedder.norm2.bias");
}

void synth_list_dit(const KlDitConfig *c, SynthFn fn, void *opaque)
{
    const Out o = { fn, opaque };
    const int64_t dim = c->dim;

    tell(&o, SHAPE(1, 2, dim), "scale_shift_table");
    tell(&o, SHAPE(dim, c->in_ch, 1, c->patch_h, c->patch_w), "patch_embedding.weight");
    tell(&o, SHAPE(dim), "patch_embedding.bias");
    tell_linear(&o, "condition_embedder.time_embedder.linear_1", dim, c->freq_dim);
    tell_linear(&o, "condition_embedder.time_embedder.linear_2", dim, dim);
    tell_linear(&o, "condition_embedder.time_proj", 6 * dim, dim);
    tell_linear(&o, "condition_embedder.text_embedder.linear_1", dim, c->text_dim);
    tell_linear(&o, "condition_embedder.text_embedder.linear_2", dim, dim);
    if (c->image_dim)
        list_image_embedder(&o, c);
    for (int i = 0; i < c->layers; i++)
        list_dit_block(&o, c, i);
    tell_linear(&o, "proj_out", (int64_t)c->out_ch * c->patch_h * c->patch_w, dim);
}

/* -- VAE -- */

static void tell_conv3(const Out *o, const char *name, int64_t oc, int64_t ic, int64_t kt, int64_t k)
{
    tell(o, SHAPE(oc, ic, kt, k, k), "%s.weight", name);
    tell(o, SHAPE(oc), "%s.bias", name);
}

static void tell_conv2(const Out *o, const char *name, int64_t oc, int64_t ic, int64_t k)
{
    tell(o, SHAPE(oc, ic, k, k), "%s.weight", name);
    tell(o, SHAPE(oc), "%s.bias", name);
}

static void list_resnet(const Out *o, const char *at, int64_t ic, int64_t oc)
{
    char name[128];

    tell(o, SHAPE(ic, 1, 1, 1), "%s.norm1.gamma", at);
    snprintf(name, sizeof(name), "%s.conv1", at);
    tell_conv3(o, name, oc, ic, 3, 3);
    tell(o, SHAPE(oc, 1, 1, 1), "%s.norm2.gamma", at);
    snprintf(name, sizeof(name), "%s.conv2", at);
    tell_conv3(o, name, oc, oc, 3, 3);
    snprintf(name, sizeof(name), "%s.conv_shortcut", at);
    if (ic != oc)
        tell_conv3(o, name, oc, ic, 1, 1);
}

static void list_middle(const Out *o, const char *side, int64_t c)
{
    char name[128];

    tell(o, SHAPE(c, 1, 1), "%s.mid_block.attentions.0.norm.gamma", side);
    snprintf(name, sizeof(name), "%s.mid_block.attentions.0.to_qkv", side);
    tell_conv2(o, name, 3 * c, c, 1);
    snprintf(name, sizeof(name), "%s.mid_block.attentions.0.proj", side);
    tell_conv2(o, name, c, c, 1);
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof(name), "%s.mid_block.resnets.%d", side, i);
        list_resnet(o, name, c, c);
    }
}

static void list_head(const Out *o, const char *side, int64_t ic, int64_t oc)
{
    char name[64];

    tell(o, SHAPE(ic, 1, 1, 1), "%s.norm_out.gamma", side);
    snprintf(name, sizeof(name), "%s.conv_out", side);
    tell_conv3(o, name, oc, ic, 3, 3);
}

/* The encoder's down_blocks are one flat list: resnets, then a resampling, level after level; of a residual VAE one
 * block per level. */
static void list_encoder(const Out *o, const KlVaeConfig *c)
{
    int64_t ch = (int64_t)c->base_dim;
    char name[128], at[64];
    int n = 0;

    tell_conv3(o, "encoder.conv_in", ch, c->patch ? 3 * c->patch * c->patch : 3, 3, 3);
    for (int l = 0; l < c->levels; l++) {
        const int64_t oc = (int64_t)c->base_dim * c->dim_mult[l];

        for (int j = 0; j < c->res_blocks; j++) {
            if (c->residual)
                snprintf(name, sizeof(name), "encoder.down_blocks.%d.resnets.%d", l, j);
            else
                snprintf(name, sizeof(name), "encoder.down_blocks.%d", n++);
            list_resnet(o, name, ch, oc);
            ch = oc;
        }
        if (l == c->levels - 1)
            continue;
        if (c->residual)
            snprintf(at, sizeof(at), "encoder.down_blocks.%d.downsampler", l);
        else
            snprintf(at, sizeof(at), "encoder.down_blocks.%d", n++);
        snprintf(name, sizeof(name), "%s.resample.1", at);
        tell_conv2(o, name, ch, ch, 3);
        snprintf(name, sizeof(name), "%s.time_conv", at);
        if (c->temporal_down[l])
            tell_conv3(o, name, ch, ch, 3, 1);
    }
    list_middle(o, "encoder", ch);
    list_head(o, "encoder", ch, 2 * (int64_t)c->z_dim);
}

/* Unless the VAE is residual, each upsampling halves the channels, so a later level begins with half of what the level
 * before ended with. */
static void list_decoder(const Out *o, const KlVaeConfig *c)
{
    const char *sampler = c->residual ? "upsampler" : "upsamplers.0";
    const int last = c->levels - 1, halve = c->residual ? 1 : 2;
    const int64_t base = c->decoder_dim ? c->decoder_dim : c->base_dim;
    int64_t ch = base * c->dim_mult[last];
    char name[128];

    tell_conv3(o, "decoder.conv_in", ch, c->z_dim, 3, 3);
    list_middle(o, "decoder", ch);
    for (int l = 0; l <= last; l++) {
        const int64_t oc = base * c->dim_mult[last - l];

        for (int j = 0; j <= c->res_blocks; j++) {
            snprintf(name, sizeof(name), "decoder.up_blocks.%d.resnets.%d", l, j);
            list_resnet(o, name, ch, oc);
            ch = oc;
        }
        if (l == last)
            continue;
        snprintf(name, sizeof(name), "decoder.up_blocks.%d.%s.resample.1", l, sampler);
        tell_conv2(o, name, ch / halve, ch, 3);
        snprintf(name, sizeof(name), "decoder.up_blocks.%d.%s.time_conv", l, sampler);
        if (c->temporal_down[last - 1 - l])
            tell_conv3(o, name, 2 * ch, ch, 3, 1);
        ch /= halve;
    }
    list_head(o, "decoder", ch, c->patch ? 3 * c->patch * c->patch : 3);
}

void synth_list_vae(const KlVaeConfig *c, SynthFn fn, void *opaque)
{
    const Out o = { fn, opaque };

    list_encoder(&o, c);
    tell_conv3(&o, "quant_conv", 2 * (int64_t)c->z_dim, 2 * (int64_t)c->z_dim, 1, 1);
    tell_conv3(&o, "post_quant_conv", c->z_dim, c->z_dim, 1, 1);
    list_decoder(&o, c);
}

void synth_list_image_encoder(const KlImageEncoderConfig *c, SynthFn fn, void *opaque)
{
    static const char *const norms[] = { "layer_norm1", "layer_norm2" };
    static const char *const proj[] = { "q_proj", "k_proj", "v_proj", "out_proj" };
    const Out o = { fn, opaque };
    const int64_t dim = c->dim;
    char name[64];

    tell(&o, SHAPE(dim), "embeddings.class_embedding");
    tell(&o, SHAPE(dim, 3, c->patch_px, c->patch_px), "embeddings.patch_embedding.weight");
    tell(&o, SHAPE(kl_image_encoder_tokens(c), dim), "embeddings.position_embedding.weight");
    for (int i = 0; i < 2; i++) {
        tell(&o, SHAPE(dim), "%s.weight", i ? "post_layernorm" : "pre_layrnorm");
        tell(&o, SHAPE(dim), "%s.bias", i ? "post_layernorm" : "pre_layrnorm");
    }
    for (int i = 0; i < c->layers; i++) {
        for (int j = 0; j < 4; j++) {
            snprintf(name, sizeof(name), "encoder.layers.%d.self_attn.%s", i, proj[j]);
            tell_linear(&o, name, dim, dim);
        }
        for (int j = 0; j < 2; j++) {
            tell(&o, SHAPE(dim), "encoder.layers.%d.%s.weight", i, norms[j]);
            tell(&o, SHAPE(dim), "encoder.layers.%d.%s.bias", i, norms[j]);
        }
        snprintf(name, sizeof(name), "encoder.layers.%d.mlp.fc1", i);
        tell_linear(&o, name, c->ffn, dim);
        snprintf(name, sizeof(name), "encoder.layers.%d.mlp.fc2", i);
        tell_linear(&o, name, dim, c->ffn);
    }
}

void synth_list(SynthPart part, const void *cfg, SynthFn fn, void *opaque)
{
    if (part == SYNTH_TEXT_ENCODER)
        synth_list_text_encoder(cfg, fn, opaque);
    else if (part == SYNTH_DIT)
        synth_list_dit(cfg, fn, opaque);
    else if (part == SYNTH_IMAGE_ENCODER)
        synth_list_image_encoder(cfg, fn, opaque);
    else
        synth_list_vae(cfg, fn, opaque);
}

/* -- values -- */

static uint16_t to_bf16(float x)        /* finite x, to nearest even */
{
    uint32_t u;

    memcpy(&u, &x, sizeof(u));
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static uint16_t to_f16(float x)         /* |x| < 65520, to nearest even */
{
    const double a = fabs((double)x);
    const uint16_t sign = x < 0 ? 0x8000 : 0;
    int e;

    if (a < 0x1p-14)
        return (uint16_t)(sign + (uint16_t)nearbyint(a * 0x1p24));
    frexp(a, &e);                       /* a = m * 2^e, m in [0.5, 1) */
    return (uint16_t)(sign + ((e + 13) << 10) + (int)nearbyint(ldexp(a, 11 - e)));
}

static void put(void *dst, size_t i, KlDType dtype, float x)
{
    if (dtype == KL_F32)
        ((float *)dst)[i] = x;
    else
        ((uint16_t *)dst)[i] = dtype == KL_BF16 ? to_bf16(x) : to_f16(x);
}

void synth_fill(void *dst, uint64_t seed, KlDType dtype, int fast, const char *name, int ndim, const int64_t *shape)
{
    const uint64_t key = synth_key(seed, name);
    double offset, amp;
    size_t n = 1;

    for (int i = 0; i < ndim; i++)
        n *= (size_t)shape[i];
    synth_rule(name, ndim, shape, &offset, &amp);
    if (fast) {                         /* 4096 true numbers, repeated */
        const size_t head = KL_MIN(n, 4096), size = kl_dtype_bytes(dtype, 1);

        for (size_t i = 0; i < head; i++)
            put(dst, i, dtype, synth_value(key, i, offset, amp));
        for (size_t i = head; i < n; i += head)
            memcpy((char *)dst + i * size, dst, KL_MIN(head, n - i) * size);
        return;
    }
    for (size_t i = 0; i < n; i++)
        put(dst, i, dtype, synth_value(key, i, offset, amp));
}

/* -- in memory -- */

typedef struct Build {
    uint64_t seed;
    KlDType dtype;
    int fast;
    KlTensor *t;                        /* NULL while counting */
    int n;
    size_t bytes, align;
    char *mem;
    int failed;
} Build;

static size_t tensor_bytes(const Build *b, int ndim, const int64_t *shape)
{
    size_t n = kl_dtype_bytes(b->dtype, 1);

    for (int i = 0; i < ndim; i++)
        n *= (size_t)shape[i];
    return n;
}

static void count_one(void *opaque, const char *name, int ndim, const int64_t *shape)
{
    Build *b = opaque;

    (void)name;
    b->n++;
    b->bytes += (tensor_bytes(b, ndim, shape) + b->align - 1) / b->align * b->align;
}

static void build_one(void *opaque, const char *name, int ndim, const int64_t *shape)
{
    Build *b = opaque;
    KlTensor *t = &b->t[b->n++];

    t->name = t->file_name = kl_strdup(name);
    b->failed |= !t->name;
    t->dtype = b->dtype == KL_F32 ? KL_FT_F32 : b->dtype == KL_F16 ? KL_FT_F16 : KL_FT_BF16;
    t->ndim = ndim;
    memcpy(t->shape, shape, (size_t)ndim * sizeof(*shape));
    t->bytes = tensor_bytes(b, ndim, shape);
    t->data = b->mem + b->bytes;
    synth_fill(b->mem + b->bytes, b->seed, b->dtype, b->fast, name, ndim, shape);
    b->bytes += (t->bytes + b->align - 1) / b->align * b->align;
}

int synth_weights(SynthPart part, const void *cfg, uint64_t seed, KlDType dtype, int fast, KlWeights **w, void **mem)
{
    Build b = { .seed = seed, .dtype = dtype, .fast = fast, .align = 64 };
    KlDiag d = { 0 };
    int ret = KLING_ERROR_OUT_OF_MEMORY, n;

    *w = NULL;
    synth_list(part, cfg, count_one, &b);
    n = b.n;
    *mem = b.mem = aligned_alloc(64, b.bytes + 64);
    b.t = calloc((size_t)n, sizeof(*b.t));
    b.n = 0;
    b.bytes = 0;
    if (b.mem && b.t) {
        synth_list(part, cfg, build_one, &b);
        if (!b.failed)
            ret = kl_weights_borrow(&d, w, b.t, n, "synthetic weights");
    }
    for (int i = 0; i < b.n; i++)
        free((char *)(uintptr_t)b.t[i].name);
    free(b.t);
    if (ret < 0) {
        free(*mem);
        *mem = NULL;
    }
    return ret;
}
