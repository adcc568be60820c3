# The training of the text encoder by itself: what a caption says of its scene, told from its embeddings.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# One linear answer per question: about the scene (which thing, which colour, where to, what camera ...) on the
# embedding of the last token, </s>; about a thing, on each token of the words for it. The answers are thrown away; what
# stays is an encoder in which both languages' words for a thing lie together, and which knows whose colour each colour
# is, from the transformer's first step on. The velocity alone does not teach it that: order is in the encoder's
# relative biases only, which start alike for all distances, and which words go together is seen in few clips.
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
# Of a thing's tokens; a relation is (of the first, of the second); said: before the other one or behind it.
PLACES = {"left of": ("left", "right"), "right of": ("right", "left"), "above": ("above", "below"),
          "behind": ("behind", "before")}
OF_THING = {"kind": OBJECTS, "colour": tuple(COLOURS), "motion": MOTIONS,
            "place": ("left", "right", "above", "below", "behind", "before"),
            "role": ("first", "second"), "said": ("before", "behind")}
NONE = -100                 # no such question


def answers(scene):
    a, b = scene.things[0], scene.things[1] if len(scene.things) > 1 else None
    said = {"kind": a.kind, "colour": a.colour, "motion": a.motion, "background": scene.background,
            "plain": scene.plain, "camera": scene.camera, "relation": scene.relation, "direction": scene.direction,
            "kind2": b and b.kind, "colour2": b and b.colour}
    return [WORDS[k].index(v) if v is not None else len(WORDS[k]) for k, v in said.items()]


def answers_of_thing(scene, which, said_first):
    """Of thing `which`; those about two things only where there are two."""
    thing = scene.things[which]
    said = [OBJECTS.index(thing.kind), list(COLOURS).index(thing.colour), MOTIONS.index(thing.motion)]
    if len(scene.things) == 1:
        return said + [NONE] * 3
    return said + [OF_THING["place"].index(PLACES[scene.relation][which]), which, int(which != said_first)]


class Heads(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.of_scene = nn.ModuleDict({k: nn.Linear(dim, len(v) + 1) for k, v in WORDS.items()})
        self.of_thing = nn.ModuleDict({k: nn.Linear(dim, len(v)) for k, v in OF_THING.items()})


def give_order(text):
    """Relative biases [32 distances, 16 before and 16 behind; heads] that tell what is before from what is behind, near
    by and anywhere: from all alike, as they start, they hardly move. Left alone where they were learnt."""
    at = torch.tensor([*range(8), 8, 12, 16, 20, 30, 45, 64, 90.])
    for k, p in text.named_parameters():
        if "relative_attention_bias" not in k or p.abs().max() > 2:
            continue
        with torch.no_grad():
            for head in range(p.shape[1]):
                here, there = (p[:16, head], p[16:, head]) if head % 2 == 0 else (p[16:, head], p[:16, head])
                here -= at.to(p.device).clamp(max=8) if head % 4 < 2 else 0.05 * at.to(p.device)
                there -= 8


def batch(args, tok, step, count, first=1 << 43):
    """Ids; answers about the scenes [count, questions]; about the things of the tokens [count, L, questions]. Half of
    the scenes of one thing are left out: two are harder."""
    rng, at = seeded("text", args.seed, step), first + args.seed * (1 << 30) + step * count * 4
    ids, scenes, of_things = [], [], []
    while len(ids) < count:
        scene, at = draw_scene(at), at + 1
        if len(scene.things) == 1 and rng.random() < 0.5:
            continue
        tokens, whose = tok.of_things(*captions.caption_of_things(scene, rng))
        said_first = next((k for k in whose if k >= 0), 0)
        ids.append(tokens)
        scenes.append(answers(scene))
        of_things.append([answers_of_thing(scene, k, said_first) if k >= 0 else [NONE] * len(OF_THING) for k in whose])
    longest = max(len(i) for i in ids)
    of_things = [w + [[NONE] * len(OF_THING)] * (longest - len(w)) for w in of_things]
    return ids, torch.tensor(scenes), torch.tensor(of_things)


def logits(text, heads, ids, longest):
    """Lists of [B, answers] and of [B, longest, answers]."""
    hidden = model.encode_text(text, ids)
    last = torch.tensor([len(i) - 1 for i in ids], device=hidden.device)
    at_end = hidden[torch.arange(len(ids), device=hidden.device), last]
    return [h(at_end) for h in heads.of_scene.values()], [h(hidden[:, :longest]) for h in heads.of_thing.values()]


def loss_of(args, text, heads, asked):
    ids, of_scene, of_things = asked
    told, told_of_things = logits(text, heads, ids, of_things.shape[1])
    loss = sum(F.cross_entropy(a, w) for a, w in zip(told, of_scene.to(args.device).unbind(1)))
    for a, w in zip(told_of_things, of_things.to(args.device).unbind(2)):
        if (w >= 0).any():
            loss = loss + F.cross_entropy(a.flatten(0, 1), w.flatten(), ignore_index=NONE)
    return loss


def groups(text, heads):
    """Relative biases are few and must come far: ten times the rate, and no decay."""
    far = [p for k, p in text.named_parameters() if "relative_attention_bias" in k]
    near = [p for k, p in text.named_parameters() if "relative_attention_bias" not in k]
    return [{"params": [*near, *heads.parameters()], "share": 1.0},
            {"params": far, "share": 10.0, "weight_decay": 0.0}]


def train(args, text):
    """Trains `text` in place, or takes what the state folder has."""
    path, info = os.path.join(args.state, "text.pt"), os.path.join(args.state, "text.json")
    if read_json(info).get("done"):
        text.load_state_dict(torch.load(path, map_location=args.device, weights_only=True))
        return print("text: done before")
    torch.manual_seed(args.seed + 2)
    give_order(text)
    heads, tok, start = Heads(text.config.d_model).to(args.device), vocabulary.Tokenizer(args.state), time.time()
    opt = torch.optim.AdamW(groups(text, heads), lr=1.0, betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(args.text_steps):
        left = 1 - step / args.text_steps
        for g in opt.param_groups:
            g["lr"] = g["share"] * args.text_lr * min(1.0, (step + 1) / 100, 0.02 + left * 1.3)
        loss = loss_of(args, text, heads, batch(args, tok, step, args.text_batch))
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(text.parameters(), 1.0)
        opt.step()
        if step % 200 == 199 or step + 1 == args.text_steps:
            right = judge(args, text, heads, tok)
            print(f"text: step {step + 1}, loss {loss.item():.3f}, of unseen captions "
                  + ", ".join(f"{k} {100 * v:.1f}" for k, v in right.items()) + f", {time.time() - start:.0f} s",
                  flush=True)
    torch.save(text.state_dict(), path)
    write_json(info, {"done": True, "steps": args.text_steps, "seconds": round(time.time() - start, 1),
                      "right": {k: round(v, 4) for k, v in right.items()}})


@torch.no_grad()
def judge(args, text, heads, tok, count=512):
    """Shares of right answers on captions that no training has; about a thing's tokens where there are two things."""
    ids, of_scene, of_things = batch(args, tok, 0, count, 1 << 42)
    told, told_of_things = logits(text, heads, ids, of_things.shape[1])
    right = {k: (a.argmax(1).cpu() == w).float().mean().item() for k, a, w in zip(WORDS, told, of_scene.unbind(1))}
    two = of_things[..., -1] >= 0
    for k, a, w in zip(OF_THING, told_of_things, of_things.unbind(2)):
        right["its " + k] = (a.argmax(2).cpu() == w)[two].float().mean().item()
    return right
