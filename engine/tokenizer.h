/*
 * Prompt text to UMT5 token ids.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Equals transformers' AutoTokenizer on the same files after the pipeline's
 * prompt_clean (ftfy, twice-unescaped HTML, collapsed white space).
 */
#ifndef KL_TOKENIZER_H
#define KL_TOKENIZER_H

#include "common.h"

typedef struct KlTokenizer KlTokenizer;
struct KlGguf;

/** path: a spiece.model, a tokenizer.json (Unigram), a .gguf that carries one, or a folder that holds
 *  one (spiece.model preferred). */
int  kl_tokenizer_open(KlDiag *d, KlTokenizer **t, const char *path);
/** From memory, as a `spiece_model` tensor carries it; the bytes are copied. name is for messages. */
int  kl_tokenizer_open_memory(KlDiag *d, KlTokenizer **t, const void *spiece, size_t bytes, const char *name);
/** From a GGUF file's metadata, which need live only until the return. */
int  kl_tokenizer_open_gguf(KlDiag *d, KlTokenizer **t, const struct KlGguf *gguf, const char *name);
void kl_tokenizer_close(KlTokenizer **t);
int  kl_tokenizer_vocab(const KlTokenizer *t);
/** Cleans `text` (UTF-8, NULL is ""), encodes it, appends the end token; at most max_tok ids with the end token
 *  last, the rest dropped with one warning. *n >= 1. Invalid UTF-8 is an error that names the byte offset.
 *  Thread-safe. */
int  kl_tokenizer_encode(const KlTokenizer *t, KlDiag *d, const char *text, int32_t *ids, int max_tok, int *n);

/** The reference pipeline's prompt_clean; malloc'd. NULL with d->error on invalid UTF-8 or lack of memory. */
char *kl_prompt_clean(KlDiag *d, const char *text);

#endif /* KL_TOKENIZER_H */
