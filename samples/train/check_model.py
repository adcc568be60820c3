# Proves that model.py computes what diffusers computes, on random weights: the small config's VAE and transformer.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Needs diffusers (0.42.1 was used). Prints the worst difference of each part and of a folder written by export();
# ends with 1 if one is above 2e-4 of the output's largest value (f32 sums in another order).
#
#     python3 check_model.py [CONFIG_FOLDER]
import os
import sys
import tempfile

import torch

import model

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 2e-4


def judge(name, a, b):
    d = ((a - b).abs().max() / b.abs().max()).item()
    print(f"{'ok' if d <= LIMIT else 'not ok'} {name}: worst difference {d:.2e} of the largest value")
    return d <= LIMIT


@torch.no_grad()
def main():
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "configs", "small")
    torch.manual_seed(1)
    ok = True
    ours = model.Vae(model.config(root, "vae"))
    theirs = AutoencoderKLWan.from_config(AutoencoderKLWan.load_config(root, subfolder="vae"))
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(1, 3, 13, 32, 48) * 2 - 1
    mean, logvar = ours.encode(x)
    dist = theirs.encode(x).latent_dist
    ok &= judge("vae encoder, mean", mean, dist.mean) and judge("vae encoder, log variance", logvar, dist.logvar)
    ok &= judge("vae decoder", ours.decode(mean).clamp(-1, 1), theirs.decode(dist.mean).sample)
    model.STACKED["on"] = True
    ok &= judge("vae encoder, stacked convolutions", ours.encode(x)[0], mean)
    ok &= judge("vae decoder, stacked convolutions", ours.decode(mean).clamp(-1, 1), theirs.decode(dist.mean).sample)
    model.STACKED["on"] = False
    dit = model.Dit(model.config(root, "transformer"))
    ref = WanTransformer3DModel.load_config(root, subfolder="transformer")
    ref = WanTransformer3DModel.from_config(ref).eval()
    dit.load_state_dict(ref.state_dict())
    z, text = torch.randn(2, 16, 3, 8, 12), torch.randn(2, 24, dit.config["text_dim"])
    text[0, 9:] = 0
    t = torch.tensor([[0.0, 640.0, 640.0], [125.0, 125.0, 0.0]])
    full = torch.cat([text, torch.zeros(2, 512 - 24, text.shape[2])], 1)
    want = ref(z, t.repeat_interleave(4 * 6, 1), full, return_dict=False)[0]
    ok &= judge("transformer, a timestep per frame", dit(z, t, text), want)
    enc = model.make_text_encoder(model.config(root, "text_encoder"))
    with tempfile.TemporaryDirectory() as tmp:
        stats = {"latents_mean": [0.5] * 16, "latents_std": [2.0] * 16}
        model.export(root, tmp, model.state_of(ours), model.state_of(dit), model.state_of(enc), stats, tmp)
        size = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(tmp) for f in fs)
        from transformers import UMT5EncoderModel
        again = AutoencoderKLWan.from_pretrained(tmp, subfolder="vae")
        ok &= again.config.latents_std == stats["latents_std"]
        from safetensors.torch import load_file
        ref.load_state_dict(load_file(tmp + "/transformer/diffusion_pytorch_model.safetensors"))
        b = UMT5EncoderModel.from_pretrained(tmp + "/text_encoder", dtype=torch.float32)
        enc.load_state_dict({k: v.half().float() for k, v in enc.state_dict().items()})
        ids = [[5, 6, 7, 1], [9, 1]]
        ok &= judge("text encoder, written and read", model.encode_text(enc, ids), model.encode_text(b, ids))
    counts = [sum(v.numel() for v in model.state_of(m).values()) for m in (ours, dit, enc)]
    print("parameters: vae %d, transformer %d, text encoder %d;" % tuple(counts),
          "the folder without tokenizer: %.2f MiB" % (size / 2 ** 20))
    return 0 if ok and size < 32 * 2 ** 20 else 1


if __name__ == "__main__":
    sys.exit(main())
