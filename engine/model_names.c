/*
 * Layouts of tensor names: which one a file uses, and how to the canonical one.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Canonical are the names of diffusers and transformers. The original ones are
 * those of the Wan 2.1 release. All of this is tables; the renaming of the
 * transformer and the VAE is proven by tests/golden/data/names.txt.
 */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "model_internal.h"

static const KlRename dit_original[] = {
    { "blocks.#.self_attn.q.*",       "blocks.#.attn1.to_q.*" },
    { "blocks.#.self_attn.k.*",       "blocks.#.attn1.to_k.*" },
    { "blocks.#.self_attn.v.*",       "blocks.#.attn1.to_v.*" },
    { "blocks.#.self_attn.o.*",       "blocks.#.attn1.to_out.0.*" },
    { "blocks.#.self_attn.*",         "blocks.#.attn1.*" },
    { "blocks.#.cross_attn.q.*",      "blocks.#.attn2.to_q.*" },
    { "blocks.#.cross_attn.k.*",      "blocks.#.attn2.to_k.*" },
    { "blocks.#.cross_attn.v.*",      "blocks.#.attn2.to_v.*" },
    { "blocks.#.cross_attn.o.*",      "blocks.#.attn2.to_out.0.*" },
    { "blocks.#.cross_attn.k_img.*",  "blocks.#.attn2.add_k_proj.*" },
    { "blocks.#.cross_attn.v_img.*",  "blocks.#.attn2.add_v_proj.*" },
    { "blocks.#.cross_attn.norm_k_img.*", "blocks.#.attn2.norm_added_k.*" },
    { "blocks.#.cross_attn.*",        "blocks.#.attn2.*" },
    { "blocks.#.norm3.*",             "blocks.#.norm2.*" },
    { "blocks.#.ffn.0.*",             "blocks.#.ffn.net.0.proj.*" },
    { "blocks.#.ffn.2.*",             "blocks.#.ffn.net.2.*" },
    { "blocks.#.modulation",          "blocks.#.scale_shift_table" },
    { "time_embedding.0.*",           "condition_embedder.time_embedder.linear_1.*" },
    { "time_embedding.2.*",           "condition_embedder.time_embedder.linear_2.*" },
    { "time_projection.1.*",          "condition_embedder.time_proj.*" },
    { "text_embedding.0.*",           "condition_embedder.text_embedder.linear_1.*" },
    { "text_embedding.2.*",           "condition_embedder.text_embedder.linear_2.*" },
    { "img_emb.emb_pos",              "condition_embedder.image_embedder.pos_embed" },
    { "img_emb.proj.0.*",             "condition_embedder.image_embedder.norm1.*" },
    { "img_emb.proj.1.*",             "condition_embedder.image_embedder.ff.net.0.proj.*" },
    { "img_emb.proj.3.*",             "condition_embedder.image_embedder.ff.net.2.*" },
    { "img_emb.proj.4.*",             "condition_embedder.image_embedder.norm2.*" },
    { "head.modulation",              "scale_shift_table" },
    { "head.head.*",                  "proj_out.*" },
};

#define RESNET(from, to) \
    { from ".residual.0.gamma", to ".norm1.gamma" }, \
    { from ".residual.2.*",     to ".conv1.*" }, \
    { from ".residual.3.gamma", to ".norm2.gamma" }, \
    { from ".residual.6.*",     to ".conv2.*" }, \
    { from ".shortcut.*",       to ".conv_shortcut.*" }
#define SIDE(s) \
    RESNET(s ".middle.0", s ".mid_block.resnets.0"), \
    RESNET(s ".middle.2", s ".mid_block.resnets.1"), \
    { s ".middle.1.*",     s ".mid_block.attentions.0.*" }, \
    { s ".conv1.*",        s ".conv_in.*" }, \
    { s ".head.0.gamma",   s ".norm_out.gamma" }, \
    { s ".head.2.*",       s ".conv_out.*" }
