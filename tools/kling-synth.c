/*
 * kling-synth: a complete model folder with synthetic weights, from a folder of configs.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * For tests and for trying things out: the model dreams noise. The folder
 * appears whole or not at all, so that two programs may make the same one at
 * the same time.
 */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/mapping.h"
#include "engine/model_internal.h"
#include "synth_model.h"

#define PATH_SIZE 4096

typedef struct Options {
    const char *config, *out, *tokenizer;
    uint64_t seed;
    KlDType dtype;
    int shards;
    bool sparse;
    enum { FORM_DIFFUSERS, FORM_ORIGINAL, FORM_REPACKAGED } form;
} Options;

typedef struct Configs {
    KlTextEncoderConfig text;
    KlDitConfig dit;
    KlVaeConfig vae;
    KlImageEncoderConfig image;
    int has[KL_PART_NB];
} Configs;

static const void *part_config(const Configs *c, KlPart part)
{
    const void *const of[KL_PART_NB] = { [KL_PART_TEXT] = &c->text, [KL_PART_DIT] = &c->dit, [KL_PART_VAE] = &c->vae,
                                         [KL_PART_IMAGE] = &c->image, [KL_PART_DIT_LOW] = &c->dit };

    return of[part];
}

static SynthPart synth_part(KlPart part)
{
    static const SynthPart of[KL_PART_NB] = { [KL_PART_TEXT] = SYNTH_TEXT_ENCODER, [KL_PART_DIT] = SYNTH_DIT,
                                              [KL_PART_VAE] = SYNTH_VAE, [KL_PART_IMAGE] = SYNTH_IMAGE_ENCODER,
                                              [KL_PART_DIT_LOW] = SYNTH_DIT };

    return of[part];
}

/* The second of two experts is another transformer. */
static uint64_t part_seed(const Options *o, KlPart part)
{
    return o->seed + (part == KL_PART_DIT_LOW);
}

static int fail(const char *what, const char *path)
{
    fprintf(stderr, "kling-synth: cannot %s '%s': %s\n", what, path, strerror(errno));
    return -1;
}

static int make_dir(const char *base, const char *name)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof(path), "%s/%s", base, name);
    return mkdir(path, 0777) && errno != EEXIST ? fail("make", path) : 0;
}

static int copy_file(const char *from, const char *base, const char *name)
{
    char path[PATH_SIZE];
    KlMapping m;
    KlDiag d = { 0 };
    FILE *f;
    size_t n;

    if (kl_map_file(&d, &m, from) < 0) {
        fprintf(stderr, "kling-synth: %s\n", d.error);
        return -1;
    }
    snprintf(path, sizeof(path), "%s/%s", base, name);
    f = fopen(path, "wb");
    n = f && m.bytes ? fwrite(m.data, 1, m.bytes, f) : 0;
    if (!f || n != m.bytes || fclose(f))
        return kl_unmap_file(&m), fail("write", path);
    kl_unmap_file(&m);
    return 0;
}

/* CONFIG/name to tmp/name, if it is there. */
static int copy_config(const Options *o, const char *tmp, const char *name)
{
    char from[PATH_SIZE];

    snprintf(from, sizeof(from), "%s/%s", o->config, name);
    return kl_is_file(from) ? copy_file(from, tmp, name) : 0;
}

/* The tokenizer's folder: given, the config's own, or the tests'. */
static void tokenizer_dir(const Options *o, char *dir, size_t size)
{
    snprintf(dir, size, "%s", o->tokenizer ? o->tokenizer : o->config);
    if (o->tokenizer)
        return;
    snprintf(dir, size, "%s/tokenizer", o->config);
    if (!kl_is_dir(dir))
        snprintf(dir, size, "%s/../../data/tokenizer", o->config);
}

static int copy_tokenizer(const Options *o, const char *tmp, const char *to)
{
    static const char *const names[] = { "spiece.model", "tokenizer.json", "tokenizer_config.json" };
    char dir[PATH_SIZE - 64], from[PATH_SIZE], name[256];
    int copied = 0;

    tokenizer_dir(o, dir, sizeof(dir));
    for (size_t i = 0; i < KL_ARRAY_LEN(names); i++) {
        snprintf(from, sizeof(from), "%s/%s", dir, names[i]);
        snprintf(name, sizeof(name), "%s/%s", to, names[i]);
        if (!kl_is_file(from))
            continue;
        if (copy_file(from, tmp, name) < 0)
            return -1;
        copied++;
    }
    if (!copied)
        fprintf(stderr, "kling-synth: no tokenizer in '%s': give --tokenizer FOLDER\n", dir);
    return copied ? 0 : -1;
}

