/*
 * The emulated plugin, opened; and a row of products on it, whose weights may not all fit.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_TESTS_CUDA_NET_H
#define KL_TESTS_CUDA_NET_H

#include <dlfcn.h>
#include <stdbool.h>

#include "kernels/cuda.h"
#include "tests/check.h"
#include "tests/cuda/emu/control.h"

#define DIM 64
#define WEIGHTS 6
#define WEIGHT_BYTES ((int64_t)(DIM * DIM * sizeof(float)))

static char emulated[1024], why[400];
static int64_t pinned_bytes;            /* of KlCudaParams, for all that open */
static EmuControl *emu;
static void *emulator;                  /* dlopen's */

/** False after a line that says what is missing. */
static inline bool net_emulator(const char *name)
{
    const char *build = getenv("BUILD");
    EmuControlFn *control;
    void *symbol;

    snprintf(emulated, sizeof(emulated), "%s/tests/cuda/libkling_cuda_emulated.so", build ? build : ".");
    emulator = dlopen(emulated, RTLD_NOW | RTLD_LOCAL);
    symbol = emulator ? dlsym(emulator, EMU_CONTROL_SYMBOL) : NULL;
    memcpy(&control, &symbol, sizeof(control));
    if (!control) {
        printf("not ok %s: %s: no emulated plugin\n", name, emulated);
        return false;
    }
    emu = control();
    return true;
}

static int net_device;                  /* of the tables that are opened next */

static inline int open_emulated(KlKernels *k, int64_t weight_bytes, double vram)
{
    KlCudaParams p = { .plugin = emulated, .weight_bytes = weight_bytes, .vram = vram, .device = net_device,
                       .pinned_bytes = pinned_bytes };

    return kl_kernels_init_cuda(k, &p, why, sizeof(why));
}

/* An executor with its activations; the weights are the table's. */
typedef struct Net {
    KlKernels k;
    KlExec *ex;
    float *host[WEIGHTS], *x, *y, out[DIM];
    KlWeight w[WEIGHTS];
} Net;

static inline void net_join(Net *t)
{
    KlExecParams p = { .threads = 1, .precision = KL_PREC_F32 };

    REQUIRE(t->k.exec_create(&t->k, &t->ex, &p) >= 0, "no executor");
    t->x = t->k.mem_alloc(t->ex, DIM * sizeof(float));
    t->y = t->k.mem_alloc(t->ex, DIM * sizeof(float));
    CHECK(t->x && t->y && t->k.exec_reserve(t->ex, t->k.linear_scratch(t->ex, 1, DIM, DIM, KL_F32)) >= 0, "memory");
}

static inline void net_bind(Net *t, int i)
{
    t->host[i] = malloc(DIM * DIM * sizeof(float));
    for (int j = 0; j < DIM * DIM; j++)
        t->host[i][j] = (float)((j * 7 + i * 3) % 11 - 5) / 32;
    t->w[i] = (KlWeight){ .data = t->host[i], .dtype = KL_F32 };
    CHECK(t->k.weight_bind(&t->k, &t->w[i], DIM, DIM) >= 0, "weight %d", i);
}

static inline void net_open(Net *t, int64_t weight_bytes, double vram, int n)
{
    memset(t, 0, sizeof(*t));
    REQUIRE(open_emulated(&t->k, weight_bytes, vram) >= 0, "%s", why);
    for (int i = 0; i < n; i++)
        net_bind(t, i);
    net_join(t);
}

static inline void net_start(Net *t)
{
    for (int i = 0; i < DIM; i++)
        t->out[i] = (float)(i % 5) - 2;
    t->k.mem_upload(t->ex, t->x, t->out, sizeof(t->out));
}

static inline void net_product(Net *t, int i)
{
    KlLinear p = { .x = t->x, .ldx = DIM, .w = t->w[i], .y = t->y, .ldy = DIM, .M = 1, .N = DIM, .K = DIM };
    float *swap = t->x;

    t->k.linear(t->ex, &p);
    t->x = t->y;
    t->y = swap;
}

static inline int net_end(Net *t)
{
    return t->k.mem_download(t->ex, t->out, t->x, sizeof(t->out));
}

/* x through all weights; out is what comes. */
static inline int net_run(Net *t, int n)
{
    net_start(t);
    for (int i = 0; i < n; i++)
        net_product(t, i);
    return net_end(t);
}

static inline void net_leave(Net *t)
{
    t->k.mem_free(t->ex, t->x);
    t->k.mem_free(t->ex, t->y);
    t->k.exec_destroy(&t->ex);
}

static inline void net_release(Net *t, int n)
{
    for (int i = 0; i < n; i++) {
        t->k.weight_release(&t->k, &t->w[i]);
        CHECK(!t->w[i].data, "a released weight is left");
        free(t->host[i]);
    }
}

static inline void net_close(Net *t, int n)
{
    net_release(t, n);
    net_leave(t);
    t->k.close(&t->k);
}

#endif /* KL_TESTS_CUDA_NET_H */
