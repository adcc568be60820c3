/*
 * Memory that runs out while a model is opened: every allocation, one after the other, is refused once.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What must hold for each refusal: no crash, KLING_ERROR_OUT_OF_MEMORY with a
 * sentence, and as many blocks in use afterwards as before. (A refusal that the
 * callee survives, such as one of the C library's own, may also go unseen.)
 */
#include <jansson.h>

#include "engine/model.h"
#include "tests/alloc_hook.h"
#include "tests/check.h"
#include "tests/tiny_model.h"

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
