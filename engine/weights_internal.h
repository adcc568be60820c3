/*
 * What the files of the weights share among themselves.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_WEIGHTS_INTERNAL_H
#define KL_WEIGHTS_INTERNAL_H

#include "mapping.h"
#include "weights.h"

struct KlWeights {
    char *path;
    KlMapping *maps;                    /* n_maps; none when the tensors are borrowed */
    int n_maps;
    KlTensor *t;                        /* n, in file order; names are owned */
    int n;
    const KlTensor **index;             /* n, sorted by canonical name */
    struct KlGguf *gguf;                /* or NULL */
    float **scales;                     /* n_scales, each malloc'd; KlTensor.scale points to them */
    int n_scales;
    struct KlDelta *deltas;             /* n_deltas, sorted by name once all are there */
    int n_deltas;
    struct KlWeights **loras;           /* n_loras, the files that deltas point into */
    int n_loras;
};

/** NULL with d's error set when out of memory. */
KlWeights *kl_weights_alloc(KlDiag *d, const char *path);
/** Sorts the index by canonical name; two tensors of one name are an error. */
int kl_weights_index(KlDiag *d, KlWeights *w);

/** The tensors that hold scales of others become those tensors' scale and leave the set, with the markers of such
 *  files; see weights_scales.c. Before the first index. */
int kl_weights_take_scales(KlDiag *d, KlWeights *w);

#endif /* KL_WEIGHTS_INTERNAL_H */
