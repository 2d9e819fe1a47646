import weakref

import pytest
import torch

from minilib.diffusion.guidance import ancestral_guided, classifier_free, guided
from minilib.diffusion.inpainting import keep_known
from minilib.diffusion.sampling import (
    Denoised,
    ancestral,
    ddim,
    ddim_encode,
    denoiser,
    dpm_solver,
    large_variance,
    last,
    learned_variance,
    noise_in,
    noise_like,
    probability_flow,
    small_variance,
)
from minilib.diffusion.schedule import (
    EPS,
    X_0,
    Schedule,
    V,
    cosine_beta,
    even,
    linear_beta,
    trailing,
)

CHAIN = Schedule(cosine_beta())
MEAN, STD = 0.4, 0.3


def gaussian(x_t, t):
    """The best denoiser of data from N(MEAN, STD²): the posterior mean of x_0."""
    alpha_bar = CHAIN.alpha_bar_at(t, x_t)
    gain = alpha_bar.sqrt() * STD**2 / (alpha_bar * STD**2 + 1 - alpha_bar)
    return Denoised(MEAN + gain * (x_t - alpha_bar.sqrt() * MEAN))


def noise(n, seed=0):
    return torch.randn(
        n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


SAMPLERS = {
    "ancestral": lambda denoise, x, steps: ancestral(
        denoise, CHAIN, x, steps, generator()
    ),
    "ddim": lambda denoise, x, steps: ddim(denoise, CHAIN, x, steps),
    "ddim, eta 1": lambda denoise, x, steps: ddim(
        denoise, CHAIN, x, steps, generator(), eta=1.0
    ),
    "dpm_solver": lambda denoise, x, steps: dpm_solver(denoise, CHAIN, x, steps),
}
samplers = pytest.mark.parametrize("sampler", SAMPLERS)


@samplers
def test_a_gaussian_is_drawn_with_its_mean_and_spread(sampler):
    x = last(SAMPLERS[sampler](gaussian, noise(20_000), even(1000, 500)))
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(x.std()) == pytest.approx(STD, abs=0.01)


@samplers
def test_what_has_one_picture_draws_that_picture(sampler):
    picture = torch.rand(1, 3, 3, dtype=torch.float64)
    x = torch.randn(4, 1, 3, 3, generator=generator(), dtype=torch.float64)
    steps = even(1000, 7)
    assert torch.allclose(
        last(
            SAMPLERS[sampler](lambda x_t, t: Denoised(picture.expand_as(x_t)), x, steps)
        ),
        picture,
    )


@samplers
def test_one_picture_a_step_the_same_each_time(sampler):
    steps = trailing(1000, 9)
    one, again = ([*SAMPLERS[sampler](gaussian, noise(5), steps)] for _ in range(2))
    assert len(one) == 9
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not any(x.requires_grad for x in one)
    assert torch.equal(last(SAMPLERS[sampler](gaussian, noise(5), steps)), one[-1])


@samplers
def test_it_asks_at_the_steps_given_and_holds_no_past_pictures(sampler):
    asked, seen = [], []

    def denoise(x_t, t):
        asked.append(int(t[0]))
        assert t.shape == (len(x_t),)
        seen.append(weakref.ref(x_t))
        return gaussian(x_t, t)

    walk = SAMPLERS[sampler](denoise, noise(5), [900, 500, 200, 10])
    for _ in walk:
        # the picture before and the one at hand
        assert sum(ref() is not None for ref in seen) <= 2
    assert asked == [900, 500, 200, 10]


@samplers
def test_noise_makes_a_difference_only_where_it_should(sampler):
    def draw(seed):
        torch.manual_seed(seed)
        return last(SAMPLERS[sampler](gaussian, noise(5), even(1000, 5)))

    assert torch.equal(draw(0), draw(1)), "the global generator must not matter"


def test_ancestral_depends_on_its_generator():
    one, other = (
        last(ancestral(gaussian, CHAIN, noise(5), even(1000, 5), generator(k)))
        for k in (1, 2)
    )
    assert not torch.equal(one, other)


def test_eta_needs_a_generator():
    with pytest.raises(ValueError, match=r"eta = 0.5 adds noise: pass a generator"):
        last(ddim(gaussian, CHAIN, noise(2), even(1000, 5), eta=0.5))


def test_ddim_with_eta_1_has_the_mean_and_the_variance_of_ancestral_sampling():
    x, steps = noise(50_000), [500, 200]
    a, b = (
        next(ancestral(gaussian, CHAIN, x, steps, generator())),
        next(ddim(gaussian, CHAIN, x, steps, generator(), 1)),
    )
    assert torch.allclose(a, b)


def test_more_steps_come_closer_to_the_ode_and_the_solver_comes_closer_faster():
    x = noise(50)
    end, calls = probability_flow(gaussian, CHAIN, x, tolerance=1e-6)
    off = {
        (name, n): float(
            (last(SAMPLERS[name](gaussian, x, trailing(1000, n))) - end).abs().max()
        )
        for name in ("ddim", "dpm_solver")
        for n in (10, 20, 100)
    }
    for name in ("ddim", "dpm_solver"):
        assert off[name, 10] > off[name, 20] > off[name, 100]
    assert off["dpm_solver", 20] < off["ddim", 20] / 3
    assert 20 < calls < 2_000


def test_the_ode_of_a_gaussian_is_known():
    """It stretches: x at the end is MEAN + STD/std_T (x - mean_T), up to what is left
    at the first step.
    """
    x = noise(20)
    end, _ = probability_flow(gaussian, CHAIN, x, tolerance=1e-8)
    alpha_bar = CHAIN.alpha_bar[-1]
    std = (alpha_bar * STD**2 + 1 - alpha_bar).sqrt()
    expected = MEAN + STD * (x - alpha_bar.sqrt() * MEAN) / std
    assert torch.allclose(end, expected, atol=2e-3)


def test_encoding_and_decoding_come_back():
    x, steps = MEAN + STD * noise(20, seed=3), even(1000, 1000)
    z = last(ddim_encode(gaussian, CHAIN, x, steps))
    assert float(z.std()) == pytest.approx(1, abs=0.35)
    assert float((last(ddim(gaussian, CHAIN, z, steps)) - x).abs().max()) < 0.02
    coarse = even(1000, 20)
    again = last(
        ddim(gaussian, CHAIN, last(ddim_encode(gaussian, CHAIN, x, coarse)), coarse)
    )
    assert float((again - x).abs().max()) > 0.02
    assert len([*ddim_encode(gaussian, CHAIN, x, coarse)]) == 19


@pytest.mark.parametrize("prediction", [EPS, X_0, V])
@pytest.mark.parametrize("clip", [False, True])
def test_a_network_becomes_a_denoiser(prediction, clip):
    g = torch.Generator().manual_seed(0)
    x_0 = torch.linspace(-1.5, 1.5, 8).view(2, 1, 2, 2)
    eps, t, y = (
        torch.randn(2, 1, 2, 2, generator=g),
        torch.tensor([100, 700]),
        torch.tensor([4, 5]),
    )
    asked = []

    def model(x, t, y):
        asked.append((t, y))
        return prediction.target(x_0, eps, CHAIN.at(CHAIN.alpha_bar, t, x))

    denoised = denoiser(model, CHAIN, prediction, y, clip)(CHAIN.noisy(x_0, t, eps), t)
    assert torch.allclose(denoised.x_0, x_0.clamp(-1, 1) if clip else x_0, atol=1e-5)
    assert denoised.share is None
    assert torch.equal(asked[0][0], t)
    assert torch.equal(asked[0][1], y)


def test_a_network_with_twice_the_channels_says_where_the_variance_lies():
    model = lambda x, t, y: torch.cat([x, torch.full_like(x, 0.5)], dim=1)  # noqa: E731
    denoised = denoiser(model, CHAIN, X_0)(
        torch.zeros(2, 1, 2, 2), torch.tensor([3, 4])
    )
    assert torch.equal(denoised.share, torch.full((2, 1, 2, 2), 0.75))


def test_the_learned_variance_lies_between_the_two_fixed_ones():
    _, step = CHAIN.walk([500, 300, 0])[0]
    low, high = (
        small_variance(step, Denoised(torch.zeros(1))),
        large_variance(step, Denoised(torch.zeros(1))),
    )
    assert low < high
    for share, expected in {0.0: low, 1.0: high, 0.5: (low * high).sqrt()}.items():
        found = learned_variance(
            step, Denoised(torch.zeros(1), torch.tensor(share, dtype=torch.float64))
        )
        assert float(found) == pytest.approx(float(expected))
    with pytest.raises(
        ValueError, match="learned no variance: use small_variance or large_variance"
    ):
        learned_variance(step, Denoised(torch.zeros(1)))


def test_noise_has_the_shape_and_kind_of_the_picture():
    x = torch.zeros(3, 2, dtype=torch.float64)
    assert noise_like(x, generator()).dtype == torch.float64
    assert torch.equal(noise_like(x, generator()), noise_like(x, generator()))


def test_the_noise_in_a_picture_is_what_was_put_there():
    x_0, eps, alpha_bar = (
        noise(5, 1),
        noise(5, 2),
        torch.tensor(0.3, dtype=torch.float64),
    )
    assert torch.allclose(
        noise_in(alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps, x_0, alpha_bar),
        eps,
    )


def test_last_shows_progress_when_told_how_many_steps_there_are(capsys):
    last(iter(noise(3)), steps=3, name="drawing")
    assert "drawing" in capsys.readouterr().err
    last(iter(noise(3)))
    assert capsys.readouterr().err == ""


def test_samplers_work_with_float32_pictures():
    for sampler in SAMPLERS.values():
        assert (
            last(sampler(gaussian, noise(3).float(), even(1000, 4))).dtype
            == torch.float32
        )
    assert probability_flow(gaussian, CHAIN, noise(3).float())[0].dtype == torch.float32


def test_the_schedule_need_not_have_a_thousand_steps():
    chain = Schedule(linear_beta(50))
    picture = lambda x_t, t: Denoised(torch.full_like(x_t, 0.2))  # noqa: E731
    assert torch.allclose(
        last(ddim(picture, chain, noise(3), even(50, 50))),
        torch.tensor(0.2, dtype=torch.float64),
    )


@samplers
def test_no_graph_is_kept_and_the_caller_keeps_its_gradients(sampler):
    weight, seen = torch.ones(1, dtype=torch.float64, requires_grad=True), []

    def denoise(x_t, t):
        seen.append(torch.is_grad_enabled())
        return Denoised(weight * gaussian(x_t, t).x_0)

    walk = SAMPLERS[sampler](denoise, noise(3), [500, 100, 0])
    assert seen == []  # nothing happens before the first picture is asked for
    for x in walk:
        assert torch.is_grad_enabled()
        assert not x.requires_grad
    assert seen == [False] * 3
    assert not last(ddim_encode(denoise, CHAIN, noise(3), [500, 100, 0])).requires_grad
    assert not probability_flow(denoise, CHAIN, noise(3))[0].requires_grad


def two_gaussians(x_t, t):
    """The best denoiser of data of which half lies at 0.6 and half at -0.6, with a
    spread of 0.2 each.
    """
    alpha_bar = CHAIN.alpha_bar_at(t, x_t)
    variance = alpha_bar * 0.2**2 + 1 - alpha_bar
    gain = alpha_bar.sqrt() * 0.2**2 / variance
    means = {m: m + gain * (x_t - alpha_bar.sqrt() * m) for m in (0.6, -0.6)}
    upper = torch.sigmoid(2 * alpha_bar.sqrt() * 0.6 * x_t / variance)
    return Denoised(upper * means[0.6] + (1 - upper) * means[-0.6])


def test_ddim_in_a_thousand_steps_ends_where_the_ode_ends():
    x, asked = noise(200), []

    def counted(x_t, t):
        asked.append(float(t[0]))
        return two_gaussians(x_t, t)

    end, calls = probability_flow(counted, CHAIN, x, tolerance=1e-7)
    assert calls == len(asked)
    assert max(asked) == 999
    assert asked[-1] == 0
    assert any(t != int(t) for t in asked)
    off = {
        name: (last(SAMPLERS[name](two_gaussians, x, even(1000, 1000))) - end)
        .abs()
        .max()
        for name in SAMPLERS
    }
    assert off["ddim"] < 0.003  # of 0.002 measured; pictures reach from -1.2 to 1.2
    assert off["dpm_solver"] < 0.0003  # of 0.0001
    assert off["ancestral"] > 0.1
    rough, fewer = probability_flow(two_gaussians, CHAIN, x)
    assert fewer < calls
    assert (rough - end).abs().max() < 0.02


@samplers
def test_both_of_two_kinds_are_drawn(sampler):
    x = last(SAMPLERS[sampler](two_gaussians, noise(5_000), even(1000, 200)))
    upper = x > 0
    assert float(upper.double().mean()) == pytest.approx(0.5, abs=0.03)
    for m, part in ((0.6, x[upper]), (-0.6, x[~upper])):
        assert float(part.mean()) == pytest.approx(m, abs=0.02)
        assert float(part.std()) == pytest.approx(0.2, abs=0.02)


def test_a_sampler_without_a_step_has_no_last_picture():
    with pytest.raises(
        ValueError, match="expected a sampler that takes a step or more"
    ):
        last(ddim_encode(gaussian, CHAIN, noise(3), [500]))


@pytest.mark.parametrize("eta", [-0.1, 1.2, float("nan")])
def test_more_noise_than_there_is_room_for_is_refused(eta):
    walk = ddim(
        denoiser(lambda x, t, y: x, CHAIN, X_0),
        CHAIN,
        torch.zeros(1, 1, 2, 2),
        [9],
        torch.Generator(),
        eta,
    )
    with pytest.raises(ValueError, match="expected eta from 0 to 1"):
        next(walk)


@pytest.mark.parametrize("prediction", [EPS, X_0, V])
@pytest.mark.parametrize("beta", [linear_beta(), cosine_beta(4000)])
def test_near_the_data_a_float32_denoiser_says_what_a_float64_one_says(
    prediction, beta
):
    chain, t = Schedule(beta), torch.tensor([0, 1, 2])
    x_t, out = torch.randn(2, 3, 50, generator=generator(), dtype=torch.float32)
    denoise = denoiser(lambda x, t, y: out.to(x), chain, prediction, clip=False)
    exact, found = denoise(x_t.double(), t).x_0, denoise(x_t, t).x_0
    assert found.dtype == torch.float32
    assert (found - exact).abs().max() < 3e-7  # of numbers up to 3


@pytest.mark.parametrize("t", [-1, 1000])
def test_a_denoiser_knows_the_steps_of_its_chain_alone(t):
    denoise = denoiser(lambda x, t, y: x, CHAIN, X_0)
    with pytest.raises(
        ValueError,
        match=f"expected steps t from 0 to 999, got 5 to {t}"
        if t > 0
        else "expected steps t from 0 to 999, got -1 to 5",
    ):
        denoise(torch.zeros(2, 1, 2, 2), torch.tensor([5, t]))


EVERY_SAMPLER = {
    **SAMPLERS,
    "ddim_encode": lambda denoise, x, steps: ddim_encode(denoise, CHAIN, x, steps),
    "guided": lambda denoise, x, steps: ddim(
        guided(denoise, CHAIN, lambda x_t, t: x_t.sum(dim=1), 1.0), CHAIN, x, steps
    ),
    "ancestral_guided": lambda denoise, x, steps: ancestral_guided(
        denoise, CHAIN, lambda x_t, t: x_t.sum(dim=1), 1.0, x, steps, generator()
    ),
    "classifier_free": lambda denoise, x, steps: ddim(
        classifier_free(denoise, denoise, 2.0), CHAIN, x, steps
    ),
    "keep_known": lambda denoise, x, steps: ddim(
        keep_known(denoise, x, x[:, :1] > 0), CHAIN, x, steps
    ),
    "probability_flow": lambda denoise, x, steps: [
        probability_flow(denoise, CHAIN, x)[0]
    ],
}
every_sampler = pytest.mark.parametrize("sampler", EVERY_SAMPLER)


@every_sampler
def test_a_network_is_no_denoiser(sampler):
    with pytest.raises(
        ValueError, match=r"expected a denoiser, as denoiser.* returns a Tensor"
    ):
        last(EVERY_SAMPLER[sampler](lambda x_t, t: x_t, noise(3), [9, 4]))


@every_sampler
def test_a_prediction_that_would_broadcast_is_refused(sampler):
    """One picture for three, and one channel for three."""
    x = torch.randn(3, 3, dtype=torch.float64, generator=generator())
    for small in (x[:1], x[:, :1]):
        with pytest.raises(
            ValueError,
            match=r"a denoiser's x_0 of shape \(3, 3\), got \((1|3), (1|3)\)",
        ):
            last(EVERY_SAMPLER[sampler](lambda x_t, t, s=small: Denoised(s), x, [9, 4]))


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_a_network_of_other_channels_makes_no_denoiser(channels):
    denoise = denoiser(lambda x, t, y: torch.zeros(2, channels, 4, 4), CHAIN)
    with pytest.raises(
        ValueError,
        match=r"a network that puts out \(2, 3, 4, 4\) or \(2, 6, 4, 4\), got \(2, ",
    ):
        denoise(torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))


def test_a_name_is_no_prediction():
    with pytest.raises(
        ValueError, match=r"expected a prediction, EPS, X_0 or V of .*got 'eps'"
    ):
        denoiser(lambda x, t, y: x, CHAIN, "eps")


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize(
    "draw",
    [
        lambda seed: last(ancestral(gaussian, CHAIN, noise(2), [9, 4], seed)),
        lambda seed: last(
            ddim(gaussian, CHAIN, noise(2), [9, 4], 7 if seed is None else seed, 1.0)
        ),
        lambda seed: noise_like(noise(2), seed),
    ],
)
def test_a_seed_is_no_generator(draw, seed):
    with pytest.raises(
        ValueError, match=r"expected a generator, such as torch.Generator\(\).*got"
    ):
        draw(seed)


@samplers
@pytest.mark.parametrize(
    "steps", [20, torch.tensor([9, 4]), (9, 4), [9.0, 4.0], "trailing", None]
)
def test_a_number_of_steps_is_no_list_of_steps(sampler, steps):
    with pytest.raises(
        ValueError, match=r"a list of whole steps, such as trailing\(1000, 20\), got"
    ):
        last(SAMPLERS[sampler](gaussian, noise(2), steps))
