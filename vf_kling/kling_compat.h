/*
 * What differs between libavfilter 8 (FFmpeg 5.1) and 12 (9.0), so that the filters themselves hold no version
 * check.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Every #if on a version in vf_kling/ stands in this file.
 */
#ifndef AVFILTER_KLING_COMPAT_H
#define AVFILTER_KLING_COMPAT_H

#include "libavutil/attributes.h"  /* av_cold: avfilter.h lost it in 9.0 */
#include "libavutil/frame.h"
#include "libavutil/internal.h"    /* NULL_IF_CONFIG_SMALL */
#include "libavutil/mem.h"
#include "libavutil/version.h"
#include "avfilter.h"
#include "filters.h"               /* <= 7.0: includes internal.h itself */
#include "formats.h"
#include "version.h"
#include "video.h"

#define KLC_LAVFI(a, b) (LIBAVFILTER_VERSION_INT >= AV_VERSION_INT(a, b, 100))

#if LIBAVFILTER_VERSION_MAJOR < 11          /* definition object */
typedef AVFilter FFFilter;
#   define KLC_P(field) .field
#else
#   define KLC_P(field) .p.field
#endif

#if !KLC_LAVFI(10, 4)                       /* private link fields: < 7.1 */
typedef AVFilterLink FilterLink;
static inline FilterLink *ff_filter_link(AVFilterLink *l) { return l; }
#endif

#if KLC_LAVFI(10, 4)                        /* negotiation: query_func2 */
#   define KLC_QUERY_ARGS    const AVFilterContext *ctx, \
        AVFilterFormatsConfig **cfg_in, AVFilterFormatsConfig **cfg_out
#   define KLC_QUERY_FUNC(f) FILTER_QUERY_FUNC2(f)
#   define KLC_COMMON(w, a)  ff_set_common_ ## w ## 2(ctx, cfg_in, cfg_out, a)
#else
#   define KLC_QUERY_ARGS    AVFilterContext *ctx
#   define KLC_QUERY_FUNC(f) FILTER_QUERY_FUNC(f)
#   define KLC_COMMON(w, a)  ff_set_common_ ## w(ctx, a)
#endif

#if LIBAVFILTER_VERSION_MAJOR >= 10         /* colour negotiation: >= 7.0 */
#   define KLC_COMMON_COLOR(csp, range) \
       (KLC_COMMON(color_spaces, ff_make_formats_list_singleton(csp)) < 0 ? \
        AVERROR(ENOMEM) : \
        KLC_COMMON(color_ranges, ff_make_formats_list_singleton(range)))
#   define klc_link_csp(l, def)   ((l)->colorspace)
#   define klc_link_range(l, def) ((l)->color_range)
#else
#   define KLC_COMMON_COLOR(csp, range) 0
#   define klc_link_csp(l, def)   (def)
#   define klc_link_range(l, def) (def)
#endif

static inline void klc_frame_key(AVFrame *f)
{
#ifdef AV_FRAME_FLAG_KEY                    /* >= 6.1 */
    f->flags |=  AV_FRAME_FLAG_KEY;
    f->flags &= ~(AV_FRAME_FLAG_INTERLACED | AV_FRAME_FLAG_TOP_FIELD_FIRST);
#else
    f->key_frame = 1;
    f->interlaced_frame = f->top_field_first = 0;
#endif
    f->pict_type = AV_PICTURE_TYPE_I;
}

static inline void klc_frame_duration(AVFrame *f, int64_t d)
{
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(57, 30, 100)   /* >= 6.0 */
    f->duration = d;
#else
    f->pkt_duration = d;
#endif
}

static inline int64_t klc_frame_get_duration(const AVFrame *f)
{
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(57, 30, 100)
    return f->duration;
#else
    return f->pkt_duration;
#endif
}

static inline int klc_frame_interlaced(const AVFrame *f)
{
#ifdef AV_FRAME_FLAG_INTERLACED             /* >= 6.1 */
    return !!(f->flags & AV_FRAME_FLAG_INTERLACED);
#else
    return f->interlaced_frame;
#endif
}

#ifndef AVFILTER_FLAG_HWDEVICE
#   define AVFILTER_FLAG_HWDEVICE 0
#endif
#endif /* AVFILTER_KLING_COMPAT_H */
