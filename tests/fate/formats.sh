#!/bin/sh
# Pixel formats, their rounding, and colour tags.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

q=$small:prompt=red

for f in gbrpf32le gbrp16le gbrp12le gbrp10le gbrp rgb24; do
    crc "format_$f" -f lavfi -i "kling=$q,format=$f"
    ff -f lavfi -i "kling=$q,format=$f" -c:v rawvideo -f rawvideo "$tmp/$f.raw"
done

# Integers are the floats times the largest code, rounded to the nearest. awk works in double: where the product
# lies within 1e-3 of a half, either neighbour is right.
od -An -v -tf4 -w4 "$tmp/gbrpf32le.raw" > "$tmp/float"
for f in gbrp16le:u2:65535 gbrp12le:u2:4095 gbrp10le:u2:1023 gbrp:u1:255; do
    max=${f##*:} type=${f#*:}
    type=${type%:*} f=${f%%:*}
    od -An -v -t"$type" -w"${type#u}" "$tmp/$f.raw" > "$tmp/int"
    bad=$(paste "$tmp/float" "$tmp/int" | awk -v max="$max" '
        { d = $1 * max - $2; if (d < -0.501 || d > 0.501 || $1 < 0 || $1 > 1) bad++ }
        END { if (NR != 768) print "there are " NR " values"; else print bad + 0 }')
    expect "rounding_$f" "$bad" 0
done
od -An -v -tu1 -w1 "$tmp/gbrp.raw" | awk '{ v[NR - 1] = $1 }
    END { for (i = 0; i < 256; i++) print v[512 + i] "\n" v[i] "\n" v[256 + i] }' > "$tmp/expected"
od -An -v -tu1 -w1 "$tmp/rgb24.raw" | awk '{ print $1 }' > "$tmp/got"
if cmp -s "$tmp/expected" "$tmp/got"; then ok rgb24_order; else fail rgb24_order "rgb24 is not gbrp's R, G, B"; fi
# a picture of one value would hide mistakes
if [ "$(sort -u "$tmp/got" | wc -l)" -gt 20 ]; then ok format_variety; else fail format_variety "a flat picture"; fi

# tags: on frames in every version, on links and in files too
ff -v info -filter_complex "kling=$q,showinfo" -f null -
for tag in color_range:pc color_space:gbr color_primaries:bt709 color_trc:iec61966-2-1 'sar:1/1'; do
    logged "tag_${tag%%:*}" "n: *0 .*${tag}|${tag}"
done
if needs tag_file encoder libx264; then
    ff -filter_complex "kling=$q:size=64x64,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p" -c:v libx264 \
        "$tmp/tags.mp4"
    expect tag_file "$(probe "$tmp/tags.mp4" stream=pix_fmt,color_range,color_primaries,color_transfer)" \
        yuv420p,tv,iec61966-2-1,bt709
fi
if [ "$lavfi_major" -ge 10 ]; then
    ff -f lavfi -i "kling=$q" -c:v ffv1 "$tmp/lavfi.mkv"
    expect tag_lavfi "$(probe "$tmp/lavfi.mkv" stream=color_range,color_space,color_primaries,color_transfer)" \
        pc,gbr,iec61966-2-1,bt709
else
    skip tag_lavfi "libavfilter $lavfi_major's lavfi device passes no colour tags"
fi
done_testing
