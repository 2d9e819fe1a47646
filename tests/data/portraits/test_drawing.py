"""Portraits: what is drawn is what is known of it, and captions say only what can be
seen.
"""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from minilib.data.portraits import drawing as portraits
from minilib.data.portraits.drawing import (
    COLOURS,
    HIDDEN,
    PARTS,
    SLOTS,
    VALUES,
    draw,
    masks,
    render,
    rgb,
    seen,
)


@pytest.fixture(scope="module")
def people():
    return draw(1500, seed=3)


def colour(x, place):
    """The colour in [0, 1] at (row, column)."""
    return (x[:, place[0], place[1]] + 1) / 2


def test_a_seed_gives_the_same_people_and_another_seed_others():
    assert draw(20, 1) == draw(20, 1)
    assert draw(20, 1) == draw(50, 1)[:20]
    assert not set(draw(20, 1)) & set(draw(20, 2))
    assert not set(draw(200, 1, "train")) & set(draw(200, 1, "test"))
    with pytest.raises(ValueError, match="unknown split 'val'"):
        draw(3, 0, "val")


def test_pictures_have_the_arts_own_size_and_range(people):
    x = render(people[:40])
    assert x.shape == (40, 3, 16, 16)
    assert x.dtype == torch.float32
    assert x.min() >= -1
    assert x.max() <= 1
    assert torch.equal(x, torch.cat([render([p]) for p in people[:40]]))


def test_hidden_pairs_are_seen_by_nobody_but_the_held_out(people):
    both = [
        sum(all(getattr(p, a) == v for a, v in pair) for p in people) for pair in HIDDEN
    ]
    assert both == [0] * len(HIDDEN)
    for pair in HIDDEN:  # each half of a pair is common
        for name, value in pair:
            assert sum(getattr(p, name) == value for p in people) > 50
    held_out = draw(400, 3, "held_out")
    counts = [
        sum(all(getattr(p, a) == v for a, v in pair) for p in held_out)
        for pair in HIDDEN
    ]
    assert min(counts) > 60
    assert all(portraits.hidden(p) for p in held_out)


def test_attributes_are_independent_and_every_value_and_part_occurs(people):
    for name, values in VALUES.items():
        assert set(Counter(getattr(p, name) for p in people)) == set(values)
    assert {part for p in people for part in p.parts} == {
        "skin/base",
        "",
        *(p for parts in PARTS.values() for p in parts),
    }
    happy = [p for p in people if p.mood == "happy"]
    assert abs(sum(p.length == "long" for p in happy) / len(happy) - 0.5) < 0.06


def test_the_colours_are_where_they_are_said_to_be():
    person = replace(
        draw(1, 0)[0],
        background="pink",
        skin="dark",
        hair="green",
        hat="no hat",
        glasses="no glasses",
    )
    parts = (
        "skin/base",
        "clothing/variant04",
        PARTS["eyes"][0],
        "",
        "",
        PARTS["sad"][0],
        "hair/long13",
        "",
    )
    x = render([replace(person, top="yellow", beard="no beard", parts=parts)])[0]
    for place, code in (
        ((0, 0), COLOURS["background"]["pink"]),
        ((3, 8), COLOURS["hair"]["green"]),
        ((12, 7), COLOURS["skin"]["dark"]),
        ((15, 5), COLOURS["top"]["yellow"]),
    ):
        assert torch.allclose(colour(x, place), torch.tensor(rgb(code)), atol=1e-3), (
            place
        )


def test_masks_name_one_slot_a_place_and_it_is_the_one_that_shows(people):
    some = people[:60]
    m, x = masks(some), (render(some) + 1) / 2
    assert m.shape == (60, 1 + len(SLOTS), 16, 16)
    assert (m.sum(dim=1) == 1).all()
    for person, mask, picture in zip(some, m, x, strict=True):
        ground = torch.tensor(rgb(COLOURS["background"][person.background]))
        assert (picture[:, mask[0]].T - ground).abs().max() < 0.01
        for slot in ("glasses", "beard", "hat"):
            there = person.parts[SLOTS.index(slot)] != ""
            assert bool(mask[1 + SLOTS.index(slot)].any()) == there


def test_what_cannot_be_seen_is_not_named():
    person = next(p for p in draw(300, 0) if p.hat == "red" and p.beard == "no beard")
    under = replace(person, parts=(*person.parts[:6], "hair/short16", "hat/variant09"))
    assert {"hair", "length"} & seen([under])[0].keys() == set()
    assert torch.equal(render([under]), render([replace(under, hair="green")]))
    bare = replace(under, hat="no hat", parts=(*under.parts[:7], ""))
    assert seen([bare])[0]["hair"] == bare.hair


def test_a_change_of_what_is_seen_changes_the_picture(people):
    for person, shown in zip(people[:60], seen(people[:60]), strict=True):
        other = "red" if person.hair != "red" else "blue"
        changed = (
            (render([person]) - render([replace(person, hair=other)]))
            .abs()
            .amax(dim=1)
            .gt(0.1)
            .sum()
        )
        assert ("hair" not in shown) or changed >= 8


def test_thousands_a_second_is_a_matter_of_batches():
    """Not timed here: a picture costs a row of a table, so two calls of render are
    enough for 1,000 pictures.
    """
    assert render(draw(1000, 0)).shape[0] == 1000
