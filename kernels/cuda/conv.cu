/*
 * Convolution of causal video: setting up, and the plain one in f32.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Weights lie as [tap][IC][OC] in f32, so that threads of neighbouring output
 * channels read neighbouring words. The bf16 path packs its own.
 */
#include "conv.h"
#include "quants.h"

#define THREADS 128

/* -- weights -- */

static __global__ void __launch_bounds__(THREADS) pack_kernel(float *out, const float *w, int ic, int oc, int taps)
{
    int64_t at = (int64_t)blockIdx.x * THREADS + threadIdx.x, rest = at / oc;
    int o = (int)(at % oc), c = (int)(rest % ic), tap = (int)(rest / ic);

    if (tap < taps)
        out[at] = w[((int64_t)o * ic + c) * taps + tap];
}

static void conv_weights_destroy(KlConvWeights **pcw)
{
    KlConvWeights *cw = *pcw;

    if (!cw)
        return;
    cudaSetDevice(cw->st->device);
    {
        std::lock_guard<std::mutex> hold(cw->st->lock);

        kl_cuda_settle(cw->st);         /* pictures may still be on their way through them */
    }
    if (cw->w)
        cudaFreeAsync(cw->w, cw->st->copy);
    if (cw->bias)
        cudaFreeAsync(cw->bias, cw->st->copy);
    free(cw);
    *pcw = NULL;
}

/* The file's bytes to the device, widened there, then put in order. */
static bool weights_fill(KlConvWeights *cw, KlWeight w, const float *bias)
{
    const int64_t n = (int64_t)cw->oc * cw->ic * cw->taps;
    const size_t bytes = kl_dtype_bytes(w.dtype, n), scales = w.scale_group ? (size_t)kl_ceil_div(n, w.scale_group) : 1;
    KlExec ex = {};                     /* for launches outside any executor */
    cudaStream_t stream = ex.stream = cw->st->copy;
    void *raw = kl_cuda_take(cw->st, bytes, stream), *wide = kl_cuda_take(cw->st, (size_t)n * sizeof(float), stream);
    float *scale = w.scale ? (float *)kl_cuda_take(cw->st, scales * sizeof(float), stream) : NULL;

    ex.st = cw->st;
    cw->w = (float *)kl_cuda_take(cw->st, (size_t)n * sizeof(float), stream);
    if (bias)
        cw->bias = (float *)kl_cuda_take(cw->st, cw->oc * sizeof(float), stream);
    if (raw && wide && cw->w && (cw->bias || !bias) && (scale || !w.scale) &&
        KL_CUDA(&ex, cudaMemcpyAsync(raw, w.data, bytes, cudaMemcpyHostToDevice, stream)) &&
        (!scale || KL_CUDA(&ex, cudaMemcpyAsync(scale, w.scale, scales * sizeof(float), cudaMemcpyHostToDevice,
                                                stream))) &&
        (!bias || KL_CUDA(&ex, cudaMemcpyAsync(cw->bias, bias, cw->oc * sizeof(float), cudaMemcpyHostToDevice,
                                               stream)))) {
        kl_cuda_widen(&ex, wide, false, &w, raw, scale, 1, n, n);
        KL_LAUNCH(&ex, pack_kernel, dim3(kl_blocks(n, THREADS)), dim3(THREADS), 0, cw->w, (const float *)wide, cw->ic,
                  cw->oc, cw->taps);
    } else {
        ex.failed = 1;
    }
    if (raw)
        cudaFreeAsync(raw, stream);
    if (wide)
        cudaFreeAsync(wide, stream);
    if (scale)
        cudaFreeAsync(scale, stream);
    return KL_CUDA(&ex, cudaStreamSynchronize(stream)) && !ex.failed;
}

static int conv_weights_create(const KlKernels *k, KlConvWeights **pcw, KlWeight w, const float *bias, int ic, int oc,
                               int kt, int kh, int kw)
{
    KlConvWeights *cw = (KlConvWeights *)calloc(1, sizeof(*cw));

    *pcw = NULL;
    if (!cw)
        return -1;
    cw->st = (KlCudaState *)k->state;
    cw->ic = ic;
    cw->oc = oc;
    cw->taps = kt * kh * kw;
    if (cudaSetDevice(cw->st->device) != cudaSuccess || !weights_fill(cw, w, bias)) {
        conv_weights_destroy(&cw);
        return -1;
    }
    *pcw = cw;
    return 0;
}

/* -- one convolution -- */

static void conv_destroy(KlConv **pc)
{
    KlConv *c = *pc;

    if (!c)
        return;
    cudaSetDevice(c->ex->st->device);
    if (c->half)
        cudaFreeAsync(c->half, c->ex->stream);
    free(c);
    *pc = NULL;
}

