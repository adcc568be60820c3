/*
 * How LoRA files name layers: the dialects.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *     transformer.blocks.0.attn1.to_q.lora_A.weight              diffusers, peft
 *     diffusion_model.blocks.0.self_attn.q.lora_down.weight      original names
 *     lora_unet_blocks_0_self_attn_q.lora_down.weight, .alpha    dots as underscores
 *     diffusion_model.blocks.0.self_attn.q.diff, .diff_b         whole matrices and biases
 *     diffusion_model.blocks.0.diff_m                            the modulation table
 *
 * A prefix, a layer's name in one of four spellings, an ending. Tables all.
 */
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "lora_internal.h"
#include "model_internal.h"
#include "safetensors.h"

static const struct {
    const char *suffix;
    KlLoraRole role;
} endings[] = {
    { ".lora_A.weight",         KL_LORA_A }, { ".lora_A.default.weight", KL_LORA_A },
    { ".lora_down.weight",      KL_LORA_A }, { ".lora.down.weight",      KL_LORA_A },
    { ".lora_B.weight",         KL_LORA_B }, { ".lora_B.default.weight", KL_LORA_B },
    { ".lora_up.weight",        KL_LORA_B }, { ".lora.up.weight",        KL_LORA_B },
    { ".alpha",                 KL_LORA_ALPHA },
    { ".diff",                  KL_LORA_DIFF },
    { ".diff_b",                KL_LORA_DIFF_BIAS }, { ".lora_B.bias", KL_LORA_DIFF_BIAS },
    { ".lora_B.default.bias",   KL_LORA_DIFF_BIAS }, { ".lora_up.bias", KL_LORA_DIFF_BIAS },
    { ".diff_m",                KL_LORA_DIFF_TABLE },
};

/* Parts of names of adapters of other kinds: applied as far as one knows them they would give wrong pictures. */
static const char *const others[] = {
    ".dora_scale", ".lora_magnitude_vector", ".hada_w", ".lokr_w", ".lora_mid.", ".oft_blocks", ".set_weight",
    ".reshape_weight", ".w_norm", ".b_norm",
};

static const char *const prefixes[] = {
    "base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer_2.", "transformer.",
    "lora_unet__", "lora_unet_", "lora_transformer_", "pipe.dit.", "dit.", "model.", "unet.",
};

KlLoraRole kl_lora_role(const char *name, size_t *stem)
{
    const size_t n = strlen(name);

    *stem = 0;
    for (size_t i = 0; i < KL_ARRAY_LEN(others); i++)
        if (strstr(name, others[i]))
            return KL_LORA_OTHER;
    for (size_t i = 0; i < KL_ARRAY_LEN(endings); i++) {
        const size_t len = strlen(endings[i].suffix);

        if (n > len && !strcmp(name + n - len, endings[i].suffix)) {
            *stem = n - len;
            return endings[i].role;
        }
    }
    return KL_LORA_NONE;
}

bool kl_lora_is_low(const char *name)
{
    return !strncmp(name, "transformer_2.", 14);
}

static int by_alias(const void *a, const void *b)
{
    const KlLoraAlias *x = a, *y = b;

    return strcmp(x->name, y->name);
}

const KlTensor *kl_lora_layer(const KlLoraNames *names, const char *name, size_t stem)
{
    KlLoraAlias key = { .name = kl_asprintf("%.*s", (int)KL_MIN(stem, 4096), name) };
    const KlLoraAlias *found = NULL;
    char *whole = key.name;

    for (int depth = 0; whole && !found && depth < 3; depth++) {
        size_t skip = 0;

        found = names->n ? bsearch(&key, names->a, (size_t)names->n, sizeof(*names->a), by_alias) : NULL;
        for (size_t i = 0; i < KL_ARRAY_LEN(prefixes) && !skip; i++)
            if (!strncmp(key.name, prefixes[i], strlen(prefixes[i])))
                skip = strlen(prefixes[i]);
        if (!skip && depth)
            break;
        key.name += skip;
    }
    free(whole);
    return found ? found->weight : NULL;
}

/* name[len] and, where it has dots, the same with underscores. */
static int add_alias(KlDiag *d, KlLoraNames *names, const char *name, size_t len, const KlTensor *weight)
{
    for (int under = 0; under < 2; under++) {
        char *s = kl_asprintf("%.*s", (int)len, name);

        if (!s)
            return kl_fail_memory(d, "a layer's name", len);
        for (char *c = s; under && *c; c++)
            *c = *c == '.' ? '_' : *c;
        names->a[names->n++] = (KlLoraAlias){ s, weight };
    }
    return 0;
}

