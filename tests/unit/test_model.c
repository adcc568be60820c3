/*
 * Opening models: every form gives the same model, every broken one a line that names what is wrong.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <jansson.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "engine/model_internal.h"
#include "tests/check.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

#define BAD KLING_ERROR_INVALID_DATA
#define NOT KLING_ERROR_UNSUPPORTED

static char last_log[1024];

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level <= KLING_LOG_WARNING)
        snprintf(last_log, sizeof(last_log), "%s", line);
}

/* A fresh copy of the tiny model in dir/m. */
static int fresh(void)
{
    return shell("rm -rf '%s/m' && cp -r '%s/tiny' '%s/m'", dir, dir, dir);
}

static void opens(const KlingModelParams *p, KlModelDesc *desc)
{
    KlDiag d = { .log = on_log };
    KlModelFiles f;
    int ret = kl_model_files_open(&d, &f, desc, p);

    CHECK(!ret, "status %d: %s", ret, d.error);
    CHECK(ret || (f.dit && f.text && f.vae && f.tokenizer), "a part is missing");
    kl_model_files_close(&f);
}

static void refuses(const KlingModelParams *p, int status, const char *say)
{
    KlDiag d = { .log = on_log };
    KlModelFiles f;
    KlModelDesc desc;
    int ret = kl_model_files_open(&d, &f, &desc, p);

    CHECK(ret == status, "status %d, wanted %d: %s", ret, status, d.error);
    CHECK(strstr(d.error, say), "'%s' lacks '%s'", d.error, say);
    CHECK(!strchr(d.error, '\n'), "more than one line");
    CHECK(ret >= 0 || (!f.dit && !f.text && !f.vae && !f.tokenizer), "a part stays open");
    kl_model_files_close(&f);
}

static void refuses_folder(int status, const char *say)
{
    const KlingModelParams p = { .model = in_dir("m") };

    refuses(&p, status, say);
}

/* -- good ones -- */

static int synth(const char *preset, const char *name, const char *options)
{
    return shell("'%s/bin/kling-synth' 'tests/models/%s' '%s/%s' 1 %s", build, preset, dir, name, options);
}

static void test_diffusers(void)
{
    KlModelDesc c;
    const KlingModelParams p = { .model = in_dir("tiny") };

    opens(&p, &c);
    CHECK(!strcmp(c.name, "tiny"), "name '%s'", c.name);
    CHECK(!strncmp(c.kind, "Wan T2V", 7), "kind '%s'", c.kind);
    CHECK(!c.expand_timesteps && c.condition.kind == KL_CONDITION_NONE, "conditioning");
    CHECK(c.dit.dim == 24 && c.dit.heads == 2 && c.dit.head_dim == 12 && c.dit.ffn == 64 && c.dit.layers == 2 &&
          c.dit.in_ch == 16 && c.dit.out_ch == 16 && c.dit.text_dim == 32 && c.dit.text_len == 512 &&
          c.dit.freq_dim == 64 && c.dit.patch_h == 2 && c.dit.patch_w == 2 && c.dit.cross_attn_norm, "transformer");
    CHECK(c.text.vocab == 768 && c.text.dim == 32 && c.text.heads == 4 && c.text.head_dim == 8 && c.text.ffn == 64 &&
          c.text.layers == 2 && c.text.rel_buckets == 32 && c.text.rel_max_distance == 128, "text encoder");
    CHECK(c.vae.base_dim == 8 && c.vae.z_dim == 16 && c.vae.levels == 4 && c.vae.dim_mult[3] == 4 &&
          c.vae.res_blocks == 2 && !c.vae.temporal_down[0] && c.vae.temporal_down[2] && c.vae.mean[0] == -0.7571f &&
          c.vae.std[15] == 1.9160f, "VAE");
    CHECK(c.sampler.kind == KLING_SAMPLER_UNIPC && c.sampler.shift == 3 && c.sampler.train_steps == 1000 &&
          c.sampler.solver_order == 2 && c.sampler.lower_order_final && c.sampler.steps == 4, "sampler");
    CHECK(c.width_px == 64 && c.height_px == 64 && c.frames == 9 && c.fps_num == 16 && c.fps_den == 1 && c.steps == 4 &&
          c.guidance == 5, "preferences");
}

