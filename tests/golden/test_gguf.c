/*
 * GGUF, fp8 and int8 files against the gguf package and torch (gen_gguf.py): values, names, tokenizer, encoder.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Values are equal bit for bit, ids are equal. The encoder's output: 1e-5 of the largest, as in test_text_encoder.c.
 */
#include "golden.h"

#include "engine/gguf.h"
#include "engine/model_internal.h"

#define DATA "tests/golden/data/"

static KlWeights *golden;
static KlDiag diag;

/* Every tensor of the file in f32, as the golden of the same name (behind `prefix`) says. */
static void test_values(const char *path, const char *prefix, const char *suffix, int least)
{
    KlWeights *w;
    int n, compared = 0;
    const KlTensor *t;

    REQUIRE(!kl_weights_open(&diag, &w, path), "%s", diag.error);
    t = kl_weights_all(w, &n);
    for (int i = 0; i < n; i++) {
        char name[128];
        const int len = (int)(strlen(t[i].name) - strlen(suffix));
        const KlTensor *want;
        float *v = NULL;
        KlWeight m;

        snprintf(name, sizeof(name), "%s%.*s", prefix, len, t[i].name);
        if (!(want = kl_weights_find(golden, name)))
            continue;
        CHECK(t[i].ndim == 2 && t[i].shape[0] == want->shape[0] && t[i].shape[1] == want->shape[1], "%s: shape", name);
        if (t[i].dtype != KL_FT_I8 || t[i].scale)
            CHECK(!kl_weights_get_matrix(&diag, w, t[i].name, t[i].shape[0], t[i].shape[1], &m) &&
                  m.data == t[i].data, "%s", diag.error);
        CHECK(!kl_weights_get_f32(&diag, w, t[i].name, 2, t[i].shape, &v), "%s", diag.error);
        for (int64_t k = 0; v && k < t[i].shape[0] * t[i].shape[1]; k++) {
            const float x = ((const float *)want->data)[k];

            CHECK(!memcmp(&v[k], &x, sizeof(x)) || (isnan(v[k]) && isnan(x)), "%s[%d] is %.9g, wanted %.9g", name,
                  (int)k, v[k], x);
        }
        free(v);
        compared++;
    }
    CHECK(compared >= least, "only %d compared", compared);
    kl_weights_close(&w);
}

static void test_metadata(void)
{
    KlWeights *w;
    const KlGguf *g;
    const KlGgufValue *v;
    const char *s;
    uint64_t u = 7;
    size_t pos = 0, len;

    REQUIRE(!kl_weights_open(&diag, &w, DATA "gguf_types.gguf"), "%s", diag.error);
    g = kl_weights_gguf(w);
    REQUIRE(g && g->version == 3, "no metadata");
    v = kl_gguf_find(g, "general.architecture");
    CHECK(v && v->type == KL_GGUF_STRING && v->bytes == 4 && !memcmp(v->data, "test", 4), "architecture");
    v = kl_gguf_find(g, "test.strings");
    REQUIRE(kl_gguf_is_array(v, KL_GGUF_STRING) && v->count == 3, "strings");
    CHECK(kl_gguf_next_string(v, &pos, &s, &len) && len == 1 && *s == 'a', "first");
    CHECK(kl_gguf_next_string(v, &pos, &s, &len) && !len, "second");
    CHECK(kl_gguf_next_string(v, &pos, &s, &len) && len == 2 && !memcmp(s, "\xc3\x9f", 2), "third");
    CHECK(!kl_gguf_next_string(v, &pos, &s, &len), "a fourth");
    CHECK(kl_gguf_uint(kl_gguf_find(g, "test.bool"), &u) && u == 1, "bool");
    CHECK(!kl_gguf_find(g, "test.boo") && !kl_gguf_uint(v, &u), "phantoms");
    kl_weights_close(&w);
}

/* All texts of gen_tokenizer.py, with the tokenizer in the file's metadata. */
static void test_tokenizer(void)
{
    KlWeights *texts;
    KlTokenizer *t = NULL;
    int32_t ids[512];
    int i = 0, n;

    REQUIRE(!kl_weights_open(&diag, &texts, DATA "tokenizer.safetensors"), "%s", diag.error);
    CHECK(!kl_tokenizer_open(&diag, &t, DATA "gguf_text.gguf"), "%s", diag.error);
    CHECK(!t || kl_tokenizer_vocab(t) == 784, "%d ids", kl_tokenizer_vocab(t));
    for (; t; i++) {
        char name[32];
        const KlTensor *text, *want;

        snprintf(name, sizeof(name), "%03d.text", i);
        text = kl_weights_find(texts, name);
        snprintf(name, sizeof(name), "%03d.ids512", i);
        want = kl_weights_find(texts, name);
        if (!text || !want)
            break;
        CHECK(!kl_tokenizer_encode(t, &diag, text->data, ids, 512, &n), "%s", diag.error);
        CHECK(n == want->shape[0] && !memcmp(ids, want->data, (size_t)n * sizeof(*ids)), "text %d: %d ids, wanted %d",
              i, n, (int)want->shape[0]);
    }
    CHECK(i > 50, "only %d texts", i);
    kl_tokenizer_close(&t);
    kl_weights_close(&texts);
}

static void test_encoder(const GoldenTable *g)
{
    const KlTensor *ids = kl_weights_find(golden, "text.ids"), *want = kl_weights_find(golden, "text.out");
    KlTextEncoderConfig cfg;
    KlTextEncoder *te = NULL;
    KlWeights *w;
    float *out, *host;
    int64_t n;

    REQUIRE(ids && want, "golden");
    REQUIRE(!kl_weights_open(&diag, &w, DATA "gguf_text.gguf"), "%s", diag.error);
    CHECK(!kl_names_canonical(&diag, w, KL_PART_TEXT) && !kl_shapes_text(&diag, w, &cfg), "%s", diag.error);
    CHECK(!kl_text_encoder_create(&diag, &te, &g->k, w, &cfg), "%s", diag.error);
    n = ids->shape[0] * 32;
    host = malloc((size_t)n * sizeof(*host));
    out = g->k.mem_alloc(g->ex, (size_t)n * sizeof(*out));
    if (te && host && out) {
        CHECK(!kl_text_encoder_run(te, g->ex, &diag, ids->data, (int)ids->shape[0], out), "%s", diag.error);
        g->k.mem_download(g->ex, host, out, (size_t)n * sizeof(*out));
        golden_compare(golden, "text", "out", g->name, host, n, 1e-5);
    }
    g->k.mem_free(g->ex, out);
    free(host);
    kl_text_encoder_destroy(&te);
    kl_weights_close(&w);
}

int main(void)
{
    GoldenTable t[GOLDEN_TABLES];
    int n_tables;

    if (kl_weights_open(&diag, &golden, DATA "gguf.safetensors") < 0 || (n_tables = golden_tables(t)) < 0) {
        printf("not ok test_gguf: %s\n", diag.error);
        return 1;
    }
    NAMED("gguf_values", test_values(DATA "gguf_types.gguf", "", "", 13));
    NAMED("fp8_values", test_values(DATA "gguf_fp8.safetensors", "fp8.", ".weight", 6));
    NAMED("gguf_metadata", test_metadata());
    NAMED("gguf_tokenizer", test_tokenizer());
    for (int i = 0; i < n_tables; i++) {
        char name[64];

        snprintf(name, sizeof(name), "gguf_text_encoder_%s", t[i].name);
        NAMED(name, test_encoder(&t[i]));
    }
    golden_tables_close(t, n_tables);
    kl_weights_close(&golden);
    return check_exit();
}
