/*
 * Files of weights: good ones are read exactly, bad ones refused with one line that names them.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <dirent.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/safetensors.h"
#include "tests/check.h"
#include "tests/scratch.h"

static void write_bytes(const char *name, const void *data, size_t n)
{
    FILE *f = fopen(in_dir(name), "wb");

    if (f) {
        fwrite(data, 1, n, f);
        fclose(f);
    }
}

/* A safetensors file: the header's text, padded to 8 bytes, and n bytes of data, 0, 1, 2... */
static size_t build_file(char *buf, const char *header, size_t n)
{
    size_t len = strlen(header), padded = (len + 7) / 8 * 8;

    memset(buf, ' ', 8 + padded);
    for (int i = 0; i < 8; i++)
        buf[i] = (char)(padded >> 8 * i);
    memcpy(buf + 8, header, len);
    for (size_t i = 0; i < n; i++)
        buf[8 + padded + i] = (char)i;
    return 8 + padded + n;
}

static void write_file(const char *name, const char *header, size_t n)
{
    char *buf = malloc(strlen(header) + n + 32);

    write_bytes(name, buf, build_file(buf, header, n));
    free(buf);
}

/* Opening fails with this status, nothing is left open, and the line names the file and holds `say`. */
static void refuses(const char *name, int status, const char *say)
{
    KlDiag d = { 0 };
    KlWeights *w = (KlWeights *)&d;
    int ret = kl_weights_open(&d, &w, in_dir(name));

    CHECK(ret == status, "status %d, wanted %d: %s", ret, status, d.error);
    CHECK(!w, "weights are given in spite of the error");
    CHECK(strstr(d.error, say), "'%s' lacks '%s'", d.error, say);
    CHECK(strstr(d.error, dir), "'%s' does not name the file", d.error);
    CHECK(!strchr(d.error, '\n'), "more than one line");
    kl_weights_close(&w);
}

#define ENTRY(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* -- good files -- */