static void test_odd_and_expand(void)
{
    KlModelDesc c;
    KlingModelParams p = { .model = synthetic_model_path("odd") };

    REQUIRE(p.model, "kling-synth failed");
    opens(&p, &c);
    CHECK(c.sampler.kind == KLING_SAMPLER_EULER && c.sampler.shift == 5, "sampler");
    CHECK(c.fps_num == 30000 && c.fps_den == 1001, "rate %d/%d", c.fps_num, c.fps_den);
    CHECK(c.dit.eps == 1e-5f && c.text.eps == 1e-5f && !c.dit.cross_attn_norm && c.dit.dim == 60, "transformer");
    CHECK(c.vae.temporal_down[0] && !c.vae.temporal_down[1] && c.vae.std[4] == 3, "VAE");
    p.model = synthetic_model_path("expand");
    REQUIRE(p.model, "kling-synth failed");
    opens(&p, &c);
    CHECK(c.expand_timesteps && c.condition.kind == KL_CONDITION_CLEAN && c.condition.lead_frames == 5 &&
          !c.condition.trail_frames, "expand_timesteps");
}

static void test_ti2v(void)
{
    KlModelDesc c;
    KlingModelParams p = { .model = synthetic_model_path("ti2v") };

    REQUIRE(p.model, "kling-synth failed");
    opens(&p, &c);
    CHECK(c.expand_timesteps && c.condition.kind == KL_CONDITION_CLEAN && c.fps_num == 24, "expand_timesteps");
    CHECK(c.vae.residual && c.vae.patch == 2 && c.vae.base_dim == 8 && c.vae.decoder_dim == 10 && c.vae.z_dim == 48 &&
          c.vae.levels == 4 && c.vae.res_blocks == 2 && !c.vae.temporal_down[0] && c.vae.temporal_down[2], "VAE");
}

/* What the release of 5 billion is told by, and what is then preferred. */
static void test_ti2v_5b(void)
{
    KlModelDesc c = { .dit = { .dim = 3072, .layers = 30, .in_ch = 48, .out_ch = 48 } };
    const KlTensor t = { .name = "x", .dtype = KL_FT_F32, .ndim = 1, .shape = { 1 }, .data = "abc", .bytes = 4 };
    KlDiag d = { 0 };
    KlWeights *w;
    KlPrefs p;

    REQUIRE(!kl_prefs_read(&d, in_dir("nowhere"), &p) && !kl_weights_borrow(&d, &w, &t, 1, "x"), "%s", d.error);
    kl_prefs_apply(&c, &p, w, false, false);
    CHECK(!strcmp(c.kind, "Wan 2.2 TI2V 5B") && c.expand_timesteps && c.condition.kind == KL_CONDITION_CLEAN,
          "kind '%s'", c.kind);
    CHECK(c.width_px == 1280 && c.height_px == 704 && c.frames == 121 && c.fps_num == 24 && c.fps_den == 1 &&
          c.steps == 50 && c.guidance == 5 && c.sampler.shift == 5 && c.sampler.kind == KLING_SAMPLER_UNIPC,
          "preferences");
    c.expand_timesteps = false;         /* an index that does not say it means it */
    kl_prefs_apply(&c, &p, w, false, true);
    CHECK(!c.expand_timesteps, "expand_timesteps against the index");
    kl_weights_close(&w);
}

