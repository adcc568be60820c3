/*
 * The ops of a table, timed one by one: within a model, and alone.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

/* -- where time goes: the table's pointers wrapped -- */

enum { OP_LINEAR, OP_ATTENTION, OP_CONV, OP_LAYER_NORM, OP_RMS_NORM, OP_QK_NORM_ROPE, OP_GATED_ADD, OP_ACTIVATE,
       OP_PIXEL_NORM, OP_SHUFFLE, OP_LINCOMB, OP_CONVERT, OP_COPY, OP_NB };
static const char *const op_name[OP_NB] = { "linear", "attention", "conv", "layer_norm", "rms_norm", "qk_norm_rope",
    "gated_add", "activate", "pixel_norm", "shuffle", "lincomb", "convert", "mem_copy" };
static KlKernels real;
static struct { double s; long calls; } spent[OP_NB];

#define TIMED(op, call) \
    do { \
        double t_ = bench_wall_s(); \
        call; \
        real.exec_sync(ex); \
        spent[op].s += bench_wall_s() - t_; \
        spent[op].calls++; \
    } while (0)

static void op_linear(KlExec *ex, const KlLinear *p) { TIMED(OP_LINEAR, real.linear(ex, p)); }
static void op_attention(KlExec *ex, const KlAttention *p) { TIMED(OP_ATTENTION, real.attention(ex, p)); }
static void op_layer_norm(KlExec *ex, const KlNorm *p) { TIMED(OP_LAYER_NORM, real.layer_norm(ex, p)); }
static void op_rms_norm(KlExec *ex, const KlNorm *p) { TIMED(OP_RMS_NORM, real.rms_norm(ex, p)); }
static void op_shuffle_down(KlExec *ex, const KlShuffle *p) { TIMED(OP_SHUFFLE, real.shuffle_down(ex, p)); }
static void op_shuffle_up(KlExec *ex, const KlShuffle *p) { TIMED(OP_SHUFFLE, real.shuffle_up(ex, p)); }
static void op_copy(KlExec *ex, void *d, const void *s, size_t n) { TIMED(OP_COPY, real.mem_copy(ex, d, s, n)); }
static void op_convert(KlExec *ex, float *o, KlWeight w, int64_t n) { TIMED(OP_CONVERT, real.convert(ex, o, w, n)); }

static void op_qk_norm_rope(KlExec *ex, float *x, int64_t ldx, int64_t S, int H, int E, const float *weight, float eps,
                            const float *cos, const float *sin)
{
    TIMED(OP_QK_NORM_ROPE, real.qk_norm_rope(ex, x, ldx, S, H, E, weight, eps, cos, sin));
}

static void op_gated_add(KlExec *ex, float *x, const float *y, int64_t S, int64_t D, const float *gate,
                         int64_t ldgate, int64_t group_rows)
{
    TIMED(OP_GATED_ADD, real.gated_add(ex, x, y, S, D, gate, ldgate, group_rows));
}

static void op_activate(KlExec *ex, float *y, const float *x, const float *mul, int64_t n, KlActivation act)
{
    TIMED(OP_ACTIVATE, real.activate(ex, y, x, mul, n, act));
}

static void op_lincomb(KlExec *ex, float *out, const float *const *x, const double *a, int n_in, int64_t n)
{
    TIMED(OP_LINCOMB, real.lincomb(ex, out, x, a, n_in, n));
}

static void op_conv(KlExec *ex, const KlConv *c, float *out, const float *const *src, const float *residual)
{
    TIMED(OP_CONV, real.conv(ex, c, out, src, residual));
}

static void op_pixel_norm(KlExec *ex, float *y, const float *x, int64_t pixels, int C, const float *gamma,
                          KlActivation act, int operand)
{
    TIMED(OP_PIXEL_NORM, real.pixel_norm(ex, y, x, pixels, C, gamma, act, operand));
}

void bench_wrap_ops(KlKernels *k)
{
    real = *k;
    k->linear = op_linear;
    k->attention = op_attention;
    k->layer_norm = op_layer_norm;
    k->rms_norm = op_rms_norm;
    k->qk_norm_rope = op_qk_norm_rope;
    k->gated_add = op_gated_add;
    k->activate = op_activate;
    k->lincomb = op_lincomb;
    k->convert = op_convert;
    k->conv = op_conv;
    k->pixel_norm = op_pixel_norm;
    k->shuffle_down = op_shuffle_down;
    k->shuffle_up = op_shuffle_up;
    k->mem_copy = op_copy;
}

void bench_reset_ops(void)
{
    memset(spent, 0, sizeof(spent));
}

