/*
 * Prompt text to UMT5 token ids.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The prompt is cleaned, cut at added tokens ("</s>"), and each part between
 * them normalised, cut at white space, and each word, begun by U+2581, given
 * to the Unigram model: what transformers' T5Tokenizer does.
 */
#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gguf.h"
#include "mapping.h"
#include "prompt_clean.h"
#include "safetensors.h"
#include "tokenizer_internal.h"

#define SPACE "\xe2\x96\x81"            /* U+2581, which stands for a space in pieces */
#define T5_SENTINELS 100                /* T5Tokenizer's extra_ids when tokenizer_config.json does not say */

int kl_tokenizer_add_token(KlDiag *d, KlTokenizer *t, const char *text, size_t len, int32_t id, const char *where)
{
    KlAddedToken *p;

    if (!len || kl_utf8_check(text, len) < len || memchr(text, 0, len))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s': the token of id %d is empty or not UTF-8", where, id);
    for (int i = 0; i < t->n_added; i++)
        if (t->added[i].len == len && !memcmp(t->added[i].text, text, len)) {
            t->added[i].id = id;
            return 0;
        }
    p = realloc(t->added, ((size_t)t->n_added + 1) * sizeof(*p));
    if (!p)
        return kl_fail_memory(d, "the tokenizer", ((size_t)t->n_added + 1) * sizeof(*p));
    t->added = p;
    p += t->n_added;
    p->text = malloc(len + 1);
    if (!p->text)
        return kl_fail_memory(d, "the tokenizer", len + 1);
    memcpy(p->text, text, len);
    p->text[len] = 0;
    p->len = len;
    p->id = id;
    t->n_added++;
    return 0;
}

/* T5's sentinels, counted down behind the pieces, where the model does not have them itself. */
static int add_sentinels(KlDiag *d, KlTokenizer *t, int n, const char *where)
{
    char name[32];
    int ret = 0, base = kl_unigram_size(t->unigram);

    for (int i = 0; i < n && ret >= 0; i++) {
        size_t len = (size_t)snprintf(name, sizeof(name), "<extra_id_%d>", i);
        int32_t id = kl_unigram_find(t->unigram, name, len);

        ret = kl_tokenizer_add_token(d, t, name, len, id >= 0 ? id : base + n - 1 - i, where);
    }
    return ret;
}

static int find_special(KlDiag *d, KlTokenizer *t, const char *where)
{
    t->eos = kl_unigram_find(t->unigram, "</s>", 4);
    if (t->eos < 0)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' has no end token </s>: it is not a UMT5 tokenizer", where);
    t->vocab = kl_unigram_size(t->unigram);
    for (int i = 0; i < t->n_added; i++)
        t->vocab = KL_MAX(t->vocab, t->added[i].id + 1);
    return 0;
}

/* { and ", with white space allowed before each; a SentencePiece model begins with a line feed, too. */
static bool is_json(const char *s, size_t bytes)
{
    const char *want = "{\"";

    for (size_t i = 0; i < bytes && *want; i++)
        if (s[i] == *want)
            want++;
        else if (!s[i] || !strchr(" \t\r\n", s[i]))
            return false;
    return !*want;
}

static int open_bytes(KlDiag *d, KlTokenizer **t, const void *data, size_t bytes, const char *name,
                      const KlTokenizerConfig *c)
{
    int ret;

    *t = calloc(1, sizeof(**t));
    if (!*t)
        return kl_fail_memory(d, "the tokenizer", sizeof(**t));
    if (is_json(data, bytes)) {
        /* transformers' T5 class ignores the file's byte_fallback, other classes do as it says */
        ret = kl_tokenizer_load_json(d, *t, data, bytes, name, !c->t5);
    } else {
        ret = kl_tokenizer_load_spm(d, *t, data, bytes, name);
        if (ret >= 0)
            ret = add_sentinels(d, *t, c->extra_ids >= 0 ? c->extra_ids : c->t5 ? T5_SENTINELS : 0, name);
    }
    if (ret >= 0)
        ret = find_special(d, *t, name);
    if (ret < 0)
        kl_tokenizer_close(t);
    return ret;
}

