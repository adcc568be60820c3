/*
 * Who waits for whom: the emulator's asynchrony proven on itself, then what
 * the CUDA table does with several streams, in many orders of their work.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * With KLING_EMU_ORDER the table in that one alone.
 */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net.h"

#define PASSES 3                        /* through all weights before anybody waits */

static unsigned orders[] = { EMU_LATE, EMU_EARLY, 2, 3, 4, 5, 6, 7 };
static size_t n_orders = sizeof(orders) / sizeof(orders[0]);
static float want[DIM];                 /* of one pass */
static size_t base;                     /* bytes without weights */

/* -- the emulator -- */

static void child(const EmuCase *c, int to)
{
    const char *wrong;

    fflush(stdout);
    if (dup2(to, 1) < 0)
        _exit(3);
    wrong = c->run();
    printf("%s", wrong ? wrong : "");
    fflush(stdout);
    _exit(wrong != NULL);
}

static void test_case(const EmuCase *c)
{
    char said[500] = "";
    size_t n = 0;
    ssize_t got;
    int pipes[2], status;
    pid_t pid;

    REQUIRE(!pipe(pipes), "no pipe");
    pid = fork();
    REQUIRE(pid >= 0, "no process");
    if (!pid)
        child(c, pipes[1]);
    close(pipes[1]);
    while ((got = read(pipes[0], said + n, sizeof(said) - 1 - n)) > 0)
        n += (size_t)got;
    close(pipes[0]);
    waitpid(pid, &status, 0);
    said[strcspn(said, "\n")] = 0;
    if (c->dies)
        CHECK(WIFSIGNALED(status) && strstr(said, c->dies), "it lives, or says \"%s\"", said);
    else
        CHECK(WIFEXITED(status) && !WEXITSTATUS(status), "\"%s\"", said);
}

static void test_emulator(void)
{
    EmuCasesFn *all;
    const EmuCase *c;
    void *symbol = dlsym(emulator, EMU_CASES_SYMBOL);
    char name[100];
    size_t n = 0;

    memcpy(&all, &symbol, sizeof(all));
    c = all(&n);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "emulator_%s", c[i].name);
        NAMED(name, test_case(&c[i]));
    }
}

/* -- the table -- */

static void expect(void)
{
    Net t;

    net_open(&t, 0, 0, WEIGHTS);
    base = emu->used;
    REQUIRE(net_run(&t, WEIGHTS) >= 0, "%s", t.k.exec_error(t.ex));
    memcpy(want, t.out, sizeof(want));
    net_close(&t, WEIGHTS);
}

static void same(const Net *t, const char *what, int n)
{
    CHECK(!memcmp(want, t->out, sizeof(want)), "%s %d, order %u: another result", what, n, emu->order);
}

static void closed(long handles, size_t used)
{
    CHECK(emu->handles == handles && emu->used == used, "order %u: %ld handles and %zu bytes are left", emu->order,
          emu->handles - handles, emu->used - used);
}

/* Passes one after another, none waited for, whatever fits: with half a weight beside the budget, or within vram. */
static void test_streaming_orders(void)
{
    const long handles = emu->handles;
    const size_t used = emu->used;

    for (size_t o = 0; o < n_orders; o++)
        for (int b = 0; b < 2 * WEIGHTS; b++) {
            const int room = b / 2 + 1;
            Net t;

            emu->order = orders[o];
            if (b % 2)
                net_open(&t, 0, (double)(base + (size_t)(room * WEIGHT_BYTES)), WEIGHTS);
            else
                net_open(&t, room * WEIGHT_BYTES + WEIGHT_BYTES / 2, 0, WEIGHTS);
            REQUIRE(t.ex, "no executor");
            for (int round = 0; round < 2; round++) {
                for (int pass = 0; pass < PASSES; pass++) {
                    net_start(&t);
                    for (int i = 0; i < WEIGHTS; i++)
                        net_product(&t, i);
                }
                REQUIRE(net_end(&t) >= 0, "room for %d, order %u: %s", room, emu->order, t.k.exec_error(t.ex));
                same(&t, "room for", room);
            }
            net_close(&t, WEIGHTS);
            closed(handles, used);
        }
}

