# Captions of a scene, in English and Chinese, from varied templates, synonyms and word orders.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
#     python3 captions.py --heldout heldout.json     writes the combinations that are never trained on
#     python3 captions.py --show 20                  prints captions of the first scenes
import argparse
import json
import random

from scenes import BACKGROUNDS, COLOURS, HELD_OUT_PERCENT, MOTIONS, OBJECTS, combinations, draw_scene, held_out

KIND_EN = {"ball": ("ball", "ball", "ball", "sphere"), "cube": ("cube", "cube", "box", "block"),
           "pyramid": ("pyramid", "pyramid", "triangle"), "star": ("star", "star", "five-pointed star"),
           "heart": ("heart", "heart", "heart shape"), "car": ("car", "car", "toy car", "automobile"),
           "fish": ("fish", "fish", "little fish")}
KIND_ZH = {"ball": ("球", "球", "小球", "圆球"), "cube": ("立方体", "方块", "盒子", "正方体"),
           "pyramid": ("金字塔", "三角锥", "三角形"), "star": ("星星", "五角星", "星形"),
           "heart": ("爱心", "心形", "心"), "car": ("汽车", "小汽车", "车"),
           "fish": ("鱼", "小鱼", "鱼儿")}
UNIT_ZH = {"car": "辆", "fish": "条", "star": "颗", "heart": "颗"}
COLOUR_EN = {"purple": ("purple", "purple", "violet"), "red": ("red", "red", "red", "crimson")}
COLOUR_ZH = {"red": "红", "green": "绿", "blue": "蓝", "yellow": "黄", "orange": "橙", "purple": "紫",
             "white": "白",
             "black": "黑"}
PLACE_EN = {"sky": ("in the sky", "in a blue sky", "against the sky", "up in the sky among clouds"),
            "night": ("at night", "in the night sky", "under the stars", "in a starry night", "at night with stars"),
            "grass": ("on the grass", "on a meadow", "in a green field", "over the grass", "on a lawn"),
            "sea": ("over the sea", "above the sea", "at the sea", "by the ocean", "above the water"),
            "table": ("on a wooden table", "on the table", "on a table", "over a wooden table"),
            "plain": ("on a {p} background", "in front of a {p} wall", "against a plain {p} background")}
PLACE_ZH = {"sky": ("在天空中", "在蓝天里", "在天上", "在有云的天空中"),
            "night": ("在夜空中", "在夜晚", "在星空下", "在满是星星的夜空中"),
            "grass": ("在草地上", "在草坪上", "在绿色的田野上"),
            "sea": ("在海上", "在大海上方", "在海面上", "在海边"),
            "table": ("在木桌上", "在桌子上", "在木头桌子上"),
            "plain": ("在{p}背景前", "在{p}的墙前面", "在纯{p}背景上")}
PLAIN_ZH = {"grey": "灰色", "pink": "粉色", "beige": "米色", "light blue": "浅蓝色",
            "light green": "浅绿色"}
DO_EN = {"left": ("moves left", "moves to the left", "goes left", "slides to the left", "travels from right to left"),
         "right": ("moves right", "moves to the right", "goes right", "slides to the right",
                   "travels from left to right"),
         "rises": ("rises", "goes up", "moves up", "floats upwards", "rises slowly"),
         "falls": ("falls", "falls down", "drops", "moves down", "comes down"),
         "bounces": ("falls and bounces", "drops and bounces", "bounces", "falls down and bounces up again"),
         "rolls": ("rolls to the {d}", "rolls {d}", "is rolling to the {d}", "rolls along to the {d}"),
         "circles": ("moves in a circle", "circles", "goes round in circles", "flies in a circle"),
         "grows": ("grows", "gets bigger", "becomes larger", "grows bigger"),
         "shrinks": ("shrinks", "gets smaller", "becomes smaller", "shrinks away"),
         "spins": ("spins", "rotates", "turns around", "is spinning", "spins round"),
         "still": ("stands still", "stays still", "does not move", "rests", "is still")}
CAR_EN = {"left": ("drives left", "drives to the left"), "right": ("drives right", "drives to the right")}
FISH_EN = {"left": ("swims left", "swims to the left"), "right": ("swims right", "swims to the right")}
ING_EN = {"left": ("moving left", "moving to the left", "going left"), "right": ("moving right", "going right"),
          "rises": ("rising", "going up", "floating up"), "falls": ("falling", "dropping", "falling down"),
          "bounces": ("falling and bouncing", "bouncing"), "rolls": ("rolling to the {d}", "rolling {d}"),
          "circles": ("circling", "moving in a circle"), "grows": ("growing", "getting bigger"),
          "shrinks": ("shrinking", "getting smaller"), "spins": ("spinning", "rotating", "turning"),
          "still": ("standing still", "at rest", "not moving")}
