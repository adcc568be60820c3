# Fits tables.npz, what the judge knows of the world, on rendered clips of scenes that no proof and no evaluation uses.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Needs torch for the renderer. Three of four clips are worn: their outlines bent, softer or too sharp, noised, as a
# weak generator, a VAE or a codec makes them. A judge that has seen clean outlines alone takes a lumpy ball for a cube.
#
#     python3 fit.py [COUNT [OUT.npz]]
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

import segment
import shape
from motion import Camera, Still, Track

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "train"))
import scenes as world          # noqa: E402

FIRST = 1 << 43                 # seeds of the scenes that fit
TURNS = ("still", "spins", "rolls", "left", "right")


def worn(clip, owner, rng):
    """A clip [T, H, W, 3] and its owners [T, H, W] as they may come out of a generator: bent by a few pixels, slowly
    changing, another way in each channel by a fraction of one; blotched, softer or too sharp, noisier, colours off."""
    t, h, w = owner.shape

    def waves(reach, pitch, channels=2):
        size = [max(2, n // p) for n, p in ((t, 8), (h, pitch), (w, pitch))]
        n = torch.from_numpy(rng.normal(0, reach, (1, channels, *size)).astype(np.float32))
        return F.interpolate(n, (t, h, w), mode="trilinear", align_corners=True)[0]

    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")

    def moved(v, way, mode="bilinear"):
        grid = torch.stack([(x + way[0]) / w, (y + way[1]) / h], -1) * 2 - 1
        return F.grid_sample(v[:, None], grid, mode=mode, padding_mode="border", align_corners=False)

    way = waves(rng.uniform(0, 3), int(rng.integers(6, 12))) + waves(rng.uniform(0, 4), int(rng.integers(14, 28)))
    fringe = rng.uniform(0, 0.7)
    f = torch.from_numpy(clip.astype(np.float32))
    f = torch.cat([moved(f[..., c], way + waves(fringe, 10)) for c in range(3)], 1).numpy()
    owner = moved(torch.from_numpy(owner.astype(np.float32)), way, "nearest")[:, 0].numpy().astype(np.uint8)
    f += rng.uniform(-0.9, 1.0) * (segment.box(f, int(rng.integers(1, 3))) - f)
    f = np.moveaxis(f + waves(rng.uniform(0, 16), int(rng.integers(6, 14)), 3).permute(1, 0, 2, 3).numpy(), 1, -1)
    f = f * rng.normal(1.0, 0.03, 3) + rng.normal(0.0, 4, 3) + rng.normal(0.0, rng.uniform(0, 4), f.shape)
    return np.clip(f + 0.5, 0, 255).astype(np.uint8), owner


def smoothed(hist, sigma=0.7):
    """A histogram [LEVELS^3] as likelihoods: spread over neighbouring bins, with a floor, in steps of QUANT nats."""
    n = segment.LEVELS
    h = hist.reshape(n, n, n).astype(np.float64)
    kernel = np.exp(-0.5 * (np.arange(-2, 3) / sigma) ** 2)
    for axis in range(3):
        h = np.apply_along_axis(lambda v: np.convolve(v, kernel / kernel.sum(), "same"), axis, h)
    p = 0.98 * h / max(h.sum(), 1) + 0.02 / n ** 3
    return np.minimum(-np.log(p) / segment.QUANT, 255).round().astype(np.uint8).ravel()


def background_names():
    plain = [f"plain:{p}" for p in world.PLAINS]
    return [b for b in world.BACKGROUNDS if b != "plain"] + plain


def name_of(scene):
    return scene.background + (":" + scene.plain if scene.plain else "")


def fit_colours(clips):
    names, colours = background_names(), list(world.COLOURS)
    behind = np.zeros((len(names), segment.BANDS, segment.LEVELS ** 3))
    thing = np.zeros((len(colours), segment.LEVELS ** 3))
    for scene, clip, owner in clips:
        q, band = segment.bins(clip[::2]), segment.bands(clip.shape[1])
        owner = owner[::2]
        for k in range(segment.BANDS):
            rows = band == k
            behind[names.index(name_of(scene)), k] += np.bincount(q[:, rows][owner[:, rows] == 0],
                                                                  minlength=segment.LEVELS ** 3)
        for i, t in enumerate(scene.things):
            thing[colours.index(t.colour)] += np.bincount(q[owner == i + 1], minlength=segment.LEVELS ** 3)
    return {"backgrounds": np.array(names), "colours": np.array(colours),
            "behind": np.stack([[smoothed(b) for b in row] for row in behind]),
            "thing": np.stack([smoothed(t) for t in thing])}


def fit_shapes(clips, tables):
    seg, kinds = segment.Segmenter(tables), list(world.OBJECTS)
    xs, ys, turning = [], [], {k: ([], []) for k in kinds}
    for scene, clip, owner in clips:
        q = segment.bins(clip)
        behind = seg.behind_of(q, name_of(scene))
        camera = Camera(clip, owner == 0) if scene.camera != "static" else Still()
        for i, t in enumerate(scene.things):
            masks = seg.regions(q, behind, t.colour)
            track = Track(clip, masks, camera)
            f = shape.clip_features(masks, track.blobs)
            if f is None or not ((masks & (owner == i + 1)).sum() > 0.5 * (owner == i + 1).sum()):
                continue
            xs.append(f)
            ys.append(kinds.index(t.kind))
            if i == 0 and t.motion in TURNS:
                turning[t.kind][t.motion in ("spins", "rolls")].append(track.change)
    weight, bias = shape.discriminant(np.array(xs), np.array(ys), len(kinds))
    right = float(((np.array(xs) @ weight.T + bias).argmax(1) == np.array(ys)).mean())
    limits = []
    for k in kinds:
        still, turns = (np.array(v) for v in turning[k])
        cut = np.unique(np.concatenate([still, turns, [9.0]]))
        mid = np.sqrt(np.maximum(cut[1:], 1e-3) * np.maximum(cut[:-1], 1e-3)) if len(cut) > 1 else cut
        wrong = [(still > c).sum() / max(len(still), 1) + (turns <= c).sum() / max(len(turns), 1) for c in mid]
        best = np.flatnonzero(np.array(wrong) == min(wrong))
        limits.append(float(mid[best[len(best) // 2]]))
        print(f"{k}: {len(still)} still up to {still.max(initial=0):.2f}, {len(turns)} turning from "
              f"{turns.min(initial=99):.2f}; limit {limits[-1]:.2f}")
    print(f"shapes: {len(xs)} silhouettes, {100 * right:.1f} % of them told right")
    return {"kinds": np.array(kinds), "shape_weight": weight.astype(np.float32), "shape_bias": bias.astype(np.float32),
            "turn_limit": np.array(limits)}


def rendered(count, first=FIRST):
    from render import render
    torch.set_num_threads(1)
    known = [c for c in world.combinations() if not world.held_out(*c) and c[2] in TURNS]
    for i in range(count):
        only = known[i * 7919 % len(known)] if i % 3 == 2 else None       # what turns must be told from what does not
        scene = world.draw_scene(first + i, world.SIZES[(0, 0, 1, 2)[i % 4]], only)
        clip, owner = render([scene], owners=True)
        yield scene, (clip[0].permute(1, 2, 3, 0).numpy() * 255 + 0.5).astype(np.uint8), owner[0].numpy()


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    out = sys.argv[2] if len(sys.argv) > 2 else os.path.join(HERE, "tables.npz")
    rng = np.random.default_rng(1)
    clips = [(s, *(worn(c, o, rng) if i % 4 else (c, o))) for i, (s, c, o) in enumerate(rendered(count))]
    tables = fit_colours(clips)
    tables.update(fit_shapes(clips, tables))
    np.savez_compressed(out, **tables)
    print(f"{out}: {os.path.getsize(out) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
