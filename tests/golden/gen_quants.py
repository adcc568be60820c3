# Goldens of the stored forms of weights: GGUF's blocks as the gguf package dequantizes them, fp8 as torch converts it.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Blocks to read are random bytes, but for their half-float scales (and minima): those go through a list that can hurt.
# Blocks that are written, where the package can, are made of values with zeros, ties and outliers among them.
import os
import warnings

import gguf
import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
# format: where its half floats lie in a block
FORMATS = {
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}
# ordinary ones; then +-0, the denormals' ends, the least normal, the largest, infinities, quiet and signalling NaN
ORDINARY = [0x2e66, 0xa800, 0x1234, 0x3c00]
HARD = [0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0x7c01]


def blocks(rng, name, offsets):
    count, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    n, step = (20, 1) if count == 32 else (10, 2)
    data = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for i in range(n):
        for j, at in enumerate(offsets):
            # the first blocks have an ordinary scale; the others pair a hard one with another of the list
            d = ORDINARY[(i + j) % 4] if i < 4 else HARD[((i - 4) * step * (2 * j + 1) + j) % len(HARD)]
            data[i, at:at + 2] = np.frombuffer(np.uint16(d).tobytes(), np.uint8)
    if name in ("Q8_0", "Q6_K"):
        data[0, 2:6] = [0x80, 0x7f, 0x00, 0xff]
    return data


def main():
    rng = np.random.default_rng(6)
    out = {}
    warnings.simplefilter("ignore")     # infinity times zero is meant
    for name, offsets in FORMATS.items():
        data = blocks(rng, name, offsets)
        out[f"{name.lower()}.blocks"] = data.reshape(-1)
        out[f"{name.lower()}.values"] = gguf.quants.dequantize(data, GGMLQuantizationType[name]).reshape(-1)
        assert out[f"{name.lower()}.values"].dtype == np.float32
    x = rng.standard_normal((24, 32)).astype(np.float32) * np.exp2(rng.integers(-12, 12, (24, 1))).astype(np.float32)
    x[0], x[1], x[2, 1:], x[3], x[4, 5] = 0, 0.75, 0, np.arange(-16, 16) / 8, 3e4
    x[5, 3] = -x[5, 7]                  # the largest magnitudes are alike
    x[5, [3, 7]] *= 9
    x[6] = np.abs(x[6])
    out["made.values"] = x.reshape(-1)
    for name in ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"):
        out[f"{name.lower()}.made"] = gguf.quants.quantize(x, GGMLQuantizationType[name]).reshape(-1)
    every = torch.arange(256, dtype=torch.uint8)
    for name, dtype in (("f8_e4m3", torch.float8_e4m3fn), ("f8_e5m2", torch.float8_e5m2)):
        out[f"{name}.blocks"] = every.numpy()
        out[f"{name}.values"] = every.view(dtype).to(torch.float32).numpy()
    save_file(out, os.path.join(HERE, "data", "quants.safetensors"))


if __name__ == "__main__":
    main()
