/*
 * Opening the CUDA table: only by its name, what is missing is said in one
 * line; and, on the emulated device, running out of memory, weights that
 * do not fit, and calls that fail.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <math.h>
#include <pthread.h>
#include <stddef.h>

#include "engine/device.h"
#include "net.h"

static char alien[1024];

/* device= as a user writes it, with this plugin; the error must hold `says`. */
static void refused(const char *device, const char *plugin, int status, const char *says)
{
    const KlDeviceParams p = { .plugin = plugin };
    KlDiag d = { 0 };
    KlKernels k;

    CHECK(kl_device_open(&d, &k, device, &p) == status && strstr(d.error, says) && !strchr(d.error, '\n'),
          "%s: \"%s\" does not say \"%s\"", device, d.error, says);
}

static void stays_on_cpu(const char *device, const char *plugin)
{
    KlDiag d = { 0 };
    KlKernels k;

    REQUIRE(kl_device_open(&d, &k, device, &(KlDeviceParams){ .plugin = plugin }) == 0, "%s", d.error);
    CHECK(!strncmp(k.name, "cpu", 3), "%s", k.name);
    k.close(&k);
}

static void test_missing(void)
{
    refused("cuda", "/nonexistent/libkling_cuda.so", KLING_ERROR_DEVICE, "is not there");
    refused("cuda:0", "/nonexistent/libkling_cuda.so", KLING_ERROR_DEVICE, "use device=cpu");
}

/* Never by itself, even where it could be had; by its name always. */
static void test_only_by_name(void)
{
    KlDiag d = { 0 };
    KlKernels k;

    stays_on_cpu("auto", emulated);
    stays_on_cpu("", emulated);
    stays_on_cpu(NULL, emulated);
    stays_on_cpu("cpu", emulated);
    REQUIRE(kl_device_open(&d, &k, "cuda", &(KlDeviceParams){ .plugin = emulated }) == 0, "%s", d.error);
    CHECK(!strncmp(k.name, "cuda:0 ", 7), "%s", k.name);
    k.close(&k);
}

static void test_names(void)
{
    static const char *const bad[] = { "gpu", "cuda:", "cuda:x", "cuda:1x", "cuda:-1", "cuda0", "cuda:99999999999",
                                       "CPU" };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(bad[i], emulated, KLING_ERROR_INVALID_ARG, bad[i]);
}

static void test_other_build(void)
{
    refused("cuda", alien, KLING_ERROR_DEVICE, "another build");
}

static void test_no_plugin_at_all(void)
{
    refused("cuda", "tests/cuda/test_loading.c", KLING_ERROR_DEVICE, "test_loading.c");
}

/* Each thread has an error of its own that stays until cudaGetLastError(), which nobody calls here. */
static void *old_driver(void *arg)
{
    refused("cuda", emulated, KLING_ERROR_DEVICE, "for CUDA 12.2");
    return arg;
}

static void test_machine(void)
{
    pthread_t thread;
    EmuControl was = *emu;

    emu->driver_version = 0;
    refused("cuda", emulated, KLING_ERROR_DEVICE, "no NVIDIA driver");
    *emu = was;
    emu->driver_version = 12020;
    emu->fail_call = "cudaGetDeviceCount";
    emu->fail_with = 35;
    CHECK(!pthread_create(&thread, NULL, old_driver, NULL) && !pthread_join(thread, NULL), "no thread");
    *emu = was;
    emu->devices = 0;
    refused("cuda", emulated, KLING_ERROR_DEVICE, "no GPU");
    *emu = was;
    refused("cuda:3", emulated, KLING_ERROR_DEVICE, "no cuda:3");
    emu->cc_major = 7;
    refused("cuda", emulated, KLING_ERROR_DEVICE, "8.0 or newer");
    *emu = was;
}

/* -- the emulated device -- */

#define SLOTS 2                         /* that few keep what they hold */
#define SMALL ((size_t)64 << 20)        /* a device whose memory is quickly filled */

