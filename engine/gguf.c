/*
 * The header of one GGUF file, checked: metadata and tensors.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A file is, all little-endian:
 *     "GGUF", u32 version, u64 tensors, u64 metadata entries
 *     entries: string key, u32 type, value     (string: u64 length, bytes)
 *                                              (array: u32 type, u64 count, elements)
 *     tensors: string name, u32 dims, u64 dim[dims] (the fastest first), u32 type, u64 offset
 *     padding to general.alignment (32), then the data, each tensor padded likewise
 */
#include "gguf.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "safetensors.h"
#include "utf8.h"

#define MAX_NAME 1024                   /* bytes of a key or a name */
#define MAX_ENTRIES (1u << 20)          /* of metadata or tensors */
#define MAX_NESTING 4                   /* arrays in arrays */
#define ORIG_SHAPE "comfy.gguf.orig_shape."

typedef struct Reader {
    const uint8_t *p, *end;
    KlDiag *d;
    const char *where;
} Reader;

static const uint8_t number_bytes[KL_GGUF_NB] = {
    [KL_GGUF_U8] = 1, [KL_GGUF_I8] = 1, [KL_GGUF_U16] = 2, [KL_GGUF_I16] = 2, [KL_GGUF_U32] = 4, [KL_GGUF_I32] = 4,
    [KL_GGUF_F32] = 4, [KL_GGUF_BOOL] = 1, [KL_GGUF_U64] = 8, [KL_GGUF_I64] = 8, [KL_GGUF_F64] = 8,
};

bool kl_gguf_is(const uint8_t *data, size_t bytes)
{
    return bytes >= 4 && !memcmp(data, "GGUF", 4);
}

static int cut_short(const Reader *r)
{
    return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "'%s' is cut short: its header goes on past the end", r->where);
}

static int damaged(const Reader *r, const char *what)
{
    return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': %s", r->where, what);
}

static uint64_t load_le(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;

    while (n--)
        v = v << 8 | p[n];
    return v;
}

static int read_int(Reader *r, unsigned n, uint64_t *v)
{
    *v = 0;
    if ((size_t)(r->end - r->p) < n)
        return cut_short(r);
    *v = load_le(r->p, n);
    r->p += n;
    return 0;
}

static int read_string(Reader *r, const uint8_t **s, size_t *len)
{
    uint64_t n;
    int ret = read_int(r, 8, &n);

    *s = NULL;
    *len = 0;
    if (ret < 0)
        return ret;
    if (n > (uint64_t)(r->end - r->p))
        return cut_short(r);
    *s = r->p;
    *len = (size_t)n;
    r->p += n;
    return 0;
}

/* A key or a tensor's name, malloc'd. */
static int read_name(Reader *r, char **out)
{
    const uint8_t *s;
    size_t len;
    int ret = read_string(r, &s, &len);

    if (ret < 0)
        return ret;
    if (!len || len > MAX_NAME || memchr(s, 0, len) || kl_utf8_check((const char *)s, len) < len)
        return damaged(r, "a name is empty, too long or not text");
    if (!(*out = malloc(len + 1)))
        return kl_fail_memory(r->d, "a tensor's name", len + 1);
    memcpy(*out, s, len);
    (*out)[len] = 0;
    return 0;
}

static int skip_value(Reader *r, KlGgufType type, int depth);

/* The elements of an array, which the reader stands before. */
static int skip_elements(Reader *r, KlGgufType item, uint64_t count, int depth)
{
    const uint64_t left = (uint64_t)(r->end - r->p);

    if (number_bytes[item]) {
        if (count > left / number_bytes[item])
            return cut_short(r);
        r->p += count * number_bytes[item];
        return 0;
    }
    if (count > left / 8)               /* a string or an array takes 8 bytes at least */
        return cut_short(r);
    for (uint64_t i = 0; i < count; i++) {
        int ret = skip_value(r, item, depth + 1);

        if (ret < 0)
            return ret;
    }
    return 0;
}

static int read_array_head(Reader *r, KlGgufType *item, uint64_t *count)
{
    uint64_t type;
    int ret = read_int(r, 4, &type);

    *count = 0;
    *item = (KlGgufType)KL_MIN(type, KL_GGUF_NB - 1);
    if (!ret && type >= KL_GGUF_NB)
        return damaged(r, "an array of unknown type");
    return ret ? ret : read_int(r, 8, count);
}

