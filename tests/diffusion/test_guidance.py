import pytest
import torch

from minilib.diffusion.guidance import (
    ancestral_guided,
    classifier_free,
    guided,
    input_gradient,
)
from minilib.diffusion.sampling import (
    Denoised,
    ancestral,
    ddim,
    dpm_solver,
    full,
    large_variance,
    last,
    learned_variance,
    probability_flow,
    small_variance,
)
from minilib.diffusion.schedule import Schedule, cosine_beta, even, linear_beta

CHAIN = Schedule(cosine_beta())
STEPS = even(1000, 150)
# data N(0, STD²); the "classifier" likes what lies near AIM, to within SURE
STD, AIM, SURE = 1.0, 1.5, 0.5


def gaussian(x_t, t):
    """The best denoiser of data from N(0, STD²)."""
    alpha_bar = CHAIN.alpha_bar_at(t, x_t)
    return Denoised(
        alpha_bar.sqrt() * STD**2 / (alpha_bar * STD**2 + 1 - alpha_bar) * x_t
    )


def log_probability(x_t, t):
    """log p(y | x_t) of a y that is x_0 with noise SURE: Gaussian, and known, as x_0
    given x_t is.
    """
    alpha_bar = CHAIN.alpha_bar_at(t, x_t)
    variance = STD**2 * (1 - alpha_bar) / (alpha_bar * STD**2 + 1 - alpha_bar) + SURE**2
    return (
        (-(gaussian(x_t, t).x_0 - AIM).square() / (2 * variance) - variance.log() / 2)
        .flatten(1)
        .sum(dim=1)
    )


