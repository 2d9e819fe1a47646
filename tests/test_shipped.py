"""What ships does what its cards say: pictures and captions find each other, in noise too."""

import pytest

from minilib import recipes, weights
from minilib.clip import retrieval
from minilib.data import emoji
from minilib.recipes import captioned
from minilib.recipes.clip import emoji_texts, emoji_tokens, unique


def shipped(name):
    return weights.load_pretrained(recipes.get(name).model(), name)


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
