/*
 * What the kernel tests share: the tables under test, guarded buffers, inputs
 * that can hurt, and the comparison.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each test holds its own naive version of an op in long double (the oracle),
 * which also gives every output's error bound. All tables, ref included, are
 * compared with that oracle, so ref can fail as well.
 *
 * The bounds are written in units of u = 2^-24, the largest relative error of
 * one f32 rounding. A sum of n products in f32, in whatever order, errs by at
 * most n u sum|a||b|; for n > 64 the bound used is 8 sqrt(n) u sum|a||b|, which
 * rounding errors of random sign exceed with a chance below 1e-13 per output.
 * ref works in double, so it gets one rounding of its result and 2^-26 of the
 * bound (2^-29 from the longer significand, and 8 to spare).
 *
 * The CUDA table runs where its plugin and a GPU are, and is skipped by name
 * elsewhere. KLING_TEST_CUDA names another plugin (the emulated one of
 * tests/cuda) and leaves the other tables out. KLING_TEST_HALF has it
 * multiply in bf16: inputs are then numbers of bf16, whose products are exact
 * in f32, so that the bounds of sums stay as they are.
 *
 * Every buffer has guard words on both sides, and outputs start as guard
 * words, so that what an op must not touch can be seen to be untouched.
 */
#ifndef KL_TESTS_KT_H
#define KL_TESTS_KT_H

#include <math.h>

#include "kernels/cuda.h"
#include "kernels/kernels.h"
#include "kt_stored.h"
#include "tests/check.h"
#include "tools/synth.h"

#define KT_U 0x1p-24
#define KT_GUARD 32                     /* floats on each side: keeps 64-byte alignment */
#define KT_GUARD_BITS 0x7fc5a5a5u       /* a NaN: a use of it shows too */
#define KT_LEN(a) (sizeof(a) / sizeof((a)[0]))

typedef struct KtTable {
    const char *name;
    int ref;
    unsigned mask, need;
    int cuda;
} KtTable;

static const KtTable kt_tables[] = {
    { "ref", 1, 0, 0, 0 },
    { "cpu_plain", 0, 0, 0, 0 },
    { "cpu_avx2", 0, KL_CPU_AVX2, KL_CPU_AVX2, 0 },
    { "cpu_avx512", 0, KL_CPU_AVX2 | KL_CPU_AVX512, KL_CPU_AVX2 | KL_CPU_AVX512, 0 },
    { "cpu_vnni", 0, KL_CPU_ALL, KL_CPU_AVX2 | KL_CPU_AVX512 | KL_CPU_VNNI, 0 },
    { "cuda", 0, 0, 0, 1 },
};

typedef struct Kt {
    KlKernels k;
    const KtTable *table;
    KlExec *ex;
    int threads;
    struct { float *base; size_t n, off; } buf[32];
    int bufs;
    char why[160];                      /* "" while all is well */
} Kt;

/* Are products to be in bf16? */
static inline int kt_half(void)
{
    return getenv("KLING_TEST_HALF") != NULL;
}

/** x, or, when they are, x cut off to bf16. */
static inline float kt_cut(float x)
{
    uint32_t u;

    memcpy(&u, &x, 4);
    u &= kt_half() ? 0xffff0000u : 0xffffffffu;
    memcpy(&x, &u, 4);
    return x;
}

static inline int kt_open_cuda(KlKernels *k, char *why, size_t size)
{
    const char *build = getenv("BUILD");
    char built[1024];
    KlCudaParams p = { .plugin = getenv("KLING_TEST_CUDA"), .no_wgmma = getenv("KLING_TEST_NO_WGMMA") != NULL };

    snprintf(built, sizeof(built), "%s/lib/libkling_cuda.so", build ? build : "");
    if (!p.plugin && build)
        p.plugin = built;
    return kl_kernels_init_cuda(k, &p, why, size);
}

