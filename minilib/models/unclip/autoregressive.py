"""The autoregressive prior of DALL·E 2: an embedding as a row of codes, which a
transformer writes one after the other once it has read the caption.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib.models.autoencoder import principal_components
from minilib.models.dalle import guided_logits, rerank
from minilib.models.unclip.captions import (
    Caption,
    drop_caption,
    null_caption,
    repeated,
    require_caption,
)
from minilib.models.unclip.prior import cosine
from minilib.nets.gpt import CausalTransformer, initialise, require_tokens
from minilib.nets.token_sampling import sample_token
from minilib.runtime import require_generator, require_shape, require_sizes
from minilib.train import Draw


@dataclass(frozen=True)
class AutoregressiveConfig:
    """Sizes of an autoregressive prior: embeddings of dimension `dim` as `components`
    codes of `levels` values each, captions of `length` tokens with `text_width`
    features each; and those of its transformer.
    """

    dim: int = 64
    components: int = 24
    levels: int = 64
    text_width: int = 96
    length: int = 32
    width: int = 128
    depth: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        require_sizes(self, "dim components text_width length width depth heads")
        require_sizes(self, "levels", least=2)


REACH = 3.5  # levels reach so many standard deviations to both sides


class EmbeddingCodes(nn.Module):
    """Embeddings u (B, D) ↔ codes (B, k): k principal coordinates, each rounded to one
    of `levels` values. Ramesh et al. (2022, section 2.2).

    The first coordinate varies most. `measure` finds the components; before that there
    are none.
    """

    mean: Tensor
    directions: Tensor
    spread: Tensor

    def __init__(self, dim: int, components: int, levels: int):
        super().__init__()
        self.levels = levels
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("directions", torch.zeros(components, dim))
        self.register_buffer("spread", torch.ones(components))

    @torch.no_grad()
    def measure(self, u: Tensor) -> EmbeddingCodes:
        """The codes with the principal components of embeddings u (N, D)."""
        mean, directions = principal_components(u, len(self.directions))
        self.mean.copy_(mean)
        self.directions.copy_(directions)
        self.spread.copy_(REACH * ((u - mean) @ directions.T).std(dim=0))
        return self

    def encode(self, u: Tensor) -> Tensor:
        """u (B, D) → codes (B, k), from 0 to levels - 1."""
        z = (u - self.mean) @ self.directions.T / self.spread  # mostly in [-1, 1]
        return ((z + 1) / 2 * self.levels).floor().clamp(0, self.levels - 1).long()

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, k) → u (B, D) of length 1, from the middle of each level."""
        z = (codes.to(self.mean) + 0.5) / self.levels * 2 - 1
        return F.normalize(self.mean + (z * self.spread) @ self.directions, dim=1)


class AutoregressivePrior(nn.Module):
    """Captions, codes (B, k) of the embeddings of their pictures → logits of all codes,
    (B, k, levels). Ramesh et al. (2022, section 2.2).

    The caption is a prefix: features of its tokens, a vector of its own where a place
    has none, then its embedding. Theirs also has the quantised dot product of both
    embeddings; ours chooses among drawn ones by it, as the diffusion prior does.
    """

    def __init__(self, config: AutoregressiveConfig = AutoregressiveConfig()):
        super().__init__()
        self.config, c = config, config
        self.codes = EmbeddingCodes(c.dim, c.components, c.levels)
        self.from_features = nn.Linear(c.text_width, c.width)
        self.from_embedding = nn.Linear(c.dim, c.width)
        self.padding = nn.Parameter(torch.empty(c.length, c.width))
        # the last code is predicted, and never read
        self.position = nn.Parameter(torch.empty(c.length + c.components, c.width))
        self.embed = nn.Embedding(c.levels, c.width)
        self.transformer = CausalTransformer(
            c.length + c.components, c.width, c.depth, c.heads
        )
        self.head = nn.Linear(c.width, c.levels)
        initialise(self, c.depth)

    def prefix(self, caption: Caption) -> Tensor:
        """The caption as the first vectors: (B, length + 1, width)."""
        c = self.config
        require_caption(caption, len(caption.seen), c.text_width, c.length, c.dim)
        features = self.from_features(caption.features)  # (B, L, width)
        missing = c.length - features.shape[1]
        features = F.pad(features, (0, 0, 0, missing))
        seen = F.pad(caption.seen, (0, missing))[..., None]
        h = torch.where(seen, features, self.padding)  # (B, length, width)
        whole = self.from_embedding(caption.embedding)[:, None]
        return torch.cat([h, whole], dim=1) + self.position[: c.length + 1]

    def embed_codes(self, codes: Tensor, start: int = 0) -> Tensor:
        """Codes number start to start + n, (B, n) → (B, n, width)."""
        require_tokens("codes", codes, self.config.levels)
        first = self.config.length + 1 + start
        return self.embed(codes) + self.position[first : first + codes.shape[1]]

    def forward(self, caption: Caption, codes: Tensor) -> Tensor:
        c = self.config
        require_shape("codes", codes, (len(caption.seen), c.components))
        h = torch.cat([self.prefix(caption), self.embed_codes(codes[:, :-1])], dim=1)
        return self.head(self.transformer(h)[:, c.length :])


def autoregressive_loss(
    model: AutoregressivePrior,
    u: Tensor,
    features: Tensor,
    seen: Tensor,
    embedding: Tensor,
    *,
    draw: Draw,
    p_uncond: float,
) -> Tensor:
    """Cross-entropy in nats per code of embeddings u (B, D) of pictures, whose captions
    are `Caption(features, seen, embedding)`, a share `p_uncond` of them hidden.
    """
    read = Caption(features.to(u), seen, embedding)
    codes = model.codes.encode(u)
    logits = model(drop_caption(read, draw, p_uncond), codes)
    return F.cross_entropy(logits.transpose(1, 2), codes)


# ---------- drawing ----------


def both(caption: Caption, w: float) -> Caption:
    """The captions that guidance w reads: the captions, nothing, or both, one after the
    other.
    """
    if w == 1:
        return caption
    nothing = null_caption(caption)
    if w == 0:
        return nothing
    return Caption(*map(torch.cat, zip(caption, nothing, strict=True)))


@torch.no_grad()
def draw_codes(
    model: AutoregressivePrior,
    caption: Caption,
    generator: torch.Generator,
    w: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """Codes (B, k) for captions, one after the other, with classifier-free guidance
    w.
    """
    require_generator(generator)
    read, codes = both(caption, w), caption.seen[:, :0].long()
    copies = len(read.seen) // len(caption.seen)
    cache, h = model.transformer.new_cache(len(read.seen)), model.prefix(read)
    for i in range(model.config.components):
        logits = guided_logits(model.head(model.transformer(h, cache)[:, -1]), w)
        code = sample_token(logits, generator, temperature)[:, None]  # (B, 1)
        codes = torch.cat([codes, code], dim=1)
        h = model.embed_codes(code.repeat(copies, 1), start=i)
    return codes


def draw_embeddings_by_codes(
    model: AutoregressivePrior,
    caption: Caption,
    generator: torch.Generator,
    w: float = 1.0,
    temperature: float = 1.0,
    tries: int = 2,
) -> Tensor:
    """Embeddings (B, D) of length 1 of pictures of these captions: of `tries` that are
    drawn for each, the one that fits the text embedding best.
    """
    codes = draw_codes(model, repeated(caption, tries), generator, w, temperature)
    u = model.codes.decode(codes).unflatten(0, (-1, tries))  # (B, tries, D)
    return rerank(cosine, u, caption.embedding)[:, 0]
