# Clips from ffmpeg and from the renderer, and the figures of what was made to go on from them.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import math
import os
import re
import subprocess
import tempfile
import threading
import time

import numpy as np

import score

FPS = score.world.FPS
NEAR = 8                    # frames on either side that a seam is compared with


class Failed(Exception):
    pass


def psnr(mean_square):
    return 10 * math.log10(255.0 ** 2 / max(float(mean_square), 1e-6))


# -- ffmpeg -----------------------------------------------------------------------------------------------------------

def graph(name, prompt_file, model, options, threads, **more):
    """A filter with its options, escaped for a graph."""
    def quote(v):
        return "".join("\\" + c if c in "\\':" else c for c in str(v))

    opts = [f"prompt_file={quote(prompt_file)}", f"threads={threads}"]
    opts += [f"model={quote(os.path.abspath(model))}"] if model else []
    opts += [f"{k}={v}" for k, v in more.items()] + ([options] if options else [])
    return f"{name}=" + ":".join(opts)


def run(command, data=None):
    r = subprocess.run(command, input=data, capture_output=True)
    if r.returncode:
        raise Failed(" ".join(command) + "\n" + r.stderr.decode(errors="replace").strip())
    return r


def frames_of(raw, size):
    return np.frombuffer(raw, np.uint8).reshape(-1, size[1], size[0], 3)


class Prompt:
    """The prompt in a file, which spares its escaping."""

    def __init__(self, text):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8")
        self.file.write(text)
        self.file.flush()

    def __enter__(self):
        return self.file.name

    def __exit__(self, *_):
        self.file.close()


RAW = ["-f", "rawvideo", "-pix_fmt", "rgb24"]


def generate(ffmpeg, prompt, seed, size, model=None, options="", threads=0, **more):
    with Prompt(prompt) as p:
        g = graph("kling", p, model, options, threads, seed=seed, size=f"{size[0]}x{size[1]}", **more)
        return frames_of(run([ffmpeg, "-v", "error", "-nostdin", "-f", "lavfi", "-i", g, *RAW, "-"]).stdout, size)


def given(path, clip):
    """Input options for a clip that is written to `path` as raw video."""
    with open(path, "wb") as f:
        f.write(np.ascontiguousarray(clip).tobytes())
    return [*RAW, "-s", f"{clip.shape[2]}x{clip.shape[1]}", "-r", str(FPS), "-i", path]


def extend(ffmpeg, clip, frames, prompt, seed, model=None, options="", threads=0):
    """The clip and what kling_extend appends to it; and at how many dB the model sees its last picture, decoded from
    the latents that it goes on from."""
    with Prompt(prompt) as p, tempfile.TemporaryDirectory() as tmp:
        g = graph("kling_extend", p, model, options, threads, seed=seed, frames=frames)
        r = run([ffmpeg, "-v", "verbose", "-nostdin", *given(os.path.join(tmp, "a"), clip), "-vf", g, *RAW, "-"])
    seen = re.search(r"colour after the seam: .* at (-?[0-9.]+) dB", r.stderr.decode(errors="replace"))
    if not seen:
        raise Failed("kling_extend does not say at how many dB the model sees the last picture")
    return frames_of(r.stdout, (clip.shape[2], clip.shape[1])), float(seen.group(1))


def bridge(ffmpeg, a, b, frames, prompt, seed, model=None, options="", threads=0):
    """Clip a, what kling_bridge puts between, clip b."""
    with Prompt(prompt) as p, tempfile.TemporaryDirectory() as tmp:
        g = graph("kling_bridge", p, model, options, threads, seed=seed, frames=frames)
        out = run([ffmpeg, "-v", "error", "-nostdin", *given(os.path.join(tmp, "a"), a),
                   *given(os.path.join(tmp, "b"), b), "-filter_complex", f"[0:v][1:v]{g}", *RAW, "-"])
    return frames_of(out.stdout, (a.shape[2], a.shape[1]))


