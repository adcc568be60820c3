/*
 * The transformer's matrices in int8, made from what its file has.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Those of the blocks, 97 to 99 % of all parameters. Embeddings, modulation,
 * norms, biases, the first and the last layer stay what they are, and so do
 * the side branches of LoRAs, which are added to what the matrices give.
 */
#include "bind.h"
#include "dit_internal.h"

#include <stdlib.h>

#define LINEARS 12                      /* of a block, at most */
#define MAX_INT8_K 131072               /* KlLinear's bound for int8 */
#define ALIGN_BYTES 64

/* The linears of b that would become int8; out[LINEARS]. */
static int linears_of(KlDitBlock *b, KlDitLinear **out)
{
    KlDitLinear *const all[] = {
        &b->self.q, &b->self.k, &b->self.v, &b->self.o, &b->cross.q, &b->cross.k, &b->cross.v, &b->cross.o,
        &b->cross.image_k, &b->cross.image_v, &b->up, &b->down,
    };
    int n = 0;

    for (size_t i = 0; i < KL_ARRAY_LEN(all); i++)
        if (all[i]->w.data && all[i]->w.dtype != KL_I8 && all[i]->k <= MAX_INT8_K)
            out[n++] = all[i];
    return n;
}

static size_t aligned(size_t bytes) { return (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES; }

/* Elements, then scales. */
static size_t element_bytes(const KlDitLinear *l) { return aligned((size_t)(l->n * l->k)); }
static size_t scale_bytes(const KlDitLinear *l) { return aligned((size_t)l->n * sizeof(float)); }

static size_t bytes_of(const KlDit *m, size_t *largest)
{
    KlDitLinear *l[LINEARS];
    size_t sum = 0;

    *largest = 0;
    for (int i = 0; i < m->cfg.layers; i++)
        for (int n = linears_of(&m->blocks[i], l); n-- > 0; ) {
            const size_t bytes = element_bytes(l[n]) + scale_bytes(l[n]);

            sum += bytes;
            *largest = KL_MAX(*largest, bytes);
        }
    return sum;
}

size_t kl_dit_int8_bytes(const KlDit *dit)
{
    size_t largest;

    return bytes_of(dit, &largest);
}

/* work: executor memory for the elements and scales of one matrix, from where they go to memory that stays: the
 * executor's does not outlive it. */
static int make_int8(const KlDit *m, KlExec *ex, KlDiag *d, KlDitLinear *l, char *work)
{
    static const char what[] = "an int8 copy of a matrix";
    const KlKernels *k = m->k;
    const size_t elements = element_bytes(l), scales = scale_bytes(l);
    char *own = aligned_alloc(ALIGN_BYTES, elements + scales);
    KlWeight w = { own, KL_I8, (float *)(void *)(own + elements), l->k };
    int ret;

    if (!own)
        return kl_fail_memory(d, what, elements + scales);
    k->quantize_rows(ex, (int8_t *)work, (float *)(void *)(work + elements), l->w, l->n, l->k);
    if (k->mem_download(ex, own, work, elements + (size_t)l->n * sizeof(float)) < 0) {
        free(own);
        return kl_fail_device(d, k, ex, "reading an int8 matrix back");
    }
    if ((ret = kl_bind_weight(d, k, what, &w, l->n, l->k)) < 0) {
        free(own);
        return ret;
    }
    k->weight_release(k, &l->w);
    l->w = w;
    l->own = own;
    return 0;
}

int kl_dit_make_int8(KlDit *dit, KlExec *ex, KlDiag *d, KlDitBlockFn fn, void *opaque)
{
    size_t largest;
    char *work = bytes_of(dit, &largest) ? dit->k->mem_alloc(ex, largest) : NULL;
    int ret = 0;

    if (!work)
        return largest ? kl_fail_memory(d, "an int8 matrix", largest) : 0;
    for (int i = 0; i < dit->cfg.layers && ret >= 0; i++) {
        KlDitLinear *l[LINEARS];
        const int n = linears_of(&dit->blocks[i], l);

        for (int j = 0; j < n && ret >= 0; j++)
            if ((ret = kl_check_cancel(d)) >= 0)
                ret = make_int8(dit, ex, d, l[j], work);
        if (ret >= 0 && fn)
            fn(opaque, i + 1, dit->cfg.layers);
    }
    dit->k->mem_free(ex, work);
    return ret;
}
