"""Captions of portraits: a grammar that says only what can be seen, and its inverse,
which finds what it claims.
"""

from __future__ import annotations

import re

import numpy as np

from minilib.data.meaning import require_meant
from minilib.data.portraits.drawing import VALUES, Portrait, seen

STYLES = ("long", "short", "sloppy")
OPENINGS = (
    "a {} person",
    "a {} face",
    "portrait of a {} person",
    "a portrait of a {} person",
    "pixel art of a {} person",
)
SAID = {  # other words for a value, besides its own
    "happy": ("happy", "smiling"),
    "sad": ("sad", "frowning"),
    "sunglasses": ("sunglasses", "shades"),
    "a beard": ("a beard",),
}
FILLERS = frozenset(
    [
        "a",
        "an",
        "and",
        "art",
        "bg",
        "face",
        "in",
        "of",
        "on",
        "person",
        "pixel",
        "portrait",
        "the",
        "wearing",
        "with",
    ]
)
# words that have a token and that no caption holds, and what to say in their place
UNHEARD = {"an": "a", "the": "a"}
# what follows stands to the right, or to the left
SIDES = {" left of ": 1, " right of ": -1}
CLAIMS = {  # what names an attribute, and the groups that hold its value
    "mood": r"\b(happy|smiling|sad|frowning)\b",
    "hair": rf"(?:\b(long|short) )?(?:\b({'|'.join(VALUES['hair'])}) )?\bhair\b",
    "glasses": r"\b(no glasses|glasses|sunglasses|shades)\b",
    "beard": r"\b(no beard|beard)\b",
    "hat": rf"\b(no|{'|'.join(VALUES['hat'][1:])}) hat\b",
    "top": rf"\b({'|'.join(VALUES['top'])}) (?:top|shirt)\b",
    "background": rf"\b({'|'.join(VALUES['background'])}) (?:background|bg)\b",
    "skin": rf"\b({'|'.join(VALUES['skin'])}) skin\b",
}
MEANING = {
    "smiling": "happy",
    "frowning": "sad",
    "shades": "sunglasses",
    "beard": "a beard",
}


def captions(people: list[Portrait], seed: int, style: str | None = None) -> list[str]:
    """A caption for each person: long, short or sloppy; without `style`, half are long
    and a quarter each other.

    A long one names all that is seen, and some of what is not there; the others name a
    part of it. Raises ValueError for an unknown style.
    """
    if style not in (None, *STYLES):
        raise ValueError(f"unknown style {style!r}: use {', '.join(map(repr, STYLES))}")
    rng = np.random.default_rng([seed, 7])
    styles = (
        [style] * len(people)
        if style
        else rng.choice(STYLES, len(people), p=(0.5, 0.25, 0.25)).tolist()
    )
    return [
        caption(shown, how, rng)
        for shown, how in zip(seen(people), styles, strict=True)
    ]


def caption(shown: dict[str, str], style: str, rng: np.random.Generator) -> str:
    """One caption for what is seen of a person."""
    told = {
        name: value
        for name, value in shown.items()
        if not value.startswith("no ") or rng.random() < 0.3
    }
    if style != "long":
        names = rng.permutation(list(told))[: rng.integers(1, 4)].tolist()
        told = {name: told[name] for name in names}
    return sloppy(told, rng) if style == "sloppy" else sentence(told, rng)


def sentence(told: dict[str, str], rng: np.random.Generator) -> str:
    """ "a happy person with long green hair, glasses and a red hat, wearing a blue top,
    on a pink background".
    """
    mood = word(told["mood"], rng) if "mood" in told else ""
    text = pick(OPENINGS, rng).format(mood).replace("  ", " ")
    things = [
        told_of(name, told, rng)
        for name in ("hair", "glasses", "beard", "hat", "skin")
        if name in told
    ]
    if "length" in told and "hair" not in told:
        things.append(f"{told['length']} hair")
    things = rng.permutation(things).tolist()
    if things:
        text += (
            " with "
            + (", ".join(things[:-1]) + " and " if len(things) > 1 else "")
            + things[-1]
        )
    if "top" in told:
        text += (
            f"{pick((',', ''), rng)} {pick(('wearing', 'in'), rng)} a {told['top']} "
            f"{pick(('top', 'shirt'), rng)}"
        )
    if "background" in told:
        text += (
            f"{pick((',', ''), rng)} {pick(('on', 'with'), rng)} a "
            f"{told['background']} background"
        )
    return text


