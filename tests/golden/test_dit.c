/*
 * The transformer, stage by stage and whole, against diffusers (gen_dit.py).
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Tolerances, relative to the largest magnitude of a stage's output (u = 2^-24, a rounding of f32):
 *   rope        two libms' cos of the same double: 1 ulp, 2u.
 *   sinusoid    the reference's frequencies come from an expf that may be 1 ulp off: 2^-24 below 1, times t in the
 *               angle; then t*f, below t, may round to the other side: another t 2^-24. Cosines of it: 1 ulp more.
 *   stages      a dot product of K terms summed in f32 is off by about sqrt(K) u of its norm, at most 18 u for K = 320;
 *               a stage chains up to four, with a layer norm (gain about 1) and a softmax (relative error of a weight
 *               = absolute error of a score, |score| < 4: 4 * 18 u) between: 100 u = 6e-6. Each stage runs on what the
 *               one before left, so later ones inherit: 1e-5.
 *   output      2 blocks and the head: 2e-5.
 */
#include "engine/dit_internal.h"
#include "tests/golden/golden.h"
#include "tests/golden/poor.h"
#include "tools/synth_model.h"

#define SEED 7
#define ROPE_TOL 1.2e-7
#define SINUSOID_TOL(t) (1.2e-7 * (t) + 1.2e-7)
#define STAGE_TOL 1e-5
#define OUTPUT_TOL 2e-5

static const KlDitConfig configs[] = {
    { .dim = 24, .heads = 2, .head_dim = 12, .ffn = 40, .layers = 2, .in_ch = 5, .out_ch = 3, .text_dim = 20,
      .text_len = 512, .freq_dim = 32, .patch_h = 2, .patch_w = 2, .eps = 1e-6f, .cross_attn_norm = true },
    { .dim = 60, .heads = 3, .head_dim = 20, .ffn = 76, .layers = 1, .in_ch = 4, .out_ch = 4, .text_dim = 24,
      .text_len = 512, .freq_dim = 30, .patch_h = 1, .patch_w = 3, .eps = 1e-5f, .cross_attn_norm = false },
    { .dim = 256, .heads = 2, .head_dim = 128, .ffn = 320, .layers = 2, .in_ch = 16, .out_ch = 16, .text_dim = 48,
      .text_len = 512, .freq_dim = 256, .patch_h = 2, .patch_w = 2, .eps = 1e-6f, .cross_attn_norm = true },
    { .dim = 24, .heads = 2, .head_dim = 12, .ffn = 40, .layers = 2, .in_ch = 9, .out_ch = 4, .text_dim = 20,
      .text_len = 512, .freq_dim = 32, .patch_h = 2, .patch_w = 2, .eps = 1e-6f, .cross_attn_norm = true,
      .image_dim = 14 },
    { .dim = 60, .heads = 3, .head_dim = 20, .ffn = 76, .layers = 2, .in_ch = 6, .out_ch = 4, .text_dim = 24,
      .text_len = 512, .freq_dim = 30, .patch_h = 2, .patch_w = 2, .eps = 1e-6f, .cross_attn_norm = false,
      .image_dim = 26, .image_len = 10 },
};

typedef struct Case {
    const char *name;
    int config;
    KlDType dtype;
    int F, R, W, n;
    float t[3];
    int images;                         /* rows of an image encoder, 0: none */
} Case;

static const Case cases[] = {
    { "h12",        0, KL_F32,  3, 6, 10, 9,   { 875.25f, 875.25f, 875.25f }, 0 },
    { "h12_frames", 0, KL_F32,  3, 6, 10, 512, { 0, 500.5f, 993 }, 0 },
    { "h20",        1, KL_F32,  1, 5, 9,  1,   { 1000 }, 0 },
    { "h20_frames", 1, KL_F32,  2, 7, 3,  30,  { 0, 31 }, 0 },
    { "h128",       2, KL_F32,  3, 6, 6,  512, { 3.5f, 3.5f, 3.5f }, 0 },
    { "h128_bf16",  2, KL_BF16, 3, 6, 6,  9,   { 731, 731, 731 }, 0 },
    { "image",      3, KL_F32,  3, 6, 10, 9,   { 875.25f, 875.25f, 875.25f }, 7 },
    { "image_bf16", 3, KL_BF16, 2, 4, 6,  512, { 12, 12 }, 1 },
    { "images",     4, KL_F32,  2, 6, 4,  30,  { 500.5f, 500.5f }, 10 },
};