/* Of the last repetition, which took `wall` seconds. */
void bench_print_ops(const Bench *b, double wall)
{
    double sum = 0;

    if (!b->ops)
        return;
    for (int i = 0; i < OP_NB; i++) {
        if (!spent[i].calls)
            continue;
        printf("    %-14s %8.3f s %5.1f %%  %ld calls\n", op_name[i], spent[i].s, 100 * spent[i].s / wall,
               spent[i].calls);
        sum += spent[i].s;
    }
    printf("    %-14s %8.3f s %5.1f %%\n", "the rest", wall - sum, 100 - 100 * sum / wall);
}

/* -- single ops, at the shapes of the released models -- */

static void bench_linear(Bench *b, int64_t M, int64_t N, int64_t K, KlDType dtype, KlActivation act)
{
    float *x = bench_alloc_f32((size_t)(M * K)), *y = bench_alloc_f32((size_t)(M * N));
    float *w = bench_alloc_f32((size_t)(N * K)), one = 1;
    KlLinear p = { .x = x, .ldx = K, .w = { .data = w, .dtype = dtype }, .y = y, .ldy = N, .M = M, .N = N, .K = K,
                   .act = act };
    Timer best = { 0 };
    char what[64];

    if (dtype != KL_F32)
        memset(w, 0x3c, kl_dtype_bytes(dtype, N * K));      /* about 1 in the floats, and as a block's scale */
    if (dtype == KL_F8_E4M3 || dtype == KL_I8)
        p.w.scale = &one;
    if (!b->k.exec_reserve(b->ex, b->k.linear_scratch(b->ex, M, N, K, dtype))) {
        for (int i = 0; i < b->reps + 1; i++) {
            Timer at = bench_start();

            b->k.linear(b->ex, &p);
            bench_keep_best(&best, bench_stop(at));
        }
        snprintf(what, sizeof(what), "linear %s %dx%dx%d%s", kl_dtype_info(dtype)->name, (int)M, (int)N, (int)K,
                 act ? " gelu" : "");
        bench_print_rate(b, what, best, 2.0 * (double)M * (double)N * (double)K);
    }
    free(x);
    free(y);
    free(w);
}

static void bench_attention(Bench *b, int S, int Sk, int H, int E)
{
    size_t D = (size_t)H * E;
    float *q = bench_alloc_f32(S * D), *k = bench_alloc_f32(Sk * D);
    float *v = bench_alloc_f32(Sk * D), *o = bench_alloc_f32(S * D);
    KlAttention p = { .q = q, .ldq = (int64_t)D, .k = k, .ldk = (int64_t)D, .v = v, .ldv = (int64_t)D, .out = o,
                      .ldo = (int64_t)D, .Sq = S, .Sk = Sk, .H = H, .E = E, .scale = 0.1f };
    Timer best = { 0 };
    char what[64];

    if (!b->k.exec_reserve(b->ex, b->k.attention_scratch(b->ex, S, Sk, H, E))) {
        for (int i = 0; i < b->reps + 1; i++) {
            Timer at = bench_start();

            b->k.attention(b->ex, &p);
            bench_keep_best(&best, bench_stop(at));
        }
        snprintf(what, sizeof(what), "attention %dx%d, %d heads of %d", S, Sk, H, E);
        bench_print_rate(b, what, best, 4.0 * S * Sk * (double)D);
    }
    free(q);
    free(k);
    free(v);
    free(o);
}

static void bench_conv(Bench *b, const KlConvDesc *d)
{
    int oR = kl_conv_out(d->R, d->up2, d->kh, d->stride, d->pad_top + d->pad_bottom);
    int oW = kl_conv_out(d->W, d->up2, d->kw, d->stride, d->pad_left + d->pad_right);
    size_t n_in = (size_t)d->R * d->W * d->ic, n_out = (size_t)oR * oW * d->oc;
    size_t n_w = (size_t)d->ic * d->oc * d->kt * d->kh * d->kw;
    float *x = bench_alloc_f32(n_in), *y = bench_alloc_f32(n_out), *w = bench_alloc_f32(n_w);
    const float *src[3] = { x, x, x };
    const KlWeight kernel = { .data = w, .dtype = KL_F32 };
    KlConvWeights *cw = NULL;
    KlConv *c = NULL;
    Timer best = { 0 };
    char what[64];

    if (!b->k.conv_weights_create(&b->k, &cw, kernel, NULL, d->ic, d->oc, d->kt, d->kh, d->kw) &&
        !b->k.conv_create(b->ex, &c, d, cw) && !b->k.exec_reserve(b->ex, b->k.conv_scratch(c))) {
        for (int i = 0; i < b->reps + 1; i++) {
            Timer at = bench_start();

            b->k.conv(b->ex, c, y, src, NULL);
            bench_keep_best(&best, bench_stop(at));
        }
        snprintf(what, sizeof(what), "conv %dx%dx%d %d->%d %dx%d%s", d->kt, d->kh, d->kw, d->ic, d->oc, oW, oR,
                 d->up2 ? " up" : "");
        bench_print_rate(b, what, best, 2.0 * (double)n_out * d->ic * d->kt * (d->up2 ? 4 : d->kh * d->kw));
    }
    b->k.conv_destroy(&c);
    b->k.conv_weights_destroy(&cw);
    free(x);
    free(y);
    free(w);
}

