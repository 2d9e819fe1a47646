"""The repository's address lives in _config.yml; this writes, and checks, every other
place that needs it.

    python -m book.tools.colab --check

fails where an address, an install cell or a Colab link differs; `--write` writes them
anew (then execute the chapters again: their code has changed).
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import yaml

from book.tools.common import (
    ROOT,
    notebook_text,
    read_notebook,
    tags,
    tell,
    tracked,
    write_whole,
)

CONFIG = "_config.yml"
# places that tell a reader where the repository is
PAGES = "README.md", "CITATION.cff", "CONTRIBUTING.md", "book/*.md"
ADDRESS = re.compile(
    r"((?:git clone |git\+|repository-code: ))"
    r"https://github\.com/[\w.-]+/[\w-]+(?:\.git)?"
)
COLAB_LINK = re.compile(r"\[Open in Colab\]\([^)]*\)")
INSTALL_CELL = """\
# Installs the book's library where it is missing, as on Colab.
# Elsewhere this cell does nothing.
try:
    import minilib
except ModuleNotFoundError:
    import subprocess
    import sys

    source = "git+{url}@{version}"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", source]
    if subprocess.run(pip).returncode:
        raise SystemExit(
            f"minilib is not installed here, and pip could not fetch it: {{source}}\\n"
            "Run the chapter in the book's folder, set up as its README says."
        )"""


def repository(root: Path = ROOT) -> tuple[str, str]:
    """The repository's address and the book's version, a tag there, from _config.yml.
    Raises ValueError when the address is not one on GitHub.
    """
    found = yaml.safe_load((root / CONFIG).read_text(encoding="utf-8")).get(
        "repository", {}
    )
    url, version = found.get("url", ""), found.get("branch", "main")
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w-]+", url):
        raise ValueError(
            f"{CONFIG}: expected repository.url as https://github.com/OWNER/NAME, "
            f"got {url!r}"
        )
    return url, version


def install_cell(url: str, version: str) -> str:
    """The source of a chapter's first cell, which installs minilib only where importing
    it fails: the version that the chapter was executed with.
    """
    return INSTALL_CELL.format(url=url, version=version)


def colab_badge(url: str, version: str, notebook: str) -> str:
    """A Markdown link that opens `notebook`, a path in the repository, on Colab. Text:
    a badge is a remote image.
    """
    owner_and_name = url.removeprefix("https://github.com/")
    address = f"https://colab.research.google.com/github/{owner_and_name}"
    return f"[Open in Colab]({address}/blob/{version}/{notebook})"


def notebook_problems(notebook: Any, path: str, url: str, version: str) -> list[str]:
    """What differs in one notebook, as sentences."""
    first = notebook.cells[0]
    problems = []
    if "remove-cell" not in tags(first) or first.source != install_cell(url, version):
        problems.append(f"{path}: its first cell is not the install cell")
    links = [
        link for cell in notebook.cells for link in COLAB_LINK.findall(cell.source)
    ]
    if not links or set(links) != {colab_badge(url, version, path)}:
        problems.append(
            f"{path}: expected the link {colab_badge(url, version, path)}, got {links}"
        )
    return problems


def rewrite_notebook(notebook: Any, path: str, url: str, version: str) -> None:
    """Give the notebook its install cell (a first cell tagged `remove-cell`) and its
    Colab links.
    """
    if "remove-cell" not in tags(notebook.cells[0]):
        notebook.cells.insert(
            0, nbformat.v4.new_code_cell(metadata={"tags": ["remove-cell"]})
        )
    notebook.cells[0].source = install_cell(url, version)
    for cell in notebook.cells:
        cell.source = COLAB_LINK.sub(
            lambda _: colab_badge(url, version, path), cell.source
        )


def rewrite_page(text: str, url: str) -> str:
    """`text` with the repository's address wherever a reader is told to clone, to
    install or to cite it.
    """
    return ADDRESS.sub(lambda found: found.group(1) + url, text)


def run(root: Path, write: bool) -> list[str]:
    """Check every chapter and page under `root`, or write them anew; return the
    problems found.
    """
    url, version = repository(root)
    problems = []
    for file in tracked("chapters/*.ipynb", root=root):
        path, notebook = file.relative_to(root).as_posix(), read_notebook(file)
        if write and notebook_problems(notebook, path, url, version):
            rewrite_notebook(notebook, path, url, version)
            write_whole(file, notebook_text(notebook))
        problems += notebook_problems(notebook, path, url, version)
    for file in tracked(*PAGES, root=root):
        text = file.read_text(encoding="utf-8")
        if write and rewrite_page(text, url) != text:
            write_whole(file, rewrite_page(text, url))
        elif rewrite_page(text, url) != text:
            problems.append(
                f"{file.relative_to(root)}: its repository address is not {url}"
            )
    return problems


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.colab", description=(__doc__ or "").splitlines()[0]
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        "--check", action="store_true", help="fail where something differs"
    )
    mode.add_argument("--write", action="store_true", help="write what differs")
    problems = run(ROOT, write=parser.parse_args(arguments).write)
    return tell(
        problems and [*problems, "run: python -m book.tools.colab --write"],
        "addresses: as _config.yml has them",
    )


if __name__ == "__main__":
    sys.exit(main())
