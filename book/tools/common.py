"""What the authors' tools share: which files are the book's, how a file is written, how
a problem is told.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[2]
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def git_names(root: Path = ROOT) -> set[str] | None:
    """The files that git tracks, from the root; None where `root` is no repository, as
    in a downloaded archive.
    """
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "ls-files", "-z"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split("\0")) - {""}


def tracked(*patterns: str, root: Path = ROOT) -> list[Path]:
    """The files that match one of the globs, in order, without those that git does not
    track: what a reader draws or tries out here is no part of the book.
    """
    found = {path for pattern in patterns for path in root.glob(pattern)}
    names = git_names(root)
    if names is not None:
        found &= {root / name for name in names}
    return sorted(found)


def chapters(names: Sequence[str] = ()) -> list[Path]:
    """The notebooks that `names` mean (each a path, a slug or a number such as 01), or
    every chapter that git tracks.

    Raises SystemExit, listing the chapters there are, when a name fits none.
    """
    if not names:
        return tracked("chapters/*.ipynb")
    known = sorted((ROOT / "chapters").glob("*.ipynb"))
    found = []
    for name in names:
        stem = Path(name).stem
        fitting = [
            path
            for path in known
            if stem == path.stem or stem.zfill(2) == path.stem.split("_")[0]
        ]
        if not fitting:
            raise SystemExit(
                f"no chapter {name!r}: the chapters are "
                f"{', '.join(path.stem for path in known) or 'none'}"
            )
        found += fitting
    return found


def shown(path: Path) -> str:
    """The path as messages show it: from the root of the repository."""
    return path.relative_to(ROOT).as_posix()


def make_chapter(path: Path) -> str:
    """The command that executes this notebook."""
    return f"make chapter N={path.stem.split('_')[0]}"


def read_notebook(path: Path) -> Any:
    """The notebook at `path`. Raises SystemExit when the file holds none."""
    try:
        return nbformat.read(path, as_version=4)
    except (
        nbformat.reader.NotJSONError,
        nbformat.ValidationError,
        UnicodeDecodeError,
    ) as error:
        raise SystemExit(
            f"{shown(path)}: not a notebook ({error}): restore it with git"
        ) from None


def notebook_text(notebook: Any) -> str:
    """The notebook as its file holds it."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def tidy(notebook: Any) -> Any:
    """Drop, in place, all that differs from run to run and belongs to no reader; return
    the notebook.

    Of the metadata, the kernel's name, our stamp and the cells' tags remain. A widget
    is dead on a page, so it goes.
    """
    stamp = {
        key: notebook.metadata[key]
        for key in ["drawn_from_noise"]
        if key in notebook.metadata
    }
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}, **stamp}
    )
    notebook.nbformat_minor = 5
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {"tags": cell.metadata.tags} if cell.metadata.get("tags") else {}
        )
        if cell.cell_type == "code":
            cell.outputs = [
                o
                for o in cell.outputs
                if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})
            ]
    return notebook


def tags(cell: Any, prefix: str = "") -> list[str]:
    """The cell's tags that begin with `prefix`, without it."""
    return [
        tag.removeprefix(prefix)
        for tag in cell.metadata.get("tags", [])
        if tag.startswith(prefix)
    ]


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def tell(problems: Iterable[str], fine: str) -> int:
    """Print the problems, or `fine` when there is none; return the exit code."""
    problems = list(problems)
    print(
        "\n".join(problems) if problems else fine,
        file=sys.stderr if problems else sys.stdout,
    )
    return 1 if problems else 0