/* Another form of a model has the same description and the same values under the same names. */
static void same_as(const char *path, const char *other)
{
    const KlingModelParams p = { .model = path }, q = { .model = other };
    KlDiag d = { 0 };
    KlModelFiles f, g;
    KlModelDesc a, b;
    int ret = kl_model_files_open(&d, &f, &a, &p);

    REQUIRE(!ret, "status %d: %s", ret, d.error);
    ret = kl_model_files_open(&d, &g, &b, &q);
    CHECK(!ret, "%s", d.error);
    CHECK(!memcmp(&a.text, &b.text, sizeof(a.text)) && !memcmp(&a.dit, &b.dit, sizeof(a.dit)) &&
          !memcmp(&a.vae, &b.vae, sizeof(a.vae)), "another description");
    CHECK(a.width_px == b.width_px && a.fps_num == b.fps_num && a.steps == b.steps &&
          a.sampler.shift == b.sampler.shift && a.expand_timesteps == b.expand_timesteps, "other preferences");
    for (int part = 0; part < 3 && !ret; part++) {
        const KlWeights *wf = part == 0 ? f.text : part == 1 ? f.dit : f.vae;
        const KlWeights *wg = part == 0 ? g.text : part == 1 ? g.dit : g.vae;
        int n;
        const KlTensor *t = kl_weights_all(wg, &n);

        CHECK(n > 10, "%d tensors", n);
        for (int i = 0; i < n; i++) {
            const KlTensor *s = kl_weights_find(wf, t[i].name);

            CHECK(s && s->bytes == t[i].bytes && !memcmp(s->data, t[i].data, s->bytes), "tensor %s", t[i].name);
        }
    }
    kl_model_files_close(&f);
    kl_model_files_close(&g);
}

static void test_sharded(void)
{
    REQUIRE(!synth("tiny", "sharded", "--shards 4"), "kling-synth failed");
    same_as(in_dir("sharded"), in_dir("tiny"));
}

static void test_original(void)
{
    REQUIRE(!synth("tiny", "original", "--names original"), "kling-synth failed");
    same_as(in_dir("original"), in_dir("tiny"));
    same_as(in_dir("original/diffusion_pytorch_model.safetensors"), in_dir("tiny"));
}

static void test_original_sharded(void)
{
    REQUIRE(!synth("tiny", "original2", "--names original --shards 2"), "kling-synth failed");
    /* the index files of the other parts have no name that is searched for: give them */
    const KlingModelParams p = {
        .model = in_dir("original2"),
        .text_encoder = in_dir("original2/models_t5_umt5-xxl-enc-bf16.safetensors.index.json"),
        .vae = in_dir("original2/Wan2.1_VAE.safetensors.index.json"),
    };
    KlModelDesc c;

    opens(&p, &c);
    CHECK(c.dit.layers == 2, "%d layers", c.dit.layers);
}

static void test_repackaged(void)
{
    REQUIRE(!synth("tiny", "repackaged", "--names repackaged"), "kling-synth failed");
    same_as(in_dir("repackaged/diffusion_models/wan2.1_t2v_synthetic.safetensors"), in_dir("tiny"));
}

/* The VAE of Wan 2.2 by its original names and without a config, also where that of 2.1 lies beside it. */
static void test_ti2v_forms(void)
{
    const char *ti2v = synthetic_model_path("ti2v");

    REQUIRE(ti2v, "kling-synth failed");
    REQUIRE(!synth("ti2v", "ti2v_original", "--names original") &&
            !synth("ti2v", "ti2v_repackaged", "--names repackaged") &&
            !synth("tiny", "both", "--names repackaged"), "kling-synth failed");
    same_as(in_dir("ti2v_original"), ti2v);
    same_as(in_dir("ti2v_repackaged/diffusion_models/wan2.1_t2v_synthetic.safetensors"), ti2v);
    REQUIRE(!shell("cd '%s' && cp ti2v_repackaged/vae/wan2.2_vae.safetensors both/vae/ && "
                   "cp both/vae/wan_2.1_vae.safetensors ti2v_repackaged/vae/", dir), "cp");
    same_as(in_dir("both/diffusion_models/wan2.1_t2v_synthetic.safetensors"), in_dir("tiny"));
    same_as(in_dir("ti2v_repackaged/diffusion_models/wan2.1_t2v_synthetic.safetensors"), ti2v);
}

