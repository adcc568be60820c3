/*
 * kling_extend in a program on libavfilter: extend_api MODEL, one that goes on from pictures.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What the ffmpeg program cannot show: that the very same frames come out, what happens to side data, frames in a
 * device's memory, a graph freed while it works, frames without time stamps.
 */
#include <signal.h>
#include <string.h>

#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/frame.h>
#include <libavutil/hwcontext.h>
#include <libavutil/log.h>
#include <libavutil/mastering_display_metadata.h>
#include <libavutil/opt.h>

#include "../check.h"

#define N 6

static const char *model;
static char errors[4096];

static void keep_errors(void *ctx, int level, const char *fmt, va_list args)
{
    const size_t n = strlen(errors);

    (void)ctx;
    if (level <= AV_LOG_ERROR)
        vsnprintf(errors + n, sizeof(errors) - n, fmt, args);
}

typedef struct Graph {
    AVFilterGraph *graph;
    AVFilterContext *source, *extend, *sink;
} Graph;

/* buffer, kling_extend with these options, buffersink. hw: an AVHWFramesContext's buffer, or NULL. */
static int graph_open(Graph *g, const char *options, enum AVPixelFormat format, AVBufferRef *hw)
{
    AVBufferSrcParameters *p = av_buffersrc_parameters_alloc();
    int ret = AVERROR(ENOMEM);

    *g = (Graph){ .graph = avfilter_graph_alloc() };
    if (p && g->graph && (g->source = avfilter_graph_alloc_filter(g->graph, avfilter_get_by_name("buffer"), "in")) &&
        (g->extend = avfilter_graph_alloc_filter(g->graph, avfilter_get_by_name("kling_extend"), "k"))) {
        p->format = format;
        p->width = 64;
        p->height = 48;
        p->time_base = (AVRational){ 1, 25 };
        p->frame_rate = (AVRational){ 25, 1 };
        p->hw_frames_ctx = hw;
        if ((ret = av_buffersrc_parameters_set(g->source, p)) >= 0 &&
            (ret = avfilter_init_str(g->source, NULL)) >= 0 &&
            (ret = av_opt_set(g->extend, "model", model, AV_OPT_SEARCH_CHILDREN)) >= 0 &&
            (ret = avfilter_init_str(g->extend, options)) >= 0 &&
            (ret = avfilter_graph_create_filter(&g->sink, avfilter_get_by_name("buffersink"), "out", NULL, NULL,
                                                g->graph)) >= 0 &&
            (ret = avfilter_link(g->source, 0, g->extend, 0)) >= 0 &&
            (ret = avfilter_link(g->extend, 0, g->sink, 0)) >= 0)
            ret = avfilter_graph_config(g->graph, NULL);
    }
    av_free(p);
    if (ret < 0)
        avfilter_graph_free(&g->graph);
    return ret;
}

static AVFrame *picture(int n)
{
    AVFrame *f = av_frame_alloc();

    if (!f)
        return NULL;
    f->format = AV_PIX_FMT_YUV420P;
    f->width = 64;
    f->height = 48;
    f->pts = n;
    if (av_frame_get_buffer(f, 0) < 0 || !av_frame_new_side_data(f, AV_FRAME_DATA_A53_CC, 3) ||
        !av_mastering_display_metadata_create_side_data(f)) {
        av_frame_free(&f);
        return NULL;
    }
    for (int i = 0; i < 3; i++)
        memset(f->data[i], 60 + 10 * n + 30 * i, (size_t)f->linesize[i] * (i ? 24 : 48));
    return f;
}

static void test_extend_same_frames(void)
{
    AVFrame *in[N], *out = av_frame_alloc();
    Graph g;
    int ret, n = 0;

    REQUIRE(out && graph_open(&g, "seed=1:frames=3", AV_PIX_FMT_YUV420P, NULL) >= 0);
    for (int i = 0; i < N; i++) {
        REQUIRE((in[i] = picture(i)));
        REQUIRE(av_buffersrc_add_frame_flags(g.source, in[i], AV_BUFFERSRC_FLAG_KEEP_REF) >= 0);
        REQUIRE(av_buffersink_get_frame(g.sink, out) >= 0, "frame %d", i);
        CHECK(out->data[0] == in[i]->data[0] && out->buf[0]->buffer == in[i]->buf[0]->buffer, "frame %d was copied", i);
        CHECK(out->pts == i && out->nb_side_data == in[i]->nb_side_data);
        av_frame_unref(out);
    }
    REQUIRE(av_buffersrc_add_frame(g.source, NULL) >= 0);
    while ((ret = av_buffersink_get_frame(g.sink, out)) >= 0) {
        CHECK(out->pts == N + n && out->width == 64 && out->height == 48 && out->format == AV_PIX_FMT_YUV420P);
        CHECK(!av_frame_get_side_data(out, AV_FRAME_DATA_A53_CC), "captions are repeated");
        CHECK(av_frame_get_side_data(out, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA), "the mastering display is lost");
        av_frame_unref(out);
        n++;
    }
    CHECK(ret == AVERROR_EOF && n == 3, "%d frames, %s", n, av_err2str(ret));
    /* what was held for the context has been given back */
    for (int i = 0; i < N; i++) {
        CHECK(av_buffer_get_ref_count(in[i]->buf[0]) == 1, "frame %d is still held", i);
        av_frame_free(&in[i]);
    }
    avfilter_graph_free(&g.graph);
    av_frame_free(&out);
}

