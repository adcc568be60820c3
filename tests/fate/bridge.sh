#!/bin/sh
# kling_bridge: one clip, a way, another clip.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh
going_on

a=testsrc2=r=25:d=0.4:s b=testsrc=r=25:d=0.6:s

# joins NAME NEW A B OPTIONS: A's frames bit by bit, NEW others, B's frames bit by bit, time strictly increasing.
joins() {
    name=$1 new=$2
    framehashes "$tmp/a" -vf null -f lavfi -i "$3" && framehashes "$tmp/b" -vf null -f lavfi -i "$4" &&
        framehashes "$tmp/out" -filter_complex "[0][1]kling_bridge=$go:$5" -f lavfi -i "$3" -f lavfi -i "$4" ||
        { fail "$name" "ffmpeg failed"; return; }
    na=$(wc -l < "$tmp/a") nb=$(wc -l < "$tmp/b")
    cut -d ' ' -f 2 "$tmp/b" > "$tmp/b.md5"
    head -n "$na" "$tmp/out" > "$tmp/head"
    tail -n "$nb" "$tmp/out" | cut -d ' ' -f 2 > "$tmp/tail"
    if ! diff "$tmp/a" "$tmp/head" > "$log"; then fail "$name" "the first input's frames have changed"
    elif ! diff "$tmp/b.md5" "$tmp/tail" > "$log"; then fail "$name" "the second input's frames have changed"
    elif [ "$(wc -l < "$tmp/out")" != $((na + new + nb)) ]; then
        fail "$name" "$(($(wc -l < "$tmp/out") - na - nb)) new frames"
    elif ! awk 'NR > 1 && $1 <= last { exit 1 } { last = $1 }' "$tmp/out"; then fail "$name" "time stands still"
    else ok "$name"; fi
}
steps() { awk 'NR > 1 { print $1 - last } { last = $1 }' "$tmp/out" | sort -nu | tr '\n' ' '; }

for f in yuv420p yuv422p10le gbrp gray; do
    joins "bridge_$f" 8 "$a=64x48,format=$f" "$b=64x48,format=$f" frames=8
    expect "bridge_steps_$f" "$(steps)" '1 '
done
joins bridge_long 60 "$a=64x48,format=yuv420p" "$b=64x48,format=yuv420p" frames=60
joins bridge_pictures 9 "$a=64x48,format=yuv420p,trim=end_frame=1" "$b=64x48,format=yuv420p,trim=end_frame=1" frames=9
joins bridge_nearest 7 "$a=64x48,format=yuv420p" "$b=64x48,format=yuv420p" frames=7:resample=nearest
joins bridge_prompt 4 "$a=64x48,format=yuv420p" "$b=64x48,format=yuv420p" 'frames=4:prompt=a red ball:guidance=2'
# another time base and a beginning other than 0: shifted, to the tick
joins bridge_time 5 "$a=64x48,format=yuv420p,settb=1/12800" \
    "$b=64x48,format=yuv420p,settb=1/90000,setpts=PTS+777777" frames=5
expect bridge_time_steps "$(steps)" '512 '
joins bridge_29.97 5 "testsrc2=r=30000/1001:d=0.4:s=64x48,format=yuv420p,settb=1/1000" \
    "testsrc=r=30000/1001:d=0.4:s=64x48,format=yuv420p,settb=1/1000" frames=5
expect bridge_29.97_steps "$(steps)" '33 34 '
# another rate keeps its spacing, which is said
joins bridge_rates 5 "$a=64x48,format=yuv420p,settb=1/1000" "testsrc=r=50:d=0.4:s=64x48,format=yuv420p" frames=5
expect bridge_rates_steps "$(steps)" '20 40 '
ff -v warning -f lavfi -i "$a=64x48" -f lavfi -i "testsrc=r=50:d=0.4:s=64x48" -filter_complex \
    "kling_bridge=$go:frames=1" -f null -
logged bridge_rates_said 'the second input has 50/1 frames per second, the first 25/1'
# the second comes in the first's format
ff -f lavfi -i "$a=64x48,format=yuv420p" -f lavfi -i "$b=64x48,format=rgb24" \
    -filter_complex "kling_bridge=$go:frames=3" -c:v ffv1 "$tmp/f.mkv"
expect bridge_other_format "$(probe "$tmp/f.mkv" stream=pix_fmt,nb_read_frames)" yuv420p,28
# duration, and the model's length: 17 pictures less 5 before and 5 after are 7, at 16 a second 10 frames
joins bridge_duration 25 "$a=64x48,format=yuv420p" "$b=64x48,format=yuv420p" duration=1
joins bridge_default 10 "$a=64x48,format=yuv420p" "$b=64x48,format=yuv420p" interrupt=auto

# nothing is generated when the first clip is all that is wanted; a bridge that is left half way is no error
ff -v info -f lavfi -i "$a=64x48" -f lavfi -i "$b=64x48" -filter_complex "kling_bridge=$go" -frames:v 9 -f null -
expect bridge_closed_early "$? $(grep -c 'known ones' "$log")" '0 0'
ff -v info -f lavfi -i "$a=64x48" -f lavfi -i "$b=64x48" -filter_complex "kling_bridge=$go:frames=9" -frames:v 13 \
    -c:v ffv1 "$tmp/part.mkv"
expect bridge_closed_late "$? $(probe "$tmp/part.mkv" stream=nb_read_frames)" '0 13'

# memory: the second clip does not pile up while the first one passes
if [ -n "$KLING_SANITIZED" ]; then
    skip bridge_memory "a sanitizer keeps what is freed"
else
    peak() {
        ff -v info -benchmark -f lavfi -i "nullsrc=s=640x480:r=25:d=$1" -f lavfi -i "nullsrc=s=640x480:r=25:d=$1" \
            -filter_complex "kling_bridge=$go:frames=2" -f null -
        sed -n 's/.*maxrss=\([0-9]*\)[Kk].*/\1/p' "$log"
    }
    # both long enough to fill the queues between ffmpeg's threads; 750 frames that pile up would be 330 MiB
    short=$(peak 10) long=$(peak 40)
    if [ "${short:-0}" -gt 0 ] && [ "${long:-0}" -gt 0 ] && [ "$long" -lt $((short + 20000)) ]; then ok bridge_memory
    else fail bridge_memory "$short KiB for 250 frames, $long KiB for 1000"; fi
fi

# ---- what is refused
# no NAME PATTERN A B OPTIONS
no() { refuses "$1" "$2" -f lavfi -i "$3" -f lavfi -i "$4" -filter_complex "kling_bridge=$5"; }
no bridge_text_only   'text alone.*Wan 2.2 TI2V' "$a=64x48" "$b=64x48" "$quick"
no bridge_size        'second input is 64x50, the first 64x48: put scale=64:48' "$a=64x48" "$b=64x50" "$go"
no bridge_sar         "second input's pixels are 4:3, the first's 1:1: put scale and setsar" "$a=64x48" \
    "$b=64x48,setsar=4/3" "$go"
no bridge_empty_first 'the first input has no frame.*go on from' "$a=64x48,select=0" "$b=64x48" "$go"
no bridge_empty_second 'the second input has no frame.*arrive at' "$a=64x48" "$b=64x48,select=0" "$go"
no bridge_option      'size 33x32: width and height must be even' "$a=64x48" "$b=64x48" "$go:size=33x32"
go_json 32 17 5 0
no bridge_trail       'cannot arrive at a given picture; kling_bridge needs.*FLF2V' "$a=64x48" "$b=64x48" "$go"
done_testing
