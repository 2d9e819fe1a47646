import pytest
import torch

from minilib.data.portraits.checker import accuracy
from minilib.data.scenes import drawing as scenes
from minilib.recipes import ddpm, glide
from minilib.recipes.captioned import (
    captioned_pairs,
    captioned_scenes,
    coloured_pairs,
    swapped_sides,
)


@pytest.mark.parametrize("draw", [captioned_pairs, coloured_pairs])
def test_captions_of_two_people_tell_who_is_left(draw):
    x, texts = draw(30, 0)
    assert x.shape == (30, 3, 16, 32)
    assert accuracy(x, texts)["claims"] >= 0.99
    assert accuracy(swapped_sides(x), texts)["claims"] < 0.7
    assert torch.equal(swapped_sides(swapped_sides(x)), x)


def test_two_people_wear_what_their_caption_says_in_its_order():
    texts = coloured_pairs(4, 0)[1]
    assert all(
        text.count(" top ") == 2 and text.count(" left of ") == 1 for text in texts
    )
    assert coloured_pairs(4, 0)[1] == texts != coloured_pairs(4, 1)[1]


def test_scenes_are_of_two_sizes_only():
    with pytest.raises(ValueError, match="expected scenes of size 16 or 32, got 24"):
        captioned_scenes(1, 0, size=24)


def test_scenes_drawn_as_told_score_one_in_every_category(monkeypatch):
    x, texts = captioned_scenes(8, 2, "held_out", "long")
    monkeypatch.setattr(
        glide, "captioned_scenes", lambda n, seed, split, style: (x, texts)
    )
    monkeypatch.setattr(glide, "draw_scenes", lambda model, large, noise, tokens: x)
    score = glide.score_scenes(None)
    assert score["caption"] == score["binding"] == 1
    assert set(score.values()) == {1}


@pytest.mark.parametrize("white", [0, 3, 8])
def test_scenes_are_clear_where_the_checker_knows_every_attribute(monkeypatch, white):
    x = scenes.render(scenes.draw(8, 0))
    x[:white] = 1
    monkeypatch.setattr(ddpm, "sample_scenes", lambda model, n, generator: x)
    assert ddpm.score_scenes(None) == {"clear": 1 - white / 8}
