/*
 * What golden tests of whole clips share: the loop over cases and tables, a job's run, the comparison of its frames.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tolerance: |delta| <= 1e-3 per channel value in [0,1], the product's promise, on both tables. References are stored
 * in 16 bits (7.6e-6 off at most): a whole clip [frames,height,width,3], or a row of every so many of its values.
 */
#ifndef KL_TESTS_CLIP_H
#define KL_TESTS_CLIP_H

#include <math.h>

#include "engine/weights.h"
#include "tests/check.h"
#include "tests/tiny_model.h"
#include "tools/synth.h"

#define CLIP_TOLERANCE 1e-3
#define CLIP_SEED 1                     /* of pictures that are given */

/* A test may leave the reference table out for what would take it minutes. */
#ifndef CLIP_LAST_FLAGS
#define CLIP_LAST_FLAGS(head) KLING_FLAG_BITEXACT
#endif

static char clip_last_log[512];

static inline void clip_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level == KLING_LOG_ERROR)
        snprintf(clip_last_log, sizeof(clip_last_log), "%s", line);
}

/** The first members of every test's cases. */
typedef struct ClipCase {
    const char *name, *model;           /* of the golden; a preset of tests/models, or a folder below samples/ */
} ClipCase;

/** One value in [0,1] of a given picture; i counts (picture, pixel, channel), the channel fastest. */
typedef float (*ClipValueFn)(uint64_t key, uint64_t i);

static inline float clip_value(uint64_t key, uint64_t i)
{
    return (float)(0.5 + 0.5 * (double)synth_value(key, i, 0, 1));
}

/** f[n] of w x h, planar, in one allocation: free((float *)f[0].data[0]). n may be 0. */
static inline void clip_pictures(const char *name, int n, int w, int h, ClipValueFn value, KlingFrame *f)
{
    const uint64_t key = synth_key(CLIP_SEED, name);
    const size_t plane = (size_t)w * (size_t)h;
    float *x = n ? malloc(sizeof(*x) * 3 * plane * (size_t)n) : NULL;

    f[0] = (KlingFrame){ 0 };
    for (int i = 0; x && i < n; i++) {
        f[i] = (KlingFrame){ .stride = w, .width_px = w, .height_px = h };
        for (size_t c = 0; c < 3; c++) {
            float *p = x + (3 * (size_t)i + c) * plane;

            f[i].data[c] = p;
            for (size_t k = 0; k < plane; k++)
                p[k] = value(key, ((size_t)i * plane + k) * 3 + c);
        }
    }
}

/* Values of *f that the golden has, *at being the index of its first value in the clip. */
static inline void clip_compare(const KlingFrame *f, int64_t *at, const KlTensor *want, int64_t stride, double *worst,
                                double *sum)
{
    for (int y = 0; y < f->height_px; y++)
        for (int x = 0; x < f->width_px; x++)
            for (int c = 0; c < 3; c++, (*at)++) {
                double e;

                if (*at % stride || (*at / stride + 1) * 2 > (int64_t)want->bytes)
                    continue;
                e = fabs((double)f->data[c][y * f->stride + x] -
                         ((const uint16_t *)want->data)[*at / stride] / 65535.0);
                *sum += e;
                *worst = e > *worst || isnan(e) ? e : *worst;
            }
}

/** Runs p on model and holds its frames, `frames` in all, against the golden, which has every stride-th value where it
 *  is a row. Pictures of p are freed as clip_pictures() says as soon as the job has its copies. */
static inline void clip_check(const char *suite, const char *name, const KlWeights *goldens, int64_t stride,
                              KlingModel *model, const KlingParams *p, int frames)
{
    const KlTensor *want = kl_weights_find(goldens, name);
    const int64_t values = 3 * (int64_t)p->width_px * p->height_px * frames;
    const KlingFrame *f;
    KlingJob *job = NULL;
    double worst = 0, sum = 0;
    int64_t at = 0;
    int ret = kling_job_create(model, &job, p);

    free(p->lead ? (float *)p->lead[0].data[0] : NULL);
    free(p->trail ? (float *)p->trail[0].data[0] : NULL);
    if (!want || want->dtype != KL_FT_I16 || (want->ndim != 4 && want->ndim != 1)) {
        kling_job_destroy(&job);
        CHECK(0, "no golden");
        return;
    }
    if (want->ndim == 4)
        stride = 1;
    while (ret == KLING_OK && (ret = kling_job_next_frame(job, &f)) == KLING_OK)
        clip_compare(f, &at, want, stride, &worst, &sum);
    kling_job_destroy(&job);
    CHECK(ret == KLING_EOF && at == values, "status %d after %lld of %lld values: %s", ret, (long long)at,
          (long long)values, clip_last_log);
    CHECK((int64_t)want->bytes == 2 * KL_CEIL_DIV(values, stride), "a golden of %zu bytes", want->bytes);
    CHECK(worst <= CLIP_TOLERANCE, "worst %g", worst);
    printf("# worst %s %s %s abs=%.2e mean=%.2e\n", suite, name, p->flags & KLING_FLAG_BITEXACT ? "ref" : "cpu", worst,
           2 * sum / (double)want->bytes);
}

/** Runs case c (which begins with a ClipCase) with these flags added to its own. */
typedef void (*ClipRunFn)(const void *c, const KlWeights *goldens, KlingModel *model, unsigned flags);

static inline void clip_case(const char *suite, const void *c, ClipRunFn run, const KlWeights *goldens)
{
    const ClipCase *head = c;
    KlingContextParams cp = { .log = clip_log };
    KlingContext *ctx = NULL;
    KlingModel *model = NULL;
    KlingModelParams mp;
    char name[128];

    kling_model_params_default(&mp);
    mp.model = strncmp(head->model, "samples/", 8) ? synthetic_model_path(head->model) : head->model;
    if (!mp.model || kling_context_create(&ctx, &cp) < 0 || kling_model_open(ctx, &model, &mp) < 0) {
        printf("not ok test_%s_%s: the model does not open: %s\n", suite, head->name, clip_last_log);
        check_failed++;
    } else {
        for (unsigned flags = 0; flags <= CLIP_LAST_FLAGS(head); flags++) {
            snprintf(name, sizeof(name), "test_%s_%s_%s", suite, head->name, flags ? "ref" : "cpu");
            NAMED(name, run(c, goldens, model, flags));
        }
    }
    kling_model_destroy(&model);
    kling_context_destroy(&ctx);
}

/** A test program's whole main(): cases[n] of `size` bytes each, goldens in tests/golden/data/<suite>.safetensors. */
static inline int clip_main(const char *suite, const void *cases, size_t size, size_t n, ClipRunFn run)
{
    KlWeights *goldens = NULL;
    KlDiag d = { 0 };
    char path[128];

    snprintf(path, sizeof(path), "tests/golden/data/%s.safetensors", suite);
    if (kl_weights_open(&d, &goldens, path) < 0) {
        printf("not ok test_%s: %s\n", suite, d.error);
        return 1;
    }
    for (size_t i = 0; i < n; i++)
        clip_case(suite, (const char *)cases + i * size, run, goldens);
    kl_weights_close(&goldens);
    return check_exit();
}

#endif /* KL_TESTS_CLIP_H */
