/*
 * The builds of the leaves over rows and elements.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_CPU_ROWS_H
#define KL_CPU_ROWS_H

#include "kernels/kernels.h"

void kl_rows_init_avx2(KlKernels *k);
void kl_rows_init_avx512(KlKernels *k);
void kl_rows_init_generic(KlKernels *k);

#endif /* KL_CPU_ROWS_H */
