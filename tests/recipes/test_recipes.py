import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from minilib import recipes, weights
from minilib.data import digits
from minilib.data.people import attributes as people
from minilib.data.portraits import drawing as portraits
from minilib.data.scenes import drawing as scenes
from minilib.recipes import RECIPES, Recipe
from minilib.recipes.recipe import MNIST

names = pytest.mark.parametrize("name", RECIPES)
drawing = pytest.mark.parametrize(
    "name", [name for name, recipe in RECIPES.items() if recipes.draws_digits(recipe)]
)
of_digits = pytest.mark.parametrize(
    "name", [name for name, recipe in RECIPES.items() if recipe.source == MNIST]
)


def squared_error(model, x):
    return (model(x) - x).square().mean()


@pytest.fixture
def tiny(monkeypatch):
    """Adds a recipe that trains in a blink, changed as the test wants."""

    def add(**changes) -> Recipe:
        recipe = Recipe(
            name="tiny",
            model=lambda: nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)),
            loss=squared_error,
            data=lambda: (
                torch.randn(40, 3, generator=torch.Generator().manual_seed(0)),
            ),
            quick=3,
            full=5,
            score=lambda model: {"error": 1 / 3},
            batch_size=8,
            limits="None known.",
        )
        recipe = dataclasses.replace(recipe, **changes)
        monkeypatch.setitem(RECIPES, "tiny", recipe)
        return recipe

    return add


@pytest.fixture
def few_digits(monkeypatch):
    """The first 1,000 digits of a split in place of all."""
    whole = digits.load
    monkeypatch.setattr(
        digits, "load", lambda split: tuple(t[:1000] for t in whole(split))
    )


@pytest.fixture
def few_pictures(monkeypatch):
    """At most 300 of those that are asked for."""
    for world in (portraits, scenes, people):
        draw = world.draw
        monkeypatch.setattr(
            world, "draw", lambda n, *rest, draw=draw: draw(min(n, 300), *rest)
        )