/* Two executors on the same weights, a product in turns; each pass begins with another weight. */
static void test_two_in_turns(void)
{
    for (size_t o = 0; o < n_orders; o++)
        for (int room = 0; room <= WEIGHTS; room += 2) {
            Net t, u;

            emu->order = orders[o];
            net_open(&t, room * WEIGHT_BYTES + WEIGHT_BYTES / 2, 0, WEIGHTS);
            u = t;
            net_join(&u);
            REQUIRE(t.ex && u.ex, "no executor");
            for (int pass = 0; pass < PASSES; pass++) {
                net_start(&t);
                net_start(&u);
                for (int i = 0; i < WEIGHTS + pass; i++) {
                    if (i < WEIGHTS)
                        net_product(&t, i);
                    if (i >= pass)
                        net_product(&u, i - pass);
                }
            }
            REQUIRE(net_end(&u) >= 0, "%s", u.k.exec_error(u.ex));
            same(&u, "the second, room for", room);
            REQUIRE(net_end(&t) >= 0, "%s", t.k.exec_error(t.ex));
            same(&t, "the first, room for", room);
            net_leave(&u);
            net_close(&t, WEIGHTS);
        }
}

static void *thread_main(void *arg)
{
    Net *t = arg;

    for (int pass = 0; pass < 20; pass++)
        if (net_run(t, WEIGHTS) < 0)
            break;
    return NULL;
}

static void test_two_threads(void)
{
    for (size_t o = 0; o < n_orders; o++) {
        pthread_t thread[2];
        Net t[2];

        emu->order = orders[o];
        net_open(&t[0], 3 * WEIGHT_BYTES + WEIGHT_BYTES / 2, 0, WEIGHTS);
        t[1] = t[0];
        net_join(&t[1]);
        REQUIRE(t[0].ex && t[1].ex, "no executor");
        for (int i = 0; i < 2; i++)
            REQUIRE(!pthread_create(&thread[i], NULL, thread_main, &t[i]), "no thread");
        for (int i = 0; i < 2; i++)
            pthread_join(thread[i], NULL);
        for (int i = 0; i < 2; i++) {
            CHECK(!*t[i].k.exec_error(t[i].ex), "%s", t[i].k.exec_error(t[i].ex));
            same(&t[i], "thread", i);
        }
        net_leave(&t[1]);
        net_close(&t[0], WEIGHTS);
    }
}

/* Memory is taken from weights that products under way still read. */
static void test_memory_from_weights_in_use(void)
{
    EmuControl was = *emu;

    for (size_t o = 0; o < n_orders; o++)
        for (int other = 0; other < 2; other++) {
            Net t, u;
            void *p;

            emu->order = orders[o];
            net_open(&t, 0, 0, WEIGHTS);
            u = t;
            net_join(&u);
            REQUIRE(t.ex && u.ex && net_run(&t, WEIGHTS) >= 0, "the first run");
            emu->memory = emu->used + (size_t)WEIGHT_BYTES / 2;
            net_start(&t);
            for (int i = 0; i < WEIGHTS; i++)
                net_product(&t, i);
            p = u.k.mem_alloc(other ? u.ex : t.ex, 3 * (size_t)WEIGHT_BYTES);
            CHECK(p, "order %u: weights did not make room", emu->order);
            REQUIRE(net_end(&t) >= 0, "%s", t.k.exec_error(t.ex));
            same(&t, "other", other);
            u.k.mem_free(other ? u.ex : t.ex, p);
            net_leave(&u);
            net_close(&t, WEIGHTS);
            emu->memory = was.memory;
        }
}

enum { LARGE = 4 * DIM };               /* outputs */

/* A product with the larger weight, of whatever t is at. */
static void large_product(const Net *t, KlWeight w, const float *bias, float *y)
{
    const KlLinear p = { .x = t->x, .ldx = DIM, .w = w, .bias = bias, .y = y, .ldy = LARGE, .M = 1, .N = LARGE,
                         .K = DIM };

    t->k.linear(t->ex, &p);
}

/* A larger weight, for which slots in use must grow where none may stay, and a vector: bound, used and released while
 * products are under way, at any place among them. */
static void bind_use_release(Net *t, const float *host, int place)
{
    float *bias = malloc(LARGE * sizeof(*bias)), *y = t->k.mem_alloc(t->ex, LARGE * sizeof(float)), out[LARGE];
    KlWeight large = { .data = host, .dtype = KL_F32 };

    REQUIRE(bias && y && t->k.exec_reserve(t->ex, t->k.linear_scratch(t->ex, 1, LARGE, DIM, KL_F32)) >= 0, "memory");
    for (int i = 0; i < LARGE; i++)
        bias[i] = (float)i;
    for (int pass = 0; pass < PASSES; pass++) {
        net_start(t);
        for (int i = 0; i < WEIGHTS; i++) {
            net_product(t, i);
            if (pass != 1 || i != place)
                continue;
            REQUIRE(t->k.weight_bind(&t->k, &large, LARGE, DIM) >= 0, "no binding");
            large_product(t, large, NULL, y);
            REQUIRE(t->k.vector_bind(&t->k, &bias, LARGE) >= 0, "no binding");
            large_product(t, large, bias, y);
            t->k.weight_release(&t->k, &large);
        }
    }
    REQUIRE(net_end(t) >= 0, "%s", t->k.exec_error(t->ex));
    same(t, "large after", place);
    CHECK(t->k.mem_download(t->ex, out, y, sizeof(out)) >= 0 && out[1] == 1 && out[LARGE - 1] == LARGE - 1,
          "order %u: the large product", emu->order);
    t->k.vector_release(&t->k, &bias);
    t->k.mem_free(t->ex, y);
}

