#!/bin/sh
# Every frame says what it was made from.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

printf '%s' "a cat, 猫: \"it's\" [here]; 50 % = half" > "$tmp/prompt.txt"
ff -filter_complex "kling=$small:frames=2:prompt_file=$tmp/prompt.txt:seed=77,metadata=print:file=$tmp/meta" -f null -
expect metadata_prompt "$(grep -c -F "lavfi.kling.prompt=$(cat "$tmp/prompt.txt")" "$tmp/meta")" 2
expect metadata_seed   "$(grep -c '^lavfi.kling.seed=77$' "$tmp/meta")" 2
expect metadata_model  "$(grep -c '^lavfi.kling.model=model$' "$tmp/meta")" 2
expect metadata_step_ms "$(grep -Ec '^lavfi.kling.step_ms=[0-9]+\.[0-9]{3}$' "$tmp/meta")" 2

# the way that ffprobe's users see it
"$FFPROBE" -v error -f lavfi -i "kling=$small:prompt=red" -show_entries frame_tags -of default=nk=0 \
    > "$tmp/tags" 2> "$log"
expect metadata_ffprobe "$(grep -c '^TAG:lavfi.kling.prompt=red$' "$tmp/tags")" 1

# no prompt is an empty one
ff -filter_complex "kling=$small,metadata=print:file=$tmp/meta" -f null -
expect metadata_empty "$(grep -c '^lavfi.kling.prompt=$' "$tmp/meta")" 1
done_testing
