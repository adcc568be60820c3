/*
 * The pictures behind the new frames of a KlingContinuation.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef AVFILTER_KLING_PICTURES_H
#define AVFILTER_KLING_PICTURES_H

#include "kling_continue.h"

/** Memory for them, once width_px, height_px, time, fade and nb_trail are known. Returns 0 or AVERROR(ENOMEM), without
 *  a line. */
int  ff_kling_pictures_alloc(KlingContinuation *k);
/** The picture of new frame n, 1 and on, n never falling, made when it is asked for. *p lives until the next call;
 *  *part: how much of it is k->next, the rest being k->prev. Returns 0 or an AVERROR, AVERROR_EXIT without a line when
 *  interrupted. */
int  ff_kling_pictures_at(AVFilterContext *ctx, KlingContinuation *k, int n, const KlingPicture **p, double *part);
/** The real ones too. */
void ff_kling_pictures_free(KlingContinuation *k);

#endif /* AVFILTER_KLING_PICTURES_H */
