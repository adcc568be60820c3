/*
 * Fuzz target: the readers of JSON configs and of an index of shards.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Input: a byte that chooses the reader, then the file. What is accepted must
 * be in the ranges that everything behind trusts.
 */
#include "engine/model_internal.h"
#include "fuzz.h"

#define READERS 8

static void check_text(const KlTextEncoderConfig *c)
{
    FUZZ_MUST(c->vocab > 0 && c->dim > 0 && c->heads > 0 && c->ffn > 0 && c->layers > 0 && c->eps > 0);
    FUZZ_MUST(c->head_dim > 0 && c->head_dim % 2 == 0 && (int64_t)c->heads * c->head_dim <= 65536);
    FUZZ_MUST(c->rel_buckets >= 4 && c->rel_max_distance > c->rel_buckets / 4);
}

static void check_dit(const KlDitConfig *c)
{
    FUZZ_MUST(c->dim == c->heads * c->head_dim && c->dim > 0 && c->dim <= 65536 && c->head_dim % 2 == 0);
    FUZZ_MUST(c->ffn > 0 && c->layers > 0 && c->layers <= 1024 && c->in_ch > 0 && c->out_ch > 0);
    FUZZ_MUST(c->in_ch == c->out_ch || (c->in_ch > 2 * c->out_ch && c->in_ch <= 2 * c->out_ch + 16));
    FUZZ_MUST(c->image_dim >= 0 && c->image_len >= 0 && c->image_len <= KL_DIT_MAX_IMAGE_LEN);
    FUZZ_MUST(c->image_dim || !c->image_len);
    FUZZ_MUST(c->patch_h > 0 && c->patch_h <= 16 && c->patch_w > 0 && c->patch_w <= 16 && c->eps > 0);
    FUZZ_MUST(c->text_dim > 0 && c->text_len == 512 && c->freq_dim > 0 && c->freq_dim % 2 == 0);
}

static void check_vae(const KlVaeConfig *c)
{
    KlDiag d = { 0 };

    FUZZ_MUST(c->base_dim > 0 && c->base_dim <= 4096 && c->decoder_dim > 0 && c->decoder_dim <= 4096);
    FUZZ_MUST(c->z_dim > 0 && c->z_dim <= KL_VAE_MAX_Z && c->patch >= 0 && c->patch <= KL_VAE_MAX_PATCH);
    FUZZ_MUST(c->levels > 0 && c->levels <= KL_VAE_MAX_LEVELS && c->res_blocks > 0 && c->res_blocks <= 16);
    for (int i = 0; i < c->levels; i++)
        FUZZ_MUST(c->dim_mult[i] > 0 && c->dim_mult[i] <= 64);
    FUZZ_MUST(!kl_vae_check_config(&d, c, "x"));
    for (int i = 0; i < c->z_dim; i++)
        FUZZ_MUST(c->std[i] > 0 && c->std[i] <= 1e6f && c->mean[i] >= -1e6f && c->mean[i] <= 1e6f);
}

static void check_image(const KlImageEncoderConfig *c)
{
    FUZZ_MUST(c->heads > 0 && c->dim % c->heads == 0 && c->dim / c->heads % 2 == 0 && c->ffn > 0 && c->layers > 0);
    FUZZ_MUST(c->patch_px > 0 && c->image_px % c->patch_px == 0 && kl_image_encoder_tokens(c) <= 4097);
    FUZZ_MUST(c->short_px >= c->image_px && c->short_px <= 1 << 16 && c->eps > 0);
    for (int i = 0; i < 3; i++)
        FUZZ_MUST(c->std[i] > 0 && c->std[i] <= 1e6f && c->mean[i] >= -1e6f && c->mean[i] <= 1e6f);
}

static int read_index(KlDiag *d, const char *path)
{
    KlWeights *w;
    char link[128];
    int ret;

    /* an index is known by its ending */
    snprintf(link, sizeof(link), "/tmp/kling-fuzz-%ld.json", (long)getpid());
    unlink(link);
    if (symlink(path, link))
        return 1;
    ret = kl_weights_open(d, &w, link);
    FUZZ_MUST(ret < 0 && !w);           /* no file that it names is there */
    unlink(link);
    return ret;
}

