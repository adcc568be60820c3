# Goldens of engine/rng.c: torch's CPU generator, and cuRAND's Philox in torch's launch order (gen_rng_cuda.cpp).
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Needs torch, safetensors, a C++ compiler and the CUDA toolkit's headers ($CUDA_HOME, default /usr/local/cuda).
import os
import subprocess
import tempfile

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
SEEDS = [0, 42, 2**32 + 5, 2**63 + 1]


def main():
    torch.set_num_threads(1)
    assert torch.backends.cpu.get_cpu_capability() == "AVX2", "run with ATEN_CPU_CAPABILITY=avx2: see engine/rng.c"
    out = {}
    for seed in SEEDS:
        for n in (1, 5, 15, 16, 17, 33, 1000, 16 * 3 * 9 * 7):
            g = torch.Generator("cpu").manual_seed(seed)
            out[f"cpu.{seed}.{n}"] = torch.randn(n, generator=g, dtype=torch.float32).numpy()
    with tempfile.TemporaryDirectory() as tmp:
        exe = os.path.join(tmp, "oracle")
        cuda = os.environ.get("CUDA_HOME", "/usr/local/cuda")
        # multiply-adds are fused, as nvcc does by default
        subprocess.run(["c++", "-O2", "-mfma", "-ffp-contract=fast", "-I", f"{cuda}/include",
                        os.path.join(HERE, "gen_rng_cuda.cpp"), "-o", exe], check=True)
        for seed in SEEDS:
            for n, threads in ((1, 270336), (5, 270336), (1000, 270336), (16 * 3 * 9 * 7, 270336), (5003, 512)):
                raw = subprocess.run([exe, str(n), str(seed), str(threads)], check=True, stdout=subprocess.PIPE).stdout
                out[f"cuda.{seed}.{n}.{threads}"] = np.frombuffer(raw, np.float32)
    # printed by torch.manual_seed(0); torch.randn(4, device="cuda") on any GPU
    assert np.abs(out["cuda.0.5.270336"][:4] - [-0.9247, -0.4253, -2.6438, 0.1452]).max() < 1e-4
    save_file(out, os.path.join(HERE, "data", "rng.safetensors"))


if __name__ == "__main__":
    main()