static void test_bind_use_release(void)
{
    float *host = calloc(LARGE * DIM, sizeof(*host));

    for (size_t o = 0; o < n_orders; o++)
        for (int place = 0; place < 2 * WEIGHTS; place++) {
            Net t;

            emu->order = orders[o];
            net_open(&t, place % 2 ? WEIGHT_BYTES / 2 : 0, 0, WEIGHTS);
            REQUIRE(host && t.ex, "no executor");
            bind_use_release(&t, host, place / 2);
            net_close(&t, WEIGHTS);
        }
    free(host);
}

/* More than both buffers of a download, what comes after it not included. */
static void test_large_download(void)
{
    const size_t n = (3u << 20) + 4;
    float *out = calloc(n, sizeof(*out));

    for (size_t o = 0; o < n_orders; o++) {
        const float one = 1;
        float *x, *y;
        size_t bad = 0;
        Net t;

        emu->order = orders[o];
        net_open(&t, 0, 0, 0);
        REQUIRE(t.ex, "no executor");
        x = t.k.mem_alloc(t.ex, n * sizeof(float));
        y = t.k.mem_alloc(t.ex, n * sizeof(float));
        REQUIRE(out && x && y, "memory");
        t.k.mem_zero(t.ex, y, n * sizeof(float));
        t.k.mem_upload(t.ex, y + n / 2, &one, sizeof(one));
        t.k.mem_copy(t.ex, x, y, n * sizeof(float));
        CHECK(t.k.mem_download(t.ex, out, x, n * sizeof(float)) >= 0, "%s", t.k.exec_error(t.ex));
        for (size_t i = 0; i < n; i++)
            bad += !(out[i] == (i == n / 2));
        CHECK(!bad, "order %u: %zu floats are wrong", emu->order, bad);
        t.k.mem_free(t.ex, x);
        t.k.mem_free(t.ex, y);
        net_close(&t, 0);
    }
    free(out);
}

/* A kernel fails while it runs: whoever waits next says so, once and from then on, and all can be closed. */
static void test_late_failure(void)
{
    static const char *const says = "cudaEventSynchronize on cuda:0: an illegal memory access";
    const long handles = emu->handles;
    const size_t used = emu->used;

    for (size_t o = 0; o < n_orders; o++)
        for (int room = 0; room < 2; room++) {
            char first[256];
            Net t, u;

            emu->order = orders[o];
            net_open(&t, room ? 0 : 2 * WEIGHT_BYTES, 0, WEIGHTS);
            u = t;
            net_join(&u);
            REQUIRE(t.ex && u.ex && net_run(&t, WEIGHTS) >= 0 && net_run(&u, WEIGHTS) >= 0, "it fails too early");
            emu->fail_later = "cublasLtMatmul";
            emu->fail_with = 700;
            CHECK(net_run(&t, WEIGHTS) < 0 && emu->broken == 700, "order %u: no failure", emu->order);
            snprintf(first, sizeof(first), "%s", t.k.exec_error(t.ex));
            CHECK(strstr(first, "on cuda:0: an illegal memory access") &&
                  (emu->order > EMU_EARLY || !room || strstr(first, says)), "order %u: \"%s\"", emu->order, first);
            CHECK(t.k.exec_sync(t.ex) < 0 && net_run(&t, WEIGHTS) < 0 && !t.k.mem_alloc(t.ex, 64), "it recovered");
            CHECK(!strcmp(first, t.k.exec_error(t.ex)), "another sentence");
            CHECK(net_run(&u, WEIGHTS) < 0 && strstr(u.k.exec_error(u.ex), "an illegal memory access"),
                  "the other executor: \"%s\"", u.k.exec_error(u.ex));
            net_leave(&u);
            net_close(&t, WEIGHTS);
            emu->broken = 0;
            closed(handles, used);
        }
}

/* One run in which `call` fails next time from product `at` on: named as what failed, or else done without. A thread of
 * its own, as the runtime keeps a thread's last error until it is asked for. */
