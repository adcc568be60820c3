/*
 * What golden tests of components share: tables, a sparse comparison, its line of worst errors.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_TESTS_GOLDEN_H
#define KL_TESTS_GOLDEN_H

#include "engine/weights.h"
#include "tests/check.h"
#include "tools/synth.h"

#include <math.h>

typedef struct GoldenTable {
    const char *name;
    KlKernels k;
    KlExec *ex;
} GoldenTable;

#define GOLDEN_TABLES 2

/** The plain and the tuned table, two threads each. */
static inline int golden_tables(GoldenTable t[GOLDEN_TABLES])
{
    KlExecParams p = { .threads = 2 };

    t[0].name = "ref";
    t[1].name = "cpu";
    kl_kernels_init_ref(&t[0].k);
    kl_kernels_init_cpu(&t[1].k, KL_CPU_ALL);
    for (int i = 0; i < GOLDEN_TABLES; i++)
        if (t[i].k.exec_create(&t[i].k, &t[i].ex, &p) < 0)
            return -1;
    return 0;
}

static inline void golden_tables_close(GoldenTable t[GOLDEN_TABLES])
{
    for (int i = 0; i < GOLDEN_TABLES; i++)
        t[i].k.exec_destroy(&t[i].ex);
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
