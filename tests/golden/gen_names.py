# Names and shapes of all tensors as save_pretrained() writes them, for two configurations of each part, and the
# renaming of original checkpoints as diffusers' single-file loader does it.
# Writes tests/golden/data/names.txt; see tests/unit/test_names.c.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import tempfile

from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers
from safetensors import safe_open
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

# the same as in tests/unit/test_names.c
TEXT = [dict(vocab_size=300, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
             relative_attention_num_buckets=32),
        dict(vocab_size=77, d_model=24, d_kv=10, d_ff=40, num_layers=3, num_heads=3,
             relative_attention_num_buckets=16)]
DIT = [dict(num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16, text_dim=32, freq_dim=256,
            ffn_dim=64, num_layers=2, cross_attn_norm=True),
       dict(num_attention_heads=3, attention_head_dim=20, in_channels=6, out_channels=5, text_dim=24, freq_dim=32,
            ffn_dim=77, num_layers=3, cross_attn_norm=False, patch_size=(1, 2, 1))]
VAE = [dict(base_dim=8, z_dim=16),
       dict(base_dim=6, z_dim=5, dim_mult=[1, 2, 3], num_res_blocks=1, temperal_downsample=[True, False],
            latents_mean=[0.0] * 5, latents_std=[1.0] * 5),
       dict(base_dim=8, decoder_base_dim=12, z_dim=48, latents_mean=[0.0] * 48, latents_std=[1.0] * 48,
            is_residual=True, patch_size=2, in_channels=12, out_channels=12)]


IMAGE = [dict(hidden_size=24, num_attention_heads=2, intermediate_size=40, num_hidden_layers=2, image_size=28,
              patch_size=14),
         dict(hidden_size=30, num_attention_heads=3, intermediate_size=31, num_hidden_layers=3, image_size=12,
              patch_size=3)]
# as DIT, but with an image encoder's rows, of two pictures and of any number
DIT_IMAGE = [dict(DIT[0], in_channels=36, image_dim=14, added_kv_proj_dim=24, pos_embed_seq_len=10),
             dict(DIT[1], image_dim=22, added_kv_proj_dim=60)]


def saved(model):
    """{name: shape} of what save_pretrained writes, in state_dict order."""
    with tempfile.TemporaryDirectory() as tmp:
        model.save_pretrained(tmp)
        file, = [f for f in os.listdir(tmp) if f.endswith(".safetensors")]
        with safe_open(os.path.join(tmp, file), "pt") as f:
            return {k: f.get_slice(k).get_shape() for k in f.keys()}


def section(out, title, shapes):
    out.write(f"[{title}]\n")
    for name in sorted(shapes):
        out.write(f"{name} {'x'.join(map(str, shapes[name]))}\n")


# The original release's names, written down from its modules; what they become is the converter's word.
def original_dit(layers):
    yield from ("head.modulation", "head.head.weight", "head.head.bias")
    for m in ("patch_embedding", "time_embedding.0", "time_embedding.2", "time_projection.1", "text_embedding.0",
              "text_embedding.2"):
        yield from (f"{m}.weight", f"{m}.bias")
    for i in range(layers):
        yield f"blocks.{i}.modulation"
        for a in ("self_attn", "cross_attn"):
            for p in "qkvo":
                yield from (f"blocks.{i}.{a}.{p}.weight", f"blocks.{i}.{a}.{p}.bias")
            yield from (f"blocks.{i}.{a}.norm_q.weight", f"blocks.{i}.{a}.norm_k.weight")
        for m in ("norm3", "ffn.0", "ffn.2"):
            yield from (f"blocks.{i}.{m}.weight", f"blocks.{i}.{m}.bias")


def conv(m):
    return [f"{m}.weight", f"{m}.bias"]


def resnet(m, shortcut=False):
    return [f"{m}.residual.0.gamma", f"{m}.residual.3.gamma"] + conv(f"{m}.residual.2") + conv(f"{m}.residual.6") \
        + (conv(f"{m}.shortcut") if shortcut else [])


