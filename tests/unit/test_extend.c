/*
 * The public API of clips that go on from pictures, arrive at pictures, or are longer than a window: what is given,
 * what is refused, prompts that change, cancelling. The values are test_extend's of tests/golden.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <stdbool.h>
#include <stdint.h>

#include "kling/kling.h"
#include "tests/check.h"
#include "tests/tiny_model.h"

#define SIDE 16
#define MAX_GIVEN 24
#define MAX_FRAMES 160

static KlingContext *ctx;
static KlingModel *model, *text_only, *image_only;  /* windows of 25 pictures, of 9, of 5 */
static char last_log[1024];
static bool quick;                      /* under valgrind, which takes 300 times as long */

static float pixels[MAX_GIVEN][3][SIDE * SIDE];
static KlingFrame given[MAX_GIVEN];     /* each of another grey with a dot of its own */

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level == KLING_LOG_ERROR)
        snprintf(last_log, sizeof(last_log), "%s", line);
}

static void make_pictures(void)
{
    for (int i = 0; i < MAX_GIVEN; i++) {
        for (int c = 0; c < 3; c++)
            for (int k = 0; k < SIDE * SIDE; k++)
                pixels[i][c][k] = k == 7 * i % (SIDE * SIDE) ? 1 : 0.05f * (float)i * (float)(c + 1) / 3;
        given[i] = (KlingFrame){ .data = { pixels[i][0], pixels[i][1], pixels[i][2] }, .stride = SIDE,
                                 .width_px = SIDE, .height_px = SIDE };
    }
}

static KlingParams small_params(void)
{
    KlingParams p;

    kling_params_default(model, &p);
    p.prompt = "a red ball on the grass";
    p.width_px = p.height_px = SIDE;
    p.frames = 8;
    p.steps = 1;
    p.guidance = 1;
    p.seed = 5;
    p.threads = 1;
    p.lead = p.trail = given;
    return p;
}

typedef struct Clip {
    int n, status;
    float x[MAX_FRAMES][3 * SIDE * SIDE];
} Clip;

static void keep(Clip *c, const KlingFrame *f)
{
    if (f->index != c->n || c->n == MAX_FRAMES || f->width_px != SIDE || f->height_px != SIDE) {
        c->status = KLING_ERROR_INTERNAL;
        return;
    }
    for (int k = 0; k < 3 * SIDE * SIDE; k++)
        c->x[c->n][k] = f->data[k / (SIDE * SIDE)][k / SIDE % SIDE * f->stride + k % SIDE];
    c->n++;
}

/* All frames; the prompt changes after `at` of them when `prompt` is not NULL. */
static void run(Clip *c, const KlingParams *p, int at, const char *prompt, const char *negative)
{
    const KlingFrame *f;
    KlingJob *job = NULL;

    c->n = 0;
    c->status = kling_job_create(model, &job, p);
    while (c->status == KLING_OK) {
        if (prompt && c->n == at && kling_job_set_prompt(job, prompt, negative) != KLING_OK)
            c->status = KLING_ERROR_INTERNAL;
        else if ((c->status = kling_job_next_frame(job, &f)) == KLING_OK)
            keep(c, f);
    }
    kling_job_destroy(&job);
}

static int on_frame(void *opaque, const KlingFrame *f)
{
    Clip *c = opaque;

    keep(c, f);
    return c->status != KLING_OK;
}

static bool same(const Clip *a, int i, const Clip *b, int j, int n)
{
    return i + n <= a->n && j + n <= b->n && !memcmp(a->x[i], b->x[j], sizeof(a->x[0]) * (size_t)n);
}

static Clip a, b;

#define RUN_CLIP(clip, p) do { \
        run(clip, p, 0, NULL, NULL); \
        REQUIRE((clip)->status == KLING_EOF, "%d: %s", (clip)->status, last_log); \
    } while (0)

