# The renderer: clips of scenes, drawn with torch on any device.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# render() turns a list of scenes of one size into [N, 3, T, H, W] in 0..1. Nothing is stored; edges are anti-aliased
# by their distance in pixels.
#
#     python3 render.py OUT.png [FIRST_SEED [COUNT [WIDTH HEIGHT]]]    a sheet of strips, one clip per row
import math
import sys

import numpy as np
import torch
import torch.nn.functional as F

from backgrounds import PAINT, mix
from scenes import BOTTOM, COLOURS, FPS, FRAMES, OBJECTS, PLAINS, SIZES, draw_scene, tracks
from shapes import CUBE, PYRAMID, ball_object, flat_object, solid_object

SHADOW = {"grass": 1.0, "table": 1.0, "plain": 0.8, "sea": 0.35}           # its strength; none in the air
# How far from its middle a thing of size 1 may be seen, however it is turned.
REACH = {"ball": 1.05, "cube": 1.1, "pyramid": 1.3, "star": 1.05, "heart": 1.05, "car": 1.1, "fish": 1.25}


def _tensor(a, device):
    return torch.tensor(np.asarray(a), dtype=torch.float32, device=device)


def _window(grid, size, cx, cy, rx, ry):
    """The part of the frames around (cx, cy) with the half sizes rx, ry (world units, [n, T, 1, 1]): the x and y of
    its pixels, and which of a frame's W * H they are. It is as large for all, and inside the frame."""
    x, y, px = grid
    reach = torch.stack([(r / px).amax() for r in (rx, ry)]).tolist()
    out = []
    for g, c, r, step, full in ((x, cx, reach[0], px, size[0]), (y, cy, reach[1], -px, size[1])):
        n = min(full, 2 * math.ceil(r) + 5)
        start = g[:, :, :1, :1]
        i = (((c - start) / step).round().long() - n // 2).clamp(0, full - n)
        i = i + torch.arange(n, device=g.device).view((1, n) if g is x else (n, 1))
        out.append((start + step * i, i))
    (x, col), (y, row) = out
    return x, y, row * size[0] + col


def _edit(pic, pick, pixels, change):
    """Puts change(old) in the place of what pic [N, C, T, H, W] holds in its clips `pick` at pixels [n, T, ...]. By one
    flat index: several are much slower."""
    c, t, h, w = pic.shape[1:]
    clip, channel, frame = (torch.as_tensor(i, device=pic.device) for i in (pick, range(c), range(t)))
    plane = (clip[:, None, None] * c + channel[:, None]) * t + frame
    at = plane[..., None, None] * (h * w) + pixels[:, None]
    flat = pic.view(-1)
    old = flat.index_select(0, at.view(-1)).view(at.shape)
    flat.scatter_(0, at.view(-1), change(old).view(-1))


def _draw_shadow(pic, pick, kind, tr, grid, contact):
    s = tr["s"]
    high = (tr["y"] - s * BOTTOM[kind] - tr["floor"]).clamp(min=0)
    wide, flat = s * (0.92 + 0.5 * high), s * 0.24 * (1 + 0.8 * high) + 0.01
    cx, cy = tr["x"] + 0.10 * s + 0.12 * high, tr["floor"] + 0.03 * s
    x, y, pixels = _window(grid, pic.shape[:2:-1], cx, cy, 2.24 * wide, 2.24 * flat)     # beyond it is below 1e-4
    soft = ((x - cx) / wide) ** 2 + ((y - cy) / flat) ** 2
    shadow = contact * 0.50 / (1 + 2.2 * high) * torch.exp(soft ** 1.3 * -1.2)
    _edit(pic, pick, pixels, lambda old: old * (1 - shadow[:, None]))


def _draw_thing(pic, pick, kind, colour, tr, grid, t):
    """Draws one kind of thing into the clips `pick` of pic. Returns which pixels it may touch, and how much it
    covers of each."""
    s, up = tr["s"], 1 - 0.22 * tr["squash"]
    x, y, pixels = _window(grid, pic.shape[:2:-1], tr["x"], tr["y"], REACH[kind] * s / up, REACH[kind] * s)
    dx, dy = x - tr["x"], y - tr["y"]
    cr, sr = torch.cos(tr["roll"]), torch.sin(tr["roll"])
    qx, qy = dx / s * up, (dy / s + 0.22 * tr["squash"]) / up
    face = tr["face"] if kind in ("car", "fish") else 1.0
    q = {"x": (qx * cr + qy * sr) * face, "y": -qx * sr + qy * cr, "step": grid[2] / s}
    if kind == "ball":
        d, c = ball_object(q, colour, tr)
    elif kind == "cube":
        d, c = solid_object(CUBE, q, colour, tr)
    elif kind == "pyramid":
        d, c = solid_object(PYRAMID, q, colour, tr)
    else:
        d, c = flat_object(kind, q, colour, t)
    a = (0.5 - d).clamp(0, 1)
    _edit(pic, pick, pixels, lambda old: mix(old, c.clamp(0, 1), a[:, None]))
    return pixels, a[:, None]


@torch.no_grad()
def render(scenes, device="cpu", frames=None, owners=False):
    """Clips [N, 3, T, H, W] in 0..1 of scenes of one size; frames: which of the 33 (a range), for shorter clips.
    owners: also whose each pixel is, uint8 [N, T, H, W]: 0 the background's, 1 and 2 the first and second thing's."""
    w, h = scenes[0].width, scenes[0].height
    keep = list(frames) if frames is not None else list(range(FRAMES))
    all_tracks = [tracks(s) for s in scenes]
    t = _tensor([[(k + s.late) / FPS for k in keep] for s in scenes], device)[:, :, None, None]

    def stack(dicts):
        return {k: _tensor([d[k][keep] for d in dicts], device)[:, :, None, None] for k in dicts[0]}

    cam = stack([c for _, c in all_tracks])
    short = min(w, h)
    gx = ((torch.arange(w, device=device) + 0.5) * 2 - w) / short
    gy = (h - (torch.arange(h, device=device) + 0.5) * 2) / short
    x = gx.view(1, 1, 1, w) / cam["zoom"] + cam["cx"]        # [N, T, 1, W] and [N, T, H, 1]: what depends on one of
    y = gy.view(1, 1, h, 1) / cam["zoom"] + cam["cy"]        # them only is cheap
    px = 2.0 / short / cam["zoom"]
    rand = [np.random.RandomState(s.seed % (1 << 32)).rand(8 + 1024) for s in scenes]
    p = _tensor([r[:8] for r in rand], device)[:, None, None, None, :]
    table = _tensor([r[8:] for r in rand], device).view(-1, 32, 32)
    plain = _tensor([PLAINS.get(s.plain, (0, 0, 0)) for s in scenes], device)
    pic = torch.empty(len(scenes), 3, len(keep), h, w, device=device)
    moves = [any(np.ptp(c[keep]) > 0 for c in cam.values()) for _, cam in all_tracks]
    for name, paint in PAINT.items():
        for moving in (False, True):
            pick = [i for i, s in enumerate(scenes) if s.background == name and moves[i] == moving]
            if pick:                        # under a still camera one frame does for what does not move by itself
                k = slice(None if moving else 1)
                for i, c in zip(pick, paint(x[pick, k], y[pick, k], t[pick], p[pick], table[pick], plain[pick])):
                    pic[i] = c
    whose = torch.zeros(len(scenes), 1, len(keep), h, w, dtype=torch.uint8, device=device) if owners else None
    for layer in range(2):
        for kind in OBJECTS:
            pick = [i for i, s in enumerate(scenes) if len(s.things) > layer and s.things[layer].kind == kind]
            if not pick:
                continue
            colour = _tensor([COLOURS[scenes[i].things[layer].colour] for i in pick], device)[:, :, None, None, None]
            tr = stack([all_tracks[i][0][layer] for i in pick])
            contact = [SHADOW.get(scenes[i].background, 0.0) for i in pick]
            floor = [k for k, c in enumerate(contact) if c]
            if floor:
                some = [pick[k] for k in floor]
                _draw_shadow(pic, some, kind, {k: v[floor] for k, v in tr.items()}, (x[some], y[some], px[some]),
                             _tensor(contact, device)[floor].view(-1, 1, 1, 1))
            pixels, cover = _draw_thing(pic, pick, kind, colour, tr, (x[pick], y[pick], px[pick]), t[pick])
            if owners:
                _edit(whose, pick, pixels, lambda old: torch.where(cover > 0.5, layer + 1, old).to(torch.uint8))
    return (pic.clamp_(0, 1), whose[:, 0]) if owners else pic.clamp_(0, 1)


def strip(clip, every=4):
    """A clip [3, T, H, W] as one picture of every 4th frame, uint8 [H, W', 3]."""
    f = clip[:, ::every].permute(2, 1, 3, 0)
    f = F.pad(f, (0, 0, 0, 2), value=1.0)
    return (f.reshape(f.shape[0], -1, 3) * 255 + 0.5).clamp(0, 255).to(torch.uint8).cpu().numpy()


def main():
    from PIL import Image
    first, count = (int(a) for a in (sys.argv[2:4] + ["0", "12"][len(sys.argv[2:4]):]))
    size = tuple(int(a) for a in sys.argv[4:6]) or SIZES[0]
    scenes = [draw_scene(first + i, size) for i in range(count)]
    clips = render(scenes)
    Image.fromarray(np.concatenate([np.pad(strip(c), ((0, 2), (0, 0), (0, 0)), constant_values=255)
                                    for c in clips])).save(sys.argv[1])
    for s in scenes:
        print(s.seed, s.truth())


if __name__ == "__main__":
    main()
