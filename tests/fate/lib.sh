# What every script in tests/fate/ starts with: `. tests/fate/lib.sh`, from the root of the source tree.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Takes FFMPEG, FFPROBE and BUILD from the environment; makes $tmp, removed at exit, and in it the model $MODEL from
# a seed. FATE_UPDATE=1 writes the references in tests/fate/ref/ anew.

LC_ALL=C
export LC_ALL
: "${BUILD:=build}" "${FFMPEG:=$BUILD/bin/ffmpeg}" "${FFPROBE:=$BUILD/bin/ffprobe}"
unset KLING_MODEL AV_LOG_FORCE_COLOR FFREPORT
root=$(pwd)
ref=$root/tests/fate/ref
passed=0 failed=0 skipped=0

ok()   { echo "ok $1"; passed=$((passed + 1)); }
fail() { echo "not ok $1: $2"; failed=$((failed + 1)); [ ! -s "$log" ] || sed 's/^/# /' "$log" | tail -n 25; }
skip() { echo "skip $1: $2"; skipped=$((skipped + 1)); }
# done_testing: the script's last line.
done_testing() {
    [ $failed = 0 ] || exit 1
    [ $passed != 0 ] || exit 77
    exit 0
}

for prog in "$FFMPEG" "$FFPROBE" "$BUILD/bin/kling-synth"; do
    [ -x "$prog" ] || { echo "not ok fate: $prog is missing"; exit 1; }
done
# Sanitizers are slow and want the whole address space.
if ldd "$FFMPEG" 2> /dev/null | grep -Eq 'lib(a|t|ub)san'; then
    KLING_SANITIZED=1
