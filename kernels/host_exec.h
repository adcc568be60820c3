/*
 * Execution on the host: a pool of threads and plain memory, shared by the
 * tables whose ops run on the CPU (ref and cpu). Not a scheduler: one op runs
 * at a time, cut into tiles that know nothing of each other.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Determinism: an op cuts its work by shape alone, never by kl_threads(), and
 * no tile reads what another one writes. Which worker runs which tile is then
 * free, and the result is the same bits for any number of threads.
 */
#ifndef KL_HOST_EXEC_H
#define KL_HOST_EXEC_H

#include "kernels/kernels.h"

/** One tile of an op; worker is 0..kl_threads(ex)-1 and runs one tile at a time. */
typedef void (*KlTileFn)(void *arg, int64_t tile, int worker);

/** Run fn for every tile in 0..n_tiles-1, in any order, and wait. The calling thread works too; an executor
 *  serves one caller at a time, which need not always be the same thread. Not to be called from a tile. */
void kl_parallel(KlExec *ex, int64_t n_tiles, KlTileFn fn, void *arg);

/** Workers, the caller included. For slicing scratch, never for cutting work. */
int kl_threads(const KlExec *ex);

/** The worker's slice of the scratch when every worker takes `bytes` (a multiple of 64): an op's *_scratch
 *  figure is then kl_threads(ex) * bytes. NULL when less was reserved: the op should then go without. */
void *kl_scratch(const KlExec *ex, int worker, size_t bytes);

static inline size_t kl_round64(size_t n) { return (n + 63) & ~(size_t)63; }
static inline int64_t kl_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t kl_min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t kl_max64(int64_t a, int64_t b) { return a > b ? a : b; }

/** The least of free memory and swap, the container's limit and the address space's. */
int64_t kl_host_mem_available(const KlKernels *k);
/** Bytes that may be locked in memory while the machine lives well: half of what is left without swapping. */
int64_t kl_host_mem_pinnable(void);

/** Fills the entries of a table that do not compute: exec_*, mem_*, *_bind, *_release, close. */
void kl_kernels_init_host(KlKernels *k);

#endif /* KL_HOST_EXEC_H */
