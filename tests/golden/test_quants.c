/*
 * Stored forms of weights against the gguf package and torch (gen_quants.py): the same bits, but for which NaN a NaN
 * is. And the other way, what kling-quantize makes.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "golden.h"

#include "tools/quantize.h"

static KlDiag diag;
static KlWeights *golden;
static GoldenTable tables[GOLDEN_TABLES];
static int n_tables;

static void compare(const char *what, const float *got, const float *want, int64_t n)
{
    int64_t bad = 0;

    while (bad < n && (!memcmp(got + bad, want + bad, sizeof(*got)) || (isnan(got[bad]) && isnan(want[bad]))))
        bad++;
    CHECK(bad == n, "%s: element %lld of %lld is %a, not %a", what, (long long)bad, (long long)n, got[bad], want[bad]);
}

static void test_format(KlDType dtype)
{
    const KlDTypeInfo *info = kl_dtype_info(dtype);
    char name[64];
    const KlTensor *b, *v;
    float *out;
    KlWeight w = { .dtype = dtype };
    int64_t n;

    snprintf(name, sizeof(name), "%s.blocks", info->name);
    b = kl_weights_find(golden, name);
    snprintf(name, sizeof(name), "%s.values", info->name);
    v = kl_weights_find(golden, name);
    REQUIRE(b && v && b->dtype == KL_FT_U8 && v->dtype == KL_FT_F32, "no golden %s", info->name);
    n = v->shape[0];
    REQUIRE(kl_dtype_bytes(dtype, n) == b->bytes && n % info->block == 0, "%s: %lld values in %zu bytes", info->name,
            (long long)n, b->bytes);
    w.data = b->data;
    for (int t = 0; t < n_tables; t++) {
        const KlKernels *k = &tables[t].k;
        KlWeight bound = w;
        float *host = malloc((size_t)n * sizeof(*host));

        out = k->mem_alloc(tables[t].ex, (size_t)n * sizeof(*out));
        REQUIRE(out && host && k->weight_bind(k, &bound, 1, n) >= 0, "memory");
        k->convert(tables[t].ex, out, bound, n);
        CHECK(k->mem_download(tables[t].ex, host, out, (size_t)n * sizeof(*out)) >= 0, "%s",
              k->exec_error(tables[t].ex));
        compare(tables[t].name, host, v->data, n);
        k->weight_release(k, &bound);
        k->mem_free(tables[t].ex, out);
        free(host);
    }
}

/* What kling-quantize writes is what the package makes of the same values. */
static void test_made(KlDType dtype, const KlTensor *made)
{
    const KlTensor *x = kl_weights_find(golden, "made.values");
    const size_t bytes = made->bytes;
    uint8_t *out = malloc(bytes);
    size_t bad = 0;

    REQUIRE(out && x && kl_dtype_bytes(dtype, x->shape[0]) == bytes, "memory");
    quantize_row(out, x->data, x->shape[0], dtype, 1);
    while (bad < bytes && out[bad] == ((const uint8_t *)made->data)[bad])
        bad++;
    CHECK(bad == bytes, "byte %zu of %zu is %d, not %d", bad, bytes, out[bad], ((const uint8_t *)made->data)[bad]);
    free(out);
}

int main(void)
{
    if (kl_weights_open(&diag, &golden, "tests/golden/data/quants.safetensors") < 0) {
        printf("not ok quants: %s\n", diag.error);
        return 1;
    }
    if ((n_tables = golden_tables(tables)) < 0) {
        printf("not ok quants: no executor\n");
        return 1;
    }
    if (!n_tables)
        return check_exit();
    for (int dtype = KL_F8_E4M3; dtype < KL_DTYPE_NB; dtype++) {
        const KlTensor *made;
        char name[64];

        if (dtype == KL_I8)
            continue;
        snprintf(name, sizeof(name), "quants %s", kl_dtype_info(dtype)->name);
        NAMED(name, test_format(dtype));
        snprintf(name, sizeof(name), "%s.made", kl_dtype_info(dtype)->name);
        made = kl_weights_find(golden, name);
        if (made)
            NAMED(name, test_made(dtype, made));
    }
    golden_tables_close(tables, n_tables);
    kl_weights_close(&golden);
    return check_exit();
}
