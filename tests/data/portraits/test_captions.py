"""Captions of portraits: true of the picture, and read back."""

import re
from collections import Counter

import pytest

from minilib.data.portraits import captions as portrait_captions
from minilib.data.portraits.captions import captions, pair_captions, read
from minilib.data.portraits.drawing import (
    draw,
    seen,
)


@pytest.fixture(scope="module")
def people():
    return draw(1500, seed=3)


@pytest.mark.parametrize("style", [None, *portrait_captions.STYLES])
def test_captions_are_true_and_read_back(people, style):
    known = set(portrait_captions.words())
    for text, shown in zip(captions(people, 0, style), seen(people), strict=True):
        (facts,) = read(text)
        assert facts
        assert facts.items() <= shown.items()
        if style == "long":
            assert facts.keys() >= {
                name for name, value in shown.items() if not value.startswith("no ")
            }
        assert set(re.findall("[a-z]+", text)) <= known
        assert "  " not in text


def test_captions_vary_and_depend_on_the_seed(people):
    assert captions(people, 0) == captions(people, 0)
    assert captions(people, 0) != captions(people, 1)
    assert len(set(captions(people, 0, "long"))) > 0.98 * len(people)
    openings = {
        text.split(" with ")[0].split(" wearing ")[0]
        for text in captions(people, 0, "long")
    }
    assert len(openings) > 10
    with pytest.raises(
        ValueError, match="unknown style 'poem': use 'long', 'short', 'sloppy'"
    ):
        captions(people, 0, "poem")


def test_every_claim_of_the_issue_s_prompt_is_read():
    assert read("a happy person with long green hair, glasses and a red hat") == [
        {
            "mood": "happy",
            "length": "long",
            "hair": "green",
            "glasses": "glasses",
            "hat": "red",
        }
    ]
    assert read("Shades, no hat, GREEN hair, pink bg, frowning") == [
        {
            "glasses": "sunglasses",
            "hat": "no hat",
            "hair": "green",
            "background": "pink",
            "mood": "sad",
        }
    ]


def test_pairs_tell_left_from_right(people):
    pairs = list(zip(people[:300], people[300:600], strict=True))
    texts = pair_captions(pairs, 0)
    sides = Counter("left of" in text for text in texts)
    assert min(sides.values()) > 100
    for text, pair in zip(texts, pairs, strict=True):
        facts = read(text)
        assert facts[0].keys() == facts[1].keys()
        assert facts[0] != facts[1]
        for claims, shown in zip(facts, seen(list(pair)), strict=True):
            assert claims.items() <= shown.items()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a person with a dragon", "'dragon'"),
        ("a happy sad person", "two things of one person: happy and sad"),
        ("a person with red hair and green hair", "red and green"),
        ("a purple hair", "'purple'"),
        ("a red person", "'red'. It is no attribute of a portrait$"),
        (
            "a hapy person left of a sd person in the hat",
            "'hapy' and 'sd'. They .*: did you mean 'happy' for 'hapy' and 'sad' for ",
        ),
    ],
)
def test_what_no_portrait_has_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read(text)
