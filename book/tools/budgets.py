"""What each chapter and the unit tests cost, in core-seconds: make budgets.

Each chapter runs under nbval, two at a time, then all of tests/ on two workers; what is
counted is the time of the processors, of the kernels too. With --old PATH another
checkout is measured beside this one, turn by turn. The numbers go to
tests/bench/budgets.json, by which the tests are packed, longest first, and the table
to CONTRIBUTING.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from book.tools.common import ROOT, chapters, shown, tell, write_whole

FILE = ROOT / "tests" / "bench" / "budgets.json"
PAGE = ROOT / "CONTRIBUTING.md"
START, END = "<!-- written by: make budgets -->", "<!-- end of what it writes -->"
UNIT, BAR = "tests", 120.0  # all of tests/; core-seconds that a chapter may take


def core_seconds(
    root: Path, what: Sequence[str], workers: int = 0, by_file: str | None = None
) -> float:
    """What `pytest what` costs in that checkout, its kernels and children included.

    The root's conftest writes the seconds of each test file to the folder `by_file`, a
    file from each worker. Raises SystemExit that shows the end of the output where a
    test fails.
    """
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **one, "PYTHONPATH": str(root)}
    environment |= {} if by_file is None else {"CORE_SECONDS": by_file}
    command = [sys.executable, "-m", "pytest", "-n", str(workers), "-q", *what]
    with tempfile.TemporaryFile("w+") as said:
        started = subprocess.Popen(
            command, cwd=root, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(started.pid, 0)
        said.seek(0)
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read()[-3000:]}")
    return used.ru_utime + used.ru_stime


def known() -> dict[str, Any]:
    """What the file holds: {"now": {file: seconds}, "before": {…}, facts}."""
    if not FILE.exists():
        return {"now": {}, "before": {}}
    return json.loads(FILE.read_text(encoding="utf-8"))


def measure(names: Sequence[str], old: Path | None, tests: bool) -> dict[str, Any]:
    """Measure these chapters, and the unit tests; here and, in turn, in `old`."""
    found = known()
    sides = [("before", old)] * (old is not None) + [("now", ROOT)]
    runs = [(shown(path), *side) for path in chapters(names) for side in sides]
    with ThreadPoolExecutor(2) as two:
        for (name, side, _), seconds in zip(
            runs, two.map(lambda run: core_seconds(run[2], [run[0]]), runs), strict=True
        ):
            found[side][name] = round(seconds, 1)
            write_whole(FILE, json.dumps(found, indent=1) + "\n")
            print(f"{name} {side}: {seconds:.0f} core-seconds", flush=True)
    if tests:
        if old is not None:
            found["before"][UNIT] = round(core_seconds(old, [UNIT], 2), 1)
        with tempfile.TemporaryDirectory() as folder:
            found["now"][UNIT] = round(core_seconds(ROOT, [UNIT], 2, folder), 1)
            parts = [json.loads(file.read_text()) for file in Path(folder).iterdir()]
        rows = {file: seconds for part in parts for file, seconds in part.items()}
        found["now"] = {k: v for k, v in found["now"].items() if "tests/" not in k}
        found["now"] |= {file: round(seconds, 1) for file, seconds in rows.items()}
    return found | {"date": datetime.date.today().isoformat()}


def table(found: dict[str, Any]) -> str:
    """A row a chapter, one for all chapters and one for the unit tests. What was not
    measured is left empty, and so is a sum that lacks a part.
    """
    now, before = found["now"], found["before"]
    names = sorted(name for name in now if name.startswith("chapters/"))

    def total(side: dict[str, float]) -> float | None:
        return sum(side[name] for name in names) if {*names} <= {*side} else None

    rows = [(Path(name).stem, before.get(name), now[name]) for name in names]
    rows.append(("all chapters", total(before), total(now)))
    rows.append(("unit and parity tests", before.get(UNIT), now.get(UNIT)))
    lines = ["| core-seconds | before | now | ratio |", "|---|---:|---:|---:|"]
    for name, old, new in rows:
        cells = ["" if side is None else f"{side:,.0f}" for side in (old, new)]
        ratio = f"{new / old:.2f}" if old and new is not None else ""
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {ratio} |")
    return "\n".join(lines)


def page(text: str, found: dict[str, Any]) -> str:
    """CONTRIBUTING.md with the table between its marks written anew."""
    before, rest = text.split(START)
    return f"{before}{START}\n\n{table(found)}\n\n{END}{rest.split(END)[1]}"


def problems(found: dict[str, Any]) -> list[str]:
    """Chapters over their bar, chapters that were never measured, a stale table."""
    now = found["now"]
    listed = [shown(path) for path in chapters()]
    over = [name for name in listed if now.get(name, 0) > BAR]
    said = [
        f"{name}: {now[name]:.0f} core-seconds, more than {BAR:.0f}" for name in over
    ]
    said += [f"{n}: not measured; run: make budgets" for n in listed if n not in now]
    text = PAGE.read_text(encoding="utf-8")
    if text != page(text, found):
        said.append(f"{shown(PAGE)}: the table of costs is stale; run: make budgets")
    return said


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.budgets", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("chapters", nargs="*", help="chapters; all by default")
    parser.add_argument("--old", type=Path, help="another checkout, measured in turn")
    parser.add_argument("--no-tests", action="store_true", help="chapters only")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--check", action="store_true", help="measure, write nothing")
    options = parser.parse_args(arguments)
    found = known()
    if options.check:
        return tell(problems(found), "every chapter is within its core-seconds")
    if not options.table:
        found = measure(options.chapters, options.old, not options.no_tests)
        write_whole(FILE, json.dumps(found, indent=1) + "\n")
    write_whole(PAGE, page(PAGE.read_text(encoding="utf-8"), found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
