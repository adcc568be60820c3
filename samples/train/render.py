# The renderer: clips of scenes, drawn with torch on any device.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# render() turns a list of scenes of one size into [N, 3, T, H, W] in 0..1. Nothing is stored; edges are anti-aliased
# by their distance in pixels.
#
#     python3 render.py OUT.png [FIRST_SEED [COUNT [WIDTH HEIGHT]]]    a sheet of strips, one clip per row
import sys

import numpy as np
import torch
import torch.nn.functional as F

from backgrounds import PAINT, mix
from scenes import BOTTOM, COLOURS, FPS, FRAMES, OBJECTS, PLAINS, SIZES, draw_scene, tracks
from shapes import CUBE, PYRAMID, ball_object, flat_object, solid_object


def _tensor(a, device):
    return torch.tensor(np.asarray(a), dtype=torch.float32, device=device)


def _draw_thing(pic, pick, kind, colour, tr, grid, t, contact):
    """Draws one kind of thing into the clips `pick` of pic, with its shadow where the scene has a floor. Returns how
    much of each pixel it covers."""
    x, y, px = grid                                          # world coordinates and world units per pixel
    x, y, px = x[pick], y[pick], px[pick]
    dx, dy = x - tr["x"], y - tr["y"]
    s = tr["s"]
    high = (tr["y"] - s * BOTTOM[kind] - tr["floor"]).clamp(min=0)
    wide, flat = s * (0.92 + 0.5 * high), s * 0.24 * (1 + 0.8 * high) + 0.01
    soft = ((dx - 0.10 * s - 0.12 * high) / wide) ** 2 + ((y - tr["floor"] - 0.03 * s) / flat) ** 2
    shadow = contact * 0.50 / (1 + 2.2 * high) * torch.exp(-(soft ** 1.3) * 1.2)
    cr, sr = torch.cos(tr["roll"]), torch.sin(tr["roll"])
    up = 1 - 0.22 * tr["squash"]
    qx, qy = dx / s * up, (dy / s + 0.22 * tr["squash"]) / up
    face = tr["face"] if kind in ("car", "fish") else 1.0
    lx, ly = (qx * cr + qy * sr) * face, -qx * sr + qy * cr
    q = {"x": lx, "y": ly, "step": px / s}
    if kind == "ball":
        d, c = ball_object(q, colour, tr)
    elif kind == "cube":
        d, c = solid_object(CUBE, q, colour, tr)
    elif kind == "pyramid":
        d, c = solid_object(PYRAMID, q, colour, tr)
    else:
        d, c = flat_object(kind, q, colour, t)
    a = (0.5 - d).clamp(0, 1)[:, None]
    pic[pick] = mix(pic[pick] * (1 - shadow[:, None]), c.clamp(0, 1), a)
    return a[:, 0]


@torch.no_grad()
def render(scenes, device="cpu", frames=None, owners=False):
    """Clips [N, 3, T, H, W] in 0..1 of scenes of one size; frames: which of the 33 (a range), for shorter clips.
    owners: also whose each pixel is, uint8 [N, T, H, W]: 0 the background's, 1 and 2 the first and second thing's."""
    w, h = scenes[0].width, scenes[0].height
    keep = list(frames) if frames is not None else list(range(FRAMES))
    all_tracks = [tracks(s) for s in scenes]
    t = _tensor([k / FPS for k in keep], device).view(1, -1, 1, 1)

    def stack(dicts):
        return {k: _tensor([d[k][keep] for d in dicts], device)[:, :, None, None] for k in dicts[0]}

    cam = stack([c for _, c in all_tracks])
    short = min(w, h)
    gx = ((torch.arange(w, device=device) + 0.5) * 2 - w) / short
    gy = (h - (torch.arange(h, device=device) + 0.5) * 2) / short
    x = gx.view(1, 1, 1, w) / cam["zoom"] + cam["cx"] + 0 * gy.view(1, 1, h, 1)
    y = gy.view(1, 1, h, 1) / cam["zoom"] + cam["cy"] + 0 * gx.view(1, 1, 1, w)
    px = 2.0 / short / cam["zoom"]
    rand = [np.random.RandomState(s.seed % (1 << 32)).rand(8 + 1024) for s in scenes]
    p = _tensor([r[:8] for r in rand], device)[:, None, None, None, :]
    table = _tensor([r[8:] for r in rand], device).view(-1, 32, 32)
    plain = _tensor([PLAINS.get(s.plain, (0, 0, 0)) for s in scenes], device)
    pic = torch.empty(len(scenes), 3, len(keep), h, w, device=device)
    for name, paint in PAINT.items():
        pick = [i for i, s in enumerate(scenes) if s.background == name]
        if pick:
            pic[pick] = paint(x[pick], y[pick], t, p[pick], table[pick], plain[pick]).expand(-1, 3, -1, -1, -1)
    whose = torch.zeros(len(scenes), len(keep), h, w, dtype=torch.uint8, device=device) if owners else None
    strength = {"grass": 1.0, "table": 1.0, "plain": 0.8, "sea": 0.35}
    for layer in range(2):
        for kind in OBJECTS:
            pick = [i for i, s in enumerate(scenes) if len(s.things) > layer and s.things[layer].kind == kind]
            if not pick:
                continue
            colour = _tensor([COLOURS[scenes[i].things[layer].colour] for i in pick], device)[:, :, None, None, None]
            contact = _tensor([strength.get(scenes[i].background, 0.0) for i in pick], device).view(-1, 1, 1, 1)
            tr = stack([all_tracks[i][0][layer] for i in pick])
            cover = _draw_thing(pic, pick, kind, colour, tr, (x, y, px), t, contact)
            if owners:
                whose[pick] = torch.where(cover > 0.5, layer + 1, whose[pick]).to(torch.uint8)
    return (pic.clamp_(0, 1), whose) if owners else pic.clamp_(0, 1)


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