static KlDiag diag;
static KlWeights *golden;
static GoldenTable tables[GOLDEN_TABLES];
static int n_tables;

/* One case being compared. */
typedef struct Run {
    const GoldenTable *t;
    const Case *c;
    KlDitSession *s;
    float *host;                        /* room for the largest stage */
} Run;

/* Shows the session the case's pictures. */
static void show_images(const Run *r)
{
    const int dim = r->s->dit->cfg.image_dim, n = r->c->images;
    char name[64];
    float *rows;

    if (!n)
        return;
    snprintf(name, sizeof(name), "%s.image", r->c->name);
    rows = golden_inputs(r->t, SEED, name, (int64_t)n * dim);
    REQUIRE(kl_dit_set_image(r->s, &diag, rows, n) == 0, "%s", diag.error);
    r->t->k.mem_free(r->t->ex, rows);
}

/* Compares x[rows,n] of row stride ld. */
static void compare(const Run *r, const char *component, const float *x, int64_t ld, int64_t rows, int64_t n,
                    double tolerance)
{
    for (int64_t i = 0; i < rows; i++)
        r->t->k.mem_download(r->t->ex, r->host + i * n, x + i * ld, (size_t)n * sizeof(float));
    golden_compare(golden, component, r->c->name, r->t->name, r->host, rows * n, tolerance);
}

static void run_stages(const Run *r, const float *z, const float *ctx)
{
    KlDitSession *s = r->s;
    const KlDit *m = s->dit;
    int64_t D = m->cfg.dim, half = m->cfg.head_dim / 2;
    int keys = KL_MIN(r->c->n + 1, m->cfg.text_len);

    compare(r, "rope_cos", s->cos, half, s->S, half, ROPE_TOL);
    compare(r, "rope_sin", s->sin, half, s->S, half, ROPE_TOL);
    REQUIRE(kl_dit_set_context(s, &diag, 1, ctx, r->c->n) == 0, "%s", diag.error);
    /* set_context leaves the embedded rows in its corner of the work buffer */
    compare(r, "text_embed", s->work + keys * (m->cfg.text_dim + D), D, keys, D, STAGE_TOL);
    REQUIRE(kl_dit_set_time(s, &diag, r->c->t) == 0, "%s", diag.error);
    kl_dit_time_embed(s);
    compare(r, "sinusoid", s->freq, m->cfg.freq_dim, s->groups, m->cfg.freq_dim,
            SINUSOID_TOL(r->c->t[r->c->F - 1]));
    compare(r, "temb", s->temb, D, s->groups, D, STAGE_TOL);
    compare(r, "time_proj", s->tproj, 6 * D, s->groups, 6 * D, STAGE_TOL);
    kl_dit_patch_embed(s, z);
    compare(r, "patch_embed", s->x, D, s->S, D, STAGE_TOL);
    kl_dit_modulate(s, m->blocks[0].table);
    kl_dit_self_attention(s, &m->blocks[0]);
    compare(r, "attention", s->work, 3 * D, s->S, D, STAGE_TOL);
    compare(r, "after_self", s->x, D, s->S, D, STAGE_TOL);
    kl_dit_cross_attention(s, &m->blocks[0], 0, 1);
    compare(r, "after_cross", s->x, D, s->S, D, STAGE_TOL);
    kl_dit_ffn(s, &m->blocks[0]);
    compare(r, "block", s->x, D, s->S, D, STAGE_TOL);
}

