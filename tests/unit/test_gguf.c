/*
 * GGUF headers: damaged ones are refused with one line that names the file, and no byte outside it is read.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "engine/gguf.h"
#include "engine/safetensors.h"
#include "tests/check.h"
#include "tests/gguf_file.h"

#define BAD KLING_ERROR_INVALID_DATA
#define NOT KLING_ERROR_UNSUPPORTED

/* Parses a copy that ends where the file ends, so that valgrind and ASan see a byte too far. */
static int parse(const GgufFile *f, size_t n, char *error, KlTensor **t, int *count, KlGguf **g, uint8_t **copy)
{
    KlDiag d = { 0 };
    int ret;

    *copy = malloc(n + !n);
    memcpy(*copy, f->b, n);
    ret = kl_gguf_parse(&d, "a file", *copy, n, t, count, g);
    if (error)
        memcpy(error, d.error, sizeof(d.error));
    return ret;
}

static void refuses(const GgufFile *f, int status, const char *say)
{
    char error[512];
    KlTensor *t;
    KlGguf *g;
    uint8_t *copy;
    int n, ret = parse(f, f->n, error, &t, &n, &g, &copy);

    CHECK(ret == status, "status %d, wanted %d: %s", ret, status, error);
    CHECK(strstr(error, say) && strstr(error, "'a file'"), "'%s' lacks '%s'", error, say);
    CHECK(!t && !g, "something is given in spite of the error");
    kl_tensors_free(t, n);
    kl_gguf_free(&g);
    free(copy);
}

static GgufFile good(void)
{
    GgufFile f = { 0 };

    gguf_head(&f, 3, 3, 3);
    gguf_kv_string(&f, "general.architecture", "wan");
    gguf_kv_u32(&f, "general.alignment", 64);
    gguf_kv_strings(&f, "list", 2, "a", "bc");
    gguf_tensor(&f, "m", 2, 32, 2, 8, 0);           /* Q8_0, 68 bytes */
    gguf_tensor(&f, "v", 1, 3, 0, 0, 128);          /* F32 */
    gguf_tensor(&f, "e", 2, 0, 5, 0, 192);
    gguf_data(&f, 64, 192);
    return f;
}

static void test_good(void)
{
    const GgufFile f = good();
    KlTensor *t;
    KlGguf *g;
    uint8_t *copy;
    uint64_t align;
    int n;

    REQUIRE(!parse(&f, f.n, NULL, &t, &n, &g, &copy), "refused");
    CHECK(n == 3 && !strcmp(t[0].name, "m") && t[0].dtype == KL_FT_Q8_0 && t[0].ndim == 2 && t[0].shape[0] == 2 &&
          t[0].shape[1] == 32 && t[0].bytes == 68 && ((const uint8_t *)t[0].data - copy) % 64 == 0, "matrix");
    CHECK(!strcmp(t[1].name, "v") && t[1].bytes == 12 && (const uint8_t *)t[1].data - (const uint8_t *)t[0].data == 128,
          "vector");
    CHECK(!strcmp(t[2].name, "e") && !t[2].bytes && t[2].shape[0] == 5, "empty");
    CHECK(kl_gguf_uint(kl_gguf_find(g, "general.alignment"), &align) && align == 64, "alignment");
    kl_tensors_free(t, n);
    kl_gguf_free(&g);
    free(copy);
}

static void test_truncated(void)
{
    const GgufFile f = good();

    for (size_t cut = 0; cut < f.n; cut++) {
        char error[512];
        KlTensor *t;
        KlGguf *g;
        uint8_t *copy;
        int n, ret = parse(&f, cut, error, &t, &n, &g, &copy);

        /* the padding behind the last tensor may be missing */
        CHECK(ret == BAD ? error[0] && !t && !g : !ret && cut >= f.n - 64, "status %d at %zu bytes", ret, cut);
        kl_tensors_free(t, n);
        kl_gguf_free(&g);
        free(copy);
    }
}

