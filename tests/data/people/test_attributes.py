"""Who is drawn, what a style can draw, what is seen, and who is kept from training."""

from collections import Counter
from dataclasses import replace

import pytest

from minilib.data.people.attributes import (
    BLURRED,
    CHANCES,
    HIDDEN,
    SPLITS,
    STYLES,
    VALUES,
    Person,
    adapt,
    all_styles,
    draw,
    hidden_in,
    hidden_pairs,
    seen,
    split_of,
    values,
)

ANN = Person(
    skin="light",
    hair="long",
    hair_colour="red",
    hat="none",
    hat_colour="blue",
    eyewear="none",
    eyes="open",
    mood="smiling",
    facial_hair="none",
    clothing="t-shirt",
    clothing_colour="blue",
    background="pink",
)
every_style = pytest.mark.parametrize("style", STYLES)


@pytest.fixture(scope="module")
def crowd():
    return {style: draw(3000, 3, style=style, move=5) for style in STYLES}


def test_a_seed_gives_the_same_people_and_another_one_others():
    assert draw(20, 1) == draw(20, 1)
    assert draw(20, 1) == draw(700, 1)[:20]
    assert not set(draw(20, 1)) & set(draw(20, 2))
    still = [replace(p, flip=False, shift=(0, 0)) for p in draw(20, 1, move=5)]
    assert still == draw(20, 1)


@every_style
def test_values_occur_as_often_as_they_should(crowd, style):
    people = crowd[style]
    shown = values(style)
    for name in shown:
        assert {getattr(p, name) for p in people} == set(shown[name]), name
    skins = Counter(p.skin for p in people)
    assert max(skins.values()) - min(skins.values()) < 250
    with_hat = sum(p.hat != "none" for p in people) / len(people)
    chances = {hat: CHANCES["hat"][hat] for hat in shown["hat"]}
    assert abs(with_hat - (1 - 16 / sum(chances.values()))) < 0.04
    assert all(adapt(p, style) == p for p in people)


@every_style
def test_skin_tells_nothing_of_hair_or_mood(crowd, style):
    for name in ("mood", "hair_colour"):
        value = values(style)[name][0]
        shares = []
        for skin in VALUES["skin"]:
            some = [p for p in crowd[style] if p.skin == skin]
            shares.append(sum(getattr(p, name) == value for p in some) / len(some))
        assert max(shares) - min(shares) < 0.1


def test_people_move_by_no_more_than_they_may(crowd):
    shifts = [p.shift for p in crowd["personas"]]
    assert {down for down, _ in shifts} == set(range(6))
    assert {right for _, right in shifts} == set(range(-5, 6))
    assert 1350 < sum(p.flip for p in crowd["personas"]) < 1650


def test_a_style_draws_what_it_lacks_as_the_plainest():
    monk = replace(ANN, hat="turban", eyewear="eyepatch", hair="ponytail")
    assert adapt(monk, "personas") == replace(
        monk, hat="none", eyewear="none", hair="short"
    )
    assert adapt(monk, "open-peeps") == monk
    assert adapt(replace(ANN, mood="angry"), "croodles").mood == "smiling"
    # in this style a beard always grins, and nobody frowns with closed eyes
    assert adapt(replace(ANN, facial_hair="beard"), "personas").mood == "grinning"
    asleep = replace(ANN, mood="frowning", eyes="closed")
    assert adapt(asleep, "open-peeps").eyes == "open"
    assert adapt(asleep, "personas").eyes == "closed"
    assert adapt(replace(asleep, eyewear="glasses"), "personas").eyes == "open"
    for style in STYLES:
        assert adapt(adapt(monk, style), style) == adapt(monk, style)


