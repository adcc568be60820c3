/*
 * The ops of one layer and of the VAE's decoder at a clip's true shapes.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each op has SETS sets of random inputs, taken in turns, as in a model: what
 * one call read is gone from the caches when the next comes. Weights are bound
 * to the table. A line's first word names op and shape, so that what other
 * programs reach at it can be put beside.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define SETS 3

static void print_line(const char *what, double s, double amount, const char *unit)
{
    printf("%-44s %10.4f ms %8.1f %s\n", what, 1e3 * s, amount / s, unit);
    fflush(stdout);
}

/* -- products -- */

typedef struct Linear {
    const Bench *b;
    KlLinear p[SETS];
    void *host[SETS];
} Linear;

static void run_linear(void *opaque, int set)
{
    Linear *l = opaque;

    l->b->k.linear(l->b->ex, &l->p[set]);
}

/* Finite in every dtype: numbers of about 1 and less, also as a block's scale. */
static void *host_weight(KlDType dtype, int64_t n)
{
    static uint64_t seed = 88172645463325252u;
    size_t bytes = kl_dtype_bytes(dtype, n);
    uint8_t *w = malloc(bytes + 8);

    if (!w) {
        fprintf(stderr, "kling-bench: no memory for a weight of %zu bytes\n", bytes);
        exit(1);
    }
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t v;

        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        v = seed & 0xbfffbfffbfffbfffu;
        if (dtype == KL_BF16)           /* 2^-4 to 2 */
            v = (v & 0x83ff83ff83ff83ffu) | 0x3c003c003c003c00u;
        else if (dtype != KL_I8)
            v &= 0x3b3b3b3b3b3b3b3bu;
        memcpy(w + i, &v, 8);
    }
    return w;
}

/* S rows of D, normalised, as the engine hands them to products (kernels.h). */
static float *operand(const Bench *b, int64_t S, int64_t D)
{
    float *x = bench_random(b, (size_t)(S * D)), *y = b->k.mem_alloc(b->ex, b->k.operand_bytes(b->ex, S, D));
    const KlNorm p = { .x = x, .ldx = D, .y = y, .ldy = D, .S = S, .D = D, .eps = 1e-6f, .operand = 1 };

    if (!y) {
        fprintf(stderr, "kling-bench: no memory for %lldx%lld\n", (long long)S, (long long)D);
        exit(1);
    }
    b->k.layer_norm(b->ex, &p);
    bench_free(b, x);
    return y;
}

static void clip_linear(const Bench *b, int64_t M, int64_t N, int64_t K, KlDType dtype, KlActivation act, int residual)
{
    Linear l = { .b = b };
    float *bias = bench_random(b, (size_t)N), *gate = bench_random(b, (size_t)N);
    float *y = bench_random(b, (size_t)(M * N)), one = 1;
    char what[96];

    for (int i = 0; i < SETS; i++) {
        KlWeight w = { .data = l.host[i] = host_weight(dtype, N * K), .dtype = dtype };

        if (dtype == KL_F8_E4M3 || dtype == KL_I8)
            w.scale = &one;
        if (b->k.weight_bind(&b->k, &w, N, K) < 0) {
            fprintf(stderr, "kling-bench: no memory for a weight\n");
            exit(1);
        }
        l.p[i] = (KlLinear){ .x = dtype == KL_I8 ? bench_random(b, (size_t)(M * K)) : operand(b, M, K), .ldx = K,
                             .w = w, .bias = bias, .y = y, .ldy = N, .M = M, .N = N, .K = K, .act = act,
                             .residual = residual ? y : NULL, .gate = residual ? gate : NULL, .ldgate = N,
                             .group_rows = M, .x_operand = dtype != KL_I8, .y_operand = act != KL_ACT_NONE };
    }
    snprintf(what, sizeof(what), "linear%s%s%s%s:%lldx%lldx%lld", dtype == KL_BF16 ? "" : "_",
             dtype == KL_BF16 ? "" : kl_dtype_info(dtype)->name, act ? "+gelu" : "", residual ? "+residual" : "",
             (long long)M, (long long)N, (long long)K);
    if (b->k.exec_reserve(b->ex, b->k.linear_scratch(b->ex, M, N, K, dtype)) < 0)
        printf("%-44s no memory for its scratch\n", what);
    else
        print_line(what, bench_median_s(b, run_linear, &l, SETS), 2e-12 * (double)M * (double)N * (double)K,
                   "TFLOP/s");
    for (int i = 0; i < SETS; i++) {
        b->k.weight_release(&b->k, &l.p[i].w);
        bench_free(b, (float *)l.p[i].x);
        free(l.host[i]);
    }
    bench_free(b, y);
    bench_free(b, bias);
    bench_free(b, gate);
}

/* -- attention -- */

typedef struct Attention {
    const Bench *b;
    KlAttention p[SETS];
} Attention;

