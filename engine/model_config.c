/*
 * Descriptions of a model's parts from their JSON configs.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Keys that are not known are ignored, as their libraries do; those that change
 * what is computed in a way that this engine does not know are refused.
 */
#include <math.h>
#include <string.h>

#include "json.h"
#include "model_internal.h"

#define MAX_DIM 65536                   /* of any layer */
#define MAX_LAYERS 1024
#define MIN_BOUNDARY 1e-6
#define MAX_TIME_FACTOR 16              /* of a VAE */

/* One int member of a config struct. */
typedef struct IntKey {
    const char *key;
    size_t offset;
    int64_t def;                        /* or KL_JSON_REQUIRED */
    int64_t min, max;
} IntKey;

static int read_ints(KlDiag *d, const json_t *root, const char *path, const IntKey *keys, size_t n, void *cfg)
{
    int ret = 0;

    for (size_t i = 0; i < n && !ret; i++)
        ret = kl_json_int(d, root, path, keys[i].key, keys[i].def, keys[i].min, keys[i].max,
                          (int *)((char *)cfg + keys[i].offset));
    return ret;
}

static int unsupported(KlDiag *d, const char *path, const char *what)
{
    return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' describes %s, which is not supported", path, what);
}

/* key must be absent, off, or the string `want`. */
static int want_string(KlDiag *d, const json_t *root, const char *path, const char *key, const char *want)
{
    const char *s;
    int ret = kl_json_string(d, root, path, key, &s);

    if (!ret && s && strcmp(s, want))
        ret = kl_fail(d, KLING_ERROR_UNSUPPORTED, "\"%s\" in '%s' is \"%s\"; only \"%s\" is supported", key, path, s,
                      want);
    return ret;
}

static int read_eps(KlDiag *d, const json_t *root, const char *path, const char *key, float *out)
{
    double x;
    int ret = kl_json_real(d, root, path, key, 1e-6, 1e-12, 0.1, &x);

    *out = (float)x;
    return ret;
}

/* -- text encoder -- */

static int check_text(KlDiag *d, const char *where, const KlTextEncoderConfig *c)
{
    if (c->head_dim % 2)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' wants heads of odd size %d", where, c->head_dim);
    if (c->heads > MAX_DIM / c->head_dim)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' wants %d heads of %d: too many", where, c->heads,
                       c->head_dim);
    if (c->rel_buckets % 4 || c->rel_max_distance <= c->rel_buckets / 4)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' has impossible relative positions: %d buckets up to %d",
                       where, c->rel_buckets, c->rel_max_distance);
    return 0;
}

static int read_text(KlDiag *d, const json_t *root, const char *path, KlTextEncoderConfig *c)
{
#define AT(m) offsetof(KlTextEncoderConfig, m)
    static const IntKey keys[] = {
        { "vocab_size", AT(vocab),    KL_JSON_REQUIRED, 1, 1 << 24 },
        { "d_model",    AT(dim),      KL_JSON_REQUIRED, 1, MAX_DIM },
        { "num_heads",  AT(heads),    KL_JSON_REQUIRED, 1, MAX_DIM },
        { "d_kv",       AT(head_dim), KL_JSON_REQUIRED, 1, 1024 },
        { "d_ff",       AT(ffn),      KL_JSON_REQUIRED, 1, 1 << 20 },
        { "num_layers", AT(layers),   KL_JSON_REQUIRED, 1, MAX_LAYERS },
        { "relative_attention_num_buckets",  AT(rel_buckets),       32, 4, 4096 },
        { "relative_attention_max_distance", AT(rel_max_distance), 128, 2, 1 << 20 },
    };
#undef AT
    int ret = want_string(d, root, path, "model_type", "umt5");

    if (!ret)
        ret = want_string(d, root, path, "feed_forward_proj", "gated-gelu");
    if (!ret)
        ret = want_string(d, root, path, "dense_act_fn", "gelu_new");
    if (!ret)
        ret = read_ints(d, root, path, keys, KL_ARRAY_LEN(keys), c);
    if (!ret)
        ret = read_eps(d, root, path, "layer_norm_epsilon", &c->eps);
    return ret ? ret : check_text(d, path, c);
}

