#!/bin/sh
# kling-info tells every form by itself, and says what is missing or damaged.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

build=${BUILD:-build}
info=$build/bin/kling-info
data=tests/golden/data
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
rc=0

# expect NAME STATUS FILE PATTERN...: each pattern is an extended regular expression on a line of its own
expect()
{
    name=info_$1 want=$2 file=$3
    shift 3
    "$info" "$file" > "$tmp/out" 2> "$tmp/err"
    got=$?
    why=
    [ $got = "$want" ] || why="status $got, wanted $want: $(tail -n 1 "$tmp/err")"
    [ -s "$tmp/err" ] && why="on stderr: $(head -n 1 "$tmp/err")"
    for pattern; do
        grep -qE "$pattern" "$tmp/out" || why="no line '$pattern'"
    done
    if [ "$why" ]; then
        echo "not ok $name: $why"
        rc=1
    else
        echo "ok $name"
    fi
}

for form in diffusers original repackaged; do
    "$build/bin/kling-synth" tests/models/wide "$tmp/$form" 1 --dtype bf16 --names $form > /dev/null || exit 1
done
rm "$tmp"/original/*umt5*
"$build/bin/kling-quantize" "$tmp/diffusers/transformer" "$tmp/q4.gguf" --type q4_k --quiet > /dev/null || exit 1
"$build/bin/kling-quantize" "$tmp/diffusers/text_encoder" "$tmp/fp8.safetensors" --type fp8 --quiet > /dev/null ||
    exit 1
head -c 3000 "$tmp/q4.gguf" > "$tmp/cut.gguf"
head -c 100000 "$tmp/fp8.safetensors" > "$tmp/cut.safetensors"

expect folder 0 "$tmp/diffusers" '^what +model$' '^can +text to video' '^ +size +256x144$' '^ +denoise +[0-9.]+ MiB$' \
    '^ +dtypes +BF16 .* MiB$'
expect repackaged 0 "$tmp/repackaged/diffusion_models/wan2.1_t2v_synthetic.safetensors" '^what +model$'
expect no_text_encoder 0 "$tmp/original/diffusion_pytorch_model.safetensors" '^what +transformer$' \
    '^missing +no text encoder in' '^shape +1 layers of 256, 2 heads of 128'
expect gguf 0 "$tmp/q4.gguf" '^what +transformer$' '^form +GGUF, version 3$' '^dtypes +.*Q4_K' '^missing'
expect fp8 0 "$tmp/fp8.safetensors" '^what +text encoder$' '^dtypes +F8_E4M3' '^tokenizer +not inside'
expect gguf_tokenizer 0 $data/gguf_text.gguf '^what +text encoder$' '^tokenizer +inside$'
expect vae 0 "$tmp/diffusers/vae" '^what +VAE$' '^kind +Wan 2.1 VAE$'
for m in flf2v i2v_experts; do
    "$build/bin/kling-synth" tests/models/$m "$tmp/$m" 1 --names repackaged > /dev/null || exit 1
done
expect flf2v 0 "$tmp/flf2v/diffusion_models/wan2.1_i2v_synthetic.safetensors" '^kind +Wan FLF2V ' \
    '^can +image to video, arrive at a picture, only with both' '^ +encode +[0-9.]+ MiB$' '^ +part +image encoder$'
expect experts 0 "$tmp/i2v_experts/diffusion_models/wan2.2_low_noise_synthetic.safetensors" \
    '^kind +Wan I2V of two experts ' '^boundary +0.9$' '^ +guidance low +3$' '^ +part +low-noise transformer$'
expect image_encoder 0 "$tmp/flf2v/clip_vision/clip_vision_h.safetensors" '^error +the width 24 '
rm "$tmp"/i2v_experts/vae/*
expect expert 0 "$tmp/i2v_experts/diffusion_models/wan2.2_high_noise_synthetic.safetensors" '^what +transformer$' \
    '^expert +high noise$' '^kind +Wan I2V of two experts ' '^missing +no VAE in'
expect lora_kohya 0 $data/lora_kohya.safetensors '^what +LoRA$' '^dialect +kohya' '^rank +4$' '^alpha +yes$' \
    '^layers +20$'
expect lora_whole 0 $data/lora_whole.safetensors '^what +LoRA$' '^dialect +original names, with whole changes$'
expect cut_gguf 1 "$tmp/cut.gguf" "^error +'.*cut.gguf' is cut short"
expect cut_fp8 1 "$tmp/cut.safetensors" "^error +'.*cut.safetensors' is cut short"
expect absent 1 "$tmp/none" '^error +.*does not exist'
expect other 1 $data/vae.safetensors '^error +neither a Wan transformer'
expect text 1 README.md '^error +.*is not a safetensors file'

if "$info" --json "$tmp/diffusers" $data/lora_peft.safetensors > "$tmp/json" &&
    grep -q '"what": "LoRA"' "$tmp/json" && grep -q '"memory_beside_weights"' "$tmp/json" &&
    grep -q '"precision=int8": [1-9]' "$tmp/json"; then
    echo "ok info_json"
else
    echo "not ok info_json: $(head -c 200 "$tmp/json")"
    rc=1
fi
exit $rc
