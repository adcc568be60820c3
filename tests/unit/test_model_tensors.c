/*
 * What a file's tensors tell: the layout of its names, and the description of the part.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "engine/model_internal.h"
#include "tests/check.h"
#include "tools/synth_model.h"

#define BAD KLING_ERROR_INVALID_DATA
#define NOT KLING_ERROR_UNSUPPORTED

/* -- descriptions from shapes -- */

static void test_shapes_dit(void)
{
    const KlDitConfig c = { .dim = 24, .heads = 2, .head_dim = 12, .ffn = 40, .layers = 1, .in_ch = 4, .out_ch = 4,
                            .text_dim = 16, .freq_dim = 16, .patch_h = 2, .patch_w = 2 };
    static const KlRename away[] = { { "proj_out.weight", "elsewhere" } };
    KlDitConfig got;
    KlDiag d = { 0 };
    KlWeights *w;
    void *mem;

    REQUIRE(!synth_weights(SYNTH_DIT, &c, 1, KL_F32, 1, &w, &mem), "synth_weights");
    CHECK(!kl_shapes_dit(&d, w, 12, &got) && got.heads == 2 && got.ffn == 40 && !got.cross_attn_norm, "%s", d.error);
    CHECK(kl_shapes_dit(&d, w, 0, &got) == NOT && strstr(d.error, "head_dim"), "%s", d.error);
    CHECK(!kl_weights_rename(&d, w, NULL, away, 1), "%s", d.error);
    CHECK(kl_shapes_dit(&d, w, 12, &got) == BAD && strstr(d.error, "no tensor 'proj_out.weight'"), "%s", d.error);
    kl_weights_close(&w);
    free(mem);
}

/* The kernel of the patches as converters to GGUF flatten it: [D, C * 4] or [D * C, 1, 2, 2]. */
static void test_patch_flattened(void)
{
    static const struct {
        int ndim;
        int64_t shape[4];
        bool restored;
    } forms[] = { { 2, { 8, 64 }, true }, { 4, { 128, 1, 2, 2 }, true }, { 1, { 512 }, true },
                  { 2, { 8, 66 }, false }, { 2, { 7, 64 }, false } };
    static const float zeros[8 * 66];

    for (size_t i = 0; i < KL_ARRAY_LEN(forms); i++) {
        KlTensor t[] = {
            { .name = "patch_embedding.weight", .ndim = forms[i].ndim, .data = zeros, .bytes = 4 },
            { .name = "patch_embedding.bias", .ndim = 1, .shape = { 8 }, .data = zeros, .bytes = 32 },
            { .name = "time_projection.1.weight", .ndim = 1, .shape = { 1 }, .data = zeros, .bytes = 4 },
        };
        KlDiag d = { 0 };
        const KlTensor *got;
        KlWeights *w;

        for (int k = 0; k < forms[i].ndim; k++) {
            t[0].shape[k] = forms[i].shape[k];
            t[0].bytes *= (size_t)forms[i].shape[k];
        }
        REQUIRE(!kl_weights_borrow(&d, &w, t, 3, "a file") && !kl_names_canonical(&d, w, KL_PART_DIT), "%s", d.error);
        got = kl_weights_find(w, "patch_embedding.weight");
        CHECK(forms[i].restored ? got->ndim == 5 && got->shape[0] == 8 && got->shape[1] == 16 && got->shape[2] == 1 &&
              got->shape[3] == 2 && got->shape[4] == 2 : got->ndim == forms[i].ndim, "%zu: %d dims", i, got->ndim);
        kl_weights_close(&w);
    }
}

/* The text encoder of another model: T5's layers share one position bias. */
static void test_t5(void)
{
    static const KlRename away[] = {
        { "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight", "elsewhere" } };
    const KlTextEncoderConfig c = { .vocab = 9, .dim = 8, .heads = 2, .head_dim = 4, .ffn = 6, .layers = 2,
                                    .rel_buckets = 32 };
    KlTextEncoderConfig got;
    KlDiag d = { 0 };
    KlWeights *w;
    void *mem;

    REQUIRE(!synth_weights(SYNTH_TEXT_ENCODER, &c, 1, KL_F32, 1, &w, &mem), "synth_weights");
    CHECK(!kl_shapes_text(&d, w, &got) && got.layers == 2, "%s", d.error);
    REQUIRE(!kl_weights_rename(&d, w, NULL, away, 1), "%s", d.error);
    CHECK(kl_shapes_text(&d, w, &got) == NOT && strstr(d.error, "Wan needs UMT5"), "%s", d.error);
    kl_weights_close(&w);
    free(mem);
}

