/*
 * The header of one safetensors file, checked.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A file is: u64 little-endian N, N bytes of JSON, then the data.
 *     {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
 *      "__metadata__": {"key": "value"}}
 */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "safetensors.h"

/* What people hand over instead, told by the first bytes. */
static int check_magic(KlDiag *d, const char *where, const uint8_t *data, size_t bytes)
{
    static const struct {
        const char *magic;
        size_t n;
        const char *what;
    } others[] = {
        { "PK\003\004",              4, "a PyTorch pickle (.pth, .pt): convert it to safetensors" },
        { "\200\002",                2, "a Python pickle: convert it to safetensors" },
        { "version https://git-lfs", 23, "only a Git LFS pointer: fetch the file itself with 'git lfs pull'" },
        { "<!DOCTYPE",               9, "a web page: the download failed" },
        { "<html",                   5, "a web page: the download failed" },
    };

    for (size_t i = 0; i < KL_ARRAY_LEN(others); i++)
        if (bytes >= others[i].n && !memcmp(data, others[i].magic, others[i].n))
            return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' is %s", where, others[i].what);
    return 0;
}

/* Finds the JSON; *header is its length. */
static int find_header(KlDiag *d, const char *where, const uint8_t *data, size_t bytes, size_t *header)
{
    uint64_t n = 0;
    int ret;

    if (!bytes)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is empty", where);
    ret = check_magic(d, where, data, bytes);
    if (ret < 0)
        return ret;
    if (bytes < 8)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is too short to be a safetensors file (%zu bytes)", where,
                       bytes);
    for (int i = 7; i >= 0; i--)
        n = n << 8 | data[i];
    if (n > KL_SAFETENSORS_MAX_HEADER)
        return kl_fail(d, KLING_ERROR_INVALID_DATA,
                       "'%s' is not a safetensors file: its header would be %" PRIu64 " bytes long (at most %u)",
                       where, n, KL_SAFETENSORS_MAX_HEADER);
    if (n > bytes - 8)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is cut short: the header should be %" PRIu64
                       " bytes long, %zu are there", where, n, bytes - 8);
    *header = (size_t)n;
    return 0;
}

static int fail_entry(KlDiag *d, const char *where, const char *name, const char *why)
{
    return kl_fail(d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': tensor '%s' %s", where, name, why);
}

static int parse_dtype(KlDiag *d, const char *where, const char *name, const json_t *e, KlTensor *t)
{
    const char *s = json_string_value(json_object_get(e, "dtype"));

    if (!s)
        return fail_entry(d, where, name, "has no dtype");
    for (int i = 0; i < KL_FT_NB; i++)
        if (kl_file_dtype_is_plain((KlFileDType)i) && !strcmp(s, kl_file_dtype_name((KlFileDType)i))) {
            t->dtype = (KlFileDType)i;
            return 0;
        }
    return kl_fail(d, KLING_ERROR_UNSUPPORTED, "tensor '%s' in '%s' has the unknown dtype \"%s\"", name, where, s);
}

/* Shape, and the bytes that it needs. */
static int parse_shape(KlDiag *d, const char *where, const char *name, const json_t *e, KlTensor *t)
{
    const json_t *shape = json_object_get(e, "shape");
    size_t bytes = kl_file_dtype_bytes(t->dtype);

    if (!json_is_array(shape))
        return fail_entry(d, where, name, "has no shape");
    if (json_array_size(shape) > KL_MAX_DIMS)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "tensor '%s' in '%s' has %zu dimensions, more than %d", name,
                       where, json_array_size(shape), KL_MAX_DIMS);
    t->ndim = (int)json_array_size(shape);
    for (int i = 0; i < t->ndim; i++) {
        const json_t *v = json_array_get(shape, (size_t)i);

        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return fail_entry(d, where, name, "has a shape that is not made of whole numbers");
        t->shape[i] = json_integer_value(v);
        if (!kl_mul_size(bytes, (size_t)t->shape[i], &bytes) || bytes > PTRDIFF_MAX)
            return fail_entry(d, where, name, "has a shape too large for any memory");
    }
    t->bytes = bytes;
    return 0;
}

/* Data range within `avail` bytes that begin at `base`. */
static int parse_offsets(KlDiag *d, const char *where, const char *name, const json_t *e, const uint8_t *base,
                         size_t avail, KlTensor *t)
{
    const json_t *off = json_object_get(e, "data_offsets");
    const json_t *a = json_array_get(off, 0), *b = json_array_get(off, 1);
    int64_t begin, end;

    if (json_array_size(off) != 2 || !json_is_integer(a) || !json_is_integer(b))
        return fail_entry(d, where, name, "has no data_offsets");
    begin = json_integer_value(a);
    end = json_integer_value(b);
    if (begin < 0 || end < begin)
        return fail_entry(d, where, name, "has data_offsets that run backwards");
    if ((uint64_t)end > avail)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is cut short: tensor '%s' ends at byte %" PRId64
                       " of the data, %zu are there", where, name, end, avail);
    if ((uint64_t)(end - begin) != t->bytes)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': tensor '%s' spans %" PRId64
                       " bytes, its shape and dtype need %zu", where, name, end - begin, t->bytes);
    t->data = base + begin;
    return 0;
}

