/*
 * SentencePiece's compiled normalisation rules, applied as transformers does.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_CHARSMAP_H
#define KL_CHARSMAP_H

#include "utf8.h"

typedef struct KlCharsmap KlCharsmap;

/** From the bytes of a precompiled_charsmap, which are copied; none are trusted. where is for messages. No bytes at
 *  all are no rules: *m is NULL. */
int  kl_charsmap_create(KlDiag *d, KlCharsmap **m, const void *data, size_t bytes, const char *where);
void kl_charsmap_destroy(KlCharsmap **m);
/** Appends the normalised s[len], which is UTF-8; m may be NULL. */
void kl_charsmap_apply(const KlCharsmap *m, const char *s, size_t len, KlBuf *out);

#endif /* KL_CHARSMAP_H */
