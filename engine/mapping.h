/*
 * A file as read-only memory.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The size is the one at opening. A file that another program cuts short while
 * it is mapped makes reads past its new end raise SIGBUS; nothing short of
 * copying the file could prevent that, and replacing a file by rename (as
 * downloaders do) does not cause it.
 */
#ifndef KL_MAPPING_H
#define KL_MAPPING_H

#include "common.h"

typedef struct KlMapping {
    const uint8_t *data;                /* NULL for an empty file */
    size_t bytes;
} KlMapping;

/** Maps a regular file; the error names it. */
int  kl_map_file(KlDiag *d, KlMapping *m, const char *path);
void kl_unmap_file(KlMapping *m);

#endif /* KL_MAPPING_H */
