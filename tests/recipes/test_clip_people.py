"""CLIP of people: what it is shown, its score, and what the shipped one finds."""

from importlib import import_module

import pytest
import torch

from minilib import recipes, weights
from minilib.data.people.attributes import draw, hidden_in, seen
from minilib.data.people.captions import captions, read
from minilib.data.people.dataset import people
from minilib.data.people.drawing import render
from minilib.models.clip import retrieval
from minilib.recipes.clip_people import captioned_people, people_pairs, perfect
from minilib.recipes.dalle import people_tokens

# its recipe has the same name
module = import_module("minilib.recipes.clip_people")
WHO = {"skin": "dark", "hat": "cap", "hat_colour": "red"}


@pytest.fixture(scope="module")
def clip():
    return weights.load_pretrained(recipes.get("clip_people").model(), "clip_people")


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_people_rendered_in_blocks_are_the_people(split):
    x, texts = captioned_people(501, 3, split)
    expected, captioned, _ = people(501, 3, split, "personas", 32)
    assert torch.equal(x, expected)
    assert texts == captioned


def test_training_sees_pairs_of_training():
    x, tokens = people_pairs(7, 5)
    who = draw(7, 5)
    assert x.shape == (7, 3, 32, 32)
    assert people_tokens().decode(tokens) == captions(who, 5, "personas", 32)
    assert not any(hidden_in(person) for person in draw(2_000, 0))


def test_a_perfect_reader_guesses_among_those_of_whom_a_caption_is_true():
    other = WHO | {"hat_colour": "blue"}
    assert perfect(["a red cap"], [WHO, other]) == 1
    assert perfect(["a cap"], [WHO, other]) == 1 / 2
    assert perfect(["a cap", "dark skin and a red cap"], [WHO, other]) == 3 / 4
    assert perfect(["a person"], [WHO] * 3 + [other]) == 1 / 4


def test_the_score_is_that_of_a_thousand_unseen_people(monkeypatch):
    asked = []

    def found(model, x, tokens, among):
        asked.append((x, people_tokens().decode(tokens), among))
        return {"caption": 0.5, "picture": 0.25}

    monkeypatch.setattr(module, "retrieval", found)
    score = module.score_people(None)
    assert len(asked) == 2
    for (x, texts, among), split in zip(asked, ("test", "held_out"), strict=True):
        assert among == len(x) == len(texts) == len(set(texts)) == 1_000
        assert texts == people(1_000, 1, split, "personas", 32)[1]
        assert score[f"r1_caption_1000_{split}"] == 0.5
        assert score[f"r1_picture_1000_{split}"] == 0.25
        shown = [seen(person, "personas", 32) for person in draw(1_000, 1, split)]
        assert score[f"perfect_picture_1000_{split}"] == perfect(texts, shown)
    assert 0.8 < score["perfect_picture_1000_test"] < 1
    assert len(score) == 6


def test_the_shipped_one_finds_and_an_untrained_one_guesses(clip):
    x, texts = captioned_people(300, 9, "held_out")
    tokens = people_tokens().encode(texts)
    torch.manual_seed(0)
    found, luck = (
        retrieval(model, x, tokens, among=100)
        for model in (clip, recipes.get("clip_people").model().eval())
    )
    assert min(found.values()) > 0.75
    assert max(luck.values()) < 0.1


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("a person with a red bob", "a person with a blue bob"),
        ("a person with sunglasses", "a person with glasses"),
        ("a person with a beard", "a person with a moustache"),
        ("a person in a red t-shirt", "a person in a blue t-shirt"),
        ("a person with light skin", "a person with dark skin"),
        ("a grinning person", "a surprised person"),
    ],
)
def test_the_shipped_one_tells_a_caption_from_one_of_another_value(clip, right, wrong):
    assert preferred(clip, right, wrong, "test") > 0.8


def test_as_its_card_says_the_kind_of_a_hat_in_a_pair_never_shown_is_a_guess(clip):
    right, wrong = "a person in a blue cap", "a person in a blue beanie"
    assert preferred(clip, right, wrong, "held_out") < 0.75


def preferred(clip, right, wrong, split):
    """How often the caption that is right is nearer to a picture of which it is."""
    claims = read(right).items()
    crowd = [p for p in draw(3_000, 9, split) if claims <= seen(p, size=32).items()]
    x = render(crowd[:60], "personas", 32)
    assert len(x) >= 15
    with torch.no_grad():
        logits = clip(x, people_tokens().encode([right, wrong]))
    return (logits[:, 0] > logits[:, 1]).float().mean()
