"""Captions of scenes: a grammar that tells things, their number and where they stand,
and its inverse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from minilib.data.meaning import require_meant
from minilib.data.portraits.captions import STYLES, pick
from minilib.data.scenes.drawing import (
    GROUNDS,
    SHAPES,
    SIZES,
    TEXTURES,
    TINTS,
    Scene,
    Thing,
)

NUMBERS = ("a", "two", "three", "four")
# of two things, the first being the one that an arrangement names first; and with the
# second told first
SAYINGS = {
    "beside": ("left of", "right of"),
    "stacked": ("above", "below"),
    "inside": ("around", "inside"),
    "in front of": ("behind", "in front of"),
}
# words that have a token and that no caption holds, and what to say in their place
UNHEARD = {"one": "a", "1": "a", "2": "two"}
OPENINGS = ("", "a picture of ", "a drawing of ", "an image of ")
PHRASE = re.compile(
    r"(?:(a|an|one|two|three|four|[1-4]) )?"
    rf"(?:({'|'.join(SIZES)}) )?(?:({'|'.join(TEXTURES)}) )?(?:({'|'.join(TINTS)}) "
    rf")?({'|'.join(SHAPES)})(?:s|es)?"
)
ATTRIBUTES = ("size", "texture", "colour", "shape")


@dataclass(frozen=True)
class Told:
    """A phrase of a caption: what it says of a thing, attribute to value; and how many
    there are, if it says so.
    """

    attributes: dict[str, str]
    count: int | None


@dataclass(frozen=True)
class Claims:
    """What a caption claims: its phrases, in the order of an `arrangement` that it
    tells; and the background.
    """

    phrases: tuple[Told, ...]
    arrangement: str | None
    background: str | None


def captions(scenes: list[Scene], seed: int, style: str | None = None) -> list[str]:
    """A caption for each scene: long, short or sloppy; without `style`, half are long
    and a quarter each other.

    A long one tells every thing with all its attributes and how they are arranged, a
    short one colours and shapes, a sloppy one some of it without grammar. Raises
    ValueError for an unknown style.
    """
    if style not in (None, *STYLES):
        raise ValueError(f"unknown style {style!r}: use {', '.join(map(repr, STYLES))}")
    rng = np.random.default_rng([seed, 9])
    styles = (
        [style] * len(scenes)
        if style
        else rng.choice(STYLES, len(scenes), p=(0.5, 0.25, 0.25)).tolist()
    )
    return [caption(scene, how, rng) for scene, how in zip(scenes, styles, strict=True)]


def caption(scene: Scene, style: str, rng: np.random.Generator) -> str:
    """One caption of a scene."""
    if style == "sloppy":
        parts = rng.permutation([phrase(t, style) for t in scene.things]).tolist()
        kinds = {(t.colour, t.shape) for t in scene.things}
        if len(kinds) == 1 and len(parts) > 1:
            parts = [
                f"{len(parts)} {scene.things[0].colour} {plural(scene.things[0].shape)}"
            ]
        return ", ".join(
            [*parts, f"{scene.background} bg"] if rng.random() < 0.3 else parts
        )
    text = pick(OPENINGS, rng) + arranged(scene, style, rng)
    if style == "long" and rng.random() < 0.5:
        text += f" on a {scene.background} background"
    return text


def arranged(scene: Scene, style: str, rng: np.random.Generator) -> str:
    """The things of a scene in a sentence that says where they stand, or how many there
    are.
    """
    if scene.arrangement in SAYINGS:
        first, second = (phrase(t, style) for t in scene.things)
        forward, backward = SAYINGS[scene.arrangement]
        return (
            f"{first} {forward} {second}"
            if rng.random() < 0.5
            else f"{second} {backward} {first}"
        )
    groups: dict[str, int] = {}
    for thing in scene.things:
        name = phrase(thing, style).removeprefix("an ").removeprefix("a ")
        groups[name] = groups.get(name, 0) + 1
    if (
        style == "short"
        and len({(t.colour, t.shape) for t in scene.things}) > 1
        and rng.random() < 0.3
    ):
        shape = scene.things[rng.integers(len(scene.things))].shape
        groups = {shape: sum(t.shape == shape for t in scene.things)}
    told = [counted(name, count) for name, count in groups.items()]
    return ", ".join(told[:-1]) + (" and " if len(told) > 1 else "") + told[-1]


def phrase(thing: Thing, style: str) -> str:
    """ "a small striped red circle"; short and sloppy ones say only colour and shape,
    and the latter no "a".
    """
    words = (
        [thing.size, thing.texture, thing.colour, thing.shape]
        if style == "long"
        else [thing.colour, thing.shape]
    )
    return " ".join(words) if style == "sloppy" else counted(" ".join(words), 1)


def counted(name: str, count: int) -> str:
    """ "an orange star", "two orange stars"."""
    if count > 1:
        return f"{NUMBERS[count - 1]} {plural(name)}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def plural(name: str) -> str:
    """star → stars, cross → crosses."""
    return f"{name}es" if name.endswith("s") else f"{name}s"


def read(text: str) -> Claims:
    """What a caption claims. Raises ValueError for one that the grammar does not know,
    naming the part.
    """
    plain, background = (
        " ".join(re.sub(r"[^a-z0-9,]+", " ", text.lower()).split()),
        None,
    )
    if found := re.search(
        rf",? ?(?:on a )?\b({'|'.join(GROUNDS)}) (?:background|bg)$", plain
    ):
        plain, background = plain[: found.start()], found[1]
    for opening in OPENINGS[1:]:
        plain = plain.removeprefix(opening)
    for arrangement, (forward, backward) in SAYINGS.items():
        for saying, order in ((forward, 1), (backward, -1)):
            parts = plain.split(f" {saying} ")
            if len(parts) == 2:
                told = tuple(understood(part, text) for part in parts[::order])
                if any((phrase.count or 1) > 1 for phrase in told):
                    raise ValueError(
                        f"{text!r}: {saying!r} is understood of two things only"
                    )
                return Claims(told, arrangement, background)
    parts = [part for part in re.split(r", | and ", plain) if part]
    return Claims(tuple(understood(part, text) for part in parts), None, background)


def understood(part: str, text: str) -> Told:
    """What a phrase of a caption says. Raises ValueError for one that names no
    thing.
    """
    found = PHRASE.fullmatch(part)
    if not found:
        require_words(text)
        raise ValueError(
            f"{text!r}: what is meant by {part!r}? A thing is told like 'a small "
            "striped red circle'"
        )
    number, *values = found.groups()
    count = None
    if number and number not in ("a", "an"):
        count = (
            int(number)
            if number.isdigit()
            else (1 if number == "one" else NUMBERS.index(number) + 1)
        )
    return Told(
        {name: value for name, value in zip(ATTRIBUTES, values, strict=True) if value},
        count,
    )


def require_words(text: str) -> None:
    """Raise ValueError that names all words of a text that no caption of a scene may
    hold.
    """
    known = words()
    strange = [w for w in re.findall("[a-z0-9]+", text.lower()) if w not in known]
    require_meant(text, strange, known, "a scene")


def words() -> list[str]:
    """Every word and sign that a caption of scenes may hold, sorted."""
    shapes = [*SHAPES, *map(plural, SHAPES)]
    grammar = " ".join(
        [*OPENINGS, *NUMBERS, *(s for pair in SAYINGS.values() for s in pair)]
    ).split()
    more = ["an", "one", "1", "2", "3", "4", "on", "and", "background", "bg", ","]
    return sorted({*shapes, *SIZES, *TEXTURES, *TINTS, *GROUNDS, *grammar, *more})
