"""What the commands know without torch, held against the recipes that have it."""

import json
import subprocess
import sys

import pytest

from minilib import recipes, weights
from minilib.commands.catalogue import CATALOGUE, budgets, known
from minilib.commands.drawing import takes


def test_the_catalogue_is_what_the_recipes_are():
    assert list(CATALOGUE) == list(recipes.RECIPES)
    for name, recipe in recipes.RECIPES.items():
        source = "prompt" if recipe.tokenizer else "class" if recipe.classes else ""
        if recipe.sample and "image" in takes(recipe):
            source += ", image"
        expected = (recipe.sample and (source or "nothing")) or ""
        assert CATALOGUE[name] == expected


def test_the_budgets_are_those_of_the_recipes(monkeypatch):
    for name, recipe in recipes.RECIPES.items():
        assert budgets(name) == (f"{recipe.quick:,}", f"{recipe.full:,}")
    monkeypatch.setattr(weights, "names", list)
    assert budgets("ae_digits") == ("-", "-")


def test_a_wrong_name_is_told_the_nearest():
    assert known("ae-digits") == "ae_digits"
    with pytest.raises(
        ValueError, match=r"no recipe named 'ddpm_digit': did you mean ddpm_digits or"
    ):
        known("ddpm-digit")


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "--version",
        "list",
        "list vae_digits",
        "list nope",
        "sample --help",
        "sample nope",
        "train --help",
        "train nope",
        "measure --help",
        "paint",
    ],
)
def test_what_computes_nothing_imports_nothing_heavy(command):
    code = (
        "import json, sys\n"
        "from minilib.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "minilib.__main__" in loaded
    assert not loaded & {"torch", "scipy", "numpy", "matplotlib", "PIL", "safetensors"}
