/*
 * CUDA on the CPU, for proofs: as much of the runtime and of the language as
 * kernels/cuda uses, so that the very same .cu files compile as C++.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What it proves: indexing, arithmetic, barriers that every thread reaches,
 * fragment layouts as the PTX manual has them, host and device pointers kept
 * apart (device memory cannot be touched outside launches and copies), memory
 * that nobody wrote (it is NaN), copies that were not waited for. What it
 * does not: races between warps, alignment, limits of registers and shared
 * memory, asynchrony between streams, speed.
 *
 * A block's threads are fibers that run one after another until they wait.
 */
#ifndef KL_EMU_CUDA_RUNTIME_H
#define KL_EMU_CUDA_RUNTIME_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __restrict__ __restrict
#define __shared__ static thread_local
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct __align__(8) float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
struct __align__(8) uint2 { unsigned x, y; };
struct __align__(16) uint4 { unsigned x, y, z, w; };
static inline float2 make_float2(float x, float y) { return { x, y }; }
static inline float4 make_float4(float x, float y, float z, float w) { return { x, y, z, w }; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return { x, y }; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return { x, y, z, w }; }

/* -- the running thread -- */
struct EmuPlace { dim3 thread, block, block_dim, grid_dim; };
const EmuPlace &emu_place();
#define threadIdx (emu_place().thread)
#define blockIdx  (emu_place().block)
#define blockDim  (emu_place().block_dim)
#define gridDim   (emu_place().grid_dim)

void __syncthreads();
/** All 32 lanes of the warp arrive, each with its arguments; the last one runs fn over them, then all go on. */
void emu_warp(void *arg, void (*fn)(void *const *args));
/** The thread goes on once ready(arg); others run meanwhile. */
void emu_wait(bool (*ready)(const void *arg), const void *arg);
void emu_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/** The launch's dynamic shared memory, NaN at the start of each block. */
char *emu_shared();
void emu_launch(const char *name, dim3 grid, dim3 block, size_t shared, const std::function<void()> &thread);
/** Ends the program when p is neither NULL nor in device memory. */
void emu_check_device(const void *p, const char *what);

template<typename T> struct EmuShuffle { T v, out; int src; };
template<typename T> static inline T emu_shuffle(T v, int src)
{
    EmuShuffle<T> a = { v, v, src & 31 };

    emu_warp(&a, [](void *const *args) {
        for (int i = 0; i < 32; i++) {
            EmuShuffle<T> *to = (EmuShuffle<T> *)args[i];
            to->out = ((EmuShuffle<T> *)args[to->src])->v;
        }
    });
    return a.out;
}
static inline int emu_lane() { return (int)(threadIdx.x & 31); }
template<typename T> static inline T __shfl_sync(unsigned, T v, int src) { return emu_shuffle(v, src); }
template<typename T> static inline T __shfl_xor_sync(unsigned, T v, int m) { return emu_shuffle(v, emu_lane() ^ m); }
static inline void __syncwarp() { int v = 0; emu_shuffle(v, 0); }
template<typename T> static inline T __ldg(const T *p) { return *p; }
static inline float fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }

/* -- the runtime -- */
typedef enum cudaError {
    cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100, cudaErrorInvalidDevice = 101, cudaErrorIllegalAddress = 700,
    cudaErrorLaunchFailure = 719,
} cudaError_t;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
typedef struct EmuStream *cudaStream_t;
typedef struct EmuEvent *cudaEvent_t;
typedef struct EmuPool *cudaMemPool_t;
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4, cudaMemPoolAttrReservedMemCurrent = 5,
                       cudaMemPoolAttrUsedMemCurrent = 7 };
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaMemAllocationTypePinned = 1 };
enum { cudaMemLocationTypeDevice = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
struct cudaMemPoolProps {
    int allocType, handleTypes;
    struct { int type, id; } location;
};
struct cudaDeviceProp {
    char name[256];
    int major, minor, multiProcessorCount;
    size_t totalGlobalMem, sharedMemPerBlockOptin;
};

cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaDriverGetVersion(int *v);
cudaError_t cudaRuntimeGetVersion(int *v);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaGetLastError();
const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaMemPoolCreate(cudaMemPool_t *p, const cudaMemPoolProps *props);
cudaError_t cudaMemPoolDestroy(cudaMemPool_t p);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t p, cudaMemPoolAttr a, void *v);
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t p, cudaMemPoolAttr a, void *v);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t p, size_t keep);
cudaError_t cudaMallocFromPoolAsync(void **p, size_t bytes, cudaMemPool_t pool, cudaStream_t s);
cudaError_t cudaFreeAsync(void *p, cudaStream_t s);
cudaError_t cudaMallocHost(void **p, size_t bytes);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaMemsetAsync(void *dst, int v, size_t bytes, cudaStream_t s);
cudaError_t cudaMemGetInfo(size_t *left, size_t *total);
template<typename F> static inline cudaError_t cudaFuncSetAttribute(F, cudaFuncAttribute, int) { return cudaSuccess; }

/* -- what tests ask for; not thread-safe, between executors only -- */
struct EmuControl {
    int devices;                        /* 1 */
    int cc_major;                       /* 9 */
    int driver_version;                 /* 13000 */
    size_t memory;                      /* of the device, 2 GiB */
    const char *fail_call;              /* the runtime call, or the kernel, that fails next time; NULL: none */
    cudaError_t fail_with;
    long launches, copies_to_device;    /* counted */
    size_t used, most;                  /* bytes of memory that are taken, and most that were at once */
};
extern "C" EmuControl *kl_emu_control(void);

#endif /* KL_EMU_CUDA_RUNTIME_H */