static void test_caps(void)
{
    const unsigned lead = KLING_CAP_LEAD_IMAGE | KLING_CAP_LEAD_CLIP;
    const KlingModelInfo *i = kling_model_info(model);

    CHECK(i->caps == (KLING_CAP_TEXT | lead | KLING_CAP_TRAIL_IMAGE | KLING_CAP_TRAIL_CLIP), "caps %x", i->caps);
    CHECK(i->lead_frames == 9 && i->trail_frames == 8, "%d, %d", i->lead_frames, i->trail_frames);
    i = kling_model_info(text_only);
    CHECK(i->caps == KLING_CAP_TEXT && !i->lead_frames && !i->trail_frames, "caps %x", i->caps);
    i = kling_model_info(image_only);       /* half of a window of two latent frames is one picture */
    CHECK(i->caps == (KLING_CAP_TEXT | KLING_CAP_LEAD_IMAGE) && i->lead_frames == 1, "caps %x", i->caps);
}

/* -- how many are given -- */

static void count(int lead, int trail, int frames, unsigned flags)
{
    static const int used[] = { 0, 1, 1, 1, 1, 5, 5, 5, 5, 9 };
    KlingParams p = small_params();
    int want = frames;

    p.nb_lead = lead;
    p.nb_trail = trail;
    p.frames = frames;
    p.flags = flags;
    if (flags & KLING_FLAG_KEEP_CONTEXT)
        want += used[lead] + (trail < 12 ? trail : 12);
    RUN_CLIP(&a, &p);
    CHECK(a.n == want, "%d pictures instead of %d: lead %d, trail %d, frames %d", a.n, want, lead, trail, frames);
}

static void test_counts(void)
{
    static const int trails[] = { 0, 1, 4, 5, 8 }, frames[] = { 1, 3, 4, 5, 8, 13, 17, 26 };

    for (int lead = 0; lead <= 9; lead += quick ? 9 : 1)
        for (int t = 0; t < 5; t += quick ? 3 : 1)
            for (int f = 0; f < 8; f += quick ? 5 : 1)
                count(lead, trails[t], frames[f], (lead + t + f) % 2 ? KLING_FLAG_KEEP_CONTEXT : 0);
    count(0, 0, 42, 0);
    if (!quick)
        for (int n = 1; n <= 30; n++)
            count(0, 0, n, 0);
}

/* More pictures than half a window: the first of a lead and the last of a trail are not used. */
static void test_what_is_used(void)
{
    KlingParams p = small_params();

    p.lead = given + 3;
    p.nb_lead = 9;
    p.nb_trail = 12;
    p.frames = 4;
    RUN_CLIP(&a, &p);
    p.lead = given;
    p.nb_lead = 12;                     /* the last 9 of them */
    p.nb_trail = 20;                    /* the first 12 */
    RUN_CLIP(&b, &p);
    CHECK(same(&a, 0, &b, 0, 4), "pictures beyond half a window matter");
    p.lead = given + 1;
    RUN_CLIP(&b, &p);
    CHECK(!same(&a, 0, &b, 0, 4), "the lead does not matter");
    p.lead = given;
    p.trail = given + 1;
    RUN_CLIP(&b, &p);
    CHECK(!same(&a, 0, &b, 0, 4), "the trail does not matter");
}

static void test_kept_context(void)
{
    KlingParams p = small_params();

    p.nb_lead = 5;
    p.nb_trail = 3;
    p.frames = quick ? 4 : 30;
    RUN_CLIP(&a, &p);
    p.flags = KLING_FLAG_KEEP_CONTEXT;
    RUN_CLIP(&b, &p);
    CHECK(b.n == 5 + p.frames + 3 && same(&a, 0, &b, 5, p.frames), "%d pictures", b.n);
}

