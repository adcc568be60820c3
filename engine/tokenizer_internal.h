/*
 * What a tokenizer consists of, for the readers of its file formats.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_TOKENIZER_INTERNAL_H
#define KL_TOKENIZER_INTERNAL_H

#include "charsmap.h"
#include "tokenizer.h"
#include "unigram.h"

/* A string that stands for one id wherever it appears in a prompt: "</s>", "<extra_id_0>". */
typedef struct KlAddedToken {
    char *text;
    size_t len;
    int32_t id;
} KlAddedToken;

struct KlTokenizer {
    KlCharsmap *charsmap;               /* NULL: no normalisation */
    KlUnigram *unigram;
    KlAddedToken *added;
    int n_added;
    int vocab;                          /* 1 + the largest id */
    int32_t eos;
};

int  kl_tokenizer_add_token(KlDiag *d, KlTokenizer *t, const char *text, size_t len, int32_t id, const char *where);

/** Fill an empty tokenizer: model, normalisation, added tokens. where is for messages. */
int  kl_tokenizer_load_spm(KlDiag *d, KlTokenizer *t, const void *data, size_t bytes, const char *where);
int  kl_tokenizer_load_json(KlDiag *d, KlTokenizer *t, const void *data, size_t bytes, const char *where,
                            bool byte_fallback);
int  kl_tokenizer_load_gguf(KlDiag *d, KlTokenizer *t, const struct KlGguf *g, const char *where);

/** What tokenizer_config.json adds. */
typedef struct KlTokenizerConfig {
    bool t5;                            /* tokenizer_class is T5Tokenizer or T5TokenizerFast */
    int extra_ids;                      /* -1: not said */
} KlTokenizerConfig;

/** From tokenizer_config.json in the folder dir, which may lack it. */
int  kl_tokenizer_read_config(KlDiag *d, KlTokenizerConfig *c, const char *dir);

#endif /* KL_TOKENIZER_INTERNAL_H */
