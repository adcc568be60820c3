# What a training keeps between its turns: logs with their curves, averages, weights in files small enough to carry.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The state folder holds two forms. The compact one is for carrying from machine to machine: files below SHARD bytes
# with the averaged weights in f16, the trained weights as their 8-bit difference from the average, and Adam's second
# moments as 8-bit logarithms; the first moments, which fill again within some ten steps, are left out. The whole one,
# `whole/NAME.pt`, has everything in f32 and is used where it is still there.
import contextlib
import csv
import json
import math
import os
import time

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

SHARD = 15 << 20
OCTAVES = 48.0              # of the second moments below their largest


class Log:
    """A CSV of numbers that goes on where it ended, and its picture."""

    def __init__(self, folder, name, columns):
        self.path, self.png, self.columns = os.path.join(folder, name + ".csv"), name + "_curve.png", columns
        self.folder, self.rows = folder, []
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as f:
                self.rows = [[float(v) for v in r] for r in list(csv.reader(f))[1:]]

    def add(self, *row):
        self.rows.append([float(v) for v in row])
        print(" ".join(f"{c} {v:.5g}" for c, v in zip(self.columns, row)), flush=True)

    def write(self):
        with open(self.path + ".new", "w", encoding="utf-8", newline="") as f:
            out = csv.writer(f)
            out.writerow(self.columns)
            out.writerows([[f"{v:.6g}" for v in r] for r in self.rows])
        os.replace(self.path + ".new", self.path)
        if len(self.rows) > 1:
            self.draw()

    def draw(self):
        """One line per column over the steps; each column on a logarithmic scale of its own."""
        try:
            from PIL import Image, ImageDraw
        except ImportError:                 # the CSV is enough to draw it later
            return
        w, h, m = 900, 420, 46
        pic = Image.new("RGB", (w, h), "white")
        pen = ImageDraw.Draw(pic)
        a = np.array(self.rows)
        colours = ("#c0392b", "#2471a3", "#1e8449", "#b9770e", "#7d3c98")
        pen.rectangle((m, 14, w - 14, h - m), outline="#888888")
        for i, name in enumerate(self.columns[1:-1]):
            keep = np.isfinite(a[:, i + 1]) & (a[:, i + 1] > 0)
            if keep.sum() < 2:
                continue
            x, y = a[keep, 0], np.log10(a[keep, i + 1])
            lo, hi = y.min(), max(y.max(), y.min() + 1e-3)
            px = m + (x - a[0, 0]) / max(a[-1, 0] - a[0, 0], 1) * (w - 14 - m)
            py = h - m - 4 - (y - lo) / (hi - lo) * (h - m - 26)
            pen.line(list(zip(px.tolist(), py.tolist())), fill=colours[i % 5], width=2)
            pen.text((m + 6 + 170 * i, h - m + 16), f"{name} {10 ** lo:.4g}..{10 ** hi:.4g}", fill=colours[i % 5])
        pen.text((m, h - m + 2), f"step {a[0, 0]:.0f} to {a[-1, 0]:.0f}, {a[-1, -1] / 60:.1f} minutes", fill="black")
        pic.save(os.path.join(self.folder, self.png))


class Average:
    """The exponential moving average of a list of parameters."""

    def __init__(self, params, decay, values=None):
        self.params, self.decay = params, decay
        self.values = [p.detach().clone() for p in params] if values is None else values

    def update(self, step):
        k = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.params], k)

    @contextlib.contextmanager
    def inside(self):
        """The averaged weights, in place of the trained ones, for looking."""
        keep = [p.detach().clone() for p in self.params]
        with torch.no_grad():
            torch._foreach_copy_(self.params, self.values)
        yield
        with torch.no_grad():
            torch._foreach_copy_(self.params, keep)


class Schedule:
    """How far a stage is: by its steps where their number is given, else by its minutes, earlier turns counted in.
    A stage that is stopped by `until` (seconds since the epoch), or at the step `stop`, goes on later."""

    def __init__(self, steps, minutes, before=0.0, until=None, stop=None):
        self.steps, self.seconds, self.before, self.until, self.stop = steps, 60.0 * minutes, before, until, stop
        self.start = time.time()

    def spent(self):
        return self.before + time.time() - self.start

    def progress(self, step):
        return min(1.0, step / self.steps if self.steps else self.spent() / self.seconds)

    def cut(self, step):
        return step == self.stop or (self.until is not None and time.time() > self.until)

    def rate(self, step, peak, warm=300):
        """Learning rate: a warm-up, then half a cosine down to 3 %."""
        return peak * min(1.0, (step + 1) / warm) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * self.progress(step))))


class Ticker:
    """True once every so many seconds, or where `steps` is given every so many steps, which a repetition needs."""

    def __init__(self, seconds, steps=0):
        self.seconds, self.steps, self.last = seconds, steps, time.time()

    def due(self, step):
        if self.steps:
            return step % self.steps == 0
        if time.time() - self.last < self.seconds:
            return False
        self.last = time.time()
        return True


# -- weights in files -------------------------------------------------------------------------------------------------

