/*
 * Executors and memory of every table, two executors at once, and the pool of
 * threads under the host's tables.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "kernels/host_exec.h"
#include "kt.h"

static void test_table(const KtTable *table)
{
    Kt t;

    REQUIRE(!kt_open(&t, table, 2), "no executor");
    for (size_t i = 0; i < (sizeof(t.k) - offsetof(KlKernels, close)) / sizeof(void *); i++) {
        void *p;

        memcpy(&p, (char *)&t.k + offsetof(KlKernels, close) + i * sizeof(p), sizeof(p));
        CHECK(p, "entry %zu is empty", i);
    }
    CHECK(memchr(t.k.name, 0, sizeof(t.k.name)) && t.k.name[0], "no name");
    kt_close(&t);
    CHECK(!t.ex, "exec_destroy left the pointer");
    t.k.exec_destroy(&t.ex);            /* NULL-safe */
}

static void test_memory(const KtTable *table)
{
    static const size_t sizes[] = { 0, 1, 63, 64, 65, 4097, 1 << 20 };
    unsigned char in[300], out[300];
    unsigned char *a, *b;
    Kt t;

    REQUIRE(!kt_open(&t, table, 2), "no executor");
    for (size_t i = 0; i < KT_LEN(sizes); i++) {
        void *p = t.k.mem_alloc(t.ex, sizes[i]);

        CHECK(p && !((uintptr_t)p & 63), "%zu bytes: %p", sizes[i], p);
        t.k.mem_free(t.ex, p);
    }
    t.k.mem_free(t.ex, NULL);
    CHECK(t.k.mem_available(&t.k) > 0, "no memory left");
    CHECK(!t.k.mem_alloc(t.ex, SIZE_MAX - 8), "more memory than there is");
    CHECK(t.k.exec_reserve(t.ex, SIZE_MAX - 8) < 0, "more scratch than there is");
    CHECK(!t.k.exec_reserve(t.ex, 1000) && !t.k.exec_reserve(t.ex, 10) && !t.k.exec_reserve(t.ex, 0), "no scratch");

    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (unsigned char)(i * 7 + 1);
    a = t.k.mem_alloc(t.ex, sizeof(in));
    b = t.k.mem_alloc(t.ex, sizeof(in));
    t.k.mem_upload(t.ex, a, in, sizeof(in));
    t.k.mem_upload(t.ex, b, in, sizeof(in));
    t.k.mem_zero(t.ex, a + 10, 20);
    t.k.mem_copy(t.ex, b + 100, a, 50);
    CHECK(!t.k.exec_sync(t.ex), "sync");
    t.k.mem_download(t.ex, out, b, sizeof(out));
    for (size_t i = 0; i < sizeof(in); i++) {
        size_t from = i >= 100 && i < 150 ? i - 100 : i;
        int want = from != i && from >= 10 && from < 30 ? 0 : in[from];

        CHECK(out[i] == want, "byte %zu is %d, not %d", i, out[i], want);
    }
    t.k.mem_free(t.ex, a);
    t.k.mem_free(t.ex, b);
    kt_close(&t);
}

/* Reads beside the work: more of them than can be under way, each of what the ops before it made, into memory that
 * nobody touches until its ticket is waited for. */
static void test_reads(const KtTable *table)
{
    enum { READS = 30, N = 1000 };
    float one[N], *x[2], *host[READS];
    int64_t ticket[READS];
    Kt t;

    REQUIRE(!kt_open(&t, table, 2), "no executor");
    for (int i = 0; i < N; i++)
        one[i] = 1;
    for (int i = 0; i < 2; i++) {
        x[i] = t.k.mem_alloc(t.ex, sizeof(one));
        t.k.mem_upload(t.ex, x[i], one, sizeof(one));
    }
    for (int r = 0; r < READS; r++) {
        const double a[2] = { 1, 1 };

        REQUIRE((host[r] = t.k.mem_host_alloc(t.ex, sizeof(one))), "no memory");
        memset(host[r], 0, sizeof(one));
        CHECK(r < 2 || t.k.mem_read_wait(t.ex, ticket[r - 2]) >= 0, "%s", t.k.exec_error(t.ex));
        t.k.lincomb(t.ex, x[r % 2], (const float *const[]){ x[0], x[1] }, a, 2, N);     /* Fibonacci */
        ticket[r] = t.k.mem_read(t.ex, host[r], x[r % 2], sizeof(one));
        CHECK(ticket[r] > 0 && (!r || !t.k.ahead || ticket[r] > ticket[r - 1]), "ticket %d", (int)ticket[r]);
    }
    CHECK(t.k.mem_read_wait(t.ex, ticket[READS - 1]) >= 0 && t.k.mem_read_wait(t.ex, ticket[0]) >= 0, "%s",
          t.k.exec_error(t.ex));
    for (int r = 0; r < READS; r++) {
        float want[2] = { 1, 1 };
        int bad = 0;

        for (int i = 0; i <= r; i++)
            want[i % 2] = want[0] + want[1];
        for (int i = 0; i < N; i++)
            bad += host[r][i] != want[r % 2];
        CHECK(!bad, "read %d: %d floats are not %g, but %g", r, bad, want[r % 2], host[r][0]);
    }
    for (int r = 0; r < READS; r++)
        t.k.mem_host_free(t.ex, host[r]);
    t.k.mem_host_free(t.ex, NULL);
    CHECK(!t.k.mem_host_alloc(t.ex, SIZE_MAX - 8), "more host memory than there is");
    t.k.mem_free(t.ex, x[0]);
    t.k.mem_free(t.ex, x[1]);
    kt_close(&t);
}

