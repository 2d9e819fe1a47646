"""What ships does what its cards say: pictures and captions find each other, and prompts are obeyed."""

import pytest
import torch

from minilib import recipes, weights
from minilib.clip import retrieval
from minilib.data import emoji
from minilib.portrait_checker import accuracy
from minilib.recipes import captioned
from minilib.recipes.clip import emoji_texts, emoji_tokens, unique


def shipped(name):
    return weights.load_pretrained(recipes.get(name).model(), name)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "found", "tokens"),
    [
        ("clip_portraits", captioned.captioned_portraits, captioned.portrait_tokens),
        ("clip_scenes", captioned.captioned_scenes, captioned.scene_tokens),
    ],
)
def test_the_shipped_clips_find_what_belongs_together_as_their_cards_say(name, found, tokens):
    x, texts = unique(found(330, 4, "test", "long"))
    r1 = retrieval(shipped(name), x[:300], tokens().encode(texts[:300]))
    for way, value in r1.items():
        assert value == pytest.approx(weights.card(name)["score"][f"r1_{way}_test"], abs=0.03)


def test_the_shipped_clip_knows_its_emoji_by_both_names():
    model, x = shipped("clip_emoji"), emoji.load("noto")[:300]
    for language in ("english", "chinese"):
        r1 = retrieval(model, x, emoji_tokens().encode(emoji_texts()[language][:300]), among=300)
        assert min(r1.values()) > 0.5


@pytest.mark.parametrize("name", ["noisy_clip_scenes", "noisy_clip_portraits"])
def test_the_shipped_clips_of_noise_read_it_better_than_the_clean_ones(name):
    recipe = recipes.get(name)
    noisy = recipe.score(shipped(name))
    clean = recipe.score(recipe.model())  # which starts with the clean one's weights
    assert noisy == pytest.approx(weights.card(name)["score"], abs=0.02)
    assert noisy["r1_caption_t250"] > clean["r1_caption_t250"] + 0.1
    assert noisy["r1_caption_t500"] > clean["r1_caption_t500"] + 0.1


def test_the_shipped_painter_of_people_obeys_prompts_with_pairs_that_it_never_saw():
    texts = captioned.captioned_portraits(24, 7, "held_out", "long")[1]
    recipe, tokens = recipes.get("glide_portraits"), captioned.portrait_tokens().encode(texts)
    model = shipped("glide_portraits")
    draw = [recipe.sample(model, 24, torch.Generator().manual_seed(seed), tokens) for seed in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert accuracy(draw[0], texts)["claims"] >= 0.9
    others = accuracy(draw[0], texts[1:] + texts[:1])["claims"]
    assert others < 0.7


def test_a_widened_network_starts_as_the_one_that_it_was():
    narrow, wide = shipped("glide_portraits"), recipes.get("glide_portraits_inpaint").model().eval()
    x, t, tokens = noise(2, 3, 16, 16), torch.tensor([100, 900]), captioned.portrait_tokens().encode(["a face"] * 2)
    with torch.no_grad():
        seen = wide(torch.cat([x, noise(2, 4, 16, 16)], dim=1), t, tokens)
        assert torch.allclose(seen, narrow(x, t, tokens), atol=1e-5)


def test_what_was_never_told_draws_scenes():
    x = recipes.get("ddpm_scenes").sample(shipped("ddpm_scenes"), 16, torch.Generator().manual_seed(3))
    assert x.shape == (16, 3, 32, 32)
    clear = [view for view in recipes.semantic.recognise_scenes(x) if view.things and view.background]
    assert len(clear) >= 10
