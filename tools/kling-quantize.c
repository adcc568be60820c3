/*
 * kling-quantize: the weights of a transformer or a text encoder in a smaller form.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * From any form that the engine reads. The matrices of the blocks become the
 * wanted type; embeddings, modulation, norms, biases, the first and the last
 * layer stay as they are. The file appears whole or not at all.
 */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/model_internal.h"
#include "kernels/host_exec.h"
#include "kernels/quants.h"
#include "quantize.h"
#include "weights_file.h"

#define TILE_ELEMENTS 65536             /* about; whole rows */
#define COPY_BYTES (8u << 20)

typedef struct Job {                    /* one tensor of the new file */
    const KlTensor *src;
    KlDType to;
    bool raw;                           /* bytes as they are */
    bool is_scale;                      /* of job `of` */
    bool quantized;
    int of;
    float *scale;                       /* once known: one, or one per row */
} Job;

typedef struct Options {
    const char *in, *out;
    KlDType type;
    bool gguf, quiet;
    int threads;
} Options;

typedef struct Program {
    Options o;
    KlDiag d;
    KlWeights *w;
    KlPart part;
    KlKernels k;
    KlExec *ex;
    Job *jobs;                          /* n, in the order of tensors */
    OutTensor *tensors;
    int n;
    OutFile file;
    double bytes_in, bytes_out, error, power;   /* of what was quantized */
    double worst;
    char worst_name[256];
    size_t data, done;                  /* bytes, for the bar */
} Program;

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
    stopped = sig;
}

static int say(Program *p)
{
    fprintf(stderr, "kling-quantize: %s\n", p->d.error);
    return -1;
}

/* -- what becomes of each tensor -- */

static KlFileDType file_dtype(KlDType t)
{
    for (int f = 0; f < KL_FT_NB; f++) {
        KlDType k;

        if (kl_file_dtype_kernel((KlFileDType)f, &k) && k == t)
            return (KlFileDType)f;
    }
    return KL_FT_F32;
}

static bool is_float(KlFileDType t)
{
    return t == KL_FT_F32 || t == KL_FT_F16 || t == KL_FT_BF16;
}

/* The type for a matrix: what was asked for, or what its rows allow; blocks of 256 give way to those of 32 as
 * llama.cpp's converter does it. */
static KlDType type_for(const Program *p, const KlTensor *t)
{
    const KlDType instead = p->o.type == KL_Q6_K ? KL_Q8_0 : p->o.type == KL_Q5_K ? KL_Q5_1 : KL_Q5_0;
    const int64_t K = t->shape[1];

    if (K % kl_dtype_block(p->o.type) == 0)
        return p->o.type;
    return kl_dtype_block(p->o.type) == 256 && K % kl_dtype_block(instead) == 0 ? instead : KL_BF16;
}

static void plan_tensor(const Program *p, const KlTensor *t, Job *j)
{
    KlDType own;

    *j = (Job){ .src = t, .of = -1 };
    if (!kl_file_dtype_kernel(t->dtype, &own) || (t->dtype == KL_FT_I8 && !t->scale)) {
        j->raw = true;                  /* a vocabulary or the like */
    } else if (t->bytes && quantize_takes(t->name, t->ndim, p->part == KL_PART_DIT)) {
        j->to = type_for(p, t);
        j->quantized = j->to == p->o.type || kl_dtype_block(j->to) > 1;
    } else {
        j->raw = is_float(t->dtype);
        j->to = j->raw ? own : t->ndim > 1 ? KL_BF16 : KL_F32;
    }
}

static int set_name(Program *p, const Job *j, OutTensor *out, const char *suffix)
{
    const char *name = j->src->file_name;
    char *theirs = NULL;
    int n;
    const KlRename *rules = kl_names_gguf(p->part, &n);
    size_t len;

    if (p->o.gguf) {
        theirs = kl_rename_backwards(j->src->name, rules, n);
        name = theirs ? theirs : j->src->name;
    }
    len = strlen(name);
    if (suffix && len > 7 && !strcmp(name + len - 7, ".weight"))
        len -= 7;
    snprintf(out->name, sizeof(out->name), "%.*s%s", (int)len, name, suffix ? suffix : "");
    free(theirs);
    for (const char *c = out->name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == '"' || *c == '\\')
            return kl_fail(&p->d, KLING_ERROR_INVALID_DATA, "the tensor '%s' has a name that cannot be written",
                           j->src->file_name);
    return 0;
}

