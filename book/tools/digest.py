"""A fingerprint of a chapter: its code, those definitions of minilib that it reaches,
and the weights that it names.

What the code does counts, not how or where it is written: a definition that the chapter
does not use may change without making the chapter's outputs stale, and so may comments,
docstrings, layout, and the module that a definition stands in.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from book.tools.common import ROOT
from book.tools.sources import (
    definitions,
    module_file,
    named,
    parse_cell,
    resolved_imports,
)

# a module of minilib and a name in it; the name "" is what the module runs when
# imported
Reference = tuple[str, str]


DATA = ROOT / "minilib" / "data"


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


def reached(start: list[Reference]) -> list[tuple[str, str, dict[str, Reference]]]:
    """(name, source, what its names stand for) of every definition of minilib that
    `start` leads to. What a module runs when imported has no name.
    """
    found: dict[Reference, tuple[str, str, dict[str, Reference]]] = {}
    todo = list(start)
    while todo:
        holder, name = todo.pop()
        path = module_file(holder)
        if path is None or (holder, name) in found:
            continue
        own, imported, other = module(holder, path.read_text(encoding="utf-8"))
        # handed on by the module that it was imported from
        if name in imported and name not in own:
            todo.append(imported[name])
            continue
        if name and name not in own:  # a submodule: all that matters is what it runs
            todo.append((f"{holder}.{name}", ""))
            continue
        source = own[name] if name else other
        found[holder, name] = name, source, imported
        bound = {**imported, **{other_name: (holder, other_name) for other_name in own}}
        todo += [*used(ast.parse(source), bound), (holder, "")]
        todo += [
            (".".join(holder.split(".")[:i]), "")
            for i in range(1, holder.count(".") + 1)
        ]
    return list(found.values())


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


def canonical(node: Any, bound: dict[str, Reference]) -> Any:
    """A syntax tree as plain lists: what Python does, in every version alike.

    Comments, layout, places and docstrings are left out, and so is where in minilib a
    thing lies: imports of it are dropped, and what `bound` says that they bind stands
    under its own name.
    """
    if isinstance(node, list):
        return [canonical(value, bound) for value in node if not is_import(value)]
    if not isinstance(node, ast.AST):
        return repr(node) if node is not None else None
    node = plain(node, bound)
    values = [(name, canonical(value, bound)) for name, value in ast.iter_fields(node)]
    return [
        type(node).__name__,
        *[pair for pair in values if pair[1] not in (None, [])],
    ]


def is_import(node: Any) -> bool:
    """Whether this statement imports from minilib, and nothing else."""
    if isinstance(node, ast.Import):
        return all(alias.name.split(".")[0] == "minilib" for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (
        node.level > 0 or (node.module or "").split(".")[0] == "minilib"
    )


def plain(node: ast.AST, bound: dict[str, Reference]) -> ast.AST:
    """The node without what may change while the code does the same."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return without_docstring(node)
    if isinstance(node, ast.JoinedStr):
        return joined(node)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return ast.Constant(without_folder(node.value))
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        holder, name = bound.get(node.value.id, ("", ""))
        if holder and not name:  # plot.show, where plot is a module
            return ast.Name(node.attr, node.ctx)
    if isinstance(node, ast.Name) and bound.get(node.id, ("", ""))[1]:
        return ast.Name(bound[node.id][1], node.ctx)
    return node


def without_docstring(
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> ast.AST:
    if ast.get_docstring(node, clean=False) is None:
        return node
    fields = {**dict(ast.iter_fields(node)), "body": node.body[1:]}
    return type(node)(**fields)


def joined(node: ast.JoinedStr) -> ast.AST:
    """An f-string whose neighbouring pieces of text are one; plain text, if it is all
    text.
    """
    parts: list[ast.expr] = []
    for part in node.values:
        last = parts[-1] if parts else None
        if isinstance(part, ast.Constant) and isinstance(last, ast.Constant):
            parts[-1] = ast.Constant(str(last.value) + str(part.value))
        else:
            parts.append(part)
    if len(parts) == 1 and isinstance(parts[0], ast.Constant):
        return parts[0]
    return ast.JoinedStr(parts)


def without_folder(text: str) -> str:
    """The name alone of a file of data that ships, else the same text."""
    short = 0 < len(text) < 100 and text.isprintable() and "/" in text
    return Path(text).name if short and (DATA / text).is_file() else text


def cell_code(tree: ast.Module, bound: dict[str, Reference]) -> list[Any]:
    """The statements of a cell; of its last one also whether its value is shown."""
    code = [canonical(node, bound) for node in tree.body if not is_import(node)]
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        code[-1] = ["shown", code[-1]]
    return code


def digest(notebook: Any) -> str:
    """The fingerprint of a notebook's code and of all of minilib that it rests on: 16
    hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(covered(notebook)).encode()).hexdigest()[:16]


def covered(notebook: Any) -> list[Any]:
    """What the fingerprint covers: the cells' statements, the names that they import,
    the definitions of minilib by their names, and the weights.
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
    library: dict[str, list[str]] = {}
    sources = [ast.unparse(tree) for tree in trees]
    for name, source, imported in reached(start):
        sources.append(source)
        code = [canonical(node, imported) for node in ast.parse(source).body]
        if code:
            library.setdefault(name, []).append(json.dumps(code))
    return [
        [statement for tree in trees for statement in cell_code(tree, bound)],
        sorted({name for _, name in bound.values() if name}),
        {name: sorted(set(found)) for name, found in sorted(library.items())},
        weights_named(sources),
    ]
