"""Numbers that a page quotes and does not type: roles that read a card or a claim's
record when the site is built.

{card}`ddpm_digits samples.fd .2f` is a number of a card, of a list mean ± standard
deviation; {measured}`AE-1` says "AE-1 holds", and {measured}`AE-1 0` the middle and the
interval of its first part.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxRole

from book.tools.common import ROOT

CARDS = ROOT / "minilib" / "weights"
EVIDENCE = ROOT / "minilib" / "experiments" / "evidence"
# as in minilib.claims, whose import would cost a page its torch
CLAIM_MIME = "application/vnd.minilib.claim+json"


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
    """A claim's outcome; or of one of its parts, counted from 0, the middle and the
    interval, or the error.
    """
    path = EVIDENCE / f"{id}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    if not number:
        return f"{id} {record['outcome']}", path
    part = record["parts"][int(number)]
    if "bound" in part:
        return f"{part['error']:.0e}", path
    return f"{part['middle']:.3g} ({part['low']:.3g} to {part['high']:.3g})", path


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
