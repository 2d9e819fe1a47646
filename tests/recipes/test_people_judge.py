"""The shipped judge of people: fresh people, worse pictures, and no people at all."""

import pytest
import torch
from torch.nn import functional as F

from minilib import recipes, weights
from minilib.data.people.attributes import draw, seen
from minilib.data.people.captions import caption
from minilib.data.people.checker import claims_right, error_table
from minilib.data.people.drawing import render
from minilib.models.attributes import judged


@pytest.fixture(scope="module")
def judge():
    return weights.load_pretrained(recipes.get("people_judge").model(), "people_judge")


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("split", "move"), [("test", 0), ("test", 5), ("held_out", 0)])
def test_of_fresh_people_almost_every_claim_is_judged_right(judge, split, move):
    people = draw(400, 7, split, move=move)
    found = judged(judge, render(people, size=32))
    right = claims_right(found, [caption(person, size=32) for person in people])
    assert right["claims"] >= 0.995
    assert min(right.values()) >= 0.96
    table = error_table(found, [seen(person, size=32) for person in people])
    assert table["all"].right >= 0.995
    assert min(row.right for row in table.values()) >= 0.96


def test_what_is_hidden_is_not_told(judge):
    """Hair under a hat, a colour of no hair, and moods that 32 pixels don't show."""
    people = draw(400, 8)
    named = hidden = 0
    for person, found in zip(
        people, judged(judge, render(people, size=32)), strict=True
    ):
        answers = [v for k, v in found.items() if k not in seen(person, size=32)]
        hidden += len(answers)
        named += sum(value is not None for value in answers)
    assert hidden > 300
    assert named <= 0.01 * hidden


@pytest.mark.parametrize("worse", [
    lambda x: x + 0.1 * noise(*x.shape),
    lambda x: F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear"),
    lambda x: 0.9 * x + 0.05,
])  # fmt: skip
def test_worse_pictures_are_judged_almost_as_well(judge, worse):
    people = draw(300, 9, "test")
    found = judged(judge, worse(render(people, size=32)))
    table = error_table(found, [seen(person, size=32) for person in people])
    assert table["all"].right >= 0.95
    assert 1 - table["all"].right - table["all"].unsure <= 0.02


def test_noise_and_colour_show_nobody(judge):
    grey, gradient = torch.zeros(1, 3, 32, 32), torch.linspace(-1, 1, 32)
    x = torch.cat([noise(50, 3, 32, 32), noise(50, 3, 32, 32).clamp(-1, 1) * 0.5, grey])
    x = torch.cat([x, grey + gradient])
    told = [value for found in judged(judge, x) for value in found.values()]
    assert sum(value is not None for value in told) <= 0.01 * len(told)
