#!/bin/sh
# The kinds of models that are not one transformer from text alone, and models of several files, through ffmpeg.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

for kind in i2v flf2v i2v_experts experts; do
    for seed in 1 2; do
        if ! "$BUILD/bin/kling-synth" "tests/models/$kind" "$tmp/$kind$seed" $seed > "$log" 2>&1; then
            fail kinds_model "kling-synth failed"
            exit 1
        fi
    done
done
how=steps=2:seed=1:guidance=1:flags=bitexact
a=testsrc2=r=16:s=32x32,trim=end_frame=1,format=gbrp
b=testsrc=r=16:s=32x32,trim=end_frame=1,format=gbrp
i2v=model=$tmp/i2v1:$how:frames=3
flf2v=model=$tmp/flf2v1:$how:frames=3
both=model=$tmp/i2v_experts1:$how:frames=3

# extend OUT PICTURE OPTIONS, bridge OUT FIRST SECOND OPTIONS, text OUT OPTIONS: a hash per frame in $tmp/OUT
extend() {
    framehashes "$tmp/times" -vf "kling_extend=$3" -f lavfi -i "$2" && cut -d ' ' -f 2 "$tmp/times" > "$tmp/$1"
}
bridge() {
    framehashes "$tmp/times" -filter_complex "[0][1]kling_bridge=$4" -f lavfi -i "$2" -f lavfi -i "$3" &&
        cut -d ' ' -f 2 "$tmp/times" > "$tmp/$1"
}
text() { framehashes "$tmp/times" -filter_complex "kling=$2" && cut -d ' ' -f 2 "$tmp/times" > "$tmp/$1"; }
# made NAME OUT FRAMES FIRST [LAST]: so many frames, no two the same, and the given ones at the ends.
made() {
    for n in first last; do : > "$tmp/$n"; done
    framehashes "$tmp/first" -vf null -f lavfi -i "$4"
    [ -z "$5" ] || framehashes "$tmp/last" -vf null -f lavfi -i "$5"
    if [ "$(sort -u "$tmp/$2" | wc -l)" != "$3" ] || [ "$(wc -l < "$tmp/$2")" != "$3" ]; then
        fail "$1" "$(sort -u "$tmp/$2" | wc -l) different frames of $(wc -l < "$tmp/$2"), wanted $3"
    elif [ "$(head -n 1 "$tmp/$2")" != "$(cut -d ' ' -f 2 "$tmp/first")" ]; then fail "$1" "the first is not as given"
    elif [ -n "$5" ] && [ "$(tail -n 1 "$tmp/$2")" != "$(cut -d ' ' -f 2 "$tmp/last")" ]; then
        fail "$1" "the last is not as given"
    else ok "$1"; fi
}
# new OUT: the frames that a model made. equal NAME A B, other NAME A B: those of two runs.
new() { sed -n '2,4p' "$tmp/$1"; }
equal() {
    if [ -n "$(new "$2")" ] && [ "$(new "$2")" = "$(new "$3")" ]; then ok "$1"
    else fail "$1" "other frames, or none"; fi
}
other() {
    if [ -n "$(new "$2")" ] && [ -n "$(new "$3")" ] && [ "$(new "$2")" != "$(new "$3")" ]; then ok "$1"
    else fail "$1" "the same frames, or none"; fi
}

# ---- from a picture
extend i2v "$a" "$i2v"
made kinds_i2v i2v 4 "$a"
extend i2v_encoder "$a" "$i2v:image_encoder=$tmp/i2v1/image_encoder"
equal kinds_image_encoder_same i2v i2v_encoder
extend i2v_encoder "$a" "$i2v:image_encoder=$tmp/i2v2/image_encoder"
other kinds_image_encoder i2v i2v_encoder
refuses kinds_image_encoder_wrong 'is a VAE, not an image encoder' -f lavfi -i "$a" \
    -vf "kling_extend=$i2v:image_encoder=$tmp/i2v1/vae"
# of footage the last picture is what it goes on from
extend i2v_last "testsrc2=r=16:s=32x32,trim=start_frame=2:end_frame=3,setpts=N,format=gbrp" "$i2v:only=1"
extend i2v_footage "testsrc2=r=16:s=32x32,trim=end_frame=3,format=gbrp" "$i2v:only=1"
if [ -s "$tmp/i2v_last" ] && cmp -s "$tmp/i2v_last" "$tmp/i2v_footage"; then ok kinds_i2v_last
else fail kinds_i2v_last "other frames from footage than from its last picture"; fi
refuses kinds_i2v_text 'i2v1 makes a clip from a picture: give one, as the filter kling_extend does' \
    -f lavfi -i "kling=$i2v"

# ---- from a picture to another
bridge flf2v "$a" "$b" "$flf2v"
made kinds_flf2v flf2v 5 "$a" "$b"
bridge flf2v_encoder "$a" "$b" "$flf2v:image_encoder=$tmp/flf2v2/image_encoder"
other kinds_flf2v_encoder flf2v flf2v_encoder
extend flf2v_loop "$a" "$flf2v:loop=1"
made kinds_flf2v_loop flf2v_loop 4 "$a"
refuses kinds_flf2v_extend 'flf2v1 goes from a first picture to a last one: give both' -f lavfi -i "$a" \
    -vf "kling_extend=$flf2v"
refuses kinds_flf2v_text 'give both, as the filter kling_bridge does' -f lavfi -i "kling=$flf2v"
refuses kinds_i2v_bridge 'cannot arrive at a given picture; kling_bridge needs' -f lavfi -i "$a" -f lavfi -i "$b" \
    -filter_complex "[0][1]kling_bridge=$i2v"
