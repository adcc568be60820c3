/*
 * y = residual + gate * act(x w^T + bias): operands prepared, the product by
 * cuBLASLt, what its epilogues cannot do in one pass after it.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * With KL_PREC_AUTO x and w are rounded to bf16 (w usually is in bf16) and
 * summed in f32 on the tensor cores; with KL_PREC_F32 both stay f32 and no
 * tf32 is allowed. Rows are taken ROWS at a time, so that scratch is bounded.
 *
 * An operand (kernels.h) is such bf16 made by the op before, and y as one is
 * written in bf16 at once; the product's own epilogue then takes its bias in
 * bf16 as well.
 *
 * Scratch: x in bf16 [rows,Kp], or in int8 with its scales | w converted
 * [N,Kp] | bias in bf16 [N] | product [rows,N] | the library's. Kp is K
 * rounded up to 8, zeros behind it: 16 bytes of bf16.
 */
#include "quants.h"

#define THREADS 256
#define ROWS 16384

/* -- operands -- */

/* Eight elements a thread, n in all. VEC: they lie at multiples of 16
 * bytes and K is one of 4. I: in which n can be counted. */
template<bool VEC, typename I> static __global__ void __launch_bounds__(THREADS)
half_rows_kernel(uint4 *out, const float *x, int64_t ldx, I n, I per_row, int64_t K)
{
    const I i = (I)blockIdx.x * THREADS + threadIdx.x, m = i / per_row, k = (i - m * per_row) * 8;
    float v[8];

    if (i >= n)
        return;
    kl_load8<VEC>(v, x + (int64_t)m * ldx + k, K - (int64_t)k);
    out[i] = kl_bf16x8(v);
}

template<typename I> static void half_rows_in(KlExec *ex, uint16_t *out, const float *x, int64_t ldx, I n, I per_row,
                                              int64_t K)
{
    const dim3 grid(kl_blocks((int64_t)n, THREADS));

    if (K % 4 == 0 && ldx % 4 == 0 && kl_aligned16(x))
        KL_LAUNCH(ex, (half_rows_kernel<true, I>), grid, dim3(THREADS), 0, (uint4 *)out, x, ldx, n, per_row, K);
    else
        KL_LAUNCH(ex, (half_rows_kernel<false, I>), grid, dim3(THREADS), 0, (uint4 *)out, x, ldx, n, per_row, K);
}

void kl_cuda_half_rows(KlExec *ex, uint16_t *out, const float *x, int64_t ldx, int64_t M, int64_t K, int64_t Kp)
{
    const int64_t n = M * (Kp / 8);

    if (n < 0x7fffffff)                 /* with the threads past the last as well */
        half_rows_in<uint32_t>(ex, out, x, ldx, (uint32_t)n, (uint32_t)(Kp / 8), K);
    else
        half_rows_in<uint64_t>(ex, out, x, ldx, (uint64_t)n, (uint64_t)(Kp / 8), K);
}

/* -- what follows the product -- */

struct Epilogue {
    const float *acc; int64_t ldacc;
    void *y; int64_t ldy;               /* of float, or (HALF) of bf16 */
    int64_t M, N, row0;                 /* row0: of y in the whole, for its gate */
    const float *bias, *residual, *gate;
    int64_t ldgate, group_rows;
    KlActivation act;
};

static __device__ __forceinline__ float finish(const Epilogue &p, int64_t m, int64_t n, float v)
{
    return kl_linear_finish(v, p.bias ? p.bias + n : NULL, p.act, p.residual ? p.residual + m * p.ldy + n : NULL,
                            p.gate ? p.gate + (p.row0 + m) / p.group_rows * p.ldgate + n : NULL);
}

template<bool VEC, bool HALF> static __global__ void __launch_bounds__(THREADS) epilogue_kernel(Epilogue p)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, per_row = VEC ? p.N / 4 : p.N, m = i / per_row;
    int64_t n = (i - m * per_row) * (VEC ? 4 : 1), at = m * p.ldy + n;
    float4 f;

    if (m >= p.M)
        return;
    if (VEC) {
        f = *(const float4 *)(p.acc + m * p.ldacc + n);
        f = make_float4(finish(p, m, n, f.x), finish(p, m, n + 1, f.y), finish(p, m, n + 2, f.z),
                        finish(p, m, n + 3, f.w));
        if (HALF)
            *(uint2 *)((uint16_t *)p.y + at) = make_uint2(kl_bf16x2(f.x, f.y), kl_bf16x2(f.z, f.w));
        else
            *(float4 *)((float *)p.y + at) = f;
    } else {
        f.x = finish(p, m, n, p.acc[m * p.ldacc + n]);
        if (HALF)
            ((uint16_t *)p.y)[at] = kl_bf16(f.x);
        else
            ((float *)p.y)[at] = f.x;
    }
}

template<bool VEC, bool HALF> static void launch_epilogue(KlExec *ex, const Epilogue *e)
{
    KL_LAUNCH(ex, (epilogue_kernel<VEC, HALF>), dim3(kl_blocks(e->M * (e->N / (VEC ? 4 : 1)), THREADS)), dim3(THREADS),
              0, *e);
}

