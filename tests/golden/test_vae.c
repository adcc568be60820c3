/*
 * The VAE's decoder and encoder, frame by frame, against diffusers with its own cache (gen_vae.py).
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tolerance, relative to the largest magnitude of the output (u = 2^-24, a rounding of f32): a convolution sums at most
 * 27 * 48 = 1296 terms, off by about sqrt(1296) u = 36 u of its norm; a residual block adds two of these to its input,
 * and a norm follows every one, so errors do not grow but add: the longest way, 14 blocks (28 convolutions), gives
 * sqrt(28) * 36 u = 190 u = 1.1e-5 where errors are independent. Allowed: less than twice that.
 */
#include "engine/vae_internal.h"
#include "tests/golden/golden.h"
#include "tests/golden/poor.h"
#include "tools/synth_model.h"

#define SEED 11
#define TOLERANCE 2e-5
#define MODELS 7

static const char *const model_name[MODELS] = { "wan", "outer", "inner", "residual", "narrow", "patch3", "patched" };
static KlVaeConfig models[MODELS] = {
    { .base_dim = 8, .z_dim = 4, .levels = 4, .dim_mult = { 1, 2, 4, 4 }, .res_blocks = 2,
      .temporal_down = { false, true, true } },
    { .base_dim = 6, .z_dim = 3, .levels = 2, .dim_mult = { 1, 3 }, .res_blocks = 1, .temporal_down = { true } },
    { .base_dim = 4, .z_dim = 5, .levels = 3, .dim_mult = { 1, 2, 3 }, .res_blocks = 2,
      .temporal_down = { false, true } },
    { .base_dim = 8, .decoder_dim = 12, .z_dim = 6, .levels = 4, .dim_mult = { 1, 2, 4, 4 }, .res_blocks = 2,
      .temporal_down = { false, true, true }, .residual = true, .patch = 2 },
    { .base_dim = 6, .decoder_dim = 4, .z_dim = 3, .levels = 2, .dim_mult = { 2, 1 }, .res_blocks = 1,
      .temporal_down = { true }, .residual = true },
    { .base_dim = 4, .z_dim = 5, .levels = 4, .dim_mult = { 1, 1, 2, 2 }, .res_blocks = 1,
      .temporal_down = { true, false, false }, .residual = true, .patch = 3 },
    { .base_dim = 6, .z_dim = 2, .levels = 2, .dim_mult = { 1, 2 }, .res_blocks = 1, .temporal_down = { true },
      .patch = 2 },
};

typedef struct Case {
    const char *name;
    int model;
    KlDType dtype;
    int F, R, W;                        /* of the input: latents to decode, pictures to encode */
} Case;

static const Case decode_cases[] = {
    { "wan1",     0, KL_F32,  1, 2, 3 },
    { "wan2",     0, KL_F32,  2, 5, 4 },
    { "wan3",     0, KL_F32,  3, 2, 3 },
    { "wan5",     0, KL_F32,  5, 2, 3 },
    { "wan_bf16", 0, KL_BF16, 2, 3, 2 },
    { "outer5",   1, KL_F32,  5, 5, 4 },
    { "inner3",   2, KL_F32,  3, 3, 5 },
    { "residual1",     3, KL_F32,  1, 2, 3 },
    { "residual2",     3, KL_F32,  2, 5, 4 },
    { "residual3",     3, KL_F32,  3, 2, 3 },
    { "residual5",     3, KL_F32,  5, 1, 2 },
    { "residual_bf16", 3, KL_BF16, 2, 3, 2 },
    { "narrow5",       4, KL_F32,  5, 5, 4 },
    { "patch3",        5, KL_F32,  3, 3, 2 },
    { "patched2",      6, KL_F32,  2, 3, 5 },
};
static const Case encode_cases[] = {
    { "wan1",     0, KL_F32,  1,  16, 24 },
    { "wan5",     0, KL_F32,  5,  40, 32 },
    { "wan9",     0, KL_F32,  9,  16, 24 },
    { "wan17",    0, KL_F32,  17, 16, 24 },
    { "wan_bf16", 0, KL_BF16, 5,  24, 16 },
    { "outer9",   1, KL_F32,  9,  10, 6 },
    { "inner9",   2, KL_F32,  9,  12, 20 },
    { "residual1",     3, KL_F32,  1,  32, 48 },
    { "residual5",     3, KL_F32,  5,  80, 64 },
    { "residual9",     3, KL_F32,  9,  32, 48 },
    { "residual17",    3, KL_F32,  17, 16, 32 },
    { "residual_bf16", 3, KL_BF16, 5,  48, 32 },
    { "narrow9",       4, KL_F32,  9,  10, 6 },
    { "patch3_9",      5, KL_F32,  9,  48, 24 },
    { "patched5",      6, KL_F32,  5,  12, 20 },
};

