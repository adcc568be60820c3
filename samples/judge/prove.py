# Proves the judge: how often each measure is right on rendered clips of held-out scenes, whose truth is known, as they
# are, through x264, and bent and blotched as a weak generator might make them (fit.py's worn()); and what it says of
# shuffled truths and of noise.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Needs torch for the renderer, and ffmpeg with libx264. Prints the table of samples/README.md and what went wrong.
#
#     python3 prove.py [--clips N] [--pairs N] [--jobs N] [--ffmpeg FFMPEG] [--json FILE]
import argparse
import json
import multiprocessing
import subprocess
import sys

import numpy as np

import score
from fit import worn
from judge import Judge

NEED = {"as rendered": 0.99, "x264 crf 23": 0.99, "bent and worn": 0.9}
KINDS = (*NEED, "shuffled", "noise")


def through_x264(clip, ffmpeg):
    t, h, w = clip.shape[:3]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}", "-r", "16"]
    quiet = [ffmpeg, "-v", "error", "-nostdin", "-threads", "1"]
    coded = subprocess.run(quiet + raw + ["-i", "-", "-c:v", "libx264", "-crf", "23", "-pix_fmt", "yuv420p",
                                          "-threads", "1", "-f", "nut", "-"], input=clip.tobytes(),
                           capture_output=True, check=True).stdout
    back = subprocess.run(quiet + ["-i", "-"] + raw[:4] + ["-"], input=coded, capture_output=True, check=True).stdout
    return np.frombuffer(back, np.uint8).reshape(t, h, w, 3)


def one(job):
    """All variants of one scene's clip: [(kind, results)] and a line per wrong answer."""
    i, scene, other, ffmpeg = job
    import torch
    from render import render
    torch.set_num_threads(1)
    judge, truth, rng = Judge(), scene.truth(), np.random.default_rng(i)
    clip, owner = render([scene], owners=True)
    clip = (clip[0].permute(1, 2, 3, 0).numpy() * 255 + 0.5).astype(np.uint8)
    clips = [clip, through_x264(clip, ffmpeg) if ffmpeg else None, worn(clip, owner[0].numpy(), rng)[0], clip,
             rng.integers(0, 256, clip.shape, np.uint8)]
    out, wrong = [], []
    for kind, c in zip(KINDS, clips):
        if c is None:
            continue
        want = other.truth() if kind == "shuffled" else truth
        result, seen = judge.judge(c, want)
        out.append((kind, result))
        bad = [m for m, ok in result.items() if not ok]
        if bad and kind in NEED:
            wrong.append(f"{kind} {','.join(bad)}: {truth} seen as {seen}")
    return out, wrong


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--clips", type=int, default=500)
    ap.add_argument("--pairs", type=int, default=100)
    ap.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    ap.add_argument("--ffmpeg", default="build/bin/ffmpeg")
    ap.add_argument("--json")
    args = ap.parse_args()
    sizes = score.world.SIZES
    sizes = (sizes[0], sizes[0], sizes[1], sizes[2])
    scenes = score.held_out_scenes(args.clips, 7, sizes) + score.pair_scenes(args.pairs, 7, sizes)
    order = score.shuffled([s.truth() for s in scenes], 7)
    by_seed = {s.seed: s for s in scenes}
    jobs = [(i, s, by_seed[t["seed"]], args.ffmpeg) for i, (s, t) in enumerate(zip(scenes, order))]
    rows = {k: [] for k in KINDS}
    with multiprocessing.Pool(args.jobs) as pool:
        for out, wrong in pool.imap_unordered(one, jobs, 4):
            for kind, result in out:
                rows[kind].append(("all", result))
            for line in wrong:
                print(line, flush=True)
    tallies = {k: score.tally(r) for k, r in rows.items() if r}
    print(score.table([(k, t, "all") for k, t in tallies.items()]))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(tallies, f, indent=1)
    short = [f"{k}: {m}" for k, need in NEED.items() if k in tallies for m, v in tallies[k].items()
             if v["all"][1] and v["all"][0] < need * v["all"][1]]
    print("every measure is right as often as is asked for" if not short else "below that: " + ", ".join(short))
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
