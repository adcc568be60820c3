/*
 * Diagnostics: one sentence per failure, one line per message.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include "common.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A sentence quotes bytes of files and prompts; control characters in them must not reach a terminal or split the
 * line. */
static void one_line(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

int kl_fail(KlDiag *d, int status, const char *fmt, ...)
{
    char line[sizeof(d->error)];        /* an argument may be d->error itself */
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    one_line(line);
    memcpy(d->error, line, sizeof(line));
    return status;
}

int kl_fail_memory(KlDiag *d, const char *what, size_t bytes)
{
    if (bytes >= 1u << 20)
        return kl_fail(d, KLING_ERROR_OUT_OF_MEMORY,
                       "out of memory: %s needs %.1f MiB more; a smaller size or fewer frames need less",
                       what, (double)bytes / (1 << 20));
    return kl_fail(d, KLING_ERROR_OUT_OF_MEMORY, "out of memory: %s needs %zu bytes more", what, bytes);
}

void kl_log(const KlDiag *d, enum KlingLogLevel level, const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    if (!d->log)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    one_line(line);
    d->log(d->log_opaque, level, line);
}

int kl_check_cancel(KlDiag *d)
{
    if (d->cancel && atomic_load_explicit(d->cancel, memory_order_relaxed))
        return kl_fail(d, KLING_ERROR_CANCELLED, "cancelled");
    return 0;
}

char *kl_asprintf(const char *fmt, ...)
{
    va_list ap;
    char *s;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !(s = malloc((size_t)n + 1)))
        return NULL;
    va_start(ap, fmt);
    vsnprintf(s, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return s;
}

char *kl_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = malloc(n);

    return copy ? memcpy(copy, s, n) : NULL;
}
