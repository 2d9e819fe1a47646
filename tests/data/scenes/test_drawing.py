"""Scenes: what is drawn is what is known of it, and captions are true."""

from dataclasses import replace

import pytest
import torch

from minilib.data.portraits.drawing import rgb
from minilib.data.scenes import drawing as scenes
from minilib.data.scenes.drawing import (
    ARRANGEMENTS,
    GROUNDS,
    SHAPES,
    SIZES,
    TEXTURES,
    TINTS,
    Scene,
    Thing,
    draw,
    edges,
    key_points,
    masks,
    render,
    withheld,
)


@pytest.fixture(scope="module")
def many():
    return draw(1500, seed=3)


def alone(shape="circle", colour="red", size="large", texture="solid", x=0.5, y=0.5):
    return Scene((Thing(shape, colour, size, texture, x, y),), "one", "white")


def test_a_seed_gives_the_same_scenes_and_splits_share_none():
    assert draw(20, 1) == draw(50, 1)[:20]
    assert not set(draw(100, 1)) & set(draw(100, 2))
    assert not set(draw(100, 1)) & set(draw(100, 1, "test"))
    with pytest.raises(ValueError, match="unknown split 'val'"):
        draw(3, 0, "val")


def test_withheld_pairs_are_in_the_held_out_split_alone(many):
    assert not any(withheld(s) for s in many)
    held_out = draw(200, 0, "held_out")
    assert all(withheld(s) for s in held_out)
    stars = sum(
        any((t.colour, t.shape) == ("purple", "star") for t in s.things)
        for s in held_out
    )
    circles = sum(
        s.arrangement == "beside" and all(t.shape == "circle" for t in s.things)
        for s in held_out
    )
    assert min(stars, circles) > 5
    for name, value in (
        ("colour", "purple"),
        ("shape", "star"),
        ("texture", "striped"),
        ("shape", "cross"),
    ):
        assert sum(any(getattr(t, name) == value for t in s.things) for s in many) > 100


def test_everything_occurs(many):
    things = [t for s in many for t in s.things]
    for name, values in (
        ("shape", SHAPES),
        ("colour", TINTS),
        ("size", SIZES),
        ("texture", TEXTURES),
    ):
        assert {getattr(t, name) for t in things} == set(values)
    assert {s.arrangement for s in many} == set(ARRANGEMENTS)
    assert {s.background for s in many} == set(GROUNDS)
    assert {len(s.things) for s in many} == {1, 2, 3, 4}


@pytest.mark.parametrize("size", [32, 48, 64])
def test_pictures_have_the_size_and_range_asked_for(many, size):
    x = render(many[:20], size)
    assert x.shape == (20, 3, size, size)
    assert x.min() >= -1
    assert x.max() <= 1
    assert torch.equal(x[3:4], render(many[3:4], size))
    with pytest.raises(ValueError, match="a size of 32 or more, got 16"):
        render(many[:1], 16)


def test_nothing_leaves_the_picture_or_is_narrower_than_ten_pixels(many):
    for scene in many[:300]:
        for thing in scene.things:
            mask = scenes.coverage([thing], 32)[0][0] > 0.1
            rows, columns = (
                mask.any(dim=1).nonzero()[:, 0],
                mask.any(dim=0).nonzero()[:, 0],
            )
            assert min(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 >= 10, thing
            half = SIZES[thing.size] / 2
            assert half - 0.01 <= thing.x <= 1.01 - half, thing
            assert half - 0.01 <= thing.y <= 1.01 - half, thing


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_where_and_what_they_are(shape):
    mask = masks(alone(shape), 128)[0]
    assert mask[64, 64]
    assert torch.equal(mask, mask.flip(1))  # all are symmetric from left to right
    assert torch.equal(mask, mask.flip(0)) == (shape not in ("triangle", "star"))
    share = {
        "circle": 0.503,
        "square": 0.518,
        "diamond": 0.32,
        "cross": 0.361,
        "star": 0.21,
        "triangle": 0.296,
    }[shape]
    assert float(mask.float().mean()) == pytest.approx(share, abs=0.03)
    x = render([alone(shape, "blue")], 128)[0]
    assert torch.allclose(
        (x[:, 64, 64] + 1) / 2, torch.tensor(rgb(TINTS["blue"])), atol=0.01
    )
    assert torch.allclose(
        (x[:, 0, 0] + 1) / 2, torch.tensor(rgb(GROUNDS["white"])), atol=0.01
    )


def test_textures_darken_a_share_of_a_thing():
    solid, striped, dotted = (
        render([alone("square", texture=t)], 64)[0, 0] for t in TEXTURES
    )
    inside = masks(alone("square"), 64)[0]
    assert float((striped < solid - 0.5)[inside].float().mean()) == pytest.approx(
        0.5, abs=0.06
    )
    assert float((dotted < solid - 0.5)[inside].float().mean()) == pytest.approx(
        0.36, abs=0.06
    )
    middle = striped[12:52, 12:52]
    assert (middle.std(dim=1) < 0.01).all()  # stripes lie
    assert (middle.std(dim=0) > 0.3).all()


def test_what_is_in_front_hides_what_is_behind(many):
    for scene in [s for s in many if s.arrangement in ("inside", "in front of")][:60]:
        back, front = masks(scene)
        whole = masks(replace(scene, things=scene.things[:1]))[0]
        assert not (back & front).any()
        assert (whole & ~back & ~front).sum() == 0
        assert (whole & front).sum() > 0.2 * front.sum()
        if scene.arrangement == "inside":
            assert (whole | ~front).all()
        else:
            assert (front & ~whole).sum() > 0.15 * front.sum()


def test_masks_edges_and_key_points_agree_with_the_picture(many):
    for scene in many[:60]:
        seen, border, points = masks(scene, 64), edges(scene, 64), key_points(scene)
        assert (seen.sum(dim=0) <= 1).all()
        assert seen.any(dim=(1, 2)).all()
        assert (border <= seen.any(dim=0)).all()
        assert border.sum() < seen.sum()
        assert points.shape == (len(scene.things), 2)
        ground = torch.tensor(rgb(GROUNDS[scene.background]))
        deep = ~torch.nn.functional.max_pool2d(
            seen.any(dim=0).float()[None], 5, 1, 2
        ).bool()[0]
        assert ((render([scene], 64)[0][:, deep].T + 1) / 2 - ground).abs().max() < 0.01


def test_the_textures_of_narrow_things_are_plain(many):
    thin = [
        t
        for s in many
        for t in s.things
        if t.size == "small" and t.shape in ("star", "cross")
    ]
    assert {t.texture for t in thin} == {"solid"}
    assert scenes.PERIOD * 32 == 4
