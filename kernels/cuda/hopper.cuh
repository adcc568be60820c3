/*
 * What sm_90a has beyond the rest: products of a warpgroup, bulk copies, and
 * the barriers in shared memory that both need, each with its meaning.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Under KL_CUDA_EMU tests/cuda/emu/emu_hopper.h has a twin of every
 * instruction here. KL_HOPPER is defined where the code can run: elsewhere a
 * kernel's body is left out.
 *
 * Operands in shared memory are panels of 64 bf16 (128 bytes) by any multiple
 * of 8 rows, row r at 128 r, its 16-byte piece c at place c ^ (r % 8): what the
 * PTX manual calls the 128-byte swizzle. Panels begin at multiples of 1024.
 *
 * Half panels have 32 bf16 (64 bytes), row r at 64 r, its 16-byte piece c at
 * place c ^ (r / 2 % 4): the 64-byte swizzle. They begin at multiples of 512.
 */
#ifndef KL_CUDA_HOPPER_CUH
#define KL_CUDA_HOPPER_CUH

#include "device.cuh"

#ifdef KL_CUDA_EMU
#define KL_HOPPER
#include "emu_hopper.h"
#elif defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define KL_HOPPER
#endif

/** Describes an operand in panels to wgmma. Along the 64 elements (K of q k^T): advance p by 2 bytes an element,
 *  `panels` is not read. Across them (K of weights times v): p at the row where K begins; panels: bytes from one panel
 *  of 64 columns to the next. */
static __device__ __forceinline__ uint64_t kl_panel_desc(uint32_t p, uint32_t panels)
{
    return (uint64_t)(p >> 4 & 0x3fff) | (uint64_t)(panels >> 4) << 16 | (uint64_t)(1024 >> 4) << 32 |
           (uint64_t)1 << 62;
}

/** The same for half panels, along their 32 elements. rows: bytes from 8 rows to the 8 that follow. */
static __device__ __forceinline__ uint64_t kl_half_panel_desc(uint32_t p, uint32_t rows)
{
    return (uint64_t)(p >> 4 & 0x3fff) | (uint64_t)1 << 16 | (uint64_t)(rows >> 4) << 32 | (uint64_t)2 << 62;
}

#if defined(KL_HOPPER) && !defined(KL_CUDA_EMU)

/* -- barriers in shared memory: a phase ends when all arrivals and all announced bytes have come -- */

static __device__ __forceinline__ void kl_bar_init(uint64_t *bar, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(kl_shared_address(bar)), "r"(arrivals) : "memory");
}

/** After kl_bar_init, before the block's barrier that lets others see it. */
static __device__ __forceinline__ void kl_bar_init_done()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/** Arrives. */
static __device__ __forceinline__ void kl_bar_arrive(uint64_t *bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(kl_shared_address(bar)) : "memory");
}

/** Arrives and announces bytes of bulk copies. */
static __device__ __forceinline__ void kl_bar_expect(uint64_t *bar, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(kl_shared_address(bar)), "r"(bytes)
                 : "memory");
}

/** Waits until the phase of that parity has ended; the phase before the first one has parity 1 and has ended. */
static __device__ __forceinline__ void kl_bar_wait(uint64_t *bar, uint32_t parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n"
                 "}" :: "r"(kl_shared_address(bar)), "r"(parity) : "memory");
}

/** bytes, a multiple of 16, from global to shared memory, both at multiples of 16; the barrier is told. */
static __device__ __forceinline__ void kl_bulk_copy(void *dst, const void *src, uint32_t bytes, uint64_t *bar)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 :: "r"(kl_shared_address(dst)), "l"(src), "r"(bytes), "r"(kl_shared_address(bar)) : "memory");
}

/** Arrives once all of this thread's kl_cp_async16 so far have landed; counts as one of the barrier's arrivals. */
static __device__ __forceinline__ void kl_cp_arrive(uint64_t *bar)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" :: "r"(kl_shared_address(bar)) : "memory");
}

/** Between others' writes to shared memory that this thread has waited for and its products that read them: ordinary
 *  stores and kl_cp_async16 write through one proxy, wgmma reads through another. */
static __device__ __forceinline__ void kl_async_fence()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/** Brings the 128 bytes around p to the L2 cache, later. */
static __device__ __forceinline__ void kl_prefetch(const void *p)
{
    asm volatile("prefetch.global.L2 [%0];" :: "l"(p) : "memory");
}

/* -- named barriers of `threads` threads, 1 <= id < 16: those that wait and those that only say that they came -- */

static __device__ __forceinline__ void kl_named_wait(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(threads) : "memory");
}

static __device__ __forceinline__ void kl_named_arrive(int id, int threads)
{
    asm volatile("bar.arrive %0, %1;" :: "r"(id), "r"(threads) : "memory");
}

