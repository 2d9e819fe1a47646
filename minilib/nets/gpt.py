"""GPT: a transformer that reads tokens from left to right and says, at each, which one
comes next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minilib.nets.layers import Attention, attend_fast
from minilib.runtime import require_range, require_shape, require_sizes


@dataclass(frozen=True)
class GPTConfig:
    """Sizes of a GPT, which reads up to `context` tokens out of a `vocabulary`."""

    vocabulary: int
    context: int = 96
    width: int = 128
    depth: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        require_sizes(self, "vocabulary context width depth heads")


class Cache:
    """Keys and values, in every layer, of the first `length` positions: what a
    transformer that goes on needs of those that it has read.

    k and v (depth, B, heads, context, width/heads), like a tensor in type and device.
    Their memory is taken once, and filled from the left.
    """

    def __init__(self, shape: tuple[int, ...], like: Tensor):
        self.k, self.v = like.new_empty(shape), like.new_empty(shape)
        self.length = 0

    def extended(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep k and v (B, heads, L, width/heads) of L new positions; give those of all
        positions so far, (B, heads, length + L, width/heads) each.
        """
        stop = self.length + k.shape[2]
        self.k[layer, :, :, self.length : stop] = k
        self.v[layer, :, :, self.length : stop] = v
        return self.k[layer, :, :, :stop], self.v[layer, :, :, :stop]


class CachedAttention(Attention):
    """`Attention` of layer number `layer`, whose L vectors h (B, L, D) also look at the
    positions in the cache, which stand before them.
    """

    def __init__(self, dim: int, heads: int, layer: int):
        super().__init__(dim, heads)
        self.layer = layer

    def forward(
        self, h: Tensor, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        B, L, D = h.shape
        qkv = self.qkv(h).view(B, L, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, L, D/heads) each
        if cache is not None:
            k, v = cache.extended(self.layer, k, v)  # (B, heads, S, D/heads) each
        heads = attend_fast(q, k, v, mask)  # (B, heads, L, D/heads)
        return self.out(heads.transpose(1, 2).reshape(B, L, D))


class GPTBlock(nn.Module):
    """h (B, L, D) → (B, L, D): the vectors look at those where mask (L, S) is True,
    then each is worked on by itself. GPT-2's GELU is the approximation by tanh.
    """

    def __init__(self, dim: int, heads: int, layer: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = CachedAttention(dim, heads, layer)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU("tanh"), nn.Linear(4 * dim, dim)
        )

    def forward(self, h: Tensor, mask: Tensor, cache: Cache | None = None) -> Tensor:
        h = h + self.attention(self.norm1(h), mask, cache)
        return h + self.mlp(self.norm2(h))


class CausalTransformer(nn.Module):
    """h (B, L, width) → (B, L, width): each vector, having looked at itself and at
    those before. Radford et al. (2019), section 2.3.

    Layer i uses masks[i % n] of masks (n, context, context), of which the future is
    taken away; without any, every layer sees the whole past. With a cache, h are the
    vectors that come after those in it, and join them. Raises ValueError where the
    context has no room for h, and for a cache of another form.
    """

    masks: Tensor

    def __init__(
        self,
        context: int,
        width: int,
        depth: int,
        heads: int,
        masks: Tensor | None = None,
    ):
        super().__init__()
        past = torch.ones(1, context, context, dtype=torch.bool).tril()
        if masks is not None:
            require_shape("masks", masks, (len(masks), context, context))
            past = past & masks
        self.register_buffer("masks", past, persistent=False)
        self.heads = heads
        self.blocks = nn.ModuleList(GPTBlock(width, heads, i) for i in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, h: Tensor, cache: Cache | None = None) -> Tensor:
        at = self.places(h.shape[1], cache)
        if cache is not None:
            self.require_cache(cache, h)
        for i, block in enumerate(self.blocks):
            mask = self.masks[i % len(self.masks), at, : at.stop]  # (L, S)
            h = block(h, mask, cache)
        if cache is not None:
            cache.length = at.stop
        return self.norm(h)

    def places(self, n: int, cache: Cache | None = None) -> slice:
        """Where in the context n vectors stand: after those in the cache. Raises
        ValueError where that has no room for them.
        """
        start = 0 if cache is None else cache.length
        context = self.masks.shape[-1]
        if not 1 <= n <= context - start:
            raise ValueError(
                f"expected 1 token or more, and {context} at most with the {start} in "
                f"the cache, got {n}"
            )
        return slice(start, start + n)

    def new_cache(self, batch: int) -> Cache:
        """An empty cache for so many sequences."""
        return Cache(self.cache_shape(batch), self.norm.weight.detach())

    def cache_shape(self, batch: int) -> tuple[int, ...]:
        head = len(self.norm.weight) // self.heads
        return len(self.blocks), batch, self.heads, self.masks.shape[-1], head

    def require_cache(self, cache: Cache, h: Tensor) -> None:
        """Raise ValueError unless the cache is one of `new_cache` for h (B, L, width),
        and no gradient is wanted: it would end at the cache.
        """
        expected = (self.cache_shape(len(h)), h.dtype, h.device)
        got = (tuple(cache.k.shape), cache.k.dtype, cache.k.device)
        if got != expected:
            raise ValueError(
                "expected a cache of (layers, batch, heads, context, width of a head), "
                f"type and device {expected}, got {got}: make one with "
                f"new_cache({len(h)})"
            )
        if h.requires_grad:
            raise ValueError("expected no gradients with a cache: use torch.no_grad()")


class GPT(nn.Module):
    """tokens (B, L) → logits (B, L, vocabulary) of the token after each. Radford et al.
    (2019): GPT-2, whose head is its embedding.

    With a cache (`new_cache`), tokens are those after the ones that it has read.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        c = config
        self.embed = nn.Embedding(c.vocabulary, c.width)
        self.position = nn.Parameter(torch.empty(c.context, c.width))
        self.transformer = CausalTransformer(c.context, c.width, c.depth, c.heads)
        initialise(self, c.depth)

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        require_tokens("tokens", tokens, len(self.embed.weight))
        at = self.transformer.places(tokens.shape[1], cache)
        h = self.embed(tokens) + self.position[at]  # (B, L, width)
        return self.transformer(h, cache) @ self.embed.weight.T

    def new_cache(self, batch: int) -> Cache:
        """An empty cache for so many sequences."""
        return self.transformer.new_cache(batch)


@torch.no_grad()
def initialise(model: nn.Module, depth: int) -> None:
    """GPT-2's start: biases 0, weights from N(0, 0.02²), norms as torch makes them.

    What is added to the residual stream, twice in each of `depth` blocks, is smaller by
    sqrt(2·depth), so that the sum is not. Radford et al. (2019), section 2.3.
    """
    added = ("attention.out.weight", "mlp.2.weight")
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            p.zero_()
        elif "norm" not in name:
            p.normal_(std=0.02 / math.sqrt(2 * depth) if name.endswith(added) else 0.02)


def require_tokens(what: str, tokens: Tensor, vocabulary: int) -> None:
    """Raise ValueError unless tokens (B, L) are int64, and from 0 to vocabulary - 1."""
    if tokens.ndim != 2 or tokens.dtype != torch.int64:
        raise ValueError(
            f"expected {what} of shape (B, L) in int64, got {tokens.dtype} of shape "
            f"{tuple(tokens.shape)}"
        )
    require_range(what, tokens, 0, vocabulary - 1)
