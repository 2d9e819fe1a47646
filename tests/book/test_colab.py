"""One address, in _config.yml: every other place follows it, and a place that does not
is found.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import minilib
from book.tools.colab import (
    colab_badge,
    install_cell,
    repository,
    rewrite_page,
    run,
)

URL = "https://github.com/someone/a-book"
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,20}", fullmatch=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository whose chapter and README name another address."""
    (tmp_path / "chapters").mkdir()
    (tmp_path / "book").mkdir()
    (tmp_path / "_config.yml").write_text(
        f"repository: {{url: '{URL}', branch: main}}", encoding="utf-8"
    )
    (tmp_path / "README.md").write_text(
        "Say `git clone https://github.com/old/one.git`.\n", encoding="utf-8"
    )
    cells = [
        new_code_cell("1 + 1"),
        new_markdown_cell("# One\n\n[Open in Colab](https://elsewhere)"),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "chapters" / "01_one.ipynb")
    return tmp_path


def test_check_finds_each_difference_and_changes_nothing(tree: Path) -> None:
    before = (
        (tree / "chapters/01_one.ipynb").read_text(),
        (tree / "README.md").read_text(),
    )
    problems = run(tree, write=False)
    assert len(problems) == 3
    assert any("first cell" in problem for problem in problems)
    assert any("elsewhere" in problem for problem in problems)
    assert any("README.md" in problem for problem in problems)
    assert before == (
        (tree / "chapters/01_one.ipynb").read_text(),
        (tree / "README.md").read_text(),
    )


def test_write_mends_them_once(tree: Path) -> None:
    assert run(tree, write=True) == []
    assert run(tree, write=False) == []
    notebook = nbformat.read(tree / "chapters/01_one.ipynb", as_version=4)
    assert notebook.cells[0].source == install_cell(URL, "main")
    assert notebook.cells[0].metadata.tags == ["remove-cell"]
    assert [cell.source for cell in notebook.cells[1:]] == [
        "1 + 1",
        f"# One\n\n{colab_badge(URL, 'main', 'chapters/01_one.ipynb')}",
    ]
    assert (tree / "README.md").read_text() == f"Say `git clone {URL}`.\n"


def test_a_chapter_without_a_colab_link_is_found(tree: Path) -> None:
    run(tree, write=True)
    path = tree / "chapters/01_one.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source = "# One"
    nbformat.write(notebook, path)
    assert ["expected the link" in problem for problem in run(tree, write=False)] == [
        True
    ]


@given(owner=NAMES, name=NAMES, other=NAMES)
def test_rewriting_a_page_ends_with_the_address_and_leaves_other_links(
    owner: str, name: str, other: str
) -> None:
    url = f"https://github.com/{owner}/{name}"
    text = (
        f"git clone https://github.com/{other}/{name} and see "
        f"https://github.com/{other}/else"
    )
    written = rewrite_page(text, url)
    assert written == f"git clone {url} and see https://github.com/{other}/else"
    assert rewrite_page(written, url) == written


def test_the_install_cell_does_nothing_where_minilib_is_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", install_cell(URL, "main")],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("code", [0, 1])
def test_the_install_cell_installs_its_version_or_says_in_two_lines_what_to_do(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    calls: list[list[str]] = []

    def run_pip(command: list[str]) -> SimpleNamespace:
        calls.append(command)
        return SimpleNamespace(returncode=code)

    monkeypatch.setitem(sys.modules, "minilib", None)  # makes `import minilib` fail
    monkeypatch.setattr(subprocess, "run", run_pip)
    with pytest.raises(SystemExit) if code else nullcontext() as stopped:
        exec(install_cell(URL, "v1.2.3"), {})
    pip = [sys.executable, "-m", "pip", "install", "--quiet", f"git+{URL}@v1.2.3"]
    assert calls == [pip]
    if stopped:
        lines = str(stopped.value).splitlines()
        assert len(lines) == 2
        assert f"git+{URL}@v1.2.3" in lines[0]
        assert "README" in lines[1]


def test_the_books_links_lead_to_its_own_version() -> None:
    assert repository()[1] == f"v{minilib.__version__}"


@pytest.mark.parametrize(
    "text",
    ["{}", "repository: {url: 'https://example.org/a/b'}", "repository: {url: ''}"],
)
def test_an_address_that_colab_cannot_open(tmp_path: Path, text: str) -> None:
    (tmp_path / "_config.yml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected repository\.url"):
        repository(tmp_path)
