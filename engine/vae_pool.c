/*
 * The pictures of a VAE's stream: one pool, exactly one owner each.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "vae_internal.h"

/* What no stage owns returns to the system. */
static void pool_trim(KlVaeStream *s)
{
    int n = 0;

    for (int i = 0; i < s->pool_n; i++)
        if (s->pool[i].used) {
            s->pool[n++] = s->pool[i];
        } else {
            s->k->mem_free(s->ex, s->pool[i].p);
            s->pool_bytes -= s->pool[i].bytes;
        }
    s->pool_n = n;
}

static float *take(KlVaeStream *s, KlDiag *d, size_t bytes)
{
    KlVaeBuffer *b = s->pool;

    for (int i = 0; i < s->pool_n; i++)
        if (!b[i].used && b[i].bytes == bytes) {
            b[i].used = true;
            return b[i].p;
        }
    /* Levels take turns: what lies idle has another level's size and would only be wanted after this one is through.
     * Making it anew costs a few percent of a convolution. */
    pool_trim(s);
    if (s->pool_n == s->pool_cap) {
        kl_fail(d, KLING_ERROR_INTERNAL, "the VAE holds more than %d pictures", s->pool_cap);
        return NULL;
    }
    b += s->pool_n;
    if (!(b->p = s->k->mem_alloc(s->ex, bytes))) {
        kl_fail_memory(d, "a picture inside the VAE", bytes);
        return NULL;
    }
    b->bytes = bytes;
    b->used = true;
    s->pool_n++;
    s->pool_bytes += bytes;
    s->pool_peak = KL_MAX(s->pool_peak, s->pool_bytes);
    return b->p;
}

float *kl_vae_take(KlVaeStream *s, KlDiag *d, int64_t floats)
{
    return take(s, d, (size_t)floats * sizeof(float));
}

void kl_vae_give(KlVaeStream *s, const float *p)
{
    for (int i = 0; p && i < s->pool_n; i++)
        if (s->pool[i].p == p)
            s->pool[i].used = false;
}

float *kl_vae_take_operand(KlVaeStream *s, KlDiag *d, float *x, int64_t pixels, int channels)
{
    const size_t bytes = s->k->operand_bytes(s->ex, pixels, channels);

    return x && bytes == (size_t)pixels * (size_t)channels * sizeof(float) ? x : take(s, d, bytes);
}
