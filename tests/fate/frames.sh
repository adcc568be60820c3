#!/bin/sh
# What is asked for is what comes out: counts, sizes, rates, time stamps.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

q=$quick:guidance=1:prompt=red

for n in 1 2 3 4 5 6 8 9; do
    crc "frames_$n" -f lavfi -i "kling=$q:size=16x16:frames=$n"
done
for s in 16x16 18x16 16x30 50x34; do
    crc "size_$s" -f lavfi -i "kling=$q:size=$s:frames=1"
done

# odd counts and sizes are the beginning and the middle of what the model makes
same frames_crop "$q:size=16x16:frames=9,trim=end_frame=7" "$q:size=16x16:frames=7"
same size_crop "$q:size=32x48:frames=2,crop=26:44:3:2:exact=1" "$q:size=26x44:frames=2"
ff -v verbose -f lavfi -i "kling=$q:size=26x44:frames=2" -f null -
logged size_crop_said 'generating 32x48, 5 .*; cropped to 26x44, 2 frames'

# rates: each frame lasts one tick of a time base of 1/rate
for r in 16 24000/1001 23.976 25 30000/1001 29.97 ntsc pal 50 1 1000; do
    ff -f lavfi -i "kling=$q:size=16x16:frames=3:rate=$r" -c:v rawvideo -f framecrc -fflags +bitexact "$tmp/crc"
    got="$(sed -n 's/^#tb 0: //p' "$tmp/crc") $(sed -n 's/^0, *[0-9]*, *\([0-9]*\), *\([0-9]*\),.*/\1+\2/p' "$tmp/crc" |
        tr '\n' ' ')"
    case $r in
        24000/1001) tb=1001/24000 ;;
        23.976) tb=125/2997 ;;
        30000/1001|ntsc) tb=1001/30000 ;;
        29.97) tb=100/2997 ;;
        pal) tb=1/25 ;;
        *) tb=1/$r ;;
    esac
    expect "rate_$r" "$got" "$tb 0+1 1+1 2+1 "
done

# the time base survives without a lavfi demuxer, and so does the frame rate
ff -filter_complex "kling=$q:size=16x16:frames=2:rate=30000/1001,showinfo" -f null -
logged rate_link 'config in time_base: 1001/30000, frame_rate: 30000/1001'

# durations: the nearest number of frames
while read -r d r n; do
    ff -f lavfi -i "kling=$q:size=16x16:duration=$d:rate=$r" -c:v rawvideo -f framecrc "$tmp/crc"
    expect "duration_${d}_at_$r" "$(grep -c '^0,' "$tmp/crc")" "$n"
done << EOF
0.2 25 5
0.2 30000/1001 6
0.2 24000/1001 5
0.1 50 5
0.05 16 1
0.001 16 1
0.333333 24 8
0.333334 24 8
0.5 16 8
120ms 50 6
EOF
done_testing
