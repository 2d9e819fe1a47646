"""The painted parts, and the answers to a click."""

import pytest
import torch

from minilib.data.emoji64.layers import at, label, masks, parents
from minilib.data.emoji64.pictures import alpha


@pytest.fixture(scope="module")
def every_mask():
    return [masks(i) for i in range(935)]


def test_no_mask_is_empty_and_no_two_are_equal(every_mask):
    for found in every_mask:
        assert found.dtype == torch.bool
        assert found.flatten(1).any(dim=1).all()
        assert len({mask.numpy().tobytes() for mask in found}) == len(found)
    counts = torch.tensor([len(found) for found in every_mask])
    assert counts.median() == 8
    assert counts.max() == 41


def test_the_whole_holds_the_others_and_is_what_the_picture_covers(every_mask):
    covered = alpha("fluent")[:, 0] > 0.5
    for i, found in enumerate(every_mask):
        assert not (found & ~found[0]).any()
        assert (found[0] == covered[i]).float().mean() > 0.98


def test_two_masks_are_nested_or_apart(every_mask):
    for found in every_mask:
        area = found.flatten(1).float()
        shared = area @ area.T
        least = torch.minimum(area.sum(dim=1)[:, None], area.sum(dim=1))
        assert ((shared == 0) | (shared == least)).all()


def test_a_node_is_its_pixels_and_those_of_what_it_holds():
    holders, seen = parents(0), label(0)
    assert holders == [0, 8, 8, 2, 3, 1, 6, 1]
    assert seen.max() == 7
    found = masks(0)
    # node 1 is the whole; node 8 holds 2 and 3, which hold 4 and 5
    assert len(found) == 8
    assert torch.equal(found[7], (seen >= 2) & (seen <= 5))
    assert torch.equal(found[1], (seen == 2) | (seen == 4))
    assert torch.equal(found[3], seen == 4)


def test_a_click_has_its_answers_smallest_first(every_mask):
    row, column = (label(0) == 4).nonzero()[0].tolist()
    assert at(0, row, column) == [3, 1, 7, 0]
    assert at(0, 0, 0) == []
    deep = [found.sum(dim=0).max() >= 3 for found in every_mask]
    assert sum(deep) / len(deep) == pytest.approx(0.787, abs=0.001)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: masks(935), "a concept from 0 to 934, got 935"),
        (lambda: label(-1), "a concept from 0 to 934, got -1"),
        (lambda: parents(-1), "a concept from 0 to 934, got -1"),
        (lambda: at(935, 0, 0), "a concept from 0 to 934, got 935"),
        (lambda: at(0, 64, 0), r"row and column from 0 to 63, got \(64, 0\)"),
        (lambda: at(0, 0, -1), r"row and column from 0 to 63, got \(0, -1\)"),
    ],
)
def test_what_there_is_not_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