static void run_attention(void *opaque, int set)
{
    Attention *a = opaque;

    a->b->k.attention(a->b->ex, &a->p[set]);
}

static void clip_attention(const Bench *b, int64_t Sq, int64_t Sk, int H, int E)
{
    int64_t D = (int64_t)H * E;
    Attention a = { .b = b };
    float *out = bench_random(b, (size_t)(Sq * D));
    char what[96];

    for (int i = 0; i < SETS; i++)
        a.p[i] = (KlAttention){ .q = bench_random(b, (size_t)(Sq * D)), .k = bench_random(b, (size_t)(Sk * D)),
                                .v = bench_random(b, (size_t)(Sk * D)), .out = out, .ldq = D, .ldk = D, .ldv = D,
                                .ldo = D, .Sq = Sq, .Sk = Sk, .H = H, .E = E, .scale = 0.0883883f, .operand = H > 1 };
    snprintf(what, sizeof(what), "attention:%lldx%lldx%dx%d", (long long)Sq, (long long)Sk, H, E);
    if (b->k.exec_reserve(b->ex, b->k.attention_scratch(b->ex, Sq, Sk, H, E)) < 0)
        printf("%-44s no memory for its scratch\n", what);
    else
        print_line(what, bench_median_s(b, run_attention, &a, SETS), 4e-12 * (double)Sq * (double)Sk * (double)D,
                   "TFLOP/s");
    for (int i = 0; i < SETS; i++) {
        bench_free(b, (float *)a.p[i].q);
        bench_free(b, (float *)a.p[i].k);
        bench_free(b, (float *)a.p[i].v);
    }
    bench_free(b, out);
}

/* -- rows: bound by memory, every element read and written once -- */

typedef struct Rows {
    const Bench *b;
    float *x[SETS], *y, *mod, *cos, *sin;
    int64_t S, D;
    int H;
} Rows;

static void run_layer_norm(void *opaque, int set)
{
    Rows *r = opaque;
    KlNorm p = { .x = r->x[set], .ldx = r->D, .y = r->y, .ldy = r->D, .S = r->S, .D = r->D, .eps = 1e-6f,
                 .scale = r->mod, .shift = r->mod, .ldmod = r->D, .group_rows = r->S, .operand = 1 };

    r->b->k.layer_norm(r->b->ex, &p);
}

static void run_qk_norm_rope(void *opaque, int set)
{
    Rows *r = opaque;

    r->b->k.qk_norm_rope(r->b->ex, r->x[set], r->D, r->S, r->H, (int)(r->D / r->H), r->mod, 1e-6f, r->cos, r->sin);
}

static void run_pixel_norm(void *opaque, int set)
{
    Rows *r = opaque;

    r->b->k.pixel_norm(r->b->ex, r->y, r->x[set], r->S, (int)r->D, r->mod, KL_ACT_SILU, 1);
}

/* made: what fn writes is an operand. */
static void clip_rows(const Bench *b, const char *op, BenchFn fn, int64_t S, int64_t D, int H, bool made)
{
    const double bytes = (made ? (double)b->k.operand_bytes(b->ex, S, D) : 4.0 * (double)S * (double)D) +
                         4.0 * (double)S * (double)D;
    Rows r = { .b = b, .y = bench_random(b, (size_t)(S * D)), .mod = bench_random(b, (size_t)D), .S = S, .D = D,
               .H = H };
    char what[96];

    r.cos = bench_random(b, (size_t)(S * (D / H)));
    r.sin = bench_random(b, (size_t)(S * (D / H)));
    for (int i = 0; i < SETS; i++)
        r.x[i] = bench_random(b, (size_t)(S * D));
    snprintf(what, sizeof(what), "%s:%lldx%lld", op, (long long)S, (long long)D);
    print_line(what, bench_median_s(b, fn, &r, SETS), 1e-9 * bytes, "GB/s");
    for (int i = 0; i < SETS; i++)
        bench_free(b, r.x[i]);
    bench_free(b, r.y);
    bench_free(b, r.mod);
    bench_free(b, r.cos);
    bench_free(b, r.sin);
}

/* -- convolutions -- */

typedef struct Conv {
    const Bench *b;
    KlConv *c;
    const float *src[SETS][3];
    float *out;
} Conv;

static void run_conv(void *opaque, int set)
{
    Conv *c = opaque;

    c->b->k.conv(c->b->ex, c->c, c->out, c->src[set], NULL);
}

