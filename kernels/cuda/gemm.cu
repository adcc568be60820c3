/*
 * The one matrix product, by cuBLASLt.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * cuBLASLt counts in columns: y[M,N] row by row is its D[N,M], w[N,K] its
 * A[K,N] transposed, x[M,K] its B[K,M]. The choice of algorithm is asked for
 * once per shape and kept.
 */
#include <cublasLt.h>
#include <map>
#include <new>
#include <tuple>

#include "cuda.h"

typedef std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int> Shape;

struct Choice {
    bool none;                          /* the library has nothing for it */
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulAlgo_t algo;
};

struct Gemm {
    cublasLtHandle_t lt;
    std::map<Shape, Choice> known;
};

static bool ok(KlExec *ex, cublasStatus_t s, const char *call)
{
    if (s != CUBLAS_STATUS_SUCCESS)
        kl_cuda_failed(ex, "%.*s on cuda:%d: %s", (int)strcspn(call, "("), call, ex->st->device,
                       cublasLtGetStatusString(s));
    return s == CUBLAS_STATUS_SUCCESS;
}
#define LT(ex, call) ok((ex), (call), #call)

static void forget(Choice *c)
{
    if (c->desc)
        cublasLtMatmulDescDestroy(c->desc);
    if (c->a)
        cublasLtMatrixLayoutDestroy(c->a);
    if (c->b)
        cublasLtMatrixLayoutDestroy(c->b);
    if (c->d)
        cublasLtMatrixLayoutDestroy(c->d);
}

bool kl_cuda_gemm_open(KlExec *ex)
{
    Gemm *g = new (std::nothrow) Gemm();

    if (!g) {
        kl_cuda_failed(ex, "out of memory");
        return false;
    }
    ex->gemm = g;
    return LT(ex, cublasLtCreate(&g->lt));
}

void kl_cuda_gemm_close(KlExec *ex)
{
    Gemm *g = (Gemm *)ex->gemm;

    if (!g)
        return;
    for (auto &k : g->known)
        forget(&k.second);
    if (g->lt)
        cublasLtDestroy(g->lt);
    delete g;
    ex->gemm = NULL;
}

/* How well a pointer and its stride are aligned, at most 16 bytes: algorithms differ by it. */
static uint32_t alignment(const void *p, int64_t ld_bytes)
{
    uint64_t bits = (uint64_t)(uintptr_t)p | (uint64_t)ld_bytes | 16;

    return (uint32_t)(bits & (0 - bits));
}

static bool describe(KlExec *ex, const KlCudaGemm *p, Choice *c)
{
    cudaDataType_t in = p->half ? CUDA_R_16BF : CUDA_R_32F;
    cublasOperation_t transposed = CUBLAS_OP_T;
    cudaDataType_t out = p->y_half ? CUDA_R_16BF : CUDA_R_32F;
    cublasLtEpilogue_t epilogue = p->gelu ? CUBLASLT_EPILOGUE_GELU_BIAS
                                          : p->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;

    /* The heuristic looks at the address of the bias for its alignment. */
    return LT(ex, cublasLtMatmulDescCreate(&c->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F)) &&
           LT(ex, cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                                 sizeof(transposed))) &&
           LT(ex, cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                                 sizeof(epilogue))) &&
           LT(ex, cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &out, sizeof(out))) &&
           (!p->bias || LT(ex, cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias,
                                                              sizeof(p->bias)))) &&
           LT(ex, cublasLtMatrixLayoutCreate(&c->a, in, (uint64_t)p->K, (uint64_t)p->N, p->ldw)) &&
           LT(ex, cublasLtMatrixLayoutCreate(&c->b, in, (uint64_t)p->K, (uint64_t)p->M, p->ldx)) &&
           LT(ex, cublasLtMatrixLayoutCreate(&c->d, out, (uint64_t)p->N, (uint64_t)p->M, p->ldy));
}