static const char good[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    ENTRY("b.f16", "F16", "[5]", "[16,26]") ","
    ENTRY("a.f32", "F32", "[2,2]", "[0,16]") ","
    ENTRY("empty", "F32", "[0,3]", "[0,0]") ","
    ENTRY("scalar", "F32", "[]", "[28,32]") ","
    ENTRY("c.bf16", "BF16", "[1]", "[26,28]") ","
    ENTRY("bytes", "U8", "[3]", "[32,35]") "}";

static void test_reads_values(void)
{
    static const float f32[4] = { 1.5f, -2, 1e-30f, INFINITY };
    static const uint16_t f16[5] = { 0x3c00, 0xc000, 0x0001, 0x7bff, 0xfc00 };     /* 1, -2, 2^-24, 65504, -inf */
    static const float want16[5] = { 1, -2, 0x1p-24f, 65504, -INFINITY };
    static const uint16_t bf16[1] = { 0x3f81 };
    char buf[1024];
    size_t n = build_file(buf, good, 35), at = n - 35;
    const int64_t s2[2] = { 2, -1 }, s5[1] = { 5 }, s1[1] = { 1 };
    float *v[3] = { 0 };
    KlDiag d = { 0 };
    KlWeights *w;
    int count;

    memcpy(buf + at, f32, 16);
    memcpy(buf + at + 16, f16, 10);
    memcpy(buf + at + 26, bf16, 2);
    write_bytes("good.safetensors", buf, n);
    REQUIRE(!kl_weights_open(&d, &w, in_dir("good.safetensors")), "%s", d.error);
    kl_weights_all(w, &count);
    CHECK(count == 6, "%d tensors", count);
    CHECK(!kl_weights_get_f32(&d, w, "a.f32", 2, s2, &v[0]) && !memcmp(v[0], f32, 16), "f32: %s", d.error);
    CHECK(!kl_weights_get_f32(&d, w, "b.f16", 1, s5, &v[1]) && !memcmp(v[1], want16, 20), "f16: %s", d.error);
    CHECK(!kl_weights_get_f32(&d, w, "c.bf16", 1, s1, &v[2]) && v[2][0] == 1.0078125f, "bf16: %s", d.error);
    CHECK(kl_weights_find(w, "bytes") && kl_weights_find(w, "bytes")->bytes == 3, "bytes");
    CHECK(kl_weights_find(w, "scalar")->ndim == 0 && kl_weights_find(w, "scalar")->bytes == 4, "scalar");
    CHECK(!kl_weights_find(w, "__metadata__") && !kl_weights_find(w, "a.f3") && !kl_weights_find(w, ""), "phantoms");
    kl_weights_drop_pages(w);
    CHECK(((const float *)kl_weights_find(w, "a.f32")->data)[0] == 1.5f, "pages do not come back");
    for (int i = 0; i < 3; i++)
        free(v[i]);
    kl_weights_close(&w);
    CHECK(!w, "not NULL after closing");
    kl_weights_close(&w);
}

static void test_f16_values(void)       /* every finite half against exact arithmetic */
{
    char buf[8 + 256 + 131072];
    size_t n = build_file(buf, "{" ENTRY("h", "F16", "[65536]", "[0,131072]") "}", 131072);
    const int64_t shape[1] = { 65536 };
    KlDiag d = { 0 };
    KlWeights *w;
    float *v;

    for (int i = 0; i < 65536; i++)
        memcpy(buf + n - 131072 + 2 * i, &(uint16_t){ (uint16_t)i }, 2);
    write_bytes("half.safetensors", buf, n);
    REQUIRE(!kl_weights_open(&d, &w, in_dir("half.safetensors")), "%s", d.error);
    REQUIRE(!kl_weights_get_f32(&d, w, "h", 1, shape, &v), "%s", d.error);
    for (int i = 0; i < 65536; i++) {
        const int e = i >> 10 & 31, m = i & 1023;
        double x = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);

        if (e == 31)
            CHECK(m ? isnan(v[i]) : isinf(v[i]), "%#x is %g", i, v[i]);
        else
            CHECK(v[i] == (float)(i & 0x8000 ? -x : x), "%#x is %g, wanted %g", i, v[i], x);
    }
    free(v);
    kl_weights_close(&w);
}

/* -- bad headers -- */

