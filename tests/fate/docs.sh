#!/bin/sh
# The commands in docs/filters.md run as they stand there.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

# A model whose clip is as long as the examples want it.
sed 's/"frames": *[0-9]*/"frames": 33/' tests/models/tiny/kling.json > "$MODEL/kling.json"
KLING_MODEL=$MODEL
export KLING_MODEL
mkdir "$tmp/bin" "$tmp/run"
ln -s "$(realpath "$FFMPEG")" "$tmp/bin/ffmpeg"
PATH=$tmp/bin:$PATH
cd "$tmp/run" || exit 1
needs docs encoder libx264 || done_testing
if ! ff -f lavfi -i "testsrc=s=128x96:r=30:d=0.5" -c:v libx264 -pix_fmt yuv420p in.mp4; then
    fail docs_input "ffmpeg failed"
fi

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
# what they wrote is video
for f in ball.mp4 cat.mp4 ball.gif title.mp4 fade.mp4 two.mp4 out.mp4 corner.mp4 ball.mkv ball.png; do
    [ -f "$tmp/run/$f" ] || continue
    n=$(probe "$tmp/run/$f" stream=nb_read_frames)
    if [ "${n:-0}" -ge 1 ]; then ok "docs_$f"; else fail "docs_$f" "no frame"; fi
done
done_testing