/* -- weights -- */

typedef struct IndexFile {
    FILE *f;
    char file[128];
    int n;
} IndexFile;

static void add_to_index(void *opaque, const char *name, int ndim, const int64_t *shape)
{
    IndexFile *x = opaque;

    (void)ndim;
    (void)shape;
    fprintf(x->f, "%s\n    \"%s\": \"%s\"", x->n++ ? "," : "", name, x->file);
}

/* base.safetensors in dir, or its shards and their index. */
static int write_part(const Options *o, const Configs *c, KlPart part, const char *dir, const char *base,
                      SynthFileForm form)
{
    char path[PATH_SIZE];
    IndexFile x = { 0 };
    int ret = 0;

    if (!c->has[part])
        return 0;
    form.sparse = o->sparse;

    if (o->shards < 2) {
        snprintf(path, sizeof(path), "%s/%s.safetensors", dir, base);
        ret = synth_file_form(synth_part(part), part_config(c, part), part_seed(o, part), o->dtype, path, &form);
        return ret < 0 ? fail("write", path) : 0;
    }
    snprintf(path, sizeof(path), "%s/%s.safetensors.index.json", dir, base);
    if (!(x.f = fopen(path, "w")))
        return fail("write", path);
    fprintf(x.f, "{\n  \"metadata\": {},\n  \"weight_map\": {");
    form.shards = o->shards;
    form.told = add_to_index;
    form.opaque = &x;
    for (form.shard = 0; form.shard < o->shards && !ret; form.shard++) {
        snprintf(x.file, sizeof(x.file), "%s-%05d-of-%05d.safetensors", base, form.shard + 1, o->shards);
        snprintf(path, sizeof(path), "%s/%s", dir, x.file);
        ret = synth_file_form(synth_part(part), part_config(c, part), part_seed(o, part), o->dtype, path, &form);
    }
    fprintf(x.f, "\n  }\n}\n");
    if (ferror(x.f))
        ret = KLING_ERROR_IO;
    return fclose(x.f) || ret < 0 ? fail("write", path) : 0;
}

static int write_diffusers(const Options *o, const Configs *c, const char *tmp)
{
    static const char *const files[] = { "model_index.json", "kling.json", "transformer/config.json",
                                         "text_encoder/config.json", "vae/config.json",
                                         "scheduler/scheduler_config.json", "transformer_2/config.json",
                                         "image_encoder/config.json", "image_processor/preprocessor_config.json" };
    static const char *const dirs[] = { "scheduler", "tokenizer" };
    const SynthFileForm plain = { 0 };
    char dir[PATH_SIZE];

    for (size_t i = 0; i < KL_ARRAY_LEN(dirs); i++)
        if (make_dir(tmp, dirs[i]) < 0)
            return -1;
    for (int p = 0; p < KL_PART_NB; p++)
        if (c->has[p] && make_dir(tmp, kl_part_key((KlPart)p)) < 0)
            return -1;
    if (c->has[KL_PART_IMAGE] && make_dir(tmp, "image_processor") < 0)
        return -1;
    for (size_t i = 0; i < KL_ARRAY_LEN(files); i++)
        if (copy_config(o, tmp, files[i]) < 0)
            return -1;
    for (int p = 0; p < KL_PART_NB; p++) {
        snprintf(dir, sizeof(dir), "%s/%s", tmp, kl_part_key((KlPart)p));
        if (write_part(o, c, (KlPart)p, dir,
                       p == KL_PART_TEXT || p == KL_PART_IMAGE ? "model" : "diffusion_pytorch_model", plain) < 0)
            return -1;
    }
    return copy_tokenizer(o, tmp, "tokenizer");
}

/* The heads' sizes and the preferences do not show in a file of weights: they go into the kling.json. */
static int write_prefs(const Options *o, const Configs *c, const char *dir)
{
    char path[PATH_SIZE], line[256], sizes[128];
    FILE *in, *out;
    int first = 1, n;

    n = snprintf(sizes, sizeof(sizes), "  \"head_dim\": %d", c->dit.head_dim);
    if (c->has[KL_PART_IMAGE])
        snprintf(sizes + n, sizeof(sizes) - (size_t)n, ",\n  \"image_heads\": %d", c->image.heads);

    snprintf(path, sizeof(path), "%s/kling.json", o->config);
    in = fopen(path, "r");
    snprintf(path, sizeof(path), "%s/kling.json", dir);
    if (!(out = fopen(path, "w"))) {
        if (in)
            fclose(in);
        return fail("write", path);
    }
    while (in && fgets(line, sizeof(line), in)) {
        fputs(line, out);
        if (first && strchr(line, '{'))
            fprintf(out, "%s,\n", sizes);
        first = 0;
    }
    if (!in)
        fprintf(out, "{\n%s\n}\n", sizes);
    else
        fclose(in);
    return fclose(out) ? fail("write", path) : 0;
}

