/*
 * precision=int8: made once for all jobs, taken in turns by two experts, given up when cancelled or out of memory.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * That its frames are those of a file that kling-quantize wrote is shown by
 * tests/fate/options.sh and kinds.sh.
 */
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "engine/internal.h"
#include "tests/alloc_hook.h"
#include "tests/check.h"
#include "tests/tiny_model.h"

#define SIDE 32
#define FRAMES 5
#define FLOATS (3 * SIDE * SIDE * FRAMES)

static KlingContext *ctx;
static KlingModel *tiny, *experts;
static atomic_int made;                 /* log lines that say so */

static void on_log(void *opaque, enum KlingLogLevel level, const char *line)
{
    (void)opaque;
    (void)level;
    if (strstr(line, "matrices are in int8 now"))
        atomic_fetch_add(&made, 1);
}

typedef struct Clip {
    KlingModel *model;
    enum KlingPrecision precision;
    int threads;
    const char *cancel_at;              /* a stage, or NULL */
    sem_t *created;                     /* posted when job is there; or NULL */
    KlingJob *job;
    int status, stages;                 /* "quantize" heard so often */
    char error[512];
    float rgb[FLOATS];
} Clip;

static void on_progress(void *opaque, const KlingProgress *p)
{
    Clip *c = opaque;

    c->stages += !strcmp(p->stage, "quantize");
    if (c->cancel_at && !strcmp(p->stage, c->cancel_at))
        kling_job_cancel(c->job);
}

static void *make(void *opaque)
{
    Clip *c = opaque;
    const KlingFrame *f;
    KlingParams p;

    kling_params_default(c->model, &p);
    p.width_px = p.height_px = SIDE;
    p.frames = FRAMES;
    p.steps = 4;
    p.guidance = p.guidance_low = 1;
    p.threads = c->threads;
    p.precision = c->precision;
    p.progress = on_progress;
    p.progress_opaque = c;
    c->status = kling_job_create(c->model, &c->job, &p);
    if (c->status < 0)
        kling_model_error(c->model, c->error, sizeof(c->error));
    if (c->created)
        sem_post(c->created);
    for (int n = 0; c->status == KLING_OK && (c->status = kling_job_next_frame(c->job, &f)) == KLING_OK; n++)
        for (int k = 0; k < 3; k++)
            for (int y = 0; y < SIDE; y++)
                memcpy(c->rgb + ((n * 3 + k) * SIDE + y) * SIDE, f->data[k] + y * f->stride, SIDE * sizeof(float));
    if (c->status < 0 && c->job)
        snprintf(c->error, sizeof(c->error), "%s", kling_job_error(c->job));
    kling_job_destroy(&c->job);
    return NULL;
}

static Clip clip_of(KlingModel *model, enum KlingPrecision precision)
{
    return (Clip){ .model = model, .precision = precision, .threads = 1 };
}

/* Nothing is left of what a test before made. */
static void forget(KlingModel *m)
{
    for (int i = 0; i < KL_PARTS_NB; i++)
        kl_model_int8_drop(&m->parts[i]);
    atomic_store(&made, 0);
}

static double difference(const Clip *a, const Clip *b)
{
    double sum = 0;

    for (int i = 0; i < FLOATS; i++)
        sum += fabs((double)a->rgb[i] - b->rgb[i]);
    return sum / FLOATS;
}

static void test_int8_is_near(void)
{
    Clip plain = clip_of(tiny, KLING_PRECISION_AUTO), one = clip_of(tiny, KLING_PRECISION_INT8), three = one;

    forget(tiny);
    three.threads = 3;
    make(&plain);
    make(&one);
    make(&three);
    CHECK(plain.status == KLING_EOF && one.status == KLING_EOF && three.status == KLING_EOF, "%s %s", one.error,
          three.error);
    CHECK(!memcmp(one.rgb, three.rgb, sizeof(one.rgb)), "threads matter");
    printf("# mean difference %g\n", difference(&plain, &one));
    CHECK(difference(&plain, &one) > 0 && difference(&plain, &one) < 0.01, "%g", difference(&plain, &one));
    CHECK(made == 1 && plain.stages == 0 && three.stages == 0, "made %d times", made);
    CHECK(one.stages == kl_dit_config(tiny->parts[KL_PARTS_FAST].dit)->layers, "%d blocks heard of", one.stages);
}

