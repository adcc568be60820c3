/*
 * The text encoder that ships knows the order of words: whose colour is whose, and which way is meant.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Order is in its relative position biases alone. Untrained, they make it a bag of words: two prompts of the same words
 * then have the same rows, up to 0.01 of their length.
 */
#include "engine/internal.h"
#include "engine/model.h"
#include "tests/check.h"

#include <math.h>

#define MODEL "samples/model"
#define MOST 64                         /* ids of a prompt */
#define APART 0.2                       /* mean distance of a token's rows, relative to their length */

static KlDiag diag;
static KlKernels kernels;
static KlExec *ex;
static KlModelFiles files;
static KlTextEncoder *encoder;
static int dim;

/* Ids of a prompt, and its rows in *rows, malloc'd; the number of ids, or 0. */
static int encode(const char *prompt, int32_t *ids, float **rows)
{
    float *out = NULL;
    int n = 0;

    *rows = malloc((size_t)MOST * (size_t)dim * sizeof(**rows));
    if (*rows && !kl_tokenizer_encode(files.tokenizer, &diag, prompt, ids, MOST, &n))
        out = kernels.mem_alloc(ex, (size_t)n * (size_t)dim * sizeof(*out));
    if (!out || kl_text_encoder_run(encoder, ex, &diag, ids, n, out) < 0)
        n = 0;
    else
        kernels.mem_download(ex, *rows, out, (size_t)n * (size_t)dim * sizeof(*out));
    kernels.mem_free(ex, out);
    return n;
}

static double distance(const float *a, const float *b)
{
    double apart = 0, length = 0;

    for (int i = 0; i < dim; i++) {
        apart += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        length += (double)a[i] * a[i];
    }
    return sqrt(apart / length);
}

/* The mean distance of the rows of tokens that both prompts have, the k-th of its kind to the k-th. */
static double apart(const char *one, const char *other, int *common)
{
    float *a, *b;
    int32_t ids[2][MOST];
    bool taken[MOST] = { false };
    const int n = encode(one, ids[0], &a), m = encode(other, ids[1], &b);
    double sum = 0;

    *common = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < m; j++)
            if (!taken[j] && ids[0][i] == ids[1][j]) {
                sum += distance(a + (size_t)i * (size_t)dim, b + (size_t)j * (size_t)dim);
                taken[j] = true;
                ++*common;
                break;
            }
    free(a);
    free(b);
    return *common ? sum / *common : 0;
}

static void test_shipped_text_order(void)
{
    static const struct {
        const char *one, *other;
        int common;                     /* tokens at least, </s> among them */
    } rows[] = {
        { "a red ball is left of a blue cube", "a blue cube is left of a red ball", 14 },
        { "a red ball above a blue cube", "a blue ball above a red cube", 11 },
        { "a star travels from left to right in the sky", "a star travels from right to left in the sky", 17 },
        { "一个红球在一个蓝方块的左边", "一个蓝方块在一个红球的左边", 9 },
        { "一个红球在一个蓝方块的左边", "一个蓝球在一个红方块的左边", 9 },
    };

    for (size_t i = 0; i < KL_ARRAY_LEN(rows); i++) {
        int common;
        double d = apart(rows[i].one, rows[i].other, &common);

        CHECK(common >= rows[i].common && d >= APART, "'%s', '%s': %.3f over %d tokens %s", rows[i].one, rows[i].other,
              d, common, diag.error);
        CHECK(apart(rows[i].one, rows[i].one, &common) == 0, "the same prompt twice");
    }
}

int main(void)
{
    const KlExecParams p = { .threads = 2, .precision = KL_PREC_F32 };
    const KlingModelParams params = { .model = MODEL };
    KlModelDesc desc;

    kl_kernels_init_cpu(&kernels, KL_CPU_ALL);
    if (kl_model_files_open(&diag, &files, &desc, &params) < 0 || kernels.exec_create(&kernels, &ex, &p) < 0 ||
        kl_text_encoder_create(&diag, &encoder, &kernels, files.text, &desc.text) < 0) {
        printf("not ok shipped_text: %s\n", diag.error);
        return 1;
    }
    dim = desc.text.dim;
    RUN(test_shipped_text_order);
    kl_text_encoder_destroy(&encoder);
    kernels.exec_destroy(&ex);
    kl_model_files_close(&files);
    return check_exit();
}