/* Frames without time stamps pass as they are, the new ones have some. */
static void test_extend_no_time(void)
{
    AVFrame *f, *out = av_frame_alloc();
    int64_t last = AV_NOPTS_VALUE;
    Graph g;
    int n = 0;

    REQUIRE(out && graph_open(&g, "seed=1:frames=3", AV_PIX_FMT_YUV420P, NULL) >= 0);
    for (int i = 0; i < N; i++) {
        REQUIRE((f = picture(i)));
        f->pts = AV_NOPTS_VALUE;
        REQUIRE(av_buffersrc_add_frame(g.source, f) >= 0);
        av_frame_free(&f);
    }
    REQUIRE(av_buffersrc_add_frame(g.source, NULL) >= 0);
    for (; av_buffersink_get_frame(g.sink, out) >= 0; n++) {
        CHECK(n < N || (out->pts != AV_NOPTS_VALUE && out->pts > last), "frame %d", n);
        if (n >= N)
            last = out->pts;
        av_frame_unref(out);
    }
    CHECK(n == N + 3, "%d frames", n);
    avfilter_graph_free(&g.graph);
    av_frame_free(&out);
}

static void test_extend_half_way(void)
{
    AVFrame *f = picture(0), *out = av_frame_alloc();
    Graph g;

    REQUIRE(f && out && graph_open(&g, "seed=1:frames=30:loop=1", AV_PIX_FMT_YUV420P, NULL) >= 0);
    REQUIRE(av_buffersrc_add_frame(g.source, f) >= 0 && av_buffersrc_add_frame(g.source, NULL) >= 0);
    for (int i = 0; i < 2; i++) {
        CHECK(av_buffersink_get_frame(g.sink, out) >= 0, "frame %d", i);
        av_frame_unref(out);
    }
    avfilter_graph_free(&g.graph);
    av_frame_free(&f);
    av_frame_free(&out);
}

static void test_extend_no_frame(void)
{
    AVFrame *out = av_frame_alloc();
    Graph g;

    REQUIRE(out && graph_open(&g, "seed=1", AV_PIX_FMT_YUV420P, NULL) >= 0);
    REQUIRE(av_buffersrc_add_frame(g.source, NULL) >= 0);
    *errors = 0;
    CHECK(av_buffersink_get_frame(g.sink, out) == AVERROR(EINVAL));
    CHECK(!strcmp(errors, "the input has no frame: there is nothing to go on from\n"), "%s", errors);
    avfilter_graph_free(&g.graph);
    av_frame_free(&out);
}

/* Any hardware format will do, its frames are never looked at. */
static void test_extend_hardware(void)
{
    AVBufferRef *hw = av_buffer_allocz(4 * sizeof(AVHWFramesContext));
    Graph g;

    REQUIRE(hw);
    ((AVHWFramesContext *)hw->data)->format = AV_PIX_FMT_CUDA;
    ((AVHWFramesContext *)hw->data)->sw_format = AV_PIX_FMT_NV12;
    ((AVHWFramesContext *)hw->data)->width = 64;
    ((AVHWFramesContext *)hw->data)->height = 48;
    *errors = 0;
    CHECK(graph_open(&g, "seed=1", AV_PIX_FMT_CUDA, hw) == AVERROR(ENOSYS), "not refused: %s", errors);
    CHECK(strstr(errors, "device's memory (cuda)") && strstr(errors, "hwdownload"), "%s", errors);
    av_buffer_unref(&hw);
}

static volatile sig_atomic_t own_handler_ran;

static void own_handler(int sig)
{
    own_handler_ran = sig;
}

/* A signal while the footage passes: its end is not gone on from, and the program's handler is put back. */
static void test_extend_signal(void)
{
    AVFrame *f = picture(0), *out = av_frame_alloc();
    struct sigaction sa;
    Graph g;

    signal(SIGINT, own_handler);
    REQUIRE(f && out && graph_open(&g, "seed=1:frames=30", AV_PIX_FMT_YUV420P, NULL) >= 0);
    REQUIRE(av_buffersrc_add_frame(g.source, f) >= 0 && av_buffersink_get_frame(g.sink, out) >= 0);
    av_frame_unref(out);
    raise(SIGINT);
    CHECK(own_handler_ran == SIGINT, "the program's handler was not called");
    REQUIRE(av_buffersrc_add_frame(g.source, NULL) >= 0);
    CHECK(av_buffersink_get_frame(g.sink, out) == AVERROR_EOF, "it goes on");
    CHECK(!sigaction(SIGINT, NULL, &sa) && sa.sa_handler == own_handler, "the handler was not put back");
    avfilter_graph_free(&g.graph);
    av_frame_free(&f);
    av_frame_free(&out);
    signal(SIGINT, SIG_DFL);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "Usage: extend_api MODEL\n");
        return 2;
    }
    model = argv[1];
    av_log_set_callback(keep_errors);
    RUN(test_extend_same_frames);
    RUN(test_extend_no_time);
    RUN(test_extend_half_way);
    RUN(test_extend_no_frame);
    RUN(test_extend_hardware);
    RUN(test_extend_signal);
    return check_exit();
}