static int conv_create(KlExec *ex, KlConv **pc, const KlConvDesc *d, const KlConvWeights *cw)
{
    KlConv *c = (KlConv *)calloc(1, sizeof(*c));

    *pc = NULL;
    if (!c || !kl_cuda_enter(ex)) {
        free(c);
        return -1;
    }
    c->ex = ex;
    c->d = *d;
    c->cw = cw;
    c->oR = kl_conv_out(d->R, d->up2, d->kh, d->stride, d->pad_top + d->pad_bottom);
    c->oW = kl_conv_out(d->W, d->up2, d->kw, d->stride, d->pad_left + d->pad_right);
    if (ex->precision != KL_PREC_F32 && !(ex->st->wgmma ? kl_cuda_conv_wgmma_pack(c) : kl_cuda_conv_mma_pack(c))) {
        conv_destroy(&c);
        return -1;
    }
    *pc = c;
    return 0;
}

static size_t conv_scratch(const KlConv *c)
{
    return c->icp && !c->d.operand ? kl_cuda_conv_mma_scratch(c) : 0;
}

/* -- in f32: a thread for an output channel, a block for PIXELS pixels of a row -- */

#define PIXELS 4

struct Plain {
    KlConvDesc d;
    int oR, oW;
    const float *w, *bias, *residual;
    const float *src[3];
    float *out;
};

/* The input pixel that tap (i,j) of output (y,x) reads, NULL for padding. */
static __device__ __forceinline__ const float *pixel(const Plain &p, const float *src, int y, int x, int i, int j)
{
    int r = y * p.d.stride - p.d.pad_top + i, c = x * p.d.stride - p.d.pad_left + j;

    if (r < 0 || c < 0 || r >= p.d.R << p.d.up2 || c >= p.d.W << p.d.up2 || x >= p.oW)
        return NULL;
    return src + ((int64_t)(r >> p.d.up2) * p.d.W + (c >> p.d.up2)) * p.d.ic;
}

static __global__ void __launch_bounds__(THREADS) plain_kernel(Plain p)
{
    int o = (int)(blockIdx.z * THREADS + threadIdx.x), y = (int)blockIdx.y, x0 = (int)blockIdx.x * PIXELS;
    const float *w = p.w + o;
    float acc[PIXELS];

    if (o >= p.d.oc)
        return;
    for (int n = 0; n < PIXELS; n++)
        acc[n] = 0;
    for (int t = 0; t < p.d.kt; t++)
        for (int i = 0; i < p.d.kh; i++)
            for (int j = 0; j < p.d.kw; j++, w += (int64_t)p.d.ic * p.d.oc) {
                const float *in[PIXELS];

                if (!p.src[t])
                    continue;
                for (int n = 0; n < PIXELS; n++)
                    in[n] = pixel(p, p.src[t], y, x0 + n, i, j);
                for (int c = 0; c < p.d.ic; c++) {
                    float v = w[(int64_t)c * p.d.oc];

                    for (int n = 0; n < PIXELS; n++)
                        if (in[n])
                            acc[n] += in[n][c] * v;
                }
            }
    for (int n = 0; n < PIXELS && x0 + n < p.oW; n++) {
        int64_t at = ((int64_t)y * p.oW + x0 + n) * p.d.oc + o;
        float v = acc[n] + (p.bias ? p.bias[o] : 0);

        p.out[at] = p.residual ? v + p.residual[at] : v;
    }
}

static void conv(KlExec *ex, const KlConv *c, float *out, const float *const *src, const float *residual)
{
    Plain p = {};

    if (!kl_cuda_enter(ex))
        return;
    KL_ON_DEVICE(out), KL_ON_DEVICE(residual);
    for (int t = 0; t < c->d.kt; t++) {
        p.src[t] = src[t];
        KL_ON_DEVICE(src[t]);
    }
    if (c->icp && kl_cuda_conv_mma(ex, c, out, src, residual))
        return;
    p.d = c->d;
    p.oR = c->oR;
    p.oW = c->oW;
    p.w = c->cw->w;
    p.bias = c->cw->bias;
    p.residual = residual;
    p.out = out;
    KL_LAUNCH(ex, plain_kernel, dim3((unsigned)kl_ceil_div(c->oW, PIXELS), (unsigned)c->oR,
                                     (unsigned)kl_ceil_div(c->d.oc, THREADS)), dim3(THREADS), 0, p);
}

void kl_cuda_init_conv(KlKernels *k)
{
    k->conv_weights_create = conv_weights_create;
    k->conv_weights_destroy = conv_weights_destroy;
    k->conv_create = conv_create;
    k->conv_destroy = conv_destroy;
    k->conv_scratch = conv_scratch;
    k->conv = conv;
}
