#!/bin/sh
# tools/get-ffmpeg without a network: what goes wrong is said in one line and leaves nothing half-written.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
get=tools/get-ffmpeg
v=7.1.5
tarball=ffmpeg_$v.orig.tar.xz
rc=0
# apt's method for local files has another name than curl's.
if [ -x /usr/lib/apt/apt-helper ]; then proto=copy:; else proto=file://; fi
pool=$tmp/debian/pool/main/f/ffmpeg
mkdir -p "$pool"

# get STATUS ARGUMENTS...: runs it with the mirrors in $mirrors and nothing else; its words go to $tmp/err.
get() {
    want=$1
    shift
    KLING_FFMPEG_MIRRORS=$mirrors KLING_FFMPEG_RELEASES='' $get "$@" > "$tmp/out" 2> "$tmp/err"
    status=$?
    [ $status = "$want" ] || { echo "status $status, not $want: $(cat "$tmp/err")" > "$tmp/why"; return 1; }
}

# said PATTERN: exactly one line matches, and there is no other.
said() {
    [ "$(wc -l < "$tmp/err")" = 1 ] && grep -q "$1" "$tmp/err" ||
        { echo "expected one line with \"$1\", got: $(cat "$tmp/err")" > "$tmp/why"; return 1; }
}

# empty DIR
empty() {
    [ -z "$(ls -A "$1" 2>/dev/null)" ] || { echo "$1 holds $(ls -A "$1")" > "$tmp/why"; return 1; }
}

judge() {
    if [ "$2" = 0 ]; then
        echo "ok get_ffmpeg_$1"
    else
        echo "not ok get_ffmpeg_$1: $(tr '\n' ' ' < "$tmp/why")"
        rc=1
    fi
}

mirrors=
get 3 --cache="$tmp/c1" $v "$tmp/d1" && said "cannot get FFmpeg $v" && empty "$tmp/c1" && [ ! -e "$tmp/d1" ]
judge no_network $?

get 1 --cache="$tmp/c1" 7.1.x "$tmp/d1" && said 'not a version number'
judge bad_version $?

: > "$tmp/file"
get 1 --cache="$tmp/file/cache" $v "$tmp/d1" && said 'cannot be written'
judge unwritable_cache $?

get 1 --src="$tmp" $v "$tmp/d1" && said 'not an FFmpeg source tree' && [ ! -e "$tmp/d1" ]
judge bad_tree $?

mirrors=$proto$tmp/debian
echo "not a tarball" > "$pool/$tarball"
get 3 --cache="$tmp/c2" $v "$tmp/d2" && grep -q "sha256 is .* not used" "$tmp/err" && empty "$tmp/c2" &&
    [ ! -e "$tmp/d2" ]
judge corrupt_download $?

mkdir "$tmp/tree" "$tmp/tree/libavfilter"
echo 7.1.5 > "$tmp/tree/RELEASE"
echo here > "$tmp/tree/libavfilter/allfilters.c"
mirrors=
get 0 --src="$tmp/tree" $v "$tmp/d3" && grep -q here "$tmp/d3/libavfilter/allfilters.c" && [ -f "$tmp/tree/RELEASE" ]
judge named_tree $?

# The rest needs the real tarball, which the build has left in the cache.
real=$(KLING_FFMPEG_MIRRORS='' KLING_FFMPEG_RELEASES='' $get --fetch-only $v 2>/dev/null)
if [ -z "$real" ]; then
    echo "skip get_ffmpeg_pool: $tarball is not in the cache"
    echo "skip get_ffmpeg_damaged_cache: $tarball is not in the cache"
    exit $rc
fi
mirrors=$proto$tmp/debian
cp "$real" "$pool/$tarball"
get 0 --cache="$tmp/c4" --fetch-only $v && cmp -s "$(cat "$tmp/out")" "$real" &&
    [ "$(ls -A "$tmp/c4")" = "$tarball" ]
judge pool $?

head -c 100000 "$real" > "$tmp/c4/$tarball"
get 0 --cache="$tmp/c4" $v "$tmp/d4" && grep -q 'is damaged' "$tmp/err" && cmp -s "$tmp/c4/$tarball" "$real" &&
    [ "$(cat "$tmp/d4/RELEASE")" = $v ] && [ "$(ls -A "$tmp/c4")" = "$tarball" ]
judge damaged_cache $?
exit $rc
