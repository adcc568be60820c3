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
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "engine/device.h"

/* -- the yardstick -- */

/* Best GFLOP/s by clock(). */
static double sgemm_rate(const int size[3], double (*clock_s)(void))
{
    int M = size[0], N = size[1], K = size[2];
    float *a = bench_alloc_f32((size_t)M * K), *w = bench_alloc_f32((size_t)N * K), *c = bench_alloc_f32((size_t)M * N);
    double best = 0, until = bench_wall_s() + 1;

    for (int i = 0; i < 4 || (bench_wall_s() < until && i < 50); i++) {
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
        all = sgemm_rate(size[i], bench_wall_s);
        omp_set_num_threads(1);
        core = sgemm_rate(size[i], bench_cpu_s);
        printf("  %4d x %4d x %4d %8.1f GFLOP/s  (a core: %6.1f)\n", size[i][0], size[i][1], size[i][2], all, core);
        fflush(stdout);
        b->peak = all > b->peak ? all : b->peak;
        b->peak_core = core > b->peak_core ? core : b->peak_core;
    }
    printf("  peak               %8.1f GFLOP/s  (a core: %6.1f)\n", b->peak, b->peak_core);
}

/* -- stages -- */

static int failed(const Bench *b)
{
    fprintf(stderr, "kling-bench: %s\n", b->diag.error[0] ? b->diag.error : "failed");
    return -1;
}

