/*
 * The Unigram model: pieces with scores, and the best way to cut a word.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A word is cut into the pieces whose log probabilities have the largest sum
 * (Viterbi, left to right). A character that is no piece costs 10 more than
 * the worst piece. As in transformers: sums in double, ties to the first
 * found (shorter pieces first), neighbouring unknown characters become one
 * <unk>, or, with byte fallback, one <0xNN> per byte.
 */
#include "unigram.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

#define MAX_PIECES (1 << 24)
#define UNK_PENALTY 10.0

struct KlUnigram {
    KlBuf text;                         /* all pieces, one after the other */
    size_t *end;                        /* [n] of each in text */
    double *score;                      /* [n] */
    int n, cap;
    uint32_t *slots;                    /* hash table of ids + 1, 0 is free; a power of two of them */
    uint32_t mask;
    size_t longest;                     /* bytes */
    double unk_score;
    int unk;
    bool bytes;                         /* fall back to them */
    int32_t byte_id[256];               /* -1: none */
    char where[256];
};

#define HASH_START 0x811c9dc5u

static uint32_t hash_step(uint32_t h, char c)
{
    return (h ^ (unsigned char)c) * 0x01000193u;
}

static uint32_t hash_slot(uint32_t h)
{
    return h ^ h >> 15;
}

static const char *piece(const KlUnigram *u, int id, size_t *len)
{
    size_t start = id ? u->end[id - 1] : 0;

    *len = u->end[id] - start;
    return u->text.s + start;
}

void kl_ids_put(KlIds *ids, int32_t id)
{
    if (ids->n < ids->max)
        ids->id[ids->n++] = id;
}

int kl_unigram_create(KlDiag *d, KlUnigram **u, const char *where)
{
    *u = calloc(1, sizeof(**u));
    if (!*u)
        return kl_fail_memory(d, "the tokenizer", sizeof(**u));
    snprintf((*u)->where, sizeof((*u)->where), "%s", where);
    return 0;
}

void kl_unigram_destroy(KlUnigram **u)
{
    if (!*u)
        return;
    kl_buf_free(&(*u)->text);
    free((*u)->end);
    free((*u)->score);
    free((*u)->slots);
    free(*u);
    *u = NULL;
}

int kl_unigram_size(const KlUnigram *u)
{
    return u->n;
}

int kl_unigram_add(KlDiag *d, KlUnigram *u, const char *s, size_t len, double score)
{
    if (!len || kl_utf8_check(s, len) < len || memchr(s, 0, len))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s': piece %d is empty or not UTF-8", u->where, u->n);
    if (!(fabs(score) < 1e30))
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s': the score of piece %d is not a number", u->where, u->n);
    if (u->n == MAX_PIECES)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s': more than %d pieces", u->where, MAX_PIECES);
    if (u->n == u->cap) {
        int cap = u->cap ? 2 * u->cap : 1024;
        size_t *end = realloc(u->end, (size_t)cap * sizeof(*end));
        double *scores = end ? realloc(u->score, (size_t)cap * sizeof(*scores)) : NULL;

        u->end = end ? end : u->end;
        u->score = scores ? scores : u->score;
        if (!scores)
            return kl_fail_memory(d, "the tokenizer", (size_t)cap * 16);
        u->cap = cap;
    }
    kl_buf_put(&u->text, s, len);
    if (u->text.failed)
        return kl_fail_memory(d, "the tokenizer", u->text.len + len);
    u->end[u->n] = u->text.len;
    u->score[u->n++] = score;
    u->longest = KL_MAX(u->longest, len);
    return 0;
}

static int32_t find_hashed(const KlUnigram *u, uint32_t h, const char *s, size_t len)
{
    for (uint32_t i = hash_slot(h) & u->mask; u->slots[i]; i = (i + 1) & u->mask) {
        int32_t id = (int32_t)u->slots[i] - 1;
        size_t n;
        const char *p = piece(u, id, &n);

        if (n == len && !memcmp(p, s, len))
            return id;
    }
    return -1;
}

int32_t kl_unigram_find(const KlUnigram *u, const char *s, size_t len)
{
    uint32_t h = HASH_START;

    for (size_t i = 0; i < len; i++)
        h = hash_step(h, s[i]);
    return find_hashed(u, h, s, len);
}

