"""Are a caption's claims true of a picture? What can be read off exactly is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minilib.data.people.captions import read
from minilib.data.people.drawing import COLOURS, rgb
from minilib.runtime import require_images

CORNER = 16  # hardly anybody reaches into the outer sixteenth of the upper eighth
NEAR = 0.18  # of a colour in [0, 1]: further from all backgrounds is none of them


def background(x: Tensor) -> list[str | None]:
    """The colour of the background of each of pictures x (N, 3, S, S) in [-1, 1], S
    from 16 up; None for "can't tell".

    It is the one nearest to the median of the upper corners, if it is near. Raises
    ValueError for x of another shape.
    """
    size = x.shape[-1]
    require_images(x, (3, max(size, CORNER), max(size, CORNER)))
    k, names = size // CORNER, list(COLOURS["background"])
    top = x[:, :, : 2 * k]
    corners = torch.cat([top[..., :k], top[..., -k:]], dim=-1).flatten(2)
    colour = corners.float().median(dim=-1).values / 2 + 0.5  # (N, 3)
    known = torch.tensor([rgb(COLOURS["background"][name]).tolist() for name in names])
    distance, nearest = torch.cdist(colour, known).min(dim=1)
    return [
        names[i] if near else None
        for i, near in zip(nearest.tolist(), (distance < NEAR).tolist(), strict=True)
    ]


def claims_right(
    found: list[dict[str, str | None]], texts: list[str]
) -> dict[str, float]:
    """The share of captions' claims that hold for what was `found` in pictures,
    attribute by attribute.

    "claims" is the share of all of them, "caption" that of captions of which every
    claim holds. None, "can't tell", fulfils no claim, and an attribute that no caption
    names is left out. Raises ValueError where a caption cannot be read, or there is not
    one for each picture.
    """
    require_pairs(found, texts)
    right: dict[str, list[bool]] = {}
    for shown, text in zip(found, texts, strict=True):
        holds = {name: shown.get(name) == value for name, value in read(text).items()}
        for name, value in (*holds.items(), ("caption", all(holds.values()))):
            right.setdefault(name, []).append(value)
        right.setdefault("claims", []).extend(holds.values())
    return {name: sum(values) / len(values) for name, values in right.items() if values}


def require_pairs(found: list[dict[str, str | None]], truth: list[Any]) -> None:
    """Raise ValueError unless there is a caption, or the truth, for each picture."""
    if len(found) != len(truth):
        raise ValueError(
            f"expected a caption for each of {len(found)} pictures, got {len(truth)}"
        )


@dataclass(frozen=True)
class Errors:
    """Of n answers, the shares that are right, and that are "can't tell"; and what was
    taken for what how often, the most frequent first.
    """

    n: int
    right: float
    unsure: float
    confused: list[tuple[str, str, int]]


def error_table(
    found: list[dict[str, str | None]], shown: list[dict[str, str]]
) -> dict[str, Errors]:
    """What was `found` in pictures against what they have `shown`, attribute by
    attribute, and in all.

    What a picture doesn't show is not asked for. Raises ValueError unless there is as
    much of one as of the other.
    """
    require_pairs(found, shown)
    pairs: dict[str, list[tuple[str, str | None]]] = {}
    for answers, truth in zip(found, shown, strict=True):
        for name, value in truth.items():
            pairs.setdefault(name, []).append((value, answers.get(name)))
    pairs["all"] = [pair for column in pairs.values() for pair in column]
    return {name: errors(column) for name, column in pairs.items()}


def errors(pairs: list[tuple[str, str | None]]) -> Errors:
    """Of pairs (value, answer)."""
    wrong = Counter((a, b) for a, b in pairs if b is not None and a != b)
    right, unsure = sum(a == b for a, b in pairs), sum(b is None for _, b in pairs)
    confused = [(a, b, count) for (a, b), count in wrong.most_common(3)]
    return Errors(len(pairs), right / len(pairs), unsure / len(pairs), confused)