def original_vae_ends():
    names = conv("conv1") + conv("conv2")
    for side in ("encoder", "decoder"):
        names += conv(f"{side}.conv1") + resnet(f"{side}.middle.0") + resnet(f"{side}.middle.2")
        names += [f"{side}.middle.1.norm.gamma"] + conv(f"{side}.middle.1.to_qkv") + conv(f"{side}.middle.1.proj")
        names += [f"{side}.head.0.gamma"] + conv(f"{side}.head.2")
    return names


def original_vae():
    names = original_vae_ends()
    for i in range(11):                 # per level two resnets and, but for the last, a downsampling
        m = f"encoder.downsamples.{i}"
        names += (conv(f"{m}.resample.1") + (conv(f"{m}.time_conv") if i > 2 else [])) if i % 3 == 2 \
            else resnet(m, i in (3, 6))
    for i in range(15):                 # per level three resnets and, but for the last, an upsampling
        m = f"decoder.upsamples.{i}"
        names += (conv(f"{m}.resample.1") + (conv(f"{m}.time_conv") if i < 8 else [])) if i % 4 == 3 \
            else resnet(m, i == 4)
    return names


# diffusers' converter in the package does not know the VAE of Wan 2.2, its scripts/convert_wan_to_diffusers.py
# (convert_vae_22) does. Both sides are written down from that and from the release's wan/modules/vae2_2.py; what they
# share with 2.1 is the package's converter's word.
def original_vae22():
    ends = original_vae_ends()
    yield from ((old, new) for new, old in convert_wan_vae_to_diffusers({n: n for n in ends}).items())
    for side, one, many, n in (("encoder", "downsample", "down_blocks", 2), ("decoder", "upsample", "up_blocks", 3)):
        for i in range(4):
            wider = i in (1, 2) if side == "encoder" else i in (2, 3)
            for j in range(n):
                for old in resnet(f"{side}.{one}s.{i}.{one}s.{j}", wider and j == 0):
                    new = old.replace(f"{side}.{one}s.{i}.{one}s.{j}", f"{side}.{many}.{i}.resnets.{j}")
                    for a, b in (("residual.0", "norm1"), ("residual.2", "conv1"), ("residual.3", "norm2"),
                                 ("residual.6", "conv2"), ("shortcut", "conv_shortcut")):
                        new = new.replace(f".{a}.", f".{b}.")
                    yield old, new
            if i == 3:
                continue
            for m in conv("resample.1") + (conv("time_conv") if (i > 0 if side == "encoder" else i < 2) else []):
                yield f"{side}.{one}s.{i}.{one}s.{n}.{m}", f"{side}.{many}.{i}.{one}r.{m}"


# transformers has no converter for the original text encoder: both sides are written down, from the two sources.
def original_text(layers):
    yield "token_embedding.weight", "shared.weight"
    yield "norm.weight", "encoder.final_layer_norm.weight"
    for i in range(layers):
        for a, b in (("norm1", "layer.0.layer_norm"), ("norm2", "layer.1.layer_norm"),
                     ("attn.q", "layer.0.SelfAttention.q"), ("attn.k", "layer.0.SelfAttention.k"),
                     ("attn.v", "layer.0.SelfAttention.v"), ("attn.o", "layer.0.SelfAttention.o"),
                     ("pos_embedding.embedding", "layer.0.SelfAttention.relative_attention_bias"),
                     ("ffn.gate.0", "layer.1.DenseReluDense.wi_0"), ("ffn.fc1", "layer.1.DenseReluDense.wi_1"),
                     ("ffn.fc2", "layer.1.DenseReluDense.wo")):
            yield f"blocks.{i}.{a}.weight", f"encoder.block.{i}.{b}.weight"


