"""Scenes: flat shapes in colours, sizes and textures, side by side, inside or in front
of each other, fully known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minilib.data.portraits.drawing import SPLITS, rgb

SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross")
TINTS = {
    "red": "dc2323", "orange": "f58a1f", "yellow": "f2d21b", "green": "2ea043",
    "blue": "2463e6", "purple": "8a35c9", "pink": "f48fc4", "brown": "7a4a20",
}  # fmt: skip
GROUNDS = {"white": "f7f7f7", "grey": "c3c3c3", "mint": "cdf2e0"}
TEXTURES = ("solid", "striped", "dotted")
# width in widths of the picture; large ones hold or hide others
SIZES = {"small": 0.36, "medium": 0.46, "large": 0.8}
# of stripes and dots, in widths of the picture; how bright they are beside the colour
PERIOD, DARK = 0.125, 0.35
ARRANGEMENTS = ("one", "beside", "stacked", "inside", "in front of", "three", "four")


@dataclass(frozen=True)
class Thing:
    """A shape of a colour, a size and a texture; x to the right and y downwards are its
    middle, in [0, 1].
    """

    shape: str
    colour: str
    size: str
    texture: str
    x: float
    y: float


@dataclass(frozen=True)
class Scene:
    """Things from back to front, and how they are arranged: one of ARRANGEMENTS.

    "beside": the first of two is left of the other; "stacked": above it; "inside": the
    second is inside the first; "in front of": the second hides a part of the first.
    Three or four things stand apart.
    """

    things: tuple[Thing, ...]
    arrangement: str
    background: str


def draw(n: int, seed: int, split: str = "train") -> list[Scene]:
    """n scenes. In "train" and "test" none is `withheld`, in "held_out" all are; the
    splits of a seed differ.

    More scenes begin with the same ones. Raises ValueError for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: use {', '.join(map(repr, SPLITS))}")
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    scenes: list[Scene] = []
    while len(scenes) < n:
        scene = draw_one(rng)
        if withheld(scene) == (split == "held_out"):
            scenes.append(scene)
    return scenes


def withheld(scene: Scene) -> bool:
    """Whether a scene holds what training never shows: a purple star, a striped cross,
    or a circle left of a circle.
    """
    pairs = any(
        (t.colour, t.shape) == ("purple", "star")
        or (t.texture, t.shape) == ("striped", "cross")
        for t in scene.things
    )
    return pairs or (
        scene.arrangement == "beside" and all(t.shape == "circle" for t in scene.things)
    )


def draw_one(rng: np.random.Generator) -> Scene:
    """One scene of any kind. Half of those with three or four things show one thing
    several times, to be counted.
    """
    arrangement = ARRANGEMENTS[rng.integers(len(ARRANGEMENTS))]
    places, sizes = PLACES[arrangement](rng)
    names = [f"{shape} {colour}" for shape in SHAPES for colour in TINTS]
    kinds = rng.choice(names, len(places), replace=False).tolist()
    if arrangement in ("three", "four") and rng.random() < 0.5:
        kinds = kinds[:1] * len(kinds)
    # two colours, and for what holds another a shape with room
    if arrangement in ("inside", "in front of"):
        colours = rng.choice(list(TINTS), 2, replace=False).tolist()
        outer = ("circle", "square")[rng.integers(2)]
        kinds = [f"{outer} {colours[0]}", f"{kinds[1].split()[0]} {colours[1]}"]
    textures = [TEXTURES[i] for i in rng.choice(3, len(places), p=(0.6, 0.2, 0.2))]
    if arrangement in ("inside", "in front of"):
        textures[0] = "solid"  # another thing would be lost on stripes
    narrow = [
        size == "small" and kind.split()[0] in ("star", "cross")
        for size, kind in zip(sizes, kinds, strict=True)
    ]
    textures = [
        "solid" if thin else texture
        for thin, texture in zip(narrow, textures, strict=True)
    ]
    things = tuple(
        Thing(kind.split()[0], kind.split()[1], size, texture, float(x), float(y))
        for kind, size, texture, (x, y) in zip(
            kinds, sizes, textures, places, strict=True
        )
    )
    return Scene(things, arrangement, list(GROUNDS)[rng.integers(len(GROUNDS))])


