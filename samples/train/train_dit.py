# The training of the transformer together with the text encoder: flow matching on encoded clips.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What is given is given as the engine will give it (engine/condition.c): leading latents are those of a clip of its
# own; trailing ones are encoded behind a warm-up of copies of their first picture, a picture that stands for a whole
# latent frame is repeated; and what later windows go on from is noised a little, which its timestep says.
import copy
import math
import os

import numpy as np
import torch

import captions
import looks
import model
import muon
import tokenizer as vocabulary
import train_text
from clips import Clips, begun, bytes_of, pick, seeded, unseen
from scenes import draw_scene
from seen import Seen
from state import Average, Log, Schedule, Ticker, read_json, restore, save_compact, save_whole, write_json
from train_vae import autocast, done_vae, encode

# Ids per caption in training: the longest of thousands has 42; 55 and the one that stands for the rest make a multiple
# of 8, and log(512 - 55), its weight in the attention, is 6.125 in bf16 too.
TEXT_PAD = 55
WARM_UP = 33                # copies of the trail's first picture before it, as in engine/condition.c
TRAILS = ((1, 4), (1, 1), (2, 8), (2, 5))      # (latent frames, pictures of them that are known)
MOST = max(k for k, _ in TRAILS)


class Pool:
    """Latents of a Clips; beside those of every second batch, their trails as the engine encodes them. name: of the
    file that keeps them."""

    def __init__(self, args, vae, stats, counter, name="pool"):
        self.args, self.vae, self.name = args, vae, name
        view = lambda k: torch.tensor(stats[k], device=args.device).view(1, -1, 1, 1, 1)       # noqa: E731
        self.mean, self.std = view("latents_mean"), view("latents_std")
        self.clips, self.latents, self.trails, self.kind = Clips(args, args.pool, counter), [], [], []
        dtype = torch.float16 if args.device == "cuda" else torch.float32
        for data in self.clips.data:
            n, _, t, h, w = data.shape
            empty = lambda f: torch.empty(n, 16, f, h // 8, w // 8, dtype=dtype, device=args.device)    # noqa: E731
            self.latents.append(empty((t - 1) // 4 + 1))
            self.trails.append(empty(MOST if args.trails else 0))
            self.kind.append(np.full(n, -1))
        if not self.load():
            for i, where in self.clips.fill():
                self.encode(i, where)
            self.save()

    def load(self):
        """Takes the latents that an earlier run on this machine has left, if they are of this VAE and these clips."""
        path = self.path()
        saved = torch.load(path, weights_only=True) if self.args.keep_pool and os.path.exists(path) else {}
        if saved.get("key") != self.key():
            return False
        self.latents, self.trails, self.clips.known = saved["latents"], saved["trails"], saved["known"]
        self.kind, self.clips.counter = [k.numpy() for k in saved["kind"]], saved["counter"]
        self.clips.scenes = [[begun(self.args, draw_scene(s, size)) for s in seeds]
                             for seeds, size in zip(saved["seeds"], self.args.sizes)]
        return True

    def save(self):
        if self.args.keep_pool:
            torch.save({"key": self.key(), "latents": self.latents, "trails": self.trails, "known": self.clips.known,
                        "kind": [torch.from_numpy(k) for k in self.kind], "counter": self.clips.counter,
                        "seeds": [[s.seed for s in part] for part in self.clips.scenes]},
                       self.path())

    def path(self):
        return os.path.join(self.args.state, self.name + ".pt")

    def key(self):
        args = self.args
        return f"{args.seed} {args.pool} {args.frames} {args.trails} {args.fewer_static} {args.fewer_easy} " \
               f"{args.late} {self.clips.room} {self.mean.flatten().tolist()}"

    def normal(self, z):
        return (z - self.mean) / self.std

    def encode(self, i, where):
        """Encodes new clips; every second batch gets one kind of trail."""
        data = self.clips.data[i][where]
        self.latents[i][where] = self.normal(encode(self.args, self.vae, data))
        batch = self.clips.batches
        kind = batch // 2 % len(TRAILS) if batch % 2 and self.args.trails else -1
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
        """Latents [B, z, F, h, w], trails [B, z, MOST, h, w], their kinds, scenes, what seen.truths() knows of them:
        clips of one size."""
        i = self.clips.which(rng)
        at = pick(rng, len(self.clips.scenes[i]), count)
        index = torch.tensor(at, device=self.args.device)
        return (self.latents[i][index].float(), self.trails[i][index].float(), self.kind[i][at],
                [self.clips.scenes[i][k] for k in at], {k: v[index] for k, v in self.clips.known[i].items()})


def first_pictures(args, vae, stats, counter):
    """A Pool of `--singles` clips' first pictures, of which as many are encoded as of whole clips in a ninth of the
    time: what steps of single latent frames draw from, so that they do not see the same few thousand all the time."""
    few = copy.copy(args)
    few.frames, few.pool, few.trails, few.encode_batch = 1, args.singles, False, 2 * args.encode_batch
    return Pool(few, vae, stats, counter, "singles")


def behind_warm_up(data, k, known):
    """The pictures that the engine encodes for a trail: WARM_UP copies of its first one, then the trail, whose last
    known picture fills up."""
    trail = data[:, :, -4 * k:]
    order = [0] * WARM_UP + [min(j, known - 1) for j in range(4 * k)]
    return trail[:, :, order]


def plan_batch(rng, count, frames, kinds, late):
    """How many latent frames each clip is given at its start and its end: none (text alone), some, or both; and
    whether the trail is the clip's own latents. Where the pool has the engine's form a trail is given more often. Clips
    that begin late are always gone on from, and from so much that their velocity shows."""
    lead, trail, own = np.zeros(count, int), np.zeros(count, int), kinds < 0
    for b in range(count):
        if rng.random() < 0.40:
            lead[b] = rng.choice((1, 1, 2, 3, 3))
        if rng.random() < (0.10 if own[b] else 0.40):
            trail[b] = rng.choice((1, 2)) if own[b] else TRAILS[kinds[b]][0]
        if late[b]:
            lead[b] = rng.choice((2, 3, 3))
        if lead[b] + trail[b] >= frames:
            lead[b], trail[b] = max(frames - 1, 1) if late[b] else 0, 0
    return lead, trail, own


def sigmas(args, rng, scenes, frames):
    """Noise levels, logit-normal under the shift; fewer frames repeat less of each other, so theirs is smaller. Half of
    the clips whose camera moves have `--camera-shift`: a background is fine and faint, and whether it moves along is
    still open when what stands before it is settled."""
    count = len(scenes)
    other = args.camera_shift or args.shift
    shift = np.array([other if s.camera != "static" and rng.random() < 0.5 else args.shift
                      for s in scenes])
    shift = 1 + (shift - 1) * (min(frames, 9) / 9) ** 0.5
    u = np.array([rng.random() if rng.random() < 0.05 else 1 / (1 + math.exp(-rng.gauss(0, 1))) for _ in range(count)])
    return shift * u / (1 + (shift - 1) * u)


def some_frames(rng, f, k):
    """Places of k of f latent frames, and how many of them, from the clip's start on, are given. The first is always
    among them: its latents are of another kind (one picture, not four), and the rotary embedding, which tells distances
    only, does not let a frame among later ones know that it is the first."""
    lead = min(rng.choice((1, 1, 2, 3)), k - 1) if k > 1 and rng.random() < 0.30 else 0
    start = max(lead, 1)
    return [*range(start), *sorted(rng.sample(range(start, f), k - start))], lead


def plan_given(args, rng, drawn, places, lead_frames):
    """What is given of each clip: sigma [B, F] of every frame, given, in the engine's form, roughness; as arrays."""
    kinds, count, f = drawn[2], len(drawn[3]), len(places)
    late = np.array([s.late > 0 for s in drawn[3]])
    if lead_frames is None:
        lead, trail, own = plan_batch(rng, count, f, kinds, late)
        if f < drawn[0].shape[2] or f <= MOST:
            own[:] = True                                               # the trails are those of whole clips
    else:
        lead, trail, own = np.where(late, f, lead_frames), np.zeros(count, int), np.ones(count, bool)
    k = np.arange(f)
    given_lead, given_trail = k < lead[:, None], k >= f - trail[:, None]
    sigma = np.repeat(sigmas(args, rng, drawn[3], f)[:, None], f, 1)
    said = np.array([rng.uniform(0, 0.06) if rng.random() < 0.5 else 0.0 for _ in range(count)])  # noise of the context
    sigma = np.where(given_trail, 0.0, np.where(given_lead, said[:, None], sigma))
    unsaid = np.array([rng.uniform(0, 0.04) if rng.random() < 0.4 else 0.0 for _ in range(count)])
    given = given_lead | given_trail
    return np.stack([sigma, given, given_trail & ~own[:, None], unsaid[:, None] * given]).astype(np.float32), trail


def flow_loss(args, nets, tok, drawn, rng, count=0, seen=None):
    """Flow matching: the velocity noise - z at x = (1 - s) z + s noise, where the frame is not given. count: of that
    many latent frames of each clip, the first and others; 0 for all. seen: a Seen, whose loss is returned beside."""
    dit, text = nets
    z, tail, _, scenes, known = drawn
    if count and count < z.shape[2]:
        places, lead_frames = some_frames(rng, z.shape[2], count)
    else:                                                               # a fourth: shorter windows, a clip's beginning
        places, lead_frames = list(range(z.shape[2])), None
        if rng.random() < 0.25 and len(places) > 1:
            places = places[:rng.choice(range(1, len(places), 2))]
    host, trail = plan_given(args, rng, drawn, places, lead_frames)
    z, known = z[:, :, places], known and {k: v[:, places] for k, v in known.items()}
    ids = [tok("" if rng.random() < 0.12 else captions.caption(s, rng))[:TEXT_PAD] for s in scenes]
    sigma, given, swapped, rough = torch.from_numpy(host).to(z.device)[:, :, None, :, None, None]
    clean = z
    if (host[2] > 0).any():
        place = torch.zeros_like(z)
        both = torch.from_numpy(trail == MOST).to(z.device)[:, None, None, None, None]
        place[:, :, -MOST:] = torch.where(both, tail, tail.flip(2))     # a single one lies first
        clean = torch.where(swapped > 0, place, z)
    noise = torch.randn_like(z)
    x = (1 - sigma) * clean + sigma * noise + rough * torch.randn_like(z)
    # f32: a small part of the work; of one length where shapes are compiled
    ctx = model.encode_text(text, ids, TEXT_PAD if z.is_cuda else 0)
    with autocast(args):
        v = dit(x, sigma[:, 0, :, 0, 0] * 1000, ctx, places).float()
    loss = ((v - (noise - z)) ** 2).mean(1)
    if args.focus and known:       # things are small; where the noise no longer hides them they count more
        thing = (known["owner"] > 0).float().repeat_interleave(2, 2).repeat_interleave(2, 3)
        weight = 1 + args.focus * thing * (sigma[:, 0] < 0.8)
        loss = loss * weight / weight.mean((2, 3), keepdim=True)
    loss = loss.mean((2, 3))
    wanted = 1 - given[:, 0, :, 0, 0]
    if args.camera and known:       # what the camera does is little beside what things do: such clips count more
        wanted = wanted * torch.tensor([[1 + args.camera * (s.camera != "static")] for s in scenes], device=z.device)
    loss = (loss * wanted).sum() / wanted.sum()
    return loss if seen is None else (loss, seen.loss(dit.tapped, scenes, known))


def new_nets(args):
    dit, text = model.Dit(model.config(args.config, "transformer")), model.make_text_encoder(
        model.config(args.config, "text_encoder"))
    dit.start()
    return dit.to(args.device), text.to(args.device).train()


class Course:
    """How many latent frames of each clip a step takes, by the progress of the training: `--course 1:0.2,3:0.5,9:1`
    takes single ones until a fifth is done, three at a time until half, then whole clips. The fewer, the more clips in
    the same time, and most of what is to be learnt shows in single frames."""

    def __init__(self, text, frames):
        self.parts = [(int(k), float(u)) for k, u in (p.split(":") for p in text.split(","))]
        self.frames = frames

    def count(self, progress):
        k = next((k for k, u in self.parts if progress < u), self.frames)
        return k if k < self.frames else 0

    def clips(self, progress, batch):
        """As many clips as have about the tokens of `batch` whole ones, but at most four times as many."""
        return batch * min(4, self.frames // (self.count(progress) or self.frames))


def named(nets):
    """The trained parameters by the names of the state files; tied ones once."""
    return {pre + k: p for pre, m in zip(("dit.", "text."), nets) for k, p in m.named_parameters()}


@torch.no_grad()
def held_out_loss(args, nets, tok, pool):
    """The loss on clips that no training has, always with the same noise."""
    found = [(s, c) for s, c in unseen(args, args.held_clips, args.sizes[0])]
    z = pool.normal(encode(args, pool.vae, bytes_of(torch.cat([c for _, c in found]))))
    torch.manual_seed(5)
    drawn = (z, z[:, :, -MOST:], np.full(len(found), -1), [s for s, _ in found], None)
    run, nets[0].run_block = nets[0].run_block, model.Block.forward         # no compiling for looks
    loss = flow_loss(args, nets, tok, drawn, seeded("unseen"))
    nets[0].run_block = run
    return float(loss)


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
    if args.begin:
        model.load_state(nets[0], model.released(args.begin, "transformer"))
        model.load_state(nets[1], model.released(args.begin, "text_encoder"))
    if args.text_steps and not info:
        train_text.train(args, nets[1])
    seen = Seen(nets[0].config["num_attention_heads"] * nets[0].config["attention_head_dim"]).to(args.device)
    nets[0].tap = (nets[0].config["num_layers"] + 1) // 2
    params = list(names.values())
    opt = muon.Muon([{**g, "share": share} for pre, share in (("dit.", 1.0), ("text.", 0.25)) for g in
                     muon.groups({k: p for k, p in names.items() if k.startswith(pre)})])
    opt.add_param_group({"params": list(seen.parameters()), "share": 1.0})
    course = Course(args.course, (args.frames - 1) // 4 + 1)
    ema, step = Average(params, args.average), info.get("step", 0)
    if step and not restore(args.state, "dit", names, ema, opt, step):
        raise SystemExit(f"{path} says step {step}, but its weights are not there")
    if args.compile:
        nets[0].run_block = torch.compile(model.Block.forward)
    time_of = Schedule(args.dit_steps, args.dit_minutes, info.get("seconds", 0.0), args.until, args.stop_step)
    began = step
    pool = Pool(args, done_vae(args), stats, info.get("clips", 1 << 32))
    singles = args.singles and first_pictures(args, pool.vae, stats, 1 << 36)
    print(f"dit: {args.pool} clips encoded after {time_of.spent():.0f} s", flush=True)
    log = Log(args.state, "dit", ("step", "loss", "seen", "held_out", "seconds"))
    judging = looks.Judging(args)
    saving, looking = Ticker(args.save_seconds), Ticker(args.look_seconds, args.look_every)
    held, since = float("nan"), 0
    total, about = torch.zeros((), device=args.device), torch.zeros((), device=args.device)

    def save(done):
        save_compact(args.state, "dit", names, ema, opt, step)
        save_whole(args.state, "dit", names, ema, opt, step)
        log.write()
        write_json(path, {"step": step, "seconds": round(time_of.spent(), 1), "clips": pool.clips.counter, "done": done,
                          "batch": args.dit_batch, "seed": args.seed, "held_out_loss": held,
                          "scores": judging.last})

    while time_of.progress(step) < 1 and not time_of.cut(step):
        rng, done = seeded("dit", args.seed, step), time_of.progress(step)
        for g in opt.param_groups:
            g["lr"] = time_of.rate(step, args.dit_lr, args.warm) * min(1.0, (step - began + 1) / 30)
            g["lr"] *= g["share"] * (1.0 if g["muon"] else 0.3)
        nets[0].padding = 1.0 if args.begin else min(1.0, done / 0.25)
        torch.manual_seed(args.seed * 1000003 + step)
        if args.refresh_every and step % args.refresh_every == args.refresh_every - 1:
            pool.refresh(rng)
        opt.zero_grad(set_to_none=True)
        count = course.count(done)
        drawn = (singles if singles and count == 1 else pool).draw(rng, course.clips(done, args.dit_batch))
        loss, shown = flow_loss(args, nets, tok, drawn, rng, count, seen)
        (loss + args.seen * (1 - done) * shown).backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        opt.step()
        step, total, since, about = step + 1, total + loss.detach(), since + 1, about + shown.detach()
        ema.update(step)
        if looking.due(step):
            with ema.inside():
                held = held_out_loss(args, nets, tok, pool)
                judging.look(step, nets, tok, pool)
        if step % args.log_every == 0:
            log.add(step, total.item() / since, about.item() / since, held, time_of.spent())
            total, about, since = torch.zeros_like(total), torch.zeros_like(about), 0
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
