/*
 * The leaves of linear, sixteen lanes: AVX-512. The products are our own.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#if defined(__AVX512F__)
#include "kernels/cpu/linear_tmpl.h"

const KlLinearLeaf kl_linear_leaf_avx512 = {
    .widen = kl_widen_avx512, .epilogue = epilogue, .gemv = gemv, .product = kl_product_avx512,
    .pack = kl_linear_pack_avx2,
};
#else
typedef int kl_linear_not_here;         /* another architecture: the file is empty, which C forbids */
#endif
