"""Markdown as the book reads it: the links, pictures and citations of a text, and the
anchors that it offers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise

from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.mdit_to_docutils.base import default_slugify
from myst_parser.parsers.mdit import create_md_parser

PARSER = create_md_parser(
    MdParserConfig(
        enable_extensions={
            "amsmath",
            "colon_fence",
            "deflist",
            "dollarmath",
            "tasklist",
        }
    ),
    RendererHTML,
)
DIRECTIVE = re.compile(r"\{([\w:-]+)\}\s*(.*)")
# "chapter 5", or "chapters 2, 7 and 8", and "chapters 12 to 14"
MENTION = re.compile(
    r"\b[Cc]hapter\s+\d+\b|\b[Cc]hapters\s+\d+(?:(?:,\s+|\s+and\s+|\s+to\s+)\d+)*\b"
)
NUMBER = re.compile(r"(?:[Cc]hapters?\s+)?(\d+)")
# directives whose content is no Markdown
VERBATIM = {"code", "code-block", "code-cell", "math", "raw"}


@dataclass(frozen=True)
class Reference:
    """One thing that a text points at. `line` counts from 1; `alt` is a picture's text,
    None where it has none.
    """

    line: int
    kind: str  # link, image or cite
    target: str
    alt: str | None = None


class Html(HTMLParser):
    """The links, pictures and ids of a piece of HTML."""

    def __init__(self, text: str, line: int):
        super().__init__()
        self.start, self.references, self.ids = line, list[Reference](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found, line = dict(attrs), self.start + self.getpos()[0] - 1
        self.ids += [value for key in ("id", "name") if (value := found.get(key))]
        if tag == "a" and found.get("href"):
            self.references.append(Reference(line, "link", found["href"] or ""))
        if tag == "img":
            self.references.append(
                Reference(line, "image", found.get("src") or "", found.get("alt"))
            )


def blocks(text: str, first: int = 1) -> Iterator[tuple[int, Token]]:
    """(line, token) of each block of a text, those inside directives included."""
    for token in PARSER.parse(text):
        line = first + (token.map[0] if token.map else 0)
        yield line, token
        directive = (
            DIRECTIVE.match(token.info)
            if token.type in ("fence", "colon_fence")
            else None
        )
        if directive and directive[1] not in VERBATIM:
            yield from blocks(token.content, line + 1)


def references(text: str) -> Iterator[Reference]:
    """Every link, picture and citation of a Markdown text, in order."""
    for line, token in blocks(text):
        directive = DIRECTIVE.match(token.info)
        if directive and directive[1] in ("figure", "image"):
            alt = re.search(r"^:alt:\s*(.+)$", token.content, re.MULTILINE)
            yield Reference(line, "image", directive[2], alt[1] if alt else None)
        if token.type == "html_block":
            yield from Html(token.content, line).references
        for child in token.children or []:
            if child.type == "link_open":
                yield Reference(line, "link", str(child.attrs["href"]))
            elif child.type == "image":
                yield Reference(
                    line, "image", str(child.attrs["src"]), child.content or None
                )
            elif child.type == "html_inline":
                yield from Html(child.content, line).references
            elif child.type == "myst_role" and child.meta["name"].startswith("cite"):
                yield from (
                    Reference(line, "cite", key.strip())
                    for key in child.content.split(",")
                )
            line += child.type in ("softbreak", "hardbreak")


def mentions(text: str) -> Iterator[tuple[int, int, int]]:
    """(start, end, number) of each chapter that plain words name by its number; the
    word `chapter` is of the first one's piece.
    """
    for mention in MENTION.finditer(text):
        for found in NUMBER.finditer(text, *mention.span()):
            yield *found.span(), int(found[1])


def mentioned(text: str) -> Iterator[tuple[int, int, str | None]]:
    """(line, number, target) of each mention of a chapter in a Markdown text; `target`
    is that of the link around it, None where it stands in plain words.
    """
    for line, token in blocks(text):
        target = None
        for child in token.children or []:
            if child.type in ("link_open", "link_close"):
                target = str(child.attrs["href"]) if child.nesting == 1 else None
            elif child.type == "text":
                for _, _, number in mentions(child.content):
                    yield line, number, target
            line += child.type in ("softbreak", "hardbreak")


def headings(text: str) -> list[str]:
    """The titles of a text, in order, as anchors are made from them."""
    tokens = PARSER.parse(text)
    inside = [
        after for before, after in pairwise(tokens) if before.type == "heading_open"
    ]
    kinds = ("text", "code_inline")
    return [
        "".join(child.content for child in token.children or [] if child.type in kinds)
        for token in inside
    ]


def slugs(titles: Iterable[str]) -> list[str]:
    """The anchors of a page's headings, in order: GitHub's rule, with -1 after one that
    was there before.
    """
    found: list[str] = []
    for title in titles:
        slug, i = default_slugify(title), 1
        while slug in found:
            slug, i = f"{slug}-{i}", i + 1
        found.append(slug)
    return found


def labels(text: str) -> set[str]:
    """The anchors that a text names itself: `(label)=`, a directive's `:name:`, an id
    in HTML.
    """
    found: set[str] = set()
    for line, token in blocks(text):
        if token.type == "myst_target":
            found.add(token.content)
        if token.type in ("fence", "colon_fence"):
            found |= set(
                re.findall(r"^:(?:name|label):\s*(\S+)$", token.content, re.MULTILINE)
            )
        for html in [token, *(token.children or [])]:
            if html.type in ("html_block", "html_inline"):
                found |= set(Html(html.content, line).ids)
    return found
