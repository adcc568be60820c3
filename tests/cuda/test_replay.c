/*
 * Work that comes again, as a graph: when there is one, that it does the same,
 * and that it is gone before what it uses is.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * On the emulated device, whose control counts launches of graphs.
 */
#include <pthread.h>

#include "net.h"

static float want[DIM];                 /* of one pass */

/* A pass over all weights, or an even number of them, so that x and y are back in their places, as a replay; not waited
 * for. How often it was issued. */
static int turn(Net *t, KlReplay **r, int n)
{
    int again = 0;

    net_start(t);
    do {
        if (t->k.replay_begin(t->ex, r))
            return again;
        for (int i = 0; i < n; i++) {
            net_product(t, i);
            t->k.exec_pace(t->ex);
        }
        again++;
    } while (t->k.replay_end(t->ex, *r, n == WEIGHTS));
    return again;
}

/* One turn and its result; how many graphs were launched for it. */
static long graphs(Net *t, KlReplay **r)
{
    const long before = emu->graph_launches;

    memset(t->out, 0, sizeof(t->out));
    turn(t, r, WEIGHTS);
    CHECK(net_end(t) >= 0, "%s", t->k.exec_error(t->ex));
    CHECK(!memcmp(want, t->out, sizeof(want)), "order %u: another result", emu->order);
    return emu->graph_launches - before;
}

static void test_same(void)
{
    static const unsigned orders[] = { EMU_LATE, EMU_EARLY, 2, 3, 4 };

    for (size_t o = 0; o < sizeof(orders) / sizeof(orders[0]); o++) {
        const long handles = emu->handles;
        const size_t used = emu->used;
        KlReplay *r = NULL;
        Net t;

        emu->order = orders[o];
        net_open(&t, 0, 0, WEIGHTS);
        CHECK(graphs(&t, &r) == 0, "a graph of what has not run");
        for (int i = 0; i < 4; i++)
            CHECK(graphs(&t, &r) == 1, "turn %d has no graph", i);
        t.k.replay_forget(t.ex, &r);
        CHECK(!r, "it is left");
        CHECK(graphs(&t, &r) == 0 && graphs(&t, &r) == 1, "not as if it were new");
        t.k.replay_forget(t.ex, &r);
        t.k.replay_forget(t.ex, &r);
        net_close(&t, WEIGHTS);
        CHECK(emu->handles == handles && emu->used == used, "%ld handles and %zu bytes are left",
              emu->handles - handles, emu->used - used);
    }
    emu->order = EMU_LATE;
}

/* Turns that nobody waits for in between. */
static void test_run_ahead(void)
{
    const long before = emu->graph_launches;
    KlReplay *r = NULL;
    Net t;

    net_open(&t, 0, 0, WEIGHTS);
    for (int i = 0; i < 100; i++)
        turn(&t, &r, WEIGHTS);
    CHECK(emu->graph_launches - before > 50, "%ld graphs", emu->graph_launches - before);
    CHECK(net_end(&t) >= 0 && !memcmp(want, t.out, sizeof(want)), "another result");
    t.k.replay_forget(t.ex, &r);
    net_close(&t, WEIGHTS);
}

/* What takes long is issued as it comes, for it must be possible to cancel it. */
static void test_long(void)
{
    KlReplay *r = NULL;
    Net t;

    net_open(&t, 0, 0, WEIGHTS);
    emu->elapsed_ms = 500;
    for (int i = 0; i < 4; i++)
        CHECK(graphs(&t, &r) == 0, "turn %d", i);
    emu->elapsed_ms = 1;
    CHECK(graphs(&t, &r) == 0, "it is tried again");
    t.k.replay_forget(t.ex, &r);
    net_close(&t, WEIGHTS);
}

/* Weights that pass through cannot be in a graph: the ops are issued again, and as they come from then on. */
static void test_streamed(void)
{
    for (int room = 0; room < WEIGHTS; room++) {
        KlReplay *r = NULL;
        Net t;

        net_open(&t, room * WEIGHT_BYTES + WEIGHT_BYTES / 2, 0, WEIGHTS);
        for (int i = 0; i < 5; i++)
            CHECK(graphs(&t, &r) == 0, "room for %d, turn %d", room, i);
        t.k.replay_forget(t.ex, &r);
        net_close(&t, WEIGHTS);
    }
}