static bool choose(KlExec *ex, const KlCudaGemm *p, Choice *c)
{
    Gemm *g = (Gemm *)ex->gemm;
    size_t elem = p->half ? 2 : 4, work = KL_CUDA_GEMM_WORK;
    uint32_t a = alignment(p->w, p->ldw * (int64_t)elem), b = alignment(p->x, p->ldx * (int64_t)elem);
    uint32_t d = alignment(p->y, p->ldy * (p->y_half ? 2 : 4));
    cublasLtMatmulPreference_t pref = NULL;
    cublasLtMatmulHeuristicResult_t found;
    cublasStatus_t s = CUBLAS_STATUS_SUCCESS;
    int n = 0;
    bool good;

    memset(&found, 0, sizeof(found));
    good = LT(ex, cublasLtMatmulPreferenceCreate(&pref)) &&
           LT(ex, cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &work,
                                                       sizeof(work))) &&
           LT(ex, cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a,
                                                       sizeof(a))) &&
           LT(ex, cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b,
                                                       sizeof(b))) &&
           LT(ex, cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &d,
                                                       sizeof(d))) &&
           LT(ex, cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &d,
                                                       sizeof(d)));
    if (good)
        s = cublasLtMatmulAlgoGetHeuristic(g->lt, c->desc, c->a, c->b, c->d, c->d, pref, 1, &found, &n);
    if (pref)
        cublasLtMatmulPreferenceDestroy(pref);
    c->none = s == CUBLAS_STATUS_NOT_SUPPORTED ||
              (s == CUBLAS_STATUS_SUCCESS && (n < 1 || found.state != CUBLAS_STATUS_SUCCESS));
    if (good && c->none && !p->bias && !p->gelu && !p->add)
        kl_cuda_failed(ex, "cublasLtMatmulAlgoGetHeuristic on cuda:%d: nothing for %lldx%lldx%lld, %s", ex->st->device,
                       (long long)p->M, (long long)p->N, (long long)p->K, p->half ? "bf16" : "f32");
    c->algo = found.algo;
    return good && (c->none || ok(ex, s, "cublasLtMatmulAlgoGetHeuristic"));
}

static Choice *look_up(KlExec *ex, const KlCudaGemm *p)
{
    Gemm *g = (Gemm *)ex->gemm;
    size_t elem = p->half ? 2 : 4;
    int kind = p->half | p->gelu << 1 | (p->bias != NULL) << 2 | p->add << 3 |
               (int)alignment(p->w, p->ldw * (int64_t)elem) << 4 | (int)alignment(p->x, p->ldx * (int64_t)elem) << 10 |
               (int)alignment(p->y, p->ldy * (p->y_half ? 2 : 4)) << 16 | (int)alignment(p->bias, 0) << 21 |
               p->y_half << 26;
    Shape shape(p->M, p->N, p->K, p->ldx, p->ldw, p->ldy, kind);
    auto it = g->known.find(shape);

    if (it == g->known.end()) {
        Choice c = {};

        if (!describe(ex, p, &c) || !choose(ex, p, &c)) {
            forget(&c);
            return NULL;
        }
        try {
            it = g->known.insert({ shape, c }).first;
        } catch (const std::bad_alloc &) {      /* the callers are C */
            forget(&c);
            kl_cuda_failed(ex, "out of memory");
            return NULL;
        }
    }
    return &it->second;
}

bool kl_cuda_gemm(KlExec *ex, const KlCudaGemm *p)
{
    const float one = 1, beta = p->add ? 1 : 0;
    size_t at = (ex->scratch_bytes - KL_CUDA_GEMM_WORK) & ~(size_t)255;
    Choice *c;

    if (ex->failed || !(c = look_up(ex, p)) || c->none)
        return false;
    if (p->bias && !LT(ex, cublasLtMatmulDescSetAttribute(c->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias,
                                                          sizeof(p->bias))))
        return false;
    return LT(ex, cublasLtMatmul(((Gemm *)ex->gemm)->lt, c->desc, &one, p->w, c->a, p->x, c->b, &beta, p->y, c->d, p->y,
                                 c->d, &c->algo, ex->scratch + at, KL_CUDA_GEMM_WORK, ex->stream));
}
