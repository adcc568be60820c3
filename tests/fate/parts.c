/*
 * Parts of kling_extend and kling_bridge that compute without a model: time, size and format, history.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <libavfilter/kling_fit.h>
#include <libavfilter/kling_history.h>
#include <libavfilter/kling_time.h>
#include <libavutil/common.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>

#include "../check.h"

/* What a test cannot go on without. */
static void need(int cond)
{
    if (!cond) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
}

/* The worst difference, but for a border of so many pixels. */
static double worst_inside(const KlingPicture *a, const KlingPicture *b, int border)
{
    double w = 0;

    for (int c = 0; c < 3; c++)
        for (int y = border; y < a->height_px - border; y++)
            for (int x = border; x < a->width_px - border; x++)
                w = fmax(w, fabs(a->data[c][y * a->width_px + x] - b->data[c][y * a->width_px + x]));
    return w;
}

/* ---- time -------------------------------------------------------------------------------------------------- */

static void test_time_spacing(void)
{
    static const struct { AVRational rate; int64_t median; AVRational tb, wanted; } t[] = {
        { { 25, 1 },       512, { 1, 12800 },  { 1, 25 } },
        { { 24000, 1001 }, 42,  { 1, 1000 },   { 1001, 24000 } },   /* 41.7 ms in a coarse time base */
        { { 30, 1 },       37,  { 1, 1000 },   { 37, 1000 } },      /* the stream's claim is off by more */
        { { 30, 1 },       35,  { 1, 1000 },   { 1, 30 } },
        { { 0, 1 },        40,  { 1, 1000 },   { 1, 25 } },
        { { 0, 0 },        0,   { 1, 1000 },   { 1, 25 } },         /* one frame of unknown rate */
        { { 50, 1 },       0,   { 1, 1000 },   { 1, 50 } },
    };

    for (int i = 0; i < (int)(sizeof(t) / sizeof(*t)); i++) {
        const AVRational s = ff_kling_time_spacing(t[i].rate, t[i].median, t[i].tb);

        CHECK(!av_cmp_q(s, t[i].wanted), "%d: %d/%d", i, s.num, s.den);
    }
}

static void test_time_open_end(void)
{
    KlingTime t;
    double part;
    int at;

    /* equal rates: the pictures as they are */
    CHECK(ff_kling_time_open_end(&t, 40, (AVRational){ 1001, 24000 }, (AVRational){ 24000, 1001 }) >= 0);
    CHECK(t.pictures == 40, "%d", t.pictures);
    for (int n = 1; n <= 40; n++) {
        ff_kling_time_at(&t, n, KLING_RESAMPLE_BLEND, &at, &part);
        CHECK(at == n && part == 0, "%d: %d + %g", n, at, part);
        ff_kling_time_at(&t, n, KLING_RESAMPLE_NEAREST, &at, &part);
        CHECK(at == n && part == 0);
    }
    /* 16 to 30000/1001 a second: 100 frames last 3.337 s, 53.39 pictures */
    CHECK(ff_kling_time_open_end(&t, 100, (AVRational){ 1001, 30000 }, (AVRational){ 16, 1 }) >= 0);
    CHECK(t.pictures == 54, "%d", t.pictures);
    for (int n = 1; n <= 100; n++) {
        ff_kling_time_at(&t, n, KLING_RESAMPLE_BLEND, &at, &part);
        CHECK(fabs(at + part - n * 1001 / 30000. * 16) < 1e-9 && part >= 0 && part < 1, "%d", n);
        CHECK(at + (part > 0) <= t.pictures, "%d needs picture %d", n, at + 1);
        ff_kling_time_at(&t, n, KLING_RESAMPLE_NEAREST, &at, &part);
        CHECK(at >= 1 && at <= t.pictures && part == 0);
        CHECK(fabs(at - n * 1001 / 30000. * 16) <= (n == 1 ? 1 : 0.5), "%d: %d", n, at);
    }
    /* two hours of 1000 frames a second are no overflow; beyond int is an error */
    CHECK(ff_kling_time_open_end(&t, 7200000, (AVRational){ 1, 1000 }, (AVRational){ 24000, 1001 }) >= 0);
    ff_kling_time_at(&t, 7200000, KLING_RESAMPLE_BLEND, &at, &part);
    CHECK(fabs(at + part - 7200 * 24000. / 1001) < 1e-6, "%d + %g", at, part);
    CHECK(ff_kling_time_open_end(&t, INT_MAX - 1, (AVRational){ 1, 1 }, (AVRational){ 16, 1 }) < 0);
}

