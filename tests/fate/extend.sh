#!/bin/sh
# kling_extend: what comes in goes out as it is, and goes on as it was.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh
going_on

# passes NAME NEW SOURCE FILTER: the source's frames come out bit by bit, then NEW others, time strictly increasing.
passes() {
    name=$1 new=$2
    framehashes "$tmp/in" -vf null -f lavfi -i "$3" || { fail "$name" "ffmpeg failed without the filter"; return; }
    framehashes "$tmp/out" -vf "$4" -f lavfi -i "$3" || { fail "$name" "ffmpeg failed"; return; }
    n=$(wc -l < "$tmp/in")
    head -n "$n" "$tmp/out" > "$tmp/head"
    if ! diff "$tmp/in" "$tmp/head" > "$log"; then fail "$name" "the input's frames have changed"
    elif [ "$(wc -l < "$tmp/out")" != $((n + new)) ]; then fail "$name" "$(($(wc -l < "$tmp/out") - n)) new frames"
    elif ! awk 'NR > 1 && $1 <= last { exit 1 } { last = $1 }' "$tmp/out"; then fail "$name" "time stands still"
    else ok "$name"; fi
}
src=testsrc2=r=25:d=0.4:s
for f in yuv420p yuv422p10le gbrp gray rgb24 yuva420p gbrpf32le nv12; do
    passes "extend_$f" 6 "$src=64x48,format=$f" "kling_extend=$go:frames=6"
done
passes extend_odd_size 3 "$src=51x37,format=yuv420p" "kling_extend=$go:frames=3"
passes extend_sar 3 "$src=72x58,setsar=16/11,format=yuv420p" "kling_extend=$go:frames=3"
passes extend_tags 3 "$src=64x48,format=yuv420p,setparams=range=tv:colorspace=bt709:color_trc=bt709" \
    "kling_extend=$go:frames=3"
passes extend_nearest 10 "$src=64x48" "kling_extend=$go:frames=10:resample=nearest"
passes extend_loop 7 "$src=64x48" "kling_extend=$go:frames=7:loop=1"
passes extend_long 100 "$src=64x48" "kling_extend=$go:frames=100"
passes extend_one_picture 8 "$src=64x48,trim=end_frame=1" "kling_extend=$go:frames=8"
passes extend_prompt 2 "$src=64x48" "kling_extend=$go:prompt=a red ball:frames=2:guidance=3:n=blurred"
passes extend_size 2 "$src=64x48" "kling_extend=$go:frames=2:size=48x32"
passes extend_own_rate 6 "$src=64x48" "kling_extend=$go:frames=6:rate=25"

# time: the rates that people have, in their own time bases and in milliseconds
while read -r name rate tb wanted; do
    passes "extend_time_$name" 12 "testsrc2=s=64x48:r=$rate,trim=end_frame=9,settb=$tb" "kling_extend=$go:frames=12"
    steps=$(awk 'NR > 1 { print $1 - last } { last = $1 }' "$tmp/out" | sort -nu | tr '\n' ' ')
    expect "extend_steps_$name" "$steps" "$wanted "
done << END
23.976    24000/1001 1001/24000 1
23.976_ms 24000/1001 1/1000     41 42
25        25         1/12800    512
29.97     30000/1001 1/90000    3003
29.97_ms  30000/1001 1/1000     33 34
50        50         1/50       1
END
# variable: 36 and 37 ms with a hole; it goes on at the median, or at the stream's own claim where that is near
new_steps() { tail -n 10 "$tmp/out" | awk 'NR > 1 { print $1 - last } { last = $1 }' | sort -nu | tr '\n' ' '; }
vfr="settb=1/1000,setpts='floor(N*36.6)+if(gte(N,10),400,0)'"
passes extend_time_vfr 9 "testsrc2=s=64x48:r=10:d=2,$vfr" "kling_extend=$go:frames=9"
framehashes "$tmp/out" -vf "$vfr,kling_extend=$go:frames=9" -f lavfi -i "testsrc2=s=64x48:r=10:d=2"
expect extend_steps_vfr "$(new_steps)" '37 '

