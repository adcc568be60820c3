# Makes tests/data/tokenizer: a small SentencePiece Unigram model of the UMT5 kind, English and Chinese.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The corpus is generated here from word lists (colours, shapes, things, motions, places), so the result is ours.
# What it shares with UMT5's: pad 0, eos 1, unk 2, no bos, byte fallback, a dummy space in front, runs of spaces
# collapsed, NFKC-like normalisation. The normalisation rules are NFKC plus the white-space and control-character
# rules of SentencePiece's nmt_nfkc, over the blocks that prompts use; all of Unicode would make the file 250 kB
# larger and test nothing more.
#
# Needs: sentencepiece 0.2, and transformers 5 for tokenizer.json. Deterministic: one thread, no shuffling.
#
#     python3 tests/data/make_tokenizer.py [OUTPUT_FOLDER]
import json
import os
import random
import sys
import tempfile
import unicodedata

VOCAB = 748        # pieces of the model
EXTRA = 20         # <extra_id_N> behind them: 768 ids in all

COLOURS = [("red", "红色"), ("green", "绿色"), ("blue", "蓝色"), ("yellow", "黄色"), ("white", "白色"),
           ("black", "黑色"), ("orange", "橙色"), ("purple", "紫色"), ("pink", "粉色"), ("grey", "灰色"),
           ("brown", "棕色"), ("cyan", "青色"), ("golden", "金色"), ("silver", "银色"), ("dark", "深色"),
           ("bright", "明亮"), ("teal", "蓝绿色"), ("magenta", "洋红色")]
SHAPES = [("circle", "圆形"), ("square", "正方形"), ("triangle", "三角形"), ("ball", "球"), ("cube", "立方体"),
          ("star", "星星"), ("ring", "圆环"), ("diamond", "菱形"), ("cross", "十字"), ("heart", "心形"),
          ("line", "线条"), ("disc", "圆盘"), ("rectangle", "长方形"), ("hexagon", "六边形"), ("wave", "波浪"),
          ("dot", "圆点"), ("bar", "条"), ("box", "盒子"), ("cylinder", "圆柱体"), ("pyramid", "金字塔")]
THINGS = [("cat", "猫"), ("dog", "狗"), ("bird", "鸟"), ("fish", "鱼"), ("tree", "树"), ("flower", "花"),
          ("car", "汽车"), ("boat", "小船"), ("house", "房子"), ("cloud", "云"), ("sun", "太阳"), ("moon", "月亮"),
          ("river", "河流"), ("mountain", "山"), ("sea", "大海"), ("rain", "雨"), ("snow", "雪"), ("fire", "火"),
          ("woman", "女人"), ("man", "男人"), ("child", "孩子"), ("robot", "机器人"), ("camera", "摄像机"),
          ("train", "火车"), ("city", "城市"), ("street", "街道"), ("forest", "森林"), ("table", "桌子")]
MOTIONS = [("moves to the left", "向左移动"), ("moves to the right", "向右移动"), ("moves up", "向上移动"),
           ("moves down", "向下移动"), ("rotates", "旋转"), ("spins slowly", "缓慢旋转"), ("spins fast", "快速旋转"),
           ("bounces", "弹跳"), ("falls", "落下"), ("rises", "升起"), ("grows", "变大"), ("shrinks", "缩小"),
           ("fades in", "淡入"), ("fades out", "淡出"), ("rolls", "滚动"), ("slides", "滑动"), ("swings", "摇摆"),
           ("flies", "飞行"), ("stands still", "静止不动"), ("pulses", "脉动"), ("runs", "奔跑"), ("jumps", "跳跃"),
           ("drifts", "漂移"), ("turns around", "转身"), ("walks", "行走"), ("floats", "漂浮"), ("blinks", "闪烁"),
           ("zooms in", "推近"), ("pans across the scene", "横扫画面")]
PLACES = [("on a {c} background", "在{c}背景上"), ("over a {c} floor", "在{c}地板上方"),
          ("in front of a {c} wall", "在{c}墙前面"), ("under a {c} sky", "在{c}天空下"),
          ("across the screen", "穿过屏幕"), ("in the middle", "在中间"), ("at the top", "在顶部"),
          ("at the bottom", "在底部"), ("from left to right", "从左到右"), ("near the {t}", "在{t}旁边"),
          ("beside a {c} {t}", "在{c}的{t}旁边"), ("at night", "在夜晚"), ("in the morning", "在早晨")]
STYLE = [("cinematic, highly detailed, 4k", "电影感，细节丰富，高清"), ("slow motion", "慢动作"),
         ("soft light", "柔和的光线"), ("close-up", "特写"), ("wide shot", "全景"), ("hand-drawn cartoon", "手绘卡通"),
         ("realistic", "写实风格"), ("blurry, low quality, static, overexposed", "模糊，低质量，静止，过曝"),
         ("watermark, text, subtitles", "水印，文字，字幕"), ("a high quality video of", "高质量视频"),
         ("It's 2 or 3 seconds long!", "时长为2到3秒！"), ("don't move; what is it?", "不要动；这是什么？"),
         ("\"the quick brown fox jumps over the lazy dog\"", "（敏捷的棕色狐狸跳过懒狗）"),
         ("size: 480x832 (16:9), 24 fps & 5 steps / 50% + 1", "尺寸：480×832，每秒24帧。")]
