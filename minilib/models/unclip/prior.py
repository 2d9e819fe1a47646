"""The diffusion prior of DALL·E 2: from a caption to the embedding that CLIP would have
of its picture, by removing noise from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib.diffusion.loss import simple_loss
from minilib.diffusion.sampling import (
    Denoised,
    Denoiser,
    ancestral,
    denoiser,
    last,
    noise_like,
)
from minilib.diffusion.schedule import Prediction, Schedule, even
from minilib.models.dalle import rerank
from minilib.models.unclip.captions import (
    Caption,
    drop_caption,
    null_caption,
    repeated,
    require_caption,
)
from minilib.nets.layers import TransformerBlock, step_embedding
from minilib.runtime import require_shape, require_sizes
from minilib.train import Draw


@dataclass(frozen=True)
class PriorConfig:
    """Sizes of a prior: embeddings of dimension `dim`, captions of up to `length`
    tokens with `text_width` features each; and those of its transformer.
    """

    dim: int = 64
    text_width: int = 96
    length: int = 32
    width: int = 128
    depth: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        require_sizes(self, "dim text_width length width depth heads")


OTHERS = 4  # vectors after the tokens: text embedding, step, noisy embedding, query


def past_and_seen(seen: Tensor) -> Tensor:
    """seen (B, L) → (B, 1, L + 4, L + 4): what each vector looks at, which is what
    comes before it, but no padding; and itself, for that all may.
    """
    seen = F.pad(seen, (0, OTHERS), value=True)  # (B, S), S = L + 4
    S = seen.shape[1]
    past = torch.ones(S, S, dtype=torch.bool, device=seen.device).tril()
    itself = torch.eye(S, dtype=torch.bool, device=seen.device)
    return (past & (seen[:, None] | itself))[:, None]


class DiffusionPrior(nn.Module):
    """Noisy embeddings x_t (B, D) of pictures, steps t (B,), captions → (B, D): what
    they were without noise. Ramesh et al. (2022, section 2.2).

    A transformer reads the tokens' features, the text embedding, the step, the noisy
    embedding and a learned query, each one vector that sees those before. What the
    query has become is the answer. Embeddings of length 1 are `standardised` for it,
    since numbers as small as theirs would vanish in the noise: a new prior makes them
    as long as √D, and published ones bring a mean and a deviation for each number.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: PriorConfig = PriorConfig()):
        super().__init__()
        self.config, c = config, config
        self.from_features = nn.Linear(c.text_width, c.width)
        self.from_embedding = nn.Linear(c.dim, c.width)
        self.time = nn.Sequential(
            nn.Linear(c.width, c.width), nn.SiLU(), nn.Linear(c.width, c.width)
        )
        self.from_image = nn.Linear(c.dim, c.width)
        self.query = nn.Parameter(0.02 * torch.randn(c.width))
        self.position = nn.Parameter(0.02 * torch.randn(c.length + OTHERS, c.width))
        self.blocks = nn.ModuleList(
            TransformerBlock(c.width, c.heads) for _ in range(c.depth)
        )
        self.norm = nn.LayerNorm(c.width)
        self.to_image = nn.Linear(c.width, c.dim)
        self.register_buffer("mean", torch.zeros(c.dim))
        self.register_buffer("std", torch.full((c.dim,), c.dim**-0.5))

    def forward(self, x_t: Tensor, t: Tensor, caption: Caption) -> Tensor:
        B, c = len(x_t), self.config
        require_caption(caption, B, c.text_width, c.length, c.dim)
        require_shape("x_t", x_t, (B, c.dim))
        require_shape("t", t, (B,))
        L = int(caption.seen.any(dim=0).sum())  # of the longest caption
        vectors = [
            self.from_features(caption.features[:, :L]),  # (B, L, width)
            self.from_embedding(caption.embedding)[:, None],  # (B, 1, width)
            self.time(step_embedding(t, c.width, x_t.dtype))[:, None],
            self.from_image(x_t)[:, None],
            self.query.expand(B, 1, -1),
        ]
        place = torch.cat([self.position[:L], self.position[-OTHERS:]])
        h = torch.cat(vectors, dim=1) + place  # (B, L + 4, width)
        mask = past_and_seen(caption.seen[:, :L])
        for block in self.blocks:
            h = block(h, mask)
        return self.to_image(self.norm(h[:, -1]))

    def standardised(self, u: Tensor) -> Tensor:
        """Embeddings u (B, D) of length 1 → x_0 (B, D), of variance near 1."""
        return (u - self.mean) / self.std

    def unit(self, x_0: Tensor) -> Tensor:
        """Its inverse, of length 1 whatever x_0 was: (B, D)."""
        return F.normalize(x_0 * self.std + self.mean, dim=1)


def with_caption(
    model: Callable[..., Tensor], caption: Caption
) -> Callable[..., Tensor]:
    """The network (x_t, t, _) that has read these captions."""
    return lambda x_t, t, _: model(x_t, t, caption)


def prior_loss(
    model: DiffusionPrior,
    u: Tensor,
    features: Tensor,
    seen: Tensor,
    embedding: Tensor,
    *,
    draw: Draw,
    p_uncond: float,
    **options: Any,
) -> Tensor:
    """`simple_loss` of embeddings u (B, D) of pictures, whose captions are `Caption(
    features, seen, embedding)`, a share `p_uncond` of them hidden.

    With the prediction X_0 it is the paper's: Ramesh et al. (2022, eq. 2).
    """
    read = Caption(features.to(u), seen, embedding)
    network = with_caption(model, drop_caption(read, draw, p_uncond))
    return simple_loss(network, model.standardised(u), draw=draw, **options)


# ---------- drawing ----------


def guided_prior(
    model: DiffusionPrior,
    schedule: Schedule,
    prediction: Prediction,
    caption: Caption,
    w: float,
) -> Denoiser:
    """The denoiser of embeddings with classifier-free guidance w. Unlike pictures they
    have no bounds, so that nothing is clipped.
    """
    conditional, unconditional = (
        denoiser(with_caption(model, y), schedule, prediction, clip=False)
        for y in (caption, null_caption(caption))
    )

    def denoise(x_t: Tensor, t: Tensor) -> Denoised:
        x_0 = conditional(x_t, t).x_0
        if w != 1:
            x_0 = torch.lerp(unconditional(x_t, t).x_0, x_0, w)
        return Denoised(x_0)

    return denoise


def cosine(u: Tensor, v: Tensor) -> Tensor:
    """Of each row of u (B, D) with that of v (B, D): (B,)."""
    return F.cosine_similarity(u, v, dim=1)


def draw_embeddings(
    model: DiffusionPrior,
    schedule: Schedule,
    prediction: Prediction,
    caption: Caption,
    generator: torch.Generator,
    w: float = 1.0,
    steps: int = 20,
    tries: int = 2,
) -> Tensor:
    """Embeddings (B, D) of length 1 of pictures of these captions: of `tries` that are
    drawn for each, the one that fits the text embedding best.

    The better of two: Ramesh et al. (2022, section 2.2).
    """
    B, D = caption.embedding.shape
    noise = noise_like(caption.embedding.new_empty(B * tries, D), generator)
    denoise = guided_prior(model, schedule, prediction, repeated(caption, tries), w)
    path = ancestral(denoise, schedule, noise, even(schedule.T, steps), generator)
    u = model.unit(last(path)).view(B, tries, D)
    return rerank(cosine, u, caption.embedding)[:, 0]
