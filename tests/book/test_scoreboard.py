import dataclasses
import json
import statistics

import pytest
import torch

from book.tools import common, scoreboard, title, train_weights
from minilib import recipes, weights


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "ROOT", tmp_path)
    monkeypatch.setattr(scoreboard, "PAGE", tmp_path / "scoreboard.md")
    return scoreboard.PAGE


def test_check_fails_until_the_page_is_written(page, capsys):
    assert scoreboard.main(["--check"]) == 1
    assert "run make scoreboard" in capsys.readouterr().err
    assert scoreboard.main([]) == 0
    assert scoreboard.main(["--check"]) == 0


def test_numbers_are_those_of_the_cards(page, monkeypatch):
    scoreboard.main([])
    facts = weights.card("ae_digits")
    fd = facts["samples"]["fd"]
    assert (
        f"| {statistics.mean(fd):.2f} ± {statistics.stdev(fd):.2f} |"
        in page.read_text()
    )
    assert f"| {facts['parameters']:,} |" in page.read_text()
    changed = {
        "ae_digits": {**facts, "quick": {**facts["quick"], "kid": [1.0, 2.0, 6.0]}}
    }
    monkeypatch.setattr(
        scoreboard, "card", lambda name: changed.get(name, weights.card(name))
    )
    assert scoreboard.main(["--check"]) == 1
    assert "| 3.000 ± 2.646 |" in scoreboard.page()


def test_those_that_are_told_are_scored_by_their_cards(page):
    scoreboard.main([])
    for head, name, asked, score in scoreboard.TOLD:
        assert (
            f"| {head} | {asked} | {weights.card(name)['score'][score]:.1%} |"
            in page.read_text()
        )


def test_every_drawing_recipe_has_a_row():
    assert set(scoreboard.ROWS) == {
        name for name, recipe in recipes.RECIPES.items() if recipes.draws_digits(recipe)
    }


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder of its own for weights, the checkpoints beside it, and a recipe that
    trains and draws in a blink.
    """
    folder = tmp_path / "package"
    folder.mkdir()
    monkeypatch.setattr(train_weights, "HERE", folder)
    monkeypatch.setattr(train_weights, "ROOT", tmp_path)
    monkeypatch.setattr(train_weights, "shown", str)
    return folder


def test_retraining_replaces_weights_and_card_together(package, monkeypatch):
    """A tiny run of the real recipe into a folder of its own; a run that breaks leaves
    what was there.
    """
    tiny = dataclasses.replace(
        recipes.get("ae_digits"), full=2, score=lambda model: {"mse": 1.0}, sample=None
    )
    monkeypatch.setitem(recipes.RECIPES, "ae_digits", tiny)
    train_weights.main(["ae_digits"])
    assert sorted(path.name for path in package.iterdir()) == [
        "ae_digits.json",
        "ae_digits.safetensors",
    ]
    assert json.loads((package / "ae_digits.json").read_text())["steps"] == 2
    weights.load_weights(tiny.model(), package / "ae_digits.safetensors")
    before = (package / "ae_digits.safetensors").read_bytes()

    def broken(model):
        raise RuntimeError("no score")

    monkeypatch.setitem(
        recipes.RECIPES, "ae_digits", dataclasses.replace(tiny, full=3, score=broken)
    )
    with pytest.raises(RuntimeError, match="no score"):
        train_weights.main(["ae_digits"])
    assert (package / "ae_digits.safetensors").read_bytes() == before
    assert len(list(package.iterdir())) == 2


def test_quick_trainings_ship_beside_the_full_one_and_what_draws_is_rated(
    package, monkeypatch
):
    """With the real digits cut to a hundred, and a sampler that gives noise that
    depends on model and seed.
    """

    def sample(model, n, generator):
        return torch.rand(n, 1, 28, 28, generator=generator) * float(
            next(model.parameters()).detach().std()
        )

    tiny = dataclasses.replace(
        recipes.get("ae_digits"),
        full=2,
        quick=1,
        seeds=(1, 3),
        score=lambda model: {"mse": 1.0},
        sample=sample,
    )
    few = {
        split: tuple(t[:200] for t in train_weights.digits.load(split))
        for split in ("train", "test")
    }
    monkeypatch.setitem(recipes.RECIPES, "ae_digits", tiny)
    monkeypatch.setattr(train_weights.digits, "load", few.get)
    monkeypatch.setattr(train_weights, "DRAWN", 50)
    monkeypatch.setattr(train_weights, "load_pretrained", fake_weights(package))
    monkeypatch.setattr(
        train_weights,
        "card",
        lambda name: json.loads(card_file(package, name).read_text()),
    )
    train_weights.main(["ae_digits"])
    names = ["ae_digits", "ae_digits_seed1", "ae_digits_seed3"]
    assert sorted(path.stem for path in package.glob("*.safetensors")) == names
    cards = {name: json.loads((package / f"{name}.json").read_text()) for name in names}
    assert [(cards[name]["steps"], cards[name]["seed"]) for name in names] == [
        (2, 0),
        (1, 1),
        (1, 3),
    ]
    samples, quick = cards["ae_digits"]["samples"], cards["ae_digits"]["quick"]
    assert samples.keys() == quick.keys() == scoreboard.COLUMNS.keys()
    assert [len(set(values["fd"])) for values in (samples, quick)] == [5, 3]
    assert "samples" not in cards["ae_digits_seed1"]
    before = (package / "ae_digits.safetensors").read_bytes()
    train_weights.main(["ae_digits", "--rate"])
    assert json.loads((package / "ae_digits.json").read_text()) == cards["ae_digits"]
    assert (package / "ae_digits.safetensors").read_bytes() == before


def card_file(package, name):
    """The card in the test's folder, or the shipped one of the classifier, which
    rates.
    """
    return (weights.HERE if name == "digit_classifier" else package) / f"{name}.json"


def fake_weights(package):
    return lambda model, name: weights.load_weights(
        model, card_file(package, name).with_suffix(".safetensors")
    )


def test_title_pictures_go_from_noise_to_digits(tmp_path, monkeypatch):
    monkeypatch.setattr(title, "STATIC", tmp_path)
    title.main()
    assert {path.stem for path in tmp_path.iterdir()} == {"title"} | {
        f"gallery_{name}"
        for name in (
            "reconstructions",
            "walk",
            "ae",
            "vae",
            "dae",
            "gan",
            "guesses",
            "adm",
            "guided",
            "people",
        )
    }
    x = title.title(rows=2, columns=8).view(2, 8, 28, 28)
    roughness = x.diff(dim=-1).abs().mean(dim=(0, 2, 3))
    assert roughness[0] > 3 * roughness[-1]