static KlDiag diag;
static KlWeights *golden;
static GoldenTable tables[GOLDEN_TABLES];
static int n_tables;

typedef struct Model {
    KlWeights *w;
    void *mem;
    KlVae *vae;
} Model;

static int model_open(Model *m, KlDiag *d, const GoldenTable *t, const Case *c)
{
    const KlVaeConfig *cfg = &models[c->model];

    *m = (Model){ 0 };
    if (synth_weights(SYNTH_VAE, cfg, SEED, c->dtype, 0, &m->w, &m->mem) < 0)
        return kl_fail(d, KLING_ERROR_OUT_OF_MEMORY, "no weights");
    return kl_vae_create(d, &m->vae, &t->k, m->w, cfg);
}

static void model_close(Model *m)
{
    kl_vae_destroy(&m->vae);
    kl_weights_close(&m->w);
    free(m->mem);
}

typedef struct Pictures {
    const GoldenTable *t;
    float *host;
    size_t floats;                      /* of one picture */
    int n, max;
    int stop_at;                        /* picture after which the callback says 42; 0: never */
} Pictures;

static int keep(void *opaque, const float *x)
{
    Pictures *p = opaque;

    if (p->n < p->max)
        p->t->k.mem_download(p->t->ex, p->host + p->n * p->floats, x, p->floats * sizeof(*x));
    p->n++;
    return p->n == p->stop_at ? 42 : 0;
}

static void decode_case(const GoldenTable *t, const Case *c)
{
    const KlVaeConfig *cfg = &models[c->model];
    int factor, frames;
    int64_t plane = (int64_t)c->R * c->W, ld = plane * c->F;    /* z[z,F,R,W] */
    KlVaeDecoder *dec = NULL;
    Pictures p = { .t = t };
    char name[64];
    float *z;
    Model m;

    snprintf(name, sizeof(name), "%s.z", c->name);
    z = golden_inputs(t, SEED, name, cfg->z_dim * ld);
    REQUIRE(model_open(&m, &diag, t, c) == 0, "%s", diag.error);
    factor = kl_vae_space_factor(m.vae);
    frames = 1 + kl_vae_time_factor(m.vae) * (c->F - 1);
    p.floats = (size_t)plane * factor * factor * 3;
    p.max = frames;
    REQUIRE(p.host = malloc(p.floats * (size_t)frames * sizeof(float)), "memory");
    REQUIRE(kl_vae_decoder_create(m.vae, t->ex, &diag, c->R, c->W, &dec) == 0, "%s", diag.error);
    for (int f = 0; f < c->F; f++) {
        REQUIRE(kl_vae_decode(dec, &diag, z + f * plane, ld, keep, &p) == 0, "%s", diag.error);
        CHECK(p.n == 1 + kl_vae_time_factor(m.vae) * f, "%d pictures after latent frame %d", p.n, f);
    }
    golden_compare(golden, "decode", c->name, t->name, p.host, (int64_t)p.floats * frames, TOLERANCE);
    kl_vae_decoder_destroy(&dec);
    model_close(&m);
    free(p.host);
    t->k.mem_free(t->ex, z);
}

