/*
 * LoRA files: changes of a transformer's weights, kept beside them.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lora_internal.h"

#define MAX_FILES 64
#define MAX_RANK (1 << 16)

/* One tensor of a file that is about a layer. */
typedef struct Item {
    const KlTensor *weight;             /* the layer's */
    KlLoraRole role;
    const KlTensor *t;
} Item;

typedef struct File {
    KlDiag *d;
    KlWeights *w;                       /* the transformer */
    KlWeights *lora;
    const char *path;
    double strength;
    KlLoraAlphas alphas;
    Item *items;                        /* n, sorted by layer and role */
    int n;
    char unmatched[160];                /* a few names */
    int n_unmatched, n_skipped;
} File;

static int another_model(const File *f, const KlTensor *t, const KlTensor *weight)
{
    char shape[2][96];

    for (int k = 0; k < 2; k++) {
        const KlTensor *x = k ? weight : t;
        size_t at = 0;

        shape[k][0] = 0;
        for (int i = 0; i < x->ndim && at < sizeof(shape[k]) - 24; i++)
            at += (size_t)snprintf(shape[k] + at, sizeof(shape[k]) - at, "%s%lld", i ? "x" : "",
                                   (long long)x->shape[i]);
    }
    return kl_fail(f->d, KLING_ERROR_INVALID_DATA, "the LoRA '%s' is for another model: its '%s' is %s, the "
                   "transformer's '%s' is %s", f->path, t->file_name, shape[0], weight->file_name, shape[1]);
}

static int add_delta(const File *f, const KlDelta *delta)
{
    KlWeights *w = f->w;
    KlDelta *all = realloc(w->deltas, ((size_t)w->n_deltas + 1) * sizeof(*all));

    if (!all)
        return kl_fail_memory(f->d, "a list of changes", ((size_t)w->n_deltas + 1) * sizeof(*all));
    w->deltas = all;
    w->deltas[w->n_deltas] = *delta;
    w->deltas[w->n_deltas].order = w->n_deltas;
    w->n_deltas++;
    return 0;
}

/* Rows and columns of a layer, 0 when it is no matrix. */
static int64_t rows_of(const KlTensor *t)
{
    return t->ndim >= 2 ? t->shape[0] : 0;
}

static int64_t columns_of(const KlTensor *t)
{
    int64_t n = t->ndim >= 2;

    for (int i = 1; i < t->ndim; i++)
        n *= t->shape[i];               /* bounded by the bytes, which were checked */
    return n;
}

static int alpha_of(const File *f, const KlTensor *t, double *out)
{
    float *v;
    int ret = kl_weights_get_f32(f->d, f->lora, t->name, t->ndim, t->shape, &v);

    if (ret < 0)
        return ret;
    *out = t->bytes ? v[0] : NAN;
    for (int i = 0; i < t->ndim; i++)
        if (t->shape[i] != 1)
            *out = NAN;
    free(v);
    if (!isfinite(*out))
        return kl_fail(f->d, KLING_ERROR_INVALID_DATA, "'%s' of the LoRA '%s' is not one number", t->file_name,
                       f->path);
    return 0;
}

static int add_low_rank(const File *f, const KlTensor *weight, const KlTensor *a, const KlTensor *b,
                        const KlTensor *alpha)
{
    const int64_t n = rows_of(weight), k = columns_of(weight);
    KlDelta delta = { .name = weight->name };
    double scale = 0;
    int ret = 0;

    if (!a || !b)
        return kl_fail(f->d, KLING_ERROR_INVALID_DATA, "the LoRA '%s' has '%s', but not the other of the pair", f->path,
                       (a ? a : b ? b : alpha)->file_name);
    delta.rank = rows_of(a);
    if (delta.rank < 1 || delta.rank > MAX_RANK || !n || columns_of(a) != k)
        return another_model(f, a, weight);
    if (rows_of(b) != n || columns_of(b) != delta.rank)
        return another_model(f, b, weight);
    if ((ret = kl_weights_get_matrix(f->d, f->lora, a->name, delta.rank, k, &delta.a)) < 0 ||
        (ret = kl_weights_get_matrix(f->d, f->lora, b->name, n, delta.rank, &delta.b)) < 0)
        return ret;
    if (alpha && (ret = alpha_of(f, alpha, &scale)) < 0)
        return ret;
    if (!alpha)
        scale = f->alphas.alpha > 0 ? f->alphas.alpha : (double)delta.rank;
    scale /= !alpha && f->alphas.alpha > 0 && f->alphas.rslora ? sqrt((double)delta.rank) : (double)delta.rank;
    delta.strength = (float)(f->strength * scale);
    return add_delta(f, &delta);
}

