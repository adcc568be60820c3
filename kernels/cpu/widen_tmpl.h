/*
 * Weights in f32, included once per instruction set.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

#if KL_VL > 4
static inline __attribute__((always_inline))
void widen_as(float *dst, const uint8_t *src, KlDType t, int64_t n)
{
    size_t step = kl_dtype_bytes(t, KL_VL);
    int64_t i = 0;

    for (; i + KL_VL <= n; i += KL_VL, src += step)
        vec_store(dst + i, vec_load_as(src, t));
    if (i < n)
        vec_store_n(dst + i, vec_load_as_n(src, t, n - i), (int)(n - i));
}

void KL_FN(kl_widen)(float *dst, KlWeight w, int64_t from, int64_t n)
{
    const uint8_t *src = vec_loads(w.dtype) ? (const uint8_t *)w.data + kl_dtype_bytes(w.dtype, from) : NULL;

    switch (w.dtype) {
    case KL_F32:     widen_as(dst, src, KL_F32, n);     break;
    case KL_F16:     widen_as(dst, src, KL_F16, n);     break;
    case KL_BF16:    widen_as(dst, src, KL_BF16, n);    break;
    case KL_F8_E4M3: widen_as(dst, src, KL_F8_E4M3, n); break;
    case KL_F8_E5M2: widen_as(dst, src, KL_F8_E5M2, n); break;
    default:         kl_widen_plain(dst, w, from, n);   return;     /* for this file's vectors, by the compiler */
    }
    kl_apply_scale(dst, w, from, n);
}
#else
void KL_FN(kl_widen)(float *dst, KlWeight w, int64_t from, int64_t n)
{
    kl_widen_plain(dst, w, from, n);
}
#endif
