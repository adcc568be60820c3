/*
 * Fuzz target: the index of a sharded file, beside two sound shards.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Input: the text of model.safetensors.index.json.
 */
#include <stdlib.h>

#include "engine/weights.h"
#include "fuzz.h"

static char dir[64];

static void write_file(const char *name, const void *p, size_t n)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "wb");
    FUZZ_MUST(f && fwrite(p, 1, n, f) == n && !fclose(f));
}

/* One f32 of the name, a letter. */
static void write_shard(const char *name, char tensor)
{
    static const char header[] = "{\" \":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}      ";
    uint8_t file[8 + sizeof(header) - 1 + 4] = { sizeof(header) - 1 };

    memcpy(file + 8, header, sizeof(header) - 1);
    file[8 + 2] = (uint8_t)tensor;
    write_file(name, file, sizeof(file));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    KlDiag d = { 0 };
    KlWeights *w;
    int n;

    write_file("model.safetensors.index.json", data, size);
    if (!kl_weights_open(&d, &w, dir)) {
        const KlTensor *t = kl_weights_all(w, &n);

        for (int i = 0; i < n; i++)
            FUZZ_MUST(t[i].bytes == 4 && kl_weights_find(w, t[i].name) == &t[i]);
        fuzz_accepted++;
    } else {
        FUZZ_MUST(d.error[0] && !w);
    }
    kl_weights_close(&w);
    return 0;
}

static const char good[] = "{\"metadata\":{},\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}}";

static void clean_up(void)
{
    static const char *const names[] = { "s1.safetensors", "s2.safetensors", "model.safetensors.index.json" };
    char path[128];

    for (size_t i = 0; i < KL_ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    snprintf(dir, sizeof(dir), "/tmp/kling-fuzz-XXXXXX");
    FUZZ_MUST(mkdtemp(dir) && !atexit(clean_up));
    write_shard("s1.safetensors", 'a');
    write_shard("s2.safetensors", 'b');
    LLVMFuzzerTestOneInput((const uint8_t *)good, sizeof(good) - 1);
    FUZZ_MUST(fuzz_accepted == 1);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    return fuzz_mutate(data, size, max_size, seed, (const uint8_t *)good, sizeof(good) - 1);
}
