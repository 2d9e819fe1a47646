"""CLIP for noisy pictures: it starts as the clean one, knows the step, and learns what
is under the noise.
"""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from minilib.diffusion.guidance import (
    input_gradient,
)
from minilib.diffusion.schedule import Schedule, linear_beta
from minilib.models.clip import CLIP, CLIPConfig, TextConfig, contrastive_loss
from minilib.models.noisy_clip import (
    NoisyCLIP,
    content_fit,
    gram,
    mixture,
    noisy_agreement_loss,
    noisy_contrastive_loss,
    some_noise,
    structure_fit,
    style_fit,
    text_fit,
)
from minilib.nets.vit import ViTConfig
from minilib.train import Draw, fit, shuffled

CHAIN = Schedule(linear_beta())
CONFIG = CLIPConfig(
    TextConfig(words=20, length=8, width=16, depth=1, heads=2),
    ViTConfig(size=8, patch=4, dim=16, depth=2, heads=2),
    dim=8,
)


def draw(n, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(None), n)


@pytest.fixture
def pair():
    """A clean CLIP, and one for noisy pictures with its weights."""
    torch.manual_seed(0)
    clean = CLIP(CONFIG).eval()
    noisy = NoisyCLIP(CONFIG).eval()
    noisy.load_state_dict(clean.state_dict(), strict=False)
    return clean, noisy


@pytest.fixture
def x():
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_it_starts_as_the_clean_one_at_every_step(pair, x):
    clean, noisy = pair
    for t in (None, torch.zeros(6), torch.tensor([0, 1, 10, 100, 500, 999])):
        assert torch.equal(noisy.embed_image(x, t), clean.embed_image(x))


def test_the_step_reaches_it_once_it_has_learnt(pair, x):
    _, noisy = pair
    torch.nn.init.normal_(noisy.time[2].weight)
    early, late = (noisy.embed_image(x, torch.full((6,), t)) for t in (10, 900))
    assert not torch.allclose(early, late, atol=1e-3)
    assert torch.equal(noisy.embed_image(x), noisy.embed_image(x, torch.zeros(6)))
    assert torch.allclose(early.norm(dim=1), torch.ones(6))


def test_patches_are_told_block_by_block_without_the_whole(pair, x):
    _, noisy = pair
    stages = noisy.patches(x, torch.full((6,), 300))
    assert [h.shape for h in stages] == [(6, 4, 16)] * 2
    for h in stages:
        assert h.mean(dim=2).abs().max() < 1e-5
        assert torch.allclose(h.var(dim=2, unbiased=False), torch.ones(6, 4), atol=1e-2)
    last = noisy.vision.stages(noisy.vision.cut(x))[-1]
    assert torch.allclose(stages[-1], F.layer_norm(last[:, 1:], (16,)), atol=1e-6)
    assert torch.equal(noisy.vision(x), noisy.vision.norm_out(last))


def test_noise_is_that_of_the_step(x):
    many = x[:1].expand(4000, -1, -1, -1)
    x_t, t = some_noise(many, draw(4000), CHAIN)
    assert t.min() < 10
    assert t.max() > 990
    left = CHAIN.alpha_bar[t].float().view(-1, 1, 1, 1)
    eps = (x_t - left.sqrt() * many) / (1 - left).sqrt()
    assert float(eps.mean()) == pytest.approx(0, abs=0.01)
    assert float(eps.std()) == pytest.approx(1, abs=0.01)


def test_the_objective_stays_what_it_was(pair, x):
    """On pictures with noise both losses are the contrastive loss of that noise, at its
    steps.
    """
    clean, noisy = pair
    torch.nn.init.normal_(noisy.time[2].weight)
    tokens = torch.tensor([[1, 3 + i, 2, 0] for i in range(6)])
    x_t, t = some_noise(x, draw(6), CHAIN)
    expected = contrastive_loss(lambda x, y: noisy(x, y, t), x_t, tokens)
    assert torch.equal(
        noisy_contrastive_loss(noisy, x, tokens, draw=draw(6), schedule=CHAIN), expected
    )
    u = clean.embed_image(x)
    logits = noisy.logit_scale.exp() * noisy.embed_image(x_t, t) @ u.T
    target = torch.arange(6)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    assert torch.allclose(
        noisy_agreement_loss(noisy, x, u, draw=draw(6), schedule=CHAIN), expected
    )


def test_agreement_needs_no_captions_and_leaves_the_text_alone(pair, x):
    clean, noisy = pair
    noisy_agreement_loss(
        noisy, x, clean.embed_image(x).detach(), draw=draw(6), schedule=CHAIN
    ).backward()
    touched = {
        name.split(".")[0] for name, p in noisy.named_parameters() if p.grad is not None
    }
    assert touched == {"vision", "to_image", "time", "logit_scale"}


