/*
 * Scales that files keep beside fp8 and int8 tensors.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For a tensor X.weight:
 *     X.scale_weight or X.weight_scale   one number, or one per row: the values are stored * scale
 *     X.scale_input or X.input_scale     for products in fp8, which are not done here: left out
 *     X.comfy_quant                      bytes of JSON that name the format
 *     scaled_fp8                         an empty tensor that marks such a file: left out
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "kernels/quants.h"
#include "weights_internal.h"

typedef enum Role { ROLE_NONE, ROLE_SCALE, ROLE_IGNORED, ROLE_FORMAT, ROLE_UNKNOWN } Role;

/* *stem: length of the name without the suffix. */
static Role role_of(const char *name, size_t *stem)
{
    static const struct {
        const char *suffix;
        Role role;
    } roles[] = {
        { ".scale_weight",   ROLE_SCALE },   { ".weight_scale", ROLE_SCALE },
        { ".scale_input",    ROLE_IGNORED }, { ".input_scale",  ROLE_IGNORED },
        { ".comfy_quant",    ROLE_FORMAT },  { ".scaled_fp8",   ROLE_IGNORED },
        { ".weight_scale_2", ROLE_UNKNOWN }, { ".weight_zero_point", ROLE_UNKNOWN },
    };
    const size_t n = strlen(name);

    *stem = 0;
    if (!strcmp(name, "scaled_fp8"))
        return ROLE_IGNORED;
    for (size_t i = 0; i < KL_ARRAY_LEN(roles); i++) {
        const size_t len = strlen(roles[i].suffix);

        if (n > len && !strcmp(name + n - len, roles[i].suffix)) {
            *stem = n - len;
            return roles[i].role;
        }
    }
    return ROLE_NONE;
}

static int check_format(KlDiag *d, const KlWeights *w, const KlTensor *t)
{
    static const char *const known[] = { "float8_e4m3fn", "float8_e5m2", "int8", "int8_rowwise" };
    const char *format = NULL;
    json_t *root = NULL;
    int ret = t->dtype == KL_FT_U8 ? kl_json_parse(d, &root, t->name, t->data, t->bytes) : KLING_ERROR_INVALID_DATA;

    if (!ret)
        format = json_string_value(json_object_get(root, "format"));
    if (!format) {
        ret = kl_fail(d, KLING_ERROR_INVALID_DATA, "tensor '%s' in '%s' does not name a format", t->name, w->path);
    } else {
        ret = kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' is quantized as \"%s\", which is not supported: use the bf16, "
                      "fp16 or fp8 release", w->path, format);
        for (size_t i = 0; i < KL_ARRAY_LEN(known); i++)
            if (!strcmp(format, known[i]))
                ret = 0;
    }
    json_decref(root);
    return ret;
}

static KlTensor *owner_of(const KlWeights *w, const char *scale, size_t stem)
{
    char *name = kl_asprintf("%.*s.weight", (int)stem, scale);
    const KlTensor *t = name ? kl_weights_find(w, name) : NULL;

    free(name);
    return t ? &w->t[t - w->t] : NULL;
}

/* The scale's values as f32, kept by w. */
static int load_scale(KlDiag *d, KlWeights *w, const KlTensor *t, size_t n, float **out)
{
    KlWeight in = { .data = t->data };
    float **all = realloc(w->scales, ((size_t)w->n_scales + 1) * sizeof(*all));

    if (all)
        w->scales = all;
    if (!all || !(*out = malloc(n * sizeof(**out))))
        return kl_fail_memory(d, "a tensor's scale", n * sizeof(**out));
    w->scales[w->n_scales++] = *out;
    if (!kl_file_dtype_kernel(t->dtype, &in.dtype) || in.dtype > KL_BF16)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "the scale '%s' in '%s' is %s: F32, F16 or BF16 is wanted", t->name,
                       w->path, kl_file_dtype_name(t->dtype));
    kl_widen_plain(*out, in, 0, (int64_t)n);
    for (size_t i = 0; i < n; i++)
        if (!isfinite((*out)[i]))
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "the scale '%s' in '%s' is not a number", t->name, w->path);
    return 0;
}

static int take_scale(KlDiag *d, KlWeights *w, const KlTensor *t, size_t stem)
{
    KlTensor *owner = owner_of(w, t->name, stem);
    const size_t n = t->bytes / kl_file_dtype_bytes(t->dtype);
    float *v = NULL;
    int64_t row = 1;
    int ret;

    if (!owner)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' in '%s' is the scale of a tensor that is not there", t->name,
                       w->path);
    for (int i = 1; i < owner->ndim; i++)
        row *= KL_MAX(owner->shape[i], 1);      /* bounded by the bytes, which were checked, or there are none */
    if (!n || (n > 1 && (owner->ndim < 2 || (int64_t)n != owner->shape[0])))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "the scale '%s' in '%s' has %zu values, neither one nor one per "
                       "row", t->name, w->path, n);
    if (owner->scale)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "tensor '%s' in '%s' has two scales", owner->name, w->path);
    if ((ret = load_scale(d, w, t, n, &v)) < 0)
        return ret;
    if (owner->dtype != KL_FT_F8_E4M3 && owner->dtype != KL_FT_F8_E5M2 && owner->dtype != KL_FT_I8) {
        for (size_t i = 0; i < n; i++)
            if (v[i] != 1)
                return kl_fail(d, KLING_ERROR_UNSUPPORTED, "tensor '%s' in '%s' is %s with a scale: only fp8 and int8 "
                               "are scaled", owner->name, w->path, kl_file_dtype_name(owner->dtype));
        return 0;
    }
    owner->scale = v;
    owner->scale_group = n > 1 ? row : 0;
    return 0;
}

int kl_weights_take_scales(KlDiag *d, KlWeights *w)
{
    size_t stem;
    int found = 0, kept = 0, ret = 0;

    for (int i = 0; i < w->n; i++)
        found += role_of(w->t[i].name, &stem) != ROLE_NONE;
    if (!found)
        return 0;
    ret = kl_weights_index(d, w);
    for (int i = 0; i < w->n && !ret; i++) {
        const Role role = role_of(w->t[i].name, &stem);

        if (role == ROLE_SCALE)
            ret = take_scale(d, w, &w->t[i], stem);
        else if (role == ROLE_FORMAT)
            ret = check_format(d, w, &w->t[i]);
        else if (role == ROLE_UNKNOWN)
            ret = kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' is quantized in a way that is not supported (it has '%s'): "
                          "use the bf16, fp16 or fp8 release", w->path, w->t[i].name);
    }
    if (ret < 0)
        return ret;
    for (int i = 0; i < w->n; i++)
        if (role_of(w->t[i].name, &stem) == ROLE_NONE)
            w->t[kept++] = w->t[i];
        else
            free((char *)(uintptr_t)w->t[i].name);
    w->n = kept;
    return 0;
}