static int skip_value(Reader *r, KlGgufType type, int depth)
{
    KlGgufType item;
    const uint8_t *s;
    uint64_t count;
    size_t len;
    int ret;

    if (type == KL_GGUF_STRING)
        return read_string(r, &s, &len);
    if (type != KL_GGUF_ARRAY)
        return skip_elements(r, type, 1, depth);
    if (depth > MAX_NESTING)
        return damaged(r, "arrays are nested too deeply");
    ret = read_array_head(r, &item, &count);
    return ret ? ret : skip_elements(r, item, count, depth);
}

static int read_entry(Reader *r, KlGgufValue *v)
{
    uint64_t type = 0;
    int ret = read_name(r, &v->key);

    if (!ret)
        ret = read_int(r, 4, &type);
    if (ret < 0)
        return ret;
    if (type >= KL_GGUF_NB)
        return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': '%s' has the unknown type %" PRIu64,
                       r->where, v->key, type);
    v->type = (KlGgufType)type;
    if (v->type == KL_GGUF_STRING)
        return read_string(r, &v->data, &v->bytes);
    if (v->type == KL_GGUF_ARRAY && (ret = read_array_head(r, &v->item, &v->count)) < 0)
        return ret;
    v->data = r->p;
    ret = v->type == KL_GGUF_ARRAY ? skip_elements(r, v->item, v->count, 0) : skip_value(r, v->type, 0);
    v->bytes = (size_t)(r->p - v->data);
    return ret;
}

static int by_key(const void *a, const void *b)
{
    const KlGgufValue *x = a, *y = b;

    return strcmp(x->key, y->key);
}

static int read_metadata(Reader *r, KlGguf *g, uint64_t count)
{
    int ret = 0;

    if (!(g->v = calloc((size_t)count + 1, sizeof(*g->v))))
        return kl_fail_memory(r->d, "a file's metadata", ((size_t)count + 1) * sizeof(*g->v));
    for (; (uint64_t)g->n < count && !ret; g->n++)
        ret = read_entry(r, &g->v[g->n]);
    if (ret < 0)
        return ret;
    qsort(g->v, (size_t)g->n, sizeof(*g->v), by_key);
    for (int i = 1; i < g->n; i++)
        if (!strcmp(g->v[i - 1].key, g->v[i].key))
            return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': the key '%s' is there twice",
                           r->where, g->v[i].key);
    return 0;
}

/* -- tensors -- */

/* GGUF's numbers of the types that can be used. */
static const struct {
    uint32_t number;
    KlFileDType dtype;
} types[] = {
    { 0, KL_FT_F32 },   { 1, KL_FT_F16 },   { 2, KL_FT_Q4_0 },  { 3, KL_FT_Q4_1 },  { 6, KL_FT_Q5_0 },
    { 7, KL_FT_Q5_1 },  { 8, KL_FT_Q8_0 },  { 10, KL_FT_Q2_K }, { 11, KL_FT_Q3_K }, { 12, KL_FT_Q4_K },
    { 13, KL_FT_Q5_K }, { 14, KL_FT_Q6_K }, { 24, KL_FT_I8 },   { 25, KL_FT_I16 },  { 26, KL_FT_I32 },
    { 27, KL_FT_I64 },  { 28, KL_FT_F64 },  { 30, KL_FT_BF16 },
};

