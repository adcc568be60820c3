# The training of the transformer together with the text encoder: flow matching on encoded clips.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What is given is given as the engine will give it (engine/condition.c): leading latents are those of a clip of its
# own; trailing ones are encoded behind a warm-up of copies of their first picture, a picture that stands for a whole
# latent frame is repeated; and what later windows go on from is noised a little, which its timestep says.
import math
import os

import numpy as np
import torch

import captions
import looks
import model
import tokenizer as vocabulary
from clips import Clips, bytes_of, pick, seeded, unseen
from state import Average, Log, Schedule, Ticker, read_json, restore, save_compact, save_whole, write_json
from train_vae import autocast, done_vae, encode

# Ids per caption in training: the longest of thousands has 42; 55 and the one that stands for the rest make a multiple
# of 8, and log(512 - 55), its weight in the attention, is 6.125 in bf16 too.
TEXT_PAD = 55
WARM_UP = 33                # copies of the trail's first picture before it, as in engine/condition.c
TRAILS = ((1, 4), (1, 1), (2, 8), (2, 5))      # (latent frames, pictures of them that are known)
MOST = max(k for k, _ in TRAILS)


class Pool:
    """Latents of a Clips; beside those of every second batch, their trails as the engine encodes them."""

    def __init__(self, args, vae, stats, counter):
        self.args, self.vae = args, vae
        view = lambda k: torch.tensor(stats[k], device=args.device).view(1, -1, 1, 1, 1)       # noqa: E731
        self.mean, self.std = view("latents_mean"), view("latents_std")
        self.clips, self.latents, self.trails, self.kind = Clips(args, args.pool, counter), [], [], []
        dtype = torch.float16 if args.device == "cuda" else torch.float32
        for data in self.clips.data:
            n, _, t, h, w = data.shape
            empty = lambda f: torch.empty(n, 16, f, h // 8, w // 8, dtype=dtype, device=args.device)    # noqa: E731
            self.latents.append(empty((t - 1) // 4 + 1))
            self.trails.append(empty(MOST))
            self.kind.append(np.full(n, -1))
        for i, where in self.clips.fill():
            self.encode(i, where)

    def normal(self, z):
        return (z - self.mean) / self.std

    def encode(self, i, where):
        """Encodes new clips; every second batch gets one kind of trail."""
        data = self.clips.data[i][where]
        self.latents[i][where] = self.normal(encode(self.args, self.vae, data))
        batch = self.clips.counter // self.args.encode_batch
        kind = batch // 2 % len(TRAILS) if batch % 2 else -1
        self.kind[i][where] = kind
        if kind < 0:
            return
        k, known = TRAILS[kind]
        z = encode(self.args, self.vae, behind_warm_up(data, k, known))
        self.trails[i][where][:, :, :k] = self.normal(z)[:, :, -k:]

    def refresh(self, rng):
        i = self.clips.which(rng)
        self.encode(i, self.clips.next(i))

    def draw(self, rng, count):
        """Latents [B, z, F, h, w], trails [B, z, MOST, h, w], their kinds, scenes: clips of one size."""
        i = self.clips.which(rng)
        at = pick(rng, len(self.clips.scenes[i]), count)
        index = torch.tensor(at, device=self.args.device)
        return (self.latents[i][index].float(), self.trails[i][index].float(), self.kind[i][at],
                [self.clips.scenes[i][k] for k in at])


def behind_warm_up(data, k, known):
    """The pictures that the engine encodes for a trail: WARM_UP copies of its first one, then the trail, whose last
    known picture fills up."""
    trail = data[:, :, -4 * k:]
    order = [0] * WARM_UP + [min(j, known - 1) for j in range(4 * k)]
    return trail[:, :, order]


def plan_batch(rng, count, frames, kinds):
    """How many latent frames each clip is given at its start and its end: none (text alone), some, or both; and
    whether the trail is the clip's own latents. Where the pool has the engine's form a trail is given more often."""
    lead, trail, own = np.zeros(count, int), np.zeros(count, int), kinds < 0
    for b in range(count):
        if rng.random() < 0.40:
            lead[b] = rng.choice((1, 1, 2, 3, 3))
        if rng.random() < (0.10 if own[b] else 0.40):
            trail[b] = rng.choice((1, 2)) if own[b] else TRAILS[kinds[b]][0]
        if lead[b] + trail[b] >= frames:
            lead[b] = trail[b] = 0
    return lead, trail, own


def flow_loss(args, nets, tok, drawn, rng):
    """Flow matching: the velocity noise - z at x = (1 - s) z + s noise, where the frame is not given."""
    dit, text = nets
    z, tail, kinds, scenes = drawn
    if rng.random() < 0.25:                                             # shorter windows: a clip's beginning
        z = z[:, :, :rng.choice(range(1, z.shape[2], 2))]
    b, _, f, _, _ = z.shape
    ids = [tok("" if rng.random() < 0.12 else captions.caption(s, rng))[:TEXT_PAD] for s in scenes]
    lead, trail, own = plan_batch(rng, b, f, kinds)
    if f < drawn[0].shape[2] or f <= MOST:
        own[:] = True                                                   # the trails are those of whole clips
    k = np.arange(f)
    given_lead, given_trail = k < lead[:, None], k >= f - trail[:, None]
    u = np.array([rng.random() if rng.random() < 0.05 else 1 / (1 + math.exp(-rng.gauss(0, 1))) for _ in range(b)])
    sigma = np.repeat((args.shift * u / (1 + (args.shift - 1) * u))[:, None], f, 1)
    said = np.array([rng.uniform(0, 0.06) if rng.random() < 0.5 else 0.0 for _ in range(b)])     # noise of the context
    sigma = np.where(given_trail, 0.0, np.where(given_lead, said[:, None], sigma))
    unsaid = np.array([rng.uniform(0, 0.04) if rng.random() < 0.4 else 0.0 for _ in range(b)])
    host = torch.from_numpy(np.stack([sigma, given_lead | given_trail, given_trail & ~own[:, None],
                                      unsaid[:, None] * (given_lead | given_trail)]).astype(np.float32))
    sigma, given, swapped, rough = host.to(z.device)[:, :, None, :, None, None]
    clean = z
    if (given_trail & ~own[:, None]).any():
        place = torch.zeros_like(z)
        both = torch.from_numpy(trail == MOST).to(z.device)[:, None, None, None, None]
        place[:, :, -MOST:] = torch.where(both, tail, tail.flip(2))     # a single one lies first
        clean = torch.where(swapped > 0, place, z)
    noise = torch.randn_like(z)
    x = (1 - sigma) * clean + sigma * noise + rough * torch.randn_like(z)
    ctx = model.encode_text(text, ids, TEXT_PAD)                        # f32: a small part of the work
    with autocast(args.device):
        v = dit(x, sigma[:, 0, :, 0, 0] * 1000, ctx).float()
    loss = ((v - (noise - z)) ** 2).mean((1, 3, 4))
    wanted = 1 - given[:, 0, :, 0, 0]
    return (loss * wanted).sum() / wanted.sum()


def new_nets(args):
    dit, text = model.Dit(model.config(args.config, "transformer")), model.make_text_encoder(
        model.config(args.config, "text_encoder"))
    dit.start()
    return dit.to(args.device), text.to(args.device).train()


def named(nets):
    """The trained parameters by the names of the state files; tied ones once."""
    return {pre + k: p for pre, m in zip(("dit.", "text."), nets) for k, p in m.named_parameters()}


@torch.no_grad()
def held_out_loss(args, nets, tok, pool, count=64):
    """The loss on clips that no training has, always with the same noise."""
    found = [(s, c) for s, c in unseen(args, count, args.sizes[0])]
    z = pool.normal(encode(args, pool.vae, bytes_of(torch.cat([c for _, c in found]))))
    torch.manual_seed(5)
    drawn = (z, z[:, :, -MOST:], np.full(len(found), -1), [s for s, _ in found])
    run, nets[0].run_block = nets[0].run_block, model.Block.forward         # no compiling for looks
    loss = flow_loss(args, nets, tok, drawn, seeded("unseen"))
    nets[0].run_block = run
    return float(loss)


def optimizer(args, names):
    decay = [p for k, p in names.items() if p.ndim > 1 and "scale_shift" not in k]
    rest = [p for k, p in names.items() if not (p.ndim > 1 and "scale_shift" not in k)]
    return torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}],
                             lr=1e-3, betas=(0.9, 0.99), fused=args.device == "cuda")


