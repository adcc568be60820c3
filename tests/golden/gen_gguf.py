#!/usr/bin/env python3
# Goldens of engine/gguf.c and engine/tokenizer_gguf.c: files written by the gguf package, with the values that the
# package reads from them; and fp8 as torch reads it.
#
#     python tests/golden/gen_gguf.py       writes tests/golden/data/gguf*
#
# gguf_types.gguf: a [3,256] tensor of each type, with random blocks (K types) or quantized by the package.
# gguf_text.gguf: a UMT5 encoder of one layer with llama.cpp's names, mixed types, and the tokenizer of tests/data in
# its metadata, as llama.cpp's converter lays it out: pieces, then what was added, then [PAD].
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import pathlib

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2
from transformers import UMT5Config, UMT5EncoderModel

import synth

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE / "data"
SEED = 5
PIECES, EXTRA, VOCAB = 748, 20, 784     # 16 ids of padding behind the added ones
PLAIN = (T.F32, T.F16, T.BF16)
QUANTIZED = (T.Q8_0, T.Q5_0, T.Q5_1, T.Q4_0, T.Q4_1)    # the package can write these
# the half floats in a block: scale, minimum
RANDOM = {T.Q2_K: (80, 82), T.Q3_K: (108,), T.Q4_K: (0, 2), T.Q5_K: (0, 2), T.Q6_K: (208,)}


def random_blocks(t, rows):
    size = gguf.GGML_QUANT_SIZES[t][1]
    u = synth.uniform(synth.key(SEED, t.name), rows * size)
    blocks = ((u + 1) * 128).astype(np.uint8).reshape(rows, size)
    for at in RANDOM[t]:
        half = (synth.uniform(synth.key(SEED, f"{t.name}.{at}"), rows) * 0.01).astype(np.float16)
        blocks[:, at:at + 2] = half.view(np.uint8).reshape(rows, 2)
    return blocks


def write_types():
    out = {}
    w = gguf.GGUFWriter(DATA / "gguf_types.gguf", "test")
    w.add_array("test.strings", ["a", "", "ß"])
    w.add_bool("test.bool", True)
    for t in PLAIN + QUANTIZED + tuple(RANDOM):
        x = synth.inputs(SEED, t.name, (3, 256))
        x[1, 7] = 300.0                 # an outlier in one block
        raw = random_blocks(t, 3) if t in RANDOM else gguf.quants.quantize(x, t)
        w.add_tensor(t.name, raw, raw_dtype=t)
        out[t.name] = torch.from_numpy(gguf.quants.dequantize(raw, t).astype(np.float32).reshape(3, 256))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return out


def tokenizer(w):
    spiece = (HERE.parent / "data" / "tokenizer" / "spiece.model").read_bytes()
    proto = sentencepiece_model_pb2.ModelProto.FromString(spiece)
    tokens = [f"[PAD{i}]".encode() for i in range(VOCAB)]
    scores, types = [-1000.0] * VOCAB, [5] * VOCAB
    for i, p in enumerate(proto.pieces):
        tokens[i], scores[i], types[i] = p.piece.encode(), p.score, p.type
    for i in range(EXTRA):
        tokens[PIECES + EXTRA - 1 - i], types[PIECES + EXTRA - 1 - i] = f"<extra_id_{i}>".encode(), 4
    w.add_tokenizer_model("t5")
    w.add_token_list(tokens)
    w.add_token_scores(scores)
    w.add_token_types(types)
    w.add_eos_token_id(1)
    w.add_unk_token_id(2)
    w.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)