/* A transformer and a text encoder in GGUF, in f32, beside a VAE and a tokenizer. */
static void test_gguf(void)
{
    REQUIRE(!shell("cp -r '%s/tiny' '%s/gguf' && cd '%s/gguf' && rm -r transformer text_encoder model_index.json", dir,
                   dir, dir), "cp");
    REQUIRE(!shell("'%s/bin/kling-quantize' '%s/tiny/transformer' '%s/gguf/wan2.1_t2v.gguf' --type f32 --quiet >"
                   " /dev/null", build, dir, dir) &&
            !shell("'%s/bin/kling-quantize' '%s/tiny/text_encoder' '%s/gguf/umt5-xxl-encoder.gguf' --type f32 --quiet >"
                   " /dev/null", build, dir, dir), "kling-quantize failed");
    REQUIRE(!shell("cd '%s' && sed 's/{/{ \"head_dim\": 12,/' tiny/kling.json > gguf/kling.json", dir), "sed");
    same_as(in_dir("gguf/wan2.1_t2v.gguf"), in_dir("tiny"));
    REQUIRE(!shell("cd '%s/gguf' && head -c 20000 umt5-xxl-encoder.gguf > x && mv x umt5-xxl-encoder.gguf", dir),
            "cut");
    refuses(&(KlingModelParams){ .model = in_dir("gguf/wan2.1_t2v.gguf") }, BAD, "umt5-xxl-encoder.gguf' is cut short");
}

/* A truncated LoRA, one for another model, and a model in place of one. */
static void test_lora(void)
{
    KlingModelParams p = { .model = in_dir("tiny"), .lora = in_dir("cut.safetensors") };
    KlModelDesc c;

    REQUIRE(!shell("head -c 9000 tests/golden/data/lora_peft.safetensors > '%s/cut.safetensors'", dir), "cut");
    refuses(&p, BAD, "cut.safetensors' is cut short");
    p.lora = in_dir("tiny/vae");
    refuses(&p, BAD, "is no LoRA for this transformer");
    p.model = synthetic_model_path("odd");
    REQUIRE(p.model, "kling-synth failed");
    p.lora = "tests/golden/data/lora_peft.safetensors";
    refuses(&p, BAD, "is for another model");
    p.model = in_dir("tiny");
    p.lora = "tests/golden/data/lora_peft.safetensors:high";
    refuses(&p, KLING_ERROR_INVALID_ARG, "leave :high out");
    p.lora = "tests/golden/data/lora_peft.safetensors:0.5";
    opens(&p, &c);
}

static void test_spiece_not_bytes(void)
{
    const KlingModelParams p = { .model = in_dir("rep2/diffusion_models/wan2.1_t2v_synthetic.safetensors") };

    REQUIRE(!synth("tiny", "rep2", "--names repackaged"), "kling-synth failed");
    REQUIRE(!shell("cd '%s/rep2/text_encoders' && LC_ALL=C sed -i 's/\"U8\"/\"I8\"/' *", dir), "sed");
    refuses(&p, KLING_ERROR_INVALID_DATA, "'spiece_model'");
}

static void test_half(void)
{
    KlModelDesc c;
    KlingModelParams p = { .model = in_dir("bf16") };

    REQUIRE(!synth("tiny", "bf16", "--dtype bf16") && !synth("tiny", "f16", "--dtype f16"), "kling-synth failed");
    opens(&p, &c);
    p.model = in_dir("f16");
    opens(&p, &c);
}

static void test_overrides(void)
{
    KlModelDesc c;
    const KlingModelParams p = {
        .model = in_dir("m"), .text_encoder = in_dir("tiny/text_encoder"),
        .vae = in_dir("tiny/vae/diffusion_pytorch_model.safetensors"),
        .tokenizer = in_dir("tiny/tokenizer/spiece.model"),
    };

    REQUIRE(!fresh() && !shell("rm -r '%s/m/text_encoder' '%s/m/vae' '%s/m/tokenizer'", dir, dir, dir), "cp");
    opens(&p, &c);
    CHECK(c.vae.base_dim == 8 && c.vae.mean[1] == -0.7089f, "VAE without a config");
}

/* -- broken configs -- */

/* Sets key (value is JSON, NULL deletes) in a JSON file of the copy. */
static int edit(const char *file, const char *key, const char *value)
{
    char path[600];
    json_t *root;
    int ret;

    snprintf(path, sizeof(path), "%s/m/%s", dir, file);
    root = json_load_file(path, 0, NULL);
    ret = !root || (value ? json_object_set_new(root, key, json_loads(value, JSON_DECODE_ANY, NULL))
                          : json_object_del(root, key)) || json_dump_file(root, path, JSON_INDENT(1));
    json_decref(root);
    return ret;
}

