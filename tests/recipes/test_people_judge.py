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


@pytest.mark.parametrize(
    ("split", "move", "share"),
    [("test", 0, 0.995), ("held_out", 0, 0.995), ("test", 5, 0.99)],
)
def test_of_fresh_people_almost_every_claim_is_judged_right(judge, split, move, share):
    """Worst are beards of the skin's own colour, and of moved people those and bobs."""
    people = draw(400, 7, split, move=move)
    found = judged(judge, render(people, size=32))
    right = claims_right(found, [caption(person, size=32) for person in people])
    table = error_table(found, [seen(person, size=32) for person in people])
    assert right["claims"] >= share
    assert table["all"].right >= share
    assert min(row.right for row in table.values()) >= 0.95
    assert table["clothing_colour"].right == table["background"].right == 1


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


def test_at_64_pixels_eyes_smiles_and_frowns_are_judged_too():
    recipe = recipes.get("people_judge_64")
    judge = weights.load_pretrained(recipe.model(), recipe.name)
    people = draw(400, 7, "test")
    found = judged(judge, render(people))
    table = error_table(found, [seen(person) for person in people])
    assert table["all"].right >= 0.995
    assert table["eyes"].right >= 0.98
    assert claims_right(found, [caption(p) for p in people])["claims"] >= 0.995
    assert {"smiling", "frowning"} <= {one["mood"] for one in found}


def soft(x):
    return F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear")


@pytest.mark.parametrize(
    "worse",
    [
        lambda x: x + 0.1 * noise(*x.shape),
        lambda x: 0.4 * x + 0.6 * soft(x),
        lambda x: 0.9 * x + 0.05,
    ],
)
def test_worse_pictures_are_judged_almost_as_well(judge, worse):
    people = draw(300, 9, "test")
    found = judged(judge, worse(render(people, size=32)))
    table = error_table(found, [seen(person, size=32) for person in people])
    assert table["all"].right >= 0.99


def test_what_16_pixels_lose_is_missed_alone(judge):
    """At 16 pixels checks are gone; what is large stays."""
    people = draw(300, 9, "test")
    found = judged(judge, soft(render(people, size=32)))
    table = error_table(found, [seen(person, size=32) for person in people])
    assert table["clothing"].confused[0][:2] == ("checked shirt", "t-shirt")
    for name in ("background", "clothing_colour", "hat", "skin"):
        assert table[name].right >= 0.99


def test_noise_and_colour_show_nobody(judge):
    grey, gradient = torch.zeros(1, 3, 32, 32), torch.linspace(-1, 1, 32)
    x = torch.cat([noise(50, 3, 32, 32), noise(50, 3, 32, 32).clamp(-1, 1) * 0.5, grey])
    x = torch.cat([x, grey + gradient])
    told = [value for found in judged(judge, x) for value in found.values()]
    assert sum(value is not None for value in told) <= 0.01 * len(told)
