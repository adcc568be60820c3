/*
 * What the reference pipeline does to a prompt before it is tokenized.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * ftfy.fix_text, html.unescape twice, runs of white space to one space, none
 * at the ends. diffusers leaves ftfy out when it is not installed; its models
 * were sampled with it, so it is always done here.
 */
#include "prompt_clean.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

static void collapse_space(const KlBuf *in, KlBuf *out)
{
    bool space = false;
    uint32_t cp;

    for (size_t pos = 0, n; pos < in->len && (n = kl_utf8_next(in->s + pos, in->len - pos, &cp)); pos += n) {
        if (kl_is_space(cp)) {          /* Python's has U+001C..1F too, but ftfy left none of them */
            space = true;
            continue;
        }
        if (space && out->len)
            kl_buf_put(out, " ", 1);
        space = false;
        kl_buf_put(out, in->s + pos, n);
    }
}

int kl_clean(KlDiag *d, const char *text, char **out)
{
    KlBuf a = { 0 }, b = { 0 };
    size_t len, bad;
    bool failed;

    *out = NULL;
    text = text ? text : "";
    len = strlen(text);
    bad = kl_utf8_check(text, len);
    if (bad < len)
        return kl_fail(d, KLING_ERROR_INVALID_ARG, "the prompt is not UTF-8: byte %zu (0x%02x) begins no character",
                       bad, (unsigned char)text[bad]);
    kl_fix_text(text, len, &a);
    kl_buf_put(&a, "", 0);              /* so that a.s is a string */
    kl_html_unescape(a.s, a.failed ? 0 : a.len, &b);
    a.len = 0;
    kl_html_unescape(b.s, b.len, &a);
    b.len = 0;
    collapse_space(&a, &b);
    kl_buf_put(&b, "", 0);
    failed = a.failed || b.failed;
    kl_buf_free(&a);
    if (failed) {
        kl_buf_free(&b);
        return kl_fail_memory(d, "cleaning the prompt", 8 * len);
    }
    *out = b.s;
    return 0;
}

char *kl_prompt_clean(KlDiag *d, const char *text)
{
    char *out;

    return kl_clean(d, text, &out) < 0 ? NULL : out;
}
