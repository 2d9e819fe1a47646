"""Chapters: as text to edit, executed in place, and checked to hold what their code
really gave.

text   write .text/NAME.md, the chapter as MyST Markdown, to edit
apply  take that text back into the notebook; cells keep their ids
run    execute, tidy and stamp; then once more under another instruction set. A cell
       that fails, or whose output differs there, leaves the file as it was
check  fail where a chapter's outputs are not those of its code
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from jupytext.combine import combine_inputs_with_outputs
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from PIL import Image, ImageChops, ImageStat

from book.tools.common import (
    ROOT,
    chapters,
    make_chapter,
    notebook_text,
    read_notebook,
    shown,
    tell,
    tidy,
    write_whole,
)
from book.tools.digest import digest
from book.tools.processors import differences

FORMAT = "md:myst"
LARGEST = 1_500_000  # bytes of a notebook
COLOURS = (128, 256)
EMBEDDED = re.compile(r"(?<=data:image/png;base64,)[A-Za-z0-9+/=]+")
CAPTION_FORMULA = re.compile(r"<figcaption[^<]*(\$[^<$]+\$)")
# a number that is not 0 and below 1e-9, but for a tolerance, as in "to 1e-12"
ROUNDING = re.compile(r"(?<!to )(?<!within )(?<![\d.])\d(?:\.\d+)?e-(?:09|1\d)\b")
TIMEOUT = 1800  # seconds a cell


def text_file(path: Path) -> Path:
    return ROOT / ".text" / f"{path.stem}.md"


def to_text(path: Path) -> None:
    """Write the chapter as MyST Markdown under .text/."""
    text_file(path).parent.mkdir(exist_ok=True)
    write_whole(text_file(path), jupytext.writes(read_notebook(path), fmt=FORMAT))
    print(
        f"edit {shown(text_file(path))}, then run: make apply "
        f"N={path.stem.split('_')[0]}"
    )


def apply(path: Path) -> None:
    """Take the edited text back, and say what has to run again, if anything. A cell
    keeps its id, and, until it is executed again, its old output.
    """
    if not text_file(path).exists():
        raise SystemExit(
            f"{shown(text_file(path))} does not exist; run: make text "
            f"N={path.stem.split('_')[0]}"
        )
    edited = jupytext.reads(text_file(path).read_text(encoding="utf-8"), fmt=FORMAT)
    old = read_notebook(path)
    notebook = combine_inputs_with_outputs(edited, old, fmt=FORMAT)
    notebook.metadata = old.metadata
    write_whole(path, notebook_text(tidy(notebook)))
    print(f"{shown(path)}: text applied")
    found = list(problems(path))
    tell(found, "its outputs are still those of its code: nothing has to run again")


def quantised(png: bytes) -> bytes:
    """The picture with at most 128 or 256 colours, where the file is smaller and no eye
    sees it; else the same bytes.

    What is transparent somewhere stays as it is.
    """
    picture = Image.open(io.BytesIO(png))
    transparent = picture.mode == "RGBA" and any(
        picture.getchannel("A").histogram()[:255]
    )
    if picture.mode not in ("RGB", "RGBA") or transparent:
        return png
    whole = picture.convert("RGB")
    for colours in COLOURS:
        reduced = whole.quantize(
            colours, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
        )
        # of 255
        if (
            max(
                ImageStat.Stat(
                    ImageChops.difference(whole, reduced.convert("RGB"))
                ).mean
            )
            <= 2
        ):
            smaller = io.BytesIO()
            reduced.save(smaller, "PNG", optimize=True)
            return min(png, smaller.getvalue(), key=len)
    return png


def quantised_text(png: str) -> str:
    """The same of a picture in base64, without line breaks."""
    return base64.b64encode(quantised(base64.b64decode(png))).decode()


def make_small(notebook: Any) -> None:
    """Store the pictures of all outputs, those inside of HTML too, as `quantised`
    does.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = quantised_text(data["image/png"]) + "\n"
            if "text/html" in data:
                data["text/html"] = EMBEDDED.sub(
                    lambda found: quantised_text(found[0]), data["text/html"]
                )


def environment() -> dict[str, str]:
    """What a chapter's kernel sees: this tree's library, float32, so that no page
    depends on the processor, and by default the quick budget and one thread.
    """
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
    )
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    fixed = {"MINILIB_PRECISION": "float32", "PYTHONPATH": path}
    return {"MINILIB_BUDGET": "quick", **threads, **os.environ, **fixed}