def test_training_on_noise_finds_the_picture_under_it(pair):
    clean, noisy = pair
    g = torch.Generator().manual_seed(2)
    x = torch.randn(16, 3, 1, 1, generator=g).expand(-1, -1, 8, 8).contiguous()
    u = clean.embed_image(x).detach()
    fitted = fit(
        noisy,
        partial(noisy_agreement_loss, schedule=CHAIN),
        shuffled(x, u, batch_size=16),
        steps=60,
        lr=5e-3,
        progress=False,
    )
    t = torch.full((16,), 300)
    x_t = CHAIN.noisy(x, t, torch.randn(x.shape, generator=g))
    found = [
        (model @ u.T).argmax(dim=1)
        for model in (fitted.model.embed_image(x_t, t), clean.embed_image(x_t))
    ]
    right = [float((row == torch.arange(16)).float().mean()) for row in found]
    assert right[0] > right[1] + 0.2


# ---------- semantic guidance ----------

T = torch.tensor([100, 400, 800])
TOKENS = torch.tensor([[1, 3 + i, 2, 0] for i in range(3)])


@pytest.fixture
def clip():
    torch.manual_seed(0)
    text = TextConfig(words=20, length=8, width=16, depth=1, heads=2)
    model = NoisyCLIP(
        CLIPConfig(text, ViTConfig(size=8, patch=2, dim=16, depth=2, heads=2), dim=8)
    )
    torch.nn.init.normal_(model.time[2].weight)
    return model.eval()


def pictures(seed, n=3):
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_the_text_fit_is_the_diagonal_of_clips_table(clip):
    x = pictures(0)
    fit = text_fit(clip, TOKENS)(x, T)
    assert torch.allclose(fit, clip(x, TOKENS, T).diagonal(), atol=1e-5)


def test_the_content_fit_is_a_cosine_with_the_reference_of_the_same_step(clip):
    x, reference, asked = pictures(0), pictures(1), []
    fit = content_fit(clip, lambda t: (asked.append(t), reference)[1])(x, T)
    cosine = torch.cosine_similarity(
        clip.embed_image(x, T), clip.embed_image(reference, T)
    )
    assert torch.allclose(fit, clip.logit_scale.exp() * cosine, atol=1e-5)
    assert torch.equal(asked[0], T)
    most = content_fit(clip, lambda t: x)(x, T)
    assert torch.allclose(most, clip.logit_scale.exp().expand(3), atol=1e-4)


@pytest.mark.parametrize("fit", [structure_fit, style_fit])
def test_nothing_fits_better_than_the_reference_itself(clip, fit):
    x, reference = pictures(0), pictures(1)
    assert fit(clip, lambda t: x)(x, T).abs().max() == 0
    assert (fit(clip, lambda t: reference)(x, T) < 0).all()


def test_style_forgets_where_and_structure_does_not():
    """Of a network whose patches say what is in them and not where."""

    class Bag:
        def patches(self, x, t):
            return [
                torch.nn.functional.pixel_unshuffle(x, 2).flatten(2).transpose(1, 2)
            ]

    x = pictures(0)
    moved = x.roll((2, 4), dims=(2, 3))  # by whole patches
    assert style_fit(Bag(), lambda t: moved)(x, T).abs().max() < 1e-9
    assert (structure_fit(Bag(), lambda t: moved)(x, T) < -0.5).all()
    assert (style_fit(Bag(), lambda t: -2 * moved)(x, T) < -0.1).all()


def test_gram_is_the_mean_outer_product():
    h = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([sum(torch.outer(v, v) for v in rows) / 5 for rows in h])
    assert torch.allclose(gram(h), expected, atol=1e-6)


def test_a_mixture_is_the_weighted_sum_of_its_wishes_and_of_their_gradients(clip):
    x, reference = pictures(0), pictures(1)
    a, b = text_fit(clip, TOKENS), style_fit(clip, lambda t: reference)
    both = mixture([(2.0, a), (-3.0, b)])
    assert torch.allclose(both(x, T), 2 * a(x, T) - 3 * b(x, T), atol=1e-5)
    assert torch.allclose(
        input_gradient(both, x, T),
        2 * input_gradient(a, x, T) - 3 * input_gradient(b, x, T),
        atol=1e-5,
    )


def test_every_fit_pushes_the_picture_and_leaves_the_network_alone(clip):
    x, reference = pictures(0), pictures(1)
    for wish in (
        text_fit(clip, TOKENS),
        *(
            make(clip, lambda t: reference)
            for make in (content_fit, structure_fit, style_fit)
        ),
    ):
        slope = input_gradient(wish, x, T)
        assert slope.abs().flatten(1).amax(dim=1).min() > 0
        better = wish(
            x + 1e-2 * slope / slope.abs().amax(dim=(1, 2, 3), keepdim=True), T
        )
        assert (better > wish(x, T)).all()
    assert all(p.grad is None for p in clip.parameters())


def test_one_caption_or_step_for_many_pictures_is_refused(clip):
    with pytest.raises(
        ValueError,
        match=r"embeddings of captions, one for each picture, of shape \(3, ",
    ):
        text_fit(clip, TOKENS[:1])(pictures(1), T)
    with pytest.raises(ValueError, match=r"expected t of shape \(3,\), got \(1,\)"):
        clip.embed_image(pictures(1), T[:1])
