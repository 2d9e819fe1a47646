"""Whether a drawn picture of a cell (concept, style) is nearest to its true picture.

The true one competes with its row, the same concept in the five styles, and with its
column, the 935 concepts in the same style. Nearest is by the Euclidean distance of
blurred pixels. How often the true picture then comes first, of the 730 held-out cells,
when it was changed and looked up (in %, row / column), by plain pixels, by blurred
ones, and by histograms of gradient directions in blocks of 4 × 4:

    what was changed, at 32 pixels           pixels        blurred       gradients
    moved by 1 pixel in each direction       94.1 / 93.4   98.4 / 98.1   98.4 / 98.4
    moved by 2 pixels                        64.7 / 36.8   83.3 / 74.2   91.4 / 93.7
    shrunk to 90 %                           83.0 / 86.4   85.5 / 92.3   88.1 / 94.2
    turned by 8 degrees                      97.8 / 97.0   99.0 / 99.9   98.9 / 97.8
    blurred, sigma 2 pixels                  90.5 / 80.0   98.4 / 98.8   90.5 / 81.5
    noise of standard deviation 0.5          99.2 / 98.6   97.9 / 96.3   64.1 /  7.7
    each colour by up to 25 %                99.7 / 99.0   97.5 / 95.6    100 / 99.6
    a little of all of these                 93.0 / 90.5   97.0 / 97.7   73.6 / 34.5

The right concept in a wrong style comes first in 0 / 22.1 %, and a wrong concept in the
right style in 21.8 / 0 %: only together do the two say that a cell was drawn.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from minilib.data.emoji64.captions import captions
from minilib.data.emoji64.pictures import pictures
from minilib.data.emoji64.styles import STYLES
from minilib.runtime import require_images, require_range, require_shape

SIGMA = 1.0  # of the blur, in pixels of 32


def chance() -> tuple[float, float]:
    """How often a random picture comes first: 1 in 5 of a row, 1 in 935 of a column."""
    return 1 / len(STYLES), 1 / len(captions())


def ranks(x: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """The rank of the true picture in its row, and in its column: twice (N,), long; 1
    is the nearest to what was drawn.

    x (N, 3, S, S) in [-1, 1], S 32 or 64, are drawn pictures, and cells (N, 2), long,
    are the concept and the style of each, as in `split().nonzero()`. Raises ValueError
    for other shapes or values.
    """
    require_cells(cells, len(x))
    drawn, grid = features(x), grid_features()
    row, column = [], []
    for f, (concept, style) in zip(drawn, cells.tolist(), strict=True):
        row.append(rank(f, grid[:, concept], style))
        column.append(rank(f, grid[style], concept))
    return torch.tensor(row, dtype=torch.long), torch.tensor(column, dtype=torch.long)


def rank(f: Tensor, candidates: Tensor, true: int) -> int:
    """How near to f (D,) the true one of candidates (N, D) is: 1 is the nearest."""
    # as differences: products would round
    mode = "donot_use_mm_for_euclid_dist"
    distance = torch.cdist(f[None], candidates, compute_mode=mode)[0]
    return 1 + int((distance < distance[true]).sum())


def features(x: Tensor) -> Tensor:
    """Blurred pixels at 32: (N, 3, S, S) in [-1, 1], S 32 or 64 → (N, 3072). Raises
    ValueError for other shapes or values.
    """
    size = 64 if x.shape[-1] == 64 else 32
    require_images(x, (3, size, size))
    require_range("pictures", x, -1, 1)
    x = F.avg_pool2d(x, 2) if size == 64 else x
    distance = torch.arange(-3.0, 4)
    weights = torch.exp(-(distance**2) / (2 * SIGMA**2))
    weights = (weights / weights.sum()).to(x).expand(3, 1, 1, -1)  # (3, 1, 1, 7)
    x = F.pad(x, (3, 3, 3, 3), mode="replicate")
    x = F.conv2d(F.conv2d(x, weights, groups=3), weights.transpose(2, 3), groups=3)
    return x.flatten(1)


@cache
def grid_features() -> Tensor:
    """The features of all true pictures: (5, 935, 3072)."""
    return torch.stack([features(pictures(style, 32)) for style in STYLES])


def require_cells(cells: Tensor, n: int) -> None:
    """Raise ValueError unless cells are n pairs of a concept and a style, whole
    numbers.
    """
    require_shape("cells", cells, (n, 2))
    if cells.is_floating_point():
        raise ValueError(f"expected cells of whole numbers, got {cells.dtype}")
    require_range("concepts", cells[:, 0], 0, len(captions()) - 1)
    require_range("styles", cells[:, 1], 0, len(STYLES) - 1)