/* Weights lose their places to activations, and find others; the scratch grows: no graph has old addresses. */
static void test_moves(void)
{
    const size_t memory = emu->memory;
    KlReplay *r = NULL;
    void *p;
    Net t;

    net_open(&t, 0, 0, WEIGHTS);
    graphs(&t, &r);
    CHECK(graphs(&t, &r) == 1, "no graph");
    emu->memory = emu->used + (size_t)WEIGHT_BYTES / 2;
    REQUIRE((p = t.k.mem_alloc(t.ex, 2 * (size_t)WEIGHT_BYTES)), "no room was made");
    emu->memory = memory;
    CHECK(graphs(&t, &r) == 0, "a graph of weights that are gone");
    CHECK(graphs(&t, &r) == 1 && graphs(&t, &r) == 1, "no new graph");
    REQUIRE(t.k.exec_reserve(t.ex, 1 << 20) >= 0, "scratch");
    CHECK(graphs(&t, &r) == 0 && graphs(&t, &r) == 1, "the scratch has moved");
    t.k.mem_free(t.ex, p);
    t.k.replay_forget(t.ex, &r);
    net_close(&t, WEIGHTS);
}

/* Another executor takes memory from weights that a graph under way still reads. */
static void test_weights_in_use(void)
{
    const size_t memory = emu->memory;

    for (unsigned order = EMU_LATE; order < EMU_SEEDS + 4; order++) {
        KlReplay *r = NULL;
        float *v;
        void *p;
        Net t, u;

        emu->order = order;
        net_open(&t, 0, 0, WEIGHTS);
        u = t;
        net_join(&u);
        graphs(&t, &r);
        CHECK(graphs(&t, &r) == 1, "no graph");
        v = calloc(DIM, sizeof(*v));
        CHECK(v && u.k.vector_bind(&u.k, &v, DIM) >= 0, "no vector");
        u.k.vector_release(&u.k, &v);   /* waits for all that is under way */
        turn(&t, &r, WEIGHTS);
        emu->memory = emu->used + (size_t)WEIGHT_BYTES / 2;
        CHECK((p = u.k.mem_alloc(u.ex, 3 * (size_t)WEIGHT_BYTES)), "no room was made");
        emu->memory = memory;
        CHECK(net_end(&t) >= 0 && !memcmp(want, t.out, sizeof(want)), "order %u: %s", order, t.k.exec_error(t.ex));
        CHECK(graphs(&t, &r) == 0, "a graph of weights that are gone");
        t.k.replay_forget(t.ex, &r);
        u.k.mem_free(u.ex, p);
        net_leave(&u);
        net_close(&t, WEIGHTS);
    }
    emu->order = EMU_LATE;
}

/* A turn that was cut short leaves no half of a graph behind. */
static void test_cut_short(void)
{
    KlReplay *r = NULL;
    Net t;

    net_open(&t, 0, 0, WEIGHTS);
    turn(&t, &r, 2);
    CHECK(graphs(&t, &r) == 0, "a first turn that was cut short counts");
    CHECK(turn(&t, &r, 2) == 1, "issued again");
    CHECK(graphs(&t, &r) == 1 && graphs(&t, &r) == 1, "no graph");
    t.k.replay_forget(t.ex, &r);
    net_close(&t, WEIGHTS);
}

/* Each call of a capture fails once, and goes without a graph or is tried again; none is the executor's failure. */
static void test_captures_fail(void)
{
    static const char *const calls[] = { "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate",
                                         "cublasLtMatmul", "cudaEventQuery", "cudaEventElapsedTime" };

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        KlReplay *r = NULL;
        Net t;

        net_open(&t, 0, 0, WEIGHTS);
        graphs(&t, &r);
        emu->fail_call = calls[i];
        emu->fail_with = 1;
        CHECK(graphs(&t, &r) == 0 && !emu->fail_call, "%s", calls[i]);
        emu->fail_call = NULL;
        graphs(&t, &r);
        t.k.replay_forget(t.ex, &r);
        net_close(&t, WEIGHTS);
    }
}

