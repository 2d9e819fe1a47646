"""Captions of people: true of the picture, and read back."""

import re

import numpy as np
import pytest

from minilib.data.people.attributes import (
    STYLES,
    draw,
    hidden_in,
    seen,
    values,
)
from minilib.data.people.captions import (
    UNSAID,
    caption,
    captions,
    claims,
    phrases,
    read,
    tell,
    words,
)
from minilib.text.words import WordTokenizer

every_style = pytest.mark.parametrize("style", STYLES)


@every_style
@pytest.mark.parametrize("size", [64, 32])
def test_captions_are_true_and_read_back(style, size):
    people, known = draw(400, 3, style=style), set(words())
    for person, varied in zip(people, captions(people, 0, style, size), strict=True):
        shown, told = seen(person, style, size), claims(person, style, size)
        assert told.items() <= shown.items()
        assert {name for name in shown if name not in told} == {
            name for name, value in shown.items() if value in UNSAID
        }
        full = caption(person, style, size)
        assert read(full) == told
        assert read(varied).items() <= told.items()
        for text in (full, varied):
            assert set(re.findall("[a-z]+|[-,]", text)) <= known
            assert "  " not in text
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|,,|,$", text)


def test_any_claims_make_a_caption_that_makes_them():
    rng = np.random.default_rng(0)
    for person in draw(300, 1, style="open-peeps"):
        whole = claims(person, "open-peeps")
        some = {k: v for k, v in whole.items() if rng.random() < 0.5}
        assert read(tell(some)) == some
        assert read(tell(some, rng)) == some
    assert tell({}) == "a person"
    assert read("a person") == {}


def test_each_phrase_alone_is_read():
    for text, told in phrases().items():
        assert read(text) == told
        assert read(tell(told)) == told


def test_full_captions_in_words():
    person = draw(1, 0)[0]
    told = {
        "skin": "light",
        "hair": "bun",
        "hair_colour": "red",
        "mood": "angry",
        "eyewear": "eyepatch",
        "clothing": "high-necked top",
        "clothing_colour": "black",
        "background": "grey",
    }
    assert tell(told) == (
        "an angry person with light skin, red hair in a bun and an eyepatch, wearing a "
        "black high-necked top, grey background"
    )
    assert tell({"mood": "pacifier", "hat_colour": "red", "hair": "afro"}) == (
        "a person with an afro and a pacifier, wearing a red hat"
    )
    assert tell({"clothing_colour": "blue"}) == "a person wearing blue clothes"
    assert caption(person) == tell(claims(person))


def test_captions_vary_with_the_seed_alone():
    people = draw(400, 3)
    texts = captions(people, 0)
    assert texts == captions(people, 0)
    assert texts[:50] == captions(people[:50], 0)
    assert texts != captions(people, 1)
    assert len(set(texts)) == 400
    lengths = [len(read(text)) for text in texts]
    full = [len(claims(person)) for person in people]
    assert 0.75 < sum(lengths) / sum(full) < 0.9
    told = [read(text) for text in texts]
    assert sum("hair" in t and "hair_colour" not in t for t in told) > 10
    assert sum("hair" not in t and "hair_colour" in t for t in told) > 5


@every_style
def test_held_out_people_are_told_by_their_pair(style):
    people = draw(200, 0, "held_out", style)
    for person, text in zip(people, captions(people, 0, style, 32), strict=True):
        assert len(hidden_in(person, style)) >= 2
        assert hidden_in(person, style).items() <= read(text).items()


@every_style
def test_a_style_and_a_size_say_only_what_they_show(style):
    people = draw(500, 2, style=style)
    for size in (64, 32):
        shown = values(style, size)
        for text in captions(people, 0, style, size):
            for name, value in read(text).items():
                assert value in shown[name]


def test_a_tokenizer_of_the_words_encodes_every_caption():
    tokenizer = WordTokenizer(words(), 40)
    people = draw(300, 0, style="open-peeps")
    tokens = tokenizer.encode([caption(p, "open-peeps") for p in people])
    assert (tokens != 0).sum(dim=1).max() < 40
    assert tokenizer.words == words()


def test_prompts_may_be_sloppy():
    assert read("Long RED hair; sunglasses, checked shirt. pink background") == {
        "hair": "long",
        "hair_colour": "red",
        "eyewear": "sunglasses",
        "clothing": "checked shirt",
        "background": "pink",
    }
    assert read("black graduation cap") == {
        "hat": "graduation cap",
        "hat_colour": "black",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a person with a dragon", "'dragon'. It is no attribute of a person"),
        ("a happy person", "'happy'"),
        ("a smiling frowning person", "two things of one person: smiling and frowning"),
        ("red hair and green hair", "red and green"),
        ("a person with a purple bob", "'purple'"),
        ("a red bald head", "'red'"),
        ("红头发 of a person", "'红', '头' and '发' tell nothing of a person"),
        ("2 people, 12 hats 🎩🎩", "'2', '1' and '🎩' tell nothing of a person"),
        ("!!!", "tells nothing of a person"),
        ("a person with a red hat 🎩", "'🎩' tells nothing of a person"),
        ("a bald head and red hair", "a bald head has no red hair"),
        ("long hair and a red cap", "a hat hides the hair"),
    ],
)
def test_what_no_person_has_is_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message).replace("'\\.", "'.")):
        read(text)


def test_all_words_without_a_meaning_are_named_with_the_nearest():
    with pytest.raises(ValueError, match="what is meant by") as raised:
        read("a smilng person with a qqq, purpl hair and smilng light")
    assert str(raised.value).endswith(
        "what is meant by 'smilng', 'qqq', 'purpl', 'hair' and 'light'? They are no "
        "attributes of a person: did you mean 'smiling' or 'skin' for 'smilng', "
        "'purple' for 'purpl', 'red hair' for 'hair' and 'light skin' for 'light'?"
    )
    with pytest.raises(ValueError, match=r"of a person: did you mean 'black'\?$"):
        read("a person with a blak cap")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"hat": "none"}, "can't say that 'hat' is 'none'"),
        ({"eyes": "open"}, "can't say that 'eyes' is 'open'"),
        ({"hair": "curly"}, "can't say that 'hair' is 'curly'"),
        ({"height": "tall"}, "can't say that 'height' is 'tall'"),
        ({"hair": "bald", "hair_colour": "red"}, "hair's colour of a bald head"),
    ],
)
def test_what_has_no_words_is_refused(told, message):
    with pytest.raises(ValueError, match=message):
        tell(told)
