/*
 * Pictures resized, prepared and encoded, against Pillow and transformers (gen_image_encoder.py).
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tolerances. Resizing: none, every byte. Preparing: v / 255 and the normalisation are three operations in f32 on
 * both sides, on values below 1 that end below 4: 4 * 2^-24 * 3 = 7.2e-7, or 1.8e-7 of the largest. Rows: a dot
 * product of K unit products in f32 errs by about sqrt(K) 2^-24, K <= 588: 1.5e-6; each of at most 3 computed layers
 * has four of them behind each other, the embedding one, and each adds to rows of order 1: (1 + 3 * 4) * 1.5e-6 = 2e-5
 * of the largest.
 */
#include "engine/image_encoder.h"
#include "engine/picture_resize.h"
#include "tests/golden/golden.h"
#include "tests/golden/poor.h"
#include "tools/synth_model.h"

#define SEED 17
#define PIXELS_TOL 1.8e-7
#define ROWS_TOL 2e-5

static const struct { const char *name; int w, h, tw, th; } resizes[] = {
    { "down", 61, 37, 20, 12 }, { "up", 9, 7, 31, 26 },    { "mixed", 40, 11, 17, 30 }, { "across", 50, 13, 21, 13 },
    { "along", 14, 50, 14, 9 }, { "far", 1000, 3, 5, 2 }, { "one", 1, 1, 6, 4 },       { "to_one", 33, 21, 1, 1 },
};

#define CLIP_MEAN { 0.48145466f, 0.4578275f, 0.40821073f }
#define CLIP_STD { 0.26862954f, 0.26130258f, 0.27577711f }
static const struct { const char *name; KlImageEncoderConfig c; int w, h; } models[] = {
    { "a", { 24, 2, 40, 3, 28, 14, 1e-5f, 28, CLIP_MEAN, CLIP_STD }, 64, 48 },
    { "b", { 80, 1, 96, 2, 24, 4, 1e-6f, 31, { 0.3f, 0.4f, 0.5f }, { 0.2f, 0.3f, 0.4f } }, 25, 57 },
    { "c", { 32, 4, 64, 4, 224, 14, 1e-5f, 224, CLIP_MEAN, CLIP_STD }, 96, 96 },
    { "d", { 16, 2, 24, 1, 16, 8, 1e-5f, 16, CLIP_MEAN, CLIP_STD }, 16, 32 },
};

static KlDiag diag;
static KlWeights *golden;
static GoldenTable tables[GOLDEN_TABLES];
static int n_tables;

/* Planes of w x h with `pad` floats of nonsense behind each row. */
static float *picture(const char *name, int w, int h, int pad)
{
    const uint64_t key = synth_key(SEED, name);
    const ptrdiff_t stride = w + pad;
    float *p = malloc(3 * sizeof(*p) * (size_t)(stride * h));

    for (int c = 0; p && c < 3; c++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < stride; x++)
                p[(c * h + y) * stride + x] = x >= w ? 9 :
                    (float)floor((synth_uniform(key, (uint64_t)((y * w + x) * 3 + c)) + 1) * 128) / 255;
    return p;
}

static void test_resize(size_t i)
{
    const int w = resizes[i].w, h = resizes[i].h, tw = resizes[i].tw, th = resizes[i].th;
    float *p = picture(resizes[i].name, w, h, 3);
    const ptrdiff_t stride = w + 3, plane = stride * h;
    KlResize r = { { p, p + plane, p + 2 * plane }, stride, w, h, tw, th, 0, 0, tw, th };
    uint8_t *got = malloc(3 * (size_t)(tw * th));
    const KlTensor *t;
    char name[32];
    int bad = 0;

    snprintf(name, sizeof(name), "resize.%s", resizes[i].name);
    t = kl_weights_find(golden, name);
    REQUIRE(p && got && t && t->dtype == KL_FT_U8 && t->bytes == 3 * (size_t)(tw * th), "golden");
    CHECK(!kl_picture_resize(&diag, &r, got), "%s", diag.error);
    CHECK(!memcmp(got, t->data, t->bytes), "other bytes than Pillow's");
    for (int y = 0; y < th; y += 3)     /* parts of it, down to single samples */
        for (int x = 0; x < tw; x += 2) {
            uint8_t part[2 * 2 * 3];

            r.x_px = x, r.y_px = y;
            r.part_width_px = KL_MIN(2, tw - x), r.part_height_px = KL_MIN(2, th - y);
            CHECK(!kl_picture_resize(&diag, &r, part), "%s", diag.error);
            for (int k = 0; k < r.part_height_px; k++)
                bad += memcmp(part + k * 3 * r.part_width_px, got + 3 * ((y + k) * tw + x),
                              3 * (size_t)r.part_width_px) != 0;
        }
    CHECK(!bad, "%d parts differ from the whole", bad);
    free(p);
    free(got);
}

