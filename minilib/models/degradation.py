"""Pictures made worse, to train who must judge what an autoencoder of tokens draws."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minilib.train import Draw

CELLS = 8  # along a side: where an autoencoder of 8 x 8 tokens errs as one


def degraded(x: Tensor, draw: Draw) -> Tensor:
    """Pictures x (B, C, H, W) as a weak autoencoder gives them back, each worse or
    better: soft here, mistaken there, off in colour, noisy.
    """
    C, H, W = x.shape[1:]
    amount = draw.uniform(1, 1, 1)

    def cells(at: Tensor) -> Tensor:
        return F.interpolate(amount * at, (H, W))

    half = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear")
    x = torch.lerp(x, like_others(x), cells(0.5 * draw.uniform(1, CELLS, CELLS)))
    x = torch.lerp(x, half, cells(draw.uniform(1, CELLS, CELLS)))
    x = x * (1 + 0.1 * amount * draw.normal(1, 1, 1))
    x = x + 0.05 * amount * draw.normal(C, 1, 1)
    x = x + cells(0.07 * draw.normal(C, CELLS, CELLS))
    return x + 0.1 * amount * draw.normal(C, H, W)


def to_cells(x: Tensor) -> Tensor:
    """Pictures (B, C, S, S) cut into cells: (B, C·(S/8)², 64)."""
    size = x.shape[-1] // CELLS
    return F.unfold(x, size, stride=size)


def from_cells(cells: Tensor, size: int) -> Tensor:
    """The inverse of `to_cells`."""
    return F.fold(cells, (size, size), size // CELLS, stride=size // CELLS)


def like_others(x: Tensor) -> Tensor:
    """Pictures x (B, C, S, S), each cell replaced by the nearest of those at its place
    in the other pictures: what a codebook of few tokens does.
    """
    cells = to_cells(x).permute(2, 0, 1)  # (64, B, C·(S/8)²)
    distance = torch.cdist(cells, cells) + torch.eye(len(x)).to(x) * 1e6
    nearest = distance.argmin(dim=2)[..., None].expand_as(cells)
    return from_cells(cells.gather(1, nearest).permute(1, 2, 0), x.shape[-1])


def shuffled(x: Tensor, draw: Draw) -> Tensor:
    """Pictures x (B, C, S, S) whose cells lie in random order: they show nobody."""
    cells = to_cells(x)
    order = draw.uniform(CELLS**2).argsort(dim=1)[:, None].expand_as(cells)
    return from_cells(cells.gather(2, order), x.shape[-1])
