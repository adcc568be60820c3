/*
 * Latent video to tokens and back, the plain C ones.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "ref.h"

typedef struct Patches {
    float *out;
    const float *in;
    int C, F, R, W, ph, pw;
} Patches;

/* One row of patches of one latent frame. */
static void patchify_row(void *arg, int64_t tile, int thread)
{
    const Patches *p = arg;
    int gr = p->R / p->ph, gw = p->W / p->pw;
    int64_t f = tile / gr, y = tile % gr;
    float *out = p->out + tile * gw * p->C * p->ph * p->pw;

    (void)thread;
    for (int x = 0; x < gw; x++)
        for (int c = 0; c < p->C; c++)
            for (int i = 0; i < p->ph; i++)
                for (int j = 0; j < p->pw; j++)
                    *out++ = p->in[((c * (int64_t)p->F + f) * p->R + y * p->ph + i) * p->W + x * p->pw + j];
}

static void unpatchify_row(void *arg, int64_t tile, int thread)
{
    const Patches *p = arg;
    int gr = p->R / p->ph, gw = p->W / p->pw;
    int64_t f = tile / gr, y = tile % gr;
    const float *in = p->in + tile * gw * p->C * p->ph * p->pw;

    (void)thread;
    for (int x = 0; x < gw; x++)
        for (int i = 0; i < p->ph; i++)
            for (int j = 0; j < p->pw; j++)
                for (int c = 0; c < p->C; c++)
                    p->out[((c * (int64_t)p->F + f) * p->R + y * p->ph + i) * p->W + x * p->pw + j] = *in++;
}

static void patchify(KlExec *ex, float *tok, const float *z, int C, int F, int R, int W, int ph, int pw)
{
    Patches p = { tok, z, C, F, R, W, ph, pw };

    kl_parallel(ex, (int64_t)F * (R / ph), patchify_row, &p);
}

static void unpatchify(KlExec *ex, float *z, const float *tok, int C, int F, int R, int W, int ph, int pw)
{
    Patches p = { z, tok, C, F, R, W, ph, pw };

    kl_parallel(ex, (int64_t)F * (R / ph), unpatchify_row, &p);
}

void kl_ref_init_layout(KlKernels *k)
{
    k->patchify = patchify;
    k->unpatchify = unpatchify;
}
