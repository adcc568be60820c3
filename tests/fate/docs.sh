#!/bin/sh
# The commands in docs/filters.md run as they stand there.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

# A model that goes on and arrives, whose clip is as long as the examples want it.
going_on
go_json 48 33 9 5
KLING_MODEL=$GO
export KLING_MODEL
mkdir "$tmp/bin" "$tmp/run"
ln -s "$(realpath "$FFMPEG")" "$tmp/bin/ffmpeg"
PATH=$tmp/bin:$PATH
cd "$tmp/run" || exit 1
needs docs encoder libx264 || done_testing
input() {
    for file; do :; done
    ff "$@" || fail "docs_input_$file" "ffmpeg failed"
}
needs docs encoder aac || done_testing
h264='-c:v libx264 -pix_fmt yuv420p'
# shellcheck disable=SC2086
{
input -f lavfi -i testsrc2=s=128x96:r=30:d=1 -filter_complex sine=d=1[a] -map 0:v -map [a] $h264 -c:a aac in.mp4
input -f lavfi -i testsrc=s=128x96:r=30:d=1 -filter_complex sine=f=660:d=1[a] -map 0:v -map [a] $h264 \
    -c:a aac second.mp4
input -f lavfi -i testsrc2=s=72x128:r=30000/1001:d=1 $h264 vertical.mp4
input -f lavfi -i testsrc2=s=128x72:r=24000/1001:d=1,format=yuv422p10le -c:v ffv1 master.mkv
input -f lavfi -i testsrc2=s=96x96 -frames:v 1 photo.png
}

# Indented lines that begin with ffmpeg or echo, and what continues them further to the right.
awk '/^    (ffmpeg|echo) / { if (c != "") print c; c = substr($0, 5); next }
     /^        / { if (c != "") c = c substr($0, 8); next }
     { if (c != "") print c; c = "" }' "$root/docs/filters.md" > "$tmp/commands"
n=0
while IFS= read -r command; do
    n=$((n + 1))
    case $command in
        ffmpeg*) command="ffmpeg -nostdin -y -v error ${command#ffmpeg }" ;;
    esac
    if timeout 120 sh -c "$command" < /dev/null > "$log" 2>&1; then
        ok "docs_$n"
    elif grep -q 'No such filter' "$log"; then
        skip "docs_$n" "$(grep -o "No such filter.*" "$log" | head -n 1)"
    else
        fail "docs_$n" "$command"
    fi
done < "$tmp/commands"
cd "$root" || exit 1
if [ $n -ge 10 ]; then ok docs_found; else fail docs_found "only $n commands found"; fi
# what they wrote is video, as long as it should be
while read -r f n more; do
    [ -f "$tmp/run/$f" ] || { fail "docs_$f" "not written"; continue; }
    expect "docs_$f" "$(probe "$tmp/run/$f" stream=codec_type,pix_fmt,nb_read_frames | grep video |
        sed 's/yuvj/yuv/')" "video,$more,$n"
done << END
ball.mp4 32 yuv420p
cat.mp4 33 yuv420p
title.mp4 33 yuv420p
long.mp4 1920 yuv420p
extended.mp4 90 yuv420p
rises.mp4 55 yuv420p
photo.gif 51 bgra
loop.mp4 60 yuv420p
master_longer.mkv 48 yuv422p10le
bridged.mp4 90 yuv420p
two_minutes.mp4 3630 yuv420p
part.mp4 30 yuv420p
whole.mp4 60 yuv420p
longer.mp4 90 yuv420p
joined.mp4 90 yuv420p
END
sound=$(probe "$tmp/run/bridged.mp4" stream=codec_type,duration | sed -n 's/^audio,//p')
expect docs_bridged_sound "$(awk "BEGIN { d = $sound; print (d > 2.9 && d < 3.1) }")" 1
done_testing