static void epilogue(KlExec *ex, const Epilogue *e, bool half)
{
    const bool vec = e->N % 4 == 0 && e->ldy % 4 == 0 && e->ldacc % 4 == 0 && kl_aligned16(e->acc) &&
                     kl_aligned16(e->y);

    if (half)
        (vec ? launch_epilogue<true, true> : launch_epilogue<false, true>)(ex, e);
    else
        (vec ? launch_epilogue<true, false> : launch_epilogue<false, false>)(ex, e);
}

static __global__ void __launch_bounds__(THREADS) pad_kernel(uint16_t *out, int64_t S, int64_t D, int64_t pitch)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, n = pitch - D, s = i / n;

    if (s < S)
        out[s * pitch + D + i - s * n] = 0;
}

void kl_cuda_operand_pad(KlExec *ex, void *operand, int64_t S, int64_t D)
{
    int64_t pitch = kl_operand_pitch(D);

    if (pitch > D)
        KL_LAUNCH(ex, pad_kernel, dim3(kl_blocks(S * (pitch - D), THREADS)), dim3(THREADS), 0, (uint16_t *)operand, S,
                  D, pitch);
}

static size_t operand_bytes(const KlExec *ex, int64_t S, int64_t D)
{
    return kl_cuda_half(ex) ? (size_t)S * (size_t)kl_operand_pitch(D) * 2 : (size_t)S * (size_t)D * sizeof(float);
}

/* -- the op -- */

struct Plan {
    bool half, int8;
    int64_t rows, Kp;
    size_t x_bytes, w_bytes, bias_bytes, acc_bytes, total;
};

static Plan make_plan(int64_t M, int64_t N, int64_t K, KlDType w, bool half)
{
    Plan p = {};
    bool convert;

    p.int8 = w == KL_I8;
    p.half = !p.int8 && half;
    p.rows = M < ROWS ? M : ROWS;
    p.Kp = p.half ? (int64_t)kl_round_up((size_t)K, 8) : K;
    convert = p.half ? w != KL_BF16 || p.Kp != K : !p.int8 && w != KL_F32;
    p.x_bytes = p.half ? kl_round_up((size_t)(p.rows * p.Kp) * 2, 256) : p.int8 ? kl_cuda_int8_scratch(p.rows, K) : 0;
    p.w_bytes = convert ? kl_round_up((size_t)(N * p.Kp) * (p.half ? 2 : 4), 256) : 0;
    p.bias_bytes = p.half ? kl_round_up((size_t)N * 2, 256) : 0;
    p.acc_bytes = kl_round_up((size_t)(p.rows * N) * sizeof(float), 256);
    p.total = p.x_bytes + p.w_bytes + p.bias_bytes + p.acc_bytes + KL_CUDA_GEMM_WORK;
    return p;
}

static size_t linear_scratch(const KlExec *ex, int64_t M, int64_t N, int64_t K, KlDType w)
{
    const size_t need = make_plan(M, N, K, w, kl_cuda_half(ex)).total;
    const size_t f32 = N * K <= KL_PRECISE_WEIGHTS ? make_plan(M, N, K, w, false).total : 0;

    return need > f32 ? need : f32;
}

/* Few rows of whole floats: without the library. */
static bool is_gemv(const KlLinear *p)
{
    return p->precise && p->M <= KL_PRECISE_ROWS && p->w.dtype <= KL_BF16 && !p->w.scale;
}

static const void *prepare_weight(KlExec *ex, const Plan *plan, const KlLinear *p, const void *w)
{
    uint8_t *to = ex->scratch + plan->x_bytes;

    if (!w || !plan->w_bytes)
        return w;
    kl_cuda_widen(ex, to, plan->half, &p->w, w, kl_cuda_weight_scale(ex, &p->w), p->N, p->K, plan->Kp);
    return to;
}

/* x of these rows as the product wants it. The bf16 of the op before is used again when that was of the same x. */
static const void *prepare_rows(KlExec *ex, const Plan *plan, const KlLinear *p, int64_t m0, int64_t rows)
{
    const float *x = p->x + m0 * p->ldx;

    if (plan->half && p->x_operand)
        return (const uint16_t *)p->x + m0 * kl_operand_pitch(p->K);
    if (!plan->half)
        return x;
    if (ex->half_of != x || ex->half_ld != p->ldx || ex->half_M != rows || ex->half_K != p->K)
        kl_cuda_half_rows(ex, (uint16_t *)ex->scratch, x, p->ldx, rows, p->K, plan->Kp);
    ex->half_of = x;
    ex->half_ld = p->ldx;
    ex->half_M = rows;
    ex->half_K = p->K;
    return ex->scratch;
}

