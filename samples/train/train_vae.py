# The training of the VAE.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import contextlib
import math
import os
import shutil
import time

import numpy as np
import torch
import torch.nn.functional as F

import model
import muon
from clips import Clips, pictures_of, pick, seeded, unseen
from state import (Average, Log, Schedule, Ticker, averages, read_json, restore, save_compact, save_picture,
                   save_shards, save_whole, write_json)


def autocast(args, dtype=torch.bfloat16):
    """dtype is a GPU's; a CPU computes in f32, or with --bf16 in that."""
    if args.device == "cuda":
        return torch.autocast("cuda", dtype)
    return torch.autocast("cpu", torch.bfloat16) if args.bf16 else contextlib.nullcontext()


def edges(a, b):
    """How far the differences between neighbours of a are from those of b, along x, y and time."""
    d = a - b
    return sum((d.diff(dim=k)).abs().mean() for k in (2, 3, 4))


def evenness(x, z):
    """Where four pictures and the four before them are the same, their latents should be: how far they are apart, as a
    share of z's variance. Without this the first latent frame, which is of one picture, and the second, which still
    sees the start, are of another kind than the others, and the transformer has each of them to learn."""
    n, t, (h, w) = x.shape[0], z.shape[2], z.shape[3:]
    change = x.detach().diff(dim=2).abs().amax(1)                           # [N, T - 1, H, W]
    change = F.max_pool2d(change, (x.shape[3] // h, x.shape[4] // w))
    change = change.view(n, t - 1, 4, h, w).amax(2)                         # into each latent frame
    change = torch.maximum(change, F.pad(change, (0, 0, 0, 0, 1, 0))[:, :-1])   # and within the one before
    still = (F.max_pool2d(change, 3, 1, 1) < 0.03).float().unsqueeze(1)     # the encoder sees a little further
    apart = (z.diff(dim=2) ** 2 / z.detach().var((0, 2, 3, 4), keepdim=True)).mean(1, keepdim=True)
    return (apart * still).sum() / still.sum().clamp(min=1)


def new_vae(args, weights=None):
    vae = model.Vae(model.config(args.config, "vae"))
    vae.start()
    if weights:
        model.load_state(vae, weights)
    vae.to(args.device)
    for p in vae.parameters():
        if p.ndim == 5:
            p.data = p.data.contiguous(memory_format=torch.channels_last_3d)
    return vae


def adopt(args):
    """Makes the tokenizer and the VAE of the folder to begin with those of a state that has none."""
    shutil.copytree(os.path.join(args.begin, "tokenizer"), args.state, dirs_exist_ok=True)
    save_shards(args.state, "vae", {"ema." + k: v.half() for k, v in model.released(args.begin, "vae").items()}, 0)
    write_json(os.path.join(args.state, "vae.json"),
               {"step": 0, "done": True, "statistics": released_statistics(args)})


def done_vae(args):
    """The VAE that ships: its averaged weights as f16 keeps them. No gradients."""
    vae = new_vae(args, {k: v.half() for k, v in averages(args.state, "vae").items()})
    return vae.requires_grad_(False)


@torch.no_grad()
def encode(args, vae, clips):
    """Means of the latents of bytes [N, 3, T, H, W]."""
    with autocast(args, torch.float16):
        return vae.encode(pictures_of(clips))[0]


def psnr(v):
    return -10 * math.log10(max(float(v), 1e-12))


def strip(clip):
    """[3, T, H, W] in 0..1 as a strip."""
    from score import strip as bytes_strip
    return bytes_strip((clip.permute(1, 2, 3, 0) * 255 + 0.5).clamp(0, 255).to(torch.uint8).cpu().numpy())


@torch.no_grad()
def report(args, vae, count):
    """PSNR on unseen clips, of their first frames, and by place in the groups of four; and a strip to look at."""
    errors, rows = [], []
    for i, (_, clip) in enumerate(unseen(args, count)):
        with autocast(args):
            back = vae.decode(vae.encode(clip * 2 - 1)[0]).float().clamp(-1, 1) / 2 + 0.5
        errors.append(((back - clip) ** 2).mean((0, 1, 3, 4)).cpu())
        if i < 6:
            rows += [strip(clip[0]), strip(back[0])]
    save_picture(os.path.join(args.state, "vae_strip.png"), rows)
    e = torch.stack(errors)
    places = [round(psnr(e[:, 1 + k::4].mean()), 2) for k in range(4)] if e.shape[1] > 4 else []
    return {"psnr": round(float(np.mean([psnr(v.mean()) for v in e])), 2),
            "psnr_first_frame": round(psnr(e[:, 0].mean()), 2), "psnr_by_place_in_four": places}


@torch.no_grad()
def latent_statistics(args, vae, clips):
    """Mean and deviation of each latent channel over clips that it was trained on."""
    n, s1, s2 = 0, 0, 0
    for data in clips.data:
        for k in range(0, min(len(data), args.stat_clips // len(clips.data)), args.encode_batch):
            z = encode(args, vae, data[k:k + args.encode_batch]).double()
            n += z.numel() // z.shape[1]
            s1, s2 = s1 + z.sum((0, 2, 3, 4)), s2 + (z * z).sum((0, 2, 3, 4))
    mean = s1 / n
    std = (s2 / n - mean * mean).clamp(min=1e-6).sqrt()
    return {"latents_mean": [round(v, 5) for v in mean.tolist()], "latents_std": [round(v, 5) for v in std.tolist()]}


def released_statistics(args):
    c = model.config(args.begin, "vae")
    return {k: c[k] for k in ("latents_mean", "latents_std")}


def losses_of(args, vae, x):
    with autocast(args):
        with torch.set_grad_enabled(not args.decoder_only):
            mean, logvar = vae.encode(x)
        noise = torch.exp(0.5 * logvar)
        if args.rough:                  # what the transformer makes is not quite what the encoder would
            noise = noise + args.rough * mean.std((0, 2, 3, 4), keepdim=True) * torch.rand_like(mean[:, :1, :1, :1, :1])
        z = mean + torch.randn_like(mean) * noise
        y = vae.decode(z).float()
    pixel, edge, square = F.l1_loss(y, x), edges(y, x), F.mse_loss(y, x)
    kl = 0.5 * (mean * mean + logvar.exp() - 1 - logvar).mean()
    even = evenness(x, mean)
    return pixel + 0.4 * edge + 2.0 * square + args.kl * kl + args.even * even, pixel, square, kl, even


def batch_of(args, clips, step):
    """Mostly pieces of clips, every fourth time whole ones of the first size at half the batch: few shapes, each of
    which cuDNN searches anew."""
    rng = seeded("vae", args.seed, step)
    if args.piece:
        return small_batch(args, clips, step, rng)
    whole = step % 4 == 3
    piece = args.frames if whole else (args.frames + 1) // 2
    first = 0 if whole else rng.randrange(args.frames - piece + 1)
    i = 0 if whole else clips.which(rng)
    index = torch.tensor(pick(rng, len(clips.data[i]), max(1, args.vae_batch // 2) if whole else args.vae_batch),
                         device=args.device)
    return pictures_of(clips.data[i][index, :, first:first + piece])


def small_batch(args, clips, step, rng):
    """For a CPU: squares of --piece pixels and 9 frames, of two the one with more to see; of every eight batches one
    has all frames, which the causal cache needs, and one whole pictures, which the attention in the middle needs."""
    long, whole = step % 8 == 3, step % 8 == 7
    length = args.frames if long else min(9, args.frames)
    count = max(1, args.vae_batch // (3 if long else 6 if whole else 1))        # of about the same cost
    first = rng.randrange(args.frames - length + 1)
    i = 0 if whole else clips.which(rng)
    found = []
    for k in pick(rng, len(clips.data[i]), count):
        clip = clips.data[i][k, :, first:first + length]
        cut = [clip] if whole else [square(rng, clip, args.piece) for _ in range(2)]
        found.append(max(cut, key=lambda c: c[:, length // 2].float().std()))
    return pictures_of(torch.stack(found))


def square(rng, clip, side):
    y, x = (rng.randrange(n - side + 1) for n in clip.shape[-2:])
    return clip[..., y:y + side, x:x + side]


def choose_convolution(args, vae, clips):
    """Times a step with cuDNN's 3D convolutions and with stacked 2D ones, checks them against f32, takes the faster."""
    torch.backends.cudnn.benchmark, torch.backends.cudnn.benchmark_limit = not args.deterministic, 4
    if args.device != "cuda" or args.convolution != "auto":
        model.STACKED["on"] = args.convolution == "stacked"
        return
    x = batch_of(args, clips, 0)
    with torch.no_grad():
        want = vae.encode(x[:2])[0]
    seconds = {}
    for on in (False, True):
        model.STACKED["on"] = on
        first = time.time()
        try:
            for k in range(5):
                if k == 2:
                    torch.cuda.synchronize()
                    start = time.time()
                vae.zero_grad(set_to_none=True)
                losses_of(args, vae, x)[0].backward()
            torch.cuda.synchronize()
            with torch.no_grad(), autocast(args):
                off = ((vae.encode(x[:2])[0] - want).abs().mean() / want.abs().mean()).item()
            seconds[on] = (time.time() - start) / 3 if off < 0.05 else float("inf")
            print(f"convolutions {'stacked' if on else 'in 3D'}: {1000 * (time.time() - start) / 3:.0f} ms a step, "
                  f"{100 * off:.2f} % off f32, {start - first:.0f} s to begin with", flush=True)
        except RuntimeError as e:
            print(f"convolutions {'stacked' if on else 'in 3D'}: {str(e).splitlines()[0]}", flush=True)
            seconds[on] = float("inf")
    model.STACKED["on"] = seconds[True] < seconds[False]
    vae.zero_grad(set_to_none=True)


def train(args):
    path = os.path.join(args.state, "vae.json")
    info = read_json(path)
    if info.get("done"):
        return print("vae: done before")
    torch.manual_seed(args.seed)
    vae = new_vae(args, model.released(args.begin, "vae") if args.begin else None)
    if args.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    names = dict(vae.named_parameters())
    params = list(names.values())
    opt = muon.Muon(muon.groups(names, 0.0))
    ema, log = Average(params, 0.998), Log(args.state, "vae", ("step", "loss", "l1", "mse", "kl", "even", "seconds"))
    step = info.get("step", 0)
    if step and not restore(args.state, "vae", names, ema, opt, step):
        raise SystemExit(f"{path} says step {step}, but its weights are not there")
    time_of = Schedule(args.vae_steps, args.vae_minutes, info.get("seconds", 0.0), args.until, args.stop_step)
    clips = Clips(args, args.vae_clips, info.get("clips", 0))
    for _ in clips.fill():
        pass
    print(f"vae: {args.vae_clips} clips rendered after {time_of.spent():.0f} s", flush=True)
    choose_convolution(args, vae, clips)
    saving, looking = Ticker(args.save_seconds), Ticker(args.look_seconds, args.look_every)

    def save(done, more=None):
        save_compact(args.state, "vae", names, ema, opt, step)
        save_whole(args.state, "vae", names, ema, opt, step)
        log.write()
        write_json(path, {"step": step, "seconds": round(time_of.spent(), 1), "clips": clips.counter, "done": done,
                          "batch": args.vae_batch, "seed": args.seed, **(more or {})})

    while time_of.progress(step) < 1 and not time_of.cut(step):
        for g in opt.param_groups:
            g["lr"] = time_of.rate(step, args.vae_lr, 100)
        torch.manual_seed(args.seed * 1000003 + step)
        if step % args.refresh_every == args.refresh_every - 1:
            clips.next(clips.which(seeded("new", args.seed, step)))
        losses = losses_of(args, vae, batch_of(args, clips, step))
        opt.zero_grad(set_to_none=True)
        losses[0].backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        step += 1
        ema.update(step)
        if step % args.log_every == 0:
            log.add(step, *(v.item() for v in losses), time_of.spent())
            if not math.isfinite(log.rows[-1][1]):
                raise SystemExit("vae: the loss is not finite; the state folder holds the last good weights")
        if looking.due(step):
            with ema.inside():
                print("vae:", report(args, vae, 6), flush=True)
        if saving.due(step):
            save(False)
    torch.backends.cudnn.benchmark = False          # encoding has many shapes and few steps of each
    done = time_of.progress(step) >= 1
    save(False)
    if done:                                # what ships is f16: measure and use that
        shipped = done_vae(args)
        figures = report(args, shipped, 24)
        figures["statistics"] = (released_statistics(args) if args.decoder_only else
                                 latent_statistics(args, shipped, clips))
        # nothing but the averages is needed from here on
        save_shards(args.state, "vae", {"ema." + k: v.half() for k, v in averages(args.state, "vae").items()}, step)
        save_done = {"step": step, "seconds": round(time_of.spent(), 1), "clips": clips.counter, "done": True,
                     "batch": args.vae_batch, "seed": args.seed, **figures}
        for i in range(1, 9):
            extra = os.path.join(args.state, f"vae.{i}.safetensors")
            if os.path.exists(extra):
                os.remove(extra)
        write_json(path, save_done)
        print(f"vae: done after {step} steps, {figures}", flush=True)
    else:
        print(f"vae: step {step}, to be continued", flush=True)
