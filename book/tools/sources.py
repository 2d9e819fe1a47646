"""Python read as text: what a file defines at its top level, and which modules of
minilib it imports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from book.tools.common import ROOT


def parse_cell(source: str) -> ast.Module:
    """The syntax tree of a code cell, whose lines may hold IPython's magics. Raises
    SyntaxError.
    """
    return ast.parse(TransformerManager().transform_cell(source))


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


def module_name(path: Path) -> str:
    """`minilib.data` for minilib/data/__init__.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def library() -> list[Path]:
    """Every file of minilib."""
    return sorted((ROOT / "minilib").rglob("*.py"))


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


def imports(tree: ast.Module, package: str = "") -> set[str]:
    """The modules of minilib that the code imports, wherever it does so. `package`
    resolves `from . import`.
    """
    found: set[str] = set()
    for holder, _ in resolved_imports(tree, package).values():
        found |= {holder, holder.rpartition(".")[0]}
    return {name for name in found if module_file(name)}


def module_imports(path: Path) -> set[str]:
    """The modules of minilib that a file of minilib imports."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return imports(ast.parse(path.read_text(encoding="utf-8")), package)


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
