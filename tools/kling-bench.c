/*
 * kling-bench: how fast and how large the models' parts are on this machine,
 * with random weights, against what the GEMM library can do here.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * One run measures its own yardstick first: f32 matrix products by oneDNN's
 * sgemm. GFLOP/s count what is executed (2 per multiply-add of products,
 * attention and convolutions), nothing else. The figures in
 * brackets are the same by processor time, of one core: they hold on a machine
 * that is busy with other things too, but do not see threads that wait.
 */
#include <dnnl.h>
#include <getopt.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "engine/model_internal.h"
#include "kernels/kernels.h"
#include "tools/synth_model.h"

#define GIB (1024.0 * 1024 * 1024)

typedef struct Bench {
    KlKernels k;
    KlExec *ex;
    KlDiag diag;
    int threads, reps, ops, layers, text_tokens;
    double peak, peak_core;             /* GFLOP/s of sgemm: by wall time, by processor time of one core */
    const char *stages;
    KlDitConfig dit;
    KlVaeConfig vae;
    KlTextEncoderConfig text;
    const char *model;
} Bench;

/* -- time, memory -- */

static double wall_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct Timer { double wall, cpu; } Timer;

static Timer timer_start(void)
{
    return (Timer){ wall_s(), cpu_s() };
}

static Timer timer_stop(Timer t)
{
    return (Timer){ wall_s() - t.wall, cpu_s() - t.cpu };
}

/* A line of /proc, in GiB; 0 where there is none. */
static double proc_gib(const char *path, const char *key)
{
    FILE *f = fopen(path, "r");
    char line[256];
    double kb = 0;

    while (f && fgets(line, sizeof(line), f))
        if (!strncmp(line, key, strlen(key)))
            kb = atof(line + strlen(key));
    if (f)
        fclose(f);
    return kb / (1024 * 1024);
}

static void peak_reset(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");

    if (!f)
        return;
    fputs("5", f);
    fclose(f);
}

static void print_memory(double weights_gib)
{
    double hwm = proc_gib("/proc/self/status", "VmHWM:");

    printf("  peak memory %.2f GiB, %.2f GiB of it weights\n", hwm, weights_gib);
}

static void print_rate(const Bench *b, const char *what, Timer t, double flops)
{
    double all = flops / t.wall * 1e-9, core = flops / t.cpu * 1e-9;

    printf("  %-34s %8.3f s %7.1f GFLOP/s %4.0f %% of sgemm  (a core: %6.1f, %3.0f %%)\n", what, t.wall, all,
           100 * all / b->peak, core, 100 * core / b->peak_core);
    fflush(stdout);
}

static void keep_best(Timer *best, Timer t)
{
    if (!best->wall || t.wall < best->wall)
        *best = t;
}

static float *alloc_f32(size_t n)
{
    float *p = aligned_alloc(64, (n * sizeof(*p) + 63) / 64 * 64);

    if (!p) {
        fprintf(stderr, "kling-bench: no memory for %.1f MiB\n", (double)n * 4 / (1024 * 1024));
        exit(1);
    }
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(i * 2654435761u % 2048) / 1024.0f - 1;
    return p;
}

/* -- the yardstick -- */

/* Best GFLOP/s by clock(). */
static double sgemm_rate(const int size[3], double (*clock_s)(void))
{
    int M = size[0], N = size[1], K = size[2];
    float *a = alloc_f32((size_t)M * K), *w = alloc_f32((size_t)N * K), *c = alloc_f32((size_t)M * N);
    double best = 0, until = wall_s() + 1;

    for (int i = 0; i < 4 || (wall_s() < until && i < 50); i++) {
        double t = clock_s();

        dnnl_sgemm('N', 'T', M, N, K, 1, a, K, w, K, 0, c, N);
        t = clock_s() - t;
        if (2e-9 * M * N * K / t > best)
            best = 2e-9 * M * N * K / t;
    }
    free(a);
    free(w);
    free(c);
    return best;
}

