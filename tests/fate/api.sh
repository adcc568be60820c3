#!/bin/sh
# libavfilter with the source in a C program; lavfi_api.c is the program.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

if [ -n "$KLING_FFMPEG_VERSION" ]; then
    skip api "the program is linked with the default version's libavfilter"
elif [ ! -x "$BUILD/tests/fate/lavfi_api" ]; then
    fail api "$BUILD/tests/fate/lavfi_api is missing"
else
    "$BUILD/tests/fate/lavfi_api" "$MODEL" > "$tmp/out" 2> "$log"
    status=$?
    cat "$tmp/out"
    passed=$(grep -c '^ok ' "$tmp/out") failed=$(grep -c '^not ok ' "$tmp/out")
    if [ $status != 0 ] && [ "$failed" = 0 ]; then fail api "status $status"; fi
fi
done_testing