static inline int kt_open(Kt *t, const KtTable *table, int threads)
{
    KlExecParams p = { .threads = threads, .precision = kt_half() ? KL_PREC_AUTO : KL_PREC_F32 };

    memset(t, 0, sizeof(*t));
    t->table = table;
    t->threads = threads;
    if (table->cuda && kt_open_cuda(&t->k, t->why, sizeof(t->why)) < 0)
        return -1;
    if (table->ref)
        kl_kernels_init_ref(&t->k);
    else if (!table->cuda)
        kl_kernels_init_cpu(&t->k, table->mask);
    return t->k.exec_create(&t->k, &t->ex, &p);
}

/** Waits; a failure of the device becomes the case's. */
static inline void kt_sync(Kt *t)
{
    if (t->k.exec_sync(t->ex) < 0 && !t->why[0])
        snprintf(t->why, sizeof(t->why), "%s", t->k.exec_error(t->ex));
}

static inline float kt_guard(void)
{
    uint32_t u = KT_GUARD_BITS;
    float f;

    memcpy(&f, &u, sizeof(f));
    return f;
}

static inline int kt_is_guard(const float *p)
{
    uint32_t u;

    memcpy(&u, p, sizeof(u));
    return u == KT_GUARD_BITS;
}

/** n floats of executor memory, all guard words, `off` floats past a 64-byte boundary. */
static inline float *kt_buf(Kt *t, size_t n, size_t off)
{
    size_t all = n + off + 2 * KT_GUARD;
    float *p = t->k.mem_alloc(t->ex, all * sizeof(*p)), *host = malloc(all * sizeof(*host));

    if (!p || !host || t->bufs == (int)KT_LEN(t->buf)) {
        printf("not ok kernel tests: out of memory\n");
        exit(1);
    }
    for (size_t i = 0; i < all; i++)
        host[i] = kt_guard();
    t->k.mem_upload(t->ex, p, host, all * sizeof(*p));
    free(host);
    t->buf[t->bufs].base = p;
    t->buf[t->bufs].off = off;
    t->buf[t->bufs++].n = n;
    return p + KT_GUARD + off;
}

static inline float *kt_input(Kt *t, const float *src, size_t n, size_t off)
{
    float *p = kt_buf(t, n, off);

    t->k.mem_upload(t->ex, p, src, n * sizeof(*p));
    return p;
}

/** rows x width at stride ld as an input; the gaps stay guard words. */
static inline float *kt_input_2d(Kt *t, const float *src, size_t rows, size_t width, size_t ld, size_t off)
{
    float *p = kt_buf(t, rows * ld, off);

    for (size_t r = 0; r < rows; r++)
        t->k.mem_upload(t->ex, p + r * ld, src + r * width, width * sizeof(*p));
    return p;
}

/** Downloads rows x width at stride ld into out, dense; the gaps must still be guard words. */
static inline void kt_output_2d(Kt *t, float *out, const float *p, size_t rows, size_t width, size_t ld)
{
    float *host = malloc((rows * ld + 1) * sizeof(*host));

    t->k.mem_download(t->ex, host, p, rows * ld * sizeof(*host));
    for (size_t r = 0; r < rows; r++) {
        memcpy(out + r * width, host + r * ld, width * sizeof(*out));
        for (size_t c = width; c < ld; c++)
            if (!kt_is_guard(host + r * ld + c) && !t->why[0])
                snprintf(t->why, sizeof(t->why), "row %zu: column %zu past the width %zu was written", r, c, width);
    }
    free(host);
}

/** Looks at the guards of every buffer and frees them. */
static inline void kt_release(Kt *t)
{
    for (int b = 0; b < t->bufs; b++) {
        size_t n = t->buf[b].n, first = KT_GUARD + t->buf[b].off, all = n + first + KT_GUARD;
        float *host = malloc(all * sizeof(*host));

        t->k.mem_download(t->ex, host, t->buf[b].base, all * sizeof(*host));
        for (size_t i = 0; i < all; i++)
            if ((i < first || i >= first + n) && !kt_is_guard(host + i) && !t->why[0])
                snprintf(t->why, sizeof(t->why), "buffer %d of %zu floats: element %ld was written", b, n,
                         (long)i - (long)first);
        free(host);
        t->k.mem_free(t->ex, t->buf[b].base);
    }
    t->bufs = 0;
}

