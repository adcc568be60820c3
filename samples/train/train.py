# Trains the small model from nothing: tokenizer, VAE, text encoder with transformer; and writes it out.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Clips are rendered on the device as they are needed. Everything that a later run needs lies in the state folder, in
# files below 16 MiB (f16 weights and their average, no optimizer moments), so that the work can be cut into turns by
# --minutes. Every draw comes from the seed and the number of the step.
#
#     python3 train.py all    --state DIR --out FOLDER          everything
#     python3 train.py vae    --state DIR [--minutes M]         the parts, in this order; each goes on where it was
#     python3 train.py dit    --state DIR [--minutes M]
#     python3 train.py export --state DIR --out FOLDER
#     python3 train.py plan                                     what it costs, in FLOP
#     python3 train.py --smoke                                  all of it, tiny, on one CPU thread, in a minute
import argparse
import contextlib
import csv
import json
import math
import os
import random
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import captions
import model
import tokenizer as vocabulary
from render import FRAMES, SIZES, combinations, draw_scene, held_out, render, strip

HERE = os.path.dirname(os.path.abspath(__file__))
SHARD = 15 << 20
UNSEEN = 1 << 41                        # scenes from here on are for looking, not for training
# Ids per caption in training: the longest of thousands has 42; 55 and the one that stands for the rest make a multiple
# of 8, and log(512 - 55), its weight in the attention, is 6.125 in bf16 too.
TEXT_PAD = 55
PROMPTS = ("a red ball falls onto a wooden table and bounces", "一个红色的球落在木桌上弹起来",
           "a yellow star spins in the night sky", "一辆蓝色的汽车在草地上向右移动",
           "an orange fish swims left over the sea", "粉色背景前有一颗紫色的爱心变大")


# -- small things -----------------------------------------------------------------------------------------------------

class Log:
    """A CSV of losses that goes on where it ended, and its picture."""

    def __init__(self, folder, name, columns):
        self.path, self.png, self.columns = os.path.join(folder, name + ".csv"), name + "_curve.png", columns
        self.folder, self.rows = folder, []
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as f:
                self.rows = [[float(v) for v in r] for r in list(csv.reader(f))[1:]]

    def add(self, *row):
        self.rows.append([float(v) for v in row])
        print(" ".join(f"{c} {v:.5g}" for c, v in zip(self.columns, row)), flush=True)

    def write(self):
        with open(self.path, "w", encoding="utf-8", newline="") as f:
            out = csv.writer(f)
            out.writerow(self.columns)
            out.writerows([[f"{v:.6g}" for v in r] for r in self.rows])
        if len(self.rows) > 1:
            self.draw()

    def draw(self):
        """One line per column over the steps; each column on a logarithmic scale of its own."""
        from PIL import Image, ImageDraw
        w, h, m = 900, 420, 46
        pic = Image.new("RGB", (w, h), "white")
        pen = ImageDraw.Draw(pic)
        a = np.array(self.rows)
        colours = ("#c0392b", "#2471a3", "#1e8449", "#b9770e", "#7d3c98")
        pen.rectangle((m, 14, w - 14, h - m), outline="#888888")
        for i, name in enumerate(self.columns[1:-1]):
            keep = np.isfinite(a[:, i + 1]) & (a[:, i + 1] > 0)
            if keep.sum() < 2:
                continue
            x, y = a[keep, 0], np.log10(a[keep, i + 1])
            lo, hi = y.min(), max(y.max(), y.min() + 1e-3)
            px = m + (x - a[0, 0]) / max(a[-1, 0] - a[0, 0], 1) * (w - 14 - m)
            py = h - m - 4 - (y - lo) / (hi - lo) * (h - m - 26)
            pen.line(list(zip(px.tolist(), py.tolist())), fill=colours[i % 5], width=2)
            pen.text((m + 6 + 170 * i, h - m + 16), f"{name} {10 ** lo:.4g}..{10 ** hi:.4g}", fill=colours[i % 5])
        pen.text((m, h - m + 2), f"step {a[0, 0]:.0f} to {a[-1, 0]:.0f}, {a[-1, -1] / 60:.1f} minutes", fill="black")
        pic.save(os.path.join(self.folder, self.png))


