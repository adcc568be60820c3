/*
 * Between the footage's frames and the model's pictures.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "libavutil/common.h"
#include "libavutil/error.h"
#include "libavutil/intreadwrite.h"
#include "libavutil/log.h"
#include "libavutil/mem.h"
#include "libavutil/opt.h"
#include "libavutil/pixdesc.h"
#include "libswscale/swscale.h"

#include "kling_fit.h"

#define SCALER (SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP | SWS_BITEXACT)
#define MODEL_FORMAT AV_PIX_FMT_GBRP16

int ff_kling_fit_supports(enum AVPixelFormat format)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(format);

    if (!d || d->flags & (AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_BAYER |
                          AV_PIX_FMT_FLAG_HWACCEL))
        return 0;
    for (int i = 0; i < d->nb_components; i++)
        if (d->comp[i].depth < 8)
            return 0;
    return sws_isSupportedInput(format) && sws_isSupportedOutput(format);
}

void ff_kling_fit_size(const KlingModelInfo *info, int width, int height, AVRational sar, int *width_px,
                       int *height_px)
{
    const int m = FFMAX(info->size_multiple_px, 2);
    const double shape = width / (double)height * (sar.num > 0 && sar.den > 0 ? av_q2d(sar) : 1);
    const double area = (double)info->width_px * info->height_px;
    double best = INFINITY;

    for (int h = m; h <= 8192 && h <= 4 * sqrt(area / shape) + m; h += m)
        for (int side = 0; side < 2; side++) {
            const int w = FFMIN(FFMAX((int)(h * shape / m) + side, 1), 8192 / m) * m;
            const double cost = 4 * fabs(log(w / (h * shape))) + fabs(log(w * (double)h / area));

            if (cost < best) {
                best = cost;
                *width_px  = w;
                *height_px = h;
            }
        }
}

/* ---- scalers ----------------------------------------------------------------------------------------------- */

/* What a scaler depends on: a frame's side and the size of the model's. */
typedef struct Key {
    int width, height, format, colorspace, range, chroma, width_px, height_px;
} Key;

struct KlingFitWay {
    Key key;
    struct SwsContext *sws;
    AVFrame *rgb;                       /* of the model's size */
};

static void way_free(KlingFitWay **w)
{
    if (!*w)
        return;
    sws_freeContext((*w)->sws);
    av_frame_free(&(*w)->rgb);
    av_freep(w);
}

void ff_kling_fit_free(KlingFit *f)
{
    way_free(&f->in);
    way_free(&f->out);
}

static Key key_of(const AVFrame *f, int width_px, int height_px)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    Key k = { f->width, f->height, f->format, f->colorspace, f->color_range, f->chroma_location, width_px, height_px };

    if (k.colorspace == AVCOL_SPC_UNSPECIFIED || k.colorspace == AVCOL_SPC_RGB)
        k.colorspace = k.height >= 720 ? AVCOL_SPC_BT709 : AVCOL_SPC_SMPTE170M;
    if (k.range == AVCOL_RANGE_UNSPECIFIED && d && (d->nb_components < 3 || !strncmp(d->name, "yuvj", 4)))
        k.range = AVCOL_RANGE_JPEG;     /* to libswscale grey is full range unless it is told otherwise */
    return k;
}

/* In 1/256 of a luma sample. */
static void chroma_position(int location, int *x, int *y)
{
    *x = location == AVCHROMA_LOC_CENTER || location == AVCHROMA_LOC_TOP || location == AVCHROMA_LOC_BOTTOM ? 128 : 0;
    *y = location == AVCHROMA_LOC_TOPLEFT || location == AVCHROMA_LOC_TOP ? 0 :
         location == AVCHROMA_LOC_BOTTOMLEFT || location == AVCHROMA_LOC_BOTTOM ? 256 : 128;
}