def near(value, average):
    """The 8-bit difference of a tensor from its average: int8 and a scale per row."""
    d = (value - average).float().reshape(value.shape[0] if value.ndim > 1 else 1, -1)
    scale = d.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return (d / scale).round().to(torch.int8).view(value.shape), scale[:, 0]


def far(code, scale, average):
    d = code.float().reshape(len(scale), -1) * scale[:, None]
    return average + d.view(code.shape)


def logarithms(v):
    """Second moments as uint8: 255 steps over OCTAVES below the largest, 0 for nothing; and the largest's log2."""
    top = torch.log2(v.max().clamp(min=1e-38))
    code = 255 + 254 / OCTAVES * (torch.log2(v.clamp(min=1e-38)) - top)
    return code.clamp(0, 255).round().to(torch.uint8), top.reshape(1).float()


def powers(code, top):
    v = torch.exp2(top + (code.float() - 255) * (OCTAVES / 254))
    return torch.where(code > 0, v, torch.zeros_like(v))


def save_shards(folder, name, tensors, step=0):
    """Files NAME.0.safetensors ... below SHARD bytes each, which say their step; written beside and renamed."""
    shards, size = [{}], 0
    for k, v in tensors.items():
        v = v.detach().contiguous().cpu()
        if size + v.nbytes > SHARD:
            shards.append({})
            size = 0
        shards[-1][k] = v
        size += v.nbytes
    for i, s in enumerate(shards):
        save_file(s, os.path.join(folder, f"{name}.{i}.safetensors.new"),
                  metadata={"step": str(step), "shards": str(len(shards))})
    for i in range(len(shards)):
        path = os.path.join(folder, f"{name}.{i}.safetensors")
        os.replace(path + ".new", path)


def load_shards(folder, name):
    """Their tensors; nothing where there are none. Shards of different steps do not belong together."""
    out, steps, i = {}, set(), 0
    while os.path.exists(path := os.path.join(folder, f"{name}.{i}.safetensors")):
        with safe_open(path, "pt") as f:
            steps.add((f.metadata()["step"], f.metadata()["shards"]))
            out.update({k: f.get_tensor(k) for k in f.keys()})
        i += 1
    if len(steps) > 1 or (i and i != int(next(iter(steps))[1])):
        raise SystemExit(f"{folder}/{name}.*: files of different steps or not all of them; copy them again")
    return out


def save_compact(folder, name, names, ema, opt, step):
    """names: parameters by name. Averages first, so that export() needs no more than those."""
    out = {"ema." + k: a.half() for k, a in zip(names, ema.values)}
    for (k, p), a in zip(names.items(), ema.values):
        out["near." + k], out["near_scale." + k] = near(p.detach(), a.half().float())
        if p in opt.state and "exp_avg_sq" in opt.state[p]:
            out["second." + k], out["second_top." + k] = logarithms(opt.state[p]["exp_avg_sq"])
    save_shards(folder, name, out, step)


def save_whole(folder, name, names, ema, opt, step):
    os.makedirs(os.path.join(folder, "whole"), exist_ok=True)
    path = os.path.join(folder, "whole", name + ".pt")
    state = {k: {s: v for s, v in opt.state[p].items()} for k, p in names.items() if p in opt.state}
    torch.save({"step": step, "params": {k: p.detach() for k, p in names.items()},
                "ema": dict(zip(names, ema.values)), "opt": state}, path + ".new")
    os.replace(path + ".new", path)


@torch.no_grad()
def restore(folder, name, names, ema, opt, step):
    """Puts back what was saved at `step`: the whole form where it is there, else the compact one. False for none."""
    path = os.path.join(folder, "whole", name + ".pt")
    fused = opt.defaults.get("fused")               # then the count of steps lies on the device, too
    if os.path.exists(path):
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["step"] == step:
            for (k, p), a in zip(names.items(), ema.values):
                p.copy_(saved["params"][k])
                a.copy_(saved["ema"][k])
                if k in saved["opt"]:
                    opt.state[p] = {s: v.to(p.device) if v.ndim or fused else v for s, v in saved["opt"][k].items()}
            return True
    saved = load_shards(folder, name)
    if not saved:
        return False
    for (k, p), a in zip(names.items(), ema.values):
        average = saved["ema." + k].float()
        a.copy_(average)
        p.copy_(far(saved["near." + k], saved["near_scale." + k], average))
        if "second." + k in saved:
            v = powers(saved["second." + k], saved["second_top." + k]).to(p.device)
            opt.state[p] = {"step": torch.tensor(float(step), device=p.device if fused else "cpu"),
                            "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.empty_like(p).copy_(v)}
    return True


def averages(folder, name):
    """The averaged weights alone, f32, by parameter."""
    return {k[4:]: v.float() for k, v in load_shards(folder, name).items() if k.startswith("ema.")}


def write_json(path, doc):
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(json.dumps(doc, indent=2) + "\n")
    os.replace(path + ".new", path)


def read_json(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def save_picture(path, rows):
    """Strips uint8 [H, W, 3] under one another."""
    from score import sheet, write_png
    write_png(path, sheet(rows))