static int dit_clip(Bench *b, const KlDit *dit, int width, int height, int frames)
{
    const KlDitConfig *c = &b->dit;
    int F = (frames - 1) / 4 + 1, R = height / b->space, W = width / b->space, ret = -1;
    size_t n = (size_t)c->in_ch * F * R * W;
    float *z = bench_random(b, n), *v = bench_random(b, n);
    float *ctx = bench_random(b, (size_t)b->text_tokens * c->text_dim);
    float t[64];
    KlDitSession *s = NULL;
    Timer best = { 0 }, at = { 0 }, set;
    KlWeightStats before = { 0 }, after;
    char what[64];

    for (int i = 0; i < 64; i++)
        t[i] = 500;
    bench_peak_reset();
    bench_watch_memory(b);
    if (F > 64 || kl_dit_session_create(dit, b->ex, &b->diag, F, R, W, &s) < 0)
        goto end;
    set = bench_start();
    if (kl_dit_set_context(s, &b->diag, 0, ctx, b->text_tokens) < 0)
        goto end;
    bench_sync(b);
    set = bench_stop(set);
    for (int i = 0; i < b->reps + b->on_device; i++) {  /* the first takes the weights to a device */
        bench_reset_ops();
        b->k.weight_stats(&b->k, &before);
        at = bench_start();
        if (kl_dit_forward(s, &b->diag, 0, z, t, v) < 0)
            goto end;
        bench_sync(b);
        at = bench_stop(at);
        if (i || !b->on_device)
            bench_keep_best(&best, at);
    }
    snprintf(what, sizeof(what), "step %dx%dx%d, %d tokens", width, height, frames,
             F * (R / c->patch_h) * (W / c->patch_w));
    bench_print_rate(b, what, best, kl_dit_flops(s, 0));
    bench_print_ops(b, at.wall);
    b->k.weight_stats(&b->k, &after);
    if (after.streamed > before.streamed)
        printf("  %.2f of %.2f GiB of weights stay, %.2f GiB are sent for a step\n", (double)after.resident / GIB,
               (double)after.bound / GIB, (double)(after.streamed - before.streamed) / GIB);
    printf("  context of %d tokens, once per clip %6.3f s\n", b->text_tokens, set.wall);
    ret = 0;
end:
    kl_dit_session_destroy(&s);
    bench_free(b, z);
    bench_free(b, v);
    bench_free(b, ctx);
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
    w = bench_weights(SYNTH_DIT, &b->dit, KL_BF16, true, 0, &mem, &gib);
    if (!w)
        return 0;
    if (kl_dit_create(&b->diag, &dit, &b->k, w, &b->dit) < 0)
        ret = failed(b);
    for (int i = 0; i < n_sizes && !ret; i++) {
        ret = dit_clip(b, dit, size[i][0], size[i][1], size[i][2]);
        if (!ret)
            bench_print_memory(b, gib);
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

/* All latent frames of a clip, from a decoder that has seen none, waited for once. */
static int vae_whole_clip(Bench *b, const KlVae *vae, const float *z, int R, int W, int latents)
{
    KlVaeDecoder *dec = NULL;
    Timer t;
    int n = 0, ret = kl_vae_decoder_create(vae, b->ex, &b->diag, R, W, &dec);

    t = bench_start();
    for (int i = 0; i < latents && ret >= 0; i++)
        ret = kl_vae_decode(dec, &b->diag, z, (int64_t)R * W, count_picture, &n);
    bench_sync(b);
    t = bench_stop(t);
    if (ret >= 0)
        printf("  whole clip, %d latent frames, %d frames %8.3f s\n", latents, n, t.wall);
    kl_vae_decoder_destroy(&dec);
    return ret;
}

static int vae_clip(Bench *b, const KlVae *vae, const KlVaeConfig *cfg, const int size[3])
{
    int width = size[0], height = size[1];
    int R = height / kl_vae_space_factor(vae), W = width / kl_vae_space_factor(vae), n = 0, ret = -1;
    float *z = bench_random(b, (size_t)cfg->z_dim * R * W);
    KlVaeDecoder *dec = NULL;
    Timer first, later = { 0 }, at = { 0 };
    char what[64];

    bench_peak_reset();
    bench_watch_memory(b);
    if (kl_vae_decoder_create(vae, b->ex, &b->diag, R, W, &dec) < 0)
        goto end;
    first = bench_start();
    if (kl_vae_decode(dec, &b->diag, z, (int64_t)R * W, count_picture, &n) < 0)
        goto end;
    bench_sync(b);
    first = bench_stop(first);
    for (int i = 0; i < b->reps; i++) {
        bench_reset_ops();
        n = 0;
        at = bench_start();
        if (kl_vae_decode(dec, &b->diag, z, (int64_t)R * W, count_picture, &n) < 0)
            goto end;
        bench_sync(b);
        at = bench_stop(at);
        bench_keep_best(&later, at);
    }
    snprintf(what, sizeof(what), "decode %dx%d, %d frames of a clip", width, height, n);
    bench_print_rate(b, what, later, kl_vae_decode_flops(dec));
    bench_print_ops(b, at.wall);
    printf("  its first frame %8.3f s; a clip of %d frames %8.3f s\n", first.wall, n + 1, first.wall + later.wall);
    printf("  decoding was said to hold %.2f GiB beside the weights\n",
           (double)kl_vae_decoder_bytes(vae, R, W) / GIB);
    kl_vae_decoder_destroy(&dec);
    ret = b->on_device ? vae_whole_clip(b, vae, z, R, W, (size[2] - 1) / kl_vae_time_factor(vae) + 1) : 0;
end:
    kl_vae_decoder_destroy(&dec);
    bench_free(b, z);
    return ret < 0 ? failed(b) : 0;
}

static int stage_vae(Bench *b, const KlVaeConfig *cfg, const int (*size)[3], int n_sizes)
{
    KlWeights *w;
    KlVae *vae = NULL;
    void *mem = NULL;
    double gib;
    int ret = 0;

    printf("VAE%s, base dimension %d, latents of %d channels, f32 weights\n", cfg->residual ? " of Wan 2.2" : "",
           cfg->base_dim, cfg->z_dim);
    w = bench_weights(SYNTH_VAE, cfg, KL_F32, true, 0, &mem, &gib);
    if (!w)
        return 0;
    if (kl_vae_create(&b->diag, &vae, &b->k, w, cfg) < 0)
        ret = failed(b);
    for (int i = 0; i < n_sizes && !ret; i++) {
        ret = vae_clip(b, vae, cfg, size[i]);
        if (!ret)
            bench_print_memory(b, gib);
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
    float *out = bench_random(b, (size_t)b->text_tokens * c->dim);
    int32_t *ids = calloc((size_t)b->text_tokens, sizeof(*ids));
    KlTextEncoder *te = NULL;
    KlWeights *w;
    void *mem = NULL;
    Timer best = { 0 }, at = { 0 };
    char what[64];
    int ret = ids ? 0 : -1;

    printf("text encoder, dimension %d, %d layers, bf16 weights\n", c->dim, c->layers);
    bench_peak_reset();
    bench_watch_memory(b);
    w = bench_weights(SYNTH_TEXT_ENCODER, c, KL_BF16, true, 0, &mem, &gib);
    if (w && kl_text_encoder_create(&b->diag, &te, &b->k, w, c) < 0)
        ret = failed(b);
    for (int i = 0; i < b->text_tokens && ids; i++)
        ids[i] = i * 499 % c->vocab;
    for (int i = 0; i < b->reps + b->on_device && w && !ret; i++) {
        bench_reset_ops();
        at = bench_start();
        if (kl_text_encoder_run(te, b->ex, &b->diag, ids, b->text_tokens, out) < 0)
            ret = failed(b);
        bench_sync(b);
        at = bench_stop(at);
        if (i || !b->on_device)
            bench_keep_best(&best, at);
    }
    if (w && !ret) {
        snprintf(what, sizeof(what), "encode %d tokens", b->text_tokens);
        bench_print_rate(b, what, best, flops);
        bench_print_ops(b, at.wall);
        bench_print_memory(b, gib);
    }
    kl_text_encoder_destroy(&te);
    kl_weights_close(&w);
    free(mem);
    free(ids);
    bench_free(b, out);
    return ret;
}

/* -- the program -- */

static KlVaeConfig vae_21(void)
{
    return (KlVaeConfig){ .base_dim = 96, .z_dim = 16, .levels = 4, .dim_mult = { 1, 2, 4, 4 }, .res_blocks = 2,
                          .temporal_down = { false, true, true } };
}

static KlVaeConfig vae_22(void)
{
    return (KlVaeConfig){ .base_dim = 160, .decoder_dim = 256, .z_dim = 48, .levels = 4, .dim_mult = { 1, 2, 4, 4 },
                          .res_blocks = 2, .temporal_down = { false, true, true }, .residual = true, .patch = 2 };
}

static void unit_statistics(KlVaeConfig *c)
{
    for (int i = 0; i < c->z_dim; i++)
        c->std[i] = 1;
}

static int set_model(Bench *b, const char *model)
{
    char path[4096];

    b->model = model;
    b->text = (KlTextEncoderConfig){ 256384, 4096, 64, 64, 10240, 24, 32, 128, 1e-6f };     /* UMT5-XXL */
    b->vae = !strcmp(model, "5B") ? vae_22() : vae_21();
    b->vae22 = vae_22();
    unit_statistics(&b->vae);
    unit_statistics(&b->vae22);
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
    if (!strcmp(model, "5B")) {
        b->dit.dim = 3072;
        b->dit.heads = 24;
        b->dit.ffn = 14336;
        b->dit.in_ch = b->dit.out_ch = 48;
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
           sysconf(_SC_NPROCESSORS_ONLN), bench_proc_gib("/proc/meminfo", "MemTotal:"), b->k.name, b->threads);
}

static void usage(FILE *f, int threads)
{
    fprintf(f, "usage: kling-bench [options]\n"
            "Speed and memory of a model's parts with random weights, against oneDNN's sgemm.\n\n"
            "  --model NAME     1.3B, 14B, 5B (Wan 2.2 TI2V), or a folder of configs in the diffusers layout [1.3B]\n"
            "  --size WxH       picture, instead of 256x256 (5 frames) and 480x832 (1 frame)\n"
            "  --frames N       with --size, 4k+1 [5]\n"
            "  --stages LIST    of dit,int8,vae,vae22,text; int8: a step beside one in f32, on a CPU; vae22: that of\n"
            "                   Wan 2.2; both at the first size [all]\n"
            "  --layers N       at most N layers of the transformer and of the text encoder [all]\n"
            "  --tokens N       of the prompt [512]\n"
            "  --reps N         best of N [2]\n"
            "  --threads N      [%d]\n"
            "  --device NAME    cpu, or cuda[:N]: clips of 832x480, 81 frames, when no size is given [cpu]\n"
            "  --vram N         of a device's memory: bytes, such as 8G, or a share up to 1 [all]\n"
            "  --plugin FILE    the CUDA table's [beside libkling]\n"
            "  --no-wgmma       a GPU without products of warpgroups, to compare\n"
            "  --precision NAME auto or f32 [auto]\n"
            "  --kernels NAME   ref, plain (the library, no hand-written vectors), avx2, best [best]\n"
            "  --open FILE      a model's files instead: seconds to open them, of a step and a frame, and memory\n"
            "  --text-encoder F --vae F --tokenizer F   its parts, where they do not lie beside it\n"
            "  --ops            where the time goes, op by op\n"
            "  --ops-only       single ops, nothing else: with --size or on a device exactly this clip's\n", threads);
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

/* cuda or cuda:N; the line says what is missing. */
static int set_device(Bench *b, const char *device, const KlDeviceParams *params)
{
    if (kl_device_open(&b->diag, &b->k, device, params) < 0)
        return failed(b);
    b->on_device = true;
    b->device_free = b->k.mem_available(&b->k);
    return 0;
}

/* A number, perhaps with K, M or G for powers of 1000; negative if it is none. */
static double parse_bytes(const char *s)
{
    static const char units[] = "KMG";
    char *end;
    double n = strtod(s, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;

    if (unit) {
        n *= pow(1000, (double)(unit - units + 1));
        end++;
    }
    return end == s || *end ? -1 : n;
}

static bool has_stage(const Bench *b, const char *stage)
{
    const size_t n = strlen(stage);

    for (const char *s = b->stages; s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL)
        if (!strncmp(s, stage, n) && (!s[n] || s[n] == ','))
            return true;
    return false;
}

/* A picture's sides must be whole patches of latents, of every VAE that is measured. */
static bool size_fits(Bench *b, const int size[3])
{
    int space = 1 << (b->vae.levels - 1), unit;

    b->space = space *= b->vae.patch ? b->vae.patch : 1;
    unit = space * KL_MAX(b->dit.patch_h, b->dit.patch_w);
    if (size[0] % unit || size[1] % unit)
        fprintf(stderr, "kling-bench: %dx%d: sides must be multiples of %d\n", size[0], size[1], unit);
    return size[0] % unit == 0 && size[1] % unit == 0;
}

static int run(Bench *b, const int (*size)[3], int n_sizes, int ops_only)
{
    KlExecParams p = { .threads = b->threads, .precision = b->precision };
    int ret = 0;

    if (b->ops)
        bench_wrap_ops(&b->k);
    bench_watch_memory(b);              /* before the table is copied */
    if (b->k.exec_create(&b->k, &b->ex, &p) < 0) {
        fprintf(stderr, "kling-bench: cannot start %d threads\n", b->threads);
        return -1;
    }
    print_machine(b);
    if (!b->on_device && !(ops_only && n_sizes == 1))
        measure_peak(b);
    if (ops_only && n_sizes == 1)
        bench_clip_ops(b, size[0][0], size[0][1], size[0][2]);
    else if (ops_only)
        bench_single_ops(b);
    if (!ops_only && has_stage(b, "dit"))
        ret |= stage_dit(b, size, n_sizes);
    if (!ops_only && has_stage(b, "int8") && !b->on_device)
        ret |= bench_int8(b, size[0]) < 0 ? failed(b) : 0;
    if (!ops_only && has_stage(b, "vae"))
        ret |= stage_vae(b, &b->vae, size, n_sizes);
    if (!ops_only && has_stage(b, "vae22") && !b->vae.residual)
        ret |= stage_vae(b, &b->vae22, size, 1);
    if (!ops_only && has_stage(b, "text"))
        ret |= stage_text(b);
    b->k.exec_destroy(&b->ex);
    b->k.close(&b->k);
    return ret;
}

int main(int argc, char **argv)
{
    static const struct option opts[] = {
        { "model", 1, NULL, 'm' }, { "size", 1, NULL, 's' }, { "frames", 1, NULL, 'f' }, { "stages", 1, NULL, 'S' },
        { "layers", 1, NULL, 'l' }, { "tokens", 1, NULL, 'n' }, { "reps", 1, NULL, 'r' }, { "threads", 1, NULL, 't' },
        { "kernels", 1, NULL, 'k' }, { "ops", 0, NULL, 'o' }, { "ops-only", 0, NULL, 'O' }, { "help", 0, NULL, 'h' },
        { "device", 1, NULL, 'd' }, { "plugin", 1, NULL, 'P' }, { "precision", 1, NULL, 'p' },
        { "no-wgmma", 0, NULL, 'w' }, { "vram", 1, NULL, 'v' }, { "open", 1, NULL, 'F' },
        { "text-encoder", 1, NULL, 'T' }, { "vae", 1, NULL, 'V' }, { "tokenizer", 1, NULL, 'K' }, { 0 },
    };
    static const int usual[2][3] = { { 256, 256, 5 }, { 832, 480, 1 } };    /* multiples of 32: fit every model */
    Bench b = { .threads = (int)sysconf(_SC_NPROCESSORS_ONLN), .reps = 2, .text_tokens = 512,
                .stages = "dit,int8,vae,vae22,text" };
    int one[1][3] = { { 0, 0, 5 } }, ops_only = 0, bad = 0, o;
    const char *model = "1.3B", *kernels = "best", *device = "cpu";
    KlDeviceParams on = { 0 };
    KlingModelParams files;

    kling_model_params_default(&files);
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
        case 'd': device = optarg; break;
        case 'P': on.plugin = optarg; break;
        case 'w': on.no_wgmma = true; break;
        case 'p':
            b.precision = !strcmp(optarg, "f32") ? KL_PREC_F32 : KL_PREC_AUTO;
            bad |= b.precision == KL_PREC_AUTO && strcmp(optarg, "auto");
            break;
        case 'v': bad |= (on.vram = parse_bytes(optarg)) < 0; break;
        case 'O': ops_only = 1; break;
        case 'F': files.model = optarg; break;
        case 'T': files.text_encoder = optarg; break;
        case 'V': files.vae = optarg; break;
        case 'K': files.tokenizer = optarg; break;
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
    if (files.model) {
        files.device = device;
        return bench_files(&b, &files) < 0;
    }
    if (strcmp(device, "cpu") && set_device(&b, device, &on) < 0)
        return 1;
    if (b.on_device && !one[0][0])
        memcpy(one[0], (const int[3]){ 832, 480, 81 }, sizeof(one[0]));
    if (set_model(&b, model) < 0)
        return 1;
    if (!size_fits(&b, one[0]))
        return 2;
    if (b.layers > 0 && b.layers < b.dit.layers)
        b.dit.layers = b.layers;
    if (b.layers > 0 && b.layers < b.text.layers)
        b.text.layers = b.layers;
    return run(&b, one[0][0] ? one : usual, one[0][0] ? 1 : 2, ops_only) < 0;
}
