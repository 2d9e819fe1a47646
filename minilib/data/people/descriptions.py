"""True descriptions of people, short and long; and prompts as people type them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minilib.data.people.attributes import Person
from minilib.data.people.captions import GROUPS, claims, phrase, pick, plain, tell

# the main subject: hair, or the hat that hides it, and clothes
SUBJECT = ("hair", "hair_colour", "hat", "hat_colour", "clothing", "clothing_colour")
MOST_TYPED = 3  # phrases of a prompt
STARTS = ("", "", "", "portrait, ", "person with ", "someone with ", "pls draw ")
BETWEEN = (", ", " and ", " + ", " ")


def described(
    people: list[Person],
    seed: int,
    by: Callable[[dict[str, str], np.random.Generator], str],
    style: str = "personas",
    size: int = 64,
) -> list[str]:
    """For each person a text `by` (claims, rng), such as `short`, `long` and `typed`;
    of more people the first ones stay the same. Raises ValueError for an unknown style
    or size.
    """
    rng = np.random.default_rng([seed, 17])
    return [by(claims(person, style, size), rng) for person in people]


def short(told: dict[str, str], rng: np.random.Generator) -> str:
    """A description of the main subject alone, in varied words: hair or hat, and
    clothes.
    """
    return tell({name: told[name] for name in told if name in SUBJECT}, rng)


def long(told: dict[str, str], rng: np.random.Generator) -> str:
    """A description of all that may be said, in varied order and words."""
    return tell(told, rng)


def typed(told: dict[str, str], rng: np.random.Generator) -> str:
    """A prompt as people type it: one to three things, without articles, in no
    sentence, such as "red cap + glasses". All of it is true.
    """
    groups = [names for names in GROUPS if any(name in told for name in names)]
    count = min(len(groups), rng.integers(1, MOST_TYPED + 1))
    chosen = [groups[i] for i in rng.permutation(len(groups))[:count]]
    words = [plain(phrase(names, told)) for names in chosen]
    return pick(STARTS, rng) + pick(BETWEEN, rng).join(words)
