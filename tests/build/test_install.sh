#!/bin/sh
# make install into an empty PREFIX and a DESTDIR: what is there works without the build tree's help.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
root=${KLING_BUILD_ROOT:-.}
make=${MAKE:-make}
rc=0

judge() {
    if [ "$2" = 0 ]; then
        echo "ok install_$1"
    else
        echo "not ok install_$1: $(tail -n 5 "$tmp/log" | tr '\n' ' ')"
        rc=1
    fi
}

p=$tmp/usr
$make -C "$root" install PREFIX="$p" > "$tmp/log" 2>&1 &&
    ! grep -qE '^(CC|LINK|AR|MAKE|CONF) ' "$tmp/log"
judge builds_nothing $?

export PKG_CONFIG_PATH="$p/lib/pkgconfig"
${CC:-cc} -o "$tmp/embed" samples/embed.c $(${PKG_CONFIG:-pkg-config} --cflags --libs kling) -lm > "$tmp/log" 2>&1
judge shared_library $?

${CC:-cc} -o "$tmp/embed-static" samples/embed.c $(${PKG_CONFIG:-pkg-config} --cflags kling) "$p/lib/libkling.a" \
    $(${PKG_CONFIG:-pkg-config} --static --libs kling | sed 's/-lkling//') > "$tmp/log" 2>&1 &&
    ! ldd "$tmp/embed-static" | grep libkling > "$tmp/log"
judge static_library $?

nm -D --defined-only "$p/lib/libkling.so" | awk '$2 == "T" && $3 !~ /^kling_/ { print $3; bad = 1 } END { exit bad }' \
    > "$tmp/log" 2>&1
judge exports_only_its_api $?

ldd "$p/bin/ffmpeg" > "$tmp/log" 2>&1 && grep -q "libkling.so.* => $p/" "$tmp/log"
judge ffmpeg_finds_its_library $?

"$p/bin/ffmpeg" -hide_banner -h filter=kling > "$tmp/log" 2>&1 && grep -q prompt "$tmp/log"
judge ffmpeg_has_the_filter $?

env -u KLING_MODEL "$p/bin/ffmpeg" -nostdin -v verbose -f lavfi -i "kling=prompt=x:size=16x16:frames=1:steps=1" \
    -f null - > "$tmp/log" 2>&1 && grep -q "opening .*$(basename "$tmp")/usr/" "$tmp/log"
judge ffmpeg_finds_its_model $?

$make -C "$root" uninstall PREFIX="$p" > "$tmp/log" 2>&1 && find "$p" -type f > "$tmp/log" && [ ! -s "$tmp/log" ]
judge uninstalls_all $?

$make -C "$root" install PREFIX=/opt/kling DESTDIR="$tmp/stage" > "$tmp/log" 2>&1 &&
    [ -x "$tmp/stage/opt/kling/bin/ffmpeg" ] &&
    grep -q '^prefix=/opt/kling$' "$tmp/stage/opt/kling/lib/pkgconfig/kling.pc"
judge destdir $?
exit $rc