/* The whole op in the product's own epilogue; false where there is none that does it. half_bias: the bias in bf16. */
static bool fused(KlExec *ex, const Plan *plan, const KlLinear *p, const float *residual, KlCudaGemm g,
                  const uint16_t *half_bias)
{
    const bool plain = p->act == KL_ACT_NONE && !residual;

    /* its GELU is too coarse for floats, and fine for what is rounded to bf16 anyway */
    g.gelu = g.y_half && p->act == KL_ACT_GELU_TANH && p->bias && !residual;
    g.add = p->act == KL_ACT_NONE && residual && residual == g.y && !p->gate;
    g.bias = g.y_half && p->bias ? (const void *)half_bias : p->bias;
    return !plan->int8 && kl_aligned16(g.bias) && (plain || g.gelu || g.add) && kl_cuda_gemm(ex, &g);
}

static void rows_of_linear(KlExec *ex, const Plan *plan, const KlLinear *p, const void *w, int64_t m0, int64_t rows)
{
    const float *residual = p->residual ? p->residual + m0 * p->ldy : NULL;
    uint8_t *after_w = ex->scratch + plan->x_bytes + plan->w_bytes;
    KlCudaGemm g = {};
    Epilogue e = {};

    g.x = prepare_rows(ex, plan, p, m0, rows);
    g.ldx = !plan->half ? p->ldx : p->x_operand ? kl_operand_pitch(p->K) : plan->Kp;
    g.w = w;
    g.ldw = plan->Kp;
    g.half = plan->half;
    g.y_half = p->y_operand && kl_cuda_half(ex);
    g.M = rows;
    g.N = p->N;
    g.K = plan->half ? plan->Kp : p->K;
    g.ldy = g.y_half ? kl_operand_pitch(p->N) : p->ldy;
    g.y = g.y_half ? (void *)((uint16_t *)p->y + m0 * g.ldy) : p->y + m0 * p->ldy;
    if (fused(ex, plan, p, residual, g, (const uint16_t *)after_w) || ex->failed)
        return;
    e.y = g.y;
    e.ldy = g.ldy;
    if (residual || g.y_half) {
        g.y = after_w + plan->bias_bytes;
        g.ldy = p->N;
        g.y_half = false;
    }
    if (plan->int8)
        kl_cuda_int8(ex, (float *)g.y, g.ldy, (const float *)g.x, p->ldx, &p->w, w, kl_cuda_weight_scale(ex, &p->w),
                     rows, p->N, p->K, ex->scratch);
    else
        kl_cuda_gemm(ex, &g);
    e.acc = (const float *)g.y;
    e.ldacc = g.ldy;
    e.M = rows;
    e.N = p->N;
    e.row0 = m0;
    e.bias = p->bias;
    e.residual = residual;
    e.gate = p->gate;
    e.ldgate = p->ldgate;
    e.group_rows = p->group_rows;
    e.act = p->act;
    epilogue(ex, &e, p->y_operand && kl_cuda_half(ex));
}

static bool overlap(const float *a, int64_t lda, const float *b, int64_t ldb, int64_t M)
{
    return a < b + M * ldb && b < a + M * lda;
}

static void linear(KlExec *ex, const KlLinear *p)
{
    const float *again = ex->half_of;   /* kl_cuda_enter() forgets it */
    const bool half = kl_cuda_half(ex) && !(p->precise && p->N * p->K <= KL_PRECISE_WEIGHTS);
    Plan plan = make_plan(p->M, p->N, p->K, p->w.dtype, half);
    const void *w;

    if (!kl_cuda_enter(ex) || p->M < 1 || p->N < 1)
        return;
    KL_ON_DEVICE(p->x), KL_ON_DEVICE(p->y), KL_ON_DEVICE(p->bias), KL_ON_DEVICE(p->residual), KL_ON_DEVICE(p->gate);
    if (!is_gemv(p) && ex->scratch_bytes < plan.total) {
        kl_cuda_failed(ex, "linear of %lldx%lldx%lld: %zu bytes of scratch, %zu were reserved", (long long)p->M,
                       (long long)p->N, (long long)p->K, plan.total, ex->scratch_bytes);
        return;
    }
    if (is_gemv(p)) {
        if ((w = kl_cuda_weight_use(ex, &p->w)))
            kl_cuda_gemv(ex, p, w, p->w.dtype);
        kl_cuda_weight_done(ex, &p->w);
        return;
    }
    ex->half_of = again;
    w = prepare_weight(ex, &plan, p, kl_cuda_weight_use(ex, &p->w));
    if (w && p->y_operand && plan.half && p->bias)
        kl_cuda_half_rows(ex, (uint16_t *)(ex->scratch + plan.x_bytes + plan.w_bytes), p->bias, p->N, 1, p->N,
                  (int64_t)kl_round_up((size_t)p->N, 8));
    for (int64_t m = 0; w && m < p->M; m += plan.rows)
        rows_of_linear(ex, &plan, p, w, m, p->M - m < plan.rows ? p->M - m : plan.rows);
    kl_cuda_weight_done(ex, &p->w);
    if (p->y_operand && kl_cuda_half(ex))
        kl_cuda_operand_pad(ex, p->y, p->M, p->N);
    if (p->x_operand || p->y_operand || overlap(p->x, p->ldx, p->y, p->ldy, p->M))
        ex->half_of = NULL;
}

void kl_cuda_init_linear(KlKernels *k)
{
    k->linear = linear;
    k->linear_scratch = linear_scratch;
    k->operand_bytes = operand_bytes;
}
