"""Retrain the weights that ship with minilib, each at the full budget of its recipe:
make weights [NAME=…].

A run keeps its checkpoint under runs/, and goes on from there when it was cut off. What
draws pictures is then rated, on two kinds of seeds: the shipped weights over five of
sampling, the quick budget over three of training.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from book.tools.common import ROOT, shown, write_whole
from minilib import recipes, runtime
from minilib.data import digits
from minilib.metrics import rate
from minilib.recipes import Recipe, draws_digits
from minilib.recipes.digits.scores import feature_network, reference_digits
from minilib.weights import HERE, card, load_pretrained

SAMPLING_SEEDS, TRAINING_SEEDS, DRAWN = range(5), range(3), 10_000


def retrain(recipe: Recipe, seed: int | None = None) -> None:
    """Train a recipe, and move weights and card into the package once both are whole.

    At its full budget; or, when a seed is given, at the quick one, as NAME_seed1.
    """
    file = recipe.name if seed is None else f"{recipe.name}_seed{seed}"
    checkpoint = ROOT / "runs" / "weights" / f"{file}.checkpoint.safetensors"
    steps = recipe.full if seed is None else recipe.quick
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        path = recipes.train_and_save(
            recipe.name,
            Path(folder),
            steps=steps,
            seed=seed or 0,
            file=file,
            checkpoint=checkpoint,
        )
        for whole in (path, path.with_suffix(".json")):
            whole.replace(HERE / whole.name)
    checkpoint.unlink()
    print(
        f"{shown(HERE / path.name)}: retrained; now run: make scoreboard, and make "
        "chapter for those that load it"
    )


def trainings(recipe: Recipe) -> tuple[int | None, ...]:
    """The seeds with which `retrain` makes all that ships of a recipe; None is the
    training at the full budget.
    """
    return (None, *recipe.seeds)


def ratings(recipe: Recipe, models: list[tuple[Any, int]]) -> dict[str, list[float]]:
    """Every number of the scoreboard for pictures drawn from each (model, sampling
    seed): one value for each.
    """
    network, reference, found = feature_network(), reference_digits(), []
    for model, seed in models:
        assert recipe.sample is not None
        drawn = recipe.sample(
            model.to(runtime.device()), DRAWN, torch.Generator().manual_seed(seed)
        )
        found.append(rate(network, reference, drawn))
    return {name: [round(numbers[name], 5) for numbers in found] for name in found[0]}


def rate_floor() -> None:
    """Rate the real test digits, the floor under every rating, and write that to the
    classifier's card.
    """
    floor = rate(feature_network(), reference_digits(), digits.load("test")[0])
    add_to_card(
        "digit_classifier",
        floor={name: [round(value, 5)] for name, value in floor.items()},
    )


def rate_shipped(recipe: Recipe) -> None:
    """Rate what a recipe draws, and write that to the card of its weights, which stay
    as they are.
    """
    shipped = load_pretrained(recipe.model(), recipe.name)
    quick = [
        (recipe.train(steps=recipe.quick, seed=seed).ema, 0) for seed in TRAINING_SEEDS
    ]
    drawn_by_shipped = ratings(recipe, [(shipped, seed) for seed in SAMPLING_SEEDS])
    add_to_card(recipe.name, samples=drawn_by_shipped, quick=ratings(recipe, quick))


def add_to_card(name: str, **facts: Any) -> None:
    text = json.dumps(
        {**card(name), **facts, "rated_by": card("digit_classifier")["sha256"]},
        indent=2,
        ensure_ascii=False,
    )
    write_whole(HERE / f"{name}.json", text + "\n")
    print(f"{name}: rated; now run: make scoreboard")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.train_weights",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument(
        "names", nargs="*", help="recipes; all of them, in order, by default"
    )
    parser.add_argument(
        "--rate", action="store_true", help="train nothing: rate the weights that ship"
    )
    options = parser.parse_args(arguments)
    for recipe in [recipes.get(name) for name in options.names or recipes.RECIPES]:
        if not options.rate:
            for seed in trainings(recipe):
                retrain(recipe, seed)
        if recipe.name == "digit_classifier":
            rate_floor()
        if draws_digits(recipe):
            rate_shipped(recipe)
    return 0


if __name__ == "__main__":
    sys.exit(main())
