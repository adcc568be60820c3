#!/bin/sh
# Clips of any length, window by window, and prompts that change on the way.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh
going_on

k=kling=$go:prompt=red
for n in 18 29 100; do
    ff -v info -f lavfi -i "$k:frames=$n" -c:v ffv1 "$tmp/long.mkv"
    expect "long_frames_$n" "$(probe "$tmp/long.mkv" stream=nb_read_frames)" "$n"
done
# windows of 17 with 5 from the one before: 17 + 7 x 12 are 101
logged long_window_named 'window 8/8, step 1/1'
ff -v info -f lavfi -i "$k:frames=17" -f null -
expect long_window_alone "$(grep -c 'window' "$log")" 0
ff -f lavfi -i "$k:duration=10" -c:v ffv1 "$tmp/long.mkv"
expect long_duration "$(probe "$tmp/long.mkv" stream=nb_read_frames)" 160
ff -f lavfi -i "$k:frames=40" -frames:v 20 -c:v ffv1 "$tmp/long.mkv"
expect long_part "$? $(probe "$tmp/long.mkv" stream=nb_read_frames)" '0 20'

# options arrive: a drift guard gives other frames after the first window, and there alone; a context other windows
hashes() { framehashes "$tmp/$1" -filter_complex "$2" && cut -d ' ' -f 2 "$tmp/$1" > "$tmp/$1.md5"; }
# later NAME A B: the same first 12 frames, not all the same
later() {
    if ! cmp -s "$tmp/$2.md5" "$tmp/$3.md5" && [ -s "$tmp/$3.md5" ] &&
        [ "$(head -n 12 "$tmp/$2.md5")" = "$(head -n 12 "$tmp/$3.md5")" ]; then ok "$1"
    else fail "$1" "the frames do not differ as they should"; fi
}
hashes plain   "$k:frames=60:drift_guard=0"
hashes context "$k:frames=60:drift_guard=0:context=1"
hashes drift   "$k:frames=60:drift_guard=1"
if [ -s "$tmp/context.md5" ] && ! cmp -s "$tmp/plain.md5" "$tmp/context.md5"; then ok long_context
else fail long_context "the same frames"; fi
later long_drift_guard plain drift

# commands: from the next window on, which the metadata says
hashes command "$k:frames=60:drift_guard=0,sendcmd=c='0.5 kling prompt blue',metadata=print:file=$tmp/meta"
later long_sendcmd plain command
expect long_sendcmd_metadata "$(sed -n 's/^lavfi.kling.prompt=//p' "$tmp/meta" | uniq | tr '\n' ' ')" 'red blue '
n=$(grep -c 'prompt=red' "$tmp/meta")
# the windows are of 17 pictures at most, and the command comes at the ninth
if [ "$n" -ge 9 ] && [ "$n" -le 17 ]; then ok long_sendcmd_when; else fail long_sendcmd_when "after $n frames"; fi
expect long_sendcmd_first "$(cmp "$tmp/plain.md5" "$tmp/command.md5" 2>&1 | sed 's/.*line //')" $((n + 1))
for c in 'p blue' 'prompt blue'; do
    hashes again "$k:frames=60:drift_guard=0,sendcmd=c='0.5 kling $c'"
    if cmp -s "$tmp/again.md5" "$tmp/command.md5"; then ok "long_command_${c% *}"
    else fail "long_command_${c% *}" "other frames"; fi
done
echo blue > "$tmp/blue.txt"
hashes again "$k:frames=60:drift_guard=0,sendcmd=c='0.5 kling prompt_file $tmp/blue.txt'"
if cmp -s "$tmp/again.md5" "$tmp/command.md5"; then ok long_command_file; else fail long_command_file "other frames"; fi
hashes guided "$k:frames=60:drift_guard=0:guidance=4"
hashes negative "$k:frames=60:drift_guard=0:guidance=4,sendcmd=c='0.5 kling n blurred'"
later long_command_negative guided negative
printf 'red\377' > "$tmp/bad.txt"
ff -v error -filter_complex "$k:frames=40,sendcmd=c='0.5 kling prompt_file $tmp/bad.txt'" -f null -
logged long_command_bad 'bad.txt: not UTF-8 at byte 3'
# in the other filters too: the second half of what is new
src="testsrc2=r=16:d=0.5:s=32x32"
hashes one "$src,kling_extend=$go:prompt=red:frames=60:only=1:drift_guard=0"
hashes two "$src,kling_extend=$go:prompt=red:frames=60:only=1:drift_guard=0,sendcmd=c='0.5 kling_extend prompt blue'"
later long_extend_sendcmd one two
hashes one "$src[a];$src[b];[a][b]kling_bridge=$go:prompt=red:frames=60:drift_guard=0"
hashes two "$src[a];$src[b];
    [a][b]kling_bridge=$go:prompt=red:frames=60:drift_guard=0,sendcmd=c='1 kling_bridge prompt blue'"
later long_bridge_sendcmd one two

# memory does not grow with the length
if [ -n "$KLING_SANITIZED" ]; then
    skip long_memory "a sanitizer keeps what is freed"
else
    peak() {
        ff -v info -benchmark -f lavfi -i "$k:size=128x128:duration=$1:threads=2:flags=0" -f null -
        sed -n 's/.*maxrss=\([0-9]*\)[Kk].*/\1/p' "$log"
    }
    short=$(peak 3) long=$(peak 12)
    if [ "${short:-0}" -gt 0 ] && [ "${long:-0}" -gt 0 ] && [ "$long" -lt $((short + short / 10)) ]; then ok long_memory
    else fail long_memory "$short KiB for 3 s, $long KiB for 12 s"; fi
fi
done_testing