static const struct {
    const char *file, *key, *value;
    int status;
    const char *say;
} edits[] = {
    { "transformer/config.json", "num_layers", NULL, BAD, "lacks the key \"num_layers\"" },
    { "transformer/config.json", "num_layers", "null", BAD, "lacks the key \"num_layers\"" },
    { "transformer/config.json", "num_layers", "0", BAD, "\"num_layers\"" },
    { "transformer/config.json", "num_layers", "-3", BAD, "is -3" },
    { "transformer/config.json", "num_layers", "9000000000000", BAD, "is 9000000000000" },
    { "transformer/config.json", "num_layers", "2.5", BAD, "not a whole number" },
    { "transformer/config.json", "num_layers", "\"2\"", BAD, "not a whole number" },
    { "transformer/config.json", "num_attention_heads", "60000", BAD, "60000 heads of 12" },
    { "transformer/config.json", "attention_head_dim", "4", NOT, "heads of size 4" },
    { "transformer/config.json", "attention_head_dim", "13", NOT, "heads of size 13" },
    { "transformer/config.json", "ffn_dim", "2147483647", BAD, "\"ffn_dim\"" },
    { "transformer/config.json", "freq_dim", "7", NOT, "freq_dim 7" },
    { "transformer/config.json", "eps", "0", BAD, "\"eps\"" },
    { "transformer/config.json", "eps", "1e300", BAD, "\"eps\"" },
    { "transformer/config.json", "patch_size", "[1,2]", BAD, "\"patch_size\"" },
    { "transformer/config.json", "patch_size", "[1,0,2]", BAD, "\"patch_size\"" },
    { "transformer/config.json", "patch_size", "[2,2,2]", NOT, "more than one latent frame" },
    { "transformer/config.json", "in_channels", "32", NOT, "32 input and 16 output" },
    { "transformer/config.json", "in_channels", "49", NOT, "49 input and 16 output" },
    { "transformer/config.json", "in_channels", "17", NOT, "17 input and 16 output" },
    { "transformer/config.json", "image_dim", "1280", NOT, "\"added_kv_proj_dim\"" },
    { "transformer/config.json", "image_dim", "-1", BAD, "\"image_dim\"" },
    { "transformer/config.json", "added_kv_proj_dim", "24", NOT, "is 24" },
    { "transformer/config.json", "pos_embed_seq_len", "514", BAD, "no width" },
    { "transformer/config.json", "quantization_config", "{\"bits\":4}", NOT, "a quantized model" },
    { "transformer/config.json", "vace_layers", "[0,1]", NOT, "VACE" },
    { "transformer/config.json", "qk_norm", "\"layer_norm\"", NOT, "\"qk_norm\"" },
    { "transformer/config.json", "qk_norm", "7", BAD, "not a string" },
    { "transformer/config.json", "_class_name", "\"FluxTransformer2DModel\"", NOT, "FluxTransformer2DModel" },
    { "transformer/config.json", "text_dim", "40", BAD, "gives 32 values per token" },
    { "text_encoder/config.json", "vocab_size", "100", BAD, "the tokenizer has" },
    { "text_encoder/config.json", "vocab_size", "-1", BAD, "\"vocab_size\"" },
    { "text_encoder/config.json", "d_model", "0", BAD, "\"d_model\"" },
    { "text_encoder/config.json", "d_kv", "7", NOT, "odd size 7" },
    { "text_encoder/config.json", "num_heads", "65536", BAD, "too many" },
    { "text_encoder/config.json", "relative_attention_num_buckets", "6", BAD, "6 buckets" },
    { "text_encoder/config.json", "relative_attention_max_distance", "8", BAD, "up to 8" },
    { "text_encoder/config.json", "model_type", "\"t5\"", NOT, "\"t5\"" },
    { "text_encoder/config.json", "feed_forward_proj", "\"relu\"", NOT, "\"relu\"" },
    { "vae/config.json", "z_dim", "65", BAD, "\"z_dim\"" },
    { "vae/config.json", "z_dim", "8", BAD, "\"latents_mean\"" },
    { "vae/config.json", "base_dim", "0", BAD, "\"base_dim\"" },
    { "vae/config.json", "dim_mult", "[]", BAD, "\"dim_mult\"" },
    { "vae/config.json", "dim_mult", "7", BAD, "not an array" },
    { "vae/config.json", "dim_mult", "[1,2,4,4,4,4,4,4,4]", BAD, "\"dim_mult\"" },
    { "vae/config.json", "dim_mult", "[1,2,4,0]", BAD, "\"dim_mult\"" },
    { "vae/config.json", "temperal_downsample", "[true]", BAD, "\"temperal_downsample\"" },
    { "vae/config.json", "temperal_downsample", "[1,1,1]", BAD, "\"temperal_downsample\"" },
    { "vae/config.json", "latents_mean", NULL, BAD, "lacks the key \"latents_mean\"" },
    { "vae/config.json", "in_channels", "4", NOT, "not RGB" },
    { "vae/config.json", "latents_std", "[0,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", BAD, "\"latents_std\"" },
    { "vae/config.json", "latents_std", "[\"1\",1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", BAD, "\"latents_std\"" },
    { "vae/config.json", "out_channels", "12", NOT, "3 channels in, 12 out, in patches of 1x1" },
    { "vae/config.json", "is_residual", "7", BAD, "\"is_residual\"" },
    { "vae/config.json", "patch_size", "2", NOT, "in patches of 2x2" },
    { "vae/config.json", "patch_size", "0", BAD, "\"patch_size\"" },
    { "vae/config.json", "patch_size", "9", BAD, "\"patch_size\"" },
    { "vae/config.json", "patch_size", "[2,2]", BAD, "\"patch_size\"" },
    { "vae/config.json", "decoder_base_dim", "4097", BAD, "\"decoder_base_dim\"" },
    { "vae/config.json", "decoder_base_dim", "512", NOT, "2048 channels in its middle" },
    { "vae/config.json", "base_dim", "512", NOT, "2048 channels in its middle" },
    { "vae/config.json", "scale_factor_spatial", "16", BAD, "16 times smaller and 4 times fewer" },
    { "vae/config.json", "scale_factor_temporal", "8", BAD, "its levels make them 8 times smaller and 4 times" },
    { "vae/config.json", "attn_scales", "[0.5]", NOT, "attention outside" },
    { "vae/config.json", "_class_name", "\"AutoencoderKL\"", NOT, "AutoencoderKL" },
    { "scheduler/scheduler_config.json", "prediction_type", "\"epsilon\"", NOT, "\"epsilon\"" },
    { "scheduler/scheduler_config.json", "use_flow_sigmas", "false", NOT, "use_flow_sigmas" },
    { "scheduler/scheduler_config.json", "flow_shift", "0", BAD, "\"flow_shift\"" },
    { "scheduler/scheduler_config.json", "solver_order", "3", BAD, "\"solver_order\"" },
    { "scheduler/scheduler_config.json", "use_dynamic_shifting", "true", NOT, "dynamic" },
    { "model_index.json", "_class_name", "\"WanVACEPipeline\"", NOT, "WanVACEPipeline" },
    { "model_index.json", "transformer_2", "[\"diffusers\",\"WanTransformer3DModel\"]", BAD, "two experts" },
    { "model_index.json", "boundary_ratio", "0.875", BAD, "two experts" },
    { "model_index.json", "boundary_ratio", "1.5", BAD, "\"boundary_ratio\"" },
    { "model_index.json", "boundary_ratio", "0", BAD, "\"boundary_ratio\"" },
    { "model_index.json", "boundary_ratio", "\"0.9\"", BAD, "\"boundary_ratio\"" },
    { "model_index.json", "expand_timesteps", "7", BAD, "\"expand_timesteps\"" },
    { "kling.json", "width", "15", BAD, "\"width\"" },
    { "kling.json", "width", "65", BAD, "not even" },
    { "kling.json", "frames", "0", BAD, "\"frames\"" },
    { "kling.json", "fps", "0", BAD, "\"fps\"" },
    { "kling.json", "fps", "\"30/0\"", BAD, "\"fps\"" },
    { "kling.json", "fps", "\"-5\"", BAD, "\"fps\"" },
    { "kling.json", "fps", "\"24fps\"", BAD, "\"fps\"" },
    { "kling.json", "fps", "\"\"", BAD, "\"fps\"" },
    { "kling.json", "guidance", "1e9", BAD, "\"guidance\"" },
    { "kling.json", "guidance", "\"5\"", BAD, "not a number" },
    { "kling.json", "lead_frames", "-1", BAD, "\"lead_frames\"" },
    { "kling.json", "lead_frames", "2.5", BAD, "\"lead_frames\"" },
    { "kling.json", "trail_frames", "\"8\"", BAD, "\"trail_frames\"" },
    { "kling.json", "drift_guard", "1.01", BAD, "\"drift_guard\"" },
};