class Average:
    """The exponential moving average of a list of parameters."""

    def __init__(self, params, decay, values=None):
        self.params, self.decay = params, decay
        self.values = [p.detach().clone() for p in params] if values is None else values

    def update(self, step):
        k = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.params], k)

    @contextlib.contextmanager
    def inside(self):
        """The averaged weights, in place of the trained ones, for looking."""
        keep = [p.detach().clone() for p in self.params]
        with torch.no_grad():
            torch._foreach_copy_(self.params, self.values)
        yield
        with torch.no_grad():
            torch._foreach_copy_(self.params, keep)


class Clock:
    def __init__(self, minutes):
        self.start, self.end = time.time(), time.time() + 60 * minutes if minutes else None

    def spent(self):
        return time.time() - self.start

    def over(self, reserve=0):
        return self.end is not None and time.time() + reserve > self.end


def fit_steps(args, clock, step, since, mark, steps, result):
    """Called twice, `since` steps apart and after what is slow at first: how many steps --fit's minutes allow."""
    result.item()                           # wait for the device
    if mark is None:
        return clock.spent(), steps
    one = (clock.spent() - mark) / since
    steps = max(step + 1, step + int((60 * args.fit - clock.spent()) / one))
    print(f"{1000 * one:.0f} ms a step, {steps} steps planned", flush=True)
    return mark, steps


def autocast(device, dtype=torch.bfloat16):
    return torch.autocast("cuda", dtype) if device == "cuda" else contextlib.nullcontext()


def rate(step, first, steps, peak, warm):
    """Learning rate: a warm-up after each start, then half a cosine down to 3 %."""
    k = min(1.0, step / max(steps, 1))
    return peak * min(1.0, (step - first + 1) / warm) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * k)))


def save_shards(folder, name, tensors):
    """f16 files NAME.0.safetensors ... below SHARD bytes each, written beside and renamed."""
    shards, size = [{}], 0
    for k, v in tensors.items():
        v = v.detach().to(torch.float16).contiguous().cpu()
        if size + v.numel() * 2 > SHARD:
            shards.append({})
            size = 0
        shards[-1][k] = v
        size += v.numel() * 2
    for i, s in enumerate(shards):
        path = os.path.join(folder, f"{name}.{i}.safetensors")
        save_file(s, path + ".new")
        os.replace(path + ".new", path)


def load_shards(folder, name):
    out, i = {}, 0
    while os.path.exists(os.path.join(folder, f"{name}.{i}.safetensors")):
        out.update(load_file(os.path.join(folder, f"{name}.{i}.safetensors")))
        i += 1
    return out


def write_json(path, doc):
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(json.dumps(doc, indent=2) + "\n")
    os.replace(path + ".new", path)