/* Names of those that cannot, for the message. */
static const char *other_type(uint64_t number)
{
    static const char *const names[] = {
        [4] = "Q4_2", [5] = "Q4_3", [9] = "Q8_1", [15] = "Q8_K", [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS",
        [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S", [23] = "IQ4_XS", [29] = "IQ1_M",
        [31] = "Q4_0_4_4", [32] = "Q4_0_4_8", [33] = "Q4_0_8_8", [34] = "TQ1_0", [35] = "TQ2_0", [39] = "MXFP4",
        [40] = "NVFP4",
    };

    return number < KL_ARRAY_LEN(names) && names[number] ? names[number] : "unknown";
}

static int find_type(const Reader *r, KlTensor *t, uint64_t number)
{
    for (size_t i = 0; i < KL_ARRAY_LEN(types); i++)
        if (types[i].number == number) {
            t->dtype = types[i].dtype;
            return 0;
        }
    return kl_fail(r->d, KLING_ERROR_UNSUPPORTED, "tensor '%s' in '%s' is of the type %s (%" PRIu64 "), which is not "
                   "supported: use a release in F16, BF16, Q8_0, Q6_K, Q5, Q4, Q3_K or Q2_K", t->name, r->where,
                   other_type(number), number);
}

/* dims, the fastest first in the file, and the bytes that they need. */
static int read_shape(Reader *r, KlTensor *t, uint64_t dim[KL_MAX_DIMS])
{
    uint64_t n;
    int ret = read_int(r, 4, &n);

    if (!ret && n > KL_MAX_DIMS)
        return kl_fail(r->d, KLING_ERROR_UNSUPPORTED, "tensor '%s' in '%s' has %" PRIu64 " dimensions, more than %d",
                       t->name, r->where, n, KL_MAX_DIMS);
    t->ndim = (int)n;
    for (int i = 0; i < t->ndim && !ret; i++)
        ret = read_int(r, 8, &dim[i]);
    return ret;
}

static int set_shape(const Reader *r, KlTensor *t, const uint64_t *dim)
{
    const uint64_t block = (uint64_t)kl_file_dtype_block(t->dtype);
    size_t bytes = kl_file_dtype_bytes(t->dtype);

    if (block > 1 && (!t->ndim || dim[0] % block))
        return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': tensor '%s' of type %s has rows that "
                       "are no multiple of %" PRIu64, r->where, t->name, kl_file_dtype_name(t->dtype), block);
    for (int i = 0; i < t->ndim; i++) {
        if (dim[i] > PTRDIFF_MAX || !kl_mul_size(bytes, (size_t)(i ? dim[i] : dim[i] / block), &bytes) ||
            bytes > PTRDIFF_MAX)
            return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': tensor '%s' has a shape too large "
                           "for any memory", r->where, t->name);
        t->shape[t->ndim - 1 - i] = (int64_t)dim[i];
    }
    t->bytes = bytes;
    return 0;
}

/* Until the data's place is known, t->data holds the offset. */
static int read_tensor(Reader *r, KlTensor *t)
{
    uint64_t dim[KL_MAX_DIMS], type = 0, offset = 0;
    char *name = NULL;
    int ret = read_name(r, &name);

    t->name = t->file_name = name;
    if (!ret)
        ret = read_shape(r, t, dim);
    if (!ret)
        ret = read_int(r, 4, &type);
    if (!ret)
        ret = find_type(r, t, type);
    if (!ret)
        ret = set_shape(r, t, dim);
    if (!ret)
        ret = read_int(r, 8, &offset);
    if (!ret && offset > PTRDIFF_MAX)
        ret = cut_short(r);
    t->data = (const void *)(uintptr_t)offset;
    return ret;
}

static int by_offset(const void *a, const void *b)
{
    const KlTensor *x = a, *y = b;
    const uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;

    if (p != q)
        return p < q ? -1 : 1;
    if (x->bytes != y->bytes)           /* an empty tensor comes before the one that begins there */
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Offsets become pointers: aligned, one after another, inside the file. */
static int place_tensors(const Reader *r, size_t align, const uint8_t *data, KlTensor *t, int n)
{
    const size_t left = (size_t)(r->end - r->p);
    const size_t pad = (align - (size_t)(r->p - data) % align) % align;
    const uint8_t *base = r->p + KL_MIN(pad, left);
    const size_t avail = (size_t)(r->end - base);
    size_t end = 0;

    qsort(t, (size_t)n, sizeof(*t), by_offset);
    for (int i = 0; i < n; i++) {
        const size_t offset = (size_t)(uintptr_t)t[i].data;

        if (offset % align)
            return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': tensor '%s' does not begin at a "
                           "multiple of %zu", r->where, t[i].name, align);
        if (offset > avail || t[i].bytes > avail - offset)
            return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "'%s' is cut short: tensor '%s' goes from byte %zu to %zu "
                           "of the data, %zu are there", r->where, t[i].name, offset, offset + t[i].bytes, avail);
        if (offset < end)
            return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': tensors '%s' and '%s' overlap",
                           r->where, t[i - 1].name, t[i].name);
        if (offset - end >= align)
            return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': %zu bytes before tensor '%s' "
                           "belong to no tensor", r->where, offset - end, t[i].name);
        t[i].data = base + offset;
        end = offset + t[i].bytes;
    }
    if (avail - end >= align)
        return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "'%s' is %zu bytes longer than its header says", r->where,
                       avail - end);
    return 0;
}

