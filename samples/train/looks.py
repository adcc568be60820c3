# Watching the transformer learn: clips of held-out prompts, judged from their frames while the training goes on.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The judge is that of samples/evaluate and runs in processes of its own. scores.csv gets a line per look.
import csv
import multiprocessing
import os

import torch

import model
import score
from state import save_picture
from train_vae import autocast

GIVEN = ("a red ball falls onto a wooden table and bounces", "一个红色的球落在木桌上弹起来",
         "a yellow star spins in the night sky", "一辆蓝色的汽车在草地上向右移动",
         "an orange fish swims left over the sea", "粉色背景前有一颗紫色的爱心变大")
BATCH = 64


@torch.no_grad()
def generate(args, nets, tok, prompts, size, steps=20, guidance=5.0, seed=1):
    """Latents [B, z, F, H/8, W/8] from prompts by Euler's steps, with guidance."""
    dit, text = nets
    n, z = len(prompts), dit.config["in_channels"]
    shape = (n, z, (args.frames - 1) // 4 + 1, size[1] // 8, size[0] // 8)
    z = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(args.device)
    ctx = model.encode_text(text, [tok(p) for p in prompts] + [tok("")] * n, 55)
    u = torch.linspace(1, 0, steps + 1).tolist()
    s = [args.shift * v / (1 + (args.shift - 1) * v) for v in u]
    run, dit.run_block = dit.run_block, model.Block.forward        # no compiling for looks
    for a, b in zip(s, s[1:]):
        with autocast(args):
            v = dit(torch.cat([z, z]), torch.full((2 * n, z.shape[2]), 1000 * a, device=z.device), ctx).float()
        z = z + (b - a) * (v[n:] + guidance * (v[:n] - v[n:]))
    dit.run_block = run
    return z


@torch.no_grad()
def frames(args, vae, z):
    """Latents as bytes [B, T, H, W, 3] on the host."""
    out = []
    for k in range(0, len(z), 8):
        with autocast(args):
            y = vae.decode(z[k:k + 8]).float().clamp(-1, 1)
        out.append(((y + 1) * 127.5 + 0.5).to(torch.uint8).permute(0, 2, 3, 4, 1).cpu())
    return torch.cat(out).numpy()


_judge = []


def judge_one(job):
    from judge import Judge
    if not _judge:
        _judge.append(Judge())
    clip, truth, language = job
    return language, _judge[0].judge(clip, truth)[0]


class Judging:
    """last: the newest scores, {measure: share}."""

    def __init__(self, args):
        self.args, self.last, self.waiting, self.pool = args, {}, [], None
        self.asked = score.asked(score.held_out_scenes(args.looks, 3, args.sizes[:1]) +
                                 score.pair_scenes(args.looks // 6, 3, args.sizes[:1]), 3)
        self.path = os.path.join(args.state, "scores.csv")

    def clips(self, nets, tok, pool, prompts, steps, guidance):
        done = []
        for k in range(0, len(prompts), BATCH):
            z = generate(self.args, nets, tok, prompts[k:k + BATCH], self.args.sizes[0], steps, guidance, seed=100 + k)
            done.extend(frames(self.args, pool.vae, z * pool.std + pool.mean))
        return done

    def look(self, step, nets, tok, pool, guidance=5.0, name=None):
        """Makes the clips and sends them to the judges; the first are the picture dit_strip.png."""
        made = self.clips(nets, tok, pool, [*GIVEN, *(p for _, p, _ in self.asked)], self.args.look_steps, guidance)
        save_picture(os.path.join(self.args.state, "dit_strip.png"), [score.strip(c) for c in made[:24]])
        if self.pool is None:
            self.pool = multiprocessing.get_context("spawn").Pool(self.args.judges)
        jobs = [(c, t, la) for c, (t, _, la) in zip(made[len(GIVEN):], self.asked)]
        self.waiting.append((name or step, guidance, self.pool.map_async(judge_one, jobs, 4)))

    def collect(self, wait=False):
        """Takes what the judges have finished."""
        while self.waiting and (wait or self.waiting[0][2].ready()):
            step, guidance, result = self.waiting.pop(0)
            tally = score.tally(result.get())
            self.last = {m: {la: round(r / n, 3) for la, (r, n) in v.items() if n} for m, v in tally.items()}
            row = {"step": step, "guidance": guidance}
            row.update({f"{m}_{la}": v for m, by in self.last.items() for la, v in by.items()})
            new = not os.path.exists(self.path)
            with open(self.path, "a", encoding="utf-8", newline="") as f:
                out = csv.DictWriter(f, sorted(row, key=lambda k: (k not in ("step", "guidance"), k)))
                if new:
                    out.writeheader()
                out.writerow(row)
            print(f"scores at {step}, guidance {guidance}: " + ", ".join(
                f"{m} {100 * v['all']:.0f}" for m, v in self.last.items() if "all" in v), flush=True)
        if wait and self.pool is not None:
            self.pool.close()
            self.pool.join()
            self.pool = None
