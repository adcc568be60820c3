# The world of the small model: scenes drawn from a seed, and their clips, rendered with torch on any device.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A Scene is the truth about a clip (what an evaluation needs to know); render() turns a list of scenes of one size
# into [N, 3, T, H, W] in 0..1. Nothing is stored and nothing is random but the scene's seed. Objects are signed
# distance functions (d < 0 inside), anti-aliased by their distance in pixels; ball, cube and pyramid are solids under
# an orthographic view, the others are flat shapes with a pillow's normals.
#
# World units: the shorter half of the picture is 1, y points up, the camera looks at (cx, cy) with a zoom.
# Letters: N clips, T frames, H and W pixels.
#
#     python3 render.py OUT.png [FIRST_SEED [COUNT [WIDTH HEIGHT]]]    a sheet of strips, one clip per row
import dataclasses
import hashlib
import math
import random
import sys

import numpy as np
import torch
import torch.nn.functional as F

FRAMES, FPS = 33, 16
SIZES = ((128, 128), (160, 96), (96, 160))      # width, height

OBJECTS = ("ball", "cube", "pyramid", "star", "heart", "car", "fish")
COLOURS = {"red": (0.87, 0.13, 0.12), "green": (0.13, 0.66, 0.24), "blue": (0.10, 0.27, 0.88),
           "yellow": (0.98, 0.85, 0.12), "orange": (0.98, 0.52, 0.07), "purple": (0.55, 0.18, 0.74),
           "white": (0.95, 0.95, 0.96), "black": (0.085, 0.085, 0.10)}
PLAINS = {"grey": (0.62, 0.63, 0.66), "pink": (0.96, 0.70, 0.78), "beige": (0.93, 0.86, 0.73),
          "light blue": (0.66, 0.84, 0.95), "light green": (0.72, 0.90, 0.70)}
BACKGROUNDS = ("sky", "night", "grass", "sea", "table", "plain")
GROUNDED = ("grass", "table", "plain")          # where things rest on a floor and can fall onto it
MOTIONS = ("left", "right", "rises", "falls", "bounces", "rolls", "circles", "grows", "shrinks", "spins", "still")
CAMERAS = ("static", "pan left", "pan right", "zoom in", "zoom out")
RELATIONS = ("left of", "right of", "above", "behind")
BOTTOM = {"ball": 1.0, "cube": 0.86, "pyramid": 0.62, "star": 0.84, "heart": 0.92, "car": 0.62, "fish": 0.58}
HELD_OUT_PERCENT = 15


@dataclasses.dataclass
class Thing:
    kind: str
    colour: str
    motion: str


@dataclasses.dataclass
class Scene:
    seed: int
    width: int
    height: int
    background: str
    plain: str | None           # the colour of a plain background
    camera: str
    relation: str | None        # things[0] RELATION things[1]
    direction: str | None       # of rolling: left, right
    things: list

    def truth(self):
        return dataclasses.asdict(self)


def possible(kind, colour, motion, background):
    if motion == "bounces":
        return background in GROUNDED
    if motion == "rolls":
        return kind == "ball" and background in GROUNDED
    return True


def held_out(kind, colour, motion, background):
    """Whether this combination is never trained on: by a hash, so that it needs no file and never moves."""
    h = hashlib.sha256(f"kling {kind} {colour} {motion} {background}".encode()).digest()
    return int.from_bytes(h[:4], "big") % 100 < HELD_OUT_PERCENT


def combinations():
    """Every possible (object, colour, motion, background)."""
    return [(k, c, m, b) for k in OBJECTS for c in COLOURS for m in MOTIONS for b in BACKGROUNDS
            if possible(k, c, m, b)]


