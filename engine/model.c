/*
 * A model folder or file, resolved into its parts and their descriptions.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Three forms open: a diffusers folder (model_index.json), a folder of the
 * original release (the transformer's files at its top), and a transformer's
 * file (safetensors or GGUF) with its parts beside it. Where a part lies stands in model_find.c, what
 * it is in model_config.c (from configs) or model_shapes.c (from tensors).
 */
#include <stdlib.h>
#include <string.h>

#include "gguf.h"
#include "lora.h"
#include "model_internal.h"

/* What an opening model is made from; freed at the end. */
typedef struct Open {
    KlDiag *d;
    const KlingModelParams *params;
    KlModelFiles *f;
    KlModelDesc *desc;
    char *home;                         /* the folder that parts are searched in */
    char *path[KL_PART_NB];             /* of each part */
    KlPrefs prefs;
    KlDitConfig low;                    /* of the second expert: the first's, or refused */
    bool has_index, has_scheduler;
} Open;

/* DIR/NAME if that is a file; *path NULL otherwise. */
static int existing_file(KlDiag *d, const char *dir, const char *name, char **path)
{
    *path = kl_path_join(d, dir, name);
    if (!*path)
        return KLING_ERROR_OUT_OF_MEMORY;
    if (!kl_is_file(*path)) {
        free(*path);
        *path = NULL;
    }
    return 0;
}

static void set_name(KlModelDesc *desc, const char *path)
{
    size_t n = strlen(path), end, len;

    while (n > 1 && path[n - 1] == '/')
        n--;
    for (end = n; n && path[n - 1] != '/'; )
        n--;
    len = KL_MIN(end - n, sizeof(desc->name) - 1);
    memcpy(desc->name, path + n, len);
    desc->name[len] = 0;
    if (len > 12 && !strcmp(desc->name + len - 12, ".safetensors"))
        desc->name[len - 12] = 0;
    else if (len > 5 && !strcmp(desc->name + len - 5, ".gguf"))
        desc->name[len - 5] = 0;
}

static bool given_low(const Open *o)
{
    return o->params->transformer_2 && *o->params->transformer_2;
}

/* Whether there are two experts; known once the transformer's path is. */
static bool has_low(const Open *o)
{
    return o->desc->boundary || o->path[KL_PART_DIT_LOW] || given_low(o);
}

/* A transformer's file: the first of a pair of experts where its name says that it is one of two. */
static int resolve_file(Open *o, const char *path)
{
    char *other;
    bool is_low;
    int ret = kl_find_expert(o->d, path, &is_low, &other);

    if (ret < 0)
        return ret;
    if (other && !kl_is_file(other) && !given_low(o)) {
        ret = kl_fail(o->d, KLING_ERROR_NOT_FOUND, "'%s' is one of two experts, and the other, '%s', is missing: put "
                      "it there", path, other);
        free(other);
        return ret;
    }
    if (is_low) {
        o->path[KL_PART_DIT] = other;
        other = kl_strdup(path);
    } else {
        o->path[KL_PART_DIT] = kl_strdup(path);
    }
    o->path[KL_PART_DIT_LOW] = other;
    return o->path[KL_PART_DIT] && (o->path[KL_PART_DIT_LOW] || !is_low) ? 0
         : kl_fail_memory(o->d, "a file's name", strlen(path));
}

static int find_transformer(Open *o, const char *home)
{
    char *path;
    int ret = kl_find_part(o->d, KL_PART_DIT, home, 0, &path);

    if (ret < 0)
        return ret;
    if (!o->has_index)
        ret = resolve_file(o, path);
    else
        o->path[KL_PART_DIT] = kl_strdup(path);
    if (!ret && !o->path[KL_PART_DIT])
        ret = kl_fail_memory(o->d, "a file's name", strlen(path));
    free(path);
    return ret;
}

/* Sets home, what stands there, and the transformer's path. */
static int resolve_home(Open *o)
{
    const char *model = o->params->model;
    char *index = NULL, *prefs;
    int ret;

    if (!model || !*model)
        return kl_fail(o->d, KLING_ERROR_INVALID_ARG, "no model is given: a folder, or a .safetensors or .gguf file");
    if (!kl_is_dir(model) && !kl_is_file(model))
        return kl_fail(o->d, KLING_ERROR_NOT_FOUND, "the model '%s' does not exist", model);
    set_name(o->desc, model);
    o->home = kl_is_dir(model) ? kl_strdup(model) : kl_path_dir(o->d, model);
    if (!o->home)
        return kl_fail_memory(o->d, "a file's name", strlen(model));
    prefs = kl_path_join(o->d, o->home, "kling.json");
    ret = prefs ? kl_prefs_read(o->d, prefs, &o->prefs) : KLING_ERROR_OUT_OF_MEMORY;
    free(prefs);
    if (ret < 0)
        return ret;
    if (!kl_is_dir(model))
        return resolve_file(o, model);
    ret = existing_file(o->d, model, "model_index.json", &index);
    if (!ret && index) {
        o->has_index = true;
        ret = kl_config_index(o->d, index, o->desc);
    }
    free(index);
    return ret ? ret : find_transformer(o, model);
}