static void test_time_to_trail(void)
{
    KlingTime t;
    double part;
    int at;

    for (int frames = 1; frames < 60; frames++) {
        CHECK(ff_kling_time_to_trail(&t, frames, (AVRational){ 1, 25 }, (AVRational){ 16, 1 }, 4) >= 0);
        CHECK(t.pictures >= 4 && t.pictures % 4 == 0, "%d pictures", t.pictures);
        CHECK(t.pictures == 4 || fabs(t.pictures + 1 - (frames + 1) * 16 / 25.) <= 2.01, "%d: %d", frames, t.pictures);
        ff_kling_time_at(&t, frames + 1, KLING_RESAMPLE_BLEND, &at, &part);
        CHECK(at == t.pictures + 1 && part == 0, "%d frames arrive at %d + %g", frames, at, part);
        ff_kling_time_at(&t, frames, KLING_RESAMPLE_BLEND, &at, &part);
        CHECK(at <= t.pictures);
    }
}

/* ---- size and format --------------------------------------------------------------------------------------- */

static void test_fit_size(void)
{
    static const struct { int w, h; AVRational sar; double shape; } t[] = {
        { 1920, 1080, { 1, 1 }, 16. / 9 }, { 1080, 1920, { 0, 1 }, 9. / 16 }, { 720, 576, { 16, 11 }, 1.818 },
        { 4096, 1716, { 1, 1 }, 2.387 }, { 16, 16, { 1, 1 }, 1 }, { 37, 51, { 1, 1 }, 37 / 51. },
        { 8000, 100, { 1, 1 }, 80 }, { 2, 2000, { 1, 1 }, .001 },
    };
    const KlingModelInfo info = { .width_px = 832, .height_px = 480, .size_multiple_px = 16 };

    for (int i = 0; i < (int)(sizeof(t) / sizeof(*t)); i++) {
        int w = 0, h = 0;

        ff_kling_fit_size(&info, t[i].w, t[i].h, t[i].sar, &w, &h);
        CHECK(w >= 16 && h >= 16 && w <= 8192 && h <= 8192 && w % 16 == 0 && h % 16 == 0, "%d: %dx%d", i, w, h);
        if (i < 6) {
            CHECK(fabs(log(w / (double)h / t[i].shape)) < 0.03, "%d: %dx%d", i, w, h);
            CHECK(fabs(log(w * (double)h / (832 * 480))) < 0.12, "%d: %dx%d", i, w, h);
        }
    }
}

static AVFrame *new_frame(enum AVPixelFormat format, int w, int h)
{
    AVFrame *f = av_frame_alloc();

    need(f != NULL);
    f->format = format;
    f->width  = w;
    f->height = h;
    need(av_frame_get_buffer(f, 0) >= 0);
    return f;
}

/* Smooth colours, within every range. */
static void smooth(KlingPicture *p)
{
    for (int y = 0; y < p->height_px; y++)
        for (int x = 0; x < p->width_px; x++) {
            const int i = y * p->width_px + x;
            const double u = (x + 0.5) / p->width_px, v = (y + 0.5) / p->height_px;

            p->data[0][i] = 0.5 + 0.3 * sin(3 * u + v);
            p->data[1][i] = 0.5 + 0.3 * cos(2 * v - u);
            p->data[2][i] = 0.5 + 0.3 * sin(4 * v * u);
        }
}

