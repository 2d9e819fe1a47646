from functools import partial

import pytest
import torch

from minilib.diffusion.sampling import Denoised, ancestral, ddim, last
from minilib.diffusion.schedule import (
    Schedule,
    cosine_beta,
    even,
    leading_by_one,
    scaled_linear_beta,
    trailing,
)
from minilib.diffusion.solvers import (
    euler,
    euler_ancestral,
    from_picture,
    noise_level,
    pndm,
)

CHAIN = Schedule(cosine_beta())
MEAN, STD = 0.4, 0.3


def gaussian(x_t, t, chain=CHAIN):
    """The best denoiser of data from N(MEAN, STD²): the posterior mean of x_0."""
    alpha_bar = chain.alpha_bar_at(t, x_t)
    gain = alpha_bar.sqrt() * STD**2 / (alpha_bar * STD**2 + 1 - alpha_bar)
    return Denoised(MEAN + gain * (x_t - alpha_bar.sqrt() * MEAN))


def noise(n, seed=0):
    return torch.randn(
        n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


SAMPLERS = {
    "pndm": pndm,
    "euler": euler,
    "euler_ancestral": lambda denoise, chain, x, steps: euler_ancestral(
        denoise, chain, x, steps, generator()
    ),
}
samplers = pytest.mark.parametrize("sampler", SAMPLERS)


@samplers
def test_a_gaussian_is_drawn_with_its_mean_and_spread(sampler):
    x = last(SAMPLERS[sampler](gaussian, CHAIN, noise(20_000), even(1000, 500)))
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(x.std()) == pytest.approx(STD, abs=0.01)


@samplers
def test_what_has_one_picture_draws_that_picture(sampler):
    picture = torch.rand(1, 3, 3, dtype=torch.float64)
    x = torch.randn(4, 1, 3, 3, generator=generator(), dtype=torch.float64)
    found = last(
        SAMPLERS[sampler](
            lambda x_t, t: Denoised(picture.expand_as(x_t)), CHAIN, x, even(1000, 7)
        )
    )
    # pndm mixes the noise of four steps, and so keeps a little of it
    assert torch.allclose(found, picture, atol=1e-2 if sampler == "pndm" else 1e-12)


@samplers
def test_one_picture_a_step_the_same_each_time(sampler):
    for steps in (trailing(1000, 9), [700]):
        one, again = (
            [*SAMPLERS[sampler](gaussian, CHAIN, noise(5), steps)] for _ in range(2)
        )
        assert len(one) == len(steps)
        assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
        assert not any(x.requires_grad for x in one)


@samplers
def test_float32_pictures_stay_float32(sampler):
    x = last(SAMPLERS[sampler](gaussian, CHAIN, noise(3).float(), even(1000, 4)))
    assert x.dtype == torch.float32


def test_euler_is_ddim():
    x, steps = noise(50), trailing(1000, 12)
    for a, b in zip(
        euler(gaussian, CHAIN, x, steps), ddim(gaussian, CHAIN, x, steps), strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-10)


def test_euler_ancestral_is_ancestral_sampling():
    """To the noise: both draw the same numbers. But for the last step it is also DDIM
    with eta = 1.
    """
    x, steps = noise(50), trailing(1000, 12)
    a, b, c = (
        [*walk]
        for walk in (
            euler_ancestral(gaussian, CHAIN, x, steps, generator()),
            ancestral(gaussian, CHAIN, x, steps, generator()),
            ddim(gaussian, CHAIN, x, steps, generator(), eta=1.0),
        )
    )
    for one, other, third in zip(a, b, c, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)
        assert torch.allclose(one, third, rtol=1e-9, atol=1e-12)


def test_pndm_comes_closer_to_the_ode_than_euler():
    """On Stable Diffusion's chain. The ODE of a Gaussian is known: it shifts and
    stretches.
    """
    chain, x = Schedule(scaled_linear_beta()), noise(50)
    denoise, off = partial(gaussian, chain=chain), {}
    for n in (10, 20, 50):
        steps = leading_by_one(1000, n)
        alpha_bar = chain.alpha_bar[steps[0]]
        std = (alpha_bar * STD**2 + 1 - alpha_bar).sqrt()
        end = MEAN + STD * (x - alpha_bar.sqrt() * MEAN) / std
        off[n] = [
            float((last(sampler(denoise, chain, x, steps)) - end).abs().max())
            for sampler in (pndm, euler)
        ]
    assert all(of_pndm < of_euler / 5 for of_pndm, of_euler in off.values()), off
    assert off[20][0] < 0.005  # of 0.002; Euler's is 0.15


def test_pndm_asks_once_more_than_there_are_steps():
    asked = []

    def counted(x_t, t):
        asked.append(int(t[0]))
        return gaussian(x_t, t)

    last(pndm(counted, CHAIN, noise(2), [900, 600, 300, 0]))
    assert asked == [900, 600, 600, 300, 0]
    asked.clear()
    last(pndm(counted, CHAIN, noise(2), [900]))
    assert asked == [900]


def test_the_noise_level_of_stable_diffusion():
    sigma = noise_level(Schedule(scaled_linear_beta()).alpha_bar)
    assert float(sigma[0]) == pytest.approx(0.0292, abs=1e-4)
    assert float(sigma[-1]) == pytest.approx(14.61, abs=0.01)
    assert float(noise_level(torch.tensor(1.0))) == 0


# ---------- from a picture ----------


def test_strength_says_how_much_is_drawn_anew():
    picture, steps = torch.full((4, 1), -2.0, dtype=torch.float64), even(1000, 100)
    far = []
    for strength in (0.1, 0.5, 1.0):
        x, left = from_picture(CHAIN, picture, steps, strength, generator())
        assert left == steps[100 - int(100 * strength) :]
        far.append(float((last(ddim(gaussian, CHAIN, x, left)) - picture).abs().mean()))
    assert far[0] < far[1] < far[2]
    # the picture is no draw from N(MEAN, STD²), and at full strength it is forgotten
    assert far[2] == pytest.approx(2 + MEAN, abs=3 * STD)


def test_it_starts_at_the_noise_of_its_first_step():
    picture = torch.zeros(50_000, 1, dtype=torch.float64)
    x, left = from_picture(CHAIN, picture, even(1000, 10), 0.6, generator())
    spread = (1 - CHAIN.alpha_bar[left[0]]).sqrt()
    assert float(x.std()) == pytest.approx(float(spread), rel=0.02)


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.1, 0.01, float("nan")])
def test_a_strength_that_leaves_no_step_is_refused(strength):
    with pytest.raises(ValueError, match="leaves one of 20 steps, got"):
        from_picture(CHAIN, noise(2), even(1000, 20), strength, generator())
