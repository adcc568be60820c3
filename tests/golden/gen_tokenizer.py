# Goldens of engine/tokenizer.c and prompt_clean.c: WanPipeline's prompt_clean (with ftfy) and transformers'
# T5Tokenizer on tests/data/tokenizer, for the texts below; and tokenizer.json with byte_fallback, by the tokenizers
# library itself.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import json
import os

import diffusers.pipelines.wan.pipeline_wan as wan
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from transformers import T5TokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "..", "data", "tokenizer")

TEXTS = [
    "", " ", " \t\r\n  ", "a", "a red ball moves to the left", "A red ball falls onto a wooden table.",
    "The QUICK brown fox -- jumps over (the) lazy dog's 2 ears; isn't it?",
    "Cinematic, highly detailed, 4k: a large blue triangle rotates over a dark floor.",
    "一个红色的球向左移动。", "在黑色背景上，一只橙色的猫正在奔跑，然后跳跃！",
    "电影感，细节丰富，高清：太阳和波浪一起摇摆",
    "红色circle在white背景上moves向左", "a 红色 ball，moves 向左移动 slowly。",
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品",
    "emoji 😀 here", "🐱🐱🐱", "family 👨‍👩‍👧‍👦 and flag 🇫🇷 and thumbs 👍🏽!",
    "heart ❤️ vs ❤", "1️⃣2️⃣",
    "&amp; &lt;b&gt; &quot;q&quot; &#39;s&#39; &nbsp;x", "&amp;amp;lt; twice",
    "&eacute;t&eacute; P&EACUTE;REZ &NTILDE;",
    "this&not that &notit; &ampersand &copy 2024 &hellip;",
    "&#x1F600; &#128512; &#0; &#xD800; &#x110000; &#59; &#38;lt;",
    "&#150; &#x80; &unknown; &; &# &#x; &#12ab; a && b", "<b>&lt;kept&gt;</b> &amp;",
    "first &amp; line\n<i>html &amp;</i>\nthird &amp;",
    "&BUNDESSTRA;BUNDESSTRA&SZLIG;E &CHECKMARK; &LTIMES; &frac12; &Jscr;ohn &fjlig; &bne;",
    "“curly” ‘quotes’ ‛and‟ „low‚ ʼn ŉ", "ﬁne ﬂuﬃ eﬀort ﬅ ﬆ Ĳ ĳ Ǆ ǆ Ǉ ǌ ǲ",
    "ＦＵＬＬ　ｗｉｄｔｈ １２３！？～", "ｶﾞｷﾞ ﾊﾟ ﾞ ﾟ ￥ ￣ ￦",
    "e\u0301te\u0301 A\u030a n\u0303 u\u0308 c\u0327", "é è ü ñ ç ß æ œ Ø",
    "q\u0323\u0307 q\u0307\u0323 \u1e9b\u0323",
    "\u1112\u1161\u11ab\u1100\u1173\u11af 한글", "Ω Å K", "① ② ⑳ Ⅳ ㎏ ㍿ ™ ℃ № ½ ²",
    "… ‥ — – ― ‐ ‑", "x\u00a0y\u2003z\u3000w\u202fv\u205fu",
    "zero\u200bwidth\u200cjoin\u200der\u2060word\ufeffbom", "soft\u00adhyphen", "rtl \u200f\u202b and \u202c",
    "tab\tnew\nline\r\nreturn\rform\x0cfeed\x0bvt", "line\u2028sep\u2029par\u0085next",
    "bell\x07 esc\x1b[31mred\x1b[0m del\x7f us\x1f fs\x1c",
    "\x1b[1;36;44mterminal\x1b[0m \x1b[ broken \x1b[12", "</s>", "a</s>b", "stop </s> here", "<pad><unk>",
    "<extra_id_0> and <extra_id_19>x<extra_id_20>",
    "<extra_id_1><extra_id_10>", "</S> < /s> <s> </s", "<0x41> <0xE4>", "under▁score ▁x ▁▁", "a" * 300,
    "ab" * 2000,
    "x" * 50 + " " + "字" * 50, "红" * 700, "a red ball " * 200, "  leading and trailing  ", "a  b   c    d",
    "ÀÉÎÕÜ àéîõü ŠŽšž ĄĘąę", "Привет мир, как дела", "Γειά σου Κόσμε",
    "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก",
    "こんにちは世界 カタカナ ｶﾅ",
    "안녕하세요 세계", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "C:\\path\\to\\file http://example.org/?a=1&b=2#x", "a\u0300\u0301\u0302\u0303\u0304b",
    "\ufb01\u0301 \uff76\uff9e\u0301", "𝒥ohn 𝐛𝐨𝐥𝐝 🅰 🈚", "﷼ ﷺ ﬡ",
    "\u115f\u1160 \u3164 \uffa0", "0.5x 16:9 24fps 480x832 50% (1+1=2)",
    "\ud7ff \ue000 \U0010fffd \ufffd", "¨ ´ ¸ ˘ ͺ", "× and ÷ and ± 5°", "don't & won't &rsquo;tis",
    "\u2460\u0301 ™\u0301 \u00bd\u0308x \u33a1\u0323",
    "a &lt&#59; b", "<b> P&EACUTE;REZ\n&NTILDE; &eacute;", "&amp;amp;amp;amp;amp;amp;lt; deep",
    "[red:1.3] (blue) {green|cyan} a--b __c__",
]

