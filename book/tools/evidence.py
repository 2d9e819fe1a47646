"""Measure claims at full size: execute a copy of the chapter under MINILIB_BUDGET=full,
and keep what it recorded.

The chapter itself stays as it is. A claim's record goes to book/evidence/ID.json, with
command, code, machine and time.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Collection
from pathlib import Path

import nbformat

from book.tools.claims import EVIDENCE, records
from book.tools.common import chapters, read_notebook, shown, tags, write_whole
from book.tools.digest import digest
from book.tools.notebook import execute

MACHINE = "from minilib import runtime\n\nprint(runtime.report())"


def claim_chapters() -> dict[str, Path]:
    """The chapter that measures each claim."""
    cells = ((path, cell) for path in chapters() for cell in read_notebook(path).cells)
    return {id: path for path, cell in cells for id in tags(cell, "claim:")}


def measure(path: Path, ids: Collection[str]) -> None:
    """Execute a copy of the chapter at full size, and write the evidence for those of
    its claims.
    """
    notebook = read_notebook(path)
    code = digest(notebook)
    notebook.cells.append(nbformat.v4.new_code_cell(MACHINE))
    started = time.perf_counter()
    execute(notebook, path, timeout=None)
    facts = {
        "code": code,
        "machine": notebook.cells[-1].outputs[0].text.strip(),
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "date": datetime.date.today().isoformat(),
    }
    found = {
        record["id"]: record for cell in notebook.cells for record in records(cell)
    }
    EVIDENCE.mkdir(exist_ok=True)
    for id in ids:
        if id not in found:
            raise SystemExit(
                f"{shown(path)}: its cell tagged claim:{id} gave no record: end it "
                "with the claim"
            )
        evidence = {**found[id], "command": f"make evidence ID={id}", **facts}
        write_whole(
            EVIDENCE / f"{id}.json",
            json.dumps(evidence, indent=1, ensure_ascii=False) + "\n",
        )
        print(
            f"{shown(EVIDENCE / f'{id}.json')}: {found[id]['outcome']}, in "
            f"{facts['minutes']} minutes"
        )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.evidence",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument(
        "claims", nargs="*", help="IDs such as AE-1; every measured claim by default"
    )
    known = claim_chapters()
    wanted = parser.parse_args(arguments).claims or list(known)
    unknown = [id for id in wanted if id not in known]
    if unknown:
        raise SystemExit(
            f"no chapter measures {', '.join(unknown)}: the measured claims are "
            f"{', '.join(known) or 'none'}"
        )
    os.environ["MINILIB_BUDGET"] = "full"
    for path in dict.fromkeys(known[id] for id in wanted):
        measure(path, [id for id in wanted if known[id] == path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
