/*
 * The public API on the tiny synthetic model: frames, cropping, sharing, cancelling, refusals.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "kling/kling.h"
#include "tests/check.h"
#include "tests/tiny_model.h"

static KlingContext *ctx;
static KlingModel *model;
static char last_log[1024];
static int n_remembered;
static bool quick;                      /* under valgrind, which takes 300 times as long */

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    if (level == KLING_LOG_ERROR || level == KLING_LOG_WARNING)
        snprintf(last_log, sizeof(last_log), "%s", line);
    n_remembered += strstr(line, "remembered") != NULL;
}

static KlingParams small_params(void)
{
    KlingParams p;

    kling_params_default(model, &p);
    p.prompt = "a red ball on the grass";
    p.width_px = quick ? 16 : 48;
    p.height_px = quick ? 16 : 32;
    p.frames = 6;
    p.steps = quick ? 1 : 2;
    p.seed = 5;
    p.threads = 1;
    return p;
}

/* All frames of a clip, cropped, dense [frames][3][height][width]; NULL on any failure. */
static float *clip(const KlingParams *p, int *status)
{
    const size_t plane = (size_t)p->width_px * (size_t)p->height_px;
    float *out = calloc(plane * 3 * (size_t)p->frames, sizeof(*out));
    const KlingFrame *f;
    KlingJob *job = NULL;
    int n = 0;

    *status = kling_job_create(model, &job, p);
    while (*status == KLING_OK && (*status = kling_job_next_frame(job, &f)) == KLING_OK) {
        if (f->index != n || f->width_px != p->width_px || f->height_px != p->height_px || n >= p->frames) {
            *status = KLING_ERROR_INTERNAL;
            break;
        }
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < f->height_px; y++)
                memcpy(out + (size_t)(3 * n + c) * plane + (size_t)y * (size_t)f->width_px,
                       f->data[c] + y * f->stride, sizeof(float) * (size_t)f->width_px);
        n++;
    }
    kling_job_destroy(&job);
    if (*status == KLING_EOF && n == p->frames)
        return out;
    free(out);
    return NULL;
}

static size_t clip_bytes(const KlingParams *p)
{
    return sizeof(float) * 3 * (size_t)p->width_px * (size_t)p->height_px * (size_t)p->frames;
}

static void same_clip(const KlingParams *a, const KlingParams *b, int want_same)
{
    int ra, rb;
    float *fa = clip(a, &ra), *fb = clip(b, &rb);

    CHECK(fa && fb, "status %d, %d: %s", ra, rb, last_log);
    if (fa && fb)
        CHECK((memcmp(fa, fb, clip_bytes(a)) == 0) == want_same);
    free(fa);
    free(fb);
}

static void test_info(void)
{
    const KlingModelInfo *i = kling_model_info(model);

    CHECK(i->size_multiple_px == 16 && i->frame_multiple == 4, "%d %d", i->size_multiple_px, i->frame_multiple);
    CHECK(i->parameters > 1000 && i->fps_num > 0 && i->fps_den > 0 && i->steps > 0);
    CHECK(i->caps & KLING_CAP_TEXT);
    CHECK(*i->name && *i->kind && *i->device);
}

static void test_frames_in_range(void)
{
    KlingParams p = small_params();
    int ret;
    float *f = clip(&p, &ret);
    double sum = 0, sq = 0;
    size_t n = clip_bytes(&p) / sizeof(*f);

    REQUIRE(f, "%d: %s", ret, last_log);
    for (size_t i = 0; i < n; i++) {
        CHECK(f[i] >= 0 && f[i] <= 1, "value %g", f[i]);
        sum += f[i];
        sq += f[i] * f[i];
    }
    CHECK(sq / n - sum / n * sum / n > 1e-4, "a flat picture");
    free(f);
}

static void test_threads_do_not_matter(void)
{
    KlingParams a = small_params(), b = a;

    b.threads = 3;
    same_clip(&a, &b, 1);
    a.flags = b.flags = KLING_FLAG_BITEXACT;
    same_clip(&a, &b, 1);
}

static void test_seed_prompt_and_guidance_matter(void)
{
    KlingParams a = small_params(), b = a;

    b.seed = 6;
    same_clip(&a, &b, 0);
    b = a;
    b.prompt = "a blue star in the night";
    same_clip(&a, &b, 0);
    b = a;
    b.negative_prompt = "sea";
    same_clip(&a, &b, 0);
    b.guidance = a.guidance = 1;            /* unguided: the negative prompt is not used */
    same_clip(&a, &b, 1);
}

static void test_remembered_prompt(void)
{
    KlingParams a = small_params();

    a.prompt = "never used before";
    n_remembered = 0;
    same_clip(&a, &a, 1);
    CHECK(n_remembered >= 2, "%d", n_remembered);   /* both prompts of the second clip */
}

