/*
 * The GEMM library (oneDNN) behind two functions, sequential.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * dnnl_sgemm() and dnnl_gemm_u8s8s32() have the same C interface in oneDNN 2
 * and 3. Threads are ours: the library is held to one, through OpenMP's
 * per-thread setting, which the caller (a program's thread) gets back.
 */
#include "kernels/cpu/cpu.h"

#include <dnnl.h>

/* Of <omp.h>, which clang has only with a runtime of its own. */
int omp_get_max_threads(void);
void omp_set_num_threads(int n);

/* The library failed (its packing buffers did not fit in memory): slow, but the op cannot fail. */
static void plain_sgemm(int ta, int tb, int64_t M, int64_t N, int64_t K, float alpha, const float *A, int64_t lda,
                        const float *B, int64_t ldb, float beta, float *C, int64_t ldc)
{
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n++) {
            double acc = 0;
            for (int64_t k = 0; k < K; k++)
                acc += (double)(ta ? A[k * lda + m] : A[m * lda + k]) * (tb ? B[n * ldb + k] : B[k * ldb + n]);
            C[m * ldc + n] = (float)(alpha * acc) + (beta == 0 ? 0 : beta * C[m * ldc + n]);
        }
    }
}

void kl_sgemm(char transa, char transb, int64_t M, int64_t N, int64_t K, float alpha, const float *A, int64_t lda,
              const float *B, int64_t ldb, float beta, float *C, int64_t ldc)
{
    int threads = omp_get_max_threads();
    dnnl_status_t status;

    if (threads != 1)
        omp_set_num_threads(1);
    status = dnnl_sgemm(transa, transb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
    if (threads != 1)
        omp_set_num_threads(threads);
    if (status != dnnl_success)
        plain_sgemm(transa == 'T', transb == 'T', M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}

static void plain_gemm_u8s8(int64_t M, int64_t N, int64_t K, const uint8_t *A, int64_t lda, uint8_t offset,
                            const int8_t *B, int64_t ldb, int32_t *C, int64_t ldc)
{
    for (int64_t m = 0; m < M; m++) {
        for (int64_t n = 0; n < N; n++) {
            int32_t acc = 0;
            for (int64_t k = 0; k < K; k++)
                acc += (A[m * lda + k] - offset) * B[n * ldb + k];
            C[m * ldc + n] = acc;
        }
    }
}

void kl_gemm_u8s8(int64_t M, int64_t N, int64_t K, const uint8_t *A, int64_t lda, uint8_t offset, const int8_t *B,
                  int64_t ldb, int32_t *C, int64_t ldc)
{
    const int32_t no_offset = 0;
    int threads = omp_get_max_threads();
    dnnl_status_t status;

    if (threads != 1)
        omp_set_num_threads(1);
    status = dnnl_gemm_u8s8s32('N', 'T', 'F', M, N, K, 1, A, lda, offset, B, ldb, 0, 0, C, ldc, &no_offset);
    if (threads != 1)
        omp_set_num_threads(threads);
    if (status != dnnl_success)
        plain_gemm_u8s8(M, N, K, A, lda, offset, B, ldb, C, ldc);
}