/* A launch that fails is the executor's failure, and named. */
static void test_launch_fails(void)
{
    KlReplay *r = NULL;
    Net t;

    net_open(&t, 0, 0, WEIGHTS);
    graphs(&t, &r);
    graphs(&t, &r);
    emu->fail_call = "cudaGraphLaunch";
    emu->fail_with = 1;
    turn(&t, &r, WEIGHTS);
    emu->fail_call = NULL;
    CHECK(net_end(&t) < 0 && strstr(t.k.exec_error(t.ex), "cudaGraphLaunch on cuda:0"), "%s", t.k.exec_error(t.ex));
    t.k.replay_forget(t.ex, &r);
    net_close(&t, WEIGHTS);
}

/* Two devices, taken in turns by one thread, graphs among the turns. */
static void test_two_devices(void)
{
    const int devices = emu->devices;

    emu->devices = 2;
    for (unsigned order = EMU_LATE; order < EMU_SEEDS + 2; order++) {
        KlReplay *r[2] = { NULL, NULL };
        void *host[2];
        Net t[2];

        emu->order = order;
        for (int i = 0; i < 2; i++) {
            net_device = i;
            net_open(&t[i], i ? 2 * WEIGHT_BYTES : 0, 0, WEIGHTS);      /* on one they pass through */
            REQUIRE((host[i] = t[i].k.mem_host_alloc(t[i].ex, sizeof(want))), "no memory");
        }
        for (int i = 0; i < 12; i++)
            turn(&t[i % 2], &r[i % 2], WEIGHTS);
        for (int i = 0; i < 2; i++)
            CHECK(t[i].k.mem_read(t[i].ex, host[i], t[i].x, sizeof(want)) > 0, "%s", t[i].k.exec_error(t[i].ex));
        for (int i = 0; i < 2; i++) {
            CHECK(t[i].k.exec_sync(t[i].ex) >= 0 && !memcmp(want, host[i], sizeof(want)), "device %d, order %u: %s", i,
                  order, t[i].k.exec_error(t[i].ex));
            t[i].k.mem_host_free(t[i].ex, host[i]);
        }
        for (int i = 0; i < 2; i++) {
            t[i].k.replay_forget(t[i].ex, &r[i]);
            net_close(&t[i], WEIGHTS);
        }
    }
    net_device = 0;
    emu->devices = devices;
    emu->order = EMU_LATE;
}

static void *thread_main(void *arg)
{
    Net *t = arg;
    KlReplay *r = NULL;
    int bad = 0;

    for (int i = 0; i < 30; i++) {
        turn(t, &r, WEIGHTS);
        bad += net_end(t) < 0 || memcmp(want, t->out, sizeof(want));
        if (i % 7 == 6)                 /* captures while the other one works, waits and frees */
            t->k.replay_forget(t->ex, &r);
    }
    t->k.replay_forget(t->ex, &r);
    return bad ? t : NULL;
}

static void test_two_threads(void)
{
    pthread_t thread[2];
    void *bad;
    Net t[2];

    emu->order = 5;
    net_open(&t[0], 0, 0, WEIGHTS);
    t[1] = t[0];
    net_join(&t[1]);
    for (int i = 0; i < 2; i++)
        REQUIRE(!pthread_create(&thread[i], NULL, thread_main, &t[i]), "no thread");
    for (int i = 0; i < 2; i++) {
        pthread_join(thread[i], &bad);
        CHECK(!bad && !*t[i].k.exec_error(t[i].ex), "thread %d: %s", i, t[i].k.exec_error(t[i].ex));
    }
    net_leave(&t[1]);
    net_close(&t[0], WEIGHTS);
    emu->order = EMU_LATE;
}

int main(void)
{
    Net t;

    if (!net_emulator("cuda_replay"))
        return 1;
    net_open(&t, 0, 0, WEIGHTS);
    if (net_run(&t, WEIGHTS) < 0)
        return 1;
    memcpy(want, t.out, sizeof(want));
    net_close(&t, WEIGHTS);
    RUN(test_same);
    RUN(test_run_ahead);
    RUN(test_long);
    RUN(test_streamed);
    RUN(test_moves);
    RUN(test_weights_in_use);
    RUN(test_cut_short);
    RUN(test_captures_fail);
    RUN(test_launch_fails);
    RUN(test_two_devices);
    RUN(test_two_threads);
    return check_exit();
}
