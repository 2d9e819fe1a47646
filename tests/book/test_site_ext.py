"""The Sphinx extension: what it does to a notebook, and what it draws from the
outline.
"""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from book.tools import site_ext
from book.tools.common import chapters, read_notebook, tags


def prepared(*cells: Any) -> list[Any]:
    """The cells as the extension hands them on."""
    env = SimpleNamespace(doc2path=lambda name: f"{name}.ipynb")
    source = [nbformat.writes(new_notebook(cells=list(cells)))]
    site_ext.prepare_notebook(SimpleNamespace(env=env), "chapters/01_one", source)
    return nbformat.reads(source[0], as_version=4).cells


def test_a_claims_record_stays_out_of_the_page() -> None:
    output = new_output(
        "display_data",
        data={"text/html": "<p>so</p>", site_ext.CLAIM_MIME: {"id": "AE-1"}},
    )
    cells = prepared(new_code_cell("claim", outputs=[output]))
    assert dict(cells[0].outputs[0].data) == {"text/html": "<p>so</p>"}


def figure(paper: float, ink: int = 120, caption: str = "Two lines.") -> str:
    """A figure of which a share `paper` is white, and the rest of the shade `ink`."""
    picture, png = Image.new("L", (100, 100), 255), io.BytesIO()
    picture.paste(ink, (0, 0, 100, round(100 * (1 - paper))))
    picture.save(png, format="png")
    data = base64.b64encode(png.getvalue()).decode()
    return f'<figure><img src="data:image/png;base64,{data}" alt="{caption}"></figure>'


@pytest.mark.parametrize(
    ("source", "html", "is_chart"),
    [
        ("plot.show(plot.curves(a))", figure(0.9), True),
        ("plot.show(plot.image_grid(x))", figure(0.9), False),
        ("axes.imshow(x)", figure(0.9), False),
        ("plot.show(a)", figure(0.4), False),
        ("plot.show(a)", figure(0.9, ink=0), False),
        ("plot.show(a)", figure(0.9, caption="The black line."), False),
        ("plot.show(a)", "<p>no figure</p>", False),
    ],
)
def test_only_a_chart_is_marked_as_one(source: str, html: str, is_chart: bool) -> None:
    output = new_output("display_data", data={"text/html": html})
    cells = prepared(new_code_cell(source, outputs=[output]))
    marked = html.replace("<img ", '<img class="chart" ') if is_chart else html
    assert cells[0].outputs[0].data["text/html"] == marked


def test_a_folded_cell_is_called_what_its_title_says() -> None:
    cells = prepared(new_code_cell("# @title Solution\n1 + 1"), new_code_cell("1 + 1"))
    assert cells[0].metadata.mystnb.code_prompt_show == "Solution"
    assert "mystnb" not in cells[1].metadata


def test_every_folded_cell_of_the_book_has_a_title() -> None:
    folded = [
        cell
        for path in chapters()
        for cell in read_notebook(path).cells
        if "hide-cell" in tags(cell)
    ]
    assert folded
    assert [
        cell.source for cell in folded if not site_ext.FOLDED.match(cell.source)
    ] == []


def test_a_page_in_markdown_is_left_alone() -> None:
    source = ["# A page"]
    env = SimpleNamespace(doc2path=lambda name: f"{name}.md")
    site_ext.prepare_notebook(SimpleNamespace(env=env), "book/page", source)
    assert source == ["# A page"]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((2,), "chapter 2"),
        ((2, 8), "chapters 2 and 8"),
        ((2, 7, 8), "chapters 2, 7 and 8"),
    ],
)
def test_chapters_in_words(numbers: tuple[int, ...], words: str) -> None:
    assert site_ext._chapters(numbers) == words
