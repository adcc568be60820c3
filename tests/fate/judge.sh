#!/bin/sh
# The judge of samples/evaluate on recorded clips whose truth is known, and the evaluation itself on a model of noise.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

python=
for p in python3 /usr/bin/python3; do
    if command -v "$p" > /dev/null && "$p" -c 'import numpy' 2> /dev/null; then python=$p; break; fi
done

if [ -z "$python" ]; then
    skip judge "python3 has no numpy"
elif [ -n "$KLING_FFMPEG_VERSION" ] || [ -n "$KLING_SANITIZED" ]; then
    skip judge "once is enough: the judge reads frames, whoever decoded them"
elif ! ff -i tests/data/judged.mp4 -pix_fmt rgb24 -f rawvideo "$tmp/clips"; then
    fail judge "ffmpeg cannot decode tests/data/judged.mp4"
else
    "$python" tests/fate/judge.py "$tmp/clips" tests/data/judged.json > "$tmp/out" 2> "$log"
    status=$?
    cat "$tmp/out"
    passed=$(grep -c '^ok ' "$tmp/out") failed=$(grep -c '^not ok ' "$tmp/out")
    if [ $status != 0 ] && [ "$failed" = 0 ]; then fail judge "status $status"; fi

    # Noise can be counted, but not pass.
    "$python" samples/evaluate prompts --ffmpeg "$FFMPEG" --model "$MODEL" --clips 2 --pairs 1 --empty 1 \
        --options steps=1:guidance=1:frames=9 --out "$tmp/evaluate" > "$tmp/table" 2> "$log"
    status=$?
    if [ $status != 1 ]; then fail evaluate "status $status where a model of noise should give 1"
    elif ! grep -q '^| background *| .* of 3 ' "$tmp/table"; then fail evaluate "the table lacks its rows"
    elif ! "$FFPROBE" -v error "$tmp/evaluate/prompts.png" 2> "$log"; then fail evaluate "no contact sheet"
    else ok evaluate
    fi
fi
done_testing
