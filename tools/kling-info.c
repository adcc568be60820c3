/*
 * kling-info: what a file or folder is, what it can do, and what it needs.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Everything is gathered into one JSON object per argument, which is printed
 * as it is (--json) or laid out for people.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/gguf.h"
#include "engine/lora_internal.h"
#include "engine/condition.h"
#include "engine/model_internal.h"

static void set(json_t *o, const char *key, const char *fmt, ...) KL_PRINTF(3, 4);

static void set(json_t *o, const char *key, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    /* a file's name or a tensor's may be no UTF-8 */
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20)
            *c = '?';
    if (json_object_set_new(o, key, json_string(text)))
        json_object_set_new(o, key, json_string("(not UTF-8)"));
}

static void set_int(json_t *o, const char *key, int64_t v)
{
    json_object_set_new(o, key, json_integer(v));
}

static void append(json_t *list, const char *fmt, ...) KL_PRINTF(2, 3);

static void append(json_t *list, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    json_array_append_new(list, json_string(text));
}

/* -- tensors -- */

static int64_t elements(const KlTensor *t)
{
    return (int64_t)(t->bytes / kl_file_dtype_bytes(t->dtype)) * kl_file_dtype_block(t->dtype);
}

/* Parameters, bytes, and both by dtype, the largest first. */
static void describe_tensors(json_t *o, const KlWeights *w)
{
    int64_t bytes[KL_FT_NB] = { 0 }, params[KL_FT_NB] = { 0 }, all = 0, all_bytes = 0;
    json_t *list = json_array();
    int count[KL_FT_NB] = { 0 }, n;
    const KlTensor *t = kl_weights_all(w, &n);

    for (int i = 0; i < n; i++) {
        bytes[t[i].dtype] += (int64_t)t[i].bytes;
        params[t[i].dtype] += elements(&t[i]);
        count[t[i].dtype]++;
        all += elements(&t[i]);
        all_bytes += (int64_t)t[i].bytes;
    }
    set_int(o, "tensors", n);
    set_int(o, "parameters", all);
    set_int(o, "bytes", all_bytes);
    for (;;) {
        int best = -1;
        json_t *e;

        for (int d = 0; d < KL_FT_NB; d++)
            if (count[d] && (best < 0 || bytes[d] > bytes[best]))
                best = d;
        if (best < 0)
            break;
        e = json_object();
        set(e, "dtype", "%s", kl_file_dtype_name((KlFileDType)best));
        set_int(e, "tensors", count[best]);
        set_int(e, "parameters", params[best]);
        set_int(e, "bytes", bytes[best]);
        json_array_append_new(list, e);
        count[best] = 0;
    }
    json_object_set_new(o, "dtypes", list);
}

static void set_form(json_t *o, const KlWeights *w, const char *path)
{
    const KlGguf *g = kl_weights_gguf(w);
    const size_t n = strlen(path);

    if (g)
        set(o, "form", "GGUF, version %u", g->version);
    else if (kl_is_dir(path))
        set(o, "form", "folder of safetensors");
    else
        set(o, "form", n > 5 && !strcmp(path + n - 5, ".json") ? "safetensors in shards" : "safetensors");
}

/* -- LoRA -- */

typedef struct LoraSums {
    int matched, other, layers, whole, image;
    int64_t rank_min, rank_max, width;  /* columns of the first layer's A in the blocks' attention */
    bool alpha, kohya, diffusers, original;
} LoraSums;

static void sum_lora(LoraSums *s, const KlTensor *t)
{
    size_t stem;
    const KlLoraRole role = kl_lora_role(t->name, &stem);

    s->matched += role < KL_LORA_OTHER;
    s->other += role >= KL_LORA_OTHER;
    s->alpha |= role == KL_LORA_ALPHA;
    s->whole += role == KL_LORA_DIFF || role == KL_LORA_DIFF_BIAS || role == KL_LORA_DIFF_TABLE;
    s->image |= strstr(t->name, "k_img") || strstr(t->name, "add_k_proj") || strstr(t->name, "img_emb");
    s->kohya |= !strncmp(t->name, "lora_unet_", 10);
    s->diffusers |= strstr(t->name, ".attn1.") != NULL;
    s->original |= strstr(t->name, ".self_attn.") != NULL;
    if (role != KL_LORA_A || t->ndim < 2)
        return;
    s->layers++;
    s->rank_min = s->rank_min ? KL_MIN(s->rank_min, t->shape[0]) : t->shape[0];
    s->rank_max = KL_MAX(s->rank_max, t->shape[0]);
    if (!s->width && (strstr(t->name, "attn1") || strstr(t->name, "self_attn")))
        s->width = t->shape[1];
}

