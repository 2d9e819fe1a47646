"""python -m minilib list."""

from __future__ import annotations

import argparse

from minilib import recipes, weights


def add(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=show_list)


def show_list(_: argparse.Namespace) -> None:
    """A line a recipe: name, steps, and the score of what ships; and the size of it."""
    for name, recipe in recipes.RECIPES.items():
        score = weights.card(name)["score"] if name in weights.names() else {}
        missing = (
            "only trainings at the quick budget shipped"
            if recipe.seeds
            else "no weights shipped"
        )
        facts = (
            ", ".join(f"{key} {value:.4g}" for key, value in score.items()) or missing
        )
        print(
            f"{name:<18} quick {recipe.quick:>6,} steps, full {recipe.full:>6,}: "
            f"{facts}"
        )
    sizes = [weights.card(name)["bytes"] for name in weights.names()]
    print(f"{len(sizes)} files of weights ship, {sum(sizes) / 1e6:.1f} MB in all")
