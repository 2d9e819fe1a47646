import pytest
import torch
from torch.nn import functional as F

from minilib.models.latent.kl_autoencoder import KLConfig
from minilib.models.latent.kl_loss import (
    KLGame,
    PatchDiscriminator,
    adaptive_weight,
    autoencoder_loss,
    l1,
    l2,
    patch_loss,
    perceptual_distance,
)
from minilib.models.vae import kl_to_standard_normal, reparametrise
from minilib.train import Draw, fit, shuffled

TINY = KLConfig(width=8, multipliers=(1, 2, 2))


def game(seed: int = 0) -> KLGame:
    torch.manual_seed(seed)
    return KLGame(TINY, judge_width=8)


def pictures(n: int = 4, size: int = 16) -> torch.Tensor:
    """Bars of random colours: something that can be learned."""
    g = torch.Generator().manual_seed(1)
    rows = 2 * torch.rand(n, 3, size, 1, generator=g) - 1
    return rows.expand(n, 3, size, size).contiguous()


def draw(n: int = 4) -> Draw:
    return Draw(torch.Generator().manual_seed(2), slice(None), n)


def moments(x: torch.Tensor) -> list[torch.Tensor]:
    """Two layers of "features" that are no network's."""
    return [x, F.avg_pool2d(x.square(), 2)]


def expected(model: KLGame, x: torch.Tensor, kl: float = 0.0) -> torch.Tensor:
    """Rebuilding error and KL, term by term."""
    mu, logvar = model.autoencoder.encode(x)
    z = reparametrise(mu, logvar, draw().normal(*mu.shape[1:]))
    nats = kl_to_standard_normal(mu.flatten(1), logvar.flatten(1)).sum()
    return l1(model.autoencoder.decode(z), x) + kl * nats / x.numel()


@pytest.mark.parametrize("kl", [0.0, 1e-6, 0.5])
def test_what_is_rebuilt_wrongly_and_the_kl_per_number(kl):
    model, x = game(), pictures()
    loss = autoencoder_loss(model, x, draw=draw(), adversarial=0.0, kl=kl)
    assert torch.allclose(loss, expected(model, x, kl))


def test_features_count_as_often_as_asked():
    model, x = game(), pictures()
    options = {"adversarial": 0.0, "kl": 0.0, "features": moments}
    plain, once, twice = (
        autoencoder_loss(model, x, draw=draw(), perceptual=p, **options)
        for p in (0.0, 1.0, 2.0)
    )
    assert torch.allclose(twice - plain, 2 * (once - plain))
    assert once > plain


def test_l2_in_place_of_l1():
    model, x = game(), pictures()
    a, b = (
        autoencoder_loss(model, x, draw=draw(), adversarial=0.0, kl=0.0, distance=d)
        for d in (l1, l2)
    )
    assert not torch.allclose(a, b)
    assert float(l2(x, x + 0.5)) == pytest.approx(0.25)
    assert float(l1(x, x - 0.5)) == pytest.approx(0.5)


def test_the_discriminator_joins_at_its_turn():
    model, x = game(), pictures()
    alone = autoencoder_loss(model, x, draw=draw(), start=2, kl=0.0)
    assert torch.allclose(alone, expected(model, x))
    for _ in range(2):
        patch_loss(model, x, draw=draw())
    joined = autoencoder_loss(model, x, draw=draw(), start=2, kl=0.0)
    assert not torch.allclose(joined, alone)


def test_both_pull_at_the_last_layer_alike():
    """With `adversarial` 1 the gradients of both losses are of one norm there."""
    model, x = game(), pictures()
    last = model.autoencoder.decoder.out[-1].weight
    (of_error,) = torch.autograd.grad(
        autoencoder_loss(model, x, draw=draw(), adversarial=0.0), last
    )
    (of_both,) = torch.autograd.grad(
        autoencoder_loss(model, x, draw=draw(), adversarial=1.0), last
    )
    pull = (of_both - of_error).norm() / of_error.norm()
    assert float(pull) == pytest.approx(1.0, abs=0.01)


def test_the_adaptive_weight_is_a_ratio_of_slopes():
    w = torch.tensor([3.0, 4.0], requires_grad=True)
    weight = adaptive_weight((2 * w).sum(), 0.5 * w.sum(), w)
    assert float(weight) == pytest.approx(4.0, rel=1e-3)
    assert not weight.requires_grad
    # what does not fool at all is not followed without end
    assert float(adaptive_weight(w.sum(), 0 * w.sum(), w)) == 1e4


def test_perceptual_distance_is_that_of_directions():
    a, b = pictures(), pictures().flip(0)
    features = lambda x: [x]  # noqa: E731
    found = perceptual_distance(features, a, b)
    cosine = F.cosine_similarity(a, b, dim=1).mean(dim=(1, 2))
    assert torch.allclose(found, 2 - 2 * cosine, atol=1e-5)
    assert torch.allclose(perceptual_distance(features, a, 3 * a), torch.zeros(4))
    twice = perceptual_distance(lambda x: [x, x], a, b)
    assert torch.allclose(twice, 2 * found)


def test_dead_features_give_a_finite_slope():
    x = torch.zeros(2, 3, 4, 4, requires_grad=True)
    perceptual_distance(
        lambda x: [x.relu()], x, torch.ones(2, 3, 4, 4)
    ).sum().backward()
    assert x.grad.isfinite().all()


def test_each_logit_sees_a_patch_of_34():
    judge = PatchDiscriminator(3, 8).double()
    judge.net[3] = judge.net[6] = torch.nn.Identity()  # norms see all
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    logits = judge(x)
    assert logits.shape == (1, 1, 14, 14)
    logits[0, 0, 7, 7].backward()
    seen = x.grad[0].abs().sum(dim=0)
    assert [int((seen.sum(dim=d) > 0).sum()) for d in (0, 1)] == [34, 34]


def test_the_discriminator_learns_nothing_of_the_autoencoder():
    model, x = game(), pictures()
    patch_loss(model, x, draw=draw()).backward()
    assert all(p.grad is None for p in model.autoencoder.parameters())
    assert all(p.grad is not None for p in model.discriminator.parameters())


def test_the_hinge_loss_is_least_where_it_tells_them_apart():
    model, x = game(), pictures()

    class Told(torch.nn.Module):
        def forward(self, pictures):
            known = pictures.shape == x.shape and torch.equal(pictures, x)
            return torch.full((len(pictures), 1, 2, 2), 1.0 if known else -1.0)

    model.discriminator = Told()
    assert float(patch_loss(model, x, draw=draw())) == 0


def test_it_learns_to_rebuild_and_to_standardise():
    """A short training of both players on smooth pictures."""
    rough = 2 * torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(0)) - 1
    x = F.interpolate(rough, scale_factor=4, mode="bilinear")
    before = float(l1(game()(x), x).detach())
    losses = {"autoencoder": autoencoder_loss, "discriminator": patch_loss}
    batches = shuffled(x, batch_size=16)
    options = {"steps": 100, "lr": 4e-3, "warmup": 10, "progress": False}
    model = fit(game(), losses, batches, **options).model
    assert float(l1(model(x), x).detach()) < 0.85 * before
    assert int(model.turns) == 100
    z = model.autoencoder.latents(x)  # by the scale of the last 100 steps, about
    assert 0.5 < float(z.std().detach()) < 2
