#!/bin/sh
# C programs on libavfilter: with the source, with kling_extend, and with the filters' parts that need no model.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh
going_on

# program NAME ARGUMENTS...
program() {
    name=$1
    shift
    if [ -n "$KLING_FFMPEG_VERSION" ]; then
        skip "$name" "the program is linked with the default version's libavfilter"
    elif [ ! -x "$BUILD/tests/fate/$name" ]; then
        fail "$name" "$BUILD/tests/fate/$name is missing"
    else
        "$BUILD/tests/fate/$name" "$@" > "$tmp/out" 2> "$log"
        status=$?
        cat "$tmp/out"
        bad=$(grep -c '^not ok ' "$tmp/out")
        passed=$((passed + $(grep -c '^ok ' "$tmp/out"))) failed=$((failed + bad))
        if [ $status != 0 ] && [ "$bad" = 0 ]; then fail "$name" "status $status"; fi
    fi
}
program lavfi_api "$MODEL"
program extend_api "$GO"
program parts
program seam
done_testing