DO_ZH = {"left": ("向左移动", "往左走", "从右向左移动", "向左滑动"),
         "right": ("向右移动", "往右走", "从左向右移动", "向右滑动"),
         "rises": ("升起", "上升", "向上移动", "慢慢升起来"),
         "falls": ("落下", "掉下来", "下落", "向下移动"),
         "bounces": ("落下弹起来", "掉下来弹跳", "弹跳", "落下后弹起"),
         "rolls": ("向{d}滚动", "往{d}滚", "向{d}滚去"),
         "circles": ("绕圈", "转圈移动", "绕着圈移动"), "grows": ("变大", "越来越大", "慢慢变大"),
         "shrinks": ("变小", "越来越小", "慢慢变小"), "spins": ("旋转", "转动", "自转", "转起来"),
         "still": ("静止不动", "停着不动", "一动不动", "静止")}
ONTO_EN = {"table": ("onto a wooden table", "onto the table"), "grass": ("onto the grass", "onto a meadow"),
           "plain": ("onto the floor in front of a {p} wall", "onto a {p} floor")}
ONTO_ZH = {"table": ("落在木桌上", "掉在桌子上"), "grass": ("落在草地上", "掉在草坪上"),
           "plain": ("落在{p}的地上", "掉在{p}地面上")}
CAMERA_EN = {"pan left": ("the camera pans left", "camera pan to the left"),
             "pan right": ("the camera pans right", "camera pan to the right"),
             "zoom in": ("the camera zooms in", "zoom in", "the camera moves closer"),
             "zoom out": ("the camera zooms out", "zoom out", "the camera moves away")}
CAMERA_ZH = {"pan left": ("镜头向左移动", "镜头左移", "摄像机向左平移"),
             "pan right": ("镜头向右移动", "镜头右移", "摄像机向右平移"),
             "zoom in": ("镜头推近", "镜头拉近", "画面放大"),
             "zoom out": ("镜头拉远", "镜头推远", "画面缩小")}
RELATION_EN = {"left of": ("to the left of", "left of"), "right of": ("to the right of", "right of"),
               "above": ("above", "over"), "behind": ("behind", "in back of")}
RELATION_ZH = {"left of": ("左边", "左侧"), "right of": ("右边", "右侧"), "above": ("上方", "上面"),
               "behind": ("后面", "后方")}
MARKS = "\ue000\ue001\ue002"       # where words about the first thing, the second, begin; where they end
LEAD_EN = ("", "", "", "", "a video of ", "an animation of ", "a clip of ")


def noun_en(thing, rng, article=True):
    colour = rng.choice(COLOUR_EN.get(thing.colour, (thing.colour,)))
    words = f"{colour} {rng.choice(KIND_EN[thing.kind])}"
    if not article:
        return words
    lead = rng.choice(("a", "a", "a", "the", "one", ""))
    return (("an" if lead == "a" and words[0] in "aeiou" else lead) + " " + words).strip()


def noun_zh(thing, rng):
    colour = COLOUR_ZH[thing.colour] + rng.choice(("色的", "色的", "色", ""))
    unit = rng.choice(("个", UNIT_ZH.get(thing.kind, "个")))
    return rng.choice((f"一{unit}", f"一{unit}", "")) + colour + rng.choice(KIND_ZH[thing.kind])


def unmarked(words, which):
    return words


def marked(words, which):
    """Words about thing `which`, between characters that no caption has."""
    return MARKS[which] + words + MARKS[2]


def english(scene, rng, mark=unmarked):
    a, motion, bg = scene.things[0], scene.things[0].motion, scene.background
    d = scene.direction or ""
    do = rng.choice(DO_EN[motion] + (({"car": CAR_EN, "fish": FISH_EN}.get(a.kind) or {}).get(motion, ()))).format(d=d)
    place = rng.choice(PLACE_EN[bg]).format(p=scene.plain)
    if motion == "bounces" and rng.random() < 0.5:
        onto = rng.choice(ONTO_EN[bg]).format(p=scene.plain)
        do, place = f"{rng.choice(('falls', 'drops'))} {onto} and bounces", ""
    if len(scene.things) == 2:
        rel, other = rng.choice(RELATION_EN[scene.relation]), mark(noun_en(scene.things[1], rng), 1)
        who = f"{mark(noun_en(a, rng), 0)} {rel} {other}"
        again = mark(noun_en(a, rng), 0)
        if motion == "still":
            text = rng.choice((f"{who} {place}", f"{place}, {who}", f"{again} is {rel} {other} {place}"))
        else:
            text = rng.choice((f"{again} {do} {rel} {other} {place}", f"{place}, {who}: the first {do}"))
    else:
        who, ing = mark(noun_en(a, rng), 0), rng.choice(ING_EN[motion]).format(d=d)
        text = rng.choice((f"{who} {do} {place}", f"{who} {do} {place}", f"{place}, {who} {do}",
                           f"{rng.choice(LEAD_EN)}{who} {ing} {place}" if place else f"{who} {do}",
                           f"{who} {place} {do}" if place else f"{who} {do}"))
    if scene.camera != "static":
        cam = rng.choice(CAMERA_EN[scene.camera])
        text = rng.choice((f"{text}, {cam}", f"{text}, {cam}", f"{cam}: {text}", f"{text} while {cam}"))
    text = " ".join(text.strip(" ,").split()).replace(" ,", ",")
    if rng.random() < 0.4:
        k = int(text[0] in MARKS)
        text = text[:k] + text[k].upper() + text[k + 1:]
    return text + rng.choice(("", "", "."))


