/*
 * What the files of the CUDA table share on the host's side.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One KlCudaState per table: a device, its memory pool, its weights. One
 * KlExec per job: a stream. Ops only enqueue; nothing waits but exec_sync,
 * mem_download, mem_read_wait and a weight's first use. The first failure of an executor
 * stays with it, and every op after it does nothing.
 */
#ifndef KL_CUDA_CUDA_H
#define KL_CUDA_CUDA_H

#include <mutex>
#include <set>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.cuh"
#include "kernels/cuda.h"

#define KL_CUDA_SLOTS 2                 /* weights that are on their way or in use when they cannot all stay */
#define KL_CUDA_STAGE ((size_t)4 << 20) /* bytes of one of a download's two pinned buffers */
#define KL_CUDA_UPLOADS 4               /* of up to KL_CUDA_UPLOAD bytes that may be under way */
#define KL_CUDA_UPLOAD ((size_t)128 << 10)
#define KL_CUDA_READS 8                 /* of mem_read under way */
#define KL_CUDA_PACES 64                /* of kl_cuda_pace; the host is ahead by half of them at most */

/* A bound weight; KlWeight.data points here. */
struct KlCudaWeight {
    const void *host;
    float *scale;                       /* on the device, or NULL */
    size_t bytes;
    void *dev;                          /* resident, or NULL */
    void *pinned;                       /* a copy of host that the device can read by itself, or NULL */
    int64_t used;                       /* tick of the last use */
    KlCudaWeight *after;                /* the one that was used next the last time */
    KlCudaWeight *prev, *next;          /* of all */
};

struct KlCudaSlot {
    void *dev;
    size_t bytes;
    KlCudaWeight *w;                    /* what it holds or is receiving, or NULL */
    cudaEvent_t ready;
};

struct KlCudaState {
    int device;
    cudaDeviceProp prop;
    cudaMemPool_t pool;
    bool wgmma;                         /* products of warpgroups: sm_90a has them */
    uint64_t limit;                     /* bytes that may be taken from the pool at once; UINT64_MAX: all there are */
    cudaStream_t copy;                  /* weights travel here */
    cudaEvent_t passed;                 /* an executor is through with a slot */

    std::mutex lock;                    /* of all below; held while a product that uses a weight is enqueued */
    KlCudaWeight *weights, *last;       /* all that are bound; the one used last */
    std::set<const void *> handles;     /* their addresses: other data of a KlWeight is an executor's memory */
    int64_t count, tick;
    int64_t budget, resident;           /* bytes that weights may keep, and do */
    int64_t bound;                      /* of all weights */
    int64_t pinnable;                   /* bytes of host memory that copies of weights may still pin */
    size_t largest;
    KlCudaSlot slot[KL_CUDA_SLOTS];
    bool unsettled;                     /* a weight was used since the device was last waited for */
    int64_t moves;                      /* weights that have lost their place on the device */
    KlExec *execs;                      /* all there are */
    int64_t streamed;                   /* bytes copied because they could not stay */
};

struct KlExec {
    KlCudaState *st;
    KlExec *prev, *next;                /* of st->execs */
    cudaStream_t base;                  /* its work */
    cudaStream_t stream;                /* where launches go: base, or record */
    KlPrecision precision;
    char error[256];
    int failed;

    uint8_t *scratch;
    size_t scratch_bytes;
    void *stage[2];                     /* pinned */
    cudaEvent_t staged[2];
    void *gemm;                         /* kl_cuda_gemm_*'s own */

    void *room;                         /* pinned, of KL_CUDA_UPLOADS; NULL before the first */
    cudaEvent_t uploaded[KL_CUDA_UPLOADS];
    int64_t uploads;                    /* of these, so far */

    cudaStream_t record;                /* of captures; NULL before the first */
    KlReplay *recording;                /* what is being captured, or NULL */
    bool unfit;                         /* what is being captured cannot be */
    cudaEvent_t pace[KL_CUDA_PACES];    /* pace n: pace[n % KL_CUDA_PACES] */
    int64_t paces;                      /* so far */
    double paced_at;                    /* when the host went on from the last one, in seconds */

    cudaStream_t out;                   /* of mem_read; NULL before the first */
    cudaEvent_t made;                   /* what is read next is there */
    cudaEvent_t read[KL_CUDA_READS];    /* of ticket n: read[n % KL_CUDA_READS] */
    int64_t reads;                      /* the last ticket */

    /* What the head of the scratch holds in bf16 from the op before, so that q, k and v convert their input once. */
    const float *half_of;
    int64_t half_ld, half_M, half_K;

    void (*log)(void *opaque, const char *line);
    void *log_opaque;
};

