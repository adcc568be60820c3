# Goldens of the VAE: diffusers' AutoencoderKLWan on synthetic weights, decoding and encoding with its own cache.
# Writes tests/golden/data/vae.safetensors; the same cases stand in tests/golden/test_vae.c.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import pathlib

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file

import synth

OUT = pathlib.Path(__file__).parent / "data" / "vae.safetensors"
SEED = 11
KEEP = 4096
STRIDES = [1, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79]

MODELS = {
    # the shape of the real one: no time, time, time from the pixels inwards
    "wan": dict(base_dim=8, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True]),
    # one doubling in time, at the outermost level of two
    "outer": dict(base_dim=6, z_dim=3, dim_mult=[1, 3], num_res_blocks=1, temperal_downsample=[True]),
    # one doubling in time, at the innermost of three levels
    "inner": dict(base_dim=4, z_dim=5, dim_mult=[1, 2, 3], num_res_blocks=2, temperal_downsample=[False, True]),
    # the shape of the one of Wan 2.2: shortcuts around levels, patches, a decoder of its own width
    "residual": dict(base_dim=8, decoder_base_dim=12, z_dim=6, dim_mult=[1, 2, 4, 4], num_res_blocks=2,
                     temperal_downsample=[False, True, True], is_residual=True, patch_size=2, in_channels=12,
                     out_channels=12),
    # shortcuts without patches; the last one of the encoder is a mean of channels
    "narrow": dict(base_dim=6, decoder_base_dim=4, z_dim=3, dim_mult=[2, 1], num_res_blocks=1,
                   temperal_downsample=[True], is_residual=True),
    # time where the widths change, so that the two pictures of a shortcut differ; patches of 3
    "patch3": dict(base_dim=4, z_dim=5, dim_mult=[1, 1, 2, 2], num_res_blocks=1,
                   temperal_downsample=[True, False, False], is_residual=True, patch_size=3, in_channels=27,
                   out_channels=27),
    # patches alone
    "patched": dict(base_dim=6, z_dim=2, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[True], patch_size=2,
                    in_channels=12, out_channels=12),
}
# name: model, bf16 weights, latent frames, R, W of a latent
DECODE = {
    "wan1": ("wan", False, 1, 2, 3),
    "wan2": ("wan", False, 2, 5, 4),
    "wan3": ("wan", False, 3, 2, 3),
    "wan5": ("wan", False, 5, 2, 3),
    "wan_bf16": ("wan", True, 2, 3, 2),
    "outer5": ("outer", False, 5, 5, 4),
    "inner3": ("inner", False, 3, 3, 5),
    "residual1": ("residual", False, 1, 2, 3),
    "residual2": ("residual", False, 2, 5, 4),
    "residual3": ("residual", False, 3, 2, 3),
    "residual5": ("residual", False, 5, 1, 2),
    "residual_bf16": ("residual", True, 2, 3, 2),
    "narrow5": ("narrow", False, 5, 5, 4),
    "patch3": ("patch3", False, 3, 3, 2),
    "patched2": ("patched", False, 2, 3, 5),
}
# name: model, bf16 weights, frames, R, W of a picture
ENCODE = {
    "wan1": ("wan", False, 1, 16, 24),
    "wan5": ("wan", False, 5, 40, 32),
    "wan9": ("wan", False, 9, 16, 24),
    "wan17": ("wan", False, 17, 16, 24),
    "wan_bf16": ("wan", True, 5, 24, 16),
    "outer9": ("outer", False, 9, 10, 6),
    "inner9": ("inner", False, 9, 12, 20),
    "residual1": ("residual", False, 1, 32, 48),
    "residual5": ("residual", False, 5, 80, 64),
    "residual9": ("residual", False, 9, 32, 48),
    "residual17": ("residual", False, 17, 16, 32),
    "residual_bf16": ("residual", True, 5, 48, 32),
    "narrow9": ("narrow", False, 9, 10, 6),
    "patch3_9": ("patch3", False, 9, 48, 24),
    "patched5": ("patched", False, 5, 12, 20),
}


def sample(x):
    x = x.detach().float().flatten()
    for p in STRIDES:
        if (x.numel() + p - 1) // p <= KEEP:
            return x[::p].contiguous()
    raise ValueError(x.numel())


def build(model, bf16):
    cfg = MODELS[model]
    z = cfg["z_dim"]
    mean = synth.inputs(SEED, model + ".mean", (z,))
    std = 2 + synth.inputs(SEED, model + ".std", (z,))
    vae = AutoencoderKLWan(**cfg, latents_mean=mean.tolist(), latents_std=std.tolist()).eval()
    synth.fill(vae, SEED)
    if bf16:
        with torch.no_grad():
            for p in vae.parameters():
                p.copy_(p.bfloat16().float())
    return vae, torch.from_numpy(mean).view(1, z, 1, 1, 1), torch.from_numpy(std).view(1, z, 1, 1, 1)


@torch.no_grad()
def decode(name):
    model, bf16, F, R, W = DECODE[name]
    vae, mean, std = build(model, bf16)
    z = torch.from_numpy(synth.inputs(SEED, name + ".z", (1, MODELS[model]["z_dim"], F, R, W)))
    # Unclamped: the engine clamps where it converts to RGB.
    clamp, torch.clamp = torch.clamp, lambda x, **kw: x
    try:
        x = vae.decode(z / (1.0 / std) + mean, return_dict=False)[0]
    finally:
        torch.clamp = clamp
    return x[0].permute(1, 2, 3, 0)          # [frames, R, W, 3]


@torch.no_grad()
def encode(name):
    model, bf16, F, R, W = ENCODE[name]
    vae, mean, std = build(model, bf16)
    x = torch.from_numpy(synth.inputs(SEED, name + ".x", (F, R, W, 3))).permute(3, 0, 1, 2)[None]
    z = vae.encode(x.contiguous()).latent_dist.mode()
    return ((z - mean) * (1.0 / std))[0]     # [z, F, R, W]


def main():
    torch.set_num_threads(1)
    out = {}
    for name in DECODE:
        x = decode(name)
        out[f"decode.{name}"] = sample(x)
        print("decode", name, tuple(x.shape), float(x.abs().max()))
    for name in ENCODE:
        x = encode(name)
        out[f"encode.{name}"] = sample(x)
        print("encode", name, tuple(x.shape), float(x.abs().max()))
    save_file(out, OUT)
    print(OUT, sum(x.numel() * 4 for x in out.values()), "bytes")


if __name__ == "__main__":
    main()
