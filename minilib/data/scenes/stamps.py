"""How every kind of thing looks, wherever it may be: what the finder compares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from minilib.data.portraits.drawing import rgb
from minilib.data.scenes.drawing import (
    DARK,
    GROUNDS,
    SHAPES,
    SIZES,
    TEXTURES,
    TINTS,
    Thing,
    coverage,
)

SIZE = 32
LEVELS = torch.linspace(DARK, 1, 3)
KINDS = [
    (shape, size, texture) for shape in SHAPES for size in SIZES for texture in TEXTURES
]


@cache
def palette(table: str) -> Tensor:
    """The colours of things or of backgrounds, (K, 3) in [0, 1]."""
    return torch.tensor(
        [rgb(c) for c in (TINTS if table == "things" else GROUNDS).values()]
    )


@dataclass(frozen=True)
class Stamps:
    """How every kind looks: crops (kinds, 2, 2, 35, 35, 3, 32, 32) of how much of a
    pixel it covers at each of LEVELS.

    The indices are the kind, half pixels down and across, and how far the middle, at
    pixel 33, is from the crop's edge.
    """

    crops: Tensor

    def cut(self, at: Tensor) -> Tensor:
        """Things (N, 3), the number of a kind and the middle in half pixels → (N,
        levels, 32, 32).
        """
        kind, x, y = at.T
        return self.crops[kind, y % 2, x % 2, 33 - y // 2, 33 - x // 2]

    def drawn(self, things: list[Drawn]) -> tuple[Tensor, Tensor]:
        """The paint (N, 3, 32, 32) of things, and how much of what is below shines
        through (N, 1, 32, 32).
        """
        shares = self.cut(torch.tensor([[t.kind, t.x, t.y] for t in things]))
        bright = torch.einsum("nlhw,l->nhw", shares, LEVELS)[:, None]
        return palette("things")[
            [t.colour for t in things], :, None, None
        ] * bright, 1 - shares.sum(dim=1, keepdim=True)


@cache
def stamps(blur: float) -> Stamps:
    """The stamps of a sharp picture, or of one that a Gaussian of `blur` pixels has
    blurred.
    """
    halves = [(down, across) for down in (0, 0.5) for across in (0, 0.5)]
    things = [
        Thing(shape, "red", size, texture, (16 + across) / SIZE, (16 + down) / SIZE)
        for shape, size, texture in KINDS
        for down, across in halves
    ]
    inside, dark = coverage(things, SIZE)
    cover, bright = (
        torch.from_numpy(
            ndimage.gaussian_filter(
                F.pad(part, (17, 17, 17, 17)).numpy(), (0, blur, blur)
            )
        )
        for part in (inside, inside * (1 - (1 - DARK) * dark))
    )
    level = (bright / cover.clamp(min=1e-3)).clamp(DARK, 1)[:, None]
    # a level between two is a mixture
    near = 1 - (level - LEVELS[:, None, None]).abs() / (LEVELS[1] - LEVELS[0])
    shares = (cover[:, None] * near.clamp(min=0)).view(-1, 2, 2, len(LEVELS), 66, 66)
    return Stamps(
        shares.unfold(4, SIZE, 1).unfold(5, SIZE, 1).permute(0, 1, 2, 4, 5, 3, 6, 7)
    )


@dataclass(frozen=True)
class Drawn:
    """A thing that is drawn to be compared: the numbers of its kind and colour, its
    middle in half pixels.
    """

    kind: int
    x: int
    y: int
    colour: int

    def values(self) -> dict[str, str]:
        """Its attributes."""
        shape, size, texture = KINDS[self.kind]
        return {
            "shape": shape,
            "size": size,
            "texture": texture,
            "colour": list(TINTS)[self.colour],
        }

    def neighbours(self) -> list[Drawn]:
        """The things that differ in one attribute at most, where it is and half a pixel
        away.
        """
        # KINDS are in the order of these
        shape, size, texture = self.kind // 9, self.kind // 3 % 3, self.kind % 3
        kinds = {9 * i + self.kind % 9 for i in range(len(SHAPES))}
        kinds |= {9 * shape + 3 * i + texture for i in range(3)} | {
            9 * shape + 3 * size + i for i in range(3)
        }
        others = [(kind, self.colour) for kind in sorted(kinds)] + [
            (self.kind, i) for i in range(len(TINTS))
        ]
        places = [(self.x + dx, self.y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        inside = [(x, y) for x, y in places if 0 <= min(x, y) <= max(x, y) <= 2 * SIZE]
        return [Drawn(kind, x, y, colour) for kind, colour in others for x, y in inside]
