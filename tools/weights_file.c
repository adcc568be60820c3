/*
 * Files of weights, written so that they appear whole or not at all.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "weights_file.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static int fail(const OutFile *o, const char *what)
{
    fprintf(stderr, "cannot %s '%s': %s\n", what, o->temporary, strerror(errno));
    return -1;
}

size_t out_bytes(KlFileDType dtype, int ndim, const int64_t *shape)
{
    size_t n = kl_file_dtype_bytes(dtype);

    for (int i = 0; i < ndim; i++)
        n *= (size_t)(i < ndim - 1 ? shape[i] : shape[i] / kl_file_dtype_block(dtype));
    return n;
}

static void put_int(FILE *f, unsigned bytes, uint64_t v)
{
    for (unsigned i = 0; i < bytes; i++)
        fputc((int)(v >> 8 * i & 255), f);
}

/* -- safetensors -- */

static void write_safetensors_header(OutFile *o)
{
    long end;

    put_int(o->f, 8, 0);
    fprintf(o->f, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < o->n; i++) {
        const OutTensor *t = &o->t[i];

        fprintf(o->f, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, kl_file_dtype_name(t->dtype));
        for (int k = 0; k < t->ndim; k++)
            fprintf(o->f, "%s%" PRId64, k ? "," : "", t->shape[k]);
        fprintf(o->f, "],\"data_offsets\":[%zu,%zu]}", t->offset, t->offset + t->bytes);
    }
    fputc('}', o->f);
    while ((end = ftell(o->f)) > 0 && end % 64)
        fputc(' ', o->f);
    fseek(o->f, 0, SEEK_SET);
    put_int(o->f, 8, (uint64_t)(end - 8));
    fseek(o->f, 0, SEEK_END);
}

/* -- GGUF -- */

static void put_string(FILE *f, const char *s)
{
    put_int(f, 8, strlen(s));
    fputs(s, f);
}

/* What the new file says of itself, or is about the old one's tensors. */
static bool is_own(const char *key)
{
    return !strcmp(key, "general.architecture") || !strcmp(key, "general.alignment") ||
           !strcmp(key, "general.file_type") || !strcmp(key, "general.quantization_version") ||
           !strncmp(key, "comfy.gguf.", 11);
}

static void put_value(FILE *f, const KlGgufValue *v)
{
    put_string(f, v->key);
    put_int(f, 4, v->type);
    if (v->type == KL_GGUF_STRING) {
        put_int(f, 8, v->bytes);
    } else if (v->type == KL_GGUF_ARRAY) {
        put_int(f, 4, v->item);
        put_int(f, 8, v->count);
    }
    fwrite(v->data, 1, v->bytes, f);
}

static unsigned gguf_type(KlFileDType t)
{
    switch (t) {
    case KL_FT_F16:  return 1;
    case KL_FT_Q4_0: return 2;
    case KL_FT_Q4_1: return 3;
    case KL_FT_Q5_0: return 6;
    case KL_FT_Q5_1: return 7;
    case KL_FT_Q8_0: return 8;
    case KL_FT_Q4_K: return 12;
    case KL_FT_Q5_K: return 13;
    case KL_FT_Q6_K: return 14;
    case KL_FT_I8:   return 24;
    case KL_FT_I16:  return 25;
    case KL_FT_I32:  return 26;
    case KL_FT_I64:  return 27;
    case KL_FT_F64:  return 28;
    case KL_FT_BF16: return 30;
    default:         return 0;
    }
}

static void write_gguf_header(OutFile *o, const char *architecture, const KlGguf *from)
{
    int kept = 0;
    long end;

    for (int i = 0; from && i < from->n; i++)
        kept += !is_own(from->v[i].key);
    fwrite("GGUF", 1, 4, o->f);
    put_int(o->f, 4, 3);
    put_int(o->f, 8, (uint64_t)o->n);
    put_int(o->f, 8, (uint64_t)kept + 2);
    put_string(o->f, "general.architecture");
    put_int(o->f, 4, KL_GGUF_STRING);
    put_string(o->f, architecture);
    put_string(o->f, "general.quantization_version");
    put_int(o->f, 4, KL_GGUF_U32);
    put_int(o->f, 4, 2);
    for (int i = 0; from && i < from->n; i++)
        if (!is_own(from->v[i].key))
            put_value(o->f, &from->v[i]);
    for (int i = 0; i < o->n; i++) {
        const OutTensor *t = &o->t[i];

        put_string(o->f, t->name);
        put_int(o->f, 4, (uint64_t)t->ndim);
        for (int k = t->ndim; k--; )
            put_int(o->f, 8, (uint64_t)t->shape[k]);
        put_int(o->f, 4, gguf_type(t->dtype));
        put_int(o->f, 8, t->offset);
    }
    while ((end = ftell(o->f)) > 0 && end % 32)
        fputc(0, o->f);
}

/* -- both -- */

int out_begin(OutFile *o, const char *path, OutTensor *t, int n, const char *architecture, const KlGguf *from)
{
    size_t offset = 0;

    *o = (OutFile){ .t = t, .n = n, .align = architecture ? 32 : 1 };
    snprintf(o->path, sizeof(o->path), "%s", path);
    snprintf(o->temporary, sizeof(o->temporary), "%s.tmp%ld", o->path, (long)getpid());
    if (!(o->f = fopen(o->temporary, "wbx")))
        return fail(o, "write");
    for (int i = 0; i < n; i++) {
        t[i].offset = offset;
        offset += (t[i].bytes + o->align - 1) / o->align * o->align;
    }
    if (architecture)
        write_gguf_header(o, architecture, from);
    else
        write_safetensors_header(o);
    return ferror(o->f) ? fail(o, "write") : 0;
}

int out_write(OutFile *o, const void *p, size_t bytes)
{
    if (fwrite(p, 1, bytes, o->f) != bytes)
        return fail(o, "write");
    o->written += bytes;
    while (o->next < o->n && o->written >= o->t[o->next].offset + o->t[o->next].bytes) {
        for (; o->written % o->align; o->written++)
            fputc(0, o->f);
        o->next++;
    }
    return ferror(o->f) ? fail(o, "write") : 0;
}

int out_end(OutFile *o)
{
    FILE *f = o->f;

    if (o->next < o->n || fflush(f) || fsync(fileno(f)))
        return fail(o, "write");
    o->f = NULL;
    if (fclose(f) || rename(o->temporary, o->path)) {
        fail(o, "write");
        unlink(o->temporary);
        return -1;
    }
    return 0;
}

void out_cancel(OutFile *o)
{
    if (!o->f)
        return;
    fclose(o->f);
    o->f = NULL;
    unlink(o->temporary);
}
