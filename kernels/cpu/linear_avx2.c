/*
 * The leaves of linear, eight lanes: AVX2, FMA, F16C. The products are our own.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#if defined(__AVX2__)
#include "kernels/cpu/linear_tmpl.h"
#include "kernels/cpu/transpose_avx2.h"

#define NR 16

/* dst[kc][NR] columns 0..7 = 8 rows of w, of which n are there, each times its scale. */
static inline __attribute__((always_inline))
void pack_8(float *dst, const uint8_t *w, KlDType t, size_t step, const float *scale, int64_t n, int64_t kc)
{
    size_t size = kl_dtype_bytes(t, 1);
    KlVec r[8];
    int64_t k = 0;

    for (; k + 8 <= kc; k += 8) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            r[j] = j < n ? vec_load_as(w + (size_t)j * step + (size_t)k * size, t) : vec_set(0);
            if (scale)
                r[j] = r[j] * vec_set(scale[j]);
        }
        transpose_8x8(dst + k * NR, NR, r);
    }
    for (; k < kc; k++)
        for (int j = 0; j < 8; j++)
            dst[k * NR + j] = j < n ? vec_load_as_n(w + (size_t)j * step + (size_t)k * size, t, 1)[0] *
                                      (scale ? scale[j] : 1) : 0;
}

/* The same from a format in blocks, by way of f32. */
static void pack_8_blocks(float *dst, KlWeight w, int64_t K, int64_t n0, int64_t n, int64_t k0, int64_t kc)
{
    float row[8][LIN_BLOCKS];

    for (int64_t k = 0; k < kc; k += LIN_BLOCKS) {
        int64_t m = kl_min64(kc - k, LIN_BLOCKS);

        for (int j = 0; j < n; j++)
            kl_widen_blocks(row[j], w, (n0 + j) * K + k0 + k, m);
        pack_8(dst + k * NR, (const uint8_t *)row, KL_F32, sizeof(row[0]), NULL, n, m);
    }
}

void kl_linear_pack_avx2(float *dst, KlWeight w, int64_t K, int64_t n0, int64_t n, int64_t k0, int64_t kc)
{
    size_t step = kl_dtype_bytes(w.dtype, K);

    for (int h = 0; h < NR; h += 8) {
        int64_t there = kl_min64(kl_max64(n - h, 0), 8);
        const uint8_t *at;
        float scale[8];

        if (!vec_loads(w.dtype)) {
            pack_8_blocks(dst + h, w, K, n0 + h, there, k0, kc);
            continue;
        }
        at = (const uint8_t *)w.data + (size_t)(n0 + h) * step + kl_dtype_bytes(w.dtype, k0);
        for (int j = 0; j < 8; j++)
            scale[j] = j < there ? kl_row_scale(w, n0 + h + j) : 0;
        switch (w.dtype) {
        case KL_F32:     pack_8(dst + h, at, KL_F32, step, NULL, there, kc);      break;
        case KL_F16:     pack_8(dst + h, at, KL_F16, step, NULL, there, kc);      break;
        case KL_BF16:    pack_8(dst + h, at, KL_BF16, step, NULL, there, kc);     break;
        case KL_F8_E4M3: pack_8(dst + h, at, KL_F8_E4M3, step, scale, there, kc); break;
        default:         pack_8(dst + h, at, KL_F8_E5M2, step, scale, there, kc); break;
        }
    }
}

const KlLinearLeaf kl_linear_leaf_avx2 = {
    .widen = kl_widen_avx2, .epilogue = epilogue, .gemv = gemv, .product = kl_product_avx2,
    .pack = kl_linear_pack_avx2,
};
#else
typedef int kl_linear_not_here;         /* another architecture: the file is empty, which C forbids */
#endif
