/*
 * The leaves of the int8 product on AVX2: tiles of 6x16, two elements of K at a time (vpmaddwd).
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Both sides are int16, so that nothing saturates: vpmaddubsw, which takes
 * bytes, adds two products of up to 255 * 127 in 16 bits, and where it does
 * not saturate it needs a vpmaddwd behind it. See docs/performance.md.
 */
#if defined(__AVX2__)
#include "kernels/cpu/linear_i8_tmpl.h"
#include "kernels/cpu/transpose_avx2.h"

#define NR 16
#define MR 6

/* dst[kc / 2][NR][2] */
static void pack(int16_t *dst, const int8_t *w, int64_t K, int64_t n, int64_t kc)
{
    for (int h = 0; h < NR; h += 8)
        for (int64_t k = 0; k < kc; k += 16) {
            __m256 r[8];

            for (int j = 0; j < 8; j++) {
                const int8_t *from = w + (h + j) * K + k;
                __m128i b = _mm_setzero_si128();

                if (h + j < n && kc - k >= 16)
                    b = _mm_loadu_si128((const __m128i *)(const void *)from);
                else if (h + j < n)
                    memcpy(&b, from, (size_t)(kc - k));
                r[j] = _mm256_castsi256_ps(_mm256_cvtepi8_epi16(b));
            }
            transpose_8x8((float *)(void *)dst + k / 2 * NR + h, NR, r);
        }
}

static inline __m256i broadcast_pair(const int16_t *p)
{
    int32_t pair;

    memcpy(&pair, p, sizeof(pair));
    return _mm256_set1_epi32(pair);
}

static void tile(int32_t *c, int64_t ldc, const int16_t *a, const int16_t *panel, int64_t kc, int add)
{
    __m256i acc[MR][2];

#pragma GCC unroll 6
    for (int i = 0; i < MR; i++)
        acc[i][0] = acc[i][1] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int64_t k = 0; k < kc; k += 2, panel += 2 * NR, a += 2 * MR) {
        __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)panel);
        __m256i w1 = _mm256_loadu_si256((const __m256i *)(const void *)(panel + NR));

#pragma GCC unroll 6
        for (int i = 0; i < MR; i++) {
            __m256i x = broadcast_pair(a + 2 * i);

            acc[i][0] = _mm256_add_epi32(acc[i][0], _mm256_madd_epi16(x, w0));
            acc[i][1] = _mm256_add_epi32(acc[i][1], _mm256_madd_epi16(x, w1));
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            __m256i *to = (__m256i *)(void *)(c + i * ldc + 8 * j);

            _mm256_storeu_si256(to, add ? _mm256_add_epi32(_mm256_loadu_si256(to), acc[i][j]) : acc[i][j]);
        }
}

static void block(int32_t *c, int64_t ldc, const int16_t *a, int64_t group, const int16_t *panel, int64_t n, int64_t kc,
                  int add)
{
    for (int64_t i = 0; i < n; i += MR, a += group)
        tile(c + i * ldc, ldc, a, panel, kc, add);
}

static float quantize_i16(void *q, const float *x, int64_t K)
{
    return quantize_row(q, x, K, MR);
}

/* Depth: a panel of 24 KiB stays in the first-level cache. */
const KlI8Leaf kl_i8_leaf_avx2 = {
    .rows = MR, .quantize = quantize_i16, .rescale = rescale, .nr = NR, .depth = 768, .pack = pack, .block = block,
};
#else
typedef int kl_linear_i8_not_here;      /* another architecture: the file is empty, which C forbids */
#endif
