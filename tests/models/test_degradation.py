"""Pictures made worse."""

import pytest
import torch

from minilib.data.people.dataset import people
from minilib.models.degradation import degraded, from_cells, like_others, shuffled
from minilib.models.degradation import to_cells as cut
from minilib.train import Draw, generator


def draw(total, step=0):
    return Draw(generator(0, step), slice(0, total), total)


@pytest.mark.parametrize("size", [32, 64])
def test_cells_are_squares_of_the_picture(size):
    x, k = torch.randn(2, 3, size, size, generator=generator(0, 1)), size // 8
    cells = cut(x)
    assert cells.shape == (2, 3 * k * k, 64)
    assert torch.equal(cells[1, :, 10], x[1, :, k : 2 * k, 2 * k : 3 * k].flatten())
    assert torch.equal(from_cells(cells, size), x)


def test_each_cell_becomes_the_nearest_of_another_picture():
    x = torch.zeros(3, 1, 16, 16)
    x[0], x[1], x[2] = 0.0, 1.0, 5.0
    x[2, :, :2, :2] = 0.1  # the first cell of the last picture is near to the first's
    out = like_others(x)
    assert torch.equal(out[0, 0, :2, :2], torch.full((2, 2), 0.1))
    assert torch.equal(out[0, 0, 2:], torch.ones(14, 16))
    assert torch.equal(out[1, 0, 2:], torch.zeros(14, 16))
    assert torch.equal(out[2, 0, 2:], torch.ones(14, 16))


def test_shuffling_keeps_the_cells_and_loses_their_order():
    x = people(4, 0, size=32)[0]
    out = shuffled(x, draw(4))
    assert not torch.equal(out, x)
    for before, after in zip(cut(x), cut(out), strict=True):
        assert sorted(before.sum(dim=0).tolist()) == sorted(after.sum(dim=0).tolist())
    assert not torch.equal(cut(out)[0].argsort(dim=1), cut(out)[1].argsort(dim=1))


@pytest.mark.parametrize("size", [32, 64])
def test_pictures_get_worse_each_by_its_own_amount(size):
    x = people(64, 0, size=size)[0]
    out = degraded(x, draw(64))
    error = (out - x).square().mean(dim=(1, 2, 3)).sqrt()
    assert out.shape == x.shape
    assert error.min() < 0.03 < 0.1 < error.max() < 0.4
    # what is nobody's fault stays: on the whole neither darker nor paler
    assert (out - x).mean().abs() < 0.03
    assert torch.equal(out, degraded(x, draw(64)))
    assert not torch.equal(out, degraded(x, draw(64, 1)))