/* As the original release lies on disk, but for its pickles. */
static int write_original(const Options *o, const Configs *c, const char *tmp)
{
    SynthFileForm form[KL_PART_NB] = { 0 };
    const int two = c->has[KL_PART_DIT_LOW];
    char dir[2][PATH_SIZE];

    for (int p = 0; p < KL_PART_NB; p++)
        form[p].rules = kl_names_original((KlPart)p, c->vae.residual, &form[p].n_rules);
    form[KL_PART_IMAGE] = (SynthFileForm){ .prefix = "vision_model." };
    snprintf(dir[0], PATH_SIZE, two ? "%s/high_noise_model" : "%s", tmp);
    snprintf(dir[1], PATH_SIZE, "%s/low_noise_model", tmp);
    if (make_dir(tmp, "google") < 0 || make_dir(tmp, "google/umt5-xxl") < 0 ||
        (two && (make_dir(tmp, "high_noise_model") < 0 || make_dir(tmp, "low_noise_model") < 0)))
        return -1;
    if (write_part(o, c, KL_PART_DIT, dir[0], "diffusion_pytorch_model", form[KL_PART_DIT]) < 0 ||
        write_part(o, c, KL_PART_DIT_LOW, dir[1], "diffusion_pytorch_model", form[KL_PART_DIT]) < 0 ||
        write_part(o, c, KL_PART_IMAGE, tmp, "clip_vision_h", form[KL_PART_IMAGE]) < 0 ||
        write_part(o, c, KL_PART_TEXT, tmp, "models_t5_umt5-xxl-enc-bf16", form[KL_PART_TEXT]) < 0 ||
        write_part(o, c, KL_PART_VAE, tmp, c->vae.residual ? "Wan2.2_VAE" : "Wan2.1_VAE", form[KL_PART_VAE]) < 0)
        return -1;
    return write_prefs(o, c, tmp) < 0 ? -1 : copy_tokenizer(o, tmp, "google/umt5-xxl");
}

/* Single files in folders side by side, the tokenizer inside the text encoder. */
static int write_repackaged(const Options *o, const Configs *c, const char *tmp)
{
    SynthFileForm dit = { .prefix = "model.diffusion_model." }, vae = { 0 }, text = { 0 };
    const SynthFileForm image = { .prefix = "vision_model." };
    const int two = c->has[KL_PART_DIT_LOW];
    const char *const name = two ? "wan2.2_high_noise_synthetic" : c->dit.in_ch == c->dit.out_ch
                           ? "wan2.1_t2v_synthetic" : "wan2.1_i2v_synthetic";
    char dir[4][PATH_SIZE], spiece[PATH_SIZE + 32];
    KlMapping m;
    KlDiag d = { 0 };
    int ret;

    if (make_dir(tmp, "diffusion_models") < 0 || make_dir(tmp, "text_encoders") < 0 || make_dir(tmp, "vae") < 0 ||
        (c->has[KL_PART_IMAGE] && make_dir(tmp, "clip_vision") < 0))
        return -1;
    tokenizer_dir(o, spiece, PATH_SIZE);
    strcat(spiece, "/spiece.model");
    if (kl_map_file(&d, &m, spiece) < 0) {
        fprintf(stderr, "kling-synth: %s\n", d.error);
        return -1;
    }
    text.spiece = m.data;
    text.spiece_bytes = m.bytes;
    dit.rules = kl_names_original(KL_PART_DIT, false, &dit.n_rules);
    vae.rules = kl_names_original(KL_PART_VAE, c->vae.residual, &vae.n_rules);
    snprintf(dir[0], PATH_SIZE, "%s/diffusion_models", tmp);
    snprintf(dir[1], PATH_SIZE, "%s/text_encoders", tmp);
    snprintf(dir[2], PATH_SIZE, "%s/vae", tmp);
    snprintf(dir[3], PATH_SIZE, "%s/clip_vision", tmp);
    ret = write_part(o, c, KL_PART_DIT, dir[0], name, dit);
    if (!ret)
        ret = write_part(o, c, KL_PART_DIT_LOW, dir[0], "wan2.2_low_noise_synthetic", dit);
    if (!ret)
        ret = write_part(o, c, KL_PART_IMAGE, dir[3], "clip_vision_h", image);
    if (!ret)
        ret = write_part(o, c, KL_PART_TEXT, dir[1], "umt5_synthetic", text);
    if (!ret)
        ret = write_part(o, c, KL_PART_VAE, dir[2], c->vae.residual ? "wan2.2_vae" : "wan_2.1_vae", vae);
    kl_unmap_file(&m);
    return ret ? ret : write_prefs(o, c, dir[0]);
}

