"""Captions of scenes: true of the picture, and read back."""

import re

import pytest

from minilib.data.scenes import captions as scene_captions
from minilib.data.scenes.captions import SAYINGS, captions, plural, read
from minilib.data.scenes.drawing import (
    draw,
)


@pytest.fixture(scope="module")
def many():
    return draw(1500, seed=3)


def true_of(claims, scene):
    """Whether everything that a caption claims holds of the scene."""
    if claims.background not in (None, scene.background):
        return False
    fits = [
        [
            all(getattr(t, a) == v for a, v in told.attributes.items())
            for t in scene.things
        ]
        for told in claims.phrases
    ]
    for told, who in zip(claims.phrases, fits, strict=True):
        if sum(who) < 1 or told.count not in (None, sum(who)):
            return False
    if claims.arrangement:
        return claims.arrangement == scene.arrangement and fits[0][0] and fits[1][1]
    return True


@pytest.mark.parametrize("style", [None, "long", "short", "sloppy"])
def test_captions_are_true_and_read_back(many, style):
    known, others = set(scene_captions.words()), 0
    for i, (text, scene) in enumerate(zip(captions(many, 0, style), many, strict=True)):
        claims = read(text)
        assert claims.phrases
        assert true_of(claims, scene), text
        assert set(re.findall(r"[a-z0-9]+|,", text)) <= known
        others += true_of(claims, many[i - 1])
    assert others < 0.05 * len(many)


def test_a_long_caption_tells_every_thing(many):
    for text, scene in zip(captions(many, 1, "long"), many, strict=True):
        claims = read(text)
        assert sum(told.count or 1 for told in claims.phrases) == len(scene.things)
        assert all(len(told.attributes) == 4 for told in claims.phrases)
        assert (claims.arrangement is not None) == (scene.arrangement in SAYINGS)


def test_captions_vary_and_depend_on_the_seed(many):
    assert captions(many, 0) == captions(many, 0) != captions(many, 1)
    with pytest.raises(ValueError, match="unknown style 'poem'"):
        captions(many, 0, "poem")
    text = " ".join(captions(many, 0))
    assert all(f" {saying} " in text for pair in SAYINGS.values() for saying in pair)
    assert {plural("cross"), plural("star"), "three", "4"} <= set(
        text.replace(",", "").split()
    )


def test_converses_say_the_same():
    assert read("a red circle left of a blue star") == read(
        "a blue star right of a red circle"
    )
    assert read("a red circle inside a blue square") == read(
        "A blue square around a red circle."
    )
    assert read("a red circle above a star, mint bg") == read(
        "a star below a red circle on a mint background"
    )
    assert (
        read("3 red stars").phrases[0].count
        == read("three red stars").phrases[0].count
        == 3
    )
    assert read("one red star").phrases[0].count == 1
    assert read("a star and a cross").phrases == read("star, cross").phrases


@pytest.mark.parametrize(
    "text", ["a red dragon", "red", "a red circle left of", "a big circle"]
)
def test_what_no_scene_has_is_refused(text):
    with pytest.raises(ValueError, match="what is meant by"):
        read(text)


def test_all_words_that_no_scene_has_are_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"'smal' and 'sqare'. They .* 'small' for "):
        read("a smal red circle left of a red sqare")


def test_a_place_is_told_of_two_things_only():
    with pytest.raises(ValueError, match="'left of' is understood of two things only"):
        read("two red circles left of a blue star")