/* Out to a frame and back in: the worst code of 255. */
static double round_trip(enum AVPixelFormat format, int space, int range, int location, int w, int h, int grey)
{
    KlingPicture a, b;
    KlingFit fit = { 0 };
    AVFrame *f = new_frame(format, w, h);
    double e;

    need(ff_kling_picture_alloc(&a, 64, 48) >= 0 && ff_kling_picture_alloc(&b, 64, 48) >= 0);
    smooth(&a);
    for (int i = 0; grey && i < 64 * 48; i++)
        a.data[0][i] = a.data[2][i] = a.data[1][i];
    f->colorspace      = space;
    f->color_range     = range;
    f->chroma_location = location;
    if (ff_kling_fit_out(NULL, &fit, f, &a) < 0 || ff_kling_fit_in(NULL, &fit, &b, f) < 0)
        e = 1e9;
    else
        e = worst_inside(&a, &b, 3) * 255;              /* a scaler repeats the border */
    ff_kling_fit_free(&fit);
    ff_kling_picture_free(&a);
    ff_kling_picture_free(&b);
    av_frame_free(&f);
    return e;
}

static void test_fit_round_trip(void)
{
    static const struct { const char *format; double limit; int grey; } t[] = {
        /* With dither a code is off by one at most: in limited range that is 255/219 in luma and 1.8814 * 255/224 in
         * chroma, 3.31 codes of RGB, of 8 bits. Chroma that is missing adds 0.6 here where it is interpolated. */
        { "yuv420p", 3.9, 0 }, { "yuv422p", 3.9, 0 }, { "yuv444p", 3.4, 0 }, { "yuyv422", 3.9, 0 }, { "nv12", 3.9, 0 },
        { "yuv420p10le", 1.5, 0 }, { "yuv422p10le", 1.5, 0 }, { "yuv444p12be", 0.3, 0 }, { "p010le", 1.5, 0 },
        { "rgb24", 1.1, 0 }, { "bgra", 1.1, 0 }, { "gbrp", 1.1, 0 }, { "gbrp16le", 0.1, 0 }, { "rgb48be", 0.1, 0 },
        { "gray", 1.2, 1 }, { "gray10le", 0.4, 1 }, { "yuva420p", 3.9, 0 }, { "gbrpf32le", 0.2, 0 },
    };

    for (int i = 0; i < (int)(sizeof(t) / sizeof(*t)); i++) {
        const enum AVPixelFormat f = av_get_pix_fmt(t[i].format);

        CHECK(ff_kling_fit_supports(f), "%s", t[i].format);
        for (int range = AVCOL_RANGE_UNSPECIFIED; range <= AVCOL_RANGE_JPEG; range++)
            for (int space = 0; space < 3; space++) {
                static const int spaces[] = { AVCOL_SPC_UNSPECIFIED, AVCOL_SPC_BT709, AVCOL_SPC_BT2020_NCL };
                const double e = round_trip(f, spaces[space], range, 0, 64, 48, t[i].grey);

                CHECK(e <= t[i].limit, "%s, range %d, space %d: %.2f codes", t[i].format, range, spaces[space], e);
            }
    }
    CHECK(!ff_kling_fit_supports(AV_PIX_FMT_PAL8) && !ff_kling_fit_supports(AV_PIX_FMT_RGB565LE) &&
          !ff_kling_fit_supports(AV_PIX_FMT_MONOWHITE) && !ff_kling_fit_supports(AV_PIX_FMT_VAAPI) &&
          !ff_kling_fit_supports(AV_PIX_FMT_BAYER_BGGR8));
}

/* Chroma that were off by half a sample would be seen in a picture that grows and shrinks again: the steepest colour
 * here goes 3.8 codes a pixel of 64. Odd sizes included. */
