"""Check, without network, that every link, picture, citation and file name in the
book's texts leads somewhere.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from book.tools.common import (
    ROOT,
    chapters,
    git_names,
    read_notebook,
    shown,
    tell,
    tracked,
)
from book.tools.markdown import (
    PARSER,
    Reference,
    headings,
    labels,
    mentioned,
    references,
    slugs,
)
from book.tools.outline import Chapter, read_outline

CONTENTS = re.compile(r"^\s*(?:- )?(?:root|file): *([^\s#]+)", re.MULTILINE)
PAPER = re.compile(r"(?:www\.)?(?:arxiv\.org/(?:abs|pdf)/|(?:dx\.)?doi\.org/)(.+)")


@dataclass(frozen=True)
class Page:
    """A Markdown file, or a notebook, as pieces of Markdown with the place of each."""

    path: Path
    # ("README.md:" or "chapters/01_name.ipynb:cell 3, line ", text)
    pieces: tuple[tuple[str, str], ...]

    @cached_property
    def anchors(self) -> set[str]:
        return self.labels | set(
            slugs(title for _, text in self.pieces for title in headings(text))
        )

    @cached_property
    def labels(self) -> set[str]:
        return {label for _, text in self.pieces for label in labels(text)}


def pages() -> dict[Path, Page]:
    """Every text of the book: Markdown at the top level and in book/, and the
    chapters.
    """
    found: dict[Path, Page] = {}
    for path in tracked("*.md", "book/*.md"):
        found[path] = Page(
            path, ((f"{shown(path)}:", path.read_text(encoding="utf-8")),)
        )
    for path in chapters():
        cells = [
            (i, c.source)
            for i, c in enumerate(read_notebook(path).cells, 1)
            if c.cell_type == "markdown"
        ]
        found[path] = Page(
            path,
            tuple((f"{shown(path)}:cell {i}, line ", source) for i, source in cells),
        )
    return found


def local_problem(target: str, page: Page, site: dict[Path, Page]) -> str | None:
    """What is wrong with a link to a place of this repository."""
    name, _, anchor = unquote(target).partition("#")
    if name.startswith("/"):
        return f"{target} begins with /: write it from this file's folder"
    path = (page.path.parent / name).resolve() if name else page.path
    if not path.exists() or not path.is_relative_to(ROOT):
        return f"{target} leads nowhere: there is no {name}"
    known = site[path].anchors if path in site else set()
    everywhere = (
        {label for other in site.values() for label in other.labels}
        if not name
        else set()
    )
    if anchor and anchor not in known | everywhere:
        return (
            f"{target} leads nowhere: {shown(path)} has no heading or label #{anchor}"
        )
    return None


def external_problem(target: str, bibliography: str) -> str | None:
    """What is wrong with an address on another host, as far as that shows without
    asking the host.
    """
    address = urlsplit(target)
    if address.scheme == "mailto":
        return None
    if address.scheme != "https":
        return f"{target}: write an address that begins with https://"
    if "." not in address.netloc or re.search(r"\s", unquote(target)):
        return f"{target} is no address"
    paper = PAPER.fullmatch(address.netloc + address.path)
    if (
        paper
        and re.sub(r"v\d+$|\.pdf$", "", unquote(paper[1])).lower()
        not in bibliography.lower()
    ):
        return f"{target} cites a paper that book/references.bib does not list"
    return None


def reference_problem(
    reference: Reference, page: Page, site: dict[Path, Page], bibliography: str
) -> str | None:
    """What is wrong with one reference, or None."""
    target = reference.target
    if reference.kind == "cite":
        listed = re.search(
            rf"^@\w+\{{\s*{re.escape(target)}\s*,", bibliography, re.MULTILINE
        )
        return None if listed else f"book/references.bib has no entry {target}"
    if reference.kind == "image" and not (reference.alt or "").strip():
        return f"the picture {target[:60]} has no alt text"
    if target.startswith("data:image/"):
        return None
    if urlsplit(target).scheme:
        return external_problem(target, bibliography)
    return local_problem(target, page, site)


def page_problems(site: dict[Path, Page]) -> Iterator[str]:
    file = ROOT / "book" / "references.bib"
    bibliography = file.read_text(encoding="utf-8") if file.exists() else ""
    listed = [chapter for part in read_outline() for chapter in part.chapters]
    outline = {chapter.number: chapter for chapter in listed}
    for page in site.values():
        for place, text in page.pieces:
            for reference in references(text):
                problem = reference_problem(reference, page, site, bibliography)
                if problem:
                    yield f"{place}{reference.line}: {problem}"
            for line, number, target in mentioned(text):
                problem = mention_problem(number, target, outline)
                if problem:
                    yield f"{place}{line}: {problem}"


def mention_problem(
    number: int, target: str | None, outline: dict[int, Chapter]
) -> str | None:
    """What is wrong with "chapter 5" in a text, and with the link around it if any."""
    if number not in outline:
        return f"there is no chapter {number}: the outline ends with {len(outline)}"
    page, suffix = Path((target or "").partition("#")[0]), ".ipynb"
    if page.suffix == suffix and page.stem != outline[number].slug:
        return f"chapter {number} is {outline[number].slug}{suffix}, not {target}"
    return None


def contents_problems() -> Iterator[str]:
    """Files that _toc.yml names and that do not exist, and chapters that it does not
    name.
    """
    text = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    for entry in CONTENTS.finditer(text):
        if not any(
            (ROOT / f"{entry[1]}{suffix}").is_file() for suffix in ("", ".md", ".ipynb")
        ):
            yield (
                f"_toc.yml:{text.count(chr(10), 0, entry.start(1)) + 1}: there is no "
                f"{entry[1]}.md or .ipynb"
            )
    named = {entry.removesuffix(".ipynb") for entry in CONTENTS.findall(text)}
    for path in chapters():
        if shown(path).removesuffix(".ipynb") not in named:
            yield f"_toc.yml:1: it does not name {shown(path)}"


def tree_problems() -> Iterator[str]:
    """Names in the README's tree that do not exist, and names at the top level that it
    lacks.
    """
    tokens = PARSER.parse((ROOT / "README.md").read_text(encoding="utf-8"))
    tree = next(
        (
            t
            for t in tokens
            if t.type == "fence" and re.search(r"^\W*minilib/", t.content, re.MULTILINE)
        ),
        None,
    )
    if tree is None:
        yield (
            "README.md:1: it shows no tree (a fenced block with a line that begins "
            "with minilib/)"
        )
        return
    parents: list[tuple[int, Path]] = []
    for number, line in enumerate(tree.content.splitlines(), (tree.map or [0])[0] + 2):
        entry = line.lstrip(" │├└─")
        if not entry:
            continue
        name, indent = entry.split()[0], len(line) - len(entry)
        parents = [(column, path) for column, path in parents if column < indent]
        folder = parents[-1][1] if parents else ROOT
        if not any(folder.glob(name.rstrip("/"))):
            yield (
                f"README.md:{number}: the tree names {shown(folder / name)}, which "
                "does not exist"
            )
        parents.append((indent, folder / name))
    for name in top_level():
        if not re.search(rf"(?<![\w/.]){re.escape(name)}(?![\w.])", tree.content):
            yield f"README.md:{(tree.map or [0])[0] + 1}: the tree does not name {name}"


def top_level() -> list[str]:
    """What git tracks at the top level, dotfiles apart; nothing without git."""
    names = {name.split("/")[0] for name in git_names() or ()}
    return sorted(name for name in names if not name.startswith("."))


def main() -> int:
    return tell(
        [*page_problems(pages()), *contents_problems(), *tree_problems()],
        "every link leads somewhere",
    )


if __name__ == "__main__":
    sys.exit(main())
