# Rendered clips on the device, as bytes: what both trainings draw from.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import random

import torch

import seen
from render import render
from scenes import GOES_ON, draw_scene

SHARE = (0.7, 0.15, 0.15)       # of the sizes
UNSEEN = 1 << 41                # scenes from here on are for looking, not for training


def bytes_of(clips):
    return (clips * 255 + 0.5).to(torch.uint8)


def begun(args, scene):
    """The scene, or for `--late` of those with one thing that moves on and a still camera one that is on its way: what
    footage shows does not begin where a prompt's clip does, and goes on beyond its end. Such clips are only gone on
    from, see train_dit.plan_batch()."""
    rng = seeded("late", scene.seed)
    if args.frames > 9 and scene.camera == "static" and len(scene.things) == 1 and \
            scene.things[0].motion in GOES_ON and rng.random() < args.late:
        scene.late = rng.randint(2, 14)
    return scene


def pictures_of(clips):
    """Bytes to -1..1, channels last."""
    x = clips.float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last_3d) if x.is_cuda else x


def easy(scene):
    """Whether there is one thing whose outline comes right soon, and nothing turns it: neither it nor the camera."""
    return len(scene.things) == 1 and scene.things[0].kind not in ("car", "fish") and \
        scene.things[0].motion not in ("spins", "bounces", "rolls") and scene.camera == "static"


class Clips:
    """`count` clips by size; next() renders `args.encode_batch` more of them and says where they lie, the oldest going
    once all places are taken. Scenes are numbered from `first` on by args.seed."""

    def __init__(self, args, count, first):
        self.args, self.counter, self.batches, self.scenes, self.data, self.known = args, first, 0, [], [], []
        total = sum(SHARE[:len(args.sizes)])
        self.share = [s / total for s in SHARE[:len(args.sizes)]]
        unit = args.encode_batch
        self.room = [max(unit, int(count * s) // unit * unit) for s in self.share]
        for (w, h), n in zip(args.sizes, self.room):
            self.data.append(torch.empty(n, 3, args.frames, h, w, dtype=torch.uint8, device=args.device))
            self.scenes.append([None] * n)
            self.known.append(seen.empty(n, (args.frames - 1) // 4 + 1, h, w, args.device))
        self.at = [0] * len(self.room)

    def fill(self):
        for i, n in enumerate(self.room):
            for _ in range(n // self.args.encode_batch):
                yield i, self.next(i)

    def next(self, i):
        """Renders into size i; the slice of the new clips."""
        n, args = self.args.encode_batch, self.args
        a = self.at[i]
        scenes = []
        while len(scenes) < n:
            scene = draw_scene(args.seed * (1 << 44) + self.counter, args.sizes[i])
            self.counter += 1
            if self.wanted(scene):
                scenes.append(begun(args, scene))
        pictures, whose = render(scenes, args.device, range(args.frames), owners=True)
        self.data[i][a:a + n] = bytes_of(pictures)
        for k, v in seen.truths(scenes, whose).items():
            self.known[i][k][a:a + n] = v
        self.scenes[i][a:a + n] = scenes
        self.at[i] = (a + n) % self.room[i]
        self.batches += 1
        return slice(a, a + n)

    def wanted(self, scene):
        """All whose camera moves, of two things, and of a ball that rolls, which is rare; not so many of the others,
        but single pictures do not show which they are of. Of those not so many with what is soon learnt."""
        if easy(scene) and seeded("easy", scene.seed).random() < self.args.fewer_easy:
            return False
        rare = scene.camera != "static" or len(scene.things) == 2 or scene.things[0].motion == "rolls"
        if self.args.frames == 1 or rare:
            return True
        return seeded("static", scene.seed).random() >= self.args.fewer_static

    def which(self, rng):
        return rng.choices(range(len(self.share)), self.share)[0]


def unseen(args, count, size=None):
    """(scene, clip 0..1 [1, 3, T, H, W]) of scenes that no training has, held-out combinations among them."""
    for i in range(count):
        scene = draw_scene(UNSEEN + i, size or args.sizes[i % len(args.sizes)], held=True)
        yield scene, render([scene], args.device, range(args.frames))


def pick(rng, n, count):
    return rng.sample(range(n), min(count, n)) if count <= n else [rng.randrange(n) for _ in range(count)]


def seeded(*words):
    return random.Random(" ".join(str(w) for w in words))