static int add_tensor(Program *p, Job j, const char *suffix)
{
    OutTensor *t = &p->tensors[p->n];
    const bool rows = p->o.type == KL_I8;

    t->dtype = j.is_scale ? KL_FT_F32 : j.raw ? j.src->dtype : file_dtype(j.to);
    t->ndim = j.src->ndim;
    memcpy(t->shape, j.src->shape, sizeof(t->shape));
    if (j.is_scale) {
        t->ndim = rows ? 2 : 0;
        t->shape[1] = 1;
    }
    t->bytes = out_bytes(t->dtype, t->ndim, t->shape);
    p->jobs[p->n++] = j;
    return set_name(p, &j, t, suffix);
}

/* Large elements first, so that each begins at a multiple of its size; scales come before what they scale. */
static int plan(Program *p)
{
    static const size_t sizes[] = { 8, 4, 2, 1 };
    const KlTensor *t;
    int n, ret = 0;

    t = kl_weights_all(p->w, &n);
    p->jobs = calloc(2 * (size_t)n + 2, sizeof(*p->jobs));
    p->tensors = calloc(2 * (size_t)n + 2, sizeof(*p->tensors));
    if (!p->jobs || !p->tensors)
        return kl_fail_memory(&p->d, "the list of tensors", 2 * (size_t)n * sizeof(*p->tensors));
    for (int i = 0; i < n && !ret && (p->o.type == KL_I8 || p->o.type == KL_F8_E4M3); i++) {
        Job j;

        plan_tensor(p, &t[i], &j);
        j.is_scale = true;
        if (j.quantized)
            ret = add_tensor(p, j, p->o.type == KL_I8 ? ".weight_scale" : ".scale_weight");
    }
    for (size_t s = 0; s < KL_ARRAY_LEN(sizes); s++)
        for (int i = 0; i < n && !ret; i++) {
            Job j;
            KlFileDType to;

            plan_tensor(p, &t[i], &j);
            to = j.raw ? t[i].dtype : file_dtype(j.to);
            if (p->o.gguf ? s > 0 || to == KL_FT_U8 || to == KL_FT_BOOL : kl_file_dtype_bytes(to) != sizes[s])
                continue;
            for (int k = 0; k < p->n; k++)
                if (p->jobs[k].is_scale && p->jobs[k].src == &t[i])
                    j.of = k;
            ret = add_tensor(p, j, NULL);
        }
    if (!ret && p->o.type == KL_F8_E4M3) {      /* marks the file for other programs */
        OutTensor *mark = &p->tensors[p->n];

        *mark = (OutTensor){ .name = "scaled_fp8", .dtype = KL_FT_F8_E4M3, .ndim = 1 };
        p->jobs[p->n++] = (Job){ .of = -1, .raw = true };
    }
    for (int i = 0; i < p->n; i++)
        p->data += p->tensors[i].bytes;
    return ret;
}

/* -- tiles of rows -- */

typedef struct Pass {
    const Job *j;
    KlWeight src;
    int64_t N, K, rows;                 /* rows of a tile */
    uint8_t *out;                       /* NULL: only the largest magnitudes are wanted */
    float *max;                         /* [N] */
    const float *scale;                 /* one, or [N] */
    bool per_row;
    double *error, *power;              /* [tiles] */
    atomic_int bad;                     /* a value was not finite */
    atomic_int no_memory;
} Pass;

