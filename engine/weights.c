/*
 * Named tensors of one part of a model, mapped from safetensors or GGUF.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The set of tensors, their names and typed access. How a file is read stands
 * in safetensors.c and gguf.c, which files make up a part in weights_open.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "gguf.h"
#include "kernels/quants.h"
#include "safetensors.h"
#include "weights_internal.h"

KlWeights *kl_weights_alloc(KlDiag *d, const char *path)
{
    KlWeights *w = calloc(1, sizeof(*w));

    if (!w || !(w->path = kl_strdup(path))) {
        free(w);
        kl_fail_memory(d, "a set of weights", sizeof(*w));
        return NULL;
    }
    return w;
}

static int by_name(const void *a, const void *b)
{
    const KlTensor *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

int kl_weights_index(KlDiag *d, KlWeights *w)
{
    if (!w->index && !(w->index = malloc(((size_t)w->n + 1) * sizeof(*w->index))))
        return kl_fail_memory(d, "an index of tensors", ((size_t)w->n + 1) * sizeof(*w->index));
    for (int i = 0; i < w->n; i++)
        w->index[i] = &w->t[i];
    qsort(w->index, (size_t)w->n, sizeof(*w->index), by_name);
    for (int i = 1; i < w->n; i++)
        if (!strcmp(w->index[i - 1]->name, w->index[i]->name))
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "two tensors of '%s' are both '%s': '%s' and '%s'", w->path,
                           w->index[i]->name, w->index[i - 1]->file_name, w->index[i]->file_name);
    return 0;
}

int kl_weights_borrow(KlDiag *d, KlWeights **w, const KlTensor *t, int n, const char *path)
{
    KlWeights *b = kl_weights_alloc(d, path);
    int ret;

    *w = NULL;
    if (!b)
        return KLING_ERROR_OUT_OF_MEMORY;
    if (!(b->t = calloc((size_t)n + 1, sizeof(*t)))) {
        kl_weights_close(&b);
        return kl_fail_memory(d, "a list of tensors", ((size_t)n + 1) * sizeof(*t));
    }
    for (; b->n < n; b->n++) {
        char *name = kl_strdup(t[b->n].name);

        if (!name) {
            kl_weights_close(&b);
            return kl_fail_memory(d, "a tensor's name", strlen(t[b->n].name) + 1);
        }
        b->t[b->n] = t[b->n];
        b->t[b->n].name = b->t[b->n].file_name = name;
    }
    ret = kl_weights_index(d, b);
    if (ret < 0)
        kl_weights_close(&b);
    *w = b;
    return ret;
}

void kl_weights_close(KlWeights **pw)
{
    KlWeights *w = *pw;

    *pw = NULL;
    if (!w)
        return;
    kl_tensors_free(w->t, w->n);
    free(w->index);
    kl_gguf_free(&w->gguf);
    for (int i = 0; i < w->n_scales; i++)
        free(w->scales[i]);
    free(w->scales);
    for (int i = 0; i < w->n_loras; i++)
        kl_weights_close(&w->loras[i]);
    free(w->loras);
    free(w->deltas);
    for (int i = 0; i < w->n_maps; i++)
        kl_unmap_file(&w->maps[i]);
    free(w->maps);
    free(w->path);
    free(w);
}

const char *kl_weights_path(const KlWeights *w)
{
    return w->path;
}

const KlGguf *kl_weights_gguf(const KlWeights *w)
{
    return w->gguf;
}

const KlTensor *kl_weights_all(const KlWeights *w, int *n)
{
    *n = w->n;
    return w->t;
}

const KlTensor *kl_weights_find(const KlWeights *w, const char *name)
{
    const KlTensor key = { .name = name }, *k = &key;
    const KlTensor **e = bsearch(&k, w->index, (size_t)w->n, sizeof(*w->index), by_name);

    return e ? *e : NULL;
}

void kl_weights_reshape(KlWeights *w, const char *name, int ndim, const int64_t *shape)
{
    const KlTensor *t = kl_weights_find(w, name);
    size_t have = 1, want = 1;

    for (int i = 0; t && i < t->ndim; i++)
        have *= (size_t)t->shape[i];    /* bounded by the bytes, which were checked */
    for (int i = 0; i < ndim; i++)
        if (!kl_mul_size(want, (size_t)shape[i], &want))
            return;
    if (!t || have != want || !t->bytes)
        return;
    w->t[t - w->t].ndim = ndim;
    memcpy(w->t[t - w->t].shape, shape, (size_t)ndim * sizeof(*shape));
}

void kl_weights_drop_pages(KlWeights *w)
{
    for (int i = 0; i < w->n_maps; i++)
        if (w->maps[i].data)
            madvise((void *)(uintptr_t)w->maps[i].data, w->maps[i].bytes, MADV_DONTNEED);
}

/* -- typed access -- */

static void shape_text(char *buf, size_t size, int ndim, const int64_t *shape)
{
    size_t n = 0;

    buf[0] = 0;
    for (int i = 0; i < ndim && n < size; i++) {
        char dim[24] = "?";

        if (shape[i] >= 0)
            snprintf(dim, sizeof(dim), "%lld", (long long)shape[i]);
        n += (size_t)snprintf(buf + n, size - n, "%s%s", i ? "x" : "", dim);
    }
    if (!ndim)
        snprintf(buf, size, "scalar");
}

static int wrong_shape(KlDiag *d, const KlWeights *w, const KlTensor *t, const char *wanted)
{
    char found[160];

    shape_text(found, sizeof(found), t->ndim, t->shape);
    return kl_fail(d, KLING_ERROR_INVALID_DATA, "tensor '%s' in '%s' is %s, the model's description wants %s",
                   t->file_name, w->path, found, wanted);
}

