"""The table of recipes, and all about one."""

import shlex

import pytest

from minilib import __version__, recipes, weights
from minilib.__main__ import main, parser
from minilib.commands import listing
from minilib.commands.catalogue import CATALOGUE


def test_every_score_of_every_card_has_a_meaning():
    for name in weights.names():
        for key in weights.card(name)["score"]:
            assert listing.stem(key) in listing.MEANINGS


def test_the_table_says_what_the_scores_in_it_mean(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 88
    for name in weights.names():
        if name in CATALOGUE:
            key = listing.main_score(name).split()[0]
            assert f"\n{listing.stem(key)}: " in out


@pytest.mark.parametrize("name", CATALOGUE)
def test_list_of_one_shows_its_card_and_a_command_that_is_one(name):
    text = listing.about(name)
    if name in weights.names():
        card = weights.card(name)
        assert card["sha256"] in text
        for key, value in card["score"].items():
            assert f"\n{key} {value:.4g}: " in text
    else:
        assert f"weights   {listing.missing(name)}" in text
    *_, last = text.splitlines()
    command = last.removeprefix("try       python -m minilib ")
    options = parser().parse_args(shlex.split(command))
    assert options.name == name
    recipe = recipes.get(name)
    if getattr(options, "prompt", None):
        recipe.tokenizer().encode([options.prompt])  # of words that it knows
    assert (recipe.sample is None or name not in weights.names()) == (
        options.command == "train"
    )


@pytest.mark.parametrize(
    "name", [name for name, source in CATALOGUE.items() if "prompt" in source]
)
def test_the_words_that_a_prompt_may_hold_are_listed_by_kinds(name):
    tokenizer = recipes.get(name).tokenizer()
    found = listing.words(name)
    each = [word for said in found.values() for one in said for word in one.split()]
    heard = {word for word in tokenizer.heard() if any(map(str.isalnum, word))}
    assert set(each) == heard
    assert not set(found.popitem()[1]) & {"red", "hat", "circle"}  # of what is left
    lines = listing.about(name).splitlines()
    for kind, said in found.items():
        assert any(line.startswith(f"  {kind:<14}{said[0]}") for line in lines)
    assert max(map(len, lines)) <= 88


def test_the_kinds_of_words():
    people, scenes = listing.words("glide_portraits"), listing.words("glide_scenes")
    assert people["mood"] == ["happy", "smiling", "sad", "frowning"]
    assert people["hair length"] == ["short", "long"]
    assert "left" not in people["other"]
    assert scenes["place"][:2] == ["left of", "right of"]
    assert scenes["size"] == ["small", "medium", "large"]
    drawn = listing.words("dalle_people")
    assert drawn["hat"] == ["cap", "beanie", "hat"]
    assert drawn["mood"] == ["grinning", "surprised", "pouting", "pacifier"]
    assert "thinning" in drawn["hair"]
    assert listing.words("glide_people") == drawn
    emoji = listing.words("dalle_emoji")
    assert emoji["style"][:2] == ["noto style", "old noto style"]
    assert len(emoji["name"]) == 935
    assert list(emoji) == ["style", "name"]


def test_a_recipe_without_weights_says_so(monkeypatch):
    monkeypatch.setattr(weights, "names", lambda: ["gan_digits_seed1"])
    assert listing.main_score("ae_digits") == "no weights ship"
    assert listing.main_score("gan_digits") == "only quick trainings ship"
    assert "\nweights   no weights ship\n" in listing.about("ae_digits")
    assert listing.example("ae_digits") == "python -m minilib train ae_digits"


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"minilib {__version__}\n"
