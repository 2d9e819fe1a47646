"""Captions of people as the web makes them: most of what is seen is left out, some of
what is said is wrong, and some words are about something else.

The recipe, with its shares, is that of `web_caption`. What it imitates is told by
Betker et al. (2023, section 2): captions of the web name the subject and leave out the
rest, are often wrong, and may be advertisements.
"""

from __future__ import annotations

import numpy as np

from minilib.data.people.attributes import Person, values
from minilib.data.people.captions import (
    GROUPS,
    UNSAID,
    claims,
    phrase,
    pick,
    plain,
    tell,
)

# shares: of captions that are about something else altogether; of the others those that
# are keywords in place of a sentence, and those that end in an advertisement
ELSEWHERE, KEYWORDS, ADVERTISED = 0.1, 0.3, 0.3
TOLD = 0.4  # of the phrases of a full caption
WRONG = 0.15  # of the attributes that are told
TAGS = ("avatar", "clipart", "vector", "cartoon", "profile picture", "illustration")
SIGNS = (", ", " | ", " / ")
ADVERTS = (
    "best price", "buy now", "click to enlarge", "copyright reserved", "download free",
    "follow us", "free shipping", "happy monday", "limited offer", "meet our team",
    "new arrivals", "no description", "read more", "sign up today", "stock photo",
    "untitled", "welcome back", "photo by anonymous",
)  # fmt: skip


def web_captions(
    people: list[Person], seed: int, style: str = "personas", size: int = 64
) -> list[str]:
    """A caption for each person as by `web_caption`; of more people the first ones stay
    the same. Raises ValueError for an unknown style or size.
    """
    rng = np.random.default_rng([seed, 13])
    return [web_caption(person, rng, style, size) for person in people]


def web_caption(
    person: Person, rng: np.random.Generator, style: str = "personas", size: int = 64
) -> str:
    """What the web says of a picture of that person.

    One in ten captions is an advertisement, and says nothing of the picture. The others
    tell each of `GROUPS` with a chance of 40 %, and of the attributes in these 15 %
    have another value than the picture shows. Three in ten are keywords with one or two
    tags, the rest a sentence; three in ten end in an advertisement. Raises ValueError
    for an unknown style or size.
    """
    if rng.random() < ELSEWHERE:
        return advert(rng)
    told = few(claims(person, style, size), rng)
    told = mistaken(told, rng, values(style, size))
    text = keywords(told, rng) if rng.random() < KEYWORDS else tell(told, rng)
    if rng.random() < ADVERTISED:
        text += pick((". ", " | "), rng) + advert(rng)
    return text


def advert(rng: np.random.Generator) -> str:
    """A few words about no picture, or a file's name: "IMG_4021.jpg"."""
    name = f"IMG_{rng.integers(1000, 10_000)}.jpg"
    return pick((*ADVERTS, name, name), rng)


def few(told: dict[str, str], rng: np.random.Generator) -> dict[str, str]:
    """Those of the claims that belong to the phrases which are told."""
    kept = {name for group in GROUPS if rng.random() < TOLD for name in group}
    return {name: value for name, value in told.items() if name in kept}


def mistaken(
    told: dict[str, str],
    rng: np.random.Generator,
    shown: dict[str, tuple[str, ...]],
) -> dict[str, str]:
    """The claims, some with another of the values that are `shown` of their attribute.

    Of somebody who is called bald no colour of hair is told.
    """
    found = {}
    for name, value in told.items():
        others = [v for v in shown[name] if v not in (*UNSAID, value)]
        wrong = others and rng.random() < WRONG
        found[name] = pick(tuple(others), rng) if wrong else value
    if found.get("hair") == "bald":
        found.pop("hair_colour", None)
    return found


def keywords(told: dict[str, str], rng: np.random.Generator) -> str:
    """The claims as a list of keywords in random order, with one or two tags: "vector |
    red hat | glasses".
    """
    found = [
        plain(phrase(names, told))
        for names in GROUPS
        if any(name in told for name in names)
    ]
    found += rng.choice(TAGS, rng.integers(1, 3), replace=False).tolist()
    rng.shuffle(found)
    return pick(SIGNS, rng).join(found)