def execute(notebook: Any, path: Path, timeout: int | None = TIMEOUT) -> Any:
    """Execute all cells, in place, in one fresh kernel whose working directory is the
    chapter's folder.

    Raises SystemExit that shows the failing cell and its error.
    """
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.record_timing, client.store_widget_state, client.coalesce_streams = (
        False,
        False,
        True,
    )
    # ipykernel warns at each start that it talks over TCP
    client.extra_arguments = ["--log-level=ERROR"]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = None, []
    try:
        client.execute(env=environment())
    except (CellControlSignal, DeadKernelError) as error:
        # without the traceback's colours
        message = re.sub(r"\x1b\[[\d;]*m", "", str(error))
        raise SystemExit(
            f"{shown(path)} is unchanged, since a cell failed.\n{message}"
        ) from None
    return notebook


def require_equal_elsewhere(text: str, path: Path) -> None:
    """Run what will be the chapter's text under another instruction set.

    Raises SystemExit that shows the outputs that differ.
    """
    trial = path.with_name(f".{path.name}")
    try:
        write_whole(trial, text)
        if found := differences(trial, environment()):
            raise SystemExit(
                f"{found[-4000:]}\n{shown(path)} is unchanged, since these outputs "
                "differ under another processor's instructions: print fewer digits, "
                "assert what must hold, or tag the cell nbval-ignore-output"
            )
    finally:
        trial.unlink(missing_ok=True)


def run(path: Path, once: bool = False) -> None:
    """Execute the chapter in place, and stamp it with the digest of the code that gave
    its outputs; then, unless `once`, make sure that another processor gives the same.
    """
    notebook = read_notebook(path)
    # before the cells run: it is this code that gives the outputs
    stamp = {"executed": digest(notebook)}
    execute(notebook, path)
    make_small(notebook)
    notebook.metadata["drawn_from_noise"] = stamp
    nbformat.validate(notebook)
    text = notebook_text(tidy(notebook))
    if not once:
        require_equal_elsewhere(text, path)
    write_whole(path, text)
    print(f"{shown(path)}: executed, {path.stat().st_size / 1e6:.2f} MB")


def output_problems(notebook: Any) -> Iterator[str]:
    """Stored errors, warnings, captions with formulas, which nobody sets there, and
    rounding errors in outputs that nbval compares; cell by cell.
    """
    for number, cell in enumerate(notebook.cells, 1):
        compared = "nbval-ignore-output" not in cell.metadata.get("tags", [])
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"cell {number} stores an error ({output.ename}): mend the cell"
            elif output.get("name") == "stderr":
                yield (
                    f"cell {number} stores a warning "
                    f"({output.text.strip().splitlines()[0][:80]!r}): mend the cell"
                )
            elif formula := CAPTION_FORMULA.search(
                output.get("data", {}).get("text/html", "")
            ):
                yield (
                    f"cell {number} has a caption with {formula[1]}, which the page "
                    "shows as it stands: write letters"
                )
            elif compared and (noise := ROUNDING.search(printed(output))):
                yield (
                    f"cell {number} prints {noise[0]}, a rounding error, which is "
                    "another one on another processor: assert it, and print a tolerance"
                )


def printed(output: Any) -> str:
    """The text of an output."""
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))


def problems(path: Path) -> Iterator[str]:
    """What is wrong with the stored outputs of a chapter, each with the command that
    mends it.
    """
    notebook = read_notebook(path)
    text = path.read_text(encoding="utf-8")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = list(output_problems(notebook))
    if notebook.metadata.get("drawn_from_noise", {}).get("executed") != digest(
        notebook
    ):
        found.append(
            "its outputs are stale (its code, or a module that it imports, has "
            "changed since)"
        )
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("its cells were not executed once each from top to bottom")
    if len(text.encode()) > LARGEST:
        found.append(
            f"it has {len(text.encode()) / 1e6:.1f} MB, more than {LARGEST / 1e6}: "
            "draw fewer or smaller figures"
        )
    if notebook_text(tidy(notebook)) != text:
        found.append("its metadata or its format holds what an editor left there")
    yield from (
        f"{shown(path)}: {problem}; run: {make_chapter(path)}" for problem in found
    )


def check(paths: list[Path]) -> int:
    return tell(
        [problem for path in paths for problem in problems(path)],
        "every chapter's outputs are its code's",
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.notebook",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("command", choices=["text", "apply", "run", "check"])
    parser.add_argument(
        "chapters", nargs="*", help="paths, names or numbers; all of them by default"
    )
    parser.add_argument(
        "--once", action="store_true", help="run: not under other instructions too"
    )
    parsed = parser.parse_intermixed_args(arguments)
    paths = chapters(parsed.chapters)
    if parsed.command == "check":
        return check(paths)
    commands: dict[str, Callable[[Path], None]]
    commands = {"text": to_text, "apply": apply, "run": partial(run, once=parsed.once)}
    for path in paths:
        commands[parsed.command](path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
