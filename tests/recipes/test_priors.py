"""The recipe of the prior of people: what it learns from, and how it is scored."""

import pytest
import torch
from torch.nn import functional as F

from minilib.data.people.attributes import draw
from minilib.data.people.captions import captions
from minilib.data.people.dataset import people
from minilib.models.clip import CLIP, CLIPConfig, TextConfig
from minilib.models.unclip.captions import read_captions
from minilib.models.unclip.prior import DiffusionPrior, PriorConfig
from minilib.nets.vit import ViTConfig
from minilib.recipes import priors
from minilib.recipes.dalle import LENGTH, people_tokens
from minilib.text.words import PADDING


@pytest.fixture
def clip(monkeypatch):
    """A small CLIP without training in the place of the shipped one."""
    torch.manual_seed(0)
    text = TextConfig(len(people_tokens()), length=LENGTH, width=16, depth=1, heads=2)
    vision = ViTConfig(size=32, patch=8, dim=16, depth=1, heads=2)
    model = CLIP(CLIPConfig(text, vision, dim=12)).eval()
    monkeypatch.setattr(priors, "trained_clip", lambda: model)
    return model


@pytest.fixture
def prior(monkeypatch):
    torch.manual_seed(0)
    sizes = PriorConfig(dim=12, text_width=16, width=16, depth=1, heads=2)
    return DiffusionPrior(sizes).eval()


# ---------- the prior ----------


def test_the_prior_learns_from_embeddings_beside_what_clip_reads(clip):
    u, features, seen, embedding = priors.embedded_people(5, 3)
    x, texts, _ = people(5, 3, "train", "personas", 32)
    tokens = people_tokens().encode(texts)
    assert torch.allclose(u, clip.embed_image(x).detach(), atol=1e-5)
    assert torch.allclose(features.float(), clip.text(tokens).detach(), atol=1e-2)
    assert features.dtype == torch.float16
    assert torch.equal(seen, tokens != PADDING)
    assert torch.allclose(embedding, clip.embed_text(tokens).detach(), atol=1e-5)


def test_what_is_imagined_depends_on_the_caption_and_the_generator(clip, prior):
    tokens = people_tokens().encode(["a red cap", "a yellow beanie"])
    one, again, other = (
        priors.imagined(prior, tokens, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert one.shape == (2, 12)
    assert torch.allclose(one.norm(dim=1), torch.ones(2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_who_imagines_the_embedding_itself_has_cosine_one(clip, monkeypatch):
    x, texts, _ = people(30, 2, "held_out", "personas", 32)
    tokens = people_tokens().encode(texts)
    u, v = clip.embed_image(x).detach(), clip.embed_text(tokens).detach()

    def imagined(prior, given, generator):
        assert torch.equal(given, tokens)
        return u

    monkeypatch.setattr(priors, "imagined", imagined)
    score = priors.score_prior(None, 30)
    assert score["cosine_prior"] == pytest.approx(1)
    assert score["cosine_text"] == pytest.approx(
        float(F.cosine_similarity(u, v).mean()), abs=1e-5
    )
    others = (u @ u.T).roll(1, dims=0).diag().mean()
    assert score["cosine_another"] == pytest.approx(float(others), abs=1e-5)


# ---------- sizes ----------


def test_what_ships_stays_below_four_megabytes_in_half_precision():
    numbers = sum(value.numel() for value in DiffusionPrior().state_dict().values())
    assert 2 * numbers < 3_900_000


def test_captions_are_read_as_the_prior_wants_them():
    """The shipped sizes fit each other: CLIP's features and the prior."""
    clip = priors.clip_people.model().eval()
    caption = read_captions(
        clip, people_tokens().encode(captions(draw(2, 0), 0, size=32))
    )
    out = DiffusionPrior()(torch.zeros(2, 64), torch.tensor([0, 999]), caption)
    assert out.shape == (2, 64)