static const struct {
    const char *name, *header;
    size_t bytes;                       /* of data */
    int status;
    const char *say;
} bad[] = {
    { "not_json", "{\"a\": nonsense}", 0, KLING_ERROR_INVALID_DATA, "not valid JSON" },
    { "not_utf8", "{\"a\xff\":{}}", 0, KLING_ERROR_INVALID_DATA, "not valid JSON" },
    { "an_array", "[1,2]", 0, KLING_ERROR_INVALID_DATA, "not a JSON object" },
    { "trailing_json", "{} {}", 0, KLING_ERROR_INVALID_DATA, "not valid JSON" },
    { "twice", "{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("a", "F32", "[1]", "[4,8]") "}", 8,
      KLING_ERROR_INVALID_DATA, "not valid JSON: duplicate" },
    { "no_name", "{" ENTRY("", "F32", "[1]", "[0,4]") "}", 4, KLING_ERROR_INVALID_DATA, "without a name" },
    { "not_an_object", "{\"a\":7}", 0, KLING_ERROR_INVALID_DATA, "'a' is not described by an object" },
    { "no_dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, KLING_ERROR_INVALID_DATA, "'a' has no dtype" },
    { "unknown_dtype", "{" ENTRY("a", "F4_X", "[1]", "[0,4]") "}", 4, KLING_ERROR_UNSUPPORTED, "\"F4_X\"" },
    { "no_shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, KLING_ERROR_INVALID_DATA,
      "'a' has no shape" },
    { "shape_of_text", "{" ENTRY("a", "F32", "[\"1\"]", "[0,4]") "}", 4, KLING_ERROR_INVALID_DATA, "whole numbers" },
    { "negative_shape", "{" ENTRY("a", "F32", "[-1,-1]", "[0,4]") "}", 4, KLING_ERROR_INVALID_DATA, "whole numbers" },
    { "nine_dims", "{" ENTRY("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, KLING_ERROR_UNSUPPORTED,
      "9 dimensions" },
    { "shape_overflows", "{" ENTRY("a", "F32", "[4611686018427387904,4]", "[0,0]") "}", 0, KLING_ERROR_INVALID_DATA,
      "too large" },
    { "shape_overflows_to_4", "{" ENTRY("a", "U8", "[4294967297,4294967297,4]", "[0,4]") "}", 4,
      KLING_ERROR_INVALID_DATA, "too large" },
    { "no_offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, KLING_ERROR_INVALID_DATA, "no data_offsets" },
    { "three_offsets", "{" ENTRY("a", "F32", "[1]", "[0,4,8]") "}", 4, KLING_ERROR_INVALID_DATA, "no data_offsets" },
    { "backwards", "{" ENTRY("a", "F32", "[1]", "[4,0]") "}", 4, KLING_ERROR_INVALID_DATA, "backwards" },
    { "negative_offset", "{" ENTRY("a", "F32", "[1]", "[-4,0]") "}", 4, KLING_ERROR_INVALID_DATA, "backwards" },
    { "past_the_end", "{" ENTRY("a", "F32", "[2]", "[0,8]") "}", 7, KLING_ERROR_INVALID_DATA, "cut short" },
    { "far_past_the_end", "{" ENTRY("a", "F32", "[2]", "[9223372036854775800,9223372036854775807]") "}", 8,
      KLING_ERROR_INVALID_DATA, "cut short" },
    { "too_few_bytes", "{" ENTRY("a", "F32", "[3]", "[0,8]") "}", 8, KLING_ERROR_INVALID_DATA, "need 12" },
    { "too_many_bytes", "{" ENTRY("a", "F16", "[3]", "[0,8]") "}", 8, KLING_ERROR_INVALID_DATA, "need 6" },
    { "overlap", "{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("b", "F32", "[2]", "[4,12]") "}", 12,
      KLING_ERROR_INVALID_DATA, "'a' and 'b' overlap" },
    { "same_place", "{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("b", "F32", "[2]", "[0,8]") "}", 8,
      KLING_ERROR_INVALID_DATA, "overlap" },
    { "hole", "{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("b", "F32", "[1]", "[8,12]") "}", 12,
      KLING_ERROR_INVALID_DATA, "4 bytes before tensor 'b'" },
    { "longer_than_said", "{" ENTRY("a", "F32", "[1]", "[0,4]") "}", 9, KLING_ERROR_INVALID_DATA, "5 bytes longer" },
    { "misaligned", "{" ENTRY("a", "U8", "[2]", "[0,2]") "," ENTRY("b", "F32", "[1]", "[2,6]") "}", 6,
      KLING_ERROR_UNSUPPORTED, "not aligned" },
};

static void test_header(size_t i)
{
    write_file("bad.safetensors", bad[i].header, bad[i].bytes);
    refuses("bad.safetensors", bad[i].status, bad[i].say);
}

static void test_header_length(void)
{
    unsigned char n[64] = { 0x01, 0xe1, 0xf5, 0x05 };  /* 100,000,001 */

    write_bytes("long.safetensors", n, sizeof(n));
    refuses("long.safetensors", KLING_ERROR_INVALID_DATA, "100000001 bytes long");
    memset(n, 0xff, 8);
    write_bytes("long.safetensors", n, sizeof(n));
    refuses("long.safetensors", KLING_ERROR_INVALID_DATA, "not a safetensors file");
    memset(n, 0, 8);
    n[0] = 57;
    write_bytes("long.safetensors", n, sizeof(n));
    refuses("long.safetensors", KLING_ERROR_INVALID_DATA, "cut short: the header should be 57");
}

static void test_deep_json(void)
{
    char *h = malloc(200001);

    memset(h, '[', 100000);
    memset(h + 100000, ']', 100000);
    h[200000] = 0;
    write_file("deep.safetensors", h, 0);
    refuses("deep.safetensors", KLING_ERROR_INVALID_DATA, "not valid JSON");
    free(h);
}

