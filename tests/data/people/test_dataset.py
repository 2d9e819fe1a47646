import pytest
import torch

from minilib.data.people.attributes import draw
from minilib.data.people.captions import captions
from minilib.data.people.dataset import people
from minilib.data.people.drawing import render


def test_pictures_captions_and_people_belong_together():
    x, texts, who = people(30, 4, "held_out", "micah", 32, move=3)
    assert who == draw(30, 4, "held_out", "micah", 3)
    assert torch.equal(x, render(who, "micah", 32))
    assert texts == captions(who, 4, "micah", 32)
    assert any(p.flip for p in who)


def test_without_more_words_they_are_the_main_style_at_64():
    x, texts, who = people(5, 0)
    assert x.shape == (5, 3, 64, 64)
    assert texts == captions(draw(5, 0), 0)
    assert all(p.shift == (0, 0) for p in who)
    with pytest.raises(ValueError, match="size 64 or 32, got 16"):
        people(2, 0, size=16)