# llama.cpp's name, the type that it is stored in
NAMES = {
    "shared.weight": ("token_embd.weight", T.Q8_0),
    "encoder.final_layer_norm.weight": ("enc.output_norm.weight", T.F32),
    "layer.0.layer_norm.weight": ("attn_norm.weight", T.F32),
    "layer.0.SelfAttention.q.weight": ("attn_q.weight", T.Q4_0),
    "layer.0.SelfAttention.k.weight": ("attn_k.weight", T.Q5_1),
    "layer.0.SelfAttention.v.weight": ("attn_v.weight", T.Q8_0),
    "layer.0.SelfAttention.o.weight": ("attn_o.weight", T.F16),
    "layer.0.SelfAttention.relative_attention_bias.weight": ("attn_rel_b.weight", T.F16),
    "layer.1.layer_norm.weight": ("ffn_norm.weight", T.F32),
    "layer.1.DenseReluDense.wi_0.weight": ("ffn_gate.weight", T.Q4_1),
    "layer.1.DenseReluDense.wi_1.weight": ("ffn_up.weight", T.Q5_0),
    "layer.1.DenseReluDense.wo.weight": ("ffn_down.weight", T.BF16),
}


def write_text():
    cfg = UMT5Config(vocab_size=VOCAB, d_model=32, num_heads=4, d_kv=8, d_ff=64, num_layers=1, dropout_rate=0.0,
                     relative_attention_num_buckets=32, relative_attention_max_distance=128,
                     feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False)
    model = synth.fill(UMT5EncoderModel(cfg), SEED).eval()
    w = gguf.GGUFWriter(DATA / "gguf_text.gguf", "t5encoder")
    tokenizer(w)
    for name, p in model.state_dict().items():
        if name == "encoder.embed_tokens.weight":
            continue
        theirs, t = NAMES[name.replace("encoder.block.0.", "")]
        raw = gguf.quants.quantize(synth.weight(SEED, name, tuple(p.shape)), t)
        if name.startswith("encoder.block"):
            theirs = "enc.blk.0." + theirs
        w.add_tensor(theirs, raw, raw_dtype=t)
        with torch.no_grad():
            p.copy_(torch.from_numpy(gguf.quants.dequantize(raw, t).astype(np.float32).reshape(tuple(p.shape))))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    with torch.no_grad():
        model.encoder.embed_tokens.weight.copy_(model.shared.weight)
        ids = torch.tensor([[5, 700, 33, 4, 1]])
        padded = torch.nn.functional.pad(ids, (0, 512 - ids.shape[1]))
        mask = (torch.arange(512) < ids.shape[1]).long()[None]
        y = model(padded, mask).last_hidden_state[0, :ids.shape[1]].flatten().clone()
    return {"text.ids": ids[0].to(torch.int32), "text.out": y}


# A scaled fp8 file as repackagers write it, and the same values from torch.
def write_fp8():
    out, file = {}, {"scaled_fp8": torch.empty(0, dtype=torch.float8_e4m3fn)}
    all8 = torch.arange(256, dtype=torch.uint8).reshape(4, 64)
    for name, dtype, scale in (("plain", torch.float8_e4m3fn, None), ("scaled", torch.float8_e4m3fn, 0.0123),
                               ("e5m2", torch.float8_e5m2, 3.5), ("bf16scale", torch.float8_e4m3fn, 0.3)):
        w = all8.view(dtype)
        file[f"{name}.weight"] = w.clone()
        x = w.to(torch.float32)
        if scale:
            s = torch.tensor(scale, dtype=torch.bfloat16 if name == "bf16scale" else torch.float32)
            file[f"{name}.weight_scale" if name == "e5m2" else f"{name}.scale_weight"] = s
            file[f"{name}.scale_input"] = torch.tensor(0.5)
            x = x * s.float()
        out[f"fp8.{name}"] = x
    file["comfy.weight"] = file["plain.weight"].clone()
    file["comfy.weight_scale"] = torch.tensor([2.0])
    file["comfy.comfy_quant"] = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    out["fp8.comfy"] = file["plain.weight"].float() * 2
    rows = torch.tensor([0.5, 1.0, 0.25, 3.0])
    file["int8.weight"] = all8.view(torch.int8).clone()
    file["int8.weight_scale"] = rows[:, None].clone()
    out["fp8.int8"] = file["int8.weight"].float() * rows[:, None]
    file["bias.bias"] = torch.ones(3)
    save_file(file, DATA / "gguf_fp8.safetensors")
    return out


def main():
    torch.set_num_threads(1)
    save_file({**write_types(), **write_text(), **write_fp8()}, DATA / "gguf.safetensors")


if __name__ == "__main__":
    main()