/* The path of a part: given by the user, in the model's folder by its fixed name, or found beside it. */
static int resolve_part(Open *o, KlPart part, const char *given)
{
    char *fixed;

    if (given && *given) {
        free(o->path[part]);
        o->path[part] = kl_strdup(given);
        return o->path[part] ? 0 : kl_fail_memory(o->d, "a file's name", strlen(given));
    }
    if (!o->has_index)
        return kl_find_part(o->d, part, o->home, o->desc->dit.out_ch, &o->path[part]);
    fixed = kl_path_join(o->d, o->home, kl_part_key(part));
    if (!fixed)
        return KLING_ERROR_OUT_OF_MEMORY;
    o->path[part] = fixed;
    if (!kl_is_dir(fixed))
        return kl_fail(o->d, KLING_ERROR_NOT_FOUND, "no %s in '%s': give %s=... or put the folder '%s' there",
                       kl_part_name(part), o->home, kl_part_key(part), kl_part_key(part));
    return 0;
}

/* Description of one part: its folder's config, unless that is of the original release, or its shapes. */
static int describe_part(Open *o, KlPart part, KlWeights *w, bool canonical_config)
{
    KlModelDesc *desc = o->desc;
    char *config = NULL;
    int ret = 0;

    if (canonical_config && kl_is_dir(o->path[part]))
        ret = existing_file(o->d, o->path[part], "config.json", &config);
    if (ret < 0)
        return ret;
    if (part == KL_PART_TEXT)
        ret = config ? kl_config_text(o->d, config, &desc->text) : kl_shapes_text(o->d, w, &desc->text);
    else if (part == KL_PART_DIT || part == KL_PART_DIT_LOW)
        ret = config ? kl_config_dit(o->d, config, part == KL_PART_DIT ? &desc->dit : &o->low)
                     : kl_shapes_dit(o->d, w, o->prefs.head_dim, part == KL_PART_DIT ? &desc->dit : &o->low);
    else if (part == KL_PART_IMAGE)
        ret = config ? kl_config_image(o->d, config, &desc->image)
                     : kl_shapes_image(o->d, w, o->prefs.image_heads, &desc->image);
    else
        ret = config ? kl_config_vae(o->d, config, &desc->vae) : kl_shapes_vae(o->d, w, &desc->vae);
    free(config);
    return ret;
}

static bool is_renamed(const KlWeights *w)
{
    int n;
    const KlTensor *t = kl_weights_all(w, &n);

    for (int i = 0; i < n; i++)
        if (t[i].name != t[i].file_name)
            return true;
    return false;
}

static int open_part(Open *o, KlPart part, KlWeights **w)
{
    int ret = kl_weights_open(o->d, w, o->path[part]);

    if (!ret)
        ret = kl_names_canonical(o->d, *w, part);
    if (ret < 0)
        return ret;
    kl_log(o->d, KLING_LOG_VERBOSE, "%s: '%s', %.4g million parameters", kl_part_name(part), kl_weights_path(*w),
           (double)kl_weights_elements(*w) / 1e6);
    return describe_part(o, part, *w, !is_renamed(*w));
}

/* home/FOLDER/NAME, NULL when there is none. */
static int beside(Open *o, const char *folder, const char *name, char **path)
{
    char *dir = kl_path_join(o->d, o->home, folder);
    int ret = dir ? existing_file(o->d, dir, name, path) : KLING_ERROR_OUT_OF_MEMORY;

    free(dir);
    return ret;
}

/* The parts that only some models have: an image encoder, a second expert. */
static int open_extras(Open *o)
{
    char *path = NULL;
    int ret = 0;

    if (has_low(o)) {
        if (!o->path[KL_PART_DIT_LOW] || given_low(o))
            ret = resolve_part(o, KL_PART_DIT_LOW, o->params->transformer_2);
        if (!ret)
            ret = open_part(o, KL_PART_DIT_LOW, &o->f->dit_low);
        if (!ret)
            ret = kl_lora_attach(o->d, o->f->dit_low, o->params->lora, KL_EXPERT_LOW);
        if (!o->desc->boundary)
            o->desc->boundary = -1;     /* the preferences know it */
    }
    if (!ret && !o->desc->dit.image_dim && o->params->image_encoder && *o->params->image_encoder)
        ret = kl_fail(o->d, KLING_ERROR_INVALID_ARG, "the image encoder '%s' is of no use: the transformer '%s' "
                      "takes none; leave it out", o->params->image_encoder, kl_weights_path(o->f->dit));
    if (ret || !o->desc->dit.image_dim)
        return ret;
    ret = resolve_part(o, KL_PART_IMAGE, o->params->image_encoder);
    if (!ret)
        ret = open_part(o, KL_PART_IMAGE, &o->f->image);
    if (!ret)
        ret = beside(o, "image_processor", "preprocessor_config.json", &path);
    if (!ret && path)
        ret = kl_config_image_processor(o->d, path, &o->desc->image);
    free(path);
    return ret;
}

