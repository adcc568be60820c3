#!/bin/sh
# It chains: the source with what people put behind it.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

q=$quick:guidance=1:prompt=red:size=32x32
two="kling=$q:frames=5[a];kling=$q:seed=2:frames=5[b]"

# Frames that pass other filters unchanged, or changed by whole numbers alone, are the same in every version.
crc graph_split   -filter_complex "kling=$q:frames=3,split[a][b];[b]crop=8:8[c];[a][c]overlay=20:4:format=gbrp"
crc graph_concat  -filter_complex "$two;[a][b]concat"
crc graph_fps     -filter_complex "kling=$q:frames=5:rate=24,fps=12"
crc graph_crop    -filter_complex "kling=$q:frames=2,crop=16:8:4:2,pad=32:32:8:12"
crc graph_overlay -filter_complex "$two;[b]crop=10:10[c];[a][c]overlay=4:6:format=gbrp"
if needs graph_xfade filter xfade; then
    ff -filter_complex "$two;[a][b]xfade=transition=wipeleft:duration=0.125:offset=0.1875" -c:v ffv1 "$tmp/x.mkv"
    expect graph_xfade "$? $(probe "$tmp/x.mkv" stream=nb_read_frames)" '0 8'
fi

# frames of a file: its count and size
# chain NAME WANTED FILE ARGUMENTS...
chain() {
    name=$1 wanted=$2 file=$3
    shift 3
    if ff "$@" "$file"; then
        expect "$name" "$(probe "$file" stream=codec_name,width,height,nb_read_frames)" "$wanted"
    else
        fail "$name" "ffmpeg failed"
    fi
}
chain graph_scale ffv1,128,72,3 "$tmp/scale.mkv" -f lavfi -i "kling=$q:frames=3,scale=128:72" -c:v ffv1
if needs graph_drawtext filter drawtext; then
    # two pictures, with and without text: the text must show
    font=$(fc-match -f '%{file}' sans 2> /dev/null)
    plain=$(md5 "$q:frames=1:size=64x64,format=rgb24")
    draw=drawtext=text=Hi:fontsize=30:fontcolor=white${font:+:fontfile=$font}
    text=$(md5 "$q:frames=1:size=64x64,format=rgb24,$draw")
    if [ "$text" != failed ] && [ "$text" != "$plain" ]; then ok graph_drawtext; else fail graph_drawtext "no text"; fi
fi
if needs graph_ass filter ass; then
    cat > "$tmp/sub.ass" << EOF
[Script Info]
ScriptType: v4.00+
PlayResX: 64
PlayResY: 64
[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Alignment
Style: Default,Sans,40,&H00FFFFFF,5
[Events]
Format: Layer, Start, End, Style, Text
Dialogue: 0,0:00:00.00,0:00:09.00,Default,Hi
EOF
    plain=$(md5 "$q:frames=1:size=64x64,format=rgb24")
    text=$(md5 "$q:frames=1:size=64x64,format=rgb24,ass=$tmp/sub.ass")
    if [ "$text" != failed ] && [ "$text" != "$plain" ]; then ok graph_ass; else fail graph_ass "no text"; fi
fi
if needs graph_gif filter palettegen paletteuse && needs graph_gif encoder gif; then
    chain graph_gif gif,32,32,5 "$tmp/out.gif" \
        -filter_complex "kling=$q:frames=5:rate=10,split[a][b];[a]palettegen[p];[b][p]paletteuse"
fi
if needs graph_x264 encoder libx264; then
    chain graph_x264 h264,32,32,9 "$tmp/out.mp4" -f lavfi -i "kling=$q" -c:v libx264 -pix_fmt yuv420p
    expect graph_x264_time "$(probe "$tmp/out.mp4" stream=r_frame_rate,duration)" 16/1,0.562500
    chain graph_x264_mix h264,64,48,5 "$tmp/mix.mp4" -f lavfi -i "kling=$q:frames=5" \
        -f lavfi -i "testsrc=s=64x48:r=16" -filter_complex '[1][0]overlay=8:8:shortest=1,format=yuv420p' -c:v libx264
fi
# ffv1 keeps every bit
a=$(md5 "$q:frames=3,format=gbrp")
ff -f lavfi -i "kling=$q:frames=3,format=gbrp" -c:v ffv1 "$tmp/out.mkv"
ff -i "$tmp/out.mkv" -c:v rawvideo -pix_fmt gbrp -enc_time_base 1/16 -f framemd5 -fflags +bitexact "$tmp/back"
hashes() { grep -v '^#' "$1" | cut -d , -f 6 | md5sum; }
expect graph_ffv1 "$(hashes "$tmp/back")" "$(hashes "$tmp/md5")"
[ "$a" != failed ] || fail graph_ffv1_source "no frames"
if needs graph_png encoder png; then
    chain graph_png png,32,32,1 "$tmp/out.png" -f lavfi -i "kling=$q:frames=1" -update 1 -frames:v 1
fi
# in a graph with another input, which configures it late
ff -f lavfi -i "testsrc=s=32x32:r=16:d=0.25" -c:v ffv1 "$tmp/in.mkv"
chain graph_late ffv1,32,32,4 "$tmp/late.mkv" -i "$tmp/in.mkv" \
    -filter_complex "kling=$q:frames=4,crop=16:16[k];[0][k]overlay=8:8,format=gbrp" -c:v ffv1
# the options that stop early
chain graph_t ffv1,32,32,2 "$tmp/t.mkv" -f lavfi -t 0.125 -i "kling=$q" -c:v ffv1
chain graph_trim ffv1,32,32,3 "$tmp/t.mkv" -f lavfi -i "kling=$q,trim=end_frame=3" -c:v ffv1
done_testing
