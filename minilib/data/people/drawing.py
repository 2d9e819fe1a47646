"""Pictures of people in four styles, composed part by part, with masks and key points.

A part holds premultiplied red, green and blue, alpha, a coefficient for each free
colour ("tone"), and a label: x ← x (1 - alpha) + rgb + sum of coefficient · tone.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minilib.data.people.attributes import (
    Person,
    adapt,
    all_styles,
    key,
    known,
    require_size,
)
from minilib.data.shipped import read_shipped

FILES = {  # the parts of each style
    "personas": "7fcd2c8ccafef55f31b3f3c1e8770eafc7578b704c0fc7f94f70ed4b91351bec",
    "open-peeps": "e2a1adcc74ea09775e57083bf4f6541ac03997e05e581b995771716fae115d72",
    "micah": "34086ef103e4a04fd3b93282a25bfdcdb63f2515761fa39aeccb482dfd8be824",
    "croodles": "030d94a59a974012f394ed236c935412373b51581339c97592d9d89f6fa05936",
}
SIZE = 64
LABELS = (  # of what masks tell apart
    "background",
    "face",
    "hair",
    "eyes",
    "eyewear",
    "mouth",
    "facial_hair",
    "clothing",
    "hat",
)
COLOURS = {
    "hair": {
        "black": "26222e",
        "brown": "6f4326",
        "blond": "f0c75e",
        "red": "c73a1d",
        "white": "eeeef2",
        "pink": "ef7db4",
        "blue": "3f7fe0",
        "green": "4fae5a",
    },
    "hat": {
        "red": "d93a3f",
        "yellow": "f5bf3b",
        "green": "3fa45b",
        "blue": "3d6bff",
        "purple": "7b52c9",
        "black": "2e2d38",
    },
    "clothing": {
        "red": "d93a3f",
        "yellow": "f5bf3b",
        "green": "3fa45b",
        "blue": "3d6bff",
        "purple": "7b52c9",
        "pink": "f283b6",
        "black": "2e2d38",
        "white": "f4f4f6",
    },
    "background": {
        "blue": "a3dbf7",
        "purple": "b9a2ee",
        "pink": "ffc2d9",
        "yellow": "fff0a8",
        "green": "bfe8b3",
        "grey": "c4c4c4",
    },
}


@dataclass(frozen=True)
class Part:
    """A part of the art at its place: keep = 1 - alpha (h, w), rgba (4, h, w) with
    premultiplied colours, coefficients (tones, h, w), label (h, w) uint8, an index of
    LABELS.
    """

    rows: slice
    columns: slice
    keep: np.ndarray
    rgba: np.ndarray
    coefficients: np.ndarray
    tones: list[str]
    label: np.ndarray


@cache
def parts(style: str) -> dict[str, Part]:
    """The parts of a style, by "slot/variant"."""
    found, content = {}, read_shipped(f"people/{style}.npz", FILES[style])
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for name, info in known(style)["parts"].items():
            art, (y, x) = arrays[name], info["at"]  # (h, w, 5 + tones)
            layers = np.ascontiguousarray(art[..., :-1].transpose(2, 0, 1), np.float32)
            layers /= 255
            found[name] = Part(
                slice(y, y + art.shape[0]),
                slice(x, x + art.shape[1]),
                1 - layers[3],
                layers[:4],
                layers[4:],
                info["tones"],
                art[..., -1],
            )
    return found


def chosen(person: Person, style: str) -> list[str]:
    """The names of a person's parts from back to front; `variation` chooses among
    several of the same attributes.
    """
    names, rest = [], person.variation
    for slot, facts in known(style)["slots"].items():
        variants = facts["variants"][key(person, facts["by"])]
        if variants:
            rest, i = divmod(rest, len(variants))
            names.append(f"{slot}/{variants[i]}")
    return names


def rgb(hexadecimal: str) -> np.ndarray:
    """ "ff8000" → [1, 0.502, 0]."""
    return np.array([int(hexadecimal[i : i + 2], 16) / 255 for i in (0, 2, 4)])


def light(colour: np.ndarray) -> np.ndarray:
    """A colour (3,) in [0, 1] under a highlight: white by the blend mode "overlay"."""
    return np.minimum(1, 2 * colour)


def dark(colour: np.ndarray) -> np.ndarray:
    """A colour (3,) in [0, 1] in the shade: black by the blend mode "overlay"."""
    return np.maximum(0, 2 * colour - 1)


@cache
def tones(
    style: str, skin: str, hair: str, hat: str, clothing: str, dark_beard: bool
) -> dict[str, tuple[float, ...]]:
    """Every colour that a part may ask for, in [0, 1]."""
    of_skin = rgb(all_styles()[style]["skins"][skin])
    of_hair, of_hat = rgb(COLOURS["hair"][hair]), rgb(COLOURS["hat"][hat])
    of_clothing = rgb(COLOURS["clothing"][clothing])
    face = 0.64 * of_skin + 0.36 * light(of_skin)
    found = {
        "skin": of_skin,
        "skin_glow": light(of_skin),
        "face_light": light(face),
        "face_dark": dark(face),
        # it must show on a black beard
        "mouth": np.full(3, 0.85 if dark_beard else 0),
        "hair": of_hair,
        "hair_light": light(of_hair),
        "hair_glow": light(of_hair),
        "hair_dark": dark(of_hair),
        "ink": of_hair,
        "hat": of_hat,
        "hat_dark": dark(of_hat),
        "hat_ink": of_hat,
        "clothing": of_clothing,
        "clothing_glow": light(of_clothing),
        "clothing_dark": np.minimum(dark(of_clothing), 0.75 * of_clothing),
    }
    return {name: tuple(colour.tolist()) for name, colour in found.items()}


@cache
def coloured(
    style: str, name: str, colours: tuple[tuple[float, ...], ...]
) -> np.ndarray:
    """A part in its colours: (4, h, w), premultiplied red, green, blue, and alpha."""
    part = parts(style)[name]
    paint = np.zeros_like(part.rgba)
    for coefficient, colour in zip(part.coefficients, colours, strict=True):
        rgba = np.array([*colour, 0], np.float32)[:, None, None]
        paint = paint + coefficient * rgba
    return part.rgba + paint


def figure(person: Person, style: str) -> np.ndarray:
    """An adapted person without background: (4, 64, 64) float32, premultiplied red,
    green, blue, and alpha.
    """
    dark_beard = person.facial_hair == "beard" and person.hair_colour == "black"
    palette = tones(
        style,
        person.skin,
        person.hair_colour,
        person.hat_colour,
        person.clothing_colour,
        dark_beard,
    )
    out = np.zeros((4, SIZE, SIZE), np.float32)
    for name in chosen(person, style):
        part = parts(style)[name]
        paint = coloured(style, name, tuple(palette[tone] for tone in part.tones))
        spot = out[:, part.rows, part.columns]
        spot *= part.keep
        spot += paint
    return placed(out, person)


def placed(x: np.ndarray, person: Person) -> np.ndarray:
    """Layers (…, 64, 64) mirrored and moved as the person is; zero comes in from
    outside.
    """
    x, (down, right) = x[..., ::-1] if person.flip else x, person.shift
    out = np.zeros_like(x)
    out[..., inside(down), inside(right)] = x[..., inside(-down), inside(-right)]
    return out


def inside(shift: int) -> slice:
    """The rows or columns that a picture moved by so many pixels comes to lie in."""
    return slice(max(shift, 0), SIZE + min(shift, 0))


def picture(person: Person, style: str = "personas") -> np.ndarray:
    """The person in a style, adapted to what it can draw: (64, 64, 3), uint8. Raises
    ValueError for an unknown style.
    """
    layer = figure(adapt(person, style), style)
    ground = rgb(COLOURS["background"][person.background]).astype(np.float32)
    out = layer[:3] + (1 - layer[3]) * ground[:, None, None]
    return (np.clip(out, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)


def render(people: list[Person], style: str = "personas", size: int = 64) -> Tensor:
    """The pictures of people, (N, 3, size, size) in [-1, 1]; at 32 a pixel is the mean
    of four at 64.

    Raises ValueError for an unknown style or size.
    """
    require_size(size)
    x = np.zeros((len(people), SIZE, SIZE, 3), np.uint8)
    for row, person in zip(x, people, strict=True):
        row[:] = picture(person, style)
    return scaled(torch.from_numpy(x).permute(0, 3, 1, 2), size)


def scaled(x: Tensor, size: int) -> Tensor:
    """Pictures (N, 3, 64, 64) in 0 … 255 → (N, 3, size, size) in [-1, 1]."""
    x = x.contiguous().float()
    return (F.avg_pool2d(x, 2) if size == 32 else x) / 127.5 - 1


def masks(people: list[Person], style: str = "personas") -> Tensor:
    """What is seen at each place: (N, 9, 64, 64), bool, in the order of LABELS, one
    True a place. Raises ValueError for an unknown style.
    """
    label = np.zeros((len(people), SIZE, SIZE), np.uint8)
    for row, person in zip(label, people, strict=True):
        person = adapt(person, style)
        for name in chosen(person, style):
            part = parts(style)[name]
            spot = row[part.rows, part.columns]
            np.copyto(spot, part.label, where=part.label > 0)
        row[:] = placed(row.copy(), person)
    one_hot = F.one_hot(torch.from_numpy(label).long(), len(LABELS))
    return one_hot.bool().permute(0, 3, 1, 2)


def points(person: Person, style: str = "personas") -> dict[str, tuple[float, float]]:
    """Where eyes, nose and mouth are in a picture of 64 pixels, as (row, column); left
    and right are the viewer's. Raises ValueError for an unknown style.
    """
    found, (down, right) = known(style)["points"], person.shift
    if person.flip:
        other = {"left_eye": "right_eye", "right_eye": "left_eye"}
        found = {other.get(k, k): (y, SIZE - 1 - x) for k, (y, x) in found.items()}
    return {name: (y + down, x + right) for name, (y, x) in found.items()}
