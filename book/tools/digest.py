"""A fingerprint of a chapter: its code, those definitions of minilib that it reaches,
and the weights that it names, as `minilib.experiments.stamp` takes them.
"""

from __future__ import annotations

import ast
from typing import Any

from book.tools.sources import parse_cell
from minilib.experiments.stamp import (
    Reference,
    canonical,
    fingerprint,
    is_guard,
    is_requirement,
    library_of,
    resolved_imports,
    used,
    weights_named,
)


def cell_code(tree: ast.Module, bound: dict[str, Reference]) -> list[Any]:
    """The statements of a cell; of its last one also whether its value is shown."""
    code = canonical(tree.body, bound)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr) and not is_guard(last):
        code[-1] = ["shown", code[-1]]
    return code


def digest(notebook: Any) -> str:
    """The fingerprint of a notebook's code and of all of minilib that it rests on: 16
    hexadecimal digits.
    """
    return fingerprint(covered(notebook))


def covered(notebook: Any) -> list[Any]:
    """What the fingerprint covers: the cells' statements, the names that they import,
    the definitions of minilib by their names, and the weights.
    """
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    trees = [parse_cell(source) for source in cells]
    bound: dict[str, Reference] = {}
    for tree in trees:
        bound |= resolved_imports(tree)
    start = [target for tree in trees for target in used(tree, bound)]
    library, sources = library_of(start + list(bound.values()))
    return [
        [statement for tree in trees for statement in cell_code(tree, bound)],
        sorted(
            {name for _, name in bound.values() if name and not is_requirement(name)}
        ),
        library,
        weights_named([*(ast.unparse(tree) for tree in trees), *sources]),
    ]