/* Whether most of w's tensors are a LoRA's; then it is described. */
static bool describe_lora(json_t *o, const KlWeights *w)
{
    static const struct {
        int width;
        const char *model;
    } models[] = { { 1536, "Wan 2.1 1.3B" }, { 5120, "Wan 14B (2.1, or an expert of 2.2)" }, { 3072, "Wan 2.2 5B" } };
    LoraSums s = { 0 };
    int n;
    const KlTensor *t = kl_weights_all(w, &n);

    for (int i = 0; i < n; i++)
        sum_lora(&s, &t[i]);
    if (s.matched <= s.other)
        return false;
    set(o, "what", "LoRA");
    set(o, "dialect", "%s%s", s.kohya ? "kohya (lora_unet_)" : s.diffusers ? "diffusers" : s.original
        ? "original names" : "unknown names", s.whole ? ", with whole changes" : "");
    set_int(o, "layers", s.layers);
    set(o, "rank", s.rank_min == s.rank_max ? "%lld" : "%lld..%lld", (long long)s.rank_min, (long long)s.rank_max);
    json_object_set_new(o, "alpha", json_boolean(s.alpha));
    json_object_set_new(o, "image_projections", json_boolean(s.image));
    set_int(o, "width", s.width);
    set(o, "for", s.width ? "another model" : "not told by its tensors");
    for (size_t i = 0; i < KL_ARRAY_LEN(models); i++)
        if (models[i].width == s.width)
            set(o, "for", "%s%s", models[i].model, s.image ? ", image to video" : "");
    if (s.other)
        set_int(o, "other_tensors", s.other);
    set(o, "use", "lora=FILE[:STRENGTH]");
    return true;
}

/* -- parts -- */

static void describe_dit(json_t *o, KlDiag *d, const KlWeights *w, const char *path)
{
    char *home = kl_is_dir(path) ? kl_strdup(path) : kl_path_dir(d, path);
    char *file = home ? kl_path_join(d, home, "kling.json") : NULL;
    KlModelDesc desc = { 0 };
    KlPrefs prefs;
    char *other = NULL;
    bool is_low = false;

    if (!kl_find_expert(d, path, &is_low, &other) && other) {
        desc.boundary = -1;             /* by its name one of two */
        set(o, "expert", is_low ? "low noise" : "high noise");
        set(o, "other_expert", "%s", other);
    }
    if (file && !kl_prefs_read(d, file, &prefs) && !kl_shapes_dit(d, w, prefs.head_dim, &desc.dit)) {
        kl_prefs_apply(&desc, &prefs, w, false, false);
        set(o, "kind", "%s", desc.kind);
        set(o, "shape", "%d layers of %d, %d heads of %d, feed-forward %d, %d channels in, %d out", desc.dit.layers,
            desc.dit.dim, desc.dit.heads, desc.dit.head_dim, desc.dit.ffn, desc.dit.in_ch, desc.dit.out_ch);
    } else {
        set(o, "error", "%s", d->error);
    }
    free(other);
    free(file);
    free(home);
}

static void describe_text(json_t *o, KlDiag *d, const KlWeights *w)
{
    KlTextEncoderConfig c;
    const bool inner = kl_weights_find(w, "spiece_model") ||
                       kl_gguf_find(kl_weights_gguf(w), "tokenizer.ggml.tokens");

    if (kl_shapes_text(d, w, &c) < 0) {
        set(o, "error", "%s", d->error);
        return;
    }
    set(o, "kind", c.dim == 4096 && c.layers == 24 ? "UMT5-XXL" : "UMT5");
    set(o, "shape", "%d layers of %d, %d heads of %d, feed-forward %d, vocabulary %d", c.layers, c.dim, c.heads,
        c.head_dim, c.ffn, c.vocab);
    set(o, "tokenizer", inner ? "inside" : "not inside: tokenizer= or a folder tokenizer/ beside it");
}

static void describe_vae(json_t *o, KlDiag *d, const KlWeights *w)
{
    KlVaeConfig c;

    if (kl_shapes_vae(d, w, &c) < 0) {
        set(o, "error", "%s", d->error);
        return;
    }
    set(o, "kind", c.z_dim == 48 ? "Wan 2.2 VAE" : c.z_dim == 16 ? "Wan 2.1 VAE" : "VAE");
    set(o, "shape", "latents of %d channels, %d levels from %d", c.z_dim, c.levels, c.base_dim);
}