static void measure_peak(Bench *b)
{
    static const int size[][3] = { { 2048, 2048, 2048 }, { 512, 1536, 1536 }, { 512, 8960, 1536 },
                                   { 1560, 1536, 8960 } };
    const dnnl_version_t *v = dnnl_version();

    printf("sgemm of oneDNN %d.%d.%d, f32, best of many\n", v->major, v->minor, v->patch);
    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++) {
        double all, core;

        omp_set_num_threads(b->threads);
        all = sgemm_rate(size[i], wall_s);
        omp_set_num_threads(1);
        core = sgemm_rate(size[i], cpu_s);
        printf("  %4d x %4d x %4d %8.1f GFLOP/s  (a core: %6.1f)\n", size[i][0], size[i][1], size[i][2], all, core);
        fflush(stdout);
        b->peak = all > b->peak ? all : b->peak;
        b->peak_core = core > b->peak_core ? core : b->peak_core;
    }
    printf("  peak               %8.1f GFLOP/s  (a core: %6.1f)\n", b->peak, b->peak_core);
}

/* -- where time goes: the table's pointers wrapped -- */

enum { OP_LINEAR, OP_ATTENTION, OP_CONV, OP_LAYER_NORM, OP_RMS_NORM, OP_QK_NORM_ROPE, OP_GATED_ADD, OP_ACTIVATE,
       OP_PIXEL_NORM, OP_LINCOMB, OP_CONVERT, OP_COPY, OP_NB };
static const char *const op_name[OP_NB] = { "linear", "attention", "conv", "layer_norm", "rms_norm", "qk_norm_rope",
    "gated_add", "activate", "pixel_norm", "lincomb", "convert", "mem_copy" };
static KlKernels real;
static struct { double s; long calls; } spent[OP_NB];

#define TIMED(op, call) do { double t_ = wall_s(); call; spent[op].s += wall_s() - t_; spent[op].calls++; } while (0)

static void op_linear(KlExec *ex, const KlLinear *p) { TIMED(OP_LINEAR, real.linear(ex, p)); }
static void op_attention(KlExec *ex, const KlAttention *p) { TIMED(OP_ATTENTION, real.attention(ex, p)); }
static void op_layer_norm(KlExec *ex, const KlNorm *p) { TIMED(OP_LAYER_NORM, real.layer_norm(ex, p)); }
static void op_rms_norm(KlExec *ex, const KlNorm *p) { TIMED(OP_RMS_NORM, real.rms_norm(ex, p)); }
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
                          KlActivation act)
{
    TIMED(OP_PIXEL_NORM, real.pixel_norm(ex, y, x, pixels, C, gamma, act));
}

static void wrap(KlKernels *k)
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
    k->mem_copy = op_copy;
}

static void ops_reset(void)
{
    memset(spent, 0, sizeof(spent));
}

/* Of the last repetition, which took `wall` seconds. */
static void ops_print(const Bench *b, double wall)
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

/* -- stages -- */

static void add_bytes(void *opaque, const char *name, int ndim, const int64_t *shape)
{
    double n = 1;

    (void)name;
    for (int i = 0; i < ndim; i++)
        n *= (double)shape[i];
    *(double *)opaque += n;
}

/* Random weights of a part; NULL with a line when memory is short. */
static KlWeights *make_weights(Bench *b, SynthPart part, const void *cfg, KlDType dtype, void **mem, double *gib)
{
    double n = 0, have = proc_gib("/proc/meminfo", "MemAvailable:");
    KlWeights *w = NULL;

    synth_list(part, cfg, add_bytes, &n);
    *gib = n * (double)kl_dtype_bytes(dtype) / GIB;
    if (have && *gib + 1.5 > have) {
        printf("  skipped: the weights take %.1f GiB, %.1f GiB of memory are free%s\n", *gib, have,
               part == SYNTH_VAE ? "" : "; --layers N measures a part of it");
        return NULL;
    }
    if (synth_weights(part, cfg, 1, dtype, 1, &w, mem) < 0) {
        printf("  skipped: no memory for %.1f GiB of weights\n", *gib);
        return NULL;
    }
    return w;
}

static int failed(const Bench *b)
{
    fprintf(stderr, "kling-bench: %s\n", b->diag.error[0] ? b->diag.error : "failed");
    return -1;
}