static int set_options(struct SwsContext *c, const Key *k, int out)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(k->format);
    const char *const name[2][8] = {
        { "srcw", "srch", "src_format", "dstw", "dsth", "dst_format", "src_h_chr_pos", "src_v_chr_pos" },
        { "dstw", "dsth", "dst_format", "srcw", "srch", "src_format", "dst_h_chr_pos", "dst_v_chr_pos" },
    };
    int value[8] = { k->width, k->height, k->format, k->width_px, k->height_px, MODEL_FORMAT }, ret;

    chroma_position(k->chroma, &value[6], &value[7]);
    for (int i = 0; i < 8; i++) {
        if ((i == 6 && !d->log2_chroma_w) || (i == 7 && !d->log2_chroma_h))
            continue;
        if ((ret = av_opt_set_int(c, name[out][i], value[i], 0)) < 0)
            return ret;
    }
    return av_opt_set_int(c, "sws_flags", SCALER, 0);
}

static int way_open(KlingFitWay **pw, const Key *k, int out)
{
    const int full = k->range == AVCOL_RANGE_JPEG;
    const int *matrix = sws_getCoefficients(k->colorspace);
    KlingFitWay *w = av_mallocz(sizeof(*w));
    int ret = AVERROR(ENOMEM);

    if (!w || !(w->sws = sws_alloc_context()) || !(w->rgb = av_frame_alloc()))
        goto fail;
    w->key = *k;
    w->rgb->width  = k->width_px;
    w->rgb->height = k->height_px;
    w->rgb->format = MODEL_FORMAT;
    if ((ret = av_frame_get_buffer(w->rgb, 0)) < 0 || (ret = set_options(w->sws, k, out)) < 0 ||
        (ret = sws_init_context(w->sws, NULL, NULL)) < 0)
        goto fail;
    /* not every pair of formats has a matrix or a range to set: RGB to RGB */
    sws_setColorspaceDetails(w->sws, matrix, out ? 1 : full, matrix, out ? full : 1, 0, 1 << 16, 1 << 16);
    *pw = w;
    return 0;

fail:
    way_free(&w);
    return ret;
}

static int way_get(void *log, KlingFitWay **w, const AVFrame *frame, int width_px, int height_px, int out)
{
    const Key k = key_of(frame, width_px, height_px);
    int ret;

    if (*w && !memcmp(&(*w)->key, &k, sizeof(k)))
        return 0;
    way_free(w);
    if ((ret = way_open(w, &k, out)) < 0)
        av_log(log, AV_LOG_ERROR, "cannot convert between %s %dx%d and the model's %dx%d: %s\n",
               av_get_pix_fmt_name(frame->format), frame->width, frame->height, width_px, height_px, av_err2str(ret));
    return ret;
}

/* ---- both ways --------------------------------------------------------------------------------------------- */

/* G, B, R are the planes of the format. */
static const int plane_of[3] = { 2, 0, 1 };

int ff_kling_fit_in(void *log, KlingFit *f, KlingPicture *p, const AVFrame *frame)
{
    const AVFrame *rgb;
    int ret = way_get(log, &f->in, frame, p->width_px, p->height_px, 0);

    if (ret < 0)
        return ret;
    rgb = f->in->rgb;
    sws_scale(f->in->sws, (const uint8_t *const *)frame->data, frame->linesize, 0, frame->height, rgb->data,
              rgb->linesize);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < p->height_px; y++) {
            const uint16_t *from = (const uint16_t *)(rgb->data[plane_of[c]] +
                                                      (ptrdiff_t)y * rgb->linesize[plane_of[c]]);
            float *to = p->data[c] + (ptrdiff_t)y * p->width_px;

            for (int x = 0; x < p->width_px; x++)
                to[x] = from[x] / 65535.0f;
        }
    return 0;
}

