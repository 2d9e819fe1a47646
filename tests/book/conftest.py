"""A tiny book to break: a copy of the tools and the Makefile, a library of two modules,
and one executed chapter.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = "chapters/01_autoencoder.ipynb"
COPIED = [
    "book/tools/*.py",
    "book/chapters.yml",
    "Makefile",
    "minilib/__init__.py",
    "minilib/claims.py",
    "minilib/experiments/__init__.py",
    "minilib/experiments/evidence.py",
    "minilib/experiments/experiment.py",
    "minilib/experiments/measure.py",
    "minilib/experiments/stamp.py",
    "minilib/weights/__init__.py",
    "minilib/runtime.py",
]

AREA = '''\
# The side that `area` takes when it is told none.
SIDE = 3.0


@units.squared
def area(side: float = SIDE) -> float:
    """Side times side."""
    return side * side  # not 4·side: that is the outline'''
SHAPES = f'''\
"""Shapes."""

from minilib import units

{AREA}


class Square:
    """A square."""

    def __init__(self, side: float):
        self.side = side
'''
UNITS = '''\
"""Units."""


def squared(function):
    return function
'''
README = """\
# Tiny

```
README.md   this
_toc.yml    the order
Makefile    what to make
chapters/   pages
  01_autoencoder.ipynb   areas
book/       pages and tools
minilib/    areas
```
"""
INTRO = """\
# A tiny book

See [the claims](claims.md) and [the areas](../chapters/01_autoencoder.ipynb#areas).
"""
CONTENTS = """\
format: jb-book
root: book/intro
chapters:
  - file: chapters/01_autoencoder
  - file: book/claims
"""
BIBLIOGRAPHY = """\
@article{hinton2006,
  title = {Areas},
  url = {https://arxiv.org/abs/2006.00001},
}
"""
REGISTRY = """\
from minilib.experiments import areas


def experiments():
    return {areas.AE_1.id: areas.AE_1}
"""
AREAS = """\
from minilib.experiments.experiment import Compare, Experiment
from minilib.shapes import area


def grow(seed, size):
    return {"big | small": (area(3.0) + seed, area(2.0))}


PARTS = (Compare("big | small", 1.0),)
AE_1 = Experiment("AE-1", "Areas grow.", grow, PARTS, seeds=3)
"""
MEASURE = """\
from minilib.experiments.areas import AE_1

AE_1.verdict()"""
RECORD = """\
from minilib.experiments.areas import AE_1
from minilib.experiments.experiment import Size
from minilib.experiments.measure import measure

measure([AE_1], None, Size.QUICK)"""

FILES = {
    "minilib/shapes.py": SHAPES,
    "minilib/units.py": UNITS,
    "minilib/experiments/areas.py": AREAS,
    "minilib/experiments/registry.py": REGISTRY,
    "book/intro.md": INTRO,
    "book/references.bib": BIBLIOGRAPHY,
    "_toc.yml": CONTENTS,
    "README.md": README,
    ".gitignore": "__pycache__/\n.text/\nruns/\n",
}
CELLS = [
    nbformat.v4.new_markdown_cell(
        "# Areas\n\nA square of side $a$ has the area $a^2$."
    ),
    nbformat.v4.new_code_cell("from minilib import shapes, units"),
    nbformat.v4.new_code_cell(f"# minilib.shapes: SIDE, area\n{AREA}"),
    nbformat.v4.new_code_cell("area(2.0)"),
    nbformat.v4.new_markdown_cell("## What was claimed\n\nAreas grow."),
    nbformat.v4.new_code_cell(MEASURE, metadata={"tags": ["claim:AE-1"]}),
]

Tool = Callable[..., "subprocess.CompletedProcess[str]"]


def run_tool(
    tree: Path, name: str, *arguments: str
) -> "subprocess.CompletedProcess[str]":
    """`python -m book.tools.NAME` in a tree. Its messages stand in stdout, whichever
    stream they went to.
    """
    command = [sys.executable, "-m", f"book.tools.{name}", *arguments]
    return subprocess.run(
        command,
        cwd=tree,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


@pytest.fixture(scope="session")
def finished_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny book with its chapter executed and its claims page written: every tool
    finds it in order.
    """
    tree = tmp_path_factory.mktemp("book")
    for folder in ("book/tools", "minilib/experiments", "minilib/weights", "chapters"):
        (tree / folder).mkdir(parents=True)
    for file in (file for pattern in COPIED for file in ROOT.glob(pattern)):
        shutil.copy(file, tree / file.relative_to(ROOT))
    for name, text in FILES.items():
        (tree / name).write_text(text, encoding="utf-8")
    cells = [{**cell, "id": f"cell-{i}"} for i, cell in enumerate(CELLS)]
    nbformat.write(
        nbformat.from_dict({**nbformat.v4.new_notebook(), "cells": cells}),
        tree / CHAPTER,
    )
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    record = [sys.executable, "-c", RECORD]
    subprocess.run(record, cwd=tree, env=environment, check=True)
    for command in (("notebook", "run", "--once"), ("claims",)):
        done = run_tool(tree, *command)
        assert done.returncode == 0, done.stdout
    return tree


@pytest.fixture
def tree(finished_tree: Path, tmp_path: Path) -> Path:
    """A copy of the tiny book, to break."""
    return Path(
        shutil.copytree(
            finished_tree,
            tmp_path / "book",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    )


@pytest.fixture
def tool(tree: Path) -> Tool:
    """Run an author's tool in the tiny book: `tool("mirror", "--check")`."""
    return lambda name, *arguments: run_tool(tree, name, *arguments)


@pytest.fixture
def chapter(tree: Path) -> Path:
    return tree / CHAPTER
