/*
 * Kinds of models: told by their parts, with what each can do; parts that do not fit, one line each.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdarg.h>
#include <sys/stat.h>

#include "engine/model_internal.h"
#include "tests/check.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

#define BAD KLING_ERROR_INVALID_DATA
#define NOT KLING_ERROR_UNSUPPORTED
#define ARG KLING_ERROR_INVALID_ARG
#define GONE KLING_ERROR_NOT_FOUND

static char last_log[1024];

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level == KLING_LOG_ERROR)
        snprintf(last_log, sizeof(last_log), "%s", line);
}

static int synth(const char *preset, const char *name, const char *options)
{
    return shell("rm -rf '%s/%s' && '%s/bin/kling-synth' 'tests/models/%s' '%s/%s' 1 %s", dir, name, build, preset, dir,
                 name, options);
}

/* -- what is told -- */

#define IMAGE KLING_CAP_LEAD_IMAGE
static const struct {
    const char *preset, *kind, *file;   /* the transformer's, repackaged */
    unsigned caps;
    int image_len;
    double boundary;
    float guidance_low;
} kinds[] = {
    { "tiny", "Wan T2V ", "wan2.1_t2v_synthetic", KLING_CAP_TEXT, 0, 0, 5 },
    { "i2v", "Wan I2V ", "wan2.1_i2v_synthetic", IMAGE, 0, 0, 5 },
    { "flf2v", "Wan FLF2V ", "wan2.1_i2v_synthetic", IMAGE | KLING_CAP_TRAIL_IMAGE | KLING_CAP_NEEDS_BOTH, 10, 0, 5 },
    { "experts", "Wan T2V of two experts ", "wan2.2_high_noise_synthetic", KLING_CAP_TEXT, 0, 0.875, 3 },
    { "i2v_experts", "Wan I2V of two experts ", "wan2.2_high_noise_synthetic", IMAGE | KLING_CAP_TRAIL_IMAGE, 0, 0.9,
      3 },
};

static void opened_kind(size_t i, const char *path)
{
    const KlingContextParams cp = { .log = on_log };
    KlingModelParams mp = { .model = path };
    const KlingModelInfo *info;
    KlingContext *ctx = NULL;
    KlingModel *model = NULL;
    KlDiag d = { 0 };
    KlModelFiles f;
    KlModelDesc c;

    REQUIRE(!kl_model_files_open(&d, &f, &c, &mp), "%s", d.error);
    CHECK(!strncmp(c.kind, kinds[i].kind, strlen(kinds[i].kind)), "kind '%s'", c.kind);
    CHECK(c.boundary == kinds[i].boundary, "boundary %g", c.boundary);
    CHECK(c.dit.image_dim == (f.image ? 24 : 0) && c.dit.image_len == kinds[i].image_len, "image_dim %d, image_len %d",
          c.dit.image_dim, c.dit.image_len);
    CHECK(!f.image || (c.image.dim == 24 && c.image.heads == 2 && c.image.ffn == 40 && c.image.layers == 3 &&
                       c.image.image_px == 28 && c.image.patch_px == 14 && c.image.short_px == 28 &&
                       c.image.eps == 1e-5f && c.image.std[2] == 0.27577711f), "image encoder");
    CHECK(!f.dit_low == !kinds[i].boundary, "the second expert");
    kl_model_files_close(&f);
    REQUIRE(!kling_context_create(&ctx, &cp) && !kling_model_open(ctx, &model, &mp), "%s", last_log);
    info = kling_model_info(model);
    CHECK(info->caps == kinds[i].caps, "caps %x", info->caps);
    CHECK(info->guidance_low == kinds[i].guidance_low, "guidance_low %g", info->guidance_low);
    kling_model_destroy(&model);
    kling_context_destroy(&ctx);
}

static void test_kind(size_t i)
{
    char file[256];

    REQUIRE(!synth(kinds[i].preset, "m", ""), "kling-synth failed");
    opened_kind(i, in_dir("m"));
    REQUIRE(!synth(kinds[i].preset, "m", "--names original --dtype bf16"), "kling-synth failed");
    opened_kind(i, in_dir("m"));
    REQUIRE(!synth(kinds[i].preset, "m", "--names repackaged --dtype f16"), "kling-synth failed");
    snprintf(file, sizeof(file), "m/diffusion_models/%s.safetensors", kinds[i].file);
    opened_kind(i, in_dir(file));
}

