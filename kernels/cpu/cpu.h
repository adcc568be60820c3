/*
 * The tuned CPU table's own doors: one init per op family, and the GEMM
 * library behind one function. Not for the engine.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_CPU_H
#define KL_CPU_H

#include "kernels/host_exec.h"
#include "kernels/quants.h"

/** C[M,N] = alpha * op(A)[M,K] * op(B)[K,N] + beta * C, row-major, strides in elements; beta 0 never reads C.
 *  transa 'T': A is stored [K,M]; transb 'T': B is stored [N,K]. Runs on the calling thread alone, any thread,
 *  and leaves that thread's OpenMP settings as they were. Same bits for the same sizes, every time. */
void kl_sgemm(char transa, char transb, int64_t M, int64_t N, int64_t K, float alpha, const float *A, int64_t lda,
              const float *B, int64_t ldb, float beta, float *C, int64_t ldc);

/** C[M,N] = (A[M,K] - offset) * B[N,K]^T in integers, strides in elements; as kl_sgemm otherwise. Without
 *  KL_CPU_VNNI the library saturates sums of two products to 16 bits: only for A <= 127 then. */
void kl_gemm_u8s8(int64_t M, int64_t N, int64_t K, const uint8_t *A, int64_t lda, uint8_t offset, const int8_t *B,
                  int64_t ldb, int32_t *C, int64_t ldc);

/** n elements from index `from` of a weight in f32, exactly as convert gives them. Any alignment, any part. */
void kl_widen_generic(float *dst, KlWeight w, int64_t from, int64_t n);
void kl_widen_avx2(float *dst, KlWeight w, int64_t from, int64_t n);
void kl_widen_avx512(float *dst, KlWeight w, int64_t from, int64_t n);

/* Each overwrites the entries of its family with the best that flags allow. Called in this order. */
void kl_cpu_init_linear(KlKernels *k, unsigned flags);
void kl_cpu_init_conv(KlKernels *k, unsigned flags);
void kl_cpu_init_attention(KlKernels *k, unsigned flags);
void kl_cpu_init_rows(KlKernels *k, unsigned flags);
void kl_cpu_init_shuffle(KlKernels *k);

#endif /* KL_CPU_H */
