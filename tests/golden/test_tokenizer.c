/*
 * Prompt cleaning and token ids against WanPipeline's (gen_tokenizer.py), and what the tokenizer refuses.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * There is no tolerance: bytes and ids are equal or not.
 */
#include "engine/mapping.h"
#include "engine/prompt_clean.h"
#include "engine/tokenizer.h"
#include "engine/weights.h"
#include "tests/check.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FOLDER "tests/data/tokenizer"

static KlWeights *golden;
static char log_line[1024];
static int log_lines;

static void keep_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level <= KLING_LOG_WARNING) {
        snprintf(log_line, sizeof(log_line), "%s", line);
        log_lines++;
    }
}

static KlDiag diag = { .log = keep_log };

static const KlTensor *part(int i, const char *what)
{
    char name[32];

    snprintf(name, sizeof(name), "%03d.%s", i, what);
    return kl_weights_find(golden, name);
}

static void test_clean(int i)
{
    const KlTensor *text = part(i, "text"), *want = part(i, "clean");
    char *got;

    REQUIRE(text && want, "golden");
    got = kl_prompt_clean(&diag, text->data);
    REQUIRE(got, "%s", diag.error);
    CHECK(!strcmp(got, want->data), "'%s', wanted '%s'", got, (const char *)want->data);
    free(got);
}

static void test_ids(const KlTokenizer *t, int i, const char *what, int limit)
{
    const KlTensor *text = part(i, "text"), *want = part(i, what);
    int32_t ids[514] = { 0 };
    const int32_t *w;
    int n;

    REQUIRE(text && want && want->dtype == KL_FT_I32, "golden");
    ids[limit] = 12345;
    w = want->data;
    REQUIRE(!kl_tokenizer_encode(t, &diag, text->data, ids, limit, &n), "%s", diag.error);
    CHECK(ids[limit] == 12345, "wrote outside");
    CHECK(n == want->shape[0], "%d tokens, wanted %d", n, (int)want->shape[0]);
    for (int j = 0; j < n && j < want->shape[0]; j++)
        CHECK(ids[j] == w[j], "token %d is %d, wanted %d", j, ids[j], w[j]);
}

static void run_ids(const char *label, const char *path, const char *what, int limit)
{
    KlTokenizer *t = NULL;
    char name[128];

    snprintf(name, sizeof(name), "tokenizer %s open", label);
    NAMED(name, CHECK(!kl_tokenizer_open(&diag, &t, path), "%s", diag.error));
    if (!t)
        return;
    for (int i = 0; part(i, "text"); i++) {
        snprintf(name, sizeof(name), "tokenizer %s %03d", label, i);
        NAMED(name, test_ids(t, i, what, limit));
    }
    kl_tokenizer_close(&t);
}

/* A file of the test's own in a fresh folder under /tmp; the names are freed by drop(). */
typedef struct Temp {
    char dir[32], file[64];
} Temp;

static bool make(Temp *tmp, const char *name, const void *data, size_t bytes)
{
    FILE *f;
    bool ok;

    strcpy(tmp->dir, "/tmp/kling-tok-XXXXXX");
    if (!mkdtemp(tmp->dir))
        return false;
    snprintf(tmp->file, sizeof(tmp->file), "%s/%s", tmp->dir, name);
    f = fopen(tmp->file, "wb");
    if (!f)
        return false;
    ok = !bytes || fwrite(data, bytes, 1, f) == 1;
    return !fclose(f) && ok;
}

static void drop(Temp *tmp)
{
    unlink(tmp->file);
    rmdir(tmp->dir);
}

/* tokenizer.json on its own, with byte_fallback: as other classes than T5Tokenizer use it. */
static void run_byte_fallback(void)
{
    static const char off[] = "\"byte_fallback\": false", on[] = "\"byte_fallback\":  true";
    KlMapping m;
    Temp tmp;
    char *text, *at;

    if (kl_map_file(&diag, &m, FOLDER "/tokenizer.json") < 0 ||
        !(text = malloc(m.bytes)) || !(at = memmem(memcpy(text, m.data, m.bytes), m.bytes, off, strlen(off)))) {
        NAMED("tokenizer bytes", CHECK(0, "%s", diag.error));
        return;
    }
    memcpy(at, on, strlen(on));
    if (make(&tmp, "tokenizer.json", text, m.bytes))
        run_ids("bytes", tmp.dir, "bytes", 512);
    drop(&tmp);
    free(text);
    kl_unmap_file(&m);
}

