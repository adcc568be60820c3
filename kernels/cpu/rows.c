/*
 * The ops over rows and elements of the tuned table. Patches and to_pixels
 * stay ref's: they run once per step or frame and take no time worth having.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/rows.h"

void kl_cpu_init_rows(KlKernels *k, unsigned flags)
{
    kl_rows_init_generic(k);
#if defined(__x86_64__)
    if (flags & KL_CPU_AVX2)
        kl_rows_init_avx2(k);
    if (flags & KL_CPU_AVX512)
        kl_rows_init_avx512(k);
#else
    (void)flags;
#endif
}
