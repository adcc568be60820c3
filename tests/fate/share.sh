#!/bin/sh
# Sources with the same model share its weights, and nothing is computed that nobody sees.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
. tests/fate/lib.sh

opened() { grep -c 'opening .*model' "$log"; }
shared() { grep -c 'sharing the weights of' "$log"; }
begun()  { grep -Ec 'kling.*: [0-9]+x[0-9]+, [0-9]+ frames, seed' "$log"; }

ff -v verbose -filter_complex "kling=$small:prompt=red[a];kling=$small:prompt=blue[b];[a][b]concat" -f null -
expect share_graph "$(opened) $(shared) $(begun)" '1 1 2'
ff -v verbose -f lavfi -i "kling=$small" -f lavfi -i "kling=$small:seed=2" -filter_complex '[0][1]concat' -f null -
expect share_inputs "$(opened) $(shared) $(begun)" '1 1 2'
ff -v verbose -filter_complex "kling=${small}[a];kling=$small:model=$MODEL/../model[b];[a][b]concat" -f null -
expect share_other_spelling "$(opened) $(shared)" '1 1'
cp -r "$MODEL" "$tmp/model2"
ff -v verbose -filter_complex "kling=${small}[a];kling=$small:model=$tmp/model2[b];[a][b]concat" -f null -
expect share_not_others "$(opened) $(shared)" '2 0'

# a graph that is set up but never asked begins no clip
ff -v verbose -f lavfi -i "kling=$small" -t 0 -f null - 
ff -v verbose -filter_complex "kling=$small:frames=4[a];kling=$small:frames=4[b];[a][b]concat" -frames:v 2 -f null -
expect wanted_first_only "$(begun)" 1
# -t shorter than the clip: one clip begun, and no error
ff -v verbose -f lavfi -i "kling=$quick:size=16x16:guidance=1" -t 0.25 -c:v ffv1 "$tmp/t.mkv"
expect t_status $? 0
expect t_begun "$(begun)" 1
expect t_frames "$(probe "$tmp/t.mkv" stream=nb_read_frames)" 4
ff -v verbose -filter_complex "kling=$quick:size=16x16:guidance=1" -t 0.25 -c:v ffv1 "$tmp/t.mkv"
expect t_graph "$? $(begun) $(probe "$tmp/t.mkv" stream=nb_read_frames)" '0 1 4'
ff -v verbose -f lavfi -i "kling=$quick:size=16x16:guidance=1" -frames:v 3 -c:v ffv1 "$tmp/t.mkv"
expect frames_v "$? $(begun) $(probe "$tmp/t.mkv" stream=nb_read_frames)" '0 1 3'

# progress: a line for the last step, and at most one a second
ff -v info -f lavfi -i "kling=$small:steps=60" -f null -
logged progress_last 'step 60/60, [0-9.e+-]+ s per step, 0.0 s left'
lines=$(grep -c 'kling.*step [0-9]*/60' "$log")
if [ "$lines" -ge 2 ] && [ "$lines" -le 20 ]; then ok progress_rate; else fail progress_rate "$lines lines"; fi
done_testing