bridge both "$a" "$b" "$both"
made kinds_i2v_experts both 5 "$a" "$b"
extend both_extend "$a" "$both"
made kinds_i2v_experts_extend both_extend 4 "$a"

# ---- two experts: 4 steps with shift 3 go across the boundary
e=model=$tmp/experts1:steps=4:seed=1:flags=bitexact:prompt=red:size=32x32:frames=5
text experts "$e"
expect kinds_experts "$(sort -u "$tmp/experts" | wc -l)" 5
text experts_part "$e:transformer_2=$tmp/experts1/transformer_2"
equal kinds_transformer_2_same experts experts_part
text experts_part "$e:transformer_2=$tmp/experts2/transformer_2"
other kinds_transformer_2 experts experts_part
refuses kinds_transformer_2_wrong 'is a VAE, not a low-noise transformer' -f lavfi \
    -i "kling=$e:transformer_2=$tmp/experts1/vae"
# kling.json says 4 and 3; a guidance of one's own is that of both
text low "$e:guidance_low=3"
equal kinds_guidance_low_default experts low
text low "$e:guidance=4:guidance_low=2"
other kinds_guidance_low experts low
text high "$e:guidance=6"
text low "$e:guidance=6:guidance_low=6"
equal kinds_guidance_low_follows high low
refuses kinds_guidance_low_less 'guidance_low -0.5: must be 0 to 100, or -1' -f lavfi -i "kling=$e:guidance_low=-0.5"
refuses kinds_guidance_low_large 'guidance_low.* out of range' -f lavfi -i "kling=$e:guidance_low=101"
refuses kinds_image_encoder_useless "image_encoder' is of no use: the transformer .* takes none" \
    -f lavfi -i "kling=$e:image_encoder=$tmp/i2v1/image_encoder"
# two clips in one graph: a model with another part is another model
framehashes "$tmp/times" -filter_complex "kling=$e[a];kling=$e:transformer_2=$tmp/experts2/transformer_2[b];
    [a][b]concat"
cut -d ' ' -f 2 "$tmp/times" > "$tmp/two"
expect kinds_experts_apart "$(sort -u "$tmp/two" | wc -l)" 10

# ---- LoRAs
t=model=$MODEL:steps=2:seed=1:guidance=1:flags=bitexact:prompt=red:size=32x32:frames=5
lora=tests/golden/data/lora_peft.safetensors
text plain "$t"
text lora "$t:lora=$lora\\\\:0.8"
logged kinds_lora_log '40 of 40 tensors match, strength 0.8'
other kinds_lora plain lora
text zero "$t:lora=$lora\\\\:0"
equal kinds_lora_zero plain zero
refuses kinds_lora_missing "nowhere.safetensors" -f lavfi -i "kling=$t:lora=$tmp/nowhere.safetensors"
refuses kinds_lora_model "$(basename "$tmp")/experts1/vae" -f lavfi -i "kling=$t:lora=$tmp/experts1/vae"

# ---- precision=int8: the frames of files that kling-quantize made, with a LoRA and of both experts
# int8_of FOLDER PART: makes PART of FOLDER int8
int8_of() {
    "$BUILD/bin/kling-quantize" "$1/$2" "$tmp/int8.safetensors" --type int8 --quiet > "$log" 2>&1
    rm "$1/$2/"*.safetensors*
    mv "$tmp/int8.safetensors" "$1/$2/diffusion_pytorch_model.safetensors"
}
cp -r "$MODEL" "$tmp/int8"
int8_of "$tmp/int8" transformer
text int8_plain "$t:precision=int8"
text int8_lora "$t:precision=int8:lora=$lora\\\\:0.8"
text int8_file "$t:model=$tmp/int8:lora=$lora\\\\:0.8"
other kinds_int8_lora int8_plain int8_lora
other kinds_int8_lora_not_plain lora int8_lora
equal kinds_int8_lora_file int8_lora int8_file
cp -r "$tmp/experts1" "$tmp/int8e"
int8_of "$tmp/int8e" transformer
int8_of "$tmp/int8e" transformer_2
text int8_experts "$e:precision=int8"
text int8_file "$e:model=$tmp/int8e"
other kinds_int8_experts experts int8_experts
equal kinds_int8_experts_file int8_experts int8_file
extend int8_i2v "$a" "$i2v:precision=int8"
made kinds_int8_i2v int8_i2v 4 "$a"
other kinds_int8_i2v_int8 i2v int8_i2v

# ---- GGUF: f32 keeps every value, so the frames are the folder's; eight bits are other frames
mkdir "$tmp/gguf"
cp "$MODEL/kling.json" "$tmp/gguf/"
sed -i 's/^{/{ "head_dim": 12,/' "$tmp/gguf/kling.json"
parts=text_encoder=$MODEL/text_encoder:vae=$MODEL/vae:tokenizer=$MODEL/tokenizer
for type in f32 q8_0; do
    "$BUILD/bin/kling-quantize" "$MODEL/transformer" "$tmp/gguf/$type.gguf" --type $type --quiet > "$log" 2>&1 ||
        fail "kinds_gguf_$type" "kling-quantize failed"
    text "$type" "$t:model=$tmp/gguf/$type.gguf:$parts"
    expect "kinds_gguf_$type" "$(sort -u "$tmp/$type" | wc -l)" 5
done
equal kinds_gguf_f32_same plain f32
other kinds_gguf_q8_0_other plain q8_0
head -c 30000 "$tmp/gguf/f32.gguf" > "$tmp/gguf/cut.gguf"
refuses kinds_gguf_cut 'cut.gguf.* is cut short' -f lavfi -i "kling=$t:model=$tmp/gguf/cut.gguf:$parts"
done_testing
