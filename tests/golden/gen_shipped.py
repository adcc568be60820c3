#!/usr/bin/env python3
# Goldens of the model that ships: the folder samples/model, opened by diffusers as it lies, f32, one thread.
# Pinned: torch 2.15.0, diffusers 0.42.1, transformers 5.23.0 (tests/golden/requirements.txt).
#
#     python tests/golden/gen_shipped.py         writes tests/golden/data/shipped.safetensors
#
# As in gen_pipeline.py: frames in [0,1], rounded to 16 bits; of a whole clip every STRIDEth value.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import pathlib

import numpy as np
import torch
from diffusers import WanPipeline
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).resolve().parent
STRIDE = 101

# name: prompt, negative, width, height, frames, steps, guidance, seed; strided where it is True
CASES = {
    "english": ("a red ball falls onto a wooden table and bounces", "", 64, 64, 9, 4, 5.0, 7, False),
    "chinese": ("一辆蓝色的汽车在草地上向右移动", "a star", 96, 64, 5, 4, 5.0, 3, False),
    "whole": ("an orange fish swims left over the sea", "", 128, 128, 33, 20, 5.0, 1, True),
}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    pipe = WanPipeline.from_pretrained(HERE.parents[1] / "samples" / "model", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    out = {}
    for name, (p, n, w, h, f, steps, g, seed, strided) in CASES.items():
        with torch.no_grad():
            v = pipe(prompt=p, negative_prompt=n, height=h, width=w, num_frames=f, num_inference_steps=steps,
                     guidance_scale=g, generator=torch.Generator("cpu").manual_seed(seed), output_type="np").frames[0]
        assert v.shape == (f, h, w, 3) and np.isfinite(v).all(), v.shape
        print(name, v.shape, "mean %.3f std %.3f" % (v.mean(), v.std()))
        v = np.ascontiguousarray(np.rint(v.astype(np.float64) * 65535).astype(np.uint16)).view(np.int16)
        out[name] = np.ascontiguousarray(v.reshape(-1)[::STRIDE]) if strided else v
    save_file(out, HERE / "data" / "shipped.safetensors")


if __name__ == "__main__":
    main()