static void quantize_tile(Pass *s, int64_t tile, float *x, float *back)
{
    const size_t row_bytes = kl_dtype_bytes(s->j->to, s->K);
    double e = 0, power = 0;

    for (int64_t r = tile * s->rows; r < KL_MIN(s->N, (tile + 1) * s->rows) && !stopped; r++) {
        const float scale = s->scale ? s->scale[s->per_row ? r : 0] : 1;
        KlWeight w = { .data = s->out + (size_t)r * row_bytes, .dtype = s->j->to };
        float max = 0;
        int finite = 1;

        kl_widen_plain(x, s->src, r * s->K, s->K);
        for (int64_t i = 0; i < s->K; i++) {
            max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
            finite &= isfinite(x[i]) != 0;
        }
        if (!finite)
            s->bad = 1;
        if (s->max)
            s->max[r] = max;
        if (!s->out || s->bad)
            continue;
        quantize_row(s->out + (size_t)r * row_bytes, x, s->K, s->j->to, scale);
        if (s->scale)
            w.scale = &scale;
        kl_widen_plain(back, w, 0, s->K);
        for (int64_t i = 0; i < s->K; i++) {
            e += ((double)back[i] - x[i]) * ((double)back[i] - x[i]);
            power += (double)x[i] * x[i];
        }
    }
    if (s->out) {
        s->error[tile] = e;
        s->power[tile] = power;
    }
}

static void run_tile(void *arg, int64_t tile, int worker)
{
    Pass *s = arg;
    float *x = malloc(2 * (size_t)s->K * sizeof(*x));

    (void)worker;
    if (x)
        quantize_tile(s, tile, x, x + s->K);
    else
        s->no_memory = 1;
    free(x);
}

static int run_pass(Program *p, Pass *s, const KlTensor *t)
{
    const int64_t elements = (int64_t)(t->bytes / kl_file_dtype_bytes(t->dtype)) * kl_file_dtype_block(t->dtype);

    s->src = (KlWeight){ .data = t->data, .scale = t->scale, .scale_group = t->scale_group };
    kl_file_dtype_kernel(t->dtype, &s->src.dtype);
    s->N = t->ndim > 1 ? t->shape[0] : 1;
    s->K = s->N ? elements / s->N : 0;
    s->rows = KL_MAX(1, TILE_ELEMENTS / KL_MAX(s->K, 1));
    kl_parallel(p->ex, KL_CEIL_DIV(s->N, s->rows), run_tile, s);
    if (s->no_memory)
        return kl_fail_memory(&p->d, t->file_name, (size_t)s->K * 8);
    if (s->bad)
        return kl_fail(&p->d, KLING_ERROR_INVALID_DATA, "tensor '%s' has values that are not finite", t->file_name);
    return 0;
}

/* -- writing -- */

static void show_progress(Program *p, const char *name)
{
    const int done = p->data ? (int)(30.0 * (double)p->done / (double)p->data) : 30;

    if (!p->o.quiet && isatty(2))
        fprintf(stderr, "\r[%.*s%*s] %3d %%  %-48.48s", done, "##############################", 30 - done, "",
                p->data ? (int)(100.0 * (double)p->done / (double)p->data) : 100, name);
}

static int write_raw(Program *p, const KlTensor *t)
{
    for (size_t at = 0; t && at < t->bytes && !stopped; at += COPY_BYTES)
        if (out_write(&p->file, (const char *)t->data + at, KL_MIN(COPY_BYTES, t->bytes - at)) < 0)
            return KLING_ERROR_IO;
    return t && t->bytes ? 0 : out_write(&p->file, "", 0);
}

static int write_scale(Program *p, Job *j)
{
    const int64_t N = j->src->shape[0];
    const bool per_row = p->o.type == KL_I8;
    float *max = malloc((size_t)N * sizeof(*max)), top = 0;
    Pass s = { .j = j, .max = max };
    int ret = max ? run_pass(p, &s, j->src) : kl_fail_memory(&p->d, "scales", (size_t)N * sizeof(*max));

    for (int64_t i = 0; i < N && !ret; i++) {
        top = fmaxf(top, max[i]);
        max[i] = quantize_scale(max[i], p->o.type);
    }
    if (!ret && !per_row)
        max[0] = quantize_scale(top, p->o.type);
    j->scale = max;
    return ret ? ret : out_write(&p->file, max, (per_row ? (size_t)N : 1) * sizeof(*max)) < 0 ? KLING_ERROR_IO : 0;
}