# the middles of things, and their sizes
Placed = tuple[list[tuple[float, float]], list[str]]


def place_one(rng: np.random.Generator) -> Placed:
    size = list(SIZES)[rng.integers(3)]
    low = SIZES[size] / 2 + 0.03
    x, y = rng.uniform(low, 1 - low, 2)
    return [(x, y)], [size]


def place_two(rng: np.random.Generator, across: bool) -> Placed:
    """Two things in the two halves of the picture, not further out of line than a
    tenth.
    """
    line = rng.uniform(0.3, 0.7)
    places = [
        (0.26 + rng.uniform(-0.01, 0.01), line + rng.uniform(-0.05, 0.05)),
        (0.74 + rng.uniform(-0.01, 0.01), line + rng.uniform(-0.05, 0.05)),
    ]
    return places if across else [(x, y) for y, x in places], rng.choice(
        ["small", "medium"], 2
    ).tolist()


def place_inside(rng: np.random.Generator) -> Placed:
    x, y = rng.uniform(0.45, 0.55, 2)
    dx, dy = rng.uniform(-0.06, 0.06, 2)
    return [(x, y), (x + dx, y + dy)], ["large", "small"]


def place_in_front(rng: np.random.Generator) -> Placed:
    """A thing across the border of another: its middle is on one of the four sides."""
    turn = rng.integers(4) * math.pi / 2
    ahead = (0.2 * math.cos(turn), 0.2 * math.sin(turn))
    return [
        (0.5 - ahead[0] / 2, 0.5 - ahead[1] / 2),
        (0.5 + 1.3 * ahead[0], 0.5 + 1.3 * ahead[1]),
    ], ["large", "medium"]


def place_apart(rng: np.random.Generator, count: int) -> Placed:
    """As many quarters of the picture, a thing in each."""
    quarters = [(x, y) for y in (0.25, 0.75) for x in (0.25, 0.75)]
    chosen = sorted(rng.permutation(4)[:count].tolist())
    return [
        (
            quarters[i][0] + rng.uniform(-0.04, 0.04),
            quarters[i][1] + rng.uniform(-0.04, 0.04),
        )
        for i in chosen
    ], ["small"] * count


PLACES = {
    "one": place_one,
    "beside": lambda rng: place_two(rng, across=True),
    "stacked": lambda rng: place_two(rng, across=False),
    "inside": place_inside,
    "in front of": place_in_front,
    "three": lambda rng: place_apart(rng, 3),
    "four": lambda rng: place_apart(rng, 4),
}


def outside(shape: str, x: Tensor, y: Tensor, r: Tensor) -> Tensor:
    """How far places (x, y) lie outside a shape of half width r around 0, all (N, H,
    W): negative within it.
    """
    if shape == "circle":
        return torch.hypot(x, y) - r
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) - 0.9 * r
    if shape == "diamond":
        return (x.abs() + y.abs() - r) / math.sqrt(2)
    if shape == "triangle":
        return torch.maximum(
            y - 0.85 * r, (1.85 * x.abs() - y - r) / math.hypot(1.85, 1)
        )
    if shape == "cross":
        a, b = torch.maximum(x.abs(), y.abs()), torch.minimum(x.abs(), y.abs())
        return torch.maximum(a - r, b - 0.34 * r)
    y = y - 0.09 * r  # its points reach as far up as down
    # angle from the nearest point
    fold = (torch.atan2(x, -y) + math.pi / 5).remainder(2 * math.pi / 5) - math.pi / 5
    along, aside = torch.hypot(x, y) * fold.cos(), torch.hypot(x, y) * fold.sin().abs()
    inner = (0.45 * math.cos(math.pi / 5), 0.45 * math.sin(math.pi / 5))
    length = math.hypot(1 - inner[0], inner[1])
    return ((along - r) * inner[1] + aside * (1 - inner[0])) / length


