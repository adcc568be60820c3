/*
 * kling-quantize: what it writes is read back with the error that the form allows, what is sensitive stays, and
 * nothing is left of what was interrupted.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Relative errors (root mean square of the difference by that of the values) for values spread evenly over [-a,a],
 * whose rms is a / sqrt(3), with steps of s, whose rounding has an rms of s / sqrt(12):
 *     int8, Q8_0   s = 2a / 254                  0.0039
 *     fp8 E4M3     half a step is at most 1/16 of a value, so an rms below 0.0361
 *     Q6_K         s = 2a / 63                   0.0159; scales of 8 bits
 *     Q5_K, Q5_1   s = 2a / 31                   0.0323; scales of 6 bits are off by 1/126 at most
 *     Q4_K, Q4_1   s = 2a / 15                   0.0667
 *     Q5_0, Q4_0   s = 2a / 32, 2a / 16          0.0313, 0.0625; of values beside the largest, the 64th or 32nd that is
 *                                                more than half a step beyond the last is off by up to s
 */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/model_internal.h"
#include "tests/check.h"
#include "tests/scratch.h"
#include "tests/tiny_model.h"

static const char *model;

static int quantize(const char *in, const char *out, const char *type)
{
    return shell("'%s/bin/kling-quantize' '%s' '%s/%s' --type %s --quiet > '%s/log' 2>&1", build, in, dir, out, type,
                 dir);
}

static const char *path(const char *name)
{
    static char p[4][512];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(p[turn], sizeof(p[turn]), "%s/%s", name[0] == '@' ? model : dir, name + (name[0] == '@'));
    return p[turn];
}

/* Opened with canonical names; NULL is a failure. */
static KlWeights *open_part(const char *p, KlPart part)
{
    KlDiag d = { 0 };
    KlWeights *w;

    CHECK(!kl_weights_open(&d, &w, p) && !kl_names_canonical(&d, w, part), "%s", d.error);
    if (d.error[0])
        kl_weights_close(&w);
    return w;
}

/* Compares all of b's tensors with a's; *n is how many are stored as `type`. */
static void compare(const KlWeights *a, const KlWeights *b, KlFileDType type, double least, double most, int *n)
{
    int count;
    const KlTensor *t = kl_weights_all(a, &count);
    KlDiag d = { 0 };

    *n = 0;
    for (int i = 0; i < count; i++) {
        const KlTensor *u = kl_weights_find(b, t[i].name);
        const size_t elements = t[i].bytes / kl_file_dtype_bytes(t[i].dtype);
        double e = 0, power = 0;
        float *x, *y;

        REQUIRE(u, "no %s", t[i].name);
        if (u->dtype != type) {
            CHECK(u->bytes == t[i].bytes && !memcmp(u->data, t[i].data, u->bytes), "%s has changed", t[i].name);
            continue;
        }
        ++*n;
        REQUIRE(!kl_weights_get_f32(&d, a, t[i].name, t[i].ndim, t[i].shape, &x) &&
                !kl_weights_get_f32(&d, b, t[i].name, t[i].ndim, t[i].shape, &y), "%s", d.error);
        for (size_t k = 0; k < elements; k++) {
            e += ((double)y[k] - x[k]) * ((double)y[k] - x[k]);
            power += (double)x[k] * x[k];
        }
        e = sqrt(e / power);
        CHECK(e <= most && e >= least, "%s: relative error %g, not in %g..%g", t[i].name, e, least, most);
        free(x);
        free(y);
    }
}

