"""A judge of pictures that is asked in words: is the hat red? It answers yes or no."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import runtime
from minilib.models.attributes import conv_block
from minilib.models.clip import TextConfig, TextTransformer
from minilib.models.degradation import degraded
from minilib.nets.layers import attend_fast
from minilib.runtime import require_images, require_shape, require_sizes
from minilib.train import Draw

PLACES = 8  # along a side of what is looked at


@dataclass(frozen=True)
class AnswererConfig:
    """Sizes of a judge of pictures (3, size, size), which reads questions of up to
    `length` tokens out of `words`.
    """

    words: int
    size: int = 32
    length: int = 12
    width: int = 96
    depth: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        require_sizes(self, "words length width depth heads")
        if self.size not in (32, 64):
            raise ValueError(f"expected pictures of size 32 or 64, got {self.size!r}")


class Look(nn.Module):
    """Questions q (B, Q, D) look at places h (B, P, D), then each is worked on by
    itself: (B, Q, D). They do not see each other.

    Vaswani et al. (2017, section 3.2.3), normalised before each step.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_query = nn.Linear(dim, dim)
        self.to_key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        )

    def forward(self, q: Tensor, h: Tensor) -> Tensor:
        query = self.split(self.to_query(self.norm1(q)))
        key, value = map(self.split, self.to_key_value(h).chunk(2, dim=2))
        seen = attend_fast(query, key, value)  # (B, heads, Q, D/heads)
        q = q + self.out(seen.transpose(1, 2).flatten(2))
        return q + self.mlp(self.norm2(q))

    def split(self, h: Tensor) -> Tensor:
        """(B, L, D) → (B, heads, L, D/heads)."""
        return h.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Answerer(nn.Module):
    """x (B, 3, size, size) in [-1, 1] and Q questions about each (B, Q, L) → logits (B,
    Q) of the answer yes.

    The picture is seen once, as 8 × 8 vectors; each question, read into one vector,
    looks at them. Raises ValueError for pictures or questions of another form.
    """

    def __init__(self, config: AnswererConfig):
        super().__init__()
        self.config, c = config, config
        fold = c.size // 16  # so many pixels square become the channels of one place
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(fold),  # (B, 3·fold², 16, 16)
            nn.Conv2d(3 * fold**2, 64, 3, padding=1),
            nn.SiLU(),
            *conv_block(64, 64),
            nn.MaxPool2d(2),  # (B, 64, 8, 8)
            *conv_block(64, c.width),
            *conv_block(c.width, c.width),
        )
        self.position = nn.Parameter(0.02 * torch.randn(PLACES**2, c.width))
        self.norm = nn.LayerNorm(c.width)
        sizes = TextConfig(c.words, c.length, c.width, depth=1, heads=c.heads)
        self.text = TextTransformer(sizes)
        self.looks = nn.ModuleList(Look(c.width, c.heads) for _ in range(c.depth))
        self.head = nn.Sequential(nn.LayerNorm(c.width), nn.Linear(c.width, 1))

    def forward(self, x: Tensor, questions: Tensor) -> Tensor:
        size = self.config.size
        require_images(x, (3, size, size))
        require_questions(questions, len(x))
        B, Q, _ = questions.shape
        h = self.trunk(x).flatten(2).transpose(1, 2)  # (B, P, D)
        h = self.norm(h + self.position)
        tokens = questions.flatten(0, 1)  # (B·Q, L)
        q = self.text.last(self.text(tokens), tokens).view(B, Q, -1)  # (B, Q, D)
        for look in self.looks:
            q = look(q, h)
        return self.head(q)[..., 0]


def require_questions(questions: Tensor, B: int) -> None:
    """Raise ValueError unless these are the same number of questions of B pictures."""
    if questions.ndim != 3 or len(questions) != B:
        raise ValueError(
            f"expected tokens (B, Q, L) of the questions of each of {B} pictures, got "
            f"them of shape {tuple(questions.shape)}"
        )


def answer_loss(
    model: Answerer, x: Tensor, questions: Tensor, yes: Tensor, draw: Draw
) -> Tensor:
    """Cross-entropy in nats of the answers to questions (B, Q, L), of which those of
    `yes` (B, Q) that are 1 are yes and those that are 0 no: a scalar.

    The pictures x (B, 3, S, S) are degraded, since it is to judge what is drawn.
    """
    logits = model(degraded(x, draw), questions)
    require_shape("answers", yes, tuple(logits.shape))
    return F.binary_cross_entropy_with_logits(logits, yes)


def answered(model: Answerer, x: Tensor, questions: Tensor) -> Tensor:
    """Whether yes is the likelier answer to questions (N, Q, L) about pictures x (N, 3,
    S, S): bool (N, Q).
    """
    return runtime.in_blocks(model, x, questions) > 0
