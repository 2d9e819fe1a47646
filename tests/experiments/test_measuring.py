"""Chapter 5's collapses, on features whose answers are known."""

import torch

from minilib.experiments import measuring
from minilib.experiments.experiment import Size
from minilib.experiments.measuring import Seen


def test_evenly_takes_as_many_of_each_class_and_none_twice():
    labels = torch.arange(1000) % 10
    chosen = measuring.even_rows(labels, 200, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[chosen]).tolist() == [20] * 10
    assert len(set(chosen.tolist())) == 200


def test_the_most_typical_digit_is_nearest_to_the_centre_of_its_class():
    labels = torch.tensor([0, 0, 0, *range(1, 10)])
    features = torch.zeros(12, 2)
    features[:3, 0] = torch.tensor([5.0, 1.0, 3.0])
    rank = measuring.untypical(Seen(features, features, labels), torch.zeros(10, 2))
    assert rank[:3].tolist() == [1.0, 0.0, 0.5]


def test_the_sets_are_even_and_as_large_as_asked_for():
    sets = measuring.collapsed(0, 600)
    for one in sets.values():
        assert len(one.features) == 600
        assert torch.bincount(one.labels, minlength=10).tolist() == [60] * 10
    few = {tuple(row.tolist()) for row in sets["20 shapes"].features}
    assert len(few) == 200


def test_a_set_against_itself_is_perfect():
    reference = measuring.collapsed(0, 600)["reference"]
    found = measuring.numbers(reference, reference)
    assert abs(found["FD"]) < 1e-6
    assert found["precision"] == found["recall"] == 1


def test_every_part_is_measured():
    measured = measuring.collapse(0, Size.LIVE)
    assert measured.keys() == {part.name for part in measuring.ADM_1.parts}
