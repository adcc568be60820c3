# Which background a clip shows, and where a thing of a colour is in it: from colour statistics alone.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# tables.npz (written by fit.py) holds, for every background by thirds of its height and for every object's colour, how
# likely each colour of a pixel is, in a histogram of LEVELS^3 bins. A pixel is the thing's where its colour is likelier
# on such a thing than on the background; a thing is the connected region with the most evidence.
#
# Letters: T frames, H and W pixels; clips are uint8 [T, H, W, 3].
import numpy as np

LEVELS, GAMMA = 24, 0.6                 # the histograms' levels lie closer in the dark
BANDS = 3
FLOOR = -9.0                            # what a pixel can say against a background, in nats
QUANT = 0.08                            # nats per step of the stored tables
RIVAL = 4.0                             # how much less likely than under another colour a pixel may still be a thing's
EVERY = 4                               # frames between those that choose background and colour

_LEVEL = np.minimum((np.arange(256) / 255.0) ** GAMMA * LEVELS, LEVELS - 1).astype(np.int32)


def bins(clip):
    """The histogram bin of every pixel, [T, H, W]."""
    q = _LEVEL[clip]
    return (q[..., 0] * LEVELS + q[..., 1]) * LEVELS + q[..., 2]


def bands(height):
    """Which third of the picture each row lies in."""
    return np.arange(height) * BANDS // height


def box(a, r=1):
    """Mean over (2 r + 1)^2 neighbours of [..., H, W], edges repeated."""
    for axis in (-1, -2):
        pad = [(0, 0)] * a.ndim
        pad[axis] = (r + 1, r)
        c = np.cumsum(np.pad(a, pad, mode="edge"), axis=axis)
        n = a.shape[axis]
        hi, lo = [slice(None)] * a.ndim, [slice(None)] * a.ndim
        hi[axis], lo[axis] = slice(2 * r + 1, 2 * r + 1 + n), slice(0, n)
        a = (c[tuple(hi)] - c[tuple(lo)]) / (2 * r + 1)
    return a


def components(mask):
    """Labels 1.. of the 4-connected regions of [H, W], by runs and union-find; and their number."""
    edge = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = (v.tolist() for v in np.nonzero(edge == 1))
    ends = np.nonzero(edge == -1)[1].tolist()
    parent, labels, above, here, row = [0], [], [], [], -2

    def root(k):
        while parent[k] != k:
            k = parent[k]
        return k

    for y, a, b in zip(rows, starts, ends):
        if y != row:
            above, here, row = (here if y == row + 1 else []), [], y
        label = 0
        for c, d, k in above:
            if c < b and a < d:
                k = root(k)
                if not label:
                    label = k
                elif k != label:
                    parent[max(k, label)] = label = min(k, label)
        if not label:
            label = len(parent)
            parent.append(label)
        here.append((a, b, label))
        labels.append(label)
    out, names = np.zeros(mask.shape, np.int32), {}
    for y, a, b, k in zip(rows, starts, ends, labels):
        out[y, a:b] = names.setdefault(root(k), len(names) + 1)
    return out, len(names)


def filled(mask):
    """The mask with its holes: everything that the picture's edge does not reach from outside."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return mask
    part = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
    label, _ = components(~np.pad(mask[part], 1))
    out = mask.copy()
    out[part] = (label != label[0, 0])[1:-1, 1:-1]
    return out


def strongest(evidence, limit=1.5):
    """The region of [H, W] with the most evidence, and how much that is."""
    label, n = components(box(evidence) > limit)
    if not n:
        return np.zeros(evidence.shape, bool), 0.0
    total = np.bincount(label.ravel(), np.clip(evidence, -3, 5).ravel(), n + 1)
    total[0] = -1
    k = int(total.argmax())
    region = label == k
    return region, float(max(np.maximum(evidence[region], -3).sum(), 0.0))


class Segmenter:
    def __init__(self, tables):
        self.backgrounds = [str(n) for n in tables["backgrounds"]]
        self.colours = [str(n) for n in tables["colours"]]
        self.behind = -QUANT * tables["behind"].astype(np.float32)        # [backgrounds, BANDS, bins], nats
        self.thing = -QUANT * tables["thing"].astype(np.float32)          # [colours, bins]
        self.ahead = self.thing - self.thing.max(0) + RIVAL

    def background(self, q):
        """The name of the background that explains the pixels' bins [T, H, W] best."""
        band = bands(q.shape[1])
        score = np.zeros(len(self.backgrounds))
        for k in range(BANDS):
            seen = np.bincount(q[:, band == k].ravel(), minlength=LEVELS ** 3)
            keep = np.flatnonzero(seen)
            score += np.maximum(self.behind[:, k][:, keep], FLOOR) @ seen[keep]
        return self.backgrounds[int(score.argmax())]

    def behind_of(self, q, background):
        """How likely each pixel is on that background, [T, H, W] in nats."""
        table, band = self.behind[self.backgrounds.index(background)], bands(q.shape[1])
        return table[band[None, :, None], q]

    def evidence(self, q, behind, colour):
        """Nats by which each pixel is a thing's of that colour: against the background, and against other colours."""
        k = self.colours.index(colour)
        return np.minimum(self.thing[k][q] - behind, self.ahead[k][q])

    def colours_of(self, q, behind, most=2):
        """Colours of the things seen, strongest first: at most `most`, all different, in regions that do not meet."""
        taken, out = np.zeros(q.shape, bool), []
        for _ in range(most):
            best = (0.0, None, None)
            for c in (c for c in self.colours if c not in [o for o, _ in out]):
                e = np.where(taken, -3.0, self.evidence(q, behind, c))
                if np.maximum(e, 0).sum() / len(e) <= best[0]:
                    continue
                found = [strongest(f) for f in e]
                score = float(np.median([s for _, s in found]))
                if score > best[0]:
                    best = (score, c, found)
            if best[1] is None:
                break
            out.append((best[1], best[0]))
            for k, (region, _) in enumerate(best[2]):
                taken[k] |= box(filled(region).astype(float), 4) > 0
        return out

    def regions(self, q, behind, colour):
        """The thing of that colour in every frame, bool [T, H, W], holes filled."""
        return np.stack([filled(strongest(e)[0]) for e in self.evidence(q, behind, colour)])
