# Names and shapes of all tensors as save_pretrained() writes them, for two configurations of each part, and the
# renaming of original checkpoints as diffusers' single-file loader does it.
# Writes tests/golden/data/names.txt; see tests/unit/test_names.c.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import tempfile

from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors import safe_open
from transformers import UMT5Config, UMT5EncoderModel

# the same as in tests/unit/test_names.c
TEXT = [dict(vocab_size=300, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
             relative_attention_num_buckets=32),
        dict(vocab_size=77, d_model=24, d_kv=10, d_ff=40, num_layers=3, num_heads=3,
             relative_attention_num_buckets=16)]
DIT = [dict(num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16, text_dim=32, freq_dim=256,
            ffn_dim=64, num_layers=2, cross_attn_norm=True),
       dict(num_attention_heads=3, attention_head_dim=20, in_channels=6, out_channels=5, text_dim=24, freq_dim=32,
            ffn_dim=77, num_layers=3, cross_attn_norm=False, patch_size=(1, 2, 1))]
VAE = [dict(base_dim=8, z_dim=16),
       dict(base_dim=6, z_dim=5, dim_mult=[1, 2, 3], num_res_blocks=1, temperal_downsample=[True, False],
            latents_mean=[0.0] * 5, latents_std=[1.0] * 5)]


def saved(model):
    """{name: shape} of what save_pretrained writes, in state_dict order."""
    with tempfile.TemporaryDirectory() as tmp:
        model.save_pretrained(tmp)
        file, = [f for f in os.listdir(tmp) if f.endswith(".safetensors")]
        with safe_open(os.path.join(tmp, file), "pt") as f:
            return {k: f.get_slice(k).get_shape() for k in f.keys()}


def section(out, title, shapes):
    out.write(f"[{title}]\n")
    for name in sorted(shapes):
        out.write(f"{name} {'x'.join(map(str, shapes[name]))}\n")


def main():
    path = os.path.join(os.path.dirname(__file__), "data", "names.txt")
    with open(path, "w") as out:
        for i in range(2):
            section(out, f"text {i}", saved(UMT5EncoderModel(UMT5Config(**TEXT[i]))))
            section(out, f"dit {i}", saved(WanTransformer3DModel(**DIT[i])))
            section(out, f"vae {i}", saved(AutoencoderKLWan(**VAE[i])))


if __name__ == "__main__":
    main()