static int read_scheduler(Open *o)
{
    char *path = NULL;
    int ret = beside(o, "scheduler", "scheduler_config.json", &path);

    if (!ret && path) {
        ret = kl_config_scheduler(o->d, path, &o->desc->sampler);
        o->has_scheduler = true;
    }
    free(path);
    return ret;
}

static int open_spiece(Open *o, const KlTensor *t)
{
    if (t->dtype != KL_FT_U8)
        return kl_fail(o->d, KLING_ERROR_INVALID_DATA, "the tensor '%s' of '%s' is not made of bytes", t->file_name,
                       kl_weights_path(o->f->text));
    return kl_tokenizer_open_memory(o->d, &o->f->tokenizer, t->data, t->bytes, kl_weights_path(o->f->text));
}

/* The one inside the text encoder's file, if there is one. */
static int open_inner_tokenizer(Open *o, const KlTensor *spiece)
{
    if (spiece)
        return open_spiece(o, spiece);
    return kl_tokenizer_open_gguf(o->d, &o->f->tokenizer, kl_weights_gguf(o->f->text), kl_weights_path(o->f->text));
}

/* Given; in the model's folder; inside the text encoder's file; beside it. */
static int open_tokenizer(Open *o)
{
    const KlTensor *t = kl_weights_find(o->f->text, "spiece_model");
    const bool inner = t || kl_gguf_find(kl_weights_gguf(o->f->text), "tokenizer.ggml.tokens");
    char *path = NULL, *near_text;
    int ret = 0;

    if (o->params->tokenizer && *o->params->tokenizer)
        return kl_tokenizer_open(o->d, &o->f->tokenizer, o->params->tokenizer);
    if (o->has_index || !inner)
        ret = kl_find_tokenizer(o->d, o->home, &path);
    if (!ret && !path && inner)
        return open_inner_tokenizer(o, t);
    if (!ret && !path) {
        near_text = kl_path_dir(o->d, o->path[KL_PART_TEXT]);
        ret = near_text ? kl_find_tokenizer(o->d, near_text, &path) : KLING_ERROR_OUT_OF_MEMORY;
        free(near_text);
    }
    if (!ret && !path)
        ret = kl_fail(o->d, KLING_ERROR_NOT_FOUND, "no tokenizer in '%s' or beside '%s': give tokenizer=... (a "
                      "spiece.model or tokenizer.json)", o->home, o->path[KL_PART_TEXT]);
    if (!ret)
        ret = kl_tokenizer_open(o->d, &o->f->tokenizer, path);
    free(path);
    return ret;
}

/* What the transformer is shown of pictures is what its parts give. */
static int check_pictures(Open *o)
{
    const KlModelDesc *c = o->desc;
    const char *dit = kl_weights_path(o->f->dit);
    const int tokens = o->f->image ? kl_image_encoder_tokens(&c->image) : 0;
    int unit = 1;

    for (int l = 0; l + 1 < c->vae.levels; l++)
        unit <<= c->vae.temporal_down[l];
    if (c->dit.in_ch != c->dit.out_ch && c->dit.in_ch != 2 * c->vae.z_dim + unit)
        return kl_fail(o->d, KLING_ERROR_INVALID_DATA, "the transformer '%s' takes %d channels, which are not %d of "
                       "noise, %d of a mask and %d of pictures as the VAE '%s' would have them", dit, c->dit.in_ch,
                       c->vae.z_dim, unit, c->vae.z_dim, kl_weights_path(o->f->vae));
    if (c->dit.in_ch != c->dit.out_ch && (c->expand_timesteps || o->prefs.expand_timesteps > 0))
        return kl_fail(o->d, KLING_ERROR_INVALID_DATA, "the transformer '%s' takes pictures as channels, but the "
                       "model's config says \"expand_timesteps\", which puts them in the noise's place", dit);
    if (!tokens)
        return 0;
    if (c->dit.in_ch == c->dit.out_ch)
        return kl_fail(o->d, KLING_ERROR_UNSUPPORTED, "the transformer '%s' takes an image encoder's rows, but no "
                       "channels with a picture's latents", dit);
    if (c->image.dim != c->dit.image_dim)
        return kl_fail(o->d, KLING_ERROR_INVALID_DATA, "the image encoder '%s' gives rows of %d values, the "
                       "transformer '%s' takes %d", kl_weights_path(o->f->image), c->image.dim, dit, c->dit.image_dim);
    if (c->dit.image_len && c->dit.image_len != tokens && c->dit.image_len != 2 * tokens)
        return kl_fail(o->d, KLING_ERROR_INVALID_DATA, "the image encoder '%s' gives %d rows for a picture, the "
                       "transformer '%s' takes %d, which are neither one picture's nor two's",
                       kl_weights_path(o->f->image), tokens, dit, c->dit.image_len);
    return 0;
}

