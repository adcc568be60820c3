/*
 * The attention family of the tuned table: which build of the leaf runs.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cpu/attention.h"

static size_t attention_scratch(const KlExec *ex, int64_t Sq, int64_t Sk, int H, int E)
{
    (void)Sq, (void)Sk, (void)H;
    return kl_round64(kl_att_floats(E) * sizeof(float)) * (size_t)kl_threads(ex);
}

/* Without the scratch that the caller was told to reserve: ref, which needs none. */
static float *workspace(KlExec *ex, const KlAttention *p)
{
    float *ws = kl_scratch(ex, 0, kl_round64(kl_att_floats(p->E) * sizeof(float)));

    if (!ws) {
        KlKernels ref;

        kl_kernels_init_ref(&ref);
        ref.attention(ex, p);
    }
    return ws;
}

static void attention_generic(KlExec *ex, const KlAttention *p)
{
    float *ws = workspace(ex, p);

    if (ws)
        kl_attention_f32_generic(ex, p, ws);
}

#if defined(__x86_64__)
static void attention_avx2(KlExec *ex, const KlAttention *p)
{
    float *ws = workspace(ex, p);

    if (ws)
        kl_attention_f32_avx2(ex, p, ws);
}

static void attention_avx512(KlExec *ex, const KlAttention *p)
{
    float *ws = workspace(ex, p);

    if (ws)
        kl_attention_f32_avx512(ex, p, ws);
}
#endif

void kl_cpu_init_attention(KlKernels *k, unsigned flags)
{
    k->attention_scratch = attention_scratch;
    k->attention = attention_generic;
#if defined(__x86_64__)
    if (flags & KL_CPU_AVX2)
        k->attention = attention_avx2;
    if (flags & KL_CPU_AVX512)
        k->attention = attention_avx512;
#else
    (void)flags;
#endif
}
