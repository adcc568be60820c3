/*
 * Decoded pictures on their way to the caller.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The decoder hands over pictures in executor memory. Those that are for
 * somebody become samples there and are read into a queue of host memory,
 * beside the decoding of those that follow; only who takes one waits for it.
 *
 * A clip of one window is sent in the caller's format, cropped: on a device
 * that is the least that can be copied out. Of more windows the pictures come
 * whole and as floats, since the colours are held here (drift.h) and the next
 * window goes on from them; they are put into the caller's format last.
 */
#include <stdlib.h>
#include <string.h>

#include "bind.h"
#include "job.h"

typedef struct Samples {
    int bits, packed;                   /* as KlPixels has them */
    int row0, col0, rows, cols;
} Samples;

static Samples wanted(const KlingJob *job)
{
    static const struct { int bits, packed; } formats[] = {
        [KLING_FORMAT_F32] = { 32, 0 }, [KLING_FORMAT_U8] = { 8, 0 },   [KLING_FORMAT_U10] = { 10, 0 },
        [KLING_FORMAT_U12] = { 12, 0 }, [KLING_FORMAT_U16] = { 16, 0 }, [KLING_FORMAT_RGB24] = { 8, 1 },
    };

    return (Samples){ formats[job->params.format].bits, formats[job->params.format].packed, job->geo.crop_y_px,
                      job->geo.crop_x_px, job->params.height_px, job->params.width_px };
}

/* As they are read from the executor. */
static Samples raw(const KlingJob *job)
{
    if (job->plan.windows == 1)
        return wanted(job);
    return (Samples){ .bits = 32, .rows = job->geo.height_px, .cols = job->geo.width_px };
}

static size_t bytes_of(const Samples *s)
{
    return kl_pixels_bytes(s->rows, s->cols, s->bits);
}

int kl_job_run_ahead(const KlingJob *job)
{
    return KL_MIN(job->parts->kernels.ahead, 1) * job->model->info.frame_multiple;
}

static KlQueued *slot(KlingJob *job, int64_t n)
{
    return &job->queue[n % (kl_job_run_ahead(job) + job->model->info.frame_multiple)];
}

/* -- out of the executor -- */

static int send_picture(KlingJob *job, const float *x, KlQueued *q)
{
    const KlKernels *k = &job->parts->kernels;
    const Samples s = raw(job);
    void **samples = &job->samples[k->ahead ? job->sent % 2 : 0];
    KlPixels p = { .x = x, .W = job->geo.width_px, .C = 3, .row0 = s.row0, .col0 = s.col0, .rows = s.rows,
                   .cols = s.cols, .bits = s.bits, .packed = s.packed };

    if ((!*samples && !(*samples = k->mem_alloc(job->ex, bytes_of(&s)))) ||
        (!q->host && !(q->host = k->mem_host_alloc(job->ex, bytes_of(&s)))))
        return kl_fail_memory(&job->diag, "a decoded frame", bytes_of(&s));
    /* the picture before the last one lay there */
    if (job->sent >= 2 && k->mem_read_wait(job->ex, slot(job, job->sent - 2)->ticket) < 0)
        return kl_fail_device(&job->diag, k, job->ex, "reading a decoded frame back");
    p.out = *samples;
    k->to_pixels(job->ex, &p);
    if ((q->ticket = k->mem_read(job->ex, q->host, *samples, bytes_of(&s))) < 0)
        return kl_fail_device(&job->diag, k, job->ex, "reading a decoded frame back");
    job->sent++;
    return 0;
}

int kl_job_send(void *opaque, const float *x)
{
    KlingJob *job = opaque;
    const KlWindow *w = &job->win;
    const int at = job->seen++, i = at - w->lead;
    const bool fresh = i >= 0 && i < w->fresh, goes_on = w->index + 1 < job->plan.windows;
    const bool context = job->params.flags & KLING_FLAG_KEEP_CONTEXT && (i >= 0 || !w->index);
    const bool give = fresh ? kl_window_gives(w, i) : context;
    int ret;

    if (give || (fresh && goes_on)) {
        KlQueued *q = slot(job, job->sent);

        q->give = give;
        q->fresh = fresh;
        q->keep = fresh && goes_on;
        q->at = (i + 1.0) / w->fresh;
        if ((ret = send_picture(job, x, q)) < 0)
            return ret;
        job->made += give && fresh;
    }
    return job->seen == job->end ? KL_STOP_DECODING : 0;
}

