"""The Makefile: what `make check` reports, and that it reports all of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbval.plugin import get_sanitize_patterns

from minilib import plot, runtime

ROOT = Path(__file__).resolve().parents[2]
TOOLS = " ".join(
    f'"book.tools.{tool}"'
    for tool in ("mirror --check", "notebook check", "claims --check", "links")
)


def make(
    tree: Path, *arguments: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """`make` in a tree, with this interpreter instead of a set-up of its own."""
    if shutil.which("make") is None:
        pytest.skip("there is no make on this machine")
    command = [
        "make",
        "-C",
        str(tree),
        "READY=",
        f"RUN={sys.executable} -m",
        *arguments,
    ]
    return subprocess.run(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        check=False,
    )


def drift(chapter: Path) -> None:
    """Edit a mirrored cell by hand."""
    rewrite(chapter, 2, "side * side", "side + side")


def age(chapter: Path) -> None:
    """Change code, and leave the outputs of what was there before."""
    rewrite(chapter, 3, "area(2.0)", "area(5.0)")


def reorder(chapter: Path) -> None:
    """Execute a cell out of order, as an editor allows."""
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells[3].execution_count = 9
    chapter.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def rewrite(chapter: Path, cell: int, old: str, new: str) -> None:
    notebook = nbformat.read(chapter, as_version=4)
    assert old in notebook.cells[cell].source
    notebook.cells[cell].source = notebook.cells[cell].source.replace(old, new)
    chapter.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def test_a_tree_in_order_passes(tree: Path) -> None:
    done = make(tree, "check", f"CHECKS={TOOLS}")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("fault", "message", "todo"),
    [
        (
            drift,
            "cell 3 differs from its owner, minilib.shapes: SIDE, area",
            "make mirror",
        ),
        (age, "its outputs are stale", "make chapter N=01"),
        (
            reorder,
            "its cells were not executed once each from top to bottom",
            "make chapter N=01",
        ),
    ],
)
def test_make_check_fails_and_says_what_to_run(
    tree: Path, chapter: Path, fault, message: str, todo: str
) -> None:
    fault(chapter)
    done = make(tree, "check", f"CHECKS={TOOLS}")
    assert done.returncode != 0
    assert message in done.stdout
    assert todo in done.stdout


@pytest.mark.parametrize(
    ("fault", "todo"),
    [(drift, ["mirror", "chapter"]), (age, ["chapter"]), (reorder, ["chapter"])],
)
def test_what_it_says_to_run_mends_it(
    tree: Path, chapter: Path, fault, todo: list[str]
) -> None:
    fault(chapter)
    # the tiny book has no scoreboard
    (tree / "book/tools/scoreboard.py").write_text("")
    for target in todo:
        done = make(tree, target, "N=01")
        assert done.returncode == 0, done.stdout
    assert make(tree, "check", f"CHECKS={TOOLS}").returncode == 0


def test_make_check_goes_on_after_a_failure_and_names_every_one(
    tree: Path, chapter: Path
) -> None:
    drift(chapter)
    (tree / "book/intro.md").write_text("[a](nowhere.md)\n")
    done = make(tree, "check", f"CHECKS={TOOLS}")
    assert done.returncode != 0
    summary = done.stdout.partition("These failed")[2]
    for step in (
        "book.tools.mirror --check",
        "book.tools.notebook check",
        "book.tools.links",
    ):
        assert step in summary
    assert "book.tools.claims" not in summary


def test_make_check_runs_every_check() -> None:
    checks = re.search(
        r"^CHECKS := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert checks
    steps = set(re.findall(r'"(.*?)"', checks[1]))
    style = {"ruff check", "ruff format --check", "mypy"}
    tools = {
        path.stem
        for path in (ROOT / "book" / "tools").glob("*.py")
        if '"--check"' in path.read_text()
    }
    assert steps == style | {f"book.tools.{name} --check" for name in tools} | {
        "book.tools.notebook check",
        "book.tools.links",
    }


def test_the_readme_lists_the_checks_of_the_makefile() -> None:
    checks = re.search(
        r"^CHECKS := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    row = re.search(
        r"^\| `make check` \|.*each of: (.*) \|$",
        (ROOT / "README.md").read_text(),
        re.MULTILINE,
    )
    assert checks
    assert row
    assert re.findall("`(.*?)`", row[1]) == re.findall('"(.*?)"', checks[1])


def test_nbval_overlooks_pictures_times_and_machines_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patterns = get_sanitize_patterns(
        (ROOT / "tests" / "nbval_sanitize.cfg").read_text(encoding="utf-8")
    )

    def sanitised(text: str) -> str:
        for regex, replace in patterns:
            text = re.sub(regex, replace, text)
        return text

    def slider(level: float, name: str) -> str:
        return sanitised(
            plot.FrameSlider(
                [torch.full((1, 4, 4), level)] * 2, [0, 1], name, "a square"
            ).html()
        )

    assert slider(-1.0, "z") == slider(0.5, "z") != slider(0.5, "w")
    here = runtime.report()
    monkeypatch.setenv("MINILIB_BUDGET", "full")
    assert (
        sanitised(f"a\n{here}\nb")
        == sanitised(f"a\n{runtime.report()}\nb")
        == "a\nMACHINE\nb"
    )
    assert (
        sanitised("trained in 12.5 s")
        == sanitised("trained in 9 s")
        != sanitised("trained in 9 steps")
    )
    assert sanitised("loss 0.125, shape (8, 1)") == "loss 0.125, shape (8, 1)"


def test_make_alone_lists_every_target_with_a_line() -> None:
    listed = re.findall(r"^  make (\w+) +\S", make(ROOT).stdout, re.MULTILINE)
    declared = re.search(
        r"^\.PHONY: help (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert declared
    assert listed == declared[1].split()


@pytest.mark.parametrize("target", ["chapter", "text", "apply"])
def test_a_target_for_one_chapter_asks_which(tree: Path, target: str) -> None:
    done = make(tree, target)
    assert done.returncode != 0
    assert f"which chapter? for example: make {target} N=01" in done.stdout


def test_an_old_python_is_refused_before_anything_is_made(
    tree: Path, tmp_path: Path
) -> None:
    old = tmp_path / "python3"
    old.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\n[ "$1" = --version ]\n'
    )
    old.chmod(0o755)
    (tree / "requirements.lock").write_text("")
    (tree / "pyproject.toml").write_text("")
    done = make(tree, "test", f"PYTHON={old}", "READY=.venv/.ready")
    assert done.returncode != 0
    assert f"Python 3.11 or newer is needed, and {old} is Python 3.9.2" in done.stdout
    assert "make test PYTHON=python3.12" in done.stdout
    assert not (tree / ".venv").exists()