/* A file cut at any length is refused, and no byte past its end is read. */
static void test_truncated(void)
{
    char buf[1024];
    size_t n = build_file(buf, good, 35);

    for (size_t cut = 0; cut < n; cut++) {
        char *exact = malloc(cut + !cut);
        KlDiag d = { 0 };
        KlTensor *t = NULL;
        int count, ret;

        memcpy(exact, buf, cut);
        ret = kl_safetensors_parse(&d, "cut", (uint8_t *)exact, cut, &t, &count);
        CHECK(ret == KLING_ERROR_INVALID_DATA && !t && d.error[0], "status %d at %zu bytes", ret, cut);
        free(exact);
    }
    write_bytes("cut.safetensors", buf, n - 1);
    refuses("cut.safetensors", KLING_ERROR_INVALID_DATA, "cut short");
}

/* Any one byte changed: no crash, and what is accepted lies inside the file. */
static void test_flipped(void)
{
    char buf[1024];
    size_t n = build_file(buf, good, 35);

    for (size_t i = 0; i < n - 35; i++)
        for (int flip = 1; flip < 256; flip <<= 1) {
            KlDiag d = { 0 };
            KlTensor *t;
            int count;

            buf[i] ^= (char)flip;
            if (!kl_safetensors_parse(&d, "flipped", (uint8_t *)buf, n, &t, &count))
                for (int k = 0; k < count; k++) {
                    const char *p = t[k].data;

                    CHECK(p >= buf + 8 && p + t[k].bytes <= buf + n, "tensor outside, byte %zu", i);
                }
            kl_tensors_free(t, count);
            buf[i] ^= (char)flip;
        }
}

/* -- what is not a file of weights at all -- */

static void test_other_files(void)
{
    write_bytes("empty.safetensors", "", 0);
    refuses("empty.safetensors", KLING_ERROR_INVALID_DATA, "is empty");
    write_bytes("short.safetensors", "\1\2\3", 3);
    refuses("short.safetensors", KLING_ERROR_INVALID_DATA, "too short");
    write_bytes("a.gguf", "GGUF\3\0\0\0\0\0\0\0\0\0\0\0", 16);
    refuses("a.gguf", KLING_ERROR_INVALID_DATA, "cut short");
    write_bytes("a.pth", "PK\3\4\0\0\0\0\0\0\0\0", 12);
    refuses("a.pth", KLING_ERROR_UNSUPPORTED, "pickle");
    write_bytes("lfs.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\n", 56);
    refuses("lfs.safetensors", KLING_ERROR_UNSUPPORTED, "Git LFS");
    refuses("absent.safetensors", KLING_ERROR_NOT_FOUND, "cannot open");
    refuses("good.safetensors/x", KLING_ERROR_NOT_FOUND, "cannot open");
    mkdir(in_dir("folder"), 0777);
    refuses("folder", KLING_ERROR_NOT_FOUND, "no model.safetensors");
    mkfifo(in_dir("fifo"), 0666);
    refuses("fifo", KLING_ERROR_INVALID_ARG, "not a regular file");
    mkdir(in_dir("nested"), 0777);
    mkdir(in_dir("nested/model.safetensors"), 0777);
    refuses("nested", KLING_ERROR_INVALID_ARG, "is a folder where a file is wanted");
}

static void test_unreadable(void)
{
    const int root = geteuid() == 0;    /* who may read everything: be nobody for a moment */

    write_file("secret.safetensors", "{}", 0);
    chmod(in_dir("secret.safetensors"), 0);
    chmod(dir, 0755);
    if (root && seteuid(65534) < 0)
        SKIP("cannot become another user");
    refuses("secret.safetensors", KLING_ERROR_IO, "cannot open");
    if (root && seteuid(0) < 0)
        CHECK(0, "cannot become root again");
}

/* -- shards -- */

