# What is asked of the small model in an evaluation, and how the answers are counted.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import random
import struct
import sys
import zlib

import numpy as np

from judge import CHANCE, MEASURES

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "train"))
import captions             # noqa: E402
import scenes as world      # noqa: E402

FIRST = 1 << 42             # seeds of the scenes that are asked for: no training clip and no fit has them


def held_out_scenes(count, seed=1, sizes=world.SIZES[:1]):
    """Scenes of combinations that are never trained on, every one of them before any comes again."""
    rng = random.Random(f"held out {seed}")
    held, out = [c for c in world.combinations() if world.held_out(*c)], []
    while len(out) < count:
        rng.shuffle(held)
        for c in held[:count - len(out)]:
            moves = rng.choice(world.CAMERAS) if c[2] in world.WATCHED and c[3] != "plain" else None
            i = len(out)
            out.append(world.draw_scene(FIRST + (seed << 30) + i, sizes[i % len(sizes)], only=c, moves=moves))
    return out


def pair_scenes(count, seed=1, sizes=world.SIZES[:1]):
    """Scenes of two things, one of which at least is a held-out combination or both are not: as they come."""
    out, k = [], FIRST + (seed << 30) + (1 << 29)
    while len(out) < count:
        s = world.draw_scene(k, sizes[len(out) % len(sizes)], held=True)
        k += 1
        if len(s.things) == 2:
            out.append(s)
    return out


def asked(scenes, seed=1):
    """(truth, prompt, language) of every scene; the languages take turns."""
    rng, out = random.Random(f"prompts {seed}"), []
    for i, s in enumerate(scenes):
        language = ("en", "zh")[i % 2]
        out.append((s.truth(), captions.caption(s, rng, language), language))
    return out


def tally(rows):
    """rows: (language, results of Judge.judge). {measure: {"all", "en", "zh": (right, of)}}."""
    out = {}
    for m in MEASURES:
        out[m] = {}
        for lang in ("all", "en", "zh"):
            hits = [r[m] for la, r in rows if m in r and lang in ("all", la)]
            out[m][lang] = (int(sum(hits)), len(hits))
    return out


def shuffled(truths, seed=1):
    """Another truth of the same number of things for every clip: what a model that does not listen would score."""
    rng, out = random.Random(f"shuffle {seed}"), list(truths)
    for n in (1, 2):
        at = [i for i, t in enumerate(truths) if len(t["things"]) == n]
        for a, b in zip(at, rng.sample(at, len(at))):
            out[a] = truths[b]
    return out


def table(columns):
    """columns: [(heading, tally, language)]. One row per measure, in per cent of the clips that it applies to."""
    lines = [["measure"] + [h for h, _, _ in columns] + ["guessing"]]
    for m in MEASURES:
        row = [m]
        for _, t, lang in columns:
            right, of = t[m][lang]
            row.append(f"{100 * right / of:.1f} % of {of}" if of else "-")
        lines.append(row + [f"{100 * CHANCE[m]:.0f} %"])
    width = [max(len(r[i]) for r in lines) for i in range(len(lines[0]))]
    lines.insert(1, ["-" * w for w in width])
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(r, width)) + " |" for r in lines)


# -- pictures ---------------------------------------------------------------------------------------------------------

def write_png(path, rgb):
    """uint8 [H, W, 3]."""
    h, w = rgb.shape[:2]
    raw = np.concatenate([np.zeros((h, 1), np.uint8), rgb.reshape(h, 3 * w)], 1).tobytes()

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def strip(clip, count=9):
    """A clip uint8 [T, H, W, 3] as one picture of `count` of its frames side by side."""
    pick = np.linspace(0, len(clip) - 1, min(count, len(clip))).round().astype(int)
    return np.concatenate([np.pad(clip[k], ((0, 0), (0, 2), (0, 0)), constant_values=255) for k in pick], 1)


def sheet(rows):
    """Strips under one another."""
    w = max(r.shape[1] for r in rows)
    return np.concatenate([np.pad(r, ((0, 2), (0, w - r.shape[1]), (0, 0)), constant_values=255) for r in rows])
