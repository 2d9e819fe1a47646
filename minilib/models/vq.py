"""Vector quantisation, the other way to tokens: the nearest vector of a codebook, with
a gradient that passes straight through.

Van den Oord et al. (2017).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import runtime
from minilib.models.dvae import (
    DVAEConfig,
    TokenDecoder,
    TokenEncoder,
    gumbel_softmax,
    hard,
    one_hot,
    require_pictures,
)


def straight_through(exact: Tensor, soft: Tensor) -> Tensor:
    """The value of `exact` with the gradient of `soft`: Bengio et al. (2013)."""
    return soft + (exact - soft).detach()


def straight_through_gumbel(
    logits: Tensor, tau: float | Tensor, generator: torch.Generator
) -> Tensor:
    """One-hot codes (B, codes, …) drawn from what logits (B, codes, …) stand for, with
    the gradient of the relaxed draw: Jang et al. (2017), section 2.2.
    """
    y = gumbel_softmax(logits, tau, generator)
    return straight_through(hard(y), y)


@dataclass(frozen=True)
class VQConfig:
    """Sizes as of the discrete VAE, and of the vectors of the codebook."""

    sizes: DVAEConfig = field(default_factory=DVAEConfig)
    code_dim: int = 16


class VQVAE(nn.Module):
    """x (B, 3, H, W) → vectors (B, code_dim, H/4, W/4) → the nearest of the codebook →
    x. Calling the model rebuilds x.
    """

    def __init__(self, config: VQConfig = VQConfig()):
        super().__init__()
        runtime.require_sizes(config, "code_dim")
        runtime.require_sizes(config.sizes, "codes blocks")
        self.codes = config.sizes.codes
        self.encode = TokenEncoder(config.sizes, config.code_dim)
        self.codebook = nn.Parameter(torch.randn(self.codes, config.code_dim))
        self.decoder = TokenDecoder(config.sizes, config.code_dim)

    def nearest(self, h: Tensor) -> Tensor:
        """Vectors h (B, code_dim, h, w) → the code nearest to each: long (B, h, w)."""
        # the order of distances, without the square of h, which all codes share
        square = self.codebook.square().sum(dim=1)[:, None, None]
        product = torch.einsum("bdhw,kd->bkhw", h.to(square.dtype), self.codebook)
        return (square - 2 * product).argmin(dim=1)

    def quantised(self, h: Tensor) -> Tensor:
        """The nearest vectors of the codebook to h: (B, code_dim, h, w)."""
        return F.embedding(self.nearest(h), self.codebook).movedim(-1, 1)

    def tokens(self, x: Tensor) -> Tensor:
        """The code at each place, row by row: long (B, H/4 · W/4)."""
        require_pictures(x)
        return self.nearest(self.encode(x)).flatten(1)

    def decode(self, h: Tensor) -> Tensor:
        """Vectors h (B, code_dim, h, w) → pictures (B, 3, 4h, 4w)."""
        return self.decoder(h).to(h.dtype)

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        """The pictures (B, 3, H, W) of tokens (B, L), row by row of a square. Raises
        ValueError where L is no square number, or a token no code.
        """
        y = one_hot(tokens, self.codes).to(self.codebook.dtype)
        return self.decode(torch.einsum("bkhw,kd->bdhw", y, self.codebook))

    def forward(self, x: Tensor) -> Tensor:
        require_pictures(x)
        return self.decode(self.quantised(self.encode(x)))  # (B, 3, H, W)


def vq_loss(model: VQVAE, x: Tensor, commitment: float = 0.25) -> Tensor:
    """Squared error of the rebuilt x (B, 3, H, W), with the codebook drawn to the
    vectors, and the vectors to the codebook: their eq. 3.
    """
    h = model.encode(x).to(x.dtype)  # (B, code_dim, h, w)
    e = model.quantised(h)
    rebuilt = model.decode(straight_through(e, h))
    to_vectors = (e - h.detach()).square().mean()
    to_codebook = (h - e.detach()).square().mean()
    return (rebuilt - x).square().mean() + to_vectors + commitment * to_codebook


@torch.no_grad()
def restart_dead_codes(
    model: VQVAE, x: Tensor, generator: torch.Generator, least: int = 1
) -> int:
    """Put each code that fewer than `least` vectors of pictures x (B, 3, H, W) are
    nearest to at one of those vectors, drawn at random; returns how many were moved.

    Dhariwal et al. (2020), section 3.1, cure a collapsed codebook so.
    """
    runtime.require_generator(generator)
    vectors = model.encode(x).movedim(1, -1).flatten(0, 2)  # (B·h·w, code_dim)
    used = torch.bincount(model.tokens(x).flatten(), minlength=model.codes)
    dead = (used < least).nonzero()[:, 0]
    rows = torch.randint(len(vectors), (len(dead),), generator=generator)
    model.codebook[dead] = vectors[rows.to(vectors.device)].to(model.codebook.dtype)
    return len(dead)