# A vocabulary for the search alone: a cut with an unknown character that only the penalty of 10 rules out ("xyz"), one
# that it does not ("qrs"), a tie ("ab"), a piece of which no part is known ("kl"), a repeated piece ("dd").
TINY = [("<unk>", 0.0), ("</s>", 0.0), ("▁", -1.0), ("xy", -9.0), ("z", -9.0), ("yz", -1.0), ("a", -1.0), ("b", -1.0),
        ("ab", -2.0), ("kl", -12.0), ("qr", -12.0), ("s", -11.9), ("rs", -0.5), ("dd", -3.0), ("d", -1.4), ("dd", -2.8)]
TINY_TEXT = "xyz qrs ab kl k xyzab dd ddd abk qrsqrs"


def main():
    assert wan.is_ftfy_available()
    t5 = T5TokenizerFast.from_pretrained(FOLDER)
    with open(os.path.join(FOLDER, "tokenizer.json"), encoding="utf-8") as f:
        j = json.load(f)
    j["model"]["byte_fallback"] = True
    fallback = Tokenizer.from_str(json.dumps(j))
    out = {}
    for i, text in enumerate(TEXTS):
        clean = wan.prompt_clean(text)
        for limit in (512, 7):
            e = t5([clean], padding="max_length", max_length=limit, truncation=True, add_special_tokens=True,
                   return_attention_mask=True)
            n = sum(e.attention_mask[0])
            assert e.input_ids[0][n:] == [0] * (limit - n)
            out[f"{i:03d}.ids{limit}"] = np.array(e.input_ids[0][:n], dtype=np.int32)
        ids = fallback.encode(clean).ids
        out[f"{i:03d}.bytes"] = np.array(ids if len(ids) <= 512 else ids[:511] + [1], dtype=np.int32)
        # a NUL behind each, so that no tensor is empty
        out[f"{i:03d}.text"] = np.frombuffer(text.encode() + b"\0", dtype=np.uint8)
        out[f"{i:03d}.clean"] = np.frombuffer(clean.encode() + b"\0", dtype=np.uint8)
    tiny = Tokenizer.from_str(json.dumps({
        "version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": j["pre_tokenizer"],
        "post_processor": None, "decoder": None, "model": {"type": "Unigram", "unk_id": 0, "vocab": TINY}}))
    out["tiny.json"] = np.frombuffer(json.dumps({"model": {"type": "Unigram", "unk_id": 0, "vocab": TINY}}).encode(),
                                     dtype=np.uint8)
    out["tiny.text"] = np.frombuffer(TINY_TEXT.encode() + b"\0", dtype=np.uint8)
    out["tiny.ids"] = np.array(tiny.encode(TINY_TEXT).ids + [1], dtype=np.int32)
    print(tiny.encode(TINY_TEXT).tokens)
    print(len(TEXTS), "texts")
    save_file(out, os.path.join(HERE, "data", "tokenizer.safetensors"))


if __name__ == "__main__":
    main()