def draw_scene(seed, size=(128, 128), only=None, held=False):
    """The scene of `seed`. only: (object, colour, motion, background) to fix; held: let held-out ones through."""
    rng = random.Random(f"scene {seed}")
    while True:
        if only:
            kind, colour, motion, background = only
        else:
            background, kind, colour = rng.choice(BACKGROUNDS), rng.choice(OBJECTS), rng.choice(list(COLOURS))
            motion = rng.choice(MOTIONS)
            if kind == "ball" and background in GROUNDED and rng.random() < 0.15:
                motion = rng.choice(("rolls", "bounces"))
        pair = not only and rng.random() < 0.25
        camera, relation, things = "static", None, [Thing(kind, colour, motion)]
        if pair:
            motion = rng.choice(("still", "still", "spins", "grows", "shrinks", "bounces"))
            relation = rng.choice(RELATIONS)
            if relation in ("above", "behind") and motion == "bounces":
                motion = "still"
            other = (rng.choice(OBJECTS), rng.choice([c for c in COLOURS if c != colour]))
            things = [Thing(kind, colour, motion), Thing(*other, "still")]
        elif not only and motion in ("still", "spins", "bounces", "circles") and background != "plain" \
                and rng.random() < 0.50:         # a plain wall does not show that the camera moves
            camera = rng.choice(CAMERAS[1:])
        scene = Scene(seed, *size, background, rng.choice(list(PLAINS)) if background == "plain" else None, camera,
                      relation, rng.choice(("left", "right")) if motion == "rolls" else None, things)
        combos = [(t.kind, t.colour, t.motion, background) for t in things]
        if all(possible(*c) for c in combos) and (held or only or not any(held_out(*c) for c in combos)):
            return scene


# -- tracks: where everything is in each frame ------------------------------------------------------------------

def _bounce(t, drop, g, keep):
    """Height above the floor at the times t of a thing let go at `drop`, and how hard it is pressed (0..1)."""
    y, squash = np.empty_like(t), np.zeros_like(t)
    for i, s in enumerate(t):
        fall = math.sqrt(2 * drop / g)
        v, start, end = g * fall, 0.0, fall
        h = drop - 0.5 * g * s * s
        while s > end and v > 0.25:
            v *= keep
            start, end = end, end + 2 * v / g
            h = v * (s - start) - 0.5 * g * (s - start) ** 2
        y[i] = max(h, 0.0) if s <= end else 0.0
        near = min(abs(s - start) if start else 9.0, abs(s - end))
        squash[i] = max(0.0, 1 - near / 0.05) * min(1.0, v / 3)
    return y, squash


def _place(scene, rng, ax, ay):
    """Size and resting place of each thing."""
    n, floor = len(scene.things), -0.50 * (0.75 + 0.25 * ay) + rng.uniform(-0.06, 0.06)
    grounded = scene.background in GROUNDED
    size = [rng.uniform(0.27, 0.36) if n == 1 else rng.uniform(0.21, 0.26) for _ in range(n)]
    size = [s * {"star": 1.12, "car": 1.15, "fish": 1.12, "pyramid": 1.1}.get(t.kind, 1.0)
            for s, t in zip(size, scene.things)]
    xs, ys = [rng.uniform(-0.18, 0.18)], [rng.uniform(-0.12, 0.15)]
    gap = rng.uniform(0.42, 0.50) * (1 + 0.25 * (ax - 1))
    if n == 2:
        side = {"left of": -1, "right of": 1}.get(scene.relation, 0)
        xs, ys = [side * gap, -side * gap], [ys[0], ys[0]]
        if scene.relation == "above":
            xs, ys = [rng.uniform(-0.1, 0.1)] * 2, [0.42, -0.38]
        elif scene.relation == "behind":
            shift = rng.choice((-1, 1)) * rng.uniform(0.20, 0.26)
            xs, ys, size = [shift, -0.5 * shift], [0.12, -0.12], [1.15 * size[0], size[1]]
    rest = [floor + BOTTOM[t.kind] * s for t, s in zip(scene.things, size)]
    if grounded:
        ys = [r if not (scene.relation == "above" and i == 0) else 0.45 for i, r in enumerate(rest)]
        if scene.relation == "behind":
            ys[0] += 0.17
    return floor, size, xs, ys, rest