fi
tmp=$(mktemp -d "${TMPDIR:-/tmp}/kling-fate.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 143' HUP INT TERM
log=$tmp/log
: > "$log"
MODEL=$tmp/model
if ! "$BUILD/bin/kling-synth" tests/models/tiny "$MODEL" 1 > "$log" 2>&1; then
    fail fate_model "kling-synth failed"
    exit 1
fi

# What kling= starts with in most tests: little work, the same bytes everywhere.
quick=model=$MODEL:steps=1:seed=1:flags=bitexact
small=$quick:size=16x16:frames=1:guidance=1

# going_on: $GO, a model that goes on from pictures and arrives at them: 32x32 pixels, windows of 17 pictures, 16 a
# second, one step. $go is what a filter begins with.
going_on() {
    GO=$tmp/go
    if ! "$BUILD/bin/kling-synth" tests/models/expand "$GO" 1 > "$log" 2>&1; then
        fail fate_model "kling-synth failed"
        exit 1
    fi
    go_json 32 17 5 5
    go=model=$GO:seed=1:flags=bitexact
}
# go_json SIDE FRAMES LEAD TRAIL: another kling.json for it.
go_json() {
    printf '{ "width": %d, "height": %d, "frames": %d, "fps": 16, "steps": 1, "guidance": 1.0, %s: %d, %s: %d }\n' \
        "$1" "$1" "$2" '"lead_frames"' "$3" '"trail_frames"' "$4" > "$GO/kling.json"
}

# ff ARGUMENTS...: ffmpeg, its messages in $log; returns its status. One that hangs is ended.
ff() { timeout -k 5 "${KLING_TEST_TIMEOUT:-120}" "$FFMPEG" -hide_banner -nostdin -y "$@" 2> "$log"; }
# md5 OPTIONS: of all frames of the source with these options; "failed" with $log when it fails.
md5() {
    if ff -f lavfi -i "kling=$1" -c:v rawvideo -f framemd5 -fflags +bitexact "$tmp/md5"; then
        grep -v '^#' "$tmp/md5" | md5sum | cut -d ' ' -f 1
    else
        echo failed
    fi
}
# same NAME OPTIONS OPTIONS and differ NAME OPTIONS OPTIONS: the frames of two sources.
same() {
    a=$(md5 "$2") b=$(md5 "$3")
    if [ "$a" != failed ] && [ "$a" = "$b" ]; then ok "$1"; else fail "$1" "$2 gives $a, $3 gives $b"; fi
}
differ() {
    a=$(md5 "$2") b=$(md5 "$3")
    if [ "$a" != failed ] && [ "$b" != failed ] && [ "$a" != "$b" ]; then ok "$1"
    else fail "$1" "$2 gives $a, $3 gives $b"; fi
}
# crc NAME ARGUMENTS...: ffmpeg's output as framecrc, compared with ref/NAME.
crc() {
    name=$1
    shift
    if ! ff "$@" -c:v rawvideo -fflags +bitexact -f framecrc "$tmp/crc"; then
        fail "$name" "ffmpeg failed"
    elif [ -n "$FATE_UPDATE" ]; then
        cp "$tmp/crc" "$ref/$name" && ok "$name"
    elif [ ! -f "$ref/$name" ]; then
        fail "$name" "tests/fate/ref/$name is missing"
    elif diff -u "$ref/$name" "$tmp/crc" > "$log"; then
        ok "$name"
    else
        fail "$name" "differs from tests/fate/ref/$name"
    fi
}
# probe FILE ENTRIES: ffprobe's values, comma separated, one line per stream or frame.
probe() { "$FFPROBE" -v error -count_frames -show_entries "$2" -of csv=p=0 "$1" 2>> "$log"; }
# framehashes FILE OPTION GRAPH INPUTS...: "pts md5" of each frame of a graph, OPTION being -vf or -filter_complex. The
# times are the filter's own: not every version has an encoder keep them.
framehashes() {
    out=$1 option=$2 graph=$3
    shift 3
    ff -v info "$@" "$option" "$graph,showinfo" -c:v rawvideo -fps_mode passthrough -f framemd5 -fflags +bitexact \
        "$tmp/md5" || return 1
    sed -n 's/.*showinfo.* n: *[0-9]* pts: *\([-0-9]*\) .*/\1/p' "$log" > "$tmp/pts"
    grep -v '^#' "$tmp/md5" | sed 's/.*, *//' | paste -d ' ' "$tmp/pts" - > "$out"
}
# expect NAME GOT WANTED
expect() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "got \"$2\", wanted \"$3\""; fi; }
# logged NAME PATTERN: a line of $log matches.
logged() { if grep -Eq -e "$2" "$log"; then ok "$1"; else fail "$1" "no line matches $2"; fi; }
# own: the lines of $log that the filter or its options are the speaker of, without what libavfilter repeats;
# ffmpeg 5.1 configures a failing graph twice, which makes two times the same line one.
own() {
    sed 's/ @ 0x[0-9a-f]*\]/]/g' "$log" | awk '!seen[$0]++' | grep -E '^\[[^]@]*kling' |
        grep -Ev 'Error (setting|applying) option|Failed to configure|\[Eval\]'
}
# refuses NAME PATTERN ARGUMENTS...: ffmpeg fails, the filter says why in one line, and the line has the pattern.
refuses() {
    name=$1 pattern=$2
    shift 2
    if ff -v error "$@" -f null -; then
        fail "$name" "ffmpeg did not fail"
    elif grep -Eq 'Assertion|Segmentation|AddressSanitizer|runtime error' "$log"; then
        fail "$name" "ffmpeg broke"
    else
        line=$(own)
        if [ "$(printf '%s\n' "$line" | wc -l)" != 1 ]; then fail "$name" "more than one line"
        elif ! printf '%s\n' "$line" | grep -Eq -e "$pattern"; then fail "$name" "\"$line\" is not $pattern"
        else ok "$name"; fi
    fi
}
# The version of libavfilter: 8 is FFmpeg 5.1, 10 is 7.1, 11 is 8.1, 12 is 9.0.
lavfi_major=$("$FFMPEG" -version | sed -n 's/^libavfilter *\([0-9]*\)\..*/\1/p')
# needs NAME KIND COMPONENT...: skips the test when this ffmpeg was built without one; KIND is filter, encoder, ...
needs() {
    name=$1 kind=$2
    shift 2
    for c; do
        if "$FFMPEG" -hide_banner -h "$kind=$c" 2>&1 | grep -Eq 'Unknown|not recognized'; then
            skip "$name" "this ffmpeg has no $kind $c"
            return 1
        fi
    done
}