static void run_case(const GoldenTable *t, const Case *c, int64_t chunk)
{
    const KlDitConfig *cfg = &configs[c->config];
    int64_t zn = (int64_t)cfg->in_ch * c->F * c->R * c->W, vn = (int64_t)cfg->out_ch * c->F * c->R * c->W;
    Run r = { .t = t, .c = c };
    KlWeights *w = NULL;
    KlDit *dit = NULL;
    float *z, *ctx, *v = t->k.mem_alloc(t->ex, (size_t)vn * sizeof(*v));
    char name[64];
    void *mem = NULL;

    snprintf(name, sizeof(name), "%s.z", c->name);
    z = golden_inputs(t, SEED, name, zn);
    snprintf(name, sizeof(name), "%s.ctx", c->name);
    ctx = golden_inputs(t, SEED, name, (int64_t)c->n * cfg->text_dim);
    REQUIRE(synth_weights(SYNTH_DIT, cfg, SEED, c->dtype, 0, &w, &mem) == 0, "no weights");
    REQUIRE(kl_dit_create(&diag, &dit, &t->k, w, cfg) == 0, "%s", diag.error);
    REQUIRE(kl_dit_session_create(dit, t->ex, &diag, c->F, c->R, c->W, &r.s) == 0, "%s", diag.error);
    REQUIRE(r.host = malloc((size_t)r.s->work_floats * sizeof(float)), "memory");
    show_images(&r);
    if (chunk) {                        /* small chunks, as a long clip has; the buffer is only used less */
        r.s->chunk = chunk;
        r.s->work_floats = KL_MAX(chunk * (cfg->dim + cfg->ffn), chunk * 2 * cfg->dim);
    } else {
        run_stages(&r, z, ctx);
    }
    REQUIRE(kl_dit_set_context(r.s, &diag, 0, ctx, c->n) == 0, "%s", diag.error);
    REQUIRE(kl_dit_forward(r.s, &diag, 0, z, c->t, v) == 0, "%s", diag.error);
    if (!chunk)                         /* what the head left behind */
        compare(&r, "norm_out", r.s->work, cfg->dim, r.s->S, cfg->dim, OUTPUT_TOL);
    compare(&r, "output", v, vn, 1, vn, OUTPUT_TOL);
    free(r.host);
    kl_dit_session_destroy(&r.s);
    kl_dit_destroy(&dit);
    kl_weights_close(&w);
    free(mem);
    t->k.mem_free(t->ex, z);
    t->k.mem_free(t->ex, ctx);
    t->k.mem_free(t->ex, v);
}

/* A slot's context may be replaced by a longer and a shorter one; slots do not touch each other. */
static void test_contexts(void)
{
    const Case *c = &cases[0];
    const KlDitConfig *cfg = &configs[c->config];
    const GoldenTable *t = &tables[1];
    int64_t n = (int64_t)cfg->out_ch * c->F * c->R * c->W;
    size_t bytes = (size_t)n * sizeof(float);
    float *z = golden_inputs(t, SEED, "z", (int64_t)cfg->in_ch * c->F * c->R * c->W);
    float *ctx = golden_inputs(t, SEED, "ctx", 512 * (int64_t)cfg->text_dim);
    float *v[3] = { t->k.mem_alloc(t->ex, bytes), t->k.mem_alloc(t->ex, bytes), t->k.mem_alloc(t->ex, bytes) };
    KlWeights *w = NULL;
    KlDit *dit = NULL;
    KlDitSession *s = NULL;
    void *mem = NULL;

    REQUIRE(synth_weights(SYNTH_DIT, cfg, SEED, KL_F32, 0, &w, &mem) == 0, "no weights");
    REQUIRE(kl_dit_create(&diag, &dit, &t->k, w, cfg) == 0, "%s", diag.error);
    REQUIRE(kl_dit_session_create(dit, t->ex, &diag, c->F, c->R, c->W, &s) == 0, "%s", diag.error);
    CHECK(kl_dit_forward(s, &diag, 0, z, c->t, v[0]) < 0, "an empty slot was accepted");
    CHECK(kl_dit_set_context(s, &diag, 0, ctx, 513) == KLING_ERROR_INVALID_ARG, "513 tokens were accepted");
    CHECK(kl_dit_set_context(s, &diag, 2, ctx, 5) == KLING_ERROR_INVALID_ARG, "slot 2 was accepted");
    REQUIRE(kl_dit_set_context(s, &diag, 0, ctx, 5) == 0, "%s", diag.error);
    REQUIRE(kl_dit_forward(s, &diag, 0, z, c->t, v[0]) == 0, "%s", diag.error);
    REQUIRE(kl_dit_set_context(s, &diag, 1, ctx, 512) == 0, "%s", diag.error);
    REQUIRE(kl_dit_forward(s, &diag, 0, z, c->t, v[1]) == 0, "%s", diag.error);
    CHECK(!memcmp(v[0], v[1], bytes), "slot 1 changed slot 0");
    REQUIRE(kl_dit_set_context(s, &diag, 0, ctx, 512) == 0, "%s", diag.error);
    REQUIRE(kl_dit_forward(s, &diag, 0, z, c->t, v[1]) == 0, "%s", diag.error);
    REQUIRE(kl_dit_forward(s, &diag, 1, z, c->t, v[2]) == 0, "%s", diag.error);
    CHECK(memcmp(v[0], v[1], bytes), "the context does not matter");
    CHECK(!memcmp(v[1], v[2], bytes), "a slot remembers its first context");
    REQUIRE(kl_dit_set_context(s, &diag, 1, ctx, 5) == 0, "%s", diag.error);
    REQUIRE(kl_dit_forward(s, &diag, 1, z, c->t, v[2]) == 0, "%s", diag.error);
    CHECK(!memcmp(v[0], v[2], bytes), "a shorter context keeps some of the longer");
    kl_dit_session_destroy(&s);
    kl_dit_destroy(&dit);
    kl_weights_close(&w);
    free(mem);
    t->k.mem_free(t->ex, z);
    t->k.mem_free(t->ex, ctx);
    for (int i = 0; i < 3; i++)
        t->k.mem_free(t->ex, v[i]);
}

