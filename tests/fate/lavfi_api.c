/*
 * The source kling in a program on libavfilter, without the ffmpeg program: lavfi_api MODEL.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Options through the API, frames pulled from a buffersink, a graph freed half way, two graphs at once, signals of
 * a program that handles none.
 */
#include <signal.h>
#include <string.h>

#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavutil/dict.h>
#include <libavutil/frame.h>
#include <libavutil/log.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>

#include "../check.h"

static const char *model;
static int clips_begun;

static void count_clips(void *ctx, int level, const char *fmt, va_list args)
{
    char line[1024];

    vsnprintf(line, sizeof(line), fmt, args);
    clips_begun += strstr(line, " frames, seed ") != NULL;
    if (level <= AV_LOG_ERROR)
        av_log_default_callback(ctx, level, fmt, args);
}

typedef struct Graph {
    AVFilterGraph *graph;
    AVFilterContext *source, *sink;
} Graph;

/* kling with these many frames of 32x16, into a buffersink */
static int graph_open(Graph *g, int frames)
{
    int ret = AVERROR(ENOMEM);

    *g = (Graph){ .graph = avfilter_graph_alloc() };
    if (!g->graph ||
        !(g->source = avfilter_graph_alloc_filter(g->graph, avfilter_get_by_name("kling"), "k")) ||
        (ret = av_opt_set(g->source, "model", model, AV_OPT_SEARCH_CHILDREN)) < 0 ||
        (ret = av_opt_set(g->source, "prompt", "it's 5:30, [red]", AV_OPT_SEARCH_CHILDREN)) < 0 ||
        (ret = av_opt_set_image_size(g->source, "size", 32, 16, AV_OPT_SEARCH_CHILDREN)) < 0 ||
        (ret = av_opt_set_int(g->source, "frames", frames, AV_OPT_SEARCH_CHILDREN)) < 0 ||
        (ret = av_opt_set_int(g->source, "steps", 2, AV_OPT_SEARCH_CHILDREN)) < 0 ||
        (ret = av_opt_set(g->source, "seed", "12", AV_OPT_SEARCH_CHILDREN)) < 0 ||
        (ret = avfilter_init_str(g->source, NULL)) < 0 ||
        (ret = avfilter_graph_create_filter(&g->sink, avfilter_get_by_name("buffersink"), "out", NULL, NULL,
                                            g->graph)) < 0 ||
        (ret = avfilter_link(g->source, 0, g->sink, 0)) < 0 ||
        (ret = avfilter_graph_config(g->graph, NULL)) < 0)
        avfilter_graph_free(&g->graph);
    return ret;
}

static void test_api_frames(void)
{
    AVFrame *frame = av_frame_alloc();
    const AVDictionaryEntry *e;
    AVRational tb;
    Graph g;
    int ret, n = 0;

    REQUIRE(frame && graph_open(&g, 6) >= 0);
    CHECK(!clips_begun, "a clip was begun before a frame was asked for");
    tb = av_buffersink_get_time_base(g.sink);
    CHECK(tb.num == 1 && tb.den == 16, "time base %d/%d", tb.num, tb.den);
    CHECK(av_buffersink_get_w(g.sink) == 32 && av_buffersink_get_h(g.sink) == 16);
    while ((ret = av_buffersink_get_frame(g.sink, frame)) >= 0) {
        CHECK(frame->pts == n, "frame %d has pts %d", n, (int)frame->pts);
        CHECK(frame->colorspace == AVCOL_SPC_RGB && frame->color_range == AVCOL_RANGE_JPEG);
        CHECK(frame->format == AV_PIX_FMT_GBRP, "%s", av_get_pix_fmt_name(frame->format));
        e = av_dict_get(frame->metadata, "lavfi.kling.prompt", NULL, 0);
        CHECK(e && !strcmp(e->value, "it's 5:30, [red]"));
        av_frame_unref(frame);
        n++;
    }
    CHECK(ret == AVERROR_EOF, "%s", av_err2str(ret));
    CHECK(n == 6, "%d frames", n);
    CHECK(av_buffersink_get_frame(g.sink, frame) == AVERROR_EOF, "the end is not the end");
    CHECK(clips_begun == 1, "%d clips", clips_begun);
    avfilter_graph_free(&g.graph);
    av_frame_free(&frame);
}

static void test_api_half_way(void)
{
    AVFrame *frame = av_frame_alloc();
    Graph g;

    REQUIRE(frame && graph_open(&g, 9) >= 0);
    CHECK(av_buffersink_get_frame(g.sink, frame) >= 0);
    avfilter_graph_free(&g.graph);
    CHECK(frame->width == 32 && frame->data[0], "the frame outlives its graph");
    av_frame_free(&frame);
}

static void test_api_two_graphs(void)
{
    AVFrame *frame = av_frame_alloc();
    Graph g[2];

    REQUIRE(frame && graph_open(&g[0], 2) >= 0);
    REQUIRE(graph_open(&g[1], 2) >= 0);
    for (int i = 0; i < 4; i++) {
        CHECK(av_buffersink_get_frame(g[i % 2].sink, frame) >= 0, "frame %d", i);
        CHECK(frame->pts == i / 2);
        av_frame_unref(frame);
    }
    avfilter_graph_free(&g[0].graph);
    CHECK(av_buffersink_get_frame(g[1].sink, frame) == AVERROR_EOF);
    avfilter_graph_free(&g[1].graph);
    av_frame_free(&frame);
}

/* A program without handlers keeps its default ones while a clip is made: only interrupt=1 would change them. */
static void test_api_signals(void)
{
    AVFrame *frame = av_frame_alloc();
    struct sigaction sa;
    Graph g;

    REQUIRE(frame && graph_open(&g, 9) >= 0);
    CHECK(av_buffersink_get_frame(g.sink, frame) >= 0);
    CHECK(!sigaction(SIGINT, NULL, &sa) && sa.sa_handler == SIG_DFL);
    avfilter_graph_free(&g.graph);
    av_frame_free(&frame);
}

static volatile sig_atomic_t own_handler_ran;

static void own_handler(int sig)
{
    own_handler_ran = sig;
}

/* One with handlers: they are called as well, the clip ends with the black frame, and they are put back. */
static void test_api_own_handler(void)
{
    AVFrame *frame = av_frame_alloc();
    struct sigaction sa;
    Graph g;

    signal(SIGINT, own_handler);
    REQUIRE(frame && graph_open(&g, 9) >= 0);
    CHECK(av_buffersink_get_frame(g.sink, frame) >= 0);
    av_frame_unref(frame);
    raise(SIGINT);
    CHECK(own_handler_ran == SIGINT, "the program's handler was not called");
    CHECK(av_buffersink_get_frame(g.sink, frame) == AVERROR_EOF, "the clip goes on");
    CHECK(!sigaction(SIGINT, NULL, &sa) && sa.sa_handler == own_handler, "the handler was not put back");
    avfilter_graph_free(&g.graph);
    av_frame_free(&frame);
    signal(SIGINT, SIG_DFL);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "Usage: lavfi_api MODEL\n");
        return 2;
    }
    model = argv[1];
    av_log_set_callback(count_clips);
    RUN(test_api_frames);
    RUN(test_api_half_way);
    RUN(test_api_two_graphs);
    RUN(test_api_signals);
    RUN(test_api_own_handler);
    return check_exit();
}