static const struct {
    const char *type;
    KlFileDType dtype;
    double least, most;                 /* a form that loses nothing was not quantized */
} types[] = {
    { "int8", KL_FT_I8,      0.001, 0.0042 },
    { "fp8",  KL_FT_F8_E4M3, 0.01,  0.0361 },
    { "q8_0", KL_FT_Q8_0,    0.001, 0.0042 },
    { "q6_k", KL_FT_Q6_K,    0.005, 0.018 },
    { "q5_k", KL_FT_Q5_K,    0.01,  0.035 },
    { "q5_1", KL_FT_Q5_1,    0.01,  0.033 },
    { "q5_0", KL_FT_Q5_0,    0.01,  0.035 },
    { "q4_k", KL_FT_Q4_K,    0.01,  0.07 },
    { "q4_1", KL_FT_Q4_1,    0.01,  0.068 },
    { "q4_0", KL_FT_Q4_0,    0.01,  0.07 },
};

static void test_type(size_t i, KlPart part)
{
    const char *in = path(part == KL_PART_DIT ? "@transformer" : "@text_encoder");
    KlWeights *a, *b;
    char out[64];
    int n;

    snprintf(out, sizeof(out), "%s_%s", part == KL_PART_DIT ? "dit" : "umt5", types[i].type);
    REQUIRE(!quantize(in, out, types[i].type), "kling-quantize failed");
    a = open_part(in, part);
    b = open_part(path(out), part);
    if (a && b) {
        compare(a, b, types[i].dtype, types[i].least, types[i].most, &n);
        CHECK(n == (part == KL_PART_DIT ? 10 : 7), "%d tensors are %s", n, types[i].type);
    }
    kl_weights_close(&a);
    kl_weights_close(&b);
}

/* Every form, back to f32, is what the engine computes with. */
static void test_back(size_t i)
{
    KlWeights *a, *b;
    char in[64], out[64];
    int n;

    snprintf(in, sizeof(in), "dit_%s", types[i].type);
    snprintf(out, sizeof(out), "dit_%s_f32", types[i].type);
    REQUIRE(!quantize(path(in), out, "f32"), "kling-quantize failed");
    a = open_part(path(in), KL_PART_DIT);
    b = open_part(path(out), KL_PART_DIT);
    for (int k = 0; a && b; k++) {
        const KlTensor *t = kl_weights_all(a, &n) + k;
        KlDiag d = { 0 };
        float *x, *y;
        size_t elements = 1;

        if (k == n)
            break;
        for (int j = 0; j < t->ndim; j++)
            elements *= (size_t)t->shape[j];
        REQUIRE(!kl_weights_get_f32(&d, a, t->name, t->ndim, t->shape, &x) &&
                !kl_weights_get_f32(&d, b, t->name, t->ndim, t->shape, &y), "%s", d.error);
        CHECK(!memcmp(x, y, elements * sizeof(*x)), "%s differs", t->name);
        free(x);
        free(y);
    }
    kl_weights_close(&a);
    kl_weights_close(&b);
}

/* A LoRA of rank 4 on a gated layer, in bf16; its values are small multiples of 2^-9. */
static void write_lora(const char *name)
{
    static const char *const half[] = { "A", "B" };
    const int64_t n = 4 * 256;
    char header[512];
    int len = 0;
    FILE *f = fopen(path(name), "wb");

    for (int i = 0; i < 2; i++)
        len += snprintf(header + len, sizeof(header) - (size_t)len, "%s\"transformer.blocks.0.attn1.to_out.0.lora_%s."
                        "weight\":{\"dtype\":\"BF16\",\"shape\":[%d,%d],\"data_offsets\":[%d,%d]}", i ? "," : "{",
                        half[i], i ? 256 : 4, i ? 4 : 256, (int)(2 * n * i), (int)(2 * n * (i + 1)));
    len += snprintf(header + len, sizeof(header) - (size_t)len, "}");
    while (len % 8)
        header[len++] = ' ';
    for (int i = 0; f && i < 8; i++)
        fputc(i < 2 ? len >> 8 * i & 255 : 0, f);
    if (f)
        fwrite(header, 1, (size_t)len, f);
    for (int64_t i = 0; f && i < 2 * n; i++) {
        const float v = (float)((i * 37 + i / 256 * 11) % 101 - 50) / 512;
        uint32_t u;

        memcpy(&u, &v, sizeof(u));
        fputc((int)(u >> 16 & 255), f);
        fputc((int)(u >> 24), f);
    }
    CHECK(f && !fclose(f), "no LoRA");
}

