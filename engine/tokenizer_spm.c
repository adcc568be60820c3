/*
 * SentencePiece's model file: pieces, scores and normalisation rules.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The file is a protobuf message, sentencepiece_model.proto's ModelProto. Of
 * its fields these matter:
 *
 *     1 pieces: 1 text, 2 score (f32), 3 type (1 normal, 2 unknown, 3 control,
 *               4 user-defined, 5 unused, 6 byte)
 *     2 trainer_spec: 3 model_type (1 unigram)
 *     3 normalizer_spec: 2 precompiled_charsmap
 *
 * It is read here, and pieces are searched by unigram.c, because the ids to
 * equal are not those of the SentencePiece library but of transformers, which
 * reads the same three things and goes on with its own search (sums in double,
 * no byte fallback for T5, its own use of the rules). The library would also
 * end the program on some damaged files.
 */
#include <string.h>

#include "tokenizer_internal.h"

typedef struct Reader {
    const unsigned char *p, *end;
} Reader;

typedef struct Field {
    unsigned number, wire;
    uint64_t value;                     /* wire 0, 1, 5 */
    Reader bytes;                       /* wire 2 */
} Field;

static bool read_varint(Reader *r, uint64_t *v)
{
    *v = 0;
    for (unsigned shift = 0; shift < 64 && r->p < r->end; shift += 7) {
        unsigned char c = *r->p++;

        *v |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80)
            return true;
    }
    return false;
}

static bool read_fixed(Reader *r, unsigned n, uint64_t *v)
{
    *v = 0;
    if ((size_t)(r->end - r->p) < n)
        return false;
    for (unsigned i = 0; i < n; i++)
        *v |= (uint64_t)*r->p++ << 8 * i;
    return true;
}

/* 1: a field, 0: the end, -1: damaged. */
static int read_field(Reader *r, Field *f)
{
    uint64_t key, len;

    if (r->p == r->end)
        return 0;
    if (!read_varint(r, &key) || key >> 3 > 1u << 29 || !(key >> 3))
        return -1;
    f->number = (unsigned)(key >> 3);
    f->wire = key & 7;
    switch (f->wire) {
    case 0:
        return read_varint(r, &f->value) ? 1 : -1;
    case 1:
        return read_fixed(r, 8, &f->value) ? 1 : -1;
    case 2:
        if (!read_varint(r, &len) || len > (uint64_t)(r->end - r->p))
            return -1;
        f->bytes = (Reader){ r->p, r->p + len };
        r->p += len;
        return 1;
    case 5:
        return read_fixed(r, 4, &f->value) ? 1 : -1;
    default:
        return -1;                      /* groups: not in this format */
    }
}

static int damaged(KlDiag *d, const char *where)
{
    return kl_fail(d, KLING_ERROR_INVALID_DATA, "'%s' is not a SentencePiece model, or is damaged", where);
}

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3 };

static int load_piece(KlDiag *d, KlTokenizer *t, Reader r, const char *where, int *unk)
{
    const int32_t id = kl_unigram_size(t->unigram);
    Reader text = { 0 };
    uint32_t bits = 0;
    uint64_t type = NORMAL;
    float score;
    Field f = { 0 };
    int ret;

    while ((ret = read_field(&r, &f)) > 0) {
        if (f.number == 1 && f.wire == 2)
            text = f.bytes;
        else if (f.number == 2 && f.wire == 5)
            bits = (uint32_t)f.value;
        else if (f.number == 3 && f.wire == 0)
            type = f.value;
    }
    if (ret < 0)
        return damaged(d, where);
    memcpy(&score, &bits, sizeof(score));
    ret = kl_unigram_add(d, t->unigram, (const char *)text.p, (size_t)(text.end - text.p), score);
    if (ret < 0)
        return ret;
    if (type == UNKNOWN)
        *unk = id;
    if (type == UNKNOWN || type == CONTROL)
        return kl_tokenizer_add_token(d, t, (const char *)text.p, (size_t)(text.end - text.p), id, where);
    return 0;
}

/* The last submessage `number` of r, empty when there is none; false when damaged. */
static bool last_field(Reader r, unsigned number, unsigned wire, Field *out)
{
    Field f;
    int ret;

    *out = (Field){ .value = 0, .bytes = { r.end, r.end } };
    while ((ret = read_field(&r, &f)) > 0)
        if (f.number == number && f.wire == wire)
            *out = f;
    return !ret;
}

int kl_tokenizer_load_spm(KlDiag *d, KlTokenizer *t, const void *data, size_t bytes, const char *where)
{
    Reader r = { data, (const unsigned char *)data + bytes };
    Reader trainer = { r.end, r.end }, normalizer = { r.end, r.end };
    Field f;
    int unk = -1, ret;

    if ((ret = kl_unigram_create(d, &t->unigram, where)) < 0)
        return ret;
    while ((ret = read_field(&r, &f)) > 0) {
        if (f.wire == 2 && f.number == 1 && (ret = load_piece(d, t, f.bytes, where, &unk)) < 0)
            return ret;
        if (f.wire == 2 && f.number == 2)
            trainer = f.bytes;
        if (f.wire == 2 && f.number == 3)
            normalizer = f.bytes;
    }
    if (ret < 0 || !kl_unigram_size(t->unigram) || !last_field(trainer, 3, 0, &f))
        return damaged(d, where);
    if (f.number && f.value != 1)
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "'%s' is a SentencePiece model, but not of the Unigram kind", where);
    if (!last_field(normalizer, 2, 2, &f))
        return damaged(d, where);
    ret = kl_charsmap_create(d, &t->charsmap, f.bytes.p, (size_t)(f.bytes.end - f.bytes.p), where);
    if (ret < 0)
        return ret;
    return kl_unigram_finish(d, t->unigram, unk, false);
}