def noise(n):
    return torch.randn(
        n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


def draw(kind, s):
    generator = torch.Generator().manual_seed(1)
    if kind == "ddim":
        return last(
            ddim(
                guided(gaussian, CHAIN, log_probability, s), CHAIN, noise(10_000), STEPS
            )
        )
    if kind == "ancestral, by the score":
        return last(
            ancestral(
                guided(gaussian, CHAIN, log_probability, s),
                CHAIN,
                noise(10_000),
                STEPS,
                generator,
            )
        )
    return last(
        ancestral_guided(
            gaussian, CHAIN, log_probability, s, noise(10_000), STEPS, generator
        )
    )


@pytest.mark.parametrize(
    "kind", ["ddim", "ancestral, by the score", "ancestral, by the mean"]
)
def test_with_scale_1_and_the_exact_classifier_bayes_rule_is_what_is_drawn(kind):
    """The posterior of a Gaussian seen through Gaussian noise: precisions add up."""
    x = draw(kind, s=1.0)
    precision = 1 / STD**2 + 1 / SURE**2
    assert float(x.mean()) == pytest.approx(AIM / SURE**2 / precision, abs=0.05)
    assert float(x.std()) == pytest.approx(precision**-0.5, abs=0.05)


@pytest.mark.parametrize(
    "kind", ["ddim", "ancestral, by the score", "ancestral, by the mean"]
)
def test_a_larger_scale_goes_further_and_varies_less(kind):
    none, one, three = (draw(kind, s) for s in (0.0, 1.0, 3.0))
    assert none.mean().abs() < 0.05 < one.mean() < three.mean()
    assert none.std() > one.std() > three.std()


def test_scale_0_is_no_guidance_at_all():
    assert guided(gaussian, CHAIN, log_probability, 0.0) is gaussian
    plain = last(
        ancestral(gaussian, CHAIN, noise(5), STEPS, torch.Generator().manual_seed(2))
    )
    calm = ancestral_guided(
        gaussian,
        CHAIN,
        log_probability,
        0.0,
        noise(5),
        STEPS,
        torch.Generator().manual_seed(2),
    )
    assert torch.equal(last(calm), plain)


def test_the_slope_is_the_gradient_and_leaves_no_trace():
    x = noise(4).requires_grad_()
    with torch.no_grad():
        slope = input_gradient(lambda x_t, t: -(x_t**4).sum(dim=1), x, torch.zeros(4))
    assert torch.allclose(slope, -4 * x.detach() ** 3)
    assert not slope.requires_grad
    assert x.grad is None


def test_the_push_is_that_of_the_paper_in_eps():
    """eps - s sqrt(1 - alpha_bar) slope: Dhariwal and Nichol (2021, algorithm 2)."""
    x, t, s = noise(4), torch.full((4,), 300), 2.5
    alpha_bar = CHAIN.alpha_bar[300]
    to_eps = lambda x_0: (x - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()  # noqa: E731
    expected = to_eps(gaussian(x, t).x_0) - s * (1 - alpha_bar).sqrt() * input_gradient(
        log_probability, x, t
    )
    found = guided(gaussian, CHAIN, log_probability, s)(x, t)
    assert torch.allclose(to_eps(found.x_0), expected)
    assert found.share is None


def test_the_step_of_the_mean_is_scale_times_variance_times_slope():
    x, s, g = noise(4), 1.7, torch.Generator()
    (t, step), *_ = CHAIN.walk([500, 0])
    a = next(
        ancestral_guided(
            gaussian, CHAIN, log_probability, s, x, [500, 0], g.manual_seed(3)
        )
    )
    b = next(ancestral(gaussian, CHAIN, x, [500, 0], g.manual_seed(3)))
    assert torch.allclose(
        a - b,
        s * step.beta_tilde * input_gradient(log_probability, x, torch.full((4,), t)),
    )


@pytest.mark.parametrize(
    ("share", "rule"),
    [(None, small_variance), (0.3, learned_variance), (1.0, large_variance)],
)
def test_mean_and_noise_follow_the_variance_that_the_network_learned(share, rule):
    """At scale 0 it is ancestral sampling with that variance; at the step to the data
    the mean moves by a learned variance, and by none where none was learned: as in the
    code of Dhariwal and Nichol, whose variance is then 0.
    """

    def denoise(x_t, t):
        told = None if share is None else torch.full_like(x_t, share)
        return Denoised(gaussian(x_t, t).x_0, told)

    def walk(s):
        g = torch.Generator().manual_seed(4)
        return ancestral_guided(denoise, CHAIN, log_probability, s, x, [500, 40], g)

    x, s, (_, (t, step)) = noise(4), 1.7, CHAIN.walk([500, 40])
    plain = ancestral(
        denoise, CHAIN, x, [500, 40], torch.Generator().manual_seed(4), rule
    )
    assert torch.allclose(last(walk(0.0)), last(plain))
    before, after = walk(s)
    unmoved = step.mean(before, denoise(before, torch.full((4,), t)).x_0)
    slope = input_gradient(log_probability, before, torch.full((4,), t))
    moved_by = (
        0.0
        if share is None
        else s * rule(step, denoise(before, full(before, t))) * slope
    )
    assert torch.allclose(after, unmoved + moved_by)


@pytest.mark.parametrize("beta", [linear_beta(), cosine_beta(4000)])
def test_the_push_near_the_data_keeps_its_digits_in_float32(beta):
    chain, t = Schedule(beta), torch.tensor([0, 1, 2])
    still = lambda x_t, t: Denoised(torch.zeros_like(x_t))  # noqa: E731
    push = guided(still, chain, lambda x_t, t: x_t.sum(dim=1), 1.0)
    found, exact = (
        push(torch.zeros(3, 1, dtype=dtype), t).x_0.double()
        for dtype in (torch.float32, torch.float64)
    )
    assert ((found - exact) / exact).abs().max() < 2e-7


def test_the_solver_and_the_ode_are_guided_by_the_same_denoiser():
    """In fractions of a step too; with no chance involved, they stretch noise into the
    posterior.
    """
    bayes, x = guided(gaussian, CHAIN, log_probability, 1.0), noise(200)
    precision = 1 / STD**2 + 1 / SURE**2
    expected = AIM / SURE**2 / precision + x * precision**-0.5
    flow, _ = probability_flow(bayes, CHAIN, x, tolerance=1e-6)
    assert (flow - expected).abs().max() < 0.01
    assert (last(dpm_solver(bayes, CHAIN, x, STEPS)) - expected).abs().max() < 0.01


def test_what_the_network_says_of_its_variance_is_passed_on():
    share = torch.full((4, 1), 0.3)
    denoise = guided(lambda x_t, t: Denoised(x_t, share), CHAIN, log_probability, 1.0)
    assert denoise(noise(4), torch.full((4,), 9)).share is share


def test_each_picture_is_pushed_by_its_own_probability():
    x, t = noise(6), torch.tensor([0, 10, 100, 500, 900, 999])
    together = input_gradient(log_probability, x, t)
    for i in range(6):
        assert torch.allclose(
            together[i : i + 1],
            input_gradient(log_probability, x[i : i + 1], t[i : i + 1]),
            atol=1e-14,
        )


def test_guided_sampling_keeps_no_graph():
    for x in ancestral_guided(
        gaussian, CHAIN, log_probability, 1.0, noise(3), [500, 100], torch.Generator()
    ):
        assert torch.is_grad_enabled()
        assert not x.requires_grad


# ---------- classifier-free ----------


def linear(scale, shift):
    """A denoiser that does not clip: its guess is a line."""
    return lambda x_t, t: Denoised(scale * x_t + shift, torch.full_like(x_t, scale))


def refuse(x_t, t):
    raise AssertionError("this denoiser should not have been asked")


def test_scale_1_is_told_and_scale_0_is_untold_to_the_bit():
    x, t = (
        2 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0)),
        torch.zeros(50, dtype=torch.long),
    )
    conditional = linear(0.7, 0.1)
    for w, mixed in (
        (1, classifier_free(conditional, refuse, 1)),
        (0, classifier_free(refuse, conditional, 0)),
    ):
        denoised = mixed(x, t)
        assert torch.equal(denoised.x_0, conditional(x, t).x_0.clamp(-1, 1)), w
        assert torch.equal(denoised.share, conditional(x, t).share)