static void test_edit(size_t i)
{
    REQUIRE(!fresh() && !edit(edits[i].file, edits[i].key, edits[i].value), "cannot edit %s", edits[i].file);
    refuses_folder(edits[i].status, edits[i].say);
}

static void test_unknown_keys(void)
{
    const KlingModelParams p = { .model = in_dir("m") };
    KlModelDesc c;

    REQUIRE(!fresh(), "cp");
    REQUIRE(!edit("transformer/config.json", "new_in_2027", "{\"a\":[1]}") && !edit("vae/config.json", "z", "1") &&
            !edit("kling.json", "comment", "\"x\"") && !edit("kling.json", "fps", "\"24\""), "edit");
    opens(&p, &c);
    CHECK(c.fps_num == 24 && c.fps_den == 1, "rate %d/%d", c.fps_num, c.fps_den);
    REQUIRE(!edit("scheduler/scheduler_config.json", "_class_name", "\"DPMSolverMultistepScheduler\""), "edit");
    last_log[0] = 0;
    opens(&p, &c);
    CHECK(c.sampler.kind == KLING_SAMPLER_UNIPC && strstr(last_log, "DPMSolver"), "no warning: '%s'", last_log);
}

/* -- missing and wrong files -- */

static const struct {
    const char *name, *command;         /* run in the copy */
    int status;
    const char *say;
} damages[] = {
    { "no_vae", "rm -r vae", KLING_ERROR_NOT_FOUND, "no VAE in" },
    { "no_text_encoder", "rm -r text_encoder", KLING_ERROR_NOT_FOUND, "no text encoder in" },
    { "no_transformer", "rm -r transformer", KLING_ERROR_NOT_FOUND, "it is neither" },
    { "no_tokenizer", "rm -r tokenizer", KLING_ERROR_NOT_FOUND, "no tokenizer in" },
    { "no_weights", "rm vae/*.safetensors", KLING_ERROR_NOT_FOUND, "m/vae'" },
    { "empty_config", ": > vae/config.json", BAD, "m/vae/config.json' is empty" },
    { "long_config", "truncate -s 70000000 vae/config.json", BAD, "too long" },
    { "config_not_json", "echo hello > transformer/config.json", BAD, "transformer/config.json is not valid JSON" },
    { "config_an_array", "echo '[]' > vae/config.json", BAD, "not a JSON object" },
    { "index_not_json", "echo '{' > model_index.json", BAD, "model_index.json is not valid JSON" },
    { "truncated", "f=vae/diffusion_pytorch_model.safetensors; head -c 100000 $f > x && mv x $f", BAD, "cut short" },
    { "vae_is_text", "cp text_encoder/model.safetensors vae/diffusion_pytorch_model.safetensors", BAD,
      "is a text encoder, not a VAE" },
    { "dit_is_vae", "cp vae/diffusion_pytorch_model.safetensors transformer/", BAD, "is a VAE, not a transformer" },
    { "other_names", "printf '\\002\\0\\0\\0\\0\\0\\0\\0{}' > vae/diffusion_pytorch_model.safetensors", BAD,
      "no known layout" },
    { "no_index_no_parts", "rm -r model_index.json vae", KLING_ERROR_NOT_FOUND, "no VAE in" },
};

