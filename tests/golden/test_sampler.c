/*
 * Sampler grids and trajectories against diffusers' schedulers (gen_sampler.py).
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tolerances:
 *   sigmas      1 ulp of f32 (numpy's linspace may round its middle otherwise on another machine)
 *   timesteps   the same for Euler; exact for UniPC, which cuts to integers
 *   Euler       the reference rounds dt v and the sum, here the sum is rounded once: 1/2 + 1/2 + 1/2 ulp of the largest
 *               |z| and |dt v| per step, |z| < 4: steps * 1.5 * 2^-22
 *   UniPC       the reference rounds about 8 times per step at values below 4 (2^-22 each, halved for rounding to
 *               nearest), and its scalars carry the rounding of lambda, |lambda| < 14: an absolute error of 2^-21 in h,
 *               which moves x_t by alpha_t e^-h |m| 2^-21 < 4 * 2^-21; log and expm1 of two libms differ by as much.
 *               Together, per step: 8 * 2^-23 + 2 * 4 * 2^-21 < 5e-6; the steps contract, so the errors do not add up:
 *               twice that for all of them.
 */
#include "engine/sampler.h"
#include "engine/weights.h"
#include "tests/golden/golden.h"
#include "tools/synth.h"

#include <math.h>

#define N 7

static KlDiag diag;
static KlWeights *golden;
static KlKernels kernels;
static KlExec *ex;

typedef struct Run {
    const KlTensor *z;                  /* [steps,N] */
    const float *timesteps;
    float *start;                       /* what kl_sampler_run works on */
    double worst, largest;
    int steps_seen, velocities, stop_at;
} Run;

static int velocity(void *opaque, int step, float t, const float *z, float *v)
{
    Run *r = opaque;
    float host[N];

    if (step == r->stop_at)
        return KLING_ERROR_CANCELLED;
    CHECK(step == r->velocities++, "step %d", step);
    CHECK(fabsf(t - r->timesteps[step]) <= 6e-8f * t, "timestep %g at step %d, wanted %g", t, step, r->timesteps[step]);
    kernels.mem_download(ex, host, z, sizeof(host));
    for (int i = 0; i < N; i++)
        host[i] = 0.3f * host[i] + sinf(t / 1000);
    kernels.mem_upload(ex, v, host, sizeof(host));
    return 0;
}

static void stepped(void *opaque, int step_done, int steps)
{
    Run *r = opaque;
    const float *want = r->z->data;
    float host[N];

    CHECK(step_done == ++r->steps_seen && steps == r->z->shape[0], "%d of %d", step_done, steps);
    kernels.mem_download(ex, host, r->start, sizeof(host));
    for (int i = 0; i < N; i++) {
        double e = fabs((double)host[i] - want[(step_done - 1) * N + i]);

        r->largest = fmax(r->largest, fabs((double)want[(step_done - 1) * N + i]));
        r->worst = e <= r->worst ? r->worst : e;        /* a NaN stays */
    }
}

static bool parse(const char *name, KlSamplerConfig *cfg)
{
    char kind[16];

    *cfg = (KlSamplerConfig){ .train_steps = 1000, .solver_order = 2, .lower_order_final = true };
    if (sscanf(name, "%15[a-z1].%d.%lf", kind, &cfg->steps, &cfg->shift) != 3)
        return false;
    cfg->kind = strcmp(kind, "euler") ? KLING_SAMPLER_UNIPC : KLING_SAMPLER_EULER;
    if (!strcmp(kind, "unipc1"))
        cfg->solver_order = 1;
    return true;
}

static const KlTensor *part(const char *what, const char *name)
{
    char full[64];

    snprintf(full, sizeof(full), "%s.%s", what, name);
    return kl_weights_find(golden, full);
}

static void test_grid(const char *name)
{
    const KlTensor *s = part("sigmas", name), *t = part("timesteps", name);
    double sigmas[64], timesteps[64], worst = 0;
    KlSamplerConfig cfg;

    REQUIRE(parse(name, &cfg) && s && t && s->shape[0] == cfg.steps + 1 && cfg.steps < 64, "golden");
    kl_sampler_grid(&cfg, sigmas, timesteps);
    for (int i = 0; i <= cfg.steps; i++) {
        double want = ((const float *)s->data)[i], e = fabs(sigmas[i] - want);

        CHECK(e <= want * 0x1p-23, "sigma %d is %.9g, wanted %.9g", i, sigmas[i], want);
        worst = fmax(worst, e);
    }
    for (int i = 0; i < cfg.steps; i++) {
        double want = ((const float *)t->data)[i], e = fabs(timesteps[i] - want);

        CHECK(e <= (cfg.kind == KLING_SAMPLER_EULER ? want * 0x1p-23 : 0), "timestep %d is %.9g, wanted %.9g", i,
              timesteps[i], want);
    }
    printf("# worst sampler grid.%s abs=%.3g rel=0\n", name, worst);
}

