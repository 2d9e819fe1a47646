"""The forest plot of all claims: an interval a comparison, as SVG in the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from minilib.claims import FAILS, HOLDS, SAME, Claim, Difference

ROW, LEFT, WIDTH, RIGHT = 15, 92, 560, 20  # pixels
TICKS = (-100, -10, -1, 0, 1, 10, 100, 1000)


def place(value: float) -> float:
    """Linear around 0 and logarithmic further out."""
    return math.asinh(value * 2) / math.log(10)


def forest(claims: Sequence[Claim]) -> str:
    """The drawing: middle and interval over the smallest difference that matters."""
    rows = [(c, p) for c in claims for p in c.parts if isinstance(p, Difference)]
    if not rows:
        return ""
    scaled = [abs(end) / p.matters for _, p in rows for end in (*p.interval, p.middle)]
    ticks = [tick for tick in TICKS if abs(tick) <= max(1, *scaled)]
    ends = [end / p.matters for _, p in rows for end in (*p.interval, p.middle)]
    low, high = place(min(-1.5, *ends)), place(max(1.5, *ends))

    def x(value: float) -> float:
        return LEFT + (place(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    height = ROW * (len(rows) + 2)
    lines = [
        f'<line class="{"zero" if tick == 0 else "tick"}" x1="{x(tick):.1f}" '
        f'x2="{x(tick):.1f}" y1="{ROW}" y2="{height - ROW}"/>'
        f'<text class="label" x="{x(tick):.1f}" y="{height - 3}">{tick:g}</text>'
        for tick in ticks
        if low <= place(tick) <= high
    ]
    before = ""
    for number, (claim, part) in enumerate(rows, 1):
        y = ROW * (number + 0.5)
        if claim.id != before:
            lines.append(f'<text class="id" x="4" y="{y + 4:.1f}">{claim.id}</text>')
        before = claim.id
        lines.append(drawn(part, [x(v / part.matters) for v in ends_of(part)], y))
    return (
        f'<div class="forest"><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{len(rows)} comparisons of {len(claims)} claims, each with its '
        f'interval; the tables below give the numbers.">{"".join(lines)}</svg></div>'
    )


def ends_of(part: Difference) -> tuple[float, float, float]:
    return part.interval[0], part.middle, part.interval[1]


def drawn(part: Difference, at: Sequence[float], y: float) -> str:
    """One comparison: a line from low to high, and a dot in the middle."""
    kind = {HOLDS: "holds", FAILS: "fails", SAME: "same"}.get(part.outcome, "open")
    low, middle, high = at
    title = escape(f"{part.name}: {part.outcome}")
    return (
        f'<g class="{kind}"><title>{title}</title>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<circle cx="{middle:.1f}" cy="{y:.1f}" r="3.2"/></g>'
    )