static void encode_case(const GoldenTable *t, const Case *c)
{
    const KlVaeConfig *cfg = &models[c->model];
    int64_t floats = (int64_t)c->R * c->W * 3, plane, n;
    const float *pictures[17];
    KlVaeEncoder *enc = NULL;
    int factor, step, F;
    float *x, *z, *host;
    char name[64];
    Model m;

    snprintf(name, sizeof(name), "%s.x", c->name);
    x = golden_inputs(t, SEED, name, floats * c->F);
    REQUIRE(model_open(&m, &diag, t, c) == 0, "%s", diag.error);
    factor = kl_vae_space_factor(m.vae);
    step = kl_vae_time_factor(m.vae);
    F = 1 + (c->F - 1) / step;
    plane = (int64_t)(c->R / factor) * (c->W / factor);
    n = cfg->z_dim * F * plane;
    z = t->k.mem_alloc(t->ex, (size_t)n * sizeof(*z));
    host = malloc((size_t)n * sizeof(*host));
    REQUIRE(x && z && host, "memory");
    REQUIRE(kl_vae_encoder_create(m.vae, t->ex, &diag, c->R, c->W, &enc) == 0, "%s", diag.error);
    for (int i = 0; i < c->F; i++)
        pictures[i] = x + i * floats;
    for (int f = 0; f < F; f++)
        REQUIRE(kl_vae_encode(enc, &diag, pictures + (f ? 1 + step * (f - 1) : 0), f ? step : 1, z + f * plane,
                              F * plane) == 0, "%s", diag.error);
    CHECK(kl_vae_encode(enc, &diag, pictures, step + 1, z, F * plane) == KLING_ERROR_INVALID_ARG,
          "%d pictures were accepted", step + 1);
    t->k.mem_download(t->ex, host, z, (size_t)n * sizeof(*z));
    golden_compare(golden, "encode", c->name, t->name, host, n, TOLERANCE);
    kl_vae_encoder_destroy(&enc);
    model_close(&m);
    free(host);
    t->k.mem_free(t->ex, x);
    t->k.mem_free(t->ex, z);
}

static int drop(void *opaque, KlDiag *d, const float *x)
{
    (void)d;
    (void)x;
    ++*(int *)opaque;
    return 0;
}

/* Bytes of a half's packed convolutions, without the backend's rounding up; of a doubling's 3x3 also the four 2x2s. */
static size_t packed_bytes(const KlVaeHalf *h)
{
    size_t n = 0;

    for (int i = 0; i < h->n; i++)
        for (int j = 0; j < KL_VAE_CONVS; j++) {
            const KlVaeConv *c = &h->stage[i].conv[j];

            bool doubled = j == 0 && (h->stage[i].kind == KL_VAE_UP || h->stage[i].kind == KL_VAE_UP_TIME);

            if (c->w.data)
                n += (size_t)c->ic * (size_t)c->oc * (size_t)c->kt * (size_t)(c->kh * c->kw + (doubled ? 16 : 0));
        }
    return n * sizeof(float);
}

