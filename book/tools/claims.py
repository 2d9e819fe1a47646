"""Write book/claims.md, the index of every claim with its outcome, from the chapters'
stored outputs; or check it.

The claims and the chapter that measures each stand in book/chapters.yml; the outcomes
come from the cells tagged `claim:ID`, and, at full size, from book/evidence/.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from book.tools.common import (
    ROOT,
    chapters,
    make_chapter,
    read_notebook,
    shown,
    tags,
    tell,
    write_whole,
)
from book.tools.markdown import headings, slugs
from book.tools.outline import Chapter, read_outline
from minilib.claims import FAILS, HOLDS, INCONCLUSIVE, MIME, RULE

PAGE = ROOT / "book" / "claims.md"
EVIDENCE = ROOT / "book" / "evidence"
INTRODUCTION = f"""\
# The claims, one by one

Each chapter says what its authors claimed, and measures it.
This page lists every claim and what came out.

- **{HOLDS}**: the difference that the claim predicts is there, in the direction \
that it predicts.
- **{FAILS}**: the difference is there, and it goes the other way.
- **{INCONCLUSIVE}**: the difference is smaller than the noise between seeds lets us \
tell.

Both sides of a comparison share their seed, and the difference is taken seed by seed.
The rule is the same everywhere: {RULE}.
Numbers are the median over the seeds, ± the standard deviation.
The quick budget is what the chapter runs on a page.
At full size the same cell trains longer, on more data (`make evidence`).

<!-- Written by `make claims` from the chapters, book/chapters.yml and \
book/evidence/. -->
"""


@dataclass(frozen=True)
class Measured:
    """A code cell that measures a claim: what its tag says, what its output recorded,
    and where it stands.
    """

    tag: str | None
    record: dict[str, Any] | None
    path: Path
    cell: int
    anchor: str
    stamp: str | None


def records(cell: Any) -> list[dict[str, Any]]:
    """The claim records among the stored outputs of a code cell."""
    return [
        output.data[MIME]
        for output in cell.get("outputs", [])
        if MIME in output.get("data", {})
    ]


def measured(path: Path) -> Iterator[Measured]:
    """The claim cells of a chapter. Their anchor is the heading above them."""
    notebook = read_notebook(path)
    stamp = notebook.metadata.get("drawn_from_noise", {}).get("executed")
    titles: list[str] = []
    for number, cell in enumerate(notebook.cells, 1):
        titles += headings(cell.source) if cell.cell_type == "markdown" else []
        ids, found = (
            tags(cell, "claim:"),
            {record["id"]: record for record in records(cell)},
        )
        for id in sorted({*ids, *found}):
            anchor = slugs(titles)[-1] if titles else ""
            yield Measured(
                id if id in ids else None, found.get(id), path, number, anchor, stamp
            )


def cell_problem(found: Measured, planned: dict[str, Chapter]) -> str | None:
    """What is wrong with one claim cell, or None."""
    id = found.tag or (found.record or {})["id"]
    where = f"{shown(found.path)}, cell {found.cell}: claim {id}"
    if found.record is None:
        return (
            f"{where} is tagged but its output holds no record of it; run: "
            f"{make_chapter(found.path)}"
        )
    if found.tag is None:
        return (
            f"{where} is recorded, but its cell has no tag claim:{id}: add it, then "
            f"run: {make_chapter(found.path)}"
        )
    if id not in planned:
        return (
            f"{where} is not listed in book/chapters.yml: correct the ID, or list it "
            "there"
        )
    if planned[id].slug != found.path.stem:
        return (
            f"{where} belongs to {planned[id].slug} in book/chapters.yml: measure it "
            "there, or move it in that file"
        )
    if found.record["outcome"] not in (HOLDS, FAILS, INCONCLUSIVE):
        return (
            f"{where} has the unknown outcome {found.record['outcome']!r}; run: "
            f"{make_chapter(found.path)}"
        )
    return None


def problems(cells: list[Measured], planned: dict[str, Chapter]) -> Iterator[str]:
    """Claim cells that contradict their records, the list of claims or each other."""
    yield from filter(None, (cell_problem(found, planned) for found in cells))
    for id in planned:
        places = [
            f"{shown(found.path)}, cell {found.cell}"
            for found in cells
            if found.tag == id
        ]
        if len(places) > 1:
            yield (
                f"claim {id} is measured twice ({'; '.join(places)}): keep one tag "
                f"claim:{id}"
            )
    for path in sorted(EVIDENCE.glob("*.json")):
        if path.stem not in planned:
            yield (
                f"{shown(path)}: no claim {path.stem} is listed in book/chapters.yml: "
                "delete the file"
            )


def numbers(record: dict[str, Any]) -> str:
    """The record's numbers, a line each, for a table's cell."""
    size = "full size" if record["budget"] == "full" else "quick budget"
    rows = (
        f"{n['name'].replace('|', chr(92) + '|')}: {n['median']:.3g} ± {n['std']:.2g}"
        for n in record["numbers"]
    )
    return "<br>".join([f"At {size}:", *rows])


def outcome(id: str, chapter: Chapter, found: Measured | None) -> str:
    """The last column: what came out at the quick budget and at full size, or that it
    is planned.
    """
    if found is None or found.record is None:
        return f"planned: chapter {chapter.number}"
    link = (
        f"[**{found.record['outcome']}**](../chapters/{found.path.name}#{found.anchor})"
    )
    parts = [link, numbers(found.record)]
    file = EVIDENCE / f"{id}.json"
    if file.exists():
        record = json.loads(file.read_text(encoding="utf-8"))
        earlier = "" if record["code"] == found.stamp else " (by earlier code)"
        parts += [f"**{record['outcome']}**{earlier}", numbers(record)]
    return "<br>".join(parts)


def page(cells: list[Measured]) -> str:
    """The whole page, as Markdown."""
    by_id = {found.tag: found for found in cells}
    parts = [INTRODUCTION]
    for chapter in (
        chapter
        for part in read_outline()
        for chapter in part.chapters
        if chapter.claims
    ):
        parts.append(
            f"## {chapter.number}. {chapter.title}\n\n| ID | claim | outcome "
            "|\n|---|---|---|"
        )
        for id, text in chapter.claims.items():
            parts.append(
                f"| {id} | {text.replace('|', chr(92) + '|')} | "
                f"{outcome(id, chapter, by_id.get(id))} |"
            )
        parts.append("")
    return "\n".join(parts)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.claims", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; fail where the page or a claim cell is wrong",
    )
    check = parser.parse_args(arguments).check
    planned = {
        id: chapter
        for part in read_outline()
        for chapter in part.chapters
        for id in chapter.claims
    }
    cells = [found for path in chapters() for found in measured(path)]
    found = list(problems(cells, planned))
    if not check:
        write_whole(PAGE, page(cells))
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page(cells):
        found.append(f"{shown(PAGE)} is stale; run: make claims")
    return tell(
        found,
        f"{len(cells)} of {len(planned)} claims are measured, and {shown(PAGE)} "
        "says so",
    )


if __name__ == "__main__":
    sys.exit(main())
