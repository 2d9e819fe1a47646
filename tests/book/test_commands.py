"""Commands in the pages: each is one that its program takes, and trains what the page
says of it.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from book.tools.common import ROOT
from book.tools.links import pages
from book.tools.markdown import blocks
from minilib import recipes
from minilib.__main__ import main, parser
from minilib.experiments.registry import experiments

SHELLS = {"bash", "sh", "console"}
PYTHON = re.compile(r"(?:(?:\S*/)?python3?|…) -m ([\w.]+)(.*)")
MAKE = re.compile(r"make( .+)")
TRAINED = re.compile(r"([\d,]+) steps")
PLACEHOLDERS = {"NAME", "…"}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


class Command(NamedTuple):
    """A command, its words after the program, the line of text that it stands in, and
    where that is.
    """

    program: str
    words: tuple[str, ...]
    text: str
    where: str


def code_of(text: str) -> Iterator[tuple[str, str]]:
    """(code, the line of text around it): lines for a shell, and code in a line."""
    for _, token in blocks(text):
        if token.type == "fence" and token.info.strip() in SHELLS:
            yield from ((line, line) for line in token.content.splitlines())
        lines = iter(token.content.splitlines())
        line = next(lines, "")
        for child in token.children or []:
            if child.type in ("softbreak", "hardbreak"):
                line = next(lines, "")
            elif child.type == "code_inline":
                yield child.content, line


def commands() -> list[Command]:
    """Every command of the pages, once, without placeholders."""
    found = {}
    for page in pages().values():
        for place, text in page.pieces:
            for code, line in code_of(text):
                python, make = PYTHON.fullmatch(code.strip()), MAKE.match(code)
                if python:
                    program, rest = python[1], python[2]
                elif make:
                    program, rest = "make", make[1]
                else:
                    continue
                words = tuple(shlex.split(rest, comments=True))
                if not PLACEHOLDERS & set(words):
                    one = Command(program, words, line, f"{place} {code}")
                    found[program, words, line] = one
    return list(found.values())


COMMANDS = commands()
TRAININGS = [
    c for c in COMMANDS if c.program == "minilib" and c.words[:1] == ("train",)
]


def of(program: str) -> Any:
    mine = [command for command in COMMANDS if command.program.startswith(program)]
    assert mine
    return pytest.mark.parametrize("command", mine, ids=lambda command: command.where)


def test_the_pages_commands_are_found() -> None:
    assert {c.program for c in COMMANDS} >= {"minilib", "make", "book.tools.colab"}
    assert {c.words[0] for c in COMMANDS if c.program == "minilib"} >= {
        "list",
        "measure",
        "sample",
        "train",
    }


@of("minilib")
def test_a_command_of_the_library_is_one(command: Command) -> None:
    if "--help" in command.words:
        with pytest.raises(SystemExit, match="0"):
            parser().parse_args(command.words)
        return
    options = vars(parser().parse_args(command.words))
    name = options.get("name")  # `list` takes none too
    recipe = recipes.get(name) if name else None
    if options.get("prompt"):
        assert recipe
        assert recipe.tokenizer
        assert len(recipe.tokenizer().encode([options["prompt"]]))
    if command.words[0] == "measure":
        ids = [
            word for word in command.words[1:] if re.fullmatch(r"[A-Z0-9]+-\d+", word)
        ]
        assert set(ids) <= set(experiments())


@pytest.mark.parametrize("command", TRAININGS, ids=lambda command: command.where)
def test_a_command_trains_the_steps_that_its_line_names(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, where the budget is quick unless the command says otherwise."""
    recipe = recipes.get(command.words[1])
    asked: list[int] = []

    def fit(*arguments: Any, steps: int, **options: Any) -> None:
        asked.append(steps)
        raise ValueError("not now")

    monkeypatch.delenv("MINILIB_BUDGET")
    monkeypatch.setattr("minilib.recipes.recipe.fit", fit)
    monkeypatch.setattr("minilib.recipes.recipe.shuffled", lambda *a, **k: iter(()))
    monkeypatch.setitem(recipes.RECIPES, recipe.name, replace(recipe, data=tuple))
    main([*command.words, "--device", "cpu", "--out", str(tmp_path)])
    full = "--full" in command.words
    assert asked == [recipe.full if full else recipe.quick]
    for said in TRAINED.findall(command.text):
        assert asked == [int(said.replace(",", ""))]


@of("book.tools.")
def test_a_tools_command_is_one(command: Command) -> None:
    spec = importlib.util.find_spec(command.program)
    assert spec
    assert spec.origin
    source = Path(spec.origin).read_text(encoding="utf-8")
    options = [word for word in command.words if word.startswith("--")]
    assert [option for option in options if f'"{option}"' not in source] == []


@of("tests.")
def test_a_benchmarks_command_is_one(command: Command) -> None:
    assert importlib.util.find_spec(command.program)


@of("make")
def test_a_target_is_one(command: Command) -> None:
    for word in command.words:
        name, given, _ = word.partition("=")
        if given:
            assert re.search(rf"\$\((?:or \$\()?{name}\)|^{name} \?=", MAKEFILE, re.M)
        else:
            assert re.search(rf"^{name}:", MAKEFILE, re.M), f"no target {name}"