/* What is not a picture in [0,1] is made one; a negative stride is a picture upside down. */
static void test_odd_pictures(void)
{
    KlingParams p = small_params();
    KlingFrame up = given[4], odd;
    static float flipped[3][SIDE * SIDE];

    for (int c = 0; c < 3; c++)
        for (int k = 0; k < SIDE * SIDE; k++)
            flipped[c][k] = up.data[c][(SIDE - 1 - k / SIDE) * SIDE + k % SIDE];
    odd = up;
    odd.stride = -SIDE;
    for (int c = 0; c < 3; c++)
        odd.data[c] = flipped[c] + (SIDE - 1) * SIDE;
    p.lead = &up;
    p.nb_lead = 1;
    p.frames = 4;
    RUN_CLIP(&a, &p);
    p.lead = &odd;
    RUN_CLIP(&b, &p);
    CHECK(same(&a, 0, &b, 0, 4), "upside down");
    for (int k = 0; k < SIDE * SIDE; k++) {
        flipped[0][k] = k ? 0.0f / 0.0f : -1e30f;
        flipped[1][k] = k ? 1.0f / 0.0f : 1e30f;
    }
    RUN_CLIP(&a, &p);
    for (int k = 0; k < SIDE * SIDE; k++) {
        flipped[0][k] = 0;
        flipped[1][k] = 1;
    }
    RUN_CLIP(&b, &p);
    CHECK(same(&a, 0, &b, 0, 4), "clamped");
}

/* -- windows -- */

static void test_windows_share_nothing_but_pictures(void)
{
    KlingParams p = small_params();

    p.frames = 37;                      /* 21 and 16 */
    p.drift_guard = 0;
    RUN_CLIP(&a, &p);
    p.frames = 21;                      /* the first window alone */
    RUN_CLIP(&b, &p);
    CHECK(same(&a, 0, &b, 0, 21), "the first window is not the clip of its length");
    p.frames = 37;
    p.context_frames = 5;
    RUN_CLIP(&b, &p);
    CHECK(!same(&a, 22, &b, 22, 1), "context_frames does not matter");
    p.context_frames = 7;               /* 5 again */
    RUN_CLIP(&a, &p);
    CHECK(same(&a, 0, &b, 0, 37), "7 pictures of context are not 5");
}

static void test_drift_guard(void)
{
    KlingParams p = small_params();

    p.frames = 57;                      /* 25, 16, 16 */
    p.drift_guard = 0;
    RUN_CLIP(&a, &p);
    p.drift_guard = 1;
    RUN_CLIP(&b, &p);
    CHECK(same(&a, 0, &b, 0, 25) && !same(&a, 26, &b, 26, 1), "not from the second window on");
    p.frames = 25;
    RUN_CLIP(&a, &p);
    CHECK(same(&a, 0, &b, 0, 25), "it changes a clip of one window");
    p.drift_guard = 0;
    RUN_CLIP(&b, &p);
    CHECK(same(&a, 0, &b, 0, 25), "it changes a clip of one window");
}

static void test_push_equals_pull(void)
{
    KlingParams p = small_params();
    const KlingFrame *f;
    KlingJob *job = NULL;

    p.nb_lead = 9;
    p.nb_trail = 3;
    p.frames = quick ? 5 : 45;
    p.flags = KLING_FLAG_KEEP_CONTEXT;
    RUN_CLIP(&a, &p);
    b.n = b.status = 0;
    REQUIRE(kling_job_create(model, &job, &p) == KLING_OK);
    for (int i = 0; i < 3; i++) {       /* some pulled, the rest pushed */
        REQUIRE(kling_job_next_frame(job, &f) == KLING_OK);
        keep(&b, f);
    }
    CHECK(kling_job_run(job, on_frame, &b) == KLING_OK && b.status == KLING_OK);
    CHECK(kling_job_next_frame(job, &f) == KLING_EOF && kling_job_run(job, on_frame, &b) == KLING_OK);
    CHECK(a.n == b.n && same(&a, 0, &b, 0, a.n), "%d and %d pictures", a.n, b.n);
    kling_job_destroy(&job);
}

/* -- prompts -- */

