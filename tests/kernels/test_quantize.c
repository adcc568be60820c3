/*
 * quantize_rows: every dtype as the source, odd shapes, rows that are hard to scale.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The contract is exact: every operation in f32, rounded by itself.
 */
#include "kt.h"

typedef struct Data {
    int64_t N, K;
    KlWeight w;
} Data;

/* out[N,K] the integers, then out[N] the scales */
static void run(Kt *t, const void *arg, float *out)
{
    const Data *d = arg;
    size_t n = (size_t)(d->N * d->K), words = (n + 3) / 4;
    float *q = kt_buf(t, words, 0), *scale = kt_buf(t, (size_t)d->N, 1), guard = kt_guard();
    int8_t *host = malloc(words * 4), rest[4];
    KlWeight w = d->w;

    if (t->k.weight_bind(&t->k, &w, d->N, d->K) < 0)
        snprintf(t->why, sizeof(t->why), "the weight was not bound");
    t->k.quantize_rows(t->ex, (int8_t *)q, scale, w, d->N, d->K);
    kt_sync(t);
    t->k.weight_release(&t->k, &w);
    t->k.mem_download(t->ex, host, q, words * 4);
    for (size_t i = 0; i < n; i++)
        out[i] = host[i];
    memcpy(rest, &guard, 4);
    if (memcmp(host + n, rest + n % 4, words * 4 - n))
        snprintf(t->why, sizeof(t->why), "bytes past the last were written");
    kt_output_2d(t, out + n, scale, 1, (size_t)d->N, (size_t)d->N);
    free(host);
}

static void one(const KtTable *table, Data *d, const float *values)
{
    size_t n = (size_t)(d->N * d->K), all = n + (size_t)d->N;
    double *want = malloc(all * sizeof(*want)), *tol = calloc(all, sizeof(*tol));
    char label[64];

    for (int64_t r = 0; r < d->N; r++) {
        const float *row = values + r * d->K;
        float max = 0;
        int finite = 1;

        for (int64_t k = 0; k < d->K; k++) {
            finite &= isfinite(row[k]);
            max = fmaxf(max, fabsf(row[k]));
        }
        want[n + (size_t)r] = !finite ? NAN : max < 0x1p-100f ? 0 : max / 127;
        for (int64_t k = 0; k < d->K; k++)
            want[r * d->K + k] = finite && max >= 0x1p-100f ? rintf(row[k] * (127 / max)) : 0;
    }
    snprintf(label, sizeof(label), "%s N %d K %d", kl_dtype_info(d->w.dtype)->name, (int)d->N, (int)d->K);
    kt_case(table, label, run, d, all, want, tol);
    free(want), free(tol);
}

static void test_quantize(const KtTable *table)
{
    static const int shapes[][2] = { { 1, 1 }, { 3, 7 }, { 13, 37 }, { 5, 256 }, { 2, 8193 }, { 70, 96 } };

    for (size_t i = 0; i < KT_LEN(shapes); i++)
        for (int dtype = KL_F32; dtype < KL_DTYPE_NB; dtype++) {
            int block = kl_dtype_block((KlDType)dtype);
            Data d = { .N = shapes[i][0], .K = (shapes[i][1] + block - 1) / block * block };
            void *mem;
            float *values, scale = 0.3f;
            size_t n = (size_t)(d.N * d.K);

            d.w = kt_weight(n, 3, i % 2 ? KT_SPIKES : KT_EVEN, (KlDType)dtype, &mem, &values);
            if (dtype == KL_F8_E4M3 || dtype == KL_I8) {
                d.w.scale = &scale;
                for (size_t j = 0; j < n; j++)
                    values[j] *= scale;
            }
            one(table, &d, values);
            free(mem), free(values);
        }
}

/* Zeros, below and at the least scale, the largest values, a tie, infinities, NaN among larger and smaller. */
static void test_quantize_hard(const KtTable *table)
{
    enum { K = 19, N = 12 };
    float w[N * K];
    Data d = { N, K, { .data = w, .dtype = KL_F32 } };

    for (int i = 0; i < N * K; i++)
        w[i] = (float)(i * 37 % 101 - 50) / 64;
    for (int k = 0; k < K; k++) {
        w[k] = k % 2 ? -0.0f : 0;
        w[K + k] *= 0x1p-101f;
        w[2 * K + k] = k ? w[2 * K + k] * 0x1p-101f : -0x1p-100f;
        w[3 * K + k] *= 0x1.fp127f;
        w[4 * K + k] = k == 7 ? 127 : (float)k - 8.5f;
        w[5 * K + k] = k == 3 ? 0x1p-149f : 0;
        w[6 * K + k] = k == 11 ? 0x1.fffffep127f : w[6 * K + k];
    }
    w[7 * K] = INFINITY;
    w[8 * K + K - 1] = -INFINITY;
    w[9 * K] = NAN;
    w[10 * K + 5] = NAN;
    w[11 * K + K - 1] = -NAN;
    one(table, &d, w);
}

int main(void)
{
    kt_each("quantize", test_quantize);
    kt_each("quantize_hard", test_quantize_hard);
    return check_exit();
}
