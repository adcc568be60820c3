/*
 * What the device code is written in: launches, reductions, 16-bit numbers,
 * and the few PTX instructions that have no C name, each with its meaning.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Under KL_CUDA_EMU the same .cu files compile as C++ against the emulator of
 * tests/cuda/emu, whose emu_device.h has a twin of every instruction here.
 */
#ifndef KL_CUDA_DEVICE_CUH
#define KL_CUDA_DEVICE_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#include "kernels/kernels.h"

#ifdef KL_CUDA_EMU
#include "emu_device.h"
#else

/* KL_LAUNCH(ex, kernel or (kernel<T, N>), grid, threads, bytes of dynamic shared memory, arguments...) */
#define KL_LAUNCH(ex, kernel, grid, block, shared, ...) do { \
        kernel<<<(grid), (block), (shared), (ex)->stream>>>(__VA_ARGS__); \
        kl_cuda_ok((ex), cudaGetLastError(), #kernel); \
    } while (0)

/* The launch's dynamic shared memory. */
#define KL_SHARED(type, name) \
    extern __shared__ __align__(1024) unsigned char kl_dynamic_shared[]; \
    type *name = (type *)kl_dynamic_shared

static __device__ __forceinline__ uint32_t kl_shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/** 16 bytes from global to shared memory, later; ok 0: zeros instead, src is not read. */
static __device__ __forceinline__ void kl_cp_async16(void *dst, const void *src, int ok)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(kl_shared_address(dst)), "l"(src),
                 "r"(ok ? 16 : 0) : "memory");
}

/** Closes a group of copies; at most N groups may still be under way after the wait. */
static __device__ __forceinline__ void kl_cp_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template<int N> static __device__ __forceinline__ void kl_cp_wait()
{
    asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory");
}

/** Four 8x8 matrices of 16-bit elements; lane 8i+r gives the address of row r of matrix i. Lane l gets of each the
 *  pair (row l/4, columns 2(l%4), +1); transposed: (rows 2(l%4), +1, column l/4). */
static __device__ __forceinline__ void kl_ldmatrix4(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(kl_shared_address(row)) : "memory");
}

static __device__ __forceinline__ void kl_ldmatrix4_trans(uint32_t r[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(kl_shared_address(row)) : "memory");
}

/** d[16,8] += a[16,16] b[16,8], bf16 operands, f32 sums. With g = lane/4, t = lane%4:
 *  a: {(g, 2t..)}, {(g+8, 2t..)}, {(g, 2t+8..)}, {(g+8, 2t+8..)};  b: {(2t.., g)}, {(2t+8.., g)};
 *  d: (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1). */
static __device__ __forceinline__ void kl_mma_bf16(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};" : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/** d[16,8] += a[16,32] b[32,8] in whole numbers, bytes with a sign. With g = lane/4, t = lane%4, four bytes each:
 *  a: {(g, 4t..)}, {(g+8, 4t..)}, {(g, 4t+16..)}, {(g+8, 4t+16..)};  b: {(4t.., g)}, {(4t+16.., g)};
 *  d: as of kl_mma_bf16. An 8x8 matrix of kl_ldmatrix4 is one of 8x16 bytes. */
static __device__ __forceinline__ void kl_mma_s8(int32_t d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};" : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/** Two f32 rounded to nearest even; lo in the low half. */
static __device__ __forceinline__ uint32_t kl_bf16x2(float lo, float hi)
{
    uint32_t d;

    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(hi), "f"(lo));
    return d;
}

static __device__ __forceinline__ float kl_f32_of_half(uint16_t h)
{
    float f;

    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}

