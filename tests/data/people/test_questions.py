"""Questions about people, and that neither they nor the pictures give them away."""

from collections import Counter

import pytest

from minilib.data.people.attributes import STYLES, draw, seen, values
from minilib.data.people.captions import UNSAID
from minilib.data.people.questions import Asked, asked, question, questions

SHOWN = [seen(person, size=32) for person in draw(1_500, 4)]


@pytest.fixture(scope="module")
def found():
    return asked(SHOWN, 4, 0)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("skin", "tan", "is the skin tan?"),
        ("hair", "short", "does this person have short hair?"),
        ("hair", "afro", "does this person have an afro?"),
        ("hair", "bald", "does this person have a bald head?"),
        ("hair_colour", "red", "is the hair red?"),
        ("hat", "cap", "does this person wear a cap?"),
        ("hat_colour", "red", "is the hat red?"),
        ("eyewear", "eyepatch", "does this person have an eyepatch?"),
        ("eyes", "closed", "does this person have closed eyes?"),
        ("mood", "smiling", "is this person smiling?"),
        ("mood", "pacifier", "does this person have a pacifier?"),
        ("clothing", "t-shirt", "does this person wear a t-shirt?"),
        ("clothing_colour", "pink", "are the clothes pink?"),
        ("background", "grey", "is the background grey?"),
    ],
)
def test_questions_in_words(name, value, text):
    assert question(name, value) == text


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [64, 32])
def test_each_claim_has_a_question_of_its_own(style, size):
    texts = questions(style, size)
    assert len(set(texts.values())) == len(texts)
    expected = {
        (name, value)
        for name, shown in values(style, size).items()
        for value in shown
        if value not in UNSAID
    }
    assert texts.keys() == expected


@pytest.mark.parametrize(("name", "value"), [("hat", "none"), ("hair", "curly")])
def test_what_captions_cannot_say_is_not_asked(name, value):
    with pytest.raises(ValueError, match=f"can't say that '{name}' is '{value}'"):
        question(name, value)


def test_answers_are_true(found):
    for shown, row in zip(SHOWN, found, strict=True):
        assert len(row) == 8
        for name, value, yes in row:
            assert (shown.get(name) == value) == yes


def test_who_sees_the_question_alone_is_right_half_of_the_time(found):
    """Even who knows how often each question is answered with yes."""
    times = Counter(one for row in found for one in row)
    for name, value in questions(size=32):
        assert times[Asked(name, value, True)] == times[Asked(name, value, False)] > 0


def test_who_sees_the_picture_alone_is_right_half_of_the_time(found):
    assert {sum(one.yes for one in row) for row in found} == {4}


def test_rare_things_are_asked_about_as_often_as_frequent_ones(found):
    times = Counter((one.name, one.value) for row in found for one in row)
    rare = Counter(told for one in SHOWN for told in one.items())
    assert rare["background", "grey"] > 5 * rare["hat_colour", "blue"]
    mean = sum(times.values()) / len(times)
    assert 0.4 * mean < min(times.values()) <= max(times.values()) < 1.6 * mean


def test_the_seed_decides():
    assert asked(SHOWN[:90], 2, 0) == asked(SHOWN[:90], 2, 0) != asked(SHOWN[:90], 2, 1)


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        ([{"skin": "tan"}], "no way to ask 1 pictures"),
        ([{"skin": "tan"}] * 5, "more different ones"),
        ([{"skin": "tan"}, {"hat": "none"}], "got one of nothing"),
    ],
)
def test_pictures_that_are_too_alike_are_refused(shown, message):
    with pytest.raises(ValueError, match=message):
        asked(shown, 1, 0)
