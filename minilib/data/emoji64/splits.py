"""Which cells (concept, style) are for training: decided by a hash of both names, so
that no order of concepts matters.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from minilib.data.emoji64.captions import captions
from minilib.data.emoji64.styles import NEW_STYLE, STYLES

HELD_OUT = 0.17  # the share of cells whose hash asks for it
NEVER_TUNED = 235  # concepts that no LoRA is tuned on


def split() -> Tensor:
    """The cells to train on: (935, 5), bool, a column for each of STYLES.

    Between 82 and 87 % of each style, and of every concept three styles or more: at
    most two of its cells are held out.
    """
    shares = torch.tensor([[share(c.code, s) for s in STYLES] for c in captions()])
    rank = shares.argsort(dim=1).argsort(dim=1)
    return (shares >= HELD_OUT) | (rank >= 2)


def lora_split(k: int) -> tuple[list[int], list[int]]:
    """Concepts for NEW_STYLE: k to tune on, and 235 that are in no such list. The lists
    are nested: the first 10 of 30 are those of k = 10.

    Raises ValueError for k not from 1 to 700.
    """
    order = sorted(
        range(len(captions())), key=lambda i: share(captions()[i].code, NEW_STYLE)
    )
    most = len(order) - NEVER_TUNED
    if not 1 <= k <= most:
        raise ValueError(f"expected k from 1 to {most} concepts, got {k}")
    return order[:k], order[most:]


def share(code: str, style: str) -> float:
    """A number in [0, 1) for a cell, the same on every machine."""
    digest = hashlib.md5(f"{code}|{style}".encode(), usedforsecurity=False)
    return int(digest.hexdigest()[:8], 16) / 2**32
