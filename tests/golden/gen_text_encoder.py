# Goldens of engine/text_encoder.c: transformers' UMT5EncoderModel as WanPipeline calls it (512 tokens with a mask), the
# rows of the true tokens.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import os

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import UMT5Config, UMT5EncoderModel

import synth

# name: vocab, dim, heads, head_dim, ffn, layers, buckets, max distance, eps
CONFIGS = {
    "a": (97, 24, 3, 6, 40, 2, 32, 128, 1e-6),
    "b": (61, 40, 5, 10, 52, 3, 8, 20, 1e-5),       # inner dimension is not dim
    "c": (300, 32, 4, 8, 64, 4, 32, 128, 1e-6),
}
SEED = 11


def main():
    torch.set_num_threads(1)
    out = {}
    for name, (vocab, dim, heads, head_dim, ffn, layers, buckets, distance, eps) in CONFIGS.items():
        out[f"config.{name}"] = torch.tensor([vocab, dim, heads, head_dim, ffn, layers, buckets, distance, eps],
                                             dtype=torch.float32)
        for dtype in ("f32", "bf16"):
            cfg = UMT5Config(vocab_size=vocab, d_model=dim, num_heads=heads, d_kv=head_dim, d_ff=ffn,
                             num_layers=layers, relative_attention_num_buckets=buckets,
                             relative_attention_max_distance=distance, layer_norm_epsilon=eps, dropout_rate=0.0,
                             feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False)
            model = synth.fill(UMT5EncoderModel(cfg), SEED).eval()
            tied = torch.from_numpy(synth.weight(SEED, "shared.weight", (vocab, dim)))
            with torch.no_grad():
                model.shared.weight.copy_(tied)
                model.encoder.embed_tokens.weight.copy_(tied)
                if dtype == "bf16":     # the engine computes in f32 with the weights as the file has them
                    for p in model.parameters():
                        p.copy_(p.to(torch.bfloat16).to(torch.float32))
                for n in (1, 7, 130):
                    u = synth.uniform(synth.key(SEED, f"ids.{name}.{n}"), n)
                    ids = np.floor((u + 1) / 2 * (vocab - 3)).astype(np.int64) + 3
                    ids[-1] = 1
                    padded = torch.zeros(1, 512, dtype=torch.int64)
                    padded[0, :n] = torch.from_numpy(ids)
                    mask = torch.zeros(1, 512, dtype=torch.int64)
                    mask[0, :n] = 1
                    y = model(padded, mask).last_hidden_state
                    out[f"out.{name}.{dtype}.{n}"] = y[0, :n].clone()
    save_file(out, os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "text_encoder.safetensors"))


if __name__ == "__main__":
    main()
