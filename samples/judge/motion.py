# How the camera moves and what a thing does, from regions and pixels of a clip.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Lengths are in units of half the picture's shorter side, y points up; what the camera does is taken out of the tracks.
import numpy as np

import segment
import shape

BANDS = 4                               # of the picture's height: waves must not drown what lies above them
STEP = 8                                # frames between those that the camera's movement is measured from
GAIN = 0.97                             # how much of standing still's residual may remain when the camera moves: of 208
                                        # rendered and worn clips with a still one none comes below 0.99
ROLLS = 1.9                             # Track.rolls from which a ball rolls; between the two kinds of 48 rendered ones


# -- the camera ---------------------------------------------------------------------------------------------------

def _residual(a, b, keep_a, keep_b, rows, cols):
    """Mean difference, in each of BANDS bands of height, of a, every other pixel, and of b taken at (rows, cols), which
    may lie outside; where both show background. NaN where that is hardly anywhere."""
    h, w = b.shape[:2]
    inside_y, inside_x = (rows >= 0) & (rows < h), (cols >= 0) & (cols < w)
    r, c = np.clip(rows, 0, h - 1), np.clip(cols, 0, w - 1)
    ok = keep_a & keep_b[r][:, c] & inside_y[:, None] & inside_x[None]
    d = np.minimum(np.abs(a - b[r][:, c]).sum(-1), 60.0) * ok
    edge = np.linspace(0, len(rows), BANDS + 1).astype(int)[:-1]
    n = np.add.reduceat(ok.sum(1), edge)
    return np.where(n < 0.15 * ok.size / BANDS, np.nan, np.add.reduceat(d.sum(1), edge) / np.maximum(n, 1))


def camera_curves(clip, free, pairs=4):
    """Residuals of shifts (pixels per STEP frames, -n..n) and of zooms (factor per STEP frames), by what remains of the
    residual of standing still; free [T, H, W]: the background. Returns shifts, their curve, zooms, their curve."""
    t, h, w = clip.shape[:3]
    short = min(h, w)
    most = int(round(0.125 * short))
    shifts = np.arange(-most, most + 1)
    zooms = np.exp(np.linspace(-0.24, 0.24, 17))
    f = clip.astype(np.float32)
    f = (f + np.roll(f, 1, 1) + np.roll(f, 1, 2) + np.roll(np.roll(f, 1, 1), 1, 2)) / 4
    ys, xs = np.arange(0, h, 2), np.arange(0, w, 2)
    total_s, total_z = np.zeros((len(shifts), BANDS)), np.zeros((len(zooms), BANDS))
    for k in range(pairs):
        a = min(k * STEP, t - 1 - STEP)
        args = (f[a, ::2, ::2], f[a + STEP], free[a, ::2, ::2], free[a + STEP])
        total_s += [_residual(*args, ys, xs + s) for s in shifts]
        total_z += [_residual(*args, np.rint((ys - (h - 1) / 2) * z + (h - 1) / 2).astype(int),
                              np.rint((xs - (w - 1) / 2) * z + (w - 1) / 2).astype(int)) for z in zooms]
    base = total_s[most] + 2.0
    curves = [np.nan_to_num((v + 2.0) / base, nan=1.0).mean(1) for v in (total_s, total_z)]
    return shifts, curves[0], zooms, curves[1]


class Still:
    """A camera that does not move."""
    name, shift, rate = "static", 0.0, 1.0


class Camera:
    """name: one of static, pan left, pan right, zoom in, zoom out; shift: units per frame that the picture moves right;
    rate: factor per frame by which it grows."""

    def __init__(self, clip, free, gain=GAIN):
        self.name, self.shift, self.rate = "static", 0.0, 1.0
        shifts, cs, zooms, cz = camera_curves(clip, free)
        short = min(clip.shape[1:3])
        s, z = int(cs.argmin()), int(cz.argmin())
        move, grow = shifts[s] * 2.0 / short, np.log(zooms[z])
        if min(cs[s], cz[z]) > gain:
            return
        if cz[z] < cs[s] and abs(grow) > 0.055:
            self.name, self.rate = ("zoom in" if grow > 0 else "zoom out"), float(np.exp(grow / STEP))
        elif cs[s] <= cz[z] and abs(move) > 0.075:
            self.name, self.shift = ("pan left" if move > 0 else "pan right"), float(move / STEP)


# -- a thing --------------------------------------------------------------------------------------------------------