static void report(Program *p, const Job *j, const OutTensor *t, double error, double power)
{
    const double relative = power > 0 ? sqrt(error / power) : 0;

    if (!j->quantized)
        return;
    p->error += error;
    p->power += power;
    p->bytes_in += (double)j->src->bytes;
    p->bytes_out += (double)t->bytes;
    if (relative > p->worst) {
        p->worst = relative;
        snprintf(p->worst_name, sizeof(p->worst_name), "%s", t->name);
    }
    if (!p->o.quiet && isatty(2))
        fprintf(stderr, "\r%90s\r", "");
    if (!p->o.quiet)
        printf("%-56s %6lld x %-6lld %-7s -> %-7s %.5f\n", t->name, (long long)j->src->shape[0],
               (long long)j->src->shape[1], kl_file_dtype_name(j->src->dtype), kl_file_dtype_name(t->dtype), relative);
}

static int write_converted(Program *p, Job *j, const OutTensor *t)
{
    const int64_t tiles = (j->src->ndim > 1 ? j->src->shape[0] : 1) + 1;
    Pass s = { .j = j, .out = malloc(t->bytes + 1), .error = calloc((size_t)tiles, sizeof(double)),
               .power = calloc((size_t)tiles, sizeof(double)), .per_row = p->o.type == KL_I8,
               .scale = j->of >= 0 ? p->jobs[j->of].scale : NULL };
    double error = 0, power = 0;
    int ret = s.out && s.error && s.power ? run_pass(p, &s, j->src) : kl_fail_memory(&p->d, t->name, t->bytes);

    for (int64_t i = 0; i < tiles && !ret; i++) {
        error += s.error[i];
        power += s.power[i];
    }
    if (!ret && !stopped) {
        report(p, j, t, error, power);
        ret = out_write(&p->file, s.out, t->bytes) < 0 ? KLING_ERROR_IO : 0;
    }
    free(s.out);
    free(s.error);
    free(s.power);
    return ret;
}

static int write_all(Program *p)
{
    const char *architecture = !p->o.gguf ? NULL : p->part == KL_PART_DIT ? "wan" : "t5encoder";
    int ret = out_begin(&p->file, p->o.out, p->tensors, p->n, architecture, kl_weights_gguf(p->w));

    for (int i = 0; i < p->n && !ret && !stopped; i++) {
        Job *j = &p->jobs[i];

        show_progress(p, p->tensors[i].name);
        ret = j->is_scale ? write_scale(p, j) : j->raw ? write_raw(p, j->src)
                                                       : write_converted(p, j, &p->tensors[i]);
        p->done += p->tensors[i].bytes;
    }
    if (!ret && !stopped)
        ret = out_end(&p->file);
    out_cancel(&p->file);
    if (!p->o.quiet && isatty(2))
        fprintf(stderr, "\r%90s\r", "");
    return ret;
}

static void summary(const Program *p)
{
    if (p->power > 0)
        printf("%.1f MiB of matrices -> %.1f MiB, relative error %.5f (worst %.5f: %s); file %.1f MiB\n",
               p->bytes_in / 1048576, p->bytes_out / 1048576, sqrt(p->error / p->power), p->worst, p->worst_name,
               (double)p->data / 1048576);
    else
        printf("no matrix could be stored as %s: %.1f MiB\n", kl_dtype_info(p->o.type)->name,
               (double)p->data / 1048576);
}

/* -- the whole -- */

static int open_input(Program *p)
{
    char index[4096];
    int ret;

    snprintf(index, sizeof(index), "%s/model_index.json", p->o.in);
    if (kl_is_file(index))
        return kl_fail(&p->d, KLING_ERROR_INVALID_ARG, "'%s' is a whole model: give its folder transformer or "
                       "text_encoder", p->o.in);
    if ((ret = kl_weights_open(&p->d, &p->w, p->o.in)) < 0)
        return ret;
    p->part = KL_PART_DIT;
    if (!(ret = kl_names_canonical(&p->d, p->w, KL_PART_DIT)))
        return 0;
    p->part = KL_PART_TEXT;
    if (!kl_names_canonical(&p->d, p->w, KL_PART_TEXT))
        return 0;
    return kl_fail(&p->d, KLING_ERROR_UNSUPPORTED, "'%s' is neither a transformer nor a text encoder: %s", p->o.in,
                   p->d.error);
}

