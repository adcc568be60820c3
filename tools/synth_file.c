/*
 * Synthetic parts of a model as safetensors files, in all the forms that the engine reads.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/model_internal.h"
#include "synth_model.h"

typedef struct Writer {
    FILE *f;
    const SynthFileForm *form;
    uint64_t seed;
    KlDType dtype;
    int n, i;                           /* tensors in all, seen */
    int written;
    size_t bytes;
    int failed;
} Writer;

static size_t tensor_bytes(KlDType dtype, int ndim, const int64_t *shape)
{
    size_t n = kl_dtype_bytes(dtype, 1);

    for (int i = 0; i < ndim; i++)
        n *= (size_t)shape[i];
    return n;
}

static void count_one(void *opaque, const char *name, int ndim, const int64_t *shape)
{
    (void)name;
    (void)ndim;
    (void)shape;
    ++*(int *)opaque;
}

/* Whether the next tensor belongs to the file. */
static int is_ours(Writer *w)
{
    const int i = w->i++, shards = w->form->shards;

    return shards < 2 || (int64_t)i * shards / w->n == w->form->shard;
}

static void put_entry(Writer *w, const char *name, const char *dtype, int ndim, const int64_t *shape, size_t bytes)
{
    fprintf(w->f, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", w->written++ ? "," : "{", name, dtype);
    for (int i = 0; i < ndim; i++)
        fprintf(w->f, "%s%" PRId64, i ? "," : "", shape[i]);
    fprintf(w->f, "],\"data_offsets\":[%zu,%zu]}", w->bytes, w->bytes + bytes);
    w->bytes += bytes;
}

static void write_entry(void *opaque, const char *name, int ndim, const int64_t *shape)
{
    static const char *const dtypes[] = { [KL_F32] = "F32", [KL_F16] = "F16", [KL_BF16] = "BF16" };
    Writer *w = opaque;
    char *own = kl_rename_backwards(name, w->form->rules, w->form->n_rules);
    char *full = kl_asprintf("%s%s", w->form->prefix ? w->form->prefix : "", own ? own : name);

    if (full && is_ours(w)) {
        put_entry(w, full, dtypes[w->dtype], ndim, shape, tensor_bytes(w->dtype, ndim, shape));
        if (w->form->told)
            w->form->told(w->form->opaque, full, ndim, shape);
    }
    w->failed |= !full;
    free(own);
    free(full);
}

static void write_data(void *opaque, const char *name, int ndim, const int64_t *shape)
{
    Writer *w = opaque;
    const size_t bytes = tensor_bytes(w->dtype, ndim, shape);
    void *p;

    if (!is_ours(w))
        return;
    p = malloc(bytes);
    if (p) {
        synth_fill(p, w->seed, w->dtype, 0, name, ndim, shape);
        fwrite(p, 1, bytes, w->f);
    }
    w->failed |= !p;
    free(p);
}

int synth_file_form(SynthPart part, const void *cfg, uint64_t seed, KlDType dtype, const char *path,
                    const SynthFileForm *form)
{
    const SynthFileForm plain = { 0 };
    Writer w = { .f = fopen(path, "wb"), .form = form ? form : &plain, .seed = seed, .dtype = dtype };
    const int64_t spiece_bytes = (int64_t)w.form->spiece_bytes;
    unsigned char size[8] = { 0 };
    long end;

    if (!w.f)
        return KLING_ERROR_IO;
    synth_list(part, cfg, count_one, &w.n);
    fwrite(size, 1, 8, w.f);
    synth_list(part, cfg, write_entry, &w);
    if (w.form->spiece)
        put_entry(&w, "spiece_model", "U8", 1, &spiece_bytes, w.form->spiece_bytes);
    fputc('}', w.f);
    while ((end = ftell(w.f)) > 0 && end % 64)
        fputc(' ', w.f);
    for (int i = 0; i < 8; i++)
        size[i] = (unsigned char)((uint64_t)(end - 8) >> 8 * i);
    w.i = 0;
    if (w.form->sparse)
        w.failed |= fflush(w.f) || ftruncate(fileno(w.f), end + (off_t)(w.bytes - (size_t)spiece_bytes)) ||
                    fseek(w.f, 0, SEEK_END);
    else
        synth_list(part, cfg, write_data, &w);
    if (w.form->spiece)
        fwrite(w.form->spiece, 1, w.form->spiece_bytes, w.f);
    w.failed |= fseek(w.f, 0, SEEK_SET) < 0;
    fwrite(size, 1, 8, w.f);
    w.failed |= ferror(w.f);
    return fclose(w.f) || w.failed ? KLING_ERROR_IO : 0;
}

int synth_file(SynthPart part, const void *cfg, uint64_t seed, KlDType dtype, const char *path)
{
    return synth_file_form(part, cfg, seed, dtype, path, NULL);
}
