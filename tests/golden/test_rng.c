/*
 * Noise against torch's CPU generator and cuRAND's Philox (gen_rng.py).
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tolerances, in units of the last place:
 *   cpu, n >= 16: 0. Only exactly rounded operations (fma, square root) on both sides.
 *   cpu, n < 16:  1. Double precision libm on both sides, rounded to f32: another libm may fall on the other side.
 *   cuda:         8. logf, sinf and cosf of two libms, below 1 each, times 2 for the square root and products.
 * What is not proven here: the device's own sine and cosine (see engine/rng.c), for want of a GPU.
 */
#include "engine/rng.h"
#include "engine/weights.h"
#include "tests/check.h"

#include <inttypes.h>
#include <math.h>

static KlDiag diag;
static KlWeights *golden;

/* Distance of two floats in representable numbers. */
static int64_t ulps(float a, float b)
{
    int32_t i, j;

    memcpy(&i, &a, 4);
    memcpy(&j, &b, 4);
    i = i < 0 ? INT32_MIN - i : i;
    j = j < 0 ? INT32_MIN - j : j;
    return isfinite(a) && isfinite(b) ? llabs((int64_t)i - j) : INT64_MAX;
}

static void test_one(const KlTensor *t)
{
    uint64_t seed;
    int64_t n, threads = 0, worst = 0;
    double worst_abs = 0, worst_rel = 0;
    const float *want = t->data;
    char kind[8];
    int64_t limit;
    float *out;

    REQUIRE(sscanf(t->name, "%7[a-z].%" SCNu64 ".%" SCNd64 ".%" SCNd64, kind, &seed, &n, &threads) >= 3, "%s", t->name);
    REQUIRE(t->dtype == KL_FT_F32 && t->ndim == 1 && t->shape[0] == n, "%s", t->name);
    out = malloc((size_t)(n + 2) * sizeof(*out));
    REQUIRE(out, "memory");
    out[0] = out[n + 1] = 12345;
    if (!strcmp(kind, "cpu"))
        kl_randn_cpu(out + 1, n, seed);
    else
        kl_randn_cuda(out + 1, n, seed, threads);
    limit = threads ? 8 : n < 16 ? 1 : 0;
    CHECK(out[0] == 12345 && out[n + 1] == 12345, "wrote outside");
    for (int64_t i = 0; i < n; i++) {
        int64_t d = ulps(out[i + 1], want[i]);

        worst = KL_MAX(worst, d);
        worst_abs = fmax(worst_abs, fabs((double)out[i + 1] - want[i]));
        worst_rel = fmax(worst_rel, fabs((double)out[i + 1] - want[i]) / fmax(fabs((double)want[i]), 1e-30));
        CHECK(d <= limit, "%" PRId64 ": %.9g, wanted %.9g", i, out[i + 1], want[i]);
    }
    printf("# worst rng %s abs=%.3g rel=%.3g ulp=%" PRId64 "\n", t->name, worst_abs, worst_rel, worst);
    free(out);
}

int main(void)
{
    const KlTensor *t;
    char name[128];
    int n;

    if (kl_weights_open(&diag, &golden, "tests/golden/data/rng.safetensors") < 0) {
        printf("not ok rng: %s\n", diag.error);
        return 1;
    }
    t = kl_weights_all(golden, &n);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "rng %s", t[i].name);
        NAMED(name, test_one(&t[i]));
    }
    kl_weights_close(&golden);
    return check_exit();
}