/* What a decoder holds does not grow with the clip, and is what it was said to be before. */
static void test_memory_is_bounded(int model, int R, int W)
{
    const KlVaeConfig *cfg = &models[model];
    const GoldenTable *t = &tables[1];
    int pictures = 0;
    KlVaeStream s = { .sink = drop, .opaque = &pictures };
    int64_t n = (int64_t)R * W;
    size_t bytes = 0, estimate, packed;
    const Case c = { .model = model };
    Model m;

    REQUIRE(model_open(&m, &diag, t, &c) == 0, "%s", diag.error);
    REQUIRE(kl_vae_stream_open(&s, &diag, m.vae->dec, t->ex, R, W) == 0, "%s", diag.error);
    for (int f = 0; f < 7; f++) {
        float *x = kl_vae_take(&s, &diag, n * cfg->z_dim);

        REQUIRE(x, "%s", diag.error);
        t->k.mem_zero(t->ex, x, (size_t)n * (size_t)cfg->z_dim * sizeof(*x));
        REQUIRE(kl_vae_push(&s, &diag, x) == 0, "%s", diag.error);
        if (f == 3)                     /* the second in time of the innermost doubling's past: all pasts are full */
            bytes = s.pool_peak;
    }
    CHECK(pictures == 1 + 6 * kl_vae_time_factor(m.vae), "%d pictures", pictures);
    CHECK(s.pool_peak == bytes, "%zu bytes after 4 latent frames, %zu after 7", bytes, s.pool_peak);
    for (int i = 0; i < s.pool_n; i++)
        CHECK(((uintptr_t)s.pool[i].p & 63) == 0, "picture %d is not aligned", i);
    packed = packed_bytes(m.vae->dec);
    estimate = kl_vae_decoder_bytes(m.vae, R, W);
    printf("# %s at %dx%d: %zu bytes of pictures, estimated %.3f times that\n", model_name[model], W, R, bytes,
           (double)(estimate - packed) / (double)bytes);
    CHECK(estimate >= packed + bytes && (double)(estimate - packed) <= 1.02 * (double)bytes,
          "%zu bytes are estimated, %zu + %zu are held", estimate, packed, bytes);
    kl_vae_stream_close(&s);
    model_close(&m);
}

/* The same of an encoder, for latents of R x W. */
static void test_encoder_memory(int model, int R, int W)
{
    const GoldenTable *t = &tables[1];
    int latents = 0;
    KlVaeStream s = { .sink = drop, .opaque = &latents };
    size_t bytes = 0, estimate, packed;
    const Case c = { .model = model };
    int f, step;
    Model m;

    REQUIRE(model_open(&m, &diag, t, &c) == 0, "%s", diag.error);
    R *= kl_vae_space_factor(m.vae);
    W *= kl_vae_space_factor(m.vae);
    step = kl_vae_time_factor(m.vae);
    REQUIRE(kl_vae_stream_open(&s, &diag, m.vae->enc, t->ex, R, W) == 0, "%s", diag.error);
    for (f = 0; f < 1 + 6 * step; f++) {
        float *x = kl_vae_take(&s, &diag, (int64_t)R * W * 3);

        REQUIRE(x, "%s", diag.error);
        t->k.mem_zero(t->ex, x, sizeof(*x) * 3 * (size_t)R * (size_t)W);
        REQUIRE(kl_vae_push(&s, &diag, x) == 0, "%s", diag.error);
        if (f == 3 * step)
            bytes = s.pool_peak;
    }
    CHECK(latents == 7, "%d latent frames", latents);
    CHECK(s.pool_peak == bytes, "%zu bytes after %d pictures, %zu after %d", bytes, 3 * step + 1, s.pool_peak, f);
    packed = packed_bytes(m.vae->enc);
    estimate = kl_vae_encoder_bytes(m.vae, R, W);
    printf("# %s encoding %dx%d: %zu bytes of pictures, estimated %.3f times that\n", model_name[model], W, R, bytes,
           (double)(estimate - packed) / (double)bytes);
    CHECK(estimate >= packed + bytes && (double)(estimate - packed) <= 1.1 * (double)bytes,
          "%zu bytes are estimated, %zu + %zu are held", estimate, packed, bytes);
    kl_vae_stream_close(&s);
    model_close(&m);
}

