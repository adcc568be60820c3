/*
 * From the engine's pictures to AVFrames.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "libavutil/imgutils.h"
#include "libavutil/pixdesc.h"

#include "frame_out.h"

/* 8 bits stand first: where nothing downstream has a wish, a file is written that every player shows. */
const enum AVPixelFormat ff_kling_pix_fmts[] = {
    AV_PIX_FMT_GBRP, AV_PIX_FMT_GBRP10, AV_PIX_FMT_GBRP12, AV_PIX_FMT_GBRP16, AV_PIX_FMT_GBRPF32,
    AV_PIX_FMT_RGB24, AV_PIX_FMT_NONE
};

enum KlingFormat ff_kling_frame_format(enum AVPixelFormat format)
{
    switch (format) {
    case AV_PIX_FMT_GBRP:   return KLING_FORMAT_U8;
    case AV_PIX_FMT_GBRP10: return KLING_FORMAT_U10;
    case AV_PIX_FMT_GBRP12: return KLING_FORMAT_U12;
    case AV_PIX_FMT_GBRP16: return KLING_FORMAT_U16;
    case AV_PIX_FMT_RGB24:  return KLING_FORMAT_RGB24;
    default:                return KLING_FORMAT_F32;
    }
}

void ff_kling_frame_fill(AVFrame *dst, const KlingFrame *src)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(dst->format);

    for (int c = 0; c < 3; c++) {
        const int plane = desc->comp[c].plane;
        const size_t bytes = av_image_get_linesize(dst->format, dst->width, plane);
        const uint8_t *from = src->plane[c];

        for (int y = 0; from && y < dst->height; y++)
            memcpy(dst->data[plane] + (ptrdiff_t)y * dst->linesize[plane], from + y * src->linesize, bytes);
    }
    dst->colorspace      = AVCOL_SPC_RGB;
    dst->color_range     = AVCOL_RANGE_JPEG;
    dst->color_primaries = AVCOL_PRI_BT709;
    dst->color_trc       = AVCOL_TRC_IEC61966_2_1;
}
