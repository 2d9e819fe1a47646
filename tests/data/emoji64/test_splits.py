"""Cells that are kept from training."""

import pytest
import torch

from minilib.data.emoji64.splits import lora_split, share, split


def test_every_style_and_every_concept_keeps_most_of_its_cells():
    train = split()
    assert train.shape == (935, 5)
    assert train.dtype == torch.bool
    held_out = ~train
    assert held_out.sum() == 730
    assert held_out.sum(dim=1).max() == 2
    assert held_out.sum(dim=0).tolist() == [136, 159, 145, 124, 166]
    # no style's held-out cells go with another's
    both = (held_out[:, :, None] & held_out[:, None]).sum(dim=0)
    assert both.fill_diagonal_(0).max() < 45


def test_the_split_does_not_change():
    held_out = (~split()).nonzero().tolist()
    assert held_out[:6] == [[0, 3], [0, 4], [1, 1], [2, 2], [2, 3], [3, 1]]
    assert share("1F600", "noto") == pytest.approx(0.8777676143)


def test_lists_for_lora_are_nested_and_the_rest_is_never_tuned():
    few, held_out = lora_split(10)
    most, same = lora_split(700)
    assert most[:10] == few == [397, 432, 588, 410, 63, 227, 689, 294, 455, 651]
    assert held_out == same
    assert sorted(most + held_out) == list(range(935))


@pytest.mark.parametrize("k", [0, -1, 701])
def test_a_list_has_a_length_that_there_is(k):
    with pytest.raises(ValueError, match=f"k from 1 to 700 concepts, got {k}"):
        lora_split(k)
