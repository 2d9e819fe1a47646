"""Captions as the web makes them: seeded, and with the shares that are stated."""

import numpy as np
import pytest

from minilib.data.people.attributes import STYLES, draw, seen, values
from minilib.data.people.caption_check import checked
from minilib.data.people.captions import FILLERS, GROUPS, UNSAID, claims
from minilib.data.people.web_captions import (
    ADVERTS,
    TAGS,
    few,
    mistaken,
    web_captions,
)


@pytest.fixture(scope="module")
def found():
    """Of 6,000 people at 32 pixels: captions, what each says, and what is seen."""
    people = draw(6_000, 5)
    texts = web_captions(people, 0, size=32)
    shown = [seen(person, size=32) for person in people]
    return texts, [checked(t, s) for t, s in zip(texts, shown, strict=True)], shown


def test_captions_are_the_same_for_the_same_seed_alone():
    people = draw(300, 1)
    texts = web_captions(people, 0)
    assert texts == web_captions(people, 0)
    assert texts[:50] == web_captions(people[:50], 0)
    assert texts != web_captions(people, 1)


def test_one_in_ten_says_nothing_of_the_picture(found):
    texts, said, _ = found
    elsewhere = [t in ADVERTS or t.startswith("IMG_") for t in texts]
    assert np.mean(elsewhere) == pytest.approx(0.1, abs=0.012)
    for one, away in zip(said, elsewhere, strict=True):
        assert not away or not (one.correct or one.wrong)


def test_three_in_ten_are_keywords_and_three_in_ten_end_in_an_advertisement(found):
    texts = [t for t in found[0] if t not in ADVERTS and not t.startswith("IMG_")]
    tagged = [any(tag in text for tag in TAGS) for text in texts]
    sold = [text.endswith((*ADVERTS, ".jpg")) for text in texts]
    assert np.mean(tagged) == pytest.approx(0.3, abs=0.02)
    assert np.mean(sold) == pytest.approx(0.3, abs=0.02)


def test_of_what_could_be_said_two_in_five_are_told_and_15_percent_of_that_wrong(found):
    texts, said, _ = found
    about = [
        one
        for one, t in zip(said, texts, strict=True)
        if t not in ADVERTS and not t.startswith("IMG_")
    ]
    wrong = sum(len(one.wrong) for one in about)
    right = sum(len(one.correct) for one in about)
    left_out = sum(len(one.left_out) for one in about)
    assert wrong / (right + wrong) == pytest.approx(0.15, abs=0.01)
    assert (right + wrong) / (right + wrong + left_out) == pytest.approx(0.4, abs=0.01)


def test_nothing_is_told_that_a_picture_of_that_size_never_shows(found):
    shown = values("personas", 32)
    for one in found[1]:
        for name, value in (*one.correct, *one.wrong):
            assert value in shown[name]
            assert value not in UNSAID


def test_hidden_attributes_are_not_told_not_even_wrongly(found):
    for one, shown in zip(found[1], found[2], strict=True):
        assert {name for name, _ in one.wrong} <= shown.keys()


def test_words_about_something_else_tell_nothing_of_a_person():
    for text in (*ADVERTS, *TAGS):
        one = checked(text, {})
        assert one.off_topic == tuple(w for w in text.split() if w not in FILLERS)
        assert len(one.off_topic) >= 1


def test_a_phrase_is_told_whole_or_not_at_all():
    rng = np.random.default_rng(0)
    told = claims(draw(1, 0)[0])
    for _ in range(200):
        kept = few(told, rng)
        assert kept.items() <= told.items()
        for group in GROUPS:
            names = [name for name in group if name in told]
            assert len({name in kept for name in names}) <= 1


def test_a_mistake_is_another_value_and_the_bald_have_no_colour_of_hair():
    rng = np.random.default_rng(0)
    shown = {"hair": ("bob", "bald"), "hair_colour": ("red", "pink"), "skin": ("tan",)}
    told = {"hair": "bob", "hair_colour": "red", "skin": "tan"}
    found = [mistaken(told, rng, shown) for _ in range(4_000)]
    bald = [one for one in found if one["hair"] == "bald"]
    assert len(bald) / 4_000 == pytest.approx(0.15, abs=0.02)
    assert not any("hair_colour" in one for one in bald)
    pink = [one.get("hair_colour") == "pink" for one in found if one not in bald]
    assert np.mean(pink) == pytest.approx(0.15, abs=0.02)
    assert {one["skin"] for one in found} == {"tan"}  # there is no other value


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [64, 32])
def test_every_style_has_captions(style, size):
    people = draw(300, 2, style=style)
    texts = web_captions(people, 0, style, size)
    assert len(set(texts)) > 150
    assert not any("  " in text or text != text.strip() for text in texts)


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="unknown style 'cubist'"):
        web_captions(draw(3, 0), 0, "cubist")
