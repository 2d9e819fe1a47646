"""The outline: what chapters.yml holds, and how a mistake in it is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from book.tools.common import ROOT, read_notebook
from book.tools.outline import Chapter, read_outline

CHAPTER: dict[str, Any] = {
    "slug": "01_first",
    "label": "First",
    "title": "The first",
    "year": 2006,
    "needs": [],
    "question": "Why?",
    "models": "one",
    "claims": {"A-1": "It is so."},
}


WRITTEN = [
    chapter
    for part in read_outline()
    for chapter in part.chapters
    if (ROOT / f"{chapter.docname}.ipynb").exists()
]


def outline_of(folder: Path, *chapters: dict[str, Any]) -> Path:
    path = folder / "chapters.yml"
    path.write_text(
        yaml.safe_dump({"parts": [{"title": "Part", "chapters": list(chapters)}]}),
        encoding="utf-8",
    )
    return path


def test_the_books_own_outline() -> None:
    chapters = [chapter for part in read_outline() for chapter in part.chapters]
    assert [chapter.number for chapter in chapters] == list(range(1, 20))
    ids = [id for chapter in chapters for id in chapter.claims]
    assert len(ids) == len(set(ids))
    assert {"AE-1", "AE-2", "AE-3"} == set(chapters[0].claims)


@pytest.mark.parametrize("chapter", WRITTEN, ids=lambda chapter: chapter.slug)
def test_a_written_chapter_is_called_what_the_outline_says(chapter: Chapter) -> None:
    """The sidebar and the page's title take it from the notebook's first heading."""
    cells = read_notebook(ROOT / f"{chapter.docname}.ipynb").cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    title = next(
        line[2:]
        for text in texts
        for line in text.splitlines()
        if line.startswith("# ")
    )
    assert title == f"{chapter.number}. {chapter.title}"


@pytest.mark.parametrize(
    "name", ["book/intro.md", "README.md", "CITATION.cff", "pyproject.toml"]
)
def test_what_introduces_the_book_promises_only_what_stands(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert f"from the autoencoder to {WRITTEN[-1].label}" in text
    listed = [chapter for part in read_outline() for chapter in part.chapters]
    planned = [chapter.label for chapter in listed if chapter not in WRITTEN]
    assert [label for label in planned if re.search(rf"\b{label}\b", text)] == []


def test_the_readme_counts_the_chapters_that_stand() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Chapters 1 to {len(WRITTEN)} are written" in text


def test_a_chapter_has_one_name() -> None:
    """The map shows a piece of the title, and the hand-outs' headings the whole."""
    listed = [chapter for part in read_outline() for chapter in part.chapters]
    assert [c.slug for c in listed if c.label.lower() not in c.title.lower()] == []
    names = {c.slug: f"{c.number}. {c.title}" for c in listed}
    heads = [
        heading
        for path in (ROOT / "book").glob("*.md")
        for heading in re.findall(
            r"^#+ \[(.*)\]\(\.\./chapters/(\w+)\.ipynb\)$",
            path.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    ]
    assert len(heads) == len(WRITTEN)
    assert [(name, slug) for name, slug in heads if name != names[slug]] == []


def test_a_chapter_knows_its_number_page_and_anchor(tmp_path: Path) -> None:
    [part] = read_outline(
        outline_of(tmp_path, CHAPTER, {**CHAPTER, "slug": "02_the_next", "needs": [1]})
    )
    chapter = part.chapters[1]
    assert (chapter.number, chapter.docname, chapter.anchor) == (
        2,
        "chapters/02_the_next",
        "planned-02-the-next",
    )
    assert chapter.needs == (1,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qestion": "Why?"}, "unknown fields \\['qestion'\\]"),
        ({"slug": "first"}, "expected a slug such as 01_autoencoder, got 'first'"),
        ({"slug": "02_first"}, "expected chapter 1 next, got 02_first"),
        ({"needs": [1]}, "needs must name earlier chapters"),
    ],
)
def test_a_wrong_field_is_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_outline(outline_of(tmp_path, {**CHAPTER, **change}))


@pytest.mark.parametrize("field", CHAPTER)
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    with pytest.raises(ValueError, match=f"missing fields \\['{field}'\\]"):
        read_outline(
            outline_of(
                tmp_path,
                {name: value for name, value in CHAPTER.items() if name != field},
            )
        )


def test_a_file_that_is_no_outline(tmp_path: Path) -> None:
    path = tmp_path / "chapters.yml"
    path.write_text("just text", encoding="utf-8")
    with pytest.raises(ValueError, match="expected the fields parts"):
        read_outline(path)
