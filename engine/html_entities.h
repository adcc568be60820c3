/*
 * HTML's named characters (the W3C's list), in order of strcmp().
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_HTML_ENTITIES_H
#define KL_HTML_ENTITIES_H

typedef struct KlHtmlEntity {
    char name[32];                      /* without & and ; */
    char text[8];                       /* UTF-8 */
    char upper[8];                      /* what ftfy makes of the name in capitals; "": nothing */
    char bare;                          /* 1: HTML knows it without the ; too */
} KlHtmlEntity;

extern const KlHtmlEntity kl_html_entities[];
extern const int kl_html_entities_nb;

#endif /* KL_HTML_ENTITIES_H */
