# What torch reaches on this card at the models' shapes: matrix products and attention in bf16, medians of device time.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import statistics

import torch
from torch.nn.functional import scaled_dot_product_attention

SETS = 3  # of random inputs, taken in turns


def median_ms(run, rounds=12):
    for i in range(SETS):
        run(i)
    times = []
    for i in range(rounds):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        run(i % SETS)
        b.record()
        torch.cuda.synchronize()
        times.append(a.elapsed_time(b))
    return statistics.median(times)


def rand(*shape):
    return [torch.randn(*shape, device="cuda", dtype=torch.bfloat16) for _ in range(SETS)]


def product(name, m, n, k):
    x, w = rand(m, k), rand(n, k)
    ms = median_ms(lambda i: x[i] @ w[i].T)
    print(f"matmul    {name:24s} {m}x{n}x{k}: {ms:8.3f} ms {2e-9 * m * n * k / ms:7.1f} TFLOP/s", flush=True)


def attention(name, sq, sk, heads, size):
    q, k, v = rand(1, heads, sq, size), rand(1, heads, sk, size), rand(1, heads, sk, size)
    ms = median_ms(lambda i: scaled_dot_product_attention(q[i], k[i], v[i]), 6)
    flop = 4e-9 * sq * sk * heads * size
    print(f"attention {name:24s} {sq}x{sk}, {heads} heads of {size}: {ms:8.3f} ms {flop / ms:7.1f} TFLOP/s", flush=True)


product("1.3B q", 32760, 1536, 1536)
product("1.3B ffn", 32760, 8960, 1536)
product("14B q", 32760, 5120, 5120)
product("14B ffn", 32760, 13824, 5120)
product("5B ffn, 704x1280x121", 27280, 14336, 3072)
attention("1.3B self", 32760, 32760, 12, 128)
attention("1.3B cross", 32760, 512, 12, 128)
attention("14B self", 32760, 32760, 40, 128)
attention("5B self, 704x1280x121", 27280, 27280, 24, 128)
