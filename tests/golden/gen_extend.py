#!/usr/bin/env python3
# Goldens of clips that go on from pictures, arrive at pictures, or are made window by window, on the synthetic models
# extend and ti2v of tests/models. One picture first: diffusers' WanImageToVideoPipeline with expand_timesteps.
# Everything else, which no pipeline of diffusers does: the same loop, written out here from diffusers' transformer,
# schedulers and VAE.
# Pinned: torch 2.15.0, diffusers 0.42.1, transformers 5.23.0 (tests/golden/requirements.txt).
#
#     python tests/golden/gen_extend.py        writes tests/golden/data/extend.safetensors
#
# Every STRIDEth value of the frames [n,h,w,3] in [0,1] is stored, rounded to 16 bits.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import pathlib

import numpy as np
import torch
from safetensors.numpy import save_file

import gen_pipeline
import synth

HERE = pathlib.Path(__file__).resolve().parent
STRIDE = 29
WARM_UP = 8                             # latent frames of standstill before a trail
CONTEXT_NOISE = 0.02
MAX_OFFSET, MAX_LOG_GAIN = 8 / 255, 0.1
M64 = (1 << 64) - 1

# name: model, sampler, prompt, negative, width, height, steps, guidance, shift, seed, drift guard, pictures of lead and
# trail, and for each window: context pictures (the lead of the first is given), latent frames
CASES = {
    "image_pipeline": ("extend", "unipc", "a car rolls left", "", 48, 32, 4, 5.0, 3.0, 5, 0.0, 1, 0, [(1, 3)]),
    "image": ("extend", "unipc", "a car rolls left", "", 48, 32, 4, 5.0, 3.0, 5, 0.0, 1, 0, [(1, 3)]),
    "lead9_euler": ("extend", "euler", "a red ball", "blue", 32, 48, 3, 3.0, 5.0, 8, 0.0, 9, 0, [(9, 5)]),
    "lead5_trail8": ("extend", "unipc", "a star", "", 48, 32, 5, 4.0, 3.0, 1, 0.0, 5, 8, [(5, 6)]),
    "lead1_trail3": ("extend", "euler", "", "", 48, 32, 3, 1.0, 3.0, 2, 0.0, 1, 3, [(1, 4)]),
    "trail6": ("extend", "unipc", "a fish", "sea", 32, 32, 3, 2.0, 3.0, 3, 0.0, 0, 6, [(0, 4)]),
    "padded": ("extend", "unipc", "a fish", "", 44, 26, 3, 2.0, 3.0, 4, 0.0, 5, 1, [(5, 4)]),
    "two_windows": ("extend", "unipc", "a red ball on the grass", "", 48, 32, 3, 3.0, 3.0, 6, 0.0, 0, 0,
                    [(0, 6), (9, 7)]),
    "two_euler": ("extend", "euler", "night with stars", "red", 32, 32, 3, 3.0, 3.0, 6, 0.0, 5, 4, [(5, 6), (9, 7)]),
    "three_guarded": ("extend", "unipc", "the sea", "", 48, 32, 3, 3.0, 3.0, 9, 0.75, 0, 0,
                      [(0, 6), (9, 7), (9, 7)]),
    "ti2v": ("ti2v", "unipc", "a kite", "fog", 64, 32, 3, 3.0, 5.0, 10, 0.5, 5, 3, [(5, 4), (5, 5)]),
}


def pictures(name, n, h, w):
    """[n,h,w,3] in [0,1], the same as the test's."""
    return (0.5 + 0.5 * synth.inputs(gen_pipeline.SEED, name, (n, h, w, 3)).astype(np.float64)).astype(np.float32)


def padded(v, gh, gw):
    top, left = (gh - v.shape[1]) // 2, (gw - v.shape[2]) // 2
    return np.pad(v, ((0, 0), (top, gh - v.shape[1] - top), (left, gw - v.shape[2] - left), (0, 0)), mode="edge")


def seed_stream(seed, i):
    z = (seed + i * 0x9E3779B97F4A7C15) & M64
    if not i:
        return seed
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
    return z ^ (z >> 31)


def randn(shape, seed):
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))


def stats(vae):
    view = (1, vae.config.z_dim, 1, 1, 1)
    return (torch.tensor(getattr(vae.config, k)).view(view) for k in ("latents_mean", "latents_std"))


def encode(vae, v):
    mean, std = stats(vae)
    x = torch.from_numpy(v).permute(3, 0, 1, 2)[None] * 2 - 1
    return (vae.encode(x).latent_dist.mode() - mean) / std


def decode(vae, z):
    mean, std = stats(vae)
    x = vae.decode(z * std + mean, return_dict=False)[0]
    return (x[0].permute(1, 2, 3, 0) / 2 + 0.5).clamp(0, 1).numpy()