/** 2^x, 2 ulp, of a finite x or -infinity. */
static __device__ __forceinline__ float kl_exp2(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

static __device__ __forceinline__ float kl_f32_of_bits(uint32_t u) { return __uint_as_float(u); }
#endif

#define KL_FULL 0xffffffffu

static __device__ __forceinline__ float kl_f32_of_bf16(uint16_t h) { return kl_f32_of_bits((uint32_t)h << 16); }

static __device__ __forceinline__ uint16_t kl_bf16(float x) { return (uint16_t)kl_bf16x2(x, 0); }

/** Elements between rows of an operand of width D where products are in bf16: what is behind D is zeros. */
static __host__ __device__ inline int64_t kl_operand_pitch(int64_t D) { return (D + 31) / 32 * 32; }

/** a and b as elements `at` and at + 1 of floats, or (half) of bf16, where `at` is even. */
static __device__ __forceinline__ void kl_store_pair(void *out, bool half, int64_t at, float a, float b)
{
    if (half) {
        *(uint32_t *)((uint16_t *)out + at) = kl_bf16x2(a, b);
    } else {
        ((float *)out)[at] = a;
        ((float *)out)[at + 1] = b;
    }
}

/** Eight f32 from x on, of which n <= 8 are there, zeros behind. VEC: x is a multiple of 16 and n of 4. */
template<bool VEC> static __device__ __forceinline__ void kl_load8(float v[8], const float *x, int64_t n)
{
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
        float4 f = make_float4(0, 0, 0, 0);

        if (VEC && i < n) {
            f = *(const float4 *)(x + i);
        } else if (!VEC) {
            f.x = i + 0 < n ? x[i] : 0;
            f.y = i + 1 < n ? x[i + 1] : 0;
            f.z = i + 2 < n ? x[i + 2] : 0;
            f.w = i + 3 < n ? x[i + 3] : 0;
        }
        v[i] = f.x;
        v[i + 1] = f.y;
        v[i + 2] = f.z;
        v[i + 3] = f.w;
    }
}

static __device__ __forceinline__ uint4 kl_bf16x8(const float v[8])
{
    return make_uint4(kl_bf16x2(v[0], v[1]), kl_bf16x2(v[2], v[3]), kl_bf16x2(v[4], v[5]), kl_bf16x2(v[6], v[7]));
}

/** Element i of a weight in f32, exactly. */
static __device__ __forceinline__ float kl_weight_at(const void *data, KlDType t, int64_t i)
{
    if (t == KL_F32)
        return ((const float *)data)[i];
    return t == KL_F16 ? kl_f32_of_half(((const uint16_t *)data)[i]) : kl_f32_of_bf16(((const uint16_t *)data)[i]);
}

static __device__ __forceinline__ float kl_act(float x, KlActivation act)
{
    if (act == KL_ACT_NONE)
        return x;
    if (act == KL_ACT_GELU)             /* 1 + erf(t) = erfc(-t), which does not cancel */
        return (float)(0.5 * x * erfc(-0.70710678118654752440 * x));
    /* (1 + tanh(t)) / 2 = 1 / (1 + exp(-2t)), which does not cancel */
    return x / (1.0f + expf(act == KL_ACT_SILU ? -x : -1.5957691216057308f * (x + 0.044715f * x * x * x)));
}

/** What KlLinear does to one element of its product: bias, residual and gate are those of the element, or NULL. */
static __device__ __forceinline__ float kl_linear_finish(float v, const float *bias, KlActivation act,
                                                         const float *residual, const float *gate)
{
    v = kl_act(bias ? v + *bias : v, act);
    if (residual)
        v = (gate ? v * *gate : v) + *residual;
    return v;
}

template<typename T> static __device__ __forceinline__ T kl_warp_sum(T v)
{
    for (int m = 16; m; m >>= 1)
        v += __shfl_xor_sync(KL_FULL, v, m);
    return v;
}

static __device__ __forceinline__ float kl_warp_max(float v)
{
    for (int m = 16; m; m >>= 1) {
        float o = __shfl_xor_sync(KL_FULL, v, m);

        v = o > v || !(o == o) ? o : v;     /* a NaN stays */
    }
    return v;
}

/** Of four neighbouring lanes, which hold a row of an mma tile together. */
static __device__ __forceinline__ float kl_quad_max(float v)
{
    v = fmaxf(v, __shfl_xor_sync(KL_FULL, v, 1));
    return fmaxf(v, __shfl_xor_sync(KL_FULL, v, 2));
}

static __device__ __forceinline__ float kl_quad_sum(float v)
{
    v += __shfl_xor_sync(KL_FULL, v, 1);
    return v + __shfl_xor_sync(KL_FULL, v, 2);
}

/** The block's sum in every thread, always in the same order; part[32] is shared memory. */
static __device__ __forceinline__ double kl_block_sum(double v, double *part)
{
    int warps = (int)blockDim.x / 32;
    double sum = 0;

    v = kl_warp_sum(v);
    __syncthreads();                    /* part may still be read from the last time */
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    for (int i = 0; i < warps; i++)
        sum += part[i];
    return sum;
}

#endif /* KL_CUDA_DEVICE_CUH */