def test_what_is_hidden_is_not_seen():
    def hidden(person, style="personas", size=64):
        return set(VALUES) - set(seen(person, style, size))

    assert hidden(ANN) == {"hat_colour"}
    assert hidden(replace(ANN, hat="cap")) == {"hair", "hair_colour"}
    assert hidden(replace(ANN, hair="bald")) == {"hat_colour", "hair_colour"}
    assert hidden(replace(ANN, eyewear="glasses")) == {"hat_colour", "eyes"}
    assert hidden(ANN, size=32) == {"hat_colour", "eyes", "mood"}
    assert hidden(replace(ANN, mood="grinning"), size=32) == {"hat_colour", "eyes"}
    assert hidden(ANN, "croodles") == {"hat_colour", "clothing", "clothing_colour"}
    bearded = replace(ANN, facial_hair="beard")
    assert hidden(bearded, "open-peeps") == {"hat_colour", "mood"}
    assert seen(bearded)["mood"] == "grinning"
    assert seen(ANN)["hat"] == seen(ANN)["eyewear"] == "none"


def test_32_pixels_show_neither_eyes_nor_whether_one_smiles():
    large, small = values("personas"), values("personas", 32)
    assert set(large) - set(small) == {"eyes"}
    assert set(large["mood"]) - set(small["mood"]) == set(BLURRED)
    assert {k: v for k, v in large.items() if k not in ("eyes", "mood")} == {
        k: v for k, v in small.items() if k != "mood"
    }
    assert set(VALUES) - set(values("croodles")) == {"clothing", "clothing_colour"}


@every_style
def test_the_splits_share_nothing_and_hidden_pairs_are_held_out(crowd, style):
    combinations = []
    for split in SPLITS:
        people = draw(500, 3, split, style)
        assert {split_of(p, style) for p in people} == {split}
        combinations.append({tuple(seen(p, style, 32).values()) for p in people})
        assert all(bool(hidden_in(p, style)) == (split == "held_out") for p in people)
    train, test, held_out = combinations
    assert len(train) > 300
    assert not train & test
    assert not held_out & (train | test)
    # each half of a pair, and each value, is met in training
    for pair in hidden_pairs(style):
        shown = [seen(p, style, 32).items() for p in crowd[style]]
        assert not any(pair.items() <= items for items in shown)
        for half in pair.items():
            assert sum(half in items for items in shown) > 40, half


@every_style
def test_held_out_people_show_every_pair_that_the_style_can_draw(style):
    pairs = hidden_pairs(style)
    assert len(pairs) >= 4
    shown = [seen(p, style, 32).items() for p in draw(600, 0, "held_out", style)]
    counts = [sum(pair.items() <= items for items in shown) for pair in pairs]
    assert min(counts) > 25
    assert hidden_pairs("personas") == list(HIDDEN)


def test_one_combination_in_ten_is_for_tests():
    pool = draw(2000, 5) + draw(2000, 5, "test")
    assert len(set(pool)) == 4000
    some = [replace(p, skin=skin) for p in draw(1000, 7) for skin in VALUES["skin"]]
    share = sum(split_of(p) == "test" for p in some) / len(some)
    assert 0.05 < share < 0.1  # a quarter of them is in training as it is


@every_style
def test_every_person_of_a_style_can_be_drawn(style):
    facts = all_styles()[style]
    assert {"at", "tones"} == {k for part in facts["parts"].values() for k in part}
    named = {
        f"{slot}/{v}"
        for slot, s in facts["slots"].items()
        for variants in s["variants"].values()
        for v in variants
    }
    assert named == set(facts["parts"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: draw(3, 0, "val"),
            "unknown split 'val': use 'train', 'test', 'held_o",
        ),
        (lambda: draw(3, 0, style="oil"), "unknown style 'oil': use 'personas', 'open"),
        (lambda: draw(3, 0, move=17), "a move from 0 to 16 pixels, got 17"),
        (lambda: draw(3, 0, move=-1), "a move from 0 to 16 pixels, got -1"),
        (lambda: values("oil"), "unknown style 'oil'"),
        (lambda: values("micah", 48), "size 64 or 32, got 48"),
        (lambda: seen(ANN, "micah", 16), "size 64 or 32, got 16"),
        (lambda: seen(ANN, "ink"), "unknown style 'ink'"),
        (lambda: adapt(ANN, "Micah"), "unknown style 'Micah'"),
        (
            lambda: adapt(replace(ANN, skin="orange"), "micah"),
            "unknown skin 'orange': use 'light', 'tan', 'brown', 'dark'",
        ),
    ],
)
def test_what_there_is_not_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