/* Converters store what has more than four dims as a matrix and keep its shape in the metadata. */
static int restore_shape(const Reader *r, const KlGguf *g, KlTensor *t)
{
    const char prefix[] = ORIG_SHAPE;
    char key[sizeof(prefix) + MAX_NAME];
    const KlGgufValue *v;
    int64_t shape[KL_MAX_DIMS];
    size_t have = 1, want = 1;

    memcpy(key, prefix, sizeof(prefix) - 1);
    strcpy(key + sizeof(prefix) - 1, t->name);
    v = kl_gguf_find(g, key);
    if (!v)
        return 0;
    if (!kl_gguf_is_array(v, KL_GGUF_I64) || v->count > KL_MAX_DIMS)
        return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': '%s' is not a shape", r->where, key);
    for (int i = 0; i < t->ndim; i++)
        have *= (size_t)t->shape[i];    /* cannot overflow: the bytes were checked, a block has no more elements */
    for (uint64_t i = 0; i < v->count; i++) {
        const double dim = kl_gguf_number(v, i);

        if (!(dim >= 0 && dim < 0x1p48) || !kl_mul_size(want, (size_t)dim, &want))
            return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': '%s' is not a shape", r->where,
                           key);
        shape[i] = (int64_t)dim;
    }
    if (have != want)
        return kl_fail(r->d, KLING_ERROR_INVALID_DATA, "damaged header in '%s': tensor '%s' has %zu elements, '%s' "
                       "says %zu", r->where, t->name, have, key, want);
    t->ndim = (int)v->count;
    memcpy(t->shape, shape, (size_t)v->count * sizeof(*shape));
    return 0;
}

static int read_tensors(Reader *r, const KlGguf *g, const uint8_t *data, KlTensor *t, int count, int *n)
{
    uint64_t align = 32;
    const KlGgufValue *v = kl_gguf_find(g, "general.alignment");
    int ret = 0;

    if (v && (!kl_gguf_uint(v, &align) || align < 8 || align > 4096 || align & (align - 1)))
        return damaged(r, "general.alignment is not a power of two in 8..4096");
    while (*n < count && !ret) {
        ret = read_tensor(r, &t[*n]);
        *n += t[*n].name != NULL;
    }
    if (!ret)
        ret = place_tensors(r, (size_t)align, data, t, *n);
    for (int i = 0; i < *n && !ret; i++)
        ret = restore_shape(r, g, &t[i]);
    return ret;
}

static int check_version(const Reader *r, uint64_t version)
{
    if (version == 2 || version == 3)
        return 0;
    if (version == 1)
        return kl_fail(r->d, KLING_ERROR_UNSUPPORTED, "'%s' is a GGUF file of version 1, which nobody writes any more: "
                       "convert it again", r->where);
    if (version && !(version & 0xffff))
        return kl_fail(r->d, KLING_ERROR_UNSUPPORTED, "'%s' is a big-endian GGUF file: use the little-endian one",
                       r->where);
    return kl_fail(r->d, KLING_ERROR_UNSUPPORTED, "'%s' is a GGUF file of version %" PRIu64 "; 2 and 3 are supported",
                   r->where, version);
}