static void write_text(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

static const char index_ab[] = "{\"metadata\":{},\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}}";

static void test_shards(void)
{
    KlDiag d = { 0 };
    KlWeights *w;
    int n;

    mkdir(in_dir("sh"), 0777);
    /* the stray "b" of the first file is not the one that the index names */
    write_file("sh/s1.safetensors", "{" ENTRY("a", "U8", "[1]", "[0,1]") "," ENTRY("b", "U8", "[1]", "[1,2]") "}", 2);
    write_file("sh/s2.safetensors", "{" ENTRY("b", "U8", "[3]", "[0,3]") "}", 3);
    write_text("sh/model.safetensors.index.json", index_ab);
    REQUIRE(!kl_weights_open(&d, &w, in_dir("sh")), "%s", d.error);
    kl_weights_all(w, &n);
    CHECK(n == 2, "%d tensors", n);
    CHECK(kl_weights_find(w, "b")->bytes == 3 && kl_weights_find(w, "a")->bytes == 1, "wrong tensors");
    kl_weights_close(&w);
    REQUIRE(!kl_weights_open(&d, &w, in_dir("sh/model.safetensors.index.json")), "%s", d.error);
    kl_weights_close(&w);
    write_file("sh/s2.safetensors", "{" ENTRY("c", "U8", "[3]", "[0,3]") "}", 3);
    refuses("sh", KLING_ERROR_INVALID_DATA, "tensor 'b' is not in 's2.safetensors'");
    write_file("sh/s2.safetensors", "{" ENTRY("b", "U8", "[3]", "[0,3]") "}", 2);
    refuses("sh", KLING_ERROR_INVALID_DATA, "s2.safetensors' is cut short");
    unlink(in_dir("sh/s2.safetensors"));
    refuses("sh", KLING_ERROR_NOT_FOUND, "s2.safetensors' is missing");
}

static void test_bad_index(void)
{
    static const struct {
        const char *text, *say;
    } t[] = {
        { "", "is empty" },
        { "weights", "not valid JSON" },
        { "[]", "not a JSON object" },
        { "{}", "no \"weight_map\"" },
        { "{\"weight_map\":{}}", "no \"weight_map\"" },
        { "{\"weight_map\":[]}", "no \"weight_map\"" },
        { "{\"weight_map\":{\"a\":1}}", "names no file for tensor 'a'" },
        { "{\"weight_map\":{\"a\":\"../good.safetensors\"}}", "not a plain file name" },
        { "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "not a plain file name" },
        { "{\"weight_map\":{\"a\":\"\"}}", "not a plain file name" },
        { "{\"weight_map\":{\"a\":\"..\"}}", "not a plain file name" },
    };

    for (size_t i = 0; i < KL_ARRAY_LEN(t); i++) {
        write_text("x.safetensors.index.json", t[i].text);
        refuses("x.safetensors.index.json", KLING_ERROR_INVALID_DATA, t[i].say);
    }
}

/* -- typed access -- */

static float numbers[24];

static KlWeights *borrowed(KlDiag *d)
{
    const KlTensor t[] = {
        { .name = "m", .dtype = KL_FT_F32, .ndim = 2, .shape = { 4, 6 }, .data = numbers, .bytes = 96 },
        { .name = "c", .dtype = KL_FT_F32, .ndim = 4, .shape = { 4, 3, 1, 2 }, .data = numbers, .bytes = 96 },
        { .name = "i8", .dtype = KL_FT_I8, .ndim = 2, .shape = { 4, 6 }, .data = numbers, .bytes = 24 },
        { .name = "blocks.12.o.3.weight", .dtype = KL_FT_F32, .ndim = 1, .shape = { 24 }, .data = numbers,
          .bytes = 96 },
    };
    KlWeights *w;

    kl_weights_borrow(d, &w, t, 4, "a test");
    return w;
}

static void test_get(void)
{
    const int64_t right[2] = { 4, 6 }, wrong[2] = { 6, 4 }, three[3] = { 4, 6, 1 };
    KlDiag d = { 0 };
    KlWeights *w = borrowed(&d);
    KlWeight m;
    float *v = numbers;

    REQUIRE(w, "%s", d.error);
    CHECK(!kl_weights_get(&d, w, "m", 2, right, &m) && m.data == numbers && m.dtype == KL_F32, "%s", d.error);
    CHECK(kl_weights_get(&d, w, "m", 2, wrong, &m) == KLING_ERROR_INVALID_DATA && !m.data, "wrong shape");
    CHECK(!strcmp(d.error, "tensor 'm' in 'a test' is 4x6, the model's description wants 6x4"), "%s", d.error);
    CHECK(kl_weights_get(&d, w, "m", 3, three, &m) == KLING_ERROR_INVALID_DATA, "wrong number of dims");
    CHECK(kl_weights_get(&d, w, "i8", 2, right, &m) == KLING_ERROR_UNSUPPORTED, "int8");
    CHECK(strstr(d.error, "'i8' in 'a test' is I8 without a scale"), "%s", d.error);
    CHECK(kl_weights_get(&d, w, "absent", 2, right, &m) == KLING_ERROR_INVALID_DATA, "absent");
    CHECK(!strcmp(d.error, "no tensor 'absent' in 'a test'"), "%s", d.error);
    CHECK(kl_weights_get_f32(&d, w, "m", 2, wrong, &v) == KLING_ERROR_INVALID_DATA && !v, "f32 of a wrong shape");
    CHECK(!kl_weights_get_matrix(&d, w, "m", 4, 6, &m) && !kl_weights_get_matrix(&d, w, "c", 4, 6, &m), "%s", d.error);
    CHECK(kl_weights_get_matrix(&d, w, "c", 3, 8, &m) == KLING_ERROR_INVALID_DATA && !m.data, "wrong matrix");
    CHECK(!strcmp(d.error, "tensor 'c' in 'a test' is 4x3x1x2, the model's description wants 3x8"), "%s", d.error);
    kl_weights_close(&w);
}

static void test_rename(void)
{
    static const KlRename rules[] = {
        { "blocks.#.o.#.*", "layer.#.out.#.*" },
        { "blocks.#.*",     "wrong.#.*" },
        { "m",              "matrix" },
    };
    static const KlRename clash[] = { { "matrix", "same" }, { "c", "same" } };
    KlDiag d = { 0 };
    KlWeights *w = borrowed(&d);

    REQUIRE(w, "%s", d.error);
    CHECK(!kl_weights_rename(&d, w, "i", rules, 3), "%s", d.error);
    CHECK(kl_weights_find(w, "layer.12.out.3.weight"), "runs of digits, the first rule");
    CHECK(kl_weights_find(w, "matrix") && !strcmp(kl_weights_find(w, "matrix")->file_name, "m"), "whole names");
    CHECK(!kl_weights_find(w, "m") && kl_weights_find(w, "c"), "others stay");
    CHECK(kl_weights_find(w, "8"), "the prefix goes");
    CHECK(kl_weights_rename(&d, w, NULL, clash, 2) == KLING_ERROR_INVALID_DATA, "a clash passes");
    CHECK(strstr(d.error, "'m'") && strstr(d.error, "'c'") && strstr(d.error, "same"), "%s", d.error);
    kl_weights_close(&w);
}

/* -- scales beside fp8 and int8 -- */

static const struct {
    const char *name, *header;
    size_t bytes;
    int status;
    const char *say;
} scales[] = {
    { "orphan", "{" ENTRY("a.scale_weight", "F32", "[1]", "[0,4]") "}", 4, KLING_ERROR_INVALID_DATA,
      "'a.scale_weight' in" },
    { "two", "{" ENTRY("a.scale_weight", "F32", "[]", "[0,4]") "," ENTRY("a.weight_scale", "F32", "[]", "[4,8]") ","
      ENTRY("a.weight", "F8_E4M3", "[2,2]", "[8,12]") "}", 12, KLING_ERROR_INVALID_DATA, "'a.weight' in" },
    { "count", "{" ENTRY("a.weight_scale", "F32", "[3]", "[0,12]") "," ENTRY("a.weight", "I8", "[2,2]", "[12,16]") "}",
      16, KLING_ERROR_INVALID_DATA, "3 values, neither one nor one per row" },
    { "empty", "{" ENTRY("a.weight_scale", "F32", "[0]", "[0,0]") "," ENTRY("a.weight", "I8", "[2,2]", "[0,4]") "}",
      4, KLING_ERROR_INVALID_DATA, "0 values" },
    { "dtype", "{" ENTRY("a.weight_scale", "I16", "[]", "[0,2]") "," ENTRY("a.weight", "I8", "[2,2]", "[2,6]") "}",
      6, KLING_ERROR_UNSUPPORTED, "is I16" },
    { "plain", "{" ENTRY("a.scale_weight", "F32", "[]", "[0,4]") "," ENTRY("a.weight", "BF16", "[2,2]", "[4,12]") "}",
      12, KLING_ERROR_UNSUPPORTED, "'a.weight' in" },
    { "nvfp4", "{" ENTRY("a.weight_scale_2", "F32", "[]", "[0,4]") "," ENTRY("a.weight", "U8", "[2,2]", "[4,8]") "}",
      8, KLING_ERROR_UNSUPPORTED, "quantized in a way" },
    { "format", "{" ENTRY("a.comfy_quant", "U8", "[4]", "[0,4]") "}", 4, KLING_ERROR_INVALID_DATA,
      "does not name a format" },
};

static void test_scale(size_t i)
{
    write_file("scale.safetensors", scales[i].header, scales[i].bytes);
    refuses("scale.safetensors", scales[i].status, scales[i].say);
}

static void test_scales(void)           /* kept beside their tensors, in the right one of two files */
{
    KlDiag d = { 0 };
    KlWeights *w;
    KlWeight m;
    int n;

    mkdir(in_dir("sc"), 0777);
    write_file("sc/s1.safetensors", "{" ENTRY("a.weight", "F8_E4M3", "[2,2]", "[0,4]") ","
               ENTRY("scaled_fp8", "F8_E4M3", "[0]", "[0,0]") "}", 4);
    write_file("sc/s2.safetensors", "{" ENTRY("a.scale_weight", "F32", "[]", "[0,4]") ","
               ENTRY("a.scale_input", "F32", "[]", "[4,8]") "}", 8);
    write_text("sc/model.safetensors.index.json", "{\"weight_map\":{\"a.weight\":\"s1.safetensors\","
               "\"scaled_fp8\":\"s1.safetensors\",\"a.scale_weight\":\"s2.safetensors\","
               "\"a.scale_input\":\"s2.safetensors\"}}");
    REQUIRE(!kl_weights_open(&d, &w, in_dir("sc")), "%s", d.error);
    kl_weights_all(w, &n);
    CHECK(n == 1, "%d tensors", n);
    CHECK(!kl_weights_get_matrix(&d, w, "a.weight", 2, 2, &m) && m.dtype == KL_F8_E4M3 && m.scale && !m.scale_group,
          "%s", d.error);
    kl_weights_close(&w);
}

static void remove_dir(const char *path)
{
    DIR *h = opendir(path);
    struct dirent *e;

    while (h && (e = readdir(h))) {
        char name[512];

        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (unlink(name))
            remove_dir(name);
    }
    if (h)
        closedir(h);
    rmdir(path);
}

int main(void)
{
    if (!scratch_open("weights"))
        return 1;
    RUN(test_reads_values);
    RUN(test_f16_values);
    for (size_t i = 0; i < KL_ARRAY_LEN(bad); i++) {
        char name[64];

        snprintf(name, sizeof(name), "test_header_%s", bad[i].name);
        NAMED(name, test_header(i));
    }
    RUN(test_header_length);
    RUN(test_deep_json);
    RUN(test_truncated);
    RUN(test_flipped);
    RUN(test_other_files);
    RUN(test_unreadable);
    RUN(test_shards);
    RUN(test_bad_index);
    for (size_t i = 0; i < KL_ARRAY_LEN(scales); i++) {
        char name[64];

        snprintf(name, sizeof(name), "test_scale_%s", scales[i].name);
        NAMED(name, test_scale(i));
    }
    RUN(test_scales);
    RUN(test_get);
    RUN(test_rename);
    remove_dir(dir);
    return check_exit();
}
