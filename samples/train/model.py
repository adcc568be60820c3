# The three networks of the small model in torch, under diffusers' parameter names and from diffusers' configs.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Written for training: the VAE runs over a whole clip at once instead of chunk by chunk through caches, and the
# transformer takes one timestep per latent frame and a short text whose padding to 512 zero tokens is one more token
# with a weight. Both are the same functions as diffusers' AutoencoderKLWan and WanTransformer3DModel: check_model.py
# compares them. The text encoder is transformers' own UMT5EncoderModel.
#
# Letters: B clips, C channels, T frames, F latent frames, H, W; N tokens, D model width, L text tokens.
import json
import math
import os
import shutil

import torch
import torch.nn as nn
import torch.nn.functional as F

TEXT_LEN = 512


# -- VAE: causal, 8x8 in space, 4 in time after the first frame ---------------------------------------------------

STACKED = {"on": False}     # train.py sets what is faster on its device


class CausalConv3d(nn.Conv3d):
    """A convolution that sees no later frame: zeros stand in front of the first. Stacked, it is one of pictures, each
    with those before it as further channels: some versions of cuDNN are slow, or wrong, at bf16 in three dimensions."""

    def __init__(self, cin, cout, kernel, stride=1, pad=(0, 0, 0)):
        super().__init__(cin, cout, kernel, stride=stride, padding=(0, pad[1], pad[2]))
        self.lead = 2 * pad[0]

    def forward(self, x):
        if self.lead:
            x = F.pad(x, (0, 0, 0, 0, self.lead, 0))
        return self.stacked(x) if STACKED["on"] else super().forward(x)

    def stacked(self, x):
        taps, step = self.kernel_size[0], self.stride[0]
        b, c, t, h, w = x.shape
        n = (t - taps) // step + 1
        x = torch.cat([x[:, :, k:k + (n - 1) * step + 1:step] for k in range(taps)], 1) if taps > 1 else x
        x = x.transpose(1, 2).reshape(b * n, taps * c, h, w)            # no copy in channels-last
        weight = self.weight.transpose(1, 2).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        y = F.conv2d(x, weight, self.bias, self.stride[1:], self.padding[1:])
        return y.view(b, n, *y.shape[1:]).transpose(1, 2)


def conv3(cin, cout):
    return CausalConv3d(cin, cout, 3, pad=(1, 1, 1))


def normalise(x, gamma):
    """RMS norm over the channels; diffusers' bound on the norm, 1e-12, is that of its square here."""
    y = x.float()
    return (y * torch.rsqrt((y * y).mean(1, keepdim=True) + 1e-12) * gamma).to(x.dtype)


def normalise_silu(x, gamma):
    return F.silu(normalise(x, gamma))


FUSED = {"silu": normalise_silu}        # train.py puts a compiled one here


class RmsNorm(nn.Module):
    def __init__(self, dim, trailing):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim, *([1] * trailing)))

    def forward(self, x):
        return normalise(x, self.gamma)

    def silu(self, x):
        return FUSED["silu"](x, self.gamma)


class ResBlock(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.norm1, self.conv1 = RmsNorm(cin, 3), conv3(cin, cout)
        self.norm2, self.conv2 = RmsNorm(cout, 3), conv3(cout, cout)
        self.conv_shortcut = CausalConv3d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x):
        h = self.conv1(self.norm1.silu(x))
        return self.conv_shortcut(x) + self.conv2(self.norm2.silu(h))


def by_frame(f, x):
    """A function of pictures over every frame of [B, C, T, H, W]."""
    b, c, t, h, w = x.shape
    y = f(x.transpose(1, 2).reshape(b * t, c, h, w))
    return y.view(b, t, *y.shape[1:]).transpose(1, 2)


class Attention2d(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm, self.to_qkv, self.proj = RmsNorm(dim, 2), nn.Conv2d(dim, 3 * dim, 1), nn.Conv2d(dim, dim, 1)

    def frame(self, x):
        q, k, v = self.to_qkv(self.norm(x)).flatten(2).transpose(1, 2)[:, None].chunk(3, -1)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y[:, 0].transpose(1, 2).reshape(x.shape))

    def forward(self, x):
        return x + by_frame(self.frame, x)


class MidBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.attentions = nn.ModuleList([Attention2d(dim)])
        self.resnets = nn.ModuleList([ResBlock(dim, dim), ResBlock(dim, dim)])

    def forward(self, x):
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Halve(nn.Module):
    """Half the size; with `time` also half the frames, the first of which passes as it is."""

    def __init__(self, dim, time):
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(dim, dim, 3, stride=2))
        self.time_conv = CausalConv3d(dim, dim, (3, 1, 1), stride=(2, 1, 1)) if time else None

    def forward(self, x):
        x = by_frame(self.resample, x)
        if self.time_conv is None or x.shape[2] == 1:
            return x
        return torch.cat([x[:, :, :1], self.time_conv(x)], 2)


class Upsample(nn.Module):
    def forward(self, x):
        return F.interpolate(x, scale_factor=2.0, mode="nearest-exact")


class Double(nn.Module):
    """Twice the size; with `time` twice the frames of all but the first, which they never see."""

    def __init__(self, dim, time):
        super().__init__()
        self.resample = nn.Sequential(Upsample(), nn.Conv2d(dim, dim // 2, 3, padding=1))
        self.time_conv = CausalConv3d(dim, 2 * dim, (3, 1, 1), pad=(1, 0, 0)) if time else None

    def forward(self, x):
        if self.time_conv is not None and x.shape[2] > 1:
            b, c, t, h, w = x.shape
            y = self.time_conv(x[:, :, 1:]).view(b, 2, c, t - 1, h, w)
            y = y.permute(0, 2, 3, 1, 4, 5).reshape(b, c, 2 * (t - 1), h, w)
            x = torch.cat([x[:, :, :1], y], 2)
        return by_frame(self.resample, x)


class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        mult, down = c["dim_mult"], c["temperal_downsample"]
        dim = c["base_dim"]
        self.conv_in = conv3(c.get("in_channels", 3), dim)
        blocks = []
        for i, m in enumerate(mult):
            for _ in range(c["num_res_blocks"]):
                blocks.append(ResBlock(dim, c["base_dim"] * m))
                dim = c["base_dim"] * m
            if i + 1 < len(mult):
                blocks.append(Halve(dim, down[i]))
        self.down_blocks = nn.ModuleList(blocks)
        self.mid_block, self.norm_out, self.conv_out = MidBlock(dim), RmsNorm(dim, 3), conv3(dim, 2 * c["z_dim"])

    def forward(self, x):
        x = self.conv_in(x)
        for b in self.down_blocks:
            x = b(x)
        return self.conv_out(self.norm_out.silu(self.mid_block(x)))


class UpBlock(nn.Module):
    def __init__(self, cin, cout, n, double):
        super().__init__()
        self.resnets = nn.ModuleList([ResBlock(cin if i == 0 else cout, cout) for i in range(n)])
        self.upsamplers = nn.ModuleList([double]) if double else None

    def forward(self, x):
        for r in self.resnets:
            x = r(x)
        return self.upsamplers[0](x) if self.upsamplers else x


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        mult, up = c["dim_mult"][::-1], c["temperal_downsample"][::-1]
        base = c.get("decoder_base_dim") or c["base_dim"]
        dim = base * mult[0]
        self.conv_in, self.mid_block = conv3(c["z_dim"], dim), MidBlock(dim)
        blocks = []
        for i, m in enumerate(mult):
            out = base * m
            last = i + 1 == len(mult)
            blocks.append(UpBlock(dim, out, c["num_res_blocks"] + 1, None if last else Double(out, up[i])))
            dim = out // 2
        self.up_blocks = nn.ModuleList(blocks)
        self.norm_out, self.conv_out = RmsNorm(out, 3), conv3(out, c.get("out_channels", 3))

    def forward(self, z):
        x = self.mid_block(self.conv_in(z))
        for b in self.up_blocks:
            x = b(x)
        return self.conv_out(self.norm_out.silu(x))


def to_patches(x, p):
    """Squares of p x p pixels as channels, in diffusers' order: colour, column, row."""
    b, c, t, h, w = x.shape
    x = x.view(b, c, t, h // p, p, w // p, p).permute(0, 1, 6, 4, 2, 3, 5)
    return x.reshape(b, c * p * p, t, h // p, w // p)


def from_patches(x, p):
    b, c, t, h, w = x.shape
    x = x.view(b, c // (p * p), p, p, t, h, w).permute(0, 1, 4, 5, 3, 6, 2)
    return x.reshape(b, c // (p * p), t, h * p, w * p)


class Vae(nn.Module):
    """[B, 3, T, H, W] in -1..1 to latents [B, z, F, H/8, W/8] and back; T = 4 (F - 1) + 1."""

    def __init__(self, c):
        super().__init__()
        self.config = c
        z, self.patch = c["z_dim"], c.get("patch_size") or 1
        self.encoder, self.decoder = Encoder(c), Decoder(c)
        self.quant_conv, self.post_quant_conv = CausalConv3d(2 * z, 2 * z, 1), CausalConv3d(z, z, 1)

    def start(self):
        """Initial weights for training: variance kept by every convolution, residual branches small."""
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(m.weight, nonlinearity="linear")
                nn.init.zeros_(m.bias)
        with torch.no_grad():
            for m in self.modules():
                if isinstance(m, ResBlock):
                    m.conv2.weight.mul_(0.2)
            self.decoder.conv_out.weight.mul_(0.3)
            z = self.config["z_dim"]                # little noise at first, so that there is something to learn from
            self.quant_conv.weight[z:].mul_(0.1)
            self.quant_conv.bias[z:].fill_(-6.0)

    def encode(self, x):
        x = to_patches(x, self.patch) if self.patch > 1 else x
        mean, logvar = self.quant_conv(self.encoder(x)).float().chunk(2, 1)
        return mean, logvar.clamp(-30, 20)

    def decode(self, z):
        x = self.decoder(self.post_quant_conv(z))
        return from_patches(x, self.patch) if self.patch > 1 else x


# -- transformer ----------------------------------------------------------------------------------------------------

def rope_tables(head_dim, places, h, w, device):
    """cos and sin [N, head_dim / 2] for h x w tokens of each of the latent frames that stand at `places`."""
    side, f = 2 * (head_dim // 6), len(places)
    angles = []
    for axis, (dim, at) in enumerate(((head_dim - 2 * side, places), (side, range(h)), (side, range(w)))):
        freq = 1.0 / (10000.0 ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim))
        shape = [1, 1, 1, dim // 2]
        shape[axis] = len(at)
        a = torch.outer(torch.tensor(list(at), dtype=torch.float64), freq).view(shape)
        angles.append(a.expand(f, h, w, dim // 2))
    a = torch.cat(angles, -1).reshape(f * h * w, -1)
    return a.cos().float().to(device), a.sin().float().to(device)


def rotate(x, cos, sin):
    """x [B, heads, N, head_dim], neighbours in pairs."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


class WidthNorm(nn.Module):
    """RMS norm over the whole width, in f32."""

    def __init__(self, dim, eps):
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(dim))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight


def attend(q, k, v, bias):
    if q.is_cuda or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    # torch's fused kernel is slower in bf16 than in f32 on a CPU; products by oneDNN are 2.3 times as fast as it
    with torch.autocast("cpu", enabled=False):
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return (scores if bias is None else scores + bias).softmax(-1) @ v


class Attention(nn.Module):
    def __init__(self, dim, heads, eps):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])
        self.norm_q, self.norm_k = WidthNorm(dim, eps), WidthNorm(dim, eps)

    def forward(self, x, ctx, rope=None, bias=None):
        q, k, v = self.norm_q(self.to_q(x)), self.norm_k(self.to_k(ctx)), self.to_v(ctx)
        q, k, v = (a.unflatten(2, (self.heads, -1)).transpose(1, 2) for a in (q, k, v))
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        q, k, bias = q.to(v.dtype), k.to(v.dtype), None if bias is None else bias.to(v.dtype)
        y = attend(q, k, v, bias)
        return self.to_out[0](y.transpose(1, 2).flatten(2))


class Gelu(nn.Module):
    def __init__(self, dim, inner):
        super().__init__()
        self.proj = nn.Linear(dim, inner)

    def forward(self, x):
        return F.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    def __init__(self, dim, inner):
        super().__init__()
        self.net = nn.ModuleList([Gelu(dim, inner), nn.Identity(), nn.Linear(inner, dim)])

    def forward(self, x):
        return self.net[2](self.net[0](x))


class Block(nn.Module):
    def __init__(self, dim, heads, ffn, eps):
        super().__init__()
        self.eps = eps
        self.attn1, self.attn2 = Attention(dim, heads, eps), Attention(dim, heads, eps)
        self.norm2, self.ffn = nn.LayerNorm(dim, eps), FeedForward(dim, ffn)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim ** 0.5)

    def forward(self, x, ctx, mod, rope, bias):
        """x [B, F, HW, D] f32; mod [B, F, 6, D] f32: six modulations per latent frame."""
        m = (self.scale_shift_table + mod.float()).unsqueeze(3)         # [B, F, 6, 1, D]

        def normed(scale, shift):
            return (F.layer_norm(x, x.shape[-1:], eps=self.eps) * (1 + m[:, :, scale]) + m[:, :, shift]).flatten(1, 2)

        y = normed(1, 0)
        x = x + self.attn1(y, y, rope).view(x.shape).float() * m[:, :, 2]
        x = x + self.attn2(self.norm2(x).flatten(1, 2), ctx, None, bias).view(x.shape).float()
        return x + self.ffn(normed(4, 3)).view(x.shape).float() * m[:, :, 5]


class TwoLayers(nn.Module):
    def __init__(self, cin, cout):
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(cin, cout), nn.Linear(cout, cout)

    def forward(self, x, act):
        return self.linear_2(act(self.linear_1(x)))


class Conditions(nn.Module):
    def __init__(self, dim, freq, text):
        super().__init__()
        self.time_embedder, self.time_proj = TwoLayers(freq, dim), nn.Linear(dim, 6 * dim)
        self.text_embedder = TwoLayers(text, dim)


class Dit(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        heads, dim = c["num_attention_heads"], c["num_attention_heads"] * c["attention_head_dim"]
        self.patch_embedding = nn.Conv3d(c["in_channels"], dim, c["patch_size"], c["patch_size"])
        self.condition_embedder = Conditions(dim, c["freq_dim"], c["text_dim"])
        self.blocks = nn.ModuleList([Block(dim, heads, c["ffn_dim"], c["eps"]) for _ in range(c["num_layers"])])
        self.proj_out = nn.Linear(dim, c["out_channels"] * math.prod(c["patch_size"]))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim ** 0.5)
        self.tables = {}
        self.run_block = Block.forward      # or a compiled one
        self.padding = 1.0                  # how much of the weight that the 512 tokens' padding has; less only while
                                            # training begins, when it would drown the few words
        self.tap, self.tapped = 0, None     # the block whose output forward() leaves in `tapped`; 0 for none

    def start(self):
        """Initial weights for training: no velocity at first, and modulations near their tables."""
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)
        nn.init.normal_(self.condition_embedder.time_proj.weight, std=0.02)
        nn.init.zeros_(self.proj_out.weight)

    def forward(self, x, t, text, places=None):
        """x [B, C, F, H, W]; t [B, F] in 0..1000; text [B, L, text_dim], zero behind each caption's end; places: where
        in the clip the F latent frames stand, by default at its start."""
        b, _, f, h, w = x.shape
        h, w = h // 2, w // 2
        ce = self.condition_embedder
        half = self.config["freq_dim"] // 2
        freq = torch.exp(-math.log(10000.0) * torch.arange(half, device=x.device, dtype=torch.float32) / half)
        a = t.float()[..., None] * freq
        temb = ce.time_embedder(torch.cat([a.cos(), a.sin()], -1), F.silu)
        mod = ce.time_proj(F.silu(temb)).unflatten(-1, (6, -1))
        bias, length = None, text.shape[1]
        if length < TEXT_LEN:               # the rest of the 512 are zeros, all alike: one token with their weight
            text = F.pad(text, (0, 0, 0, 1))
            bias = torch.zeros(1, 1, 1, length + 1, device=x.device)
            bias[..., -1] = math.log(max(1.0, self.padding * (TEXT_LEN - length)))
        ctx = ce.text_embedder(text, lambda v: F.gelu(v, approximate="tanh"))
        key = (tuple(places or range(f)), h, w, str(x.device))
        if key not in self.tables:
            self.tables[key] = rope_tables(self.config["attention_head_dim"], key[0], h, w, x.device)
        if bias is not None:
            bias = bias.expand(b, 1, f * h * w, -1)     # the fused attention kernels want its full shape
        x = self.patch_embedding(x).flatten(3).permute(0, 2, 3, 1).float()         # [B, F, HW, D]
        for i, block in enumerate(self.blocks):
            x = self.run_block(block, x, ctx, mod, self.tables[key], bias)
            if i + 1 == self.tap:
                self.tapped = x
        m = (self.scale_shift_table + temb.float().unsqueeze(2)).unsqueeze(3)
        x = self.proj_out(F.layer_norm(x, x.shape[-1:], eps=self.config["eps"]) * (1 + m[:, :, 1]) + m[:, :, 0])
        x = x.view(b, f, h, w, 2, 2, -1).permute(0, 6, 1, 2, 4, 3, 5)
        return x.reshape(b, -1, f, 2 * h, 2 * w)


# -- folders ----------------------------------------------------------------------------------------------------------

def config(root, part):
    with open(os.path.join(root, part, "config.json"), encoding="utf-8") as f:
        return json.load(f)


def make_text_encoder(c):
    from transformers import UMT5Config, UMT5EncoderModel
    return UMT5EncoderModel(UMT5Config(**{k: v for k, v in c.items() if k != "architectures"}))


def encode_text(encoder, ids, length=0):
    """Lists of ids to [B, L, D], zero behind each list's end; L is `length` or the next multiple of 8."""
    longest = max(len(i) for i in ids)
    length = length if length >= longest else -(-longest // 8) * 8
    dev = next(encoder.parameters()).device
    mask = torch.tensor([[1] * len(i) + [0] * (length - len(i)) for i in ids], device=dev)
    pad = torch.tensor([i + [0] * (length - len(i)) for i in ids], device=dev)
    return encoder(input_ids=pad, attention_mask=mask).last_hidden_state * mask[..., None]


def state_of(module):
    """The tensors that a release holds: tied ones once, under the name that save_pretrained writes."""
    return {k: v for k, v in module.state_dict().items() if k != "encoder.embed_tokens.weight"}


def load_state(module, tensors):
    left = module.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    missing = [k for k in left.missing_keys if k != "encoder.embed_tokens.weight"]
    if missing or left.unexpected_keys:
        raise SystemExit(f"the weights do not fit: missing {missing[:3]}, unexpected {left.unexpected_keys[:3]}")


def released(folder, part):
    """The tensors of one part of a folder that export() wrote."""
    from safetensors.torch import load_file
    return load_file(os.path.join(folder, part, ("model" if part == "text_encoder" else "diffusion_pytorch_model")
                                  + ".safetensors"))


def export(root, out, vae, dit, text, stats, tokenizer, dtype=torch.float16):
    """Writes the folder that diffusers and libkling open."""
    from safetensors.torch import save_file
    shutil.copytree(root, out, dirs_exist_ok=True)
    name = "diffusion_pytorch_model"
    for part, tensors, name in (("vae", vae, name), ("transformer", dit, name), ("text_encoder", text, "model")):
        save_file({k: v.to(dtype).contiguous().cpu() for k, v in tensors.items()},
                  os.path.join(out, part, name + ".safetensors"), metadata={"format": "pt"})
    c = dict(config(root, "vae"), **stats)
    with open(os.path.join(out, "vae", "config.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(c, indent=2) + "\n")
    os.makedirs(os.path.join(out, "tokenizer"), exist_ok=True)
    for name in ("spiece.model", "tokenizer.json", "tokenizer_config.json"):
        if os.path.exists(os.path.join(tokenizer, name)):
            shutil.copy(os.path.join(tokenizer, name), os.path.join(out, "tokenizer", name))
