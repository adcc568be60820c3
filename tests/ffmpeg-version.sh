#!/bin/sh
# Builds one FFmpeg release reduced and writes a script per filter test that runs the test with it, for tests/run:
#   tests/ffmpeg-version.sh build SRC BUILD VERSION MAKE TEST...
# A release whose source cannot be had becomes a skipped test of its name, one that does not build a failed one.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

[ "$1" = build ] && [ $# -ge 5 ] || { echo "this is for make check-ffmpeg-all" >&2; exit 2; }
src=$2 build=$3 v=$4 make=$5
shift 5
out=$build/tests/ffmpeg-$v
tree=$build/ffmpeg-$v/reduced
rm -rf "$out"
mkdir -p "$out" || exit 1

# script NAME LINE...
script() {
    f=$out/$1
    shift
    { echo "#!/bin/sh"; printf '%s\n' "$@"; } > "$f" && chmod +x "$f"
}

if [ ! -f "$build/ffmpeg-$v/.prepared" ]; then
    why=$("$src/tools/get-ffmpeg" --fetch-only "$v" 2>&1)
    if [ $? = 3 ]; then
        echo "$why" >&2
        script source.sh "echo 'skip ffmpeg_$v: its source cannot be had here'" "exit 77"
        exit 0
    fi
fi
# The recipe is found by the path that the makefile uses for it.
rel=${tree#"$(pwd)"/}
if ! $make --no-print-directory "$rel/.built"; then
    script build.sh "echo 'not ok ffmpeg_$v: does not build; see $tree/make.out'" "exit 1"
    exit 0
fi
script build.sh "'$tree/ffmpeg' -hide_banner -h filter=kling | grep -q prompt || {" \
    "    echo 'not ok ffmpeg_$v: has no filter kling'" "    exit 1" "}" "echo 'ok ffmpeg_$v'"
for t; do
    script "$(basename "$t")" "FFMPEG=$tree/ffmpeg FFPROBE=$tree/ffprobe KLING_FFMPEG_VERSION=$v" \
        "export FFMPEG FFPROBE KLING_FFMPEG_VERSION" "exec $t"
done
