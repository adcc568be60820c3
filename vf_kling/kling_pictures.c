/*
 * The pictures behind new frames: as the job makes them, corrected to those at the seams, at the footage's times.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <string.h>

#include "kling_compat.h"

#include "libavutil/avassert.h"

#include "kling_pictures.h"

#define SEAM_PAIRS 4                    /* known pictures that the seam is measured on, the nearest ones */

/* All of one end's detail, none of the other's. */
static void keep_all(const KlingContinuation *k, KlingKept kept[2], int end)
{
    const size_t n = (size_t)k->width_px * k->height_px;

    memset(kept[0].keep, 0, 3 * n * sizeof(*kept[0].keep));
    memset(kept[1].keep, 0, 3 * n * sizeof(*kept[1].keep));
    for (size_t i = 0; i < n; i++)
        kept[end].keep[i] = 1;
}

int ff_kling_pictures_alloc(KlingContinuation *k)
{
    int ret;

    k->nb_slots = k->nb_trail ? FFMIN(k->fade, k->time.pictures) + 1 : 1;
    if (!(k->queue = av_calloc(k->nb_slots, sizeof(*k->queue))))
        return AVERROR(ENOMEM);
    for (int i = 0; i < k->nb_slots; i++)
        if ((ret = ff_kling_picture_alloc(&k->queue[i], k->width_px, k->height_px)) < 0)
            return ret;
    if ((ret = ff_kling_picture_alloc(&k->prev, k->width_px, k->height_px)) < 0 ||
        (ret = ff_kling_picture_alloc(&k->next, k->width_px, k->height_px)) < 0 ||
        (ret = ff_kling_picture_alloc(&k->mixed, k->width_px, k->height_px)) < 0 ||
        (ret = ff_kling_picture_alloc(&k->full, k->width_px, k->height_px)) < 0)
        return ret;
    for (int i = 0; i < 2 && k->detail; i++)
        if ((ret = ff_kling_kept_alloc(&k->prev_kept[i], k->width_px, k->height_px)) < 0 ||
            (ret = ff_kling_kept_alloc(&k->next_kept[i], k->width_px, k->height_px)) < 0)
            return ret;
    if (k->detail)
        keep_all(k, k->prev_kept, 0);
    return 0;
}

static void free_pictures(KlingPicture **p, int *nb)
{
    for (int i = 0; *p && i < *nb; i++)
        ff_kling_picture_free(&(*p)[i]);
    av_freep(p);
    *nb = 0;
}

void ff_kling_pictures_free(KlingContinuation *k)
{
    free_pictures(&k->lead, &k->nb_lead);
    free_pictures(&k->trail, &k->nb_trail);
    free_pictures(&k->queue, &k->nb_slots);
    ff_kling_picture_free(&k->prev);
    ff_kling_picture_free(&k->next);
    ff_kling_picture_free(&k->mixed);
    ff_kling_picture_free(&k->full);
    for (int i = 0; i < 2; i++) {
        ff_kling_kept_free(&k->prev_kept[i]);
        ff_kling_kept_free(&k->next_kept[i]);
    }
}

/* How near a decoded picture is to the known one, in dB. */
static double likeness(const KlingPicture *known, const KlingFrame *decoded)
{
    const double nb = 3.0 * known->width_px * known->height_px;
    double sum = 0;

    for (int c = 0; c < 3; c++)
        for (int y = 0; y < known->height_px; y++)
            for (int x = 0; x < known->width_px; x++) {
                const float d = known->data[c][(ptrdiff_t)y * known->width_px + x] -
                                decoded->data[c][y * decoded->stride + x];

                sum += d * d;
            }
    return -10 * log10(FFMAX(sum / nb, 1e-10));
}

/* The decoded counterparts of known pictures come first, or last. Colour is measured on some next to the new ones,
 * detail is that of the nearest. */
static int measure(AVFilterContext *ctx, KlingSeamEnd *e, KlingFollow *follow, const KlingPicture *known, int nb,
                   int trail)
{
    const KlingFrame *f;
    double psnr = 0;
    int ret;

    for (int i = 0; i < nb; i++) {
        const int distance = trail ? i : nb - 1 - i;

        if ((ret = ff_kling_clip_next(ctx, &f)) < 0)
            return ret;
        if (!ret)                       /* a small window has taken less of a trail */
            break;
        if (distance < SEAM_PAIRS)
            ff_kling_seam_add(e, &known[i], f->data, f->stride);
        if (!distance)
            psnr = likeness(&known[i], f);
        if (!distance && (ret = ff_kling_follow_set(follow, &known[i], f->data, f->stride)) < 0)
            return ret;
    }
    ff_kling_seam_solve(e);
    av_log(ctx, AV_LOG_VERBOSE, "colour %s: gain %.3f %.3f %.3f, offset %+.2f %+.2f %+.2f of 255, from %d "
           "pictures, the nearest at %.1f dB\n", trail ? "before the trail" : "after the seam", e->gain[0], e->gain[1],
           e->gain[2], e->offset[0] * 255, e->offset[1] * 255, e->offset[2] * 255, e->nb, psnr);
    return ff_kling_follow_solve(follow, e);
}

static void copy_picture(KlingPicture *dst, const float *const src[3], ptrdiff_t stride)
{
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < dst->height_px; y++)
            memcpy(dst->data[c] + (ptrdiff_t)y * dst->width_px, src[c] + y * stride,
                   dst->width_px * sizeof(*dst->data[c]));
}

