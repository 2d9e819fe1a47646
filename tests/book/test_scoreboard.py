import json

import pytest

from book import common, scoreboard, title, train_weights
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
    assert f"| {weights.card('ae_digits')['score']['mse']:.4f} |" in page.read_text()
    changed = {
        "ae_digits": {**weights.card("ae_digits"), "score": {"mse": 9.87, "fd_reconstructions": 1, "fd_samples": 2}}
    }
    monkeypatch.setattr(scoreboard, "card", lambda name: changed.get(name, weights.card(name)))
    assert scoreboard.main(["--check"]) == 1
    assert "| 9.8700 |" in scoreboard.page()


def test_every_drawing_recipe_has_a_row():
    assert set(scoreboard.ROWS) == {name for name, recipe in recipes.RECIPES.items() if recipe.sample}


def test_retraining_replaces_weights_and_card_together(tmp_path, monkeypatch):
    """A tiny run of the real recipe into a folder of its own; a run that breaks leaves what was there."""
    import dataclasses

    tiny = dataclasses.replace(recipes.get("ae_digits"), full=2, score=lambda model: {"mse": 1.0}, sample=None)
    monkeypatch.setitem(recipes.RECIPES, "ae_digits", tiny)
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(train_weights, "HERE", package)
    monkeypatch.setattr(train_weights, "ROOT", tmp_path)
    monkeypatch.setattr(train_weights, "shown", str)
    train_weights.main(["ae_digits"])
    assert sorted(path.name for path in package.iterdir()) == ["ae_digits.json", "ae_digits.safetensors"]
    assert json.loads((package / "ae_digits.json").read_text())["steps"] == 2
    weights.load_weights(tiny.model(), package / "ae_digits.safetensors")
    before = (package / "ae_digits.safetensors").read_bytes()

    def broken(model):
        raise RuntimeError("no score")

    monkeypatch.setitem(recipes.RECIPES, "ae_digits", dataclasses.replace(tiny, full=3, score=broken))
    with pytest.raises(RuntimeError, match="no score"):
        train_weights.main(["ae_digits"])
    assert (package / "ae_digits.safetensors").read_bytes() == before
    assert len(list(package.iterdir())) == 2


def test_title_pictures_go_from_noise_to_digits(tmp_path, monkeypatch):
    monkeypatch.setattr(title, "STATIC", tmp_path)
    title.main()
    assert {path.name for path in tmp_path.iterdir()} == {
        "title.png", "gallery_reconstructions.png", "gallery_walk.png", "gallery_random.png",
    }  # fmt: skip
    x = title.title(rows=2, columns=8).view(2, 8, 28, 28)
    roughness = x.diff(dim=-1).abs().mean(dim=(0, 2, 3))
    assert roughness[0] > 3 * roughness[-1]