static void test_fit_scaled(void)
{
    static const int size[][2] = { { 128, 96 }, { 320, 180 }, { 127, 95 }, { 65, 49 } };

    for (int loc = AVCHROMA_LOC_UNSPECIFIED; loc <= AVCHROMA_LOC_BOTTOM; loc++)
        for (int i = 0; i < 4; i++) {
            const double e = round_trip(AV_PIX_FMT_YUV420P10LE, AVCOL_SPC_BT709, AVCOL_RANGE_MPEG, loc, size[i][0],
                                        size[i][1], 0);

            CHECK(e <= 0.9, "chroma location %d, %dx%d: %.2f codes", loc, size[i][0], size[i][1], e);
        }
}

/* The tag alone moves chroma, in the direction that it says: the red-blue difference rises to the right. */
static void test_fit_chroma_location(void)
{
    AVFrame *f = new_frame(AV_PIX_FMT_YUV420P10LE, 64, 48);
    KlingFit fit = { 0 };
    KlingPicture p;
    double mean[2] = { 0 };

    REQUIRE(ff_kling_picture_alloc(&p, 64, 48) >= 0);
    for (int i = 0; i < 3; i++)
        for (int y = 0; y < (i ? 24 : 48); y++)
            for (int x = 0; x < (i ? 32 : 64); x++)
                ((uint16_t *)(f->data[i] + y * f->linesize[i]))[x] = i == 2 ? 400 + 8 * x : 512;
    f->color_range = AVCOL_RANGE_JPEG;
    for (int i = 0; i < 2; i++) {
        f->chroma_location = i ? AVCHROMA_LOC_CENTER : AVCHROMA_LOC_LEFT;
        REQUIRE(ff_kling_fit_in(NULL, &fit, &p, f) >= 0);
        for (int x = 8; x < 56; x++)
            mean[i] += p.data[0][24 * 64 + x] / 48;
    }
    /* centred samples stand half a pixel further right, so the same place has 2 codes of 1023 less, times 1.402 */
    CHECK(fabs((mean[0] - mean[1]) * 1023 / 1.402 - 2) < 0.1, "%.3f codes", (mean[0] - mean[1]) * 1023 / 1.402);
    ff_kling_fit_free(&fit);
    ff_kling_picture_free(&p);
    av_frame_free(&f);
}

static void test_fit_alpha_opaque(void)
{
    AVFrame *f = new_frame(AV_PIX_FMT_RGBA, 33, 17);
    KlingFit fit = { 0 };
    KlingPicture p;
    int bad = 0;

    REQUIRE(ff_kling_picture_alloc(&p, 64, 48) >= 0);
    smooth(&p);
    p.data[1][5] = NAN;
    REQUIRE(ff_kling_fit_out(NULL, &fit, f, &p) >= 0);
    for (int y = 0; y < 17; y++)
        for (int x = 0; x < 33; x++)
            bad += f->data[0][y * f->linesize[0] + 4 * x + 3] != 255;
    CHECK(!bad, "%d pixels are not opaque", bad);
    ff_kling_fit_free(&fit);
    ff_kling_picture_free(&p);
    av_frame_free(&f);
}

/* ---- detail ------------------------------------------------------------------------------------------------ */

/* Component c of every pixel: write it, or read it. */
static void component(AVFrame *f, int c, uint16_t *v, int write)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    const int chroma = (c == 1 || c == 2) && !(d->flags & AV_PIX_FMT_FLAG_RGB);
    const int w = AV_CEIL_RSHIFT(f->width, chroma ? d->log2_chroma_w : 0);
    const int h = AV_CEIL_RSHIFT(f->height, chroma ? d->log2_chroma_h : 0);

    if (!write)
        memset(v, 0, sizeof(*v) * f->width * f->height);
    for (int y = 0; y < h; y++)
        if (write)
            av_write_image_line(v + y * w, f->data, f->linesize, d, 0, y, c, w);
        else
            av_read_image_line(v + y * w, (const uint8_t **)f->data, f->linesize, d, 0, y, c, w, 0);
}

