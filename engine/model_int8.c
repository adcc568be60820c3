/*
 * Transformers in int8: made once for all jobs of a model that ask for it.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The lock is not held while one is made, which may take a minute: a second job
 * waits for it, and can be cancelled meanwhile.
 */
#include <time.h>

#include "internal.h"

#define WAIT_NS 100000000               /* between two looks at the cancel flag */

int kl_model_int8_init(KlingModel *m)
{
    pthread_condattr_t clock;
    int ret;

    if (pthread_condattr_init(&clock))
        return KLING_ERROR_OUT_OF_MEMORY;
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    ret = pthread_cond_init(&m->int8_done, &clock);
    pthread_condattr_destroy(&clock);
    if (ret)
        return KLING_ERROR_OUT_OF_MEMORY;
    if (!pthread_mutex_init(&m->int8_lock, NULL))
        return KLING_OK;
    pthread_cond_destroy(&m->int8_done);
    return KLING_ERROR_OUT_OF_MEMORY;
}

void kl_model_int8_free(KlingModel *m)
{
    pthread_mutex_destroy(&m->int8_lock);
    pthread_cond_destroy(&m->int8_done);
}

void kl_model_int8_drop(KlParts *p)
{
    for (int i = 0; i < 2; i++)
        kl_dit_destroy(&p->int8[i].dit);
}

static const KlDit *plain(const KlParts *p, int low) { return low ? p->dit_low : p->dit; }

size_t kl_model_int8_missing(KlingModel *m, int which)
{
    const KlParts *fast = &m->parts[KL_PARTS_FAST];     /* the others may not be bound yet, and need the same */
    size_t most = 0;

    pthread_mutex_lock(&m->int8_lock);
    for (int i = 0; i < 2; i++)
        if (plain(fast, i) && !m->parts[which].int8[i].dit)
            most = KL_MAX(most, kl_dit_int8_bytes(plain(fast, i)));
    pthread_mutex_unlock(&m->int8_lock);
    return most;
}

typedef struct Making {
    KlWeights *w;
    KlDitBlockFn fn;
    void *opaque;
} Making;

/* What has been read of the file need not stay in memory beside the copy. */
static void block_done(void *opaque, int done, int blocks)
{
    const Making *mk = opaque;

    kl_weights_drop_pages(mk->w);
    mk->fn(mk->opaque, done, blocks);
}

static int make(KlingModel *m, KlDiag *d, const KlParts *p, bool low, KlExec *ex, KlDitBlockFn fn, void *opaque,
                KlDit **dit)
{
    Making mk = { low ? m->files.dit_low : m->files.dit, fn, opaque };
    const size_t bytes = kl_dit_int8_bytes(plain(p, low));
    struct timespec t0, t1;
    int ret;

    clock_gettime(CLOCK_MONOTONIC, &t0);
    if ((ret = kl_dit_create(d, dit, &p->kernels, mk.w, &m->desc.dit)) < 0)
        return ret;
    if ((ret = kl_dit_make_int8(*dit, ex, d, block_done, &mk)) < 0) {
        kl_dit_destroy(dit);
        return ret;
    }
    clock_gettime(CLOCK_MONOTONIC, &t1);
    if (bytes)
        kl_log(d, KLING_LOG_INFO, "the transformer's matrices are in int8 now: %.1f MiB of memory, made in %.1f s",
               bytes / 0x1p20, (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec));
    return KLING_OK;
}

/* Under the lock: until nobody is making it. */
static int wait_for(KlingModel *m, KlDiag *d, const KlInt8 *q)
{
    int ret = 0;

    while (q->busy && (ret = kl_check_cancel(d)) >= 0) {
        struct timespec until;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WAIT_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&m->int8_done, &m->int8_lock, &until);
    }
    return ret;
}

int kl_model_int8_take(KlingModel *m, KlDiag *d, int which, bool low, KlExec *ex, KlDitBlockFn fn, void *opaque,
                       const KlDit **dit)
{
    KlParts *p = &m->parts[which];
    KlInt8 *q = &p->int8[low], *other = &p->int8[!low];
    KlDit *made = NULL;
    int ret;

    *dit = NULL;
    pthread_mutex_lock(&m->int8_lock);
    ret = wait_for(m, d, q);
    if (ret >= 0 && !q->dit) {
        if (other->dit && !other->users && !other->busy &&
            (double)kl_dit_int8_bytes(plain(p, low)) > (double)p->kernels.mem_available(&p->kernels))
            kl_dit_destroy(&other->dit);
        q->busy = true;
        pthread_mutex_unlock(&m->int8_lock);
        ret = make(m, d, p, low, ex, fn, opaque, &made);
        pthread_mutex_lock(&m->int8_lock);
        q->busy = false;
        q->dit = made;
        pthread_cond_broadcast(&m->int8_done);
    }
    if (ret >= 0) {
        q->users++;
        *dit = q->dit;
    }
    pthread_mutex_unlock(&m->int8_lock);
    return ret;
}

void kl_model_int8_give(KlingModel *m, int which, bool low)
{
    pthread_mutex_lock(&m->int8_lock);
    m->parts[which].int8[low].users--;
    pthread_mutex_unlock(&m->int8_lock);
}
