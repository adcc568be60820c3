/*
 * Execution on the host: a pool of threads and plain memory.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Workers sleep between ops. Memory is never pinned nor cached: what
 * mem_alloc gives out goes back to the system with mem_free. Large blocks
 * are mapped, not malloc'd: the heap keeps what is freed below what lives on,
 * so that the peak of a long clip was a matter of luck and a sixth higher.
 */
#include "kernels/host_exec.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MAX_THREADS 1024
#define ALIGN ((size_t)64)
#define HUGE_PAGE ((size_t)2 << 20)
#if defined(__SANITIZE_ADDRESS__)
#define MAPPED_BYTES SIZE_MAX           /* the sanitizer watches the edges of what is malloc'd */
#else
#define MAPPED_BYTES ((size_t)64 << 10)
#endif

typedef struct Worker {
    KlExec *ex;
    int index;                          /* 1.. : the caller is 0 */
    pthread_t thread;
} Worker;

struct KlExec {
    int threads;
    Worker *workers;                    /* [threads], entry 0 unused */
    int started;                        /* threads created, the caller included */

    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    uint64_t generation;                /* counts ops; under lock */
    int running;                        /* workers that have not finished the op; under lock */
    int quit;

    KlTileFn fn;                        /* the op, written under lock before the generation moves */
    void *arg;
    int64_t n_tiles;
    atomic_llong next;

    uint8_t *scratch;
    size_t scratch_bytes;
};

/* What lies before each block. */
typedef struct Block {
    void *base;                         /* of the allocation */
    size_t mapped;                      /* bytes, 0 when malloc'd */
} Block;

_Static_assert(sizeof(Block) <= ALIGN, "the header must fit before a block");

static Block *block_of(void *p)
{
    return (Block *)(void *)((uint8_t *)p - ALIGN);
}

static uint8_t *align_up(void *p, size_t align)
{
    return (uint8_t *)p + (align - (uintptr_t)p % align) % align;
}

/* Blocks of 4 MiB and more lie in huge pages where the system has them: rows far apart otherwise miss the TLB (3 to 8 %
 * of a matrix product). */
