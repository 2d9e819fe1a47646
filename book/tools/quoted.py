"""Numbers that a page quotes and does not type: roles that read a card or a claim's
record when the site is built.

{card}`ddpm_digits samples.fd .2f`     a number of a card; of a list mean ± standard
deviation {measured}`AE-1`                       AE-1 holds {measured}`AE-1 0`
median ± standard deviation of its first comparison
"""

from __future__ import annotations

import json
import statistics
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxRole

from book.tools.common import ROOT

CARDS, CHAPTERS = ROOT / "minilib" / "weights", ROOT / "chapters"
# as in minilib.claims, whose import would cost a page its torch
CLAIM_MIME = "application/vnd.minilib.claim+json"


@cache
def records(path: Path, changed: float) -> dict[str, dict[str, Any]]:
    """The claims that a notebook recorded, by ID; `changed` is the file's time, so that
    it is read once a version.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [
        output.get("data", {}) for cell in cells for output in cell.get("outputs", [])
    ]
    return {
        data[CLAIM_MIME]["id"]: data[CLAIM_MIME]
        for data in outputs
        if CLAIM_MIME in data
    }


def claim(id: str) -> tuple[dict[str, Any], Path]:
    """The record of a claim, and the notebook that holds it. Raises KeyError where no
    chapter recorded it.
    """
    for path in sorted(CHAPTERS.glob("*.ipynb")):
        if found := records(path, path.stat().st_mtime).get(id):
            return found, path
    raise KeyError(id)


def card_text(name: str, way: str, form: str = "") -> tuple[str, Path]:
    """A number of a card, where `way` leads, such as samples.fd; and the card's
    file.
    """
    path = CARDS / f"{name}.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    for key in way.split("."):
        value = value[key]
    if isinstance(value, list):
        return (
            f"{statistics.mean(value):{form}} ± {statistics.stdev(value):{form}}",
            path,
        )
    return f"{value:{form}}", path


def claim_text(id: str, number: str = "") -> tuple[str, Path]:
    """A claim's outcome, or the median ± standard deviation of one of its comparisons,
    counted from 0.
    """
    record, path = claim(id)
    if not number:
        return f"{id} {record['outcome']}", path
    found = record["numbers"][int(number)]
    return f"{found['median']:.3g} ± {found['std']:.2g}", path


class Quoted(SphinxRole):
    """A role whose words go to `card_text` or `claim_text`."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            text, path = (card_text if self.name == "card" else claim_text)(
                *self.text.split()
            )
        except (OSError, LookupError, TypeError, ValueError) as error:
            message = self.inliner.reporter.error(
                f"nothing to quote at {self.name} {self.text!r}: {error!r}"
            )
            return [], [message]
        self.env.note_dependency(str(path))
        return [nodes.Text(text)], []