/* 44x26 in 3 frames is cut from the middle of 48x32 in 5. */
static void test_crop(void)
{
    KlingParams whole = small_params(), cut;
    float *fw, *fc;
    int rw, rc;

    whole.width_px = 48;
    whole.height_px = 32;
    whole.frames = 5;
    cut = whole;
    cut.width_px = 44;
    cut.height_px = 26;
    cut.frames = 3;
    fw = clip(&whole, &rw);
    fc = clip(&cut, &rc);
    CHECK(fw && fc, "%d %d", rw, rc);
    for (int i = 0; fw && fc && i < 3 * 3; i++)
        for (int y = 0; y < 26; y++)
            CHECK(!memcmp(fc + (i * 26 + y) * 44, fw + (i * 32 + y + 3) * 48 + 2, 44 * sizeof(float)), "%d %d", i, y);
    free(fw);
    free(fc);
}

struct pushed {
    int n, stop_at;
    double sum;
};

static int on_frame(void *opaque, const KlingFrame *f)
{
    struct pushed *p = opaque;

    if (f->index != p->n)
        return 1;
    p->sum += f->data[0][0] + f->data[2][(f->height_px - 1) * f->stride + f->width_px - 1];
    return ++p->n == p->stop_at;
}

static void test_push_equals_pull(void)
{
    KlingParams p = small_params();
    struct pushed got = { 0 }, stop = { .stop_at = 3 };
    const KlingFrame *frame;
    KlingJob *job = NULL;
    double sum = 0;
    int ret;
    float *f = clip(&p, &ret);

    REQUIRE(f);
    for (int i = 0; i < 6; i++)
        sum += f[clip_bytes(&p) / 6 / sizeof(*f) * i] + f[clip_bytes(&p) / 6 / sizeof(*f) * (i + 1) - 1];
    free(f);
    CHECK(kling_job_create(model, &job, &p) == KLING_OK);
    CHECK(kling_job_next_frame(job, &frame) == KLING_OK);   /* one pulled, the rest pushed */
    on_frame(&got, frame);
    CHECK(kling_job_run(job, on_frame, &got) == KLING_OK);
    CHECK(got.n == 6 && got.sum == sum, "%d frames, %g instead of %g", got.n, got.sum, sum);
    CHECK(kling_job_next_frame(job, &frame) == KLING_EOF);
    kling_job_destroy(&job);
    CHECK(kling_job_create(model, &job, &p) == KLING_OK);
    CHECK(kling_job_run(job, on_frame, &stop) == KLING_ERROR_CANCELLED && stop.n == 3, "%d frames", stop.n);
    kling_job_destroy(&job);
}

static KlingJob *to_cancel;

static void cancel_at_step(void *opaque, const KlingProgress *p)
{
    *(int *)opaque = p->step;
    if (p->step == 1)
        kling_job_cancel(to_cancel);
}

static void test_cancel(void)
{
    KlingParams p = small_params();
    const KlingFrame *f;
    int last_step = -1;

    p.steps = 50;
    p.progress = cancel_at_step;
    p.progress_opaque = &last_step;
    CHECK(kling_job_create(model, &to_cancel, &p) == KLING_OK);
    CHECK(kling_job_next_frame(to_cancel, &f) == KLING_ERROR_CANCELLED);
    CHECK(last_step == 1, "went on to step %d", last_step);
    CHECK(kling_job_next_frame(to_cancel, &f) == KLING_ERROR_CANCELLED && !f);
    CHECK(strstr(kling_job_error(to_cancel), "cancel"), "%s", kling_job_error(to_cancel));
    kling_job_destroy(&to_cancel);
    CHECK(!to_cancel);
}

struct worker {
    KlingParams p;
    float *f;
    int ret;
};

static void *run_worker(void *opaque)
{
    struct worker *w = opaque;

    w->f = clip(&w->p, &w->ret);
    return NULL;
}

static void test_jobs_side_by_side(void)
{
    struct worker w[3];
    pthread_t t[3];
    int ret;

    for (int i = 0; i < 3; i++) {
        w[i].p = small_params();
        w[i].p.seed = (uint64_t)i;
        w[i].p.threads = 2;
        if (i == 2)
            w[i].p.flags = KLING_FLAG_BITEXACT;
        REQUIRE(!pthread_create(&t[i], NULL, run_worker, &w[i]));
    }
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 3; i++) {
        float *alone = clip(&w[i].p, &ret);

        CHECK(alone && w[i].f && !memcmp(alone, w[i].f, clip_bytes(&w[i].p)), "job %d", i);
        free(alone);
        free(w[i].f);
    }
}

static void refused(KlingParams p, const char *word)
{
    KlingJob *job = (KlingJob *)&p;
    char msg[512];
    int ret = kling_job_create(model, &job, &p);

    kling_model_error(model, msg, sizeof(msg));
    CHECK(ret == KLING_ERROR_INVALID_ARG && !job && strstr(msg, word), "%d: %s", ret, msg);
    CHECK(!strcmp(msg, last_log), "logged: %s", last_log);
}

