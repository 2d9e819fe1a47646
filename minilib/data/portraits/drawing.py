"""Portraits: pixel-art people of 16 × 16 whose every attribute and mask is known,
composed from CC0 parts.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from minilib.data.shipped import read_shipped

FILE = (
    "portraits/portrait_parts.npz",
    "e737acf2d723f4d5c9226e9da29b006e9cf0ce644ea0b3875637db19c2197763",
)
SIZE = 16
SPLITS = ("train", "test", "held_out")

# From the bottom to the top of the picture, under all of which lies the background.
SLOTS = ("skin", "clothing", "eyes", "glasses", "beard", "mouth", "hair", "hat")
# those that a reader of the picture can name; a hair of another length than its name
# says is left out
PARTS = {
    "long": [f"hair/long{i:02}" for i in (1, 2, 3, 4, 7, 8, 9, 12, 13, 18, 20, 21)],
    "short": [f"hair/short{i:02}" for i in (1, 2, 6, 8, 9, 10, 13, 14, 15, 16, 17, 22)],
    "happy": [f"mouth/happy{i:02}" for i in (6, 9, 12, 13)],
    "sad": [f"mouth/sad{i:02}" for i in (1, 2, 3)],
    "glasses": [f"glasses/light{i:02}" for i in (2, 5, 6, 7)],
    "sunglasses": [f"glasses/dark{i:02}" for i in (2, 5, 6, 7)],
    "beard": [f"beard/variant{i:02}" for i in (1, 3, 5, 6, 8)],
    "hat": [f"hat/variant{i:02}" for i in range(1, 11)],
    "top": [
        f"clothing/variant{i:02}"
        for i in (1, 2, 3, 4, 5, 6, 8, 11, 12, 13, 14, 16, 17, 23)
    ],
    "eyes": [f"eyes/variant{i:02}" for i in (4, 6, 7, 8, 9, 11)],
}
COLOURS = {
    "hair": {
        "black": "28150a",
        "brown": "6b3f16",
        "blond": "f0cf4a",
        "red": "c8321e",
        "blue": "1f7fd0",
        "green": "57b52a",
        "white": "f4f4f4",
        "pink": "f06ea9",
    },
    "hat": {
        "red": "b3202a",
        "blue": "2663a3",
        "green": "2f8a5b",
        "purple": "6a4f9e",
        "pink": "d964a0",
        "brown": "3e2a10",
    },
    "top": {
        "red": "d11141",
        "green": "00a357",
        "blue": "3f83ea",
        "yellow": "ffc425",
        "purple": "8147b5",
        "black": "303030",
    },
    "background": {
        "blue": "a5daf2",
        "purple": "c0a8e8",
        "pink": "ffc2cf",
        "green": "b4ecbf",
        "yellow": "ffeaa0",
        "grey": "c4c4c4",
    },
    "skin": {"light": "ffdbac", "medium": "d29a62", "dark": "7a4a26"},
}
EYES, FRAMES, LIPS = (
    "3f6f8c",
    "323232",
    {"light": "c2453f", "medium": "9c2f35", "dark": "e58a80"},
)
HIDDEN = (
    (("hair", "green"), ("hat", "red")),
    (("hair", "blue"), ("glasses", "sunglasses")),
    (("hair", "pink"), ("beard", "a beard")),
    (("top", "yellow"), ("background", "purple")),
)


@dataclass(frozen=True)
class Portrait:
    """One person. `length` is the hair's, `glasses` no glasses, glasses or sunglasses,
    `beard` no beard or a beard.

    `hat` is no hat or the hat's colour; `hair`, `top`, `background` and `skin` are
    names in COLOURS. A beard has the hair's colour. `parts` names the part of the art
    in each of SLOTS, "" where there is none.
    """

    mood: str
    length: str
    hair: str
    glasses: str
    beard: str
    hat: str
    top: str
    background: str
    skin: str
    parts: tuple[str, ...]


VALUES = {
    "mood": ("happy", "sad"),
    "length": ("short", "long"),
    "hair": tuple(COLOURS["hair"]),
    "glasses": ("no glasses", "glasses", "sunglasses"),
    "beard": ("no beard", "a beard"),
    "hat": ("no hat", *COLOURS["hat"]),
    "top": tuple(COLOURS["top"]),
    "background": tuple(COLOURS["background"]),
    "skin": tuple(COLOURS["skin"]),
}
# of the others: equal
SHARES = {"glasses": (0.5, 0.3, 0.2), "beard": (0.75, 0.25), "hat": (0.58, *[0.07] * 6)}


def draw(n: int, seed: int, split: str = "train") -> list[Portrait]:
    """n people, all attributes independent. In "train" and "test" nobody has a pair of
    HIDDEN; in "held_out" all do.

    More people begin with the same ones; the splits of a seed share none. Raises
    ValueError for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: use {', '.join(map(repr, SPLITS))}")
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    people: list[Portrait] = []
    while len(people) < n:
        people += [
            p
            for p in draw_any(500, rng, force=split == "held_out")
            if hidden(p) == (split == "held_out")
        ]
    return people[:n]


