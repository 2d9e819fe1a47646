"""A claim is shown when it is measured: paired comparisons over seeds, one rule, one
outcome, asserted and recorded.
"""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minilib.runtime import budget_name

HOLDS, FAILS, INCONCLUSIVE = "holds", "fails at our scale", "inconclusive"
MIME = "application/vnd.minilib.claim+json"
RULE = (
    "a difference counts when its median over the seeds exceeds three standard "
    "deviations "
    "and, at the quick budget, is at least half the median that the authors measured"
)


@dataclass(frozen=True)
class Difference:
    """`larger` − `smaller`, seed by seed: what the claim says is positive.

    `measured` is the authors' median of it over seeds 0–4 at the quick budget; a run
    there must reach half of it. Raises ValueError unless both sides have one finite
    number a seed, for two seeds or more, and `measured` > 0.
    """

    name: str
    larger: Sequence[float]
    smaller: Sequence[float]
    measured: float

    def __post_init__(self) -> None:
        if len(self.larger) != len(self.smaller) or len(self.larger) < 2:
            raise ValueError(
                f"{self.name}: expected one value a seed on both sides, got "
                f"{len(self.larger)} and {len(self.smaller)}"
            )
        if not all(map(math.isfinite, self.values)):
            raise ValueError(
                f"{self.name}: expected finite differences, got {self.values}"
            )
        if not self.measured > 0:
            raise ValueError(
                f"{self.name}: measured must be positive, got {self.measured}"
            )

    @property
    def values(self) -> list[float]:
        return [float(a - b) for a, b in zip(self.larger, self.smaller, strict=True)]

    @property
    def outcome(self) -> str:
        median, spread = statistics.median(self.values), statistics.stdev(self.values)
        if abs(median) <= 3 * spread:
            return INCONCLUSIVE
        if median < 0:
            return FAILS
        return (
            HOLDS
            if budget_name() == "full" or median >= self.measured / 2
            else INCONCLUSIVE
        )


class Claim:
    """A claim with its paired differences. A notebook shows it as a table; tools read
    its record from the output.

    Raises ValueError unless every difference has a value for each of the seeds.
    """

    def __init__(
        self,
        id: str,
        statement: str,
        seeds: Sequence[int],
        differences: Sequence[Difference],
    ):
        self.id, self.statement, self.seeds, self.differences = (
            id,
            statement,
            list(seeds),
            list(differences),
        )
        for d in self.differences:
            if len(d.values) != len(self.seeds):
                raise ValueError(
                    f"{id}: expected a value for each of the seeds {self.seeds}, "
                    f"got {len(d.values)}"
                )

    @property
    def outcome(self) -> str:
        """It holds when every difference does, and fails when one is significantly
        reversed.
        """
        outcomes = {d.outcome for d in self.differences}
        return (
            FAILS
            if FAILS in outcomes
            else HOLDS
            if outcomes == {HOLDS}
            else INCONCLUSIVE
        )

    def check(self, stated: str) -> Claim:
        """Return the claim, to be displayed. Raises AssertionError when, at the page's
        budget, it is not as `stated`.

        The pages are made at the quick budget; a run at the full one finds out for
        itself, and shows what it found.
        """
        if budget_name() == "quick" and self.outcome != stated:
            raise AssertionError(
                f"{self.id}: the page says {stated!r}, the measurement says "
                f"{self.outcome!r}\n{self!r}"
            )
        return self

    def record(self) -> dict[str, Any]:
        """The claim as plain data, for the claims index and the evidence files."""
        numbers = [
            {
                "name": d.name,
                "values": d.values,
                "median": statistics.median(d.values),
                "std": statistics.stdev(d.values),
            }
            for d in self.differences
        ]
        facts = {
            "id": self.id,
            "outcome": self.outcome,
            "statement": self.statement,
            "rule": RULE,
        }
        return {
            **facts,
            "seeds": self.seeds,
            "budget": budget_name(),
            "numbers": numbers,
        }

    def __repr__(self) -> str:
        rows = [
            f"  {n['name']}: {n['median']:.3g} ± {n['std']:.2g}"
            for n in self.record()["numbers"]
        ]
        return "\n".join(
            [
                f"{self.id} {self.outcome} (median ± standard deviation over seeds "
                f"{self.seeds})",
                *rows,
            ]
        )

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> dict[str, Any]:
        head = (
            f"<p><strong>{self.id} {self.outcome}.</strong> "
            f"{html.escape(self.statement)}</p>"
        )
        rows = ""
        for d, n in zip(self.differences, self.record()["numbers"], strict=True):
            sides = "".join(
                f"<td>{statistics.median(map(float, side)):.3g}</td>"
                for side in (d.larger, d.smaller)
            )
            rows += (
                f"<tr><td>{html.escape(d.name)}</td>{sides}<td>{n['median']:.3g} ± "
                f"{n['std']:.2g}</td></tr>"
            )
        columns = (
            "<tr><th>comparison</th><th>larger</th><th>smaller</th><th>difference ± "
            "std</th></tr>"
        )
        table = (
            f'<table class="claim"><thead>{columns}</thead>'
            f"<tbody>{rows}</tbody></table>"
        )
        note = (
            f"<p>Medians over seeds {', '.join(map(str, self.seeds))}, paired by seed; "
            f"{budget_name()} budget.</p>"
        )
        return {
            "text/html": f'<div class="claim-result">{head}{table}{note}</div>',
            "text/plain": repr(self),
            MIME: self.record(),
        }