/* -- registers per thread of the calling warpgroup, a multiple of 8 -- */

template<int N> static __device__ __forceinline__ void kl_registers_more()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(N));
}

template<int N> static __device__ __forceinline__ void kl_registers_fewer()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(N));
}

/* -- products of a warpgroup: 128 threads, warp w of which has rows 16 w .. 16 w + 15 -- */

/** Before the first product that reads or adds to registers written since. */
static __device__ __forceinline__ void kl_wgmma_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

/** Closes a group of products; at most N groups may still be under way after the wait. */
static __device__ __forceinline__ void kl_wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template<int N> static __device__ __forceinline__ void kl_wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) : "memory");
}

/** Keeps the compiler from moving uses of d across this place: the instructions above do not name it. */
template<int N> static __device__ __forceinline__ void kl_wgmma_touch(float (&d)[N][4])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3]) :: "memory");
}

template<int N> static __device__ __forceinline__ void kl_wgmma_touch(uint32_t (&a)[N][4])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+r"(a[i][0]), "+r"(a[i][1]), "+r"(a[i][2]), "+r"(a[i][3]) :: "memory");
}

#define KL_D4(i)  "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define KL_D16(i) KL_D4(i), KL_D4(i + 1), KL_D4(i + 2), KL_D4(i + 3)
#define KL_D8 "{%0,%1,%2,%3,%4,%5,%6,%7}"
#define KL_D32 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
               "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}"
#define KL_D48 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
               "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
               "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47}"
#define KL_D64 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
               "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
               "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
               "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}"

#define KL_D88 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
               "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
               "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
               "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63," \
               "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79," \
               "%80,%81,%82,%83,%84,%85,%86,%87}"
#define KL_D96 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15," \
               "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
               "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
               "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63," \
               "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79," \
               "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95}"

/** d[64,8 N] (+)= a[64,16] b[8 N,16]^T, both in panels or both in half panels, along their elements. d of a thread
 *  as kl_mma_bf16's, tile by tile of 8 columns. */
static __device__ __forceinline__ void kl_wgmma_rows(float (&d)[16][4], uint64_t a, uint64_t b, int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " KL_D64 ", %64, %65, p, 1, 1, 0, 0;\n}"
                 : KL_D16(0), KL_D16(4), KL_D16(8), KL_D16(12) : "l"(a), "l"(b), "r"(add));
}

static __device__ __forceinline__ void kl_wgmma_rows(float (&d)[22][4], uint64_t a, uint64_t b, int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %90, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n176k16.f32.bf16.bf16 " KL_D88 ", %88, %89, p, 1, 1, 0, 0;\n}"
                 : KL_D16(0), KL_D16(4), KL_D16(8), KL_D16(12), KL_D16(16), KL_D4(20), KL_D4(21)
                 : "l"(a), "l"(b), "r"(add));
}

static __device__ __forceinline__ void kl_wgmma_rows(float (&d)[2][4], uint64_t a, uint64_t b, int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %10, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 " KL_D8 ", %8, %9, p, 1, 1, 0, 0;\n}"
                 : KL_D4(0), KL_D4(1)
                 : "l"(a), "l"(b), "r"(add));
}

static __device__ __forceinline__ void kl_wgmma_rows(float (&d)[12][4], uint64_t a, uint64_t b, int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %50, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 " KL_D48 ", %48, %49, p, 1, 1, 0, 0;\n}"
                 : KL_D16(0), KL_D16(4), KL_D16(8)
                 : "l"(a), "l"(b), "r"(add));
}

static __device__ __forceinline__ void kl_wgmma_rows(float (&d)[24][4], uint64_t a, uint64_t b, int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %98, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 " KL_D96 ", %96, %97, p, 1, 1, 0, 0;\n}"
                 : KL_D16(0), KL_D16(4), KL_D16(8), KL_D16(12), KL_D16(16), KL_D16(20)
                 : "l"(a), "l"(b), "r"(add));
}

/** d[64,8 N] += a[64,16] b[16,8 N], a in registers as kl_mma_bf16's, b in panels, across their rows. */
static __device__ __forceinline__ void kl_wgmma_columns(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " KL_D64 ", {%64,%65,%66,%67}, %68, 1, 1, 1, 1;"
                 : KL_D16(0), KL_D16(4), KL_D16(8), KL_D16(12)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

static __device__ __forceinline__ void kl_wgmma_columns(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " KL_D32 ", {%32,%33,%34,%35}, %36, 1, 1, 1, 1;"
                 : KL_D16(0), KL_D16(4) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
#endif

#endif /* KL_CUDA_HOPPER_CUH */