/* Values that no picture should have become the nearest that one can have. */
static void test_wild(void)
{
    float p[3][4] = { { -1, 2, NAN, 0.5f }, { -INFINITY, INFINITY, 1e30f, -0.0f }, { 0.0019f, 0.002f, 1, 0.9981f } };
    const KlResize r = { { p[0], p[1], p[2] }, 4, 4, 1, 4, 1, 0, 0, 4, 1 };
    static const uint8_t want[] = { 0, 0, 0, 255, 255, 1, 0, 255, 255, 128, 0, 255 };
    uint8_t got[12];

    CHECK(!kl_picture_resize(&diag, &r, got) && !memcmp(got, want, sizeof(want)), "bytes");
}

static void test_prepare(size_t i)
{
    const KlImageEncoderConfig *c = &models[i].c;
    const int w = models[i].w, h = models[i].h;
    const int64_t n = 3 * (int64_t)c->image_px * c->image_px;
    float *p = picture(models[i].name, w, h, 0), *got = malloc((size_t)n * sizeof(*got));
    const float *const rgb[3] = { p, p + w * h, p + 2 * w * h };

    REQUIRE(p && got, "memory");
    CHECK(!kl_image_encoder_prepare(c, &diag, rgb, w, w, h, got), "%s", diag.error);
    golden_compare(golden, "pixels", models[i].name, "host", got, n, PIXELS_TOL);
    free(p);
    free(got);
}

/* Replaces q, k and v of every layer by one tensor, as the original release has them. */
static KlWeights *fused(const KlWeights *w, const KlImageEncoderConfig *c, char *mem, size_t size)
{
    static const char *const ends[] = { "weight", "bias" }, *const which = "qkv";
    KlWeights *out = NULL;
    KlTensor *list;
    char (*names)[80] = malloc(2 * (size_t)c->layers * sizeof(*names)), name[80];
    const KlTensor *all;
    int n, m = 0, made = 0;

    all = kl_weights_all(w, &n);
    list = malloc((size_t)n * sizeof(*list));
    for (int i = 0; i < n; i++)
        if (!strstr(all[i].name, "q_proj") && !strstr(all[i].name, "k_proj") && !strstr(all[i].name, "v_proj"))
            list[m++] = all[i];
    for (int l = 0; l < c->layers; l++)
        for (int e = 0; e < 2; e++, made++) {
            KlTensor t = { 0 };

            snprintf(names[made], sizeof(*names), "encoder.layers.%d.self_attn.qkv_proj.%s", l, ends[e]);
            for (int j = 0; j < 3; j++) {
                const KlTensor *s;

                snprintf(name, sizeof(name), "encoder.layers.%d.self_attn.%c_proj.%s", l, which[j], ends[e]);
                s = kl_weights_find(w, name);
                if (!j) {
                    t = *s;
                    t.name = t.file_name = names[made];
                    t.shape[0] *= 3;
                    t.bytes *= 3;
                    t.data = mem;
                }
                if (s->bytes > size)
                    return NULL;
                memcpy(mem, s->data, s->bytes);
                mem += s->bytes;
                size -= s->bytes;
            }
            list[m++] = t;
        }
    if (kl_weights_borrow(&diag, &out, list, m, "fused") < 0)
        out = NULL;
    free(list);
    free(names);
    return out;
}

static void run_model(const GoldenTable *t, size_t i, KlDType dtype, bool one_qkv)
{
    static char room[1 << 16];
    const KlImageEncoderConfig *c = &models[i].c;
    const int64_t n = 3 * (int64_t)c->image_px * c->image_px, rows = (int64_t)kl_image_encoder_tokens(c) * c->dim;
    const int w = models[i].w, h = models[i].h;
    float *p = picture(models[i].name, w, h, 0), *pixels = malloc((size_t)n * sizeof(*pixels));
    float *out = t->k.mem_alloc(t->ex, (size_t)rows * sizeof(*out)), *host = malloc((size_t)rows * sizeof(*host));
    const float *const rgb[3] = { p, p + w * h, p + 2 * w * h };
    KlWeights *weights = NULL, *other = NULL;
    KlImageEncoder *ie = NULL;
    char component[16];
    void *mem = NULL;

    snprintf(component, sizeof(component), "%s.%s", models[i].name, dtype == KL_BF16 ? "bf16" : "f32");
    REQUIRE(!synth_weights(SYNTH_IMAGE_ENCODER, c, SEED, dtype, 0, &weights, &mem), "weights");
    if (one_qkv)
        REQUIRE(other = fused(weights, c, room, sizeof(room)), "%s", diag.error);
    CHECK(!kl_image_encoder_create(&diag, &ie, &t->k, other ? other : weights, c), "%s", diag.error);
    CHECK(!kl_image_encoder_prepare(c, &diag, rgb, w, w, h, pixels), "%s", diag.error);
    if (ie && !kl_image_encoder_run(ie, t->ex, &diag, pixels, out)) {
        t->k.mem_download(t->ex, host, out, (size_t)rows * sizeof(*host));
        golden_compare(golden, component, "rows", t->name, host, rows, ROWS_TOL);
    } else {
        CHECK(false, "%s", diag.error);
    }
    kl_image_encoder_destroy(&ie);
    kl_weights_close(&other);
    kl_weights_close(&weights);
    t->k.mem_free(t->ex, out);
    free(mem);
    free(p);
    free(pixels);
    free(host);
}