/* A picture's consumer may stop a decoder, which then stays stopped. */
static void test_stop(void)
{
    const Case *c = &decode_cases[2];
    const KlVaeConfig *cfg = &models[c->model];
    const GoldenTable *t = &tables[1];
    int64_t plane = (int64_t)c->R * c->W;
    float *z = golden_inputs(t, SEED, "z", cfg->z_dim * plane);
    KlDiag d = { 0 };
    KlVaeDecoder *dec = NULL;
    Pictures p = { .t = t, .stop_at = 3 };
    Model m;

    REQUIRE(model_open(&m, &d, t, c) == 0, "%s", d.error);
    REQUIRE(kl_vae_decoder_create(m.vae, t->ex, &d, c->R, c->W, &dec) == 0, "%s", d.error);
    CHECK(kl_vae_decode(dec, &d, z, plane, keep, &p) == 0, "%s", d.error);
    CHECK(kl_vae_decode(dec, &d, z, plane, keep, &p) == 42, "the callback's status was lost");
    CHECK(p.n == 3, "%d pictures", p.n);
    CHECK(kl_vae_decode(dec, &d, z, plane, keep, &p) < 0 && p.n == 3, "a stopped decoder went on");
    kl_vae_decoder_destroy(&dec);

    model_close(&m);
    t->k.mem_free(t->ex, z);
}

/* A table whose convolution counts its calls and cancels at one. */
static struct {
    KlKernels k;
    int calls, cancel_at;
    atomic_int cancel;
} spy;

static void spy_conv(KlExec *ex, const KlConv *c, float *out, const float *const *src, const float *residual)
{
    if (++spy.calls == spy.cancel_at)
        atomic_store(&spy.cancel, 1);
    spy.k.conv(ex, c, out, src, residual);
}

/* Cancelled during any convolution, no other one is begun. */
static void test_cancel(void)
{
    const Case *c = &decode_cases[2];
    const KlVaeConfig *cfg = &models[c->model];
    GoldenTable t = tables[1];
    int64_t plane = (int64_t)c->R * c->W;
    float *z = golden_inputs(&t, SEED, "z", cfg->z_dim * plane);
    KlDiag d = { .cancel = &spy.cancel };
    Pictures p = { .t = &t };
    KlVaeDecoder *dec = NULL;
    int ret;
    Model m;

    spy.k = t.k;
    t.k.conv = spy_conv;
    REQUIRE(model_open(&m, &d, &t, c) == 0, "%s", d.error);
    for (int at = 1; at < 200; at += 13) {
        spy.calls = 0;
        spy.cancel_at = at;
        REQUIRE(kl_vae_decoder_create(m.vae, t.ex, &d, c->R, c->W, &dec) == 0, "%s", d.error);
        for (ret = 0; !ret;)
            ret = kl_vae_decode(dec, &d, z, plane, keep, &p);
        CHECK(ret == KLING_ERROR_CANCELLED && spy.calls == at, "cancelled in convolution %d: %d after %d", at, ret,
              spy.calls);
        atomic_store(&spy.cancel, 0);
        CHECK(kl_vae_decode(dec, &d, z, plane, keep, &p) == KLING_ERROR_CANCELLED && spy.calls == at,
              "a cancelled decoder went on");
        kl_vae_decoder_destroy(&dec);
    }
    model_close(&m);
    t.k.mem_free(t.ex, z);
}

/* Whichever allocation fails, the decoder says so, and nothing is left behind (the sanitizers look). */
static void test_out_of_memory(const Case *c)
{
    const KlVaeConfig *cfg = &models[c->model];
    GoldenTable t = tables[1];
    int64_t plane = (int64_t)c->R * c->W;
    float *z = golden_inputs(&t, SEED, "z", cfg->z_dim * plane);
    Pictures p = { .t = &t };
    KlVaeDecoder *dec;
    int ret, tried = 0;
    Model m;

    t.k = poor_table(&tables[1].k);
    REQUIRE(model_open(&m, &diag, &t, c) == 0, "%s", diag.error);
    do {
        poor.calls = 0;
        poor.fail_at = ++tried;
        diag.error[0] = 0;
        ret = kl_vae_decoder_create(m.vae, t.ex, &diag, c->R, c->W, &dec);
        for (int f = 0; !ret && f < 4; f++)
            ret = kl_vae_decode(dec, &diag, z, plane, keep, &p);
        CHECK(ret == (poor.calls < tried ? 0 : KLING_ERROR_OUT_OF_MEMORY), "allocation %d: status %d", tried, ret);
        CHECK(!ret || strstr(diag.error, "out of memory"), "allocation %d: \"%s\"", tried, diag.error);
        kl_vae_decoder_destroy(&dec);
        CHECK(m.vae->dec->users == 0, "allocation %d: %d users are left", tried, m.vae->dec->users);
    } while (ret && tried < 1000);
    CHECK(tried > 50, "only %d allocations", tried);
    model_close(&m);
    poor.k.mem_free(t.ex, z);
}

