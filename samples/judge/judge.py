# Measures what a clip of the small model's world shows, from its frames alone, and compares it with what was asked for.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# numpy only; no network judges. What it knows of the world was fitted on rendered clips by fit.py; prove.py shows how
# often it is right on clips whose truth is known.
import os
import sys

import numpy as np

import motion
import segment
import shape

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "train"))
from scenes import WATCHED          # noqa: E402

MEASURES = ("colour", "shape", "background", "motion", "camera", "relation")
CHANCE = {"colour": 1 / 8, "shape": 1 / 7, "background": 1 / 10, "motion": 1 / 11, "camera": 1 / 5, "relation": 1 / 4}


def named_background(truth):
    return truth["background"] + (":" + truth["plain"] if truth["plain"] else "")


class Judge:
    def __init__(self, path=os.path.join(HERE, "tables.npz")):
        tables = dict(np.load(path))
        self.segment, self.shape = segment.Segmenter(tables), shape.ShapeTeller(tables)
        self.limits = dict(zip(self.shape.kinds, tables["turn_limit"].tolist()))

    def thing(self, clip, q, behind, colour, camera):
        masks = self.segment.regions(q, behind, colour)
        track = motion.Track(clip, masks, camera)
        f = shape.clip_features(masks, track.blobs)
        kind = self.shape(f) if f is not None else "none"
        return {"colour": colour, "kind": kind, "track": track, "motion": motion.motion_of(track, kind, self.limits)}

    def measure(self, clip, colours=None, count=1):
        """What a clip uint8 [T, H, W, 3] shows: background, camera, and `count` things. colours: which to look for;
        None: find out."""
        q = segment.bins(clip)
        few = q[::segment.EVERY]
        background = self.segment.background(few)
        behind = self.segment.behind_of(q, background)
        seen = self.segment.colours_of(few, behind[::segment.EVERY], count)
        found = [c for c, _ in seen]
        named = list(colours) if colours else found
        masks = [self.segment.regions(q, behind, c) for c in named]
        free = np.ones(q.shape, bool)
        for m in masks:
            free &= segment.box(m.astype(np.float32), 3) < 0.01
        camera = motion.Camera(clip, free)
        return {"background": background, "camera": camera.name, "colours": found,
                "things": [self.thing(clip, q, behind, c, camera) for c in named]}

    def judge(self, clip, truth):
        """The measures that apply to a scene's truth (scenes.Scene.truth()), each True or False; and what was seen."""
        seen = summary(self.measure(clip, count=len(truth["things"])))
        return compare(seen, truth), seen


def summary(measured):
    """What measure() saw, without its arrays."""
    things = []
    for t in measured["things"]:
        where = t["track"].where
        x, y = (float(np.median(v[where])) if where.any() else 0.0 for v in (t["track"].x, t["track"].y))
        things.append({"colour": t["colour"], "kind": t["kind"], "motion": t["motion"][0], "way": t["motion"][1],
                       "x": round(x, 3), "y": round(y, 3)})
    return {"background": measured["background"], "camera": measured["camera"], "things": things}


def compare(seen, truth):
    """Which of the measures that apply to a truth hold of what was seen."""
    want = truth["things"]
    out = {"background": seen["background"] == named_background(truth)}
    if len(want) == 2:
        by_colour = {t["colour"]: t for t in seen["things"]}
        got = [by_colour.get(t["colour"]) for t in want]
        out["colour"] = all(got)
        hidden = 1 if truth["relation"] == "behind" else 0          # the first thing's outline is cut by the second
        out["shape"] = all(g and g["kind"] == t["kind"] for g, t in list(zip(got, want))[hidden:])
        out["relation"] = all(got) and relation(*got) == truth["relation"]
        return out
    got = seen["things"][0] if seen["things"] else {"colour": None, "kind": None, "motion": None, "way": None}
    out["colour"] = got["colour"] == want[0]["colour"]
    out["shape"] = got["kind"] == want[0]["kind"]
    way = want[0]["motion"] != "rolls" or got["way"] == truth["direction"]
    out["motion"] = got["motion"] == want[0]["motion"] and way
    if want[0]["motion"] in WATCHED and truth["background"] != "plain":
        out["camera"] = seen["camera"] == truth["camera"]
    return out


def relation(a, b):
    """Where thing a is as seen from b: left of, right of, above or behind."""
    dx, dy = a["x"] - b["x"], a["y"] - b["y"]
    if dy > 2 * abs(dx):
        return "above"
    if abs(dx) < 0.62:
        return "behind"
    return "left of" if dx < 0 else "right of"