/* The host's memory is its own again when an upload returns, whatever is still under way. */
static void test_uploads(const KtTable *table)
{
    enum { UPLOADS = 20 };
    static const size_t sizes[] = { 1, 100, 32768, 32769 };     /* floats; small ones follow each other */
    float *host = malloc(sizeof(*host) * 32769), *back = malloc(sizeof(*back) * 32769), *x[UPLOADS];
    Kt t;

    REQUIRE(!kt_open(&t, table, 1), "no executor");
    for (int u = 0; u < UPLOADS; u++) {
        const size_t n = sizes[u < 15 ? u % 3 : 3];

        for (size_t i = 0; i < n; i++)
            host[i] = (float)(u + 1);
        REQUIRE((x[u] = t.k.mem_alloc(t.ex, n * sizeof(*host))), "no memory");
        CHECK(t.k.mem_upload(t.ex, x[u], host, n * sizeof(*host)) >= 0, "%s", t.k.exec_error(t.ex));
    }
    for (int u = 0; u < UPLOADS; u++) {
        const size_t n = sizes[u < 15 ? u % 3 : 3];
        size_t bad = 0;

        CHECK(t.k.mem_download(t.ex, back, x[u], n * sizeof(*back)) >= 0, "%s", t.k.exec_error(t.ex));
        for (size_t i = 0; i < n; i++)
            bad += back[i] != (float)(u + 1);
        CHECK(!bad, "upload %d: %zu of %zu floats are another's", u, bad, n);
        t.k.mem_free(t.ex, x[u]);
    }
    kt_close(&t);
    free(host), free(back);
}

#define ROWS 70
#define OUT 40
#define IN 90

/* One thread's work with an executor of its own: a linear, an attention and an activation, many times over. */
typedef struct Job {
    const KtTable *table;
    const float *x, *w;
    int threads, seed, rounds;
    float out[ROWS * OUT], att[ROWS * IN];
    int failed;
} Job;

static void *job_main(void *arg)
{
    Job *j = arg;
    Kt t;

    if (kt_open(&t, j->table, j->threads) < 0) {
        j->failed = 1;
        return NULL;
    }
    for (int r = 0; r < j->rounds; r++) {
        float *x = kt_input(&t, j->x + j->seed, ROWS * IN, 0), *y = kt_buf(&t, ROWS * OUT, 0);
        float *o = kt_buf(&t, ROWS * IN, 0);
        KlLinear lin = { .x = x, .ldx = IN, .w = { .data = j->w }, .y = y, .ldy = OUT, .M = ROWS, .N = OUT, .K = IN };
        KlAttention att = { x, IN, x, IN, x, IN, o, IN, ROWS, ROWS, 5, IN / 5, 0.3f, NULL, NULL, 0 };

        t.k.exec_reserve(t.ex, t.k.linear_scratch(t.ex, ROWS, OUT, IN, KL_F32));
        t.k.exec_reserve(t.ex, t.k.attention_scratch(t.ex, ROWS, ROWS, 5, IN / 5));
        t.k.weight_bind(&t.k, &lin.w, OUT, IN);
        t.k.linear(t.ex, &lin);
        t.k.attention(t.ex, &att);
        t.k.activate(t.ex, o, o, NULL, ROWS * IN, KL_ACT_SILU);
        t.k.exec_sync(t.ex);
        kt_output_2d(&t, j->out, y, ROWS, OUT, OUT);
        kt_output_2d(&t, j->att, o, ROWS, IN, IN);
        t.k.weight_release(&t.k, &lin.w);
        kt_release(&t);
    }
    j->failed = t.why[0] != 0;
    kt_close(&t);
    return NULL;
}

static void test_two_executors(const KtTable *table)
{
    float *x = kt_random(ROWS * IN + 8, 1, KT_EVEN), *w = kt_random(OUT * IN, 2, KT_EVEN);
    Job *alone = calloc(2, sizeof(*alone)), *both = calloc(2, sizeof(*both));
    pthread_t thread[2];

    for (int i = 0; i < 2; i++) {
        alone[i] = (Job){ .table = table, .x = x, .w = w, .threads = 1, .seed = i, .rounds = 1 };
        both[i] = alone[i];
        both[i].threads = 2 + i;
        both[i].rounds = 8;
        job_main(&alone[i]);
    }
    for (int i = 0; i < 2; i++)
        CHECK(!pthread_create(&thread[i], NULL, job_main, &both[i]), "no thread");
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < 2; i++) {
        CHECK(!alone[i].failed && !both[i].failed, "executor %d", i);
        CHECK(!memcmp(alone[i].out, both[i].out, sizeof(alone[i].out)), "linear of executor %d differs", i);
        CHECK(!memcmp(alone[i].att, both[i].att, sizeof(alone[i].att)), "attention of executor %d differs", i);
    }
    free(alone), free(both), free(x), free(w);
}