class Track:
    """x, y, size (of a disc of its area) of T frames with the camera's movement taken out; where: frames in which it is
    seen; whole: those in which no edge cuts it; change: how much its look differs 4 frames on; rolls: how much better
    it matches later on when turned as what rolls that far turns than as it is."""

    def __init__(self, clip, masks, camera):
        t, h, w = masks.shape
        short, k = min(h, w) / 2.0, np.arange(t)
        self.blobs = [shape.Blob(m) for m in masks]
        zoom = camera.rate ** (k - (0 if camera.name != "zoom out" else t - 1))
        self.x = (np.array([b.x for b in self.blobs]) - (w - 1) / 2) / short / zoom - camera.shift * (k - (t - 1) / 2)
        self.y = ((h - 1) / 2 - np.array([b.y for b in self.blobs])) / short / zoom
        self.size = np.sqrt(np.array([max(b.area, 1) for b in self.blobs]) / np.pi) / short / zoom
        self.where = np.array([b.ok for b in self.blobs])
        self.whole = np.array([b.ok and not b.cut for b in self.blobs])
        self.change, self.rolls = self._change(clip, masks), self._rolls(clip)

    def _rolls(self, clip, lag=9, angles=48):
        """Medians over time, in 8-bit steps, of looks without what they have in common, which is the light."""
        looks = {k: shape.polar(clip[k].astype(np.float32), self.blobs[k], angles)[shape.RINGS < 1]
                 for k in np.flatnonzero(self.whole[::3]) * 3}
        light, out = (np.mean(list(looks.values()), 0) if looks else 0), []
        for i, a in looks.items():
            if i + lag in looks:
                turn = -(self.x[i + lag] - self.x[i]) / self.size[i] * angles / (2 * np.pi)
                a, b = a - light, looks[i + lag] - light
                out.append(np.abs(a - b).mean() - np.abs(np.roll(a, int(round(turn)), 1) - b).mean())
        return float(np.median(out)) if out else 0.0

    def _change(self, clip, masks):
        """How much the polar looks (colour, and the outline as a fourth channel) differ 2, 3 or 4 frames apart beyond
        what they do 1 apart, which noise does as well; medians over time, in 8-bit steps."""
        use = [i for i in range(0, len(masks) - 4, 3) if self.whole[i:i + 5].all()]
        if not use:
            return 0.0
        looks = {}
        for k in {i + d for i in use for d in range(5)}:
            f = np.concatenate([clip[k] * masks[k][..., None], 120.0 * masks[k][..., None]], -1)
            f = np.moveaxis(segment.box(np.moveaxis(f, -1, 0)), 0, -1)
            looks[k] = shape.polar(f, self.blobs[k], 48)[:9]
        d = [np.median([np.abs(looks[i] - looks[i + lag]).mean() for i in use]) for lag in range(1, 5)]
        return float(max(d[1:]) - d[0])


def ends(v, n=3):
    return float(np.mean(v[:n])), float(np.mean(v[-n:]))


def turns(x, y):
    """The angle that a path goes round its middle, in turns; and its mean distance from it."""
    cx, cy = (x.max() + x.min()) / 2, (y.max() + y.min()) / 2
    a = np.unwrap(np.arctan2(y - cy, x - cx))
    return float(abs(a[-1] - a[0]) / (2 * np.pi)), float(np.hypot(x - cx, y - cy).mean())


def motion_of(track, kind, limits):
    """(motion, direction) of a track; limits: the change of look from which a kind of thing turns."""
    use = track.whole if track.whole.sum() >= 0.7 * track.where.sum() else track.where
    if use.sum() < 8:
        return "none", None
    x, y, s = track.x[use], track.y[use], track.size[use]
    (x0, x1), (y0, y1), (s0, s1) = ends(x), ends(y), ends(s)
    grow = np.log(s1 / s0)
    if abs(grow) > 0.55:
        return ("grows" if grow > 0 else "shrinks"), None
    around, r = turns(x, y)
    if r > 0.15 and around > 0.75 and min(np.ptp(x), np.ptp(y)) > 0.3:
        return "circles", None
    if abs(x1 - x0) > 0.5 and abs(x1 - x0) > np.ptp(y):
        way = "right" if x1 > x0 else "left"
        return ("rolls" if kind == "ball" and track.rolls > ROLLS else way), way
    rebound = np.maximum.accumulate(y[::-1])[::-1] - y
    if (rebound[y < y[0] - 0.3] > 0.12).any():
        return "bounces", None
    if y1 - y0 > 0.35:
        return "rises", None
    if y0 - y1 > 0.3:
        return "falls", None
    return ("spins" if track.change > limits.get(kind, 9.0) else "still"), None