/* A whole change of the tensor `name` of the transformer, which has as many elements. */
static int add_whole(const File *f, const KlTensor *target, const KlTensor *t)
{
    const size_t have = t->bytes / kl_file_dtype_bytes(t->dtype);
    KlDelta delta = { .name = target->name, .strength = (float)f->strength };
    size_t want = 1;
    int ret;

    for (int i = 0; i < target->ndim; i++)
        want *= (size_t)target->shape[i];
    if (have != want || kl_file_dtype_block(t->dtype) != 1 || (rows_of(target) > 1 && target->shape[0] != t->shape[0]))
        return another_model(f, t, target);
    if (target->ndim >= 2 && t->ndim >= 2)
        ret = kl_weights_get_matrix(f->d, f->lora, t->name, t->shape[0], columns_of(t), &delta.a);
    else
        ret = kl_weights_get(f->d, f->lora, t->name, t->ndim, t->shape, &delta.a);
    return ret ? ret : add_delta(f, &delta);
}

/* X.bias of the layer X.weight; NULL when it has none. */
static const KlTensor *bias_of(const File *f, const KlTensor *weight)
{
    const size_t n = strlen(weight->name) - strlen("weight");
    char *name = kl_asprintf("%.*sbias", (int)n, weight->name);
    const KlTensor *t = name ? kl_weights_find(f->w, name) : NULL;

    free(name);
    return t;
}

/* The tensors of one layer, items[0..n). */
static int add_layer(const File *f, const Item *items, int n)
{
    const KlTensor *part[KL_LORA_ALPHA + 1] = { 0 };
    int ret = 0;

    for (int i = 0; i < n && !ret; i++) {
        const KlLoraRole role = items[i].role;

        if (i && role == items[i - 1].role)
            ret = kl_fail(f->d, KLING_ERROR_INVALID_DATA, "the LoRA '%s' has both '%s' and '%s'", f->path,
                          items[i - 1].t->file_name, items[i].t->file_name);
        else if (role <= KL_LORA_ALPHA)
            part[role] = items[i].t;
        else if (role == KL_LORA_DIFF_BIAS)
            ret = add_whole(f, bias_of(f, items[i].weight), items[i].t);
        else
            ret = add_whole(f, items[i].weight, items[i].t);
    }
    if (!ret && (part[KL_LORA_A] || part[KL_LORA_B]))
        ret = add_low_rank(f, items[0].weight, part[KL_LORA_A], part[KL_LORA_B], part[KL_LORA_ALPHA]);
    return ret;
}

static int by_layer(const void *a, const void *b)
{
    const Item *x = a, *y = b;

    if (x->weight != y->weight)
        return x->weight < y->weight ? -1 : 1;
    if (x->role != y->role)
        return x->role < y->role ? -1 : 1;
    return strcmp(x->t->file_name, y->t->file_name);
}

static void note_unmatched(File *f, const char *name)
{
    const size_t at = strlen(f->unmatched);

    if (f->n_unmatched++ < 4)
        snprintf(f->unmatched + at, sizeof(f->unmatched) - at, "%s'%s'", at ? ", " : "", name);
}

static bool is_table(const KlTensor *t)
{
    const size_t n = strlen(t->name);

    return n >= 17 && !strcmp(t->name + n - 17, "scale_shift_table");
}

/* Which tensor is about which layer. */
static int match(File *f, const KlLoraNames *names, KlExpert expert)
{
    int n;
    const KlTensor *t = kl_weights_all(f->lora, &n);

    if (!(f->items = calloc((size_t)n + 1, sizeof(*f->items))))
        return kl_fail_memory(f->d, "a list of changes", ((size_t)n + 1) * sizeof(*f->items));
    for (int i = 0; i < n; i++) {
        size_t stem;
        const KlLoraRole role = kl_lora_role(t[i].name, &stem);
        const KlTensor *weight;

        if (role == KL_LORA_OTHER)
            return kl_fail(f->d, KLING_ERROR_UNSUPPORTED, "'%s' is an adapter of a kind that is not supported (it has "
                           "'%s'): only LoRA is", f->path, t[i].file_name);
        if (kl_lora_is_low(t[i].name) && expert == KL_EXPERT_HIGH) {
            f->n_skipped++;
            continue;
        }
        weight = role == KL_LORA_NONE ? NULL : kl_lora_layer(names, t[i].name, stem);
        if (!weight || (role == KL_LORA_DIFF_BIAS && !bias_of(f, weight)) ||
            (role == KL_LORA_DIFF_TABLE && !is_table(weight)))
            note_unmatched(f, t[i].file_name);
        else
            f->items[f->n++] = (Item){ weight, role, &t[i] };
    }
    qsort(f->items, (size_t)f->n, sizeof(*f->items), by_layer);
    return 0;
}

