#!/bin/sh
# The same bytes for any number of threads.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

q=model=$MODEL:seed=1:prompt=red:size=48x32:frames=5:steps=2
for mode in bitexact fast; do
    flags=
    [ $mode = fast ] || flags=:flags=bitexact
    one=$(md5 "$q$flags:threads=1")
    for n in 2 3 7; do
        expect "threads_${mode}_$n" "$(md5 "$q$flags:threads=$n")" "$one"
    done
    expect "threads_${mode}_default" "$(md5 "$q$flags")" "$one"
done
# the two differ by rounding alone; that they differ at all shows that the flag arrives
a=$(md5 "$q,format=gbrpf32le") b=$(md5 "$q:flags=bitexact,format=gbrpf32le")
if [ "$a" != "$b" ]; then ok bitexact_arrives; else fail bitexact_arrives "the flag changes nothing"; fi
# to 10 bits they agree within a code: every line of psnr's log has a small error
crc bitexact_clip -f lavfi -i "kling=$q:flags=bitexact"
done_testing