static void test_damage(size_t i)
{
    REQUIRE(!fresh() && !shell("cd '%s/m' && %s", dir, damages[i].command), "cannot damage");
    refuses_folder(damages[i].status, damages[i].say);
}

static void test_paths(void)
{
    KlingModelParams p = { 0 };
    char vae[600];

    refuses(&p, KLING_ERROR_INVALID_ARG, "no model is given");
    p.model = "";
    refuses(&p, KLING_ERROR_INVALID_ARG, "no model is given");
    p.model = in_dir("nowhere");
    refuses(&p, KLING_ERROR_NOT_FOUND, "nowhere' does not exist");
    p.model = in_dir("tiny");
    p.vae = in_dir("nowhere");
    refuses(&p, KLING_ERROR_NOT_FOUND, "nowhere");
    p.vae = in_dir("tiny/text_encoder");
    refuses(&p, BAD, "is a text encoder, not a VAE");
    p.vae = synthetic_model_path("expand");
    REQUIRE(p.vae, "kling-synth failed");
    snprintf(vae, sizeof(vae), "%s/vae", p.vae);
    p.vae = vae;
    refuses(&p, BAD, "has latents of 8 channels");
    p.vae = NULL;
    p.tokenizer = in_dir("nowhere");
    refuses(&p, KLING_ERROR_NOT_FOUND, "nowhere");
    p = (KlingModelParams){ .model = in_dir("tiny/model_index.json") };
    refuses(&p, BAD, "weight_map");
}

