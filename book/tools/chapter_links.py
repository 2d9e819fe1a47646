"""A link from every "chapter 5" in the running text of a page to that chapter: a
transform of the site.

What is planned and not written yet stays text; so does what is code, a heading or a
link already, and what a page says of itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from docutils import nodes
from sphinx import addnodes
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

from book.tools.markdown import mentions
from book.tools.outline import read_outline

LEFT_ALONE = (
    nodes.FixedTextElement,
    nodes.Invisible,
    nodes.literal,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    nodes.reference,
    nodes.Titular,
    addnodes.download_reference,
    addnodes.pending_xref,
)


class ChapterLinks(SphinxTransform):
    """Split the text of a page at its mentions of chapters, and link these."""

    default_priority = 880  # after smart quotes, which look at whole paragraphs

    def apply(self) -> None:
        pages = written(self.env)
        for text in list(self.document.findall(nodes.Text)):
            pieces = list(linked(str(text), pages, self.env.docname))
            has_links = any(not isinstance(piece, nodes.Text) for piece in pieces)
            if has_links and not is_left_alone(text):
                text.parent.replace(text, pieces)


def written(env: BuildEnvironment) -> dict[int, str]:
    """The pages of the chapters that stand, by number."""
    chapters = [chapter for part in read_outline() for chapter in part.chapters]
    return {
        chapter.number: chapter.docname
        for chapter in chapters
        if chapter.docname in env.found_docs
    }


def is_left_alone(text: nodes.Text) -> bool:
    """Whether the text stands in something that takes no link."""
    node = text.parent
    while node is not None and not isinstance(node, LEFT_ALONE):
        node = node.parent
    return node is not None


def linked(text: str, pages: dict[int, str], here: str) -> Iterator[nodes.Node]:
    """The text in pieces: links to `pages` and what lies between; no piece is empty,
    and the page `here` is not linked to itself.
    """
    done = 0
    for start, end, number in mentions(text):
        page = pages.get(number, here)
        if page == here:
            continue
        if start > done:
            yield nodes.Text(text[done:start])
        words, done = text[start:end], end
        yield addnodes.pending_xref(
            "",
            nodes.inline("", words),
            refdomain="std",
            reftype="doc",
            reftarget=f"/{page}",
            refdoc=here,
            refexplicit=True,
            refwarn=True,
        )
    if done < len(text):
        yield nodes.Text(text[done:])