/* Every tensor that is computed with is needed, by name; of the last layer none is. */
static void test_missing(void)
{
    const KlImageEncoderConfig *c = &models[0].c;
    const GoldenTable *t = &tables[1];
    KlWeights *w = NULL, *other = NULL;
    KlImageEncoder *ie = NULL;
    KlImageEncoderConfig odd = *c;
    const KlTensor *all;
    KlTensor *list;
    void *mem = NULL;
    int n, unused = 0;

    REQUIRE(!synth_weights(SYNTH_IMAGE_ENCODER, c, SEED, KL_F32, 0, &w, &mem), "weights");
    all = kl_weights_all(w, &n);
    REQUIRE(list = malloc((size_t)n * sizeof(*list)), "memory");
    for (int i = 0; i < n; i++) {
        memcpy(list, all, (size_t)n * sizeof(*list));
        list[i] = list[n - 1];
        REQUIRE(!kl_weights_borrow(&diag, &other, list, n - 1, "mem"), "%s", diag.error);
        if (strstr(all[i].name, "layers.2.") || strstr(all[i].name, "post_")) {
            unused++;
            CHECK(!kl_image_encoder_create(&diag, &ie, &t->k, other, c), "%s", diag.error);
            kl_image_encoder_destroy(&ie);
        } else {
            CHECK(kl_image_encoder_create(&diag, &ie, &t->k, other, c) == KLING_ERROR_INVALID_DATA && !ie &&
                  strstr(diag.error, all[i].name), "without %s: %s", all[i].name, diag.error);
        }
        kl_weights_close(&other);
    }
    CHECK(unused == 18, "%d tensors are not used", unused);
    odd.heads = 7;
    CHECK(kl_image_encoder_create(&diag, &ie, &t->k, w, &odd) == KLING_ERROR_INVALID_DATA && !ie, "7 heads of 24");
    odd = *c;
    odd.dim = 32;
    odd.heads = 4;
    CHECK(kl_image_encoder_create(&diag, &ie, &t->k, w, &odd) == KLING_ERROR_INVALID_DATA && !ie &&
          strstr(diag.error, "patch_embedding"), "%s", diag.error);
    free(list);
    kl_weights_close(&w);
    free(mem);
}

static void test_out_of_memory(void)
{
    const KlImageEncoderConfig *c = &models[0].c;
    const GoldenTable *t = &tables[1];
    const int64_t rows = (int64_t)kl_image_encoder_tokens(c) * c->dim;
    float pixels[3 * 28 * 28] = { 0 }, *out = t->k.mem_alloc(t->ex, (size_t)rows * sizeof(*out));
    KlKernels k = poor_table(&t->k);
    KlImageEncoder *ie = NULL;
    atomic_int cancel = 1;
    KlDiag stopped = { .cancel = &cancel };
    KlWeights *w = NULL;
    void *mem = NULL;

    REQUIRE(!synth_weights(SYNTH_IMAGE_ENCODER, c, SEED, KL_F32, 0, &w, &mem), "weights");
    REQUIRE(!kl_image_encoder_create(&diag, &ie, &k, w, c), "%s", diag.error);
    for (int at = 1; at <= 4; at++) {
        poor.calls = 0;
        poor.fail_at = at;
        CHECK(kl_image_encoder_run(ie, t->ex, &diag, pixels, out) == (at < 4 ? KLING_ERROR_OUT_OF_MEMORY : 0),
              "allocation %d", at);
    }
    poor.fail_at = 0;
    CHECK(kl_image_encoder_run(ie, t->ex, &stopped, pixels, out) == KLING_ERROR_CANCELLED, "a cancelled run went on");
    kl_image_encoder_destroy(&ie);
    kl_weights_close(&w);
    t->k.mem_free(t->ex, out);
    free(mem);
}

int main(void)
{
    char name[64];

    if (kl_weights_open(&diag, &golden, "tests/golden/data/image_encoder.safetensors") < 0 ||
        (n_tables = golden_tables(tables)) < 0) {
        printf("not ok image_encoder: %s\n", diag.error);
        return 1;
    }
    for (size_t i = 0; i < KL_ARRAY_LEN(resizes); i++) {
        snprintf(name, sizeof(name), "image_resize_%s", resizes[i].name);
        NAMED(name, test_resize(i));
    }
    RUN(test_wild);
    for (size_t i = 0; i < KL_ARRAY_LEN(models); i++) {
        snprintf(name, sizeof(name), "image_prepare_%s", models[i].name);
        NAMED(name, test_prepare(i));
        for (int j = 0; j < n_tables; j++) {
            snprintf(name, sizeof(name), "image_encoder_%s_%s", models[i].name, tables[j].name);
            NAMED(name, (run_model(&tables[j], i, KL_F32, false), run_model(&tables[j], i, KL_BF16, false)));
        }
    }
    NAMED("image_encoder_one_qkv", (run_model(&tables[0], 0, KL_F32, true), run_model(&tables[1], 0, KL_BF16, true)));
    RUN(test_missing);
    RUN(test_out_of_memory);
    golden_tables_close(tables, n_tables);
    kl_weights_close(&golden);
    return check_exit();
}
