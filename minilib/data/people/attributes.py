"""Who a drawn person is, attribute by attribute; what of it a picture shows; and who is
kept from training.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from minilib.data.shipped import read_shipped

STYLES = ("personas", "open-peeps", "micah", "croodles")
SPLITS = ("train", "test", "held_out")
SIZES = (64, 32)
FILE = (  # which values a style has, and which parts draw them
    "people/styles.json",
    "2e66eb2c2d197b4f0c32522e30285bc191802e176e53a6658c337a34f7e19184",
)
CHANCES: dict[str, dict[str, float]] = {  # of an attribute's values, up to a factor
    "skin": {"light": 1, "tan": 1, "brown": 1, "dark": 1},
    "hair": {
        "short": 4, "long": 4, "bob": 3, "afro": 3, "bun": 2, "pigtails": 2,
        "ponytail": 2, "flat top": 2, "mohawk": 2, "side-swept": 2, "balding": 1.5,
        "bald": 1.5,
    },
    "hair_colour": {
        "black": 1, "brown": 1, "blond": 1, "red": 1, "white": 1, "pink": 1, "blue": 1,
        "green": 1,
    },
    "hat": {
        "none": 16, "cap": 2, "beanie": 2, "brimmed hat": 2, "turban": 1,
        "headscarf": 1, "beret": 1, "graduation cap": 1,
    },
    "hat_colour": {
        "red": 1, "yellow": 1, "green": 1, "blue": 1, "purple": 1, "black": 1,
    },
    "eyewear": {"none": 11, "glasses": 5, "sunglasses": 4, "eyepatch": 0.7},
    "eyes": {"open": 7, "closed": 2, "winking": 1},
    "mood": {
        "smiling": 6, "grinning": 5, "frowning": 5, "surprised": 3, "pouting": 2,
        "angry": 2, "pacifier": 1,
    },
    "facial_hair": {"none": 13, "moustache": 3, "beard": 2, "goatee": 2},
    "clothing": {
        "t-shirt": 6, "checked shirt": 3, "wrap top": 2, "collared shirt": 3,
        "high-necked top": 2,
    },
    "clothing_colour": {
        "red": 1, "yellow": 1, "green": 1, "blue": 1, "purple": 1, "pink": 1,
        "black": 1, "white": 1,
    },
    "background": {
        "blue": 1, "purple": 1, "pink": 1, "yellow": 1, "green": 1, "grey": 1,
    },
}  # fmt: skip
VALUES = {name: tuple(chances) for name, chances in CHANCES.items()}
# what takes the place of a value that a style lacks; elsewhere "none"
PLAIN = {"hair": "short", "mood": "smiling", "eyes": "open", "clothing": "t-shirt"}
HIDDEN: tuple[dict[str, str], ...] = (  # pairs that training never shows
    {"hair": "long", "hair_colour": "red"},
    {"hair": "afro", "hair_colour": "green"},
    {"hair_colour": "pink", "eyewear": "sunglasses"},
    {"hat": "cap", "hat_colour": "blue"},
    {"eyewear": "glasses", "facial_hair": "beard"},
    {"clothing": "checked shirt", "clothing_colour": "green"},
    {"clothing_colour": "yellow", "background": "purple"},
)
BLURRED = ("smiling", "frowning")  # the moods that 32 pixels do not tell apart
TEST_ONE_IN = 10  # of the combinations of attributes without a hidden pair


@dataclass(frozen=True)
class Person:
    """One person; each attribute is one of its VALUES.

    `variation` chooses among drawings of the same attributes, such as two kinds of bob.
    With `flip` the person is mirrored, then moved by `shift`: pixels down, and to the
    right.
    """

    skin: str
    hair: str
    hair_colour: str
    hat: str
    hat_colour: str
    eyewear: str
    eyes: str
    mood: str
    facial_hair: str
    clothing: str
    clothing_colour: str
    background: str
    variation: int = 0
    flip: bool = False
    shift: tuple[int, int] = (0, 0)


@cache
def all_styles() -> dict[str, dict[str, Any]]:
    """What is known of each style, as `styles.json` holds it."""
    return json.loads(read_shipped(*FILE))


def known(style: str) -> dict[str, Any]:
    """What is known of a style. Raises ValueError for an unknown one."""
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}: use {', '.join(map(repr, STYLES))}")
    return all_styles()[style]


def values(style: str, size: int = 64) -> dict[str, tuple[str, ...]]:
    """For each attribute that a style draws, the values that its pictures of `size`
    pixels show. Raises ValueError for an unknown style or size.
    """
    require_size(size)
    shown = {k: tuple(has) for k, has in known(style)["has"].items() if has}
    if size == 32:
        del shown["eyes"]
        shown["mood"] = tuple(mood for mood in shown["mood"] if mood not in BLURRED)
    return shown


def require_size(size: int) -> None:
    """Raise ValueError unless people are drawn in that size."""
    if size not in SIZES:
        raise ValueError(f"expected people of size 64 or 32, got {size!r}")


def key(person: Person, by: list[str]) -> str:
    """What a slot of the drawing goes by: the first attribute that is not "none";
    "mood+eyes" are two at once.
    """
    for names in by:
        value = " ".join(getattr(person, name) for name in names.split("+"))
        if value != "none":
            return value
    return "none" if by else ""


def adapt(person: Person, style: str) -> Person:
    """The person as a style can draw it: what it lacks becomes the plainest value.
    Raises ValueError for an unknown style, or an attribute of no known value.
    """
    facts = known(style)
    changes: dict[str, Any] = {}
    for name, has in facts["has"].items():
        value = getattr(person, name)
        if value not in CHANCES[name]:
            raise ValueError(
                f"unknown {name} {value!r}: use {', '.join(map(repr, VALUES[name]))}"
            )
        if has and value not in has:
            changes[name] = PLAIN.get(name, "none")
    for name, forced in facts["forces"].items():
        changes.update(forced.get(changes.get(name, getattr(person, name)), {}))
    if any(getattr(person, name) != value for name, value in changes.items()):
        person = replace(person, **changes)
    drawable = all(
        key(person, s["by"]) in s["variants"] for s in facts["slots"].values()
    )
    if person.eyes != "open" and (person.eyewear != "none" or not drawable):
        person = replace(person, eyes="open")
    return person


def seen(person: Person, style: str = "personas", size: int = 64) -> dict[str, str]:
    """The attributes that a picture in that style shows, so that a caption may name
    them. Raises ValueError for an unknown style or size.

    A hat hides the hair, glasses hide the eyes. That there is no hat, no glasses or no
    beard is seen.
    """
    require_size(size)
    facts, person = known(style), adapt(person, style)
    hidden = {name for name, has in facts["has"].items() if not has}
    hidden |= {"hair", "hair_colour"} if person.hat != "none" else {"hat_colour"}
    if person.hair == "bald":
        hidden.add("hair_colour")
    if person.eyewear != "none" or size == 32:
        hidden.add("eyes")
    bearded = person.facial_hair != "none"
    if bearded and person.mood in facts["beard_hides_mood"]:
        hidden.add("mood")
    if size == 32 and person.mood in BLURRED:
        hidden.add("mood")
    return {name: getattr(person, name) for name in VALUES if name not in hidden}


def hidden_pairs(style: str = "personas") -> list[dict[str, str]]:
    """Those of the HIDDEN pairs that a style can draw."""
    shown = values(style)
    return [
        pair
        for pair in HIDDEN
        if all(value in shown.get(name, ()) for name, value in pair.items())
    ]


def hidden_in(person: Person, style: str = "personas") -> dict[str, str]:
    """The attributes of all hidden pairs that a picture shows; {} if there are none."""
    shown = seen(person, style, 32).items()
    pairs = [pair for pair in HIDDEN if pair.items() <= shown]
    return {name: value for pair in pairs for name, value in pair.items()}


def split_of(person: Person, style: str = "personas") -> str:
    """Which of SPLITS a person belongs to, by what a picture shows at 32 pixels.

    "held_out" has a hidden pair; of all other combinations of attributes one in ten is
    "test", the rest "train": no two splits share one.
    """
    if hidden_in(person, style):
        return "held_out"
    name = "|".join(seen(person, style, 32).values())
    return "test" if zlib.crc32(name.encode()) % TEST_ONE_IN == 0 else "train"


def draw(
    n: int, seed: int, split: str = "train", style: str = "personas", move: int = 0
) -> list[Person]:
    """n people of a split (see `split_of`), all attributes drawn independently, as far
    as the style lets them be.

    With `move` above 0 half are mirrored, and all are moved by at most that many pixels
    down or sideways. More people begin with the same ones. Raises ValueError for an
    unknown split or style, or a move not from 0 to 16.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: use {', '.join(map(repr, SPLITS))}")
    if move not in range(17):
        raise ValueError(f"expected a move from 0 to 16 pixels, got {move!r}")
    known(style)
    rng = np.random.default_rng([seed, SPLITS.index(split), STYLES.index(style)])
    people: list[Person] = []
    while len(people) < n:
        some = draw_any(500, rng, style, split == "held_out", move)
        people += [p for p in some if split_of(p, style) == split]
    return people[:n]


def draw_any(
    n: int, rng: np.random.Generator, style: str, force: bool, move: int
) -> list[Person]:
    """n people, with `force` each with one of the hidden pairs, if a hat lets it be
    seen.
    """
    columns: dict[str, list[Any]] = {}
    for name, chances in CHANCES.items():
        options = known(style)["has"][name] or list(chances)
        p = np.array([chances[value] for value in options])
        columns[name] = [options[i] for i in rng.choice(len(options), n, p=p / p.sum())]
    columns["variation"] = rng.integers(1 << 30, size=n).tolist()
    pairs = hidden_pairs(style)
    for i, which in enumerate(rng.integers(len(pairs), size=n).tolist()):
        for name, value in pairs[which].items() if force else ():
            columns[name][i] = value
    moved = rng.random((n, 3))
    if move:
        columns["flip"] = (moved[:, 0] < 0.5).tolist()
        down = (moved[:, 1] * (move + 1)).astype(int).tolist()
        right = ((moved[:, 2] * (2 * move + 1)).astype(int) - move).tolist()
        columns["shift"] = list(zip(down, right, strict=True))
    rows = zip(*columns.values(), strict=True)
    return [
        adapt(Person(**dict(zip(columns, row, strict=True))), style) for row in rows
    ]
