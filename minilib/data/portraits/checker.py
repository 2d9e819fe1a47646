"""Who is in a portrait? Answers without any learned part: portraits are composed anew
until they fit the picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from minilib.data.portraits.captions import read
from minilib.data.portraits.drawing import (
    COLOURS,
    EYES,
    FRAMES,
    LIPS,
    PARTS,
    SIZE,
    VALUES,
    art,
    rgb,
)
from minilib.runtime import require_images

# how wrong a place can be: the squared difference of two colours in [0, 1], summed over
# red, green and blue
CAP = 0.2
# by so much, over the whole picture, must an answer fit better than any other; else it
# is "can't tell"
MARGIN = 0.08
STRANGE = 0.05  # with a mean error of a place above this, the picture is no portrait
SWEEPS = 3


@dataclass(frozen=True)
class Found:
    """What a picture shows: for each attribute of a portrait its value, None for "can't
    tell"; mean error a place.
    """

    attributes: dict[str, str | None]
    error: float


@dataclass(frozen=True)
class Layer:
    """The options of one layer: paint (C, 16, 16, 3), alpha (C, 16, 16, 1); for
    attributes, what each option says.
    """

    paint: Tensor
    alpha: Tensor
    says: dict[str, list[str]]

    def __add__(self, other: Layer) -> Layer:
        """The options of both."""
        says = {name: values + other.says[name] for name, values in self.says.items()}
        return Layer(
            torch.cat([self.paint, other.paint]),
            torch.cat([self.alpha, other.alpha]),
            says,
        )

    def under(self, top: Layer) -> Layer:
        """Every option of this layer under every one of `top`, which alone says
        something.
        """
        paint = (self.paint[:, None] * (1 - top.alpha) + top.paint).flatten(0, 1)
        alpha = (1 - (1 - self.alpha[:, None]) * (1 - top.alpha)).flatten(0, 1)
        return Layer(
            paint,
            alpha,
            {name: values * len(self.paint) for name, values in top.says.items()},
        )


def painted(
    parts: list[str], colours: Iterable[str], says: dict[str, list[str]]
) -> Layer:
    """Every part in every colour, part by part."""
    art_of_all, rows = art()
    chosen = art_of_all[[rows[part] for part in parts]][:, None]  # (P, 1, 16, 16, 5)
    colour = torch.tensor([rgb(c) for c in colours])[:, None, None, :]  # (K, 1, 1, 3)
    paint = chosen[..., :3] + chosen[..., 4:] * colour  # (P, K, 16, 16, 3)
    return Layer(
        paint.flatten(0, 1),
        chosen[..., 3:4].expand(*paint.shape[:-1], 1).flatten(0, 1),
        says,
    )


def coloured(parts: list[str], kind: str, **says: str) -> Layer:
    """Every part in every colour of that kind in COLOURS, each saying its colour's
    name, and what else is given.
    """
    names = list(COLOURS[kind])
    more = {name: [value] * len(parts) * len(names) for name, value in says.items()}
    return painted(parts, COLOURS[kind].values(), {kind: names * len(parts), **more})


def saying(
    kind: str, value: str, parts: list[str], colours: Iterable[str] = (FRAMES,)
) -> Layer:
    """Every part in every colour, all saying that the attribute `kind` has that
    value.
    """
    colours = list(colours)
    return painted(parts, colours, {kind: [value] * len(parts) * len(colours)})


@cache
def layers() -> dict[str, Layer]:
    """All that a portrait may hold, from the background up.

    Eyes and glasses are one layer, and the picture is fitted with a hat and without,
    since a layer that is half hidden by another can only be fitted with it.
    """
    ground = coloured(["skin/base"], "background")
    full = torch.ones_like(ground.paint)
    glasses = saying("glasses", "no glasses", [""])
    for kind in ("glasses", "sunglasses"):
        glasses += saying("glasses", kind, PARTS[kind])
    return {
        "background": Layer(
            full * ground.paint.amax(dim=(1, 2), keepdim=True),
            full[..., :1],
            ground.says,
        ),
        "skin": coloured(["skin/base"], "skin"),
        "top": coloured(PARTS["top"], "top"),
        "eyes": painted(PARTS["eyes"], [EYES], {}).under(glasses),
        "beard": saying("beard", "no beard", [""])
        + saying("beard", "a beard", PARTS["beard"], COLOURS["hair"].values()),
        "mouth": saying("mood", "happy", PARTS["happy"], LIPS.values())
        + saying("mood", "sad", PARTS["sad"], LIPS.values()),
        "hair": coloured(PARTS["short"], "hair", length="short")
        + coloured(PARTS["long"], "hair", length="long"),
        "hat": saying("hat", "no hat", [""]) + coloured(PARTS["hat"], "hat"),
    }


def misfit(x: Tensor, guess: Tensor) -> Tensor:
    """How far a guess is from pictures x, both (…, 16, 16, 3) in [0, 1]: (…). A place
    counts CAP at most.
    """
    return (x - guess).square().sum(dim=-1).clamp(max=CAP).sum(dim=(-1, -2))


def fits(x: Tensor, chosen: dict[str, Tensor], which: str) -> Tensor:
    """The misfit of pictures x (N, 16, 16, 3) with every option of one layer, the
    others as chosen (N,): (N, C).
    """
    below, above, through = torch.zeros_like(x), torch.zeros_like(x), None
    for name, layer in layers().items():
        paint, alpha = layer.paint[chosen[name]], layer.alpha[chosen[name]]
        if name == which:
            through = torch.ones_like(alpha)
        elif through is None:
            below = below * (1 - alpha) + paint
        else:
            above, through = above * (1 - alpha) + paint, through * (1 - alpha)
    assert through is not None
    layer = layers()[which]
    guess = below[:, None] * (1 - layer.alpha) + layer.paint  # (N, C, 16, 16, 3)
    return misfit(x[:, None], guess * through[:, None] + above[:, None])


def descend(x: Tensor, hats: slice) -> dict[str, Tensor]:
    """Layer by layer the best option, the others as they are, SWEEPS times over; of the
    hats only those in the slice.

    Pictures x (N, 16, 16, 3) → for each layer the number of its option (N,).
    """
    chosen = {name: torch.zeros(len(x), dtype=torch.long) for name in layers()}
    for _ in range(SWEEPS):
        for name in (
            "background",
            "skin",
            "top",
            "hat",
            "hair",
            "beard",
            "eyes",
            "mouth",
        ):
            table = fits(x, chosen, name)
            first = hats.start if name == "hat" else 0
            chosen[name] = (
                table[:, hats if name == "hat" else slice(None)].argmin(dim=1) + first
            )
    return chosen


@torch.no_grad()
def recognise(x: Tensor) -> list[Found]:
    """What pictures x (N, 3, 16, 16) in [-1, 1] show.

    "Can't tell" is the answer where another value of an attribute fits almost as well
    (the hair under a hat), and for all of a picture that no portrait comes near to.
    Raises ValueError for pictures of another shape.
    """
    require_images(x, (3, SIZE, SIZE))
    return [
        found
        for block in x.split(50)
        for found in recognise_block(block.permute(0, 2, 3, 1).float() / 2 + 0.5)
    ]


def recognise_block(x: Tensor) -> list[Found]:
    """`recognise` for a few pictures (N, 16, 16, 3) in [0, 1]: the better of two fits,
    with a hat and without.
    """
    # of each value of an attribute the least misfit found, (N, values)
    best: dict[str, Tensor] = {}
    for hats in (slice(0, 1), slice(1, None)):
        chosen = descend(x, hats)
        for name, layer in layers().items():
            table = fits(x, chosen, name)
            for kind, values in layer.says.items():
                of_kind = by_value(table, values, VALUES[kind])
                best[kind] = (
                    torch.minimum(best[kind], of_kind) if kind in best else of_kind
                )
    error = best["hat"].amin(dim=1) / SIZE**2  # (N,)
    answers = {kind: answer(table, VALUES[kind]) for kind, table in best.items()}
    return [
        Found(
            {
                kind: answers[kind][n] if error[n] <= STRANGE else None
                for kind in VALUES
            },
            float(error[n]),
        )
        for n in range(len(x))
    ]


def by_value(table: Tensor, says: list[str], values: tuple[str, ...]) -> Tensor:
    """Misfits of options (N, C) → the least misfit of each value (N, values)."""
    return torch.stack(
        [table[:, [said == value for said in says]].amin(dim=1) for value in values],
        dim=1,
    )


def answer(best: Tensor, values: tuple[str, ...]) -> list[str | None]:
    """For each row of misfits (N, values) the value that fits best, None if another is
    almost as good.
    """
    first, second = best.topk(2, dim=1, largest=False).values.T
    return [
        values[i] if clear else None
        for i, clear in zip(
            best.argmin(dim=1).tolist(), (second - first > MARGIN).tolist(), strict=True
        )
    ]


def accuracy(x: Tensor, texts: list[str]) -> dict[str, float]:
    """The share of captions' claims that pictures x (N, 3, 16, 16·people) fulfil,
    attribute by attribute.

    "claims" is the share of all of them that hold, "caption" that of captions of which
    every one does. "Can't tell" fulfils no claim, and an attribute that no caption
    names is left out. Raises ValueError where a caption cannot be read, tells of
    another number of people than the pictures show, or there is not one for each
    picture.
    """
    people = x.shape[-1] // SIZE
    if len(x) != len(texts):
        raise ValueError(
            f"expected a caption for each of {len(x)} pictures, got {len(texts)}"
        )
    facts = [read(text) for text in texts]
    for text, told in zip(texts, facts, strict=True):
        if len(told) != people:
            raise ValueError(
                f"{text!r} tells of {len(told)} people, and the pictures show {people}"
            )
    found = [recognise(part) for part in x.split(SIZE, dim=-1)]
    right: dict[str, list[bool]] = {name: [] for name in (*VALUES, "caption")}
    for n, told in enumerate(facts):
        holds = []
        for who, claims in enumerate(told):
            for name, value in claims.items():
                holds.append(found[who][n].attributes[name] == value)
                right[name].append(holds[-1])
        right["caption"].append(all(holds))
    right["claims"] = [holds for name in VALUES for holds in right[name]]
    return {name: sum(values) / len(values) for name, values in right.items() if values}
