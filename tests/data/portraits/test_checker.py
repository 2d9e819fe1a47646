"""The checker of portraits against pictures whose every attribute is known, whole and
damaged.
"""

import pytest
import torch

from minilib.data.portraits.captions import captions, pair_captions
from minilib.data.portraits.checker import accuracy, recognise
from minilib.data.portraits.drawing import VALUES, draw, render, seen


@pytest.fixture(scope="module")
def people():
    return draw(150, seed=11) + draw(50, seed=11, split="held_out")


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_visible_attributes_are_found(people, noise):
    x = render(people)
    x = x + noise * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    right = {name: [] for name in VALUES}
    for found, shown in zip(recognise(x), seen(people), strict=True):
        for name, value in shown.items():
            right[name].append(found.attributes[name] == value)
    for name, hits in right.items():
        assert sum(hits) >= 0.99 * len(hits), name


def test_what_is_hidden_is_not_guessed(people):
    found, shown = recognise(render(people)), seen(people)
    hidden = [
        (f.attributes["hair"], p.hair)
        for f, s, p in zip(found, shown, people, strict=True)
        if "hair" not in s
    ]
    assert len(hidden) > 10
    assert all(value in (None, true) for value, true in hidden)
    assert any(value is None for value, _ in hidden)


def test_what_is_no_portrait_is_told_apart():
    g = torch.Generator().manual_seed(0)
    noise = torch.rand(4, 3, 16, 16, generator=g) * 2 - 1
    grey = torch.zeros(1, 3, 16, 16)
    for found in recognise(torch.cat([noise, grey])):
        assert set(found.attributes.values()) == {None}
    assert max(f.error for f in recognise(render(draw(5, 0)))) < 0.003


def test_half_a_hat_is_none_or_one_but_never_another_colour():
    people = [p for p in draw(200, 2) if p.hat == "red"][:10]
    bare = render(people)
    half = bare.clone()
    # the background's colour over its right half
    half[:, :, :5, 8:] = render([p for p in people])[:, :, :1, :1]
    for found in recognise(half):
        assert found.attributes["hat"] in ("red", "no hat", None)


def test_accuracy_of_true_and_of_exchanged_captions(people):
    x, texts = render(people), captions(people, 0, "long")
    true, wrong = accuracy(x, texts), accuracy(x, texts[1:] + texts[:1])
    assert true["caption"] >= 0.98
    assert min(true.values()) >= 0.98
    assert set(true) == {*VALUES, "claims", "caption"}
    assert wrong["caption"] <= 0.02
    assert wrong["background"] < 0.35
    assert "beard" not in accuracy(x[:1], ["a person with glasses"])


def test_pairs_are_read_from_left_to_right(people):
    pairs = list(zip(people[:60], people[60:120], strict=True))
    x = torch.cat([render(list(side)) for side in zip(*pairs, strict=True)], dim=-1)
    texts = pair_captions(pairs, 0)
    assert accuracy(x, texts)["caption"] >= 0.95
    assert (
        accuracy(torch.cat(x.chunk(2, dim=-1)[::-1], dim=-1), texts)["caption"] <= 0.2
    )


def test_bad_input_is_named(people):
    x = render(people[:2])
    with pytest.raises(ValueError, match="a caption for each of 2 pictures, got 1"):
        accuracy(x, ["a person"])
    with pytest.raises(ValueError, match="tells of 2 people, and the pictures show 1"):
        accuracy(x, ["a person with a red hat left of a person with a blue hat"] * 2)
    with pytest.raises(ValueError, match="16, 16"):
        recognise(torch.zeros(2, 3, 16, 20))
