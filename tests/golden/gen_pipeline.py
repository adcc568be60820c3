#!/usr/bin/env python3
# Goldens of whole pipelines: WanPipeline, and WanImageToVideoPipeline for what goes on from a picture, on the synthetic
# models of tests/models, f32, one thread.
# Pinned: torch 2.15.0, diffusers 0.42.1, transformers 5.23.0 (tests/golden/requirements.txt).
#
#     python tests/golden/gen_pipeline.py        writes tests/golden/data/pipeline.safetensors
#
# The frames are stored as the pipeline's output_type="np" gives them, in [0,1], rounded to 16 bits
# (a rounding of 7.6e-6, against a tolerance of 1e-3); of ti2v every STRIDEth value of the clip.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import json
import pathlib

import numpy as np
import torch
from diffusers import (AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler,
                       WanImageToVideoPipeline, WanPipeline, WanTransformer3DModel)
from safetensors.numpy import save_file
from transformers import AutoTokenizer, UMT5Config, UMT5EncoderModel

import synth

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE.parent / "models"
SEED = 1                                # of the weights
STRIDE = 11

# name: model, sampler, prompt, negative, width, height, frames, steps, guidance, shift, seed
CASES = {
    "tiny_unipc": ("tiny", "unipc", "a red ball falls onto a wooden table and bounces", "", 64, 48, 9, 4, 5.0, 3.0, 7),
    "tiny_euler": ("tiny", "euler", "一个红色的球落在木桌上弹起来", "blue", 32, 32, 5, 5, 3.0, 5.0, 42),
    "tiny_unguided": ("tiny", "unipc", "", "", 16, 80, 1, 10, 1.0, 1.0, 0),
    "odd_unipc": ("odd", "unipc", "a fish &amp; a star, left of the sea", "red", 80, 48, 5, 6, 4.5, 3.0, 123456789),
    "odd_euler": ("odd", "euler", "night with stars", "", 48, 64, 5, 3, 6.0, 8.0, 3),
    "expand_unipc": ("expand", "unipc", "a car rolls left", "", 48, 48, 5, 4, 5.0, 3.0, 11),
    "ti2v_unipc": ("ti2v", "unipc", "a kite over the beach", "", 64, 96, 9, 4, 5.0, 5.0, 21),
    "ti2v_euler": ("ti2v", "euler", "two boats", "fog", 96, 32, 5, 3, 4.0, 5.0, 5),
    "ti2v_image": ("ti2v", "unipc", "the kite turns", "", 96, 64, 9, 4, 5.0, 5.0, 22),
}


def config(model, part, file="config.json"):
    return json.loads((MODELS / model / part / file).read_text())


def pipeline(model, sampler, shift):
    te = UMT5EncoderModel(UMT5Config(**config(model, "text_encoder")))
    dit = WanTransformer3DModel.from_config(config(model, "transformer"))
    vae = AutoencoderKLWan.from_config(config(model, "vae"))
    for m in (te, dit, vae):
        synth.fill(m, SEED).eval().float()
    if sampler == "unipc":
        sched = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True,
                                        num_train_timesteps=1000, flow_shift=shift)
    else:
        sched = FlowMatchEulerDiscreteScheduler(shift=shift)
    tok = AutoTokenizer.from_pretrained(MODELS.parent / "data" / "tokenizer")
    index = config(model, ".", "model_index.json")
    return WanPipeline(tokenizer=tok, text_encoder=te, vae=vae, scheduler=sched, transformer=dit,
                       expand_timesteps=index.get("expand_timesteps", False))


def picture(h, w):
    """[1,3,h,w] in [0,1], the same as the test's."""
    x = 0.5 + 0.5 * synth.inputs(SEED, "picture", (h, w, 3)).astype(np.float64)
    return torch.from_numpy(x.astype(np.float32)).permute(2, 0, 1)[None]


def from_picture(p):
    """The image-to-video pipeline of the same parts."""
    return WanImageToVideoPipeline(tokenizer=p.tokenizer, text_encoder=p.text_encoder, vae=p.vae,
                                   scheduler=p.scheduler, transformer=p.transformer, image_processor=None,
                                   image_encoder=None, expand_timesteps=True)


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out, meta = {}, {}
    for name, (model, sampler, p, n, w, h, f, steps, g, shift, seed) in CASES.items():
        pipe, given = pipeline(model, sampler, shift), {}
        if name.endswith("_image"):
            pipe, given = from_picture(pipe), {"image": picture(h, w)}
        pipe.set_progress_bar_config(disable=True)
        with torch.no_grad():
            v = pipe(prompt=p, negative_prompt=n, height=h, width=w, num_frames=f, num_inference_steps=steps,
                     guidance_scale=g, generator=torch.Generator("cpu").manual_seed(seed), output_type="np",
                     **given).frames[0]
        assert v.shape == (f, h, w, 3) and np.isfinite(v).all(), v.shape
        print(name, v.shape, "mean %.3f std %.3f, at the rails %.1f %%" % (v.mean(), v.std(),
              100 * ((v <= 0) | (v >= 1)).mean()))
        # save_file() writes the buffer as it lies, and the pipeline returns a transposed view
        v = np.ascontiguousarray(np.rint(v.astype(np.float64) * 65535).astype(np.uint16)).view(np.int16)
        out[name] = np.ascontiguousarray(v.reshape(-1)[::STRIDE]) if model == "ti2v" else v
    save_file(out, HERE / "data" / "pipeline.safetensors", meta)


if __name__ == "__main__":
    main()
