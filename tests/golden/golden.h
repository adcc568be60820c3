/*
 * What golden tests of components share: tables, a sparse comparison, its line of worst errors.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_TESTS_GOLDEN_H
#define KL_TESTS_GOLDEN_H

#include "engine/weights.h"
#include "kernels/cuda.h"
#include "tests/check.h"
#include "tools/synth.h"

#include <math.h>

typedef struct GoldenTable {
    const char *name;
    KlKernels k;
    KlExec *ex;
} GoldenTable;

#define GOLDEN_TABLES 3

/** Fills k with table number i: the plain one, the tuned one, CUDA's. False, with why, when this machine or this run
 *  does without it: KLING_TEST_CUDA names a plugin for the last (the emulated one) and leaves the others out, and
 *  KLING_TEST_NO_WGMMA keeps products of warpgroups out of it. */
static inline bool golden_table(int i, KlKernels *k, const char **name, char *why, size_t size)
{
    const char *plugin = getenv("KLING_TEST_CUDA"), *build = getenv("BUILD");
    char built[1024];
    KlCudaParams p = { .plugin = plugin, .no_wgmma = getenv("KLING_TEST_NO_WGMMA") != NULL };

    *why = 0;
    if (plugin && i < 2)
        return false;
    if (i == 2) {
        snprintf(built, sizeof(built), "%s/lib/libkling_cuda.so", build ? build : "");
        if (!plugin && build)
            p.plugin = built;
        if (kl_kernels_init_cuda(k, &p, why, size) < 0)
            return false;
        *name = strstr(k->name, "emulated") ? "cuda_emulated" : "cuda";
        return true;
    }
    *name = i ? "cpu" : "ref";
    if (i)
        kl_kernels_init_cpu(k, KL_CPU_ALL);
    else
        kl_kernels_init_ref(k);
    return true;
}

static inline void golden_skip(const char *why)
{
    SKIP("%s", why);
}

/** Opens the tables that there are, two threads each, and says which there is not; their number, or negative. */
static inline int golden_tables(GoldenTable t[GOLDEN_TABLES])
{
    KlExecParams p = { .threads = 2, .precision = KL_PREC_F32 };
    char why[256];
    int n = 0;

    for (int i = 0; i < GOLDEN_TABLES; i++) {
        if (!golden_table(i, &t[n].k, &t[n].name, why, sizeof(why))) {
            if (*why)
                NAMED("golden_cuda", golden_skip(why));
            continue;
        }
        if (t[n].k.exec_create(&t[n].k, &t[n].ex, &p) < 0)
            return -1;
        n++;
    }
    return n;
}

static inline void golden_tables_close(GoldenTable *t, int n)
{
    for (int i = 0; i < n; i++) {
        t[i].k.exec_destroy(&t[i].ex);
        t[i].k.close(&t[i].k);
    }
}

/** inputs(seed, name, shape) of synth.py in executor memory; NULL when out of memory. */
static inline float *golden_inputs(const GoldenTable *t, uint64_t seed, const char *name, int64_t n)
{
    uint64_t key = synth_key(seed, name);
    float *host = malloc((size_t)n * sizeof(*host)), *p = t->k.mem_alloc(t->ex, (size_t)n * sizeof(*p));

    for (int64_t i = 0; host && i < n; i++)
        host[i] = synth_value(key, (uint64_t)i, 0, 1);
    if (host && p)
        t->k.mem_upload(t->ex, p, host, (size_t)n * sizeof(*p));
    free(host);
    return p;
}

/** Compares every stride-th of got[n] (host) with the golden, which holds just those, and prints the worst error.
 *  The tolerance is relative to the golden's largest magnitude. */
static inline void golden_compare(const KlWeights *golden, const char *component, const char *config,
                                  const char *table, const float *got, int64_t n, double tolerance)
{
    char name[128];
    const KlTensor *g;
    const float *want;
    double worst = 0, scale = 0;
    int64_t stride = 1, at = 0;

    snprintf(name, sizeof(name), "%s.%s", config, component);
    g = kl_weights_find(golden, name);
    if (!g) {
        snprintf(name, sizeof(name), "%s.%s", component, config);
        g = kl_weights_find(golden, name);
    }
    REQUIRE(g, "no golden %s", name);
    want = g->data;
    while (KL_CEIL_DIV(n, stride) > g->shape[0])
        stride++;
    REQUIRE(KL_CEIL_DIV(n, stride) == g->shape[0], "%s: %lld values, golden has %lld", name, (long long)n,
            (long long)g->shape[0]);
    for (int64_t i = 0; i < g->shape[0]; i++) {
        double e = fabs((double)got[i * stride] - want[i]);

        scale = fmax(scale, fabs((double)want[i]));
        if (!(e <= worst)) {            /* a NaN stays the worst */
            worst = e;
            at = i * stride;
        }
    }
    printf("# worst %s %s %s abs=%.3g rel=%.3g\n", component, config, table, worst, worst / scale);
    CHECK(worst <= tolerance * scale, "%s on %s: off by %g at %lld, allowed %g", name, table, worst, (long long)at,
          tolerance * scale);
}

#endif /* KL_TESTS_GOLDEN_H */