static void test_refusals(void)
{
    KlingParams p;

#define REFUSED(field, value, word) \
    (p = small_params(), p.width_px = 48, p.height_px = 32, p.field = value, refused(p, word))
    REFUSED(width_px, 47, "47x32");
    REFUSED(width_px, 14, "14x32");
    REFUSED(height_px, 9000, "48x9000");
    REFUSED(height_px, -2, "48x-2");
    REFUSED(frames, 0, "0 frames");
    REFUSED(frames, 100000, "one clip");
    REFUSED(steps, 0, "steps 0");
    REFUSED(steps, 1001, "steps 1001");
    REFUSED(guidance, -1.0f, "guidance -1");
    REFUSED(guidance, 0.0f / 0.0f, "guidance");
    REFUSED(shift, 0.0f, "shift 0");
    REFUSED(threads, -1, "threads -1");
    REFUSED(sampler, (enum KlingSampler)9, "sampler");
    REFUSED(flags, 0x80u, "flags");
}

static void test_open_refusals(void)
{
    KlingContext *c = NULL;
    KlingModelParams mp;
    KlingModel *m = NULL;

    kling_model_params_default(&mp);
    REQUIRE(kling_context_create(&c, NULL) == KLING_OK);
    CHECK(kling_model_open(c, &m, &mp) == KLING_ERROR_INVALID_ARG && !m);
    mp.model = "/nonexistent/model";
    CHECK(kling_model_open(c, &m, &mp) == KLING_ERROR_NOT_FOUND && !m);
    CHECK(strstr(kling_context_error(c), "/nonexistent/model"), "%s", kling_context_error(c));
    mp.device = "cuda";
    if (kling_model_open(c, &m, &mp) < 0)   /* else an installed plugin found a GPU */
        CHECK(strstr(kling_context_error(c), "device cuda: "));
    kling_model_destroy(&m);
    mp.device = "abacus";
    CHECK(kling_model_open(c, &m, &mp) == KLING_ERROR_INVALID_ARG && strstr(kling_context_error(c), "abacus"));
    kling_context_destroy(&c);
}

/* Context, then model, go before the job that uses them. */
static void test_destroyed_in_any_order(void)
{
    KlingContext *c = NULL;
    KlingModelParams mp;
    KlingModel *m = NULL, *second;
    KlingParams p = small_params();
    KlingJob *job = NULL;
    const KlingFrame *f;

    kling_model_params_default(&mp);
    mp.model = tiny_model_path();
    REQUIRE(kling_context_create(&c, NULL) == KLING_OK && kling_model_open(c, &m, &mp) == KLING_OK);
    kling_context_destroy(&c);
    second = kling_model_ref(m);
    kling_model_destroy(&m);
    REQUIRE(kling_job_create(second, &job, &p) == KLING_OK);
    kling_model_destroy(&second);
    CHECK(kling_job_next_frame(job, &f) == KLING_OK);
    kling_job_destroy(&job);
    kling_job_destroy(&job);
    kling_job_destroy(NULL);
    kling_model_destroy(NULL);
    kling_context_destroy(NULL);
}

static void test_invalid_utf8(void)
{
    KlingParams p = small_params();
    KlingJob *job = NULL;
    const KlingFrame *f;

    p.prompt = "ball \xff";
    CHECK(kling_job_create(model, &job, &p) == KLING_OK);
    CHECK(kling_job_next_frame(job, &f) < 0 && strstr(kling_job_error(job), "UTF-8"), "%s", kling_job_error(job));
    kling_job_destroy(&job);
}

static void test_not_enough_memory(void)
{
    KlingParams p = small_params();
    KlingJob *job = NULL;
    int ret;

    p.width_px = p.height_px = 8192;        /* some 58 GiB to decode */
    if (sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) > 50e9)
        SKIP("this machine has memory enough for 8192x8192");
    ret = kling_job_create(model, &job, &p);
    CHECK(ret == KLING_ERROR_OUT_OF_MEMORY && !job && strstr(last_log, "8192x8192"), "%d: %s", ret, last_log);
    kling_job_destroy(&job);
}

int main(void)
{
    KlingContextParams cp = { .log = on_log };
    KlingModelParams mp;

    quick = getenv("KLING_TEST_QUICK") != NULL;
    kling_model_params_default(&mp);
    mp.model = tiny_model_path();
    if (!mp.model || kling_context_create(&ctx, &cp) < 0 || kling_model_open(ctx, &model, &mp) < 0) {
        printf("not ok test_job: the tiny model: %s\n", last_log);
        return 1;
    }
    RUN(test_info);
    RUN(test_frames_in_range);
    RUN(test_threads_do_not_matter);
    RUN(test_seed_prompt_and_guidance_matter);
    RUN(test_remembered_prompt);
    RUN(test_crop);
    RUN(test_push_equals_pull);
    RUN(test_cancel);
    RUN(test_jobs_side_by_side);
    RUN(test_refusals);
    RUN(test_open_refusals);
    RUN(test_destroyed_in_any_order);
    RUN(test_invalid_utf8);
    RUN(test_not_enough_memory);
    kling_model_destroy(&model);
    kling_context_destroy(&ctx);
    return check_exit();
}