static void test_flipped(void)
{
    GgufFile f = good();

    for (size_t i = 0; i < f.n; i++)
        for (int flip = 1; flip < 256; flip <<= 1) {
            KlTensor *t;
            KlGguf *g;
            uint8_t *copy;
            int n;

            f.b[i] ^= (uint8_t)flip;
            if (!parse(&f, f.n, NULL, &t, &n, &g, &copy))
                for (int k = 0; k < n; k++) {
                    const uint8_t *p = t[k].data;

                    CHECK(p >= copy && p + t[k].bytes <= copy + f.n, "tensor outside, byte %zu", i);
                }
            kl_tensors_free(t, n);
            kl_gguf_free(&g);
            free(copy);
            f.b[i] ^= (uint8_t)flip;
        }
}

static void test_versions(void)
{
    static const struct {
        unsigned version;
        int status;
        const char *say;
    } v[] = {
        { 1, NOT, "version 1" }, { 4, NOT, "version 4" }, { 0x03000000, NOT, "big-endian" }, { 0, NOT, "version 0" },
    };

    for (size_t i = 0; i < KL_ARRAY_LEN(v); i++) {
        GgufFile f = { 0 };

        gguf_head(&f, v[i].version, 0, 0);
        refuses(&f, v[i].status, v[i].say);
    }
}

static void test_counts(void)
{
    static const uint64_t counts[][2] = {
        { UINT64_MAX, 0 }, { 0, UINT64_MAX }, { 1u << 21, 0 }, { 1u << 20, 1u << 20 }, { 0, 5 }, { 5, 0 },
    };

    for (size_t i = 0; i < KL_ARRAY_LEN(counts); i++) {
        GgufFile f = { 0 };

        gguf_head(&f, 3, counts[i][0], counts[i][1]);
        refuses(&f, BAD, counts[i][0] > 1u << 20 || counts[i][1] > 1u << 20 ? "a million" : "cut short");
    }
}

/* One entry of metadata. */
static void test_entries(void)
{
    GgufFile f = { 0 };

    gguf_head(&f, 3, 0, 1);
    gguf_string(&f, "key");
    gguf_int(&f, 4, 13);
    gguf_pad(&f, 64);
    refuses(&f, BAD, "unknown type 13");
    f.n = 24;
    gguf_string(&f, "");
    gguf_pad(&f, 64);
    refuses(&f, BAD, "a name");
    f.n = 24;
    gguf_string(&f, "a\xff");
    gguf_pad(&f, 64);
    refuses(&f, BAD, "a name");
    f.n = 24;
    gguf_int(&f, 8, UINT64_MAX - 3);    /* a key of this length */
    gguf_pad(&f, 64);
    refuses(&f, BAD, "cut short");
    f.n = 24;
    gguf_string(&f, "key");
    gguf_int(&f, 4, 9);
    gguf_int(&f, 4, 12);                /* f64 */
    gguf_int(&f, 8, UINT64_MAX / 8 + 2);
    gguf_pad(&f, 128);
    refuses(&f, BAD, "cut short");
    f.n = 24;
    gguf_string(&f, "key");
    gguf_int(&f, 4, 9);
    for (int i = 0; i < 100; i++) {     /* an array of an array of... */
        gguf_int(&f, 4, 9);
        gguf_int(&f, 8, 1);
    }
    refuses(&f, BAD, "nested too deeply");
    f.n = 24;
    gguf_string(&f, "key");
    gguf_int(&f, 4, 9);
    gguf_int(&f, 4, 77);
    gguf_int(&f, 8, 0);
    refuses(&f, BAD, "array of unknown type");
    f = (GgufFile){ 0 };
    gguf_head(&f, 3, 0, 2);
    gguf_kv_u32(&f, "key", 1);
    gguf_kv_u32(&f, "key", 2);
    refuses(&f, BAD, "'key' is there twice");
    for (int i = 0; i < 3; i++) {
        f = (GgufFile){ 0 };
        gguf_head(&f, 3, 0, 1);
        gguf_kv_u32(&f, "general.alignment", i == 0 ? 0 : i == 1 ? 24 : 1u << 31);
        refuses(&f, BAD, "general.alignment");
    }
}

