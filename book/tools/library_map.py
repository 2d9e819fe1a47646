"""Write the map of minilib into CONTRIBUTING.md, or check it: which module imports
which, and how long they are.

Nothing there is typed. Rooms whose modules are many and alike, or stand behind one
door, are one box.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

from book.tools.common import ROOT, shown, tell, write_whole
from book.tools.sources import library, module_imports, module_name
from minilib.experiments.stamp import module_file

PAGE = ROOT / "CONTRIBUTING.md"
START, END = (
    "<!-- written by: make library -->",
    "<!-- end of what make library writes -->",
)
ROOMS = ("data", "interop", "plot", "recipes", "train", "weights")
AS_ONE = tuple(f"minilib.{room}" for room in ROOMS)


def drawn_as(module: str) -> str:
    """The box that a module stands in: its name without `minilib`, or its package's."""
    room = ".".join(module.split(".")[:2])
    return (room if room in AS_ONE else module).removeprefix("minilib.")


def only_holds(module: str) -> bool:
    """Whether it is a folder's own file, which does nothing but hold modules."""
    path = module_file(module)
    return path is not None and path.stem == "__init__" and module not in AS_ONE


def boxes() -> dict[str, set[str]]:
    """For each box those that it imports."""
    graph: dict[str, set[str]] = {}
    for path in library():
        if only_holds(module_name(path)):
            continue
        box = drawn_as(module_name(path))
        found = {
            drawn_as(name) for name in module_imports(path) if not only_holds(name)
        }
        graph[box] = graph.get(box, set()) | found - {box}
    return graph


def without_detours(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows of a graph free of circles that no way over another box makes
    superfluous.

    Raises ValueError that names a box from which a circle starts.
    """

    def reached(box: str, way: tuple[str, ...] = ()) -> set[str]:
        if box in way:
            raise ValueError(
                f"imports go in a circle: {' → '.join([*way[way.index(box) :], box])}"
            )
        return set().union(
            *({below} | reached(below, (*way, box)) for below in graph[box])
        )

    everything = {box: reached(box) for box in graph}
    return {
        box: {to for to in below if not any(to in everything[other] for other in below)}
        for box, below in graph.items()
    }


def drawing() -> str:
    """The graph as Mermaid, which GitHub draws."""
    arrows = without_detours(boxes())
    lines = [f"  {box.replace('.', '_')}[{box}]" for box in sorted(arrows)]
    lines += [
        f"  {a.replace('.', '_')} --> {b.replace('.', '_')}"
        for a in sorted(arrows)
        for b in sorted(arrows[a])
    ]
    return "\n".join(["```mermaid", "graph TD", *lines, "```"])


def lengths(paths: Iterable[Path]) -> list[tuple[int, str]]:
    """Lines and name of every function, methods included."""
    return [
        (node.end_lineno - node.lineno + 1, node.name)
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno
    ]


def table() -> str:
    """A row for each part of the library: modules, lines, functions, the median and the
    longest of these.
    """
    parts: dict[str, list[Path]] = {}
    for path in library():
        folder = path.parent.relative_to(ROOT).as_posix() + "/"
        parts.setdefault(folder, []).append(path)
    lines = [
        "| | modules | lines | functions | median | longest |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, paths in [*sorted(parts.items()), ("all", library())]:
        found = lengths(paths)
        median = f"{statistics.median(n for n, _ in found):.0f}" if found else ""
        longest = "{}, `{}`".format(*max(found)) if found else ""
        long = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
        lines.append(
            f"| {name} | {len(paths)} | {long:,} | {len(found)} | {median} | "
            f"{longest} |"
        )
    return "\n".join(lines)


def page(text: str) -> str:
    """The text of CONTRIBUTING.md with what stands between the two marks written
    anew.
    """
    before, rest = text.split(START)
    return f"{before}{START}\n\n{drawing()}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.library_map",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; fail where the map is out of date",
    )
    text = PAGE.read_text(encoding="utf-8")
    wanted = page(text)
    if parser.parse_args(arguments).check:
        return tell(
            [f"{shown(PAGE)}: the map is out of date: run make library"]
            * (text != wanted),
            "the map is true",
        )
    write_whole(PAGE, wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