static int dit_clip(Bench *b, const KlDit *dit, int width, int height, int frames)
{
    const KlDitConfig *c = &b->dit;
    int F = (frames - 1) / 4 + 1, R = height / 8, W = width / 8, ret = -1;
    size_t n = (size_t)c->in_ch * F * R * W;
    float *z = alloc_f32(n), *v = alloc_f32(n), *ctx = alloc_f32((size_t)b->text_tokens * c->text_dim);
    float t[64];
    KlDitSession *s = NULL;
    Timer best = { 0 }, at = { 0 }, set;
    char what[64];

    for (int i = 0; i < 64; i++)
        t[i] = 500;
    peak_reset();
    if (F > 64 || kl_dit_session_create(dit, b->ex, &b->diag, F, R, W, &s) < 0)
        goto end;
    set = timer_start();
    if (kl_dit_set_context(s, &b->diag, 0, ctx, b->text_tokens) < 0)
        goto end;
    set = timer_stop(set);
    for (int i = 0; i < b->reps; i++) {
        ops_reset();
        at = timer_start();
        if (kl_dit_forward(s, &b->diag, 0, z, t, v) < 0)
            goto end;
        at = timer_stop(at);
        keep_best(&best, at);
    }
    snprintf(what, sizeof(what), "step %dx%dx%d, %d tokens", width, height, frames,
             F * (R / c->patch_h) * (W / c->patch_w));
    print_rate(b, what, best, kl_dit_flops(s, 0));
    ops_print(b, at.wall);
    printf("  context of %d tokens, once per clip %6.3f s\n", b->text_tokens, set.wall);
    ret = 0;
end:
    kl_dit_session_destroy(&s);
    free(z);
    free(v);
    free(ctx);
    return ret < 0 ? failed(b) : 0;
}

static int stage_dit(Bench *b, const int (*size)[3], int n_sizes)
{
    KlWeights *w;
    KlDit *dit = NULL;
    void *mem = NULL;
    double gib;
    int ret = 0;

    printf("transformer %s, %d layers, bf16 weights\n", b->model, b->dit.layers);
    w = make_weights(b, SYNTH_DIT, &b->dit, KL_BF16, &mem, &gib);
    if (!w)
        return 0;
    if (kl_dit_create(&b->diag, &dit, &b->k, w, &b->dit) < 0)
        ret = failed(b);
    for (int i = 0; i < n_sizes && !ret; i++) {
        ret = dit_clip(b, dit, size[i][0], size[i][1], size[i][2]);
        if (!ret)
            print_memory(gib);
    }
    kl_dit_destroy(&dit);
    kl_weights_close(&w);
    free(mem);
    return ret;
}

static int count_picture(void *opaque, const float *x)
{
    (void)x;
    ++*(int *)opaque;
    return 0;
}

static int vae_clip(Bench *b, const KlVae *vae, int width, int height)
{
    int R = height / kl_vae_space_factor(vae), W = width / kl_vae_space_factor(vae), n = 0, ret = -1;
    float *z = alloc_f32((size_t)b->vae.z_dim * R * W);
    KlVaeDecoder *dec = NULL;
    Timer first, later = { 0 }, at = { 0 };
    char what[64];

    peak_reset();
    if (kl_vae_decoder_create(vae, b->ex, &b->diag, R, W, &dec) < 0)
        goto end;
    first = timer_start();
    if (kl_vae_decode(dec, &b->diag, z, (int64_t)R * W, count_picture, &n) < 0)
        goto end;
    first = timer_stop(first);
    for (int i = 0; i < b->reps; i++) {
        ops_reset();
        n = 0;
        at = timer_start();
        if (kl_vae_decode(dec, &b->diag, z, (int64_t)R * W, count_picture, &n) < 0)
            goto end;
        at = timer_stop(at);
        keep_best(&later, at);
    }
    snprintf(what, sizeof(what), "decode %dx%d, %d frames of a clip", width, height, n);
    print_rate(b, what, later, kl_vae_decode_flops(dec));
    ops_print(b, at.wall);
    printf("  its first frame %8.3f s; a clip of %d frames %8.3f s\n", first.wall, n + 1, first.wall + later.wall);
    ret = 0;
end:
    kl_vae_decoder_destroy(&dec);
    free(z);
    return ret < 0 ? failed(b) : 0;
}

