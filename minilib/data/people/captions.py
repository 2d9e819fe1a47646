"""Captions of people: a grammar that says only what can be seen, and its inverse, which
finds what it claims.

`claims` are attributes with their values, as in `Person`: `tell` makes a caption of
them, and `read` finds them again.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from minilib.data.meaning import listed, require_meant
from minilib.data.people.attributes import (
    VALUES,
    Person,
    hidden_in,
    seen,
)

HAIR = {
    "short": "short {} hair",
    "long": "long {} hair",
    "bob": "a {} bob",
    "afro": "a {} afro",
    "bun": "{} hair in a bun",
    "pigtails": "{} pigtails",
    "ponytail": "a {} ponytail",
    "flat top": "a {} flat top",
    "mohawk": "a {} mohawk",
    "side-swept": "side-swept {} hair",
    "balding": "thinning {} hair",
    "bald": "a bald head",
}
THINGS = {
    "glasses": "glasses",
    "sunglasses": "sunglasses",
    "eyepatch": "an eyepatch",
    "moustache": "a moustache",
    "beard": "a beard",
    "goatee": "a goatee",
    "closed": "closed eyes",
    "winking": "one eye winking",
    "pacifier": "a pacifier",
}
# what captions leave unsaid; other attributes, and moods that are no thing, are said by
# the word itself
UNSAID = ("none", "open")
# attributes that one phrase tells
GROUPS = (
    ("skin",),
    ("hair", "hair_colour"),
    ("eyewear",),
    ("facial_hair",),
    ("eyes",),
    ("mood",),
    ("hat", "hat_colour"),
    ("clothing", "clothing_colour"),
    ("background",),
)
# how likely a varied caption keeps a phrase, and tells only one of its two attributes
KEPT, HALVED = 0.85, 0.1
SIGNS = r"[a-zA-Z\s,.;:!?'’-]"  # of words, and between them
FILLERS = frozenset(["a", "an", "and", "in", "on", "person", "wearing", "with"])


def claims(person: Person, style: str = "personas", size: int = 64) -> dict[str, str]:
    """All that a caption may say of a picture of that person: attribute to value.

    That is what is `seen`, but for what is not there, and for open eyes. Raises
    ValueError for an unknown style or size.
    """
    shown = seen(person, style, size).items()
    return {name: value for name, value in shown if value not in UNSAID}


def caption(
    person: Person,
    style: str = "personas",
    size: int = 64,
    rng: np.random.Generator | None = None,
    must: frozenset[str] = frozenset(),
) -> str:
    """A caption of all that may be said; with `rng` of some of it, in varied order and
    wording, but always of the attributes in `must`.

    Raises ValueError for an unknown style or size.
    """
    told = claims(person, style, size)
    return tell(told) if rng is None else tell(some(told, rng, must), rng)


def captions(
    people: list[Person], seed: int, style: str = "personas", size: int = 64
) -> list[str]:
    """A varied caption for each person; one with a hidden pair is told by it. Raises
    ValueError for an unknown style or size.
    """
    rng = np.random.default_rng([seed, 11])
    return [
        caption(person, style, size, rng, frozenset(hidden_in(person, style)))
        for person in people
    ]


def some(
    told: dict[str, str], rng: np.random.Generator, must: frozenset[str]
) -> dict[str, str]:
    """Some of the claims, with all of those whose attributes are in `must`."""
    kept = set(must)
    for group in GROUPS:
        names = [name for name in group if name in told]
        if rng.random() < KEPT:
            half = len(names) == 2 and rng.random() < HALVED
            kept |= {names[rng.integers(2)]} if half else set(names)
    return {name: value for name, value in told.items() if name in kept}


def tell(told: dict[str, str], rng: np.random.Generator | None = None) -> str:
    """A caption that claims just that, attribute to value: "a smiling person with light
    skin and a red bob, wearing a black cap, blue background".

    With `rng`, order and wording vary. Raises ValueError where there are no words for
    an attribute or a value.
    """
    require_told(told)
    details, wearing = [], []
    for names in GROUPS[:6]:
        if any(name in told for name in names) and not is_adjective(names[0], told):
            details.append(phrase(names, told))
    for names in GROUPS[6:8]:
        if any(name in told for name in names):
            wearing.append(phrase(names, told))
    if rng is not None:
        rng.shuffle(details)
        rng.shuffle(wearing)
    groups = [f"with {listed(details)}"] if details else []
    if wearing:
        groups.append(f"{pick(('wearing', 'in'), rng)} {listed(wearing)}")
    if rng is not None and rng.random() < 0.3:
        groups.reverse()
    mood = told["mood"] if is_adjective("mood", told) else ""
    text = " ".join(f"a {mood} person {', '.join(groups)}".split())
    if "background" in told:
        place = f"{told['background']} background"
        text += pick((", {}", ", on a {}", " on a {}"), rng).format(place)
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def require_told(told: dict[str, str]) -> None:
    """Raise ValueError unless each of these claims can be said in words."""
    for name, value in told.items():
        if value not in VALUES.get(name, ()) or value in UNSAID:
            raise ValueError(f"a caption can't say that {name!r} is {value!r}")
    if told.get("hair") == "bald" and "hair_colour" in told:
        raise ValueError("a caption can't tell the hair's colour of a bald head")


def is_adjective(name: str, told: dict[str, str]) -> bool:
    """Whether that is a mood which stands before "person"."""
    return name == "mood" and told.get("mood") not in (None, "pacifier")


def phrase(names: tuple[str, ...], told: dict[str, str]) -> str:
    """The words for one of GROUPS, for one or both of its attributes."""
    kind, colour = told.get(names[0], ""), told.get(names[-1], "")
    if names[0] == "hair":
        text = HAIR.get(kind, "{} hair").format(colour)
    elif names[0] == "hat":
        text = f"a {colour} {kind or 'hat'}"
    elif names[0] == "clothing":
        text = f"a {colour} {kind}" if kind else f"{colour} clothes"
    elif names[0] in ("skin", "background"):
        text = f"{kind} {names[0]}"
    else:
        text = THINGS.get(kind, kind)
    return " ".join(text.split())


def pick(options: tuple[str, ...], rng: np.random.Generator | None) -> str:
    """One of the options; without `rng` the first."""
    return options[0 if rng is None else rng.integers(len(options))]


@cache
def phrases() -> dict[str, dict[str, str]]:
    """Every phrase of a caption, without its article, and what it claims."""
    found = {}
    for names in GROUPS:
        said = [[v for v in VALUES[name] if v not in UNSAID] for name in names]
        whole = [{names[0]: v} for v in said[0]]
        if len(names) == 2:
            whole += [{names[1]: c} for c in said[1]]
            whole += [{names[0]: v, names[1]: c} for v in said[0] for c in said[1]]
        for told in whole:
            if told.get("hair") != "bald" or "hair_colour" not in told:
                found[plain(phrase(names, told))] = told
    return found


def plain(text: str) -> str:
    """A text in lower-case words, without signs and leading article."""
    return re.sub(r"^an? ", "", " ".join(re.findall("[a-z]+", text.lower())))


@cache
def phrase_pattern() -> re.Pattern[str]:
    """Finds phrases, of several that begin alike the longest."""
    return re.compile(rf"\b({'|'.join(sorted(phrases(), key=len, reverse=True))})\b")


def read(text: str) -> dict[str, str]:
    """What a caption claims: attribute to value, as in `Person`.

    Raises ValueError for signs and words that say nothing about people, where an
    attribute gets two values, and for hair that a hat or a bald head doesn't show.
    """
    require_words(text)
    found: dict[str, str] = {}
    words = plain(text)
    for match in phrase_pattern().finditer(words):
        for name, value in phrases()[match[0]].items():
            if found.setdefault(name, value) != value:
                raise ValueError(
                    f"{text!r} says two things of one person: {found[name]} and {value}"
                )
    rest = [w for w in phrase_pattern().sub(" ", words).split() if w not in FILLERS]
    require_meant(text, rest, phrases(), "a person")
    require_possible(text, found)
    return {name: found[name] for name in VALUES if name in found}


def require_words(text: str) -> None:
    """Raise ValueError that names all signs of a text that are of no words, and where
    it has no word at all.
    """
    strange = [repr(sign) for sign in dict.fromkeys(re.sub(SIGNS, "", text))]
    if strange or (text.strip() and not re.search("[a-zA-Z]", text)):
        nothing = f"{listed(strange or [repr(text)])} tell{'s' * (len(strange) < 2)}"
        raise ValueError(f"{text!r}: {nothing} nothing of a person")


def require_possible(text: str, found: dict[str, str]) -> None:
    """Raise ValueError unless a picture can show all that was found in a text."""
    if found.get("hair") == "bald" and "hair_colour" in found:
        raise ValueError(f"{text!r}: a bald head has no {found['hair_colour']} hair")
    if ("hat" in found or "hat_colour" in found) and (
        "hair" in found or "hair_colour" in found
    ):
        raise ValueError(f"{text!r}: a hat hides the hair, so say one of the two")


def words() -> list[str]:
    """Every word and sign that a caption of people may hold, sorted."""
    of_phrases = {word for text in phrases() for word in text.split()}
    return sorted({*of_phrases, *FILLERS, ",", "-"})
