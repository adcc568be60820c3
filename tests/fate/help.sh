#!/bin/sh
# ffmpeg -h filter=kling names every option of the source, with a help text.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

"$FFMPEG" -hide_banner -h filter=kling > "$tmp/help" 2> "$log"
for o in prompt p prompt_file negative_prompt n model m text_encoder vae tokenizer size s frames duration d rate r \
    steps guidance cfg shift sampler seed rng device threads precision flags interrupt; do
    if grep -Eq "^ +-?$o +<[a-z_]+> +[.A-Z]+ [a-z].{9,}" "$tmp/help"; then
        ok "help_$o"
    else
        fail "help_$o" "not in -h filter=kling"
    fi
done
for v in 'auto +0' 'euler +1' 'unipc +2' 'cpu +0' 'cuda +1' 'f32 +1' 'bitexact '; do
    if grep -Eq "^ +$v" "$tmp/help"; then ok "help_value_${v%% *}"; else fail "help_value_${v%% *}" "not listed"; fi
done

# The page in docs/ describes the same options.
n=0
for o in $(sed -n 's/^ *-\{0,1\}\([a-z_]*\) *<[a-z_]*> .*/\1/p' "$tmp/help"); do
    n=$((n + 1))
    grep -Eq "\`$o\`" docs/filters.md || { fail "help_docs" "docs/filters.md does not name $o"; n=-1000; }
done
[ $n -lt 0 ] || expect help_docs "$n" 29
done_testing