static inline void kt_close(Kt *t)
{
    kt_release(t);
    t->k.exec_destroy(&t->ex);
    t->k.close(&t->k);
}

/* Inputs. */
enum { KT_EVEN, KT_SPIKES };

/** Uniform in [-1,1); KT_SPIKES: among them 1e4, zeros and denormals. */
static inline float *kt_random(size_t n, uint64_t seed, int kind)
{
    uint64_t key = synth_key(seed, "kernels");
    float *p = malloc((n + 1) * sizeof(*p));

    for (size_t i = 0; i < n; i++) {
        double pick = synth_uniform(key, 2 * i + 1);

        p[i] = (float)synth_uniform(key, 2 * i);
        if (kind == KT_SPIKES && pick > 0.9)
            p[i] = pick > 0.98 ? (p[i] < 0 ? -1e4f : 1e4f) : pick > 0.94 ? p[i] * 1e-39f : 0;
        p[i] = kt_cut(p[i]);
    }
    return p;
}

/** A weight of n random elements, starting one element past the alignment of malloc; free(*mem). values: the same
 *  in f32, decoded by arithmetic rather than by bits (blocks: see kt_stored.h). kind counts for whole floats only. */
static inline KlWeight kt_weight(size_t n, uint64_t seed, int kind, KlDType dtype, void **mem, float **values)
{
    float *f;
    size_t bytes = kl_dtype_bytes(dtype, 1);
    char *p;
    KlWeight w = { .dtype = dtype };

    if (dtype > KL_BF16)
        return kt_stored(n, seed, dtype, mem, values);
    f = kt_random(n, seed, kind);
    p = malloc((n + 1) * bytes);
    w.data = p + bytes;
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        uint16_t h = 0;

        memcpy(&u, &f[i], 4);
        if (dtype == KL_F32) {
            memcpy(p + (i + 1) * 4, &u, 4);
            continue;
        } else if (dtype == KL_BF16) {
            h = (uint16_t)(u >> 16);
            u &= 0xffff0000u;
            memcpy(&f[i], &u, 4);
        } else {                        /* sign, exponent, 10 bits, truncated; too small: a denormal */
            int e;
            double m = frexp(fabs(f[i]), &e);

            if (m && e > -14)
                h = (uint16_t)((e + 14) << 10 | ((int)(m * 2048) & 1023));
            else
                h = (uint16_t)ldexp(m, e + 24);
            h |= (uint16_t)((f[i] < 0) << 15);
            f[i] = (float)((h & 0x8000 ? -1 : 1) * ((h >> 10 & 31) ? ldexp(1024 + (h & 1023), (h >> 10 & 31) - 25)
                                                                   : ldexp(h & 1023, -24)));
        }
        memcpy(p + (i + 1) * 2, &h, 2);
    }
    *mem = p;
    *values = f;
    return w;
}

/* Bounds. */
static inline double kt_sum_u(double n)
{
    return (n <= 64 ? n : 8 * sqrt(n)) * KT_U;
}

/** y = act(x), and its bound from x's: an error of x times the slope (<= 1.13), 6 u of y, and for gelu the 4 u of
 *  its polynomial 2t, which shift y by (1 - y/x) |2t| of itself. The exact gelu: 3 u of y, and of the tail Phi(-|x|)
 *  10 u and the u of its exponent x^2 / 2. Below 1e-36 e^-x may overflow to give 0. */
