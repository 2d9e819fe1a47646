"""The diffusion prior: what its vectors see, what it learns, how it draws."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from minilib.diffusion.schedule import EPS, X_0, Schedule, cosine_beta
from minilib.models.unclip.captions import Caption, null_caption, repeated
from minilib.models.unclip.prior import (
    DiffusionPrior,
    PriorConfig,
    draw_embeddings,
    guided_prior,
    past_and_seen,
    prior_loss,
)
from minilib.train import Draw, fit

SIZES = PriorConfig(dim=8, text_width=6, length=5, width=16, depth=2, heads=2)
CHAIN = Schedule(cosine_beta(100))


def a_draw(n=3, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(None), n)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = DiffusionPrior(SIZES).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model


@pytest.fixture
def caption():
    g = torch.Generator().manual_seed(1)
    features, embedding = (
        torch.randn(3, *shape, generator=g, dtype=torch.float64)
        for shape in ((5, 6), (8,))
    )
    seen = torch.arange(5) < torch.tensor([[2], [4], [3]])
    return Caption(features, seen, F.normalize(embedding, dim=1))


@pytest.fixture
def noisy():
    g = torch.Generator().manual_seed(2)
    x_t = torch.randn(3, 8, generator=g, dtype=torch.float64)
    return x_t, torch.tensor([0, 50, 99])


# ---------- the network ----------


def test_each_vector_sees_those_before_but_no_padding():
    rows = past_and_seen(torch.tensor([[True, True, False]]))[0, 0].int().tolist()
    assert rows == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],  # padding, which nobody sees, sees itself
        [1, 1, 0, 1, 0, 0, 0],  # text embedding
        [1, 1, 0, 1, 1, 0, 0],  # step
        [1, 1, 0, 1, 1, 1, 0],  # noisy embedding
        [1, 1, 0, 1, 1, 1, 1],  # query
    ]


def test_padding_is_not_looked_at(model, noisy, caption):
    other = torch.where(caption.seen[..., None], caption.features, 7.0)
    whole = model(*noisy, caption)
    assert torch.allclose(model(*noisy, caption._replace(features=other)), whole)
    for row, tokens in enumerate([2, 4, 3]):  # each alone, its padding cut off
        part = Caption(
            caption.features[row : row + 1, :tokens],
            caption.seen[row : row + 1, :tokens],
            caption.embedding[row : row + 1],
        )
        alone = model(noisy[0][row : row + 1], noisy[1][row : row + 1], part)
        assert torch.allclose(alone[0], whole[row])


def test_everything_that_is_given_tells(model, noisy, caption):
    whole, (x_t, t) = model(*noisy, caption), noisy
    features = caption.features.clone()
    features[1, 3] += 1  # the last token of the second caption
    turned = -caption.embedding
    for changed in (
        model(x_t + 0.1, t, caption),
        model(x_t, t.flip(0), caption)[::2],
        model(x_t, t, caption._replace(features=features))[1:2],
        model(x_t, t, caption._replace(embedding=turned)),
    ):
        same = whole[: len(changed)] if len(changed) != 1 else whole[1:2]
        same = whole[::2] if len(changed) == 2 else same
        assert (changed - same).abs().amax(dim=1).min() > 1e-3


def test_without_a_caption_it_sees_neither_tokens_nor_embedding(model, noisy, caption):
    nothing = null_caption(caption)
    other = Caption(-caption.features, caption.seen, -caption.embedding)
    found = model(*noisy, nothing)
    assert found.isfinite().all()
    assert torch.equal(found, model(*noisy, null_caption(other)))


def test_a_step_reaches_every_parameter_and_no_gradient_is_lost(model, caption):
    u = F.normalize(torch.randn(3, 8, dtype=torch.float64), dim=1)
    loss = partial(prior_loss, model, u, *caption, schedule=CHAIN, prediction=X_0)
    loss(draw=a_draw(), p_uncond=0.5).backward()
    bad = [
        name
        for name, p in model.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert bad == ["position"] * bad.count("position")
    assert model.position.grad[:4].abs().sum(dim=1).min() > 0
    assert model.position.grad[-4:].abs().sum(dim=1).min() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_t": torch.zeros(3, 7)}, r"x_t of shape \(3, 8\), got \(3, 7\)"),
        ({"t": torch.zeros(2)}, r"t of shape \(3,\), got \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(model, noisy, caption, change, message):
    given = {"x_t": noisy[0], "t": noisy[1]} | change
    with pytest.raises(ValueError, match=message):
        model(**given, caption=caption)


# ---------- embeddings, standardised and back ----------


def test_a_new_prior_makes_embeddings_as_long_as_noise_and_short_again():
    u = F.normalize(torch.randn(500, 8), dim=1)
    model = DiffusionPrior(SIZES)
    x_0 = model.standardised(u)
    assert torch.allclose(x_0.norm(dim=1), torch.full((500,), 8**0.5))
    assert torch.allclose(model.unit(x_0), u, atol=1e-5)
    assert torch.allclose(model.unit(x_0 + 5).norm(dim=1), torch.ones(500))


def test_the_mean_and_deviation_of_a_file_are_used_both_ways():
    u = F.normalize(torch.randn(500, 8) + 1, dim=1)
    model = DiffusionPrior(SIZES)
    state = {"mean": u.mean(dim=0), "std": u.std(dim=0)}
    model.load_state_dict(model.state_dict() | state)
    x_0 = model.standardised(u)
    assert torch.allclose(x_0.mean(dim=0), torch.zeros(8), atol=1e-5)
    assert torch.allclose(x_0.std(dim=0), torch.ones(8), atol=1e-5)
    assert torch.allclose(model.unit(x_0), u, atol=1e-5)


# ---------- learning and drawing ----------


def test_the_loss_is_the_squared_error_of_the_embedding_itself(caption):
    """A network that says 0 has the mean square of what it should have said."""
    told = []

    class Zero(DiffusionPrior):
        def forward(self, x_t, t, caption):
            told.append((t, caption))
            return torch.zeros_like(x_t)

    model = Zero(SIZES).double()
    u = F.normalize(torch.randn(3, 8, dtype=torch.float64), dim=1)
    loss = partial(prior_loss, model, u, *caption, schedule=CHAIN, prediction=X_0)
    assert float(loss(draw=a_draw(), p_uncond=0.0)) == pytest.approx(
        float(model.standardised(u).square().mean())
    )
    assert told[0][1].seen.equal(caption.seen)
    loss(draw=a_draw(), p_uncond=1.0)
    assert not told[1][1].seen.any()


def test_guidance_goes_from_the_unconditional_to_the_conditional(model, noisy, caption):
    """The prediction of the network itself at 1, a mixture elsewhere, never clipped."""
    x_t, t = noisy
    conditional, nothing = (
        100 * model(x_t, t, y) for y in (caption, null_caption(caption))
    )
    large = lambda x, t, y: 100 * model(x, t, y)  # noqa: E731
    for w in (0.0, 1.0, 3.0):
        found = guided_prior(large, CHAIN, X_0, caption, w)(x_t, t).x_0
        assert torch.allclose(found, nothing + w * (conditional - nothing))
    assert conditional.abs().max() > 1


@pytest.mark.parametrize(("prediction", "least"), [(X_0, 0.95), (EPS, 0.6)])
def test_a_prior_learns_which_embedding_belongs_to_which_caption(prediction, least):
    """Two captions, each with a picture of its own. The error of a predicted eps grows
    by a large factor in the first steps, and nothing clips it.
    """
    torch.manual_seed(0)
    u = F.normalize(torch.randn(2, 8), dim=1).repeat(32, 1)
    v = F.normalize(torch.randn(2, 8), dim=1).repeat(32, 1)
    features, seen = torch.randn(2, 5, 6).repeat(32, 1, 1), torch.ones(64, 5) > 0
    model = fit(
        DiffusionPrior(SIZES),
        partial(prior_loss, schedule=CHAIN, prediction=prediction, p_uncond=0.1),
        lambda step: (u, features, seen, v),
        steps=300,
        lr=1e-2,
        progress=False,
    ).model.cpu()
    caption = Caption(features[:4], seen[:4], v[:4])
    generator = torch.Generator().manual_seed(0)
    found = draw_embeddings(model.eval(), CHAIN, prediction, caption, generator)
    assert found.shape == (4, 8)
    assert torch.allclose(found.norm(dim=1), torch.ones(4))
    own, other = (F.cosine_similarity(found, y) for y in (u[:4], u[1:5]))
    assert own.mean() > least
    assert own.mean() > other.mean() + 0.3


def test_the_better_of_several_is_kept(caption):
    class Echo(DiffusionPrior):
        """Says what it is given: what is drawn is noise."""

        def forward(self, x_t, t, caption):
            return x_t

    many = repeated(caption, 50)
    draw = partial(draw_embeddings, Echo(SIZES).double(), CHAIN, X_0, many, steps=2)
    one, best = (draw(torch.Generator().manual_seed(0), tries=k) for k in (1, 16))
    fit_one, fit_best = ((u * many.embedding).sum(dim=1) for u in (one, best))
    assert float(fit_one.mean()) == pytest.approx(0, abs=0.1)
    # the largest of 16 cosines in 8 dimensions; the mean of many such draws
    assert float(fit_best.mean()) == pytest.approx(0.6, abs=0.04)
    assert torch.equal(best, draw(torch.Generator().manual_seed(0), tries=16))