/* -- transformer -- */

static int check_dit(KlDiag *d, const char *where, const KlDitConfig *c)
{
    if (c->head_dim % 2 || c->head_dim < 6)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' wants heads of size %d; even sizes from 6 can be rotated",
                       where, c->head_dim);
    if (c->heads > MAX_DIM / c->head_dim)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' wants %d heads of %d: too many", where, c->heads,
                       c->head_dim);
    if (c->freq_dim % 2)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' has the odd freq_dim %d", where, c->freq_dim);
    if (c->in_ch != c->out_ch && (c->in_ch <= 2 * c->out_ch || c->in_ch > 2 * c->out_ch + MAX_TIME_FACTOR))
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' has %d input and %d output channels: neither a text-to-video "
                       "nor an image-to-video transformer", where, c->in_ch, c->out_ch);
    if (c->image_len && !c->image_dim)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' has positions for an image encoder's rows, but no width of "
                       "them", where);
    return 0;
}

static int read_patch(KlDiag *d, const json_t *root, const char *path, KlDitConfig *c)
{
    const json_t *a;
    int p[3] = { 1, 2, 2 };
    int ret = kl_json_array(d, root, path, "patch_size", 3, 3, &a);

    if (ret < 0)
        return ret;
    for (size_t i = 0; i < 3 && a; i++) {
        const json_t *v = json_array_get(a, i);

        if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > 16)
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "\"patch_size\" in '%s' is not made of numbers in 1..16", path);
        p[i] = (int)json_integer_value(v);
    }
    if (p[0] != 1)
        return unsupported(d, path, "patches of more than one latent frame");
    c->patch_h = p[1];
    c->patch_w = p[2];
    return 0;
}

static int refuse_dit(KlDiag *d, const json_t *root, const char *path)
{
    if (!kl_json_is_off(root, "vace_layers") || !kl_json_is_off(root, "vace_in_channels"))
        return unsupported(d, path, "a VACE editing model");
    if (!kl_json_is_off(root, "quantization_config"))
        return unsupported(d, path, "a quantized model");
    return 0;
}

static int read_dit(KlDiag *d, const json_t *root, const char *path, KlDitConfig *c)
{
#define AT(m) offsetof(KlDitConfig, m)
    static const IntKey keys[] = {
        { "num_attention_heads", AT(heads),    KL_JSON_REQUIRED, 1, MAX_DIM },
        { "attention_head_dim",  AT(head_dim), KL_JSON_REQUIRED, 1, 1024 },
        { "ffn_dim",             AT(ffn),      KL_JSON_REQUIRED, 1, 1 << 20 },
        { "num_layers",          AT(layers),   KL_JSON_REQUIRED, 1, MAX_LAYERS },
        { "in_channels",         AT(in_ch),    KL_JSON_REQUIRED, 1, 1024 },
        { "text_dim",            AT(text_dim), KL_JSON_REQUIRED, 1, MAX_DIM },
        { "freq_dim",            AT(freq_dim),              256, 2, MAX_DIM },
        { "rope_max_seq_len",    AT(rope_max_len),         1024, 1, 1 << 24 },
        { "image_dim",           AT(image_dim),               0, 0, MAX_DIM },
        { "pos_embed_seq_len",   AT(image_len),               0, 0, KL_DIT_MAX_IMAGE_LEN },
    };
#undef AT
    int added = 0, ret = refuse_dit(d, root, path);

    if (!ret)
        ret = want_string(d, root, path, "_class_name", "WanTransformer3DModel");
    if (!ret)
        ret = want_string(d, root, path, "qk_norm", "rms_norm_across_heads");
    if (!ret)
        ret = read_ints(d, root, path, keys, KL_ARRAY_LEN(keys), c);
    if (!ret)
        ret = kl_json_int(d, root, path, "added_kv_proj_dim", 0, 0, MAX_DIM, &added);
    if (!ret && added != (c->image_dim ? c->heads * c->head_dim : 0))
        ret = kl_fail(d, KLING_ERROR_UNSUPPORTED, "\"added_kv_proj_dim\" in '%s' is %d: with \"image_dim\" %d, only %d "
                      "is supported", path, added, c->image_dim, c->image_dim ? c->heads * c->head_dim : 0);
    if (!ret)
        ret = kl_json_int(d, root, path, "out_channels", c->in_ch, 1, 1024, &c->out_ch);
    if (!ret)
        ret = kl_json_bool(d, root, path, "cross_attn_norm", true, &c->cross_attn_norm);
    if (!ret)
        ret = read_eps(d, root, path, "eps", &c->eps);
    if (!ret)
        ret = read_patch(d, root, path, c);
    if (!ret)
        ret = check_dit(d, path, c);
    c->dim = ret ? 0 : c->heads * c->head_dim;
    c->text_len = 512;
    return ret;
}

