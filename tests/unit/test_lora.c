/*
 * LoRA files: the option's text, every key accounted for, and one line for what does not fit.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * That the changes are the right ones is shown by tests/golden/test_lora.c.
 */
#include <math.h>
#include <unistd.h>

#include "engine/lora.h"
#include "tests/check.h"
#include "tools/synth_model.h"

#define BAD KLING_ERROR_INVALID_DATA
#define NOT KLING_ERROR_UNSUPPORTED
#define ARG KLING_ERROR_INVALID_ARG

static char dir[64], logged[4][512];
static int warnings;

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    snprintf(logged[level < 4 ? level : 3], sizeof(logged[0]), "%s", line);
    warnings += level == KLING_LOG_WARNING;
}

/* A file of f32 tensors "NAME ROWSxCOLUMNS", all ones; a name without a shape is a scalar. */
static void write_lora(const char *name, const char *const *tensors)
{
    char path[128], header[8192] = "{";
    size_t at = 1, bytes = 0, n;
    FILE *f;

    for (int i = 0; tensors[i]; i++) {
        int rows = 1, cols = 1, len = (int)strcspn(tensors[i], " "), dims;

        dims = sscanf(tensors[i] + len, " %dx%d", &rows, &cols);
        at += (size_t)snprintf(header + at, sizeof(header) - at, "%s\"%.*s\":{\"dtype\":\"F32\",\"shape\":[",
                               i ? "," : "", len, tensors[i]);
        if (dims > 0)
            at += (size_t)snprintf(header + at, sizeof(header) - at, dims > 1 ? "%d,%d" : "%d", rows, cols);
        n = (size_t)rows * (size_t)cols * 4;
        at += (size_t)snprintf(header + at, sizeof(header) - at, "],\"data_offsets\":[%zu,%zu]}", bytes, bytes + n);
        bytes += n;
    }
    header[at++] = '}';
    while (at % 8)
        header[at++] = ' ';
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "wb");
    for (int i = 0; i < 8; i++)
        fputc((int)(at >> 8 * i & 255), f);
    fwrite(header, 1, at, f);
    for (size_t i = 0; i < bytes / 4; i++)
        fwrite(&(float){ 1 }, 4, 1, f);
    fclose(f);
}

static float numbers[64];

static KlWeights *base(void)
{
    static const KlTensor t[] = {
        { .name = "blocks.0.attn1.to_q.weight", .ndim = 2, .shape = { 4, 6 }, .data = numbers, .bytes = 96 },
        { .name = "blocks.0.attn1.to_q.bias", .ndim = 1, .shape = { 4 }, .data = numbers, .bytes = 16 },
        { .name = "blocks.0.attn1.norm_q.weight", .ndim = 1, .shape = { 4 }, .data = numbers, .bytes = 16 },
        { .name = "blocks.0.scale_shift_table", .ndim = 3, .shape = { 1, 6, 2 }, .data = numbers, .bytes = 48 },
        { .name = "blocks.12.ffn.net.0.proj.weight", .ndim = 2, .shape = { 5, 6 }, .data = numbers, .bytes = 120 },
    };
    KlDiag d = { 0 };
    KlWeights *w;

    return kl_weights_borrow(&d, &w, t, KL_ARRAY_LEN(t), "a model") < 0 ? NULL : w;
}

/* Attaches spec with every '@' standing for the folder; the error, if there should be one, holds `say`. */
static KlWeights *attach(const char *spec, KlExpert expert, int status, const char *say)
{
    KlDiag d = { .log = on_log };
    KlWeights *w = base();
    char text[1024];
    size_t n = 0;
    int ret;

    for (; *spec && n < sizeof(text) - 80; spec++)
        n += *spec == '@' ? (size_t)snprintf(text + n, sizeof(text) - n, "%s/", dir)
                          : (size_t)snprintf(text + n, sizeof(text) - n, "%c", *spec);
    text[n] = 0;
    warnings = 0;
    memset(logged, 0, sizeof(logged));
    ret = kl_lora_attach(&d, w, text, expert);
    CHECK(ret == status, "status %d, wanted %d: %s", ret, status, d.error);
    CHECK(!say || strstr(d.error, say), "'%s' lacks '%s'", d.error, say);
    return w;
}

static void refuses(const char *spec, int status, const char *say)
{
    KlWeights *w = attach(spec, KL_EXPERT_ONLY, status, say);

    kl_weights_close(&w);
}