enum { DETAIL_W = 66, DETAIL_H = 51 };

/* Noise, which no smaller picture holds. */
static AVFrame *noisy_frame(enum AVPixelFormat format)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(format);
    static uint16_t v[DETAIL_W * DETAIL_H];
    AVFrame *f = new_frame(format, DETAIL_W, DETAIL_H);
    unsigned seed = 7;

    for (int i = 0; i < 4 && f->data[i]; i++)
        memset(f->data[i], 0, f->linesize[i] * (i && i < 3 && d->log2_chroma_h ? (DETAIL_H + 1) / 2 : DETAIL_H));
    for (int c = 0; c < d->nb_components; c++) {
        for (int i = 0; i < DETAIL_W * DETAIL_H; i++) {
            seed = seed * 1664525 + 1013904223;
            v[i] = seed >> 8 & ((1 << d->comp[c].depth) - 1);
        }
        component(f, c, v, 1);
    }
    return f;
}

/* How many samples of the columns x0 to x1 - 1, of 66, are off the mean of a and b by more than `limit`; not alpha. */
static int others(AVFrame *f, AVFrame *a, AVFrame *b, int x0, int x1, int limit)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    static uint16_t v[3][DETAIL_W * DETAIL_H];
    int bad = 0;

    for (int c = 0; c < d->nb_components - !!(d->flags & AV_PIX_FMT_FLAG_ALPHA); c++) {
        const int shift = (c == 1 || c == 2) && !(d->flags & AV_PIX_FMT_FLAG_RGB) ? d->log2_chroma_w : 0;
        const int w = DETAIL_W >> shift;

        component(f, c, v[0], 0);
        component(a, c, v[1], 0);
        component(b, c, v[2], 0);
        for (int i = 0; i < w * DETAIL_H; i++)
            bad += i % w >= x0 >> shift && i % w < x1 >> shift && abs(2 * v[0][i] - v[1][i] - v[2][i]) > 2 * limit;
    }
    return bad;
}

/* The detail has come two pixels to the right: samples that are not plain(x) + real(x - 2) - plain(x - 2). */
static int not_moved(AVFrame *f, AVFrame *real, AVFrame *plain)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(f->format);
    static uint16_t v[3][DETAIL_W * DETAIL_H];
    int bad = 0;

    for (int c = 0; c < d->nb_components - !!(d->flags & AV_PIX_FMT_FLAG_ALPHA); c++) {
        const int shift = (c == 1 || c == 2) && !(d->flags & AV_PIX_FMT_FLAG_RGB) ? d->log2_chroma_w : 0;
        const int h = (c == 1 || c == 2) && d->log2_chroma_h ? (DETAIL_H + 1) / 2 : DETAIL_H;
        const int w = DETAIL_W >> shift, by = 2 >> shift, max = (1 << d->comp[c].depth) - 1;

        component(f, c, v[0], 0);
        component(real, c, v[1], 0);
        component(plain, c, v[2], 0);
        for (int y = 0; y < h; y++)
            for (int x = by; x < w; x++) {
                const int i = y * w + x, wanted = v[2][i] + v[1][i - by] - v[2][i - by];

                bad += v[0][i] != av_clip(wanted, 0, max);
            }
    }
    return bad;
}

