"""The autoregressive prior: embeddings as codes, and who sees what."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from minilib.models.unclip.autoregressive import (
    AutoregressiveConfig,
    AutoregressivePrior,
    EmbeddingCodes,
    autoregressive_loss,
    both,
    draw_codes,
    draw_embeddings_by_codes,
)
from minilib.models.unclip.captions import Caption, null_caption
from minilib.train import Draw, fit

SIZES = AutoregressiveConfig(
    dim=8,
    components=6,
    levels=16,
    text_width=6,
    length=5,
    width=16,
    depth=2,
    heads=2,
)


def some(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, 8, generator=g) + 0.5, dim=1)


def a_draw(n=3, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(None), n)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = AutoregressivePrior(SIZES).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    model.codes.measure(some(500))
    return model.double()


@pytest.fixture
def caption():
    g = torch.Generator().manual_seed(1)
    features, embedding = (
        torch.randn(3, *shape, generator=g, dtype=torch.float64)
        for shape in ((5, 6), (8,))
    )
    seen = torch.arange(5) < torch.tensor([[2], [5], [3]])
    return Caption(features, seen, F.normalize(embedding, dim=1))


@pytest.fixture
def codes():
    return torch.randint(0, 16, (3, 6), generator=torch.Generator().manual_seed(2))


# ---------- embeddings as codes ----------


def test_codes_give_embeddings_back_up_to_rounding():
    u = some(500)
    for levels in (16, 1024):
        found = EmbeddingCodes(8, 8, levels).measure(u)
        codes = found.encode(u)
        assert codes.shape == (500, 8)
        assert codes.dtype == torch.int64
        assert 0 <= codes.min() < codes.max() < levels
        error = (found.decode(codes) - u).square().sum(dim=1).mean()
        # rounding errors are uniform: a twelfth of a level's square, in each coordinate
        level = 2 * found.spread / levels
        assert float(error) == pytest.approx(float(level.square().sum() / 12), rel=0.3)


def test_the_first_coordinates_vary_most_and_are_kept():
    u = some(500) * torch.linspace(1, 0.1, 8)
    whole, cut = (EmbeddingCodes(8, k, 64).measure(u) for k in (8, 3))
    assert (whole.spread.diff() < 0).all()
    assert torch.equal(whole.encode(u)[:, :3], cut.encode(u))


def test_what_lies_beyond_the_last_level_gets_the_last_level():
    found = EmbeddingCodes(8, 8, 4).measure(some(500))
    far = found.mean + 10 * found.spread[0] * found.directions[:1]
    assert found.encode(far)[0, 0] in (0, 3)
    assert found.encode(2 * found.mean - far)[0, 0] == 3 - found.encode(far)[0, 0]
    assert found.encode(some(500))[:, 0].bincount(minlength=4).min() > 0


def test_codes_of_a_file_are_those_that_were_measured():
    one = EmbeddingCodes(8, 6, 16).measure(some(500))
    other = EmbeddingCodes(8, 6, 16)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.encode(some(9, 3)), one.encode(some(9, 3)))


# ---------- the network ----------


def test_a_code_sees_the_caption_and_the_codes_before_it(model, caption, codes):
    whole = model(caption, codes)
    assert whole.shape == (3, 6, 16)
    for place in range(6):
        changed = codes.clone()
        changed[:, place] = (codes[:, place] + 1) % 16
        apart = (model(caption, changed) - whole).abs().amax(dim=2)  # (3, 6)
        assert apart[:, : place + 1].max() == 0
        assert place == 5 or apart[:, place + 1 :].min() > 1e-4
    other = caption._replace(embedding=-caption.embedding)
    assert (model(other, codes) - whole).abs().amax(dim=2).min() > 1e-4
    features = caption.features.clone()
    features[:, 1] += 1
    other = caption._replace(features=features)
    assert (model(other, codes) - whole).abs().amax(dim=2).min() > 1e-4


def test_what_is_written_at_padding_is_not_read(model, caption, codes):
    features = torch.where(caption.seen[..., None], caption.features, 7.0)
    other = caption._replace(features=features)
    assert torch.equal(model(other, codes), model(caption, codes))
    cut = Caption(
        caption.features[::2, :3], caption.seen[::2, :3], caption.embedding[::2]
    )
    assert torch.allclose(model(cut, codes[::2]), model(caption, codes)[::2])


def test_at_first_it_knows_nothing():
    torch.manual_seed(0)
    model = AutoregressivePrior(SIZES)
    model.codes.measure(some(500))
    features, seen = torch.randn(200, 5, 6), torch.ones(200, 5) > 0
    loss = autoregressive_loss(
        model, some(200), features, seen, some(200, 9), draw=a_draw(200), p_uncond=0.1
    )
    assert float(loss.detach()) == pytest.approx(math.log(16), abs=0.05)


def test_a_step_reaches_every_parameter(model, caption):
    loss = autoregressive_loss(
        model, some(3).double(), *caption, draw=a_draw(), p_uncond=0.0
    )
    loss.backward()
    unused = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.any()
    ]
    assert unused == []
    assert model.position.grad.abs().sum(dim=1).min() > 0


def test_hidden_captions_are_all_the_same(model, caption):
    u = some(3).double()
    other = Caption(-caption.features, caption.seen.flip(0), -caption.embedding)
    losses = [
        float(autoregressive_loss(model, u, *y, draw=a_draw(), p_uncond=1.0).detach())
        for y in (caption, other)
    ]
    assert losses[0] == losses[1]


# ---------- drawing ----------


def test_codes_are_drawn_one_after_the_other_as_the_network_says(model, caption):
    """At temperature 0 each is the likeliest one after those before it."""
    found = draw_codes(model, caption, torch.Generator(), temperature=0)
    assert torch.equal(model(caption, found).argmax(dim=2), found)


def test_guidance_mixes_logits_with_and_without_the_caption(model, caption):
    nothing = null_caption(caption)
    for w in (0.0, 3.0):
        found = draw_codes(model, caption, torch.Generator(), w=w, temperature=0)
        apart = model(caption, found) - model(nothing, found)
        assert torch.equal((model(nothing, found) + w * apart).argmax(dim=2), found), w
    assert both(caption, 1) is caption
    assert torch.equal(both(caption, 0).seen, nothing.seen)
    assert [len(part) for part in both(caption, 2.0)] == [6, 6, 6]


def test_it_learns_which_embedding_belongs_to_which_caption():
    torch.manual_seed(0)
    u, v = some(2, 5).repeat(32, 1), some(2, 6).repeat(32, 1)
    features, seen = torch.randn(2, 5, 6).repeat(32, 1, 1), torch.ones(64, 5) > 0
    model = AutoregressivePrior(SIZES)
    model.codes.measure(some(500))
    model = fit(
        model,
        partial(autoregressive_loss, p_uncond=0.1),
        lambda step: (u, features, seen, v),
        steps=150,
        lr=1e-2,
        progress=False,
    ).model.cpu()
    found = draw_embeddings_by_codes(
        model.eval(),
        Caption(features[:4], seen[:4], v[:4]),
        torch.Generator().manual_seed(0),
        temperature=0.5,
    )
    best = model.codes.decode(model.codes.encode(u[:4]))
    assert torch.allclose(found, best, atol=1e-5)
    assert torch.allclose(found.norm(dim=1), torch.ones(4))


def test_sizes_that_do_not_fit_are_refused(model, caption, codes):
    with pytest.raises(ValueError, match=r"codes of shape \(3, 6\), got \(3, 5\)"):
        model(caption, codes[:, :5])
    with pytest.raises(ValueError, match="codes from 0 to 15, got"):
        model(caption, codes + 16)
    with pytest.raises(ValueError, match="levels to be a whole number from 2 up"):
        AutoregressiveConfig(levels=1)
    with pytest.raises(ValueError, match="expected a generator"):
        draw_codes(model, caption, 0)
