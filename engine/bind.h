/*
 * Tensors of a file bound to a table of kernels, and what a table's device says.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What comes from here is freed with the table's weight_release() and
 * vector_release(), whichever device it lies on. The file's mapping must
 * outlive what was bound. On an error *out is absent (data NULL, or NULL).
 */
#ifndef KL_BIND_H
#define KL_BIND_H

#include "weights.h"

/** kl_weights_get_matrix(), bound. */
int kl_bind_matrix(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *name, int64_t n, int64_t kdim,
                   KlWeight *out);
/** kl_weights_get() of exactly [n,kdim], bound. */
int kl_bind_matrix_2d(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *name, int64_t n, int64_t kdim,
                      KlWeight *out);
/** kl_weights_get_f32(), bound. */
int kl_bind_f32(KlDiag *d, const KlKernels *k, const KlWeights *w, const char *name, int ndim, const int64_t *shape,
                float **out);
/** Binds v[n] from malloc, which is freed on an error; `what` names it. */
int kl_bind_vector(KlDiag *d, const KlKernels *k, const char *what, float **v, int64_t n);
/** Binds out[n,kdim], whose data lies in host memory that outlives it. */
int kl_bind_weight(KlDiag *d, const KlKernels *k, const char *what, KlWeight *out, int64_t n, int64_t kdim);

/** Between two pieces of a job's work: a device is waited for if it is far behind, then kl_check_cancel(). */
int kl_pace(KlDiag *d, const KlKernels *k, KlExec *ex);

/** KLING_ERROR_DEVICE: "WHAT: SENTENCE", with what the executor says of its first failure. */
int kl_fail_device(KlDiag *d, const KlKernels *k, const KlExec *ex, const char *what);

#endif /* KL_BIND_H */