static void describe_image(json_t *o, KlDiag *d, const KlWeights *w)
{
    KlImageEncoderConfig c;

    if (kl_shapes_image(d, w, 0, &c) < 0) {
        set(o, "error", "%s", d->error);
        return;
    }
    set(o, "kind", c.dim == 1280 && c.layers == 32 && c.patch_px == 14 ? "CLIP ViT-H/14" : "CLIP vision tower");
    set(o, "shape", "%d layers of %d, %d heads, feed-forward %d, pictures of %dx%d in patches of %d", c.layers, c.dim,
        c.heads, c.ffn, c.image_px, c.image_px, c.patch_px);
}

/* Of w, whose names become canonical; negative when it is none of the parts. */
static int describe_part(json_t *o, KlDiag *d, KlWeights *w, const char *path)
{
    const KlGgufValue *arch = kl_gguf_find(kl_weights_gguf(w), "general.architecture");
    static const KlPart parts[] = { KL_PART_DIT, KL_PART_VAE, KL_PART_TEXT, KL_PART_IMAGE };
    int ret = 0;

    for (size_t i = 0; i < KL_ARRAY_LEN(parts); i++) {
        const KlPart part = parts[i];

        if ((ret = kl_names_canonical(d, w, part)) == KLING_ERROR_UNSUPPORTED)
            break;                      /* known by name */
        if (ret < 0)
            continue;
        set(o, "what", "%s", kl_part_name(part));
        if (part == KL_PART_DIT)
            describe_dit(o, d, w, path);
        else if (part == KL_PART_TEXT)
            describe_text(o, d, w);
        else if (part == KL_PART_VAE)
            describe_vae(o, d, w);
        else
            describe_image(o, d, w);
        return 0;
    }
    if (arch && arch->type == KL_GGUF_STRING)
        set(o, "architecture", "%.*s", (int)KL_MIN(arch->bytes, 64), (const char *)arch->data);
    if (ret == KLING_ERROR_UNSUPPORTED)
        set(o, "error", "%s", d->error);
    else
        set(o, "error", "neither a Wan transformer, its text or image encoder or VAE, nor a LoRA: its tensors have "
            "names of no known layout");
    return -1;
}

/* A file or a folder of shards by itself. */
static int describe_file(json_t *o, const char *path)
{
    KlDiag d = { 0 };
    KlWeights *w = NULL;
    int ret = kl_weights_open(&d, &w, path);

    if (ret < 0) {
        set(o, "error", "%s", d.error);
        return ret;
    }
    if (!describe_lora(o, w))
        ret = describe_part(o, &d, w, path);
    set_form(o, w, path);
    describe_tensors(o, w);
    kl_weights_close(&w);
    return ret;
}

/* -- whole models -- */

static void keep_warnings(void *opaque, enum KlingLogLevel level, const char *line)
{
    if (level == KLING_LOG_WARNING)
        append(opaque, "%s", line);
}

static void describe_info(json_t *o, const KlingModelInfo *i)
{
    static const struct {
        unsigned cap;
        const char *text;
    } caps[] = {
        { KLING_CAP_TEXT, "text to video" }, { KLING_CAP_LEAD_IMAGE, "image to video" },
        { KLING_CAP_LEAD_CLIP, "extend a clip, of any length" }, { KLING_CAP_TRAIL_IMAGE, "arrive at a picture" },
        { KLING_CAP_TRAIL_CLIP, "bridge two clips" }, { KLING_CAP_NEEDS_BOTH, "only with both" },
    };
    json_t *can = json_array(), *r = json_object();

    set(o, "what", "model");
    set(o, "kind", "%s", i->kind);
    set_int(o, "parameters", i->parameters);
    for (size_t c = 0; c < KL_ARRAY_LEN(caps); c++)
        if (i->caps & caps[c].cap)
            append(can, "%s", caps[c].text);
    json_object_set_new(o, "can", can);
    set(r, "size", "%dx%d", i->width_px, i->height_px);
    set_int(r, "frames", i->frames);
    set(r, "fps", i->fps_den == 1 ? "%d" : "%d/%d", i->fps_num, i->fps_den);
    set_int(r, "steps", i->steps);
    set(r, "guidance", "%g", i->guidance);
    if (i->guidance_low != i->guidance)
        set(r, "guidance_low", "%g", i->guidance_low);
    set(r, "shift", "%g", i->shift);
    set(r, "sampler", i->sampler == KLING_SAMPLER_EULER ? "euler" : "unipc");
    json_object_set_new(o, "recommended", r);
}

