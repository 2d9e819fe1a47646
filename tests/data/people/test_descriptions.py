"""True descriptions, short and long, and prompts as people type them."""

import pytest

from minilib.data.people.attributes import STYLES, draw, seen
from minilib.data.people.caption_check import checked
from minilib.data.people.captions import claims, read
from minilib.data.people.descriptions import (
    BETWEEN,
    STARTS,
    SUBJECT,
    described,
    long,
    short,
    typed,
)

every_style = pytest.mark.parametrize("style", STYLES)


@every_style
@pytest.mark.parametrize("size", [64, 32])
def test_descriptions_are_true_the_long_of_all_the_short_of_the_subject(style, size):
    people = draw(300, 3, style=style)
    all_long = described(people, 0, long, style, size)
    all_short = described(people, 0, short, style, size)
    for person, much, little in zip(people, all_long, all_short, strict=True):
        told = claims(person, style, size)
        assert read(much) == told
        assert read(little) == {k: v for k, v in told.items() if k in SUBJECT}


@every_style
def test_what_is_typed_is_true_and_little(style):
    people = draw(600, 4, style=style)
    texts = described(people, 0, typed, style, 32)
    numbers = []
    for person, text in zip(people, texts, strict=True):
        one = checked(text, seen(person, style, 32))
        assert not one.wrong
        assert len(one.correct) >= 1
        numbers.append(len(one.correct))
    assert max(numbers) <= 6  # three phrases of two attributes
    assert sum(numbers) / len(numbers) < 3.5


def test_prompts_are_typed_in_many_ways():
    texts = described(draw(600, 4), 0, typed, size=32)
    for start in STARTS:
        assert sum(text.startswith(start) for text in texts) > 40
    for sign in BETWEEN[:3]:
        assert sum(sign in text for text in texts) > 60
    bare = [text.replace("in a bun", "") for text in texts]
    assert not any(" a " in text or text.startswith("a ") for text in bare)


def test_descriptions_vary_with_the_seed_alone():
    people = draw(200, 3)
    for by in (short, long, typed):
        texts = described(people, 0, by)
        assert texts == described(people, 0, by)
        assert texts[:50] == described(people[:50], 0, by)
        assert texts != described(people, 1, by)


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="unknown style 'cubist'"):
        described(draw(3, 0), 0, long, "cubist")