/* -- VAE -- */

static int read_levels(KlDiag *d, const json_t *root, const char *path, KlVaeConfig *c)
{
    static const int mult[] = { 1, 2, 4, 4 };
    static const bool down[] = { false, true, true };
    const json_t *m, *t;
    int ret = kl_json_array(d, root, path, "dim_mult", 1, KL_VAE_MAX_LEVELS, &m);

    if (ret < 0)
        return ret;
    c->levels = m ? (int)json_array_size(m) : 4;
    ret = kl_json_array(d, root, path, "temperal_downsample", (size_t)c->levels - 1, (size_t)c->levels - 1, &t);
    if (ret < 0)
        return ret;
    if (!t && c->levels != 4)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' lacks the key \"temperal_downsample\"", path);
    for (int i = 0; i < c->levels; i++) {
        const json_t *v = json_array_get(m, (size_t)i);

        if (m && (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > 64))
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "\"dim_mult\" in '%s' is not made of whole numbers in 1..64",
                           path);
        c->dim_mult[i] = m ? (int)json_integer_value(v) : mult[i];
        if (i == c->levels - 1)
            break;
        v = json_array_get(t, (size_t)i);
        if (t && !json_is_boolean(v))
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "\"temperal_downsample\" in '%s' is not made of true and false",
                           path);
        c->temporal_down[i] = t ? json_is_true(v) : down[i];
    }
    return 0;
}

static int read_stats(KlDiag *d, const json_t *root, const char *path, const char *key, int n, double min, float *out)
{
    const json_t *a;
    int ret = kl_json_array(d, root, path, key, (size_t)n, (size_t)n, &a);

    if (ret < 0)
        return ret;
    if (!a)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' lacks the key \"%s\"", path, key);
    for (int i = 0; i < n; i++) {
        const json_t *v = json_array_get(a, (size_t)i);
        double x = json_number_value(v);

        if (!json_is_number(v) || !(x >= min && x <= 1e6))
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "\"%s\" in '%s' is not made of numbers in %g..1e6", key, path,
                           min);
        out[i] = (float)x;
    }
    return 0;
}

/* Pictures as the convolutions see them: patches, whose channels the config counts as well. */
static int read_pictures(KlDiag *d, const json_t *root, const char *path, KlVaeConfig *c)
{
    const json_t *scales = json_object_get(root, "attn_scales");
    int in, out, patch = 0, colours;
    int ret = kl_json_bool(d, root, path, "is_residual", false, &c->residual);

    if (!ret)
        ret = kl_json_int(d, root, path, "patch_size", 1, 1, KL_VAE_MAX_PATCH, &patch);
    colours = 3 * patch * patch;
    if (!ret)
        ret = kl_json_int(d, root, path, "in_channels", 3, 1, 4096, &in);
    if (!ret)
        ret = kl_json_int(d, root, path, "out_channels", 3, 1, 4096, &out);
    if (ret < 0)
        return ret;
    if (in != colours || out != colours)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' describes a VAE of pictures that are not RGB: %d channels in, "
                       "%d out, in patches of %dx%d pixels", path, in, out, patch, patch);
    if (json_is_array(scales) && json_array_size(scales))
        return unsupported(d, path, "a VAE with attention outside its middle block");
    c->patch = patch > 1 ? patch : 0;
    return 0;
}

