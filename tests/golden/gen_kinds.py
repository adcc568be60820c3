#!/usr/bin/env python3
# Goldens of whole pipelines of the kinds that take pictures as channels, or have two experts, on the synthetic models
# of tests/models: WanImageToVideoPipeline and WanPipeline, f32, one thread.
# Pinned: torch 2.15.0, diffusers 0.42.1, transformers 5.23.0 (tests/golden/requirements.txt).
#
#     python tests/golden/gen_kinds.py        writes tests/golden/data/kinds.safetensors
#
# Every STRIDEth value of the frames [n,h,w,3] in [0,1] is stored, rounded to 16 bits.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import pathlib

import numpy as np
import torch
from diffusers import (AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler,
                       WanImageToVideoPipeline, WanPipeline, WanTransformer3DModel)
from PIL import Image
from safetensors.numpy import save_file
from transformers import (AutoTokenizer, CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel, UMT5Config,
                          UMT5EncoderModel)

import gen_pipeline
import synth

HERE = pathlib.Path(__file__).resolve().parent
SEED = gen_pipeline.SEED
STRIDE = 13

# name: model, sampler, prompt, negative, width, height, frames, steps, guidance, second guidance, shift, seed,
# pictures (0, the first, the first and the last)
CASES = {
    "i2v_unipc": ("i2v", "unipc", "a car rolls left", "", 64, 48, 9, 4, 5.0, None, 3.0, 5, 1),
    "i2v_euler": ("i2v", "euler", "一个红色的球落在木桌上", "blue", 32, 64, 5, 3, 3.0, None, 5.0, 42, 1),
    "i2v_padded": ("i2v", "unipc", "a fish", "", 44, 26, 5, 3, 2.0, None, 3.0, 4, 1),
    "i2v_unguided": ("i2v", "unipc", "", "", 48, 32, 5, 5, 1.0, None, 3.0, 1, 1),
    "flf2v_unipc": ("flf2v", "unipc", "a star turns", "red", 48, 64, 9, 4, 5.5, None, 8.0, 9, 2),
    "flf2v_euler": ("flf2v", "euler", "the sea", "", 32, 32, 5, 3, 4.0, None, 3.0, 3, 2),
    "experts_unipc": ("experts", "unipc", "night with stars", "", 48, 48, 5, 6, 4.0, 3.0, 3.0, 11, 0),
    "experts_euler": ("experts", "euler", "a red ball", "blue", 32, 48, 9, 5, 4.0, 1.0, 5.0, 2, 0),
    "experts_late": ("experts", "unipc", "a red ball", "", 32, 32, 5, 4, 2.0, None, 12.0, 2, 0),
    "i2v_experts_unipc": ("i2v_experts", "unipc", "a boat", "", 48, 32, 9, 6, 3.5, 3.5, 5.0, 7, 1),
    "i2v_experts_euler": ("i2v_experts", "euler", "a boat", "fog", 32, 48, 5, 4, 4.0, 2.0, 5.0, 8, 1),
    "i2v_experts_last": ("i2v_experts", "unipc", "a boat", "", 48, 48, 9, 5, 4.0, 3.0, 5.0, 6, 2),
}


def config(model, part, file="config.json"):
    return gen_pipeline.config(model, part, file)


def pipeline(model, sampler, shift):
    index = config(model, ".", "model_index.json")
    te = UMT5EncoderModel(UMT5Config(**config(model, "text_encoder")))
    vae = AutoencoderKLWan.from_config(config(model, "vae"))
    dit = WanTransformer3DModel.from_config(config(model, "transformer"))
    for m in (te, dit, vae):
        synth.fill(m, SEED).eval().float()
    if sampler == "unipc":
        sched = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True,
                                        num_train_timesteps=1000, flow_shift=shift)
    else:
        sched = FlowMatchEulerDiscreteScheduler(shift=shift)
    parts = dict(tokenizer=AutoTokenizer.from_pretrained(HERE.parent / "data" / "tokenizer"), text_encoder=te, vae=vae,
                 scheduler=sched, transformer=dit)
    if index["boundary_ratio"]:         # other weights than the first
        low = WanTransformer3DModel.from_config(config(model, "transformer_2"))
        parts.update(transformer_2=synth.fill(low, SEED + 1).eval().float(), boundary_ratio=index["boundary_ratio"])
    if index["_class_name"] == "WanPipeline":
        return WanPipeline(**parts)
    if index["image_encoder"][0]:
        ie = CLIPVisionModel(CLIPVisionConfig(**config(model, "image_encoder")))
        parts.update(image_encoder=synth.fill(ie, SEED).eval().float(),
                     image_processor=CLIPImageProcessorPil(**config(model, "image_processor",
                                                                    "preprocessor_config.json")))
    return WanImageToVideoPipeline(**parts)


def picture(name, w, h):
    u = synth.uniform(synth.key(SEED, name), w * h * 3)
    return np.floor((u + 1) * 128).astype(np.uint8).reshape(h, w, 3)


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = {}
    for name, (model, sampler, p, n, w, h, f, steps, g, g2, shift, seed, images) in CASES.items():
        pipe = pipeline(model, sampler, shift)
        pipe.set_progress_bar_config(disable=True)
        gw, gh = (w + 15) // 16 * 16, (h + 15) // 16 * 16
        top, left = (gh - h) // 2, (gw - w) // 2
        args = {}
        if images:                      # the transformer's size is padded, the image encoder sees what was given
            pics = [picture(k, w, h) for k in ("first", "last")][:images]
            padded = [Image.fromarray(np.pad(x, ((top, gh - h - top), (left, gw - w - left), (0, 0)), mode="edge"))
                      for x in pics]
            if getattr(pipe, "image_encoder", None) is not None:
                rows = pipe.encode_image([Image.fromarray(x) for x in pics])
                pipe.encode_image = lambda *_, r=rows: r
            args["image"] = padded[0]
            if images > 1:
                args["last_image"] = padded[1]
        if g2 is not None:
            args["guidance_scale_2"] = g2
        with torch.no_grad():
            v = pipe(prompt=p, negative_prompt=n, height=gh, width=gw, num_frames=f, num_inference_steps=steps,
                     guidance_scale=g, generator=torch.Generator("cpu").manual_seed(seed), output_type="np",
                     **args).frames[0]
        assert v.shape == (f, gh, gw, 3) and np.isfinite(v).all(), v.shape
        v = v[:, top:top + h, left:left + w]
        if pipe.config.get("boundary_ratio"):
            t = pipe.scheduler.timesteps
            high = int((t >= pipe.config.boundary_ratio * 1000).sum())
            assert 0 < high < len(t), t
            print("   ", high, "steps of the first expert,", len(t) - high, "of the second")
        print(name, v.shape, "mean %.3f std %.3f, at the rails %.1f %%" % (v.mean(), v.std(),
              100 * ((v <= 0) | (v >= 1)).mean()))
        out[name] = np.rint(np.ascontiguousarray(v).astype(np.float64).ravel()[::STRIDE] * 65535).astype(
            np.uint16).view(np.int16)
    save_file(out, HERE / "data" / "kinds.safetensors")


if __name__ == "__main__":
    main()
