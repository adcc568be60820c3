#!/bin/sh
# Prompts from the command line and from files: UTF-8, quotes, long ones, broken ones.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

# a file spares the escaping that the graph's syntax asks for
printf '%s\n' "it's 5:30, [red] 猫; a\\b" > "$tmp/quotes.txt"
same prompt_escaped "$small:prompt_file=$tmp/quotes.txt" \
    "$small:prompt=it\\\\\\'s 5\\\\:30\\, \\[red\\] 猫\\; a\\\\\\\\b"
printf '\357\273\277red\r\n' > "$tmp/dos.txt"
ff -filter_complex "kling=$small:prompt_file=$tmp/dos.txt,metadata=print:file=$tmp/meta" -f null -
expect prompt_bom_crlf "$(sed -n 's/^lavfi.kling.prompt=//p' "$tmp/meta")" red
: > "$tmp/empty.txt"
same prompt_empty_file "$small:prompt_file=$tmp/empty.txt" "$small"
same prompt_empty "$small:prompt=" "$small"

# 100 kB: the model's 512 tokens are used, and a warning says so
awk 'BEGIN { for (i = 0; i < 10000; i++) printf "a red cat " }' > "$tmp/long.txt"
ff -v warning -f lavfi -i "kling=$small:prompt_file=$tmp/long.txt" -f null -
expect prompt_long_runs $? 0
expect prompt_long_warns "$(grep -Ec 'kling.*512 tokens|kling.*truncated' "$log")" 1
ff -v warning -f lavfi -i "kling=$small:prompt=red" -f null -
expect prompt_short_is_quiet "$(grep -c kling "$log")" 0

printf 'red \303\050 cat' > "$tmp/broken.txt"
refuses prompt_file_not_utf8 'broken.txt: not UTF-8 at byte 4' -f lavfi -i "kling=$small:prompt_file=$tmp/broken.txt"
refuses prompt_not_utf8 'prompt: not UTF-8 at byte 3' -f lavfi -i "kling=$small:prompt=$(printf 'red\377')"
refuses negative_not_utf8 'negative_prompt: not UTF-8 at byte 0' -f lavfi -i "kling=$small:n=$(printf '\300\200')"
head -c 2000000 /dev/zero | tr '\0' a > "$tmp/huge.txt"
refuses prompt_file_huge 'huge.txt is longer than 1 MiB' -f lavfi -i "kling=$small:prompt_file=$tmp/huge.txt"
printf 'a\0b' > "$tmp/zero.txt"
refuses prompt_file_zero 'zero.txt holds a zero byte' -f lavfi -i "kling=$small:prompt_file=$tmp/zero.txt"
refuses prompt_file_missing 'cannot open .*nothing.txt: No such file' -f lavfi \
    -i "kling=$small:prompt_file=$tmp/nothing.txt"
refuses prompt_file_folder 'prompt_file: cannot (open|read) ' -f lavfi -i "kling=$small:prompt_file=$tmp"
refuses prompt_twice 'prompt and prompt_file are both given' -f lavfi \
    -i "kling=$small:prompt=a:prompt_file=$tmp/quotes.txt"
done_testing
