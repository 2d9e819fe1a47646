"""Does a picture of a scene obey its caption? Category by category, without any learned
part.
"""

from __future__ import annotations

from itertools import permutations

from torch import Tensor

from minilib.data.scenes.captions import ATTRIBUTES, Claims, Told, read
from minilib.data.scenes.finder import Seen, View, recognise_scenes


def fits(thing: Seen, told: Told) -> bool:
    """Whether a thing has all the attributes that a phrase tells. One that can't be
    told is none.
    """
    return all(
        thing.attributes[name] == value for name, value in told.attributes.items()
    )


def enough(things: list[Seen], claims: Claims, name: str, value: str) -> bool:
    """Whether as many things have a value as the caption tells of."""
    wanted = sum(
        told.count or 1 for told in claims.phrases if told.attributes.get(name) == value
    )
    return sum(thing.attributes[name] == value for thing in things) >= wanted


def all_bound(things: list[Seen], claims: Claims) -> bool:
    """Whether every phrase has a thing of its own, or as many as it tells, with all its
    attributes at once.
    """
    wanted = [told for told in claims.phrases for _ in range(told.count or 1)]
    orders = permutations(things, len(wanted))
    return any(all(map(fits, order, wanted)) for order in orders)


def judge(view: View, claims: Claims) -> dict[str, list[bool]]:
    """Category by category, which of a caption's claims a picture fulfils."""
    right = {
        name: [
            enough(view.things, claims, name, told.attributes[name])
            for told in claims.phrases
            if name in told.attributes
        ]
        for name in ATTRIBUTES
    }
    right["count"] = [sum(fits(thing, told) for thing in view.things) == told.count
                      for told in claims.phrases if told.count]  # fmt: skip
    right["binding"] = (
        [all_bound(view.things, claims)] if len(claims.phrases) > 1 else []
    )
    right["spatial"] = []
    if claims.arrangement:
        same = view.arrangement == claims.arrangement and len(view.things) == len(
            claims.phrases
        )
        right["spatial"] = [same and all(map(fits, ordered(view), claims.phrases))]
    right["background"] = (
        [view.background == claims.background] if claims.background else []
    )
    return right


def ordered(view: View) -> list[Seen]:
    """The things in the order in which an arrangement names them: from the left, from
    above, or from the back.
    """
    if view.arrangement == "beside":
        return sorted(view.things, key=lambda thing: thing.x)
    return (
        sorted(view.things, key=lambda thing: thing.y)
        if view.arrangement == "stacked"
        else view.things
    )


def scene_accuracy(x: Tensor, texts: list[str]) -> dict[str, float]:
    """The share of captions' claims that pictures x (N, 3, 32, 32) in [-1, 1] fulfil,
    category by category.

    "colour", "shape", "texture" and "size": as many things have a value as are told to;
    "count": there are as many things of a kind as the caption says; "binding": of a
    caption of several phrases, each has its thing with all its attributes at once;
    "spatial": two things stand as told; "background"; and "caption": all of it, with a
    thing of its own for each phrase. "Can't tell" fulfils nothing, and a category that
    no caption names is left out. Raises ValueError where a caption cannot be read, or
    there is not one for each picture.
    """
    if len(x) != len(texts):
        raise ValueError(
            f"expected a caption for each of {len(x)} pictures, got {len(texts)}"
        )
    claims = [read(text) for text in texts]
    right: dict[str, list[bool]] = {}
    for view, told in zip(recognise_scenes(x), claims, strict=True):
        found = judge(view, told)
        found["caption"] = [
            all(fine for values in found.values() for fine in values)
            and all_bound(view.things, told)
        ]
        for name, values in found.items():
            right.setdefault(name, []).extend(values)
    return {name: sum(values) / len(values) for name, values in right.items() if values}