static int stage_vae(Bench *b, const int (*size)[3], int n_sizes)
{
    KlWeights *w;
    KlVae *vae = NULL;
    void *mem = NULL;
    double gib;
    int ret = 0;

    printf("VAE, base dimension %d, f32 weights\n", b->vae.base_dim);
    w = make_weights(b, SYNTH_VAE, &b->vae, KL_F32, &mem, &gib);
    if (!w)
        return 0;
    if (kl_vae_create(&b->diag, &vae, &b->k, w, &b->vae) < 0)
        ret = failed(b);
    for (int i = 0; i < n_sizes && !ret; i++) {
        ret = vae_clip(b, vae, size[i][0], size[i][1]);
        if (!ret)
            print_memory(gib);
    }
    kl_vae_destroy(&vae);
    kl_weights_close(&w);
    free(mem);
    return ret;
}

static int stage_text(Bench *b)
{
    const KlTextEncoderConfig *c = &b->text;
    double gib, inner = (double)c->heads * c->head_dim, n = b->text_tokens;
    double flops = c->layers * (2 * n * c->dim * (4 * inner + 3.0 * c->ffn) + 4 * n * n * inner);
    float *out = alloc_f32((size_t)b->text_tokens * c->dim);
    int32_t *ids = calloc((size_t)b->text_tokens, sizeof(*ids));
    KlTextEncoder *te = NULL;
    KlWeights *w;
    void *mem = NULL;
    Timer best = { 0 }, at = { 0 };
    char what[64];
    int ret = ids ? 0 : -1;

    printf("text encoder, dimension %d, %d layers, bf16 weights\n", c->dim, c->layers);
    peak_reset();
    w = make_weights(b, SYNTH_TEXT_ENCODER, c, KL_BF16, &mem, &gib);
    if (w && kl_text_encoder_create(&b->diag, &te, &b->k, w, c) < 0)
        ret = failed(b);
    for (int i = 0; i < b->text_tokens && ids; i++)
        ids[i] = i * 499 % c->vocab;
    for (int i = 0; i < b->reps && w && !ret; i++) {
        ops_reset();
        at = timer_start();
        if (kl_text_encoder_run(te, b->ex, &b->diag, ids, b->text_tokens, out) < 0)
            ret = failed(b);
        at = timer_stop(at);
        keep_best(&best, at);
    }
    if (w && !ret) {
        snprintf(what, sizeof(what), "encode %d tokens", b->text_tokens);
        print_rate(b, what, best, flops);
        ops_print(b, at.wall);
        print_memory(gib);
    }
    kl_text_encoder_destroy(&te);
    kl_weights_close(&w);
    free(mem);
    free(ids);
    free(out);
    return ret;
}

/* -- single ops, at the shapes of the released models -- */

static void bench_linear(Bench *b, int64_t M, int64_t N, int64_t K, KlDType dtype, KlActivation act)
{
    static const char *const name[] = { "f32", "f16", "bf16" };
    float *x = alloc_f32((size_t)(M * K)), *y = alloc_f32((size_t)(M * N)), *w = alloc_f32((size_t)(N * K));
    KlLinear p = { .x = x, .ldx = K, .w = { w, dtype }, .y = y, .ldy = N, .M = M, .N = N, .K = K, .act = act };
    Timer best = { 0 };
    char what[64];

    if (dtype != KL_F32)
        memset(w, 0x3c, (size_t)(N * K) * 2);       /* about 1 in either 16-bit form */
    if (!b->k.exec_reserve(b->ex, b->k.linear_scratch(b->ex, M, N, K, dtype))) {
        for (int i = 0; i < b->reps + 1; i++) {
            Timer at = timer_start();

            b->k.linear(b->ex, &p);
            keep_best(&best, timer_stop(at));
        }
        snprintf(what, sizeof(what), "linear %s %dx%dx%d%s", name[dtype], (int)M, (int)N, (int)K, act ? " gelu" : "");
        print_rate(b, what, best, 2.0 * (double)M * (double)N * (double)K);
    }
    free(x);
    free(y);
    free(w);
}

