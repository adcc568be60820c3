# The first training of the text encoder, by itself: what a caption says of its scene, told from the end's embedding.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# One linear answer per question (which thing, which colour, where to, what camera ...) on the embedding of the last
# token, </s>. The answers are thrown away; what stays is an encoder in which both languages' words for a thing lie
# together from the transformer's first step on. Two minutes of two CPU cores.
import os
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

import captions
import model
import tokenizer as vocabulary
from clips import seeded
from scenes import BACKGROUNDS, CAMERAS, COLOURS, MOTIONS, OBJECTS, PLAINS, RELATIONS, draw_scene
from state import read_json, write_json

WORDS = {"kind": OBJECTS, "colour": tuple(COLOURS), "motion": MOTIONS, "background": BACKGROUNDS,
         "plain": tuple(PLAINS), "camera": CAMERAS, "relation": RELATIONS, "direction": ("left", "right"),
         "kind2": OBJECTS, "colour2": tuple(COLOURS)}


def answers(scene):
    a, b = scene.things[0], scene.things[1] if len(scene.things) > 1 else None
    said = {"kind": a.kind, "colour": a.colour, "motion": a.motion, "background": scene.background,
            "plain": scene.plain, "camera": scene.camera, "relation": scene.relation, "direction": scene.direction,
            "kind2": b and b.kind, "colour2": b and b.colour}
    return [WORDS[k].index(v) if v is not None else len(WORDS[k]) for k, v in said.items()]


class Heads(nn.ModuleDict):
    def __init__(self, dim):
        super().__init__({k: nn.Linear(dim, len(v) + 1) for k, v in WORDS.items()})


def batch(args, tok, step, count, first=1 << 43):
    rng = seeded("text", args.seed, step)
    scenes = [draw_scene(first + args.seed * (1 << 30) + step * count + k) for k in range(count)]
    ids = [tok(captions.caption(s, rng)) for s in scenes]
    return ids, torch.tensor([answers(s) for s in scenes])


def logits(text, heads, ids):
    hidden = model.encode_text(text, ids)
    last = torch.tensor([len(i) - 1 for i in ids], device=hidden.device)
    at_end = hidden[torch.arange(len(ids), device=hidden.device), last]
    return [h(at_end) for h in heads.values()]


def train(args, text):
    """Trains `text` in place, or takes what the state folder has."""
    path, info = os.path.join(args.state, "text.pt"), os.path.join(args.state, "text.json")
    if read_json(info).get("done"):
        text.load_state_dict(torch.load(path, map_location=args.device, weights_only=True))
        return print("text: done before")
    torch.manual_seed(args.seed + 2)
    heads, tok, start = Heads(text.config.d_model).to(args.device), vocabulary.Tokenizer(args.state), time.time()
    opt = torch.optim.AdamW([*text.parameters(), *heads.parameters()], lr=1.0, betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(args.text_steps):
        left = 1 - step / args.text_steps
        for g in opt.param_groups:
            g["lr"] = args.text_lr * min(1.0, (step + 1) / 100, 0.02 + left * 1.3)
        ids, want = batch(args, tok, step, args.text_batch)
        loss = sum(F.cross_entropy(a, w) for a, w in zip(logits(text, heads, ids), want.to(args.device).unbind(1)))
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(text.parameters(), 1.0)
        opt.step()
        if step % 100 == 99 or step + 1 == args.text_steps:
            right = judge(args, text, heads, tok)
            print(f"text: step {step + 1}, loss {loss.item():.3f}, of unseen captions "
                  + ", ".join(f"{k} {100 * v:.0f}" for k, v in right.items()) + f", {time.time() - start:.0f} s",
                  flush=True)
    torch.save(text.state_dict(), path)
    write_json(info, {"done": True, "steps": args.text_steps, "seconds": round(time.time() - start, 1),
                      "right": {k: round(v, 4) for k, v in right.items()}})


@torch.no_grad()
def judge(args, text, heads, tok, count=256):
    """Shares of right answers on captions that no training has."""
    ids, want = batch(args, tok, 0, count, 1 << 42)
    return {k: (a.argmax(1).cpu() == w).float().mean().item()
            for k, a, w in zip(WORDS, logits(text, heads, ids), want.unbind(1))}
