#!/bin/sh
# Ctrl-C while a clip is made: out within a second, status 255, and a file that plays.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

now_ms() { echo $(($(date +%s%N) / 1000000)); }
limit_ms=1000
[ -z "$KLING_SANITIZED" ] || limit_ms=8000
# A step at this size takes well under a second, 1000 of them do not end by themselves.
busy=model=$MODEL:seed=1:size=256x256:frames=9:guidance=1:flags=bitexact

# stop NAME SIGNAL PATTERN FILE ARGUMENTS...: sends the signal once the log has a line with the pattern.
stop() {
    name=$1 signal=$2 pattern=$3 file=$4
    shift 4
    "$FFMPEG" -hide_banner -nostdin -y -v info "$@" "$file" 2> "$log" &
    pid=$!
    i=0
    while ! grep -Eq "$pattern" "$log" && [ $i -lt 300 ] && kill -0 $pid 2> /dev/null; do
        sleep 0.1
        i=$((i + 1))
    done
    sleep 0.2
    start=$(now_ms)
    kill "-$signal" $pid 2> /dev/null
    wait $pid
    status=$?
    ms=$(($(now_ms) - start))
    if [ $status != 255 ]; then fail "$name" "status $status"
    elif [ $ms -gt $limit_ms ]; then fail "$name" "took $ms ms"
    elif ! grep -q 'interrupted after' "$log"; then fail "$name" "the source was not what stopped"
    else ok "$name"; fi
    frames=$(probe "$file" stream=nb_read_frames)
    if [ "${frames:-0}" = 0 ] && [ "$lavfi_major" = 8 ] && [ "$1" = -f ]; then
        skip "${name}_plays" "ffmpeg 5.1 reads nothing more from an input that was interrupted while it was probed"
    elif [ "${frames:-0}" -ge 1 ]; then ok "${name}_plays"; else fail "${name}_plays" "ffprobe finds no frame"; fi
}

for codec in libx264:mp4 ffv1:mkv; do
    c=${codec%:*} e=${codec#*:}
    needs "interrupt_$e" encoder "$c" || continue
    stop "interrupt_lavfi_$e" INT 'seed 1$' "$tmp/lavfi.$e" -f lavfi -i "kling=$busy:steps=1000" -c:v "$c"
    stop "interrupt_graph_$e" INT 'seed 1$' "$tmp/graph.$e" -filter_complex "kling=$busy:steps=1000" -c:v "$c"
done
stop interrupt_term TERM 'seed 1$' "$tmp/term.mkv" -filter_complex "kling=$busy:steps=1000" -c:v ffv1
# two at once, and one after the other: none begins after the signal
stop interrupt_two INT 'seed 1$' "$tmp/two.mkv" \
    -filter_complex "kling=$busy:steps=1000[a];kling=$busy:steps=1000[b];[a][b]overlay" -c:v ffv1
stop interrupt_concat INT 'seed 1$' "$tmp/concat.mkv" \
    -filter_complex "kling=$busy:steps=1000[a];kling=$busy:steps=1000[b];[a][b]concat" -c:v ffv1
expect interrupt_concat_begun "$(grep -Ec 'frames, seed' "$log")" 1
# what was made before stays: the first clip is whole, the second is interrupted
stop interrupt_second INT 'seed 2$' "$tmp/second.mkv" -filter_complex \
    "kling=model=$MODEL:steps=1:frames=5:size=256x256[a];kling=$busy:steps=1000:seed=2[b];[a][b]concat" -c:v ffv1
if [ "${frames:-0}" -ge 5 ]; then ok interrupt_second_keeps; else fail interrupt_second_keeps "$frames frames"; fi

stop interrupt_second_lavfi INT 'seed 2$' "$tmp/second.mkv" -f lavfi -i \
    "kling=model=$MODEL:steps=1:size=256x256[a];kling=$busy:steps=1000:seed=2[b];[a][b]concat[out0]" -c:v ffv1

# the other filters: the footage stays, and with only=1 there is a frame at least
going_on
busy_go=model=$GO:seed=1:size=256x256:frames=9:flags=bitexact:steps=1000
src=testsrc2=s=64x48:r=25:d=0.4
stop interrupt_extend INT 'seed 1$' "$tmp/extend.mkv" -f lavfi -i "$src" -vf "kling_extend=$busy_go" -c:v ffv1
expect interrupt_extend_keeps "$frames" 10
stop interrupt_extend_loop TERM 'seed 1$' "$tmp/loop.mkv" -f lavfi -i "$src" \
    -vf "kling_extend=$busy_go:loop=1" -c:v ffv1
stop interrupt_extend_only INT 'seed 1$' "$tmp/only.mkv" -f lavfi -i "$src" -vf "kling_extend=$busy_go:only=1" -c:v ffv1
if [ "$lavfi_major" -gt 8 ]; then expect interrupt_extend_only_frame "$frames" 1
else skip interrupt_extend_only_frame "ffmpeg 5.1 takes no frame for an encoder that is not open yet"; fi
if needs interrupt_bridge_mp4 encoder libx264; then
    stop interrupt_bridge INT 'seed 1$' "$tmp/bridge.mp4" -f lavfi -i "$src" -f lavfi -i "$src" \
        -filter_complex "kling_bridge=$busy_go" -c:v libx264
    expect interrupt_bridge_keeps "$frames" 10
fi
# while the footage passes: it has not come to its end, nothing is begun
short_go=model=$GO:seed=1:frames=9
for f in "-vf kling_extend=$short_go" "-f lavfi -i $src -filter_complex [0][1]kling_bridge=$short_go"; do
    name=${f#*kling_}
    name=interrupt_before_${name%%=*}
    # shellcheck disable=SC2086
    "$FFMPEG" -hide_banner -nostdin -y -v info -re -f lavfi -i "testsrc2=s=64x48:r=25" $f -c:v ffv1 -flush_packets 1 \
        "$tmp/before.mkv" 2> "$log" &
    pid=$!
    i=0
    while ! [ -s "$tmp/before.mkv" ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
    sleep 0.5
    start=$(now_ms)
    kill -INT $pid
    wait $pid
    status=$?
    ms=$(($(now_ms) - start))
    expect "$name" "$status $(grep -c 'known ones' "$log") $((ms < limit_ms))" '255 0 1'
    frames=$(probe "$tmp/before.mkv" stream=nb_read_frames)
    if [ "${frames:-0}" -ge 1 ]; then ok "${name}_plays"; else fail "${name}_plays" "no frame"; fi
    rm -f "$tmp/before.mkv"
done

# interrupt=0 leaves the signal to the program alone: the clip is finished first
"$FFMPEG" -hide_banner -nostdin -y -v info -filter_complex "kling=$busy:size=96x96:steps=25:interrupt=0" -c:v ffv1 \
    "$tmp/off.mkv" 2> "$log" &
pid=$!
i=0
while ! grep -q 'seed 1$' "$log" && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done
kill -INT $pid
wait $pid
expect interrupt_off "$(grep -c 'step 25/25' "$log")$(grep -c 'interrupted after' "$log")" 10
done_testing
