/*
 * tokenizer.json of the Unigram kind, and tokenizer_config.json.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Of tokenizer.json: model.vocab, model.unk_id, model.byte_fallback,
 * added_tokens, and the precompiled_charsmap of the normalizer. The
 * pre-tokenizer is taken to be T5's (white space splits, every word begins
 * with U+2581), whatever the file says, as transformers' T5Tokenizer does.
 */
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "mapping.h"
#include "tokenizer_internal.h"

#define MAX_VOCAB (1 << 24)

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int load_charsmap(KlDiag *d, KlTokenizer *t, const char *text, size_t len, const char *where)
{
    unsigned char *data;
    size_t n = 0;
    uint32_t bits = 0;
    int ret;

    while (len && text[len - 1] == '=')
        len--;
    data = malloc(len + 1);
    if (!data)
        return kl_fail_memory(d, "the tokenizer", len + 1);
    for (size_t i = 0; i < len; i++) {
        int v = base64_value(text[i]);

        if (v < 0) {
            free(data);
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s': precompiled_charsmap is not base64", where);
        }
        bits = bits << 6 | (uint32_t)v;
        if (i % 4)
            data[n++] = (unsigned char)(bits >> (6 - 2 * (i % 4)));
    }
    ret = kl_charsmap_create(d, &t->charsmap, data, n, where);
    free(data);
    return ret;
}

/* The first Precompiled of the normalizer, which may be one or a Sequence of them. */
static int load_normalizer(KlDiag *d, KlTokenizer *t, const json_t *norm, const char *where)
{
    const json_t *list = json_object_get(norm, "normalizers");
    size_t n = json_is_array(list) ? json_array_size(list) : 1;

    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_array(list) ? json_array_get(list, i) : norm;
        const char *type = json_string_value(json_object_get(one, "type"));
        const json_t *map = json_object_get(one, "precompiled_charsmap");

        if (type && !strcmp(type, "Precompiled") && json_is_string(map))
            return load_charsmap(d, t, json_string_value(map), json_string_length(map), where);
    }
    return 0;
}

static int load_vocab(KlDiag *d, KlTokenizer *t, const json_t *vocab, const char *where)
{
    size_t i;
    json_t *pair;
    int ret;

    if ((ret = kl_unigram_create(d, &t->unigram, where)) < 0)
        return ret;
    json_array_foreach((json_t *)vocab, i, pair) {
        const json_t *piece = json_array_get(pair, 0), *score = json_array_get(pair, 1);

        if (!json_is_string(piece) || !json_is_number(score))
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s': entry %zu of model.vocab is not [piece, score]", where,
                           i);
        ret = kl_unigram_add(d, t->unigram, json_string_value(piece), json_string_length(piece),
                             json_number_value(score));
        if (ret < 0)
            return ret;
    }
    return 0;
}

static int load_added(KlDiag *d, KlTokenizer *t, const json_t *list, const char *where)
{
    const char *text;
    size_t i;
    json_t *one;
    int ret, id;

    json_array_foreach((json_t *)list, i, one) {
        if (!json_is_object(one))
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s': entry %zu of added_tokens is not an object", where, i);
        if ((ret = kl_json_int(d, one, where, "id", KL_JSON_REQUIRED, 0, MAX_VOCAB, &id)) < 0 ||
            (ret = kl_json_string(d, one, where, "content", &text)) < 0)
            return ret;
        if (!text || !*text)
            return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s': entry %zu of added_tokens has no content", where, i);
        if ((ret = kl_tokenizer_add_token(d, t, text, strlen(text), id, where)) < 0)
            return ret;
    }
    return 0;
}

static int load_root(KlDiag *d, KlTokenizer *t, const json_t *root, const char *where, bool byte_fallback)
{
    const json_t *model = json_object_get(root, "model"), *vocab, *added;
    const char *type;
    bool fallback;
    int ret, unk;

    if (!json_is_object(model))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' has no \"model\": it is not a tokenizer.json", where);
    if ((ret = kl_json_string(d, model, where, "type", &type)) < 0)
        return ret;
    if (type && strcmp(type, "Unigram"))
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' is a tokenizer of the %s kind; only Unigram (UMT5) is "
                       "supported", where, type);
    if ((ret = kl_json_array(d, model, where, "vocab", 1, MAX_VOCAB, &vocab)) < 0 ||
        (ret = kl_json_array(d, root, where, "added_tokens", 0, MAX_VOCAB, &added)) < 0 ||
        (ret = kl_json_int(d, model, where, "unk_id", KL_JSON_REQUIRED, 0, MAX_VOCAB, &unk)) < 0 ||
        (ret = kl_json_bool(d, model, where, "byte_fallback", false, &fallback)) < 0)
        return ret;
    if (!vocab)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' has no model.vocab", where);
    if ((ret = load_vocab(d, t, vocab, where)) < 0 || (ret = load_added(d, t, added, where)) < 0 ||
        (ret = load_normalizer(d, t, json_object_get(root, "normalizer"), where)) < 0)
        return ret;
    return kl_unigram_finish(d, t->unigram, unk, fallback && byte_fallback);
}

int kl_tokenizer_load_json(KlDiag *d, KlTokenizer *t, const void *data, size_t bytes, const char *where,
                           bool byte_fallback)
{
    json_t *root;
    int ret;

    if (bytes > KL_JSON_MAX_BYTES)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is too long for a tokenizer.json (%zu bytes)", where, bytes);
    if ((ret = kl_json_parse(d, &root, where, data, bytes)) < 0)
        return ret;
    ret = load_root(d, t, root, where, byte_fallback);
    json_decref(root);
    return ret;
}

/* Whole numbers as reals: transformers writes a model_max_length of 10^30. */
static int parse_config(KlDiag *d, KlTokenizerConfig *c, const char *path, const KlMapping *m)
{
    json_error_t e;
    json_t *root = NULL;
    const char *cls = NULL;
    double extra = -1;
    int ret;

    if (m->bytes && m->bytes <= KL_JSON_MAX_BYTES)
        root = json_loadb((const char *)m->data, m->bytes, JSON_DECODE_INT_AS_REAL, &e);
    if (!json_is_object(root)) {
        json_decref(root);
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is not a JSON object", path);
    }
    if ((ret = kl_json_string(d, root, path, "tokenizer_class", &cls)) >= 0)
        ret = kl_json_real(d, root, path, "extra_ids", -1, 0, 100000, &extra);
    c->t5 = cls && !strncmp(cls, "T5Tokenizer", 11);
    c->extra_ids = (int)extra;
    json_decref(root);
    return ret;
}

int kl_tokenizer_read_config(KlDiag *d, KlTokenizerConfig *c, const char *dir)
{
    char *path = kl_asprintf("%s/tokenizer_config.json", dir);
    KlMapping m;
    int ret;

    *c = (KlTokenizerConfig){ .extra_ids = -1 };
    if (!path)
        return kl_fail_memory(d, "the tokenizer", strlen(dir) + 32);
    ret = kl_map_file(d, &m, path);
    if (!ret) {
        ret = parse_config(d, c, path, &m);
        kl_unmap_file(&m);
    } else if (ret == KLING_ERROR_NOT_FOUND) {
        ret = 0;
        d->error[0] = 0;
    }
    free(path);
    return ret;
}
