#!/bin/sh
# A minute of fuzzing, shared by the targets of tests/fuzz (KLING_FUZZ_SECONDS for longer). Seeds, where a target has
# some, lie in tests/fuzz/corpus/NAME; what is found is left in build/tests/fuzz.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

build=${BUILD:-build}
n=$(ls tests/fuzz/fuzz_*.c 2>/dev/null | wc -l)
if [ "$n" = 0 ]; then
    echo "skip fuzz: no targets"
    exit 77
fi
seconds=$((${KLING_FUZZ_SECONDS:-60} / n))
rc=77
for src in tests/fuzz/fuzz_*.c; do
    name=$(basename "$src" .c)
    bin=$build/tests/fuzz/$name
    if [ ! -x "$bin" ]; then
        echo "skip $name: not built (clang with its compiler-rt was not found)"
        continue
    fi
    work=$build/tests/fuzz/$name.corpus
    mkdir -p "$work"
    seeds=
    [ -d "tests/fuzz/corpus/$name" ] && seeds=tests/fuzz/corpus/$name
    # shellcheck disable=SC2086
    if "$bin" -max_total_time=$seconds -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 \
        -artifact_prefix="$build/tests/fuzz/$name-" "$work" $seeds > "$work.log" 2>&1; then
        echo "ok $name"
        sed -n 's/^stat::number_of_executed_units: */# executions: /p' "$work.log"
        [ $rc = 1 ] || rc=0
    else
        echo "not ok $name: see $work.log"
        tail -n 60 "$work.log" | sed 's/^/# /'
        rc=1
    fi
done
exit $rc