static void test_shapes_vae(void)
{
    static const struct {
        int z, res_blocks;
        bool residual;
        int patch, status;
        const char *say;
    } t[] = { { 16, 1, false, 0, 0, "" }, { 48, 2, true, 2, 0, "" }, { 8, 1, false, 0, NOT, "latents of 8 channels" },
              { 48, 1, false, 0, NOT, "latents of 48 channels" }, { 16, 1, true, 2, NOT, "latents of 16 channels" },
              { 16, 0, false, 0, BAD, "resnets.1" } };

    for (size_t i = 0; i < KL_ARRAY_LEN(t); i++) {
        const KlVaeConfig c = { .base_dim = 2, .decoder_dim = t[i].residual ? 6 : 2, .z_dim = t[i].z, .levels = 3,
                                .dim_mult = { 1, 2, 2 }, .res_blocks = t[i].res_blocks,
                                .temporal_down = { true, false }, .residual = t[i].residual, .patch = t[i].patch };
        KlVaeConfig got;
        KlDiag d = { 0 };
        KlWeights *w;
        void *mem;

        REQUIRE(!synth_weights(SYNTH_VAE, &c, 1, KL_F32, 1, &w, &mem), "synth_weights");
        CHECK(kl_shapes_vae(&d, w, &got) == t[i].status && strstr(d.error, t[i].say), "%zu: %s", i, d.error);
        CHECK(t[i].status || (got.z_dim == c.z_dim && got.levels == 3 && !memcmp(got.dim_mult, c.dim_mult,
              sizeof(c.dim_mult)) && got.temporal_down[0] && !got.temporal_down[1] && got.base_dim == 2 &&
              got.decoder_dim == c.decoder_dim && got.residual == c.residual && got.patch == c.patch &&
              got.res_blocks == c.res_blocks), "%zu: another VAE", i);
        CHECK(t[i].status || (got.mean[0] == (c.residual ? -0.2289f : -0.7571f) &&
              got.std[c.z_dim - 1] == (c.residual ? 0.7744f : 1.9160f)), "%zu: other statistics", i);
        kl_weights_close(&w);
        free(mem);
    }
}

/* Last channels that are no square of patches of RGB. */
static void test_shapes_vae_patch(void)
{
    static const float zeros[4096];
    const KlTensor t[] = {
        { .name = "post_quant_conv.weight", .ndim = 2, .shape = { 16, 1 }, .data = zeros, .bytes = 64 },
        { .name = "decoder.up_blocks.0.resnets.0.conv1.weight", .ndim = 2, .shape = { 2, 2 }, .data = zeros,
          .bytes = 16 },
        { .name = "decoder.conv_out.weight", .ndim = 2, .shape = { 6, 2 }, .data = zeros, .bytes = 48 },
    };
    KlVaeConfig got;
    KlDiag d = { 0 };
    KlWeights *w;

    REQUIRE(!kl_weights_borrow(&d, &w, t, 3, "x"), "%s", d.error);
    CHECK(kl_shapes_vae(&d, w, &got) == BAD && strstr(d.error, "'decoder.conv_out.weight'"), "%s", d.error);
    kl_weights_close(&w);
}

static void test_shapes_text(void)
{
    static const float zeros[64];
    static const char at[] = "encoder.block.0.layer.0.SelfAttention.";
    char bias[96], q[96];
    KlTensor t[4] = {
        { .name = "shared.weight", .ndim = 2, .shape = { 4, 4 }, .data = zeros, .bytes = 64 },
        { .name = bias, .ndim = 2, .shape = { 8, 3 }, .data = zeros, .bytes = 96 },
        { .name = q, .ndim = 2, .shape = { 10, 4 }, .data = zeros, .bytes = 160 },
        { .name = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight", .ndim = 2, .shape = { 5, 4 }, .data = zeros,
          .bytes = 80 },
    };
    KlTextEncoderConfig got;

    snprintf(bias, sizeof(bias), "%srelative_attention_bias.weight", at);
    snprintf(q, sizeof(q), "%sq.weight", at);
    for (int rows = 10; rows <= 12; rows += 2) {    /* 10 rows are not 3 heads, 12 are */
        KlDiag d = { 0 };
        KlWeights *w;

        t[2].shape[0] = rows;
        REQUIRE(!kl_weights_borrow(&d, &w, t, 4, "x"), "%s", d.error);
        if (rows == 10)
            CHECK(kl_shapes_text(&d, w, &got) == BAD && strstr(d.error, "q.weight"), "%s", d.error);
        else
            CHECK(!kl_shapes_text(&d, w, &got) && got.head_dim == 4 && got.layers == 1 && got.ffn == 5, "%s", d.error);
        kl_weights_close(&w);
    }
}