/* The original decoder is one list: three resnets and an upsampling, four times over. */
#define UP(n, b, r) RESNET("decoder.upsamples." #n, "decoder.up_blocks." #b ".resnets." #r)
#define UPSAMPLER(n, b) { "decoder.upsamples." #n ".*", "decoder.up_blocks." #b ".upsamplers.0.*" }

static const KlRename vae_original[] = {
    { "conv1.*", "quant_conv.*" },
    { "conv2.*", "post_quant_conv.*" },
    SIDE("encoder"),
    SIDE("decoder"),
    RESNET("encoder.downsamples.#", "encoder.down_blocks.#"),
    { "encoder.downsamples.*", "encoder.down_blocks.*" },
    UP(0, 0, 0),  UP(1, 0, 1),  UP(2, 0, 2),  UPSAMPLER(3, 0),
    UP(4, 1, 0),  UP(5, 1, 1),  UP(6, 1, 2),  UPSAMPLER(7, 1),
    UP(8, 2, 0),  UP(9, 2, 1),  UP(10, 2, 2), UPSAMPLER(11, 2),
    UP(12, 3, 0), UP(13, 3, 1), UP(14, 3, 2),
};

/* That of 2.2 has a list per level, of two or three resnets and a resampling. */
static const KlRename vae22_original[] = {
    { "conv1.*", "quant_conv.*" },
    { "conv2.*", "post_quant_conv.*" },
    SIDE("encoder"),
    SIDE("decoder"),
    RESNET("encoder.downsamples.#.downsamples.#", "encoder.down_blocks.#.resnets.#"),
    { "encoder.downsamples.#.downsamples.2.*", "encoder.down_blocks.#.downsampler.*" },
    RESNET("decoder.upsamples.#.upsamples.#", "decoder.up_blocks.#.resnets.#"),
    { "decoder.upsamples.#.upsamples.3.*", "decoder.up_blocks.#.upsampler.*" },
};

static const KlRename text_original[] = {
    { "token_embedding.weight", "shared.weight" },
    { "blocks.#.norm1.weight",  "encoder.block.#.layer.0.layer_norm.weight" },
    { "blocks.#.pos_embedding.embedding.weight",
      "encoder.block.#.layer.0.SelfAttention.relative_attention_bias.weight" },
    { "blocks.#.attn.*",        "encoder.block.#.layer.0.SelfAttention.*" },
    { "blocks.#.norm2.weight",  "encoder.block.#.layer.1.layer_norm.weight" },
    { "blocks.#.ffn.gate.0.*",  "encoder.block.#.layer.1.DenseReluDense.wi_0.*" },
    { "blocks.#.ffn.fc1.*",     "encoder.block.#.layer.1.DenseReluDense.wi_1.*" },
    { "blocks.#.ffn.fc2.*",     "encoder.block.#.layer.1.DenseReluDense.wo.*" },
    { "norm.weight",            "encoder.final_layer_norm.weight" },
};

/* llama.cpp's names, in GGUF files. */
#define ATT(from, to) { "enc.blk.#." from ".weight", "encoder.block.#.layer.0." to ".weight" }
#define FFN(from, to) { "enc.blk.#." from ".weight", "encoder.block.#.layer.1." to ".weight" }
static const KlRename text_gguf[] = {
    { "token_embd.weight",      "shared.weight" },
    { "enc.output_norm.weight", "encoder.final_layer_norm.weight" },
    ATT("attn_norm",  "layer_norm"),
    ATT("attn_q",     "SelfAttention.q"),
    ATT("attn_k",     "SelfAttention.k"),
    ATT("attn_v",     "SelfAttention.v"),
    ATT("attn_o",     "SelfAttention.o"),
    ATT("attn_rel_b", "SelfAttention.relative_attention_bias"),
    FFN("ffn_norm",   "layer_norm"),
    FFN("ffn_gate",   "DenseReluDense.wi_0"),
    FFN("ffn_up",     "DenseReluDense.wi_1"),
    FFN("ffn_down",   "DenseReluDense.wo"),
};