/* Either of two experts' files names the pair. */
static void test_low_noise_file(void)
{
    KlDiag d = { 0 };
    KlModelFiles f;
    KlModelDesc c;
    KlingModelParams p = { .model = in_dir("m/diffusion_models/wan2.2_low_noise_synthetic.safetensors") };

    REQUIRE(!synth("experts", "m", "--names repackaged"), "kling-synth failed");
    REQUIRE(!kl_model_files_open(&d, &f, &c, &p), "%s", d.error);
    CHECK(strstr(kl_weights_path(f.dit), "high_noise") && strstr(kl_weights_path(f.dit_low), "low_noise"), "order");
    kl_model_files_close(&f);
    REQUIRE(!shell("cd '%s/m/diffusion_models' && mv wan2.2_high* ../x.safetensors", dir), "mv");
    CHECK(kl_model_files_open(&d, &f, &c, &p) == GONE && strstr(d.error, "high_noise"), "%s", d.error);
    REQUIRE(!shell("cd '%s/m/diffusion_models' && mv wan2.2_low* low.safetensors", dir), "mv");
    p.model = in_dir("m/x.safetensors");
    p.transformer_2 = in_dir("m/diffusion_models/low.safetensors");
    REQUIRE(!shell("cd '%s/m' && mv x.safetensors diffusion_models/", dir), "mv");
    p.model = in_dir("m/diffusion_models/x.safetensors");
    CHECK(!kl_model_files_open(&d, &f, &c, &p) && c.boundary == 0.875, "%s", d.error);
    kl_model_files_close(&f);
}

static void test_expert_names(void)
{
    static const struct { const char *path, *other; bool low; } t[] = {
        { "a/wan2.2_t2v_high_noise_14B.safetensors", "a/wan2.2_t2v_low_noise_14B.safetensors", false },
        { "m/high_noise_model/x.safetensors", "m/low_noise_model/x.safetensors", false },
        { "HighNoise/W-HighNoise-Q4.gguf", "LowNoise/W-LowNoise-Q4.gguf", false },
        { "/a/Wan_Low_Noise.gguf", "/a/Wan_High_Noise.gguf", true },
        { "high_noise/x/y/model.safetensors", NULL, false },
        { "model.safetensors", NULL, false },
    };

    for (size_t i = 0; i < KL_ARRAY_LEN(t); i++) {
        KlDiag d = { 0 };
        char *other;
        bool low;

        CHECK(!kl_find_expert(&d, t[i].path, &low, &other), "%s", d.error);
        CHECK(t[i].other ? other && !strcmp(other, t[i].other) && low == t[i].low : !other, "'%s': '%s'", t[i].path,
              other ? other : "none");
        free(other);
    }
}

/* A LoRA goes to both experts, or to the one that it names. */
static void test_expert_lora(void)
{
    static const struct { const char *to; bool high, low; } t[] = { { "", 1, 1 }, { ":high", 1, 0 }, { ":low", 0, 1 } };

    for (size_t i = 0; i < KL_ARRAY_LEN(t); i++) {
        char spec[128];
        const KlingModelParams p = { .model = synthetic_model_path("experts"), .lora = spec };
        KlDiag d = { 0 };
        KlModelFiles f;
        KlModelDesc c;
        int64_t rank;

        snprintf(spec, sizeof(spec), "tests/golden/data/lora_original.safetensors:0.5%s", t[i].to);
        REQUIRE(!kl_model_files_open(&d, &f, &c, &p), "%s", d.error);
        CHECK(kl_weights_max_rank(f.dit, &rank) == t[i].high && kl_weights_max_rank(f.dit_low, &rank) == t[i].low,
              "'%s' went elsewhere", t[i].to);
        kl_model_files_close(&f);
    }
}

/* -- parts that do not fit -- */

