"""The measures of chapter 10's claims, where the right answer is known."""

from __future__ import annotations

import pytest
import torch

from minilib.data.scenes import drawing as scenes
from minilib.data.scenes.finder import recognise_scenes
from minilib.experiments import semantic_guidance as sdg
from minilib.experiments.experiment import Experiment


def thing(shape: str, colour: str, x: float, texture: str = "solid") -> scenes.Thing:
    return scenes.Thing(shape, colour, "medium", texture, x, 0.5)


def scene(*things: scenes.Thing) -> scenes.Scene:
    return scenes.Scene(things, "beside" if len(things) > 1 else "one", "white")


LEFT = scene(thing("circle", "red", 0.26))
RIGHT = scene(thing("circle", "red", 0.74))
PAIR = scene(thing("circle", "red", 0.26), thing("star", "blue", 0.74))


def test_the_checker_counts_claims_by_kind() -> None:
    views = recognise_scenes(scenes.render([LEFT, LEFT, PAIR]))
    texts = ["a red circle", "a red square", "a blue star"]
    assert sdg.held(views, texts) == [1, 0.5, 1]
    assert sdg.held(views, texts, "colour") == [1, 1, 1]
    assert sdg.held(views, texts, "shape") == [1, 0, 1]


def test_content_is_told_as_a_caption_that_its_scene_fulfils() -> None:
    assert sdg.content_of(PAIR) == "red circle, blue star"
    views = recognise_scenes(scenes.render([PAIR, LEFT]))
    full, part = sdg.held(views, [sdg.content_of(PAIR)] * 2)
    assert full == 1
    assert part < 1


def test_layouts_overlap_where_things_are_and_nowhere_else() -> None:
    same, other = sdg.overlap(scenes.render([LEFT, LEFT]), [LEFT, RIGHT])
    assert same > 0.8
    assert other == 0
    recoloured = scenes.render([scene(thing("circle", "green", 0.26))])
    assert sdg.overlap(recoloured, [LEFT])[0] == pytest.approx(same, abs=0.1)


def test_style_is_near_for_the_same_look_elsewhere_and_far_for_another() -> None:
    blue = scene(thing("circle", "blue", 0.74))
    x = scenes.render([LEFT, LEFT, LEFT])
    same, moved, other = sdg.style_distance(x, [LEFT, RIGHT, blue])
    assert same == pytest.approx(0, abs=1e-6)
    assert same < moved < other


def test_a_thing_is_in_the_style_by_colour_and_texture() -> None:
    striped = scene(thing("square", "red", 0.26, "striped"))
    views = recognise_scenes(scenes.render([LEFT, PAIR, striped]))
    assert sdg.in_style(views, [RIGHT, RIGHT, RIGHT]) == [1, 0.5, 0]


def test_what_is_asked_is_of_the_kind_that_it_says() -> None:
    wanted = sdg.asked(6, 3)
    lists = (wanted.captions, wanted.shown, wanted.styles, wanted.sentences)
    assert {len(values) for values in lists} == {6}
    assert all(len(s.things) <= 2 for s in wanted.shown)
    assert all(len(sdg.styles_in(s)) == 1 and len(s.things) > 2 for s in wanted.styles)
    assert wanted.sentences == [f"a {shape}" for shape in scenes.SHAPES]


def test_pictures_depend_on_the_seed_alone_and_no_scale_is_no_guidance() -> None:
    words, s = sdg.guides(sdg.asked(2, 5))["text"]
    plain, again = (sdg.guided_scenes(words, 0.0, 1, 2) for _ in range(2))
    assert torch.equal(plain, again)
    assert plain.abs().max() <= 1
    assert not torch.equal(plain, sdg.guided_scenes(words, s, 1, 2))


@pytest.mark.parametrize(
    "one", [sdg.SDG_1, sdg.SDG_2, sdg.SDG_3, sdg.SDG_4, sdg.SDG_5], ids=lambda e: e.id
)
def test_each_part_compares_two_arms_that_are_drawn(one: Experiment) -> None:
    arms = sdg.guides(sdg.asked(2, 5))
    parts = sdg.PARTS[one.id]
    assert [part.name for part in one.parts] == [*parts]
    for larger, smaller, measure in parts.values():
        assert larger != smaller
        assert {larger, smaller} <= {*arms}
        assert measure in sdg.MEASURES
