"""Captions held against pictures word by word, with errors planted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilib.data.people.attributes import VALUES, draw, seen
from minilib.data.people.caption_check import Checked, checked, totals
from minilib.data.people.captions import UNSAID, caption, claims, phrases, tell

SHOWN = {
    "skin": "tan",
    "hair": "bob",
    "hair_colour": "red",
    "hat": "none",
    "eyewear": "glasses",
    "mood": "grinning",
    "clothing": "t-shirt",
    "clothing_colour": "blue",
    "background": "green",
}
WHOLE = (
    "a grinning person with tan skin, a red bob and glasses, wearing a blue t-shirt, "
    "green background"
)


def test_a_full_caption_is_correct_and_leaves_nothing_out():
    one = checked(WHOLE, SHOWN)
    assert dict(one.correct) == {k: v for k, v in SHOWN.items() if v != "none"}
    assert (one.wrong, one.left_out, one.off_topic) == ((), (), ())
    assert one.sayable == 8
    assert one.recall == 1


@pytest.mark.parametrize(
    ("text", "correct", "wrong", "left_out", "off_topic"),
    [
        (WHOLE.replace("red bob", "red afro"), 7, [("hair", "afro")], 0, ""),
        (WHOLE.replace("red bob", "bob"), 7, [], 1, ""),
        (WHOLE.replace("tan skin, ", ""), 7, [], 1, ""),
        (WHOLE + ". IMG_4021.jpg", 8, [], 0, "img jpg"),
        (WHOLE + " | a red cap", 8, [("hat", "cap"), ("hat_colour", "red")], 0, ""),
        ("glasses, sunglasses", 1, [("eyewear", "sunglasses")], 7, ""),
        ("glasses and glasses and glasses", 1, [], 7, ""),
        ("GLASSES / Red Bob | vector", 3, [], 5, "vector"),
        ("blue t-shirt, best price", 2, [], 6, "best price"),
        ("blue t shirt", 2, [], 6, ""),
        ("a red, hat", 0, [], 8, "red hat"),
        ("a red - hat", 0, [], 8, "red hat"),
        ("红头发 of a person", 0, [], 8, "红头发 of"),
        ("a person", 0, [], 8, ""),
        ("!!! 42", 0, [], 8, ""),
        ("", 0, [], 8, ""),
    ],
)
def test_planted_errors_are_found(text, correct, wrong, left_out, off_topic):
    one = checked(text, SHOWN)
    assert len(one.correct) == correct
    assert list(one.wrong) == wrong
    assert len(one.left_out) == left_out
    assert " ".join(one.off_topic) == off_topic
    assert one.recall == correct / 8


def test_what_the_picture_hides_cannot_be_told_right():
    person = next(p for p in draw(100, 0) if p.hat != "none")
    one = checked(f"{person.hair} hair", seen(person))
    assert not one.correct
    assert all(name not in ("hair", "hair_colour") for name, _ in one.left_out)


@given(st.integers(0, 399), st.data())
def test_each_planted_value_is_one_error(number, data):
    person = PEOPLE[number]
    told, shown = claims(person), seen(person)
    name = data.draw(st.sampled_from(sorted(told)))
    others = [v for v in VALUES[name] if v not in (*UNSAID, told[name])]
    changed = told | {name: data.draw(st.sampled_from(others))}
    if changed.get("hair") == "bald":
        changed.pop("hair_colour", None)
    one = checked(tell(changed), shown)
    assert one.wrong == ((name, changed[name]),)
    assert {left for left, _ in one.left_out} == told.keys() - changed.keys()
    assert len(one.correct) == len(changed) - 1
    assert not one.off_topic


PEOPLE = draw(400, 6)


def test_true_captions_have_no_error_and_count_all():
    rng = np.random.default_rng(0)
    for person in PEOPLE:
        for text in (caption(person), caption(person, rng=rng)):
            one = checked(text, seen(person))
            assert not one.wrong
            assert not one.off_topic
            assert len(one.correct) + len(one.left_out) == one.sayable


def test_every_phrase_claims_what_it_says():
    for text, told in phrases().items():
        one = checked(f"stock photo: {text}!", told)
        assert dict(one.correct) == told
        assert one.off_topic == ("stock", "photo")


def test_totals_count_claims_and_not_captions():
    found = [
        checked(WHOLE, SHOWN),
        checked("a red hat, sunglasses", SHOWN),
        checked("buy it now", SHOWN),
    ]
    expected = {"correct": 8 / 10, "told": 8 / 24, "off_topic": 1}
    assert totals(found) == pytest.approx(expected)
    silent = Checked((), (), (), (), 0)
    assert totals([silent]) == {"correct": 1, "told": 1, "off_topic": 0}
    assert silent.recall == 1
    with pytest.raises(ValueError, match="one caption or more that was checked"):
        totals([])