int kl_tokenizer_open_gguf(KlDiag *d, KlTokenizer **t, const KlGguf *gguf, const char *name)
{
    int ret;

    *t = calloc(1, sizeof(**t));
    if (!*t)
        return kl_fail_memory(d, "the tokenizer", sizeof(**t));
    ret = kl_tokenizer_load_gguf(d, *t, gguf, name);
    if (ret >= 0)
        ret = find_special(d, *t, name);
    if (ret < 0)
        kl_tokenizer_close(t);
    return ret;
}

/* Of a GGUF file only the metadata is wanted, but its tensors are checked as well. */
static int open_gguf(KlDiag *d, KlTokenizer **t, const KlMapping *m, const char *path)
{
    KlGguf *gguf;
    KlTensor *tensors;
    int n, ret = kl_gguf_parse(d, path, m->data, m->bytes, &tensors, &n, &gguf);

    if (ret < 0)
        return ret;
    ret = kl_tokenizer_open_gguf(d, t, gguf, path);
    kl_tensors_free(tensors, n);
    kl_gguf_free(&gguf);
    return ret;
}

static int open_file(KlDiag *d, KlTokenizer **t, const char *path, const KlTokenizerConfig *c)
{
    KlMapping m;
    int ret = kl_map_file(d, &m, path);

    if (ret < 0)
        return ret;
    if (!m.bytes)
        ret = kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is empty", path);
    else if (kl_gguf_is(m.data, m.bytes))
        ret = open_gguf(d, t, &m, path);
    else
        ret = open_bytes(d, t, m.data, m.bytes, path, c);
    kl_unmap_file(&m);
    return ret;
}

/* The folder that a file lies in, malloc'd. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? kl_asprintf("%.*s", (int)(slash - path), path) : kl_strdup(".");
}

int kl_tokenizer_open(KlDiag *d, KlTokenizer **t, const char *path)
{
    static const char *const names[] = { "spiece.model", "tokenizer.json" };
    KlTokenizerConfig c;
    struct stat st;
    char *dir, *file = NULL;
    bool folder;
    int ret;

    *t = NULL;
    if (stat(path, &st) < 0)
        return kl_fail(d, KLING_ERROR_NOT_FOUND, "no tokenizer at '%s'", path);
    folder = S_ISDIR(st.st_mode);
    dir = folder ? kl_strdup(path) : folder_of(path);
    if (!dir)
        return kl_fail_memory(d, "the tokenizer", strlen(path) + 1);
    ret = kl_tokenizer_read_config(d, &c, dir);
    for (size_t i = 0; folder && ret >= 0 && !file && i < KL_ARRAY_LEN(names); i++) {
        file = kl_asprintf("%s/%s", path, names[i]);
        if (!file) {
            ret = kl_fail_memory(d, "the tokenizer", strlen(path) + 32);
        } else if (stat(file, &st) < 0) {
            free(file);
            file = NULL;
        }
    }
    if (ret >= 0 && folder && !file)
        ret = kl_fail(d, KLING_ERROR_NOT_FOUND, "no tokenizer in '%s': it needs spiece.model or tokenizer.json", path);
    if (ret >= 0)
        ret = open_file(d, t, folder ? file : path, &c);
    free(file);
    free(dir);
    return ret;
}

int kl_tokenizer_open_memory(KlDiag *d, KlTokenizer **t, const void *spiece, size_t bytes, const char *name)
{
    const KlTokenizerConfig none = { .extra_ids = -1 };

    return open_bytes(d, t, spiece, bytes, name, &none);
}

void kl_tokenizer_close(KlTokenizer **t)
{
    if (!*t)
        return;
    for (int i = 0; i < (*t)->n_added; i++)
        free((*t)->added[i].text);
    free((*t)->added);
    kl_charsmap_destroy(&(*t)->charsmap);
    kl_unigram_destroy(&(*t)->unigram);
    free(*t);
    *t = NULL;
}

int kl_tokenizer_vocab(const KlTokenizer *t)
{
    return t->vocab;
}

/* The longest added token at the start of s, NULL if there is none. */
static const KlAddedToken *added_at(const KlTokenizer *t, const char *s, size_t left)
{
    const KlAddedToken *best = NULL;

    for (int i = 0; i < t->n_added; i++) {
        const KlAddedToken *a = &t->added[i];

        if (a->text[0] == *s && a->len <= left && !memcmp(a->text, s, a->len) && (!best || a->len > best->len))
            best = a;
    }
    return best;
}

