import pytest
import torch

from minilib.models.latent.kl_autoencoder import (
    KLAutoencoder,
    KLConfig,
    channel_statistics,
    latent_statistics,
)

TINY = KLConfig(width=8, multipliers=(1, 2, 2))


def model(seed: int = 0) -> KLAutoencoder:
    torch.manual_seed(seed)
    return KLAutoencoder(TINY)


def pictures(n: int, size: int = 16) -> torch.Tensor:
    return (
        torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1)) - 0.5
    )


def test_a_level_halves_the_sides():
    x = torch.randn(2, 3, 16, 24)
    mu, logvar = model().encode(x)
    assert mu.shape == logvar.shape == (2, 4, 4, 6)
    assert model()(x).shape == x.shape
    assert KLAutoencoder(KLConfig(width=8, multipliers=(1,))).config.factor == 1


def test_the_default_makes_16_by_16_of_64_by_64():
    with torch.device("meta"):
        net = KLAutoencoder(KLConfig())
        assert net.encode(torch.empty(1, 3, 64, 64))[0].shape == (1, 4, 16, 16)


def test_every_pixel_is_seen_and_drawn():
    net, x = model().double(), pictures(1).double().requires_grad_()
    net.encode(x)[0].square().sum().backward()
    assert (x.grad != 0).all()


def test_without_a_scale_latents_are_mu():
    net, x = model(), pictures(3)
    assert torch.equal(net.latents(x), net.encode(x)[0])
    z = net.latents(x)
    assert torch.equal(net.pictures(z), net(x).clamp(-1, 1))


def test_statistics_are_those_of_draws():
    """Of many draws from N(mu, exp(logvar)), with channels of unlike scales."""
    g = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.1, 1.0, 5.0])[:, None, None]
    mu = scale * torch.randn(4000, 3, 2, 2, generator=g) + scale
    logvar = (0.5 * scale).square().log().expand_as(mu)
    z = mu + (0.5 * logvar).exp() * torch.randn(mu.shape, generator=g)
    mean, std = channel_statistics(mu, logvar)
    assert mean.shape == std.shape == (3, 1, 1)
    assert torch.allclose(mean[:, 0, 0], z.mean(dim=(0, 2, 3)), rtol=0.03)
    assert torch.allclose(std[:, 0, 0], z.std(dim=(0, 2, 3)), rtol=0.03)
    # their mean, spread and the spread of each: sqrt(1 + 0.5²) of the scale
    assert torch.allclose(std / scale, torch.tensor(1.25).sqrt(), rtol=0.03)


def test_what_is_measured_in_blocks_is_that_of_all():
    net, x = model(), pictures(150)
    measured, whole = latent_statistics(net, x), channel_statistics(*net.encode(x))
    for a, b in zip(measured, whole, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_model_remembers_the_scale_and_brings_it_to_1():
    net, x = model(), pictures(64)
    mu, logvar = net.encode(x)
    logvar = torch.full_like(logvar, -30.0)  # of mu alone
    for _ in range(1000):
        net.remember(mu, logvar)
    mean, std = channel_statistics(mu, logvar)
    assert torch.allclose(net.std, std, rtol=1e-2)
    assert torch.allclose(net.mean, mean, atol=1e-3)
    z = net.latents(x)
    assert torch.allclose(z.mean(dim=(0, 2, 3)), torch.zeros(4), atol=0.02)
    assert torch.allclose(z.std(dim=(0, 2, 3)), torch.ones(4), atol=0.02)
    rebuilt = net.decode(mu).clamp(-1, 1)
    assert torch.allclose(net.pictures(z), rebuilt, atol=1e-4)
    again = KLAutoencoder(TINY)
    again.load_state_dict(net.state_dict())  # it ships with the weights
    assert torch.equal(again.std, net.std)


def test_pictures_stay_in_range():
    z = 100 * torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    out = model().pictures(z)
    assert (out.min(), out.max()) == (-1, 1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 18, 16), "multiples of 4, got 18 × 16"),
        ((1, 3, 16, 0), "multiples of 4, got 16 × 0"),
        ((1, 1, 16, 16), r"shape \(B, 3, 16, 16\)"),
    ],
)
def test_other_pictures_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        model().encode(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12}, r"8 groups can share equally, got \[12, 24, 24\]"),
        ({"multipliers": ()}, r"share equally, got \[\]"),
        ({"latent_channels": 0}, "latent_channels to be a whole number from 1 up"),
    ],
)
def test_sizes_that_make_no_network_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        KLConfig(**options)
