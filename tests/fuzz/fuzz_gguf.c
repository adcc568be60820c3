/*
 * Fuzz target: the GGUF reader, its tensors, and the tokenizer in its metadata.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdlib.h>

#include "engine/gguf.h"
#include "engine/model_internal.h"
#include "engine/safetensors.h"
#include "fuzz.h"
#include "tests/gguf_file.h"

static void use_tensors(const KlTensor *t, int n, const uint8_t *file, size_t size)
{
    KlDiag d = { 0 };
    KlWeights *w;

    for (int i = 0; i < n; i++) {
        const uint8_t *p = t[i].data;

        FUZZ_MUST(p >= file && t[i].bytes <= size && p + t[i].bytes <= file + size);
    }
    if (kl_weights_borrow(&d, &w, t, n, "fuzz") < 0)
        return;
    for (int i = 0; i < n; i++) {
        float *v;
        KlWeight m;

        if (!kl_weights_get_f32(&d, w, t[i].name, t[i].ndim, t[i].shape, &v))
            free(v);
        kl_weights_get_matrix(&d, w, t[i].name, 32, 32, &m);
    }
    for (int part = 0; part < KL_PART_NB; part++) {
        KlTextEncoderConfig text;

        if (kl_names_canonical(&d, w, (KlPart)part) == 0)
            kl_shapes_text(&d, w, &text);
    }
    kl_weights_close(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *file = aligned_alloc(64, (size + 63) / 64 * 64 + 64);
    KlDiag d = { 0 };
    KlTokenizer *tok;
    KlTensor *t;
    KlGguf *g;
    int32_t ids[64];
    int n, count;

    if (!file)
        return 0;
    memcpy(file, data, size);
    if (!kl_gguf_parse(&d, "fuzz", file, size, &t, &n, &g)) {
        use_tensors(t, n, file, size);
        if (!kl_tokenizer_open_gguf(&d, &tok, g, "fuzz")) {
            if (!kl_tokenizer_encode(tok, &d, "a red ball </s> <extra_id_0>", ids, 64, &count))
                fuzz_accepted++;
            kl_tokenizer_close(&tok);
        }
    } else {
        FUZZ_MUST(d.error[0] && !t && !g);
    }
    kl_tensors_free(t, n);
    kl_gguf_free(&g);
    free(file);
    return 0;
}

static GgufFile good(void)
{
    static const char *const pieces[] = { "<pad>", "</s>", "<unk>", "\xe2\x96\x81", "\xe2\x96\x81" "a", "ball" };
    GgufFile f = { 0 };

    gguf_head(&f, 3, 3, 6);
    gguf_kv_string(&f, "general.architecture", "t5encoder");
    gguf_kv_string(&f, "tokenizer.ggml.model", "t5");
    gguf_kv_strings(&f, "tokenizer.ggml.tokens", 6, pieces[0], pieces[1], pieces[2], pieces[3], pieces[4], pieces[5]);
    gguf_string(&f, "tokenizer.ggml.scores");
    gguf_int(&f, 4, 9);
    gguf_int(&f, 4, 6);
    gguf_int(&f, 8, 6);
    for (int i = 0; i < 6; i++)
        gguf_int(&f, 4, i < 5 ? 0xc0000000u : 0xc47a0000u);    /* -2, the last -1000 */
    gguf_kv_u32s(&f, "tokenizer.ggml.token_type", 6, (const uint64_t[]){ 3, 3, 2, 1, 1, 4 });
    gguf_kv_u32s(&f, "comfy.gguf.orig_shape.token_embd.weight", 2, (const uint64_t[]){ 2, 32 });
    gguf_tensor(&f, "token_embd.weight", 2, 32, 2, 8, 0);
    gguf_tensor(&f, "enc.blk.0.attn_rel_b.weight", 2, 4, 4, 1, 96);
    gguf_tensor(&f, "enc.blk.0.attn_q.weight", 1, 8, 0, 0, 128);
    gguf_data(&f, 32, 160);
    return f;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const GgufFile f = good();

    (void)argc;
    (void)argv;
    LLVMFuzzerTestOneInput(f.b, f.n);
    FUZZ_MUST(fuzz_accepted == 1);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    const GgufFile f = good();

    return fuzz_mutate(data, size, max_size, seed, f.b, f.n);
}
