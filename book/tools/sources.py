"""Python read as text: the cells of a chapter, the files of minilib, and which of its
modules they import.
"""

from __future__ import annotations

import ast
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from book.tools.common import ROOT
from minilib.experiments.stamp import module_file, resolved_imports


def parse_cell(source: str) -> ast.Module:
    """The syntax tree of a code cell, whose lines may hold IPython's magics. Raises
    SyntaxError.
    """
    return ast.parse(TransformerManager().transform_cell(source))


def module_name(path: Path) -> str:
    """`minilib.data` for minilib/data/__init__.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def library() -> list[Path]:
    """Every file of minilib."""
    return sorted((ROOT / "minilib").rglob("*.py"))


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
