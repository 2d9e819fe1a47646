"""A tiny book to break: a copy of the tools and the Makefile, a library of two modules,
and one executed chapter.
"""

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
MEASURE = """\
import os

from IPython.display import display

numbers = [{"name": "big | small", "values": [9.0, 4.0], "median": 6.5, "std": 3.5}]
budget = os.environ["MINILIB_BUDGET"]
record = {"id": "AE-1", "outcome": "holds", "statement": "Areas grow."}
record |= {"seeds": [0, 1], "budget": budget, "numbers": numbers, "rule": "any"}
data = {"application/vnd.minilib.claim+json": record, "text/plain": "AE-1 holds"}
display(data, raw=True)"""

FILES = {
    "minilib/shapes.py": SHAPES,
    "minilib/units.py": UNITS,
    "book/intro.md": INTRO,
    "book/references.bib": BIBLIOGRAPHY,
    "_toc.yml": CONTENTS,
    "README.md": README,
    ".gitignore": "__pycache__/\n.text/\n",
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
    for folder in ("book/tools", "minilib", "chapters"):
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
    for command in (("notebook", "run"), ("claims",)):
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
