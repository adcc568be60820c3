/*
 * Random weights in the forms that are not whole floats: fp8, int8, GGUF's blocks.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Bytes are random, but for what would make values infinite, NaN or of very different sizes. fp8 and int8 are decoded
 * by arithmetic here. Blocks are decoded by the ref table's convert, which tests/golden/test_quants.c compares with
 * the gguf package bit by bit: for blocks, what is compared here is everything but ref's decoder.
 */
#ifndef KL_TESTS_KT_STORED_H
#define KL_TESTS_KT_STORED_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/kernels.h"
#include "tools/synth.h"

static inline double kt_fp8_value(KlDType dtype, unsigned b)
{
    int mbits = dtype == KL_F8_E4M3 ? 3 : 2, bias = dtype == KL_F8_E4M3 ? 7 : 15;
    int m = (int)b & ((1 << mbits) - 1), e = (int)(b & 0x7f) >> mbits;
    double v = e ? ldexp(m + (1 << mbits), e - bias - mbits) : ldexp(m, 1 - bias - mbits);

    if (dtype == KL_F8_E4M3 ? (b & 0x7f) == 0x7f : e == 31)
        v = dtype == KL_F8_E4M3 || m ? NAN : INFINITY;
    return b & 0x80 ? -v : v;
}

/* Where a block has its half floats: scale and minimum, -1: none. */
static inline void kt_block_halves(KlDType dtype, int at[2])
{
    at[0] = dtype == KL_Q6_K ? 208 : dtype == KL_Q3_K ? 108 : dtype == KL_Q2_K ? 80 : 0;
    at[1] = dtype == KL_Q2_K ? 82 : -1;
    if (dtype == KL_Q5_K || dtype == KL_Q4_K || dtype == KL_Q5_1 || dtype == KL_Q4_1)
        at[1] = 2;
}

static inline void kt_set_half(unsigned char *block, KlDType dtype, int which, unsigned half)
{
    int at[2];

    kt_block_halves(dtype, at);
    if (at[which] >= 0) {
        block[at[which]] = (unsigned char)half;
        block[at[which] + 1] = (unsigned char)(half >> 8);
    }
}

/** values[n] of a weight without its scale. */
static inline void kt_stored_values(KlWeight w, float *values, size_t n)
{
    const unsigned char *p = w.data;

    if (kl_dtype_block(w.dtype) > 1) {
        KlExecParams params = { .threads = 1 };
        KlKernels ref;
        KlExec *ex;

        kl_kernels_init_ref(&ref);
        if (ref.exec_create(&ref, &ex, &params) < 0) {
            printf("not ok kernel tests: no executor\n");
            exit(1);
        }
        ref.convert(ex, values, w, (int64_t)n);
        ref.exec_destroy(&ex);
        return;
    }
    for (size_t i = 0; i < n; i++)
        values[i] = w.dtype == KL_I8 ? (float)(p[i] < 128 ? p[i] : p[i] - 256) : (float)kt_fp8_value(w.dtype, p[i]);
}

/** As kt_weight(): n a multiple of the block; data starts one byte past the alignment of malloc. */
static inline KlWeight kt_stored(size_t n, uint64_t seed, KlDType dtype, void **mem, float **values)
{
    uint64_t key = synth_key(seed, "stored");
    size_t bytes = kl_dtype_bytes(dtype, (int64_t)n), block = kl_dtype_info(dtype)->bytes;
    unsigned char *p = malloc(bytes + 1);
    KlWeight w = { .data = p + 1, .dtype = dtype };

    for (size_t i = 0; i < bytes; i++) {
        unsigned b = (unsigned)((synth_uniform(key, 2 * i) + 1) * 128);

        if (dtype == KL_F8_E5M2)
            b = (b & 0x83) | (8 + (b >> 2 & 7)) << 2;       /* 2^-7 .. 2^0, not the 2^15 that it could hold */
        else if (dtype == KL_F8_E4M3 && (b & 0x7f) == 0x7f)
            b = 0;
        p[i + 1] = (unsigned char)b;
    }
    for (size_t i = 0; i < bytes && kl_dtype_block(dtype) > 1; i += block)
        for (int j = 0; j < 2; j++) {   /* 2^-7 to 2^-6 and either sign */
            double u = synth_uniform(key, 2 * i + 1 + 2 * (size_t)j);

            kt_set_half(p + 1 + i, dtype, j, (u < 0 ? 0x8000 : 0) | 0x2000 | (unsigned)(fabs(u) * 1023));
        }
    *values = malloc((n + 1) * sizeof(**values));
    kt_stored_values(w, *values, n);
    *mem = p;
    return w;
}

#endif /* KL_TESTS_KT_STORED_H */
