"""A stamp of code: all of minilib that it reaches, and the weights that it names.

What the code does counts, not how or where it is written: comments, docstrings, layout,
the module that a definition stands in, and what is not used may change. So may guards,
which only refuse: what they let pass gives the same numbers.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "minilib" / "data"
# a module of minilib and a name in it; "" is what the module runs when imported
Reference = tuple[str, str]


def module_file(module: str) -> Path | None:
    """The file of a module such as `minilib.data.digits`, or None where there is no
    such module.
    """
    base = ROOT.joinpath(*module.split("."))
    return next(
        (
            path
            for path in (base.with_suffix(".py"), base / "__init__.py")
            if path.is_file()
        ),
        None,
    )


def resolved_imports(tree: ast.Module, package: str = "") -> dict[str, tuple[str, str]]:
    """What each import binds of minilib, wherever it stands: name → (module, name in
    it, or "" for the module itself).

    `package` resolves `from . import`.
    """
    bound: dict[str, tuple[str, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound[alias.asname or alias.name] = (alias.name, "")
        elif isinstance(node, ast.ImportFrom):
            parents = (
                package.split(".")[: len(package.split(".")) - node.level + 1]
                if node.level
                else []
            )
            base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = (
                    f"{base}.{alias.name}"  # `from minilib import plot` binds a module
                )
                bound[alias.asname or alias.name] = (
                    (whole, "") if module_file(whole) else (base, alias.name)
                )
    return {
        name: found
        for name, found in bound.items()
        if found[0].split(".")[0] == "minilib"
    }


def named(node: ast.stmt) -> list[str]:
    """The names that a top-level class, function or assignment defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    return [
        name.id
        for target in targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    ]


def definitions(text: str) -> Iterator[tuple[str, str]]:
    """(name, source) of each top-level definition, with its decorators and the comment
    lines directly above it.
    """
    lines = text.splitlines()
    for node in ast.parse(text).body:
        first = min(
            [node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]
        )
        while first > 1 and lines[first - 2].startswith("#"):
            first -= 1
        for name in named(node):
            yield name, "\n".join(lines[first - 1 : node.end_lineno])


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
    for node in without_guards(tree):
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


def is_requirement(name: str) -> bool:
    """Whether a function of this name only refuses."""
    return name.startswith("require_")


def is_guard(node: Any) -> bool:
    """Whether this statement only refuses: `if …: raise …`, the call of a function
    named require_…, or its definition.
    """
    if isinstance(node, ast.If):
        return all(
            isinstance(one, ast.Raise) or is_guard(one)
            for one in [*node.body, *node.orelse]
        )
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        name = getattr(called, "id", getattr(called, "attr", ""))
        return is_requirement(name)
    return isinstance(node, ast.FunctionDef) and is_requirement(node.name)


def without_guards(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a tree but those of guards."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        todo += [n for n in ast.iter_child_nodes(node) if not is_guard(n)]


def reach_of(start: list[Reference]) -> list[tuple[str, str, dict[str, Reference]]]:
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
    """Of the shipped weights that a string in the sources names, or begins to name: the
    SHA-256 on the card, by name.
    """
    cards = {card.stem: card for card in (ROOT / "minilib" / "weights").glob("*.json")}
    whole: set[str] = set()
    beginnings: set[str] = set()
    for source in sources:
        tree = ast.parse(source)
        # an f-string gives the part before its first brace
        parts = [n.values for n in ast.walk(tree) if isinstance(n, ast.JoinedStr)]
        pieces = {id(piece) for values in parts for piece in values}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = node.value in cards and id(node) not in pieces
                (whole if named else beginnings).add(node.value)
    starts = tuple(text for text in beginnings if len(text) > 5)
    return {
        name: sha256(card)
        for name, card in sorted(cards.items())
        if name in whole or name.startswith(starts)
    }


def sha256(card: Path) -> str:
    return json.loads(card.read_text(encoding="utf-8"))["sha256"]


def canonical(node: Any, bound: dict[str, Reference]) -> Any:
    """A syntax tree as plain lists: what Python does, in every version alike.

    Comments, layout, places, docstrings and guards are left out, and so is where in
    minilib a thing lies: imports of it are dropped, and what `bound` says that they
    bind stands under its own name.
    """
    if isinstance(node, list):
        return [
            canonical(value, bound)
            for value in node
            if not (is_import(value) or is_guard(value))
        ]
    if not isinstance(node, ast.AST):
        return repr(node) if node is not None else None
    node = without_place(node, bound)
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


def without_place(node: ast.AST, bound: dict[str, Reference]) -> ast.AST:
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


def library_of(start: list[Reference]) -> tuple[dict[str, list[str]], list[str]]:
    """Of all that `start` reaches: the canonical code by bare name, and the sources."""
    found: dict[str, list[str]] = {}
    sources = []
    for name, source, imported in reach_of(start):
        sources.append(source)
        code = canonical(ast.parse(source).body, imported)
        if code:
            found.setdefault(name, []).append(json.dumps(code))
    return {name: sorted(set(code)) for name, code in sorted(found.items())}, sources


def fingerprint(covered: Any) -> str:
    """16 hexadecimal digits of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(covered).encode()).hexdigest()[:16]


def stamp(start: list[Reference]) -> str:
    """The stamp of definitions of minilib: of their code, of all that they reach, and
    of the weights that it names.
    """
    library, sources = library_of(start)
    return fingerprint([library, weights_named(sources)])