typedef struct Clip {
    const KlVae *vae;
    const GoldenTable *t;
    Pictures p;
    int status;
} Clip;

/* Three latent frames on an executor of its own. */
static void *decode_clip(void *opaque)
{
    const Case *c = &decode_cases[2];
    Clip *clip = opaque;
    GoldenTable own = *clip->t;
    KlExecParams ep = { .threads = 1 };
    int64_t plane = (int64_t)c->R * c->W;
    KlVaeDecoder *dec = NULL;
    KlDiag d = { 0 };
    float *z;

    clip->p.t = &own;
    if ((clip->status = own.k.exec_create(&own.k, &own.ex, &ep)) < 0)
        return NULL;
    z = golden_inputs(&own, SEED, "z", models[0].z_dim * plane);
    clip->status = kl_vae_decoder_create(clip->vae, own.ex, &d, c->R, c->W, &dec);
    for (int f = 0; clip->status == 0 && f < 3; f++)
        clip->status = kl_vae_decode(dec, &d, z, plane, keep, &clip->p);
    if (clip->status == 0)
        kl_vae_decoder_destroy(&dec);
    own.k.mem_free(own.ex, z);
    own.k.exec_destroy(&own.ex);
    return NULL;
}

/* Clips of one model share its packed weights, which come with the first and go with the last. */
static void test_at_once(void)
{
    const Case *c = &decode_cases[2];
    Clip clip[3] = { 0 };
    pthread_t thread[3];
    size_t floats = (size_t)c->R * c->W * 64 * 3;
    Model m;

    REQUIRE(model_open(&m, &diag, &tables[1], c) == 0, "%s", diag.error);
    for (int i = 0; i < 3; i++) {
        clip[i] = (Clip){ .vae = m.vae, .t = &tables[1], .p = { .floats = floats, .max = 9 } };
        REQUIRE(clip[i].p.host = calloc(9, floats * sizeof(float)), "memory");
    }
    decode_clip(&clip[0]);
    CHECK(m.vae->dec->users == 0 && !m.vae->dec->stage[0].conv[0].packed, "packed weights are left");
    for (int i = 1; i < 3; i++)
        REQUIRE(!pthread_create(&thread[i], NULL, decode_clip, &clip[i]), "no thread");
    for (int i = 1; i < 3; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < 3; i++) {
        CHECK(clip[i].status == 0 && clip[i].p.n == 9, "clip %d: status %d, %d pictures", i, clip[i].status,
              clip[i].p.n);
        CHECK(!memcmp(clip[0].p.host, clip[i].p.host, 9 * floats * sizeof(float)), "clip %d differs", i);
    }
    for (int i = 0; i < 3; i++)
        free(clip[i].p.host);
    CHECK(m.vae->dec->users == 0 && !m.vae->dec->stage[0].conv[0].packed, "packed weights are left");
    model_close(&m);
}

