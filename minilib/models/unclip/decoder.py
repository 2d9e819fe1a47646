"""The decoder of DALL·E 2: GLIDE, which is also given the embedding of the picture that
it draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minilib.diffusion.guidance import classifier_free
from minilib.diffusion.loss import simple_loss
from minilib.diffusion.sampling import Denoiser, denoiser
from minilib.diffusion.schedule import Prediction, Schedule
from minilib.models.glide import (
    GLIDE,
    GLIDEConfig,
    drop_captions,
    null_captions,
    require_captions,
)
from minilib.nets.unet import require_fit
from minilib.nets.unet_blocks import Context
from minilib.runtime import require_shape, require_share, require_sizes
from minilib.text.words import PADDING, trimmed
from minilib.train import Draw

WORDS = 4  # vectors that an embedding becomes, beside those of the caption


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the decoder: GLIDE's, and the dimension of the embeddings."""

    glide: GLIDEConfig
    dim: int = 64

    def __post_init__(self) -> None:
        require_sizes(self, "dim")


class Given(NamedTuple):
    """What the decoder draws B pictures of: captions, tokens (B, L), and embeddings u
    (B, D) of length 1, or 0 where there is none.
    """

    tokens: Tensor
    u: Tensor


class UnCLIPDecoder(nn.Module):
    """x_t (B, C, H, W), t (B,), what is given → (B, C_out, H, W). Ramesh et al. (2022,
    section 2.1).

    The embedding is added to that of the step, and becomes four more vectors for every
    attention layer, beside those of the caption. It is made as long as √D, so that its
    numbers are as large as those of other vectors.
    """

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config, c = config, config.glide
        self.glide = GLIDE(c)
        self.u_to_emb = nn.Linear(config.dim, 4 * c.unet.width)
        self.u_to_words = nn.Linear(config.dim, WORDS * c.text.width)

    def forward(self, x: Tensor, t: Tensor, given: Given) -> Tensor:
        glide, u = self.glide, given.u * self.config.dim**0.5
        require_fit(self.config.glide.unet, x, t, None)
        require_captions(given.tokens, len(x))
        require_shape("embeddings", u, (len(x), self.config.dim))
        tokens = trimmed(given.tokens)  # (B, L)
        vectors = glide.text(tokens)  # (B, L, context)
        emb = glide.embed(t) + glide.to_emb(glide.text.last(vectors, tokens))
        emb = emb + self.u_to_emb(u)  # (B, 4·width)
        more = self.u_to_words(u).unflatten(1, (WORDS, -1))  # (B, 4, context)
        seen = torch.cat([tokens != PADDING, tokens.new_ones(len(u), WORDS) > 0], dim=1)
        context = Context(torch.cat([vectors, more], dim=1), seen)
        h, skips = glide.encoder(x, emb, context)
        return glide.decoder(h, skips, emb, context)


def with_given(model: Callable[..., Tensor], given: Given) -> Callable[..., Tensor]:
    """The network (x_t, t, _) that is given these captions and embeddings."""
    return lambda x_t, t, _: model(x_t, t, given)


def drop_embeddings(u: Tensor, draw: Draw, p_uncond: float) -> Tensor:
    """Embeddings u (B, D), a share `p_uncond` of them replaced by 0."""
    require_share("p_uncond", p_uncond)
    return torch.where(draw.uniform(1) < p_uncond, 0.0, u)


def unclip_loss(
    model: UnCLIPDecoder,
    x_0: Tensor,
    tokens: Tensor,
    u: Tensor,
    *,
    draw: Draw,
    p_caption: float,
    p_embedding: float,
    **options: Any,
) -> Tensor:
    """`simple_loss` of pictures x_0 (B, C, H, W) with captions (B, L) and embeddings u
    (B, D), of which shares `p_caption` and `p_embedding` are hidden.

    Ramesh et al. (2022, section 2.1) hide 50 % and 10 %.
    """
    tokens = drop_captions(tokens, draw, p_caption)
    given = Given(tokens, drop_embeddings(u, draw, p_embedding))
    return simple_loss(with_given(model, given), x_0, draw=draw, **options)


def guided_decoder(
    model: Callable[..., Tensor],
    schedule: Schedule,
    prediction: Prediction,
    given: Given,
    w: float,
) -> Denoiser:
    """The denoiser of pictures with classifier-free guidance w, away from a network
    that is given neither caption nor embedding.
    """
    nothing = Given(null_captions(given.tokens), torch.zeros_like(given.u))
    conditional, unconditional = (
        denoiser(with_given(model, y), schedule, prediction, clip=False)
        for y in (given, nothing)
    )
    return classifier_free(conditional, unconditional, w)