static void test_memory(void)
{
    KlTokenizer *t = NULL;
    KlMapping m;
    int32_t ids[8];
    int n;

    REQUIRE(!kl_map_file(&diag, &m, FOLDER "/spiece.model"), "%s", diag.error);
    CHECK(!kl_tokenizer_open_memory(&diag, &t, m.data, m.bytes, "spiece_model"), "%s", diag.error);
    kl_unmap_file(&m);                  /* the bytes are copied */
    REQUIRE(t, "none");
    CHECK(kl_tokenizer_vocab(t) == 748, "%d", kl_tokenizer_vocab(t));
    CHECK(!kl_tokenizer_encode(t, &diag, NULL, ids, 8, &n) && n == 1 && ids[0] == 1, "NULL is the empty prompt");
    CHECK(!kl_tokenizer_encode(t, &diag, "red", ids, 1, &n) && n == 1 && ids[0] == 1, "room for the end only");
    CHECK(kl_tokenizer_encode(t, &diag, "red", ids, 0, &n) == KLING_ERROR_INVALID_ARG, "no room");
    kl_tokenizer_close(&t);
    CHECK(!t, "still there");
    kl_tokenizer_close(&t);
}

/* The search on a vocabulary made for its corners. */
static void test_tiny(void)
{
    const KlTensor *json = kl_weights_find(golden, "tiny.json"), *text = kl_weights_find(golden, "tiny.text"),
                   *want = kl_weights_find(golden, "tiny.ids");
    KlTokenizer *t = NULL;
    int32_t ids[128];
    int n = 0;

    REQUIRE(json && text && want, "golden");
    REQUIRE(!kl_tokenizer_open_memory(&diag, &t, json->data, json->bytes, "tiny"), "%s", diag.error);
    CHECK(!kl_tokenizer_encode(t, &diag, text->data, ids, 128, &n), "%s", diag.error);
    CHECK(n == want->shape[0], "%d tokens, wanted %d", n, (int)want->shape[0]);
    for (int i = 0; i < n && i < want->shape[0]; i++)
        CHECK(ids[i] == ((const int32_t *)want->data)[i], "token %d is %d, wanted %d", i, ids[i],
              ((const int32_t *)want->data)[i]);
    kl_tokenizer_close(&t);
}

static void test_utf8(void)
{
    static const struct { const char *text; int at; } bad[] = {
        { "\xff", 0 }, { "ab\x80", 2 }, { "red \xc3", 4 }, { "\xc0\xaf", 0 }, { "x\xed\xa0\x80", 1 },
        { "\xe7\xba\xa2\xf4\x90\x80\x80", 3 }, { "caf\xe9 au lait", 3 }, { "\xe2\x82", 0 },
    };
    char want[32];

    for (size_t i = 0; i < KL_ARRAY_LEN(bad); i++) {
        char *s = kl_prompt_clean(&diag, bad[i].text);

        snprintf(want, sizeof(want), "byte %d ", bad[i].at);
        CHECK(!s && strstr(diag.error, want), "%zu: %s", i, diag.error);
        free(s);
    }
}

/* Long prompts: cut, one warning, and no time to speak of. */
static void test_long(void)
{
    static const char *const unit[] = { "a red ball ", "x", "&amp;amp;", "\xe7\xba\xa2", "</s>",
                                        "\xf0\x9f\x90\xb1", "<", "e\xcc\x81\xcc\xa3", "amp;" };
    const size_t bytes = 100000;
    KlTokenizer *t = NULL;
    char *text = malloc(bytes + 16);
    int32_t ids[512];
    clock_t begin = clock();
    double seconds;
    int n;

    REQUIRE(text && !kl_tokenizer_open(&diag, &t, FOLDER), "%s", diag.error);
    for (size_t u = 0; u < KL_ARRAY_LEN(unit); u++) {
        size_t len = strlen(unit[u]), at = 0;

        if (unit[u][0] == 'a' && unit[u][1] == 'm')
            text[at++] = '&';           /* references within references: &amp;amp;amp;... */
        while (at < bytes) {
            memcpy(text + at, unit[u], len);
            at += len;
        }
        text[at] = 0;
        log_lines = 0;
        CHECK(!kl_tokenizer_encode(t, &diag, text, ids, 512, &n), "%s", diag.error);
        CHECK(n == 512 ? log_lines == 1 && strstr(log_line, "512") : log_lines == 0 && n > 1, "%zu: %d tokens, %d "
              "lines", u, n, log_lines);
        CHECK(ids[n - 1] == 1, "ends with %d", ids[n - 1]);
    }
    seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    printf("# %zu prompts of 100 kB took %.2f s\n", KL_ARRAY_LEN(unit), seconds);
    CHECK(seconds < 60, "%g s", seconds);
    kl_tokenizer_close(&t);
    free(text);
}

