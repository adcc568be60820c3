# What the objects look like: signed distances (d < 0 inside), light and colour, in torch.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Ball, cube and pyramid are solids under an orthographic view, the others flat shapes with a pillow's normals.
# q: x and y [N, T, H, W] in the object's own units (its size is 1), and step, those units per pixel.
import math

import torch
import torch.nn.functional as F

from backgrounds import mix, rgb, smooth

LIGHT = (-0.42, 0.66, 0.62)
HALF = (-0.233, 0.367, 0.900)       # between the light and the viewer


def lit(nx, ny, nz):
    diffuse = (nx * LIGHT[0] + ny * LIGHT[1] + nz * LIGHT[2]).clamp(min=0)
    spec = (nx * HALF[0] + ny * HALF[1] + nz * HALF[2]).clamp(min=0) ** 28
    return 0.50 + 0.58 * diffuse, 0.34 * spec


def pillow(d, width, step):
    """Normals of a pillow over the shape with distance d (local units); step: local units per pixel."""
    gx = F.pad(d[..., 2:] - d[..., :-2], (1, 1)) / (2 * step)
    gy = -F.pad(d[..., 2:, :] - d[..., :-2, :], (0, 0, 1, 1)) / (2 * step)
    k = 1.25 * (1 + d / width).clamp(0, 1)
    nx, ny = gx * k, gy * k
    r = torch.rsqrt(nx * nx + ny * ny + 1)
    return nx * r, ny * r, r


def disc(x, y, cx, cy, r):
    return torch.sqrt((x - cx) ** 2 + (y - cy) ** 2 + 1e-12) - r


def box(x, y, cx, cy, hx, hy, r=0.0):
    dx, dy = (x - cx).abs() - (hx - r), (y - cy).abs() - (hy - r)
    return torch.sqrt(dx.clamp(min=0) ** 2 + dy.clamp(min=0) ** 2 + 1e-12) + torch.maximum(dx, dy).clamp(max=0) - r


def poly(x, y, pts):
    """A convex polygon, anticlockwise."""
    d = None
    for (ax, ay), (bx, by) in zip(pts, pts[1:] + pts[:1]):
        ex, ey = bx - ax, by - ay
        ln = math.hypot(ex, ey)
        e = ((x - ax) * ey - (y - ay) * ex) / ln
        d = e if d is None else torch.maximum(d, e)
    return d


def melt(a, b, k):
    h = (k - (a - b).abs()).clamp(min=0) / k
    return torch.minimum(a, b) - h * h * k * 0.25


def star_distance(x, y):
    sector = 2 * math.pi / 5
    a = torch.atan2(x, y)
    a = (torch.remainder(a + sector / 2, sector) - sector / 2).abs()
    r = torch.sqrt(x * x + y * y + 1e-12)
    qx, qy = r * torch.sin(a), r * torch.cos(a)
    tip, inner = (0.0, 0.94), (0.47 * math.sin(sector / 2), 0.47 * math.cos(sector / 2))
    ex, ey = inner[0] - tip[0], inner[1] - tip[1]
    k = (((qx - tip[0]) * ex + (qy - tip[1]) * ey) / (ex * ex + ey * ey)).clamp(0, 1)
    d = torch.sqrt((qx - tip[0] - k * ex) ** 2 + (qy - tip[1] - k * ey) ** 2 + 1e-12)
    return torch.where((qx - tip[0]) * ey - (qy - tip[1]) * ex > 0, -d, d) - 0.06


def heart_distance(x, y):
    q = 1 / math.sqrt(2)
    u, v = (x + (y + 0.02)) * q, (-x + (y + 0.02)) * q      # the square on its corner; its upper sides carry half discs
    h = 0.52
    lobes = melt(disc(u, v, h, 0.0, h), disc(u, v, 0.0, h, h), 0.12)
    return melt(box(u, v, 0.0, 0.0, h, h, 0.04), lobes, 0.30) + 0.03


def parts_of(kind, x, y, t):
    """Distance of the whole, and of parts with a colour of their own, None for a darker one: (distance, colour)."""
    if kind == "star":
        return star_distance(x, y), []
    if kind == "heart":
        return heart_distance(x, y), []
    if kind == "car":
        body = box(x, y, 0.0, -0.10, 1.02, 0.27, 0.15)
        cabin = poly(x, y, [(-0.66, 0.08), (0.62, 0.08), (0.30, 0.50), (-0.42, 0.50)]) - 0.05
        body = melt(body, cabin, 0.06)
        wheels = torch.minimum(disc(x, y, -0.54, -0.36, 0.25), disc(x, y, 0.54, -0.36, 0.25))
        hubs = torch.minimum(disc(x, y, -0.54, -0.36, 0.11), disc(x, y, 0.54, -0.36, 0.11))
        glass = torch.minimum(poly(x, y, [(-0.50, 0.14), (-0.10, 0.14), (-0.10, 0.42), (-0.36, 0.42)]),
                              poly(x, y, [(0.02, 0.14), (0.48, 0.14), (0.26, 0.42), (0.02, 0.42)]))
        return torch.minimum(body, wheels), [(glass, (0.75, 0.90, 0.97)), (wheels, (0.13, 0.13, 0.15)),
                                             (hubs, (0.74, 0.75, 0.78)),
                                             (disc(x, y, 0.93, -0.06, 0.085), (1.0, 0.95, 0.70))]
    wag = 0.16 * torch.sin(9.0 * t)
    body = torch.maximum(disc(x, y, 0.18, -0.34, 0.92), disc(x, y, 0.18, 0.34, 0.92)) - 0.04
    ty = y - wag * (-0.6 - x).clamp(min=0)
    tail = poly(x, ty, [(-0.60, 0.0), (-1.0, 0.46), (-1.06, 0.40), (-1.06, -0.40), (-1.0, -0.46)])
    notch = disc(x, ty, -1.22, 0.0, 0.30)
    tail = torch.maximum(tail, -notch) - 0.03
    fin = poly(x, y, [(-0.20, 0.40), (0.36, 0.40), (-0.06, 0.72), (-0.22, 0.68)]) - 0.03
    whole = melt(torch.minimum(body, fin), tail, 0.10)
    gill = disc(x, y, 0.36, 0.0, 0.36).abs() + (x - 0.30).clamp(min=0) - 0.022
    return whole, [(gill, None), (disc(x, y, 0.70, 0.12, 0.13), (0.97, 0.97, 0.97)),
                   (disc(x, y, 0.74, 0.12, 0.068), (0.05, 0.05, 0.06))]