static int prepare(AVFilterContext *ctx, KlingContinuation *k)
{
    int ret;

    if (k->prepared)
        return 0;
    if ((ret = measure(ctx, &k->lead_end, &k->lead_follow, k->lead, k->nb_lead, 0)) < 0)
        return ret;
    FFSWAP(KlingPicture, k->prev, k->lead[k->nb_lead - 1]);     /* picture 0 */
    free_pictures(&k->lead, &k->nb_lead);
    k->prepared = 1;
    return 0;
}

/* Fills the queue as far as it must be: with a trail so far that what is known of it has come before the first
 * picture that it matters to. */
static int fill_queue(AVFilterContext *ctx, KlingContinuation *k)
{
    const KlingFrame *f;
    int ret;

    while (k->nb_queued < k->nb_slots && k->nb_read < k->time.pictures) {
        KlingPicture *slot = &k->queue[(k->first + k->nb_queued) % k->nb_slots];

        if ((ret = ff_kling_clip_next(ctx, &f)) <= 0)
            return ret < 0 ? ret : AVERROR_BUG;
        copy_picture(slot, f->data, f->stride);
        k->step_ms = f->step_ms;
        k->nb_queued++;
        if (++k->nb_read == k->time.pictures && k->nb_trail &&
            (ret = measure(ctx, &k->trail_end, &k->trail_follow, k->trail, k->nb_trail, 1)) < 0)
            return ret;
    }
    return 0;
}

/* Adds what is left of one end's detail to p, from the decoded picture, so many pictures away from it. What is new is
 * held back for half of the fade. */
static void add_detail(KlingContinuation *k, KlingFollow *f, const KlingSeamEnd *e, KlingPicture *p,
                       const KlingPicture *decoded, int for_good, double part, int distance, KlingKept *kept)
{
    if (part <= 0) {
        memset(kept->keep, 0, (size_t)k->width_px * k->height_px * sizeof(*kept->keep));
        return;
    }
    ff_kling_follow_look(f, decoded, for_good, part, ff_kling_seam_fade(distance - 1, (k->fade + 1) / 2), kept);
    if (!f->any)
        return;
    copy_picture(&k->full, (const float *const *)decoded->data, decoded->width_px);
    ff_kling_seam_apply(e, e, &k->full, 1, 0);
    ff_kling_follow_apply(f, p, &k->full, kept);
}

/* Picture i, decoded in next, becomes what is shown. */
static void correct(KlingContinuation *k, int i)
{
    const int to_trail = k->time.pictures + 1 - i;
    const double trail_part = k->nb_trail ? ff_kling_seam_fade(to_trail, k->fade) : 0;

    copy_picture(&k->mixed, (const float *const *)k->next.data, k->width_px);
    ff_kling_seam_apply(&k->lead_end, &k->trail_end, &k->next, ff_kling_seam_fade(i, k->fade), trail_part);
    if (!k->detail)
        return;
    add_detail(k, &k->lead_follow, &k->lead_end, &k->next, &k->mixed, 1, 1 - trail_part, i, &k->next_kept[0]);
    if (k->nb_trail)
        add_detail(k, &k->trail_follow, &k->trail_end, &k->next, &k->mixed, 0, trail_part, to_trail,
                   &k->next_kept[1]);
}

/* Picture at + 1 into next. */
static int load_next(AVFilterContext *ctx, KlingContinuation *k)
{
    const int i = k->at + 1;
    int ret;

    if (k->has_next)
        return 0;
    if (i > k->time.pictures) {
        av_assert0(i == k->time.pictures + 1 && k->nb_trail);
        copy_picture(&k->next, (const float *const *)k->trail[0].data, k->width_px);
        if (k->detail)
            keep_all(k, k->next_kept, 1);
    } else {
        if ((ret = fill_queue(ctx, k)) < 0)
            return ret;
        FFSWAP(KlingPicture, k->next, k->queue[k->first]);
        k->first = (k->first + 1) % k->nb_slots;
        k->nb_queued--;
        correct(k, i);
    }
    k->has_next = 1;
    return 0;
}

static void mix(KlingPicture *dst, const KlingPicture *a, const KlingPicture *b, float part)
{
    const size_t n = (size_t)dst->width_px * dst->height_px * 3;

    for (size_t i = 0; i < n; i++)
        dst->data[0][i] = a->data[0][i] + part * (b->data[0][i] - a->data[0][i]);
}

int ff_kling_pictures_at(AVFilterContext *ctx, KlingContinuation *k, int n, const KlingPicture **p, double *part)
{
    int at, ret;

    if ((ret = prepare(ctx, k)) < 0)
        return ret;
    ff_kling_time_at(&k->time, n, k->resample, &at, part);
    while (k->at < at) {
        if ((ret = load_next(ctx, k)) < 0)
            return ret;
        FFSWAP(KlingPicture, k->prev, k->next);
        for (int i = 0; i < 2; i++)
            FFSWAP(KlingKept, k->prev_kept[i], k->next_kept[i]);
        k->has_next = 0;
        k->at++;
    }
    *p = &k->prev;
    if (*part > 0) {
        if ((ret = load_next(ctx, k)) < 0)
            return ret;
        mix(&k->mixed, &k->prev, &k->next, *part);
        *p = &k->mixed;
    }
    return 0;
}