/* Bytes beside the weights, for the recommended size. */
static void describe_memory(json_t *o, const KlModelFiles *f, const KlModelDesc *c)
{
    KlKernels k;
    KlDiag d = { 0 };
    KlDit *dit = NULL;
    KlVae *vae = NULL;
    json_t *m = json_object();

    kl_kernels_init_cpu(&k, KL_CPU_ALL);
    if (!kl_dit_create(&d, &dit, &k, f->dit, &c->dit) && !kl_vae_create(&d, &vae, &k, f->vae, &c->vae)) {
        const int s = kl_vae_space_factor(vae), t = kl_vae_time_factor(vae);
        const int F = 1 + (c->frames - 1) / t, R = c->height_px / s / c->dit.patch_h * c->dit.patch_h;
        const int W = c->width_px / s / c->dit.patch_w * c->dit.patch_w;

        if (c->condition.kind)
            set_int(m, "encode", (int64_t)kl_condition_bytes(c, vae, W * s, R * s));
        set_int(m, "denoise", (int64_t)(kl_dit_session_bytes(dit, F, R, W) + kl_condition_held_bytes(c, F, R, W)));
        set_int(m, "decode", (int64_t)kl_vae_decoder_bytes(vae, R, W));
        if (kl_dit_int8_bytes(dit))
            set_int(m, "precision=int8", (int64_t)kl_dit_int8_bytes(dit));
        json_object_set_new(o, "memory_beside_weights", m);
        m = NULL;
    }
    json_decref(m);
    kl_vae_destroy(&vae);
    kl_dit_destroy(&dit);
}

static void describe_parts(json_t *o, const KlingModelParams *p)
{
    KlDiag d = { 0 };
    KlModelFiles f;
    KlModelDesc desc;
    json_t *parts = json_array();

    if (!kl_model_files_open(&d, &f, &desc, p)) {
        const KlWeights *w[KL_PART_NB] = { [KL_PART_TEXT] = f.text, [KL_PART_DIT] = f.dit, [KL_PART_VAE] = f.vae,
                                           [KL_PART_DIT_LOW] = f.dit_low, [KL_PART_IMAGE] = f.image };

        if (desc.boundary)
            set(o, "boundary", "%g", desc.boundary);
        for (int i = 0; i < KL_PART_NB; i++) {
            json_t *e = w[i] ? json_object() : NULL;

            if (!e)
                continue;
            set(e, "part", "%s", kl_part_name((KlPart)i));
            set(e, "file", "%s", kl_weights_path(w[i]));
            set_form(e, w[i], kl_weights_path(w[i]));
            describe_tensors(e, w[i]);
            json_array_append_new(parts, e);
        }
        describe_memory(o, &f, &desc);
        kl_model_files_close(&f);
    }
    json_object_set_new(o, "parts", parts);
}

/* 0 when it is one, whole. */
static int describe_model(json_t *o, const KlingModelParams *p)
{
    json_t *warnings = json_array();
    const KlingContextParams cp = { .log = keep_warnings, .log_opaque = warnings };
    KlingContext *ctx = NULL;
    KlingModel *m = NULL;
    int ret = kling_context_create(&ctx, &cp);

    if (!ret && !(ret = kling_model_open(ctx, &m, p))) {
        describe_info(o, kling_model_info(m));
        describe_parts(o, p);
    } else if (ctx) {
        set(o, "missing", "%s", kling_context_error(ctx));
    }
    if (json_array_size(warnings))
        json_object_set(o, "warnings", warnings);
    kling_model_destroy(&m);
    kling_context_destroy(&ctx);
    json_decref(warnings);
    return ret;
}

static int describe(json_t *o, const KlingModelParams *p)
{
    char index[4096];
    json_t *alone;
    int ret;

    set(o, "file", "%s", p->model);
    if (!kl_is_dir(p->model) && !kl_is_file(p->model)) {
        set(o, "error", "'%s' does not exist", p->model);
        return -1;
    }
    if (!describe_model(o, p))
        return 0;
    snprintf(index, sizeof(index), "%s/model_index.json", p->model);
    if (kl_is_file(index)) {
        set(o, "what", "model");
        set(o, "error", "%s", json_string_value(json_object_get(o, "missing")));
        json_object_del(o, "missing");
        return -1;
    }
    alone = json_object();
    ret = describe_file(alone, p->model);
    if (strcmp(json_string_value(json_object_get(alone, "what")) ? json_string_value(json_object_get(alone, "what"))
                                                                 : "", "transformer"))
        json_object_del(o, "missing");  /* nobody expects a whole model */
    json_object_update(o, alone);
    json_decref(alone);
    return ret;
}