static int account(const File *f)
{
    int n;

    kl_weights_all(f->lora, &n);
    if (!f->n && n && n == f->n_skipped)
        return 0;
    if (!f->n)
        return kl_fail(f->d, KLING_ERROR_INVALID_DATA, "'%s' is no LoRA for this transformer: none of its %d tensors "
                       "matches a layer (the first are %s)", f->path, n, f->unmatched);
    kl_log(f->d, KLING_LOG_INFO, "LoRA '%s': %d of %d tensors match, strength %g", f->path, f->n, n, f->strength);
    if (f->n_unmatched)
        kl_log(f->d, KLING_LOG_WARNING, "LoRA '%s': %d tensors match no layer of this transformer and change nothing: "
               "%s%s", f->path, f->n_unmatched, f->unmatched, f->n_unmatched > 4 ? ", ..." : "");
    return 0;
}

static int add_file(KlDiag *d, KlWeights *w, const KlLoraNames *names, const char *path, double strength,
                    KlExpert expert)
{
    File f = { .d = d, .w = w, .path = path, .strength = strength };
    KlWeights **loras = realloc(w->loras, ((size_t)w->n_loras + 1) * sizeof(*loras));
    int ret;

    if (!loras)
        return kl_fail_memory(d, "a list of files", ((size_t)w->n_loras + 1) * sizeof(*loras));
    w->loras = loras;
    ret = kl_weights_open(d, &f.lora, path);
    if (ret < 0)
        return ret;
    w->loras[w->n_loras++] = f.lora;
    ret = kl_lora_read_alphas(d, f.lora, &f.alphas);
    if (!ret)
        ret = match(&f, names, expert);
    if (!ret)
        ret = account(&f);
    for (int i = 0, end; i < f.n && !ret; i = end) {
        for (end = i + 1; end < f.n && f.items[end].weight == f.items[i].weight; )
            end++;
        ret = add_layer(&f, f.items + i, end - i);
    }
    free(f.items);
    return ret;
}

/* -- the option's text -- */

/* Cuts ":high", ":low" and ":STRENGTH" off entry, which becomes the path. */
static int parse_entry(KlDiag *d, char *entry, double *strength, KlExpert *target)
{
    char *colon = strrchr(entry, ':'), *end;

    *strength = 1;
    *target = KL_EXPERT_ONLY;
    if (colon && (!strcmp(colon, ":high") || !strcmp(colon, ":low"))) {
        *target = colon[1] == 'h' ? KL_EXPERT_HIGH : KL_EXPERT_LOW;
        *colon = 0;
        colon = strrchr(entry, ':');
    }
    if (colon && colon[1]) {
        const double v = strtod(colon + 1, &end);

        if (!*end) {
            if (!(fabs(v) <= 100))
                return kl_fail(d, KLING_ERROR_INVALID_ARG, "the strength '%s' of the LoRA '%.*s' is not in -100..100",
                               colon + 1, (int)(colon - entry), entry);
            *strength = v;
            *colon = 0;
        }
    }
    if (!*entry)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "a LoRA without a file: PATH[:STRENGTH][:high|low] is wanted");
    return 0;
}

static int add_entry(KlDiag *d, KlWeights *w, const KlLoraNames *names, char *entry, KlExpert expert)
{
    KlExpert target;
    double strength;
    int ret = parse_entry(d, entry, &strength, &target);

    if (ret < 0)
        return ret;
    if (target != KL_EXPERT_ONLY && expert == KL_EXPERT_ONLY)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "the LoRA '%s' is for the %s-noise expert; this model has one "
                       "transformer: leave :%s out", entry, target == KL_EXPERT_HIGH ? "high" : "low",
                       target == KL_EXPERT_HIGH ? "high" : "low");
    if (target != KL_EXPERT_ONLY && target != expert)
        return 0;
    return add_file(d, w, names, entry, strength, expert);
}

static int by_name(const void *a, const void *b)
{
    const KlDelta *x = a, *y = b;
    const int c = strcmp(x->name, y->name);

    return c ? c : (x->order > y->order) - (x->order < y->order);
}

int kl_lora_attach(KlDiag *d, KlWeights *w, const char *spec, KlExpert expert)
{
    KlLoraNames names;
    char *copy, *entry, *next;
    int ret, n = 0;

    if (!spec || !*spec)
        return 0;
    if (!(copy = kl_strdup(spec)))
        return kl_fail_memory(d, "a file's name", strlen(spec) + 1);
    ret = kl_lora_names_create(d, &names, w);
    for (entry = copy; entry && !ret; entry = next) {
        if ((next = strchr(entry, '|')))
            *next++ = 0;
        if (n++ == MAX_FILES)
            ret = kl_fail(d, KLING_ERROR_INVALID_ARG, "more than %d LoRAs", MAX_FILES);
        else
            ret = add_entry(d, w, &names, entry, expert);
    }
    kl_lora_names_free(&names);
    free(copy);
    if (!ret && w->n_deltas)
        qsort(w->deltas, (size_t)w->n_deltas, sizeof(*w->deltas), by_name);
    return ret;
}
