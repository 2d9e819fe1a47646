"""Write book/claims.md, the index of every claim with its outcome, or check it.

The claims and the chapter that measures each stand in book/chapters.yml, the outcomes
in minilib/experiments/evidence/; a chapter shows a record in the cell tagged
`claim:ID`.
"""

from __future__ import annotations

import argparse
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
from book.tools.forest import forest
from book.tools.markdown import headings, slugs
from book.tools.outline import Chapter, read_outline
from minilib.claims import (
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    MIME,
    PARTLY,
    RULE,
    SAME,
    SHOWN,
    Claim,
    Difference,
    sample_size,
    typeset,
)
from minilib.experiments import evidence
from minilib.experiments.measure import is_stale
from minilib.experiments.registry import experiments
from minilib.weights import CorruptFileError

PAGE = ROOT / "book" / "claims.md"
INTRODUCTION = f"""\
# The claims, one by one

Each chapter says what its authors claimed, and measures it.
This page lists every claim and what came out.

- **{HOLDS}**: {RULE}.
- **{FAILS}**: the interval lies below 0: the difference goes the other way.
- **{SAME}**: the whole interval is smaller than what would matter.
- **{INCONCLUSIVE}**: anything else; more would have to be measured.
- **{PARTLY}**: some parts of the claim hold, and others are decided otherwise.
- **{SHOWN}**: a theorem or a definition, proved in its chapter and checked by number.

Both sides of a comparison are paired, unit by unit, and the smallest difference that matters was stated before measuring.
Where the unit is a training seed, the interval is Student's; where it is a prompt or a picture, it is from the bootstrap, and networks of different seeds must agree on the direction.
A record may be of the quick size, minutes of a core, or of the full one, hours; it says which.
Where code that it rests on has changed since, it is marked "by earlier code".

<!-- Written by `make claims` from minilib/experiments/evidence/ and book/chapters.yml. -->
"""  # noqa: E501 - one sentence a line
PICTURE = """\
## All at a glance

Each line is a comparison: its middle, and its 95 % interval, in units of the smallest difference that matters.
Right of the line at 1 a claim holds, between the lines at −1 and 1 nothing that matters was found; where a claim says that two things are equal, it holds between these lines.
Blue holds, orange fails, hollow is no difference, grey is undecided; the axis is linear around 0 and logarithmic further out.
Theorems are not drawn.
"""  # noqa: E501 - one sentence a line


@dataclass(frozen=True)
class Cell:
    """A code cell that shows a claim: what its tag says, what its output holds, and
    where it stands.
    """

    tag: str | None
    record: dict[str, Any] | None
    path: Path
    number: int
    anchor: str

    @property
    def id(self) -> str:
        return self.tag or (self.record or {})["id"]

    @property
    def where(self) -> str:
        return f"{shown(self.path)}, cell {self.number}: claim {self.id}"


def records(cell: Any) -> list[dict[str, Any]]:
    """The claim records among the stored outputs of a code cell."""
    outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
    return [data[MIME] for data in outputs if MIME in data]


def claim_cells(path: Path) -> Iterator[Cell]:
    """The claim cells of a chapter. Their anchor is the heading above them."""
    titles: list[str] = []
    for number, cell in enumerate(read_notebook(path).cells, 1):
        titles += headings(cell.source) if cell.cell_type == "markdown" else []
        ids = tags(cell, "claim:")
        found = {record["id"]: record for record in records(cell)}
        for id in sorted({*ids, *found}):
            anchor = slugs(titles)[-1] if titles else ""
            yield Cell(id if id in ids else None, found.get(id), path, number, anchor)


def cell_problem(
    cell: Cell, planned: dict[str, Chapter], recorded: dict[str, Claim]
) -> str | None:
    """What is wrong with one claim cell, or None."""
    again = make_chapter(cell.path)
    if cell.record is None:
        return f"{cell.where} is tagged but its output shows no record; run: {again}"
    if cell.tag is None:
        return f"{cell.where} is shown, but its cell has no tag claim:{cell.id}: add it"
    if cell.id not in planned:
        return f"{cell.where} is not listed in book/chapters.yml: list it there"
    if planned[cell.id].slug != cell.path.stem:
        belongs = f"belongs to {planned[cell.id].slug} in book/chapters.yml"
        return f"{cell.where} {belongs}: show it there, or move it in that file"
    if cell.id in recorded and cell.record != recorded[cell.id].summary():
        return f"{cell.where} shows another record than the one today; run: {again}"
    return None