static int run(Program *p)
{
    const KlExecParams ep = { .threads = p->o.threads };
    int ret;

    kl_kernels_init_cpu(&p->k, KL_CPU_ALL);
    if (p->k.exec_create(&p->k, &p->ex, &ep) < 0) {
        kl_fail_memory(&p->d, "threads", 0);
        return say(p);
    }
    ret = open_input(p);
    if (!ret)
        ret = plan(p);
    if (!ret)
        ret = write_all(p);
    if (ret < 0 && p->d.error[0])
        say(p);
    else if (!ret && !stopped)
        summary(p);
    for (int i = 0; i < p->n; i++)
        if (p->jobs[i].is_scale)
            free(p->jobs[i].scale);
    free(p->jobs);
    free(p->tensors);
    kl_weights_close(&p->w);
    p->k.exec_destroy(&p->ex);
    return ret;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: kling-quantize IN OUT --type TYPE [options]\n"
            "Stores the weights of a transformer or a text encoder in a smaller form.\n"
            "  IN                   a file, an index of shards, or a part's folder, in any form that kling reads\n"
            "  --type TYPE          int8, fp8 (safetensors with scales); q8_0, q6_k, q5_k, q5_1, q5_0, q4_k, q4_1,\n"
            "                       q4_0 (GGUF); or bf16, f16, f32 (GGUF when OUT ends in .gguf)\n"
            "  --threads N          [one per core]\n"
            "  --quiet              no bar and no line per layer\n");
    return 2;
}

static int parse(Options *o, int argc, char **argv)
{
    static const struct {
        const char *name;
        KlDType type;
    } types[] = {
        { "int8", KL_I8 }, { "fp8", KL_F8_E4M3 }, { "q8_0", KL_Q8_0 }, { "q6_k", KL_Q6_K }, { "q5_k", KL_Q5_K },
        { "q5_1", KL_Q5_1 }, { "q5_0", KL_Q5_0 }, { "q4_k", KL_Q4_K }, { "q4_1", KL_Q4_1 }, { "q4_0", KL_Q4_0 },
        { "bf16", KL_BF16 }, { "f16", KL_F16 }, { "f32", KL_F32 },
    };
    bool typed = false;
    size_t len;

    *o = (Options){ .threads = (int)sysconf(_SC_NPROCESSORS_ONLN) };
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--quiet")) {
            o->quiet = true;
        } else if (!strcmp(argv[i], "--threads") && i + 1 < argc) {
            if ((o->threads = atoi(argv[++i])) < 1 || o->threads > 1024)
                return -1;
        } else if (!strcmp(argv[i], "--type") && i + 1 < argc) {
            i++;
            for (size_t t = 0; t < KL_ARRAY_LEN(types); t++)
                if (!strcmp(argv[i], types[t].name)) {
                    o->type = types[t].type;
                    typed = true;
                }
        } else if (argv[i][0] == '-' || o->out) {
            return -1;
        } else {
            *(o->in ? &o->out : &o->in) = argv[i];
        }
    }
    if (!typed || !o->out)
        return -1;
    len = strlen(o->out);
    o->gguf = kl_dtype_block(o->type) > 1 ||
              (o->type <= KL_BF16 && len > 5 && !strcmp(o->out + len - 5, ".gguf"));
    return 0;
}

int main(int argc, char **argv)
{
    const struct sigaction action = { .sa_handler = on_signal };
    Program p = { .n = 0 };
    int ret;

    if (parse(&p.o, argc, argv) < 0)
        return usage();
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    ret = run(&p);
    if (stopped) {
        fprintf(stderr, "kling-quantize: interrupted, nothing was written\n");
        return 128 + (int)stopped;
    }
    return ret < 0;
}