def tracks(scene):
    """Per thing x, y, s, yaw, roll, squash, ground, face of T frames each; and the camera's cx, cy, zoom."""
    rng = random.Random(f"track {scene.seed}")
    short = min(scene.width, scene.height)
    ax, ay = scene.width / short, scene.height / short
    t = np.linspace(0.0, 1.0, FRAMES)
    floor, size, xs, ys, rest = _place(scene, rng, ax, ay)
    grounded = scene.background in GROUNDED
    out = []
    for i, thing in enumerate(scene.things):
        s0, one = size[i], np.ones(FRAMES)
        x, y, s, roll, squash = xs[i] * one, ys[i] * one, s0 * one, 0 * t, 0 * t
        yaw = (0.62 + rng.uniform(-0.12, 0.12)) * one
        face, m = rng.choice((-1, 1)), thing.motion
        turn = rng.choice((-1, 1)) * rng.uniform(1.0, 1.3) * 2 * math.pi * t
        if m in ("left", "right", "rolls"):
            face = 1 if (scene.direction or m) == "right" else -1
            reach = rng.uniform(0.50, 0.62 if thing.kind not in ("car", "fish") else 0.54) * ax
            x = face * reach * (2 * t - 1)
            if m == "rolls":
                roll = -(x - x[0]) / s0
        elif m == "rises":
            y0 = rest[i] if grounded else -0.60 * ay
            y = y0 + (rng.uniform(0.55, 0.66) * ay - y0) * t
        elif m == "falls":
            top = rng.uniform(0.60, 0.72) * ay
            y = np.maximum(top - (top + 0.68 * ay) * t, rest[i] if grounded else -9.0)
        elif m == "bounces":
            drop = (0.62 * ay if len(scene.things) == 1 else 0.5) - rest[i]
            h, squash = _bounce(t * (FRAMES - 1) / FPS, drop, rng.uniform(5.5, 7.5), rng.uniform(0.66, 0.76))
            y = rest[i] + h
            if len(scene.things) == 1:
                x = x + rng.uniform(-0.25, 0.25) * (t - 0.5)
        elif m == "circles":
            r, p = rng.uniform(0.32, 0.40), rng.uniform(0, 2 * math.pi)
            a = p + rng.choice((-1, 1)) * 2 * math.pi * rng.uniform(1.0, 1.3) * t
            x, y = r * np.cos(a), 0.08 + r * np.sin(a)
        elif m in ("grows", "shrinks"):
            u = t if m == "grows" else 1 - t
            k = 1.35 if len(scene.things) == 1 else 1.25
            s = s0 * (0.42 + (k - 0.42) * u)
            y = floor + BOTTOM[thing.kind] * s if grounded and scene.relation in (None, "left of", "right of") else y
        elif m == "spins":
            if thing.kind in ("cube", "pyramid", "ball"):
                yaw = yaw + turn
            else:
                roll = turn
                if grounded and scene.relation is None:
                    y = y + 0.30
        if thing.kind == "ball":
            roll = roll + 0.5                     # a tilted stripe shows that it turns
        out.append({"x": x, "y": y, "s": s, "yaw": yaw, "roll": roll, "squash": squash, "face": face * one,
                    "floor": (floor + (0.17 if scene.relation == "behind" and i == 0 and grounded else 0)) * one})
    way = {"pan right": 1, "pan left": -1}.get(scene.camera, 0)
    cx = way * rng.uniform(0.30, 0.38) * (2 * t - 1)
    k = rng.uniform(1.65, 1.85)
    zoom = {"zoom in": k ** t, "zoom out": k ** (1 - t)}.get(scene.camera, np.ones(FRAMES))
    return out, {"cx": cx, "cy": 0 * t - (0.10 if scene.camera.startswith("zoom") else 0), "zoom": zoom}


# -- small tools on [N, T, H, W] ------------------------------------------------------------------------------------

