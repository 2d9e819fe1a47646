"""ADM's U-Net and classifier as functions of their checkpoints: their forward passes,
written anew over their keys.

They run the blocks in the order of their numbers, as guided-diffusion does, and share
no line with our networks.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

KEYS = Path(__file__).parent / "keys"
State = dict[str, Tensor]


def shrunk(file: str, by: int) -> State:
    """Random weights in float64 under every key of the published file, with so many
    times fewer channels.

    The classifier's pictures shrink to 64 × 64, which leaves 2 × 2 places for its pool.
    """
    g, state = torch.Generator().manual_seed(0), {}
    for key, shape in json.loads((KEYS / f"{file}.json").read_text()).items():
        small = [
            size // by if size % 128 == 0 else {65: 5}.get(size, size) for size in shape
        ]
        r = torch.randn(small, generator=g, dtype=torch.float64)
        is_scale = len(shape) == 1 and key.endswith("weight")
        state[key] = (
            1 + 0.1 * r
            if is_scale
            else 0.1 * r
            if len(shape) == 1
            else r / math.sqrt(r[0].numel())
        )
    return state


def norm(s: State, name: str, h: Tensor) -> Tensor:
    return F.group_norm(h, 8, s[f"{name}.weight"], s[f"{name}.bias"], eps=1e-5)


def conv(s: State, name: str, h: Tensor) -> Tensor:
    return F.conv2d(
        h,
        s[f"{name}.weight"],
        s[f"{name}.bias"],
        padding=s[f"{name}.weight"].shape[-1] // 2,
    )


def linear(s: State, name: str, h: Tensor) -> Tensor:
    return F.linear(h, s[f"{name}.weight"], s[f"{name}.bias"])


def embedded(s: State, t: Tensor, y: Tensor | None) -> Tensor:
    half = s["time_embed.0.weight"].shape[1] // 2
    angles = t.double()[:, None] * torch.exp(
        -math.log(10_000) * torch.arange(half, dtype=torch.float64) / half
    )
    emb = linear(
        s, "time_embed.0", torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)
    )
    emb = linear(s, "time_embed.2", F.silu(emb))
    return emb if y is None else emb + s["label_emb.weight"][y]


def res(s: State, name: str, h: Tensor, emb: Tensor, resize: str = "") -> Tensor:
    new = F.silu(norm(s, f"{name}.in_layers.0", h))
    if resize == "up":
        h, new = (F.interpolate(a, scale_factor=2, mode="nearest") for a in (h, new))
    if resize == "down":
        h, new = (F.avg_pool2d(a, kernel_size=2, stride=2) for a in (h, new))
    new = conv(s, f"{name}.in_layers.2", new)
    scale, shift = torch.chunk(
        linear(s, f"{name}.emb_layers.1", F.silu(emb))[..., None, None], 2, dim=1
    )
    new = norm(s, f"{name}.out_layers.0", new) * (1 + scale) + shift
    new = conv(s, f"{name}.out_layers.3", F.silu(new))
    return new + (
        conv(s, f"{name}.skip_connection", h)
        if f"{name}.skip_connection.weight" in s
        else h
    )


def attention(s: State, name: str, h: Tensor, head_dim: int) -> Tensor:
    """With q, k and v in the "legacy" order: each head's rows are cut in three."""
    B, C, H, W = h.shape
    places = norm(s, f"{name}.norm", h).reshape(B, C, -1)
    qkv = F.conv1d(places, s[f"{name}.qkv.weight"], s[f"{name}.qkv.bias"])
    q, k, v = qkv.reshape(B * C // head_dim, 3 * head_dim, H * W).split(head_dim, dim=1)
    weights = torch.softmax(
        torch.einsum("bct,bcs->bts", q, k) / math.sqrt(head_dim), dim=-1
    )
    found = torch.einsum("bts,bcs->bct", weights, v).reshape(B, C, H * W)
    return h + F.conv1d(
        found, s[f"{name}.proj_out.weight"], s[f"{name}.proj_out.bias"]
    ).reshape(B, C, H, W)


def encode(
    s: State, x: Tensor, emb: Tensor, levels: int, head_dim: int
) -> tuple[Tensor, list[Tensor]]:
    """Two blocks a level, then one that halves the size; after the last level the
    middle.
    """
    h = conv(s, "input_blocks.0.0", x)
    skips, last = [h], 3 * levels - 1
    for number in range(1, last + 1):
        h = res(
            s, f"input_blocks.{number}.0", h, emb, "down" if number % 3 == 0 else ""
        )
        if f"input_blocks.{number}.1.qkv.weight" in s:
            h = attention(s, f"input_blocks.{number}.1", h, head_dim)
        skips.append(h)
    h = attention(s, "middle_block.1", res(s, "middle_block.0", h, emb), head_dim)
    return res(s, "middle_block.2", h, emb), skips


def unet(
    s: State, x: Tensor, t: Tensor, y: Tensor | None, levels: int, head_dim: int
) -> Tensor:
    emb = embedded(s, t, y)
    h, skips = encode(s, x, emb, levels, head_dim)
    for number in range(3 * levels):
        h = res(s, f"output_blocks.{number}.0", torch.cat([h, skips.pop()], dim=1), emb)
        for part in (1, 2):
            if f"output_blocks.{number}.{part}.qkv.weight" in s:
                h = attention(s, f"output_blocks.{number}.{part}", h, head_dim)
            elif f"output_blocks.{number}.{part}.in_layers.0.weight" in s:
                h = res(s, f"output_blocks.{number}.{part}", h, emb, "up")
    return conv(s, "out.2", F.silu(norm(s, "out.0", h)))


def classifier(s: State, x: Tensor, t: Tensor, levels: int, head_dim: int) -> Tensor:
    """Its pool's q, k and v are in the other order: first q of all heads."""
    h, _ = encode(s, x, embedded(s, t, None), levels, head_dim)
    h = F.silu(norm(s, "out.0", h)).flatten(2)
    h = (
        torch.cat([h.mean(dim=-1, keepdim=True), h], dim=-1)
        + s["out.2.positional_embedding"]
    )
    B, C, L = h.shape
    qkv = F.conv1d(h, s["out.2.qkv_proj.weight"], s["out.2.qkv_proj.bias"])
    q, k, v = (
        part.reshape(B * C // head_dim, head_dim, L) for part in qkv.chunk(3, dim=1)
    )
    weights = torch.softmax(
        torch.einsum("bct,bcs->bts", q, k) / math.sqrt(head_dim), dim=-1
    )
    found = torch.einsum("bts,bcs->bct", weights, v).reshape(B, C, L)
    return F.conv1d(found, s["out.2.c_proj.weight"], s["out.2.c_proj.bias"])[:, :, 0]
