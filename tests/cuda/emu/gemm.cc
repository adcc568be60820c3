/*
 * The plain stand-in for cuBLASLt in the emulated table.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "kernels/cuda/cuda.h"

bool kl_cuda_gemm_open(KlExec *) { return true; }
void kl_cuda_gemm_close(KlExec *) {}

static float half_at(const void *p, int64_t i) { return kl_f32_of_bf16(((const uint16_t *)p)[i]); }

static void row(const KlCudaGemm &p, int64_t m)
{
    for (int64_t n = 0; n < p.N; n++) {
        double sum = 0;

        for (int64_t k = 0; k < p.K; k++)
            sum += p.half ? (double)half_at(p.x, m * p.ldx + k) * half_at(p.w, n * p.ldw + k)
                          : (double)((const float *)p.x)[m * p.ldx + k] * ((const float *)p.w)[n * p.ldw + k];
        if (p.add)
            sum += p.y[m * p.ldy + n];
        if (p.bias)
            sum += p.bias[n];
        p.y[m * p.ldy + n] = p.gelu ? kl_act((float)sum, KL_ACT_GELU_TANH) : (float)sum;
    }
}

static void product(KlCudaGemm p)
{
    int64_t m = (int64_t)blockIdx.x * 32 + threadIdx.x;

    if (m < p.M)
        row(p, m);
}

void kl_cuda_gemm(KlExec *ex, const KlCudaGemm *p)
{
    if (ex->failed)
        return;
    KL_ON_DEVICE(p->x), KL_ON_DEVICE(p->w), KL_ON_DEVICE(p->y), KL_ON_DEVICE(p->bias);
    emu_launch("cublasLtMatmul", dim3((unsigned)((p->M + 31) / 32)), dim3(32), 0, ex->stream, emu_bind(product, *p));
    kl_cuda_ok(ex, cudaGetLastError(), "cublasLtMatmul");
}