/* Weights that do not fit the budget are copied for every use, the next one ahead; the result is the same. */
static void test_streaming(void)
{
    const size_t one = DIM * DIM * sizeof(float);
    static const int64_t budgets[] = { 0, 1, 2, 3, 5 };     /* in weights, plus half of one */
    float want[DIM];

    for (size_t b = 0; b < sizeof(budgets) / sizeof(budgets[0]); b++) {
        int64_t stay = budgets[b] ? budgets[b] : WEIGHTS;
        Net t;

        net_open(&t, budgets[b] ? budgets[b] * (int64_t)one + (int64_t)one / 2 : 0, 0, WEIGHTS);
        for (int round = 0; round < 4; round++) {
            long before = emu->copies_to_device, streamed;

            REQUIRE(net_run(&t, WEIGHTS) >= 0, "%s", t.k.exec_error(t.ex));
            if (!b && !round)
                memcpy(want, t.out, sizeof(want));
            CHECK(!memcmp(want, t.out, sizeof(want)), "%lld resident, round %d: another result",
                  (long long)stay, round);
            streamed = emu->copies_to_device - before - 1;      /* x is one */
            if (round)
                CHECK(streamed == (WEIGHTS - stay > SLOTS ? WEIGHTS - stay : 0),
                      "%lld resident, round %d: %ld weights copied", (long long)stay, round, streamed);
        }
        net_close(&t, WEIGHTS);
    }
}

/* Streamed weights are pinned up to a budget; those beyond it travel as well. What a released one gave back serves
 * another. Whether pinned memory is asked for shows in whether a failure that waits for it is taken. */
static void test_pinned(void)
{
    const int64_t one = DIM * DIM * (int64_t)sizeof(float);
    float want[DIM];
    Net t;

    net_open(&t, 0, 0, WEIGHTS);
    REQUIRE(net_run(&t, WEIGHTS) >= 0, "%s", t.k.exec_error(t.ex));
    memcpy(want, t.out, sizeof(want));
    net_close(&t, WEIGHTS);
    pinned_bytes = 2 * one + one / 2;
    net_open(&t, one, 0, WEIGHTS);      /* 0 stays on the device */
    pinned_bytes = 0;
    REQUIRE(net_run(&t, 1) >= 0, "%s", t.k.exec_error(t.ex));   /* downloads have their pinned memory from now on */
    emu->fail_with = 2;
    for (int round = 0; round < 3; round++) {   /* at first 1 goes unpinned, then 2 and 3 fill the budget */
        emu->fail_call = "cudaMallocHost";
        REQUIRE(net_run(&t, WEIGHTS) >= 0, "%s", t.k.exec_error(t.ex));
        CHECK(!memcmp(want, t.out, sizeof(want)), "round %d: another result", round);
        CHECK(!round == !emu->fail_call, "round %d: pinned memory is %s asked for", round, round ? "still" : "not");
    }
    emu->fail_call = "cudaMallocHost";
    for (int i = 2; i < 4; i++) {
        t.k.weight_release(&t.k, &t.w[i]);
        t.w[i] = (KlWeight){ .data = t.host[i], .dtype = KL_F32 };
        CHECK(t.k.weight_bind(&t.k, &t.w[i], DIM, DIM) >= 0, "weight %d", i);
    }
    REQUIRE(net_run(&t, WEIGHTS) >= 0, "%s", t.k.exec_error(t.ex));
    CHECK(!memcmp(want, t.out, sizeof(want)) && !emu->fail_call, "what was given back is not pinned again");
    emu->fail_call = NULL;
    net_close(&t, WEIGHTS);
}

/* A weight that rested while the others were used makes room for them. */
static void test_idle_weights_yield(void)
{
    const size_t one = DIM * DIM * sizeof(float);
    long before;
    Net t;

    net_open(&t, 3 * (int64_t)one, 0, WEIGHTS);
    REQUIRE(net_run(&t, 3) >= 0, "%s", t.k.exec_error(t.ex));   /* 0, 1, 2 stay */
    for (int round = 0; round < 9; round++) {
        KlLinear p = { .x = t.x, .ldx = DIM, .y = t.y, .ldy = DIM, .M = 1, .N = DIM, .K = DIM };

        for (int i = 3; i < WEIGHTS; i++) {
            p.w = t.w[i];
            t.k.linear(t.ex, &p);
        }
    }
    before = emu->copies_to_device;
    for (int i = 3; i < WEIGHTS; i++) {
        KlLinear p = { .x = t.x, .ldx = DIM, .w = t.w[i], .y = t.y, .ldy = DIM, .M = 1, .N = DIM, .K = DIM };

        t.k.linear(t.ex, &p);
    }
    CHECK(emu->copies_to_device == before, "weights in use are still streamed, %ld",
          emu->copies_to_device - before);
    net_close(&t, WEIGHTS);
}