def flat_object(kind, q, colour, t):
    d, parts = parts_of(kind, q["x"], q["y"], t)
    light, spec = lit(*pillow(d, 0.40, q["step"]))
    base = colour.expand(-1, -1, *d.shape[1:])
    for dist, c in parts:
        a = (0.5 - dist / q["step"]).clamp(0, 1)[:, None]
        base = mix(base, rgb(c, d) if c else base * 0.72, a)
    rim = 1 - 0.22 * smooth(-0.09, 0.0, d)
    return d / q["step"], base * (light * rim)[:, None] + spec[:, None]


def ball_object(q, colour, tr):
    x, y = q["x"], q["y"]               # already in the ball's frame: turn the light, not the ball
    d = torch.sqrt(x * x + y * y + 1e-12) - 1
    nz = torch.sqrt((1 - x * x - y * y).clamp(min=1e-4))
    cr, sr = torch.cos(tr["roll"]), torch.sin(tr["roll"])
    nx, ny = x * cr - y * sr, x * sr + y * cr       # in the picture's frame
    light, spec = lit(nx, ny, nz)
    ca, sa = torch.cos(tr["yaw"]), torch.sin(tr["yaw"])
    ox = x * ca - nz * sa
    band = smooth(0.25, 0.25 - 1.6 * 0.0625, (0.85 * y + 0.53 * ox).abs())[:, None]
    lum = colour.mean(1, keepdim=True)
    stripe = torch.where(lum > 0.85, colour * 0.76, mix(colour, torch.ones_like(colour), 0.50))
    rim = 1 - 0.25 * smooth(0.72, 1.0, torch.sqrt(x * x + y * y))
    return d / q["step"], mix(colour, stripe, band) * (light * rim)[:, None] + spec[:, None]


# Of the faces the first lies below, where nobody sees it.
CUBE = ([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], 0.60,
        [(0, 4, 5, 1), (0, 1, 3, 2), (4, 6, 7, 5), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
PYRAMID = ([(-1, -0.72, -1), (1, -0.72, -1), (1, -0.72, 1), (-1, -0.72, 1), (0, 1.05, 0)], 0.78,
           [(0, 1, 2, 3), (0, 4, 1), (1, 4, 2), (2, 4, 3), (3, 4, 0)])


def solid_object(solid, q, colour, tr):
    """A convex solid seen from a little above: each visible face is a convex polygon; silhouette edges bound it."""
    verts, scale, faces = solid
    x, y = q["x"], q["y"]
    ca, sa = torch.cos(tr["yaw"]), torch.sin(tr["yaw"])
    ct, st = math.cos(0.42), math.sin(0.42)
    pts = []
    for vx, vy, vz in verts:
        ux, uz = vx * ca + vz * sa, -vx * sa + vz * ca
        pts.append((scale * ux, scale * (vy * ct - uz * st), scale * (vy * st + uz * ct)))
    owner = {(f[i], f[(i + 1) % len(f)]): k for k, f in enumerate(faces) for i in range(len(f))}
    normals, seen = [], []
    for f in faces:
        a, b, c = (pts[i] for i in f[:3])
        u, v = [b[i] - a[i] for i in range(3)], [c[i] - a[i] for i in range(3)]
        n = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
        ln = torch.rsqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2)
        normals.append([e * ln for e in n])
        seen.append(normals[-1][2] > 1e-3)
    outline, total, weight, inv = None, 0, 0, 1 / q["step"]
    for k, f in enumerate(faces[1:], 1):
        d = None
        for i in range(len(f)):
            ia, ib = f[i], f[(i + 1) % len(f)]
            (ax, ay, _), (bx, by, _) = pts[ia], pts[ib]
            ex, ey = bx - ax, by - ay
            r = torch.rsqrt(ex * ex + ey * ey + 1e-9)
            ex, ey = ex * r, ey * r
            e = torch.addcmul(ay * ex - ax * ey, x, ey).addcmul_(y, ex, value=-1)
            d = e if d is None else torch.maximum(d, e)
            bound = e - 99.0 * ~(seen[k] & ~seen[owner[(ib, ia)]])          # where it bounds nothing, far inside
            outline = bound if outline is None else torch.maximum(outline, bound)
        nx, ny, nz = normals[k]
        light, _ = lit(nx, ny, nz)
        inner = 1 + 0.10 * smooth(-0.10, 0.0, d)              # light catches the edges
        a = (0.5 - d * inv).clamp_(0, 1).mul_(seen[k])
        total, weight = total + inner.mul_(a).mul_(light), weight + a
    outline = outline - 0.02
    shade = total / weight.clamp(min=1e-3)
    shade = torch.where(weight > 0.02, shade, torch.full_like(shade, 0.8))
    lum = colour.mean(1, keepdim=True)
    return outline * inv, torch.where(lum < 0.15, colour + 0.05, colour) * shade[:, None] * 1.04
