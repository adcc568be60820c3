/*
 * JSON files and typed, range-checked reads from them.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <inttypes.h>
#include <math.h>

#include "json.h"
#include "mapping.h"

int kl_json_parse(KlDiag *d, json_t **root, const char *where, const void *data, size_t bytes)
{
    json_error_t e;

    *root = json_loadb(data, bytes, JSON_REJECT_DUPLICATES, &e);
    /* Every tokenizer_config.json that transformers saves has a model_max_length of about 1e30. */
    if (!*root && json_error_code(&e) == json_error_numeric_overflow)
        *root = json_loadb(data, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &e);
    if (*root)
        return 0;
    if (json_error_code(&e) == json_error_out_of_memory)
        return kl_fail_memory(d, where, bytes);
    return kl_fail(d, KLING_ERROR_INVALID_DATA, "%s is not valid JSON: %s (line %d)", where, e.text, e.line);
}

int kl_json_load(KlDiag *d, json_t **root, const char *path)
{
    KlMapping m;
    int ret;

    *root = NULL;
    ret = kl_map_file(d, &m, path);
    if (ret < 0)
        return ret;
    if (!m.bytes)
        ret = kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is empty", path);
    else if (m.bytes > KL_JSON_MAX_BYTES)
        ret = kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is too long for a JSON config (%zu bytes)", path, m.bytes);
    else
        ret = kl_json_parse(d, root, path, m.data, m.bytes);
    kl_unmap_file(&m);
    if (!ret && !json_is_object(*root)) {
        json_decref(*root);
        *root = NULL;
        ret = kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is not a JSON object", path);
    }
    return ret;
}

static json_t *member(const json_t *obj, const char *key)
{
    json_t *v = json_object_get(obj, key);

    return json_is_null(v) ? NULL : v;
}

static int missing(KlDiag *d, const char *where, const char *key)
{
    return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' lacks the key \"%s\"", where, key);
}

static int wrong_type(KlDiag *d, const char *where, const char *key, const char *wanted)
{
    return kl_fail(d, KLING_ERROR_INVALID_DATA, "\"%s\" in '%s' is not %s", key, where, wanted);
}

int kl_json_int(KlDiag *d, const json_t *obj, const char *where, const char *key, int64_t def, int64_t min,
                int64_t max, int *out)
{
    const json_t *v = member(obj, key);
    double x = json_number_value(v);
    int64_t n = def;

    if (!v && def == KL_JSON_REQUIRED)
        return missing(d, where, key);
    if (v && (!json_is_number(v) || x != floor(x) || fabs(x) > 1e15))
        return wrong_type(d, where, key, "a whole number");
    if (v)
        n = (int64_t)x;
    if (v && (n < min || n > max))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "\"%s\" in '%s' is %" PRId64 ", not in %" PRId64 "..%" PRId64,
                       key, where, n, min, max);
    *out = (int)n;
    return 0;
}

int kl_json_real(KlDiag *d, const json_t *obj, const char *where, const char *key, double def, double min,
                 double max, double *out)
{
    const json_t *v = member(obj, key);
    double x = def;

    if (v && !json_is_number(v))
        return wrong_type(d, where, key, "a number");
    if (v)
        x = json_number_value(v);
    if (v && !(x >= min && x <= max))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "\"%s\" in '%s' is %g, not in %g..%g", key, where, x, min, max);
    *out = x;
    return 0;
}

int kl_json_bool(KlDiag *d, const json_t *obj, const char *where, const char *key, bool def, bool *out)
{
    const json_t *v = member(obj, key);

    if (v && !json_is_boolean(v))
        return wrong_type(d, where, key, "true or false");
    *out = v ? json_is_true(v) : def;
    return 0;
}

int kl_json_string(KlDiag *d, const json_t *obj, const char *where, const char *key, const char **out)
{
    const json_t *v = member(obj, key);

    if (v && !json_is_string(v))
        return wrong_type(d, where, key, "a string");
    *out = v ? json_string_value(v) : NULL;
    return 0;
}

int kl_json_array(KlDiag *d, const json_t *obj, const char *where, const char *key, size_t min_n, size_t max_n,
                  const json_t **out)
{
    const json_t *v = member(obj, key);

    if (v && !json_is_array(v))
        return wrong_type(d, where, key, "an array");
    if (v && (json_array_size(v) < min_n || json_array_size(v) > max_n))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "\"%s\" in '%s' has %zu members, not %zu..%zu", key, where,
                       json_array_size(v), min_n, max_n);
    *out = v;
    return 0;
}

bool kl_json_is_off(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);

    return !v || json_is_null(v) || json_is_false(v) || (json_is_number(v) && json_number_value(v) == 0) ||
           (json_is_array(v) && !json_array_size(v)) || (json_is_string(v) && !*json_string_value(v));
}