static void test_set_prompt(void)
{
    const char *other = "a blue star in the night";
    KlingParams p = small_params();

    p.frames = 37;                      /* 21 and 16 */
    RUN_CLIP(&a, &p);
    run(&b, &p, 3, p.prompt, "unused without guidance");
    CHECK(same(&a, 0, &b, 0, 37), "the same prompt is not the same");
    run(&b, &p, 25, other, NULL);
    CHECK(b.status == KLING_EOF && same(&a, 0, &b, 0, 37), "the last window's prompt changed");
    run(&b, &p, 3, other, NULL);
    CHECK(b.status == KLING_EOF && same(&a, 0, &b, 0, 21) && !same(&a, 21, &b, 21, 1), "not from the next window on");
    run(&a, &p, 0, other, NULL);
    p.prompt = other;
    RUN_CLIP(&b, &p);
    CHECK(same(&a, 0, &b, 0, 37), "before the first window");
    run(&a, &p, 0, NULL, NULL);
    p.prompt = "";
    run(&b, &p, 0, other, NULL);
    CHECK(same(&a, 0, &b, 0, 37), "from an empty one");
}

static KlingJob *pushing;

static int on_third_frame(void *opaque, const KlingFrame *f)
{
    if (f->index == 3 && kling_job_set_prompt(pushing, "a blue star in the night", NULL) != KLING_OK)
        return 1;
    return on_frame(opaque, f);
}

static void test_set_prompt_while_pushing(void)
{
    KlingParams p = small_params();

    p.frames = 37;
    run(&a, &p, 4, "a blue star in the night", NULL);
    b.n = b.status = 0;
    REQUIRE(kling_job_create(model, &pushing, &p) == KLING_OK);
    CHECK(kling_job_run(pushing, on_third_frame, &b) == KLING_OK);
    CHECK(a.n == 37 && b.n == 37 && same(&a, 0, &b, 0, 37), "%d and %d pictures", a.n, b.n);
    kling_job_destroy(&pushing);
}

static void test_set_negative_prompt(void)
{
    KlingParams p = small_params();

    p.guidance = 3;
    p.frames = 37;
    RUN_CLIP(&a, &p);
    run(&b, &p, 3, p.prompt, "the sea");
    CHECK(b.status == KLING_EOF && same(&a, 0, &b, 0, 21) && !same(&a, 21, &b, 21, 1), "not from the next window on");
    run(&b, &p, 3, p.prompt, NULL);
    CHECK(same(&a, 0, &b, 0, 37), "NULL leaves it");
}

static void test_set_bad_prompt(void)
{
    KlingParams p = small_params();

    p.frames = 37;
    run(&a, &p, 3, "ball \xff", NULL);
    CHECK(a.status == KLING_ERROR_INVALID_ARG || a.status == KLING_ERROR_INVALID_DATA, "status %d", a.status);
    CHECK(a.n == 21 && strstr(last_log, "UTF-8"), "%d frames: %s", a.n, last_log);
}

/* -- progress and cancel -- */

typedef struct Watch {
    const char *stage;
    int window, after, windows;
    unsigned stages;                    /* of the second window, in order: text 1, encode 2, denoise 4, decode 8 */
    KlingJob *job;
} Watch;

static void on_progress(void *opaque, const KlingProgress *p)
{
    static const char *const names[] = { "text", "encode", "denoise", "decode" };
    Watch *w = opaque;

    for (unsigned i = 0; i < 4; i++)
        if (p->window && !strcmp(p->stage, names[i]))
            w->stages |= 1u << i;
    w->windows = p->windows;
    if (w->after)
        w->after++;
    if (w->stage && p->window == w->window && !strcmp(p->stage, w->stage) && !w->after) {
        kling_job_cancel(w->job);
        w->after = 1;
    }
}