/* Every prefix and many damaged copies of a model: an error with a sentence, or a tokenizer that works. */
static void damage(const char *file, int step)
{
    uint32_t random = 12345;
    KlMapping m;
    unsigned char *copy;
    int32_t ids[64];
    int n;

    REQUIRE(!kl_map_file(&diag, &m, file), "%s", diag.error);
    copy = malloc(m.bytes);
    REQUIRE(copy, "memory");
    for (int i = 0; i < 400; i++) {
        size_t bytes = i < 200 ? m.bytes * (size_t)i / 200 : m.bytes;
        KlTokenizer *t = NULL;

        memcpy(copy, m.data, m.bytes);
        for (int j = 0; i >= 200 && j < 1 + i % step; j++) {
            random = random * 1664525 + 1013904223;
            copy[(random >> 4) % bytes] = (unsigned char)(random >> 24);
        }
        diag.error[0] = 0;
        if (kl_tokenizer_open_memory(&diag, &t, copy, bytes, "damaged") < 0) {
            CHECK(!t && diag.error[0], "no sentence at %d", i);
            continue;
        }
        CHECK(!kl_tokenizer_encode(t, &diag, "A red \xef\xac\x81 \xe7\xba\xa2\xe8\x89\xb2 \xf0\x9f\x90\xb1", ids, 64,
                                   &n), "%s", diag.error);
        kl_tokenizer_close(&t);
    }
    free(copy);
    kl_unmap_file(&m);
}

static void test_damaged_spm(void) { damage(FOLDER "/spiece.model", 300); }
static void test_damaged_json(void) { damage(FOLDER "/tokenizer.json", 6); }

static void test_refusals(void)
{
    static const struct { const char *json, *says; } bad[] = {
        { "{\"x\":1}", "no \"model\"" },
        { "{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", "BPE" },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[],\"unk_id\":0}}", "vocab" },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":7}}", "unknown" },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":0}}", "</s>" },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]],\"unk_id\":0}}", "[piece, score]" },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"</s>\",0]],\"unk_id\":0},\"added_tokens\":[1]}", "added" },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"</s>\",0]],\"unk_id\":0},\"normalizer\":{\"type\":"
          "\"Precompiled\",\"precompiled_charsmap\":\"A*\"}}", "base64" },
        { "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"</s>\",0]],\"unk_id\":0},\"normalizer\":{\"type\":"
          "\"Precompiled\",\"precompiled_charsmap\":\"AAAA\"}}", "rules" },
        { "{\"model\"", "JSON" },
        { "\n\x7fxyz", "SentencePiece" },
        { "\n\x06\n\x04</s>\x12\x02\x18\x02", "Unigram" },           /* model_type 2, BPE */
        { "\n\x06\n\x04</s>\x12\x02\x18\x01", "unknown" },
    };
    KlTokenizer *t = NULL;
    Temp tmp;

    CHECK(kl_tokenizer_open(&diag, &t, "/nonexistent") == KLING_ERROR_NOT_FOUND && !t, "%s", diag.error);
    CHECK(kl_tokenizer_open(&diag, &t, "tests/golden/data") == KLING_ERROR_NOT_FOUND &&
          strstr(diag.error, "spiece.model"), "%s", diag.error);
    for (size_t i = 0; i < KL_ARRAY_LEN(bad); i++) {
        REQUIRE(make(&tmp, "tokenizer.json", bad[i].json, strlen(bad[i].json)), "cannot write");
        CHECK(kl_tokenizer_open(&diag, &t, tmp.dir) < 0 && !t && strstr(diag.error, bad[i].says) &&
              strstr(diag.error, tmp.dir), "%zu: %s", i, diag.error);
        drop(&tmp);
    }
}

int main(void)
{
    char name[64];

    if (kl_weights_open(&diag, &golden, "tests/golden/data/tokenizer.safetensors") < 0) {
        printf("not ok tokenizer: %s\n", diag.error);
        return 1;
    }
    for (int i = 0; part(i, "text"); i++) {
        snprintf(name, sizeof(name), "prompt_clean %03d", i);
        NAMED(name, test_clean(i));
    }
    run_ids("spiece", FOLDER, "ids512", 512);
    run_ids("spiece to 7", FOLDER "/spiece.model", "ids7", 7);
    run_ids("json", FOLDER "/tokenizer.json", "ids512", 512);
    run_byte_fallback();
    RUN(test_tiny);
    RUN(test_memory);
    RUN(test_utf8);
    RUN(test_long);
    RUN(test_damaged_spm);
    RUN(test_damaged_json);
    RUN(test_refusals);
    kl_weights_close(&golden);
    printf("# worst tokenizer all abs=%d rel=%d (tests that differ)\n", check_failed, check_failed);
    return check_exit();
}
