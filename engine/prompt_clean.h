/*
 * The steps of kl_prompt_clean() (tokenizer.h).
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_PROMPT_CLEAN_H
#define KL_PROMPT_CLEAN_H

#include "utf8.h"

/** kl_prompt_clean() with a status. */
int  kl_clean(KlDiag *d, const char *text, char **out);

/** Appends ftfy.fix_text(s[len]), without its repair of mojibake (see fix_text.c). */
void kl_fix_text(const char *s, size_t len, KlBuf *out);
/** Appends html.unescape(s[len]), Python's. */
void kl_html_unescape(const char *s, size_t len, KlBuf *out);
/** ftfy's unescape_html(), which wants the ; and knows some names in capitals. */
void kl_html_unescape_strict(const char *s, size_t len, KlBuf *out);

#endif /* KL_PROMPT_CLEAN_H */
