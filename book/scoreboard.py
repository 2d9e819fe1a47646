"""Write book/scoreboard.md from the cards of the shipped weights, or check that it is up to date.

Nothing on the page is typed: `make weights` scored the very files that ship, and a test scores them again.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from book.common import ROOT, shown, tell, write_whole
from minilib.weights import card

PAGE = ROOT / "book" / "scoreboard.md"
ROWS = {"ae_digits": "Autoencoder, 16 features", "ae_digits_2d": "Autoencoder, 2 features"}
INTRO = """\
# Scoreboard

Every model of the book, on the same pictures, by the same measures, in one table.
`make scoreboard` writes this page from the cards of the weights that ship; no number on it is typed.

FD is the Fréchet distance between two sets of 10,000 pictures, in the 128 features of our own digit classifier ({accuracy:.2%} right on the test digits).
It is not the FID of the papers: that one uses another network, and its numbers cannot be compared with these.
The reference is 10,000 training digits; the first row is what as many *real* test digits score, and nothing can be expected to do better.
All weights are of training seed 0, and the codes are drawn once, from seed 0: the spread over seeds stands in the chapters.

| model | held-out error | FD of reconstructions | FD of drawn pictures | parameters | training | drawing 1,000 |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""  # noqa: E501 - one sentence a line
OUTRO = """
Held-out error is the mean squared error per pixel, of pixels in [−1, 1], on the 10,000 test digits.
An autoencoder draws by decoding codes from the Gaussian that fits its training codes; [its chapter](../chapters/01_autoencoder.ipynb) shows why that goes wrong.
Times are wall times on {machine}; machines differ, so read them as ratios.
"""  # noqa: E501


def row(title: str, facts: dict[str, Any]) -> str:
    """One line of the table, from a card."""
    score, minutes = facts["score"], facts["seconds"] / 60
    cells = [
        title,
        f"{score['mse']:.4f}",
        f"{score['fd_reconstructions']:.2f}",
        f"{score['fd_samples']:.1f}",
        f"{facts['parameters']:,}",
        f"{facts['steps']:,} steps, {minutes:.0f} min",
        f"{facts['seconds_per_1000_samples']:.2f} s",
    ]
    return f"| {' | '.join(cells)} |\n"


def page() -> str:
    eyes = card("digit_classifier")
    floor = eyes["score"]["fd_floor"]
    cards = {title: card(name) for name, title in ROWS.items()}
    machine = " and ".join(sorted({facts["machine"] for facts in cards.values()}))
    table = f"| Real digits (the floor) | 0 | {floor:.2f} | {floor:.2f} | | | |\n"
    table += "".join(row(title, facts) for title, facts in cards.items())
    return INTRO.format(accuracy=eyes["score"]["accuracy"]) + table + OUTRO.format(machine=machine)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.scoreboard", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the page is out of date")
    wanted = page()
    if parser.parse_args(arguments).check:
        stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted
        return tell(
            [f"{shown(PAGE)} is out of date: run make scoreboard"] * stale, "the scoreboard is that of the weights"
        )
    write_whole(PAGE, wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
