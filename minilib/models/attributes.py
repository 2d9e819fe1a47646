"""A judge of drawn people: a small network that says, attribute by attribute, what a
picture shows, or that it can't tell.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import runtime
from minilib.data.people.attributes import Person, seen, values
from minilib.runtime import require_images, require_share
from minilib.train import Draw

CELLS = 8  # of a picture's side: what an autoencoder of 8 x 8 tokens gets wrong at once
SURE = 0.7  # the least probability of an answer


class AttributeJudge(nn.Module):
    """x (B, 3, size, size) in [-1, 1] → logits (B, all answers), size 32 or 64.

    Each attribute of `values(style, size)` has its answers side by side: first that the
    picture doesn't show it, then its values. Raises ValueError for an unknown style or
    size.
    """

    def __init__(self, size: int = 32, style: str = "personas"):
        super().__init__()
        self.size, self.values = size, values(style, size)
        fold = size // 32  # of pixels at 64: four go side by side into one place
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(fold),  # (B, 3·fold², 32, 32)
            nn.Conv2d(3 * fold**2, 32, 3, padding=1),
            nn.SiLU(),
            *conv_block(32, 32),
            nn.MaxPool2d(2),  # (B, 32, 16, 16)
            *conv_block(32, 64),
            nn.MaxPool2d(2),  # (B, 64, 8, 8)
            *conv_block(64, 128),
            nn.MaxPool2d(2),  # (B, 128, 4, 4)
            nn.Flatten(),
        )
        self.head = nn.Linear(128 * 4 * 4, sum(self.counts()))

    def counts(self) -> list[int]:
        """How many answers each attribute has."""
        return [1 + len(names) for names in self.values.values()]

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, (3, self.size, self.size))
        return self.head(self.trunk(x))


def conv_block(channels_in: int, channels_out: int) -> list[nn.Module]:
    """(B, channels_in, H, W) → (B, channels_out, H, W)."""
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    return [conv, nn.GroupNorm(8, channels_out), nn.SiLU()]


def labels(
    people: list[Person], style: str = "personas", size: int = 32
) -> Tensor:
    """The right answer on each attribute: (N, attributes) long; 0 where a picture
    doesn't show it.
    """
    answers = values(style, size)
    return torch.tensor(
        [
            [
                1 + names.index(shown[name]) if name in shown else 0
                for name, names in answers.items()
            ]
            for shown in (seen(person, style, size) for person in people)
        ]
    )


def degraded(x: Tensor, draw: Draw) -> Tensor:
    """Pictures x (B, C, H, W) as a weak autoencoder gives them back, each worse or
    better: soft here and there, off in colour, noisy.
    """
    B, C, H, W = x.shape
    amount = draw.uniform(1, 1, 1)
    half = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear")
    flat = F.avg_pool2d(x, H // CELLS)

    def cells(at: Tensor) -> Tensor:
        return F.interpolate(at, (H, W))

    soft = (1.5 * amount * draw.uniform(1, CELLS, CELLS)).clamp(max=1)
    x = torch.lerp(x, half, cells(soft))
    soft = 0.6 * amount * draw.uniform(1, CELLS, CELLS) ** 2
    x = torch.lerp(x, cells(flat), cells(soft))
    x = x * (1 + 0.1 * amount * draw.normal(1, 1, 1))
    x = x + 0.05 * amount * draw.normal(C, 1, 1)
    x = x + cells(0.07 * amount * draw.normal(C, CELLS, CELLS))
    return x + 0.1 * amount * draw.normal(C, H, W)


def shuffled_cells(x: Tensor, draw: Draw) -> Tensor:
    """Pictures x (B, C, H, W) whose cells lie in random order: they show nobody."""
    size = x.shape[-1] // CELLS
    patches = F.unfold(x, size, stride=size)  # (B, C·size², cells)
    order = draw.uniform(CELLS**2).argsort(dim=1)[:, None].expand_as(patches)
    return F.fold(patches.gather(2, order), x.shape[-2:], size, stride=size)


def attribute_loss(model: nn.Module, x: Tensor, y: Tensor, draw: Draw) -> Tensor:
    """Cross-entropy of the answers to pictures x (B, 3, S, S) against labels y (B,
    attributes), summed over the attributes.

    The pictures are degraded; one in sixteen is shuffled, one is noise: these show
    nothing.
    """
    kind = draw.uniform(1, 1, 1)
    noise = draw.normal(*x.shape[1:]) * draw.uniform(1, 1, 1)
    x = torch.where(kind < 1 / 16, shuffled_cells(x, draw), x)
    x = torch.where(kind > 15 / 16, noise, degraded(x, draw))
    nothing = (kind < 1 / 16) | (kind > 15 / 16)
    y = y.masked_fill(nothing[:, :, 0, 0], 0)
    answers = model(x).split(model.counts(), dim=1)
    return sum(F.cross_entropy(a, y[:, i]) for i, a in enumerate(answers))