def sloppy(told: dict[str, str], rng: np.random.Generator) -> str:
    """ "red hat, smiling, green hair, pink bg": words without grammar, in any order."""
    words = [word(told["mood"], rng)] if "mood" in told else []
    words += [
        told_of(name, told, rng)
        for name in ("hair", "glasses", "beard", "hat", "skin")
        if name in told
    ]
    words += (
        [f"{told['length']} hair"] if "length" in told and "hair" not in told else []
    )
    words += [f"{told['top']} {pick(('top', 'shirt'), rng)}"] if "top" in told else []
    words += (
        [f"{told['background']} {pick(('bg', 'background'), rng)}"]
        if "background" in told
        else []
    )
    return ", ".join(rng.permutation([w.removeprefix("a ") for w in words]).tolist())


def told_of(name: str, told: dict[str, str], rng: np.random.Generator) -> str:
    """The words for one attribute."""
    value = told[name]
    if name == "hair":
        return f"{told['length']} {value} hair" if "length" in told else f"{value} hair"
    if name == "hat":
        return value if value == "no hat" else f"a {value} hat"
    return f"{value} skin" if name == "skin" else word(value, rng)


def word(value: str, rng: np.random.Generator) -> str:
    """The value in one of its words."""
    return pick(SAID.get(value, (value,)), rng)


def pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    """One of the options."""
    return options[rng.integers(len(options))]


def pair_captions(pairs: list[tuple[Portrait, Portrait]], seed: int) -> list[str]:
    """For two people side by side: each told by the same two attributes, one of which
    differs if any does.

    "a person with green hair and a red hat left of a person with pink hair and a blue
    hat", or the other way round.
    """
    rng, texts = np.random.default_rng([seed, 8]), []
    shown = zip(seen([a for a, _ in pairs]), seen([b for _, b in pairs]), strict=True)
    for a, b in shown:
        both = [name for name in VALUES if name in a and name in b and name != "length"]
        differ = [name for name in both if a[name] != b[name]]
        first = differ[rng.integers(len(differ))] if differ else both[0]
        others = [name for name in both if name != first]
        names = [first, others[rng.integers(len(others))]]
        left, right = (
            sentence({name: who[name] for name in names}, rng) for who in (a, b)
        )
        texts.append(
            f"{left} left of {right}"
            if rng.random() < 0.5
            else f"{right} right of {left}"
        )
    return texts


def read(text: str) -> list[dict[str, str]]:
    """What a caption claims of each person in it, from left to right: attribute to
    value, as in `Portrait`.

    Raises ValueError for words that say nothing about portraits, and where a person
    gets two values of an attribute.
    """
    plain = " ".join(re.sub(r"[^a-z]+", " ", text.lower()).split())
    for side, order in SIDES.items():
        if side in plain:
            return [claims(part, text) for part in plain.split(side)[::order]]
    return [claims(plain, text)]


def claims(plain: str, text: str) -> dict[str, str]:
    """What words without commas claim of one person; `text` is the caption that they
    are from.
    """
    found: dict[str, str] = {}
    left = plain
    for name, pattern in CLAIMS.items():
        for match in re.finditer(pattern, plain):
            told = (
                dict(zip(("length", "hair"), match.groups(), strict=True))
                if name == "hair"
                else {name: match[1]}
            )
            for attribute, value in told.items():
                value = (
                    "no hat"
                    if (attribute, value) == ("hat", "no")
                    else MEANING.get(value, value)
                )
                if value and found.setdefault(attribute, value) != value:
                    raise ValueError(
                        f"{text!r} says two things of one person: "
                        f"{found[attribute]} and {value}"
                    )
        left = re.sub(pattern, " ", left)
    unknown = [w for w in left.split() if w not in FILLERS]
    require_read(text, unknown)
    return found


def require_read(text: str, unknown: list[str]) -> None:
    """Raise ValueError where words of one person are left that claim nothing; where the
    text holds words that none of its captions can, it names all those.
    """
    if unknown:
        strange = [w for w in re.findall("[a-z]+", text.lower()) if w not in words()]
        require_meant(text, strange or unknown, words(), "a portrait")


def words() -> list[str]:
    """Every word and sign that a caption of portraits may hold, sorted."""
    values = " ".join(" ".join(options) for options in VALUES.values())
    more = "left right of hair hat top shirt skin background smiling frowning shades"
    return sorted({*values.split(), *more.split(), *FILLERS, ","})