/* -- to the caller -- */

/* A new picture of a clip of several windows: its colours held, and remembered for the next one. */
static int settle_new(KlingJob *job, const KlQueued *q)
{
    const int64_t n = (int64_t)job->geo.width_px * job->geo.height_px;
    float *kept;

    kl_drift_picture(&job->drift, q->host, n, q->at);
    if (!q->keep)
        return 0;
    if (!(kept = kl_pictures_next(&job->diag, &job->known)))
        return KLING_ERROR_OUT_OF_MEMORY;
    memcpy(kept, q->host, 3 * sizeof(*kept) * (size_t)n);
    return 0;
}

/* rgb[3,geo.height,geo.width] to the caller's samples. */
static void convert(const KlingJob *job, const Samples *s, const float *rgb, void *out)
{
    const int64_t stride = job->geo.width_px, plane = stride * job->geo.height_px;
    int64_t at = 0;

    for (int c = 0; c < 3; c++)
        for (int y = 0; y < s->rows; y++) {
            const float *row = rgb + c * plane + (y + s->row0) * stride + s->col0;

            for (int x = 0; x < s->cols; x++, at++) {
                const unsigned v = kl_sample(row[x], s->bits);

                if (s->bits > 8)
                    ((uint16_t *)out)[at] = (uint16_t)v;
                else
                    ((uint8_t *)out)[s->packed ? ((int64_t)y * s->cols + x) * 3 + c : at] = (uint8_t)v;
            }
        }
}

/* samples: as r has them, of which those of s are shown. */
static void expose(KlingJob *job, const char *samples, const Samples *r, const Samples *s)
{
    const size_t size = kl_sample_bytes(r->bits), line = size * (size_t)r->cols * (r->packed ? 3 : 1);
    const char *first = samples + (size_t)(s->row0 - r->row0) * line + (size_t)(s->col0 - r->col0) * size;
    KlingFrame *f = &job->frame;

    *f = (KlingFrame){ .width_px = s->cols, .height_px = s->rows, .index = job->given++, .step_ms = job->step_ms,
                       .linesize = (ptrdiff_t)line };
    for (int c = 0; c < (r->packed ? 1 : 3); c++) {
        f->plane[c] = first + (size_t)c * line * (size_t)r->rows;
        if (r->bits == 32)
            f->data[c] = f->plane[c];
    }
    f->stride = r->bits == 32 ? r->cols : 0;
}

int kl_job_take(KlingJob *job)
{
    const KlKernels *k = &job->parts->kernels;
    const Samples r = raw(job), s = wanted(job);
    const KlQueued *q = slot(job, job->taken);
    int ret;

    if (k->mem_read_wait(job->ex, q->ticket) < 0)
        return kl_fail_device(&job->diag, k, job->ex, "reading a decoded frame back");
    job->taken++;
    if (q->fresh && job->plan.windows > 1 && (ret = settle_new(job, q)) < 0)
        return ret;
    if (!q->give)
        return false;
    if (s.bits == r.bits) {
        expose(job, q->host, &r, &s);
        return true;
    }
    if (!job->converted && !(job->converted = malloc(bytes_of(&s))))
        return kl_fail_memory(&job->diag, "a frame", bytes_of(&s));
    convert(job, &s, q->host, job->converted);
    expose(job, job->converted, &s, &s);
    return true;
}

void kl_job_drain(KlingJob *job)
{
    const KlKernels *k = &job->parts->kernels;

    k->exec_sync(job->ex);
    for (int i = 0; i < KL_QUEUE; i++) {
        k->mem_host_free(job->ex, job->queue[i].host);
        job->queue[i].host = NULL;
    }
    for (int i = 0; i < 2; i++) {
        k->mem_free(job->ex, job->samples[i]);
        job->samples[i] = NULL;
    }
    free(job->converted);
    job->converted = NULL;
    job->taken = job->sent;
}