def smooth(lo, hi, x):
    t = ((x - lo) / (hi - lo)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def mix(a, b, k):
    return a + (b - a) * k


def rgb(c, like):
    return torch.tensor(c, dtype=like.dtype, device=like.device).view(1, 3, 1, 1, 1)


def noise(table, u, v):
    """Smooth value noise, period 32, from a table [N, 32, 32]; u, v [N, T, H, W]."""
    n, t, h, w = u.shape
    tab = F.pad(table[:, None], (0, 1, 0, 1), mode="circular")
    g = []
    for a in (u, v):
        a = torch.remainder(a, 32.0)
        i = torch.floor(a)
        f = a - i
        g.append((i + f * f * (3 - 2 * f)) / 16.0 - 1.0)
    grid = torch.stack(g, -1).view(n, t * h, w, 2)
    return F.grid_sample(tab, grid, mode="bilinear", align_corners=True).view(n, t, h, w)


def cells(table, u, v, shift):
    """One random number of the table per unit cell of (u, v); shift picks another one of the same cell."""
    n = u.shape[0]
    i = torch.remainder(torch.floor(u) * 5 + shift * 11, 32) * 32
    i = i + torch.remainder(torch.floor(v) * 3 + shift * 7, 32)
    return table.view(n, -1).gather(1, i.long().view(n, -1)).view(u.shape)


def dots(table, x, y, pitch, radius, share):
    """Soft dots, at most one per cell, with their brightness; radius in world units."""
    u, v = x / pitch, y / pitch
    ou, ov = 0.25 + 0.5 * cells(table, u, v, 1), 0.25 + 0.5 * cells(table, u, v, 2)
    d2 = ((u - torch.floor(u) - ou) ** 2 + (v - torch.floor(v) - ov) ** 2) * pitch * pitch
    on = (cells(table, u, v, 3) < share).to(x.dtype)
    return on * torch.exp(-d2 / (radius * radius)) * (0.45 + 0.55 * cells(table, u, v, 4))


# -- backgrounds: colour [N, 3, T, H, W] at world (x, y); p [N, 8] uniform per clip; t [T] seconds ---------------

def puffs(x, y, t, p, k):
    """The k-th cloud's density: five discs in a row over a flat base."""
    cx, cy = p[..., k] * 2.6 - 1.3 + 0.05 * t, 0.30 + 0.55 * p[..., (k + 3) % 8]
    size, out = 0.16 + 0.08 * p[..., (k + 5) % 8], 0
    for dx, dy, r in ((-1.25, 0.0, 0.55), (-0.55, 0.22, 0.8), (0.2, 0.38, 0.95), (0.85, 0.12, 0.75), (1.4, 0.0, 0.5)):
        d2 = ((x - cx) / size - dx) ** 2 + (((y - cy) / size - dy) / 0.8) ** 2
        out = out + torch.exp(-d2 / (r * r) * 1.5)
    return smooth(0.35, 0.8, out) * smooth(-0.6, 0.0, (y - cy) / size + 0.2)


def sky_colours(y, lo, hi, low, high):
    return mix(rgb(low, y), rgb(high, y), smooth(lo, hi, y)[:, None])


def sky(x, y, t, p, table, plain):
    c = sky_colours(y, -1.1, 1.1, (0.74, 0.89, 0.99), (0.27, 0.58, 0.94))
    for k in range(3):
        d = puffs(x, y - (0.0 if k < 2 else 1.05), t, p, k)[:, None]
        c = mix(c, rgb((0.985, 0.99, 1.0), y), 0.9 * d)
    return c


def night(x, y, t, p, table, plain):
    c = sky_colours(y, -1.0, 1.2, (0.15, 0.16, 0.38), (0.03, 0.04, 0.15))
    c = c + rgb((0.95, 0.95, 0.85), y) * dots(table, x, y, 0.27, 0.020, 0.75)[:, None]
    mx, my = p[..., 0] * 1.1 - 0.55, 0.52 + 0.25 * p[..., 1]
    d = torch.sqrt((x - mx) ** 2 + (y - my) ** 2)
    cut = torch.sqrt((x - mx - 0.085) ** 2 + (y - my - 0.04) ** 2)
    moon = smooth(0.012, -0.012, d - 0.16) * smooth(-0.012, 0.012, cut - 0.145)
    c = c + rgb((0.10, 0.10, 0.13), y) * torch.exp(-(d / 0.33) ** 2)[:, None]
    c = mix(c, rgb((0.98, 0.95, 0.78), y), moon[:, None])
    hill = -0.80 + 0.10 * torch.sin(2.1 * x + 6.28 * p[..., 2]) + 0.05 * torch.sin(4.7 * x + 6.28 * p[..., 3])
    return mix(c, rgb((0.035, 0.05, 0.11), y), smooth(0.012, -0.012, y - hill)[:, None])


def grass(x, y, t, p, table, plain):
    c = sky_colours(y, 0.0, 1.2, (0.82, 0.93, 0.99), (0.42, 0.70, 0.96))
    c = mix(c, rgb((0.99, 0.99, 1.0), y), 0.8 * puffs(x, y - 0.12, t, p, 0)[:, None])
    horizon = 0.10 + 0.05 * torch.sin(1.3 * x + 6.28 * p[..., 4])
    far = horizon + 0.10 + 0.07 * torch.sin(2.0 * x + 6.28 * p[..., 2])
    c = mix(c, rgb((0.50, 0.74, 0.48), y), smooth(0.012, -0.012, y - far)[:, None])
    depth = (horizon - y).clamp(0, 2)
    g = mix(rgb((0.52, 0.80, 0.31), y), rgb((0.24, 0.56, 0.17), y), smooth(0.0, 1.1, depth)[:, None])
    blades = noise(table, x * 9.0, y * 4.0) - 0.5
    tufts = noise(table, x * 2.0 + 7, y * 5.0) - 0.5
    g = g * (1 + (0.20 * blades + 0.16 * tufts)[:, None])
    flower = dots(table, x, y * 1.2, 0.34, 0.026, 0.30)
    pink = smooth(0.4, 0.6, cells(table, x / 0.34, y / 0.28, 5))
    tint = mix(rgb((1.0, 0.97, 0.85), y), rgb((1.0, 0.75, 0.85), y), pink[:, None])
    g = mix(g, tint, flower[:, None])
    return mix(c, g, smooth(0.012, -0.012, y - horizon)[:, None])


def sea(x, y, t, p, table, plain):
    c = sky_colours(y, 0.05, 1.2, (0.99, 0.90, 0.78), (0.45, 0.73, 0.95))
    sun = torch.sqrt((x - 1.2 * p[..., 0] + 0.6) ** 2 + (y - 0.62) ** 2)
    c = mix(c, rgb((1.0, 0.98, 0.86), y), smooth(0.155, 0.13, sun)[:, None])
    horizon = 0.12
    depth = (horizon - y).clamp(0, 2)
    w = mix(rgb((0.40, 0.74, 0.83), y), rgb((0.04, 0.30, 0.55), y), smooth(0.0, 1.0, depth)[:, None])
    k = 26.0 / (0.35 + depth)
    swell = torch.sin(k * depth * 0.9 + 1.6 * torch.sin(1.7 * x + p[..., 1] * 6) + 0.8 * torch.sin(4.1 * x) - 2.6 * t)
    w = w + 0.045 * (swell * smooth(0.0, 0.12, depth))[:, None]
    glint = smooth(0.55, 0.95, noise(table, x * 3.0 + 0.5 * t, depth * 14 - 0.7 * t)) * smooth(0.0, 0.1, depth)
    w = w + 0.16 * glint[:, None]
    return mix(c, w, smooth(0.010, -0.010, y - horizon)[:, None])


def table_top(x, y, t, p, table, plain):
    c = sky_colours(y, -0.2, 1.1, (0.80, 0.76, 0.68), (0.93, 0.90, 0.83))
    horizon = -0.08
    depth = (horizon - y).clamp(0, 2)
    v = 3.4 * torch.log(1 + 2.2 * depth)                      # planks grow towards the viewer
    i = torch.floor(v)
    f = v - i
    tone = cells(table, v * 0 + p[..., 2] * 9, v, 2)
    wood = mix(rgb((0.68, 0.45, 0.25), y), rgb((0.58, 0.36, 0.19), y), tone[:, None])
    grain = noise(table, x * 1.7 + 9.0 * i, v * 5.0) - 0.5
    fine = noise(table, x * 3.0 + 5.0 * i, v * 11.0) - 0.5
    wood = wood * (1 + (0.26 * grain + 0.10 * fine)[:, None])
    gap = smooth(0.10, 0.02, torch.minimum(f, 1 - f)) * smooth(0.03, 0.12, depth)
    wood = wood * (1 - 0.30 * gap[:, None]) * (1.08 - 0.20 * smooth(0.0, 1.0, depth))[:, None]
    edge = torch.exp(-((y - horizon) / 0.03) ** 2)
    c = c * (1 - 0.18 * torch.exp(-((y - horizon).clamp(min=0) / 0.10))[:, None])
    return mix(c, wood, smooth(0.010, -0.010, y - horizon)[:, None]) * (1 - 0.10 * edge[:, None])


def plain_wall(x, y, t, p, table, plain):
    shade = 1.03 - 0.10 * smooth(-0.15, -0.45, y) + 0.05 * smooth(-0.45, -1.2, y) - 0.05 * (x * x)
    return (plain[:, :, None, None, None] * shade[:, None]).clamp(0, 1)


PAINT = {"sky": sky, "night": night, "grass": grass, "sea": sea, "table": table_top, "plain": plain_wall}


# -- objects ------------------------------------------------------------------------------------------------------

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
    body = torch.maximum(disc(x, y, 0.18, -0.62, 1.12), disc(x, y, 0.18, 0.62, 1.12)) - 0.04
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


CUBE = ([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], 0.60,
        [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
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
    outline, total, weight = None, 0, 0
    for k, f in enumerate(faces):
        d = None
        for i in range(len(f)):
            ia, ib = f[i], f[(i + 1) % len(f)]
            (ax, ay, _), (bx, by, _) = pts[ia], pts[ib]
            ex, ey = bx - ax, by - ay
            e = ((x - ax) * ey - (y - ay) * ex) * torch.rsqrt(ex * ex + ey * ey + 1e-9)
            d = e if d is None else torch.maximum(d, e)
            bound = torch.where(seen[k] & ~seen[owner[(ib, ia)]], e, torch.full_like(e, -9.0))
            outline = bound if outline is None else torch.maximum(outline, bound)
        nx, ny, nz = normals[k]
        light, _ = lit(nx, ny, nz)
        inner = 1 + 0.10 * smooth(-0.10, 0.0, d)              # light catches the edges
        a = (0.5 - d / q["step"]).clamp(0, 1) * seen[k]
        total, weight = total + a * light * inner, weight + a
    outline = outline - 0.02
    shade = total / weight.clamp(min=1e-3)
    shade = torch.where(weight > 0.02, shade, torch.full_like(shade, 0.8))
    lum = colour.mean(1, keepdim=True)
    return outline / q["step"], torch.where(lum < 0.15, colour + 0.05, colour) * shade[:, None] * 1.04


# -- the renderer ----------------------------------------------------------------------------------------------------

def _tensor(a, device):
    return torch.tensor(np.asarray(a), dtype=torch.float32, device=device)


def _draw_thing(pic, pick, kind, colour, tr, cam, grid, t, contact):
    """Draws one kind of thing into the clips `pick` of pic, with its shadow where the scene has a floor."""
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


@torch.no_grad()
def render(scenes, device="cpu", frames=None):
    """Clips [N, 3, T, H, W] in 0..1 of scenes of one size; frames: which of the 33 (a range), for shorter clips."""
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
    strength = {"grass": 1.0, "table": 1.0, "plain": 0.8, "sea": 0.35}
    for layer in range(2):
        for kind in OBJECTS:
            pick = [i for i, s in enumerate(scenes) if len(s.things) > layer and s.things[layer].kind == kind]
            if not pick:
                continue
            colour = _tensor([COLOURS[scenes[i].things[layer].colour] for i in pick], device)[:, :, None, None, None]
            contact = _tensor([strength.get(scenes[i].background, 0.0) for i in pick], device).view(-1, 1, 1, 1)
            _draw_thing(pic, pick, kind, colour, stack([all_tracks[i][0][layer] for i in pick]), cam, (x, y, px), t,
                        contact)
    return pic.clamp_(0, 1)


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
