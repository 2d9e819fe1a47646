"""People as data: pictures, captions, and who is in them."""

from __future__ import annotations

from torch import Tensor

from minilib.data.people.attributes import Person, draw
from minilib.data.people.captions import captions
from minilib.data.people.drawing import render


def people(
    n: int,
    seed: int,
    split: str = "train",
    style: str = "personas",
    size: int = 64,
    move: int = 0,
) -> tuple[Tensor, list[str], list[Person]]:
    """n pictures (n, 3, size, size) in [-1, 1], a varied caption for each that says
    only what that size shows, and the people.

    In the split "held_out" every caption tells a pair of attributes that "train" never
    shows. Raises ValueError for an unknown split, style or size, or a move not from 0
    to 16.
    """
    who = draw(n, seed, split, style, move)
    return render(who, style, size), captions(who, seed, style, size), who