static void test_int8_made_once(void)
{
    Clip alone = clip_of(tiny, KLING_PRECISION_INT8), c[4];
    pthread_t t[4];

    make(&alone);
    forget(tiny);
    for (int i = 0; i < 4; i++) {
        c[i] = clip_of(tiny, KLING_PRECISION_INT8);
        REQUIRE(!pthread_create(&t[i], NULL, make, &c[i]));
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        CHECK(c[i].status == KLING_EOF && !memcmp(c[i].rgb, alone.rgb, sizeof(alone.rgb)), "job %d: %s", i,
              c[i].error);
    }
    CHECK(made == 1, "made %d times", made);
    CHECK(tiny->parts[KL_PARTS_FAST].int8[0].users == 0);
}

static void test_int8_cancelled(void)
{
    Clip c = clip_of(tiny, KLING_PRECISION_INT8);
    const KlInt8 *q = &tiny->parts[KL_PARTS_FAST].int8[0];

    forget(tiny);
    c.cancel_at = "quantize";
    make(&c);
    CHECK(c.status == KLING_ERROR_CANCELLED && c.stages == 1, "status %d, %d blocks", c.status, c.stages);
    CHECK(!q->dit && !q->users && !q->busy);
    c.cancel_at = NULL;
    make(&c);
    CHECK(c.status == KLING_EOF && q->dit, "%s", c.error);
}

/* A job that waits for the weights that another one is at. */
static void test_int8_cancelled_waiting(void)
{
    Clip c = clip_of(tiny, KLING_PRECISION_INT8);
    KlInt8 *q = &tiny->parts[KL_PARTS_FAST].int8[0];
    sem_t created;
    pthread_t t;

    forget(tiny);
    sem_init(&created, 0, 0);
    c.created = &created;
    q->busy = true;                     /* for ever */
    REQUIRE(!pthread_create(&t, NULL, make, &c));
    sem_wait(&created);
    usleep(300000);
    CHECK(c.job, "it did not wait");
    kling_job_cancel(c.job);
    pthread_join(t, NULL);
    q->busy = false;
    sem_destroy(&created);
    CHECK(c.status == KLING_ERROR_CANCELLED && !q->dit && !q->users, "status %d: %s", c.status, c.error);
}

/* -- memory -- */

static int looks, short_from;           /* from this look on there is none */

static int64_t little(const KlKernels *k)
{
    (void)k;
    return looks++ < short_from ? INT64_MAX : 0;
}

static void test_int8_experts(void)
{
    KlParts *p = &experts->parts[KL_PARTS_FAST];
    int64_t (*const available)(const KlKernels *) = p->kernels.mem_available;
    Clip both = clip_of(experts, KLING_PRECISION_INT8), plain = clip_of(experts, KLING_PRECISION_AUTO), again;

    forget(experts);
    make(&plain);
    make(&both);
    CHECK(both.status == KLING_EOF && difference(&plain, &both) > 0 && difference(&plain, &both) < 0.01, "%s: %g",
          both.error, difference(&plain, &both));
    CHECK(made == 2 && p->int8[0].dit && p->int8[1].dit && !p->int8[0].users && !p->int8[1].users, "%d made", made);
    forget(experts);
    p->kernels.mem_available = little;
    looks = 0;
    short_from = 2;                     /* when the job is made, and when it begins */
    again = clip_of(experts, KLING_PRECISION_INT8);
    make(&again);
    p->kernels.mem_available = available;
    CHECK(again.status == KLING_EOF && !memcmp(again.rgb, both.rgb, sizeof(both.rgb)), "%s", again.error);
    CHECK(looks == 3 && !p->int8[0].dit && p->int8[1].dit, "the first expert stays");
    forget(experts);
    make(&both);
    kl_dit_destroy(&p->int8[1].dit);
    p->int8[0].users++;                 /* another job is at it */
    p->kernels.mem_available = little;
    looks = 0;
    make(&again);
    p->kernels.mem_available = available;
    CHECK(--p->int8[0].users == 0 && p->int8[0].dit && p->int8[1].dit, "what another job uses is gone");
}

static void test_int8_too_large(void)
{
    KlParts *p = &tiny->parts[KL_PARTS_FAST];
    int64_t (*const available)(const KlKernels *) = p->kernels.mem_available;
    Clip c = clip_of(tiny, KLING_PRECISION_INT8);

    forget(tiny);
    p->kernels.mem_available = little;
    looks = short_from = 0;
    make(&c);
    CHECK(c.status == KLING_ERROR_OUT_OF_MEMORY && strstr(c.error, "not enough memory"), "%d: %s", c.status, c.error);
    CHECK(kl_model_int8_missing(tiny, KL_PARTS_FAST) == kl_dit_int8_bytes(p->dit) && kl_dit_int8_bytes(p->dit) > 10000);
    p->kernels.mem_available = available;
    make(&c);
    CHECK(c.status == KLING_EOF, "%s", c.error);
    CHECK(!kl_model_int8_missing(tiny, KL_PARTS_FAST));
}

