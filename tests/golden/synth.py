# Synthetic weights and inputs from a seed and a name: the numbers of tools/synth.h, in numpy.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
import math

import numpy as np

M64 = (1 << 64) - 1


def key(seed, name):
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & M64
    return h ^ ((seed * 0x9E3779B97F4A7C15) & M64)


def uniform(k, n):
    i = np.arange(1, n + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(k) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 8388608.0 - 1.0


def rule(name, shape):
    fan_in = math.prod(shape[1:])
    if name.endswith("bias"):
        return 0.0, 0.1
    if name.endswith("gamma") or ("norm" in name and len(shape) == 1):
        return 1.0, 0.25
    if name.endswith("scale_shift_table"):
        return 0.0, 0.3
    if name.endswith("pos_embed"):
        return 0.0, 0.5
    if "relative_attention_bias" in name or name == "shared.weight":
        return 0.0, 1.0
    return 0.0, math.sqrt(3.0 / fan_in)


def weight(seed, name, shape):
    """The f32 weight `name` of shape `shape`."""
    off, amp = rule(name, shape)
    return (off + amp * uniform(key(seed, name), math.prod(shape))).astype(np.float32).reshape(shape)


def inputs(seed, name, shape, amp=1.0):
    """An input array: amp * uniform, f32."""
    return (amp * uniform(key(seed, name), math.prod(shape))).astype(np.float32).reshape(shape)


def fill(module, seed):
    """Overwrites every parameter of a torch module by its state-dict name; returns the module.

    Of tied tensors (a text encoder's shared.weight and encoder.embed_tokens.weight) the first name counts,
    which is the one that save_pretrained writes."""
    import torch
    seen = set()
    with torch.no_grad():
        for name, p in module.state_dict().items():
            if p.is_floating_point() and p.data_ptr() not in seen:
                seen.add(p.data_ptr())
                p.copy_(torch.from_numpy(weight(seed, name, tuple(p.shape))))
    return module
