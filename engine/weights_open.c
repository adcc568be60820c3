/*
 * Which files make up one part of a model: a file, an index of shards, a folder.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gguf.h"
#include "json.h"
#include "safetensors.h"
#include "weights_internal.h"

#define MAX_SHARDS 4096

/* By its first bytes, whatever it is called. */
static int parse_file(KlDiag *d, KlWeights *w, const char *path, const KlMapping *m, KlTensor **t, int *n)
{
    if (!kl_gguf_is(m->data, m->bytes))
        return kl_safetensors_parse(d, path, m->data, m->bytes, t, n);
    if (w->gguf)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' is one of several GGUF files: merge them into one (gguf-split "
                       "--merge)", path);
    return kl_gguf_parse(d, path, m->data, m->bytes, t, n, &w->gguf);
}

/* Maps one file and appends its tensors. weight_map and shard (the file's name in it) filter: tensors that the index
 * gives to another file, or not at all, are left out. NULL: all. */
static int add_file(KlDiag *d, KlWeights *w, const char *path, const json_t *weight_map, const char *shard)
{
    KlMapping m, *maps;
    KlTensor *t, *all;
    int n, kept = 0, ret = kl_map_file(d, &m, path);

    if (ret < 0)
        return ret;
    if (!(maps = realloc(w->maps, ((size_t)w->n_maps + 1) * sizeof(*maps)))) {
        kl_unmap_file(&m);
        return kl_fail_memory(d, "a list of files", sizeof(*maps));
    }
    w->maps = maps;
    w->maps[w->n_maps++] = m;
    ret = parse_file(d, w, path, &m, &t, &n);
    if (ret < 0)
        return ret;
    if (n > INT_MAX - w->n || !(all = realloc(w->t, ((size_t)w->n + (size_t)n + 1) * sizeof(*t)))) {
        kl_tensors_free(t, n);
        return kl_fail_memory(d, "a list of tensors", (size_t)n * sizeof(*t));
    }
    w->t = all;
    for (int i = 0; i < n; i++) {
        const char *in = json_string_value(json_object_get(weight_map, t[i].name));

        if (!weight_map || (in && !strcmp(in, shard)))
            w->t[w->n++] = t[i];
        else
            t[kept++] = t[i];           /* not ours: freed below */
    }
    kl_tensors_free(t, kept);
    return 0;
}

/* A shard's name is a plain file name: an index must not lead anywhere else. */
static int check_shard_name(KlDiag *d, const char *path, const char *tensor, const char *shard)
{
    if (!shard)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' names no file for tensor '%s'", path, tensor);
    if (!*shard || strchr(shard, '/') || shard[0] == '.')
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' names '%s', which is not a plain file name", path, shard);
    return 0;
}

static int add_shard(KlDiag *d, KlWeights *w, const char *path, const json_t *map, const char *shard)
{
    const char *slash = strrchr(path, '/');
    char *file = kl_asprintf("%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, shard);
    int ret;

    if (!file)
        return kl_fail_memory(d, "a file's name", strlen(path) + strlen(shard));
    ret = add_file(d, w, file, map, shard);
    if (ret == KLING_ERROR_NOT_FOUND)
        ret = kl_fail(d, ret, "the file '%s' is missing; '%s' lists it", file, path);
    free(file);
    return ret;
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Opens every file of the index once, in the order of their names. */
static int add_shards(KlDiag *d, KlWeights *w, const char *path, json_t *map)
{
    size_t n = 0, count = json_object_size(map);
    const char **shards = malloc((count + 1) * sizeof(*shards));
    const char *name;
    json_t *v;
    int ret = 0;

    if (!shards)
        return kl_fail_memory(d, "a list of files", (count + 1) * sizeof(*shards));
    json_object_foreach(map, name, v) {
        ret = check_shard_name(d, path, name, json_string_value(v));
        if (ret < 0)
            break;
        shards[n++] = json_string_value(v);
    }
    if (!ret)
        qsort(shards, n, sizeof(*shards), by_string);
    for (size_t i = 0, opened = 0; i < n && !ret; i++) {
        if (i && !strcmp(shards[i], shards[i - 1]))
            continue;
        if (opened++ == MAX_SHARDS)
            ret = kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' lists more than %d files", path, MAX_SHARDS);
        else
            ret = add_shard(d, w, path, map, shards[i]);
    }
    free(shards);
    return ret;
}

static int check_complete(KlDiag *d, const KlWeights *w, const char *path, json_t *map)
{
    const char *name;
    json_t *v;

    json_object_foreach(map, name, v)
        if (!kl_weights_find(w, name))
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "tensor '%s' is not in '%s', where '%s' says it is", name,
                           json_string_value(v), path);
    return 0;
}

static int open_index(KlDiag *d, KlWeights *w, const char *path)
{
    json_t *root, *map;
    int ret = kl_json_load(d, &root, path);

    if (ret < 0)
        return ret;
    map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || !json_object_size(map))
        ret = kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' has no \"weight_map\"", path);
    else
        ret = add_shards(d, w, path, map);
    if (!ret)
        ret = kl_weights_index(d, w);
    if (!ret)
        ret = check_complete(d, w, path, map);
    json_decref(root);
    if (!ret)
        ret = kl_weights_take_scales(d, w);
    if (!ret)
        ret = kl_weights_index(d, w);
    return ret;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && !memcmp(s + n - m, end, m);
}

static int open_one(KlDiag *d, KlWeights *w, const char *path)
{
    int ret;

    if (ends_with(path, ".json"))
        return open_index(d, w, path);
    ret = add_file(d, w, path, NULL, NULL);
    if (!ret)
        ret = kl_weights_take_scales(d, w);
    return ret < 0 ? ret : kl_weights_index(d, w);
}

static int open_folder(KlDiag *d, KlWeights *w, const char *path)
{
    static const char *const names[] = {
        "model.safetensors.index.json", "model.safetensors",
        "diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model.safetensors",
        "model.fp16.safetensors", "diffusion_pytorch_model.fp16.safetensors",
        "model.bf16.safetensors", "diffusion_pytorch_model.bf16.safetensors", "pytorch_lora_weights.safetensors",
    };
    struct stat st;

    for (size_t i = 0; i < KL_ARRAY_LEN(names); i++) {
        char *file = kl_asprintf("%s/%s", path, names[i]);
        int ret;

        if (!file)
            return kl_fail_memory(d, "a file's name", strlen(path));
        if (stat(file, &st) < 0) {
            free(file);
            continue;
        }
        ret = open_one(d, w, file);
        free(file);
        return ret;
    }
    return kl_fail(d, KLING_ERROR_NOT_FOUND, "no model.safetensors or diffusion_pytorch_model.safetensors (or their "
                   "index), nor pytorch_lora_weights.safetensors, in '%s'", path);
}

int kl_weights_open(KlDiag *d, KlWeights **w, const char *path)
{
    KlWeights *o = kl_weights_alloc(d, path);
    struct stat st;
    int ret;

    *w = NULL;
    if (!o)
        return KLING_ERROR_OUT_OF_MEMORY;
    if (!stat(path, &st) && S_ISDIR(st.st_mode))
        ret = open_folder(d, o, path);
    else
        ret = open_one(d, o, path);
    if (ret < 0)
        kl_weights_close(&o);
    *w = o;
    return ret;
}