static const KlRename text_untied[] = {
    { "encoder.embed_tokens.weight", "shared.weight" },
};

/* The CLIP of the Wan 2.1 release, its vision tower. q, k and v stay one tensor. */
#define CLIP(from, to) { "transformer.#." from ".*", "encoder.layers.#." to ".*" }
static const KlRename image_original[] = {
    { "cls_embedding",          "embeddings.class_embedding" },
    { "pos_embedding",          "embeddings.position_embedding.weight" },
    { "patch_embedding.weight", "embeddings.patch_embedding.weight" },
    { "pre_norm.*",             "pre_layrnorm.*" },
    { "post_norm.*",            "post_layernorm.*" },
    CLIP("norm1",               "layer_norm1"),
    CLIP("norm2",               "layer_norm2"),
    CLIP("attn.to_qkv",         "self_attn.qkv_proj"),
    CLIP("attn.proj",           "self_attn.out_proj"),
    CLIP("mlp.0",               "mlp.fc1"),
    CLIP("mlp.2",               "mlp.fc2"),
};

/* A file of the layout has a tensor `probe`, perhaps behind one of the prefixes. */
typedef struct Layout {
    KlPart part;
    const char *probe;
    const KlRename *rules;
    int n_rules;
} Layout;

#define RULES(a) a, KL_ARRAY_LEN(a)
static const Layout layouts[] = {
    { KL_PART_DIT,  "condition_embedder.time_proj.weight",                  NULL, 0 },
    { KL_PART_DIT,  "time_projection.1.weight",                             RULES(dit_original) },
    { KL_PART_VAE,  "decoder.mid_block.resnets.0.norm1.gamma",              NULL, 0 },
    { KL_PART_VAE,  "decoder.upsamples.0.upsamples.0.residual.0.gamma",     RULES(vae22_original) },
    { KL_PART_VAE,  "decoder.middle.0.residual.0.gamma",                    RULES(vae_original) },
    { KL_PART_TEXT, "shared.weight",                                        NULL, 0 },
    { KL_PART_TEXT, "token_embedding.weight",                               RULES(text_original) },
    { KL_PART_TEXT, "encoder.embed_tokens.weight",                          RULES(text_untied) },
    { KL_PART_TEXT, "token_embd.weight",                                    RULES(text_gguf) },
    { KL_PART_IMAGE, "embeddings.class_embedding",                          NULL, 0 },
    { KL_PART_IMAGE, "cls_embedding",                                       RULES(image_original) },
};

static const char *const prefixes[] = {
    "", "model.diffusion_model.", "diffusion_model.", "model.", "module.", "vae.", "first_stage_model.",
    "text_encoder.", "text_encoders.umt5xxl.transformer.",
    "vision_model.", "clip_vision.vision_model.", "visual.", "image_encoder.vision_model.",
};

/* What is known by a tensor's name, but not run. Shell patterns, on the names as the file spells them. */
static const struct {
    const char *pattern, *what;
} refused[] = {
    { "*lora_A*",                     "a LoRA, not a model" },
    { "*lora_down*",                  "a LoRA, not a model" },
    { "*.lora_up.*",                  "a LoRA, not a model" },
    { "*motion_encoder.*",            "a Wan Animate model, which is not supported" },
    { "*face_adapter.*",              "a Wan Animate model, which is not supported" },
    { "*vace_blocks.*",               "a VACE editing model, which is not supported" },
    { "*audio_injector.*",            "a Wan speech-to-video model, which is not supported" },
    { "*control_adapter.*",           "a camera-control model, which is not supported" },
    { "*ref_conv.*",                  "a control model, which is not supported" },
};