/* What a config says of the compression is what its levels do; the reference sizes its latents by it. */
static int check_scale(KlDiag *d, const json_t *root, const char *path, const KlVaeConfig *c)
{
    const int space = (c->patch ? c->patch : 1) << (c->levels - 1);
    int time = 1, said_space, said_time, ret;

    for (int l = 0; l < c->levels - 1; l++)
        time <<= c->temporal_down[l];
    ret = kl_json_int(d, root, path, "scale_factor_spatial", space, 1, 1 << 20, &said_space);
    if (!ret)
        ret = kl_json_int(d, root, path, "scale_factor_temporal", time, 1, 1 << 20, &said_time);
    if (!ret && (said_space != space || said_time != time))
        ret = kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' says that latents are %d times smaller and %d times fewer "
                      "than pictures, its levels make them %d times smaller and %d times fewer", path, said_space,
                      said_time, space, time);
    return ret;
}

static int read_vae(KlDiag *d, const json_t *root, const char *path, KlVaeConfig *c)
{
#define AT(m) offsetof(KlVaeConfig, m)
    static const IntKey keys[] = {
        { "base_dim",         AT(base_dim),    96, 1, 4096 },
        { "decoder_base_dim", AT(decoder_dim),  0, 1, 4096 },
        { "z_dim",            AT(z_dim),       16, 1, KL_VAE_MAX_Z },
        { "num_res_blocks",   AT(res_blocks),   2, 1, 16 },
    };
#undef AT
    int ret = want_string(d, root, path, "_class_name", "AutoencoderKLWan");

    if (!ret)
        ret = read_ints(d, root, path, keys, KL_ARRAY_LEN(keys), c);
    if (!ret && !c->decoder_dim)
        c->decoder_dim = c->base_dim;
    if (!ret)
        ret = read_pictures(d, root, path, c);
    if (!ret)
        ret = read_levels(d, root, path, c);
    if (!ret)
        ret = check_scale(d, root, path, c);
    if (!ret)
        ret = read_stats(d, root, path, "latents_mean", c->z_dim, -1e6, c->mean);
    if (!ret)
        ret = read_stats(d, root, path, "latents_std", c->z_dim, 1e-6, c->std);
    return ret ? ret : kl_vae_check_config(d, c, path);
}

/* -- image encoder -- */

static int check_image(KlDiag *d, const char *where, const KlImageEncoderConfig *c)
{
    if (c->dim % c->heads || c->dim / c->heads % 2 || c->dim / c->heads > 1024)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' wants %d heads of a width of %d, which cannot be", where,
                       c->heads, c->dim);
    if (c->image_px % c->patch_px || c->image_px / c->patch_px > 64)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' wants pictures of %d pixels cut into patches of %d, which "
                       "cannot be", where, c->image_px, c->patch_px);
    return 0;
}

static int read_image(KlDiag *d, const json_t *root, const char *path, KlImageEncoderConfig *c)
{
#define AT(m) offsetof(KlImageEncoderConfig, m)
    static const IntKey keys[] = {
        { "hidden_size",         AT(dim),      KL_JSON_REQUIRED, 2, MAX_DIM },
        { "num_attention_heads", AT(heads),    KL_JSON_REQUIRED, 1, MAX_DIM },
        { "intermediate_size",   AT(ffn),      KL_JSON_REQUIRED, 1, 1 << 20 },
        { "num_hidden_layers",   AT(layers),   KL_JSON_REQUIRED, 1, MAX_LAYERS },
        { "image_size",          AT(image_px), KL_JSON_REQUIRED, 1, 4096 },
        { "patch_size",          AT(patch_px), KL_JSON_REQUIRED, 1, 4096 },
    };
#undef AT
    double eps = 0;
    int ret = want_string(d, root, path, "model_type", "clip_vision_model");

    if (!ret)
        ret = want_string(d, root, path, "hidden_act", "gelu");
    if (!ret && !kl_json_is_off(root, "quantization_config"))
        ret = unsupported(d, path, "a quantized model");
    if (!ret)
        ret = read_ints(d, root, path, keys, KL_ARRAY_LEN(keys), c);
    if (!ret)
        ret = kl_json_real(d, root, path, "layer_norm_eps", 1e-5, 1e-12, 0.1, &eps);
    c->eps = (float)eps;
    kl_image_encoder_defaults(c);
    return ret ? ret : check_image(d, path, c);
}

