/*
 * The tests' one harness: results as lines that tests/run counts.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 *
 *     static void test_add(void) { CHECK(1 + 1 == 2, "got %d", 1 + 1); }
 *     int main(void) { RUN(test_add); return check_exit(); }
 *
 * prints "ok test_add", "not ok test_add: FILE:LINE: why" or
 * "skip test_add: why". A program that dies counts as one failure.
 */
#ifndef KL_TESTS_CHECK_H
#define KL_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failed, check_passed, check_skipped;
static const char *check_name;
static int check_state;                 /* of the running test: 0 good, 1 failed, 2 skipped */

#define CHECK(cond, ...) do { \
        if (!(cond) && check_state != 1) { \
            check_state = 1; \
            printf("not ok %s: %s:%d: %s:", check_name, __FILE__, __LINE__, #cond); \
            printf(" " __VA_ARGS__); \
            printf("\n"); \
        } \
    } while (0)

/** Ends the running test function when cond does not hold. */
#define REQUIRE(cond, ...) do { \
        CHECK(cond, __VA_ARGS__); \
        if (check_state == 1) \
            return; \
    } while (0)

#define SKIP(...) do { \
        check_state = 2; \
        printf("skip %s:", check_name); \
        printf(" " __VA_ARGS__); \
        printf("\n"); \
        return; \
    } while (0)

/** Runs a `static void name(void)`; NAMED runs any expression under a name made at run time. */
#define NAMED(name_, expr) do { \
        check_name = (name_); \
        check_state = 0; \
        expr; \
        if (check_state == 0) \
            printf("ok %s\n", check_name); \
        check_passed += check_state == 0; \
        check_failed += check_state == 1; \
        check_skipped += check_state == 2; \
        fflush(stdout); \
    } while (0)
#define RUN(fn) NAMED(#fn, fn())

static inline int check_exit(void)
{
    return check_failed ? 1 : check_passed ? 0 : 77;
}

#endif /* KL_TESTS_CHECK_H */