static int check_experts(Open *o)
{
    const KlDitConfig *a = &o->desc->dit, *b = &o->low;

    if (!o->f->dit_low)
        return 0;
    if (a->dim != b->dim || a->heads != b->heads || a->ffn != b->ffn || a->layers != b->layers ||
        a->in_ch != b->in_ch || a->out_ch != b->out_ch || a->text_dim != b->text_dim || a->freq_dim != b->freq_dim ||
        a->patch_h != b->patch_h || a->patch_w != b->patch_w || a->eps != b->eps ||
        a->cross_attn_norm != b->cross_attn_norm || a->image_dim != b->image_dim || a->image_len != b->image_len)
        return kl_fail(o->d, KLING_ERROR_INVALID_DATA, "the experts '%s' and '%s' are not of one model: %d and %d "
                       "wide, %d and %d layers, %d and %d channels", kl_weights_path(o->f->dit),
                       kl_weights_path(o->f->dit_low), a->dim, b->dim, a->layers, b->layers, a->in_ch, b->in_ch);
    return 0;
}

/* The parts belong together. */
static int check_together(Open *o)
{
    const KlModelDesc *c = o->desc;
    const char *dit = kl_weights_path(o->f->dit);
    int ret;

    if (c->text.dim != c->dit.text_dim)
        return kl_fail(o->d, KLING_ERROR_INVALID_DATA, "the text encoder '%s' gives %d values per token, the "
                       "transformer '%s' takes %d", kl_weights_path(o->f->text), c->text.dim, dit, c->dit.text_dim);
    if (c->vae.z_dim != c->dit.out_ch)
        return kl_fail(o->d, KLING_ERROR_INVALID_DATA, "the VAE '%s' has latents of %d channels, the transformer '%s' "
                       "works on %d", kl_weights_path(o->f->vae), c->vae.z_dim, dit, c->dit.out_ch);
    if (kl_tokenizer_vocab(o->f->tokenizer) > c->text.vocab)
        return kl_fail(o->d, KLING_ERROR_INVALID_DATA, "the tokenizer has %d pieces, the text encoder '%s' knows %d",
                       kl_tokenizer_vocab(o->f->tokenizer), kl_weights_path(o->f->text), c->text.vocab);
    ret = check_experts(o);
    return ret ? ret : check_pictures(o);
}

static int open_all(Open *o)
{
    int ret = resolve_home(o);

    if (!ret)
        ret = open_part(o, KL_PART_DIT, &o->f->dit);
    if (!ret)
        ret = kl_lora_attach(o->d, o->f->dit, o->params->lora, has_low(o) ? KL_EXPERT_HIGH : KL_EXPERT_ONLY);
    if (!ret)
        ret = resolve_part(o, KL_PART_TEXT, o->params->text_encoder);
    if (!ret)
        ret = resolve_part(o, KL_PART_VAE, o->params->vae);
    if (!ret)
        ret = open_part(o, KL_PART_TEXT, &o->f->text);
    if (!ret)
        ret = open_part(o, KL_PART_VAE, &o->f->vae);
    if (!ret)
        ret = open_extras(o);
    if (!ret)
        ret = read_scheduler(o);
    if (!ret)
        ret = open_tokenizer(o);
    return ret ? ret : check_together(o);
}

int kl_model_files_open(KlDiag *d, KlModelFiles *f, KlModelDesc *desc, const KlingModelParams *params)
{
    Open o = { .d = d, .params = params, .f = f, .desc = desc };
    int ret;

    *f = (KlModelFiles){ 0 };
    *desc = (KlModelDesc){ 0 };
    ret = open_all(&o);
    if (!ret)
        kl_prefs_apply(desc, &o.prefs, f->dit, o.has_scheduler, o.has_index);
    else
        kl_model_files_close(f);
    free(o.home);
    for (int i = 0; i < KL_PART_NB; i++)
        free(o.path[i]);
    return ret;
}

void kl_model_files_close(KlModelFiles *f)
{
    kl_weights_close(&f->text);
    kl_weights_close(&f->dit);
    kl_weights_close(&f->vae);
    kl_weights_close(&f->dit_low);
    kl_weights_close(&f->image);
    kl_tokenizer_close(&f->tokenizer);
}