def train(args):
    path = os.path.join(args.state, "dit.json")
    info, stats = read_json(path), read_json(os.path.join(args.state, "vae.json")).get("statistics")
    if not stats:
        raise SystemExit("the VAE is not done: run `train.py vae` to its end")
    if info.get("done"):
        return print("dit: done before")
    torch.manual_seed(args.seed + 1)
    nets = new_nets(args)
    names, tok = named(nets), vocabulary.Tokenizer(args.state)
    params, opt = list(names.values()), optimizer(args, names)
    ema, step = Average(params, args.average), info.get("step", 0)
    if step and not restore(args.state, "dit", names, ema, opt, step):
        raise SystemExit(f"{path} says step {step}, but its weights are not there")
    if args.compile:
        nets[0].run_block = torch.compile(model.Block.forward)
    time_of = Schedule(args.dit_steps, args.dit_minutes, info.get("seconds", 0.0), args.until, args.stop_step)
    began = step
    pool = Pool(args, done_vae(args), stats, info.get("clips", 1 << 32))
    print(f"dit: {args.pool} clips encoded after {time_of.spent():.0f} s", flush=True)
    log = Log(args.state, "dit", ("step", "loss", "held_out", "seconds"))
    judging = looks.Judging(args)
    saving, looking = Ticker(args.save_seconds), Ticker(args.look_seconds, args.look_every)
    held, total, seen = float("nan"), torch.zeros((), device=args.device), 0

    def save(done):
        save_compact(args.state, "dit", names, ema, opt, step)
        save_whole(args.state, "dit", names, ema, opt, step)
        log.write()
        write_json(path, {"step": step, "seconds": round(time_of.spent(), 1), "clips": pool.clips.counter, "done": done,
                          "batch": args.dit_batch, "seed": args.seed, "held_out_loss": held,
                          "scores": judging.last})

    while time_of.progress(step) < 1 and not time_of.cut(step):
        rng = seeded("dit", args.seed, step)
        for g in opt.param_groups:
            g["lr"] = time_of.rate(step, args.dit_lr) * min(1.0, (step - began + 1) / 30)
        torch.manual_seed(args.seed * 1000003 + step)
        if step % args.refresh_every == args.refresh_every - 1:
            pool.refresh(rng)
        loss = flow_loss(args, nets, tok, pool.draw(rng, args.dit_batch), rng)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        step, total, seen = step + 1, total + loss.detach(), seen + 1
        ema.update(step)
        if looking.due(step):
            with ema.inside():
                held = held_out_loss(args, nets, tok, pool)
                judging.look(step, nets, tok, pool)
        if step % args.log_every == 0:
            log.add(step, total.item() / seen, held, time_of.spent())
            total, seen = torch.zeros_like(total), 0
            if not math.isfinite(log.rows[-1][1]):
                raise SystemExit("dit: the loss is not finite; the state folder holds the last good weights")
            judging.collect()
        if saving.due(step):
            save(False)
    done = time_of.progress(step) >= 1
    with ema.inside():
        held = held_out_loss(args, nets, tok, pool)
        judging.look(step, nets, tok, pool)
    judging.collect(wait=True)
    save(done)
    print(f"dit: step {step}, held-out loss {held:.4f}, {'done' if done else 'to be continued'}", flush=True)