def draw_any(n: int, rng: np.random.Generator, force: bool) -> list[Portrait]:
    """n people, with `force` each of them with one of the HIDDEN pairs."""
    columns = {
        name: rng.choice(VALUES[name], n, p=SHARES.get(name)).tolist()
        for name in VALUES
    }
    which = rng.integers(len(HIDDEN), size=n).tolist()
    chances = rng.random((n, len(SLOTS))).tolist()
    people = []
    for i, chance in enumerate(chances):
        attributes = {name: column[i] for name, column in columns.items()} | (
            dict(HIDDEN[which[i]]) if force else {}
        )
        people.append(Portrait(**attributes, parts=choose_parts(attributes, chance)))
    return people


def choose_parts(attributes: dict[str, str], chance: list[float]) -> tuple[str, ...]:
    """The part in each of SLOTS that fits the attributes; `chance`, numbers in [0, 1),
    chooses among them.
    """
    kinds = {
        "clothing": "top",
        "eyes": "eyes",
        "glasses": attributes["glasses"],
        "beard": "beard" if attributes["beard"] == "a beard" else "",
        "mouth": attributes["mood"],
        "hair": attributes["length"],
        "hat": "" if attributes["hat"] == "no hat" else "hat",
    }
    chosen = ["skin/base"]
    for slot, share in zip(SLOTS[1:], chance, strict=False):
        options = PARTS.get(kinds[slot], [""])
        chosen.append(options[int(share * len(options))])
    return tuple(chosen)


def hidden(person: Portrait) -> bool:
    """Whether the person has both attributes of a pair that training never shows."""
    return any(
        all(getattr(person, name) == value for name, value in pair) for pair in HIDDEN
    )


@cache
def art() -> tuple[Tensor, dict[str, int]]:
    """All parts (P + 1, 16, 16, 5) as rgb, alpha, share of the slot's colour; and each
    name's row, "" being nothing.
    """
    with np.load(io.BytesIO(read_shipped(*FILE)), allow_pickle=False) as arrays:
        parts, names = (
            torch.from_numpy(arrays["parts"]).float() / 255,
            arrays["names"].tolist(),
        )
    return torch.cat([torch.zeros_like(parts[:1]), parts]), {"": 0} | {
        name: i + 1 for i, name in enumerate(names)
    }


def rgb(hexadecimal: str) -> list[float]:
    """ "ff8000" → [1.0, 0.502, 0.0]."""
    return [int(hexadecimal[i : i + 2], 16) / 255 for i in (0, 2, 4)]


def paints(person: Portrait) -> list[list[float]]:
    """The colour (3,) in [0, 1] of the background, then of each of SLOTS."""
    hair = COLOURS["hair"][person.hair]
    hat = COLOURS["hat"].get(person.hat, "000000")
    skin, top = COLOURS["skin"][person.skin], COLOURS["top"][person.top]
    background = COLOURS["background"][person.background]
    return [
        rgb(c)
        for c in (
            background,
            skin,
            top,
            EYES,
            FRAMES,
            hair,
            LIPS[person.skin],
            hair,
            hat,
        )
    ]


