"""Yes/no questions about people, one for each claim of a caption; and pictures to ask
them of, such that neither question nor picture alone tells the answer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from minilib.data.people.attributes import values
from minilib.data.people.captions import (
    GROUPS,
    UNSAID,
    is_adjective,
    phrase,
    require_told,
)

TRIES = 500  # to deal the questions that are answered with "no"


class Asked(NamedTuple):
    """A question of an attribute's value, and whether the answer is yes."""

    name: str
    value: str
    yes: bool


def question(name: str, value: str) -> str:
    """Whether a picture shows that value: "is the hat red?". Raises ValueError where
    captions have no words for it.
    """
    told = {name: value}
    require_told(told)
    names = next(group for group in GROUPS if name in group)
    if name in ("skin", "background"):
        return f"is the {name} {value}?"
    if name == "clothing_colour":
        return f"are the clothes {value}?"
    if name in ("hair_colour", "hat_colour"):
        return f"is the {names[0]} {value}?"
    if is_adjective(name, told):
        return f"is this person {value}?"
    verb = "wear" if name in ("hat", "clothing") else "have"
    thing = re.sub(r"\ba (?=[aeiou])", "an ", phrase(names, told))
    return f"does this person {verb} {thing}?"


def questions(style: str = "personas", size: int = 64) -> dict[tuple[str, str], str]:
    """Every question about pictures of that style and size, by attribute and value.
    Raises ValueError for an unknown style or size.
    """
    return {
        (name, value): question(name, value)
        for name, shown in values(style, size).items()
        for value in shown
        if value not in UNSAID
    }


def asked(
    shown: Sequence[Mapping[str, str]], rounds: int, seed: int
) -> list[list[Asked]]:
    """For each picture, of which the attributes that it has `shown` are given, as many
    questions with the answer yes as with no: one of each a round.

    Each question is asked as often where the answer is yes as where it is no, about
    equally often all. "No" is also the answer where a picture doesn't show the
    attribute at all. Raises ValueError for pictures that are too few or too alike.
    """
    rng = np.random.default_rng([seed, 19])
    found: list[list[Asked]] = [[] for _ in shown]
    for _ in range(rounds):
        true = chosen(shown, rng)
        for i, j in enumerate(dealt(true, shown, rng)):
            found[i].append(Asked(*true[i], True))
            found[j].append(Asked(*true[i], False))
    return found


def chosen(
    shown: Sequence[Mapping[str, str]], rng: np.random.Generator
) -> list[tuple[str, str]]:
    """Of each picture a claim that is true of it; what few pictures show is chosen more
    often of these.
    """
    true = [[told for told in one.items() if told[1] not in UNSAID] for one in shown]
    count = Counter(told for one in true for told in one)
    picks = []
    for one in true:
        if not one:
            raise ValueError(
                "expected pictures that show something, got one of nothing"
            )
        p = np.array([1 / count[told] for told in one])
        picks.append(one[rng.choice(len(one), p=p / p.sum())])
    return picks


def dealt(
    true: list[tuple[str, str]],
    shown: Sequence[Mapping[str, str]],
    rng: np.random.Generator,
) -> list[int]:
    """For each of as many claims as pictures another picture, of which it is not true:
    an order of the pictures, in which clashes are exchanged until none is left.
    """
    order = rng.permutation(len(true))
    for _ in range(TRIES):
        clashes = [
            k for k, (name, value) in enumerate(true)
            if shown[order[k]].get(name) == value
        ]  # fmt: skip
        if not clashes:
            return order.tolist()
        for k, other in zip(
            clashes, rng.integers(len(true), size=len(clashes)).tolist(), strict=True
        ):
            order[[k, other]] = order[[other, k]]
    raise ValueError(
        f"found no way to ask {len(true)} pictures what they don't show: take more, or "
        "more different ones"
    )
