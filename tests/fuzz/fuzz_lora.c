/*
 * Fuzz target: LoRA files and the text that names them.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Input: the header's text of a safetensors file, to which the length in front and 256 bytes of data are added; a first
 * byte of 0 has the rest taken for the option's text.
 */
#include <stdlib.h>

#include "engine/lora.h"
#include "fuzz.h"

static const float numbers[64];

static KlWeights *base(void)
{
    static const KlTensor t[] = {
        { .name = "blocks.0.attn1.to_q.weight", .ndim = 2, .shape = { 4, 4 }, .data = numbers, .bytes = 64 },
        { .name = "blocks.0.attn1.to_q.bias", .ndim = 1, .shape = { 4 }, .data = numbers, .bytes = 16 },
        { .name = "blocks.0.attn1.norm_q.weight", .ndim = 1, .shape = { 4 }, .data = numbers, .bytes = 16 },
        { .name = "blocks.0.scale_shift_table", .ndim = 3, .shape = { 1, 6, 2 }, .data = numbers, .bytes = 48 },
    };
    KlDiag d = { 0 };
    KlWeights *w;

    return kl_weights_borrow(&d, &w, t, 4, "fuzz") < 0 ? NULL : w;
}

/* What a change points to can be read as far as its layer reads it. */
static void use(const KlWeights *w)
{
    static const char *const names[] = { "blocks.0.attn1.to_q.bias", "blocks.0.attn1.norm_q.weight" };
    static const int64_t four[1] = { 4 };
    KlDiag d = { 0 };
    int n;
    const KlDelta *e = kl_weights_deltas(w, "blocks.0.attn1.to_q.weight", &n);
    volatile unsigned sum = 0;

    for (int i = 0; i < n; i++) {
        const size_t a = kl_dtype_bytes(e[i].a.dtype, e[i].rank ? e[i].rank * 4 : 16);
        const size_t b = e[i].rank ? kl_dtype_bytes(e[i].b.dtype, 4 * e[i].rank) : 0;

        for (size_t k = 0; k < a; k++)
            sum += ((const uint8_t *)e[i].a.data)[k];
        for (size_t k = 0; k < b; k++)
            sum += ((const uint8_t *)e[i].b.data)[k];
    }
    for (int i = 0; i < 2; i++) {
        float *v;

        if (!kl_weights_get_f32(&d, w, names[i], 1, four, &v))
            free(v);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const size_t header = (size + 7) / 8 * 8, total = 8 + header + 256;
    uint8_t *file = malloc(total);
    KlDiag d = { 0 };
    KlWeights *w = base();
    char *spec = NULL;
    int ret;

    if (file && w && size && !data[0]) {
        spec = malloc(size);
        memcpy(spec, data + 1, size - 1);
        spec[size - 1] = 0;
        if (strstr(spec, "/"))          /* no file of the system */
            spec[0] = 0;
    }
    if (file && w) {
        memset(file, ' ', total);
        for (int i = 0; i < 8; i++)
            file[i] = (uint8_t)(header >> 8 * i);
        memcpy(file + 8, data, size);
        ret = kl_lora_attach(&d, w, spec ? spec : fuzz_file(file, total), size % 3 ? KL_EXPERT_ONLY : KL_EXPERT_HIGH);
        FUZZ_MUST(ret == 0 || d.error[0]);
        if (!ret) {
            use(w);
            fuzz_accepted++;
        }
    }
    free(spec);
    free(file);
    kl_weights_close(&w);
    return 0;
}

#define ENTRY(name, shape, a, b) "\"" name "\":{\"dtype\":\"BF16\",\"shape\":" shape ",\"data_offsets\":[" a "," b "]}"

static const char good[] =
    "{\"__metadata__\":{\"lora_adapter_metadata\":\"{\\\"transformer.lora_alpha\\\":3,\\\"transformer.r\\\":4}\"},"
    ENTRY("transformer.blocks.0.attn1.to_q.lora_A.weight", "[8,4]", "0", "64") ","
    ENTRY("transformer.blocks.0.attn1.to_q.lora_B.weight", "[4,8]", "64", "128") ","
    ENTRY("lora_unet_blocks_0_self_attn_q.alpha", "[]", "128", "130") ","
    ENTRY("diffusion_model.blocks.0.self_attn.q.diff", "[4,4]", "130", "162") ","
    ENTRY("diffusion_model.blocks.0.self_attn.norm_q.diff", "[4]", "162", "170") ","
    ENTRY("diffusion_model.blocks.0.diff_m", "[1,6,2]", "170", "194") ","
    ENTRY("rest", "[31]", "194", "256") "}";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    LLVMFuzzerTestOneInput((const uint8_t *)good, sizeof(good) - 1);
    FUZZ_MUST(fuzz_accepted == 1);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    return fuzz_mutate(data, size, max_size, seed, (const uint8_t *)good, sizeof(good) - 1);
}