def memory_of(pid):
    """Resident memory and its peak in MiB, 0 once the process has gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            v = dict(line.split(":", 1) for line in f if line.startswith(("VmRSS", "VmHWM")))
        return int(v["VmRSS"].split()[0]) / 1024, int(v["VmHWM"].split()[0]) / 1024
    except (OSError, KeyError, ValueError):
        return 0.0, 0.0


def measured(ffmpeg, prompt, seconds, model=None, options="", threads=0, keep=80, size=(128, 128)):
    """A long clip, of which only the ends are kept; peak memory in MiB; the memory's curve [(s, MiB)]."""
    with Prompt(prompt) as p:
        g = graph("kling", p, model, options, threads, seed=9, size=f"{size[0]}x{size[1]}", duration=seconds)
        start, peak, curve = time.time(), [0.0], []
        job = subprocess.Popen([ffmpeg, "-v", "error", "-nostdin", "-f", "lavfi", "-i", g, *RAW, "-"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def watch():
            while job.poll() is None:
                now, high = memory_of(job.pid)
                peak[0] = max(peak[0], high)
                curve.append((round(time.time() - start, 2), round(now, 1)))
                time.sleep(0.2)

        watcher = threading.Thread(target=watch)
        watcher.start()
        clip = _ends(job.stdout, size, keep, seconds * FPS)
        errors = job.stderr.read().decode(errors="replace")
        job.wait()
        watcher.join()
    if job.returncode or not clip["frames"]:
        raise Failed(errors.strip() or "ffmpeg gave no frames")
    return clip, peak[0], curve


def _ends(pipe, size, keep, expected):
    """Reads frames: how many, the first and the last `keep`, 48 spread over all, and the longest frozen stretch."""
    first, last, some, frozen, worst, count, before = [], [], [], 0, 0, 0, None
    while True:
        raw = pipe.read(size[0] * size[1] * 3)
        if len(raw) < size[0] * size[1] * 3:
            break
        f = np.frombuffer(raw, np.uint8).reshape(size[1], size[0], 3)
        if before is not None:
            frozen = frozen + 1 if np.abs(f.astype(int) - before).mean() < 0.10 else 0
            worst = max(worst, frozen)
        if count < keep:
            first.append(f)
        if count % max(1, expected // 48) == 0:
            some.append(f)
        last = (last + [f])[-keep:]
        before, count = f.astype(int), count + 1
    return {"frames": count, "first": np.stack(first), "last": np.stack(last), "sheet": some, "frozen": worst} \
        if count else {"frames": 0}


def curve_picture(curve, width=900, height=360):
    """The memory over time as a line on white; the frame's upper edge is the largest value, its lower one 0."""
    pic = np.full((height, width, 3), 255, np.uint8)
    a, m = np.array(curve), 20
    pic[m:height - m, [m, width - m]] = 160
    pic[[m, height - m], m:width - m] = 160
    x = (m + a[:, 0] / max(a[-1, 0], 1e-3) * (width - 2 * m - 1)).astype(int)
    y = (height - m - a[:, 1] / max(a[:, 1].max(), 1e-3) * (height - 2 * m - 1)).astype(int)
    for x0, x1, y0, y1 in zip(x, x[1:], y, y[1:]):
        n = max(abs(x1 - x0), abs(y1 - y0), 1)
        k = np.arange(n + 1) / n
        pic[np.rint(y0 + (y1 - y0) * k).astype(int), np.rint(x0 + (x1 - x0) * k).astype(int)] = (36, 113, 163)
    return pic


# -- the renderer -----------------------------------------------------------------------------------------------------

def rendered(count, seed=1, motions=None, size=(128, 128)):
    """(scene, clip uint8 [T, H, W, 3]) of held-out scenes with a still camera, of these motions."""
    import torch
    from render import render
    torch.set_num_threads(1)
    scenes = [s for s in score.held_out_scenes(40 * count, seed + 50, (size,))
              if s.camera == "static" and (not motions or s.things[0].motion in motions)][:count]
    for s in scenes:
        yield s, (render([s])[0].permute(1, 2, 3, 0).numpy() * 255 + 0.5).astype(np.uint8)


# -- figures --------------------------------------------------------------------------------------------------------

def seam_figures(clip, cut):
    """seam: the frame difference across the cut over the median of those around it; colour_shift: by how many of 255
    the mean colour of four frames after the cut is off what the eight before lead to."""
    d = np.abs(np.diff(clip.astype(np.float32), axis=0)).mean((1, 2, 3))
    near = np.concatenate([d[max(0, cut - 1 - NEAR):cut - 1], d[cut:cut + NEAR]])
    mean = clip.reshape(len(clip), -1, 3).mean(1)
    k = np.arange(max(0, cut - NEAR), cut)
    ahead = []
    for c in range(3):
        slope, base = np.polyfit(k, mean[k, c], 1) if len(k) > 2 else (0.0, mean[cut - 1, c])
        after = np.arange(cut, min(cut + 4, len(clip)))
        ahead.append(abs((mean[after, c] - (slope * after + base)).mean()))
    return {"seam": float(d[cut - 1] / max(np.median(near), 0.05)), "colour_shift": float(np.mean(ahead))}


def track_of(clip, truth, judge):
    """The track of the thing of the truth's colour, wherever it is; nothing is assumed of its shape."""
    m = judge.measure(clip, [truth["things"][0]["colour"]])
    return m["things"][0]["track"], m


def carried(clip, cut, truth, judge, span=5):
    """velocity_error: |change| of the centroid's mean velocity over `span` frames on either side of the cut, over what
    it was; colour and shape: 1 where what comes after, judged alone, still is what it was."""
    track, _ = track_of(clip, truth, judge)
    a, b = slice(cut - 1 - span, cut), slice(cut - 1, cut + span)
    out = {"velocity_error": None}
    if track.whole[a].all() and track.where[b].all():
        v = [np.array([np.polyfit(np.arange(span + 1), t[s], 1)[0] for t in (track.x, track.y)]) for s in (a, b)]
        if np.hypot(*v[0]) > 0.004:
            out["velocity_error"] = float(np.hypot(*(v[1] - v[0])) / np.hypot(*v[0]))
    seen = judge.measure(clip[cut:])
    thing = seen["things"][0] if seen["things"] else {"colour": None, "kind": None}
    out["colour"] = float(thing["colour"] == truth["things"][0]["colour"])
    out["shape"] = float(thing["kind"] == truth["things"][0]["kind"])
    return out


def continuous(clip, truth, judge):
    """seen: the share of frames in which the thing is there; jump: its longest step over the median one."""
    track, _ = track_of(clip, truth, judge)
    ok = track.where
    if ok.sum() < 3:
        return {"seen": float(ok.mean()), "jump": None}
    step = np.hypot(np.diff(track.x[ok]), np.diff(track.y[ok]))
    return {"seen": float(ok.mean()), "jump": float(step.max() / max(np.median(step), 0.01))}
