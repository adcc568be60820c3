# Goldens of the transformer: diffusers' WanTransformer3DModel on synthetic weights, its stages caught by hooks.
# Writes tests/golden/data/dit.safetensors; the same cases stand in tests/golden/test_dit.c.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import pathlib

import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import save_file

import synth

OUT = pathlib.Path(__file__).parent / "data" / "dit.safetensors"
SEED = 7
TEXT_LEN = 512
KEEP = 1024
STRIDES = [1, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 131]   # none divides a width below

MODELS = {
    # head_dim 12: rotations of 4+4+4
    "h12": dict(patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=5, out_channels=3,
                text_dim=20, freq_dim=32, ffn_dim=40, num_layers=2, cross_attn_norm=True, eps=1e-6),
    # head_dim 20: rotations of 8+6+6; patches that are not square
    "h20": dict(patch_size=(1, 1, 3), num_attention_heads=3, attention_head_dim=20, in_channels=4, out_channels=4,
                text_dim=24, freq_dim=30, ffn_dim=76, num_layers=1, cross_attn_norm=False, eps=1e-5),
    # head_dim 128, as all real models: 44+42+42
    "h128": dict(patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=128, in_channels=16, out_channels=16,
                 text_dim=48, freq_dim=256, ffn_dim=320, num_layers=2, cross_attn_norm=True, eps=1e-6),
    # an image encoder's rows beside the text's, any number of them
    "image": dict(patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=9, out_channels=4,
                  text_dim=20, freq_dim=32, ffn_dim=40, num_layers=2, cross_attn_norm=True, eps=1e-6, image_dim=14,
                  added_kv_proj_dim=24),
    # of two pictures, with positions
    "images": dict(patch_size=(1, 2, 2), num_attention_heads=3, attention_head_dim=20, in_channels=6, out_channels=4,
                   text_dim=24, freq_dim=30, ffn_dim=76, num_layers=2, cross_attn_norm=False, eps=1e-6, image_dim=26,
                   added_kv_proj_dim=60, pos_embed_seq_len=10),
}
# name: model, bf16 weights, (F, R, W) of the latents, tokens of the prompt, timestep of each latent frame,
# (pictures, rows of each) that an image encoder gives
CASES = {
    "h12": ("h12", False, (3, 6, 10), 9, [875.25] * 3),
    "h12_frames": ("h12", False, (3, 6, 10), 512, [0.0, 500.5, 993.0]),
    "h20": ("h20", False, (1, 5, 9), 1, [1000.0]),
    "h20_frames": ("h20", False, (2, 7, 3), 30, [0.0, 31.0]),
    "h128": ("h128", False, (3, 6, 6), 512, [3.5] * 3),
    "h128_bf16": ("h128", True, (3, 6, 6), 9, [731.0] * 3),
    "image": ("image", False, (3, 6, 10), 9, [875.25] * 3, (1, 7)),
    "image_bf16": ("image", True, (2, 4, 6), 512, [12.0] * 2, (1, 1)),
    "images": ("images", False, (2, 6, 4), 30, [500.5] * 2, (2, 5)),
}


def sample(x):
    x = x.detach().float().flatten()
    for p in STRIDES:
        if (x.numel() + p - 1) // p <= KEEP:
            return x[::p].contiguous()
    raise ValueError(x.numel())


def run(name, out):
    model, bf16, (F, R, W), n, t, *images = CASES[name]
    cfg = MODELS[model]
    m = synth.fill(WanTransformer3DModel(**cfg).eval(), SEED)
    if bf16:
        with torch.no_grad():
            for p in m.parameters():
                p.copy_(p.bfloat16().float())
    z = torch.from_numpy(synth.inputs(SEED, name + ".z", (1, cfg["in_channels"], F, R, W)))
    ctx = torch.zeros(1, TEXT_LEN, cfg["text_dim"])
    ctx[0, :n] = torch.from_numpy(synth.inputs(SEED, name + ".ctx", (n, cfg["text_dim"])))

    image = None
    if images:
        image = torch.from_numpy(synth.inputs(SEED, name + ".image", (*images[0], cfg["image_dim"])))

    got = {}

    def keep_in(key):
        return lambda mod, args: got.__setitem__(key, args[0][0])

    def keep_out(key):
        return lambda mod, args, y: got.__setitem__(key, y[0] if isinstance(y, torch.Tensor) else y)

    b = m.blocks[0]
    b.register_forward_pre_hook(keep_in("patch_embed"))
    m.rope.register_forward_hook(lambda mod, args, y: got.update(rope_cos=y[0][..., 0::2], rope_sin=y[1][..., 1::2]))
    m.condition_embedder.timesteps_proj.register_forward_hook(lambda mod, args, y: got.__setitem__("sinusoid", y))
    m.condition_embedder.register_forward_hook(
        lambda mod, args, y: got.update(temb=y[0][0], time_proj=y[1][0], text_embed=y[2][0]))
    b.attn1.to_out[0].register_forward_pre_hook(keep_in("attention"))
    b.norm2.register_forward_pre_hook(keep_in("after_self"))
    b.norm3.register_forward_pre_hook(keep_in("after_cross"))
    b.register_forward_hook(keep_out("block"))
    m.proj_out.register_forward_pre_hook(keep_in("norm_out"))

    tok = F * (R // cfg["patch_size"][1]) * (W // cfg["patch_size"][2])
    if len(set(t)) == 1:
        ts = torch.tensor([t[0]])
    else:
        ts = torch.tensor(t).repeat_interleave(tok // F)[None]
    with torch.no_grad():
        got["output"] = m(z, ts, ctx, image, return_dict=False)[0]
    if len(set(t)) != 1:                    # a row per token there, a row per latent frame here
        for key in ("sinusoid", "temb", "time_proj"):
            got[key] = got[key][:: tok // F]
    got["text_embed"] = got["text_embed"][: min(n + 1, TEXT_LEN)]
    for key, x in got.items():
        out[f"{name}.{key}"] = sample(x)


def main():
    torch.set_num_threads(1)
    out = {}
    for name in CASES:
        run(name, out)
    save_file(out, OUT)
    print(OUT, sum(x.numel() * 4 for x in out.values()), "bytes")


if __name__ == "__main__":
    main()
