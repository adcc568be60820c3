#!/bin/sh
# samples/embed.c, libkling without FFmpeg: as many pictures as the model's clip has, the same for one seed.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

: "${BUILD:=build}"
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
rc=0

judge() {
    if [ "$2" = 0 ]; then
        echo "ok embed_$1"
    else
        echo "not ok embed_$1: $(tr '\r\n' '  ' < "$tmp/log" | tail -c 300)"
        rc=1
    fi
}

"$BUILD/bin/kling-synth" tests/models/tiny "$tmp/model" 1 > "$tmp/log" 2>&1 &&
    "$BUILD/samples/embed" "$tmp/model" "a red ball" 7 > "$tmp/a.ppm" 2> "$tmp/log" &&
    [ "$(wc -c < "$tmp/a.ppm")" = $((9 * (64 * 64 * 3 + 13))) ]         # 9 frames of 64x64, "P6\n64 64\n255\n"
judge clip $?

"$BUILD/samples/embed" "$tmp/model" "a red ball" 7 > "$tmp/b.ppm" 2> "$tmp/log" &&
    "$BUILD/samples/embed" "$tmp/model" "a red ball" 8 > "$tmp/c.ppm" 2>> "$tmp/log" &&
    cmp -s "$tmp/a.ppm" "$tmp/b.ppm" && ! cmp -s "$tmp/a.ppm" "$tmp/c.ppm"
judge seed $?

"$BUILD/bin/kling-synth" tests/models/extend "$tmp/extend" 1 > "$tmp/log" 2>&1 &&
    "$BUILD/samples/embed" "$tmp/extend" "a red ball" 7 60 > "$tmp/e.ppm" 2> "$tmp/log" &&
    [ "$(wc -c < "$tmp/e.ppm")" = $((60 * (48 * 32 * 3 + 13))) ] && grep -q 'part 4 of 4' "$tmp/log"
judge long_clip $?

! "$BUILD/samples/embed" "$tmp/nowhere" "a red ball" > "$tmp/d.ppm" 2> "$tmp/log" &&
    [ ! -s "$tmp/d.ppm" ] && [ "$(grep -c "$tmp/nowhere" "$tmp/log")" = 1 ]
judge missing_model $?
exit $rc
