/*
 * The synthetic model folders of tests/models, made once per build and again when their description changes.
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
    static char folder[512];
    const char *where = getenv("BUILD") ? getenv("BUILD") : "build";
    char cmd[4096];

    snprintf(folder, sizeof(folder), "%s/tests/models/%s", where, preset);
    snprintf(cmd, sizeof(cmd), "test -e '%s/model_index.json' && "
             "test -z \"$(find 'tests/models/%s' -type f -newer '%s/model_index.json')\" || "
             "{ mkdir -p '%s/tests/models' && rm -rf '%s' && "
             "'%s/bin/kling-synth' 'tests/models/%s' '%s' 1 >/dev/null; }",
             folder, preset, folder, where, folder, where, preset, folder);
    return system(cmd) ? NULL : folder;
}

static inline const char *tiny_model_path(void)
{
    return synthetic_model_path("tiny");
}

#endif /* KL_TESTS_TINY_MODEL_H */
