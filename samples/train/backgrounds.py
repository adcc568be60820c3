# What the backgrounds look like: noise and colours at every point of the world, in torch.
# Copyright (c) 2026 the kling for FFmpeg developers
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Letters: N clips, T frames, H and W pixels. x comes as [N, T, 1, W], y as [N, T, H, 1], so that only what needs both
# is calculated for every pixel; under a still camera T is 1 in both.
import torch
import torch.nn.functional as F


# -- small tools on [N, T, H, W] ------------------------------------------------------------------------------------

def smooth(lo, hi, x):
    t = (x - lo).mul_(1 / (hi - lo)).clamp_(0, 1)
    return (t * -2).add_(3).mul_(t).mul_(t)


def mix(a, b, k):
    return torch.lerp(a, b, k)


def rgb(c, like):
    return torch.tensor(c, dtype=like.dtype, device=like.device).view(1, 3, 1, 1, 1)


def noise(table, u, v):
    """Smooth value noise, period 32, from a table [N, 32, 32]; u, v [N, T, H, W]."""
    n, t, h, w = torch.broadcast_shapes(u.shape, v.shape)
    tab = F.pad(table[:, None], (0, 1, 0, 1), mode="circular")
    g = []
    for a in (u, v):
        a = torch.remainder(a, 32.0)
        i = torch.floor(a)
        f = a - i
        g.append(((i + f * f * (3 - 2 * f)) / 16.0 - 1.0).expand(n, t, h, w))
    grid = torch.stack(g, -1).view(n, t * h, w, 2)
    return F.grid_sample(tab, grid, mode="bilinear", align_corners=True).view(n, t, h, w)


def cells(table, u, v, shift):
    """One random number of the table per unit cell of (u, v); shift picks another one of the same cell."""
    n = u.shape[0]
    i = torch.remainder(torch.floor(u) * 5 + shift * 11, 32) * 32
    i = i + torch.remainder(torch.floor(v) * 3 + shift * 7, 32)
    return table.view(n, -1).gather(1, i.long().view(n, -1)).view(i.shape)


def dots(table, x, y, pitch, radius, share):
    """Soft dots, at most one per cell, with their brightness; radius in world units."""
    u, v = x / pitch, y / pitch
    ou, ov = 0.25 + 0.5 * cells(table, u, v, 1), 0.25 + 0.5 * cells(table, u, v, 2)
    d2 = ((u - torch.floor(u) - ou) ** 2 + (v - torch.floor(v) - ov) ** 2) * pitch * pitch
    on = (cells(table, u, v, 3) < share).to(x.dtype)
    return on * torch.exp(-d2 / (radius * radius)) * (0.45 + 0.55 * cells(table, u, v, 4))


# -- backgrounds: colour [N, 3, T, H, W] at world (x, y); p [N, 8] uniform per clip; t [T] seconds ---------------

def puffs(x, y, t, p, k, thick):
    """How much the k-th cloud leaves to see: five discs in a row over a flat base, `thick` at most."""
    cx, cy = p[..., k] * 2.6 - 1.3 + 0.05 * t, 0.30 + 0.55 * p[..., (k + 3) % 8]
    size, out = 0.16 + 0.08 * p[..., (k + 5) % 8], x.new_zeros(1)
    u, v = (x - cx) / size, (y - cy) / size
    for dx, dy, r in ((-1.25, 0.0, 0.55), (-0.55, 0.22, 0.8), (0.2, 0.38, 0.95), (0.85, 0.12, 0.75), (1.4, 0.0, 0.5)):
        # exp(-a - b) as a product; the bound keeps it from denormals, which are slow
        ex, ey = (torch.exp((d * d * (-1.5 / (r * r))).clamp(min=-40)) for d in (u - dx, (v - dy) / 0.8))
        out = torch.addcmul(out, ex, ey)
    return 1 - smooth(0.35, 0.8, out) * (thick * smooth(-0.6, 0.0, v + 0.2))


def sky_colours(y, lo, hi, low, high):
    return mix(rgb(low, y), rgb(high, y), smooth(lo, hi, y)[:, None])


def sky(x, y, t, p, table, plain):
    c = sky_colours(y, -1.1, 1.1, (0.74, 0.89, 0.99), (0.27, 0.58, 0.94))
    clear = puffs(x, y, t, p, 0, 0.9) * puffs(x, y, t, p, 1, 0.9) * puffs(x, y - 1.05, t, p, 2, 0.9)
    return mix(rgb((0.985, 0.99, 1.0), y), c, clear[:, None])


def night(x, y, t, p, table, plain):
    c = sky_colours(y, -1.0, 1.2, (0.24, 0.27, 0.55), (0.09, 0.11, 0.32))
    c = c + rgb((0.95, 0.95, 0.85), y) * dots(table, x, y, 0.27, 0.020, 0.75)[:, None]
    mx, my = p[..., 0] * 1.1 - 0.55, 0.52 + 0.25 * p[..., 1]
    d = torch.sqrt((x - mx) ** 2 + (y - my) ** 2)
    cut = torch.sqrt((x - mx - 0.085) ** 2 + (y - my - 0.04) ** 2)
    moon = smooth(0.012, -0.012, d - 0.16) * smooth(-0.012, 0.012, cut - 0.145)
    c = c + rgb((0.10, 0.10, 0.13), y) * torch.exp(-(d / 0.33) ** 2)[:, None]
    c = mix(c, rgb((0.98, 0.95, 0.78), y), moon[:, None])
    hill = -0.80 + 0.10 * torch.sin(2.1 * x + 6.28 * p[..., 2]) + 0.05 * torch.sin(4.7 * x + 6.28 * p[..., 3])
    return mix(c, rgb((0.11, 0.15, 0.28), y), smooth(0.012, -0.012, y - hill)[:, None])


