"""The checker of scenes against pictures whose every thing is known, whole and
damaged.
"""

import numpy as np
import pytest
import torch
from scipy import ndimage

from minilib.data.scenes.captions import captions
from minilib.data.scenes.checker import scene_accuracy
from minilib.data.scenes.drawing import Scene, Thing, draw, render
from minilib.data.scenes.finder import recognise_scenes


@pytest.fixture(scope="module")
def scenes():
    return draw(120, seed=9) + draw(30, seed=9, split="held_out")


def whole(x: torch.Tensor, scenes: list[Scene]) -> float:
    """The share of pictures of which everything is found, and nothing else."""
    right = 0
    for view, scene in zip(recognise_scenes(x), scenes, strict=True):
        found = sorted(
            tuple(
                str(thing.attributes[name])
                for name in ("shape", "colour", "size", "texture")
            )
            for thing in view.things
        )
        told = sorted((t.shape, t.colour, t.size, t.texture) for t in scene.things)
        relation = len(scene.things) != 2 or view.arrangement == scene.arrangement
        right += found == told and relation and view.background == scene.background
    return right / len(scenes)


def test_scenes_are_wholly_found(scenes):
    assert whole(render(scenes), scenes) >= 0.99


def test_scenes_are_found_under_noise(scenes):
    x = render(scenes)
    assert (
        whole(
            x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
            scenes,
        )
        >= 0.95
    )


def test_scenes_are_found_when_blurred(scenes):
    soft = ndimage.gaussian_filter(render(scenes).numpy(), (0, 0, 1, 1), mode="nearest")
    assert whole(torch.from_numpy(soft), scenes) >= 0.95


def test_things_are_where_they_were_drawn(scenes):
    for view, scene in zip(recognise_scenes(render(scenes[:40])), scenes, strict=False):
        found = np.array([(thing.x, thing.y) for thing in view.things])
        true = np.array([(thing.x, thing.y) for thing in scene.things])
        assert np.abs(found[:, None] - true).max(axis=2).min(axis=1).max() < 1 / 32


def test_what_is_no_scene_is_told_apart():
    g = torch.Generator().manual_seed(0)
    noise = torch.rand(3, 3, 32, 32, generator=g) * 2 - 1
    blobs = torch.full((2, 3, 32, 32), 0.9373)  # white
    # a bar in a colour that is none of ours
    blobs[:, :, 8:20, 10:13] = torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    for view in recognise_scenes(torch.cat([noise, blobs])):
        assert not any(
            value
            for thing in view.things
            for name, value in thing.attributes.items()
            if name == "shape"
        )


def test_things_that_the_border_cuts_are_looked_for_within_the_picture():
    """Generators draw these, and the best fit may want to move out of the picture."""
    x = render(draw(40, 3))
    for shift in (-14, 14):
        for dim in (2, 3):
            views = recognise_scenes(x.roll(shift, dims=dim)[:10])
            assert all(
                0 <= thing.x <= 1 and 0 <= thing.y <= 1
                for view in views
                for thing in view.things
            )
    half = torch.full((1, 3, 32, 32), 0.9373)
    half[:, :, :, :5] = render(
        [Scene((thing("square", "red", 0.5, 0.5),), "one", "white")]
    )[:, :, :, 16:21]
    (view,) = recognise_scenes(half)
    assert all(0 <= thing.x <= 1 for thing in view.things)


def thing(
    shape: str,
    colour: str,
    x: float,
    y: float,
    size: str = "small",
    texture: str = "solid",
) -> Thing:
    return Thing(shape, colour, size, texture, x, y)


LEFT_RED = Scene(
    (thing("circle", "red", 0.26, 0.5), thing("square", "blue", 0.74, 0.5)),
    "beside",
    "white",
)
BEHIND = Scene(
    (
        thing("circle", "red", 0.45, 0.5, "large"),
        thing("star", "blue", 0.76, 0.5, "medium"),
    ),
    "in front of",
    "white",
)
THREE = Scene(
    tuple(
        thing("star", "green", x, y)
        for x, y in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75)]
    ),
    "three",
    "mint",
)


@pytest.mark.parametrize(
    ("scene", "text", "wrong"),
    [
        (LEFT_RED, "a red circle left of a blue square", set()),
        (LEFT_RED, "a blue square right of a red circle", set()),
        (LEFT_RED, "a blue square left of a red circle", {"spatial"}),
        (LEFT_RED, "a red circle above a blue square", {"spatial"}),
        (LEFT_RED, "a blue circle and a red square", {"binding"}),
        (LEFT_RED, "a red circle and a red square", {"colour", "binding"}),
        (LEFT_RED, "a large red circle", {"size"}),
        (
            LEFT_RED,
            "a striped red circle on a grey background",
            {"texture", "background"},
        ),
        (LEFT_RED, "two red circles", {"colour", "shape", "count"}),
        (BEHIND, "a blue star in front of a red circle", set()),
        (BEHIND, "a red circle in front of a blue star", {"spatial"}),
        (BEHIND, "a blue star inside a red circle", {"spatial"}),
        (THREE, "three green stars", set()),
        (THREE, "two green stars", {"count"}),
        (THREE, "four green stars", {"colour", "shape", "count"}),
    ],
)
def test_each_category_finds_its_own_errors(scene, text, wrong):
    found = scene_accuracy(render([scene]), [text])
    assert {name for name, share in found.items() if share < 1} == wrong | (
        {"caption"} if wrong else set()
    )


def test_accuracy_of_true_and_of_exchanged_captions(scenes):
    x, texts = render(scenes[:60]), captions(scenes[:60], 0, "long")
    true, wrong = scene_accuracy(x, texts), scene_accuracy(x, texts[1:] + texts[:1])
    assert min(true.values()) >= 0.96
    assert wrong["caption"] <= 0.02
    assert wrong["colour"] < 0.5
    assert "spatial" not in scene_accuracy(x[:1], ["a red circle"])


def test_bad_input_is_named(scenes):
    with pytest.raises(ValueError, match="a caption for each of 2 pictures, got 1"):
        scene_accuracy(render(scenes[:2]), ["a red circle"])
    with pytest.raises(ValueError, match="32, 32"):
        recognise_scenes(torch.zeros(2, 3, 32, 30))
    with pytest.raises(ValueError, match="what is meant by"):
        scene_accuracy(render(scenes[:1]), ["a red hat"])


def test_a_caption_of_one_thing_holds_only_where_that_thing_is():
    """Beside a red circle and a blue square there is something blue and a circle, but
    no blue circle.
    """
    found = scene_accuracy(render([LEFT_RED]), ["a blue circle"])
    assert found == {"colour": 1, "shape": 1, "caption": 0}


def test_a_picture_of_no_numbers_shows_nothing():
    view = recognise_scenes(torch.full((1, 3, 32, 32), torch.nan))[0]
    assert view.background is None
    assert not view.things
