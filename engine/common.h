/*
 * What every file of the engine may use: diagnostics, errors, small helpers.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * No state lives here. A KlDiag belongs to one call chain (an opening model, a
 * running job); it carries the log, the last error's sentence and the cancel
 * flag, and is passed first.
 */
#ifndef KL_COMMON_H
#define KL_COMMON_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kling/kling.h"

#if defined(__GNUC__)
#   define KL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#   define KL_PRINTF(f, a)
#endif

#define KL_MIN(a, b) ((a) < (b) ? (a) : (b))
#define KL_MAX(a, b) ((a) > (b) ? (a) : (b))
#define KL_CEIL_DIV(a, b) (((a) + (b) - 1) / (b))
#define KL_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

typedef struct KlDiag {
    KlingLogFn log;                     /* or NULL */
    void *log_opaque;
    const atomic_int *cancel;           /* or NULL */
    char error[512];                    /* the last failure's sentence, "" if none */
} KlDiag;

/** Formats the sentence into d->error, and returns status. Never allocates. Does not log: whoever gives the
 *  error to the user (the public API) does that once. A later kl_fail() on the way up replaces the sentence,
 *  so callers pass errors through unless they know more. */
int  kl_fail(KlDiag *d, int status, const char *fmt, ...) KL_PRINTF(3, 4);
/** KLING_ERROR_OUT_OF_MEMORY with a sentence naming what and how many bytes. */
int  kl_fail_memory(KlDiag *d, const char *what, size_t bytes);
void kl_log(const KlDiag *d, enum KlingLogLevel level, const char *fmt, ...) KL_PRINTF(3, 4);
/** KLING_ERROR_CANCELLED with its sentence when the job was cancelled, else 0. */
int  kl_check_cancel(KlDiag *d);

/** a*b into *r; false on overflow. */
static inline bool kl_mul_size(size_t a, size_t b, size_t *r) { return !__builtin_mul_overflow(a, b, r); }

/** A printf'd string from malloc; NULL when out of memory. */
char *kl_asprintf(const char *fmt, ...) KL_PRINTF(1, 2);
char *kl_strdup(const char *s);

#endif /* KL_COMMON_H */
