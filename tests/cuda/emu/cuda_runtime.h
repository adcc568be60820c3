/*
 * CUDA on the CPU, for proofs: as much of the runtime and of the language as
 * kernels/cuda uses, so that the very same .cu files compile as C++.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What it proves: indexing, arithmetic, barriers that every thread reaches,
 * fragment layouts as the PTX manual has them, host and device pointers kept
 * apart (device memory cannot be touched outside launches and copies), memory
 * that nobody wrote (it is NaN) or that is freed, copies that were not waited
 * for; waits between streams and by the host: work runs only while somebody
 * waits, in an order that tests choose (control.h). What it does not: races
 * between warps, two kernels at the same time, alignment, limits of registers
 * and shared memory, speed.
 *
 * A block's threads are fibers that run one after another until they wait. A
 * stream is a queue of closures (streams.cc), a graph a list of them.
 */
#ifndef KL_EMU_CUDA_RUNTIME_H
#define KL_EMU_CUDA_RUNTIME_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>
#include <vector>

#include "control.h"

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
/** A kernel with its arguments as they were at the launch, and those that point to device memory. */
struct EmuWork { std::function<void()> thread; std::vector<const void *> pointers; };
void emu_note_pointers(EmuWork *w, const void *arg, size_t bytes);
template<typename... P> static inline EmuWork emu_bind(void (*kernel)(P...), typename std::common_type<P>::type... args)
{
    EmuWork w = { [=]() { kernel(args...); }, {} };

    (emu_note_pointers(&w, &args, sizeof(args)), ...);
    return w;
}
/** Fails as a launch does: cudaGetLastError() has it. */
void emu_launch(const char *name, dim3 grid, dim3 block, size_t shared, struct EmuStream *stream, const EmuWork &work);
/** Ends the program when p is neither NULL nor in device memory that is held. */
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
    cudaErrorNoDevice = 100, cudaErrorInvalidDevice = 101, cudaErrorInvalidResourceHandle = 400,
    cudaErrorIllegalState = 401, cudaErrorNotReady = 600, cudaErrorIllegalAddress = 700, cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnsupported = 900, cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureIsolation = 905, cudaErrorCapturedEvent = 907, cudaErrorStreamCaptureWrongThread = 908,
} cudaError_t;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
typedef struct EmuStream *cudaStream_t;
typedef struct EmuEvent *cudaEvent_t;
typedef struct EmuPool *cudaMemPool_t;
typedef struct EmuGraph *cudaGraph_t;
typedef struct EmuGraphExec *cudaGraphExec_t;
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal = 0, cudaStreamCaptureModeThreadLocal = 1,
                             cudaStreamCaptureModeRelaxed = 2 };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1,
                               cudaStreamCaptureStatusInvalidated = 2 };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4, cudaMemPoolAttrReservedMemCurrent = 5,
                       cudaMemPoolAttrUsedMemCurrent = 7 };
enum { cudaStreamNonBlocking = 1, cudaMemAllocationTypePinned = 1 };
enum { cudaEventDefault = 0, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2 };
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
cudaError_t cudaStreamQuery(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaEventCreate(cudaEvent_t *e);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventQuery(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g);
cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus *status);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x);
cudaError_t cudaGraphDestroy(cudaGraph_t g);
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

extern "C" EmuControl *kl_emu_control(void);

#endif /* KL_EMU_CUDA_RUNTIME_H */
