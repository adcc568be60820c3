/*
 * What the CPU and the operating system under it offer.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/kernels.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

#define XCR0_AVX     0x06u              /* XMM and YMM state kept by the system */
#define XCR0_AVX512  0xe6u              /* and opmask, upper ZMM */

static unsigned xgetbv0(void)
{
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    (void)hi;
    return lo;
}

static unsigned x86_flags(void)
{
    const unsigned need1 = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    const unsigned need512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    unsigned a, b, c, d, flags = 0, xcr0;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & need1) != need1)
        return 0;
    xcr0 = xgetbv0();
    if ((xcr0 & XCR0_AVX) != XCR0_AVX || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_AVX2))
        return 0;
    flags |= KL_CPU_AVX2;
    if ((b & need512) == need512 && (xcr0 & XCR0_AVX512) == XCR0_AVX512)
        flags |= KL_CPU_AVX512 | (c & bit_AVX512VNNI ? KL_CPU_VNNI : 0);
    return flags;
}
#else
static unsigned x86_flags(void)
{
    return 0;
}
#endif

unsigned kl_cpu_flags(void)
{
    return x86_flags();
}
