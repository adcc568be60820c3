/*
 * The emulator's twins of the instructions in kernels/cuda/hopper.cuh, after
 * the PTX manual's chapters on mbarrier, cp.async.bulk and wgmma.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * As late as can be: a bulk copy lands only when nothing else can run; a
 * product reads its operands and writes its result only when it is waited for,
 * and until then its result is NaN. A warp's quarter of a product is computed
 * by itself, as warps may be apart.
 */
#ifndef KL_EMU_HOPPER_H
#define KL_EMU_HOPPER_H

#include <cuda_runtime.h>

void kl_bar_init(uint64_t *bar, int arrivals);
void kl_bar_arrive(uint64_t *bar);
void kl_bar_expect(uint64_t *bar, uint32_t bytes);
void kl_bar_wait(uint64_t *bar, uint32_t parity);
void kl_bulk_copy(void *dst, const void *src, uint32_t bytes, uint64_t *bar);
/** The thread's copies land, and then it arrives, only when nothing else can run. */
void kl_cp_arrive(uint64_t *bar);
/** Without it a product that reads what such copies wrote ends the program. */
void kl_async_fence();
void kl_named_wait(int id, int threads);
void kl_named_arrive(int id, int threads);
static inline void kl_bar_init_done() {}
void kl_prefetch(const void *p);
static inline void kl_wgmma_begin() {}
template<int N> static inline void kl_registers_more() {}
template<int N> static inline void kl_registers_fewer() {}
template<int N> static inline void kl_wgmma_touch(float (&)[N][4]) {}
template<int N> static inline void kl_wgmma_touch(uint32_t (&)[N][4]) {}

/** The dynamic shared memory begins in the middle of 1024 bytes here. */
uint32_t kl_shared_address(const void *p);

/* tiles: columns of d / 8. a: in registers, or NULL and desc_a. */
void emu_wgmma(float *d, int tiles, const uint32_t *a, uint64_t desc_a, uint64_t desc_b, int add);
void emu_wgmma_wait(int groups);
void kl_wgmma_commit();
template<int N> static inline void kl_wgmma_wait() { emu_wgmma_wait(N); }

template<int N> static inline void kl_wgmma_rows(float (&d)[N][4], uint64_t a, uint64_t b, int add)
{
    emu_wgmma(&d[0][0], N, NULL, a, b, add);
}

template<int N> static inline void kl_wgmma_columns(float (&d)[N][4], const uint32_t (&a)[4], uint64_t b)
{
    emu_wgmma(&d[0][0], N, a, 0, b, 1);
}

/* -- for the scheduler -- */
void emu_hopper_begin(int warps);
/** One bulk copy that is under way, or one thread's copies, land; false: there are none. */
bool emu_hopper_copy();
void emu_hopper_end(const char *kernel);

#endif /* KL_EMU_HOPPER_H */