@pytest.mark.parametrize("w", [0.3, 2.0, 5.0])
def test_the_mixture_goes_from_untold_towards_told_and_is_clipped_last(w):
    x, t = torch.linspace(-1, 1, 9)[:, None], torch.zeros(9, dtype=torch.long)
    conditional, unconditional = linear(0.9, 0.4), linear(0.5, -0.1)
    expected = (
        unconditional(x, t).x_0 + w * (conditional(x, t).x_0 - unconditional(x, t).x_0)
    ).clamp(-1, 1)
    denoised = classifier_free(conditional, unconditional, w)(x, t)
    assert torch.allclose(denoised.x_0, expected, atol=1e-6)
    assert torch.equal(denoised.share, conditional(x, t).share)


def test_mixing_x_0_is_mixing_eps():
    """Ho and Salimans (2022, eq. 6) mix eps; theirs is w - 1."""
    x, t, w = (
        torch.linspace(-0.2, 0.2, 5, dtype=torch.float64)[:, None],
        torch.full((5,), 300),
        1.5,
    )
    alpha_bar = CHAIN.alpha_bar_at(t, x)

    def eps(denoised):
        return (x - alpha_bar.sqrt() * denoised.x_0) / (1 - alpha_bar).sqrt()

    conditional, unconditional = linear(0.6, 0.05), linear(0.4, -0.05)
    mixed = eps(classifier_free(conditional, unconditional, w)(x, t))
    assert torch.allclose(
        mixed, w * eps(conditional(x, t)) - (w - 1) * eps(unconditional(x, t))
    )


def test_one_number_for_all_pictures_is_no_log_probability():
    with pytest.raises(
        ValueError, match=r"log-probabilities of shape \(4,\), got \(4, 4"
    ):
        input_gradient(lambda x_t, t: x_t @ x_t.T, noise(4), torch.zeros(4))
