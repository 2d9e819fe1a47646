"""What ships, held against what it went on from and against what it was told."""

import pytest
import torch
from torch.nn import functional as F

from minilib import recipes, weights
from minilib.commands.listing import prompt
from minilib.data.people import attributes
from minilib.data.people.captions import captions
from minilib.data.people.checker import claims_right
from minilib.data.portraits import drawing as portraits
from minilib.data.portraits.checker import accuracy
from minilib.data.scenes.checker import scene_accuracy
from minilib.data.scenes.finder import recognise_scenes
from minilib.diffusion.inpainting import keep_known
from minilib.diffusion.sampling import ddim, denoiser, last
from minilib.diffusion.schedule import X_0, trailing
from minilib.models.attributes import judged
from minilib.models.glide import masked_condition, with_condition
from minilib.recipes import captioned
from minilib.recipes.ddpm import LINEAR
from minilib.recipes.glide import draw_conditional, draw_scenes, enlarge


def shipped(name):
    return weights.load_pretrained(recipes.get(name).model(), name)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def swapped(texts):
    """The same captions, each in the place of another one."""
    return texts[1:] + texts[:1]


@pytest.mark.parametrize("name", ["noisy_clip_scenes", "noisy_clip_portraits"])
def test_the_clips_of_noise_read_it_better_than_the_clean_ones(name):
    recipe = recipes.get(name)
    noisy = recipe.score(weights.load_pretrained(recipe.model(), name))
    clean = recipe.score(recipe.model())  # which starts with the clean one's weights
    assert noisy["r1_caption_t250"] > clean["r1_caption_t250"] + 0.1
    assert noisy["r1_caption_t500"] > clean["r1_caption_t500"] + 0.1
    assert noisy["r1_caption_t750"] < 0.1  # there is little left to read


def test_what_was_never_told_draws_scenes():
    x = recipes.get("ddpm_scenes").sample(
        shipped("ddpm_scenes"), 16, torch.Generator().manual_seed(3)
    )
    assert x.shape == (16, 3, 32, 32)
    assert sum(bool(view.things) for view in recognise_scenes(x)) >= 12


@pytest.mark.parametrize(
    "name", [name for name, recipe in recipes.RECIPES.items() if recipe.tokenizer]
)
def test_what_reads_draws_what_the_generator_and_the_caption_say(name):
    recipe, model = recipes.get(name), shipped(name)
    tokens = recipe.tokenizer().encode([prompt(name)])
    draw = [
        recipe.sample(model, 1, torch.Generator().manual_seed(seed), tokens)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert draw[0].abs().max() <= 1
    assert not draw[0].requires_grad


def test_the_shipped_painter_of_people_obeys_prompts_with_pairs_that_it_never_saw():
    texts, recipe = (
        captioned.captioned_portraits(24, 7, "held_out", "long")[1],
        recipes.get("glide_portraits"),
    )
    tokens = captioned.portrait_tokens().encode(texts)
    x = recipe.sample(
        shipped("glide_portraits"), 24, torch.Generator().manual_seed(0), tokens
    )
    assert accuracy(x, texts)["claims"] >= 0.85
    assert accuracy(x, swapped(texts))["claims"] < 0.6


@pytest.mark.parametrize("name", ["dalle_people", "glide_people"])
def test_the_shipped_painters_of_drawn_people_obey(name):
    texts = captions(attributes.draw(24, 7, "held_out"), 7, "personas", 32)
    tokens = recipes.get(name).tokenizer().encode(texts)
    x = recipes.get(name).sample(
        shipped(name), 24, torch.Generator().manual_seed(0), tokens
    )
    found = judged(shipped("people_judge"), x)
    assert claims_right(found, texts)["claims"] >= 0.8
    assert claims_right(found, swapped(texts))["claims"] < 0.6


def test_the_painter_of_one_person_draws_two_and_hears_what_is_told_if_not_of_whom():
    texts = captioned.captioned_pairs(24, 7, "held_out")[1]
    tokens = captioned.portrait_tokens().encode(texts)
    with torch.no_grad():
        x = draw_conditional(
            shipped("glide_portraits"), noise(24, 3, 16, 32), tokens, steps=12
        )
    assert accuracy(x, texts)["claims"] > accuracy(x, swapped(texts))["claims"] + 0.1


def test_a_widened_network_starts_as_the_one_that_it_was():
    narrow, wide = (
        shipped("glide_portraits"),
        recipes.get("glide_portraits_inpaint").model().eval(),
    )
    x, t, tokens = (
        noise(2, 3, 16, 16),
        torch.tensor([100, 900]),
        captioned.portrait_tokens().encode(["a face"] * 2),
    )
    with torch.no_grad():
        seen = wide(torch.cat([x, noise(2, 4, 16, 16)], dim=1), t, tokens)
        assert torch.allclose(seen, narrow(x, t, tokens), atol=1e-5)


def test_the_shipped_inpainter_gives_them_a_red_hat_and_leaves_the_rest():
    people = [
        p
        for p in portraits.draw(60, 8, "test")
        if p.hat == "no hat" and p.hair != "green"
    ][:16]
    x_0, tokens = (
        portraits.render(people),
        captioned.portrait_tokens().encode(["a person with a red hat"] * 16),
    )
    known = torch.ones(16, 1, 16, 16, dtype=torch.bool)
    known[:, :, :8] = False
    model = with_condition(
        shipped("glide_portraits_inpaint"), masked_condition(x_0, known)
    )
    denoise = keep_known(denoiser(model, LINEAR, X_0, tokens), x_0, known)
    with torch.no_grad():
        x = last(ddim(denoise, LINEAR, noise(16, 3, 16, 16), trailing(1000, 20)))
    assert torch.equal(x[:, :, 8:], x_0[:, :, 8:])
    assert accuracy(x, ["a person with a red hat"] * 16)["hat"] >= 0.8


def test_the_shipped_painters_of_scenes_obey_and_the_larger_is_the_smaller():
    real, texts = captioned.captioned_scenes(20, 7, "test", "long")
    small, tokens, large = (
        F.avg_pool2d(real, 2),
        captioned.scene_tokens().encode(texts),
        shipped("upsample_scenes"),
    )
    with torch.no_grad():
        x = draw_scenes(shipped("glide_scenes"), large, noise(20, 3, 32, 32), tokens)
        again = enlarge(large, small, noise(20, 3, 32, 32), tokens)
    assert scene_accuracy(x, texts)["colour"] >= 0.75
    assert scene_accuracy(x, swapped(texts))["caption"] < 0.2
    bilinear = F.interpolate(small, scale_factor=2, mode="bilinear")
    assert (again - real).square().mean() < (bilinear - real).square().mean() * 0.8
