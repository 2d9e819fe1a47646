"""What is read off exactly, and how claims are counted."""

import pytest
import torch

from minilib.data.people.attributes import STYLES, draw
from minilib.data.people.captions import caption, claims
from minilib.data.people.checker import background, claims_right, error_table
from minilib.data.people.drawing import render


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [64, 32])
def test_the_background_is_read_off(style, size):
    people = draw(300, 2, style=style, move=5)
    x = render(people, style, size)
    noisy = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    wanted = [p.background for p in people]
    assert background(x) == wanted
    right = [a == b for a, b in zip(background(noisy), wanted, strict=True)]
    assert sum(right) >= (297 if size == 64 else 270)


def test_what_is_no_background_can_not_be_told():
    dark, glaring = torch.full((1, 3, 32, 32), -1.0), torch.zeros(1, 3, 32, 32)
    glaring[:, 0] = 1
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 4 - 3
    assert background(dark) == background(glaring) == background(noise) == [None]


def test_claims_are_counted_by_attribute_and_in_all():
    texts = ["a person with red hair and glasses", "a person with long green hair"]
    found = [
        {"hair_colour": "red", "hair": "bob", "eyewear": "none"},
        {"hair_colour": "green", "hair": None},
    ]
    assert claims_right(found, texts) == {
        "hair_colour": 1.0,
        "eyewear": 0.0,
        "hair": 0.0,
        "claims": 0.5,
        "caption": 0.0,
    }
    people = draw(100, 0)
    whole = claims_right([claims(p) for p in people], [caption(p) for p in people])
    assert set(whole.values()) == {1.0}
    assert {"mood", "skin", "hat", "claims", "caption"} <= set(whole)
    assert claims_right([{}], ["a person"]) == {"caption": 1.0}


def test_errors_are_tabled_by_attribute_and_in_all():
    shown = [
        {"hair": "bob", "hat": "none"},
        {"hair": "bob", "hat": "cap"},
        {"hair": "long", "hat": "none"},
        {"hair": "bob"},
    ]
    found = [
        {"hair": "long", "hat": "none", "mood": "angry"},
        {"hair": "long", "hat": None},
        {"hair": "afro", "hat": "none"},
        {"hair": "bob", "hat": "cap"},
    ]
    table = error_table(found, shown)
    assert list(table) == ["hair", "hat", "all"]
    assert (table["hair"].n, table["hair"].right, table["hair"].unsure) == (4, 0.25, 0)
    assert table["hair"].confused == [("bob", "long", 2), ("long", "afro", 1)]
    assert (table["hat"].n, table["hat"].right) == (3, pytest.approx(2 / 3))
    assert table["hat"].unsure == pytest.approx(1 / 3)
    assert table["hat"].confused == []
    assert (table["all"].n, table["all"].right) == (7, pytest.approx(3 / 7))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="a caption for each of 2 pictures, got 1"):
        claims_right([{}, {}], ["a person"])
    with pytest.raises(ValueError, match="for each of 1 pictures, got 2"):
        error_table([{}], [{}, {}])
    with pytest.raises(ValueError, match="what is meant by 'dragon'"):
        claims_right([{}], ["a dragon"])
    with pytest.raises(ValueError, match="expected a floating-point x of shape"):
        background(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="expected a floating-point x of shape"):
        background(torch.zeros(2, 3, 32, 64))
    with pytest.raises(ValueError, match="uint8"):
        background(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