int ff_kling_fit_out(void *log, KlingFit *f, AVFrame *frame, const KlingPicture *p)
{
    AVFrame *rgb;
    int ret = way_get(log, &f->out, frame, p->width_px, p->height_px, 1);

    if (ret < 0)
        return ret;
    rgb = f->out->rgb;
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < p->height_px; y++) {
            uint16_t *to = (uint16_t *)(rgb->data[plane_of[c]] + (ptrdiff_t)y * rgb->linesize[plane_of[c]]);
            const float *from = p->data[c] + (ptrdiff_t)y * p->width_px;

            for (int x = 0; x < p->width_px; x++) {
                const float v = from[x] > 0 ? from[x] : 0;      /* also NaN */

                to[x] = lrintf((v < 1 ? v : 1) * 65535);
            }
        }
    sws_scale(f->out->sws, (const uint8_t *const *)rgb->data, rgb->linesize, 0, rgb->height, frame->data,
              frame->linesize);
    return 0;
}

/* ---- detail finer than the model's pictures -------------------------------------------------------------- */

void ff_kling_fit_detail_free(KlingFitDetail *d)
{
    av_frame_free(&d->real);
    av_frame_free(&d->plain);
}

/* Each component within two bytes, as integers. */
static int whole_components(const AVPixFmtDescriptor *d)
{
    for (int i = 0; i < d->nb_components; i++)
        if (d->comp[i].shift + d->comp[i].depth > 16)
            return 0;
    return !(d->flags & AV_PIX_FMT_FLAG_FLOAT);
}

int ff_kling_fit_detail_set(void *log, KlingFit *f, KlingFitDetail *d, const AVFrame *real, KlingPicture *scratch)
{
    int ret;

    ff_kling_fit_detail_free(d);
    if (!whole_components(av_pix_fmt_desc_get(real->format)))
        return 0;
    if (!(d->real = av_frame_clone(real)) || !(d->plain = av_frame_alloc())) {
        ff_kling_fit_detail_free(d);
        return AVERROR(ENOMEM);
    }
    d->plain->width           = real->width;
    d->plain->height          = real->height;
    d->plain->format          = real->format;
    d->plain->colorspace      = real->colorspace;
    d->plain->color_range     = real->color_range;
    d->plain->chroma_location = real->chroma_location;
    if ((ret = av_frame_get_buffer(d->plain, 0)) < 0 ||
        (ret = ff_kling_fit_in(log, f, scratch, real)) < 0 ||
        (ret = ff_kling_fit_out(log, f, d->plain, scratch)) < 0)
        ff_kling_fit_detail_free(d);
    return ret;
}

/* Where component c of a pixel lies. */
typedef struct Place {
    int plane, offset, step, shift, wide, big;
    unsigned max;
} Place;

static Place place_of(const AVPixFmtDescriptor *d, int c)
{
    const AVComponentDescriptor *k = &d->comp[c];

    return (Place){ .plane = k->plane, .offset = k->offset, .step = k->step, .shift = k->shift,
                    .wide = k->shift + k->depth > 8, .big = !!(d->flags & AV_PIX_FMT_FLAG_BE),
                    .max = (1u << k->depth) - 1 };
}

static unsigned word_at(const Place *a, const uint8_t *p)
{
    return !a->wide ? *p : a->big ? AV_RB16(p) : AV_RL16(p);
}

static void set_word(const Place *a, uint8_t *p, unsigned v)
{
    if (!a->wide)
        *p = v;
    else if (a->big)
        AV_WB16(p, v);
    else
        AV_WL16(p, v);
}

static int value_at(const Place *a, const uint8_t *p)
{
    return word_at(a, p) >> a->shift & a->max;
}

/* One component of real, plain and the frame that is made. */
typedef struct Component {
    Place at;
    int w, h;
    const uint8_t *real, *plain;
    ptrdiff_t real_line, plain_line;
} Component;

