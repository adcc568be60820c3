/*
 * Fuzz target: the safetensors reader and what is done with tensors right after it.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Input: a byte; even: the rest is the file; odd: the rest is the header's
 * text, to which the length in front, spaces that align the data, and 64 bytes
 * of data are added.
 */
#include <stdlib.h>

#include "engine/model_internal.h"
#include "engine/safetensors.h"
#include "fuzz.h"

static int fuzz_scaled;                 /* tensors that got one */

static void use(const KlTensor *t, int n, const uint8_t *file, size_t size)
{
    KlDiag d = { 0 };
    KlWeights *w;
    unsigned sum = 0;

    for (int i = 0; i < n; i++) {
        const uint8_t *p = t[i].data;

        FUZZ_MUST(p >= file && t[i].bytes <= size && p + t[i].bytes <= file + size);
        FUZZ_MUST((uintptr_t)p % kl_file_dtype_bytes(t[i].dtype) == 0 || !t[i].bytes);
        for (size_t k = 0; k < t[i].bytes; k++)
            sum += p[k];
    }
    if (kl_weights_borrow(&d, &w, t, n, "fuzz") < 0)
        return;
    for (int i = 0; i < n; i++) {
        float *v;
        KlWeight m;

        FUZZ_MUST(kl_weights_find(w, t[i].name));
        if (!kl_weights_get_f32(&d, w, t[i].name, t[i].ndim, t[i].shape, &v))
            free(v);
        kl_weights_get_matrix(&d, w, t[i].name, 4, 4, &m);
    }
    kl_weights_elements(w);
    for (int part = 0; part < KL_PART_NB; part++) {
        KlTextEncoderConfig text;
        KlDitConfig dit;
        KlVaeConfig vae;
        KlImageEncoderConfig image;

        if (kl_names_canonical(&d, w, (KlPart)part) < 0)
            continue;
        kl_shapes_text(&d, w, &text);
        kl_shapes_dit(&d, w, sum % 2 ? 0 : 4, &dit);
        kl_shapes_vae(&d, w, &vae);
        kl_shapes_image(&d, w, sum % 2 ? 0 : 4, &image);
    }
    kl_weights_close(&w);
}

/* The same file opened, so that scales go to their tensors. */
static void use_scales(const uint8_t *file, size_t size)
{
    KlDiag d = { 0 };
    KlWeights *w;
    const KlTensor *t;
    int n;

    if (kl_weights_open(&d, &w, fuzz_file(file, size)) < 0) {
        FUZZ_MUST(d.error[0]);
        return;
    }
    t = kl_weights_all(w, &n);
    for (int i = 0; i < n; i++) {
        float *v;

        if (!kl_weights_get_f32(&d, w, t[i].name, t[i].ndim, t[i].shape, &v))
            free(v);
        fuzz_scaled += t[i].scale != NULL;
    }
    kl_weights_close(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int framed = size && data[0] % 2;
    size_t n = size ? size - 1 : 0, header = (n + 7) / 8 * 8, total = framed ? 8 + header + 64 : n;
    uint8_t *file = aligned_alloc(16, (total + 15) / 16 * 16 + 16);
    KlDiag d = { 0 };
    KlTensor *t;
    int count;

    if (!file)
        return 0;
    if (framed) {
        memset(file, ' ', total);
        for (int i = 0; i < 8; i++)
            file[i] = (uint8_t)(header >> 8 * i);
        memcpy(file + 8, data + 1, n);
    } else if (n) {
        memcpy(file, data + 1, n);
    }
    if (!kl_safetensors_parse(&d, "fuzz", file, total, &t, &count)) {
        use(t, count, file, total);
        use_scales(file, total);
        fuzz_accepted++;
    } else {
        FUZZ_MUST(d.error[0] && !t);
    }
    kl_tensors_free(t, count);
    free(file);
    return 0;
}

/* Once odd (framed), once even. */
static const char good[] =
    "\1{\"__metadata__\":{\"format\":\"pt\"},"
    "\"shared.weight\":{\"dtype\":\"F16\",\"shape\":[4,2],\"data_offsets\":[0,16]},"
    "\"blocks.0.attn.q.weight\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[16,32]},"
    "\"patch_embedding.weight\":{\"dtype\":\"BF16\",\"shape\":[2,1,1,2,2],\"data_offsets\":[32,48]},"
    "\"scaled_fp8\":{\"dtype\":\"F8_E4M3\",\"shape\":[0],\"data_offsets\":[48,48]},"
    "\"a.scale_weight\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[48,52]},"
    "\"b.weight_scale\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[52,56]},"
    "\"a.weight\":{\"dtype\":\"F8_E4M3\",\"shape\":[2,2],\"data_offsets\":[56,60]},"
    "\"b.weight\":{\"dtype\":\"I8\",\"shape\":[2,2],\"data_offsets\":[60,64]}}";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    LLVMFuzzerTestOneInput((const uint8_t *)good, sizeof(good) - 1);
    FUZZ_MUST(fuzz_accepted == 1 && fuzz_scaled == 2);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint8_t raw[sizeof(good) + 88] = { 0 };
    const size_t n = sizeof(good) - 2, header = (n + 7) / 8 * 8;

    if (seed % 128 >= 64)
        return fuzz_mutate(data, size, max_size, seed, (const uint8_t *)good, n + 1);
    raw[1] = (uint8_t)header;
    raw[2] = (uint8_t)(header >> 8);
    memset(raw + 9, ' ', header);
    memcpy(raw + 9, good + 1, n);
    return fuzz_mutate(data, size, max_size, seed, raw, 9 + header + 64);
}
