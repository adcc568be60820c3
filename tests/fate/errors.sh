#!/bin/sh
# What cannot be done is refused with one clear line, before anything is computed.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

# no NAME PATTERN OPTIONS, on both of a source's ways into ffmpeg
no() {
    refuses "$1" "$2" -f lavfi -i "kling=$3"
    refuses "$1_graph" "$2" -filter_complex "kling=$3"
}
no size_odd       'size 17x16: width and height must be even' "$quick:size=17x16"
no size_small     'size 14x16: ' "$quick:size=14x16"
no size_large     'size 8194x16: ' "$quick:size=8194x16"
no size_nonsense  'Unable to parse .*value "big"' "$quick:size=big"
no frames_many    'frames is too long: one clip of model has at most 9 frames' "$quick:frames=10"
no frames_less    "frames.* out of range" "$quick:frames=-1"
no duration_long  'duration is too long: one clip of model has at most 9 frames, 0.562 s at 16/1' "$quick:duration=1"
no duration_huge  'duration is too long' "$quick:duration=9000000000000"
no duration_less  'duration.* out of range' "$quick:duration=-1"
no duration_both  'frames and duration are both given' "$quick:duration=0.1:frames=2"
no rate_zero      'rate 0: must be' "$quick:rate=0"
no rate_fast      'rate 1001: must be' "$quick:rate=1001"
no rate_slow      'rate 1/101: must be' "$quick:rate=1/101"
no rate_nonsense  'rate fast: must be' "$quick:rate=fast"
no steps_many     'steps.* out of range' "$quick:steps=1001"
no guidance_large 'guidance.* out of range' "$quick:guidance=101"
no guidance_less  'guidance -0.5: must be' "$quick:guidance=-0.5"
no shift_less     'shift.* out of range' "$quick:shift=-1"
no seed_less      'seed -2: must be' "$quick:seed=-2"
no seed_large     'seed 18446744073709551616: must be' "$quick:seed=18446744073709551616"
no seed_nonsense  'seed 12x: must be' "$quick:seed=12x"
no sampler_unknown "sampler|\"ddim\"" "$quick:sampler=ddim"
no device_cuda    '[Dd]evice.*cuda|cuda.*(device|build)' "$quick:device=cuda"
no device_unknown 'tpu' "$quick:device=tpu"
no vram_unit      'vram 8: .*such as 8G' "$quick:vram=8"
no vram_negative  'vram.* out of range' "$quick:vram=-1"
no vram_nonsense  'Unable to parse .*value "much"' "$quick:vram=much"
no threads_many   'threads.*out of range|threads 100000: ' "$quick:threads=100000"

no model_missing  'nowhere' "$quick:model=$tmp/nowhere"
mkdir "$tmp/emptydir"
no model_empty    'emptydir' "$quick:model=$tmp/emptydir"
for part in text_encoder transformer vae tokenizer; do
    cp -r "$MODEL" "$tmp/no_$part"
    rm -r "$tmp/no_$part/$part"
    refuses "model_without_$part" "no (${part}|text encoder|VAE).*no_$part" -f lavfi \
        -i "kling=$quick:model=$tmp/no_$part"
done
cp -r "$MODEL" "$tmp/cut"
f=$(find "$tmp/cut/vae" -name '*.safetensors' | head -n 1)
head -c 1000 "$f" > "$tmp/cut.part" && mv "$tmp/cut.part" "$f"
no model_truncated "$(basename "$f")" "$quick:model=$tmp/cut"
no vae_missing    'nowhere' "$quick:vae=$tmp/nowhere"

# too little memory: a large picture in a little more than what a small one needs
if [ -n "$KLING_SANITIZED" ]; then
    skip memory "a sanitizer needs the address space"
else
    for limit_kb in 200000 300000 400000 600000 800000 1200000 1600000 2400000 3200000; do
        ( ulimit -v $limit_kb && ff -v error -f lavfi -i "kling=$small:threads=2" -f null - ) && break
    done
    for way in -filter_complex '-f lavfi -i'; do
        name=memory_filter_complex
        [ "$way" = -filter_complex ] || name=memory_lavfi
        # shellcheck disable=SC2086
        ( ulimit -v $((limit_kb + 50000)) &&
            ff -v error $way "kling=$quick:size=8192x8192:frames=9:threads=2" -f null - )
        status=$?
        if [ $status = 124 ] || [ $status = 137 ]; then
            fail "$name" "it hangs"
        elif [ $status -gt 128 ] && [ $status -lt 160 ]; then
            fail "$name" "died of signal $((status - 128))"
        elif [ $status = 0 ]; then
            fail "$name" "ffmpeg did not fail"
        else
            # FFmpeg 5.1 may configure a graph that has failed once more, and then hears of it twice.
            said=$(own | grep -Ec 'memory')
            [ "$lavfi_major" -gt 8 ] || [ "$said" != 2 ] || said=1
            expect "$name" "$said" 1
        fi
    done
fi
done_testing
