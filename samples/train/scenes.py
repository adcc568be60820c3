# The world of the small model: scenes drawn from a seed, and where everything is in each frame. Draws no picture and
# needs no torch, so that an evaluation can use it anywhere.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A Scene is the truth about a clip. Nothing is random but the scene's seed.
#
# World units: the shorter half of the picture is 1, y points up, the camera looks at (cx, cy) with a zoom.
import dataclasses
import hashlib
import math
import random

import numpy as np

FRAMES, FPS = 33, 16
SIZES = ((128, 128), (160, 96), (96, 160))      # width, height

OBJECTS = ("ball", "cube", "pyramid", "star", "heart", "car", "fish")
COLOURS = {"red": (0.87, 0.13, 0.12), "green": (0.13, 0.66, 0.24), "blue": (0.10, 0.27, 0.88),
           "yellow": (0.98, 0.85, 0.12), "orange": (0.98, 0.52, 0.07), "purple": (0.55, 0.18, 0.74),
           "white": (0.95, 0.95, 0.96), "black": (0.085, 0.085, 0.10)}
PLAINS = {"grey": (0.50, 0.51, 0.55), "pink": (0.94, 0.60, 0.71), "beige": (0.85, 0.72, 0.53),
          "light blue": (0.52, 0.76, 0.92), "light green": (0.56, 0.81, 0.54)}        # dark enough for white things
BACKGROUNDS = ("sky", "night", "grass", "sea", "table", "plain")
GROUNDED = ("grass", "table", "plain")          # where things rest on a floor and can fall onto it
MOTIONS = ("left", "right", "rises", "falls", "bounces", "rolls", "circles", "grows", "shrinks", "spins", "still")
WATCHED = ("still", "spins", "bounces", "circles")      # motions with which the camera may move
GOES_ON = ("left", "right", "rises", "falls", "bounces", "rolls", "circles", "spins")  # motions that have no end
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
    late: int = 0               # frames that the clip begins later: what moves is on its way, and goes on past its end

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


def draw_scene(seed, size=(128, 128), only=None, held=False, moves=None):
    """The scene of `seed`. only: (object, colour, motion, background) to fix, with the camera that `moves` says;
    held: let held-out combinations through."""
    rng = random.Random(f"scene {seed}")
    while True:
        if only:
            kind, colour, motion, background = only
        else:
            background, kind, colour = rng.choice(BACKGROUNDS), rng.choice(OBJECTS), rng.choice(list(COLOURS))
            motion = rng.choice(MOTIONS if rng.random() < 0.8 else WATCHED)
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
        elif not only and motion in WATCHED and background != "plain" \
                and rng.random() < (0.6 if motion == "circles" else 0.85):      # a plain wall does not show it
            camera = rng.choice(CAMERAS[1:])
        camera = moves or camera
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
    size = [rng.uniform(0.36, 0.46) if n == 1 else rng.uniform(0.33, 0.38) for _ in range(n)]
    size = [s * {"star": 1.12, "car": 1.15, "fish": 1.12, "pyramid": 1.1}.get(t.kind, 1.0)
            for s, t in zip(size, scene.things)]
    if scene.camera.startswith("zoom"):
        size = [0.75 * s for s in size]                 # the camera makes it larger
    xs, ys = [rng.uniform(-0.18, 0.18)], [rng.uniform(-0.12, 0.15)]
    gap = rng.uniform(0.46, 0.52) * (1 + 0.25 * (ax - 1))
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
    t = np.linspace(0.0, 1.0, FRAMES) + scene.late / (FRAMES - 1)
    floor, size, xs, ys, rest = _place(scene, rng, ax, ay)
    grounded = scene.background in GROUNDED
    out = []
    for i, thing in enumerate(scene.things):
        s0, one = size[i], np.ones(FRAMES)
        x, y, s, roll, squash = xs[i] * one, ys[i] * one, s0 * one, 0 * t, 0 * t
        yaw = (0.62 + rng.uniform(-0.12, 0.12)) * one
        face, m = rng.choice((-1, 1)), thing.motion
        # a star looks the same after a fifth of a turn: less than half of that per latent frame, of which a clip has 8
        turn = rng.choice((-1, 1)) * rng.uniform(0.6, 0.75) * 2 * math.pi * t
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
            h, squash = _bounce(t * (FRAMES - 1) / FPS, drop, rng.uniform(4.5, 6.0), rng.uniform(0.66, 0.76))
            y = rest[i] + h
            if len(scene.things) == 1:
                x = x + rng.uniform(-0.25, 0.25) * (t - 0.5)
        elif m == "circles":
            # clockwise, from the bottom: which way round and from where is more than a small model can settle by itself
            r, p = rng.uniform(0.32, 0.40), rng.uniform(-0.6, -0.4) * math.pi
            a = p - 2 * math.pi * rng.uniform(1.0, 1.3) * t
            x, y = r * np.cos(a), 0.08 + r * np.sin(a)
        elif m in ("grows", "shrinks"):
            u = t if m == "grows" else 1 - t
            k = 1.25
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
    cx = way * rng.uniform(0.38, 0.46) * (2 * t - 1)
    k = rng.uniform(1.65, 1.85)
    zoom = {"zoom in": k ** t, "zoom out": k ** (1 - t)}.get(scene.camera, np.ones(FRAMES))
    return out, {"cx": cx, "cy": 0 * t - (0.10 if scene.camera.startswith("zoom") else 0), "zoom": zoom}
