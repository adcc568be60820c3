/*
 * The Unigram model: pieces with scores, and the best way to cut a word.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_UNIGRAM_H
#define KL_UNIGRAM_H

#include "common.h"

typedef struct KlUnigram KlUnigram;

/** Token ids, at most max of them; what comes after is dropped. */
typedef struct KlIds {
    int32_t *id;
    int n, max;
} KlIds;

void kl_ids_put(KlIds *ids, int32_t id);

/** Empty; filled by kl_unigram_add() in the order of ids, then closed by kl_unigram_finish(), which checks. where is
 *  for messages. */
int  kl_unigram_create(KlDiag *d, KlUnigram **u, const char *where);
int  kl_unigram_add(KlDiag *d, KlUnigram *u, const char *piece, size_t len, double score);
int  kl_unigram_finish(KlDiag *d, KlUnigram *u, int unk_id, bool byte_fallback);
void kl_unigram_destroy(KlUnigram **u);
int  kl_unigram_size(const KlUnigram *u);
/** Id of a piece, -1 if there is none; of equal pieces the last. */
int32_t kl_unigram_find(const KlUnigram *u, const char *piece, size_t len);

/** Appends the ids of word[len], which is UTF-8. */
int  kl_unigram_encode(const KlUnigram *u, KlDiag *d, const char *word, size_t len, KlIds *ids);

#endif /* KL_UNIGRAM_H */