def layers(people: list[Portrait]) -> tuple[Tensor, Tensor]:
    """What each slot paints and how much it covers: (N, 9, 16, 16, 3) and (N, 9, 16,
    16, 1), background first.
    """
    parts, rows = art()
    # (N, 8, 16, 16, 5)
    chosen = parts[torch.tensor([[rows[part] for part in p.parts] for p in people])]
    # (N, 9, 1, 1, 3)
    colour = torch.tensor([paints(p) for p in people])[:, :, None, None, :]
    painted = chosen[..., :3] + chosen[..., 4:] * colour[:, 1:]
    ground = colour[:, :1].expand(-1, 1, SIZE, SIZE, 3)
    return torch.cat([ground, painted], dim=1), torch.cat(
        [torch.ones_like(ground[..., :1]), chosen[..., 3:4]], dim=1
    )


def render(people: list[Portrait]) -> Tensor:
    """The pictures, (N, 3, 16, 16) in [-1, 1]: from below to above, x ← x (1 - alpha) +
    paint.
    """
    blocks = []
    for start in range(0, len(people), 500):
        paint, alpha = layers(people[start : start + 500])
        x = paint[:, 0]
        for i in range(1, paint.shape[1]):
            x = x * (1 - alpha[:, i]) + paint[:, i]
        blocks.append(x.clamp(0, 1).mul(255).round() / 127.5 - 1)
    return torch.cat(blocks).permute(0, 3, 1, 2).contiguous()


def masks(people: list[Portrait]) -> Tensor:
    """Which slot is seen at each place: (N, 9, 16, 16), bool, background first, one
    True a place.
    """
    _, alpha = layers(people)
    # from the top, what each lets through
    above = torch.cat([1 - alpha.flip(1), torch.ones_like(alpha[:, :1])], dim=1)
    seen = alpha * torch.cat(
        [torch.ones_like(alpha[:, :1]), above[:, :-2]], dim=1
    ).cumprod(1).flip(1)
    return (
        torch.nn.functional.one_hot(seen[..., 0].argmax(dim=1), len(SLOTS) + 1)
        .bool()
        .permute(0, 3, 1, 2)
    )


def changed_by(people: list[Portrait]) -> Tensor:
    """How many places look plainly different without a slot's part, by 40 of 255 in
    some colour: (N, 8).
    """
    paint, alpha = layers(people)
    with_it = [paint[:, 0]]
    for i in range(1, paint.shape[1]):
        with_it.append(with_it[-1] * (1 - alpha[:, i]) + paint[:, i])
    through, counts = torch.ones_like(alpha[:, 0]), []
    for i in range(paint.shape[1] - 1, 0, -1):
        change = (with_it[i] - with_it[i - 1]).abs().amax(
            dim=-1, keepdim=True
        ) * through
        counts.append((change > 40 / 255).sum(dim=(1, 2, 3)))
        through = through * (1 - alpha[:, i])
    return torch.stack(counts[::-1], dim=1)


def seen(people: list[Portrait]) -> list[dict[str, str]]:
    """For each person the attributes that the picture shows, so that a caption may name
    them.

    A hat may hide all hair, dark lips may drown in a dark beard. That there is no hat,
    no beard or no glasses is seen.
    """
    needed = {
        "mood": ("mouth", 3),
        "length": ("hair", 8),
        "hair": ("hair", 8),
        "glasses": ("glasses", 8),
        "beard": ("beard", 10),
        "top": ("clothing", 8),
    }
    found = []
    counts_of = torch.cat(
        [changed_by(people[i : i + 500]) for i in range(0, len(people), 500)]
    )
    for person, counts in zip(people, counts_of.tolist(), strict=True):
        shown = {}
        for name in VALUES:
            slot, least = needed.get(name, ("", 0))
            value = getattr(person, name)
            if (
                not slot
                or value.startswith("no ")
                or counts[SLOTS.index(slot)] >= least
            ):
                shown[name] = value
        found.append(shown)
    return found
