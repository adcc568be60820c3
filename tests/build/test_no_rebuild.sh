#!/bin/sh
# A second make has nothing to do; an edited filter rebuilds that filter.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

root=${KLING_BUILD_ROOT:-.}
make=${MAKE:-make}
rc=0

out=$($make -C "$root" --no-print-directory check-build 2>&1)
if [ $? = 0 ] && ! printf '%s\n' "$out" | grep -qE '^(CC|CXX|FUZZCC|LINK|AR|MAKE|CONF|COPY|SYNTH|configure) '; then
    echo "ok no_rebuild"
else
    echo "not ok no_rebuild: $(printf '%s\n' "$out" | head -n 3 | tr '\n' ' ')"
    rc=1
fi

touch vf_kling/frame_out.c
out=$($make -C "$root" --no-print-directory ffmpeg 2>&1)
log=$(ls -t "${BUILD:-build}"/ffmpeg-*/*/make.out | head -n 1)
if printf '%s\n' "$out" | grep -q '^MAKE ' && ! printf '%s\n' "$out" | grep -q '^CONF ' &&
    [ "$(grep '^CC' "$log" | tr -d '\t')" = CClibavfilter/frame_out.o ]; then
    echo "ok rebuild_of_an_edited_filter"
else
    echo "not ok rebuild_of_an_edited_filter: $(printf '%s\n' "$out" | head -n 3 | tr '\n' ' ')"
    rc=1
fi
$make -C "$root" --no-print-directory check-build > /dev/null 2>&1
exit $rc