/* Activations take memory from weights; what cannot be had is refused, and the executor lives on. */
static void test_memory(void)
{
    EmuControl was = *emu;
    Net t;
    void *p;

    emu->memory = SMALL;
    net_open(&t, 0, 0, WEIGHTS);
    REQUIRE(net_run(&t, WEIGHTS) >= 0, "%s", t.k.exec_error(t.ex));
    p = t.k.mem_alloc(t.ex, emu->memory - 12 * DIM * DIM * sizeof(float));
    CHECK(p, "weights did not make room");
    CHECK(!t.k.mem_alloc(t.ex, emu->memory / 2), "more than there is");
    t.k.mem_free(t.ex, p);
    CHECK(net_run(&t, WEIGHTS) >= 0, "%s", t.k.exec_error(t.ex));
    CHECK(t.k.mem_available(&t.k) > 0 && t.k.mem_available(&t.k) <= (int64_t)emu->memory, "available memory");
    net_close(&t, WEIGHTS);
    was.launches = emu->launches;
    was.copies_to_device = emu->copies_to_device;
    *emu = was;
}

/* All that is taken stays within vram: activations, then weights as they fit. With room for a single weight beside
 * them the result is the same; with none, one line says so. */
static void test_vram(void)
{
    const size_t one = DIM * DIM * sizeof(float);
    float want[DIM];
    size_t base;
    Net t;

    net_open(&t, 0, 0, WEIGHTS);
    base = emu->used;
    REQUIRE(net_run(&t, WEIGHTS) >= 0, "%s", t.k.exec_error(t.ex));
    memcpy(want, t.out, sizeof(want));
    net_close(&t, WEIGHTS);
    for (size_t room = 0; room <= WEIGHTS; room++) {
        const double vram = (double)(base + room * one);
        KlWeightStats use, before = { 0 };

        net_open(&t, 0, vram, WEIGHTS);
        REQUIRE(t.ex, "no executor");
        emu->most = emu->used;
        for (int round = 0; round < 3 && room; round++) {
            t.k.weight_stats(&t.k, &before);
            REQUIRE(net_run(&t, WEIGHTS) >= 0, "room for %zu: %s", room, t.k.exec_error(t.ex));
            CHECK(!memcmp(want, t.out, sizeof(want)), "room for %zu, round %d: another result", room, round);
        }
        if (!room)
            CHECK(net_run(&t, WEIGHTS) < 0 && strstr(t.k.exec_error(t.ex), "vram is too small"), "\"%s\"",
                  t.k.exec_error(t.ex));
        CHECK((double)emu->most <= vram, "room for %zu: %zu bytes of %.0f were taken", room, emu->most, vram);
        t.k.weight_stats(&t.k, &use);
        CHECK(use.bound == (int64_t)(WEIGHTS * one) && use.resident <= (int64_t)(room * one), "weights' bytes");
        CHECK(!room || (use.streamed > before.streamed) == (room < WEIGHTS), "room for %zu: %lld bytes streamed", room,
              (long long)(use.streamed - before.streamed));
        CHECK(t.k.mem_available(&t.k) <= (int64_t)(room * one), "room for %zu: %lld bytes available", room,
              (long long)t.k.mem_available(&t.k));
        net_close(&t, WEIGHTS);
    }
}

/* A share is of the device's memory; more than there is is no limit. */
static void test_vram_share(void)
{
    const size_t half = SMALL / 2, memory = emu->memory;
    KlExecParams p = { .threads = 1, .precision = KL_PREC_F32 };
    static const double vram[] = { 0.5, 1, 1e18 };

    emu->memory = SMALL;
    for (size_t i = 0; i < sizeof(vram) / sizeof(vram[0]); i++) {
        KlKernels k;
        KlExec *ex;
        void *most, *more = NULL;

        REQUIRE(open_emulated(&k, 0, vram[i]) >= 0 && k.exec_create(&k, &ex, &p) >= 0, "%s", why);
        most = k.mem_alloc(ex, half - emu->used);
        CHECK(most, "vram %g: not even half", vram[i]);
        more = k.mem_alloc(ex, 1 << 20);
        CHECK(!more == (vram[i] < 1), "vram %g", vram[i]);
        k.mem_free(ex, more);
        k.mem_free(ex, most);
        k.exec_destroy(&ex);
        k.close(&k);
    }
    emu->memory = memory;
}

/* As a user writes it. */
static void test_vram_option(void)
{
    static const double bad[] = { -1, NAN, 8, 1048575 };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        KlDiag d = { 0 };
        KlKernels k;
        const KlDeviceParams p = { .vram = bad[i], .plugin = emulated };

        CHECK(kl_device_open(&d, &k, "cuda", &p) == KLING_ERROR_INVALID_ARG && strstr(d.error, "vram"),
              "vram %g: \"%s\"", bad[i], d.error);
    }
}