static void detail_of(const char *name)
{
    enum { W = 16, H = 12 };
    AVFrame *real = noisy_frame(av_get_pix_fmt(name)), *f = new_frame(real->format, DETAIL_W, DETAIL_H);
    KlingFitDetail d = { 0 };
    KlingFit fit = { 0 };
    KlingPicture p;
    KlingKept kept;
    uint16_t alpha[DETAIL_W * DETAIL_H];
    const int has_alpha = !!(av_pix_fmt_desc_get(real->format)->flags & AV_PIX_FMT_FLAG_ALPHA);

    need(ff_kling_picture_alloc(&p, W, H) >= 0 && ff_kling_kept_alloc(&kept, W, H) >= 0);
    REQUIRE(ff_kling_fit_detail_set(NULL, &fit, &d, real, &p) >= 0 && d.plain);
    CHECK(others(d.plain, real, real, 0, 66, 0) > 1000, "%s: the plain one has it all", name);
    for (int i = 0; i < W * H; i++)
        kept.keep[i] = i % W < W / 2;
    REQUIRE(ff_kling_fit_out(NULL, &fit, f, &p) >= 0);
    ff_kling_fit_detail_add(&d, f, &kept, W, H, 1);
    CHECK(!others(f, real, real, 0, 28, 0), "%s: %d samples are not restored", name,
          others(f, real, real, 0, 28, 0));
    CHECK(!others(f, d.plain, d.plain, 38, 66, 0), "%s: a part that is not kept has changed", name);
    for (int i = 0; i < W * H; i++)
        kept.keep[i] = 0.5;
    REQUIRE(ff_kling_fit_out(NULL, &fit, f, &p) >= 0);
    ff_kling_fit_detail_add(&d, f, &kept, W, H, 1);
    CHECK(!others(f, real, d.plain, 0, 66, 1), "%s: half of it", name);
    for (int i = 0; i < W * H; i++) {
        kept.keep[i] = 1;
        kept.dx[i]   = -2.0 * W / DETAIL_W;
    }
    REQUIRE(ff_kling_fit_out(NULL, &fit, f, &p) >= 0);
    ff_kling_fit_detail_add(&d, f, &kept, W, H, 1);
    CHECK(!not_moved(f, real, d.plain), "%s: %d samples have not moved", name, not_moved(f, real, d.plain));
    if (has_alpha) {
        int bad = 0;

        component(f, av_pix_fmt_desc_get(f->format)->nb_components - 1, alpha, 0);
        for (int i = 0; i < DETAIL_W * DETAIL_H; i++)
            bad += alpha[i] != 255;
        CHECK(!bad, "%s: %d pixels are not opaque", name, bad);
    }
    f->colorspace = AVCOL_SPC_BT2020_NCL;                   /* other colours: not this frame's detail */
    memset(kept.dx, 0, sizeof(*kept.dx) * W * H);
    REQUIRE(ff_kling_fit_out(NULL, &fit, f, &p) >= 0);
    ff_kling_fit_detail_add(&d, f, &kept, W, H, 1);
    CHECK(others(f, real, real, 0, 66, 0) > 1000, "%s: detail of other colours", name);
    ff_kling_kept_free(&kept);
    ff_kling_fit_detail_free(&d);
    ff_kling_fit_free(&fit);
    ff_kling_picture_free(&p);
    av_frame_free(&real);
    av_frame_free(&f);
}

static void test_fit_detail(void)
{
    static const char *const formats[] = { "yuv420p", "yuv422p10le", "yuv444p12be", "nv12", "p010le", "yuyv422",
                                           "rgb24", "bgra", "gbrp", "gbrp16le", "rgb48be", "x2rgb10le", "gray",
                                           "gray10le", "yuva420p" };
    AVFrame *f = new_frame(av_get_pix_fmt("gbrpf32le"), DETAIL_W, DETAIL_H);
    KlingFitDetail d = { 0 };
    KlingFit fit = { 0 };
    KlingPicture p;

    for (int i = 0; i < (int)(sizeof(formats) / sizeof(*formats)); i++)
        detail_of(formats[i]);
    need(ff_kling_picture_alloc(&p, 16, 16) >= 0);
    CHECK(ff_kling_fit_detail_set(NULL, &fit, &d, f, &p) >= 0 && !d.plain, "float is left alone");
    ff_kling_picture_free(&p);
    av_frame_free(&f);
}

/* ---- history ----------------------------------------------------------------------------------------------- */

static int add(KlingHistory *h, int64_t pts, int w)
{
    AVFrame *f = new_frame(AV_PIX_FMT_GRAY8, w, 2);
    int ret;

    f->pts = pts;
    ret = ff_kling_history_add(h, f);
    av_frame_free(&f);
    return ret;
}

