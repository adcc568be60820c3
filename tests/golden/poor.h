/*
 * A table that runs out of memory at one of its allocations, for golden tests of components.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_TESTS_POOR_H
#define KL_TESTS_POOR_H

#include "kernels/kernels.h"

static struct {
    KlKernels k;                        /* the table that it stands before */
    int calls, fail_at;                 /* counted from 1; 0 never fails */
} poor;

static inline void *poor_mem_alloc(KlExec *ex, size_t bytes)
{
    return ++poor.calls == poor.fail_at ? NULL : poor.k.mem_alloc(ex, bytes);
}

static inline int poor_weights(const KlKernels *k, KlConvWeights **cw, KlWeight w, const float *bias, int ic, int oc,
                               int kt, int kh, int kw)
{
    return ++poor.calls == poor.fail_at ? -1 : poor.k.conv_weights_create(k, cw, w, bias, ic, oc, kt, kh, kw);
}

static inline int poor_conv(KlExec *ex, KlConv **c, const KlConvDesc *d, const KlConvWeights *cw)
{
    return ++poor.calls == poor.fail_at ? -1 : poor.k.conv_create(ex, c, d, cw);
}

static inline int poor_reserve(KlExec *ex, size_t bytes)
{
    return ++poor.calls == poor.fail_at ? -1 : poor.k.exec_reserve(ex, bytes);
}

/** k, with every allocation of its own counted; one poor table at a time. */
static inline KlKernels poor_table(const KlKernels *k)
{
    KlKernels t = *k;

    poor.k = *k;
    poor.calls = poor.fail_at = 0;
    t.mem_alloc = poor_mem_alloc;
    t.conv_weights_create = poor_weights;
    t.conv_create = poor_conv;
    t.exec_reserve = poor_reserve;
    return t;
}

#endif /* KL_TESTS_POOR_H */
