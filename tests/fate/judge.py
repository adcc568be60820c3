# What tests/fate/judge.sh asks of the judge: judge.py CLIPS.raw TRUTHS.json
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The clips are those of samples/judge/make_test.py, through x264. The whole proof is samples/judge/prove.py. Besides,
# which words of a caption are about which thing, which the training of the text encoder relies on.
import json
import os
import random
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
for part in ("train", "judge"):
    sys.path.insert(0, os.path.join(HERE, "..", "..", "samples", part))
import captions                             # noqa: E402
import motion                               # noqa: E402
import score                                # noqa: E402
import shape                                # noqa: E402
from judge import Judge, compare            # noqa: E402
from scenes import draw_scene               # noqa: E402

BACK = {"left": "right", "grows": "shrinks", "pan right": "pan left", "pan left": "pan right", "zoom in": "zoom out"}
bad = 0


def tell(name, wrong):
    global bad
    bad += bool(wrong)
    print(f"not ok {name}: {wrong}" if wrong else f"ok {name}", flush=True)


def turned(truth):
    """The truth of a clip that runs backwards, None where that is something else altogether."""
    thing = truth["things"][0]
    if len(truth["things"]) > 1 or thing["motion"] == "bounces":
        return None
    return dict(truth, camera=BACK.get(truth["camera"], truth["camera"]),
                things=[dict(thing, motion=BACK.get(thing["motion"], thing["motion"]))])


def wrongs(seen, truths):
    return [f"clip {i}: {m}" for i, (s, t) in enumerate(zip(seen, truths)) if t
            for m, good in compare(s, t).items() if not good]


def ball(way, rolling):
    """A striped, lit ball that goes to the right (way 1) or the left, and its masks: [33, 96, 96, 3], [33, 96, 96]."""
    y, x = np.mgrid[:96, :96]
    clip, masks = np.full((33, 96, 96, 3), 200, np.uint8), np.zeros((33, 96, 96), bool)
    for k in range(33):
        at = way * (k - 16) * 1.6
        u, v = x - 47.5 - at, 47.5 - y
        masks[k] = u * u + v * v < 17 * 17
        a = 0.5 - rolling * at / 17
        stripe = np.abs(v * np.cos(a) - u * np.sin(a)) < 4
        light = (150 + 4 * (v - u))[..., None] * np.where(stripe[..., None], (1, 1, 1), (0.9, 0.2, 0.2))
        clip[k] = np.where(masks[k][..., None], light.clip(0, 255), clip[k])
    return clip, masks


def rolled(limits):
    """Which balls that roll or slide are told wrong."""
    for way, name in ((1, "right"), (-1, "left")):
        for rolling in (False, True):
            got = motion.motion_of(motion.Track(*ball(way, rolling), motion.Still()), "ball", limits)
            if got != ("rolls" if rolling else name, name):
                yield f"{'rolls' if rolling else 'slides'} to the {name}, seen {got}"


def lumpy(rng):
    """Masks of a disc whose outline has lumps, others in each: [9, 128, 128]."""
    y, x = np.mgrid[:128, :128] - 63.5
    a, out = np.arctan2(y, x), []
    for _ in range(9):
        lumps = sum(rng.normal(0, 0.05) * np.cos(n * a + rng.uniform(0, 6.3)) for n in range(3, 9))
        out.append(np.hypot(x, y) < 26 * (1 + lumps))
    return np.stack(out)


def words_of_things():
    """Captions of which caption_of_things() does not say rightly which words are about which thing."""
    for k in range(400):
        scene = draw_scene(k)
        for language, colours, kinds in (("en", captions.COLOUR_EN, captions.KIND_EN),
                                         ("zh", captions.COLOUR_ZH, captions.KIND_ZH)):
            text, about = captions.caption_of_things(scene, random.Random(k), language)
            same = text == captions.caption(scene, random.Random(k), language)
            for i, thing in enumerate(scene.things):
                said = bytes(b for b, of in zip(text.encode(), about) if of == i).decode().lower()
                same &= any(c in said for c in colours.get(thing.colour, (thing.colour,)))
                same &= any(w in said for w in kinds[thing.kind]) and not any(p in said for p in (" of ", "在", "，"))
            if not same or len(about) != len(text.encode()):
                yield text


def main():
    with open(sys.argv[2], encoding="utf-8") as f:
        truths = json.load(f)
    clips = np.fromfile(sys.argv[1], np.uint8).reshape(len(truths), 33, 128, 128, 3)
    judge = Judge()
    seen = [judge.judge(c, t)[1] for c, t in zip(clips, truths)]
    tell("judge_truth", ", ".join(wrongs(seen, truths)))
    back = [judge.judge(c[::-1], t)[1] if turned(t) else None for c, t in zip(clips, truths)]
    tell("judge_backwards", ", ".join(wrongs(back, [turned(t) for t in truths])))
    # told other things, it must not agree: a measure that always says yes would
    others = truths[1:6] + truths[:1] + [truths[7], truths[6]]
    tally = score.tally([("all", compare(s, t)) for s, t in zip(seen, others)])
    many = [m for m, v in tally.items() if v["all"][1] and v["all"][0] > 0.34 * v["all"][1]]
    tell("judge_shuffled", ", ".join(f"{m} is right in {tally[m]['all']}" for m in many))
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 256, clips[0].shape, np.uint8) for _ in range(3)]
    noise = score.tally([("all", judge.judge(n, t)[0]) for n, t in zip(noise, truths)])
    many = [m for m, v in noise.items() if v["all"][1] and v["all"][0] == v["all"][1]]
    tell("judge_noise", ", ".join(f"{m} is right in all of the noise" for m in many))
    tell("judge_rolls", ", ".join(rolled(judge.limits)))
    discs = [lumpy(np.random.default_rng(k)) for k in range(60)]
    kinds = [judge.shape(shape.clip_features(d, [shape.Blob(m) for m in d])) for d in discs]
    # a judge fitted on clean outlines knows 9 of them
    balls = kinds.count("ball")
    tell("judge_lumpy", "" if balls >= 40 else f"{balls} of 60 lumpy balls are seen as such")
    tell("captions_of_things", ", ".join(words_of_things()))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
