/*
 * Files of weights, written so that they appear whole or not at all.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tensors are listed first, then their data written in the same order.
 */
#ifndef KL_WEIGHTS_FILE_H
#define KL_WEIGHTS_FILE_H

#include <stdio.h>

#include "engine/gguf.h"

typedef struct OutTensor {
    char name[256];
    KlFileDType dtype;
    int ndim;
    int64_t shape[KL_MAX_DIMS];
    size_t bytes;
    size_t offset;                      /* in the data, set by out_begin() */
} OutTensor;

typedef struct OutFile {
    char path[4096], temporary[4096 + 32];
    FILE *f;                            /* NULL: none is open */
    const OutTensor *t;
    int n, next;                        /* tensors, the one to be written */
    size_t written;                     /* of the data */
    size_t align;                       /* between tensors */
} OutFile;

/** Bytes of a tensor of this dtype and shape. */
size_t out_bytes(KlFileDType dtype, int ndim, const int64_t *shape);
/** A GGUF file of the architecture when it is given, with the metadata of `from` (may be NULL) but for what it says of
 *  itself; else a safetensors file. t[n] must live until the end. Negative with a sentence on stderr. */
int  out_begin(OutFile *o, const char *path, OutTensor *t, int n, const char *architecture, const KlGguf *from);
/** The next bytes of the data; tensors are padded when they are complete. */
int  out_write(OutFile *o, const void *p, size_t bytes);
/** Puts the file in place. */
int  out_end(OutFile *o);
/** Removes what was written so far; nothing happens after out_end(). */
void out_cancel(OutFile *o);

#endif /* KL_WEIGHTS_FILE_H */