static inline long double kt_act(long double x, KlActivation act, double *tol)
{
    long double t = act == KL_ACT_SILU ? x : 2 * sqrtl(2 / acosl(-1)) * (x + 0.044715L * x * x * x);
    long double y = act == KL_ACT_NONE ? x : x / (1 + expl(-t));

    long double tail = 0.5L * erfcl(fabsl(x) * sqrtl(0.5L));

    if (act == KL_ACT_GELU) {
        y = x * (x < 0 ? tail : 1 - tail);
        *tol = 1.13 * *tol + 3 * KT_U * fabs((double)y) + 1e-36;
        if (tail > 0)
            *tol += (10 + (double)(x * x) / 2) * KT_U * fabs((double)(x * tail));
        return y;
    }
    if (act == KL_ACT_GELU_TANH && fabsl(t) < 16)       /* the definition, as far as 64 bits carry it */
        y = 0.5L * x * (1 + tanhl(t / 2));
    if (act != KL_ACT_NONE)
        *tol = 1.13 * *tol + 6 * KT_U * fabs((double)y) + 1e-36;
    if (act == KL_ACT_GELU_TANH && x != 0 && fabsl(t) < 1e4L)
        *tol += 4 * KT_U * fabs((double)(t * y * (1 - y / x)));
    return y;
}

/* The comparison. */
static inline int kt_same(float got, double want, double tol)
{
    if (isnan(want))
        return isnan(got);
    if (isinf(want))
        return got == want;
    return fabs((double)got - want) <= tol;
}

typedef void (*KtOp)(Kt *t, const void *c, float *out);

/** Runs op on the table with 1..4 threads (on a device, twice); out[n] of every run must be the oracle's and the same
 *  bytes.
 *  Uses check_* of the running test. */
static inline void kt_case(const KtTable *table, const char *label, KtOp op, const void *c, size_t n,
                           const double *want, const double *tol)
{
    float *first = malloc((n + 1) * sizeof(*first)), *out = malloc((n + 1) * sizeof(*out));

    for (int threads = 1; threads <= (table->cuda ? 2 : 4); threads++) {
        size_t bad = n;
        double limit = 0;
        Kt t;

        if (kt_open(&t, table, threads) < 0) {
            CHECK(0, "%s: no executor: %s", label, t.why);
            break;
        }
        op(&t, c, threads == 1 ? first : out);
        kt_close(&t);
        CHECK(!t.why[0], "%s: %s", label, t.why);
        if (threads > 1) {
            CHECK(!memcmp(first, out, n * sizeof(*out)), "%s: %d threads give other bytes", label, threads);
            continue;
        }
        for (size_t i = 0; i < n && bad == n; i++) {
            limit = tol[i];
            if (table->ref)
                limit = fabs(want[i]) * KT_U * (1 + 0x1p-20) + tol[i] * 0x1p-26 + 0x1p-149;
            if (!kt_same(first[i], want[i], limit))
                bad = i;
        }
        CHECK(bad == n, "%s: element %zu of %zu is %.9g, not %.9g within %.3g", label, bad, n, first[bad], want[bad],
              limit);
    }
    free(first);
    free(out);
}

static inline void kt_skip(const char *why)
{
    SKIP("%s", why);
}

/* Why the table cannot run here, "" if it can; *suffix: its name in a test's. */
static inline void kt_missing(const KtTable *table, char *why, size_t size, const char **suffix)
{
    KlKernels k;

    *why = 0;
    *suffix = table->name;
    if ((kl_cpu_flags() & table->need) != table->need)
        snprintf(why, size, "this machine does not have what %s needs", table->name);
    if (table->cuda && kt_open_cuda(&k, why, size) >= 0) {
        if (kt_half())
            *suffix = strstr(k.name, "emulated") ? "cuda_emulated_bf16" : "cuda_bf16";
        else
            *suffix = strstr(k.name, "emulated") ? "cuda_emulated" : table->name;
        k.close(&k);
    }
}

/** Runs a test on every table that this machine has; the others are skips. */
static inline void kt_each(const char *name, void (*test)(const KtTable *table))
{
    for (size_t i = 0; i < KT_LEN(kt_tables); i++) {
        const KtTable *table = &kt_tables[i];
        char full[96], why[256];
        const char *suffix;

        if (getenv("KLING_TEST_CUDA") && !table->cuda)
            continue;
        kt_missing(table, why, sizeof(why), &suffix);
        snprintf(full, sizeof(full), "%s_%s", name, suffix);
        if (*why)
            NAMED(full, kt_skip(why));
        else
            NAMED(full, test(table));
    }
}

#endif /* KL_TESTS_KT_H */