/* The table of a block, "blocks.0.scale_shift_table", or of the head. */
static int add_table(KlDiag *d, KlLoraNames *names, const char *original, const KlTensor *t)
{
    const size_t end = strlen(original) - strlen(".modulation");
    int ret = add_alias(d, names, t->name, strlen(t->name), t);

    if (!ret)
        ret = add_alias(d, names, original, strlen(original), t);
    return ret ? ret : add_alias(d, names, original, end, t);
}

static int add_layer(KlDiag *d, KlLoraNames *names, const KlTensor *t, const KlRename *rules, int n_rules)
{
    static const char weight[] = ".weight", table[] = ".modulation";
    const size_t len = strlen(t->name);
    char *original = kl_rename_backwards(t->name, rules, n_rules);
    const size_t n = original ? strlen(original) : 0;
    int ret = 0;

    if (n > sizeof(table) && !strcmp(original + n - (sizeof(table) - 1), table)) {
        ret = add_table(d, names, original, t);
    } else if (len > sizeof(weight) && !strcmp(t->name + len - (sizeof(weight) - 1), weight)) {
        ret = add_alias(d, names, t->name, len - (sizeof(weight) - 1), t);
        if (!ret && n > sizeof(weight))
            ret = add_alias(d, names, original, n - (sizeof(weight) - 1), t);
    }
    free(original);
    return ret;
}

int kl_lora_names_create(KlDiag *d, KlLoraNames *names, const KlWeights *w)
{
    int n_rules, ret = 0;
    const KlRename *rules = kl_names_original(KL_PART_DIT, false, &n_rules);

    *names = (KlLoraNames){ .a = calloc((size_t)w->n * 6 + 1, sizeof(*names->a)) };
    if (!names->a)
        return kl_fail_memory(d, "the layers' names", ((size_t)w->n * 6 + 1) * sizeof(*names->a));
    for (int i = 0; i < w->n && !ret; i++)
        ret = add_layer(d, names, &w->t[i], rules, n_rules);
    if (ret < 0)
        kl_lora_names_free(names);
    else
        qsort(names->a, (size_t)names->n, sizeof(*names->a), by_alias);
    return ret;
}

void kl_lora_names_free(KlLoraNames *names)
{
    for (int i = 0; i < names->n; i++)
        free(names->a[i].name);
    free(names->a);
    *names = (KlLoraNames){ 0 };
}

/* -- metadata -- */

static int read_adapter(KlDiag *d, const char *where, const char *text, KlLoraAlphas *out)
{
    json_t *root = NULL;
    const char *key;
    json_t *v;
    int ret = kl_json_parse(d, &root, where, text, strlen(text));

    if (ret < 0)
        return ret;
    json_object_foreach(root, key, v) {
        const char *dot = strrchr(key, '.');
        const char *last = dot ? dot + 1 : key;

        if (!strcmp(last, "lora_alpha") && json_is_number(v))
            out->alpha = json_number_value(v);
        else if (!strcmp(last, "use_rslora"))
            out->rslora = json_is_true(v);
        else if (!strcmp(last, "alpha_pattern") && json_object_size(v))
            ret = kl_fail(d, KLING_ERROR_UNSUPPORTED, "the LoRA '%s' has an alpha_pattern: strengths per layer that "
                          "are not in its tensors are not supported", where);
        else if (!strcmp(last, "use_dora") && json_is_true(v))
            ret = kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' is a DoRA, which is not supported: only LoRA is", where);
    }
    json_decref(root);
    if (!ret && !(out->alpha >= 0 && out->alpha < 1e6))
        ret = kl_fail(d, KLING_ERROR_INVALID_DATA, "the LoRA '%s' says that its alpha is %g", where, out->alpha);
    return ret;
}

int kl_lora_read_alphas(KlDiag *d, const KlWeights *lora, KlLoraAlphas *out)
{
    char *text = NULL;
    int ret;

    *out = (KlLoraAlphas){ 0 };
    if (lora->n_maps != 1 || lora->gguf)
        return 0;
    ret = kl_safetensors_metadata(d, lora->path, lora->maps[0].data, lora->maps[0].bytes, "lora_adapter_metadata",
                                  &text);
    if (!ret && text)
        ret = read_adapter(d, lora->path, text, out);
    free(text);
    return ret;
}