/* A transformer that takes pictures wants as many rows as it has positions, and all others refuse them. */
static void test_images(void)
{
    const GoldenTable *t = &tables[1];
    float *x = golden_inputs(t, SEED, "z", 8192), *v = golden_inputs(t, SEED, "v", 8192);
    const float time[2] = { 5, 5 };

    for (int i = 2; i < 5; i++) {
        const KlDitConfig *cfg = &configs[i];
        const bool takes = cfg->image_dim != 0;
        KlDitConfig other = *cfg;
        KlWeights *w = NULL;
        KlDit *dit = NULL;
        KlDitSession *s = NULL;
        void *mem = NULL;

        REQUIRE(synth_weights(SYNTH_DIT, cfg, SEED, KL_F32, 0, &w, &mem) == 0, "no weights");
        REQUIRE(kl_dit_create(&diag, &dit, &t->k, w, cfg) == 0, "%s", diag.error);
        REQUIRE(kl_dit_session_create(dit, t->ex, &diag, 2, 4, 4, &s) == 0, "%s", diag.error);
        REQUIRE(kl_dit_set_context(s, &diag, 0, x, 3) == 0, "%s", diag.error);
        CHECK(kl_dit_forward(s, &diag, 0, x, time, v) == (takes ? KLING_ERROR_INTERNAL : 0), "%s", diag.error);
        CHECK(kl_dit_set_image(s, &diag, x, 10) == (takes ? 0 : KLING_ERROR_INVALID_ARG), "%s", diag.error);
        CHECK(kl_dit_set_image(s, &diag, x, 9) == (takes && !cfg->image_len ? 0 : KLING_ERROR_INVALID_ARG), "9 rows");
        CHECK(kl_dit_set_image(s, &diag, x, 0) == KLING_ERROR_INVALID_ARG, "no rows");
        CHECK(kl_dit_set_image(s, &diag, x, KL_DIT_MAX_IMAGE_LEN + 1) == KLING_ERROR_INVALID_ARG, "too many rows");
        CHECK(kl_dit_forward(s, &diag, 0, x, time, v) == 0, "%s", diag.error);
        kl_dit_session_destroy(&s);
        kl_dit_destroy(&dit);
        other.image_dim = other.image_len = 0;
        CHECK(kl_dit_create(&diag, &dit, &t->k, w, &other) == (takes ? KLING_ERROR_UNSUPPORTED : 0), "%s", diag.error);
        kl_dit_destroy(&dit);
        kl_weights_close(&w);
        free(mem);
    }
    t->k.mem_free(t->ex, x);
    t->k.mem_free(t->ex, v);
}

/* A table whose attention counts its calls and cancels at one. */
static struct {
    KlKernels k;
    int calls, cancel_at;
    atomic_int cancel;
} spy;

