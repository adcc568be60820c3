# Goldens of engine/picture_resize.c and engine/image_encoder.c: Pillow's bicubic, transformers' CLIPImageProcessor on
# it, and CLIPVisionModel's hidden_states[-2], which is what WanImageToVideoPipeline shows the transformer.
# Writes tests/golden/data/image_encoder.safetensors; the same cases stand in tests/golden/test_image_encoder.c.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import pathlib

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

import synth

OUT = pathlib.Path(__file__).parent / "data" / "image_encoder.safetensors"
SEED = 17

# name: width, height, to width, to height
RESIZES = {
    "down": (61, 37, 20, 12),
    "up": (9, 7, 31, 26),
    "mixed": (40, 11, 17, 30),
    "across": (50, 13, 21, 13),
    "along": (14, 50, 14, 9),
    "far": (1000, 3, 5, 2),
    "one": (1, 1, 6, 4),
    "to_one": (33, 21, 1, 1),
}
# name: hidden, heads, ffn, layers, image, patch, eps, shortest edge; picture's width and height
MODELS = {
    "a": (24, 2, 40, 3, 28, 14, 1e-5, 28, 64, 48),
    "b": (80, 1, 96, 2, 24, 4, 1e-6, 31, 25, 57),       # heads of 80, as ViT-H; scaled up, cropped in both directions
    "c": (32, 4, 64, 4, 224, 14, 1e-5, 224, 96, 96),    # 257 rows
    "d": (16, 2, 24, 1, 16, 8, 1e-5, 16, 16, 32),       # no layer is computed
}


def picture(name, w, h):
    u = synth.uniform(synth.key(SEED, name), w * h * 3)
    return Image.fromarray(np.floor((u + 1) * 128).astype(np.uint8).reshape(h, w, 3))


def main():
    torch.set_num_threads(1)
    out = {}
    for name, (w, h, tw, th) in RESIZES.items():
        y = picture(name, w, h).resize((tw, th), Image.Resampling.BICUBIC)
        out[f"resize.{name}"] = torch.from_numpy(np.array(y))
    for name, (dim, heads, ffn, layers, size, patch, eps, short, w, h) in MODELS.items():
        mean, std = ([0.3, 0.4, 0.5], [0.2, 0.3, 0.4]) if name == "b" else (None, None)
        p = CLIPImageProcessorPil(size={"shortest_edge": short}, crop_size={"height": size, "width": size},
                                  **({"image_mean": mean, "image_std": std} if mean else {}))
        x = p(images=picture(name, w, h), return_tensors="pt").pixel_values
        assert x.shape == (1, 3, size, size) and x.dtype == torch.float32
        out[f"pixels.{name}"] = x[0].flatten()[:: 1 if x.numel() < 4000 else 53].contiguous()
        for dtype in ("f32", "bf16"):
            m = CLIPVisionModel(CLIPVisionConfig(
                hidden_size=dim, num_attention_heads=heads, intermediate_size=ffn, num_hidden_layers=layers,
                image_size=size, patch_size=patch, layer_norm_eps=eps, hidden_act="gelu")).eval()
            synth.fill(m, SEED)
            if dtype == "bf16":         # the engine computes in f32 with the weights as the file has them
                with torch.no_grad():
                    for q in m.parameters():
                        q.copy_(q.bfloat16().float())
            with torch.no_grad():
                y = m(x, output_hidden_states=True).hidden_states
            assert len(y) == layers + 1
            out[f"rows.{name}.{dtype}"] = y[-2][0].flatten()[:: 1 if y[-2].numel() < 4000 else 7].contiguous()
    save_file(out, OUT)
    print(OUT, sum(x.numel() * x.element_size() for x in out.values()), "bytes")


if __name__ == "__main__":
    main()