/* One word without white space; it is cut again where it holds a U+2581 itself. */
static int encode_word(const KlTokenizer *t, KlDiag *d, const char *s, size_t len, KlBuf *buf, KlIds *ids)
{
    const size_t space = sizeof(SPACE) - 1;
    size_t pos, end;
    int ret = 0;

    buf->len = 0;
    if (len < space || memcmp(s, SPACE, space))
        kl_buf_put(buf, SPACE, space);
    kl_buf_put(buf, s, len);
    if (buf->failed)
        return kl_fail_memory(d, "the tokenizer", len);
    for (pos = 0; pos < buf->len && ret >= 0; pos = end) {
        for (end = pos + space; end < buf->len; end++)
            if (buf->len - end >= space && !memcmp(buf->s + end, SPACE, space))
                break;
        ret = kl_unigram_encode(t->unigram, d, buf->s + pos, end - pos, ids);
    }
    return ret;
}

/* A part of the prompt between added tokens. */
static int encode_part(const KlTokenizer *t, KlDiag *d, const char *s, size_t len, KlIds *ids)
{
    KlBuf text = { 0 }, word = { 0 };
    size_t n, end;
    uint32_t cp;
    int ret = 0;

    kl_charsmap_apply(t->charsmap, s, len, &text);
    if (text.failed)
        ret = kl_fail_memory(d, "the tokenizer", 2 * len);
    for (size_t pos = 0; ret >= 0 && pos < text.len && ids->n < ids->max; pos = end + (end == pos ? n : 0)) {
        n = 1;
        for (end = pos; end < text.len && (n = kl_utf8_next(text.s + end, text.len - end, &cp)); end += n)
            if (kl_is_space(cp))
                break;
        if (!n)
            break;
        if (end > pos)
            ret = encode_word(t, d, text.s + pos, end - pos, &word, ids);
    }
    kl_buf_free(&text);
    kl_buf_free(&word);
    return ret;
}

static int encode_clean(const KlTokenizer *t, KlDiag *d, const char *s, KlIds *ids)
{
    size_t len = strlen(s), begin = 0, pos = 0;
    int ret = 0;

    while (pos < len && ret >= 0 && ids->n < ids->max) {
        const KlAddedToken *a = added_at(t, s + pos, len - pos);

        if (!a) {
            pos++;
            continue;
        }
        ret = encode_part(t, d, s + begin, pos - begin, ids);
        kl_ids_put(ids, a->id);
        begin = pos += a->len;
    }
    return ret < 0 ? ret : encode_part(t, d, s + begin, len - begin, ids);
}

int kl_tokenizer_encode(const KlTokenizer *t, KlDiag *d, const char *text, int32_t *ids, int max_tok, int *n)
{
    KlIds all = { ids, 0, max_tok };
    char *clean;
    int ret;

    *n = 0;
    if (max_tok < 1)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "no room for a token");
    if ((ret = kl_clean(d, text, &clean)) < 0)
        return ret;
    ret = encode_clean(t, d, clean, &all);
    free(clean);
    if (ret < 0)
        return ret;
    if (all.n == max_tok) {             /* no room for the end token: something must go */
        kl_log(d, KLING_LOG_WARNING, "the prompt is longer than %d tokens: the rest is left out", max_tok);
        all.n--;
    }
    kl_ids_put(&all, t->eos);
    *n = all.n;
    return 0;
}