typedef struct Fail {
    const char *call;
    int at, room;
} Fail;

static void *fail_main(void *arg)
{
    const Fail *f = arg;
    int ret;
    Net t;

    net_open(&t, f->room * WEIGHT_BYTES + WEIGHT_BYTES / 2, 0, WEIGHTS);
    if (!t.ex)
        return NULL;
    for (int pass = 0; pass < PASSES; pass++) {
        net_start(&t);
        for (int i = 0; i < WEIGHTS; i++) {
            if (pass * WEIGHTS + i == f->at) {
                emu->fail_call = f->call;
                emu->fail_with = 1;
            }
            net_product(&t, i);
        }
    }
    if (f->at == PASSES * WEIGHTS) {
        emu->fail_call = f->call;
        emu->fail_with = 1;
    }
    ret = net_end(&t);
    emu->fail_call = NULL;
    if (ret >= 0)
        same(&t, f->call, f->at);
    else
        CHECK(strstr(t.k.exec_error(t.ex), f->call) || strstr(t.k.exec_error(t.ex), "out of memory"), "%s, %d: \"%s\"",
              f->call, f->at, t.k.exec_error(t.ex));
    net_leave(&t);                      /* waits for what the failure left under way */
    net_release(&t, WEIGHTS);
    t.k.close(&t.k);
    return NULL;
}

static void test_calls_fail_anywhere(void)
{
    static const char *const calls[] = { "cudaMemcpyAsync", "cudaEventRecord", "cudaEventSynchronize",
                                         "cudaStreamWaitEvent", "cudaStreamSynchronize", "cudaMallocHost",
                                         "cudaMallocFromPoolAsync", "cudaEventCreateWithFlags", "cudaSetDevice" };
    const long handles = emu->handles;
    const size_t used = emu->used;

    emu->order = EMU_LATE;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        for (int at = 0; at <= PASSES * WEIGHTS; at++) {
            Fail f = { calls[i], at, at % 3 };
            pthread_t thread;

            REQUIRE(!pthread_create(&thread, NULL, fail_main, &f), "no thread");
            pthread_join(thread, NULL);
            closed(handles, used);
        }
}

/* A weight that made another one give way, released while its product is under way. */
static void test_release_after_making_room(void)
{
    for (size_t o = 0; o < n_orders; o++) {
        Net t;

        emu->order = orders[o];
        net_open(&t, 3 * WEIGHT_BYTES, 0, WEIGHTS);
        REQUIRE(t.ex && net_run(&t, 3) >= 0, "the first run");
        for (int i = 0; i < WEIGHTS + 3; i++)
            net_product(&t, 3);
        net_product(&t, 4);
        t.k.weight_release(&t.k, &t.w[4]);
        net_product(&t, 5);
        t.k.weight_release(&t.k, &t.w[5]);
        CHECK(net_end(&t) >= 0, "order %u: %s", emu->order, t.k.exec_error(t.ex));
        net_release(&t, 4);
        net_leave(&t);
        t.k.close(&t.k);
        free(t.host[4]);
        free(t.host[5]);
    }
}

/* One executor's failure is no other's, though both are a thread's. */
static void test_failure_is_its_own(void)
{
    static const char *const calls[] = { "cudaMemcpyAsync", "cudaEventRecord", "cudaStreamSynchronize" };

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        Net t, u;

        net_open(&t, 0, 0, WEIGHTS);
        u = t;
        net_join(&u);
        emu->fail_call = calls[i];
        emu->fail_with = 1;
        CHECK(net_run(&u, WEIGHTS) < 0, "%s: no failure", calls[i]);
        emu->fail_call = NULL;
        CHECK(net_run(&t, WEIGHTS) >= 0, "%s: the other one: %s", calls[i], t.k.exec_error(t.ex));
        net_leave(&u);
        net_close(&t, WEIGHTS);
    }
}

int main(void)
{
    const char *order = getenv("KLING_EMU_ORDER");

    if (!net_emulator("cuda_streams"))
        return 1;
    if (order) {
        n_orders = 1;
        orders[0] = emu->order;
    } else {
        test_emulator();
    }
    emu->order = EMU_LATE;
    NAMED("streams_expect", expect());
    RUN(test_streaming_orders);
    RUN(test_two_in_turns);
    RUN(test_two_threads);
    RUN(test_memory_from_weights_in_use);
    RUN(test_bind_use_release);
    RUN(test_release_after_making_room);
    RUN(test_large_download);
    RUN(test_late_failure);
    if (!order)
        RUN(test_calls_fail_anywhere);
    RUN(test_failure_is_its_own);
    return check_exit();
}