/* A step of the preprocessing that every released model has switched on. */
static int want_step(KlDiag *d, const json_t *root, const char *path, const char *key)
{
    bool on;
    int ret = kl_json_bool(d, root, path, key, true, &on);

    return ret || on ? ret : kl_fail(d, KLING_ERROR_UNSUPPORTED, "\"%s\" in '%s' is off, which is not supported", key,
                                     path);
}

static int read_image_processor(KlDiag *d, const json_t *root, const char *path, KlImageEncoderConfig *c)
{
    static const char *const steps[] = { "do_resize", "do_center_crop", "do_rescale", "do_normalize" };
    const json_t *size = json_object_get(root, "size"), *crop = json_object_get(root, "crop_size");
    int resample = 3, height = c->image_px, width = c->image_px, ret = 0;

    for (size_t i = 0; i < KL_ARRAY_LEN(steps) && !ret; i++)
        ret = want_step(d, root, path, steps[i]);
    if (!ret)
        ret = kl_json_int(d, root, path, "resample", 3, 0, 5, &resample);
    if (!ret && resample != 3)
        ret = kl_fail(d, KLING_ERROR_UNSUPPORTED, "\"resample\" in '%s' is %d; only 3 (bicubic) is supported", path,
                      resample);
    if (!ret)
        ret = kl_json_int(d, size, path, "shortest_edge", c->image_px, 1, 1 << 16, &c->short_px);
    if (!ret && json_is_object(crop))
        ret = kl_json_int(d, crop, path, "height", height, 1, 1 << 16, &height);
    if (!ret && json_is_object(crop))
        ret = kl_json_int(d, crop, path, "width", width, 1, 1 << 16, &width);
    if (!ret && (height != c->image_px || width != c->image_px || c->short_px < c->image_px))
        ret = kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' crops %dx%d of pictures whose shorter side is %d; the image "
                      "encoder takes %dx%d", path, width, height, c->short_px, c->image_px, c->image_px);
    if (!ret && json_object_get(root, "image_mean"))
        ret = read_stats(d, root, path, "image_mean", 3, -1e6, c->mean);
    if (!ret && json_object_get(root, "image_std"))
        ret = read_stats(d, root, path, "image_std", 3, 1e-6, c->std);
    return ret;
}

/* -- scheduler -- */

static int read_unipc(KlDiag *d, const json_t *root, const char *path, KlSamplerConfig *c)
{
    bool flow;
    int ret = want_string(d, root, path, "prediction_type", "flow_prediction");

    if (!ret)
        ret = kl_json_bool(d, root, path, "use_flow_sigmas", false, &flow);
    if (!ret && !flow)
        ret = unsupported(d, path, "a UniPC sampler without use_flow_sigmas");
    if (!ret)
        ret = want_string(d, root, path, "solver_type", "bh2");
    if (!ret)
        ret = kl_json_int(d, root, path, "solver_order", 2, 1, 2, &c->solver_order);
    if (!ret)
        ret = kl_json_bool(d, root, path, "lower_order_final", true, &c->lower_order_final);
    return ret ? ret : kl_json_real(d, root, path, "flow_shift", 1.0, 1e-3, 100, &c->shift);
}

static int read_scheduler(KlDiag *d, const json_t *root, const char *path, KlSamplerConfig *c)
{
    const char *name;
    int ret = kl_json_string(d, root, path, "_class_name", &name);

    if (!ret)
        ret = kl_json_int(d, root, path, "num_train_timesteps", 1000, 1, 1 << 20, &c->train_steps);
    if (!ret && !kl_json_is_off(root, "use_dynamic_shifting"))
        ret = unsupported(d, path, "a sampler with dynamic shifting");
    if (ret < 0)
        return ret;
    if (name && !strcmp(name, "UniPCMultistepScheduler")) {
        c->kind = KLING_SAMPLER_UNIPC;
        return read_unipc(d, root, path, c);
    }
    if (name && !strcmp(name, "FlowMatchEulerDiscreteScheduler")) {
        c->kind = KLING_SAMPLER_EULER;
        return kl_json_real(d, root, path, "shift", 1.0, 1e-3, 100, &c->shift);
    }
    kl_log(d, KLING_LOG_WARNING, "'%s' names the scheduler \"%s\", which is not known: UniPC is used instead", path,
           name ? name : "");
    c->kind = KLING_SAMPLER_UNIPC;
    return kl_json_real(d, root, path, "flow_shift", 3.0, 1e-3, 100, &c->shift);
}

