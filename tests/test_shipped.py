"""What ships against what it went on from."""

import pytest

from minilib import recipes, weights


@pytest.mark.parametrize("name", ["noisy_clip_scenes", "noisy_clip_portraits"])
def test_the_clips_of_noise_read_it_better_than_the_clean_ones(name):
    recipe = recipes.get(name)
    noisy = recipe.score(weights.load_pretrained(recipe.model(), name))
    clean = recipe.score(recipe.model())  # which starts with the clean one's weights
    assert noisy["r1_caption_t250"] > clean["r1_caption_t250"] + 0.1
    assert noisy["r1_caption_t500"] > clean["r1_caption_t500"] + 0.1
    assert noisy["r1_caption_t750"] < 0.1  # there is little left to read