def grass(x, y, t, p, table, plain):
    c = sky_colours(y, 0.0, 1.2, (0.82, 0.93, 0.99), (0.42, 0.70, 0.96))
    c = mix(rgb((0.99, 0.99, 1.0), y), c, puffs(x, y - 0.12, t, p, 0, 0.8)[:, None])
    horizon = 0.10 + 0.05 * torch.sin(1.3 * x + 6.28 * p[..., 4])
    far = horizon + 0.10 + 0.07 * torch.sin(2.0 * x + 6.28 * p[..., 2])
    c = mix(c, rgb((0.50, 0.74, 0.48), y), smooth(0.012, -0.012, y - far)[:, None])
    depth = (horizon - y).clamp(0, 2)
    g = mix(rgb((0.52, 0.80, 0.31), y), rgb((0.24, 0.56, 0.17), y), smooth(0.0, 1.1, depth)[:, None])
    blades = noise(table, x * 9.0, y * 4.0) - 0.5
    tufts = noise(table, x * 2.0 + 7, y * 5.0) - 0.5
    g = g * (1 + (0.20 * blades + 0.16 * tufts)[:, None])
    flower = dots(table, x, y * 1.2, 0.34, 0.026, 0.30)
    pink = smooth(0.4, 0.6, cells(table, x / 0.34, y / 0.28, 5))
    tint = mix(rgb((1.0, 0.97, 0.85), y), rgb((1.0, 0.75, 0.85), y), pink[:, None])
    g = mix(g, tint, flower[:, None])
    return mix(c, g, smooth(0.012, -0.012, y - horizon)[:, None])


def sea(x, y, t, p, table, plain):
    c = sky_colours(y, 0.05, 1.2, (0.99, 0.90, 0.78), (0.45, 0.73, 0.95))
    sun = torch.sqrt((x - 1.2 * p[..., 0] + 0.6) ** 2 + (y - 0.62) ** 2)
    c = mix(c, rgb((1.0, 0.98, 0.86), y), smooth(0.155, 0.13, sun)[:, None])
    clear = puffs(x, y - 0.10, t, p, 1, 0.85) * puffs(x, y - 0.10, t, p, 4, 0.85)
    c = mix(rgb((1.0, 0.985, 0.97), y), c, clear[:, None])
    horizon = 0.12
    for k, wide, high in ((2, 0.34, 0.15), (6, 0.20, 0.09)):        # islands: a sea alone hardly shows a moving camera
        far = x - (2.2 * p[..., k] - 1.1)
        land = horizon + (high + 0.02 * torch.sin(17 * far)) * torch.exp(-(far / wide) ** 2)
        c = mix(c, rgb((0.36, 0.47, 0.46), y), smooth(0.012, -0.012, y - land + 0.02)[:, None])
    depth = (horizon - y).clamp(0, 2)
    w = mix(rgb((0.40, 0.74, 0.83), y), rgb((0.04, 0.30, 0.55), y), smooth(0.0, 1.0, depth)[:, None])
    k = 26.0 / (0.35 + depth)
    swell = torch.sin(k * depth * 0.9 + 1.6 * torch.sin(1.7 * x + p[..., 1] * 6) + 0.8 * torch.sin(4.1 * x) - 2.6 * t)
    glint = smooth(0.55, 0.95, noise(table, x * 3.0 + 0.5 * t, depth * 14 - 0.7 * t)) * smooth(0.0, 0.1, depth)
    w = w + (swell * (0.045 * smooth(0.0, 0.12, depth)) + 0.16 * glint)[:, None]
    return mix(c, w, smooth(0.010, -0.010, y - horizon)[:, None])


def table_top(x, y, t, p, table, plain):
    c = sky_colours(y, -0.2, 1.1, (0.80, 0.76, 0.68), (0.93, 0.90, 0.83))
    horizon = -0.08
    depth = (horizon - y).clamp(0, 2)
    v = 3.4 * torch.log(1 + 2.2 * depth)                      # planks grow towards the viewer
    i = torch.floor(v)
    f = v - i
    tone = cells(table, v * 0 + p[..., 2] * 9, v, 2)
    wood = mix(rgb((0.68, 0.45, 0.25), y), rgb((0.58, 0.36, 0.19), y), tone[:, None])
    grain = noise(table, x * 1.7 + 9.0 * i, v * 5.0) - 0.5
    fine = noise(table, x * 3.0 + 5.0 * i, v * 11.0) - 0.5
    wood = wood * (1 + (0.26 * grain + 0.10 * fine)[:, None])
    gap = smooth(0.10, 0.02, torch.minimum(f, 1 - f)) * smooth(0.03, 0.12, depth)
    wood = wood * (1 - 0.30 * gap[:, None]) * (1.08 - 0.20 * smooth(0.0, 1.0, depth))[:, None]
    edge = torch.exp(-((y - horizon) / 0.03) ** 2)
    c = c * (1 - 0.18 * torch.exp(-((y - horizon).clamp(min=0) / 0.10))[:, None])
    return mix(c, wood, smooth(0.010, -0.010, y - horizon)[:, None]) * (1 - 0.10 * edge[:, None])


def plain_wall(x, y, t, p, table, plain):
    shade = 1.03 - 0.10 * smooth(-0.15, -0.45, y) + 0.05 * smooth(-0.45, -1.2, y) - 0.05 * (x * x)
    return (plain[:, :, None, None, None] * shade[:, None]).clamp(0, 1)


PAINT = {"sky": sky, "night": night, "grass": grass, "sea": sea, "table": table_top, "plain": plain_wall}