def read_json(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def save_picture(path, rows):
    from PIL import Image
    width = max(r.shape[1] for r in rows)
    Image.fromarray(np.concatenate([np.pad(r, ((0, 2), (0, width - r.shape[1]), (0, 0)), constant_values=255)
                                    for r in rows])).save(path)


def prepare(args):
    os.makedirs(args.state, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    else:
        torch.backends.cudnn.benchmark = True
    if args.compile:
        import torch._dynamo as dynamo
        for name in ("recompile_limit", "cache_size_limit"):        # its name depends on the version
            if hasattr(dynamo.config, name):
                setattr(dynamo.config, name, 64)
        dynamo.config.suppress_errors = True                        # what does not compile runs as it is
        model.FUSED["silu"] = torch.compile(model.normalise_silu, dynamic=True)
    if not os.path.exists(os.path.join(args.state, "spiece.model")):
        print("tokenizer:", vocabulary.train_spm(args.state, args.captions), "bytes", flush=True)
        vocabulary.write_json(args.state)


def draw_scenes(args, first, count, size):
    return [draw_scene(args.seed * (1 << 44) + first + i, size) for i in range(count)]


# -- the VAE ------------------------------------------------------------------------------------------------------

def edges(a, b):
    """How far the differences between neighbours of a are from those of b, along x, y and time."""
    d = a - b
    return sum((d.diff(dim=k)).abs().mean() for k in (2, 3, 4))


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


@torch.no_grad()
def vae_report(args, vae, folder, count=12):
    """PSNR on unseen clips of 33 frames, per frame place in the groups of four; and a strip to look at."""
    errors, rows = [], []
    for i in range(count):
        size = args.sizes[i % len(args.sizes)]
        clip = render([draw_scene(UNSEEN + i, size, held=True)], args.device, range(args.frames))
        with autocast(args.device):
            back = vae.decode(vae.encode(clip * 2 - 1)[0]).float().clamp(-1, 1) / 2 + 0.5
        errors.append(((back - clip) ** 2).mean((0, 1, 3, 4)).cpu())
        if i < 6:
            rows += [strip(clip[0]), strip(back[0])]
    save_picture(os.path.join(folder, "vae_strip.png"), rows)
    e = torch.stack(errors)
    psnr = lambda v: -10 * math.log10(max(float(v), 1e-12))       # noqa: E731
    by_phase = [psnr(e[:, 1 + k::4].mean()) for k in range(4)] if e.shape[1] > 4 else []
    return float(np.mean([psnr(v.mean()) for v in e])), psnr(e[:, 0].mean()), by_phase


@torch.no_grad()
def latent_statistics(args, vae, count):
    """Mean and deviation of each latent channel over training clips."""
    n, s1, s2 = 0, 0, 0
    for i in range(0, count, args.encode_batch):
        size = args.sizes[i // args.encode_batch % len(args.sizes)]
        scenes = draw_scenes(args, (1 << 38) + i, args.encode_batch, size)
        z = encode(args, vae, scenes).double()
        n += z.numel() // z.shape[1]
        s1, s2 = s1 + z.sum((0, 2, 3, 4)), s2 + (z * z).sum((0, 2, 3, 4))
    mean = s1 / n
    std = (s2 / n - mean * mean).clamp(min=1e-6).sqrt()
    return {"latents_mean": [round(v, 5) for v in mean.tolist()], "latents_std": [round(v, 5) for v in std.tolist()]}


@torch.no_grad()
def encode(args, vae, scenes):
    clips = render(scenes, args.device, range(args.frames))
    with autocast(args.device, torch.float16):
        return vae.encode(clips * 2 - 1)[0]


def vae_step(args, vae, step):
    """The losses of one step: mostly short pieces of clips, every fourth time whole ones at half the batch."""
    whole = step % 4 == 3
    batch = max(1, args.vae_batch // 2) if whole else args.vae_batch
    piece = args.frames if whole else (args.frames + 1) // 2
    rng = random.Random(f"vae {args.seed} {step}")
    first = 0 if whole else rng.randrange(args.frames - piece + 1)
    size = args.sizes[0] if rng.random() < 0.7 else rng.choice(args.sizes)
    scenes = draw_scenes(args, step * 64, batch, size)
    x = render(scenes, args.device, range(first, first + piece)) * 2 - 1
    x = x.contiguous(memory_format=torch.channels_last_3d)
    with autocast(args.device):
        mean, logvar = vae.encode(x)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
        y = vae.decode(z).float()
    pixel, edge = F.l1_loss(y, x), edges(y, x)
    square = F.mse_loss(y, x)
    kl = 0.5 * (mean * mean + logvar.exp() - 1 - logvar).mean()
    return pixel + 0.4 * edge + 2.0 * square + 1e-4 * kl, pixel, square, kl


def train_vae(args):
    clock, info = Clock(args.minutes), read_json(os.path.join(args.state, "vae.json"))
    if info.get("done"):
        return print("vae: done before")
    torch.manual_seed(args.seed)
    saved = load_shards(args.state, "vae")
    vae = new_vae(args, saved)
    params = [p for p in vae.parameters()]
    opt = torch.optim.AdamW(params, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0, fused=args.device == "cuda")
    ema, log = Average(params, 0.998), Log(args.state, "vae", ("step", "loss", "l1", "mse", "kl", "seconds"))
    first, steps, before = info.get("step", 0), info.get("steps", args.vae_steps), info.get("seconds", 0)
    step, mark = first, None
    while step < steps and not clock.over(args.reserve):
        for g in opt.param_groups:
            g["lr"] = rate(step, first, steps, args.vae_lr, 100)
        torch.manual_seed(args.seed * 1000003 + step)
        losses = vae_step(args, vae, step)
        opt.zero_grad(set_to_none=True)
        losses[0].backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        step += 1
        ema.update(step - first)
        if args.fit and not info and step in (40, 80):
            mark, steps = fit_steps(args, clock, step, 40, mark, steps, losses[0])
        if step % args.log_every == 0 or step == steps:
            log.add(step, *(v.item() for v in losses), before + clock.spent())
        if step % args.look_every == 0:
            with ema.inside():
                print("vae: PSNR %.2f dB, first frame %.2f, by place in the four %s"
                      % vae_report(args, vae, args.state, 6), flush=True)
            log.write()
    with torch.no_grad():
        torch._foreach_copy_(params, ema.values)
    save_shards(args.state, "vae", vae.state_dict())
    vae = new_vae(args, load_shards(args.state, "vae"))         # what ships is f16: measure and use that
    psnr, head, phases = vae_report(args, vae, args.state)
    info = {"step": step, "steps": steps, "done": step >= steps or args.finish, "seconds": before + clock.spent(),
            "psnr": psnr, "psnr_first_frame": head, "psnr_by_place_in_four": phases}
    if info["done"]:
        info["statistics"] = latent_statistics(args, vae, args.stat_clips)
    log.write()
    write_json(os.path.join(args.state, "vae.json"), info)
    print(f"vae: step {step} of {steps}, PSNR {psnr:.2f} dB, {'done' if info['done'] else 'to be continued'}")


# -- text encoder and transformer ---------------------------------------------------------------------------------

class Pool:
    """Latents of rendered clips on the device, by size; some are replaced by new ones all the time."""

    def __init__(self, args, vae, stats, counter):
        self.args, self.vae, self.counter = args, vae, counter
        view = lambda k: torch.tensor(stats[k], device=args.device).view(1, -1, 1, 1, 1)       # noqa: E731
        self.mean, self.std = view("latents_mean"), view("latents_std")
        share = [0.7, 0.15, 0.15][:len(args.sizes)]
        self.share = [s / sum(share) for s in share]
        self.latents, self.scenes, self.at = [], [], [0] * len(args.sizes)
        for i, s in enumerate(self.share):
            n = max(args.encode_batch, int(args.pool * s) // args.encode_batch * args.encode_batch)
            parts = [self.new(i) for _ in range(n // args.encode_batch)]
            self.latents.append(torch.cat([p[0] for p in parts]))
            self.scenes.append([s for p in parts for s in p[1]])

    def new(self, i):
        scenes = draw_scenes(self.args, (1 << 39) + self.counter, self.args.encode_batch, self.args.sizes[i])
        self.counter += len(scenes)
        z = (encode(self.args, self.vae, scenes) - self.mean) / self.std
        return z.to(torch.float16 if self.args.device == "cuda" else torch.float32), scenes

    def refresh(self, rng):
        i = rng.choices(range(len(self.share)), self.share)[0]
        z, scenes = self.new(i)
        a = self.at[i]
        self.latents[i][a:a + len(z)] = z
        self.scenes[i][a:a + len(z)] = scenes
        self.at[i] = (a + len(z)) % len(self.scenes[i])

    def draw(self, rng, count):
        i = rng.choices(range(len(self.share)), self.share)[0]
        pick = rng.sample(range(len(self.scenes[i])), min(count, len(self.scenes[i])))
        index = torch.tensor(pick, device=self.args.device)
        return self.latents[i][index].float(), [self.scenes[i][k] for k in pick]


def clean_frames(rng, count, frames):
    """Which latent frames each clip is given: none (text alone), some first ones, some last ones, or both."""
    out = np.zeros((count, frames), dtype=bool)
    for k in range(count):
        u = rng.random()
        if 0.55 <= u < 0.75 or u >= 0.87:
            out[k, :rng.choice((1, 1, 2, 3))] = True
        if u >= 0.75:
            out[k, frames - rng.choice((1, 1, 2)):] = True
        if out[k].all():
            out[k] = False
    return out


def flow_loss(args, nets, tok, z, scenes, rng):
    """Flow matching: the velocity noise - z at x = (1 - s) z + s noise, where the frame is not given."""
    dit, text = nets
    b, _, f, _, _ = z.shape
    ids = [tok("" if rng.random() < 0.12 else captions.caption(s, rng))[:TEXT_PAD] for s in scenes]
    given = torch.from_numpy(clean_frames(rng, b, f)).to(z.device)
    u = np.array([rng.random() if rng.random() < 0.05 else 1 / (1 + math.exp(-rng.gauss(0, 1))) for _ in range(b)])
    sigma = torch.tensor(args.shift * u / (1 + (args.shift - 1) * u), dtype=torch.float32, device=z.device)
    sigma = sigma[:, None].expand(b, f).masked_fill(given, 0.0)
    noise = torch.randn_like(z)
    s = sigma[:, None, :, None, None]
    ctx = model.encode_text(text, ids, TEXT_PAD)                   # f32: a small part of the work
    with autocast(args.device):
        v = dit((1 - s) * z + s * noise, sigma * 1000, ctx).float()
    loss = ((v - (noise - z)) ** 2).mean((1, 3, 4))
    return loss[~given].mean()


@torch.no_grad()
def generate(args, nets, tok, prompts, size, steps=20, guidance=5.0, seed=1):
    """Latents [B, z, F, H/8, W/8] from prompts by Euler's steps, with guidance."""
    dit, text = nets
    n = len(prompts)
    z = torch.randn(n, dit.config["in_channels"], (args.frames - 1) // 4 + 1, size[1] // 8, size[0] // 8,
                    generator=torch.Generator().manual_seed(seed)).to(args.device)
    ctx = model.encode_text(text, [tok(p) for p in prompts] + [tok("")] * n, TEXT_PAD)
    u = torch.linspace(1, 0, steps + 1).tolist()
    s = [args.shift * v / (1 + (args.shift - 1) * v) for v in u]
    run, dit.run_block = dit.run_block, model.Block.forward        # no compiling for looks
    for a, b in zip(s, s[1:]):
        with autocast(args.device):
            v = dit(torch.cat([z, z]), torch.full((2 * n, z.shape[2]), 1000 * a, device=z.device), ctx).float()
        z = z + (b - a) * (v[n:] + guidance * (v[:n] - v[n:]))
    dit.run_block = run
    return z


@torch.no_grad()
def look(args, nets, tok, vae, pool):
    """A strip per prompt; and the loss on combinations that are never trained on, always with the same noise."""
    z = generate(args, nets, tok, PROMPTS[:args.looks], args.sizes[0], args.look_steps) * pool.std + pool.mean
    with autocast(args.device):
        clips = vae.decode(z).float().clamp(-1, 1) / 2 + 0.5
    save_picture(os.path.join(args.state, "dit_strip.png"), [strip(c) for c in clips])
    held = [c for c in combinations() if held_out(*c)]
    rng = random.Random("held out")
    scenes = [draw_scene(UNSEEN + 4096 + i, args.sizes[0], only=rng.choice(held)) for i in range(args.encode_batch)]
    z = (encode(args, vae, scenes) - pool.mean) / pool.std
    torch.manual_seed(5)
    run, nets[0].run_block = nets[0].run_block, model.Block.forward
    loss = flow_loss(args, nets, tok, z, scenes, rng)
    nets[0].run_block = run
    return float(loss)


def new_nets(args, saved):
    dit, text = model.Dit(model.config(args.config, "transformer")), model.make_text_encoder(
        model.config(args.config, "text_encoder"))
    dit.start()
    if saved:
        put(dit, text, saved)
    return dit.to(args.device), text.to(args.device).train()


def put(dit, text, saved):
    model.load_state(dit, {k[4:]: v for k, v in saved.items() if k.startswith("dit.")})
    model.load_state(text, {k[5:]: v for k, v in saved.items() if k.startswith("text.")})


def named(nets):
    """The trained parameters by the names of the state files; tied ones once."""
    return {pre + k: p for pre, m in zip(("dit.", "text."), nets) for k, p in m.named_parameters()}


def save_dit(args, names, ema, info):
    save_shards(args.state, "dit", names)
    save_shards(args.state, "ema", dict(zip(names, ema.values)))
    write_json(os.path.join(args.state, "dit.json"), info)


def train_dit(args):
    clock, info = Clock(args.minutes), read_json(os.path.join(args.state, "dit.json"))
    stats = read_json(os.path.join(args.state, "vae.json")).get("statistics")
    if not stats:
        raise SystemExit("the VAE is not done: run `train.py vae` to its end, or with --finish")
    if info.get("done"):
        return print("dit: done before")
    torch.manual_seed(args.seed + 1)
    vae = new_vae(args, load_shards(args.state, "vae")).requires_grad_(False)
    nets = new_nets(args, load_shards(args.state, "dit"))
    names, tok = named(nets), vocabulary.Tokenizer(args.state)
    params = list(names.values())
    old = load_shards(args.state, "ema")
    ema = Average(params, 0.9995, [old[k].float().to(args.device) for k in names] if old else None)
    if args.compile:
        nets[0].run_block = torch.compile(model.Block.forward, dynamic=False)
    decay = [p for k, p in names.items() if p.ndim > 1 and "scale_shift" not in k]
    rest = [p for k, p in names.items() if not (p.ndim > 1 and "scale_shift" not in k)]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}],
                            lr=1e-3, betas=(0.9, 0.99), fused=args.device == "cuda")
    first, steps, before = info.get("step", 0), info.get("steps", args.dit_steps), info.get("seconds", 0)
    pool = Pool(args, vae, stats, info.get("clips", 0))
    print(f"dit: {sum(len(s) for s in pool.scenes)} clips encoded after {clock.spent():.0f} s", flush=True)
    log, step, held, mark = Log(args.state, "dit", ("step", "loss", "held_out", "seconds")), first, float("nan"), None
    total, seen = torch.zeros((), device=args.device), 0

    def state(done):
        return {"step": step, "steps": steps, "clips": pool.counter, "seconds": before + clock.spent(), "done": done,
                "batch": args.dit_batch, "seed": args.seed}

    while step < steps and not clock.over(args.reserve):
        rng = random.Random(f"dit {args.seed} {step}")
        for g in opt.param_groups:
            g["lr"] = rate(step, first, steps, args.dit_lr, 300 if not first else 100)
        torch.manual_seed(args.seed * 1000003 + step)
        if step % args.refresh_every == args.refresh_every - 1:
            pool.refresh(rng)
        loss = flow_loss(args, nets, tok, *pool.draw(rng, args.dit_batch), rng)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        step, total, seen = step + 1, total + loss.detach(), seen + 1
        ema.update(step)
        if args.fit and not info and step in (100, 200):            # compiled by then: the time of a step is known
            mark, steps = fit_steps(args, clock, step, 100, mark, steps, total)
        if step % args.log_every == 0 or step == steps:
            log.add(step, total.item() / seen, held, before + clock.spent())
            total, seen = torch.zeros_like(total), 0
            if not math.isfinite(log.rows[-1][1]):
                raise SystemExit("dit: the loss is not finite; the state folder holds the last good weights")
        if step % args.look_every == 0:
            with ema.inside():
                held = look(args, nets, tok, vae, pool)
            log.write()
            save_dit(args, names, ema, state(False))
    with ema.inside():
        held = look(args, nets, tok, vae, pool)
    log.write()
    done = step >= steps or args.finish
    save_dit(args, names, ema, state(done))
    print(f"dit: step {step} of {steps}, held-out loss {held:.4f}, {'done' if done else 'to be continued'}")


# -- the rest -----------------------------------------------------------------------------------------------------

def export(args):
    """The folder that ships: the averaged weights in f16."""
    saved, stats = load_shards(args.state, "ema"), read_json(os.path.join(args.state, "vae.json"))["statistics"]
    part = lambda pre: {k[len(pre):]: v for k, v in saved.items() if k.startswith(pre)}       # noqa: E731
    model.export(args.config, args.out, load_shards(args.state, "vae"), part("dit."), part("text."), stats, args.state)
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(args.out) for f in fs)
    print(f"{args.out}: {size / 2 ** 20:.2f} MiB")


def plan(args):
    """FLOP of one clip of 128x128x33 and what follows at a given speed."""
    from torch.utils.flop_counter import FlopCounterMode

    def count(f):
        with FlopCounterMode(display=False) as c:
            f()
        return c.get_total_flops() / 1e9

    with torch.device("meta"):
        vae, dit = model.Vae(model.config(args.config, "vae")), model.Dit(model.config(args.config, "transformer"))
    clip, z = torch.empty(1, 3, FRAMES, 128, 128, device="meta"), torch.empty(1, 16, 9, 16, 16, device="meta")
    text = torch.empty(1, TEXT_PAD, dit.config["text_dim"], device="meta")
    enc, dec = count(lambda: vae.encode(clip)), count(lambda: vae.decode(z))
    one = count(lambda: dit(z, torch.empty(1, 9, device="meta"), text))
    full = count(lambda: dit(z, torch.empty(1, 9, device="meta"), F.pad(text, (0, 0, 0, 512 - TEXT_PAD))))
    print(f"per clip of 128x128x33, GFLOP: encode {enc:.0f}, decode {dec:.0f}, transformer {one:.1f} "
          f"({full:.1f} with all 512 text tokens)")
    print(f"generating, 20 steps with guidance: {40 * full + dec:.0f} GFLOP")
    v = 3 * (enc + dec) * args.vae_batch * 17 / 33
    print(f"VAE, a step of {args.vae_batch} pieces of 17 frames: {v / 1e3:.1f} TFLOP; at 50 TFLOP/s {v / 50:.0f} ms")
    d = 3 * one * args.dit_batch
    print(f"transformer, a step of {args.dit_batch} clips: {d / 1e3:.1f} TFLOP; at 80 TFLOP/s {d / 80:.0f} ms")
    print(f"pool of {args.pool} clips: {args.pool * enc / 1e3:.0f} TFLOP; at 50 TFLOP/s {args.pool * enc / 50e3:.0f} s")


def smoke(args):
    """Every stage at a tiny size, with a stop and a resumption in the middle of both trainings."""
    torch.set_num_threads(1)
    small = dict(config=os.path.join(HERE, "configs", "smoke"), device="cpu", sizes=((32, 32), (48, 32)), frames=9,
                 vae_batch=2, vae_steps=24, stat_clips=8, encode_batch=4, pool=16, dit_batch=4, dit_steps=24,
                 captions=2500, log_every=4, look_every=12, looks=2, look_steps=2, refresh_every=4, fit=0, minutes=0,
                 reserve=0, compile=False, finish=False)
    vars(args).update(small)
    with tempfile.TemporaryDirectory() as tmp:
        args.state, args.out = args.state or os.path.join(tmp, "state"), args.out or os.path.join(tmp, "model")
        prepare(args)
        for stage in (train_vae, train_dit):
            args.minutes = 0.03
            stage(args)
            args.minutes = 0
            stage(args)
        export(args)
    print("smoke: all stages ran")


def main():
    ap = argparse.ArgumentParser(description="Trains the small model from nothing.")
    ap.add_argument("stage", nargs="?", choices=("all", "vae", "dit", "export", "plan"), default="all")
    ap.add_argument("--smoke", action="store_true")
    ap.add_argument("--state")
    ap.add_argument("--out")
    ap.add_argument("--config", default=os.path.join(HERE, "configs", "small"))
    ap.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--minutes", type=float, default=0, help="stop in time to have saved by then, to go on later")
    ap.add_argument("--fit", type=float, default=0, help="choose the stage's number of steps to last so many minutes")
    ap.add_argument("--finish", action="store_true", help="call the stage done where it stops")
    ap.add_argument("--reserve", type=float, default=25, help="seconds kept for saving and looking")
    ap.add_argument("--no-compile", dest="compile", action="store_false")
    ap.add_argument("--deterministic", action="store_true", help="the same bits again on the same machine; slower")
    for name, value in (("vae-steps", 3500), ("vae-batch", 8), ("dit-steps", 6000), ("dit-batch", 256),
                        ("pool", 16384), ("encode-batch", 32), ("refresh-every", 8), ("stat-clips", 512),
                        ("captions", vocabulary.CAPTIONS), ("log-every", 25), ("look-every", 1000), ("looks", 6),
                        ("look-steps", 20), ("frames", FRAMES)):
        ap.add_argument("--" + name, type=int, default=value)
    for name, value in (("vae-lr", 1.5e-3), ("dit-lr", 6e-4), ("shift", 3.0)):
        ap.add_argument("--" + name, type=float, default=value)
    args = ap.parse_args()
    args.sizes = SIZES
    args.compile = args.compile and args.device == "cuda"
    if args.smoke:
        return smoke(args)
    if args.stage == "plan":
        return plan(args)
    if not args.state or (args.stage in ("all", "export") and not args.out):
        raise SystemExit("--state DIR is needed, and --out FOLDER where the model is written")
    prepare(args)
    for name, stage in (("vae", train_vae), ("dit", train_dit), ("export", export)):
        if args.stage in ("all", name):
            stage(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