typedef struct Tiles {
    atomic_int ran[1000], bad_worker, busy[8];
    int threads;
} Tiles;

static void count_tile(void *arg, int64_t tile, int worker)
{
    Tiles *t = arg;

    if (worker < 0 || worker >= t->threads || atomic_fetch_add(&t->busy[worker], 1))
        atomic_store(&t->bad_worker, 1);
    atomic_fetch_add(&t->ran[tile], 1);
    atomic_fetch_sub(&t->busy[worker], 1);
}

static void test_parallel(void)
{
    Tiles *t = malloc(sizeof(*t));
    KlKernels k;

    kl_kernels_init_ref(&k);
    for (int threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) {
        KlExecParams p = { .threads = threads };
        KlExec *ex;

        REQUIRE(!k.exec_create(&k, &ex, &p), "no executor");
        CHECK(kl_threads(ex) == threads, "%d threads", kl_threads(ex));
        for (int n = 0; n <= 1000; n += n < 10 ? 1 : 330) {
            memset(t, 0, sizeof(*t));
            t->threads = threads;
            kl_parallel(ex, n, count_tile, t);
            CHECK(!t->bad_worker, "a worker out of range or twice at once");
            for (int i = 0; i < 1000; i++)
                CHECK(t->ran[i] == (i < n), "%d threads, %d tiles: tile %d ran %d times", threads, n, i, t->ran[i]);
        }
        CHECK(!kl_scratch(ex, 0, 64), "scratch before it was reserved");
        CHECK(!k.exec_reserve(ex, (size_t)threads * 128), "no scratch");
        for (int w = 0; w < threads; w++)
            CHECK(kl_scratch(ex, w, 128) == (char *)kl_scratch(ex, 0, 128) + w * 128, "slice of worker %d", w);
        CHECK(!kl_scratch(ex, 0, 192), "more scratch than reserved");
        k.exec_destroy(&ex);
    }
    free(t);
}

static long resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long pages = 0;

    if (!f || fscanf(f, "%*s %ld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

/* Every byte of blocks of either kind is ours, and a large one's memory goes back although what was malloc'd after it
 * lives on; freed once before, or malloc() would have mapped it by itself. */
static void test_large_blocks(void)
{
    static const size_t sizes[] = { (64 << 10) - 1, 64 << 10, (4 << 20) - 1, (4 << 20) + 1, 9 << 20 };
    KlExecParams p = { .threads = 1 };
    unsigned char *blocks[KT_LEN(sizes)];
    void *small[64];
    KlKernels k;
    KlExec *ex;
    long full, empty, total = 0;

    kl_kernels_init_ref(&k);
    REQUIRE(!k.exec_create(&k, &ex, &p), "no executor");
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < KT_LEN(sizes); i++) {
            REQUIRE(blocks[i] = k.mem_alloc(ex, sizes[i]), "no block of %zu bytes", sizes[i]);
            CHECK(!((uintptr_t)blocks[i] & 63), "%zu bytes: %p", sizes[i], (void *)blocks[i]);
            memset(blocks[i], 1 + (int)i, sizes[i]);
            total += round ? (long)sizes[i] : 0;
        }
        for (size_t i = 0; i < KT_LEN(sizes); i++)
            CHECK(blocks[i][0] == 1 + i && blocks[i][sizes[i] - 1] == 1 + i, "block %zu was written over", i);
        for (size_t i = 0; round && i < KT_LEN(small); i++)
            memset(small[i] = malloc(8192), 1, 8192);
        full = resident_bytes();
        for (size_t i = 0; i < KT_LEN(sizes); i++)
            k.mem_free(ex, blocks[i]);
    }
    empty = resident_bytes();
#if defined(__SANITIZE_ADDRESS__)
    full = 0;                           /* the sanitizer keeps what is freed for a while */
#endif
    CHECK(!full || full - empty > total * 9 / 10, "of %ld bytes %ld went back", total, full - empty);
    for (size_t i = 0; i < KT_LEN(small); i++)
        free(small[i]);
    k.exec_destroy(&ex);
}

int main(void)
{
    kt_each("table", test_table);
    kt_each("memory", test_memory);
    kt_each("uploads", test_uploads);
    kt_each("reads", test_reads);
    kt_each("two_executors", test_two_executors);
    if (!getenv("KLING_TEST_CUDA")) {
        RUN(test_parallel);
        RUN(test_large_blocks);
    }
    return check_exit();
}
