/*
 * The header of one GGUF file, checked: metadata and tensors.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Versions 2 and 3, little-endian. As strict as the format's own reader:
 * unique keys and names, offsets that are aligned and follow one another,
 * tensors that lie inside the file. Knows no model.
 */
#ifndef KL_GGUF_H
#define KL_GGUF_H

#include "weights.h"

typedef enum KlGgufType {               /* numbers as in the file */
    KL_GGUF_U8, KL_GGUF_I8, KL_GGUF_U16, KL_GGUF_I16, KL_GGUF_U32, KL_GGUF_I32, KL_GGUF_F32, KL_GGUF_BOOL,
    KL_GGUF_STRING, KL_GGUF_ARRAY, KL_GGUF_U64, KL_GGUF_I64, KL_GGUF_F64, KL_GGUF_NB
} KlGgufType;

typedef struct KlGgufValue {
    char *key;
    KlGgufType type;
    KlGgufType item;                    /* of an ARRAY's elements */
    uint64_t count;                     /* of an ARRAY's elements */
    const uint8_t *data;                /* into the file, unaligned: the number, the string's bytes, or the elements */
    size_t bytes;
} KlGgufValue;

typedef struct KlGguf {
    unsigned version;
    KlGgufValue *v;                     /* n, sorted by key */
    int n;
} KlGguf;

/** Whether a file begins as a GGUF file does. */
bool kl_gguf_is(const uint8_t *data, size_t bytes);
/** Reads the header of the file that lies at data, which must be aligned to 64 bytes and outlive *meta. On success *t
 *  has *n tensors in file order, dims in the order of safetensors (the fastest last), to be freed with
 *  kl_tensors_free(). where names the file in messages. */
int  kl_gguf_parse(KlDiag *d, const char *where, const uint8_t *data, size_t bytes, KlTensor **t, int *n,
                   KlGguf **meta);
void kl_gguf_free(KlGguf **meta);

/** NULL when there is no such key, or meta is NULL. */
const KlGgufValue *kl_gguf_find(const KlGguf *meta, const char *key);
/** A whole number that is not negative, of any integer type; false when v is NULL or something else. */
bool kl_gguf_uint(const KlGgufValue *v, uint64_t *out);
/** Element i of an array of numbers, as a double; i < count. */
double kl_gguf_number(const KlGgufValue *v, uint64_t i);
/** Whether v is an array of numbers (whole ones, or any), or of strings. */
bool kl_gguf_is_array(const KlGgufValue *v, KlGgufType item);
/** The string at *pos bytes into v's elements, or v's own; *pos moves on. false at the end. */
bool kl_gguf_next_string(const KlGgufValue *v, size_t *pos, const char **s, size_t *len);

#endif /* KL_GGUF_H */