static void test_refused(void)
{
    static const struct {
        const char *tensors[6];
        int status;
        const char *say;
    } t[] = {
        { { "lora_unet_single_blocks_3_linear1.lora_down.weight 2x6", "lora_te_x.lora_up.weight 2x2" }, BAD,
          "is no LoRA for this transformer: none of its 2 tensors" },
        { { "x 3" }, BAD, "none of its 1 tensors" },
        { { "transformer.blocks.0.attn1.to_q.lora_A.weight 2x5120",
            "transformer.blocks.0.attn1.to_q.lora_B.weight 5120x2" }, BAD,
          "is for another model: its 'transformer.blocks.0.attn1.to_q.lora_A.weight' is 2x5120" },
        { { "transformer.blocks.0.attn1.to_q.lora_A.weight 2x6", "transformer.blocks.0.attn1.to_q.lora_B.weight 5x2" },
          BAD, "is for another model" },
        { { "transformer.blocks.0.attn1.to_q.lora_A.weight 2x6", "transformer.blocks.0.attn1.to_q.lora_B.weight 4x3" },
          BAD, "is for another model" },
        { { "transformer.blocks.0.attn1.to_q.lora_A.weight 2x6" }, BAD, "not the other of the pair" },
        { { "transformer.blocks.0.attn1.to_q.lora_A.weight 2x6", "transformer.blocks.0.attn1.to_q.lora_B.weight 4x2",
            "blocks.0.attn1.to_q.lora_down.weight 2x6" }, BAD, "has both" },
        { { "diffusion_model.blocks.0.self_attn.q.lora_down.weight 2x6",
            "diffusion_model.blocks.0.self_attn.q.lora_up.weight 4x2", "diffusion_model.blocks.0.self_attn.q.alpha 3" },
          BAD, "is not one number" },
        { { "diffusion_model.blocks.0.self_attn.q.dora_scale 4" }, NOT, "only LoRA is" },
        { { "lora_unet_blocks_0_self_attn_q.hada_w1_a 4x2" }, NOT, "only LoRA is" },
        { { "diffusion_model.blocks.0.self_attn.norm_q.diff 5" }, BAD, "is for another model" },
        { { "diffusion_model.blocks.0.self_attn.q.diff 6x4" }, BAD, "is for another model" },
        { { "diffusion_model.blocks.0.self_attn.norm_q.lora_A.weight 2x4",
            "diffusion_model.blocks.0.self_attn.norm_q.lora_B.weight 4x2" }, BAD, "is for another model" },
    };

    for (size_t i = 0; i < KL_ARRAY_LEN(t); i++) {
        write_lora("bad.safetensors", t[i].tensors);
        refuses("@bad.safetensors", t[i].status, t[i].say);
    }
    refuses("@absent.safetensors", KLING_ERROR_NOT_FOUND, "absent.safetensors");
    refuses("@", KLING_ERROR_NOT_FOUND, "pytorch_lora_weights");
}

static void test_spec(void)
{
    static const char *const good[] = { "transformer.blocks.0.attn1.to_q.lora_A.weight 2x6",
                                        "transformer.blocks.0.attn1.to_q.lora_B.weight 4x2", NULL };
    static const struct {
        const char *spec;
        float strength[2];
        int n;
    } ok[] = {
        { "@a.safetensors", { 1 }, 1 }, { "@a.safetensors:0.5", { 0.5f }, 1 }, { "@a.safetensors:-2", { -2 }, 1 },
        { "@a.safetensors:.25|@a.safetensors:3", { 0.25f, 3 }, 2 }, { "@with:colon:0.5", { 0.5f }, 1 },
        { "@with:colon", { 1 }, 1 }, { "@a.safetensors:0.5:high", { 0.5f }, 1 }, { "@a.safetensors:low", { 0 }, 0 },
    };
    static const struct {
        const char *spec;
        int status;
        const char *say;
    } bad[] = {
        { ":0.5", ARG, "without a file" }, { "@a.safetensors|", ARG, "without a file" },
        { "@a.safetensors:nan", ARG, "the strength 'nan'" }, { "@a.safetensors:1e9", ARG, "the strength '1e9'" },
        { "@a.safetensors:high", ARG, "leave :high out" }, { "@a.safetensors:1:low", ARG, "leave :low out" },
        { "@a.safetensors:x", KLING_ERROR_NOT_FOUND, "a.safetensors:x" },
    };

    write_lora("a.safetensors", good);
    write_lora("with:colon", good);
    for (size_t i = 0; i < KL_ARRAY_LEN(ok); i++) {
        const bool expert = strstr(ok[i].spec, "high") || strstr(ok[i].spec, "low");
        KlWeights *w = attach(ok[i].spec, expert ? KL_EXPERT_HIGH : KL_EXPERT_ONLY, 0, NULL);
        int n;
        const KlDelta *e = kl_weights_deltas(w, "blocks.0.attn1.to_q.weight", &n);

        CHECK(n == ok[i].n, "%s: %d changes", ok[i].spec, n);
        for (int k = 0; k < n; k++)
            CHECK(e[k].strength == ok[i].strength[k] && e[k].rank == 2, "%s: strength %g", ok[i].spec, e[k].strength);
        kl_weights_close(&w);
    }
    for (size_t i = 0; i < KL_ARRAY_LEN(bad); i++)
        refuses(bad[i].spec, bad[i].status, bad[i].say);
}

