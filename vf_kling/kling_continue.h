/*
 * New frames after given ones, and, where asked for, before others: what kling_extend and kling_bridge have in common.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Functions returning int return 0 or an AVERROR, and have logged one line then, unless they say otherwise.
 */
#ifndef AVFILTER_KLING_CONTINUE_H
#define AVFILTER_KLING_CONTINUE_H

#include "kling_clip.h"
#include "kling_fit.h"
#include "kling_follow.h"
#include "kling_history.h"
#include "kling_seam.h"
#include "kling_time.h"

/** Zeroed memory is a fresh one. The filter's context begins with the KlingClip that it works for. */
typedef struct KlingContinuation {
    int resample;                       /* enum KlingResample; an option of the filter */
    int detail;                         /* likewise: whether what can be followed keeps its detail */

    AVRational spacing;                 /* seconds per new frame */
    KlingTime time;
    int nb_done;                        /* frames given */
    AVFrame *like;                      /* the last real frame: the new ones have its properties */
    KlingFit fit;
    int width_px, height_px;            /* of the model's pictures */
    KlingPicture *lead, *trail;         /* the real ones, in order of time */
    int nb_lead, nb_trail;
    KlingSeamEnd lead_end, trail_end;
    KlingFollow lead_follow, trail_follow;
    KlingFitDetail lead_detail, trail_detail;
    int fade;                           /* pictures that the correction's map fades over */
    KlingPicture *queue;                /* a ring of nb_slots: pictures come, not yet corrected */
    int nb_slots, first, nb_queued;
    int nb_read;                        /* new pictures that have come */
    int prepared;                       /* the lead's decoded pictures have come */
    KlingPicture prev, next, mixed;     /* picture `at`, the one after it when has_next, what lies between */
    KlingKept prev_kept[2], next_kept[2];       /* of the lead, of the trail */
    KlingPicture full;                  /* scratch */
    int at, has_next;
    double step_ms;
} KlingContinuation;

#define KLING_HELP_RESAMPLE "set how the model's pictures become frames of the footage's rate"
#define KLING_HELP_DETAIL "carry the footage's detail along where it can be followed"

/** Options of both filters, for a table whose context's member k is the KlingContinuation. */
#define FF_KLING_CONTINUE_OPTIONS(type, k) \
    { "resample", KLING_HELP_RESAMPLE, offsetof(type, k.resample), AV_OPT_TYPE_INT, \
      { .i64 = KLING_RESAMPLE_BLEND }, 0, KLING_RESAMPLE_NEAREST, KLING_FLAGS, "resample" }, \
        KLING_VALUE("resample", "blend",   KLING_RESAMPLE_BLEND,   "a mix of the two around a frame"), \
        KLING_VALUE("resample", "nearest", KLING_RESAMPLE_NEAREST, "the nearer one"), \
    { "detail", KLING_HELP_DETAIL, offsetof(type, k.detail), AV_OPT_TYPE_BOOL, { .i64 = 1 }, 0, 1, KLING_FLAGS }

/** Query function of both filters: what libswscale reads and writes with 8 bits or more, the same on all links; and
 *  hardware formats, so that ff_kling_continue_check() can say what to do about them. */
int  ff_kling_continue_formats(KLC_QUERY_ARGS);
/** For config_props, before anything else: refuses frames that are no pictures in memory. */
int  ff_kling_continue_check_format(AVFilterContext *ctx, const AVFilterLink *inlink);
/** For config_props: opens the model, refuses what it cannot do, and every option that a job would refuse, before
 *  anything is read. arrive: pictures are arrived at as well, for what `why` names. */
int  ff_kling_continue_open(AVFilterContext *ctx, KlingContinuation *k, const AVFilterLink *inlink, int arrive,
                            const char *why);
/** How many seconds of the footage before and after the new frames are of use. */
double ff_kling_continue_lead_span(const KlingClip *c);
double ff_kling_continue_trail_span(const KlingClip *c);

/** Makes the job: after the last frames of `before`, which holds one at least, and, when it is not NULL, before the
 *  first ones of `after`. rate: the footage's, 0/1 when unknown. Sets k->time.frames and k->spacing. */
int  ff_kling_continue_begin(AVFilterContext *ctx, KlingContinuation *k, const KlingHistory *before,
                             const KlingHistory *after, AVRational rate);
/** The next new frame but for its time. Returns 1, 0 at the end, AVERROR_EXIT without a line when interrupted, or
 *  another AVERROR. */
int  ff_kling_continue_next(AVFilterLink *outlink, KlingContinuation *k, AVFrame **frame);
/** Gives all memory back, that of the job and the signals too. */
void ff_kling_continue_end(KlingClip *c, KlingContinuation *k);

#endif /* AVFILTER_KLING_CONTINUE_H */
