#!/bin/sh
# kling-bench: the int8 step beside the f32 one says how far off it is, and --open says what a model's files cost.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

build=${BUILD:-build}
rc=0

# tell NAME COMMAND...: the command ends well
tell()
{
    name=$1
    shift
    if "$@"; then
        echo "ok bench_$name"
    else
        echo "not ok bench_$name: $(echo "$log" | tail -n 1)"
        rc=1
    fi
}

log=$("$build/bin/kling-bench" --model tests/models/tiny --size 32x32 --tokens 8 --stages int8 --reps 1 --threads 1 \
    2>&1)
error=$(echo "$log" | sed -n 's/.* \([0-9.]*\) in the root mean square.*/\1/p')
tell int8 awk "BEGIN { exit !(${error:-0} > 0.0005 && ${error:-0} < 0.05) }"    # weights as they were have none

log=$("$build/bin/kling-bench" --open samples/model --threads 1 2>&1)
tell open sh -c 'echo "$0" | grep -q "opened [0-9.]* s, prompt [0-9.]* s, one step [0-9.]* s, one frame" &&
    echo "$0" | grep -q "peak memory of its own [1-9][0-9]* MiB, resident with mapped files [1-9][0-9]* MiB"' "$log"

log=$("$build/bin/kling-bench" --open tests/none 2>&1)
tell missing test $? -eq 1 -a "$log" = "kling-bench: the model 'tests/none' does not exist"
exit $rc
