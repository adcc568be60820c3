/*
 * Tensors of a file bound to a table of kernels, and what a table's device says.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "bind.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_LEN 200

static int fail(KlDiag *d, const KlKernels *k, const char *what, size_t bytes)
{
    char text[NAME_MAX_LEN];

    snprintf(text, sizeof(text), "%s on %s", what, k->name);
    return kl_fail_memory(d, text, bytes);
}

int kl_bind_weight(KlDiag *d, const KlKernels *k, const char *what, KlWeight *out, int64_t n, int64_t kdim)
{
    if (k->weight_bind(k, out, n, kdim) >= 0)
        return 0;
    out->data = NULL;
    return fail(d, k, what, kl_dtype_bytes(out->dtype, n * kdim));
}

int kl_bind_vector(KlDiag *d, const KlKernels *k, const char *what, float **v, int64_t n)
{
    if (k->vector_bind(k, v, n) >= 0)
        return 0;
    free(*v);
    *v = NULL;
    return fail(d, k, what, (size_t)n * sizeof(**v));
}

int kl_bind_matrix(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *name, int64_t n, int64_t kdim,
                   KlWeight *out)
{
    int ret = kl_weights_get_matrix(d, w, name, n, kdim, out);

    if (ret >= 0)
        return kl_bind_weight(d, k, name, out, n, kdim);
    out->data = NULL;
    return ret;
}

int kl_bind_matrix_2d(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *name, int64_t n, int64_t kdim,
                      KlWeight *out)
{
    int ret = kl_weights_get(d, w, name, 2, (const int64_t[]){ n, kdim }, out);

    if (ret >= 0)
        return kl_bind_weight(d, k, name, out, n, kdim);
    out->data = NULL;
    return ret;
}

int kl_bind_f32(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *name, int ndim, const int64_t *shape,
                float **out)
{
    int64_t n = 1;
    int ret = kl_weights_get_f32(d, w, name, ndim, shape, out);

    for (int i = 0; i < ndim; i++)
        n *= shape[i];
    return ret < 0 ? ret : kl_bind_vector(d, k, name, out, n);
}

int kl_pace(KlDiag *d, const KlKernels *k, KlExec *ex)
{
    k->exec_pace(ex);
    return kl_check_cancel(d);
}

int kl_fail_device(KlDiag *d, const KlKernels *k, const KlExec *ex, const char *what)
{
    const char *why = k->exec_error(ex);

    return kl_fail(d, KLING_ERROR_DEVICE, "%s: %s", what, *why ? why : "the device failed");
}
