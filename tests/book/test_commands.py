"""Commands in the pages: each is one that its program takes, and trains what the page
says of it. Those of the library are executed, with a step and few pictures.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from book.tools.common import ROOT
from book.tools.links import pages
from book.tools.markdown import blocks
from minilib import recipes, weights
from minilib.__main__ import main, parser
from minilib.claims import PICTURE, PROMPT
from minilib.commands import drawing
from minilib.data.people import attributes as people
from minilib.data.portraits import drawing as portraits
from minilib.data.scenes import drawing as scenes
from minilib.experiments import evidence, measure
from minilib.experiments.experiment import Bound, Experiment
from minilib.experiments.registry import chosen, experiments

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


# ---------- executed ----------


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that all is written to: what trains, what draws, and records."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINILIB_DEVICE", "cpu")
    monkeypatch.setattr(evidence, "HERE", tmp_path / "evidence")
    return tmp_path


def commands_of(name: str) -> Any:
    """The library's commands of that name, each once, wherever they stand."""
    words = {c.words for c in COMMANDS if c.program == "minilib" and c.words[0] == name}
    assert words
    return pytest.mark.parametrize("words", sorted(words), ids=" ".join)


@pytest.fixture
def few_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for thousands of drawn pictures gets the first 128."""

    def at_most(draw: Callable[..., Any], n: int, *rest: Any) -> Any:
        return draw(min(n, 128), *rest)

    for world in (portraits, scenes, people):
        monkeypatch.setattr(world, "draw", partial(at_most, world.draw))


@commands_of("train")
def test_a_training_is_executed(
    words: tuple[str, ...], out: Path, few_drawn: None
) -> None:
    """A step of it in place of its budget, and unscored."""
    told = [word for word in words if word not in ("--full", "--quick")]
    assert main([*told, "--steps", "1", "--no-score", "--out", str(out)]) == 0
    recipe = recipes.get(words[1])
    path = out / f"{recipe.name}.safetensors"
    weights.load_weights(recipe.model(), path)
    card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert (card["recipe"], card["steps"]) == (recipe.settings(), 1)


@commands_of("sample")
def test_a_drawing_is_executed(words: tuple[str, ...], out: Path) -> None:
    """A single picture, of two steps where the recipe walks in steps."""
    recipe = recipes.get(words[1])
    few = ["--steps", "2"] if "steps" in drawing.takes(recipe) else []
    assert main([*words, "--count", "1", *few]) == 0
    with Image.open(out / f"{recipe.name}.png") as picture:
        assert len(picture.getcolors(100_000) or []) > 10


@commands_of("list")
def test_a_list_is_executed(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 5


@commands_of("--help")
def test_help_is_executed(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([*words])
    assert "usage: python -m minilib" in capsys.readouterr().out


def no_time(experiment: Experiment) -> Experiment:
    """The experiment with numbers in place of what would take minutes to measure."""
    many = experiment.unit in (PICTURE, PROMPT)
    sides = ([1.0, 1.5], [0.0, 0.2]) if many else (1.0, 0.0)
    found = {
        part.name: 0.0 if isinstance(part, Bound) else sides
        for part in experiment.parts
    }
    return replace(experiment, measure=lambda seed, size: found)


@commands_of("measure")
def test_a_measurement_is_executed(
    words: tuple[str, ...], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands but for the time that it takes: the record names that command."""
    monkeypatch.setattr(measure, "code_of", lambda experiment: "c0de")
    for one in chosen([word for word in words[1:] if word in experiments()]):
        monkeypatch.setitem(experiments(), one.id, no_time(one))
    assert main([*words]) == 0
    records = [
        json.loads(file.read_text(encoding="utf-8"))
        for file in (out / "evidence").iterdir()
    ]
    said = {record["command"] for record in records}
    assert said == {f"python -m minilib {' '.join(words)}"}


def test_a_measurement_is_what_it_says(out: Path) -> None:
    """A claim that takes seconds, as the pages tell it: nothing stands in for
    anything.
    """
    words = ("measure", "DDPM-1", "--size", "quick")
    assert words in {c.words for c in COMMANDS}
    assert main([*words]) == 0
    record = json.loads((out / "evidence" / "DDPM-1.json").read_text("utf-8"))
    assert record["command"] == f"python -m minilib {' '.join(words)}"
    assert record["code"] == measure.code_of(experiments()["DDPM-1"])


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
