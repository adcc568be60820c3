/*
 * The synthetic model folders of tests/models, made once per build.
 * Copyright (c) 2026 the kling for FFmpeg developers
 * SPDX-License-Identifier: LGPL-2.1-or-later
 */
#ifndef KL_TESTS_TINY_MODEL_H
#define KL_TESTS_TINY_MODEL_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/** A folder with the model of tests/models/<preset> and weights of seed 1; static storage, NULL on failure. */
static inline const char *synthetic_model_path(const char *preset)
{
    static char dir[512];
    const char *build = getenv("BUILD") ? getenv("BUILD") : "build";
    char cmd[2048], index[1024];

    snprintf(dir, sizeof(dir), "%s/tests/models/%s", build, preset);
    snprintf(index, sizeof(index), "%s/model_index.json", dir);
    if (!access(index, R_OK))
        return dir;
    snprintf(cmd, sizeof(cmd), "mkdir -p '%s/tests/models' && '%s/bin/kling-synth' 'tests/models/%s' '%s' 1 >/dev/null",
             build, build, preset, dir);
    return system(cmd) ? NULL : dir;
}

static inline const char *tiny_model_path(void)
{
    return synthetic_model_path("tiny");
}

#endif /* KL_TESTS_TINY_MODEL_H */
