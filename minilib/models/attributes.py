"""A judge of drawn people: a small network that says, attribute by attribute, what a
picture shows, or that it can't tell.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilib import runtime
from minilib.data.people.attributes import Person, seen, values
from minilib.models.degradation import degraded, shuffled
from minilib.runtime import (
    require_images,
    require_range,
    require_shape,
    require_share,
)
from minilib.train import Draw

# the least probability of an answer: of those on degraded pictures 99.5 % are right
SURE = 0.5


class AttributeJudge(nn.Module):
    """x (B, 3, size, size) in [-1, 1] → logits (B, all answers), size 32 or 64.

    Each attribute of `values(style, size)` has its answers side by side: first that the
    picture doesn't show it, then its values. Raises ValueError for an unknown style or
    size.
    """

    def __init__(self, size: int = 32, style: str = "personas"):
        super().__init__()
        self.size, self.values = size, values(style, size)
        # of each attribute: not shown, or one of its values
        self.answers = [1 + len(names) for names in self.values.values()]
        fold = size // 16  # so many pixels square become the channels of one place
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(fold),  # (B, 3·fold², 16, 16)
            nn.Conv2d(3 * fold**2, 64, 3, padding=1),
            nn.SiLU(),
            *conv_block(64, 64),
            nn.MaxPool2d(2),  # (B, 64, 8, 8)
            *conv_block(64, 128),
            nn.MaxPool2d(2),  # (B, 128, 4, 4)
            nn.Flatten(),
        )
        self.head = nn.Linear(128 * 4 * 4, sum(self.answers))

    def forward(self, x: Tensor) -> Tensor:
        require_images(x, (3, self.size, self.size))
        return self.head(self.trunk(x))


def conv_block(channels_in: int, channels_out: int) -> list[nn.Module]:
    """(B, channels_in, H, W) → (B, channels_out, H, W)."""
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    return [conv, nn.GroupNorm(8, channels_out), nn.SiLU()]


def labels(people: list[Person], style: str = "personas", size: int = 32) -> Tensor:
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


def attribute_loss(model: AttributeJudge, x: Tensor, y: Tensor, draw: Draw) -> Tensor:
    """Cross-entropy of the answers to pictures x (B, 3, S, S) against labels y (B,
    attributes), summed over the attributes.

    The pictures are degraded; one in sixteen is shuffled, one is noise: these show
    nobody. Raises ValueError for labels of no answer.
    """
    kind, noise = draw.uniform(1, 1, 1), draw.normal(*x.shape[1:])
    x = torch.where(kind < 1 / 16, shuffled(x, draw), x)
    x = torch.where(kind > 15 / 16, noise * draw.uniform(1, 1, 1), degraded(x, draw))
    nobody = (kind < 1 / 16) | (kind > 15 / 16)
    logits = model(x).split(model.answers, dim=1)
    require_shape("labels y", y, (len(x), len(logits)))
    losses = []
    for answers, label in zip(
        logits, y.masked_fill(nobody[..., 0, 0], 0).T, strict=True
    ):
        require_range("labels y", label, 0, answers.shape[1] - 1)
        losses.append(F.cross_entropy(answers, label))
    return torch.stack(losses).sum()


def judged(
    model: AttributeJudge, x: Tensor, sure: float = SURE
) -> list[dict[str, str | None]]:
    """What each of pictures x (N, 3, S, S) in [-1, 1] shows: for each attribute a
    value, or None, "can't tell", where that is not seen or less probable than `sure`.

    S is 64 or the model's size: at 32 it sees the means of four pixels. Raises
    ValueError for pictures of another shape, and for `sure` not from 0 to 1.
    """
    require_share("sure", sure)
    if model.size == 32 and x.shape[-1] == 64:
        require_images(x, (3, 64, 64))
        x = F.avg_pool2d(x, 2)
    logits = runtime.in_blocks(model, x).split(model.answers, dim=1)
    columns: list[list[str | None]] = []
    for names, answers in zip(model.values.values(), logits, strict=True):
        p, answer = answers.softmax(dim=1).max(dim=1)
        told = answer.masked_fill(p < sure, 0).tolist()
        columns.append([(None, *names)[i] for i in told])
    return [
        dict(zip(model.values, row, strict=True)) for row in zip(*columns, strict=True)
    ]
