#!/bin/sh
# Every option of the source does what it says.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

q=$small:prompt=red
g=$quick:size=16x16:frames=1:guidance=4:prompt=red

same   option_p                 "$q" "$small:p=red"
differ option_prompt            "$q" "$small:prompt=blue"
printf 'red\n' > "$tmp/red.txt"
same   option_prompt_file       "$q" "$small:prompt_file=$tmp/red.txt"
differ option_negative_prompt   "$g" "$g:negative_prompt=blurred"
same   option_n                 "$g:n=blurred" "$g:negative_prompt=blurred"
same   option_negative_unused   "$q" "$q:n=blurred"
differ option_guidance          "$g" "$q"
same   option_cfg               "$g" "$q:cfg=4"
same   option_guidance_default  "$q:guidance=-1" "$q:guidance=5"
differ option_shift             "$q:steps=2" "$q:steps=2:shift=7.5"
same   option_shift_default     "$q:steps=2" "$q:steps=2:shift=3"
differ option_steps             "$q" "$q:steps=2"
same   option_steps_default     "$q:steps=0" "$q:steps=4"
differ option_sampler           "$q:steps=3:sampler=euler" "$q:steps=3:sampler=unipc"
same   option_sampler_default   "$q:steps=3:sampler=auto" "$q:steps=3:sampler=unipc"
differ option_seed              "$q" "$q:seed=2"
differ option_seed_64_bit       "$q:seed=9007199254740992" "$q:seed=9007199254740993"
same   option_seed_last         "$q:seed=18446744073709551615" "$q:seed=18446744073709551615"
differ option_rng               "$q" "$q:rng=cuda"
same   option_device            "$q" "$q:device=cpu"
same   option_precision         "$q:precision=f32" "$q:precision=auto"
differ option_precision_int8    "$q:precision=int8" "$q:precision=auto"
"$BUILD/bin/kling-quantize" "$MODEL/transformer" "$tmp/int8.safetensors" --type int8 --quiet > "$log" 2>&1
cp -r "$MODEL" "$tmp/int8"
rm "$tmp/int8/transformer/"*.safetensors*
mv "$tmp/int8.safetensors" "$tmp/int8/transformer/diffusion_pytorch_model.safetensors"
same   option_precision_int8_is_that_file "$q:precision=int8" "$q:model=$tmp/int8"
same   option_precision_int8_of_that_file "$q:precision=int8" "$q:model=$tmp/int8:precision=int8"
same   option_threads           "$q:threads=1" "$q:threads=3"
same   option_interrupt         "$q:interrupt=0" "$q:interrupt=1"

# the model: named, from the environment, by its short name, and with parts from elsewhere
a=$(md5 "$q")
b=$(KLING_MODEL=$MODEL md5 "steps=1:seed=1:flags=bitexact:size=16x16:frames=1:guidance=1:prompt=red")
expect option_model_environment "$b" "$a"
same   option_m "$q" "m=$MODEL:steps=1:seed=1:flags=bitexact:size=16x16:frames=1:guidance=1:prompt=red"
"$BUILD/bin/kling-synth" tests/models/tiny "$tmp/other" 2 > "$log" 2>&1
for part in text_encoder vae; do
    differ "option_$part" "$q" "$q:$part=$tmp/other/$part"
    same   "option_${part}_same" "$q" "$q:$part=$MODEL/$part"
done
cp -r "$MODEL" "$tmp/bare"
mv "$tmp/bare/tokenizer" "$tmp/tok"
same option_tokenizer_folder "$q" "$q:model=$tmp/bare:tokenizer=$tmp/tok"
for f in spiece.model tokenizer.json; do
    if [ -f "$tmp/tok/$f" ]; then
        same "option_tokenizer_$f" "$q" "$q:model=$tmp/bare:tokenizer=$tmp/tok/$f"
    fi
done

# the model's own size, rate and length
ff -f lavfi -i "kling=$quick:guidance=1" -c:v ffv1 "$tmp/default.mkv"
expect option_defaults "$(probe "$tmp/default.mkv" stream=width,height,r_frame_rate,nb_read_frames)" 64,64,16/1,9

# a drawn seed is logged and gives the same clip again
ff -v info -f lavfi -i "kling=$q:seed=-1" -c:v rawvideo -f framemd5 -fflags +bitexact "$tmp/drawn"
seed=$(sed -n 's/.* seed \([0-9][0-9]*\)$/\1/p' "$log")
logged option_seed_drawn 'seed [0-9]+$'
expect option_seed_again "$(md5 "$q:seed=${seed:-0}")" "$(grep -v '^#' "$tmp/drawn" | md5sum | cut -d ' ' -f 1)"
differ option_seed_draws "$q:seed=-1" "$q:seed=-1"
done_testing
