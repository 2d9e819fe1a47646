"""How a claim is decided: paired differences, a 95 % interval, and the smallest
difference that would matter.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import stats

HOLDS, FAILS, SAME = "holds", "fails at our scale", "no difference"
INCONCLUSIVE, SHOWN, PARTLY = "inconclusive", "shown", "holds in part"
OUTCOMES = (HOLDS, PARTLY, FAILS, SAME, INCONCLUSIVE, SHOWN)
SEED, DRAW, PROMPT, PICTURE = "training seed", "random draw", "prompt", "picture"
UNITS = (SEED, DRAW, PROMPT, PICTURE)
MIME = "application/vnd.minilib.claim+json"
RULE = (
    "a difference holds when its two-sided 95 % interval lies above 0 and its middle "
    "reaches the smallest difference that matters"
)
DRAWS = 10_000  # of the bootstrap
SYMBOL = re.compile(r"(?<!\w)([A-Za-zα-ωΑ-Ω]̃?)_(\{[^}]*\}|\w)")


def interval(values: Sequence[float], unit: str = SEED) -> tuple[float, float]:
    """The two-sided 95 % interval of the mean of `values`: (low, high).

    Student's t where the unit is a training seed or a draw, else the bootstrap (BCa,
    10,000 draws, seeded). Raises ValueError for fewer than 3 values.
    """
    sample = np.asarray(values, dtype=float)
    if len(sample) < 3:
        raise ValueError(f"an interval needs 3 values or more, got {len(sample)}")
    if np.ptp(sample) == 0:  # neither method has a spread to work with
        return float(sample[0]), float(sample[0])
    if unit in (SEED, DRAW):
        half = stats.t.ppf(0.975, len(sample) - 1) * stats.sem(sample)
        return float(sample.mean() - half), float(sample.mean() + half)
    found = stats.bootstrap(
        (sample,), np.mean, n_resamples=DRAWS, batch=500, rng=np.random.default_rng(0)
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


@dataclass(frozen=True)
class Difference:
    """`larger` − `smaller`, unit by unit: what the claim says is positive.

    `matters` is the smallest difference that would matter, stated before measuring.
    With `equal` the claim says instead that both sides are the same within ±`matters`.
    Where the unit is a prompt or a picture, the values come in `groups` of one length,
    one for each training seed, whose means must agree on the side of 0.
    Raises ValueError unless both sides have as many finite numbers, three or more.
    """

    name: str
    larger: Sequence[float]
    smaller: Sequence[float]
    matters: float
    unit: str = SEED
    equal: bool = False
    groups: int = 1

    def __post_init__(self) -> None:
        n = len(self.larger)
        if n != len(self.smaller) or n < 3:
            raise ValueError(
                f"{self.name}: expected as many values on both sides, three or more, "
                f"got {n} and {len(self.smaller)}"
            )
        if not all(map(math.isfinite, self.values)):
            raise ValueError(f"{self.name}: expected finite numbers, got {self.values}")
        if not self.matters > 0:
            raise ValueError(
                f"{self.name}: the smallest difference that matters must be positive, "
                f"got {self.matters}"
            )
        if self.unit not in UNITS or self.groups < 1 or n % self.groups:
            raise ValueError(
                f"{self.name}: expected a unit of {', '.join(UNITS)} and groups of one "
                f"length, got {self.unit!r} and {n} values in {self.groups} groups"
            )

    @cached_property
    def values(self) -> list[float]:
        return [float(a - b) for a, b in zip(self.larger, self.smaller, strict=True)]

    @property
    def middle(self) -> float:
        return math.fsum(self.values) / len(self.values)

    @cached_property
    def interval(self) -> tuple[float, float]:
        return interval(self.values, self.unit)

    @property
    def outcome(self) -> str:
        """By the rule; two groups whose means disagree leave it inconclusive."""
        low, high = self.interval
        within = -self.matters <= low and high <= self.matters
        if self.equal:
            apart = low > self.matters or high < -self.matters
            return HOLDS if within else FAILS if apart else INCONCLUSIVE
        means = np.reshape(self.values, (self.groups, -1)).mean(axis=1)
        if low > 0 and self.middle >= self.matters and (means > 0).all():
            return HOLDS
        if high < 0 and not within and (means < 0).all():
            return FAILS
        return SAME if within else INCONCLUSIVE

    def record(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "name": self.name,
            "unit": self.unit,
            "n": len(self.values),
            "groups": self.groups,
            "equal": self.equal,
            "matters": self.matters,
            "larger": [round(float(v), 9) for v in self.larger],
            "smaller": [round(float(v), 9) for v in self.smaller],
            "middle": self.middle,
            "low": low,
            "high": high,
            "outcome": self.outcome,
        }


@dataclass(frozen=True)
class Identity:
    """A theorem or a definition, checked by number: its error is within `bound`.

    Raises ValueError unless the bound is positive and the error a number from 0 on.
    """

    name: str
    error: float
    bound: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.error) and self.error >= 0 and self.bound > 0):
            raise ValueError(
                f"{self.name}: expected an error from 0 on and a bound above 0, "
                f"got {self.error} and {self.bound}"
            )

    @property
    def outcome(self) -> str:
        return SHOWN if self.error <= self.bound else FAILS

    def record(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "error": float(self.error),
            "bound": self.bound,
            "outcome": self.outcome,
        }


Part = Difference | Identity


def together(outcomes: Sequence[str]) -> str:
    """The outcome of a claim whose parts have these: what all say, and where they
    differ `holds in part`, `fails` or `inconclusive`.

    What is shown counts as holding beside parts that are measured.
    """
    found = set(outcomes)
    if found == {SHOWN}:
        return SHOWN
    measured = {HOLDS if outcome == SHOWN else outcome for outcome in found}
    if len(measured) == 1:
        return measured.pop()
    if INCONCLUSIVE in measured:
        return INCONCLUSIVE
    return PARTLY if HOLDS in measured else FAILS


@dataclass(frozen=True)
class Claim:
    """A claim with its parts. A notebook shows it as a table; tools read its record.

    `facts` says how it was measured: size, seeds, command, code, machine and time.
    Raises ValueError for a claim without parts.
    """

    id: str
    statement: str
    parts: Sequence[Part]
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError(f"{self.id}: expected at least one part")

    @property
    def outcome(self) -> str:
        return together([part.outcome for part in self.parts])

    def record(self) -> dict[str, Any]:
        """The claim as plain data, for the claims' index and the evidence files."""
        head = {"id": self.id, "outcome": self.outcome, "statement": self.statement}
        return {**head, "rule": RULE, "parts": [p.record() for p in self.parts]} | dict(
            self.facts
        )

    def summary(self) -> dict[str, Any]:
        """The record without each unit's numbers: what a notebook keeps."""
        sides = ("larger", "smaller")
        short = [
            {key: value for key, value in part.record().items() if key not in sides}
            for part in self.parts
        ]
        return self.record() | {"parts": short}

    def __repr__(self) -> str:
        return "\n".join(
            [f"{self.id} {self.outcome}", *(f"  {line(part)}" for part in self.parts)]
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return {"text/html": page(self), "text/plain": repr(self), MIME: self.summary()}


def claim_of(record: Mapping[str, Any]) -> Claim:
    """The claim that a record holds. Raises KeyError or ValueError for other things."""
    parts: list[Part] = []
    for part in record["parts"]:
        if "bound" in part:
            parts.append(Identity(part["name"], part["error"], part["bound"]))
        else:
            fields = ("name", "larger", "smaller", "matters", "unit", "equal", "groups")
            parts.append(Difference(**{field: part[field] for field in fields}))
    known = {"id", "outcome", "statement", "rule", "parts"}
    facts = {key: value for key, value in record.items() if key not in known}
    return Claim(record["id"], record["statement"], parts, facts)


# ---------- how it is shown ----------


def line(part: Part) -> str:
    """A part in one line of text."""
    if isinstance(part, Identity):
        return f"{part.name}: error {part.error:.1e}, within {part.bound:.0e}"
    low, high = part.interval
    return (
        f"{part.name}: {part.middle:.3g} [{low:.3g}, {high:.3g}], "
        f"{'within' if part.equal else 'at least'} {part.matters:.3g}: {part.outcome}"
    )


def typeset(text: str) -> str:
    """Text as HTML, with x_t, x_{t−1} and the like as symbols with an index."""
    return SYMBOL.sub(
        lambda found: f"<i>{found[1]}</i><sub>{found[2].strip('{}')}</sub>",
        html.escape(text, quote=False),
    )


def sides(part: Part) -> tuple[str, str, str, str, str]:
    """The cells of a part's row: both sides, difference, interval, what matters."""
    if isinstance(part, Identity):
        return "", "", f"error {part.error:.1e}", "", f"≤ {part.bound:.0e}"
    (low, high), n = part.interval, len(part.values)
    return (
        f"{math.fsum(part.larger) / n:.3g}",
        f"{math.fsum(part.smaller) / n:.3g}",
        f"{part.middle:.3g}",
        f"{low:.3g} to {high:.3g}",
        f"within ±{part.matters:.3g}" if part.equal else f"{part.matters:.3g}",
    )


def sample_size(parts: Sequence[Part]) -> str:
    """`5 training seeds`, `1,000 prompts with 2 seeds`, or that it is proved."""
    measured = [part for part in parts if isinstance(part, Difference)]
    if not measured:
        return "a theorem or a definition, checked by number"
    n, unit, groups = max((len(p.values), p.unit, p.groups) for p in measured)
    of = f" with {groups} seeds" if groups > 1 else ""
    return f"{n:,} {unit}s{of}"


def page(claim: Claim) -> str:
    """The claim as HTML: verdict, statement, a row a part, and how it was measured."""
    head = "".join(
        f"<th>{name}</th>"
        for name in ("comparison", "larger", "smaller", "difference", "95 % interval")
    )
    head += "<th>what would matter</th><th>outcome</th>"
    rows = "".join(
        f"<tr><td>{typeset(part.name)}</td>"
        + "".join(f"<td>{cell}</td>" for cell in sides(part))
        + f"<td>{part.outcome}</td></tr>"
        for part in claim.parts
    )
    return (
        f'<div class="claim-result"><p><strong>{claim.id} {claim.outcome}.</strong> '
        f"{typeset(claim.statement)}</p>"
        f'<table class="claim"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
        f"</table><p>{how_measured(claim)}</p></div>"
    )


def how_measured(claim: Claim) -> str:
    """How a claim was measured, in a line of HTML."""
    facts = claim.facts
    said = [sample_size(claim.parts)]
    said += [f"{facts['size']} size"] if "size" in facts else []
    said += [f"measured {facts['date']}"] if "date" in facts else []
    said += [f"{facts['minutes']:g} core-minutes"] if "minutes" in facts else []
    again = f"; again: <code>{facts['command']}</code>" if "command" in facts else ""
    return ", ".join(said) + again + "."