/* One tensor in a file whose data is 64 bytes. */
static void tensor(int ndim, uint64_t d0, uint64_t d1, unsigned type, uint64_t offset, int status, const char *say)
{
    GgufFile f = { 0 };

    gguf_head(&f, 3, 1, 0);
    gguf_tensor(&f, "t", ndim, d0, d1, type, offset);
    gguf_data(&f, 32, 64);
    refuses(&f, status, say);
}

static void test_tensors(void)
{
    GgufFile f = { 0 };

    tensor(1, 16, 0, 20, 0, NOT, "IQ4_NL");
    tensor(1, 16, 0, 999, 0, NOT, "unknown (999)");
    tensor(1, 16, 0, 0, 8, BAD, "does not begin at a multiple of 32");
    tensor(1, 16, 0, 0, 32, BAD, "cut short");
    tensor(1, 17, 0, 0, 0, BAD, "cut short");
    tensor(1, 4, 0, 0, 1ull << 40, BAD, "cut short");
    tensor(1, 4, 0, 0, UINT64_MAX - 31, BAD, "cut short");
    tensor(1, 4, 0, 0, 32, BAD, "belong to no tensor");
    tensor(1, 4, 0, 0, 0, BAD, "longer than its header says");
    tensor(2, 33, 1, 8, 0, BAD, "no multiple of 32");
    tensor(2, 32, 1, 12, 0, BAD, "no multiple of 256");
    tensor(0, 0, 0, 8, 0, BAD, "no multiple of 32");
    tensor(2, 1ull << 40, 1ull << 40, 0, 0, BAD, "too large");
    tensor(2, UINT64_MAX, 2, 0, 0, BAD, "too large");
    gguf_head(&f, 3, 1, 0);
    gguf_string(&f, "t");
    gguf_int(&f, 4, 9);
    gguf_pad(&f, 256);
    refuses(&f, NOT, "9 dimensions");
    f = (GgufFile){ 0 };
    gguf_head(&f, 3, 2, 0);
    gguf_tensor(&f, "a", 1, 16, 0, 0, 0);
    gguf_tensor(&f, "b", 1, 8, 0, 0, 32);
    gguf_data(&f, 32, 64);
    refuses(&f, BAD, "'a' and 'b' overlap");
}

/* comfy.gguf.orig_shape.NAME */
static void test_orig_shape(void)
{
    static const struct {
        uint64_t dim[3];
        const char *say;
    } shapes[] = { { { 2, 4, 2 }, NULL }, { { 2, 4, 3 }, "16 elements" }, { { UINT32_MAX, UINT32_MAX, UINT32_MAX },
                   "not a shape" } };

    for (size_t i = 0; i < KL_ARRAY_LEN(shapes); i++) {
        GgufFile f = { 0 };
        KlTensor *t;
        KlGguf *g;
        uint8_t *copy;
        int n;

        gguf_head(&f, 3, 1, 1);
        gguf_kv_u32s(&f, "comfy.gguf.orig_shape.t", 3, shapes[i].dim);
        gguf_tensor(&f, "t", 1, 16, 0, 0, 0);
        gguf_data(&f, 32, 64);
        if (shapes[i].say) {
            refuses(&f, BAD, shapes[i].say);
            continue;
        }
        REQUIRE(!parse(&f, f.n, NULL, &t, &n, &g, &copy), "refused");
        CHECK(n == 1 && t->ndim == 3 && t->shape[0] == 2 && t->shape[1] == 4 && t->shape[2] == 2, "shape");
        kl_tensors_free(t, n);
        kl_gguf_free(&g);
        free(copy);
    }
}

int main(void)
{
    RUN(test_good);
    RUN(test_truncated);
    RUN(test_flipped);
    RUN(test_versions);
    RUN(test_counts);
    RUN(test_entries);
    RUN(test_tensors);
    RUN(test_orig_shape);
    return check_exit();
}
