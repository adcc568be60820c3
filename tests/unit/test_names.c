/*
 * The enumeration of a part's tensors equals what save_pretrained() writes.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "tests/check.h"
#include "tools/synth_model.h"

#define NAMES "tests/golden/data/names.txt"
#define MAX_LINES 2000

/* The same as in tests/golden/gen_names.py. */
static const KlTextEncoderConfig text[2] = {
    { .vocab = 300, .dim = 32, .heads = 4, .head_dim = 8, .ffn = 64, .layers = 2, .rel_buckets = 32 },
    { .vocab = 77, .dim = 24, .heads = 3, .head_dim = 10, .ffn = 40, .layers = 3, .rel_buckets = 16 },
};
static const KlDitConfig dit[2] = {
    { .dim = 24, .heads = 2, .head_dim = 12, .ffn = 64, .layers = 2, .in_ch = 16, .out_ch = 16, .text_dim = 32,
      .freq_dim = 256, .patch_h = 2, .patch_w = 2, .cross_attn_norm = true },
    { .dim = 60, .heads = 3, .head_dim = 20, .ffn = 77, .layers = 3, .in_ch = 6, .out_ch = 5, .text_dim = 24,
      .freq_dim = 32, .patch_h = 2, .patch_w = 1, .cross_attn_norm = false },
};
static const KlDitConfig dit_image[2] = {
    { .dim = 24, .heads = 2, .head_dim = 12, .ffn = 64, .layers = 2, .in_ch = 36, .out_ch = 16, .text_dim = 32,
      .freq_dim = 256, .patch_h = 2, .patch_w = 2, .cross_attn_norm = true, .image_dim = 14, .image_len = 10 },
    { .dim = 60, .heads = 3, .head_dim = 20, .ffn = 77, .layers = 3, .in_ch = 6, .out_ch = 5, .text_dim = 24,
      .freq_dim = 32, .patch_h = 2, .patch_w = 1, .cross_attn_norm = false, .image_dim = 22 },
};
static const KlImageEncoderConfig image[2] = {
    { .dim = 24, .heads = 2, .ffn = 40, .layers = 2, .image_px = 28, .patch_px = 14 },
    { .dim = 30, .heads = 3, .ffn = 31, .layers = 3, .image_px = 12, .patch_px = 3 },
};
static const KlVaeConfig vae[3] = {
    { .base_dim = 8, .z_dim = 16, .levels = 4, .dim_mult = { 1, 2, 4, 4 }, .res_blocks = 2,
      .temporal_down = { false, true, true } },
    { .base_dim = 6, .z_dim = 5, .levels = 3, .dim_mult = { 1, 2, 3 }, .res_blocks = 1,
      .temporal_down = { true, false } },
    { .base_dim = 8, .decoder_dim = 12, .z_dim = 48, .levels = 4, .dim_mult = { 1, 2, 4, 4 }, .res_blocks = 2,
      .temporal_down = { false, true, true }, .residual = true, .patch = 2 },
};

typedef struct Lines {
    char *line[MAX_LINES];
    int n;
} Lines;

static void add_line(void *opaque, const char *name, int ndim, const int64_t *shape)
{
    Lines *l = opaque;
    char buf[300];
    int n = snprintf(buf, sizeof(buf), "%s ", name);

    for (int i = 0; i < ndim; i++)
        n += snprintf(buf + n, sizeof(buf) - (size_t)n, "%s%lld", i ? "x" : "", (long long)shape[i]);
    if (l->n < MAX_LINES)
        l->line[l->n++] = strdup(buf);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void read_section(Lines *l, const char *title)
{
    FILE *f = fopen(NAMES, "r");
    char buf[300], want[64];
    int in = 0;

    snprintf(want, sizeof(want), "[%s]", title);
    while (f && fgets(buf, sizeof(buf), f)) {
        buf[strcspn(buf, "\n")] = 0;
        if (buf[0] == '[')
            in = !strcmp(buf, want);
        else if (in && l->n < MAX_LINES)
            l->line[l->n++] = strdup(buf);
    }
    if (f)
        fclose(f);
}

static void compare(Lines *got, const char *title)
{
    Lines want = { 0 };

    read_section(&want, title);
    qsort(got->line, (size_t)got->n, sizeof(char *), by_text);
    qsort(want.line, (size_t)want.n, sizeof(char *), by_text);
    CHECK(want.n > 0, "no section [%s] in " NAMES, title);
    for (int i = 0; i < got->n && i < want.n; i++)
        CHECK(!strcmp(got->line[i], want.line[i]), "got '%s', wanted '%s'", got->line[i], want.line[i]);
    CHECK(got->n == want.n, "%d tensors, wanted %d", got->n, want.n);
    for (int i = 0; i < got->n; i++)
        free(got->line[i]);
    for (int i = 0; i < want.n; i++)
        free(want.line[i]);
}

static void test_part(SynthPart part, const char *section, const void *cfg)
{
    Lines got = { 0 };

    synth_list(part, cfg, add_line, &got);
    compare(&got, section);
}

int main(void)
{
    for (int i = 0; i < 2; i++) {
        const struct {
            SynthPart part;
            const char *name;
            const void *cfg;
        } parts[] = {
            { SYNTH_TEXT_ENCODER, "text", &text[i] },    { SYNTH_DIT, "dit", &dit[i] }, { SYNTH_VAE, "vae", &vae[i] },
            { SYNTH_DIT, "dit_image", &dit_image[i] },   { SYNTH_IMAGE_ENCODER, "image", &image[i] },
        };

        for (size_t p = 0; p < KL_ARRAY_LEN(parts); p++) {
            char name[32], section[32];

            snprintf(name, sizeof(name), "names_%s_%d", parts[p].name, i);
            snprintf(section, sizeof(section), "%s %d", parts[p].name, i);
            NAMED(name, test_part(parts[p].part, section, parts[p].cfg));
        }
    }
    NAMED("names_vae_2", test_part(SYNTH_VAE, "vae 2", &vae[2]));
    return check_exit();
}
