#!/bin/sh
# The unit tests under valgrind: no bad access, no use of uninitialised memory, no definite leak.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

build=${BUILD:-build}
rc=77
if ! command -v valgrind >/dev/null 2>&1; then
    echo "skip valgrind: not installed"
    exit 77
fi
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
for t in "$build"/tests/unit/test_*; do
    [ -x "$t" ] || continue
    name=valgrind_$(basename "$t")
    case $name in
        *_alloc|*_alloc_extend)
            # Opens a model once per allocation, and counts its blocks itself: half an hour here, and nothing new.
            echo "skip $name: counts its own allocations; make check-asan runs it"
            continue ;;
    esac
    KLING_TEST_QUICK=1 valgrind -q --fair-sched=try --error-exitcode=99 --leak-check=full \
        --errors-for-leak-kinds=definite \
        --suppressions=tests/valgrind.supp "$t" > "$log" 2>&1
    case $? in
        0|77)
            echo "ok $name"
            [ $rc = 1 ] || rc=0 ;;
        *)
            echo "not ok $name: status $?, see below"
            sed 's/^/# /' "$log" | tail -n 80
            rc=1 ;;
    esac
done
exit $rc
