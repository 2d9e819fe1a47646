"""Blocks by which a picture reads: self-attention, cross-attention to a context, and a
gated feed-forward layer. Rombach et al. (2022, section 3.3).
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from minilib.nets.layers import attend_fast
from minilib.nets.unet_blocks import Context, UNetConfig, zeroed


class CrossAttention(nn.Module):
    """h (B, L, D) asks, vectors (B, S, E) answer → (B, L, D). With h for its own
    vectors it is self-attention. Vaswani et al. (2017), section 3.2.3.
    """

    def __init__(self, dim: int, heads: int, context: int):
        super().__init__()
        if dim % heads != 0:
            raise ValueError(
                f"expected a dim that {heads} heads can share equally, got {dim}"
            )
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context, dim, bias=False)
        self.to_v = nn.Linear(context, dim, bias=False)
        self.to_out = nn.Linear(dim, dim)

    def split(self, h: Tensor) -> Tensor:
        """(B, L, D) → (B, heads, L, D/heads)."""
        return h.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, h: Tensor, vectors: Tensor, seen: Tensor | None = None) -> Tensor:
        q = self.split(self.to_q(h))  # (B, heads, L, D/heads)
        # (B, heads, S, D/heads) each
        k, v = self.split(self.to_k(vectors)), self.split(self.to_v(vectors))
        mask = None if seen is None else seen[:, None, None]  # (B, 1, 1, S)
        found = attend_fast(q, k, v, mask)  # (B, heads, L, D/heads)
        return self.to_out(found.transpose(1, 2).flatten(2))

    def weights(self, h: Tensor, context: Context) -> Tensor:
        """How much each of h (B, L, D) looks at each vector of the context: (B, heads,
        L, S), which sums to 1 over S.
        """
        q, k = self.split(self.to_q(h)), self.split(self.to_k(context.vectors))
        fit = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])  # (B, heads, L, S)
        unseen = ~context.seen[:, None, None]
        return fit.masked_fill(unseen, -math.inf).softmax(dim=-1)


class GEGLU(nn.Module):
    """h (B, L, D_in) → (B, L, D_out): two linear maps, one of which opens the gates of
    the other. Shazeer (2020, section 2).
    """

    def __init__(self, dim_in: int, dim_out: int):
        super().__init__()
        self.proj = nn.Linear(dim_in, 2 * dim_out)

    def forward(self, h: Tensor) -> Tensor:
        value, gate = self.proj(h).chunk(2, dim=2)  # (B, L, D_out) each
        return value * F.gelu(gate)


class ConditionalTransformerBlock(nn.Module):
    """L positions h (B, L, D) → (B, L, D): they look at each other, then at the
    context, then each is worked on by itself.

    Each step is added to what was there, and normalised before.
    """

    def __init__(self, dim: int, heads: int, context: int):
        super().__init__()
        self.norm1, self.self_attention = (
            nn.LayerNorm(dim),
            CrossAttention(dim, heads, dim),
        )
        self.norm2, self.cross_attention = (
            nn.LayerNorm(dim),
            CrossAttention(dim, heads, context),
        )
        self.norm3 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(GEGLU(dim, 4 * dim), nn.Linear(4 * dim, dim))

    def forward(self, h: Tensor, context: Context) -> Tensor:
        normed = self.norm1(h)
        h = h + self.self_attention(normed, normed)
        h = h + self.cross_attention(self.norm2(h), context.vectors, context.seen)
        return h + self.mlp(self.norm3(h))


class SpatialTransformer(nn.Module):
    """h (B, C, H, W), context → the same shape: a transformer block over all positions
    of the picture, whose result is added to h.

    Its `context` is the width of the vectors. Unlike `SpatialAttention` it has a fixed
    number of heads, at every width, and an eps of its own. Raises ValueError without a
    context.
    """

    def __init__(self, c: UNetConfig, channels: int, context: int, heads: int):
        super().__init__()
        self.norm = nn.GroupNorm(c.groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.block = ConditionalTransformerBlock(channels, heads, context)
        self.proj_out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, h: Tensor, context: Context | None = None) -> Tensor:
        if context is None:
            raise ValueError("expected a context: this network looks at one")
        B, C, H, W = h.shape
        new = self.proj_in(self.norm(h)).flatten(2).transpose(1, 2)  # (B, H·W, C)
        new = self.block(new, context).transpose(1, 2).view(B, C, H, W)
        return h + self.proj_out(new)