/* One frame of the model with these parts; NULL when it fails. */
static float *frame(const char *dit, const char *text, const char *lora)
{
    KlingContext *ctx = NULL;
    KlingModel *m = NULL;
    KlingJob *job = NULL;
    KlingModelParams mp;
    KlingParams p;
    const KlingFrame *f;
    float *out = NULL;

    kling_model_params_default(&mp);
    mp.model = dit;
    mp.text_encoder = text;
    mp.vae = path("@vae");
    mp.tokenizer = path("@tokenizer");
    mp.lora = lora;
    if (!kling_context_create(&ctx, NULL) && !kling_model_open(ctx, &m, &mp)) {
        kling_params_default(m, &p);
        p.prompt = "a red ball";
        p.width_px = p.height_px = 32;
        p.frames = 1;
        p.steps = 2;
        if (!kling_job_create(m, &job, &p) && !kling_job_next_frame(job, &f) && (out = malloc(3 * 32 * 32 * 4)))
            for (int i = 0; i < 3 * 32; i++)
                memcpy(out + 32 * i, f->data[i / 32] + i % 32 * f->stride, 32 * sizeof(*out));
    }
    CHECK(out, "%s: %s", dit, ctx ? kling_context_error(ctx) : "no context");
    kling_job_destroy(&job);
    kling_model_destroy(&m);
    kling_context_destroy(&ctx);
    return out;
}

static double worst_of(const float *a, const float *b)
{
    double worst = 0;

    for (int k = 0; a && b && k < 3 * 32 * 32; k++) {
        const double e = fabs((double)a[k] - b[k]);

        worst = e > worst || isnan(e) ? e : worst;
    }
    return worst;
}

/* A clip with quantized weights is that with the same values in f32: 1e-3, as between any two ways to sum. With a
 * LoRA over both, too. */
static void test_frames(size_t i, const char *lora)
{
    char dit[64], f32[64], text[64];
    float *a, *b, *c;
    double worst;

    snprintf(dit, sizeof(dit), "dit_%s", types[i].type);
    snprintf(f32, sizeof(f32), "dit_%s_f32", types[i].type);
    snprintf(text, sizeof(text), "umt5_%s", types[i].type);
    a = frame(path(dit), path(text), lora);
    b = frame(path(f32), path(text), lora);
    c = frame(path(dit), path(text), NULL);
    worst = worst_of(a, b);
    CHECK(!lora || worst_of(a, c) > 0.01, "the LoRA changes nothing to speak of: %g", worst_of(a, c));
    /* with int8 weights the activations are rounded as well, which a random model does not forgive */
    CHECK(worst <= (types[i].dtype == KL_FT_I8 ? 0.1 : 1e-3), "worst %g", worst);
    printf("# worst frame %s against f32%s: %.2e\n", types[i].type, lora ? ", with a LoRA" : "", worst);
    free(a);
    free(b);
    free(c);
}

static int files_in(const char *p)
{
    DIR *h = opendir(p);
    struct dirent *e;
    int n = 0;

    while (h && (e = readdir(h)))
        n += e->d_name[0] != '.';
    if (h)
        closedir(h);
    return n;
}

static void test_refused(void)
{
    REQUIRE(!shell("mkdir '%s/r'", dir), "mkdir");
    CHECK(quantize(model, "r/a", "q8_0") && !shell("grep -q 'is a whole model' '%s/log'", dir), "a whole model");
    CHECK(quantize(path("@vae"), "r/a", "q8_0") && !shell("grep -q 'neither a transformer' '%s/log'", dir), "a VAE");
    CHECK(quantize("tests/golden/data/lora_peft.safetensors", "r/a", "q8_0") && !shell("grep -q LoRA '%s/log'", dir),
          "a LoRA");
    CHECK(quantize(path("@transformer"), "none/a", "q8_0") && !shell("grep -q 'cannot write' '%s/log'", dir),
          "a folder that is not there");
    CHECK(WEXITSTATUS(quantize(path("@transformer"), "r/a", "q3_k")) == 2, "an unknown type");
    CHECK(!files_in(path("r")), "something is left");
}