# What an image-to-video transformer has besides.
def original_dit_image(layers):
    for i in (0, 1, 3, 4):
        yield from (f"img_emb.proj.{i}.weight", f"img_emb.proj.{i}.bias")
    for i in range(layers):
        for p in ("k_img", "v_img"):
            yield from (f"blocks.{i}.cross_attn.{p}.weight", f"blocks.{i}.cross_attn.{p}.bias")
        yield f"blocks.{i}.cross_attn.norm_k_img.weight"


# The vision tower of the release's CLIP; q, k and v are one tensor there and stay one: qkv_proj.
def original_image(layers):
    yield "cls_embedding", "embeddings.class_embedding"
    yield "pos_embedding", "embeddings.position_embedding.weight"
    yield "patch_embedding.weight", "embeddings.patch_embedding.weight"
    for e in ("weight", "bias"):
        yield f"pre_norm.{e}", f"pre_layrnorm.{e}"
        yield f"post_norm.{e}", f"post_layernorm.{e}"
        for i in range(layers):
            for a, b in (("norm1", "layer_norm1"), ("norm2", "layer_norm2"), ("attn.to_qkv", "self_attn.qkv_proj"),
                         ("attn.proj", "self_attn.out_proj"), ("mlp.0", "mlp.fc1"), ("mlp.2", "mlp.fc2")):
                yield f"transformer.{i}.{a}.{e}", f"encoder.layers.{i}.{b}.{e}"


def converted(names, convert, want):
    """[(original, canonical)], checked to be all of the model's names."""
    out = convert({n: n for n in names})
    assert sorted(out) == sorted(want), set(out) ^ set(want)
    return [(old, new) for new, old in out.items()]


def pairs(out, title, rows):
    out.write(f"[{title}]\n")
    for old, new in sorted(rows):
        out.write(f"{old} {new}\n")


def main():
    path = os.path.join(os.path.dirname(__file__), "data", "names.txt")
    with open(path, "w") as out:
        for i in range(2):
            section(out, f"text {i}", saved(UMT5EncoderModel(UMT5Config(**TEXT[i]))))
            section(out, f"dit {i}", saved(WanTransformer3DModel(**DIT[i])))
            section(out, f"vae {i}", saved(AutoencoderKLWan(**VAE[i])))
        vae22 = saved(AutoencoderKLWan(**VAE[2]))
        section(out, "vae 2", vae22)
        for i in range(2):
            section(out, f"dit_image {i}", saved(WanTransformer3DModel(**DIT_IMAGE[i])))
            section(out, f"image {i}", saved(CLIPVisionModel(CLIPVisionConfig(**IMAGE[i]))))
        # diffusers' script for the release, not its loader, knows the positions: img_emb.emb_pos
        pos = "condition_embedder.image_embedder.pos_embed"
        rows = converted([*original_dit(2), *original_dit_image(2)], convert_wan_transformer_to_diffusers,
                         {k: v for k, v in saved(WanTransformer3DModel(**DIT_IMAGE[0])).items() if k != pos})
        pairs(out, "original dit image", [*rows, ("img_emb.emb_pos", pos)])
        pairs(out, "original image", original_image(2))
        here = {n for n in saved(CLIPVisionModel(CLIPVisionConfig(**IMAGE[0]))) if "_proj" not in n or "out_" in n}
        assert here == {n for _, n in original_image(2) if "qkv" not in n}
        dit, vae = saved(WanTransformer3DModel(**DIT[0])), saved(AutoencoderKLWan(**VAE[0]))
        text = saved(UMT5EncoderModel(UMT5Config(**TEXT[0])))
        pairs(out, "original dit", converted(original_dit(2), convert_wan_transformer_to_diffusers, dit))
        pairs(out, "original vae", converted(original_vae(), convert_wan_vae_to_diffusers, vae))
        pairs(out, "original vae 2.2", original_vae22())
        assert sorted(n for _, n in original_vae22()) == sorted(vae22)
        pairs(out, "original text", original_text(2))
        assert sorted(n for _, n in original_text(2)) == sorted(text)


if __name__ == "__main__":
    main()
