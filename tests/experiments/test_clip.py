"""The parts of chapter 9's claim, on models whose answers are known."""

import torch

from minilib.experiments import clip
from minilib.experiments.experiment import Size


def test_new_pairs_have_captions_of_their_own():
    for world in ("portraits", "scenes"):
        x, tokens = clip.new_pairs(world)
        assert x.shape == (1000, 3, 16, 16)
        assert len({tuple(row) for row in tokens.tolist()}) == 1000


def test_a_model_that_knows_the_pairs_finds_all_and_a_blind_one_few():
    x, tokens = clip.new_pairs("portraits")
    place = {tuple(row): i for i, row in enumerate(tokens.tolist())}
    arrow = {picture.numpy().tobytes(): i for i, picture in enumerate(x)}
    corners = torch.eye(1000)

    class Knows:
        def embed_text(self, tokens):
            return corners[[place[tuple(row)] for row in tokens.tolist()]]

        def embed_image(self, x):
            return corners[[arrow[picture.numpy().tobytes()] for picture in x]]

    class Blind(Knows):
        def embed_image(self, x):
            return corners[:1].expand(len(x), -1)

    assert clip.found_in(Knows(), "portraits") == 1.0
    assert clip.found_in(Blind(), "portraits") == 0.01


def test_each_part_compares_the_generalist_with_one_specialist():
    found = {
        "both": {"portraits": 0.7, "scenes": 0.6},
        "portraits": {"portraits": 0.9, "scenes": 0.05},
        "scenes": {"portraits": 0.04, "scenes": 0.8},
    }
    assert clip.sides_of(found) == {
        "abroad, portraits: both worlds − scenes only": (0.7, 0.04),
        "abroad, scenes: both worlds − portraits only": (0.6, 0.05),
        "at home, portraits: both worlds − portraits only": (0.7, 0.9),
        "at home, scenes: both worlds − scenes only": (0.6, 0.8),
    }
    clip.UNCLIP_8.require_parts(clip.sides_of(found))


def test_quick_and_full_are_the_recipes_budgets():
    recipe = clip.ARMS["both"]
    assert {one.quick for one in clip.ARMS.values()} == {recipe.quick}
    assert Size.QUICK.pick(live=20, quick=recipe.quick, full=recipe.full) == 250