/* -- the whole -- */

static int read_configs(const Options *o, Configs *c)
{
    KlDiag d = { 0 };
    char path[PATH_SIZE];
    int ret;

    snprintf(path, sizeof(path), "%s/text_encoder/config.json", o->config);
    ret = kl_config_text(&d, path, &c->text);
    snprintf(path, sizeof(path), "%s/transformer/config.json", o->config);
    if (!ret)
        ret = kl_config_dit(&d, path, &c->dit);
    snprintf(path, sizeof(path), "%s/vae/config.json", o->config);
    if (!ret)
        ret = kl_config_vae(&d, path, &c->vae);
    c->has[KL_PART_TEXT] = c->has[KL_PART_DIT] = c->has[KL_PART_VAE] = 1;
    snprintf(path, sizeof(path), "%s/transformer_2/config.json", o->config);
    c->has[KL_PART_DIT_LOW] = kl_is_file(path);
    snprintf(path, sizeof(path), "%s/image_encoder/config.json", o->config);
    c->has[KL_PART_IMAGE] = kl_is_file(path);
    if (!ret && c->has[KL_PART_IMAGE])
        ret = kl_config_image(&d, path, &c->image);
    if (ret < 0)
        fprintf(stderr, "kling-synth: %s\n", d.error);
    return ret;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int make_model(const Options *o)
{
    static int (*const writers[])(const Options *, const Configs *, const char *) = {
        write_diffusers, write_original, write_repackaged };
    Configs c = { 0 };
    char tmp[PATH_SIZE - 256];
    int ret;

    if (read_configs(o, &c) < 0)
        return -1;
    snprintf(tmp, sizeof(tmp), "%s.tmp%ld", o->out, (long)getpid());
    if (mkdir(tmp, 0777))
        return fail("make", tmp);
    ret = writers[o->form](o, &c, tmp);
    if (!ret && !rename(tmp, o->out))
        return 0;
    if (!ret && errno != EEXIST && errno != ENOTEMPTY)
        ret = fail("write", o->out);    /* one that is there already stays */
    if (nftw(tmp, remove_one, 16, FTW_DEPTH | FTW_PHYS))
        fprintf(stderr, "kling-synth: '%s' is left over\n", tmp);
    return ret;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: kling-synth CONFIG_DIR OUT_DIR [SEED] [options]\n"
            "Makes a model folder with weights from a seed (1); an OUT_DIR that is there stays as it is.\n"
            "  --dtype f32|bf16|f16        of all weights [f32]\n"
            "  --shards N                  files per part [1]\n"
            "  --sparse                    zeros that take no room on the disk instead of values\n"
            "  --names FORM                diffusers, original, repackaged [diffusers]\n"
            "  --tokenizer DIR             [CONFIG_DIR/tokenizer, else CONFIG_DIR/../../data/tokenizer]\n");
    return 2;
}

static int choice(const char *s, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(s, names[i]))
            return i;
    return -1;
}

int main(int argc, char **argv)
{
    static const char *const dtypes[] = { [KL_F32] = "f32", [KL_F16] = "f16", [KL_BF16] = "bf16" };
    static const char *const forms[] = { "diffusers", "original", "repackaged" };
    Options o = { .seed = 1 };
    int n = 0;

    for (int i = 1; i < argc; i++) {
        int v = 0;

        if (!strcmp(argv[i], "--sparse")) {
            o.sparse = true;
            continue;
        }
        if (argv[i][0] == '-' && i + 1 == argc)
            return usage();
        if (!strcmp(argv[i], "--dtype"))
            o.dtype = (KlDType)(v = choice(argv[++i], dtypes, 3));
        else if (!strcmp(argv[i], "--names"))
            o.form = v = choice(argv[++i], forms, 3);
        else if (!strcmp(argv[i], "--shards"))
            v = (o.shards = atoi(argv[++i])) > 0 ? 0 : -1;
        else if (!strcmp(argv[i], "--tokenizer"))
            o.tokenizer = argv[++i];
        else if (argv[i][0] == '-' || n == 3)
            return usage();
        else if (n++ == 2)
            o.seed = strtoull(argv[i], NULL, 10);
        else
            *(n == 1 ? &o.config : &o.out) = argv[i];
        if (v < 0)
            return usage();
    }
    if (n < 2)
        return usage();
    return make_model(&o) < 0;
}
