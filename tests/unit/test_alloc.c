/*
 * Memory that runs out while a model is opened: every allocation, one after the other, is refused once.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * malloc() and its kin, and mmap(), are this program's own, in front of the C
 * library's: libraries behind libkling come through here as well. What must
 * hold for each refusal: no crash, KLING_ERROR_OUT_OF_MEMORY with a sentence,
 * and as many blocks in use afterwards as before. (A refusal that the callee
 * survives, such as one of the C library's own, may also go unseen.)
 */
#include <dlfcn.h>
#include <errno.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "engine/model.h"
#include "tests/check.h"
#include "tests/tiny_model.h"

void *aligned_alloc(size_t align, size_t n);
void *mmap(void *addr, size_t n, int prot, int flags, int fd, off_t off);

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void (*free)(void *);
} real;

static _Thread_local volatile int armed;  /* only the test's own thread, only while it opens; volatile, for the
                                           compiler knows that malloc() reads no such thing */
static _Thread_local long countdown;    /* allocations until the one that fails; 0: none fails */
static _Thread_local long live, seen, refused;

/* The loader may ask for memory while it looks for malloc: that comes from here and is never given back. */
static _Alignas(64) char early[65536];
static size_t early_used;

static void *early_alloc(size_t n)
{
    char *p = early + early_used;

    n = (n + 63) / 64 * 64;
    if (n > sizeof(early) - early_used)
        return NULL;
    early_used += n;
    return p;
}

static int is_early(const void *p)
{
    return (const char *)p >= early && (const char *)p < early + sizeof(early);
}

/* False while the search is on. */
static int find_real(void)
{
    static int searching;

    if (real.free)
        return 1;
    if (searching)
        return 0;
    searching = 1;
    *(void **)&real.malloc = dlsym(RTLD_NEXT, "malloc");
    *(void **)&real.calloc = dlsym(RTLD_NEXT, "calloc");
    *(void **)&real.realloc = dlsym(RTLD_NEXT, "realloc");
    *(void **)&real.aligned_alloc = dlsym(RTLD_NEXT, "aligned_alloc");
    *(void **)&real.free = dlsym(RTLD_NEXT, "free");
    return real.free != NULL;
}

static int refuse(void)
{
    if (!armed)
        return 0;
    seen++;
    if (!countdown || --countdown)
        return 0;
    refused++;
    errno = ENOMEM;
    return 1;
}

static void *given(void *p)
{
    live += armed && p;
    return p;
}

void *malloc(size_t n)
{
    return !find_real() ? early_alloc(n) : refuse() ? NULL : given(real.malloc(n));
}

void *calloc(size_t n, size_t size)
{
    return !find_real() ? early_alloc(n * size) : refuse() ? NULL : given(real.calloc(n, size));
}

void *realloc(void *p, size_t n)
{
    if (!p)
        return malloc(n);
    if (is_early(p) || refuse())
        return NULL;
    return real.realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    return !find_real() || refuse() ? NULL : given(real.aligned_alloc(align, n));
}

void free(void *p)
{
    if (!p || is_early(p))
        return;
    live -= armed;
    if (find_real())
        real.free(p);
}

void *mmap(void *addr, size_t n, int prot, int flags, int fd, off_t off)
{
    if (fd >= 0 && refuse())
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, addr, n, prot, flags, fd, off);
}

/* jansson is left out: where its lexer cannot get memory, 2.14 ends the program by an assertion of its own. */
static void *quiet_malloc(size_t n)
{
    const int was = armed;
    void *p;

    armed = 0;
    p = malloc(n);
    armed = was;
    return p;
}

static void quiet_free(void *p)
{
    const int was = armed;

    armed = 0;
    free(p);
    armed = was;
}

/* -- what is tried -- */

static const char *model_path;
static int min_refusals;

static int open_files(KlDiag *d)
{
    const KlingModelParams p = { .model = model_path };
    KlModelFiles f;
    KlModelDesc desc;
    int ret = kl_model_files_open(d, &f, &desc, &p);

    kl_model_files_close(&f);
    return ret;
}

static int open_public(KlDiag *d)
{
    KlingModelParams p;
    KlingContext *ctx = NULL;
    KlingModel *model = NULL;
    int ret = kling_context_create(&ctx, NULL);

    d->error[0] = 0;
    kling_model_params_default(&p);
    p.model = model_path;
    if (ret == KLING_OK) {
        ret = kling_model_open(ctx, &model, &p);
        snprintf(d->error, sizeof(d->error), "%s", kling_context_error(ctx));
    } else {
        snprintf(d->error, sizeof(d->error), "%s", kling_status_name(ret));
    }
    kling_model_destroy(&model);
    kling_context_destroy(&ctx);
    return ret;
}

static void run_out(int (*attempt)(KlDiag *))
{
    KlDiag d = { 0 };
    const int step = getenv("KLING_TEST_QUICK") ? 11 : 1;
    int n, ret = attempt(&d);           /* what libraries keep for good is kept now */

    REQUIRE(!ret, "status %d with all the memory: %s", ret, d.error);
    for (n = 1; n < 100000; n += step) {
        d = (KlDiag){ 0 };
        live = seen = refused = 0;
        countdown = n;
        armed = 1;
        ret = attempt(&d);
        armed = 0;
        CHECK(!live, "%ld blocks leak after refusal %d", live, n);
        if (!refused)
            break;
        CHECK(ret == KLING_ERROR_OUT_OF_MEMORY || ret == KLING_OK, "refusal %d gives status %d: %s", n, ret, d.error);
        CHECK(ret == KLING_OK || (strstr(d.error, "memory") && !strchr(d.error, '\n')), "refusal %d says '%s'", n,
              d.error);
    }
    CHECK(!ret, "status %d in the end", ret);
    CHECK(n > min_refusals, "only %d allocations were seen", n);
    printf("# %d allocations, every %d. refused once\n", n - 1, step);
}

static void test_alloc_files(void)
{
    run_out(open_files);
}

static void test_alloc_public(void)
{
    run_out(open_public);
}

int main(void)
{
    model_path = tiny_model_path();
    if (!model_path) {
        printf("not ok test_alloc: kling-synth failed\n");
        return 1;
    }
    /* valgrind takes malloc() for itself: then only mmap() is refused */
    min_refusals = getenv("KLING_TEST_QUICK") ? 5 : 200;
    json_set_alloc_funcs(quiet_malloc, quiet_free);
    RUN(test_alloc_files);
    RUN(test_alloc_public);
    return check_exit();
}