static void clip_conv(const Bench *b, int ic, int oc, int kt, int k, int up2, int R, int W)
{
    int pad = k / 2;
    KlConvDesc d = { .ic = ic, .oc = oc, .kt = kt, .kh = k, .kw = k, .stride = 1, .pad_top = pad, .pad_left = pad,
                     .pad_bottom = pad, .pad_right = pad, .up2 = up2, .R = R, .W = W,
                     .operand = kt == 3 && k == 3 && ic > b->vae.z_dim };      /* those that follow a norm */
    size_t n_in = (size_t)R * (size_t)W * (size_t)ic, n_out = ((size_t)R << up2) * ((size_t)W << up2) * (size_t)oc;
    size_t n_w = (size_t)ic * (size_t)oc * (size_t)(kt * k * k);
    float *kernel = bench_alloc_f32(n_w), *picture[SETS];
    Conv c = { .b = b, .out = bench_random(b, n_out) };
    KlConvWeights *cw = NULL;
    KlWeight w = { .data = kernel, .dtype = KL_F32 };
    char what[96];

    for (int i = 0; i < SETS; i++)
        picture[i] = d.operand ? operand(b, (int64_t)R * W, ic) : bench_random(b, n_in);
    for (int i = 0; i < SETS; i++)
        for (int t = 0; t < 3; t++)
            c.src[i][t] = picture[(i + t) % SETS];
    snprintf(what, sizeof(what), "conv%s:%dx%dx%d:%d-%d:%dx%d", up2 ? "+up" : "", kt, k, k, ic, oc, W << up2, R << up2);
    if (b->k.conv_weights_create(&b->k, &cw, w, NULL, ic, oc, kt, k, k) < 0 ||
        b->k.conv_create(b->ex, &c.c, &d, cw) < 0 || b->k.exec_reserve(b->ex, b->k.conv_scratch(c.c)) < 0)
        printf("%-44s no memory\n", what);
    else
        print_line(what, bench_median_s(b, run_conv, &c, SETS),
                   2e-12 * (double)n_out * ic * kt * (up2 ? 4 : k * k), "TFLOP/s");
    b->k.conv_destroy(&c.c);
    b->k.conv_weights_destroy(&cw);
    for (int i = 0; i < SETS; i++)
        bench_free(b, picture[i]);
    bench_free(b, c.out);
    free(kernel);
}

/* -- all of a clip -- */

static void clip_vae(const Bench *b, int R, int W)
{
    const KlVaeConfig *v = &b->vae;
    int c = v->decoder_dim ? v->decoder_dim : v->base_dim, half = v->residual ? 1 : 2;
    int out = v->residual ? 12 : 3;

    clip_conv(b, v->z_dim, 4 * c, 3, 3, 0, R, W);
    clip_conv(b, 4 * c, 4 * c, 3, 3, 0, R, W);
    clip_conv(b, 4 * c, 8 * c, 3, 1, 0, R, W);
    clip_conv(b, 4 * c, 4 * c / half, 1, 3, 1, R, W);
    clip_conv(b, 4 * c, 4 * c, 3, 3, 0, 2 * R, 2 * W);
    clip_conv(b, 2 * c, 2 * c, 3, 3, 0, 4 * R, 4 * W);
    clip_conv(b, 2 * c, 2 * c / half, 1, 3, 1, 4 * R, 4 * W);
    clip_conv(b, c, c, 3, 3, 0, 8 * R, 8 * W);
    clip_conv(b, c, out, 3, 3, 0, 8 * R, 8 * W);
    clip_attention(b, (int64_t)R * W, (int64_t)R * W, 1, 4 * c);
    clip_rows(b, "pixel_norm", run_pixel_norm, (int64_t)R * W * 64, c, 1, true);
}

void bench_clip_ops(Bench *b, int width, int height, int frames)
{
    static const KlDType stored[] = { KL_F8_E4M3, KL_I8, KL_Q8_0, KL_Q4_K };
    const KlDitConfig *c = &b->dit;
    int R = height / b->space, W = width / b->space;
    int64_t S = (int64_t)((frames - 1) / 4 + 1) * (R / c->patch_h) * (W / c->patch_w), D = c->dim;

    printf("# %s, %dx%d, %d frames: %lld tokens; %s\n", b->model, width, height, frames, (long long)S, b->k.name);
    bench_watch_memory(b);
    clip_attention(b, S, S, c->heads, c->head_dim);
    clip_attention(b, S, c->text_len, c->heads, c->head_dim);
    clip_linear(b, S, D, D, KL_BF16, KL_ACT_NONE, 0);
    clip_linear(b, S, D, D, KL_BF16, KL_ACT_NONE, 1);
    clip_linear(b, S, c->ffn, D, KL_BF16, KL_ACT_GELU_TANH, 0);
    clip_linear(b, S, D, c->ffn, KL_BF16, KL_ACT_NONE, 1);
    for (size_t i = 0; i < sizeof(stored) / sizeof(stored[0]); i++)
        if (D % kl_dtype_block(stored[i]) == 0)
            clip_linear(b, S, D, D, stored[i], KL_ACT_NONE, 0);
    clip_rows(b, "layer_norm", run_layer_norm, S, D, c->heads, true);
    clip_rows(b, "qk_norm_rope", run_qk_norm_rope, S, D, c->heads, false);
    clip_vae(b, R, W);
    if (b->on_device)
        printf("# at most %.2f GiB of the device, idle weights not counted\n", bench_device_peak_gib(b));
}