static void test_unmatched(void)        /* some match: the others are listed in one warning */
{
    static const char *const some[] = {
        "blocks.0.attn1.to_q.lora_A.weight 2x6", "blocks.0.attn1.to_q.lora_B.weight 4x2",
        "diffusion_model.blocks.0.cross_attn.k_img.lora_down.weight 2x6", "diffusion_model.img_emb.proj.1.diff_b 3",
        "diffusion_model.blocks.12.ffn.0.diff_b 5", NULL };
    KlWeights *w;

    write_lora("some.safetensors", some);
    w = attach("@some.safetensors", KL_EXPERT_ONLY, 0, NULL);
    CHECK(strstr(logged[KLING_LOG_INFO], "2 of 5 tensors match"), "'%s'", logged[KLING_LOG_INFO]);
    CHECK(warnings == 1 && strstr(logged[KLING_LOG_WARNING], "3 tensors match no layer") &&
          strstr(logged[KLING_LOG_WARNING], "'diffusion_model.img_emb.proj.1.diff_b'"), "'%s'",
          logged[KLING_LOG_WARNING]);
    kl_weights_close(&w);
}

static void test_values(void)           /* vectors get theirs added */
{
    static const char *const all[] = {
        "diffusion_model.blocks.0.self_attn.q.diff_b 4", "diffusion_model.blocks.0.self_attn.norm_q.diff 4",
        "diffusion_model.blocks.0.diff_m 6x2", NULL };
    static const char *const names[] = { "blocks.0.attn1.to_q.bias", "blocks.0.attn1.norm_q.weight",
                                         "blocks.0.scale_shift_table" };
    static const int64_t shapes[3][3] = { { 4 }, { 4 }, { 1, 6, 2 } };
    KlDiag d = { 0 };
    KlWeights *w;

    for (int i = 0; i < 64; i++)
        numbers[i] = (float)i;
    write_lora("v.safetensors", all);
    w = attach("@v.safetensors:0.5|@v.safetensors", KL_EXPERT_ONLY, 0, NULL);
    for (int k = 0; k < 3; k++) {
        float *v;

        REQUIRE(!kl_weights_get_f32(&d, w, names[k], k < 2 ? 1 : 3, shapes[k], &v), "%s", d.error);
        for (int i = 0; i < (k < 2 ? 4 : 12); i++)
            CHECK(v[i] == (float)i + 1.5f, "%s[%d] is %g", names[k], i, v[i]);
        free(v);
    }
    kl_weights_close(&w);
}

static void test_low(void)              /* diffusers' name of the low-noise expert */
{
    static const char *const both[] = {
        "transformer.blocks.0.attn1.to_q.lora_A.weight 2x6", "transformer.blocks.0.attn1.to_q.lora_B.weight 4x2",
        "transformer_2.blocks.12.ffn.net.0.proj.lora_A.weight 3x6",
        "transformer_2.blocks.12.ffn.net.0.proj.lora_B.weight 5x3", NULL };
    int n;
    KlWeights *w;

    write_lora("both.safetensors", both);
    w = attach("@both.safetensors", KL_EXPERT_HIGH, 0, NULL);
    CHECK(!kl_weights_deltas(w, "blocks.12.ffn.net.0.proj.weight", &n) && !warnings, "applied to the wrong expert");
    kl_weights_close(&w);
}

/* -- timesteps of their own per latent frame: the gate of every group -- */

static const KlDitConfig small = { .dim = 24, .heads = 2, .head_dim = 12, .ffn = 40, .layers = 1, .in_ch = 4,
                                   .out_ch = 4, .text_dim = 16, .text_len = 32, .freq_dim = 16, .patch_h = 2,
                                   .patch_w = 2, .eps = 1e-6f };