static void spy_attention(KlExec *ex, const KlAttention *p)
{
    if (++spy.calls == spy.cancel_at)
        atomic_store(&spy.cancel, 1);
    spy.k.attention(ex, p);
}

/* Cancelled anywhere, the forward ends with the block at work (two attentions each); a cancelled one does nothing. */
static void test_cancel(void)
{
    const Case *c = &cases[0];
    const KlDitConfig *cfg = &configs[c->config];
    const GoldenTable *t = &tables[1];
    KlKernels k = t->k;
    KlDiag d = { .cancel = &spy.cancel };
    float *z = golden_inputs(t, SEED, "z", (int64_t)cfg->in_ch * c->F * c->R * c->W);
    float *ctx = golden_inputs(t, SEED, "ctx", cfg->text_dim);
    float *v = golden_inputs(t, SEED, "v", (int64_t)cfg->out_ch * c->F * c->R * c->W);
    KlWeights *w = NULL;
    KlDit *dit = NULL;
    KlDitSession *s = NULL;
    void *mem = NULL;

    spy.k = t->k;
    k.attention = spy_attention;
    REQUIRE(synth_weights(SYNTH_DIT, cfg, SEED, KL_F32, 0, &w, &mem) == 0, "no weights");
    REQUIRE(kl_dit_create(&d, &dit, &k, w, cfg) == 0, "%s", d.error);
    CHECK(kl_dit_session_create(dit, t->ex, &d, 3, 5, 10, &s) == KLING_ERROR_INVALID_ARG, "odd rows were accepted");
    REQUIRE(kl_dit_session_create(dit, t->ex, &d, c->F, c->R, c->W, &s) == 0, "%s", d.error);
    REQUIRE(kl_dit_set_context(s, &d, 0, ctx, 1) == 0, "%s", d.error);
    for (int at = 1; at <= 4; at++) {
        spy.calls = 0;
        spy.cancel_at = at;
        CHECK(kl_dit_forward(s, &d, 0, z, c->t, v) == KLING_ERROR_CANCELLED, "forward went on");
        CHECK(spy.calls == (at + 1) / 2 * 2, "cancelled at attention %d, stopped after %d", at, spy.calls);
        CHECK(kl_dit_forward(s, &d, 0, z, c->t, v) == KLING_ERROR_CANCELLED && spy.calls == (at + 1) / 2 * 2,
              "a cancelled forward ran");
        atomic_store(&spy.cancel, 0);
    }
    CHECK(kl_dit_forward(s, &d, 0, z, c->t, v) == 0, "%s", d.error);
    atomic_store(&spy.cancel, 1);
    CHECK(kl_dit_set_context(s, &d, 0, ctx, 1) == KLING_ERROR_CANCELLED, "set_context went on");
    kl_dit_session_destroy(&s);
    kl_dit_destroy(&dit);
    kl_weights_close(&w);
    free(mem);
    t->k.mem_free(t->ex, z);
    t->k.mem_free(t->ex, ctx);
    t->k.mem_free(t->ex, v);
}

/* Whichever allocation fails, the session says so, and nothing is left behind (the sanitizers look). */
static void test_out_of_memory(void)
{
    const Case *c = &cases[8];
    const KlDitConfig *cfg = &configs[c->config];
    const GoldenTable *t = &tables[1];
    KlKernels k = poor_table(&t->k);
    float *ctx = golden_inputs(t, SEED, "ctx", 10 * cfg->image_dim);
    KlWeights *w = NULL;
    KlDit *dit = NULL;
    KlDitSession *s;
    void *mem = NULL;
    int ret, tried = 0;

    REQUIRE(synth_weights(SYNTH_DIT, cfg, SEED, KL_F32, 0, &w, &mem) == 0, "no weights");
    REQUIRE(kl_dit_create(&diag, &dit, &k, w, cfg) == 0, "%s", diag.error);
    do {
        poor.calls = 0;
        poor.fail_at = ++tried;
        diag.error[0] = 0;
        ret = kl_dit_session_create(dit, t->ex, &diag, c->F, c->R, c->W, &s);
        for (int n = 1; !ret && n <= 9; n += 4)
            ret = kl_dit_set_context(s, &diag, 0, ctx, n);
        if (!ret)
            ret = kl_dit_set_image(s, &diag, ctx, c->images);
        CHECK(ret == (poor.calls < tried ? 0 : KLING_ERROR_OUT_OF_MEMORY), "allocation %d: status %d", tried, ret);
        CHECK(!ret || strstr(diag.error, "out of memory"), "allocation %d: \"%s\"", tried, diag.error);
        kl_dit_session_destroy(&s);
    } while (ret && tried < 1000);
    CHECK(tried > 18, "only %d allocations", tried);
    kl_dit_destroy(&dit);
    kl_weights_close(&w);
    free(mem);
    t->k.mem_free(t->ex, ctx);
}