/* Rows that blocks of 256 do not fit get blocks of 32 with about as many bits. */
static void test_narrow(void)
{
    static const struct {
        const char *type;
        KlFileDType dtype;
    } falls[] = { { "q6_k", KL_FT_Q8_0 }, { "q5_k", KL_FT_Q5_1 }, { "q4_k", KL_FT_Q5_0 } };
    const char *narrow = synthetic_model_path("tiny");  /* `model` is this from now on */
    char in[512];

    REQUIRE(narrow, "no model");
    snprintf(in, sizeof(in), "%s/transformer", narrow);
    for (size_t i = 0; i < KL_ARRAY_LEN(falls); i++) {
        KlWeights *w;
        const KlTensor *t;

        REQUIRE(!quantize(in, "narrow", falls[i].type), "kling-quantize failed");
        w = open_part(path("narrow"), KL_PART_DIT);
        t = w ? kl_weights_find(w, "blocks.0.ffn.net.2.weight") : NULL;
        CHECK(t && t->shape[1] % 256 && t->dtype == falls[i].dtype, "%s became %s", falls[i].type,
              t ? kl_file_dtype_name(t->dtype) : "nothing");
        kl_weights_close(&w);
    }
}

/* Ended as soon as it has begun to write: again and again, since it may be done first. */
static void test_interrupted(void)
{
    REQUIRE(!shell("mkdir '%s/i'", dir), "mkdir");
    for (int tries = 0; tries < 20; tries++) {
        const char *in = path("@text_encoder"), *out = path("i/a");
        char program[600];
        int status = 0;
        pid_t pid;

        snprintf(program, sizeof(program), "%s/bin/kling-quantize", build);
        if (!(pid = fork())) {
            if (freopen("/dev/null", "w", stderr) && freopen("/dev/null", "w", stdout))
                execl(program, program, in, out, "--type", "q4_k", "--threads", "1", (char *)NULL);
            _exit(127);
        }
        while (!files_in(path("i")) && !waitpid(pid, &status, WNOHANG))
            usleep(200);
        kill(pid, SIGINT);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGINT) {
            CHECK(!files_in(path("i")), "something is left");
            return;
        }
        unlink(out);
    }
    SKIP("it was done first, each time");
}

int main(void)
{
    static const char *const what[] = { "transformer", "text_encoder" };
    char lora[128];

    if (!scratch_open("quantize"))
        return 1;
    if (!(model = synthetic_model_path("wide"))) {
        printf("not ok test_quantize: no model\n");
        return 1;
    }
    snprintf(lora, sizeof(lora), "%s/lora.safetensors:3", dir);
    NAMED("write_lora", write_lora("lora.safetensors"));
    for (size_t i = 0; i < KL_ARRAY_LEN(types); i++) {
        char name[64];

        for (int part = 0; part < 2; part++) {
            snprintf(name, sizeof(name), "test_%s_%s", types[i].type, what[part]);
            NAMED(name, test_type(i, part ? KL_PART_TEXT : KL_PART_DIT));
        }
        snprintf(name, sizeof(name), "test_%s_back", types[i].type);
        NAMED(name, test_back(i));
        snprintf(name, sizeof(name), "test_%s_frames", types[i].type);
        NAMED(name, test_frames(i, NULL));
        snprintf(name, sizeof(name), "test_%s_lora", types[i].type);
        NAMED(name, test_frames(i, lora));
    }
    RUN(test_refused);
    RUN(test_interrupted);
    RUN(test_narrow);
    scratch_close();
    return check_exit();
}
