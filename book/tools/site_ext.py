"""The Sphinx extension of the book: the lineage map, the planned chapters, quoted
numbers, and links to chapters that the text names.
"""

from __future__ import annotations

import base64
import io
import math
import re
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from book.tools.chapter_links import ChapterLinks
from book.tools.common import notebook_text
from book.tools.outline import OUTLINE, Chapter, Part, read_outline
from book.tools.quoted import CLAIM_MIME, Quoted

PLANNED_PAGE = "book/coming"
# the line that names a folded cell, on Colab and here
FOLDED = re.compile(r"# @title (.+)")
# What draws pictures into a figure, and words that a figure of other colours belies.
PICTURES = re.compile(r"\b(?:image_grid|imshow|tile|sheet_axes|lay_out)\b")
SHADES = re.compile(r"\b(?:black|white|dark|pale|bright)", re.IGNORECASE)
IMAGE = re.compile(r'<img src="data:image/png;base64,([^"]+)"')
LEAST_PAPER, MOST_BLACK = 0.55, 0.06  # shares of a chart's dots
LONGEST_ARC = 12  # rows; a longer arc bulges no further


class OutlineDirective(SphinxDirective):
    """What both directives share: the outline, read afresh, with the page rebuilt
    whenever it changes.
    """

    def outline(self) -> tuple[Part, ...]:
        self.env.note_dependency(str(OUTLINE))
        try:
            return read_outline()
        except ValueError as error:
            raise self.error(str(error)) from error

    def is_written(self, chapter: Chapter) -> bool:
        return chapter.docname in self.env.found_docs


class Lineage(OutlineDirective):
    """`{lineage}`: every chapter as a row of a clickable map, with an arc from each
    chapter that it grows from.
    """

    def run(self) -> list[nodes.Node]:
        # a chapter that was added to the contents changes its row here
        self.env.note_reread()
        parts, rows = self.outline(), {}
        row = 0
        for part in parts:
            row += 1  # the part's own heading
            for chapter in part.chapters:
                rows[chapter.number] = row
                row += 1
        body = "".join(self.part(i, part, rows) for i, part in enumerate(parts, 1))
        label = "The chapters, and what each grows from"
        text = f'<nav class="lineage" aria-label="{label}"><ol>{body}</ol></nav>'
        return [nodes.raw("", text, format="html")]

    def part(self, index: int, part: Part, rows: dict[int, int]) -> str:
        items = "".join(self.row(chapter, rows) for chapter in part.chapters)
        title = f'<span class="part-title">{escape(part.title)}</span>'
        return f'<li class="part part-{index}">{title}<ol>{items}</ol></li>'

    def row(self, chapter: Chapter, rows: dict[int, int]) -> str:
        cells = {
            "number": chapter.number,
            "label": escape(chapter.label),
            "status": "" if self.is_written(chapter) else "planned",
            "question": escape(chapter.question),
            "year": chapter.year,
        }
        text = " ".join(
            f'<span class="{name}">{value}</span>' for name, value in cells.items()
        )
        arcs = "".join(_arc(rows[chapter.number] - rows[n]) for n in chapter.needs)
        grows = (
            '<span class="visually-hidden">, grows from '
            f"{_chapters(chapter.needs)}</span>"
            if chapter.needs
            else ""
        )
        state = "is-written" if self.is_written(chapter) else "is-planned"
        link = f'<a href="{self.address(chapter)}">{text}{grows}</a>'
        return f'<li class="{state}">{arcs}{link}</li>'

    def address(self, chapter: Chapter) -> str:
        """Where the row leads: to the chapter, or to what is planned of it."""
        here, to = self.env.docname, self.env.app.builder.get_relative_uri
        return (
            to(here, chapter.docname)
            if self.is_written(chapter)
            else f"{to(here, PLANNED_PAGE)}#{chapter.anchor}"
        )


