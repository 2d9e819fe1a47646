"""Pictures of people: pixel for pixel as first made, masks and key points with them."""

import hashlib
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
import torch

from minilib.data.people.attributes import STYLES, VALUES, Person, draw
from minilib.data.people.drawing import (
    COLOURS,
    FILES,
    LABELS,
    masks,
    picture,
    points,
    render,
    rgb,
)

every_style = pytest.mark.parametrize("style", STYLES)
# SHA-256 of the pictures of 200 people in each style, and of their masks, as the
# program that cut the parts from DiceBear's drawings drew them
DIGESTS = {
    "personas": ("70bdf238489da3a2", "d09a19c16b5a1b98"),
    "open-peeps": ("2750689bd5fb2e6a", "96c441e0970d7e41"),
    "micah": ("9a8eec8dd4540b24", "81ec92bb4dbecf4f"),
    "croodles": ("5dfac108c2ad5674", "ea08a8de10320ada"),
}


def someone(i: int) -> Person:
    """A person as good as random, by a number alone."""

    def number(name: str) -> int:
        return crc32(f"{name} {i}".encode())

    return Person(
        **{name: values[number(name) % len(values)] for name, values in VALUES.items()},
        variation=number("variation") % (1 << 30),
        flip=i % 4 == 3,
        shift=(number("down") % 6, number("right") % 11 - 5) if i % 2 else (0, 0),
    )


CROWD = [someone(i) for i in range(200)]


def digest(x: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:16]


@every_style
def test_pictures_and_masks_are_those_of_the_first_program(style):
    x = np.stack([picture(p, style) for p in CROWD])
    label = masks(CROWD, style).int().argmax(dim=1).byte().numpy()
    assert (x.shape, x.dtype) == ((200, 64, 64, 3), np.uint8)
    assert (digest(x), digest(label)) == DIGESTS[style]


@every_style
def test_a_batch_is_its_pictures_in_the_range_of_networks(style):
    x = render(CROWD[:20], style)
    assert (x.shape, x.dtype) == ((20, 3, 64, 64), torch.float32)
    assert x.is_contiguous()
    one = torch.from_numpy(picture(CROWD[7], style).copy()).permute(2, 0, 1)
    assert torch.equal(x[7], one.float() / 127.5 - 1)


def test_at_32_a_pixel_is_the_mean_of_four():
    x, small = render(CROWD[:50]), render(CROWD[:50], size=32)
    assert small.shape == (50, 3, 32, 32)
    mean = x.double().unflatten(3, (32, 2)).unflatten(2, (32, 2)).mean(dim=(3, 5))
    assert (small - mean).abs().max() < 1e-6
    assert render([], size=32).shape == (0, 3, 32, 32)


@every_style
def test_the_background_is_where_its_mask_is_and_masks_cover_once(style):
    m, x = masks(CROWD[:60], style), render(CROWD[:60], style)
    assert m.shape == (60, len(LABELS), 64, 64)
    assert (m.sum(dim=1) == 1).all()
    for person, mask, drawn in zip(CROWD, m, x, strict=False):
        ground = torch.from_numpy(rgb(COLOURS["background"][person.background]))
        # a mask ends where a part covers half of a pixel
        off = ((drawn[:, mask[0]].T / 2 + 0.5) - ground).abs().amax(dim=1)
        assert off.median() < 0.01
        assert mask[0, 0, 0]


def test_masks_tell_hats_glasses_and_beards():
    people = draw(200, 0, style="open-peeps", move=5)
    m = masks(people, "open-peeps")
    for name in ("hat", "eyewear", "facial_hair"):
        there = m[:, LABELS.index(name)].flatten(1).sum(dim=1)
        for person, pixels in zip(people, there.tolist(), strict=True):
            assert (pixels >= 8) == (getattr(person, name) != "none"), name


@every_style
def test_eyes_and_mouth_are_at_their_points(style):
    people = [
        replace(p, facial_hair="none", eyewear="none", eyes="open", mood="grinning")
        for p in CROWD[:40]
    ]
    labels = {"left_eye": "eyes", "right_eye": "eyes", "mouth": "mouth"}
    for person, mask in zip(people, masks(people, style), strict=True):
        found = points(person, style)
        assert set(found) == {"left_eye", "right_eye", "nose", "mouth"}
        assert found["left_eye"][1] < found["right_eye"][1]
        for name, label in labels.items():
            rows, columns = mask[LABELS.index(label)].nonzero().T
            y, x = found[name]
            assert ((rows - y).square() + (columns - x).square()).min() < 3**2, name


def test_mirrored_and_moved_is_the_same_picture_elsewhere():
    still = replace(CROWD[0], flip=False, shift=(0, 0))
    x = picture(still)
    assert np.array_equal(picture(replace(still, flip=True)), x[:, ::-1])
    moved = picture(replace(still, shift=(3, -4)))
    assert np.array_equal(moved[3:, :-4], x[:-3, 4:])
    corner = x[0, 0]
    assert (moved[:3] == corner).all()
    assert (moved[:, -4:] == corner).all()
    y, z = points(still)["nose"]
    assert points(replace(still, shift=(3, -4)))["nose"] == (y + 3, z - 4)
    assert points(replace(still, flip=True))["nose"] == (y, 63 - z)


def test_variations_of_a_person_are_drawn_differently():
    bob = replace(CROWD[0], hair="bob", hat="none")
    drawn = {picture(replace(bob, variation=i)).tobytes() for i in range(16)}
    assert 4 <= len(drawn) <= 16


def test_damaged_art_and_unknown_styles_are_refused(monkeypatch):
    for call in (picture, points):
        with pytest.raises(ValueError, match="unknown style 'oil'"):
            call(CROWD[0], "oil")
    with pytest.raises(ValueError, match="unknown style 'oil'"):
        masks(CROWD[:1], "oil")
    with pytest.raises(ValueError, match="size 64 or 32, got 128"):
        render(CROWD[:1], size=128)
    assert set(FILES) == set(STYLES)