static void bench_shuffle(Bench *b, int up, const KlShuffle *shape)
{
    KlShuffle p = *shape;
    size_t fine = (size_t)p.R * p.W * p.f * p.f * p.C, coarse = (size_t)p.R * p.W * p.D;
    float *x = bench_alloc_f32(up ? coarse : fine), *y = bench_alloc_f32(up ? fine : coarse);
    Timer best = { 0 };

    p.x = x;
    p.y = y;
    for (int i = 0; i < b->reps + 1; i++) {
        Timer at = bench_start();

        (up ? b->k.shuffle_up : b->k.shuffle_down)(b->ex, &p);
        bench_keep_best(&best, bench_stop(at));
    }
    printf("  shuffle_%-4s %4d x %4d x %4d <-> %4d %8.3f ms %7.1f GB/s of the fine picture\n", up ? "up" : "down",
           p.R * p.f, p.W * p.f, p.C, p.D, 1e3 * best.wall, 4e-9 * (double)fine / best.wall);
    free(x);
    free(y);
}

void bench_single_ops(Bench *b)
{
    static const KlConvDesc conv[] = {
        { 16, 384, 3, 3, 3, 1, 1, 1, 1, 1, 0, 32, 32, 0 },   { 384, 384, 3, 3, 3, 1, 1, 1, 1, 1, 0, 32, 32, 0 },
        { 384, 768, 3, 1, 1, 1, 0, 0, 0, 0, 0, 32, 32, 0 },  { 384, 192, 1, 3, 3, 1, 1, 1, 1, 1, 1, 32, 32, 0 },
        { 192, 384, 3, 3, 3, 1, 1, 1, 1, 1, 0, 64, 64, 0 },  { 192, 192, 3, 3, 3, 1, 1, 1, 1, 1, 0, 128, 128, 0 },
        { 192, 96, 1, 3, 3, 1, 1, 1, 1, 1, 1, 128, 128, 0 }, { 96, 96, 3, 3, 3, 1, 1, 1, 1, 1, 0, 256, 256, 0 },
        { 96, 3, 3, 3, 3, 1, 1, 1, 1, 1, 0, 256, 256, 0 },   { 96, 96, 1, 3, 3, 2, 0, 0, 1, 1, 0, 256, 256, 0 },
    };
    static const KlShuffle shuffle[] = {        /* three ways up, two down */
        { .R = 32, .W = 32, .C = 1024, .D = 1024, .f = 2, .T = 2 },
        { .R = 64, .W = 64, .C = 512, .D = 1024, .f = 2, .T = 1 },
        { .R = 256, .W = 256, .C = 3, .D = 12, .f = 2, .T = 1, .by_columns = 1 },
        { .R = 128, .W = 128, .C = 160, .D = 160, .f = 2, .T = 1 },
        { .R = 64, .W = 64, .C = 160, .D = 320, .f = 2, .T = 2 },
    };

    printf("single ops\n");
    bench_linear(b, 512, 1536, 1536, KL_BF16, KL_ACT_NONE);
    bench_linear(b, 512, 1536, 1536, KL_F32, KL_ACT_NONE);
    bench_linear(b, 512, 8960, 1536, KL_BF16, KL_ACT_GELU_TANH);
    bench_linear(b, 512, 1536, 8960, KL_F16, KL_ACT_NONE);
    bench_linear(b, 1560, 1536, 1536, KL_BF16, KL_ACT_NONE);
    bench_linear(b, 512, 4096, 4096, KL_BF16, KL_ACT_NONE);
    bench_linear(b, 1, 9216, 1536, KL_BF16, KL_ACT_NONE);
    for (int t = KL_BF16; t < KL_DTYPE_NB; t++)
        bench_linear(b, 512, 1536, 1536, (KlDType)t, KL_ACT_NONE);
    for (int t = KL_BF16; t < KL_DTYPE_NB; t++)
        bench_linear(b, 32, 1536, 1536, (KlDType)t, KL_ACT_NONE);
    bench_attention(b, 512, 512, 12, 128);
    bench_attention(b, 1560, 1560, 12, 128);
    bench_attention(b, 512, 512, 64, 64);
    bench_attention(b, 1024, 1024, 1, 384);
    for (size_t i = 0; i < sizeof(conv) / sizeof(conv[0]); i++)
        bench_conv(b, &conv[i]);
    for (size_t i = 0; i < sizeof(shuffle) / sizeof(shuffle[0]); i++)
        bench_shuffle(b, i < 3, &shuffle[i]);
}
