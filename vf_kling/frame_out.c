/*
 * From the engine's pictures to AVFrames.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "libavutil/pixdesc.h"

#include "frame_out.h"

/* 8 bits stand first: where nothing downstream has a wish, a file is written that every player shows. */
const enum AVPixelFormat ff_kling_pix_fmts[] = {
    AV_PIX_FMT_GBRP, AV_PIX_FMT_GBRP10, AV_PIX_FMT_GBRP12, AV_PIX_FMT_GBRP16, AV_PIX_FMT_GBRPF32,
    AV_PIX_FMT_RGB24, AV_PIX_FMT_NONE
};

static inline int quantize(float v, float max)
{
    v = v > 0 ? v : 0;                  /* also NaN */
    return lrintf((v < 1 ? v : 1) * max);
}

static void fill_row_8(uint8_t *dst, int step, const float *src, int width_px)
{
    for (int x = 0; x < width_px; x++)
        dst[x * step] = quantize(src[x], 255);
}

static void fill_row_16(uint16_t *dst, const float *src, int width_px, float max)
{
    for (int x = 0; x < width_px; x++)
        dst[x] = quantize(src[x], max);
}

/* One channel, c = 0, 1, 2 for R, G, B. */
static void fill_channel(AVFrame *dst, const KlingFrame *src, int c, const AVPixFmtDescriptor *desc)
{
    const AVComponentDescriptor *comp = &desc->comp[c];
    const float max = (float)((INT64_C(1) << comp->depth) - 1);   /* not used by gbrpf32 */

    for (int y = 0; y < dst->height; y++) {
        uint8_t *row = dst->data[comp->plane] + (ptrdiff_t)y * dst->linesize[comp->plane] + comp->offset;
        const float *from = src->data[c] + y * src->stride;

        if (desc->flags & AV_PIX_FMT_FLAG_FLOAT)
            memcpy(row, from, dst->width * sizeof(*from));
        else if (comp->depth > 8)
            fill_row_16((uint16_t *)row, from, dst->width, max);
        else
            fill_row_8(row, comp->step, from, dst->width);
    }
}

void ff_kling_frame_fill(AVFrame *dst, const KlingFrame *src)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(dst->format);

    for (int c = 0; c < 3; c++)
        fill_channel(dst, src, c, desc);
    dst->colorspace      = AVCOL_SPC_RGB;
    dst->color_range     = AVCOL_RANGE_JPEG;
    dst->color_primaries = AVCOL_PRI_BT709;
    dst->color_trc       = AVCOL_TRC_IEC61966_2_1;
}