/* Parts that this version does not run, and parts that are missing, are named. */
static void test_refusals(int config)
{
    const KlDitConfig *cfg = &configs[config];
    const GoldenTable *t = &tables[1];
    static const char *const extra[] = {
        "condition_embedder.image_embedder.norm1.weight", "blocks.1.attn2.add_k_proj.weight",
        "vace_blocks.0.proj_in.bias",
    };
    KlWeights *w = NULL, *other = NULL;
    KlDitConfig odd = *cfg;
    const KlTensor *all;
    KlDit *dit = NULL;
    KlTensor *list;
    void *mem = NULL;
    int n;

    REQUIRE(synth_weights(SYNTH_DIT, cfg, SEED, KL_F32, 0, &w, &mem) == 0, "no weights");
    all = kl_weights_all(w, &n);
    REQUIRE(list = malloc((size_t)(n + 1) * sizeof(*list)), "memory");
    memcpy(list, all, (size_t)n * sizeof(*list));
    for (size_t i = cfg->image_dim ? 2 : 0; i < KL_ARRAY_LEN(extra); i++) {
        list[n] = list[0];
        list[n].name = list[n].file_name = extra[i];
        REQUIRE(kl_weights_borrow(&diag, &other, list, n + 1, "mem") == 0, "%s", diag.error);
        CHECK(kl_dit_create(&diag, &dit, &t->k, other, cfg) == KLING_ERROR_UNSUPPORTED && !dit &&
              strstr(diag.error, extra[i]), "%s", diag.error);
        kl_weights_close(&other);
    }
    for (int i = 0; i < n; i++) {
        list[n] = list[i];
        list[i] = list[n - 1];
        REQUIRE(kl_weights_borrow(&diag, &other, list, n - 1, "mem") == 0, "%s", diag.error);
        CHECK(kl_dit_create(&diag, &dit, &t->k, other, cfg) < 0 && !dit && strstr(diag.error, list[n].name),
              "without %s: %s", list[n].name, diag.error);
        kl_weights_close(&other);
        list[i] = list[n];
    }
    odd.head_dim = 13;
    CHECK(kl_dit_create(&diag, &dit, &t->k, w, &odd) == KLING_ERROR_INVALID_DATA && !dit, "%s", diag.error);
    free(list);
    kl_weights_close(&w);
    free(mem);
}

int main(void)
{
    char name[64];

    if (kl_weights_open(&diag, &golden, "tests/golden/data/dit.safetensors") < 0 ||
        (n_tables = golden_tables(tables)) < 0) {
        printf("not ok dit: %s\n", diag.error);
        return 1;
    }
    for (int i = 0; i < n_tables; i++)
        for (size_t j = 0; j < KL_ARRAY_LEN(cases); j++) {
            snprintf(name, sizeof(name), "dit_%s_%s", cases[j].name, tables[i].name);
            NAMED(name, run_case(&tables[i], &cases[j], 0));
            /* 4 and 17: a part of a frame, and more than one frame, of every case */
            snprintf(name, sizeof(name), "dit_%s_%s_chunks", cases[j].name, tables[i].name);
            NAMED(name, (run_case(&tables[i], &cases[j], 4), run_case(&tables[i], &cases[j], 17)));
        }
    if (!getenv("KLING_TEST_CUDA")) {   /* the engine's own, on any one table */
        RUN(test_contexts);
        RUN(test_images);
        RUN(test_cancel);
        RUN(test_out_of_memory);
        NAMED("test_refusals", test_refusals(0));
        NAMED("test_refusals_images", test_refusals(4));
    }
    golden_tables_close(tables, n_tables);
    kl_weights_close(&golden);
    return check_exit();
}