#define SED(file, from, to) "sed -i 's/" from "/" to "/' " file "/config.json"
#define PRE "image_processor/preprocessor_config.json"
static const struct {
    const char *name, *preset, *command; /* run in the model's folder */
    int status;
    const char *say;
} misfits[] = {
    { "no_image_encoder", "i2v", "rm -r image_encoder", GONE, "no image encoder in" },
    { "image_encoder_is_vae", "i2v", "cp vae/*.safetensors image_encoder/model.safetensors", BAD,
      "is a VAE, not an image encoder" },
    { "vae_is_image_encoder", "i2v", "cp image_encoder/*.safetensors vae/diffusion_pytorch_model.safetensors", BAD,
      "is an image encoder, not a VAE" },
    { "image_width", "i2v", SED("image_encoder", "\"hidden_size\": 24", "\"hidden_size\": 32"), BAD,
      "gives rows of 32 values" },
    { "image_act", "i2v", SED("image_encoder", "\"gelu\"", "\"quick_gelu\""), NOT, "\"hidden_act\"" },
    { "image_heads", "i2v", SED("image_encoder", "heads\": 2", "heads\": 7"), BAD, "7 heads" },
    { "image_patch", "i2v", SED("image_encoder", "patch_size\": 14", "patch_size\": 13"), BAD, "patches of 13" },
    { "image_size", "i2v", SED("image_encoder", "image_size\": 28", "image_size\": 0"), BAD, "\"image_size\"" },
    { "image_model", "i2v", SED("image_encoder", "clip_vision_model", "siglip_vision_model"), NOT, "\"siglip" },
    { "crop", "i2v", "sed -i 's/\"height\": 28/\"height\": 30/' " PRE, BAD, "crops 28x30" },
    { "short_edge", "i2v", "sed -i 's/edge\": 28/edge\": 20/' " PRE, BAD, "shorter side is 20" },
    { "resample", "i2v", "sed -i 's/resample\": 3/resample\": 2/' " PRE, NOT, "\"resample\"" },
    { "no_normalize", "i2v", "sed -i 's/normalize\": true/normalize\": false/' " PRE, NOT, "\"do_normalize\"" },
    { "zero_std", "i2v", "sed -i 's/0.26862954/0/' " PRE, BAD, "\"image_std\"" },
    { "two_rows", "flf2v", SED("transformer", "seq_len\": 10", "seq_len\": 9"), BAD,
      "neither one picture's nor two's" },
    { "long_pos", "flf2v", SED("transformer", "seq_len\": 10", "seq_len\": 99999"), BAD, "\"pos_embed_seq_len\"" },
    { "channels", "i2v", SED("transformer", "in_channels\": 36", "in_channels\": 34"), BAD,
      "which are not 16 of noise" },
    { "other_vae", "i2v", "sed -i 's/\\[false, true, true\\]/[false, false, true]/' vae/config.json", BAD,
      "2 of a mask" },
    { "no_channels", "i2v", SED("transformer", "in_channels\": 36", "in_channels\": 16"), NOT,
      "no channels with a picture's latents" },
    { "both_ways", "i2v", "sed -i 's/\"vae\": /\"expand_timesteps\": true, &/' model_index.json", BAD,
      "expand_timesteps" },
    { "no_expert", "experts", "rm -r transformer_2", GONE, "no low-noise transformer in" },
    { "expert_is_vae", "experts", "cp vae/*.safetensors transformer_2/", BAD, "is a VAE, not a low-noise transformer" },
    { "expert_layers", "experts", SED("transformer_2", "num_layers\": 2", "num_layers\": 1"), BAD, "not of one model" },
    { "expert_channels", "i2v_experts", SED("transformer_2", "in_channels\": 36", "in_channels\": 16"), BAD,
      "not of one model" },
    { "boundary", "experts", "sed -i 's/0.875/1.01/' model_index.json", BAD, "\"boundary_ratio\"" },
    { "no_boundary", "experts", "sed -i 's/0.875/null/' model_index.json", BAD, "no \"boundary_ratio\"" },
    { "boundary_alone", "experts", "sed -i 's/.*transformer_2.*//' model_index.json", BAD, "no \"transformer_2\"" },
};

static void test_misfit(size_t i)
{
    const KlingModelParams p = { .model = in_dir("m") };
    KlDiag d = { 0 };
    KlModelFiles f;
    KlModelDesc c;
    int ret;

    REQUIRE(!synth(misfits[i].preset, "m", ""), "kling-synth failed");
    REQUIRE(!shell("cd '%s/m' && cp -r . ../before && %s && ! diff -rq . ../before > /dev/null; s=$?; rm -r ../before; "
                   "exit $s", dir, misfits[i].command), "nothing is damaged");
    ret = kl_model_files_open(&d, &f, &c, &p);
    CHECK(ret == misfits[i].status && strstr(d.error, misfits[i].say) && !strchr(d.error, '\n'), "status %d: %s", ret,
          d.error);
    CHECK(!f.dit && !f.dit_low && !f.image && !f.text && !f.vae && !f.tokenizer, "a part stays open");
    kl_model_files_close(&f);
}

/* What the description does not show is found when the tensors are bound. */
static void test_bound(void)
{
    static const struct { const char *preset, *command, *say; } t[] = {
        { "i2v", SED("transformer", "\"image_dim\": 24", "\"image_dim\": null") " && sed -i "
          "'s/\"added_kv_proj_dim\": 24/\"added_kv_proj_dim\": null/' transformer/config.json", "image conditioning" },
        { "i2v", SED("image_encoder", "layers\": 3", "layers\": 5"), "encoder.layers.3." },
        { "experts", "cp ../x/transformer/*.safetensors transformer_2/", "blocks.0.attn2" },
    };

    REQUIRE(!synth("odd", "x", ""), "kling-synth failed");
    for (size_t i = 0; i < KL_ARRAY_LEN(t); i++) {
        const KlingContextParams cp = { .log = on_log };
        const KlingModelParams mp = { .model = in_dir("m") };
        KlingContext *ctx = NULL;
        KlingModel *model = NULL;

        REQUIRE(!synth(t[i].preset, "m", "") && !shell("cd '%s/m' && %s", dir, t[i].command), "cannot damage");
        REQUIRE(!kling_context_create(&ctx, &cp), "context");
        CHECK(kling_model_open(ctx, &model, &mp) < 0 && !model, "case %zu opened", i);
        CHECK(strstr(kling_context_error(ctx), i < 2 ? t[i].say : "transformer_2"), "%s", kling_context_error(ctx));
        kling_context_destroy(&ctx);
    }
}

