/*
 * The plain stand-in for cuBLASLt in the emulated table.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cuda/cuda.h"

bool kl_cuda_gemm_open(KlExec *) { return true; }
void kl_cuda_gemm_close(KlExec *) {}

static float at(const void *p, bool half, int64_t i)
{
    return half ? kl_f32_of_bf16(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

static void row(const KlCudaGemm &p, int64_t m)
{
    for (int64_t n = 0; n < p.N; n++) {
        double sum = 0;

        for (int64_t k = 0; k < p.K; k++)
            sum += (double)at(p.x, p.half, m * p.ldx + k) * at(p.w, p.half, n * p.ldw + k);
        if (p.add)
            sum += at(p.y, p.y_half, m * p.ldy + n);
        if (p.bias)
            sum += at(p.bias, p.y_half, n);
        if (p.gelu)
            sum = kl_act((float)sum, KL_ACT_GELU_TANH);
        if (p.y_half)
            ((uint16_t *)p.y)[m * p.ldy + n] = kl_bf16((float)sum);
        else
            ((float *)p.y)[m * p.ldy + n] = (float)sum;
    }
}

static void product(KlCudaGemm p)
{
    int64_t m = (int64_t)blockIdx.x * 32 + threadIdx.x;

    if (m < p.M)
        row(p, m);
}

bool kl_cuda_gemm(KlExec *ex, const KlCudaGemm *p)
{
    if (ex->failed || (kl_emu_control()->plain_products && (p->bias || p->gelu || p->add)))
        return false;
    KL_ON_DEVICE(p->x), KL_ON_DEVICE(p->w), KL_ON_DEVICE(p->y), KL_ON_DEVICE(p->bias);
    emu_launch("cublasLtMatmul", dim3((unsigned)((p->M + 31) / 32)), dim3(32), 0, ex->stream, emu_bind(product, *p));
    return kl_cuda_ok(ex, cudaGetLastError(), "cublasLtMatmul");
}