def record_problems(planned: dict[str, Chapter]) -> Iterator[str]:
    """Records that are damaged, of no claim, or missing."""
    known = experiments()
    for id in evidence.ids():
        file = shown(evidence.path(id))
        if id not in planned:
            yield f"{file}: no claim {id} is listed in book/chapters.yml: delete it"
        try:
            evidence.read(id)
        except CorruptFileError as error:
            yield str(error).replace(str(evidence.path(id)), file)
            continue
    for id in sorted(set(known) - set(evidence.ids())):
        yield f"claim {id} has an experiment but no record; run: make evidence ID={id}"


def stale(recorded: dict[str, Claim]) -> set[str]:
    """The claims whose record is of earlier code than today's."""
    known = experiments()
    return {id for id in recorded if id in known and is_stale(known[id])}


def readable() -> dict[str, Claim]:
    """The records that can be read, by ID."""
    found = {}
    for id in evidence.ids():
        try:
            found[id] = evidence.read(id)
        except CorruptFileError:
            continue
    return found


def problems(
    cells: list[Cell], planned: dict[str, Chapter], recorded: dict[str, Claim]
) -> Iterator[str]:
    """Claim cells and records that contradict each other or the list of claims."""
    yield from filter(None, (cell_problem(cell, planned, recorded) for cell in cells))
    for id in planned:
        places = [cell.where for cell in cells if cell.tag == id]
        if len(places) > 1:
            yield f"claim {id} is shown twice ({'; '.join(places)}): keep one tag"
        if id in recorded and not places:
            yield f"claim {id} has a record, but no chapter shows it: tag a cell"
    yield from record_problems(planned)


def escaped(text: str) -> str:
    return typeset(text).replace("|", "\\|")


def numbers(claim: Claim) -> str:
    """A line a part, for a table's cell: middle and interval, or the error."""
    rows = []
    for part in claim.parts:
        if isinstance(part, Difference):
            low, high = part.interval
            found = f"**{part.middle:.3g}**, {low:.3g} to {high:.3g}"
            rows.append(f"{escaped(part.name)}: {found} ({part.outcome})")
        else:
            rows.append(
                f"{escaped(part.name)}: error {part.error:.0e} ({part.outcome})"
            )
    return "<br>".join(rows)


def row(
    id: str, text: str, chapter: Chapter, cell: Cell | None, claim: Any, earlier: bool
) -> str:
    """The claim's row of the table."""
    if claim is None:
        return f"| {id} | {escaped(text)} | planned: chapter {chapter.number} | | |"
    outcome = f"**{claim.outcome}**"
    if cell is not None:
        outcome = f"[{outcome}](../chapters/{cell.path.name}#{cell.anchor})"
    outcome += "<br>(by earlier code)" if earlier else ""
    facts = claim.facts
    how = f"{sample_size(claim.parts)}; {facts['size']} size, {facts['date']}, "
    how += f"{facts['minutes']:.1f} core-minutes: `{facts['command']}`"
    return f"| {id} | {escaped(text)} | {outcome} | {numbers(claim)} | {how} |"


def page(cells: list[Cell], recorded: dict[str, Claim], earlier: set[str]) -> str:
    """The whole page, as Markdown."""
    by_id = {cell.tag: cell for cell in cells}
    listed = [chapter for part in read_outline() for chapter in part.chapters]
    drawn = [recorded[id] for one in listed for id in one.claims if id in recorded]
    parts = [INTRODUCTION, PICTURE, forest(drawn), ""]
    head = "| ID | claim | outcome | difference and 95 % interval | measured |"
    for chapter in (chapter for chapter in listed if chapter.claims):
        title = f"## {chapter.number}. {chapter.title}"
        parts.append(f"{title}\n\n{head}\n|---|---|---|---|---|")
        for id, text in chapter.claims.items():
            found = by_id.get(id), recorded.get(id), id in earlier
            parts.append(row(id, text, chapter, *found))
        parts.append("")
    return "\n".join(parts)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.claims", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail where it is wrong"
    )
    check = parser.parse_args(arguments).check
    listed = [chapter for part in read_outline() for chapter in part.chapters]
    planned = {id: chapter for chapter in listed for id in chapter.claims}
    cells = [cell for path in chapters() for cell in claim_cells(path)]
    recorded = readable()
    found = list(problems(cells, planned, recorded))
    earlier = stale(recorded)
    for id in sorted(earlier):  # named, and no failure: measuring may take hours
        print(f"{id} was measured with earlier code; run: make evidence ID={id}")
    wanted = page(cells, recorded, earlier)
    if not check:
        write_whole(PAGE, wanted)
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted:
        found.append(f"{shown(PAGE)} is stale; run: make claims")
    conditional = (
        f"{len(recorded)} of {len(planned)} claims are measured, and the page says so"
    )
    return tell(found, conditional)


if __name__ == "__main__":
    sys.exit(main())