static int refuse_known(KlDiag *d, const KlWeights *w)
{
    int n;
    const KlTensor *t = kl_weights_all(w, &n);

    for (size_t r = 0; r < KL_ARRAY_LEN(refused); r++)
        for (int i = 0; i < n; i++)
            if (!fnmatch(refused[r].pattern, t[i].name, 0))
                return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' is %s", kl_weights_path(w), refused[r].what);
    return 0;
}

/* The layout of w for `part`, or for any part when part is KL_PART_NB. */
static const Layout *recognise(const KlWeights *w, KlPart part, const char **prefix)
{
    for (size_t p = 0; p < KL_ARRAY_LEN(prefixes); p++)
        for (size_t i = 0; i < KL_ARRAY_LEN(layouts); i++) {
            char name[160];

            if (part != KL_PART_NB && layouts[i].part != part)
                continue;
            snprintf(name, sizeof(name), "%s%s", prefixes[p], layouts[i].probe);
            if (kl_weights_find(w, name)) {
                *prefix = prefixes[p];
                return &layouts[i];
            }
        }
    return NULL;
}

static const char *article(KlPart part)
{
    return part == KL_PART_IMAGE ? "an" : "a";
}

/* Converters to GGUF, which has four dims, store the 5-D kernel [D,C,1,2,2] as a matrix or with two dims joined. */
static void restore_patch(KlWeights *w)
{
    static const char name[] = "patch_embedding.weight";
    const KlTensor *t = kl_weights_find(w, name), *bias = kl_weights_find(w, "patch_embedding.bias");
    int64_t n = 1, shape[5] = { 0, 0, 1, 2, 2 };

    if (!t || !bias || bias->ndim != 1 || bias->shape[0] < 1 || t->ndim == 5 || t->ndim < 1 ||
        t->shape[0] % bias->shape[0])
        return;
    for (int i = 0; i < t->ndim; i++)
        n *= t->shape[i];               /* bounded by the bytes, which were checked, or there are none */
    shape[0] = bias->shape[0];
    shape[1] = t->bytes ? n / bias->shape[0] / 4 : 0;
    kl_weights_reshape(w, name, 5, shape);
}

int kl_names_canonical(KlDiag *d, KlWeights *w, KlPart part)
{
    const KlPart like = part == KL_PART_DIT_LOW ? KL_PART_DIT : part;
    const char *prefix = "";
    const Layout *l;
    int ret = refuse_known(d, w);

    if (ret < 0)
        return ret;
    if (!(l = recognise(w, like, &prefix))) {
        const Layout *other = recognise(w, KL_PART_NB, &prefix);

        if (other)
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is %s %s, not %s %s", kl_weights_path(w),
                           article(other->part), kl_part_name(other->part), article(part), kl_part_name(part));
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is not a Wan %s: its tensors have names of no known layout",
                       kl_weights_path(w), kl_part_name(part));
    }
    if (*prefix || l->rules)
        ret = kl_weights_rename(d, w, prefix, l->rules, l->n_rules);
    if (!ret && l->part == KL_PART_DIT)
        restore_patch(w);
    return ret;
}

const KlRename *kl_names_original(KlPart part, bool residual_vae, int *n)
{
    if (part == KL_PART_VAE && residual_vae) {
        *n = KL_ARRAY_LEN(vae22_original);
        return vae22_original;
    }
    for (size_t i = 0; i < KL_ARRAY_LEN(layouts); i++)
        if (layouts[i].part == part && layouts[i].rules && layouts[i].rules != vae22_original) {
            *n = layouts[i].n_rules;
            return layouts[i].rules;
        }
    *n = 0;
    return NULL;
}

const KlRename *kl_names_gguf(KlPart part, int *n)
{
    if (part != KL_PART_TEXT)
        return kl_names_original(part, false, n);
    *n = KL_ARRAY_LEN(text_gguf);
    return text_gguf;
}