# durations, the default length, and only=1
count() { framehashes "$tmp/out" -vf "$2" -f lavfi -i "$1" && wc -l < "$tmp/out"; }
expect extend_duration "$(count "$src=64x48" "kling_extend=$go:duration=1.2")" 40
# a window of 17 less the 5 that it goes on from is 12 of the model's pictures, 18 frames
expect extend_default "$(count "$src=64x48" "kling_extend=$go")" 28
expect extend_only "$(count "$src=64x48" "kling_extend=$go:frames=6:only=1")" 6
expect extend_only_times "$(cut -d ' ' -f 1 "$tmp/out" | tr '\n' ' ')" '0 1 2 3 4 5 '
cut -d ' ' -f 2 "$tmp/out" > "$tmp/only"
count "$src=64x48" "kling_extend=$go:frames=6" > /dev/null
if tail -n 6 "$tmp/out" | cut -d ' ' -f 2 | cmp -s - "$tmp/only"; then ok extend_only_same
else fail extend_only_same "only=1 gives other frames"; fi
# each frame differs from the one before with blend; with nearest some are shown twice, as 25 are more than 16
expect extend_blend_moves "$(sort -u "$tmp/only" | wc -l)" 6
count "$src=64x48" "kling_extend=$go:frames=6:only=1:resample=nearest" > /dev/null
expect extend_nearest_repeats "$(cut -d ' ' -f 2 "$tmp/out" | sort -u | wc -l)" 4

# the new frames have the footage's properties
ff -v info -f lavfi -i "$src=72x58,format=yuv422p10le,setparams=range=pc:color_primaries=bt2020:color_trc=smpte2084,
    setparams=colorspace=bt2020nc,setsar=16/11" -vf "kling_extend=$go:frames=1,showinfo" -f null -
grep -Eo '(fmt|sar|s|color_[a-z]*):[a-z0-9/]+' "$log" > "$tmp/shown"
logged extend_property_last 'n: *10 .*fmt:yuv422p10le .*sar:16/11 s:72x58'
expect extend_properties "$(grep -E 'n: *(9|10) ' "$log" | grep -Eo '(fmt|sar|s|color_[a-z]*):[-a-z0-9/]+' | sort |
    uniq -c | awk '$1 != 2' | wc -l)" 0
ff -f lavfi -i "$src=64x48" -vf "kling_extend=$go:prompt=red:frames=2,metadata=print:file=$tmp/meta" -f null -
expect extend_metadata "$(grep -c 'lavfi.kling.prompt=red' "$tmp/meta")" 2

# colour is matched on the last four of the known pictures, decoded; how well is shown in seam.c
ff -v verbose -f lavfi -i "$src=64x48" -vf "kling_extend=$go:frames=3" -f null -
n='[-+0-9.]+ [-+0-9.]+ [-+0-9.]+'
logged extend_colour "colour after the seam: gain $n, offset $n of 255, from 4 pictures, the nearest at -?[0-9.]+ dB"
ff -v verbose -f lavfi -i "$src=64x48" -vf "kling_extend=$go:frames=3:context=1:loop=1" -f null -
logged extend_colour_picture "colour after the seam: gain $n, offset $n of 255, from 1 pictures"
logged extend_colour_trail "colour before the trail: gain $n, offset $n of 255, from 4 pictures"

# detail: grain that the model's pictures cannot hold goes on where nothing moves (the model that ships, three times
# its size)
still="kling=a red ball stands still on the grass:model=samples/model:frames=1:seed=5,scale=384:384,noise=alls=24"
ff -filter_complex "$still,format=yuv420p" -frames:v 1 "$tmp/still.png"
likeness() {
    ff -i "$tmp/still.png" -filter_complex "split[a][b];[a]loop=8:1,kling_extend=a red ball stands still on the grass:\
model=samples/model:only=1:frames=1:seed=5:detail=$1[c];[b][c]psnr" -f null -
    sed -n 's/.*PSNR .*average:\([0-9]*\).*/\1/p' "$log"
}
if needs extend_detail filter noise psnr loop; then
    without=$(likeness 0) with=$(likeness 1)
    if [ "${with:-0}" -ge $((${without:-99} + 4)) ]; then ok extend_detail
    else fail extend_detail "the first new frame has $with dB to the last real one, $without without detail"; fi
fi

