#!/bin/sh
# Two sources in one graph, sharing one model, under ThreadSanitizer (make check-tsan): no report at all.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

build=${BUILD:-build} rc=0
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
model=$build/tests/models/tiny
if [ ! -f "$model/model_index.json" ]; then
    mkdir -p "$build/tests/models"
    if ! "$build/bin/kling-synth" tests/models/tiny "$model" 1 > /dev/null; then
        echo "not ok tsan_model: kling-synth failed"
        exit 1
    fi
fi

# graph NAME ARGUMENTS...
graph() {
    name=$1
    shift
    if ! "$FFMPEG" -hide_banner -nostdin "$@" > "$log" 2>&1; then
        echo "not ok $name: ffmpeg failed"
    elif grep -q 'WARNING: ThreadSanitizer' "$log"; then
        echo "not ok $name: a report"
    else
        echo "ok $name"
        return
    fi
    sed 's/^/# /' "$log" | head -n 150
    rc=1
}

src="kling=model=$model:size=32x32:frames=5:steps=2:threads=3:prompt"
graph tsan_two_sources -filter_complex "$src=red[a];$src=blue[b];[a][b]hstack" -f framemd5 -
graph tsan_two_inputs -f lavfi -i "$src=red" -f lavfi -i "$src=blue" -filter_complex '[0][1]hstack' -f framemd5 -
exit $rc
