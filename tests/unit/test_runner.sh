#!/bin/sh
# tests/run itself: what passes, fails and is skipped is counted as such.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
run=$(pwd)/tests/run
rc=0

# expect NAME STATUS LAST-LINE BODY [OPTIONS]: what tests/run makes of a script with this body.
expect() {
    printf '#!/bin/sh\n%s\n' "$4" > "$tmp/prog"
    chmod +x "$tmp/prog"
    # shellcheck disable=SC2086
    out=$("$run" $5 "$tmp/prog" 2>&1)
    status=$?
    last=$(printf '%s\n' "$out" | tail -n 1)
    if [ "$status" = "$2" ] && [ "$last" = "$3" ]; then
        echo "ok runner_$1"
    else
        echo "not ok runner_$1: status $status and \"$last\", expected $2 and \"$3\""
        rc=1
    fi
}

expect passes      0 "2 passed, 0 failed, 0 skipped" 'echo ok a; echo ok b'
expect fails       1 "1 passed, 1 failed, 0 skipped" 'echo ok a; echo "not ok b: why"; exit 1'
expect fails_rc_0  1 "1 passed, 1 failed, 0 skipped" 'echo ok a; echo "not ok b: why"; exit 0'
expect skips       0 "1 passed, 0 failed, 1 skipped" 'echo ok a; echo "skip b: why"'
expect all_skipped 1 "0 passed, 0 failed, 1 skipped" 'echo "skip b: why"; exit 77'
expect crashes     1 "1 passed, 1 failed, 0 skipped" 'echo ok a; kill -SEGV $$'
expect exits_odd   1 "1 passed, 1 failed, 0 skipped" 'echo ok a; exit 3'
expect silent      1 "0 passed, 1 failed, 0 skipped" 'exit 0'
expect silent_1    1 "0 passed, 1 failed, 0 skipped" 'exit 1'
expect silent_77   1 "0 passed, 1 failed, 0 skipped" 'exit 77'
expect rc_1_unsaid 1 "1 passed, 1 failed, 0 skipped" 'echo ok a; exit 1'
expect times_out   1 "1 passed, 1 failed, 0 skipped" 'echo ok a; sleep 20; echo ok b' '-t 1'
expect not_a_result 1 "0 passed, 1 failed, 0 skipped" 'echo "okay a"; echo " ok b"'

out=$("$run" "$tmp/nothing-here" 2>&1)
if [ $? = 1 ] && [ "$(printf '%s\n' "$out" | tail -n 1)" = "0 passed, 1 failed, 0 skipped" ]; then
    echo "ok runner_missing_program"
else
    echo "not ok runner_missing_program: $out"
    rc=1
fi
out=$("$run" 2>&1)
if [ $? = 1 ] && [ "$out" = "0 passed, 0 failed, 0 skipped" ]; then
    echo "ok runner_no_programs"
else
    echo "not ok runner_no_programs: $out"
    rc=1
fi
exit $rc
