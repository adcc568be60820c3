/*
 * Eight rows of eight 32-bit words, transposed: what packs a weight's rows for a product.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_CPU_TRANSPOSE_AVX2_H
#define KL_CPU_TRANSPOSE_AVX2_H

#include <immintrin.h>
#include <stdint.h>

/* dst[i * ld + j] = word i of r[j]; r is used up. */
static inline void transpose_8x8(float *dst, int64_t ld, __m256 *r)
{
    __m256 t[8];

    for (int i = 0; i < 4; i++) {
        t[2 * i]     = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        r[4 * i]     = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(dst + i * ld,       _mm256_permute2f128_ps(r[i], r[4 + i], 0x20));
        _mm256_storeu_ps(dst + (4 + i) * ld, _mm256_permute2f128_ps(r[i], r[4 + i], 0x31));
    }
}

#endif /* KL_CPU_TRANSPOSE_AVX2_H */