static int read_one(KlDiag *d, int reader, const char *path)
{
    KlTextEncoderConfig text;
    KlDitConfig dit;
    KlVaeConfig vae;
    KlImageEncoderConfig image;
    KlSamplerConfig sampler;
    KlModelDesc desc = { 0 };
    KlPrefs prefs;
    int ret;

    switch (reader) {
    case 0:
        if (!(ret = kl_config_text(d, path, &text)))
            check_text(&text);
        return ret;
    case 1:
        if (!(ret = kl_config_dit(d, path, &dit)))
            check_dit(&dit);
        return ret;
    case 2:
        if (!(ret = kl_config_vae(d, path, &vae)))
            check_vae(&vae);
        return ret;
    case 3:
        if (!(ret = kl_config_scheduler(d, path, &sampler)))
            FUZZ_MUST(sampler.shift > 0 && sampler.shift <= 100 && sampler.train_steps > 0);
        return ret;
    case 4:
        return kl_config_index(d, path, &desc);
    case 5:
        if (!(ret = kl_prefs_read(d, path, &prefs)) && prefs.fps_num)
            FUZZ_MUST(prefs.fps_num > 0 && prefs.fps_den > 0);
        return ret;
    case 6:
        if (!(ret = kl_config_image(d, path, &image)))
            check_image(&image);
        return ret;
    case 7:
        image = (KlImageEncoderConfig){ .dim = 24, .heads = 2, .ffn = 40, .layers = 3, .image_px = 28, .patch_px = 14,
                                        .eps = 1e-5f };
        kl_image_encoder_defaults(&image);
        if (!(ret = kl_config_image_processor(d, path, &image)))
            check_image(&image);
        return ret;
    default:
        return read_index(d, path);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    KlDiag d = { 0 };
    int ret;

    if (!size)
        return 0;
    ret = read_one(&d, data[0] % (READERS + 1), fuzz_file(data + 1, size - 1));
    FUZZ_MUST(ret >= 0 || d.error[0]);
    fuzz_accepted += ret >= 0;
    return 0;
}

static const char *const good[] = {
    "{\"model_type\":\"umt5\",\"d_model\":32,\"d_kv\":8,\"d_ff\":64,\"num_layers\":2,\"num_heads\":4,"
    "\"vocab_size\":768,\"feed_forward_proj\":\"gated-gelu\",\"layer_norm_epsilon\":1e-06,"
    "\"relative_attention_num_buckets\":32,\"relative_attention_max_distance\":128}",
    "{\"_class_name\":\"WanTransformer3DModel\",\"num_attention_heads\":2,\"attention_head_dim\":12,"
    "\"in_channels\":16,\"out_channels\":16,\"text_dim\":32,\"ffn_dim\":64,\"num_layers\":2,\"freq_dim\":64,"
    "\"patch_size\":[1,2,2],\"eps\":1e-06,\"cross_attn_norm\":true,\"image_dim\":null}",
    "{\"_class_name\":\"AutoencoderKLWan\",\"base_dim\":8,\"z_dim\":2,\"dim_mult\":[1,2],\"num_res_blocks\":1,"
    "\"temperal_downsample\":[true],\"latents_mean\":[0.5,-1],\"latents_std\":[1,2],\"attn_scales\":[]}",
    "{\"_class_name\":\"UniPCMultistepScheduler\",\"flow_shift\":3.0,\"use_flow_sigmas\":true,"
    "\"prediction_type\":\"flow_prediction\",\"solver_order\":2,\"num_train_timesteps\":1000}",
    "{\"_class_name\":\"WanPipeline\",\"expand_timesteps\":true,\"transformer_2\":[null,null]}",
    "{\"width\":64,\"height\":48,\"frames\":9,\"fps\":\"30000/1001\",\"steps\":4,\"guidance\":5.0,\"shift\":3}",
    "{\"model_type\":\"clip_vision_model\",\"hidden_size\":24,\"num_attention_heads\":2,\"intermediate_size\":40,"
    "\"num_hidden_layers\":3,\"image_size\":28,\"patch_size\":14,\"hidden_act\":\"gelu\",\"layer_norm_eps\":1e-05}",
    "{\"do_resize\":true,\"resample\":3,\"size\":{\"shortest_edge\":28},\"crop_size\":{\"height\":28,\"width\":28},"
    "\"image_mean\":[0.5,0.4,0.3],\"image_std\":[0.2,0.3,0.4],\"do_normalize\":true}",
    "{\"metadata\":{},\"weight_map\":{\"a\":\"x-1.safetensors\",\"b\":\"x-2.safetensors\"}}",
    "{\"_class_name\":\"AutoencoderKLWan\",\"base_dim\":8,\"decoder_base_dim\":12,\"is_residual\":true,"
    "\"patch_size\":2,\"in_channels\":12,\"out_channels\":12,\"scale_factor_spatial\":4,\"scale_factor_temporal\":2,"
    "\"z_dim\":1,\"dim_mult\":[1,1],\"temperal_downsample\":[true],\"latents_mean\":[0.5],\"latents_std\":[1]}",
};
#define GOOD (sizeof(good) / sizeof(good[0]))   /* the last is a second one for the reader of VAEs */

static size_t good_input(uint8_t *buf, unsigned i)
{
    const size_t n = strlen(good[i]);

    buf[0] = i == GOOD - 1 ? 2 : (uint8_t)i;
    memcpy(buf + 1, good[i], n);
    return n + 1;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    uint8_t buf[512];

    (void)argc;
    (void)argv;
    for (unsigned i = 0; i < GOOD; i++)
        LLVMFuzzerTestOneInput(buf, good_input(buf, i));
    FUZZ_MUST(fuzz_accepted == GOOD - 1);   /* but for the index: no file that it names is there */
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint8_t buf[512];
    const size_t n = good_input(buf, seed / 64 % GOOD);

    return fuzz_mutate(data, size, max_size, seed, buf, n);
}