int kl_gguf_parse(KlDiag *d, const char *where, const uint8_t *data, size_t bytes, KlTensor **t, int *n,
                  KlGguf **meta)
{
    Reader r = { data + 4, data + bytes, d, where };
    uint64_t version, tensors = 0, entries = 0;
    int ret;

    *t = NULL;
    *n = 0;
    *meta = NULL;
    if (!kl_gguf_is(data, bytes))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is not a GGUF file", where);
    ret = read_int(&r, 4, &version);
    if (!ret)
        ret = check_version(&r, version);
    if (!ret)
        ret = read_int(&r, 8, &tensors);
    if (!ret)
        ret = read_int(&r, 8, &entries);
    if (ret < 0)
        return ret;
    if (tensors > MAX_ENTRIES || entries > MAX_ENTRIES)
        return damaged(&r, "it counts more than a million entries");
    if ((tensors + entries) * 13 > bytes)       /* the least that one takes */
        return cut_short(&r);
    *t = calloc((size_t)tensors + 1, sizeof(**t));
    *meta = calloc(1, sizeof(**meta));
    if (!*t || !*meta) {
        ret = kl_fail_memory(d, "a file's list of tensors", ((size_t)tensors + 1) * sizeof(**t));
    } else {
        (*meta)->version = (unsigned)version;
        ret = read_metadata(&r, *meta, entries);
        if (!ret)
            ret = read_tensors(&r, *meta, data, *t, (int)tensors, n);
    }
    if (ret < 0) {
        kl_tensors_free(*t, *n);
        kl_gguf_free(meta);
        *t = NULL;
        *n = 0;
    }
    return ret;
}

void kl_gguf_free(KlGguf **meta)
{
    KlGguf *g = *meta;

    *meta = NULL;
    if (!g)
        return;
    for (int i = 0; i < g->n; i++)
        free(g->v[i].key);
    free(g->v);
    free(g);
}

/* -- reading metadata -- */

const KlGgufValue *kl_gguf_find(const KlGguf *g, const char *key)
{
    const KlGgufValue want = { .key = (char *)(uintptr_t)key };

    return g && g->n ? bsearch(&want, g->v, (size_t)g->n, sizeof(*g->v), by_key) : NULL;
}

bool kl_gguf_uint(const KlGgufValue *v, uint64_t *out)
{
    if (!v || v->type == KL_GGUF_F32 || v->type == KL_GGUF_F64 || !number_bytes[v->type])
        return false;
    *out = load_le(v->data, number_bytes[v->type]);
    if (v->type == KL_GGUF_I8 || v->type == KL_GGUF_I16 || v->type == KL_GGUF_I32 || v->type == KL_GGUF_I64)
        return !(*out >> (8 * number_bytes[v->type] - 1));
    return true;
}

double kl_gguf_number(const KlGgufValue *v, uint64_t i)
{
    const unsigned n = number_bytes[v->item];
    const uint64_t bits = load_le(v->data + i * n, n);
    const uint32_t low = (uint32_t)bits;
    double f64;
    float f32;

    switch (v->item) {
    case KL_GGUF_F32:
        memcpy(&f32, &low, sizeof(f32));
        return f32;
    case KL_GGUF_F64:
        memcpy(&f64, &bits, sizeof(f64));
        return f64;
    case KL_GGUF_I8:
        return (int8_t)bits;
    case KL_GGUF_I16:
        return (int16_t)bits;
    case KL_GGUF_I32:
        return (int32_t)bits;
    case KL_GGUF_I64:
        return (double)(int64_t)bits;
    default:
        return (double)bits;
    }
}

bool kl_gguf_is_array(const KlGgufValue *v, KlGgufType item)
{
    if (!v || v->type != KL_GGUF_ARRAY)
        return false;
    if (item == KL_GGUF_STRING)
        return v->item == KL_GGUF_STRING;
    if (item == KL_GGUF_I64)
        return number_bytes[v->item] && v->item != KL_GGUF_F32 && v->item != KL_GGUF_F64;
    return number_bytes[v->item] != 0;
}

bool kl_gguf_next_string(const KlGgufValue *v, size_t *pos, const char **s, size_t *len)
{
    if (v->type == KL_GGUF_STRING) {
        *s = (const char *)v->data;
        *len = v->bytes;
        return !(*pos)++;
    }
    if (*pos >= v->bytes)
        return false;
    *len = (size_t)load_le(v->data + *pos, 8);
    *s = (const char *)v->data + *pos + 8;
    *pos += 8 + *len;
    return true;
}
