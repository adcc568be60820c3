# What torch reaches on this card at the shapes that kling-bench names: yardsticks.py BENCH_OUTPUT...
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Lines "KIND:SHAPE MS ms": products, attention and convolutions in bf16, medians of device time. Attention is timed
# with every backend that takes it, and the line ends with the one that won; the others' times are comments.
# KLING_YARDSTICKS_CPU=1 runs the first of each kind on the CPU: a test of this program alone. Without torch: status 77.
import os
import re
import statistics
import sys
import time

try:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import conv2d, conv3d, scaled_dot_product_attention
except ImportError as e:
    print(f"no torch: {e}")
    sys.exit(77)

SETS = 3  # of random inputs, taken in turns
BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
CPU = bool(os.environ.get("KLING_YARDSTICKS_CPU"))
DEVICE = "cpu" if CPU else "cuda"


def once(run, i):
    if CPU:
        start = time.perf_counter()
        run(i)
        return 1e3 * (time.perf_counter() - start)
    a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    a.record()
    run(i)
    b.record()
    torch.cuda.synchronize()
    return a.elapsed_time(b)


def median_ms(run, rounds=9):
    for i in range(SETS):
        run(i)
    return statistics.median(once(run, i % SETS) for i in range(rounds))


def rand(*shape):
    return [torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16) for _ in range(SETS)]


def product(m, n, k):
    x, w = rand(m, k), rand(n, k)
    return median_ms(lambda i: x[i] @ w[i].T)


def attention(sq, sk, heads, size):
    q, k, v = rand(1, heads, sq, size), rand(1, heads, sk, size), rand(1, heads, sk, size)
    took = {}
    for name, backend in BACKENDS.items():
        try:
            with sdpa_kernel(backend):
                took[name] = median_ms(lambda i: scaled_dot_product_attention(q[i], k[i], v[i]))
        except RuntimeError as e:  # this backend is not for this shape, card or build
            print(f"# {name}: {str(e).splitlines()[0]}")
    if not took:
        raise RuntimeError("no backend takes it")
    print("#", ", ".join(f"{name} {ms:.4f} ms" for name, ms in took.items()))
    best = min(took, key=took.get)
    return took[best], best


def conv(kt, k, ic, oc, width, height):
    if kt == 1:
        x, w = rand(1, ic, height, width), rand(oc, ic, k, k)
        x = [t.to(memory_format=torch.channels_last) for t in x]
        w = [t.to(memory_format=torch.channels_last) for t in w]
        return median_ms(lambda i: conv2d(x[i], w[i], padding=k // 2))
    x, w = rand(1, ic, kt, height, width), rand(oc, ic, kt, k, k)
    x = [t.to(memory_format=torch.channels_last_3d) for t in x]
    w = [t.to(memory_format=torch.channels_last_3d) for t in w]
    return median_ms(lambda i: conv3d(x[i], w[i], padding=(0, k // 2, k // 2)))


KINDS = [
    (r"linear(\+gelu|\+residual)?:(\d+)x(\d+)x(\d+)$", lambda _, *s: product(*map(int, s))),
    (r"attention:(\d+)x(\d+)x(\d+)x(\d+)$", lambda *s: attention(*map(int, s))),
    (r"conv(?:\+up)?:(\d)x(\d)x\d:(\d+)-(\d+):(\d+)x(\d+)$", lambda *s: conv(*map(int, s))),
]


def report(key, result):
    ms, how = result if isinstance(result, tuple) else (result, "")
    print(f"{key:44s} {ms:10.4f} ms {how}".rstrip(), flush=True)


print(f"# torch {torch.__version__}, {'the CPU' if CPU else torch.cuda.get_device_name()}", flush=True)
seen = set()
for name in sys.argv[1:]:
    for line in open(name, encoding="utf-8"):
        key = line.split(" ")[0].strip()
        for kind, (pattern, run) in enumerate(KINDS):
            shape = re.match(pattern, key)
            if shape and key not in seen and not (CPU and kind in seen):
                seen.update((key, kind))
                try:
                    report(key, run(*shape.groups()))
                except RuntimeError as e:
                    print(f"# {key}: {str(e).splitlines()[0]}", flush=True)
                    if not CPU:
                        torch.cuda.empty_cache()
