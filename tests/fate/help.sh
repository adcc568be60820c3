#!/bin/sh
# ffmpeg -h filter= names every option of each filter, with a help text.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

shared='prompt p prompt_file negative_prompt n model m text_encoder vae tokenizer image_encoder transformer_2 lora
    size s frames duration d rate r steps guidance cfg guidance_low shift sampler seed rng context drift_guard vram
    device threads precision flags interrupt'

# help FILTER COUNT OPTIONS...: what -h says has so many options, these among them, and docs/ has them all.
help() {
    filter=$1 count=$2
    shift 2
    "$FFMPEG" -hide_banner -h "filter=$filter" > "$tmp/help" 2> "$log"
    for o; do
        if grep -Eq "^ +-?$o +<[a-z_]+> +[.A-Z]+ [a-z].{9,}" "$tmp/help"; then
            ok "help_${filter}_$o"
        else
            fail "help_${filter}_$o" "not in -h filter=$filter"
        fi
    done
    for v in 'auto +0' 'euler +1' 'unipc +2' 'cpu +0' 'cuda +1' 'f32 +1' 'int8 +2' 'bitexact '; do
        name=help_${filter}_value_${v%% *}
        if grep -Eq "^ +$v" "$tmp/help"; then ok "$name"; else fail "$name" "not listed"; fi
    done
    n=0
    for o in $(sed -n 's/^ *-\{0,1\}\([a-z_0-9]*\) *<[a-z_]*> .*/\1/p' "$tmp/help"); do
        n=$((n + 1))
        grep -Eq "\`$o\`" docs/filters.md || fail "help_${filter}_docs_$o" "docs/filters.md does not name it"
    done
    expect "help_${filter}_count" "$n" "$count"
    # only what can be changed while it runs is marked so
    runtime=$(sed -n 's/^ *\([a-z_0-9]*\) *<[a-z_]*> *[.A-Z]*T\. .*/\1/p' "$tmp/help")
    expect "help_${filter}_runtime" "$(echo $runtime) " 'prompt p prompt_file negative_prompt n '
}
# shellcheck disable=SC2086
help kling 36 $shared
# shellcheck disable=SC2086
help kling_extend 40 $shared only loop resample detail
# shellcheck disable=SC2086
help kling_bridge 38 $shared resample detail
done_testing