static void test_vae_configs(void)      /* wrong only in two keys at once */
{
    REQUIRE(!fresh() && !edit("vae/config.json", "base_dim", "7") && !edit("vae/config.json", "dim_mult", "[1,1,2,2]"),
            "edit");
    refuses_folder(NOT, "odd number of channels (7)");
    REQUIRE(!fresh() && !edit("vae/config.json", "dim_mult", "[1,2]") &&
            !edit("vae/config.json", "temperal_downsample", NULL), "edit");
    refuses_folder(BAD, "lacks the key \"temperal_downsample\"");
    REQUIRE(!fresh() && !edit("vae/config.json", "is_residual", "true") &&
            !edit("vae/config.json", "dim_mult", "[1,2,2,4]"), "edit");
    refuses_folder(NOT, "shortcut of its encoder from 16 to 32 channels");
    REQUIRE(!fresh() && !edit("vae/config.json", "is_residual", "true") &&
            !edit("vae/config.json", "dim_mult", "[1,1,8,8]"), "edit");
    refuses_folder(NOT, "shortcut of its decoder from 64 to 8 channels");
}

int main(void)
{
    const char *tiny = tiny_model_path();

    if (!scratch_open("model"))
        return 1;
    if (!tiny || shell("cp -r '%s' '%s/tiny'", tiny, dir)) {
        printf("not ok test_model: kling-synth failed\n");
        return 1;
    }
    RUN(test_diffusers);
    RUN(test_odd_and_expand);
    RUN(test_ti2v);
    RUN(test_ti2v_5b);
    RUN(test_sharded);
    RUN(test_original);
    RUN(test_original_sharded);
    RUN(test_repackaged);
    RUN(test_ti2v_forms);
    RUN(test_gguf);
    RUN(test_lora);
    RUN(test_spiece_not_bytes);
    RUN(test_half);
    RUN(test_overrides);
    for (size_t i = 0; i < KL_ARRAY_LEN(edits); i++) {
        char name[128];

        snprintf(name, sizeof(name), "test_config_%.20s_%s_%.12s", edits[i].file, edits[i].key,
                 edits[i].value ? edits[i].value : "absent");
        for (char *c = name; *c; c++)
            *c = strchr(" /:\"", *c) ? '_' : *c;
        NAMED(name, test_edit(i));
    }
    RUN(test_unknown_keys);
    for (size_t i = 0; i < KL_ARRAY_LEN(damages); i++) {
        char name[64];

        snprintf(name, sizeof(name), "test_damage_%s", damages[i].name);
        NAMED(name, test_damage(i));
    }
    RUN(test_vae_configs);
    RUN(test_paths);
    scratch_close();
    return check_exit();
}