/* The first failure stays, names the call, and comes back from sync and download. */
static void test_failures(void)
{
    static const struct { const char *call; int with; const char *says; } cases[] = {
        { "cudaMemcpyAsync", 700, "cudaMemcpyAsync on cuda:0: an illegal memory access" },
        { "cublasLtMatmul", 719, "cublasLtMatmul on cuda:0: " },
        { "cudaStreamSynchronize", 719, "cudaStreamSynchronize on cuda:0: " },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char first[256];
        Net t;

        net_open(&t, 0, 0, 1);
        emu->fail_call = cases[i].call;
        emu->fail_with = cases[i].with;
        if (i == 2)
            CHECK(t.k.exec_sync(t.ex) < 0, "sync succeeded");
        else
            CHECK(net_run(&t, 1) < 0, "%s: download succeeded", cases[i].call);
        snprintf(first, sizeof(first), "%s", t.k.exec_error(t.ex));
        CHECK(strstr(first, cases[i].says), "%s: \"%s\"", cases[i].call, first);
        CHECK(t.k.exec_sync(t.ex) < 0 && net_run(&t, 1) < 0, "%s: the executor recovered", cases[i].call);
        CHECK(!t.k.mem_alloc(t.ex, 64), "%s: memory from a failed executor", cases[i].call);
        CHECK(!strcmp(first, t.k.exec_error(t.ex)), "%s: another sentence", cases[i].call);
        net_close(&t, 1);
    }
}

/* gather frees the rows that it sends: not before they have left. Whether it waits shows in a failure of waiting. */
static void test_gather_waits(void)
{
    static const float table[DIM] = { 1, 2, 3 };
    const KlWeight w = { .data = table, .dtype = KL_F32 };
    const int32_t id = 0;
    Net t;

    net_open(&t, 0, 0, 0);
    emu->fail_call = "cudaStreamSynchronize";
    emu->fail_with = 719;
    t.k.gather(t.ex, t.x, w, &id, 1, DIM);
    CHECK(!emu->fail_call && strstr(t.k.exec_error(t.ex), "cudaStreamSynchronize"), "\"%s\"", t.k.exec_error(t.ex));
    emu->fail_call = NULL;
    net_close(&t, 0);
}

/* C++'s way of running out of memory stays within the plugin. */
static void test_no_memory_to_bind(void)
{
    float *host = calloc(DIM * DIM, sizeof(*host));
    KlWeight w = { .data = host, .dtype = KL_F32 };
    KlKernels k;

    REQUIRE(host && open_emulated(&k, 0, 0) >= 0, "%s", why);
    emu->fail_call = "operator new";
    emu->fail_with = 2;
    CHECK(k.weight_bind(&k, &w, DIM, DIM) < 0 && w.data == host, "bound without memory");
    emu->fail_call = NULL;
    CHECK(k.weight_bind(&k, &w, DIM, DIM) >= 0 && w.data != host, "the next binding");
    k.weight_release(&k, &w);
    k.close(&k);
    free(host);
}

/* Every op and call of the table: all behind its name and its state are pointers to functions. */
static void test_whole_table(void)
{
    static const size_t first = offsetof(KlKernels, close);
    void (*call)(void);
    KlKernels k;

    REQUIRE(open_emulated(&k, 0, 0) >= 0, "%s", why);
    for (size_t at = first; at < sizeof(k); at += sizeof(call)) {
        memcpy(&call, (const char *)&k + at, sizeof(call));
        CHECK(call, "entry %zu of the table is missing", (at - first) / sizeof(call));
    }
    k.close(&k);
}

int main(void)
{
    const char *build = getenv("BUILD");

    if (!net_emulator("cuda_loading"))
        return 1;
    snprintf(alien, sizeof(alien), "%s/tests/cuda/alien_plugin.so", build ? build : ".");
    RUN(test_missing);
    RUN(test_only_by_name);
    RUN(test_names);
    RUN(test_other_build);
    RUN(test_no_plugin_at_all);
    RUN(test_machine);
    RUN(test_streaming);
    RUN(test_pinned);
    RUN(test_idle_weights_yield);
    RUN(test_memory);
    RUN(test_vram);
    RUN(test_vram_share);
    RUN(test_vram_option);
    RUN(test_failures);
    RUN(test_gather_waits);
    RUN(test_no_memory_to_bind);
    RUN(test_whole_table);
    return check_exit();
}