/* A file without an encoder still decodes; every other missing tensor is named. */
static void test_missing(const Case *c)
{
    const KlVaeConfig *cfg = &models[c->model];
    const GoldenTable *t = &tables[1];
    KlWeights *other = NULL;
    KlVaeEncoder *enc = NULL;
    KlTensor *list;
    KlVae *vae = NULL;
    int n, some = 0;
    Model m;

    REQUIRE(model_open(&m, &diag, t, c) == 0, "%s", diag.error);
    REQUIRE(list = malloc(sizeof(*list) * (size_t)(kl_weights_all(m.w, &n), n)), "memory");
    for (int i = 0; i < n; i++) {
        const KlTensor *all = kl_weights_all(m.w, &n);
        int kept = 0;

        for (int j = 0; j < n; j++)
            if (j != i)
                list[kept++] = all[j];
        REQUIRE(kl_weights_borrow(&diag, &other, list, kept, "mem") == 0, "%s", diag.error);
        if (strcmp(all[i].name, "encoder.conv_in.weight")) {
            CHECK(kl_vae_create(&diag, &vae, &t->k, other, cfg) < 0 && !vae && strstr(diag.error, all[i].name),
                  "without %s: %s", all[i].name, diag.error);
        } else {
            REQUIRE(kl_vae_create(&diag, &vae, &t->k, other, cfg) == 0, "%s", diag.error);
            CHECK(kl_vae_encoder_create(vae, t->ex, &diag, 48, 48, &enc) == KLING_ERROR_NOT_FOUND && !enc, "%s",
                  diag.error);
            kl_vae_destroy(&vae);
            some++;
        }
        kl_weights_close(&other);
    }
    CHECK(some == 1, "the encoder's first tensor has another name");
    CHECK(kl_vae_encoder_create(m.vae, t->ex, &diag, 16, 15, &enc) == KLING_ERROR_INVALID_ARG && !enc, "%s",
          diag.error);
    free(list);
    model_close(&m);
}

static void run_engine(void)
{
    char name[64];

    for (int i = 0; i < MODELS; i++) {
        snprintf(name, sizeof(name), "test_memory_is_bounded_%s", model_name[i]);
        NAMED(name, test_memory_is_bounded(i, 3, 4));
        snprintf(name, sizeof(name), "test_encoder_memory_%s", model_name[i]);
        NAMED(name, test_encoder_memory(i, 3, 4));
    }
    RUN(test_stop);
    RUN(test_cancel);
    NAMED("test_out_of_memory", test_out_of_memory(&decode_cases[5]));
    NAMED("test_out_of_memory_residual", test_out_of_memory(&decode_cases[12]));
    RUN(test_at_once);
    NAMED("test_missing", test_missing(&decode_cases[5]));
    NAMED("test_missing_residual", test_missing(&decode_cases[12]));
}

int main(void)
{
    char name[64];

    for (int i = 0; i < MODELS; i++) {
        char key[32];

        snprintf(key, sizeof(key), "%s.mean", model_name[i]);
        for (int c = 0; c < models[i].z_dim; c++)
            models[i].mean[c] = synth_value(synth_key(SEED, key), (uint64_t)c, 0, 1);
        snprintf(key, sizeof(key), "%s.std", model_name[i]);
        for (int c = 0; c < models[i].z_dim; c++)
            models[i].std[c] = 2 + synth_value(synth_key(SEED, key), (uint64_t)c, 0, 1);
    }
    if (kl_weights_open(&diag, &golden, "tests/golden/data/vae.safetensors") < 0 ||
        (n_tables = golden_tables(tables)) < 0) {
        printf("not ok vae: %s\n", diag.error);
        return 1;
    }
    for (int i = 0; i < n_tables; i++) {
        for (size_t j = 0; j < KL_ARRAY_LEN(decode_cases); j++) {
            snprintf(name, sizeof(name), "vae_decode_%s_%s", decode_cases[j].name, tables[i].name);
            NAMED(name, decode_case(&tables[i], &decode_cases[j]));
        }
        for (size_t j = 0; j < KL_ARRAY_LEN(encode_cases); j++) {
            snprintf(name, sizeof(name), "vae_encode_%s_%s", encode_cases[j].name, tables[i].name);
            NAMED(name, encode_case(&tables[i], &encode_cases[j]));
        }
    }
    if (!getenv("KLING_TEST_CUDA"))       /* the engine's own, on any one table */
        run_engine();
    golden_tables_close(tables, n_tables);
    kl_weights_close(&golden);
    return check_exit();
}