static void insert(KlUnigram *u, int id)
{
    size_t len, n;
    const char *s = piece(u, id, &len), *p;
    uint32_t h = HASH_START, i;

    for (size_t j = 0; j < len; j++)
        h = hash_step(h, s[j]);
    for (i = hash_slot(h) & u->mask; u->slots[i]; i = (i + 1) & u->mask)
        if ((p = piece(u, (int)u->slots[i] - 1, &n)) && n == len && !memcmp(p, s, len))
            break;
    u->slots[i] = (uint32_t)id + 1;
}

int kl_unigram_finish(KlDiag *d, KlUnigram *u, int unk_id, bool byte_fallback)
{
    uint32_t slots = 64;
    double worst = 0;
    char name[8];

    if (unk_id < 0 || unk_id >= u->n)
        return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s': %d pieces, and none of them for unknown characters",
                       u->where, u->n);
    while (slots < 2 * (uint32_t)u->n)
        slots *= 2;
    u->mask = slots - 1;
    u->slots = calloc(slots, sizeof(*u->slots));
    if (!u->slots)
        return kl_fail_memory(d, "the tokenizer", slots * sizeof(*u->slots));
    for (int i = 0; i < u->n; i++) {
        insert(u, i);
        worst = i ? fmin(worst, u->score[i]) : u->score[i];
    }
    u->unk = unk_id;
    u->unk_score = worst - UNK_PENALTY;
    u->bytes = byte_fallback;
    for (int i = 0; i < 256; i++) {
        snprintf(name, sizeof(name), "<0x%02X>", (unsigned)i);
        u->byte_id[i] = kl_unigram_find(u, name, 6);
    }
    return 0;
}

typedef struct Node {                   /* the best way to the end of a character */
    double score;
    size_t start;                       /* of the last piece */
    int32_t id;                         /* of the last piece; -1: not reached */
} Node;

static void reach(Node *to, double score, size_t start, int32_t id)
{
    if (to->id < 0 || score > to->score)
        *to = (Node){ score, start, id };
}

static void search(const KlUnigram *u, const char *s, size_t len, Node *node)
{
    size_t n;
    uint32_t cp;

    for (size_t start = 0; start < len && (n = kl_utf8_next(s + start, len - start, &cp)); start += n) {
        const size_t longest = KL_MIN(u->longest, len - start);
        double before = node[start].score;
        uint32_t h = HASH_START;
        bool single = false;

        for (size_t l = 1; l <= longest; l++) {
            int32_t id;

            h = hash_step(h, s[start + l - 1]);
            if ((start + l < len && (s[start + l] & 0xc0) == 0x80) ||
                (id = find_hashed(u, h, s + start, l)) < 0)
                continue;
            reach(&node[start + l], before + u->score[id], start, id);
            single |= l == n;
        }
        if (!single)
            reach(&node[start + n], before + u->unk_score, start, u->unk);
    }
}

static void put_unknown(const KlUnigram *u, const char *s, size_t len, KlIds *ids)
{
    bool all = u->bytes;

    for (size_t i = 0; i < len && all; i++)
        all = u->byte_id[(unsigned char)s[i]] >= 0;
    if (!all)
        kl_ids_put(ids, u->unk);
    else
        for (size_t i = 0; i < len; i++)
            kl_ids_put(ids, u->byte_id[(unsigned char)s[i]]);
}

int kl_unigram_encode(const KlUnigram *u, KlDiag *d, const char *word, size_t len, KlIds *ids)
{
    Node *node = malloc((len + 1) * sizeof(*node));
    size_t unknown = SIZE_MAX;          /* where a run of them began */

    if (!node)
        return kl_fail_memory(d, "the tokenizer", (len + 1) * sizeof(*node));
    for (size_t i = 0; i <= len; i++)
        node[i] = (Node){ 0, 0, -1 };
    search(u, word, len, node);
    /* the links lead backward: turn them round, so that node[pos].start is the end of the piece that begins at pos */
    for (size_t end = len, after = 0, start; ; after = end, end = start) {
        start = node[end].start;
        node[end].start = after;
        if (!end)
            break;
    }
    for (size_t pos = 0, end; pos < len; pos = end) {
        end = node[pos].start;
        if (node[end].id == u->unk) {
            unknown = KL_MIN(unknown, pos);
            if (end < len)
                continue;
        }
        if (unknown != SIZE_MAX)
            put_unknown(u, word + unknown, (node[end].id == u->unk ? end : pos) - unknown, ids);
        unknown = SIZE_MAX;
        if (node[end].id != u->unk)
            kl_ids_put(ids, node[end].id);
    }
    free(node);
    return 0;
}