def chinese(scene, rng, mark=unmarked):
    a, motion, bg = scene.things[0], scene.things[0].motion, scene.background
    plain = PLAIN_ZH.get(scene.plain, "")
    do = rng.choice(DO_ZH[motion]).format(d={"left": "左", "right": "右"}.get(scene.direction, ""))
    place = rng.choice(PLACE_ZH[bg]).format(p=plain)
    if motion == "bounces" and rng.random() < 0.5:
        do, place = rng.choice(ONTO_ZH[bg]).format(p=plain) + rng.choice(("弹起来", "又弹起来", "弹跳")), ""
    who = mark(noun_zh(a, rng), 0)
    if len(scene.things) == 2:
        side, other = rng.choice(RELATION_ZH[scene.relation]), mark(noun_zh(scene.things[1], rng), 1)
        still = motion == "still"
        text = rng.choice((f"{place}，{who}在{other}的{side}" + ("" if still else do),
                           f"{who}{place}，在{other}{side}" + ("" if still else do),
                           f"{place}，{other}的{side}有{who}" + ("" if still else "在" + do)))
    else:
        text = rng.choice((f"{who}{place}{do}", f"{who}{place}{do}", f"{place}，{who}{do}",
                           f"{who}正在{do}，{place}" if place else f"{who}{do}",
                           f"{place}有{who}{do}" if place else f"{who}{do}"))
    text = text.strip("，").replace("，，", "，")
    if scene.camera != "static":
        cam = rng.choice(CAMERA_ZH[scene.camera])
        text = rng.choice((f"{text}，{cam}", f"{cam}，{text}"))
    return text + rng.choice(("", "", "。"))


def caption(scene, rng, language=None, mark=unmarked):
    language = language or rng.choice(("en", "zh"))
    return (chinese if language == "zh" else english)(scene, rng, mark)


def caption_of_things(scene, rng, language=None):
    """A caption, the same as caption() draws, and for each of its UTF-8 bytes which thing it is about, -1 for none."""
    text, about, which = [], [], -1
    for c in caption(scene, rng, language, marked):
        if c in MARKS:
            which = MARKS.index(c) if c != MARKS[2] else -1
        else:
            text.append(c)
            about += [which] * len(c.encode())
    return "".join(text), about


def vocabulary_lines():
    """Every word list whole, so that no word is missing from a vocabulary made of captions."""
    for table in (KIND_EN, KIND_ZH, PLACE_EN, PLACE_ZH, DO_EN, DO_ZH, ING_EN, ONTO_EN, ONTO_ZH, CAMERA_EN, CAMERA_ZH,
                  RELATION_EN, RELATION_ZH, CAR_EN, FISH_EN):
        for words in table.values():
            for w in words:
                yield w.format(p="grey", d="left")


def write_heldout(path):
    every = combinations()
    held = [c for c in every if held_out(*c)]
    doc = {"what": "combinations of object, colour, motion and background that no training clip shows",
           "percent": HELD_OUT_PERCENT, "possible": len(every), "held_out": len(held),
           "objects": OBJECTS, "colours": list(COLOURS), "motions": MOTIONS, "backgrounds": BACKGROUNDS}
    rows = ",\n".join("    " + json.dumps(c) for c in held)
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(doc, indent=2)[:-2] + ',\n  "combinations": [\n' + rows + "\n  ]\n}\n")
    print(f"{path}: {len(held)} of {len(every)} combinations ({100 * len(held) / len(every):.1f} %)")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--heldout")
    ap.add_argument("--show", type=int, default=0)
    args = ap.parse_args()
    if args.heldout:
        write_heldout(args.heldout)
    for i in range(args.show):
        s, rng = draw_scene(i), random.Random(i)
        print(f"{i}: {english(s, rng)} | {chinese(s, rng)}")


if __name__ == "__main__":
    main()