/* -- what a job refuses -- */

static const struct {
    const char *preset;
    int lead, trail, frames, status;
    const char *say;
} asks[] = {
    { "tiny", 1, 0, 8, NOT, "needs an image-to-video model" },
    { "tiny", 0, 1, 8, NOT, "Wan FLF2V" },
    { "experts", 1, 0, 8, NOT, "needs an image-to-video model" },
    { "i2v", 0, 0, 9, ARG, "as the filter kling_extend" },
    { "i2v", 1, 1, 7, NOT, "cannot arrive at given pictures" },
    { "i2v", 5, 0, 4, NOT, "goes on from one picture, not from 5" },
    { "i2v", 1, 0, 9, ARG, "which is 8 frames" },
    { "i2v", 1, 0, 8, 0, "" },
    { "flf2v", 0, 0, 9, ARG, "as the filter kling_bridge" },
    { "flf2v", 1, 0, 8, ARG, "as the filter kling_bridge" },
    { "flf2v", 0, 1, 8, ARG, "as the filter kling_bridge" },
    { "flf2v", 1, 2, 6, NOT, "arrives at one picture, not at 2" },
    { "flf2v", 1, 1, 7, 0, "" },
    { "i2v_experts", 0, 0, 9, ARG, "as the filter kling_extend" },
    { "i2v_experts", 0, 1, 8, ARG, "as the filter kling_extend" },
    { "i2v_experts", 1, 0, 8, 0, "" },
    { "i2v_experts", 1, 1, 7, 0, "" },
};

static void test_ask(size_t i)
{
    static float grey[64 * 64];
    const KlingFrame f = { .data = { grey, grey, grey }, .stride = 64, .width_px = 64, .height_px = 64 };
    const KlingFrame pics[5] = { f, f, f, f, f };
    const KlingContextParams cp = { .log = on_log };
    const KlingModelParams mp = { .model = synthetic_model_path(asks[i].preset) };
    KlingContext *ctx = NULL;
    KlingModel *model = NULL;
    KlingJob *job = NULL;
    char error[512];
    KlingParams p;
    int ret;

    REQUIRE(mp.model && !kling_context_create(&ctx, &cp) && !kling_model_open(ctx, &model, &mp), "%s", last_log);
    kling_params_default(model, &p);
    p.frames = asks[i].frames;
    p.lead = p.trail = pics;
    p.nb_lead = asks[i].lead;
    p.nb_trail = asks[i].trail;
    ret = kling_job_create(model, &job, &p);
    kling_model_error(model, error, sizeof(error));
    CHECK(ret == asks[i].status && strstr(error, asks[i].say) && !job == (ret < 0), "status %d: %s", ret, error);
    kling_job_destroy(&job);
    p.guidance_low = 101;
    CHECK(kling_job_create(model, &job, &p) == ARG && !job, "guidance_low 101");
    kling_model_destroy(&model);
    kling_context_destroy(&ctx);
}

int main(void)
{
    char name[128];

    if (!scratch_open("model_kinds"))
        return 1;
    for (size_t i = 0; i < KL_ARRAY_LEN(kinds); i++) {
        snprintf(name, sizeof(name), "test_kind_%s", kinds[i].preset);
        NAMED(name, test_kind(i));
    }
    RUN(test_low_noise_file);
    RUN(test_expert_names);
    RUN(test_expert_lora);
    for (size_t i = 0; i < KL_ARRAY_LEN(misfits); i++) {
        snprintf(name, sizeof(name), "test_misfit_%s", misfits[i].name);
        NAMED(name, test_misfit(i));
    }
    RUN(test_bound);
    for (size_t i = 0; i < KL_ARRAY_LEN(asks); i++) {
        snprintf(name, sizeof(name), "test_ask_%s_%d_%d_%d", asks[i].preset, asks[i].lead, asks[i].trail,
                 asks[i].frames);
        NAMED(name, test_ask(i));
    }
    scratch_close();
    return check_exit();
}
