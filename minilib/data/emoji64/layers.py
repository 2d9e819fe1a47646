"""The parts that style "fluent" paints its emoji of: every part and group of parts is a
right answer to a click.
"""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import torch
from torch import Tensor

from minilib.data.emoji64.captions import require_concept
from minilib.data.emoji64.pictures import SIZE
from minilib.data.shipped import read_shipped

LAYERS = (
    "emoji64/layers.npz",
    "fc980798ed9e533d3f1cb34ff74a850ff7b49728c7dd2c169c2b8da623d85c79",
)


@cache
def layers() -> dict[str, np.ndarray]:
    """`label` (935, 64, 64) and the `parent` of each node of all emoji, those of emoji
    i from offset[i] to offset[i + 1].
    """
    with np.load(io.BytesIO(read_shipped(*LAYERS)), allow_pickle=False) as arrays:
        return dict(arrays)


def label(i: int) -> Tensor:
    """The part that is seen at each place of concept i: (64, 64), uint8.

    0 is the background; parts are numbered as they are painted, from 1. Raises
    ValueError for i not from 0 to 934.
    """
    require_concept(i)
    return torch.from_numpy(layers()["label"][i].copy())


def parents(i: int) -> list[int]:
    """The node that holds each node of concept i, counted from 1; 0 is the whole.

    Nodes up to label(i).max() are parts, the others groups of parts. Raises ValueError
    for i not from 0 to 934.
    """
    require_concept(i)
    start, end = layers()["offset"][i : i + 2]
    return layers()["parent"][start:end].tolist()


def masks(i: int) -> Tensor:
    """All masks of concept i, no two equal: (masks, 64, 64), bool.

    The first is the whole. A node's mask is its own pixels and those of the nodes that
    it holds. Raises ValueError for i not from 0 to 934.
    """
    seen, holders = label(i), [0, *parents(i)]
    out = torch.stack([seen == node for node in range(len(holders))])
    out[0] = seen > 0
    for node, holder in enumerate(holders):
        own = seen == node
        while holder:
            out[holder] |= own
            holder = holders[holder]
    distinct = (out[1:] != out[0]).flatten(1).any(dim=1)
    return torch.cat([out[:1], out[1:][distinct]])


def at(i: int, row: int, column: int) -> list[int]:
    """The answers to a click on concept i: indices of masks(i) that hold this pixel,
    smallest mask first; none on the background.

    Raises ValueError for i not from 0 to 934, or a pixel outside the picture.
    """
    if not (0 <= row < SIZE and 0 <= column < SIZE):
        raise ValueError(
            f"expected a row and column from 0 to {SIZE - 1}, got {(row, column)}"
        )
    found = masks(i)
    areas = found.flatten(1).sum(dim=1).tolist()
    hit = found[:, row, column].nonzero().flatten().tolist()
    return sorted(hit, key=lambda k: areas[k])