static int64_t room;

static int64_t exactly(const KlKernels *k)
{
    (void)k;
    return room;
}

static int fits(enum KlingPrecision precision, char *error)
{
    KlingJob *job = NULL;
    KlingParams p;
    int ret;

    kling_params_default(tiny, &p);
    p.precision = precision;
    if ((ret = kling_job_create(tiny, &job, &p)) < 0)
        kling_model_error(tiny, error, 512);
    kling_job_destroy(&job);
    return ret == KLING_OK;
}

/* The copies are counted, once, and named where they alone are too much. */
static void test_int8_in_memory(void)
{
    KlParts *p = &tiny->parts[KL_PARTS_FAST];
    int64_t (*const available)(const KlKernels *) = p->kernels.mem_available;
    const int64_t copies = (int64_t)kl_dit_int8_bytes(p->dit);
    Clip c = clip_of(tiny, KLING_PRECISION_INT8);
    char error[512] = "";
    int64_t plain = 0, int8 = 0;

    forget(tiny);
    p->kernels.mem_available = exactly;
    for (room = 0; !int8 && room < 1 << 28; room += 1024) {
        if (!plain && fits(KLING_PRECISION_AUTO, error))
            plain = room;
        if (fits(KLING_PRECISION_INT8, error))
            int8 = room;
        else
            CHECK(!plain == !strstr(error, "kling-quantize"), "%s", error);
    }
    CHECK(plain && int8 - plain >= copies - 1024 && int8 - plain <= copies + 1024, "%lld, %lld with copies of %lld",
          (long long)plain, (long long)int8, (long long)copies);
    p->kernels.mem_available = available;
    make(&c);
    p->kernels.mem_available = exactly;
    room = plain;
    CHECK(fits(KLING_PRECISION_INT8, error), "they are there, and counted again: %s", error);
    p->kernels.mem_available = available;
}

/* Every allocation of a job that makes them is refused once. */
static void test_int8_runs_out(void)
{
    const int step = getenv("KLING_TEST_QUICK") ? 11 : 1;
    Clip c = clip_of(tiny, KLING_PRECISION_INT8);
    int n;

    make(&c);                           /* the prompt is remembered now */
    for (n = 1; n < 100000; n += step) {
        forget(tiny);
        c.error[0] = 0;
        live = seen = refused = 0;
        countdown = n;
        armed = 1;
        make(&c);
        kl_model_int8_drop(&tiny->parts[KL_PARTS_FAST]);
        armed = 0;
        CHECK(!live, "%ld blocks leak after refusal %d", live, n);
        if (!refused)
            break;
        CHECK(c.status == KLING_ERROR_OUT_OF_MEMORY || c.status == KLING_EOF, "refusal %d: status %d, %s", n, c.status,
              c.error);
        CHECK(c.status == KLING_EOF || strstr(c.error, "memory") || strstr(c.error, "threads"), "refusal %d: '%s'", n,
              c.error);
        CHECK(!tiny->parts[KL_PARTS_FAST].int8[0].busy && !tiny->parts[KL_PARTS_FAST].int8[0].users, "refusal %d", n);
    }
    CHECK(c.status == KLING_EOF && n > (getenv("KLING_TEST_QUICK") ? 5 : 100), "%d refusals", n);
    printf("# %d allocations\n", n - 1);
}

static int open_model(const char *path, KlingModel **m)
{
    KlingModelParams p;

    kling_model_params_default(&p);
    p.model = path;
    p.device = "cpu";
    return path ? kling_model_open(ctx, m, &p) : -1;
}

int main(void)
{
    const KlingContextParams cp = { .log = on_log };

    if (kling_context_create(&ctx, &cp) < 0 || open_model(tiny_model_path(), &tiny) < 0 ||
        open_model(synthetic_model_path("experts"), &experts) < 0) {
        printf("not ok test_int8: no model: %s\n", kling_context_error(ctx));
        return 1;
    }
    RUN(test_int8_is_near);
    RUN(test_int8_made_once);
    RUN(test_int8_cancelled);
    RUN(test_int8_cancelled_waiting);
    RUN(test_int8_experts);
    RUN(test_int8_too_large);
    RUN(test_int8_in_memory);
    RUN(test_int8_runs_out);
    kling_model_destroy(&tiny);
    kling_model_destroy(&experts);
    kling_context_destroy(&ctx);
    return check_exit();
}