static float *start_latents(void)
{
    float *z = kernels.mem_alloc(ex, N * sizeof(*z)), host[N];
    uint64_t key = synth_key(5, "sampler.z");

    for (int i = 0; i < N; i++)
        host[i] = synth_value(key, (uint64_t)i, 0, 2);
    if (z)
        kernels.mem_upload(ex, z, host, sizeof(host));
    return z;
}

static void test_trajectory(const char *name)
{
    Run r = { .z = part("z", name), .stop_at = -1, .start = start_latents() };
    KlSamplerConfig cfg;
    double limit;

    REQUIRE(parse(name, &cfg) && r.z && r.z->shape[0] == cfg.steps && r.z->shape[1] == N && r.start, "golden");
    r.timesteps = part("timesteps", name)->data;
    CHECK(!kl_sampler_run(&diag, &kernels, ex, &cfg, r.start, N, velocity, stepped, &r), "%s", diag.error);
    CHECK(r.steps_seen == cfg.steps, "%d steps", r.steps_seen);
    limit = cfg.kind == KLING_SAMPLER_EULER ? cfg.steps * 1.5 * 0x1p-22 : 1e-5;
    CHECK(r.worst <= limit, "worst error %g, limit %g", r.worst, limit);
    printf("# worst sampler %s.%s abs=%.3g rel=%.3g\n", kernels.name, name, r.worst, r.worst / r.largest);
    kernels.mem_free(ex, r.start);
}

static void test_stop(void)
{
    Run r = { .z = part("z", "unipc.4.3"), .stop_at = 2, .start = start_latents() };
    KlSamplerConfig cfg;

    REQUIRE(r.z && r.start && parse("unipc.4.3", &cfg), "golden");
    r.timesteps = part("timesteps", "unipc.4.3")->data;
    CHECK(kl_sampler_run(&diag, &kernels, ex, &cfg, r.start, N, velocity, stepped, &r) == KLING_ERROR_CANCELLED,
          "goes on");
    CHECK(r.steps_seen == 2, "%d steps", r.steps_seen);
    cfg.solver_order = 3;
    CHECK(kl_sampler_run(&diag, &kernels, ex, &cfg, r.start, N, velocity, stepped, &r) == KLING_ERROR_UNSUPPORTED,
          "order 3");
    cfg.steps = 0;
    CHECK(kl_sampler_run(&diag, &kernels, ex, &cfg, r.start, N, velocity, stepped, &r) == KLING_ERROR_INVALID_ARG,
          "0 steps");
    kernels.mem_free(ex, r.start);
}

static void run_all(const char *table)
{
    KlExecParams p = { .threads = 1, .precision = KL_PREC_F32 };
    const KlTensor *t;
    char name[128];
    int n;

    if (kernels.exec_create(&kernels, &ex, &p) < 0) {
        NAMED("sampler exec_create", CHECK(0, "%s", table));
        return;
    }
    t = kl_weights_all(golden, &n);
    for (int i = 0; i < n; i++)
        if (!strncmp(t[i].name, "z.", 2)) {
            snprintf(name, sizeof(name), "sampler grid %s", t[i].name + 2);
            if (!strcmp(table, "ref"))
                NAMED(name, test_grid(t[i].name + 2));
            snprintf(name, sizeof(name), "sampler %s %s", table, t[i].name + 2);
            NAMED(name, test_trajectory(t[i].name + 2));
        }
    RUN(test_stop);
    kernels.exec_destroy(&ex);
}

int main(void)
{
    const char *table;
    char why[256];

    if (kl_weights_open(&diag, &golden, "tests/golden/data/sampler.safetensors") < 0) {
        printf("not ok sampler: %s\n", diag.error);
        return 1;
    }
    for (int i = 0; i < GOLDEN_TABLES; i++) {
        if (golden_table(i, &kernels, &table, why, sizeof(why))) {
            run_all(table);
            kernels.close(&kernels);
        } else if (*why) {
            NAMED("golden_cuda", golden_skip(why));
        }
    }
    kl_weights_close(&golden);
    return check_exit();
}
