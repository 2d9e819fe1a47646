"""Blocks that several models are built from, each written once."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def down(channels_in: int, channels_out: int) -> nn.Sequential:
    """Halve the resolution: (B, channels_in, H, W) → (B, channels_out, H/2, W/2).
    `channels_out` is a multiple of 8.
    """
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1),
        nn.GroupNorm(8, channels_out),
        nn.SiLU(),
    )


def up(channels_in: int, channels_out: int) -> nn.Sequential:
    """Double the resolution: (B, channels_in, H, W) → (B, channels_out, 2H, 2W).
    `channels_out` is a multiple of 8.
    """
    conv = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
    return nn.Sequential(conv, nn.GroupNorm(8, channels_out), nn.SiLU())


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √D) v: for each query the average of the values v, weighted by how
    well their keys fit it.

    q (…, L, D), k (…, S, D), v (…, S, E) → (…, L, E). Vaswani et al. (2017), eq. 1.
    A query looks only where mask (…, L, S) is True; without one it looks everywhere.
    """
    fit = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (…, L, S)
    if mask is not None:
        fit = fit.masked_fill(~mask, -math.inf)
    return fit.softmax(dim=-1) @ v  # (…, L, E)


def attend_fast(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """What `attend` gives, by torch's kernel, which never holds all weights at once.

    A query that may look nowhere gets 0, where `attend` gives NaN. On a CPU it computes
    in float32 under autocast too: there the kernel for bf16 is several times slower.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, mask)
    if q.dtype == torch.bfloat16:
        q, k, v = q.float(), k.float(), v.float()
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q, k, v, mask)


class Attention(nn.Module):
    """Multi-head self-attention, h (B, L, D) → (B, L, D). Vaswani et al. (2017),
    section 3.2.2.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % heads != 0:
            raise ValueError(
                f"expected a dim that {heads} heads can share equally, got {dim}"
            )
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, h: Tensor, mask: Tensor | None = None) -> Tensor:
        B, L, D = h.shape
        qkv = self.qkv(h).view(B, L, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, L, D/heads) each
        heads = attend_fast(q, k, v, mask)  # (B, heads, L, D/heads)
        # side by side, then mixed
        return self.out(heads.transpose(1, 2).reshape(B, L, D))


class TransformerBlock(nn.Module):
    """L vectors h (B, L, D) → (B, L, D): they look at each other, then each is worked
    on by itself.

    Both steps are added to what was there, and normalised before ("pre-norm"): Xiong et
    al. (2020).
    """

    def __init__(
        self, dim: int, heads: int, activation: Callable[[], nn.Module] = nn.GELU
    ):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), activation(), nn.Linear(4 * dim, dim)
        )

    def forward(self, h: Tensor, mask: Tensor | None = None) -> Tensor:
        h = h + self.attention(self.norm1(h), mask)
        return h + self.mlp(self.norm2(h))


def step_embedding(t: Tensor, dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Steps t (B,) → (B, dim): cosines, then sines, of dim/2 frequencies from 1 down to
    almost 1/10,000.

    Vaswani et al. (2017, section 3.5) in the form of Dhariwal and Nichol (2021). Ho et
    al. (2020) put the sines first, and let the frequencies end at 1/10,000 exactly.
    """
    share = torch.arange(dim // 2, dtype=dtype, device=t.device) / (dim // 2)
    angles = t.to(dtype)[:, None] * torch.exp(-math.log(10_000) * share)  # (B, dim/2)
    return torch.cat([angles.cos(), angles.sin()], dim=1)