static int parse_tensor(KlDiag *d, const char *where, const char *name, const json_t *e, const uint8_t *base,
                        size_t avail, KlTensor *t)
{
    int ret;

    if (!json_is_object(e))
        return fail_entry(d, where, name, "is not described by an object");
    if (!*name)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': a tensor without a name", where);
    ret = parse_dtype(d, where, name, e, t);
    if (!ret)
        ret = parse_shape(d, where, name, e, t);
    if (!ret)
        ret = parse_offsets(d, where, name, e, base, avail, t);
    if (!ret && (uintptr_t)t->data % kl_file_dtype_bytes(t->dtype) && t->bytes)
        ret = kl_fail(d, KLING_ERROR_UNSUPPORTED,
                      "tensor '%s' in '%s' is not aligned to its dtype: save the file again with the safetensors "
                      "library", name, where);
    if (!ret) {
        t->file_name = t->name = kl_strdup(name);
        if (!t->name)
            ret = kl_fail_memory(d, "a tensor's name", strlen(name) + 1);
    }
    return ret;
}

static int by_position(const void *a, const void *b)
{
    const KlTensor *x = a, *y = b;
    const uint8_t *p = x->data, *q = y->data;

    if (p != q)
        return p < q ? -1 : 1;
    if (x->bytes != y->bytes)           /* an empty tensor comes before the one that begins there */
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Every byte of the data belongs to one tensor. */
static int check_cover(KlDiag *d, const char *where, const uint8_t *base, size_t avail, const KlTensor *t, int n)
{
    const uint8_t *end = base;

    for (int i = 0; i < n; i++) {
        const uint8_t *p = t[i].data;

        if (p < end)
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': tensors '%s' and '%s' overlap",
                           where, t[i - 1].name, t[i].name);
        if (p > end)
            return kl_fail(d, KLING_ERROR_INVALID_DATA,
                           "damaged header in '%s': %td bytes before tensor '%s' belong to no tensor", where, p - end,
                           t[i].name);
        end = p + t[i].bytes;
    }
    if (end != base + avail)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is %td bytes longer than its header says", where,
                       base + avail - end);
    return 0;
}

static int parse_all(KlDiag *d, const char *where, json_t *root, const uint8_t *base, size_t avail, KlTensor *t,
                     int *n)
{
    const char *name;
    json_t *e;
    int ret;

    json_object_foreach(root, name, e) {
        if (!strcmp(name, "__metadata__"))
            continue;
        ret = parse_tensor(d, where, name, e, base, avail, &t[*n]);
        if (ret < 0)
            return ret;
        ++*n;
    }
    qsort(t, (size_t)*n, sizeof(*t), by_position);
    return check_cover(d, where, base, avail, t, *n);
}

/* The header as JSON. */
static int load_header(KlDiag *d, const char *where, const uint8_t *data, size_t bytes, size_t *header, json_t **root)
{
    char *source;
    int ret = find_header(d, where, data, bytes, header);

    *root = NULL;
    if (ret < 0)
        return ret;
    if (!(source = kl_asprintf("the header of '%s'", where)))
        return kl_fail_memory(d, "a file's name", strlen(where));
    ret = kl_json_parse(d, root, source, data + 8, *header);
    free(source);
    return ret;
}

int kl_safetensors_parse(KlDiag *d, const char *where, const uint8_t *data, size_t bytes, KlTensor **t, int *n)
{
    json_t *root;
    size_t header = 0, count;
    int ret;

    *t = NULL;
    *n = 0;
    ret = load_header(d, where, data, bytes, &header, &root);
    if (ret < 0)
        return ret;
    count = json_object_size(root);
    if (!json_is_object(root))
        ret = kl_fail(d, KLING_ERROR_INVALID_DATA, "the header of '%s' is not a JSON object", where);
    else if (count > INT_MAX)
        ret = kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' has too many tensors", where);
    else if (!(*t = calloc(count + 1, sizeof(**t))))
        ret = kl_fail_memory(d, "a file's list of tensors", (count + 1) * sizeof(**t));
    else
        ret = parse_all(d, where, root, data + 8 + header, bytes - 8 - header, *t, n);
    json_decref(root);
    if (ret < 0) {
        kl_tensors_free(*t, *n);
        *t = NULL;
        *n = 0;
    }
    return ret;
}

int kl_safetensors_metadata(KlDiag *d, const char *where, const uint8_t *data, size_t bytes, const char *key,
                            char **text)
{
    json_t *root;
    const char *s;
    size_t header = 0;
    int ret;

    *text = NULL;
    ret = load_header(d, where, data, bytes, &header, &root);
    s = ret < 0 ? NULL : json_string_value(json_object_get(json_object_get(root, "__metadata__"), key));
    if (s && !(*text = kl_strdup(s)))
        ret = kl_fail_memory(d, "a file's metadata", strlen(s));
    if (ret >= 0)
        json_decref(root);
    return ret;
}

void kl_tensors_free(KlTensor *t, int n)
{
    for (int i = 0; i < n; i++) {
        if (t[i].name != t[i].file_name)
            free((char *)(uintptr_t)t[i].name);
        free((char *)(uintptr_t)t[i].file_name);
    }
    free(t);
}