static void cancelled_at(const char *stage, int window)
{
    Watch w = { .stage = stage, .window = window };
    KlingParams p = small_params();
    const KlingFrame *f;
    int ret, n = 0;

    p.nb_lead = 9;
    p.nb_trail = 1;
    p.frames = 30;
    p.prompt = stage;                   /* not remembered from before */
    p.progress = on_progress;
    p.progress_opaque = &w;
    REQUIRE(kling_job_create(model, &w.job, &p) == KLING_OK, "%s", last_log);
    while ((ret = kling_job_next_frame(w.job, &f)) == KLING_OK)
        n++;
    CHECK(ret == KLING_ERROR_CANCELLED && !f, "%s of window %d: status %d", stage, window, ret);
    CHECK(w.after == 1, "%s of window %d: %d stages later", stage, window, w.after - 1);
    CHECK(kling_job_next_frame(w.job, &f) == ret && kling_job_set_prompt(w.job, "x", NULL) == ret, "it is not sticky");
    CHECK((n > 0) == (window > 0), "%d frames", n);
    kling_job_destroy(&w.job);
}

static void test_cancel(void)
{
    cancelled_at("text", 0);
    for (int window = 0; window < 2; window++) {
        cancelled_at("encode", window);
        cancelled_at("denoise", window);
        cancelled_at("decode", window);
    }
}

static void test_progress(void)
{
    Watch w = { .window = 0 };
    KlingParams p = small_params();

    p.frames = 37;
    p.progress = on_progress;
    p.progress_opaque = &w;
    RUN_CLIP(&a, &p);
    CHECK(w.windows == 2 && w.stages == (2 | 4 | 8), "windows %d, stages %x", w.windows, w.stages);
}

/* -- refusals -- */

static void refused(KlingModel *m, const KlingParams *p, int status, const char *word)
{
    KlingJob *job = NULL;
    char msg[512];
    int ret = kling_job_create(m, &job, p);

    kling_model_error(m, msg, sizeof(msg));
    CHECK(ret == status && !job && strstr(msg, word) && !strchr(msg, '\n'), "%d: %s", ret, msg);
    CHECK(!strcmp(msg, last_log), "logged: %s", last_log);
    kling_job_destroy(&job);
}

static void test_refused_numbers(void)
{
    KlingParams p;

#define REFUSED(field, value, word) \
    (p = small_params(), p.field = value, refused(model, &p, KLING_ERROR_INVALID_ARG, word))
    REFUSED(nb_lead, -1, "a lead of -1 pictures");
    REFUSED(nb_trail, -3, "a trail of -3 pictures");
    REFUSED(context_frames, -1, "context_frames -1");
    REFUSED(drift_guard, -0.1f, "drift_guard -0.1");
    REFUSED(drift_guard, 1.5f, "drift_guard 1.5");
    REFUSED(drift_guard, 0.0f / 0.0f, "drift_guard");
}

static void test_refused_pictures(void)
{
    KlingParams p = small_params();
    KlingFrame bad[2] = { given[0], given[1] };

    p.lead = NULL;
    p.nb_lead = 1;
    refused(model, &p, KLING_ERROR_INVALID_ARG, "NULL");
    p.lead = bad;
    p.nb_lead = 2;
    bad[1].width_px = 2 * SIDE;
    refused(model, &p, KLING_ERROR_INVALID_ARG, "picture 1 of the lead is 32x16, the clip 16x16");
    bad[1] = given[1];
    bad[1].stride = SIDE - 1;
    refused(model, &p, KLING_ERROR_INVALID_ARG, "picture 1 of the lead");
    bad[1].stride = -SIDE + 1;
    refused(model, &p, KLING_ERROR_INVALID_ARG, "picture 1 of the lead");
    bad[1] = given[1];
    bad[1].data[2] = NULL;
    refused(model, &p, KLING_ERROR_INVALID_ARG, "NULL");
    p.nb_lead = 0;
    p.trail = bad;
    p.nb_trail = 2;
    refused(model, &p, KLING_ERROR_INVALID_ARG, "picture 1 of the trail");
}