static void test_history_last(void)
{
    KlingHistory h = { 0 };

    ff_kling_history_init(&h, KLING_HISTORY_LAST, (AVRational){ 1, 25 }, 0.25);
    for (int i = 0; i < 1000; i++) {
        CHECK(add(&h, 10 + i, 4) == 1);
        CHECK(h.nb <= 8, "%d frames held", h.nb);
    }
    CHECK(ff_kling_history_spacing(&h) == 1 && h.last_time == 1009);
    CHECK(ff_kling_history_count(&h, 1 / 16., 1 / 25.) == 5, "%d", ff_kling_history_count(&h, 1 / 16., 1 / 25.));
    CHECK(ff_kling_history_at(&h, 0)->pts == 1009);
    CHECK(ff_kling_history_at(&h, 0.0625)->pts == 1007, "1.56 frames back is %d",
          (int)ff_kling_history_at(&h, 0.0625)->pts);
    CHECK(ff_kling_history_at(&h, 9)->pts == h.frame[0]->pts);
    CHECK(add(&h, 2000, 6) == 1 && h.nb == 1, "another size drops the frames before");
    CHECK(add(&h, AV_NOPTS_VALUE, 6) == 1 && h.last_time == 2001, "a frame without a time follows");
    CHECK(add(&h, 1990, 6) == 1 && h.last_time == 2002, "time never goes back");
    ff_kling_history_free(&h);
    CHECK(!h.nb && ff_kling_history_count(&h, 1, 1) == 0);
}

static void test_history_first(void)
{
    KlingHistory h = { 0 };
    AVFrame *f;

    ff_kling_history_init(&h, KLING_HISTORY_FIRST, (AVRational){ 1, 1000 }, 0.1);
    CHECK(!ff_kling_history_full(&h));
    for (int i = 0; i < 5; i++)
        CHECK(add(&h, 500 + 33 * i, 4) == 1, "%d", i);
    CHECK(ff_kling_history_full(&h) && h.nb == 5, "%d", h.nb);
    CHECK(add(&h, 700, 4) == 0 && h.nb == 5 && h.last_time == 700);
    CHECK(ff_kling_history_at(&h, 0.06)->pts == 566);
    REQUIRE((f = ff_kling_history_take(&h)));
    CHECK(f->pts == 500 && h.nb == 4 && h.frame[0]->pts == 533);
    av_frame_free(&f);
    ff_kling_history_free(&h);
    CHECK(!ff_kling_history_take(&h));
    ff_kling_history_init(&h, KLING_HISTORY_FIRST, (AVRational){ 1, 1000 }, 0.1);
    CHECK(add(&h, 0, 4) == 1 && add(&h, 33, 6) == 0 && ff_kling_history_full(&h), "another size is the end");
    ff_kling_history_free(&h);
}

static void test_history_bounded(void)
{
    KlingHistory h = { 0 };

    ff_kling_history_init(&h, KLING_HISTORY_LAST, (AVRational){ 1, 90000 }, 10);
    for (int i = 0; i < 2 * KLING_HISTORY_MAX; i++)
        add(&h, i, 4);
    CHECK(h.nb == KLING_HISTORY_MAX && h.frame[h.nb - 1]->pts == 2 * KLING_HISTORY_MAX - 1);
    ff_kling_history_free(&h);
}

int main(void)
{
    RUN(test_time_spacing);
    RUN(test_time_open_end);
    RUN(test_time_to_trail);
    RUN(test_fit_size);
    RUN(test_fit_round_trip);
    RUN(test_fit_scaled);
    RUN(test_fit_chroma_location);
    RUN(test_fit_alpha_opaque);
    RUN(test_fit_detail);
    RUN(test_history_last);
    RUN(test_history_first);
    RUN(test_history_bounded);
    return check_exit();
}