/* -- for people -- */

static void print_bytes(double n)
{
    if (n >= 1 << 30)
        printf("%.2f GiB", n / (1 << 30));
    else if (n >= 1 << 20)
        printf("%.1f MiB", n / (1 << 20));
    else
        printf("%.1f KiB", n / 1024);
}

static void print_count(double n)
{
    if (n >= 1e9)
        printf("%.2f billion", n / 1e9);
    else if (n >= 1e6)
        printf("%.1f million", n / 1e6);
    else
        printf("%.0f", n);
}

static void print_dtypes(const json_t *list)
{
    size_t i;
    json_t *e;

    json_array_foreach((json_t *)list, i, e) {
        printf("%s%s ", i ? ", " : "", json_string_value(json_object_get(e, "dtype")));
        print_bytes((double)json_integer_value(json_object_get(e, "bytes")));
    }
    putchar('\n');
}

static void print_object(const json_t *o, int indent);

static void print_member(const char *key, const json_t *v, int indent)
{
    const bool bytes = !strcmp(key, "bytes") || !strcmp(key, "denoise") || !strcmp(key, "decode") ||
                       !strcmp(key, "precision=int8") ||
                       !strcmp(key, "encode");
    char label[64];
    size_t i;
    json_t *e;

    snprintf(label, sizeof(label), "%s", key);
    for (char *c = label; *c; c++)
        *c = *c == '_' ? ' ' : *c;
    printf("%*s%-22s", indent, "", label);
    if (!strcmp(key, "dtypes")) {
        print_dtypes(v);
        return;
    }
    if (json_is_string(v))
        puts(json_string_value(v));
    else if (json_is_boolean(v))
        puts(json_is_true(v) ? "yes" : "no");
    else if (json_is_integer(v)) {
        if (bytes)
            print_bytes((double)json_integer_value(v));
        else if (!strcmp(key, "parameters"))
            print_count((double)json_integer_value(v));
        else
            printf("%lld", (long long)json_integer_value(v));
        putchar('\n');
    } else if (json_is_object(v)) {
        putchar('\n');
        print_object(v, indent + 4);
    } else if (json_is_array(v) && json_is_object(json_array_get(v, 0))) {
        putchar('\n');
        json_array_foreach((json_t *)v, i, e)
            print_object(e, indent + 4);
    } else {
        json_array_foreach((json_t *)v, i, e)
            printf("%s%s", i ? ", " : "", json_string_value(e));
        putchar('\n');
    }
}

static void print_object(const json_t *o, int indent)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v)
        print_member(key, v, indent);
}

static int usage(void)
{
    fprintf(stderr,
            "usage: kling-info [--json] [--text_encoder F] [--vae F] [--tokenizer F] [--lora L] FILE...\n"
            "Says what each file or folder is: a whole model, or a transformer, text encoder, VAE or LoRA by itself;\n"
            "its dtypes, what it can do, the options and memory that it wants, and what is missing.\n");
    return 2;
}

int main(int argc, char **argv)
{
    json_t *all = json_array();
    KlingModelParams p;
    bool json = false;
    int n = 0, ret = 0;

    kling_model_params_default(&p);
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        const char **value = !strcmp(a, "--text_encoder") ? &p.text_encoder : !strcmp(a, "--vae") ? &p.vae
                             : !strcmp(a, "--tokenizer") ? &p.tokenizer : !strcmp(a, "--lora") ? &p.lora : NULL;

        if (value && i + 1 < argc) {
            *value = argv[++i];
        } else if (!strcmp(a, "--json")) {
            json = true;
        } else if (a[0] == '-') {
            json_decref(all);
            return usage();
        } else {
            json_t *o = json_object();

            p.model = a;
            ret |= describe(o, &p) < 0;
            if (!json) {
                printf("%s", n ? "\n" : "");
                print_object(o, 0);
            }
            json_array_append_new(all, o);
            n++;
        }
    }
    if (json && n) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(all);
    return n ? ret : usage();
}
