"""The true picture, looked up by what was drawn."""

import pytest
import torch
from torch.nn import functional as F

from minilib.data.emoji64.pictures import pictures
from minilib.data.emoji64.retrieval import (
    chance,
    features,
    grid_features,
    rank,
    ranks,
)
from minilib.data.emoji64.splits import split
from minilib.data.emoji64.styles import STYLES


@pytest.fixture(scope="module")
def cells():
    return (~split()).nonzero()[::6]


@pytest.fixture(scope="module")
def grid():
    return torch.stack([pictures(style, 32) for style in STYLES], dim=1)


def first(rank):
    return (rank == 1).float().mean().item()


def test_the_true_picture_comes_first(grid, cells):
    row, column = ranks(grid[cells[:, 0], cells[:, 1]], cells)
    assert row.shape == column.shape == (122,)
    assert row.dtype == column.dtype == torch.long
    assert (row == 1).all()
    assert (column == 1).all()


def test_what_is_drawn_a_little_wrong_is_still_found(grid, cells):
    g = torch.Generator().manual_seed(0)
    x = grid[cells[:, 0], cells[:, 1]]
    x = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    x = x.roll((1, -1), dims=(2, 3)) + 0.2 * torch.randn(x.shape, generator=g)
    row, column = ranks(x.clamp(-1, 1), cells)
    assert first(row) > 0.95
    assert first(column) > 0.95


def test_a_wrong_style_and_a_wrong_concept_are_not(grid, cells):
    concepts, styles = cells.unbind(dim=1)
    row, column = ranks(grid[concepts, (styles + 1) % 5], cells)
    assert first(row) == 0
    assert 0.1 < first(column) < 0.3
    row, column = ranks(grid[(concepts + 467) % 935, styles], cells)
    assert abs(first(row) - chance()[0]) < 0.07
    assert first(column) == 0
    assert (row.min(), row.max()) == (1, 5)
    assert column.max() > 800
    assert chance() == (1 / 5, 1 / 935)


def test_a_rank_counts_those_that_are_nearer():
    candidates = torch.tensor([[0.0, 0], [3, 4], [0, 2], [1, 0]])
    f = torch.zeros(2)
    assert [rank(f, candidates, true) for true in range(4)] == [1, 4, 3, 2]


def test_features_are_blurred_pixels_at_32():
    x = torch.zeros(1, 3, 32, 32)
    x[0, 1, 10, 20] = 1
    f = features(x).reshape(3, 32, 32)
    assert f.sum() == pytest.approx(1, abs=1e-5)
    assert f[0].abs().max() == f[2].abs().max() == 0
    # a normal distribution of standard deviation 1
    assert f[1, 10, 22] / f[1, 10, 20] == pytest.approx(0.1353353, rel=1e-5)
    assert f[1, 9, 20] / f[1, 10, 20] == pytest.approx(0.6065307, rel=1e-5)
    assert f[1, 14, 20] == 0
    assert torch.allclose(features(torch.full((2, 3, 32, 32), 0.5)), torch.tensor(0.5))


def test_either_size_gives_the_same_features():
    large, small = (features(pictures("noto", size)[:20]) for size in (64, 32))
    assert torch.allclose(large, small, atol=1e-6)
    assert torch.equal(small, grid_features()[0, :20])


@pytest.mark.parametrize(
    ("x", "cells", "message"),
    [
        (torch.zeros(2, 3, 32, 32), [[0, 0]], r"cells of shape \(2, 2\), got \(1, 2\)"),
        (torch.zeros(1, 3, 32, 32), [[0.0, 0.0]], "cells of whole numbers, got torch"),
        (torch.zeros(1, 3, 32, 32), [[935, 0]], "concepts from 0 to 934, got 935"),
        (torch.zeros(1, 3, 32, 32), [[-1, 0]], "concepts from 0 to 934, got -1"),
        (torch.zeros(1, 3, 32, 32), [[0, 5]], "styles from 0 to 4, got 5"),
        (torch.zeros(1, 3, 48, 48), [[0, 0]], r"shape \(B, 3, 32, 32\) in \[-1, 1\]"),
        (torch.zeros(1, 3, 32, 32).int(), [[0, 0]], "a floating-point x"),
        (torch.full((1, 3, 32, 32), 1.5), [[0, 0]], "pictures from -1 to 1, got 1.5"),
        (torch.full((1, 3, 64, 64), torch.nan), [[0, 0]], "from -1 to 1, got nan"),
    ],
)
def test_bad_input_is_named(x, cells, message):
    with pytest.raises(ValueError, match=message):
        ranks(x, torch.tensor(cells))
