#!/bin/sh
# Released kinds at their true size are told by their files' headers: the values are holes that take no room.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later

build=${BUILD:-build}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
rc=0

if [ -n "$KLING_SANITIZED" ] || ! truncate -s 200G "$tmp/hole" 2> /dev/null; then
    echo "skip true_sizes: needs files with holes of 200 GB and as much address space"
    exit 77
fi
rm "$tmp/hole"

# grow FILE KEY VALUE...
grow()
{
    file=$1
    shift
    while [ $# -gt 0 ]; do
        sed -i "s/\"$1\": [^,]*\(,*\)\$/\"$1\": $2\1/" "$file" || exit 1
        shift 2
    done
}

# model FORM NAME KIND CAN PARAMETERS PRESET HEADS FFN LAYERS [PICTURES' POSITIONS]
model()
{
    c=$tmp/config m=$tmp/model form=$1
    shift
    rm -rf "$c" "$m"
    cp -R "tests/models/$5" "$c" || exit 1
    rm -f "$c/kling.json"
    for t in transformer transformer_2; do
        [ ! -f "$c/$t/config.json" ] || grow "$c/$t/config.json" num_attention_heads "$6" attention_head_dim 128 \
            ffn_dim "$7" num_layers "$8" text_dim 4096 freq_dim 256
    done
    grow "$c/text_encoder/config.json" vocab_size 256384 d_model 4096 d_kv 64 d_ff 10240 num_layers 24 num_heads 64
    grow "$c/vae/config.json" base_dim 96
    if [ -d "$c/image_encoder" ]; then
        grow "$c/transformer/config.json" image_dim 1280 added_kv_proj_dim 5120 pos_embed_seq_len "${9:-null}"
        grow "$c/image_encoder/config.json" hidden_size 1280 intermediate_size 5120 num_hidden_layers 32 \
            num_attention_heads 16 image_size 224 patch_size 14
        sed -i 's/: 28/: 224/g' "$c/image_processor/preprocessor_config.json"
    fi
    "$build/bin/kling-synth" "$c" "$m" 1 --dtype bf16 --sparse --names $form --tokenizer tests/data/tokenizer ||
        exit 1
    rm -f "$m"/kling.json "$m"/diffusion_models/kling.json  # nothing but the files themselves
    file=$m
    [ $form != repackaged ] || file=$(ls "$m"/diffusion_models/*.safetensors | head -n 1)
    "$build/bin/kling-info" "$file" > "$tmp/out" 2>&1
    if grep -q "^kind  *$2\$" "$tmp/out" && grep -q "^can  *$3\$" "$tmp/out" &&
        grep -q "^parameters  *$4 billion\$" "$tmp/out"; then
        echo "ok true_size_$1_$form"
    else
        echo "not ok true_size_$1_$form: $(head -n 5 "$tmp/out" | tr -s ' \n' ' ')"
        rc=1
    fi
}

i2v='image to video'
model diffusers t2v_1.3b "Wan 2.1 T2V 1.3B" "text to video" 7.23 tiny 12 8960 30
model original t2v_14b "Wan 2.1 T2V 14B" "text to video" 20.10 tiny 40 13824 40
model repackaged i2v_14b "Wan 2.1 I2V 14B" "$i2v" 22.83 i2v 40 13824 40
model diffusers flf2v_14b "Wan 2.1 FLF2V 14B" "$i2v, arrive at a picture, only with both" 22.83 flf2v 40 13824 40 514
model original t2v_a14b "Wan 2.2 T2V A14B" "text to video" 34.38 experts 40 13824 40
model repackaged i2v_a14b "Wan 2.2 I2V A14B" "$i2v, arrive at a picture" 34.39 i2v_experts 40 13824 40
exit $rc
