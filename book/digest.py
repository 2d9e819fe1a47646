"""A fingerprint of a chapter: its code, those definitions of minilib that it reaches,
and the weights that it names.

A definition that the chapter does not use may change without making the chapter's
outputs stale.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from book.common import ROOT
from book.sources import definitions, module_file, named, parse_cell, resolved_imports

# a module of minilib and a name in it; the name "" is what the module runs when
# imported
Reference = tuple[str, str]


@cache
def module(name: str, text: str) -> tuple[dict[str, str], dict[str, Reference], str]:
    """Of a module's text: source by defined name, what its imports bind, and the source
    of all its other statements.
    """
    own: dict[str, str] = {}
    for defined, source in definitions(text):
        own[defined] = own.get(defined, "") + source
    tree, lines = ast.parse(text), text.splitlines()
    other = [
        "\n".join(lines[node.lineno - 1 : node.end_lineno])
        for node in tree.body[ast.get_docstring(tree) is not None :]
        if not named(node) and not isinstance(node, ast.Import | ast.ImportFrom)
    ]
    path = module_file(name)
    package = (
        name
        if path is not None and path.name == "__init__.py"
        else name.rpartition(".")[0]
    )
    return own, resolved_imports(tree, package), "\n".join(other)


def used(tree: ast.AST, bound: dict[str, Reference]) -> Iterator[Reference]:
    """What the code refers to, where `bound` says what its names stand for."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in bound
        ):
            holder, name = bound[node.value.id]
            # plot.show, where plot is a module
            yield ((f"{holder}.{name}" if name else holder), node.attr)
        if isinstance(node, ast.Name) and node.id in bound:
            yield bound[node.id]


def reached(start: list[Reference]) -> dict[str, str]:
    """The source of every definition of minilib that `start` leads to, by its full
    name.
    """
    found: dict[str, str] = {}
    todo = list(start)
    while todo:
        holder, name = todo.pop()
        path = module_file(holder)
        if path is None or f"{holder}.{name}" in found:
            continue
        own, imported, other = module(holder, path.read_text(encoding="utf-8"))
        # handed on by the module that it was imported from
        if name in imported and name not in own:
            todo.append(imported[name])
            continue
        if name and name not in own:  # a submodule: all that matters is what it runs
            todo.append((f"{holder}.{name}", ""))
            continue
        found[f"{holder}.{name}"] = source = own[name] if name else other
        bound = {**imported, **{other_name: (holder, other_name) for other_name in own}}
        todo += [*used(ast.parse(source), bound), (holder, "")]
        todo += [
            (".".join(holder.split(".")[:i]), "")
            for i in range(1, holder.count(".") + 1)
        ]
    return dict(sorted(found.items()))


def weights_named(sources: list[str]) -> dict[str, str]:
    """Of the shipped weights whose name begins with a string in the sources: the
    SHA-256 on the card, by name.
    """
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    texts = [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    # an f-string gives the part before its first brace
    beginnings = tuple(text for text in texts if len(text) > 5)
    cards = sorted((ROOT / "minilib" / "weights").glob("*.json"))
    return {
        card.stem: sha256(card) for card in cards if card.stem.startswith(beginnings)
    }


def sha256(card: Path) -> str:
    return json.loads(card.read_text(encoding="utf-8"))["sha256"]


def canonical(node: Any) -> Any:
    """A syntax tree as plain lists: what Python sees, without comments, layout and
    places, in every version alike.
    """
    if isinstance(node, ast.AST):
        values = [(name, canonical(value)) for name, value in ast.iter_fields(node)]
        return [
            type(node).__name__,
            *[pair for pair in values if pair[1] not in (None, [])],
        ]
    return (
        [canonical(value) for value in node]
        if isinstance(node, list)
        else repr(node)
        if node is not None
        else None
    )


def digest(notebook: Any) -> str:
    """The fingerprint of a notebook's code and of all of minilib that it rests on: 16
    hexadecimal digits.
    """
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    trees = [parse_cell(source) for source in cells]
    bound = {
        name: target
        for tree in trees
        for name, target in resolved_imports(tree).items()
    }
    start = [target for tree in trees for target in used(tree, bound)] + list(
        bound.values()
    )
    library = reached(start)
    named_weights = weights_named(
        [ast.unparse(tree) for tree in trees] + list(library.values())
    )
    code = (
        [canonical(tree) for tree in trees],
        {name: canonical(ast.parse(source)) for name, source in library.items()},
    )
    return hashlib.sha256(json.dumps([code, named_weights]).encode()).hexdigest()[:16]