def _arc(span: int) -> str:
    """An arc that comes from `span` rows above; the height of a row is the style
    sheet's.
    """
    reach = math.sqrt(min(span, LONGEST_ARC) / LONGEST_ARC)
    path = (
        '<path d="M100,0 C-33,0 -33,100 100,100" vector-effect="non-scaling-stroke"/>'
    )
    size = (
        f'style="--span:{span};--reach:{reach:.2f}" '
        'viewBox="0 0 100 100" preserveAspectRatio="none"'
    )
    return f'<svg class="arc" {size} aria-hidden="true">{path}</svg>'


def _chapters(numbers: tuple[int, ...]) -> str:
    """`chapter 2`, or `chapters 2, 7 and 8`."""
    *first, last = map(str, numbers)
    return f"chapters {', '.join(first)} and {last}" if first else f"chapter {last}"


class PlannedChapters(OutlineDirective):
    """`{planned-chapters}`: a section for each chapter that is not in the book's
    contents yet.
    """

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        sections = []
        for part in self.outline():
            planned = [
                self.chapter(chapter)
                for chapter in part.chapters
                if not self.is_written(chapter)
            ]
            if planned:
                sections.append(
                    _section(f"part-{part.title.lower()}", part.title, planned)
                )
        return sections

    def chapter(self, chapter: Chapter) -> nodes.section:
        grows = f" It grows from {_chapters(chapter.needs)}." if chapter.needs else ""
        status = nodes.paragraph(
            "",
            f"Planned. It rebuilds work of {chapter.year}.{grows}",
            classes=["status"],
        )
        models = nodes.paragraph(
            "",
            "",
            nodes.strong("", "You will build: "),
            nodes.Text(f"{chapter.models}."),
        )
        measures = nodes.paragraph("", "", nodes.strong("", "It will measure:"))
        claims = nodes.bullet_list(
            "", *(_claim(id, text) for id, text in chapter.claims.items())
        )
        body = [
            nodes.paragraph("", chapter.question, classes=["question"]),
            models,
            measures,
            claims,
            status,
        ]
        return _section(chapter.anchor, f"{chapter.number}. {chapter.title}", body)


def _section(anchor: str, title: str, body: list[Any]) -> nodes.section:
    return nodes.section(
        "", nodes.title("", title), *body, ids=[anchor], names=[anchor]
    )


def _claim(id: str, text: str) -> nodes.list_item:
    return nodes.list_item(
        "", nodes.paragraph("", "", nodes.literal("", id), nodes.Text(f" {text}"))
    )


def prepare_notebook(app: Sphinx, docname: str, source: list[str]) -> None:
    """Before a notebook is rendered: name folded cells, drop the claims' records."""
    if Path(app.env.doc2path(docname)).suffix != ".ipynb":
        return
    notebook = nbformat.reads(source[0], as_version=4)
    for cell in notebook.cells:
        if found := FOLDED.match(cell.source):
            cell.metadata["mystnb"] = {
                "code_prompt_show": found[1],
                "code_prompt_hide": found[1],
            }
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            data.pop(CLAIM_MIME, None)
            if "text/html" in data and not PICTURES.search(cell.get("source", "")):
                data["text/html"] = mark_chart(data["text/html"])
    source[0] = notebook_text(notebook)


def mark_chart(html: str) -> str:
    """The HTML of a figure, its image of the class `chart` if it is one.

    The style sheet turns a chart's light and dark round where the page is dark, which
    no picture would bear. So only what looks like ink on white paper counts, and no
    figure whose text names a shade.
    """
    found = IMAGE.search(html)
    if found is None or SHADES.search(re.sub(r'="data:[^"]*"', "", html)):
        return html
    picture = Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("L")
    dots, shades = picture.width * picture.height, picture.histogram()
    paper, black = sum(shades[250:]) / dots, sum(shades[:40]) / dots
    if paper < LEAST_PAPER or black > MOST_BLACK:
        return html
    return html.replace("<img ", '<img class="chart" ', 1)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("lineage", Lineage)
    app.add_directive("planned-chapters", PlannedChapters)
    for name in ("card", "measured"):
        app.add_role(name, Quoted())
    app.add_transform(ChapterLinks)
    app.connect("source-read", prepare_notebook)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
