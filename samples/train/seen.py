# What a block in the middle of the transformer is asked about the picture while it trains.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The renderer knows the answers: whose each token is, where in it the outline runs, and which way it moves. Learning
# optical flow beside the picture is what H. Chefer et al., "VideoJAM", 2025, found to make motion hold together.
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from scenes import BACKGROUNDS, COLOURS, FRAMES, OBJECTS, tracks

TOKEN, CELL = 16, 4         # pixels
SIDE = TOKEN // CELL


def by_latent(whose):
    """[N, T, H, W] as [N, F, 4, H, W], the pictures of each latent frame; the first one is of one picture alone."""
    whose = torch.cat([whose[:, :1].expand(-1, 3, -1, -1), whose], 1)
    return whose.unflatten(1, (-1, 4))


def truths(scenes, whose):
    """What there is to know of rendered clips; whose: uint8 [N, T, H, W], render()'s owners.
    owner: uint8 [N, F, H/16, W/16], the thing which has most of a token and at least a fifth, else the background, 0;
    cover: uint8 [N, F, H/4, W/4], 255 where a cell is all some thing's;
    moves: f32 [N, F, 3, 3], what movement() says."""
    groups = by_latent(whose)
    share = [F.avg_pool2d((groups == k).float().mean(2), CELL) for k in (1, 2)]
    most, which = torch.stack([F.avg_pool2d(s, SIDE) for s in share]).max(0)
    return {"owner": torch.where(most > 0.2, which + 1, 0).to(torch.uint8),
            "cover": ((share[0] + share[1]) * 255 + 0.5).to(torch.uint8),
            "moves": torch.from_numpy(np.stack([movement(s, groups.shape[1]) for s in scenes])).to(whose.device)}


def empty(count, frames, h, w, device):
    """truths() of clips to come."""
    new = lambda dtype, *shape: torch.zeros(count, frames, *shape, dtype=dtype, device=device)     # noqa: E731
    return {"owner": new(torch.uint8, h // TOKEN, w // TOKEN), "cover": new(torch.uint8, h // CELL, w // CELL),
            "moves": new(torch.float32, 3, 3)}


def movement(scene, frames):
    """[F, 3, 3]: of the background and both things how they move across the picture in each latent frame, (a, b, c):
    by (a + c x, b + c y) at (x, y), in shorter halves of the picture per clip; c is the camera's, of the background."""
    things, cam = tracks(scene)
    per_clip = lambda v: np.gradient(v) * (FRAMES - 1)     # noqa: E731
    rows = [(-per_clip(cam["cx"]) * cam["zoom"], -per_clip(cam["cy"]) * cam["zoom"], per_clip(np.log(cam["zoom"])))]
    for t in things:
        rows.append((per_clip((t["x"] - cam["cx"]) * cam["zoom"]), per_clip((t["y"] - cam["cy"]) * cam["zoom"]),
                     0 * t["x"]))
    rows += [np.zeros((3, FRAMES))] * (3 - len(rows))
    v = np.clip(np.array(rows), -4, 4)                      # [3 owners, 3, T]
    groups = [slice(0, 1)] + [slice(4 * f - 3, 4 * f + 1) for f in range(1, frames)]
    return np.stack([v[:, :, g].mean(-1) for g in groups]).astype(np.float32)


def middles(h, w, device):
    """x and y of the middles of h x w tokens, in shorter halves of the picture, y up: [2, h, w]."""
    short = min(h, w)
    x = (torch.arange(w, device=device) * 2 + 1 - w) / short
    y = (h - 1 - torch.arange(h, device=device) * 2) / short
    return torch.stack([x.expand(h, w), y[:, None].expand(h, w)])


class Seen(nn.Module):
    """Asks each token of a block's output whose it is (kind of thing or place, colour), how much of each of its cells
    a thing covers, and how what it shows moves. The error is part of the loss: with the truth for a teacher, the
    transformer learns within minutes to look for things, which the velocity alone teaches slowly. It does not ship."""

    def __init__(self, dim):
        super().__init__()
        self.sizes = (len(OBJECTS) + len(BACKGROUNDS), len(COLOURS) + 1, SIDE * SIDE, 2)
        self.out = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, sum(self.sizes)))

    def kinds(self, scenes, owner):
        """[B, F, h, w] classes: a thing's kind or the background; a thing's colour or none."""
        kinds, tints = [], []
        for s in scenes:
            things = [*s.things, s.things[0]][:2]
            kinds.append([len(OBJECTS) + BACKGROUNDS.index(s.background)] + [OBJECTS.index(t.kind) for t in things])
            tints.append([len(COLOURS)] + [list(COLOURS).index(t.colour) for t in things])
        b, flat = len(scenes), owner.long().flatten(1)
        return [torch.tensor(v, device=owner.device).gather(1, flat).view(owner.shape) for v in (kinds, tints)]

    def loss(self, x, scenes, known):
        """x [B, F, HW, D]: the block's output; known: truths() of those frames. The sum of the four errors."""
        owner, (b, f, h, w) = known["owner"], known["owner"].shape
        kind, tint, cover, flow = self.out(x).unflatten(2, (h, w)).split(self.sizes, -1)
        loss = sum(F.cross_entropy(a.flatten(0, 3), t.flatten()) for a, t in
                   zip((kind, tint), self.kinds(scenes, owner)))
        cells = known["cover"].float().div(255).unflatten(3, (w, SIDE)).unflatten(2, (h, SIDE))
        loss = loss + 3 * F.binary_cross_entropy_with_logits(cover, cells.permute(0, 1, 2, 4, 3, 5).flatten(4))
        one = owner.long().flatten(2)[..., None].expand(-1, -1, -1, 3)
        move = known["moves"].gather(2, one).unflatten(2, (h, w))               # [B, F, h, w, 3]
        way = move[..., :2] + move[..., 2:] * middles(h, w, x.device).permute(1, 2, 0)
        return loss + 0.5 * F.smooth_l1_loss(flow, way, beta=0.3)
