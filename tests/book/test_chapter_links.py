"""Chapters that the text names by number: each is found, and leads to its page."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from sphinx import addnodes

from book.tools.chapter_links import ChapterLinks
from book.tools.markdown import mentioned, mentions

HERE = "chapters/06_ddpm"
STANDS = {"chapters/01_autoencoder", "chapters/02_vae", HERE}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("as chapter 1 did", [("chapter 1", 1)]),
        ("Chapter 3's `Attention`", [("Chapter 3", 3)]),
        ("chapter\n12", [("chapter\n12", 12)]),
        (
            "from chapters 2, 7 and 8, and 9 digits",
            [("chapters 2", 2), ("7", 7), ("8", 8)],
        ),
        ("Chapters 1 to 11 are written", [("Chapters 1", 1), ("11", 11)]),
        ("chapter 6, 1,000 steps", [("chapter 6", 6)]),
        ("this chapter, 2 of them; subchapter 2; chapter two", []),
    ],
)
def test_mentions_are_found(text: str, expected: list[tuple[str, int]]) -> None:
    found = [(text[start:end], number) for start, end, number in mentions(text)]
    assert found == expected


def test_mentions_in_markdown_have_line_and_link_and_are_no_code() -> None:
    text = "Chapter 1 and `chapter 2`,\n[chapter 3](03.ipynb).\n\n    chapter 4\n"
    assert list(mentioned(text)) == [(1, 1, None), (2, 3, "03.ipynb")]


def transformed(*children: nodes.Node) -> nodes.document:
    """A page of chapter 6 with these nodes, after the transform."""
    settings = get_default_settings()
    settings.env = SimpleNamespace(docname=HERE, found_docs=STANDS)
    document = new_document("page", settings)
    document += children
    ChapterLinks(document).apply()
    return document


def links(document: nodes.document) -> list[tuple[str, str]]:
    return [
        (link.astext(), link["reftarget"])
        for link in document.findall(addnodes.pending_xref)
    ]


def test_prose_links_to_the_chapters_that_stand_and_keeps_its_words() -> None:
    words = "Chapters 1 and 2 say it, chapter 6 is this one, and chapter 13 is planned."
    document = transformed(nodes.paragraph("", words))
    assert document.astext() == words
    assert links(document) == [
        ("Chapters 1", "/chapters/01_autoencoder"),
        ("2", "/chapters/02_vae"),
    ]


def test_a_text_that_is_nothing_but_a_mention_is_linked() -> None:
    document = transformed(nodes.paragraph("", "", nodes.strong("", "Chapter 2")))
    assert links(document) == [("Chapter 2", "/chapters/02_vae")]


@pytest.mark.parametrize(
    "node",
    [
        nodes.section("", nodes.title("", "After chapter 1")),
        nodes.paragraph("", "", nodes.literal("", "chapter 1")),
        nodes.literal_block("", "chapter 1"),
        nodes.paragraph("", "", nodes.math("", "chapter 1")),
        nodes.raw("", "<p>chapter 1</p>", format="html"),
        nodes.comment("", "chapter 1"),
        nodes.paragraph("", "", nodes.reference("", "", nodes.strong("", "chapter 1"))),
        nodes.paragraph(
            "", "", addnodes.pending_xref("", nodes.inline("", "chapter 1"))
        ),
    ],
    ids=lambda node: node[0].tagname if node.children else node.tagname,
)
def test_code_formulas_headings_and_links_stay(node: nodes.Node) -> None:
    before = node.pformat()
    assert transformed(node).children[0].pformat() == before