def coverage(things: list[Thing], size: int) -> tuple[Tensor, Tensor]:
    """How much of each pixel a thing covers, and how much of that is stripe or dot: (N,
    size, size) each, in [0, 1].
    """
    middle = (torch.arange(size) + 0.5) / size
    x = middle[None, None, :] - torch.tensor([t.x for t in things])[:, None, None]
    y = middle[None, :, None] - torch.tensor([t.y for t in things])[:, None, None]
    x, y = x.expand(-1, size, size), y.expand(-1, size, size)
    r = torch.tensor([SIZES[t.size] / 2 for t in things])[:, None, None]
    inside, dark = torch.zeros_like(x), torch.zeros_like(x)
    for shape in SHAPES:
        rows = [i for i, t in enumerate(things) if t.shape == shape]
        inside[rows] = (0.5 - size * outside(shape, x[rows], y[rows], r[rows])).clamp(
            0, 1
        )
    for texture in ("striped", "dotted"):
        rows = [i for i, t in enumerate(things) if t.texture == texture]
        u, v = ((z[rows] / PERIOD).remainder(1) - 0.5 for z in (x, y))
        apart = v.abs() - 0.25 if texture == "striped" else torch.hypot(u, v) - 0.34
        dark[rows] = (0.5 - size * PERIOD * apart).clamp(0, 1)
    return inside, dark


def stacks(scenes: list[Scene]) -> list[Tensor]:
    """For each depth, from the back, the numbers of the things in it, -1 where a scene
    has none: (N,) each.
    """
    counts = torch.tensor([len(s.things) for s in scenes])
    first = counts.cumsum(0) - counts
    return [
        torch.where(depth < counts, first + depth, -1)
        for depth in range(int(counts.max()))
    ]


def render(scenes: list[Scene], size: int = 32) -> Tensor:
    """The pictures, (N, 3, size, size) in [-1, 1]; at 32 nothing is narrower than 10
    pixels. Raises ValueError below.

    Edges are soft by a pixel. Of two large things none fits into 32 pixels, and
    textures are 4 pixels wide there: so small stars and crosses, whose arms are
    narrower, are solid.
    """
    if size < 32:
        raise ValueError(
            f"expected a size of 32 or more, got {size}: smaller things could not "
            "be told apart"
        )
    blocks = [
        render_block(scenes[i : i + 500], size) for i in range(0, len(scenes), 500)
    ]
    return torch.cat(blocks).mul(255).round() / 127.5 - 1


def render_block(scenes: list[Scene], size: int) -> Tensor:
    """`render` in [0, 1]."""
    things = [t for s in scenes for t in s.things]
    inside, dark = coverage(things, size)
    colour = torch.tensor([rgb(TINTS[t.colour]) for t in things])[:, :, None, None]
    paint = colour * (1 - (1 - DARK) * dark[:, None])  # (things, 3, size, size)
    x = (
        torch.tensor([rgb(GROUNDS[s.background]) for s in scenes])[:, :, None, None]
        .expand(-1, 3, size, size)
        .clone()
    )
    for which in stacks(scenes):
        rows = (which >= 0).nonzero()[:, 0]
        cover = inside[which[rows], None]
        x[rows] = x[rows] * (1 - cover) + paint[which[rows]] * cover
    return x


def masks(scene: Scene, size: int = 32) -> Tensor:
    """Where each thing of a scene is seen, back to front: (things, size, size), bool;
    no pixel belongs to two.
    """
    inside = coverage(list(scene.things), size)[0] > 0.5
    hidden = torch.zeros_like(inside[0])
    seen = []
    for mask in inside.flip(0):
        seen.append(mask & ~hidden)
        hidden = hidden | mask
    return torch.stack(seen[::-1])


def edges(scene: Scene, size: int = 32) -> Tensor:
    """The pixels of each thing that border on what it is not: (size, size), bool."""
    seen = masks(scene, size)
    whole = F.pad(seen.float(), (1, 1, 1, 1), value=1)
    inner = -F.max_pool2d(-whole[:, None], 3, stride=1)[:, 0]
    return (seen & (inner < 1)).any(dim=0)


def key_points(scene: Scene) -> Tensor:
    """The middle of each thing as (x, y) in [0, 1]: (things, 2)."""
    return torch.tensor([[t.x, t.y] for t in scene.things])
