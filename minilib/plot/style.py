"""Colours, dashes, markers and sizes of all figures."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
from cycler import cycler

# Okabe and Ito's colours, which people with any colour vision tell apart; yellow, weak
# on white, comes last.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#F0E442",
)
# ten, none of them pale
CLASS_COLOURS = *PALETTE[:7], "#8A6A2F", "#6A3D9A", "#9A9A9A"
LINES = (
    "-",
    "--",
    "-.",
    ":",
    (0, (6, 1, 1, 1, 1, 1)),
    (0, (9, 3)),
    (0, (2, 1)),
    (0, (4, 4)),
)
MARKERS = "os^Dv*Xp"
# an inch of a figure is 100 pixels of the page, drawn as 2 × 2 dots each for sharp
# screens
DPI, SHARPNESS = 100, 2
STYLE: Any = {
    "figure.dpi": DPI,
    "figure.figsize": (5.6, 3.6),
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.prop_cycle": cycler(color=PALETTE, linestyle=LINES),
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#E2E2E2",
    "lines.linewidth": 2,
    "legend.frameon": False,
}


def use_book_style() -> None:
    """Draw every figure that follows, your own included, in the style of the book."""
    mpl.rcParams.update(STYLE)
