# Trains the vocabulary of the small model: SentencePiece Unigram of the UMT5 kind, on the captions.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The settings and the normalisation rules are those of tests/data/make_tokenizer.py, whose tokenizer libkling and
# transformers read alike (tests/golden/test_tokenizer.c). Deterministic: one thread, no shuffling. What the captions
# never say falls back to bytes.
#
# Needs sentencepiece 0.2, and transformers 5 for tokenizer.json.
#
#     python3 tokenizer.py OUTPUT_FOLDER
import importlib.util
import json
import os
import random
import sys
import tempfile

from captions import caption, vocabulary_lines
from scenes import draw_scene

VOCAB = 1004       # pieces of the model
EXTRA = 20         # <extra_id_N> behind them: 1024 ids in all
CAPTIONS = 12000
HERE = os.path.dirname(os.path.abspath(__file__))


def shared():
    path = os.path.join(HERE, "..", "..", "tests", "data", "make_tokenizer.py")
    spec = importlib.util.spec_from_file_location("make_tokenizer", path)
    mod = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mod)
    return mod


def corpus(n):
    for line in vocabulary_lines():
        yield line
    rng = random.Random(20260801)
    for seed in range(n):
        yield caption(draw_scene((1 << 40) + seed), rng)


def train_spm(out, n=CAPTIONS):
    import sentencepiece as spm
    base, out = shared(), os.path.abspath(out)
    os.makedirs(out, exist_ok=True)
    back = os.getcwd()
    with tempfile.TemporaryDirectory() as tmp:
        os.chdir(tmp)                   # the model records the names: keep them the same everywhere
        try:
            with open("rules.tsv", "w", encoding="utf-8") as f:
                for k, v in base.rules():
                    f.write(f"{base.hexes(k)}\t{base.hexes(v)}\n")
            spm.SentencePieceTrainer.train(
                sentence_iterator=corpus(n), model_prefix="spiece", model_type="unigram", vocab_size=VOCAB,
                hard_vocab_limit=False, character_coverage=1.0, byte_fallback=True, pad_id=0, eos_id=1, unk_id=2,
                bos_id=-1, pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>", num_threads=1,
                required_chars=base.REQUIRED, shuffle_input_sentence=False, normalization_rule_tsv="rules.tsv",
                add_dummy_prefix=True, remove_extra_whitespaces=True, max_sentencepiece_length=12, split_digits=True,
                minloglevel=2)
            with open("spiece.model", "rb") as f:
                model = f.read()
        finally:
            os.chdir(back)
    with open(os.path.join(out, "spiece.model"), "wb") as f:
        f.write(model)
    return len(model)


def write_json(out):
    """tokenizer.json and its config, as transformers writes them, without the names of this machine."""
    from transformers import T5Tokenizer
    with tempfile.TemporaryDirectory() as tmp:
        with open(os.path.join(out, "spiece.model"), "rb") as f, open(os.path.join(tmp, "spiece.model"), "wb") as g:
            g.write(f.read())
        tok = T5Tokenizer.from_pretrained(tmp, extra_ids=EXTRA)
        tok.save_pretrained(tmp)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            with open(os.path.join(tmp, name), encoding="utf-8") as f:
                j = json.load(f)
            if name == "tokenizer_config.json":
                j = {k: v for k, v in j.items() if "local" not in k}
            with open(os.path.join(out, name), "w", encoding="utf-8") as f:
                json.dump(j, f, indent=None if name == "tokenizer.json" else 2, ensure_ascii=False)
                f.write("\n")
    return len(tok)


class Tokenizer:
    """Captions to ids, ended by </s>: SentencePiece itself, since captions hold no special token."""

    def __init__(self, folder):
        import sentencepiece as spm
        self.sp = spm.SentencePieceProcessor(model_file=os.path.join(folder, "spiece.model"))

    def __call__(self, text):
        return self.sp.encode(" ".join(text.split())) + [1]

    def of_things(self, text, about):
        """Ids as above of what captions.caption_of_things() says, and for each of them the thing that it is about."""
        pieces = self.sp.encode(text, return_type="proto").pieces
        of = [next((k for k in about[p.begin:p.end] if k >= 0), -1) for p in pieces]
        return [p.id for p in pieces] + [1], of + [-1]


def main():
    out = sys.argv[1]
    print("spiece.model:", train_spm(out), "bytes")
    print("tokenizer:", write_json(out), "ids")


if __name__ == "__main__":
    main()