static void bench_attention(Bench *b, int S, int Sk, int H, int E)
{
    size_t D = (size_t)H * E;
    float *q = alloc_f32(S * D), *k = alloc_f32(Sk * D), *v = alloc_f32(Sk * D), *o = alloc_f32(S * D);
    KlAttention p = { .q = q, .ldq = (int64_t)D, .k = k, .ldk = (int64_t)D, .v = v, .ldv = (int64_t)D, .out = o,
                      .ldo = (int64_t)D, .Sq = S, .Sk = Sk, .H = H, .E = E, .scale = 0.1f };
    Timer best = { 0 };
    char what[64];

    if (!b->k.exec_reserve(b->ex, b->k.attention_scratch(b->ex, S, Sk, H, E))) {
        for (int i = 0; i < b->reps + 1; i++) {
            Timer at = timer_start();

            b->k.attention(b->ex, &p);
            keep_best(&best, timer_stop(at));
        }
        snprintf(what, sizeof(what), "attention %dx%d, %d heads of %d", S, Sk, H, E);
        print_rate(b, what, best, 4.0 * S * Sk * (double)D);
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
    float *x = alloc_f32(n_in), *y = alloc_f32(n_out), *w = alloc_f32(n_w);
    const float *src[3] = { x, x, x };
    KlConvWeights *cw = NULL;
    KlConv *c = NULL;
    Timer best = { 0 };
    char what[64];

    if (!b->k.conv_weights_create(&b->k, &cw, (KlWeight){ w, KL_F32 }, NULL, d->ic, d->oc, d->kt, d->kh, d->kw) &&
        !b->k.conv_create(b->ex, &c, d, cw) && !b->k.exec_reserve(b->ex, b->k.conv_scratch(c))) {
        for (int i = 0; i < b->reps + 1; i++) {
            Timer at = timer_start();

            b->k.conv(b->ex, c, y, src, NULL);
            keep_best(&best, timer_stop(at));
        }
        snprintf(what, sizeof(what), "conv %dx%dx%d %d->%d %dx%d%s", d->kt, d->kh, d->kw, d->ic, d->oc, oW, oR,
                 d->up2 ? " up" : "");
        print_rate(b, what, best, 2.0 * (double)n_out * d->ic * d->kt * d->kh * d->kw);
    }
    b->k.conv_destroy(&c);
    b->k.conv_weights_destroy(&cw);
    free(x);
    free(y);
    free(w);
}

static void stage_single_ops(Bench *b)
{
    static const KlConvDesc conv[] = {
        { 16, 384, 3, 3, 3, 1, 1, 1, 1, 1, 0, 32, 32 },   { 384, 384, 3, 3, 3, 1, 1, 1, 1, 1, 0, 32, 32 },
        { 384, 768, 3, 1, 1, 1, 0, 0, 0, 0, 0, 32, 32 },  { 384, 192, 1, 3, 3, 1, 1, 1, 1, 1, 1, 32, 32 },
        { 192, 384, 3, 3, 3, 1, 1, 1, 1, 1, 0, 64, 64 },  { 192, 192, 3, 3, 3, 1, 1, 1, 1, 1, 0, 128, 128 },
        { 192, 96, 1, 3, 3, 1, 1, 1, 1, 1, 1, 128, 128 }, { 96, 96, 3, 3, 3, 1, 1, 1, 1, 1, 0, 256, 256 },
        { 96, 3, 3, 3, 3, 1, 1, 1, 1, 1, 0, 256, 256 },   { 96, 96, 1, 3, 3, 2, 0, 0, 1, 1, 0, 256, 256 },
    };

    printf("single ops\n");
    bench_linear(b, 512, 1536, 1536, KL_BF16, KL_ACT_NONE);
    bench_linear(b, 512, 1536, 1536, KL_F32, KL_ACT_NONE);
    bench_linear(b, 512, 8960, 1536, KL_BF16, KL_ACT_GELU_TANH);
    bench_linear(b, 512, 1536, 8960, KL_F16, KL_ACT_NONE);
    bench_linear(b, 1560, 1536, 1536, KL_BF16, KL_ACT_NONE);
    bench_linear(b, 512, 4096, 4096, KL_BF16, KL_ACT_NONE);
    bench_linear(b, 1, 9216, 1536, KL_BF16, KL_ACT_NONE);
    bench_attention(b, 512, 512, 12, 128);
    bench_attention(b, 1560, 1560, 12, 128);
    bench_attention(b, 512, 512, 64, 64);
    bench_attention(b, 1024, 1024, 1, 384);
    for (size_t i = 0; i < sizeof(conv) / sizeof(conv[0]); i++)
        bench_conv(b, &conv[i]);
}

/* -- the program -- */

static int set_model(Bench *b, const char *model)
{
    char path[4096];

    b->model = model;
    b->text = (KlTextEncoderConfig){ 256384, 4096, 64, 64, 10240, 24, 32, 128, 1e-6f };     /* UMT5-XXL */
    b->vae = (KlVaeConfig){ .base_dim = 96, .z_dim = 16, .levels = 4, .dim_mult = { 1, 2, 4, 4 }, .res_blocks = 2,
                            .temporal_down = { false, true, true } };                       /* Wan 2.1 */
    for (int i = 0; i < b->vae.z_dim; i++)
        b->vae.std[i] = 1;
    b->dit = (KlDitConfig){ .dim = 1536, .heads = 12, .head_dim = 128, .ffn = 8960, .layers = 30, .in_ch = 16,
                            .out_ch = 16, .text_dim = 4096, .text_len = 512, .freq_dim = 256, .patch_h = 2,
                            .patch_w = 2, .eps = 1e-6f, .cross_attn_norm = true, .rope_max_len = 1024 };
    if (!strcmp(model, "1.3B"))
        return 0;
    if (!strcmp(model, "14B")) {
        b->dit.dim = 5120;
        b->dit.heads = 40;
        b->dit.ffn = 13824;
        b->dit.layers = 40;
        return 0;
    }
    snprintf(path, sizeof(path), "%s/transformer/config.json", model);
    if (kl_config_dit(&b->diag, path, &b->dit) < 0)
        return failed(b);
    snprintf(path, sizeof(path), "%s/vae/config.json", model);
    if (kl_config_vae(&b->diag, path, &b->vae) < 0)
        return failed(b);
    snprintf(path, sizeof(path), "%s/text_encoder/config.json", model);
    return kl_config_text(&b->diag, path, &b->text) < 0 ? failed(b) : 0;
}

static void print_machine(const Bench *b)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256] = "";

    while (f && fgets(line, sizeof(line), f))
        if (!strncmp(line, "model name", 10))
            break;
    if (f)
        fclose(f);
    line[strcspn(line, "\n")] = 0;
    printf("%s, %ld CPUs, %.1f GiB; %s, %d threads\n", strchr(line, ':') ? strchr(line, ':') + 2 : "unknown CPU",
           sysconf(_SC_NPROCESSORS_ONLN), proc_gib("/proc/meminfo", "MemTotal:"), b->k.name, b->threads);
}

