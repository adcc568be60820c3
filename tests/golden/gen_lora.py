#!/usr/bin/env python3
# Goldens of LoRAs: WanPipeline on the tiny model of tests/models with load_lora_weights(), f32, one thread.
#
#     python tests/golden/gen_lora.py       writes tests/golden/data/lora*.safetensors
#
# One random LoRA in three dialects; diffusers gives the same frames for each, which is checked here. A second one with
# biases and the layers outside the blocks. Whole changes (diff, diff_b, diff_m, norms) are more than diffusers loads:
# there the reference has them added to its weights. Frames as in gen_pipeline.py.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import json
import pathlib

import numpy as np
import torch
from safetensors.torch import save_file

import gen_pipeline
import synth

DATA = pathlib.Path(__file__).resolve().parent / "data"
SEED, RANK, DIM, FFN, LAYERS, STRENGTH = 3, 4, 24, 64, 2, 0.8

# layer in the original's names and in diffusers', outputs, inputs
BLOCK = [(f"{a}.{o}", f"{b}.{n}", DIM, DIM) for a, b in (("self_attn", "attn1"), ("cross_attn", "attn2"))
         for o, n in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"))]
BLOCK += [("ffn.0", "ffn.net.0.proj", FFN, DIM), ("ffn.2", "ffn.net.2", DIM, FFN)]
LAYERS_OF_BLOCKS = [(f"blocks.{i}.{o}", f"blocks.{i}.{n}", rows, cols) for i in range(LAYERS)
                    for o, n, rows, cols in BLOCK]
ENDS = [("text_embedding.0", "condition_embedder.text_embedder.linear_1", DIM, 32),
        ("text_embedding.2", "condition_embedder.text_embedder.linear_2", DIM, DIM),
        ("time_embedding.0", "condition_embedder.time_embedder.linear_1", DIM, 64),
        ("time_embedding.2", "condition_embedder.time_embedder.linear_2", DIM, DIM),
        ("time_projection.1", "condition_embedder.time_proj", 6 * DIM, DIM),
        ("head.head", "proj_out", 64, DIM)]


def rand(name, *shape, amp=0.6):
    return torch.from_numpy(synth.inputs(SEED, name, shape, amp))


def pair(layer, rows, cols):
    return rand(layer + ".A", RANK, cols), rand(layer + ".B", rows, RANK)


def dialects():
    peft, kohya, original = {}, {}, {}
    for o, n, rows, cols in LAYERS_OF_BLOCKS:
        a, b = pair(o, rows, cols)
        peft[f"transformer.{n}.lora_A.weight"] = a
        peft[f"transformer.{n}.lora_B.weight"] = b
        flat = "lora_unet_" + o.replace(".", "_")
        kohya[f"{flat}.lora_down.weight"] = a * 2       # times alpha / rank = 1/2
        kohya[f"{flat}.lora_up.weight"] = b
        kohya[f"{flat}.alpha"] = torch.tensor(RANK / 2)
        original[f"diffusion_model.{o}.lora_down.weight"] = a
        original[f"diffusion_model.{o}.lora_up.weight"] = b
    return {"peft": peft, "kohya": kohya, "original": original}


def with_biases():
    sd = {}
    for o, n, rows, cols in LAYERS_OF_BLOCKS + ENDS:
        a, b = pair("bias." + o, rows, cols)
        sd[f"diffusion_model.{o}.lora_A.weight"] = a
        sd[f"diffusion_model.{o}.lora_B.weight"] = b
        sd[f"diffusion_model.{o}.diff_b"] = rand("bias." + o + ".b", rows)
    return sd


# name in the file: (parameter, change)
def whole():
    sd = {}
    for i in range(LAYERS):
        p, q = f"diffusion_model.blocks.{i}", f"blocks.{i}"
        sd[f"{p}.self_attn.q.diff"] = (f"{q}.attn1.to_q.weight", rand(f"{i}.q", DIM, DIM))
        sd[f"{p}.self_attn.o.diff"] = (f"{q}.attn1.to_out.0.weight", rand(f"{i}.o", DIM, DIM))
        sd[f"{p}.ffn.0.diff"] = (f"{q}.ffn.net.0.proj.weight", rand(f"{i}.up", FFN, DIM))
        sd[f"{p}.ffn.2.diff_b"] = (f"{q}.ffn.net.2.bias", rand(f"{i}.down", DIM))
        sd[f"{p}.self_attn.norm_q.diff"] = (f"{q}.attn1.norm_q.weight", rand(f"{i}.nq", DIM))
        sd[f"{p}.norm3.diff"] = (f"{q}.norm2.weight", rand(f"{i}.n3", DIM))
        sd[f"{p}.norm3.diff_b"] = (f"{q}.norm2.bias", rand(f"{i}.n3b", DIM))
        sd[f"{p}.diff_m"] = (f"{q}.scale_shift_table", rand(f"{i}.m", 1, 6, DIM))
    p = "diffusion_model"
    sd[f"{p}.head.diff_m"] = ("scale_shift_table", rand("head.m", 1, 2, DIM))
    sd[f"{p}.patch_embedding.diff"] = ("patch_embedding.weight", rand("patch", DIM, 16, 1, 2, 2, amp=0.1))
    sd[f"{p}.patch_embedding.diff_b"] = ("patch_embedding.bias", rand("patch.b", DIM))
    return sd


def frames(pipe, steps, frames, guidance):
    with torch.no_grad():
        v = pipe(prompt="a red ball falls onto a wooden table", negative_prompt="blue", height=32, width=32,
                 num_frames=frames, num_inference_steps=steps, guidance_scale=guidance,
                 generator=torch.Generator("cpu").manual_seed(7), output_type="np").frames[0]
    assert np.isfinite(v).all()
    return v


def stored(v):
    return torch.from_numpy(np.rint(v.astype(np.float64) * 65535).astype(np.uint16).view(np.int16).copy())


def run(steps, n, guidance, *loras):
    pipe = gen_pipeline.pipeline("tiny", "unipc", 3.0)
    pipe.set_progress_bar_config(disable=True)
    for i, (sd, strength, meta) in enumerate(loras):
        if meta is None:
            pipe.load_lora_weights(dict(sd), adapter_name=f"l{i}")
        else:
            file = DATA / "lora_alpha.safetensors"
            save_file(sd, file, meta)
            pipe.load_lora_weights(file, adapter_name=f"l{i}")
    if loras:
        pipe.set_adapters([f"l{i}" for i in range(len(loras))], [s for _, s, _ in loras])
    return frames(pipe, steps, n, guidance)


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = {}
    # a distilled LoRA's way to run: 4 steps, no guidance
    base, plain = run(4, 5, 1.0), None
    for name, sd in dialects().items():
        save_file(sd, DATA / f"lora_{name}.safetensors")
        v = run(4, 5, 1.0, (sd, STRENGTH, None))
        plain = v if plain is None else plain
        assert np.abs(v - plain).max() < 1e-5, name
    assert np.abs(plain - base).mean() > 0.01, "the LoRA changes nothing to speak of"
    out["plain"] = stored(plain)

    bias = with_biases()
    save_file(bias, DATA / "lora_bias.safetensors")
    out["bias"] = stored(run(2, 1, 5.0, (bias, STRENGTH, None)))
    out["two"] = stored(run(2, 1, 5.0, (bias, 0.5, None), (dialects()["peft"], -0.75, None)))

    meta = {"transformer.r": RANK, "transformer.lora_alpha": 2 * RANK, "transformer.target_modules":
            sorted({n.split(".", 2)[2] for _, n, _, _ in LAYERS_OF_BLOCKS})}
    out["alpha"] = stored(run(2, 1, 5.0, (dialects()["peft"], STRENGTH, {"lora_adapter_metadata": json.dumps(meta)})))

    changes = whole()
    save_file({k: v for k, (_, v) in changes.items()}, DATA / "lora_whole.safetensors")
    pipe = gen_pipeline.pipeline("tiny", "unipc", 3.0)
    pipe.set_progress_bar_config(disable=True)
    params = dict(pipe.transformer.named_parameters())
    with torch.no_grad():
        for name, v in changes.values():
            params[name] += STRENGTH * v
    out["whole"] = stored(frames(pipe, 2, 1, 5.0))
    none = stored(run(2, 1, 5.0)).numpy().view(np.uint16).astype(float)
    for k in ("bias", "two", "alpha", "whole"):
        assert np.abs(out[k].numpy().view(np.uint16) - none).mean() > 0.01 * 65535, k
    save_file(out, DATA / "lora.safetensors")


if __name__ == "__main__":
    main()