/* Each names a kind that can. */
static void test_refused_by_the_model(void)
{
    KlingParams p = small_params();

    p.nb_lead = 1;
    refused(text_only, &p, KLING_ERROR_UNSUPPORTED, "expand_timesteps kind, such as Wan 2.2 TI2V");
    p.nb_lead = 2;
    refused(image_only, &p, KLING_ERROR_UNSUPPORTED, "goes on from one picture, not from 2");
    p.nb_lead = 0;
    p.nb_trail = 1;
    refused(text_only, &p, KLING_ERROR_UNSUPPORTED, "trail_frames");
    refused(image_only, &p, KLING_ERROR_UNSUPPORTED, "trail_frames");
    p.nb_trail = 0;
    p.frames = 10;
    refused(text_only, &p, KLING_ERROR_INVALID_ARG, "longer than one clip of tiny, which is 9 frames");
    refused(image_only, &p, KLING_ERROR_INVALID_ARG, "longer than one clip of expand, which is 5 frames");
    p.nb_lead = 1;
    p.frames = 5;
    refused(image_only, &p, KLING_ERROR_INVALID_ARG, "which is 4 frames");
}

static void test_no_encoder(void)
{
    char dir[] = "/tmp/kling-extend-XXXXXX", cmd[1024];
    KlingParams p = small_params();
    KlingModelParams mp;
    KlingModel *m = NULL;

    REQUIRE(mkdtemp(dir));
    snprintf(cmd, sizeof(cmd), "cp '%s/vae/'* '%s' && sed -i s/encoder.conv_in.w/encoder.conv_xx.w/ '%s/'*.safetensors",
             synthetic_model_path("extend"), dir, dir);
    REQUIRE(!system(cmd), "%s", cmd);
    kling_model_params_default(&mp);
    mp.model = synthetic_model_path("extend");
    mp.vae = dir;
    CHECK(kling_model_open(ctx, &m, &mp) == KLING_OK, "%s", last_log);
    snprintf(cmd, sizeof(cmd), "rm -r '%s'", dir);
    REQUIRE(!system(cmd) && m);
    CHECK(kling_model_info(m)->caps == KLING_CAP_TEXT, "caps %x", kling_model_info(m)->caps);
    p.nb_lead = 1;
    refused(m, &p, KLING_ERROR_UNSUPPORTED, "no encoder");
    p.nb_lead = 0;
    p.frames = 40;
    refused(m, &p, KLING_ERROR_UNSUPPORTED, "no encoder");
    kling_model_destroy(&m);
}

static bool open_model(KlingModel **m, const char *name)
{
    KlingModelParams mp;

    kling_model_params_default(&mp);
    mp.model = synthetic_model_path(name);
    return mp.model && kling_model_open(ctx, m, &mp) == KLING_OK;
}

int main(void)
{
    KlingContextParams cp = { .log = on_log };

    quick = getenv("KLING_TEST_QUICK") != NULL;
    make_pictures();
    if (kling_context_create(&ctx, &cp) < 0 || !open_model(&model, "extend") || !open_model(&text_only, "tiny") ||
        !open_model(&image_only, "expand")) {
        printf("not ok test_extend: the models: %s\n", last_log);
        return 1;
    }
    RUN(test_caps);
    RUN(test_counts);
    RUN(test_what_is_used);
    RUN(test_kept_context);
    RUN(test_odd_pictures);
    if (!quick) {
        RUN(test_windows_share_nothing_but_pictures);
        RUN(test_drift_guard);
        RUN(test_set_prompt);
        RUN(test_set_prompt_while_pushing);
        RUN(test_set_negative_prompt);
        RUN(test_set_bad_prompt);
    }
    RUN(test_push_equals_pull);
    RUN(test_cancel);
    RUN(test_progress);
    RUN(test_refused_numbers);
    RUN(test_refused_pictures);
    RUN(test_refused_by_the_model);
    RUN(test_no_encoder);
    kling_model_destroy(&image_only);
    kling_model_destroy(&text_only);
    kling_model_destroy(&model);
    kling_context_destroy(&ctx);
    return check_exit();
}