static void usage(FILE *f, int threads)
{
    fprintf(f, "usage: kling-bench [options]\n"
            "Speed and memory of a model's parts with random weights, against oneDNN's sgemm.\n\n"
            "  --model NAME     1.3B, 14B, or a folder of configs in the diffusers layout [1.3B]\n"
            "  --size WxH       picture, instead of 256x256 (5 frames) and 480x832 (1 frame)\n"
            "  --frames N       with --size, 4k+1 [5]\n"
            "  --stages LIST    of dit,vae,text [dit,vae,text]\n"
            "  --layers N       at most N layers of the transformer and of the text encoder [all]\n"
            "  --tokens N       of the prompt [512]\n"
            "  --reps N         best of N [2]\n"
            "  --threads N      [%d]\n"
            "  --kernels NAME   ref, plain (the library, no hand-written vectors), avx2, best [best]\n"
            "  --ops            where the time goes, op by op\n"
            "  --ops-only       single ops at the models' shapes, nothing else\n", threads);
}

static int set_kernels(Bench *b, const char *name)
{
    if (!strcmp(name, "ref"))
        kl_kernels_init_ref(&b->k);
    else if (!strcmp(name, "plain"))
        kl_kernels_init_cpu(&b->k, 0);
    else if (!strcmp(name, "avx2"))
        kl_kernels_init_cpu(&b->k, KL_CPU_AVX2);
    else if (!strcmp(name, "best"))
        kl_kernels_init_cpu(&b->k, KL_CPU_ALL);
    else
        return -1;
    return 0;
}

