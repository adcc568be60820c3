/*
 * The text encoder against transformers' UMT5EncoderModel (gen_text_encoder.py).
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tolerance. Every value of a row is of order 1 (it leaves an RMS norm). A dot product of K unit products in f32 errs
 * by about sqrt(K) 2^-24 for random signs, K <= 64: 5e-7; the reference does so 7 times per layer and rounds as often
 * again between them. Errors of scores become relative errors of softmax weights, those add like the others. For 4
 * layers: 4 * 14 * 5e-7 = 2.8e-5 of the largest value of the output, if all of them added up with one sign.
 */
#include "engine/text_encoder.h"
#include "tests/golden/golden.h"
#include "tools/synth.h"
#include "tools/synth_model.h"

#include <math.h>

#define SEED 11
#define LIMIT 2.8e-5

static KlDiag diag;
static KlWeights *golden;
static KlKernels kernels;
static KlExec *ex;

static bool config(const char *name, KlTextEncoderConfig *c)
{
    char full[32];
    const KlTensor *t;
    const float *v;

    snprintf(full, sizeof(full), "config.%s", name);
    t = kl_weights_find(golden, full);
    if (!t || t->shape[0] != 9)
        return false;
    v = t->data;
    *c = (KlTextEncoderConfig){ (int)v[0], (int)v[1], (int)v[2], (int)v[3], (int)v[4], (int)v[5], (int)v[6],
                                (int)v[7], v[8] };
    return true;
}

static void make_ids(const char *name, int n, int vocab, int32_t *ids)
{
    char key[32];

    snprintf(key, sizeof(key), "ids.%s.%d", name, n);
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)((synth_uniform(synth_key(SEED, key), (uint64_t)i) + 1) / 2 * (vocab - 3)) + 3;
    ids[n - 1] = 1;
}

static void compare(const KlTextEncoder *te, const char *name, int n, const KlTensor *t)
{
    const KlTextEncoderConfig *c = kl_text_encoder_config(te);
    const size_t count = (size_t)n * (size_t)c->dim;
    float *y = kernels.mem_alloc(ex, count * sizeof(*y)), *host = malloc(count * sizeof(*host));
    const float *want = t->data;
    double worst = 0, largest = 0;
    int32_t ids[512];

    CHECK(y && host && n <= 512 && t->shape[0] == n && t->shape[1] == c->dim, "golden");
    if (check_state != 1) {
        make_ids(name, n, c->vocab, ids);
        CHECK(!kl_text_encoder_run(te, ex, &diag, ids, n, y), "%s", diag.error);
        kernels.mem_download(ex, host, y, count * sizeof(*host));
        for (size_t i = 0; i < count; i++) {
            double e = fabs((double)host[i] - want[i]);

            worst = e <= worst ? worst : e;             /* a NaN stays */
            largest = fmax(largest, fabs((double)want[i]));
        }
        CHECK(worst <= LIMIT * largest, "worst error %g of %g", worst, largest);
        printf("# worst text_encoder %s.%s abs=%.3g rel=%.3g\n", kernels.name, t->name, worst, worst / largest);
    }
    free(host);
    kernels.mem_free(ex, y);
}

static void test_one(const KlTensor *t)
{
    KlTextEncoderConfig c;
    char name[8], dtype[8];
    KlWeights *w = NULL;
    KlTextEncoder *te = NULL;
    void *mem = NULL;
    int n;

    REQUIRE(sscanf(t->name, "out.%7[a-z].%7[a-z0-9].%d", name, dtype, &n) == 3 && config(name, &c), "golden");
    REQUIRE(!synth_weights(SYNTH_TEXT_ENCODER, &c, SEED, strcmp(dtype, "bf16") ? KL_F32 : KL_BF16, 0, &w, &mem),
            "weights");
    CHECK(!kl_text_encoder_create(&diag, &te, &kernels, w, &c), "%s", diag.error);
    if (te)
        compare(te, name, n, t);
    kl_text_encoder_destroy(&te);
    kl_weights_close(&w);
    free(mem);
}

/* What the wall refuses, each with a sentence. */
static void test_refusals(void)
{
    KlTextEncoderConfig c, bad;
    KlWeights *w = NULL;
    KlTextEncoder *te = NULL;
    atomic_int cancel = 1;
    KlDiag d = { .cancel = &cancel };
    int32_t ids[2] = { 5, 1 };
    float *y;
    void *mem = NULL;

    REQUIRE(config("a", &c) && !synth_weights(SYNTH_TEXT_ENCODER, &c, SEED, KL_F32, 0, &w, &mem), "weights");
    bad = c;
    bad.ffn++;
    CHECK(kl_text_encoder_create(&diag, &te, &kernels, w, &bad) == KLING_ERROR_INVALID_DATA && !te &&
          strstr(diag.error, "wi_0"), "%s", diag.error);
    bad = c;
    bad.heads = 0;
    CHECK(kl_text_encoder_create(&diag, &te, &kernels, w, &bad) == KLING_ERROR_INVALID_DATA && !te, "no heads");
    bad = c;
    bad.layers++;
    CHECK(kl_text_encoder_create(&diag, &te, &kernels, w, &bad) < 0 && !te && strstr(diag.error, "block.2"), "%s",
          diag.error);
    y = kernels.mem_alloc(ex, 2 * (size_t)c.dim * sizeof(*y));
    CHECK(!kl_text_encoder_create(&diag, &te, &kernels, w, &c), "%s", diag.error);
    if (te && y) {
        CHECK(kl_text_encoder_run(te, ex, &diag, ids, 0, y) == KLING_ERROR_INVALID_ARG, "no tokens");
        CHECK(kl_text_encoder_run(te, ex, &d, ids, 2, y) == KLING_ERROR_CANCELLED, "goes on");
        ids[0] = c.vocab;
        CHECK(kl_text_encoder_run(te, ex, &diag, ids, 2, y) == KLING_ERROR_INVALID_DATA &&
              strstr(diag.error, "97"), "%s", diag.error);
    }
    kernels.mem_free(ex, y);
    kl_text_encoder_destroy(&te);
    kl_weights_close(&w);
    free(mem);
}

static void run_all(const char *table)
{
    KlExecParams p = { .threads = 2, .precision = KL_PREC_F32 };
    const KlTensor *t;
    char name[128];
    int n;

    if (kernels.exec_create(&kernels, &ex, &p) < 0) {
        NAMED("text_encoder exec_create", CHECK(0, "%s", table));
        return;
    }
    t = kl_weights_all(golden, &n);
    for (int i = 0; i < n; i++)
        if (!strncmp(t[i].name, "out.", 4)) {
            snprintf(name, sizeof(name), "text_encoder %s %s", table, t[i].name + 4);
            NAMED(name, test_one(&t[i]));
        }
    snprintf(name, sizeof(name), "text_encoder %s refusals", table);
    NAMED(name, test_refusals());
    kernels.exec_destroy(&ex);
}

int main(void)
{
    const char *table;
    char why[256];

    if (kl_weights_open(&diag, &golden, "tests/golden/data/text_encoder.safetensors") < 0) {
        printf("not ok text_encoder: %s\n", diag.error);
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