def same(a, b):
    return all(
        torch.equal(p, q)
        for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


# ---------- the recipes that ship ----------


@names
def test_a_recipe_is_known_by_its_own_name(name):
    assert recipes.get(name).name == name


@pytest.mark.parametrize("name", ["ae_digit", "AE_DIGITS", "", "../ae_digits"])
def test_an_unknown_recipe_lists_the_known_ones(name):
    with pytest.raises(
        ValueError, match=f"no recipe named .*: there are {', '.join(RECIPES)}$"
    ):
        recipes.get(name)


@names
def test_model_loss_and_data_fit_together(name, few_pictures):
    recipe = recipes.get(name)
    untrained = recipe.train(steps=1, progress=False).model
    fitted = recipe.train(steps=2, progress=False)
    assert fitted.loss.shape == (
        (2, len(recipe.loss)) if isinstance(recipe.loss, dict) else (2,)
    )
    assert fitted.loss.isfinite().all()
    assert not same(fitted.model, untrained)
    assert same(fitted.model, recipe.train(steps=2, progress=False).model)
    assert recipe.quick < recipe.full


@drawing
def test_what_ships_draws_digits_that_depend_on_the_generator_alone(name, few_digits):
    model = weights.load_pretrained(recipes.get(name).model(), name)
    one, again, other = (
        recipes.get(name).sample(model, 9, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert one.shape == (9, 1, 28, 28)
    assert one.abs().max() <= 1
    assert not one.requires_grad
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one[:, :, 0].mean() < -0.9 < one.mean() < -0.4  # paper at the edge, some ink


@of_digits
def test_what_ships_scores_as_its_card_says(name, few_digits):
    """On a tenth of the digits: errors and accuracy to within their noise; distances
    are larger on fewer pictures.
    """
    recipe, says = recipes.get(name), weights.card(name)["score"]
    score = recipe.score(weights.load_pretrained(recipe.model(), name))
    assert score.keys() == says.keys()
    for key, value in score.items():
        assert isinstance(value, float)
        if key == "accuracy":
            assert value == pytest.approx(says[key], abs=0.01)
        elif key.startswith("fd_"):
            assert 0.9 * says[key] < value < says[key] + 20
        else:
            assert value == pytest.approx(says[key], rel=0.1)


def test_untrained_weights_score_far_worse(few_digits):
    torch.manual_seed(0)
    recipe = recipes.get("ae_digits")
    untrained = recipe.score(recipe.model().eval())
    assert all(
        value > 3 * weights.card("ae_digits")["score"][key]
        for key, value in untrained.items()
    )


# ---------- training ----------


@pytest.mark.parametrize(("budget", "steps"), [("quick", 3), ("full", 5)])
def test_the_budget_sets_the_steps_unless_they_are_given(
    tiny, monkeypatch, budget, steps
):
    monkeypatch.setenv("MINILIB_BUDGET", budget)
    assert len(tiny().train(progress=False).loss) == steps
    assert len(tiny().train(steps=2, progress=False).loss) == 2


@pytest.mark.parametrize("steps", [0, -1])
def test_no_step_is_no_training(tiny, steps):
    with pytest.raises(ValueError, match=f"expected 1 step or more, got {steps}"):
        tiny().train(steps=steps)


def test_the_seed_decides_the_start_and_the_order(tiny, monkeypatch):
    monkeypatch.setattr(
        "minilib.recipes.recipe.fit",
        lambda model, loss, batches, **_: (model, batches(0)[0]),
    )
    (start, order), (start_again, order_again), (other_start, other_order) = (
        tiny().train(seed=k) for k in (1, 1, 2)
    )
    assert same(start, start_again)
    assert not same(start, other_start)
    assert torch.equal(order, order_again)
    assert not torch.equal(order, other_order)


def test_the_recipes_numbers_and_the_callers_options_reach_fit(tiny, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "minilib.recipes.recipe.fit",
        lambda model, loss, batches, **options: asked.update(options, batch=batches(0)),
    )
    tiny(lr=0.5, betas=(0.0, 0.9), weight_decay=0.25, batch_size=7).train(
        steps=2, seed=4, clip=3.0
    )
    (x,) = asked.pop("batch")
    assert x.shape == (7, 3)
    numbers = {"lr": 0.5, "betas": (0.0, 0.9), "weight_decay": 0.25, "clip": 3.0}
    assert asked == {"steps": 2, "seed": 4, "name": "tiny", **numbers}


# ---------- training into a folder ----------


def test_weights_and_card_are_written_and_the_score_is_theirs(tiny, tmp_path):
    """Bit for bit: what is scored, and drawn from, is what a reader of the file
    gets.
    """
    seen = []

    def score(model):
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        assert not model.training
        return {"error": 1 / 3}

    def sample(model, n, generator):
        seen.append(model.state_dict())
        return torch.zeros(n, 1, 2, 2)

    recipe = tiny(score=score, sample=sample)
    path = recipes.train_and_save(
        "tiny", tmp_path / "new", steps=4, seed=2, progress=False
    )
    assert path == tmp_path / "new" / "tiny.safetensors"
    assert {file.name for file in path.parent.iterdir()} == {
        "tiny.safetensors",
        "tiny.json",
    }
    stored = load_file(path)
    assert {stored[key].dtype for key in ("0.weight", "1.running_mean")} == {
        torch.float16
    }
    averaged = recipe.train(steps=4, seed=2, progress=False).ema.state_dict()
    for state in seen:
        assert all(
            torch.equal(value, stored[key].to(value.dtype))
            for key, value in state.items()
        )
    assert all(
        torch.equal(stored[key], value.to(stored[key].dtype))
        for key, value in averaged.items()
    )
    assert len(seen) == 2

    loaded = weights.load_weights(recipe.model(), path)
    assert all(
        torch.equal(value, seen[0][key]) for key, value in loaded.state_dict().items()
    )
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert (card["name"], card["steps"], card["seed"], card["parameters"]) == (
        "tiny",
        4,
        2,
        18,
    )
    assert card["score"] == {"error": 0.33333}
    assert card["precision"] == "float32"
    numbers = {
        "quick": 3,
        "full": 5,
        "batch_size": 8,
        "lr": 5e-3,
        "betas": [0.9, 0.999],
        "weight_decay": 0.0,
    }
    assert card["recipe"] == recipe.settings() == numbers
    assert card["limits"] == "None known."
    assert card["seconds_per_1000_samples"] >= 0


def test_another_name_for_the_file_and_its_card(tiny, tmp_path):
    tiny()
    path = recipes.train_and_save(
        "tiny", tmp_path, file="tiny_seed1", seed=1, progress=False
    )
    assert {file.name for file in tmp_path.iterdir()} == {
        "tiny_seed1.safetensors",
        "tiny_seed1.json",
    }
    assert (
        json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["name"]
        == "tiny_seed1"
    )


def test_a_recipe_that_draws_nothing_says_no_time_for_it(tiny, tmp_path):
    tiny()
    path = recipes.train_and_save("tiny", tmp_path, progress=False)
    assert "seconds_per_1000_samples" not in json.loads(
        path.with_suffix(".json").read_text(encoding="utf-8")
    )


def test_only_the_first_process_writes(tiny, tmp_path, monkeypatch):
    fitted = tiny().train(progress=False)
    monkeypatch.setattr(
        "minilib.recipes.recipe.fit",
        lambda *_, **__: dataclasses.replace(fitted, rank=1),
    )
    recipes.train_and_save("tiny", tmp_path)
    assert not list(tmp_path.iterdir())


def test_weights_are_whole_before_they_are_scored(tiny, tmp_path):
    """Where scoring fails or is not asked for, the card's score is empty, and can be
    added; the weights stay as they are.
    """

    def broken(model):
        raise ValueError("cannot score")

    recipe, path = tiny(score=broken), tmp_path / "tiny.safetensors"
    with pytest.raises(ValueError, match="cannot score"):
        recipes.train_and_save("tiny", tmp_path, progress=False)
    unscored = path.read_bytes()
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["score"] == {}
    weights.load_weights(recipe.model(), path)
    assert recipes.train_and_save("tiny", tmp_path, score=False, progress=False) == path
    assert path.read_bytes() == unscored
    tiny(score=lambda model: {"error": 0.25})
    assert recipes.score_saved("tiny", path) == {"error": 0.25}
    assert path.read_bytes() == unscored
    scored = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    kept = {k: v for k, v in card.items() if k != "seconds"}
    assert kept | {"score": {"error": 0.25}} | {"seconds": scored["seconds"]} == scored


def test_a_folder_and_a_path_may_be_texts(tiny, tmp_path):
    tiny(score=lambda model: {"error": 0.25})
    path = recipes.train_and_save("tiny", f"{tmp_path}", score=False, progress=False)
    assert path == tmp_path / "tiny.safetensors"
    assert recipes.score_saved("tiny", f"{path}") == {"error": 0.25}
    with pytest.raises(IsADirectoryError, match=r"name in it .*, such as tiny"):
        recipes.score_saved("tiny", f"{tmp_path}")
    with pytest.raises(NotADirectoryError, match="is a file: choose a folder"):
        recipes.train_and_save("tiny", f"{path}", progress=False)


def test_nothing_is_written_where_training_fails(tiny, tmp_path):
    tiny(loss=lambda model, x: squared_error(model, x) * float("nan"))
    with pytest.raises(FloatingPointError, match="not finite from step 0"):
        recipes.train_and_save("tiny", tmp_path / "b", progress=False)
    with pytest.raises(ValueError, match="no recipe named 'tinny'"):
        recipes.train_and_save("tinny", tmp_path / "c")
    assert not list(tmp_path.iterdir())