/* Elements of a row, all dims but the first; of a vector, its own. */
static int64_t row_elements(const KlTensor *t)
{
    size_t n = 1;

    for (int i = t->ndim > 1; i < t->ndim; i++)
        n *= (size_t)t->shape[i];       /* cannot overflow: the file's bytes were checked */
    return (int64_t)n;
}

/* The tensor, if it is there in a dtype that can be computed with. */
static int find_typed(KlDiag *d, const KlWeights *w, const char *name, const KlTensor **t, KlWeight *out)
{
    const KlTensor *found = kl_weights_find(w, name);

    *t = found;
    *out = (KlWeight){ 0 };
    if (!found)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "no tensor '%s' in '%s'", name, w->path);
    if (!kl_file_dtype_kernel(found->dtype, &out->dtype) || (found->dtype == KL_FT_I8 && !found->scale))
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "tensor '%s' in '%s' is %s%s: that cannot be computed with",
                       found->file_name, w->path, kl_file_dtype_name(found->dtype),
                       found->dtype == KL_FT_I8 ? " without a scale" : "");
    if (row_elements(found) % kl_file_dtype_block(found->dtype))
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "tensor '%s' in '%s' is %s with rows that are no multiple of %d",
                       found->file_name, w->path, kl_file_dtype_name(found->dtype),
                       kl_file_dtype_block(found->dtype));
    out->scale = found->scale;
    out->scale_group = found->scale_group;
    return 0;
}

/* GGUF's converters leave out dims of 1 in front. */
static bool same_shape(const KlWeights *w, const KlTensor *t, int ndim, const int64_t *shape)
{
    const int64_t *have = t->shape;
    int n = t->ndim;

    if (w->gguf) {
        for (; n > 1 && have[0] == 1; n--)
            have++;
        for (; ndim > 1 && shape[0] == 1; ndim--)
            shape++;
    }
    if (n != ndim)
        return false;
    for (int i = 0; i < ndim; i++)
        if (shape[i] >= 0 && shape[i] != have[i])
            return false;
    return true;
}

static int find_shaped(KlDiag *d, const KlWeights *w, const char *name, int ndim, const int64_t *shape,
                       const KlTensor **t, KlWeight *out)
{
    char wanted[160];
    int ret = find_typed(d, w, name, t, out);

    if (ret < 0)
        return ret;
    if (same_shape(w, *t, ndim, shape)) {
        out->data = (*t)->data;
        return 0;
    }
    shape_text(wanted, sizeof(wanted), ndim, shape);
    return wrong_shape(d, w, *t, wanted);
}

int kl_weights_get(KlDiag *d, const KlWeights *w, const char *name, int ndim, const int64_t *shape, KlWeight *out)
{
    const KlTensor *t;

    return find_shaped(d, w, name, ndim, shape, &t, out);
}

int kl_weights_get_matrix(KlDiag *d, const KlWeights *w, const char *name, int64_t n, int64_t k, KlWeight *out)
{
    const KlTensor *t;
    char wanted[64];
    int ret = find_typed(d, w, name, &t, out);

    if (ret < 0)
        return ret;
    if (t->ndim >= 2 && t->shape[0] == n && row_elements(t) == k) {
        out->data = t->data;
        return 0;
    }
    snprintf(wanted, sizeof(wanted), "%lldx%lld", (long long)n, (long long)k);
    return wrong_shape(d, w, t, wanted);
}

bool kl_weights_max_rank(const KlWeights *w, int64_t *rank)
{
    *rank = 0;
    for (int i = 0; i < w->n_deltas; i++)
        *rank = KL_MAX(*rank, w->deltas[i].rank);
    return w->n_deltas > 0;
}

const KlDelta *kl_weights_deltas(const KlWeights *w, const char *name, int *n)
{
    const KlDelta *first = NULL;

    *n = 0;
    for (int i = 0; i < w->n_deltas; i++)
        if (!strcmp(w->deltas[i].name, name)) {
            first = first ? first : &w->deltas[i];
            ++*n;
        }
    return first;
}

/* v[n] += strength * each whole change. */
static int add_deltas(KlDiag *d, const KlWeights *w, const char *name, float *v, size_t n)
{
    int count;
    const KlDelta *e = kl_weights_deltas(w, name, &count);
    float *x;

    if (!count)
        return 0;
    if (!(x = malloc((n + !n) * sizeof(*x))))
        return kl_fail_memory(d, name, n * sizeof(*x));
    for (int i = 0; i < count; i++) {
        if (e[i].rank)
            continue;
        kl_widen_plain(x, e[i].a, 0, (int64_t)n);
        for (size_t k = 0; k < n; k++)
            v[k] += e[i].strength * x[k];
    }
    free(x);
    return 0;
}

int kl_weights_get_f32(KlDiag *d, const KlWeights *w, const char *name, int ndim, const int64_t *shape, float **out)
{
    const KlTensor *t;
    KlWeight in;
    size_t n;
    int ret;

    *out = NULL;
    ret = find_shaped(d, w, name, ndim, shape, &t, &in);
    if (ret < 0)
        return ret;
    n = t->bytes / kl_file_dtype_bytes(t->dtype) * (size_t)kl_file_dtype_block(t->dtype);
    if (n > SIZE_MAX / sizeof(float) - 1 || !(*out = malloc((n + !n) * sizeof(float))))
        return kl_fail_memory(d, name, n * sizeof(float));
    if (n)
        kl_widen_plain(*out, in, 0, (int64_t)n);
    ret = add_deltas(d, w, name, *out, n);
    if (ret < 0) {
        free(*out);
        *out = NULL;
    }
    return ret;
}
