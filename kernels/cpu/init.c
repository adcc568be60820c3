/*
 * The tuned CPU table: ref underneath, then every family overwrites upward.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/cpu.h"

#include <stdio.h>

void kl_kernels_init_cpu(KlKernels *k, unsigned mask)
{
    unsigned flags = mask & kl_cpu_flags();

    if (!(flags & KL_CPU_AVX2))
        flags = 0;                      /* the 512-bit leaves take AVX2, FMA and F16C for granted */
    if (!(flags & KL_CPU_AVX512))
        flags &= ~KL_CPU_VNNI;
    kl_kernels_init_ref(k);
    kl_cpu_init_linear(k, flags);
    kl_cpu_init_conv(k, flags);
    kl_cpu_init_attention(k, flags);
    kl_cpu_init_rows(k, flags);
    kl_cpu_init_shuffle(k);
    snprintf(k->name, sizeof(k->name), "cpu (%s)",
             flags & KL_CPU_VNNI ? "avx512 vnni" :
             flags & KL_CPU_AVX512 ? "avx512" : flags & KL_CPU_AVX2 ? "avx2" : "generic");
}