/** True when e is success; else notes the failure, naming the call, and the executor is of no more use. */
bool kl_cuda_ok(KlExec *ex, cudaError_t e, const char *call);
#define KL_CUDA(ex, call) kl_cuda_ok((ex), (call), #call)
/** The failure of something that is no runtime call. */
void kl_cuda_failed(KlExec *ex, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** First in every op: false when the executor has failed. Makes its device the thread's. */
bool kl_cuda_enter(KlExec *ex);

#ifdef KL_CUDA_EMU
#define KL_ON_DEVICE(p) emu_check_device((p), #p)
#else
#define KL_ON_DEVICE(p) ((void)0)       /* the emulator stops at host memory given for the device's */
#endif

/** The weight's elements in device memory, in order with the executor's stream; NULL after a failure. Holds the
 *  state's lock until kl_cuda_weight_done(). */
const void *kl_cuda_weight_use(KlExec *ex, const KlWeight *w);
void kl_cuda_weight_done(KlExec *ex, const KlWeight *w);
/** Its scale in device memory, NULL for 1. Between the two. */
const float *kl_cuda_weight_scale(KlExec *ex, const KlWeight *w);
/** A use of w, in order. Under the lock. */
void kl_cuda_weight_touch(KlCudaState *st, KlCudaWeight *w);
/** Waits for all work that is enqueued so far, every executor's and the copies of weights. Under the lock. */
void kl_cuda_settle(KlCudaState *st);
/** Takes memory from weights until `bytes` more are free, or none is left. True when something was freed. */
bool kl_cuda_weights_yield(KlCudaState *st, size_t bytes);
/** What is left of `room` bytes for activations: where not all weights fit, those that pass through need their slots.
 *  Under the lock. */
int64_t kl_cuda_spare(const KlCudaState *st, int64_t room);
void kl_cuda_weights_close(KlCudaState *st);

/** Device memory outside any executor; NULL when there is none, or none without taking it from weights. */
void *kl_cuda_take(KlCudaState *st, size_t bytes, cudaStream_t stream);
/** Bytes of the pool that are in use. */
uint64_t kl_cuda_taken(const KlCudaState *st);

/* y[M,N] (f32, ldy) = x[M,K] w[N,K]^T (+ bias[N]) (then gelu) (+ y), by the vendor's library. */
struct KlCudaGemm {
    const void *x; int64_t ldx;
    const void *w; int64_t ldw;
    void *y; int64_t ldy;
    int64_t M, N, K;
    bool half;                          /* x and w are bf16, else f32 (and no tf32) */
    bool y_half;                        /* so are y and bias */
    const void *bias;
    bool gelu, add;                     /* not both; gelu: the tanh form, to about 2^-11 */
};
bool kl_cuda_gemm_open(KlExec *ex);
void kl_cuda_gemm_close(KlExec *ex);
/** False when the executor has failed, or when the library has nothing with this bias, gelu or add. */
bool kl_cuda_gemm(KlExec *ex, const KlCudaGemm *p);
/** linear of few rows in f32; w in device memory, f32, f16 or bf16. Needs no scratch. */
void kl_cuda_gemv(KlExec *ex, const KlLinear *p, const void *w, KlDType dtype);
/** Fixed bytes of the scratch's end that the library may use. */
#ifdef KL_CUDA_EMU
#define KL_CUDA_GEMM_WORK ((size_t)1 << 10)
#else
#define KL_CUDA_GEMM_WORK ((size_t)32 << 20)
#endif

/** The table's exec_pace. */
void kl_cuda_pace(KlExec *ex);
void kl_cuda_pace_close(KlExec *ex);
/** A weight that the captured ops use. Under the lock. */
void kl_cuda_replay_note(KlExec *ex, KlCudaWeight *w);

void kl_cuda_init_exec(KlKernels *k);
void kl_cuda_init_replay(KlKernels *k);
void kl_cuda_init_weights(KlKernels *k);
void kl_cuda_init_rows(KlKernels *k);
void kl_cuda_init_eltwise(KlKernels *k);
void kl_cuda_init_layout(KlKernels *k);
void kl_cuda_init_linear(KlKernels *k);
void kl_cuda_init_quants(KlKernels *k);
void kl_cuda_init_attention(KlKernels *k);
void kl_cuda_init_conv(KlKernels *k);

/* Attention in bf16 (attention_mma.cu): false when the shape is not for it or the scratch is too small. */
bool kl_cuda_attention_mma(KlExec *ex, const KlAttention *p);
size_t kl_cuda_attention_mma_scratch(int64_t Sq, int64_t Sk, int H, int E);
/* The same for sm_90a (attention_wgmma.cu): heads up to 128, no relative biases. 0 bytes for larger heads. */
bool kl_cuda_attention_wgmma(KlExec *ex, const KlAttention *p);
size_t kl_cuda_attention_wgmma_scratch(int64_t Sq, int64_t Sk, int H, int E);
/* The same by products, scores in memory for some queries at a time, for heads above 384 (attention_wide.cu). */
bool kl_cuda_attention_wide(KlExec *ex, const KlAttention *p);
size_t kl_cuda_attention_wide_scratch(int64_t Sq, int64_t Sk, int H, int E);
/* Convolution in bf16 (conv_mma.cu). */
struct KlConv;
bool kl_cuda_conv_mma(KlExec *ex, const KlConv *c, float *out, const float *const *src, const float *residual);

/** Whether products are in bf16: an operand is then rows of it, see kl_operand_pitch(); else it is f32. */
static inline bool kl_cuda_half(const KlExec *ex) { return ex->precision != KL_PREC_F32; }
/** out[M,Kp] = x[M,K] in bf16, zeros behind K; Kp is a multiple of 4. */
void kl_cuda_half_rows(KlExec *ex, uint16_t *out, const float *x, int64_t ldx, int64_t M, int64_t K, int64_t Kp);
/** Zeros behind the width of an operand's rows, for ops that do not write them. */
void kl_cuda_operand_pad(KlExec *ex, void *operand, int64_t S, int64_t D);

static inline bool kl_aligned16(const void *p) { return ((uintptr_t)p & 15) == 0; }
static inline int64_t kl_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline size_t kl_round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/** Blocks for n items of `per` each, at most 2^31 - 1. */
static inline unsigned kl_blocks(int64_t n, int64_t per)
{
    int64_t b = kl_ceil_div(n, per);

    return (unsigned)(b < 1 ? 1 : b > 0x7fffffff ? 0x7fffffff : b);
}

#endif /* KL_CUDA_CUDA_H */
