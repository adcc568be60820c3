/*
 * What tests of files share: a folder of the run's own, the build's programs, shell commands.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_TESTS_SCRATCH_H
#define KL_TESTS_SCRATCH_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/common.h"

static char dir[64];                    /* the folder */
static const char *build;               /* where the build lies */

KL_PRINTF(1, 2)
static inline int shell(const char *fmt, ...)
{
    char cmd[4096];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cmd, sizeof(cmd), fmt, ap);
    va_end(ap);
    return system(cmd);
}

/** dir/name; the last four stay valid. */
static inline const char *in_dir(const char *name)
{
    static char path[4][512];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
    return path[turn];
}

/** Makes the folder and finds the build; false, with a line for the test's log, when there can be none. */
static inline bool scratch_open(const char *test)
{
    build = getenv("BUILD") ? getenv("BUILD") : "build";
    snprintf(dir, sizeof(dir), "/tmp/kling-%s-XXXXXX", test);
    if (mkdtemp(dir))
        return true;
    printf("not ok test_%s: no temporary folder\n", test);
    return false;
}

static inline void scratch_close(void)
{
    if (shell("rm -rf '%s'", dir))
        printf("# '%s' is left\n", dir);
}

#endif /* KL_TESTS_SCRATCH_H */
