from importlib import import_module

import pytest
import torch

from minilib.data.people.attributes import seen
from minilib.data.people.dataset import people
from minilib.models.dvae import DVAE, DVAEConfig
from minilib.models.glide import null_captions
from minilib.recipes import dalle
from minilib.recipes.dalle import people_in_tokens, people_tokens
from minilib.recipes.glide_people import (
    captioned_people,
    glide_people,
    people_reader,
    sample_people,
    score_people,
)

# the package's own name for it is the recipe's
MODULE = import_module("minilib.recipes.glide_people")


@pytest.fixture
def told(monkeypatch):
    """What the sampler was told, in the place of its walk."""
    calls = []

    def drawn(model, x, tokens, **settings):
        calls.append(settings | {"x": x, "tokens": tokens})
        return x

    monkeypatch.setattr(MODULE, "draw_conditional", drawn)
    return calls


def test_training_sees_captions_beside_their_pictures():
    x, tokens = captioned_people(501, 3)  # more than one block
    pictures, texts, _ = people(501, 3, "train", "personas", 32)
    assert torch.equal(x, pictures)
    assert people_tokens().decode(tokens) == texts


def test_training_sees_what_dalle_sees(monkeypatch):
    torch.manual_seed(0)
    dvae = DVAE(DVAEConfig(codes=9, width=16, blocks=1)).eval()
    monkeypatch.setattr(dalle, "people_dvae", lambda: dvae)
    ours, theirs = glide_people.data, dalle.dalle_people.data
    assert ours.args == theirs.args == (40_000, 0)
    (x, tokens), (text, image) = captioned_people(5, 0), people_in_tokens(5, 0)
    assert torch.equal(tokens, text)
    assert torch.equal(dvae.tokens(x), image)


def test_the_network_is_no_larger_than_dalle():
    sizes = [
        sum(p.numel() for p in recipe.model().parameters())
        for recipe in (glide_people, dalle.dalle_people)
    ]
    assert sizes[0] <= sizes[1] <= 2_000_000


def test_the_network_sees_8_by_8_positions_and_hears_the_caption_at_both_sizes():
    model, seen_at = people_reader().eval(), []
    for block in [*model.encoder.levels, *model.decoder.levels]:
        block.attention[0].register_forward_hook(
            lambda _, given, h: seen_at.append((h.shape[2], len(given[1].seen)))
        )
    tokens = people_tokens().encode(["a red cap", "a yellow beanie"])
    with torch.no_grad():
        out = model(torch.randn(2, 3, 32, 32), torch.tensor([3, 900]), tokens)
    assert out.shape == (2, 3, 32, 32)
    assert seen_at == [(8, 2), (4, 2), (4, 2), (8, 2)]


def test_noise_caption_guidance_and_steps_reach_the_sampler(told):
    g, y = torch.Generator().manual_seed(5), people_tokens().encode(["a red cap"] * 2)
    x = sample_people(None, 2, g, y, steps=7, w=4.0)
    expected = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    assert torch.equal(x, expected)
    assert torch.equal(told[0].pop("x"), expected)
    assert torch.equal(told[0].pop("tokens"), y)
    assert told == [{"w": 4.0, "steps": 7, "generator": g}]


def test_without_a_prompt_the_captions_of_test_people_are_drawn(told):
    sample_people(None, 3, torch.Generator())
    texts = people(3, 1, "test", "personas", 32)[1]
    assert people_tokens().decode(told[0]["tokens"]) == texts
    assert told[0]["steps"] == 30


def test_the_null_caption_is_that_of_this_tokenizer():
    tokens = people_tokens().encode(["a red cap", ""])
    assert torch.equal(null_captions(tokens)[0], tokens[1])


def test_people_drawn_as_told_score_one_on_the_prompts_of_dalle(monkeypatch):
    x, texts, who = people(40, 2, "held_out", "personas", 32)

    def drawn(model, n, generator, y):
        assert people_tokens().decode(y) == texts
        return x

    def judged(judge, pictures):
        assert torch.equal(pictures, x)
        return [seen(person, "personas", 32) for person in who]

    monkeypatch.setattr(MODULE, "sample_people", drawn)
    monkeypatch.setattr(dalle, "load_pretrained", lambda network, name: network)
    monkeypatch.setattr(dalle, "judged", judged)
    assert score_people(None, 40) == {"claims": 1, "caption": 1}
    who.append(who.pop(0))
    assert score_people(None, 40)["caption"] < 0.1
