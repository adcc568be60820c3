# What a silhouette is: its outline around its centre, whichever way it is turned, against those of the known objects.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A region is sampled in polar coordinates about its centroid, in units of the radius of a disc of its area. The
# magnitudes of the Fourier series along each ring do not change when it turns; the parts of it that do not change when
# it is seen from behind tell which way up it is, and their mean over the views what bends of the outline hide in each
# of them. A linear discriminant fitted by fit.py tells the objects apart by both.
import numpy as np

RINGS = np.array([0.35, 0.55, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.7, 1.9])
ANGLES = 64
WAVES = 9                               # of the Fourier series: 0 to 8


class Blob:
    """Centroid (x, y), area and whether the picture's edge cuts a region [H, W]; not `ok` where it is too small."""

    def __init__(self, mask):
        ys, xs = np.nonzero(mask)
        self.area = len(xs)
        self.ok = self.area >= 12
        h, w = mask.shape
        self.cut = bool(self.ok and (xs.min() == 0 or ys.min() == 0 or xs.max() == w - 1 or ys.max() == h - 1))
        self.x, self.y = (float(xs.mean()), float(ys.mean())) if self.ok else (np.nan, np.nan)
        self.box = (xs.min(), ys.min(), xs.max(), ys.max()) if self.ok else None


def polar(image, blob, angles=ANGLES):
    """Bilinear samples [RINGS, angles, ...] of [H, W] or [H, W, C] around a blob; 0 outside the picture."""
    r = np.sqrt(blob.area / np.pi)
    a = np.arange(angles) * 2 * np.pi / angles
    x = blob.x + r * RINGS[:, None] * np.cos(a)
    y = blob.y - r * RINGS[:, None] * np.sin(a)
    h, w = image.shape[:2]
    pad = np.pad(image.astype(np.float32), ((1, 1), (1, 1)) + ((0, 0),) * (image.ndim - 2))
    x, y = np.clip(x + 1, 0, w + 0.999), np.clip(y + 1, 0, h + 0.999)
    i, j = x.astype(int), y.astype(int)
    fx, fy = x - i, y - j
    if image.ndim == 3:
        fx, fy = fx[..., None], fy[..., None]
    return (pad[j, i] * (1 - fx) + pad[j, i + 1] * fx) * (1 - fy) + (pad[j + 1, i] * (1 - fx) +
                                                                     pad[j + 1, i + 1] * fx) * fy


def features(mask, blob):
    """[2 WAVES - 1, RINGS]: magnitudes of the waves, and their symmetrical parts: of the even ones the real, of the odd
    ones the imaginary part; that of wave 0 is its magnitude."""
    c = np.fft.rfft(polar(mask, blob), axis=1)[:, :WAVES].T / ANGLES
    upright = np.where(np.arange(WAVES)[:, None] % 2, c.imag, c.real)
    return np.concatenate([np.abs(c), upright[1:]])


def clip_features(masks, blobs, count=9):
    """Mean features over the largest whole views of a thing; None when there are none."""
    good = [k for k, b in enumerate(blobs) if b.ok and not b.cut] or [k for k, b in enumerate(blobs) if b.ok]
    if not good:
        return None
    areas = np.array([blobs[k].area for k in good])
    good = [k for k in good if blobs[k].area >= 0.5 * areas.max()]
    good = [good[i] for i in np.unique(np.linspace(0, len(good) - 1, count).astype(int))]
    return np.mean([features(masks[k], blobs[k]) for k in good], 0).ravel()


class ShapeTeller:
    def __init__(self, tables):
        self.kinds = [str(n) for n in tables["kinds"]]
        self.weight, self.bias = tables["shape_weight"], tables["shape_bias"]

    def __call__(self, f):
        return self.kinds[int((self.weight @ f + self.bias).argmax())]


def discriminant(x, y, classes, shrink=0.05):
    """Weights [classes, D] and bias of a linear discriminant with one covariance, shrunk towards its diagonal."""
    means = np.stack([x[y == k].mean(0) for k in range(classes)])
    d = x - means[y]
    cov = d.T @ d / len(x)
    cov = (1 - shrink) * cov + shrink * np.diag(np.diag(cov)) + 1e-7 * np.eye(len(cov))
    weight = np.linalg.solve(cov, means.T).T
    return weight, -0.5 * (weight * means).sum(1)
