/*
 * Element by element.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "quants.h"

#define THREADS 256
#define PER_THREAD 4

static __device__ __forceinline__ int64_t first_index()
{
    return (int64_t)blockIdx.x * THREADS + threadIdx.x;
}

static unsigned grid(int64_t n)
{
    int64_t blocks = kl_ceil_div(n, THREADS * PER_THREAD);

    return (unsigned)(blocks < 1 ? 1 : blocks > 1 << 20 ? 1 << 20 : blocks);
}

static __global__ void __launch_bounds__(THREADS) gated_add_kernel(float *x, const float *y, int64_t n, int64_t D,
                                                                   const float *gate, int64_t ldgate,
                                                                   int64_t group_rows)
{
    for (int64_t i = first_index(); i < n; i += (int64_t)gridDim.x * THREADS) {
        int64_t s = i / D, d = i - s * D;

        x[i] += gate ? gate[s / group_rows * ldgate + d] * y[i] : y[i];
    }
}

static void gated_add(KlExec *ex, float *x, const float *y, int64_t S, int64_t D, const float *gate, int64_t ldgate,
                      int64_t group_rows)
{
    if (!kl_cuda_enter(ex) || S * D < 1)
        return;
    KL_ON_DEVICE(x), KL_ON_DEVICE(y), KL_ON_DEVICE(gate);
    KL_LAUNCH(ex, gated_add_kernel, dim3(grid(S * D)), dim3(THREADS), 0, x, y, S * D, D, gate, ldgate, group_rows);
}

static __global__ void __launch_bounds__(THREADS) activate_kernel(float *y, const float *x, const float *mul,
                                                                  int64_t n, KlActivation act)
{
    for (int64_t i = first_index(); i < n; i += (int64_t)gridDim.x * THREADS) {
        float v = kl_act(x[i], act);

        y[i] = mul ? v * mul[i] : v;
    }
}

static void activate(KlExec *ex, float *y, const float *x, const float *mul, int64_t n, KlActivation act)
{
    if (!kl_cuda_enter(ex) || n < 1)
        return;
    KL_ON_DEVICE(y), KL_ON_DEVICE(x), KL_ON_DEVICE(mul);
    KL_LAUNCH(ex, activate_kernel, dim3(grid(n)), dim3(THREADS), 0, y, x, mul, n, act);
}

struct Lincomb {
    const float *x[8];
    double a[8];
    int n_in;
};

static __global__ void __launch_bounds__(THREADS) lincomb_kernel(float *out, Lincomb p, int64_t n)
{
    for (int64_t i = first_index(); i < n; i += (int64_t)gridDim.x * THREADS) {
        double v = 0;

        for (int k = 0; k < p.n_in; k++)
            v += p.a[k] * p.x[k][i];
        out[i] = (float)v;
    }
}

static void lincomb(KlExec *ex, float *out, const float *const *x, const double *a, int n_in, int64_t n)
{
    Lincomb p = {};

    if (!kl_cuda_enter(ex) || n < 1)
        return;
    KL_ON_DEVICE(out);
    p.n_in = n_in;
    for (int i = 0; i < n_in; i++) {
        p.x[i] = x[i];
        p.a[i] = a[i];
        KL_ON_DEVICE(x[i]);
    }
    KL_LAUNCH(ex, lincomb_kernel, dim3(grid(n)), dim3(THREADS), 0, out, p, n);
}

static void convert(KlExec *ex, float *out, KlWeight w, int64_t n)
{
    const void *data;

    if (!kl_cuda_enter(ex) || n < 1)
        return;
    KL_ON_DEVICE(out);
    data = kl_cuda_weight_use(ex, &w);
    if (data)
        kl_cuda_widen(ex, out, false, &w, data, kl_cuda_weight_scale(ex, &w), 1, n, n);
    kl_cuda_weight_done(ex, &w);
}

/* The table stays the host's: its rows are gathered there in their dtype, sent, and widened on the device. Behind the
 * rows, their scales. */
static void gather(KlExec *ex, float *out, KlWeight table, const int32_t *ids, int64_t S, int64_t D)
{
    int64_t per_row = !table.scale || !table.scale_group ? 0 : D / table.scale_group;
    size_t row = kl_dtype_bytes(table.dtype, D), at = kl_round_up(row * (size_t)S, 256);
    size_t scales = table.scale ? (size_t)(per_row ? per_row * S : 1) * sizeof(float) : 0, bytes = at + scales;
    char *host;
    void *dev;

    if (!kl_cuda_enter(ex) || !row || S < 1)
        return;
    KL_ON_DEVICE(out);
    host = (char *)malloc(bytes);
    dev = host ? kl_cuda_take(ex->st, bytes, ex->stream) : NULL;
    if (!dev) {
        free(host);
        kl_cuda_failed(ex, "cuda:%d: out of memory: %zu bytes for the rows of %lld tokens", ex->st->device, bytes,
                       (long long)S);
        return;
    }
    for (int64_t s = 0; s < S; s++) {
        memcpy(host + (size_t)s * row, (const char *)table.data + (size_t)ids[s] * row, row);
        if (per_row)
            memcpy(host + at + (size_t)(s * per_row) * sizeof(float), table.scale + ids[s] * per_row,
                   (size_t)per_row * sizeof(float));
    }
    if (scales && !per_row)
        memcpy(host + at, table.scale, sizeof(float));
    /* waited for: that a copy from pageable memory is staged on return is no promise for every device */
    if (KL_CUDA(ex, cudaMemcpyAsync(dev, host, bytes, cudaMemcpyHostToDevice, ex->stream)) &&
        KL_CUDA(ex, cudaStreamSynchronize(ex->stream)))
        kl_cuda_widen(ex, out, false, &table, dev, scales ? (const float *)((char *)dev + at) : NULL, 1, S * D, S * D);
    free(host);
    KL_CUDA(ex, cudaFreeAsync(dev, ex->stream));
}

void kl_cuda_init_eltwise(KlKernels *k)
{
    k->gated_add = gated_add;
    k->activate  = activate;
    k->lincomb   = lincomb;
    k->convert   = convert;
    k->gather    = gather;
}