/* -- names -- */

/* A file that holds one tensor of the given name is recognised and refused. */
static void test_refused_names(void)
{
    static const char *const names[][2] = {
        { "vace_blocks.0.after_proj.bias", "VACE" },
        { "motion_encoder.dec.direction.weight", "Animate" },
        { "diffusion_model.blocks.0.self_attn.q.lora_A.weight", "LoRA" },
        { "lora_unet_blocks_0_self_attn_q.lora_down.weight", "LoRA" },
    };

    for (size_t i = 0; i < KL_ARRAY_LEN(names); i++) {
        const KlTensor t = { .name = names[i][0], .dtype = KL_FT_F32, .ndim = 1, .shape = { 1 }, .data = "abc",
                             .bytes = 4 };
        KlDiag d = { 0 };
        KlWeights *w;

        REQUIRE(!kl_weights_borrow(&d, &w, &t, 1, "a file"), "%s", d.error);
        CHECK(kl_names_canonical(&d, w, KL_PART_DIT) == NOT && strstr(d.error, names[i][1]), "%s: %s", names[i][0],
              d.error);
        kl_weights_close(&w);
    }
}

/* tests/golden/data/names.txt holds lines "original canonical", made by the reference's own converter. */
static void test_original_names(const char *title, KlPart part)
{
    FILE *f = fopen("tests/golden/data/names.txt", "r");
    char line[512], want[64], from[256], to[256];
    int in = 0, n = 0;

    snprintf(want, sizeof(want), "[%s]\n", title);
    while (f && fgets(line, sizeof(line), f)) {
        KlTensor t = { .dtype = KL_FT_F32, .ndim = 1, .shape = { 1 }, .data = "abc", .bytes = 4, .name = from };
        KlDiag d = { 0 };
        KlWeights *w;
        int rules;
        const KlRename *r = kl_names_original(part, !strcmp(title, "original vae 2.2"), &rules);
        char *back;

        if (line[0] == '[')
            in = !strcmp(line, want);
        else if (in && sscanf(line, "%255s %255s", from, to) == 2) {
            CHECK(!kl_weights_borrow(&d, &w, &t, 1, "x") && !kl_weights_rename(&d, w, NULL, r, rules), "%s", d.error);
            CHECK(w && kl_weights_find(w, to), "'%s' becomes '%s', wanted '%s'", from,
                  kl_weights_all(w, &(int){ 0 })->name, to);
            kl_weights_close(&w);
            back = kl_rename_backwards(to, r, rules);
            CHECK(!strcmp(back ? back : to, from), "'%s' comes from '%s', wanted '%s'", to, back ? back : to, from);
            free(back);
            n++;
        }
    }
    if (f)
        fclose(f);
    CHECK(n > 20, "only %d names in [%s]", n, title);
}

int main(void)
{
    RUN(test_shapes_dit);
    RUN(test_patch_flattened);
    RUN(test_t5);
    RUN(test_shapes_vae);
    RUN(test_shapes_vae_patch);
    RUN(test_shapes_text);
    RUN(test_refused_names);
    NAMED("test_original_names_dit", test_original_names("original dit", KL_PART_DIT));
    NAMED("test_original_names_vae", test_original_names("original vae", KL_PART_VAE));
    NAMED("test_original_names_vae22", test_original_names("original vae 2.2", KL_PART_VAE));
    NAMED("test_original_names_dit_image", test_original_names("original dit image", KL_PART_DIT));
    NAMED("test_original_names_image", test_original_names("original image", KL_PART_IMAGE));
    NAMED("test_original_names_text", test_original_names("original text", KL_PART_TEXT));
    return check_exit();
}
