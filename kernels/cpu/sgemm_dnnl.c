/*
 * The GEMM library (oneDNN) behind one function, sequential.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * dnnl_sgemm() is the one call whose C interface is the same in oneDNN 2 and
 * 3. Threads are ours: the library is held to one, through OpenMP's
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