static void *host_mem_alloc(KlExec *ex, size_t bytes)
{
    const int map = bytes >= MAPPED_BYTES;
    const size_t align = map && bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGN;
    Block b = { 0 };
    uint8_t *p;

    (void)ex;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    if (map) {
        b.mapped = bytes + align;       /* what is never touched is address space alone */
        b.base = mmap(NULL, b.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (b.base == MAP_FAILED)
            return NULL;
    } else if (posix_memalign(&b.base, ALIGN, ALIGN + kl_round64(bytes))) {
        return NULL;
    }
    p = align_up((uint8_t *)b.base + ALIGN, align);
#ifdef MADV_HUGEPAGE
    if (align == HUGE_PAGE)
        madvise(p, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);   /* a wish: no matter if refused */
#endif
    *block_of(p) = b;
    return p;
}

static void host_mem_free(KlExec *ex, void *p)
{
    Block b = p ? *block_of(p) : (Block){ 0 };

    (void)ex;
    if (b.mapped)
        munmap(b.base, b.mapped);
    else
        free(b.base);
}

static void run_tiles(KlExec *ex, int worker)
{
    for (;;) {
        int64_t tile = atomic_fetch_add_explicit(&ex->next, 1, memory_order_relaxed);
        if (tile >= ex->n_tiles)
            return;
        ex->fn(ex->arg, tile, worker);
    }
}

static void *worker_main(void *opaque)
{
    Worker *w = opaque;
    KlExec *ex = w->ex;
    uint64_t seen = 0;

    pthread_mutex_lock(&ex->lock);
    for (;;) {
        while (ex->generation == seen && !ex->quit)
            pthread_cond_wait(&ex->wake, &ex->lock);
        if (ex->quit)
            break;
        seen = ex->generation;
        pthread_mutex_unlock(&ex->lock);
        run_tiles(ex, w->index);
        pthread_mutex_lock(&ex->lock);
        if (!--ex->running)
            pthread_cond_signal(&ex->done);
    }
    pthread_mutex_unlock(&ex->lock);
    return NULL;
}

void kl_parallel(KlExec *ex, int64_t n_tiles, KlTileFn fn, void *arg)
{
    if (n_tiles <= 0)
        return;
    if (n_tiles == 1 || ex->started == 1) {
        for (int64_t i = 0; i < n_tiles; i++)
            fn(arg, i, 0);
        return;
    }
    pthread_mutex_lock(&ex->lock);
    ex->fn = fn;
    ex->arg = arg;
    ex->n_tiles = n_tiles;
    atomic_store_explicit(&ex->next, 0, memory_order_relaxed);
    ex->running = ex->started - 1;
    ex->generation++;
    pthread_cond_broadcast(&ex->wake);
    pthread_mutex_unlock(&ex->lock);

    run_tiles(ex, 0);

    pthread_mutex_lock(&ex->lock);
    while (ex->running)
        pthread_cond_wait(&ex->done, &ex->lock);
    pthread_mutex_unlock(&ex->lock);
}

int kl_threads(const KlExec *ex)
{
    return ex->threads;
}

void *kl_scratch(const KlExec *ex, int worker, size_t bytes)
{
    if (!bytes || ex->scratch_bytes / bytes < (size_t)ex->threads)
        return NULL;
    return ex->scratch + (size_t)worker * bytes;
}

static void host_exec_destroy(KlExec **pex)
{
    KlExec *ex = *pex;

    if (!ex)
        return;
    pthread_mutex_lock(&ex->lock);
    ex->quit = 1;
    pthread_cond_broadcast(&ex->wake);
    pthread_mutex_unlock(&ex->lock);
    for (int i = 1; i < ex->started; i++)
        pthread_join(ex->workers[i].thread, NULL);
    pthread_cond_destroy(&ex->done);
    pthread_cond_destroy(&ex->wake);
    pthread_mutex_destroy(&ex->lock);
    host_mem_free(ex, ex->scratch);
    free(ex->workers);
    free(ex);
    *pex = NULL;
}

/* Signals belong to the program's threads, never to ours. */
static int start_workers(KlExec *ex)
{
    sigset_t all, old;
    int ret = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int i = 1; i < ex->threads && !ret; i++) {
        ex->workers[i].ex = ex;
        ex->workers[i].index = i;
        ret = pthread_create(&ex->workers[i].thread, NULL, worker_main, &ex->workers[i]);
        if (!ret)
            ex->started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return ret ? -1 : 0;
}

static int host_exec_create(const KlKernels *k, KlExec **pex, const KlExecParams *p)
{
    KlExec *ex = calloc(1, sizeof(*ex));

    (void)k;
    *pex = NULL;
    if (!ex)
        return -1;
    ex->threads = p->threads < 1 ? 1 : p->threads > MAX_THREADS ? MAX_THREADS : p->threads;
    ex->started = 1;
    ex->workers = calloc((size_t)ex->threads, sizeof(*ex->workers));
    if (!ex->workers || pthread_mutex_init(&ex->lock, NULL))
        goto fail;
    if (pthread_cond_init(&ex->wake, NULL))
        goto fail_lock;
    if (pthread_cond_init(&ex->done, NULL))
        goto fail_wake;
    if (start_workers(ex) < 0) {
        host_exec_destroy(&ex);
        return -1;
    }
    *pex = ex;
    return 0;

fail_wake:
    pthread_cond_destroy(&ex->wake);
fail_lock:
    pthread_mutex_destroy(&ex->lock);
fail:
    free(ex->workers);
    free(ex);
    return -1;
}

static int host_exec_sync(KlExec *ex)
{
    (void)ex;                           /* every op has waited for its tiles */
    return 0;
}

static int host_exec_reserve(KlExec *ex, size_t bytes)
{
    uint8_t *p;

    if (bytes <= ex->scratch_bytes)
        return 0;
    p = host_mem_alloc(ex, bytes);
    if (!p)
        return -1;
    host_mem_free(ex, ex->scratch);
    ex->scratch = p;
    ex->scratch_bytes = bytes;
    return 0;
}

static int host_mem_upload(KlExec *ex, void *dst, const void *host, size_t bytes)
{
    (void)ex;
    if (bytes)
        memcpy(dst, host, bytes);
    return 0;
}

static int host_mem_download(KlExec *ex, void *host, const void *src, size_t bytes)
{
    (void)ex;
    if (bytes)
        memcpy(host, src, bytes);
    return 0;
}

static int64_t host_mem_read(KlExec *ex, void *host, const void *src, size_t bytes)
{
    host_mem_download(ex, host, src, bytes);
    return 1;
}

static int host_mem_read_wait(KlExec *ex, int64_t ticket)
{
    (void)ex, (void)ticket;
    return 0;
}

static void host_mem_copy(KlExec *ex, void *dst, const void *src, size_t bytes)
{
    (void)ex;
    if (bytes)
        memcpy(dst, src, bytes);
}

static void host_mem_zero(KlExec *ex, void *dst, size_t bytes)
{
    (void)ex;
    if (bytes)
        memset(dst, 0, bytes);
}

static const char *host_exec_error(const KlExec *ex)
{
    (void)ex;
    return "";
}

static void host_exec_pace(KlExec *ex)
{
    (void)ex;
}

static int host_replay_begin(KlExec *ex, KlReplay **r)
{
    (void)ex, (void)r;
    return 0;
}

static int host_replay_end(KlExec *ex, KlReplay *r, int whole)
{
    (void)ex, (void)r, (void)whole;
    return 0;
}

static void host_replay_forget(KlExec *ex, KlReplay **r)
{
    (void)ex, (void)r;
}

static size_t host_operand_bytes(const KlExec *ex, int64_t S, int64_t D)
{
    (void)ex;
    return (size_t)S * (size_t)D * sizeof(float);
}

/* -- weights and vectors are used where they lie -- */

static int host_weight_bind(const KlKernels *k, KlWeight *w, int64_t N, int64_t K)
{
    (void)k, (void)w, (void)N, (void)K;
    return 0;
}

static void host_weight_release(const KlKernels *k, KlWeight *w)
{
    (void)k;
    w->data = NULL;
    w->scale = NULL;
}

static void host_weight_stats(const KlKernels *k, KlWeightStats *stats)
{
    (void)k;
    *stats = (KlWeightStats){ 0 };
}

static int host_vector_bind(const KlKernels *k, float **v, int64_t n)
{
    (void)k, (void)v, (void)n;
    return 0;
}

static void host_vector_release(const KlKernels *k, float **v)
{
    (void)k;
    free(*v);
    *v = NULL;
}

static void host_close(KlKernels *k)
{
    (void)k;
}

void kl_kernels_init_host(KlKernels *k)
{
    k->close        = host_close;
    k->exec_error   = host_exec_error;
    k->weight_bind  = host_weight_bind;
    k->weight_release = host_weight_release;
    k->weight_stats = host_weight_stats;
    k->vector_bind  = host_vector_bind;
    k->vector_release = host_vector_release;
    k->exec_create  = host_exec_create;
    k->exec_destroy = host_exec_destroy;
    k->exec_sync    = host_exec_sync;
    k->exec_reserve = host_exec_reserve;
    k->exec_pace    = host_exec_pace;
    k->replay_begin = host_replay_begin;
    k->replay_end   = host_replay_end;
    k->replay_forget = host_replay_forget;
    k->operand_bytes = host_operand_bytes;
    k->mem_available = kl_host_mem_available;
    k->mem_alloc    = host_mem_alloc;
    k->mem_free     = host_mem_free;
    k->mem_upload   = host_mem_upload;
    k->mem_download = host_mem_download;
    k->mem_host_alloc = host_mem_alloc;
    k->mem_host_free = host_mem_free;
    k->mem_read     = host_mem_read;
    k->mem_read_wait = host_mem_read_wait;
    k->mem_copy     = host_mem_copy;
    k->mem_zero     = host_mem_zero;
}
