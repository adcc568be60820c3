# Muon: the momentum of a matrix with its singular values made equal, for the matrices and convolutions of a network.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. A convolution is the matrix of its
# output channels by all that they see. Everything else (norms, biases, tables, embeddings) is AdamW's.
import torch


def orthogonal(m, steps=5):
    """m [.., A, B] with its singular values between about 0.7 and 1.2, by Newton and Schulz' iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    turned = m.shape[-2] > m.shape[-1]
    x = m.mT if turned else m
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        y = x @ x.mT
        x = a * x + (b * y + c * (y @ y)) @ x
    return x.mT if turned else x


class Muon(torch.optim.Optimizer):
    """Groups with `muon` true hold matrices or convolutions, whose rate is relative to the weights' own scale (0.2 of
    a step of root mean square 1, as AdamW makes it); the others are AdamW's."""

    def __init__(self, groups, lr=1e-3, momentum=0.95, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0):
        super().__init__(groups, dict(lr=lr, momentum=momentum, betas=betas, eps=eps, weight_decay=weight_decay,
                                      muon=False))

    @torch.no_grad()
    def step(self, closure=None):
        for g in self.param_groups:
            params = [p for p in g["params"] if p.grad is not None]
            (self.turn if g["muon"] else self.adam)(g, params)

    def turn(self, g, params):
        alike = {}
        for p in params:
            s = self.state[p]
            if not s:
                s["momentum"] = torch.zeros_like(p)
            s["momentum"].lerp_(p.grad, 1 - g["momentum"])
            m = p.grad.lerp(s["momentum"], g["momentum"]).reshape(len(p), -1)
            alike.setdefault(m.shape, []).append((p, m))
        for shape, found in alike.items():          # matrices of one shape in one batch
            u = orthogonal(torch.stack([m for _, m in found])) * (0.2 * max(shape) ** 0.5)
            for (p, _), d in zip(found, u):
                p.mul_(1 - g["lr"] * g["weight_decay"]).add_(d.view(p.shape), alpha=-g["lr"])

    def adam(self, g, params):
        b1, b2 = g["betas"]
        for p in params:
            s = self.state[p]
            if not s:
                s.update(step=torch.zeros(()), exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
            s["step"] += 1
            n = float(s["step"])
            s["exp_avg"].lerp_(p.grad, 1 - b1)
            s["exp_avg_sq"].lerp_(p.grad * p.grad, 1 - b2)
            rate = g["lr"] * (1 - b2 ** n) ** 0.5 / (1 - b1 ** n)
            p.mul_(1 - g["lr"] * g["weight_decay"]).addcdiv_(s["exp_avg"], s["exp_avg_sq"].sqrt() + g["eps"],
                                                             value=-rate)


def groups(named, decay=0.01):
    """Parameters by name in Muon's groups: matrices and convolutions that are no embeddings, the rest."""
    turned, rest = [], []
    for k, p in named.items():
        whole = p.ndim >= 2 and min(len(p), p[0].numel()) >= 8
        other = any(w in k for w in ("scale_shift", "shared", "embed", "relative_attention_bias", "gamma", "proj_out"))
        (turned if whole and not other else rest).append(p)
    return [{"params": turned, "muon": True, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]