/* -- doors -- */

int kl_config_text(KlDiag *d, const char *path, KlTextEncoderConfig *c)
{
    json_t *root;
    int ret = kl_json_load(d, &root, path);

    *c = (KlTextEncoderConfig){ 0 };
    if (!ret)
        ret = read_text(d, root, path, c);
    json_decref(root);
    return ret;
}

int kl_config_dit(KlDiag *d, const char *path, KlDitConfig *c)
{
    json_t *root;
    int ret = kl_json_load(d, &root, path);

    *c = (KlDitConfig){ 0 };
    if (!ret)
        ret = read_dit(d, root, path, c);
    json_decref(root);
    return ret;
}

int kl_config_vae(KlDiag *d, const char *path, KlVaeConfig *c)
{
    json_t *root;
    int ret = kl_json_load(d, &root, path);

    *c = (KlVaeConfig){ 0 };
    if (!ret)
        ret = read_vae(d, root, path, c);
    json_decref(root);
    return ret;
}

int kl_config_image(KlDiag *d, const char *path, KlImageEncoderConfig *c)
{
    json_t *root;
    int ret = kl_json_load(d, &root, path);

    *c = (KlImageEncoderConfig){ 0 };
    if (!ret)
        ret = read_image(d, root, path, c);
    json_decref(root);
    return ret;
}

int kl_config_image_processor(KlDiag *d, const char *path, KlImageEncoderConfig *c)
{
    json_t *root;
    int ret = kl_json_load(d, &root, path);

    if (!ret)
        ret = read_image_processor(d, root, path, c);
    json_decref(root);
    return ret;
}

int kl_config_scheduler(KlDiag *d, const char *path, KlSamplerConfig *c)
{
    json_t *root;
    int ret = kl_json_load(d, &root, path);

    *c = (KlSamplerConfig){ .solver_order = 2, .lower_order_final = true };
    if (!ret)
        ret = read_scheduler(d, root, path, c);
    json_decref(root);
    return ret;
}

static bool names_a_class(const json_t *root, const char *key)
{
    return json_is_string(json_array_get(json_object_get(root, key), 1));
}

int kl_config_index(KlDiag *d, const char *path, KlModelDesc *desc)
{
    json_t *root;
    const char *name = NULL;
    int ret = kl_json_load(d, &root, path);

    if (!ret)
        ret = kl_json_string(d, root, path, "_class_name", &name);
    if (!ret && name && strcmp(name, "WanPipeline") && strcmp(name, "WanImageToVideoPipeline"))
        ret = kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' describes a %s; only WanPipeline and WanImageToVideoPipeline "
                      "are supported", path, name);
    if (!ret && json_object_get(root, "boundary_ratio") && !json_is_null(json_object_get(root, "boundary_ratio")))
        ret = kl_json_real(d, root, path, "boundary_ratio", 0, MIN_BOUNDARY, 1, &desc->boundary);
    if (!ret && !!desc->boundary != names_a_class(root, "transformer_2"))
        ret = kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' has %s: two experts need both", path,
                      desc->boundary ? "a \"boundary_ratio\", but no \"transformer_2\""
                                     : "a \"transformer_2\", but no \"boundary_ratio\"");
    if (!ret)
        ret = kl_json_bool(d, root, path, "expand_timesteps", false, &desc->expand_timesteps);
    json_decref(root);
    return ret;
}

int kl_config_check(KlDiag *d, const char *where, const KlTextEncoderConfig *t, const KlDitConfig *dit,
                    const KlVaeConfig *v)
{
    int ret = t ? check_text(d, where, t) : 0;

    if (!ret && dit)
        ret = check_dit(d, where, dit);
    return ret || !v ? ret : kl_vae_check_config(d, v, where);
}
