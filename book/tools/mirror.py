"""Write the library's code into the chapters' mirrored cells, or check that both are
the same text.

A mirrored cell begins with a line that names its owner, such as `# minilib.nets.layers:
mlp`; more names may follow a comma. The code below that line is the library's, comments
included: edit it in minilib/ and run `make mirror`.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from book.tools.common import (
    chapters,
    make_chapter,
    notebook_text,
    read_notebook,
    shown,
    tell,
    write_whole,
)
from book.tools.sources import library, module_name, parse_cell
from minilib.experiments.stamp import definitions, module_file, named

OWNER = re.compile(r"# (minilib(?:\.\w+)*): (\w+(?:, \w+)*)")
Kinds = ast.ClassDef | ast.FunctionDef


def mirrored_cells(notebook: Any) -> Iterator[tuple[int, Any, str, list[str]]]:
    """(number counted from 1, cell, module, names) of each cell whose first line names
    an owner.
    """
    for number, cell in enumerate(notebook.cells, 1):
        found = OWNER.fullmatch(cell.source.partition("\n")[0].rstrip())
        if cell.cell_type == "code" and found:
            yield number, cell, found[1], found[2].split(", ")


def mirrored(module: str, names: list[str]) -> str:
    """What the cell that mirrors these objects must hold. Raises ValueError when the
    library does not have them.
    """
    path = module_file(module)
    if path is None:
        raise ValueError(f"there is no module {module}: correct the cell's first line")
    known = dict(definitions(path.read_text(encoding="utf-8")))
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"{module} defines no {', '.join(missing)}: correct the cell's first line"
        )
    # an assignment to two names is written once
    sources = dict.fromkeys(known[name] for name in names)
    return f"# {module}: {', '.join(names)}\n" + "\n\n\n".join(sources)


def difference(cell: str, library: str) -> str:
    """The first dozen lines of the difference between two texts."""
    lines = list(
        difflib.unified_diff(
            cell.splitlines(),
            library.splitlines(),
            "the cell",
            "the library",
            lineterm="",
            n=1,
        )
    )
    return "\n".join(f"    {line}" for line in lines[:12] + ["…"] * (len(lines) > 12))


def cell_problems(path: Path, notebook: Any) -> list[str]:
    """Where the mirrored cells of one notebook differ from the library."""
    problems = []
    for number, cell, module, names in mirrored_cells(notebook):
        where = f"{shown(path)}, cell {number}"
        try:
            wanted = mirrored(module, names)
        except ValueError as error:
            problems.append(f"{where}: {error}")
            continue
        if cell.source != wanted:
            what = f"{where} differs from its owner, {module}: {', '.join(names)}"
            todo = (
                "edit the library, not the cell, then run: make mirror, "
                f"{make_chapter(path)}"
            )
            problems.append(f"{what}\n  {todo}\n{difference(cell.source, wanted)}")
    return problems


def introduced(notebook: Any) -> Iterator[tuple[int, str, bool]]:
    """(cell's number, name, whether it is mirrored) of each class and function of a
    notebook, and all it mirrors.
    """
    owned = {number: names for number, _, _, names in mirrored_cells(notebook)}
    for number, cell in enumerate(notebook.cells, 1):
        body = (
            parse_cell(cell.source).body
            if cell.cell_type == "code" and number not in owned
            else []
        )
        own = [name for node in body if isinstance(node, Kinds) for name in named(node)]
        yield from ((number, name, number in owned) for name in owned.get(number, own))


def public_names() -> dict[str, str]:
    """The module of each public class and function of the library that a chapter may
    show; a command line is none.
    """
    trees = {
        module_name(path): ast.parse(path.read_text(encoding="utf-8"))
        for path in library()
        if path.parent.name != "commands"
    }
    kinds = [
        (node, module)
        for module, tree in trees.items()
        for node in tree.body
        if isinstance(node, Kinds)
    ]
    return {
        node.name: module for node, module in kinds if not node.name.startswith("_")
    }


def name_problems(notebooks: dict[Path, Any]) -> list[str]:
    """Where a notebook defines what another one introduces, or writes out by hand what
    the library owns.
    """
    public = public_names()
    first: dict[str, Path] = {}
    problems = []
    for path, notebook in notebooks.items():
        for number, name, owned in introduced(notebook):
            where = f"{shown(path)}, cell {number}"
            if not owned and name in public:
                line = f"# {public[name]}: {name}"
                problems.append(
                    f"{where} defines {name}, which the library owns: import it, or "
                    f"rename a draft, or begin the cell with {line!r} and run: make "
                    "mirror"
                )
            elif name in first and (owned or first[name] != path):
                problems.append(
                    f"{where} defines {name}, which {shown(first[name])} "
                    "introduced: import it, or rename it"
                )
            first.setdefault(name, path)
    return problems


def write(path: Path, notebook: Any) -> None:
    """Write the library's code into the notebook's mirrored cells."""
    before = notebook_text(notebook)
    for number, cell, module, names in mirrored_cells(notebook):
        try:
            cell.source = mirrored(module, names)
        except ValueError as error:
            raise SystemExit(f"{shown(path)}, cell {number}: {error}") from None
    if notebook_text(notebook) != before:
        write_whole(path, notebook_text(notebook))
        print(f"{shown(path)}: mirrored cells written; now run: {make_chapter(path)}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.mirror", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; fail where library and cells differ",
    )
    check = parser.parse_args(arguments).check
    notebooks = {path: read_notebook(path) for path in chapters()}
    if not check:
        for path, notebook in notebooks.items():
            write(path, notebook)
    problems = [
        problem
        for path, notebook in notebooks.items()
        for problem in cell_problems(path, notebook)
    ]
    return tell(
        problems + name_problems(notebooks), "every mirrored cell is the library's text"
    )


if __name__ == "__main__":
    sys.exit(main())
