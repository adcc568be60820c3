# Makes tests/data/judged.mp4, some held-out clips one after another, and judged.json with their truths, for the judge's
# test (tests/fate/judge.sh).
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Needs torch for the renderer, and ffmpeg with libx264.
#
#     python3 make_test.py FFMPEG FOLDER
import json
import os
import subprocess
import sys

import score

SCENES = (("ball", "red", "bounces", "table", None), ("fish", "yellow", "left", "sea", None),
          ("star", "purple", "spins", "night", "pan right"), ("car", "black", "still", "grass", "zoom in"),
          ("heart", "white", "grows", "plain", None), ("cube", "blue", "circles", "sky", "pan left"))


def main():
    import torch
    from render import render
    torch.set_num_threads(1)
    ffmpeg, folder = sys.argv[1:3]
    scenes = [score.world.draw_scene(score.FIRST + 77 + i, only=s[:4], moves=s[4]) for i, s in enumerate(SCENES)]
    scenes += score.pair_scenes(2, 9)
    raw = b"".join((render([s])[0].permute(1, 2, 3, 0).numpy() * 255 + 0.5).astype("uint8").tobytes() for s in scenes)
    subprocess.run([ffmpeg, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "128x128", "-r", "16",
                    "-i", "-", "-c:v", "libx264", "-preset", "veryslow", "-crf", "27", "-pix_fmt", "yuv420p",
                    os.path.join(folder, "judged.mp4")], input=raw, check=True)
    with open(os.path.join(folder, "judged.json"), "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(s.truth()) for s in scenes) + "\n]\n")


if __name__ == "__main__":
    main()
