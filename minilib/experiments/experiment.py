"""An experiment: a claim, what would decide it, and the function that measures it.

The function measures one seed, so that a killed measurement goes on where it was, and a
chapter can run the same code small beside the record of the full one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from minilib.claims import (
    MIME,
    PICTURE,
    PROMPT,
    SEED,
    Claim,
    Difference,
    Identity,
    Part,
    page,
    typeset,
)
from minilib.experiments import evidence

T = TypeVar("T")
Side = float | Sequence[float]
Measured = Mapping[str, Any]  # by name: (larger, smaller), or the error of an identity


class Size(Enum):
    """How much is spent: `live` in a chapter, `quick` in minutes, `full` in hours."""

    LIVE, QUICK, FULL = "live", "quick", "full"

    def pick(self, *, live: T, quick: T, full: T) -> T:
        """The value for this size."""
        return {Size.LIVE: live, Size.QUICK: quick, Size.FULL: full}[self]


@dataclass(frozen=True)
class Compare:
    """What an experiment compares, stated before measuring: `larger` − `smaller`, and
    the smallest difference that would matter; with `equal` it says that both sides are
    the same within ±`matters`.
    """

    name: str
    matters: float
    equal: bool = False


@dataclass(frozen=True)
class Bound:
    """What an experiment checks: an identity, whose error stays within `bound`."""

    name: str
    bound: float


@dataclass(frozen=True)
class Experiment:
    """A claim and how it is measured: `measure(seed, size)` gives, by the name of each
    part, (larger, smaller) of a `Compare` or the error of a `Bound`.

    Where the unit is a training seed a side is a number; where it is a prompt or a
    picture, a list of numbers, one for each. Called with seeds and a size it is the
    claim itself.
    """

    id: str
    statement: str
    measure: Callable[[int, Size], Measured]
    parts: tuple[Compare | Bound, ...]
    unit: str = SEED
    seeds: int = 5

    def __call__(self, seeds: Sequence[int], size: Size) -> Claim:
        found = [self.measure(seed, size) for seed in seeds]
        return self.claim(found, {"size": size.value, "seeds": list(seeds)})

    def claim(self, found: Sequence[Measured], facts: Mapping[str, Any]) -> Claim:
        """The claim, from what was measured with each seed. Raises ValueError where a
        measurement lacks a part or has one too many.
        """
        for measured in found:
            self.require_parts(measured)
        parts = [self.part(part, [m[part.name] for m in found]) for part in self.parts]
        return Claim(self.id, self.statement, parts, facts)

    def part(self, part: Compare | Bound, found: list[Any]) -> Part:
        """One part, from what was measured of it with each seed."""
        if isinstance(part, Bound):
            return Identity(part.name, max(found), part.bound)
        larger, smaller = ([side[i] for side in found] for i in (0, 1))
        groups = 1
        if self.unit in (PROMPT, PICTURE):
            groups = len(found)
            larger = [value for side in larger for value in side]
            smaller = [value for side in smaller for value in side]
        return Difference(
            part.name, larger, smaller, part.matters, self.unit, part.equal, groups
        )

    def require_parts(self, measured: Measured) -> None:
        names = {part.name for part in self.parts}
        if set(measured) != names:
            raise ValueError(
                f"{self.id}: expected the parts {sorted(names)}, got {sorted(measured)}"
            )

    def verdict(self) -> Claim:
        """The claim as it was measured and shipped. Raises ValueError where no record
        is there, and what `evidence.read` raises.
        """
        return evidence.read(self.id)

    def live(self, seed: int = 0) -> Beside:
        """Measured now, small and with one seed, beside the record."""
        return self.beside(self.measure(seed, Size.LIVE))

    def beside(self, measured: Measured) -> Beside:
        """Numbers of a chapter's own run beside the record."""
        self.require_parts(measured)
        return Beside(self.verdict(), measured)


@dataclass(frozen=True)
class Beside:
    """A recorded claim, and the numbers of one small run beside it.

    `beside[name]` is the number of the run: a difference, or an identity's error.
    """

    claim: Claim
    measured: Measured

    def __getitem__(self, name: str) -> float:
        found = self.measured[name]
        if not isinstance(found, tuple):
            return float(found)
        return mean(found[0]) - mean(found[1])

    def rows(self) -> str:
        """A row a part: this run's sides and difference, and the recorded interval."""
        rows = []
        for part in self.claim.parts:
            if isinstance(part, Identity):
                sides, recorded = ("", ""), f"≤ {part.bound:.0e}"
            else:
                larger, smaller = self.measured[part.name]
                sides = (f"{mean(larger):.3g}", f"{mean(smaller):.3g}")
                recorded = "{:.3g} to {:.3g}".format(*part.interval)
            cells = [typeset(part.name), *sides, f"{self[part.name]:.3g}", recorded]
            rows.append("".join(f"<td>{cell}</td>" for cell in cells))
        return "".join(f"<tr>{row}</tr>" for row in rows)

    def __repr__(self) -> str:
        lines = [f"  this run, {p.name}: {self[p.name]:.3g}" for p in self.claim.parts]
        return "\n".join([repr(self.claim), *lines])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        names = ("this run: one seed, small", "larger", "smaller", "difference")
        head = "".join(f"<th>{name}</th>" for name in (*names, "recorded interval"))
        table = f'<table class="claim"><thead><tr>{head}</tr></thead>'
        live = f"{table}<tbody>{self.rows()}</tbody></table>"
        return {
            "text/html": f'{page(self.claim)}<div class="claim-result">{live}</div>',
            "text/plain": repr(self),
            MIME: self.claim.summary(),
        }


def mean(side: Side) -> float:
    return sum(side) / len(side) if isinstance(side, Sequence) else float(side)