# pictures and GIFs
if needs extend_gif encoder gif && needs extend_gif filter palettegen paletteuse; then
    ff -f lavfi -i "testsrc2=s=64x48,format=rgb24" -frames:v 1 "$tmp/photo.png"
    ff -i "$tmp/photo.png" -filter_complex \
        "kling_extend=$go:duration=1:loop=1,split[a][b];[a]palettegen[p];[b][p]paletteuse" "$tmp/loop.gif"
    expect extend_gif "$(probe "$tmp/loop.gif" stream=width,height,nb_read_frames)" 64,48,26
    # without a palette of its own the conversion comes after the filter, not before
    ff -v verbose -i "$tmp/photo.png" -vf "kling_extend=$go:frames=3" "$tmp/plain.gif"
    expect extend_gif_plain "$(probe "$tmp/plain.gif" stream=nb_read_frames)" 4
    logged extend_gif_after "between the filter 'Parsed_kling_extend_0' and the filter"
fi

# nothing is generated that nobody asks for
quiet() {
    name=$1
    shift
    ff -v info "$@"
    expect "$name" "$? $(grep -c 'known ones' "$log")" '0 0'
}
quiet extend_closed_early -f lavfi -i "$src=64x48" -vf "kling_extend=$go" -frames:v 9 -f null -
quiet extend_no_time -f lavfi -i "$src=64x48" -vf "kling_extend=$go" -t 0.3 -f null -
ff -v info -f lavfi -i "$src=64x48" -vf "kling_extend=$go:frames=20" -frames:v 13 -c:v ffv1 "$tmp/part.mkv"
expect extend_closed_late "$? $(probe "$tmp/part.mkv" stream=nb_read_frames)" '0 13'

# a change of size on the way: frames keep passing, the last size counts
ff -v info -f lavfi -i "testsrc2=s=64x48:r=25:d=1" -vf \
    "sendcmd=c='0.5 scale width 96',scale=64:48:eval=frame,kling_extend=$go:frames=4,showinfo" -f null -
expect extend_new_size "$(grep -Eo ' s:[0-9]+x[0-9]+' "$log" | uniq -c | awk '{ print $1 $2 }' | tr '\n' ' ')" \
    "$(grep -Ec ' s:64x48' "$log")s:64x48 $((29 - $(grep -Ec ' s:64x48' "$log")))s:96x48 "

# memory: of a long footage no more is held than of a short one
if [ -n "$KLING_SANITIZED" ]; then
    skip extend_memory "a sanitizer keeps what is freed"
else
    peak() {
        ff -v info -benchmark -f lavfi -i "nullsrc=s=640x480:r=25:d=$1" -vf "kling_extend=$go:frames=2" -f null -
        sed -n 's/.*maxrss=\([0-9]*\)[Kk].*/\1/p' "$log"
    }
    short=$(peak 10) long=$(peak 40)   # both fill the queues between ffmpeg's threads
    if [ "${short:-0}" -gt 0 ] && [ "${long:-0}" -gt 0 ] && [ "$long" -lt $((short + 20000)) ]; then ok extend_memory
    else fail extend_memory "$short KiB for 250 frames, $long KiB for 1000"; fi
fi

# ---- what is refused
v=lavfi
no() { refuses "$1" "$2" -f $v -i "$src=64x48" -vf "kling_extend=$3"; }
no extend_text_only 'text alone.*Wan 2.2 TI2V' "$quick"
no extend_steps     'steps.* out of range' "$go:steps=1001"
no extend_both      'frames and duration are both given' "$go:duration=1:frames=2"
no extend_size_odd  'size 33x32: width and height must be even' "$go:size=33x32"
no extend_guidance  'guidance -0.5: must be' "$go:guidance=-0.5"
no extend_drift     'drift_guard -0.5: must be' "$go:drift_guard=-0.5"
no extend_model     'nowhere' "$go:model=$tmp/nowhere"
no extend_duration_huge 'duration is too long|frames' "$go:duration=9000000000000"
go_json 32 17 5 0
no extend_loop_trail 'cannot arrive at a given picture; loop=1 needs' "$go:loop=1"
# windows of four latent frames, two of them known before, take four pictures of a trail, not eight
go_json 32 13 5 8
passes extend_short_trail 20 "$src=64x48" "kling_extend=$go:frames=20:loop=1"
go_json 32 17 1 0
no extend_image_only 'longer than one clip|too long' "$go:frames=200"
passes extend_image_model 5 "$src=64x48" "kling_extend=$go:frames=5"
go_json 32 17 5 5
refuses extend_no_frame 'the input has no frame' -f lavfi -i "$src=64x48" -vf "select=0,kling_extend=$go"
done_testing