REQUIRED = "".join(chr(u) for u in range(0x21, 0x7F)) + "éèüñç。，！？：；（）“”、《》"
SIZES = [("small", "小"), ("large", "大"), ("big", "巨大的"), ("tiny", "微小的"), ("tall", "高高的"), ("thin", "细长的"),
         ("round", "圆的"), ("two", "两个"), ("three", "三个"), ("many", "许多")]


def sentences(n):
    rng = random.Random(20260731)
    pick = rng.choice
    for _ in range(n):
        lang = rng.random() < 0.4
        c, c2, s, t, t2, m, m2, p, z, y = (pick(x)[lang] for x in (
            COLOURS, COLOURS, SHAPES, THINGS, THINGS, MOTIONS, MOTIONS, PLACES, SIZES, STYLE))
        p = p.format(c=c2, t=t2)
        if lang:
            yield pick([f"一个{z}{c}的{s}{p}{m}。", f"{c}{s}{m}，然后{m2}。", f"{p}，一只{c}的{t}正在{m}。",
                        f"{y}：{t}和{s}一起{m}", f"{c}的{t}"])
        else:
            yield pick([f"A {z} {c} {s} {m} {p}.", f"a {c} {s} {m} and then {m2}", f"The {c} {t} {m} {p}, {y}.",
                        f"{y}: one {t} and the {s} {m} {p}", f"{c} {s}", f"An animation of {z} {t} that {m}.",
                        f"{t.capitalize()} with a {c} {s}, {y}"])


def rules():
    """NFKC over the blocks of prompts, and nmt_nfkc's rules for white space and controls, as SentencePiece's TSV."""
    out = {}
    blocks = [(0xA0, 0x250), (0x370, 0x460), (0x2000, 0x2100), (0x2100, 0x2190), (0x2460, 0x2500), (0x3000, 0x3100),
              (0x3200, 0x3400), (0xFB00, 0xFB07), (0xFF00, 0xFFF0)]
    for lo, hi in blocks:
        for u in range(lo, hi):
            c = chr(u)
            if unicodedata.category(c) in ("Cn", "Cs"):
                continue
            k = unicodedata.normalize("NFKC", c)
            if k != c:
                out[c] = k
            d = unicodedata.normalize("NFD", c)
            if d != c and unicodedata.normalize("NFC", d) == c:
                out[d] = k
    for u in list(range(1, 9)) + [0x0B] + list(range(0x0E, 0x20)) + [0x7F, 0x8F, 0x9F, 0xAD, 0x200B, 0x200C, 0x200E,
                                                                   0x200F, 0x2060, 0xFFFD]:
        out[chr(u)] = ""
    for u in (9, 0x0A, 0x0C, 0x0D, 0x1680, 0x2028, 0x2029, 0x200B, 0x2581, 0xFEFF, 0xFFFD):
        out[chr(u)] = " "
    out["～"] = "~"
    return sorted((k, v) for k, v in out.items() if k != v)


def hexes(s):
    return " ".join("%X" % ord(c) for c in s)


def main():
    import sentencepiece as spm

    out = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "tokenizer")
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        os.chdir(tmp)                   # the model records the names: keep them the same everywhere
        with open("rules.tsv", "w", encoding="utf-8") as f:
            for k, v in rules():
                f.write(f"{hexes(k)}\t{hexes(v)}\n")
        spm.SentencePieceTrainer.train(
            sentence_iterator=sentences(20000), model_prefix="spiece", model_type="unigram", vocab_size=VOCAB,
            character_coverage=1.0, byte_fallback=True, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>",
            eos_piece="</s>", unk_piece="<unk>", num_threads=1, required_chars=REQUIRED, shuffle_input_sentence=False,
            normalization_rule_tsv="rules.tsv", add_dummy_prefix=True, remove_extra_whitespaces=True,
            max_sentencepiece_length=12, split_digits=True, minloglevel=2)
        with open("spiece.model", "rb") as f:
            model = f.read()
        os.chdir(out)
    with open(os.path.join(out, "spiece.model"), "wb") as f:
        f.write(model)
    print("spiece.model:", len(model), "bytes")
    try:
        from transformers import T5Tokenizer
    except ImportError:
        print("no transformers: tokenizer.json left as it is")
        return
    with tempfile.TemporaryDirectory() as tmp:
        with open(os.path.join(tmp, "spiece.model"), "wb") as f:
            f.write(model)
        tok = T5Tokenizer.from_pretrained(tmp, extra_ids=EXTRA)
        tok.save_pretrained(tmp)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            with open(os.path.join(tmp, name), encoding="utf-8") as f:
                j = json.load(f)
            if name == "tokenizer.json":
                text = "{\n" + ",\n".join(f"  {json.dumps(k)}: " + json.dumps(v, ensure_ascii=False)
                                         for k, v in j.items()) + "\n}\n"
            else:
                j = {k: v for k, v in j.items() if "local" not in k}
                text = json.dumps(j, indent=2, ensure_ascii=False) + "\n"
            with open(os.path.join(out, name), "w", encoding="utf-8") as f:
                f.write(text)
            print(name + ":", len(text.encode()), "bytes")


if __name__ == "__main__":
    main()
