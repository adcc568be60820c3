/*
 * Contexts and the names of statuses.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdlib.h>

#include "internal.h"

unsigned kling_version(void)
{
    return KLING_VERSION_INT;
}

const char *kling_status_name(int status)
{
    switch (status) {
    case KLING_OK:                  return "ok";
    case KLING_EOF:                 return "end of clip";
    case KLING_ERROR_INVALID_ARG:   return "invalid argument";
    case KLING_ERROR_NOT_FOUND:     return "not found";
    case KLING_ERROR_INVALID_DATA:  return "invalid data";
    case KLING_ERROR_UNSUPPORTED:   return "unsupported";
    case KLING_ERROR_OUT_OF_MEMORY: return "out of memory";
    case KLING_ERROR_IO:            return "input/output error";
    case KLING_ERROR_CANCELLED:     return "cancelled";
    case KLING_ERROR_DEVICE:        return "device error";
    case KLING_ERROR_INTERNAL:      return "internal error";
    }
    return "unknown status";
}

int kling_context_create(KlingContext **ctx, const KlingContextParams *params)
{
    if (!ctx)
        return KLING_ERROR_INVALID_ARG;
    *ctx = calloc(1, sizeof(**ctx));
    if (!*ctx)
        return KLING_ERROR_OUT_OF_MEMORY;
    if (params) {
        (*ctx)->log = params->log;
        (*ctx)->log_opaque = params->log_opaque;
    }
    return KLING_OK;
}

void kling_context_destroy(KlingContext **ctx)
{
    if (!ctx)
        return;
    free(*ctx);
    *ctx = NULL;
}

const char *kling_context_error(const KlingContext *ctx)
{
    return ctx ? ctx->error : "";
}