static int run(Bench *b, const int (*size)[3], int n_sizes, int ops_only)
{
    KlExecParams p = { .threads = b->threads };
    int ret = 0;

    if (b->ops)
        wrap(&b->k);
    if (b->k.exec_create(&b->k, &b->ex, &p) < 0) {
        fprintf(stderr, "kling-bench: cannot start %d threads\n", b->threads);
        return -1;
    }
    print_machine(b);
    measure_peak(b);
    if (ops_only)
        stage_single_ops(b);
    if (!ops_only && strstr(b->stages, "dit"))
        ret |= stage_dit(b, size, n_sizes);
    if (!ops_only && strstr(b->stages, "vae"))
        ret |= stage_vae(b, size, n_sizes);
    if (!ops_only && strstr(b->stages, "text"))
        ret |= stage_text(b);
    b->k.exec_destroy(&b->ex);
    return ret;
}

int main(int argc, char **argv)
{
    static const struct option opts[] = {
        { "model", 1, NULL, 'm' }, { "size", 1, NULL, 's' }, { "frames", 1, NULL, 'f' }, { "stages", 1, NULL, 'S' },
        { "layers", 1, NULL, 'l' }, { "tokens", 1, NULL, 'n' }, { "reps", 1, NULL, 'r' }, { "threads", 1, NULL, 't' },
        { "kernels", 1, NULL, 'k' }, { "ops", 0, NULL, 'o' }, { "ops-only", 0, NULL, 'O' }, { "help", 0, NULL, 'h' },
        { 0 },
    };
    static const int usual[2][3] = { { 256, 256, 5 }, { 832, 480, 1 } };
    Bench b = { .threads = (int)sysconf(_SC_NPROCESSORS_ONLN), .reps = 2, .text_tokens = 512,
                .stages = "dit,vae,text" };
    int one[1][3] = { { 0, 0, 5 } }, ops_only = 0, bad = 0, o;
    const char *model = "1.3B", *kernels = "best";

    while ((o = getopt_long(argc, argv, "", opts, NULL)) >= 0) {
        switch (o) {
        case 'm': model = optarg; break;
        case 's': bad |= sscanf(optarg, "%dx%d", &one[0][0], &one[0][1]) != 2; break;
        case 'f': one[0][2] = atoi(optarg); break;
        case 'S': b.stages = optarg; break;
        case 'l': b.layers = atoi(optarg); break;
        case 'n': b.text_tokens = atoi(optarg); break;
        case 'r': b.reps = atoi(optarg); break;
        case 't': b.threads = atoi(optarg); break;
        case 'k': kernels = optarg; break;
        case 'o': b.ops = 1; break;
        case 'O': ops_only = 1; break;
        case 'h': usage(stdout, b.threads); return 0;
        default:  bad = 1;
        }
    }
    bad |= one[0][0] % 16 || one[0][1] % 16 || one[0][2] < 1 || one[0][2] % 4 != 1 || b.text_tokens < 1 ||
           b.text_tokens > 512 || b.reps < 1 || b.threads < 1 || optind < argc;
    if (bad || set_kernels(&b, kernels) < 0) {
        usage(stderr, b.threads);
        return 2;
    }
    if (set_model(&b, model) < 0)
        return 1;
    if (b.layers > 0 && b.layers < b.dit.layers)
        b.dit.layers = b.layers;
    if (b.layers > 0 && b.layers < b.text.layers)
        b.text.layers = b.layers;
    return run(&b, one[0][0] ? one : usual, one[0][0] ? 1 : 2, ops_only) < 0;
}