def encode_trail(vae, v):
    latents = -(-len(v) // 4)
    end = [v[-1:]] * (4 * latents - len(v))
    return encode(vae, np.concatenate([v[:1]] * (1 + 4 * WARM_UP) + [v] + end))[:, :, -latents:]


def window(pipe, ctx, steps, guidance, seed, F, h, w, lead, trail, noise, noise_seed):
    """Frames [1+4(F-1),h,w,3] of one window."""
    vae, dit, sched = pipe.vae, pipe.transformer, pipe.scheduler
    R, W = h // vae.config.scale_factor_spatial, w // vae.config.scale_factor_spatial
    z = randn((1, vae.config.z_dim, F, R, W), seed)
    clean, mask = torch.zeros_like(z), torch.ones(F)
    if lead is not None:
        k = encode(vae, lead)
        clean[:, :, :k.shape[2]] = k
        mask[:k.shape[2]] = 0
    if trail is not None:
        k = encode_trail(vae, trail)
        clean[:, :, F - k.shape[2]:] = k
        mask[F - k.shape[2]:] = 0
    m = mask.view(1, 1, F, 1, 1)
    shown, t_known = clean.clone(), torch.zeros(F)
    if noise and lead is not None:
        k = 1 + (len(lead) - 1) // 4
        n = randn((1, vae.config.z_dim, k, R, W), noise_seed)
        shown[:, :, :k] = (1 - noise) * clean[:, :, :k] + noise * n
        t_known[:k] = 1000 * noise
    sched.set_timesteps(steps)
    per_frame = R // 2 * (W // 2)
    for t in sched.timesteps:
        x = (1 - m) * shown + m * z
        ts = (mask * t + t_known).repeat_interleave(per_frame)[None]
        v = dit(x, ts, ctx[0], return_dict=False)[0]
        if guidance > 1:
            u = dit(x, ts, ctx[1], return_dict=False)[0]
            v = u + guidance * (v - u)
        z = sched.step(v, t, z, return_dict=False)[0]
    return decode(vae, (1 - m) * clean + m * z)


class Guard:
    """Per channel, mean and deviation: the first new picture of a window is moved towards the picture before it, all
    of the window by the same, and towards the first window's, the more the later."""

    def __init__(self, strength):
        self.strength, self.first, self.last, self.edge = strength, None, None, None

    def change(self, now, want):
        (m, s), (m0, s0) = now, want
        return (np.clip(self.strength * (m0 - m), -MAX_OFFSET, MAX_OFFSET),
                np.clip(self.strength * np.log(s0 / s), -MAX_LOG_GAIN, MAX_LOG_GAIN))

    def __call__(self, v):
        v = v.astype(np.float64)
        if self.first is not None:
            start = v[0].mean((0, 1)), v[0].std((0, 1))
            offset, gain = self.change(start, self.edge)
            ramp_offset, ramp_gain = self.change(self.last, self.first)
            at = ((np.arange(len(v)) + 1) / len(v))[:, None, None, None]
            v = np.clip((v - start[0]) * np.exp(gain + at * ramp_gain) + start[0] + offset + at * ramp_offset, 0, 1)
        self.last = v.mean((0, 1, 2)), v.std((0, 1, 2))
        self.edge = v[-1].mean((0, 1)), v[-1].std((0, 1))
        self.first = self.first or self.last
        return v.astype(np.float32)


def clip(model, sampler, prompt, negative, w, h, steps, guidance, shift, seed, guard, n_lead, n_trail, windows):
    pipe = gen_pipeline.pipeline(model, sampler, shift)
    multiple = 2 * pipe.vae.config.scale_factor_spatial
    gh, gw = -(-h // multiple) * multiple, -(-w // multiple) * multiple
    ctx = pipe.encode_prompt(prompt, negative, guidance > 1, max_sequence_length=512)
    known = padded(pictures("lead", n_lead, h, w), gh, gw)
    trail = padded(pictures("trail", n_trail, h, w), gh, gw)
    guard, out = Guard(guard), []
    for i, (context, F) in enumerate(windows):
        last = i == len(windows) - 1
        v = window(pipe, ctx, steps, guidance, seed_stream(seed, 2 * i), F, gh, gw,
                   known[-context:] if context else None, trail if last and n_trail else None,
                   CONTEXT_NOISE * guard.strength if i else 0, seed_stream(seed, 2 * i + 1))
        end = len(v) - (-(-n_trail // 4) * 4 if last else 0)
        fresh = guard(v[context:end]) if guard.strength else v[context:end]
        known = np.concatenate([known, fresh])
        out += ([v[:context]] if i == 0 else []) + [fresh] + ([v[end:end + n_trail]] if last else [])
    v = np.concatenate(out)
    return v[:, (gh - h) // 2:(gh - h) // 2 + h, (gw - w) // 2:(gw - w) // 2 + w]


def image_pipeline(model, sampler, prompt, negative, w, h, steps, guidance, shift, seed, _g, _l, _t, windows):
    pipe = gen_pipeline.from_picture(gen_pipeline.pipeline(model, sampler, shift))
    pipe.set_progress_bar_config(disable=True)
    image = torch.from_numpy(pictures("lead", 1, h, w)).permute(0, 3, 1, 2)
    return pipe(image=image, prompt=prompt, negative_prompt=negative, height=h, width=w,
                num_frames=1 + 4 * (windows[0][1] - 1), num_inference_steps=steps, guidance_scale=guidance,
                generator=torch.Generator("cpu").manual_seed(seed), output_type="np").frames[0]


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = {}
    for name, case in CASES.items():
        with torch.no_grad():
            v = (image_pipeline if name == "image_pipeline" else clip)(*case)
        assert np.isfinite(v).all()
        print(name, v.shape, "mean %.3f std %.3f, at the rails %.1f %%" % (v.mean(), v.std(),
              100 * ((v <= 0) | (v >= 1)).mean()))
        v = v.astype(np.float64).reshape(-1)[::STRIDE]
        out[name] = np.rint(v * 65535).astype(np.uint16).view(np.int16)
    a, b = (out[n].view(np.uint16).astype(int) for n in ("image_pipeline", "image"))
    assert abs(a - b).max() <= 1, "the loop written out here is not the pipeline's"
    save_file(out, HERE / "data" / "extend.safetensors")


if __name__ == "__main__":
    main()
