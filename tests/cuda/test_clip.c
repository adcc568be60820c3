/*
 * The model that ships through the public API on the CPU and on the CUDA table: the same clip, in f32 and in bf16.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * KLING_TEST_CUDA names a plugin; without it that of $BUILD/lib. The library looks for it beside the program, so this
 * one goes on as a link in a folder where the plugin lies, too. On a GPU it is the model's whole clip, and what it
 * takes is printed; on the emulated device a small piece. With KLING_TEST_NO_WGMMA attention does without products of
 * warpgroups.
 */
#include <dlfcn.h>
#include <math.h>
#include <time.h>

#include "kernels/cuda.h"
#include "kling/kling.h"
#include "tests/check.h"
#include "tests/cuda/emu/control.h"
#include "tests/scratch.h"

#define MODEL "samples/model"

static bool small;

typedef struct Clip {
    float *x;                           /* [frames][3][height][width] */
    size_t n;
    double seconds;                     /* from opening the model to the last frame */
} Clip;

/* The library has no setting for this, and shall not: the linker sends its call here (tests.mak). */
int __real_kl_kernels_init_cuda(KlKernels *k, const KlCudaParams *p, char *why, size_t why_size);
int __wrap_kl_kernels_init_cuda(KlKernels *k, const KlCudaParams *p, char *why, size_t why_size);
int __wrap_kl_kernels_init_cuda(KlKernels *k, const KlCudaParams *p, char *why, size_t why_size)
{
    KlCudaParams mine = *p;

    mine.no_wgmma |= getenv("KLING_TEST_NO_WGMMA") != NULL;
    return __real_kl_kernels_init_cuda(k, &mine, why, why_size);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void keep(Clip *c, const KlingFrame *f)
{
    const size_t row = (size_t)f->width_px;

    c->x = realloc(c->x, (c->n + 3 * row * (size_t)f->height_px) * sizeof(float));
    for (int p = 0; p < 3; p++)
        for (int y = 0; y < f->height_px; y++, c->n += row)
            memcpy(c->x + c->n, f->data[p] + y * f->stride, row * sizeof(float));
}

/* The job's status, KLING_EOF when all went well, and its sentence; asked twice. */
static int run(const char *device, enum KlingPrecision precision, int steps, Clip *c, char error[512])
{
    KlingContext *ctx = NULL;
    KlingModel *m = NULL;
    KlingJob *job = NULL;
    KlingModelParams mp;
    KlingParams p;
    const KlingFrame *f;
    const double start = now();
    int ret;

    *c = (Clip){ NULL, 0, 0 };
    kling_model_params_default(&mp);
    mp.model = MODEL;
    mp.device = device;
    if ((ret = kling_context_create(&ctx, NULL)) < 0 || (ret = kling_model_open(ctx, &m, &mp)) < 0) {
        snprintf(error, 512, "%s", ctx ? kling_context_error(ctx) : "no context");
        kling_context_destroy(&ctx);
        return ret;
    }
    kling_params_default(m, &p);
    p.prompt = "a red ball falls onto a wooden table and bounces";
    p.seed = 1;
    p.precision = precision;
    if (small) {
        p.width_px = p.height_px = 32;
        p.frames = 9;
        p.steps = steps;
    }
    if (!(ret = kling_job_create(m, &job, &p)))
        while (!(ret = kling_job_next_frame(job, &f)))
            keep(c, f);
    CHECK(!job || kling_job_next_frame(job, &f) == ret, "another status when asked again");
    snprintf(error, 512, "%s", job ? kling_job_error(job) : "no job");
    c->seconds = now() - start;
    kling_job_destroy(&job);
    kling_model_destroy(&m);
    kling_context_destroy(&ctx);
    return ret;
}

static Clip generate(const char *device, enum KlingPrecision precision, int steps)
{
    char error[512];
    Clip c;
    const int ret = run(device, precision, steps, &c, error);

    CHECK(ret == KLING_EOF, "%s: %s", device, error);
    return c;
}

/* least: of the PSNR in dB; most: of any difference. Values are 0..1. */
static void same(const char *what, const Clip *a, const Clip *b, double least, double most)
{
    double sum = 0, worst = 0, psnr;

    REQUIRE(a->n && a->n == b->n, "%s: %zu values, not %zu", what, b->n, a->n);
    for (size_t i = 0; i < a->n; i++) {
        const double e = fabs((double)a->x[i] - b->x[i]);

        worst = e > worst || isnan(e) ? e : worst;
        sum += e * e;
    }
    psnr = 10 * log10((double)a->n / fmax(sum, 1e-30));
    printf("# %s: PSNR %.1f dB to the CPU's, worst %.2e; %.2f s, the CPU %.2f s\n", what, psnr, worst, b->seconds,
           a->seconds);
    CHECK(psnr >= least && worst <= most, "%s: PSNR %.1f dB (at least %g), worst %g (at most %g)", what, psnr, least,
          worst, most);
}

/* The emulated device that clips are made on. */
static EmuControl *emulator(void)
{
    char path[4200];
    void *plugin, *symbol;
    EmuControlFn *control;

    snprintf(path, sizeof(path), "%s/libkling_cuda.so", getenv("KLING_TEST_CLIP"));
    plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    symbol = plugin ? dlsym(plugin, EMU_CONTROL_SYMBOL) : NULL;
    if (!symbol) {
        printf("not ok clip_cuda_emulated: no control of the device\n");
        exit(1);
    }
    memcpy(&control, &symbol, sizeof(control));
    return control();
}

/* A small clip is nothing that the model knows: what is rounded grows from step to step as it does not in a whole one.
 * So steps in f32 are enough for the last ones to be graphs, those in bf16 few. */
static void test_clip(void)
{
    const int steps[] = { 6, 2 };

    for (int half = 0; half < 2; half++) {
        const enum KlingPrecision precision = half ? KLING_PRECISION_AUTO : KLING_PRECISION_F32;
        Clip cpu = generate("cpu", KLING_PRECISION_F32, steps[half]), gpu;

        if (!small && !half) {          /* what opening the device for the first time takes */
            gpu = generate("cuda", precision, 0);
            printf("# the process's first clip on the device, f32: %.2f s\n", gpu.seconds);
            free(gpu.x);
        }
        gpu = generate("cuda", precision, steps[half]);
        same(half ? "bf16" : "f32", &cpu, &gpu, half ? 40 : 60, half ? 1 : 1e-3);
        CHECK(!small || half || emulator()->graph_launches > 0, "no graph");
        free(gpu.x);
        free(cpu.x);
    }
}

/* The device is lost while a clip is being denoised, or decoded: the job ends with one sentence that says so, all is
 * freed, and a device that is there again makes the next clip. */
static void test_lost_device(void)
{
    static const char *const kernels[] = { "(rope_kernel<true>)", "to_pixels_kernel<T>" };
    EmuControl *emu = emulator();

    for (int i = 0; i < 2; i++) {
        const long handles = emu->handles;
        char error[512];
        Clip c;
        int ret;

        emu->fail_later = kernels[i];
        emu->fail_with = 700;
        ret = run("cuda", KLING_PRECISION_F32, 2, &c, error);
        CHECK(ret == KLING_ERROR_DEVICE && !emu->fail_later && !c.n, "%s: %d, %zu values", kernels[i], ret, c.n);
        CHECK(strstr(error, " on cuda:0: an illegal memory access") && !strchr(error, '\n'), "\"%s\"", error);
        free(c.x);
        emu->broken = 0;
        CHECK(emu->handles == handles, "%ld handles are left", emu->handles - handles);
    }
    free(generate("cuda", KLING_PRECISION_F32, 1).x);
}

static void test_skip(const char *why)
{
    SKIP("%s", why);
}

/* Goes on as `folder`/test_clip. */
static int with_plugin_beside(const char *plugin, char **argv)
{
    char link[700], exe[4096];
    const ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

    if (n < 0 || !scratch_open("clip"))
        return 1;
    exe[n] = 0;
    snprintf(link, sizeof(link), "%s/libkling_cuda.so", dir);
    if (symlink(plugin, link) < 0)
        return 1;
    snprintf(link, sizeof(link), "%s/test_clip", dir);
    if (symlink(exe, link) < 0)
        return 1;
    setenv("KLING_TEST_CLIP", dir, 1);
    argv[0] = link;
    execv(link, argv);
    return 1;
}

int main(int argc, char **argv)
{
    const char *plugin = getenv("KLING_TEST_CUDA"), *again = getenv("KLING_TEST_CLIP"), *b = getenv("BUILD");
    char built[1024], why[400], real[4096];
    KlCudaParams p = { .plugin = plugin };
    KlKernels k;

    (void)argc;
    snprintf(built, sizeof(built), "%s/lib/libkling_cuda.so", b ? b : "build");
    if (!plugin)
        p.plugin = built;
    if (kl_kernels_init_cuda(&k, &p, why, sizeof(why)) < 0) {
        NAMED("clip_cuda", test_skip(why));
        return check_exit();
    }
    small = strstr(k.name, "emulated") != NULL;
    k.close(&k);
    if (!again) {
        with_plugin_beside(realpath(p.plugin, real) ? real : p.plugin, argv);
        printf("not ok clip_cuda: no folder to go on in\n");
        return 1;
    }
    NAMED(small ? "clip_cuda_emulated" : "clip_cuda", test_clip());
    if (small)
        NAMED("lost_device_cuda_emulated", test_lost_device());
    snprintf(dir, sizeof(dir), "%s", again);
    scratch_close();
    return check_exit();
}
