/*
 * Fuzz target: the tokenizer's files, SentencePiece models and tokenizer.json, and prompts through what they hold.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Input: a byte n, n bytes of prompt (fewer when there are no more), the file.
 */
#include <stdlib.h>

#include "engine/tokenizer.h"
#include "fuzz.h"

#define MAX_TOK 64

static void encode(const KlTokenizer *t, const char *prompt)
{
    int32_t ids[MAX_TOK + 1];
    KlDiag d = { 0 };
    int n, vocab = kl_tokenizer_vocab(t);

    for (int max = 1; max <= MAX_TOK; max += 21) {
        ids[max] = 0x5e5e5e5e;
        if (kl_tokenizer_encode(t, &d, prompt, ids, max, &n) < 0) {
            FUZZ_MUST(d.error[0]);
            continue;
        }
        FUZZ_MUST(n >= 1 && n <= max && ids[max] == 0x5e5e5e5e);
        for (int i = 0; i < n; i++)
            FUZZ_MUST(ids[i] >= 0 && ids[i] < vocab);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    KlDiag d = { 0 };
    KlTokenizer *t;
    char prompt[256];
    uint8_t *file;
    size_t n;

    if (!size)
        return 0;
    n = data[0] < size - 1 ? data[0] : size - 1;
    memcpy(prompt, data + 1, n);
    prompt[n] = 0;
    size -= 1 + n;
    file = malloc(size + !size);        /* of the exact size, so that reading on shows */
    if (!file)
        return 0;
    memcpy(file, data + 1 + n, size);
    if (!kl_tokenizer_open_memory(&d, &t, file, size, "fuzz")) {
        memset(file, 0xee, size);       /* the bytes were copied */
        encode(t, prompt);
        encode(t, "a b\xc3\xa9 <b>&amp;\xe2\x96\x81</s>");
        fuzz_accepted++;
    } else {
        FUZZ_MUST(d.error[0] && !t);
    }
    kl_tokenizer_close(&t);
    free(file);
    return 0;
}

/* -- good inputs -- */

static const char good_json[] =
    "\3a b{\"added_tokens\":[{\"id\":1,\"content\":\"</s>\",\"special\":true}],"
    "\"normalizer\":{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"CAAAAAAAAAAAAAAAYgA=\"},"
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":2,\"byte_fallback\":false,"
    "\"vocab\":[[\"<pad>\",0],[\"</s>\",0],[\"<unk>\",0],[\"\xe2\x96\x81\",-2],[\"a\",-3],[\"\xe2\x96\x81""ab\",-4]]}}";

static size_t put_field(uint8_t *p, int number, const void *bytes, size_t n)
{
    p[0] = (uint8_t)(number << 3 | 2);
    p[1] = (uint8_t)n;                  /* n < 128 */
    memcpy(p + 2, bytes, n);
    return 2 + n;
}

static size_t put_piece(uint8_t *p, const char *text, float score, int type)
{
    uint8_t m[64];
    size_t n = put_field(m, 1, text, strlen(text));

    m[n++] = 2 << 3 | 5;
    memcpy(m + n, &score, 4);
    n += 4;
    m[n++] = 3 << 3;
    m[n++] = (uint8_t)type;
    return put_field(p, 1, m, n);
}

static size_t good_spm(uint8_t *p)
{
    static const char *const pieces[] = { "\xe2\x96\x81", "a", "b", ("\xe2\x96\x81" "a"), "<0x62>", "\xc3\xa9" };
    static const uint8_t trainer[] = { 3 << 3, 1 };
    /* a trie of two units, and "b" */
    static const uint8_t charsmap[] = { 8, 0, 0, 0, 0, 4, 0, 0, 0x61, 1, 0, 0, 'b', 0 };
    uint8_t normalizer[32];
    size_t n = 0;

    p[n++] = 3;
    memcpy(p + n, "a b", 3);
    n += 3;
    n += put_piece(p + n, "<pad>", 0, 3);
    n += put_piece(p + n, "</s>", 0, 3);
    n += put_piece(p + n, "<unk>", 0, 2);
    for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++)
        n += put_piece(p + n, pieces[i], -(float)i, 1);
    n += put_field(p + n, 2, trainer, sizeof(trainer));
    return n + put_field(p + n, 3, normalizer, put_field(normalizer, 2, charsmap, sizeof(charsmap)));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    uint8_t spm[512];

    (void)argc;
    (void)argv;
    LLVMFuzzerTestOneInput((const uint8_t *)good_json, sizeof(good_json) - 1);
    LLVMFuzzerTestOneInput(spm, good_spm(spm));
    FUZZ_MUST(fuzz_accepted == 2);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint8_t spm[512];

    if (seed % 128 >= 64)
        return fuzz_mutate(data, size, max_size, seed, (const uint8_t *)good_json, sizeof(good_json) - 1);
    return fuzz_mutate(data, size, max_size, seed, spm, good_spm(spm));
}
