/*
 * The tokenizer in a GGUF file's metadata.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *     tokenizer.ggml.model                  "t5": Unigram
 *     tokenizer.ggml.tokens, .scores        a piece and its score for each id
 *     tokenizer.ggml.token_type             1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
 *     tokenizer.ggml.precompiled_charsmap   SentencePiece's normalisation rules
 *
 * Converters fill ids that the SentencePiece model does not have with what was
 * added to it (<extra_id_0>, user-defined) and with [PAD0], [PAD1] (unused),
 * all with a score of -1000. Neither takes part in the search for pieces.
 */
#include <stdio.h>

#include "gguf.h"
#include "tokenizer_internal.h"

#define KEY "tokenizer.ggml."
#define FILLED -1000.0                  /* score of ids that are not SentencePiece's */

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4 };

typedef struct Pieces {
    const KlGgufValue *tokens, *scores, *types, *charsmap;      /* types and charsmap may be NULL */
} Pieces;

static int missing(KlDiag *d, const char *where, const char *what)
{
    return kl_fail(d, KLING_ERROR_INVALID_DATA, "the tokenizer in '%s' has no %s: give tokenizer=... (a spiece.model "
                   "or tokenizer.json)", where, what);
}

static int find_pieces(KlDiag *d, const KlGguf *g, const char *where, Pieces *p)
{
    const KlGgufValue *model = kl_gguf_find(g, KEY "model");

    *p = (Pieces){ kl_gguf_find(g, KEY "tokens"), kl_gguf_find(g, KEY "scores"), kl_gguf_find(g, KEY "token_type"),
                   kl_gguf_find(g, KEY "precompiled_charsmap") };
    if (!model || model->type != KL_GGUF_STRING || model->bytes != 2 || model->data[0] != 't' ||
        model->data[1] != '5')
        return kl_fail(d, KLING_ERROR_UNSUPPORTED, "the tokenizer in '%s' is not of the t5 (Unigram) kind: give "
                       "tokenizer=... (a spiece.model or tokenizer.json)", where);
    if (!kl_gguf_is_array(p->tokens, KL_GGUF_STRING) || !p->tokens->count)
        return missing(d, where, "tokens");
    if (!kl_gguf_is_array(p->scores, KL_GGUF_F32) || p->scores->count != p->tokens->count)
        return missing(d, where, "score for every token");
    if (p->types && (!kl_gguf_is_array(p->types, KL_GGUF_I64) || p->types->count != p->tokens->count))
        return missing(d, where, "type for every token");
    if (p->charsmap && (!kl_gguf_is_array(p->charsmap, KL_GGUF_I64) || p->charsmap->bytes != p->charsmap->count))
        return missing(d, where, "precompiled_charsmap of bytes");
    return 0;
}

static int add_piece(KlDiag *d, KlTokenizer *t, const char *text, size_t len, double score, int type,
                     const char *where)
{
    const int32_t id = kl_unigram_size(t->unigram);
    char filler[32];
    int ret;

    if (score > FILLED)
        ret = kl_unigram_add(d, t->unigram, text, len, score);
    else                                /* with a space: no word has one; the score must not become the worst */
        ret = kl_unigram_add(d, t->unigram, filler, (size_t)snprintf(filler, sizeof(filler), "%d ", id), 0);
    if (!ret && (type == UNKNOWN || type == CONTROL || (type == USER_DEFINED && score <= FILLED)))
        ret = kl_tokenizer_add_token(d, t, text, len, id, where);
    return ret;
}

int kl_tokenizer_load_gguf(KlDiag *d, KlTokenizer *t, const KlGguf *g, const char *where)
{
    Pieces p;
    const char *text;
    size_t len, pos = 0;
    int unk = -1, ret = find_pieces(d, g, where, &p);

    if (ret < 0 || (ret = kl_unigram_create(d, &t->unigram, where)) < 0)
        return ret;
    for (uint64_t i = 0; !ret && i < p.tokens->count && kl_gguf_next_string(p.tokens, &pos, &text, &len); i++) {
        const int type = p.types ? (int)KL_MIN(KL_MAX(kl_gguf_number(p.types, i), 0), 99) : NORMAL;

        if (type == UNKNOWN)
            unk = (int)i;
        ret = add_piece(d, t, text, len, kl_gguf_number(p.scores, i), type, where);
    }
    if (!ret && p.charsmap)
        ret = kl_charsmap_create(d, &t->charsmap, p.charsmap->data, p.charsmap->bytes, where);
    return ret ? ret : kl_unigram_finish(d, t->unigram, unk, false);
}
