#!/bin/sh
# The CUDA table's own code on the CPU: the tests of kernels and the golden components against the emulated device.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What that proves, and what only a GPU can, tests/cuda/emu/cuda_runtime.h says.

LC_ALL=C
export LC_ALL

[ -z "$KLING_SANITIZED" ] || {
    echo "skip cuda_emulated: the emulator's fibers and sanitizers do not know each other"
    exit 77
}
KLING_TEST_CUDA=$BUILD/tests/cuda/libkling_cuda_emulated.so
export KLING_TEST_CUDA
rc=0

# one TEST PROGRAM
one() {
    "$BUILD/tests/$1"
    status=$?
    case $status in
        0|77) ;;
        *) rc=1; [ "$status" -gt 1 ] && echo "not ok emulated_$(basename "$1"): ended with status $status" ;;
    esac
}

for t in kernels/test_exec kernels/test_eltwise kernels/test_layout kernels/test_norm kernels/test_linear \
    kernels/test_operand kernels/test_precise kernels/test_conv kernels/test_attention kernels/test_quantize \
    golden/test_quants golden/test_sampler golden/test_text_encoder golden/test_dit golden/test_vae; do
    one $t
done
# streams whose work comes in other orders: the others' first, and drawn (tests/cuda/emu/control.h)
for o in 1 21 22 23; do
    KLING_EMU_ORDER=$o one cuda/test_streams
done
KLING_EMU_ORDER=24 one cuda/test_clip
if log=$("$BUILD/bin/kling-bench" --device cuda --plugin "$KLING_TEST_CUDA" --model tests/models/tiny --size 32x32 \
    --frames 5 --tokens 8 --stages dit,text --reps 1 --ops 2>&1); then
    echo "ok emulated_bench"
else
    echo "not ok emulated_bench: $(echo "$log" | tail -n 1)"
    rc=1
fi
# a model in less memory than its weights take
if log=$(KLING_EMU_ORDER=1 "$BUILD/bin/kling-bench" --device cuda --plugin "$KLING_TEST_CUDA" --model samples/model \
    --size 32x32 --frames 5 --tokens 8 --stages dit --reps 1 --vram 6M 2>&1) &&
    echo "$log" | grep -q 'are sent for a step'; then
    echo "ok emulated_vram"
else
    echo "not ok emulated_vram: $(echo "$log" | tail -n 1)"
    rc=1
fi
KLING_TEST_HALF=1
export KLING_TEST_HALF
for t in kernels/test_linear kernels/test_operand kernels/test_precise kernels/test_norm kernels/test_conv \
    kernels/test_attention; do
    one $t
done
for t in kernels/test_conv kernels/test_attention; do
    KLING_TEST_NO_WGMMA=1 one $t
done
# where the library has no epilogues for a product
for t in kernels/test_linear kernels/test_operand; do
    KLING_EMU_PLAIN=1 one $t
done
exit $rc