#define FRAMES 3
#define Z_FLOATS (4 * FRAMES * 4 * 6)

/* W += strength * rank for the files of write_lora(), all ones: in the block of memory behind w. */
static void merge(const KlWeights *w, const char *name, float by)
{
    const KlTensor *t = kl_weights_find(w, name);
    float *v = (float *)(uintptr_t)t->data;

    for (size_t i = 0; i < t->bytes / sizeof(*v); i++)
        v[i] += by;
}

/* v[Z_FLOATS] for frames at different timesteps, on the plain table. */
static void forward(const KlWeights *w, float *v)
{
    const KlExecParams ep = { .threads = 1 };
    const float t[FRAMES] = { 0, 400, 900 };
    KlDiag d = { 0 };
    KlDitSession *s = NULL;
    KlDit *dit = NULL;
    KlKernels k;
    KlExec *ex;
    float *z;

    kl_kernels_init_ref(&k);
    REQUIRE(k.exec_create(&k, &ex, &ep) >= 0, "no executor");
    z = k.mem_alloc(ex, Z_FLOATS * sizeof(*z));
    for (int i = 0; z && i < Z_FLOATS; i++)
        z[i] = (float)(i * 29 % 31 - 15) / 16;
    CHECK(z && !kl_dit_create(&d, &dit, &k, w, &small) && !kl_dit_session_create(dit, ex, &d, FRAMES, 4, 6, &s) &&
          !kl_dit_set_context(s, &d, 0, z, 3) && !kl_dit_forward(s, &d, 0, z, t, v), "%s", d.error);
    kl_dit_session_destroy(&s);
    kl_dit_destroy(&dit);
    k.mem_free(ex, z);
    k.exec_destroy(&ex);
}

static void test_groups(void)
{
    static const char *const lora[] = {
        "blocks.0.attn1.to_out.0.lora_A.weight 2x24", "blocks.0.attn1.to_out.0.lora_B.weight 24x2",
        "blocks.0.ffn.net.2.lora_A.weight 3x40", "blocks.0.ffn.net.2.lora_B.weight 24x3",
        "blocks.0.ffn.net.0.proj.diff 40x24", "blocks.0.attn1.to_v.diff 24x24", NULL };
    float a[Z_FLOATS], b[Z_FLOATS], plain[Z_FLOATS];
    double worst = 0, change = 0, scale = 0;
    KlWeights *w[2];
    void *mem[2];
    KlDiag d = { 0 };
    char spec[128];

    write_lora("g.safetensors", lora);
    snprintf(spec, sizeof(spec), "%s/g.safetensors:0.0625", dir);
    for (int i = 0; i < 2; i++)
        REQUIRE(!synth_weights(SYNTH_DIT, &small, 1, KL_F32, 0, &w[i], &mem[i]), "synth_weights");
    forward(w[0], plain);
    REQUIRE(!kl_lora_attach(&d, w[0], spec, KL_EXPERT_ONLY), "%s", d.error);
    merge(w[1], "blocks.0.attn1.to_out.0.weight", 0.0625f * 2);
    merge(w[1], "blocks.0.ffn.net.2.weight", 0.0625f * 3);
    merge(w[1], "blocks.0.ffn.net.0.proj.weight", 0.0625f);
    merge(w[1], "blocks.0.attn1.to_v.weight", 0.0625f);
    forward(w[0], a);
    forward(w[1], b);
    for (int i = 0; i < Z_FLOATS; i++) {
        worst = fmax(worst, fabs((double)a[i] - b[i]));
        change = fmax(change, fabs((double)a[i] - plain[i]));
        scale = fmax(scale, fabs((double)b[i]));
    }
    /* a few roundings of f32 each, through one block */
    CHECK(worst <= 1e-5 * scale && change > 0.05 * scale, "off by %g of %g, changed by %g", worst, scale, change);
    for (int i = 0; i < 2; i++) {
        kl_weights_close(&w[i]);
        free(mem[i]);
    }
}

int main(void)
{
    char cmd[128];

    snprintf(dir, sizeof(dir), "/tmp/kling-lora-XXXXXX");
    if (!mkdtemp(dir)) {
        printf("not ok test_lora: no temporary folder\n");
        return 1;
    }
    RUN(test_refused);
    RUN(test_spec);
    RUN(test_unmatched);
    RUN(test_values);
    RUN(test_low);
    RUN(test_groups);
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
    return system(cmd) || check_exit();
}
