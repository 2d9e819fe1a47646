"""GLIDE: a diffusion model that reads. Its captions reach every residual block and
every attention layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from minilib.clip import TextConfig, TextTransformer
from minilib.diffusion.loss import simple_loss
from minilib.layers import attend
from minilib.tokens import END, PADDING, START
from minilib.train import Draw
from minilib.unet import (
    Context,
    Embedding,
    PlaceAttention,
    UNetConfig,
    UNetDecoder,
    UNetEncoder,
    require_fit,
)


class TextAttention(PlaceAttention):
    """h (B, C, H, W), context → h: every place looks at all places and at the words of
    the caption.

    Words get keys and values of their own, which stand beside those of the places.
    Nichol et al. (2022, section 4.1).
    """

    def __init__(self, c: UNetConfig, channels: int, context: int):
        super().__init__(c, channels)
        self.words = nn.Linear(context, 2 * channels)

    def forward(self, h: Tensor, context: Context | None = None) -> Tensor:
        if context is None:
            return super().forward(h)
        B, C, H, W = h.shape
        heads = self.attention.heads
        places = self.norm(h).flatten(2).transpose(1, 2)  # (B, H·W, C)
        q, k, v = (
            self.attention.qkv(places)
            .view(B, H * W, 3, heads, -1)
            .permute(2, 0, 3, 1, 4)
        )
        words_k, words_v = (
            self.words(context.vectors)
            .view(B, -1, 2, heads, C // heads)
            .permute(2, 0, 3, 1, 4)
        )
        # (B, heads, H·W + L, C/heads)
        k, v = torch.cat([k, words_k], dim=2), torch.cat([v, words_v], dim=2)
        # of the words not the padding
        seen = torch.cat([context.seen.new_ones(B, H * W), context.seen], dim=1)
        found = (
            attend(q, k, v, seen[:, None, None]).transpose(1, 2).reshape(B, H * W, C)
        )
        return h + self.attention.out(found).transpose(1, 2).view(B, C, H, W)


@dataclass(frozen=True)
class GLIDEConfig:
    """Sizes of GLIDE: those of the transformer that reads, and of the U-Net, whose
    attention is `TextAttention`.
    """

    text: TextConfig
    unet: UNetConfig


class GLIDE(nn.Module):
    """x_t (B, C, H, W), t (B,), tokens (B, L) → (B, C_out, H, W). Nichol et al. (2022,
    section 4.1).

    A transformer reads the caption. Its last token takes the place of the class
    embedding, and all its tokens go to every attention layer.
    """

    def __init__(self, config: GLIDEConfig):
        super().__init__()
        self.config, c = config, config.unet
        self.text = TextTransformer(config.text)
        self.to_emb = nn.Linear(config.text.width, 4 * c.width)
        self.embed, self.encoder, self.decoder = (
            Embedding(c),
            UNetEncoder(c),
            UNetDecoder(c),
        )

    def forward(self, x: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        require_fit(self.config.unet, x, t, None)
        vectors = self.text(tokens)  # (B, L, context)
        emb = self.embed(t) + self.to_emb(self.text.last(vectors, tokens))
        context = Context(vectors, tokens != PADDING)
        h, skips = self.encoder(x, emb, context)
        return self.decoder(h, skips, emb, context)


def nothing_said(tokens: Tensor) -> Tensor:
    """As many empty captions as there are in tokens (B, L): start, end, padding."""
    empty = torch.full_like(tokens, PADDING)
    empty[:, 0], empty[:, 1] = START, END
    return empty


def hide_captions(tokens: Tensor, draw: Draw, untold: float) -> Tensor:
    """Tokens (B, L), a share `untold` of them replaced by the empty caption. Nichol et
    al. (2022, section 4.2).
    """
    return torch.where(draw.uniform(1) < untold, nothing_said(tokens), tokens)


def text_loss(
    model: Callable[..., Tensor],
    x_0: Tensor,
    tokens: Tensor,
    *,
    draw: Draw,
    untold: float,
    **options: Any,
) -> Tensor:
    """`simple_loss` of pictures x_0 (B, C, H, W) with captions (B, L), of which a share
    `untold` is hidden.
    """
    told = hide_captions(tokens, draw, untold)
    return simple_loss(lambda x_t, t, _: model(x_t, t, told), x_0, draw=draw, **options)