/* real - plain at (x, y), between pixels by the four around. */
static float lost_at(const Component *k, float x, float y)
{
    const int x0 = av_clip((int)floorf(x), 0, k->w - 1), y0 = av_clip((int)floorf(y), 0, k->h - 1);
    const int right = x0 + 1 < k->w, down = y0 + 1 < k->h;
    const float u = av_clipf(x - x0, 0, 1), v = av_clipf(y - y0, 0, 1);
    float d[4];

    for (int i = 0; i < 4; i++) {
        const ptrdiff_t px = (x0 + (i & 1 & right)) * (ptrdiff_t)k->at.step, py = y0 + (i >> 1 & down);

        if ((i & 1 && u == 0) || (i >> 1 && v == 0))
            d[i] = 0;
        else
            d[i] = value_at(&k->at, k->real + py * k->real_line + px) -
                   value_at(&k->at, k->plain + py * k->plain_line + px);
    }
    return (1 - v) * ((1 - u) * d[0] + u * d[1]) + v * ((1 - u) * d[2] + u * d[3]);
}

/* Row y of the frame begins at `to`. keep is smooth, between the model's pixels, dx and dy go with the nearest of them,
 * as what lies between two ways has gone neither. */
static void add_row(const Component *k, uint8_t *to, int y, const KlingKept *kept, int width_px, int height_px,
                    float part)
{
    const float scale_x = width_px / (float)k->w, scale_y = height_px / (float)k->h;
    const float my = av_clipf((y + 0.5f) * scale_y - 0.5f, 0, height_px - 1);
    const int y0 = (int)my, y1 = FFMIN(y0 + 1, height_px - 1);
    const float *up = kept->keep + (ptrdiff_t)y0 * width_px, *down = kept->keep + (ptrdiff_t)y1 * width_px;
    const ptrdiff_t near = (ptrdiff_t)lrintf(my) * width_px;

    for (int x = 0; x < k->w; x++, to += k->at.step) {
        const float mx = av_clipf((x + 0.5f) * scale_x - 0.5f, 0, width_px - 1), v = my - y0;
        const int x0 = (int)mx, x1 = FFMIN(x0 + 1, width_px - 1);
        const float a = up[x0] + v * (down[x0] - up[x0]), b = up[x1] + v * (down[x1] - up[x1]);
        const float keep = part * (a + (mx - x0) * (b - a));
        const ptrdiff_t i = near + lrintf(mx);
        unsigned word;
        int value;

        if (keep <= 0)
            continue;
        word  = word_at(&k->at, to);
        value = (int)(word >> k->at.shift & k->at.max) +
                lrintf(keep * lost_at(k, x + kept->dx[i] / scale_x, y + kept->dy[i] / scale_y));
        set_word(&k->at, to, (word & ~(k->at.max << k->at.shift)) |
                             (unsigned)av_clip(value, 0, k->at.max) << k->at.shift);
    }
}

void ff_kling_fit_detail_add(const KlingFitDetail *d, AVFrame *frame, const KlingKept *kept, int width_px,
                             int height_px, double part)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(frame->format);
    const int colours = desc->nb_components - !!(desc->flags & AV_PIX_FMT_FLAG_ALPHA);
    Key a, b;

    if (!d->plain || part <= 0)
        return;
    a = key_of(d->plain, width_px, height_px);
    b = key_of(frame, width_px, height_px);
    if (memcmp(&a, &b, sizeof(a)))
        return;
    for (int c = 0; c < colours; c++) {
        const int chroma = (c == 1 || c == 2) && !(desc->flags & AV_PIX_FMT_FLAG_RGB);
        const Place at = place_of(desc, c);
        const Component k = {
            .at         = at,
            .w          = AV_CEIL_RSHIFT(frame->width,  chroma ? desc->log2_chroma_w : 0),
            .h          = AV_CEIL_RSHIFT(frame->height, chroma ? desc->log2_chroma_h : 0),
            .real       = d->real->data[at.plane] + at.offset,
            .plain      = d->plain->data[at.plane] + at.offset,
            .real_line  = d->real->linesize[at.plane],
            .plain_line = d->plain->linesize[at.plane],
        };

        for (int y = 0; y < k.h; y++)
            add_row(&k, frame->data[at.plane] + y * (ptrdiff_t)frame->linesize[at.plane] + at.offset, y, kept, width_px,
                    height_px, part);
    }
}
