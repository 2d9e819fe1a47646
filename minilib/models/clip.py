"""CLIP: a tower that reads pictures and a tower that reads text, taught to agree on
which belongs to which.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib.nets.layers import TransformerBlock
from minilib.nets.vit import QuickGELU, ViT, ViTConfig
from minilib.runtime import in_blocks, require_sizes
from minilib.text.words import END


@dataclass(frozen=True)
class TextConfig:
    """Sizes of a transformer for captions: `length` tokens out of `words`, `end` being
    the token that closes each.
    """

    words: int
    length: int = 40
    width: int = 96
    depth: int = 3
    heads: int = 4
    end: int = END

    def __post_init__(self) -> None:
        require_sizes(self, "words length width depth heads")
        if not 0 <= self.end < self.words:
            raise ValueError(
                f"expected an end token from 0 to {self.words - 1}, got {self.end}"
            )


class TextTransformer(nn.Module):
    """tokens (B, L) → (B, L, width): each token, having looked at itself and at those
    before. Radford et al. (2021).
    """

    def __init__(self, c: TextConfig):
        super().__init__()
        self.length, self.end = c.length, c.end
        self.embed = nn.Embedding(c.words, c.width)
        self.position = nn.Parameter(0.01 * torch.randn(c.length, c.width))
        self.blocks = nn.ModuleList(
            TransformerBlock(c.width, c.heads, QuickGELU) for _ in range(c.depth)
        )
        self.norm = nn.LayerNorm(c.width)
        nn.init.normal_(self.embed.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        L = tokens.shape[1]
        if self.length < L or not 0 <= tokens.min() <= tokens.max() < len(
            self.embed.weight
        ):
            expected = (
                f"captions of up to {self.length} tokens from 0 to "
                f"{len(self.embed.weight) - 1}"
            )
            raise ValueError(
                f"expected {expected}, got {L} from {tokens.min()} to {tokens.max()}"
            )
        if not (tokens == self.end).any(dim=1).all():
            raise ValueError(
                f"expected the end token {self.end} in every caption: encode them "
                "with the tokenizer"
            )
        h = self.embed(tokens) + self.position[:L]  # (B, L, width)
        # a word sees itself and those before
        past = torch.ones(L, L, dtype=torch.bool, device=h.device).tril()
        for block in self.blocks:
            h = block(h, past)
        return self.norm(h)

    def last(self, h: Tensor, tokens: Tensor) -> Tensor:
        """What stands at the first end token, which has seen the whole caption: (B, L,
        width) → (B, width).
        """
        return h[
            torch.arange(len(h), device=h.device),
            (tokens == self.end).int().argmax(dim=1),
        ]


@dataclass(frozen=True)
class CLIPConfig:
    """Sizes of CLIP: those of its two towers, and the dimension `dim` of the space in
    which they meet.
    """

    text: TextConfig
    vision: ViTConfig = field(default_factory=ViTConfig)
    dim: int = 64


class CLIP(nn.Module):
    """Pictures x (B, C, H, W) and tokens (N, L) → logits (B, N): how well each picture
    fits each caption.

    The cosine of the two embeddings over a learned temperature, which may fall to
    1/100. Radford et al. (2021, fig. 3).
    """

    def __init__(self, config: CLIPConfig):
        super().__init__()
        self.config = config
        self.vision, self.text = ViT(config.vision), TextTransformer(config.text)
        self.to_image = nn.Linear(config.vision.dim, config.dim, bias=False)
        self.to_text = nn.Linear(config.text.width, config.dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_image(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, dim) of length 1."""
        return F.normalize(self.to_image(self.vision(x)[:, 0]), dim=1)

    def embed_text(self, tokens: Tensor) -> Tensor:
        """(B, L) → (B, dim) of length 1."""
        return F.normalize(
            self.to_text(self.text.last(self.text(tokens), tokens)), dim=1
        )

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        return self.compare(self.embed_image(x), tokens)

    def compare(self, u: Tensor, tokens: Tensor) -> Tensor:
        """Embeddings of pictures u (B, dim), tokens (N, L) → logits (B, N)."""
        with torch.no_grad():
            # in place: a limit in the graph would have no way back down
            self.logit_scale.clamp_(max=math.log(100))
        return self.logit_scale.exp() * u @ self.embed_text(tokens).T  # (B, N)


def contrastive_loss(
    model: Callable[[Tensor, Tensor], Tensor], x: Tensor, tokens: Tensor
) -> Tensor:
    """Which caption of the batch belongs to which picture? Cross-entropy in both
    directions: a scalar.

    Pictures x (B, C, H, W), tokens (B, L). Radford et al. (2021, fig. 3); InfoNCE of
    van den Oord et al. (2018, eq. 4). Where a caption occurs k times, no model can tell
    which of them is meant, and the least loss is above 0. Raises ValueError unless
    there is a caption for each picture.
    """
    if len(x) != len(tokens):
        raise ValueError(
            f"expected a caption for each of {len(x)} pictures, got {len(tokens)}"
        )
    logits = model(x, tokens)  # (B, B)
    target = torch.arange(len(x), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def retrieval(
    model: CLIP, x: Tensor, tokens: Tensor, among: int = 100
) -> dict[str, float]:
    """Of pictures x (N, C, H, W) and their captions (N, L), block by block: how often
    the other one is found first.

    "caption" is the share of pictures to which their own caption, of those of the
    block, is nearest; "picture" is that of captions to which their own picture is.
    Raises ValueError unless there is a caption for each picture, and `among` divides
    their number.
    """
    if len(x) != len(tokens):
        raise ValueError(
            f"expected a caption for each of {len(x)} pictures, got {len(tokens)}"
        )
    if among < 1 or len(x) % among:
        raise ValueError(f"expected a multiple of {among} pictures, got {len(x)}")
    u, v = in_blocks(model.embed_image, x), in_blocks(model.embed_text, tokens)
    hits = []
    for pictures, captions in zip(u.split(among), v.split(among), strict=True):
        fit, own = pictures @ captions.T, torch.arange(len(pictures))
        hits.append(torch.stack([fit.argmax(dim=1) == own, fit.argmax(dim=0) == own]))
    to_caption, to_picture = torch.cat(hits, dim=1).double().mean(dim=1).tolist()
    return {"caption": to_caption, "picture": to_picture}


def information(loss: float, n: int) -> float:
    """What a loss over n pairs new to the network proves: pictures and captions share
    at least log n - loss nats.

    The lower bound on mutual information of van den Oord et al. (2018, section 2.3).
    """
    return math.log(n) - loss
