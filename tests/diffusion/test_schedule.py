import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minilib.diffusion import schedule
from minilib.diffusion.schedule import (
    EPS,
    X_0,
    Schedule,
    V,
    cosine_beta,
    even,
    leading,
    leading_by_one,
    linear_beta,
    placed,
    scaled_linear_beta,
    trailing,
)

chains = pytest.mark.parametrize(
    "beta", [linear_beta(), cosine_beta(), linear_beta(100)]
)


def test_the_linear_schedule_is_the_papers():
    beta = linear_beta()
    assert beta.shape == (1000,)
    assert (float(beta[0]), float(beta[-1])) == (
        pytest.approx(1e-4),
        pytest.approx(0.02),
    )
    assert beta.diff().std() < 1e-12
    # Ho et al. (2020): KL to N(0, I) of 1e-5
    assert Schedule(beta).alpha_bar[-1] == pytest.approx(4.0358e-5, rel=1e-4)


def test_the_scaled_linear_schedule_is_stable_diffusions():
    beta = scaled_linear_beta()
    assert beta.shape == (1000,)
    assert (float(beta[0]), float(beta[-1])) == (
        pytest.approx(0.00085),
        pytest.approx(0.012),
    )
    assert beta.sqrt().diff().std() < 1e-12
    # what is left of a picture after the last step: not nothing
    assert float(Schedule(beta).alpha_bar[-1].sqrt()) == pytest.approx(0.0683, abs=1e-4)


def test_the_cosine_schedule_is_the_papers():
    """Nichol and Dhariwal (2021, eq. 17), where T is not clipped."""
    f = lambda t: math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2  # noqa: E731
    alpha_bar = Schedule(cosine_beta()).alpha_bar
    for t in (0, 10, 500, 990):
        assert float(alpha_bar[t]) == pytest.approx(f(t + 1) / f(0), rel=1e-9)
    assert cosine_beta().max() == 0.999


@pytest.mark.parametrize(
    "beta", [[0.1, 1.0], [0.0, 0.1], [-0.1], [], [[0.1]], [float("nan")]]
)
def test_what_is_no_chain_is_refused(beta):
    with pytest.raises(
        ValueError, match=r"expected beta of shape \(T,\) with values between 0 and 1"
    ):
        Schedule(torch.tensor(beta, dtype=torch.float64))


@chains
def test_noise_at_once_is_noise_step_by_step(beta):
    """Mean and variance of x_t, composed of single steps."""
    chain, mean, variance = Schedule(beta), 1.0, 0.0
    for t in range(chain.T):
        mean, variance = (
            math.sqrt(1 - beta[t]) * mean,
            (1 - beta[t]) * variance + beta[t],
        )
        assert float(chain.alpha_bar[t].sqrt()) == pytest.approx(mean, rel=1e-9)
        assert float(1 - chain.alpha_bar[t]) == pytest.approx(float(variance), rel=1e-9)
    x_0, eps = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [3.0]])
    t = torch.tensor([3, chain.T - 1])
    alpha_bar = chain.alpha_bar[t][:, None]
    expected = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps
    assert torch.allclose(chain.noisy(x_0, t, eps), expected.float())


@chains
def test_the_way_back_is_the_posterior_of_two_gaussians(beta):
    """q(x_before | x_t, x_0) ∝ q(x_t | x_before) q(x_before | x_0): precisions add
    up.
    """
    chain, x_0, x_t = (
        Schedule(beta),
        torch.tensor(0.7, dtype=torch.float64),
        torch.tensor(-1.3, dtype=torch.float64),
    )
    walk = chain.walk([chain.T - 1, chain.T // 2, 3, 1, 0])
    for (_, step), before in zip(walk[:-1], [chain.T // 2, 3, 1, 0], strict=True):
        ratio = step.now / step.then
        prior_mean, prior_variance = (
            chain.alpha_bar[before].sqrt() * x_0,
            1 - chain.alpha_bar[before],
        )
        precision = 1 / prior_variance + ratio / (1 - ratio)
        mean = (
            prior_mean / prior_variance + ratio.sqrt() * x_t / (1 - ratio)
        ) / precision
        assert float(step.mean(x_t, x_0)) == pytest.approx(float(mean), rel=1e-9)
        assert float(step.beta_tilde) == pytest.approx(float(1 / precision), rel=1e-9)
    _, last = walk[-1]
    assert float(last.mean(x_t, x_0)) == pytest.approx(0.7)
    assert float(last.beta_tilde) == 0
    assert float(last.beta_tilde_clipped) == pytest.approx(
        float(walk[-2][1].beta_tilde)
    )


def test_steps_of_pictures_at_different_steps_are_those_of_the_walk():
    chain, t = Schedule(linear_beta()), torch.tensor([999, 5, 0])
    together = chain.steps_of(t, torch.zeros(3, 1, 2, 2))
    alone = dict(chain.walk(list(range(999, -1, -1))))
    for i, step in enumerate(t.tolist()):
        for name in ("now", "then", "beta", "beta_tilde", "beta_tilde_clipped"):
            assert float(getattr(together, name)[i]) == pytest.approx(
                float(getattr(alone[step], name)), rel=1e-12
            )
    assert together.now.shape == (3, 1, 1, 1)


@pytest.mark.parametrize("steps", [[], [1000, 3], [5, 5], [3, 7], [4, -1]])
def test_a_walk_that_does_not_fall_is_refused(steps):
    with pytest.raises(
        ValueError, match="expected steps that fall from at most 999 to at least 0"
    ):
        Schedule(linear_beta()).walk(steps)


def test_which_steps_the_papers_take():
    assert leading(1000, 10) == [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    assert leading_by_one(1000, 10) == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
    assert trailing(1000, 10) == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    assert even(1000, 10) == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    for spacing in (leading, trailing, even):
        assert spacing(1000, 1000) == list(range(999, -1, -1))
    assert even(1000, 1) == [0]


spacings = pytest.mark.parametrize("spacing", [leading, trailing, even])


@spacings
@given(T=st.integers(1, 300), share=st.floats(0, 1))
def test_any_number_of_steps_up_to_all_makes_a_walk(spacing, T, share):
    n = max(1, round(share * T))
    steps = spacing(T, n)
    assert len(steps) == n
    assert len(Schedule(torch.full((T,), 0.01, dtype=torch.float64)).walk(steps)) == n
    if spacing is leading or (spacing is even and n > 1):
        assert steps[-1] == 0
    if spacing is trailing or (spacing is even and n > 1):
        assert steps[0] == T - 1


@spacings
def test_more_steps_than_there_are_make_no_walk(spacing):
    with pytest.raises(ValueError, match="expected steps that fall"):
        Schedule(linear_beta(25)).walk(spacing(25, 40))


def test_a_fraction_of_a_step_lies_between_its_neighbours():
    chain, like = Schedule(cosine_beta()), torch.zeros(3, 1, dtype=torch.float64)
    whole = chain.alpha_bar_at(torch.tensor([10, 11, 999]), like)
    assert torch.equal(whole[:, 0], chain.alpha_bar[[10, 11, 999]])
    between = chain.alpha_bar_at(
        torch.tensor([10.0, 10.25, 999.0], dtype=torch.float64), like
    )[:, 0]
    assert torch.allclose(between[[0, 2]], whole[[0, 2], 0])
    assert torch.allclose(
        between[1].logit(), 0.75 * whole[0, 0].logit() + 0.25 * whole[1, 0].logit()
    )


def test_tables_are_placed_once_and_in_the_format_asked_for():
    chain, t = Schedule(cosine_beta()), torch.tensor([3, 999])
    for dtype in (torch.float32, torch.float64):
        like = torch.zeros(2, 1, dtype=dtype)
        found = chain.at(chain.alpha_bar, t, like)
        assert torch.equal(found[:, 0], chain.alpha_bar.to(dtype)[t])
        tables = [placed(chain.alpha_bar, dtype, like.device) for _ in range(2)]
        assert tables[0] is tables[1]
    other = Schedule(linear_beta())
    assert torch.equal(
        other.at(other.alpha_bar, t, like)[:, 0], other.alpha_bar[t]
    )  # a table of its own


def test_t_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected t of shape \(2,\), got \(2, 1\)"):
        Schedule(linear_beta()).noisy(
            torch.zeros(2, 1), torch.zeros(2, 1).long(), torch.zeros(2, 1)
        )


@pytest.mark.parametrize("prediction", [EPS, X_0, V])
def test_what_is_predicted_gives_back_x_0(prediction):
    g = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 50, 1, generator=g, dtype=torch.float64)
    alpha_bar = torch.linspace(0.001, 0.999, 50, dtype=torch.float64)[:, None]
    x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps
    assert torch.allclose(
        prediction.x_0(x_t, prediction.target(x_0, eps, alpha_bar), alpha_bar), x_0
    )


def test_v_has_the_size_of_the_data_at_every_step():
    g = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn(2, 100_000, generator=g)
    for alpha_bar in (0.01, 0.5, 0.99):
        assert float(
            V.target(x_0, eps, torch.tensor(alpha_bar)).std()
        ) == pytest.approx(1, abs=0.01)


def test_only_the_step_to_the_data_borrows_its_variance_on_an_uneven_walk():
    walk = [step for _, step in Schedule(linear_beta()).walk([101, 100, 99, 50])]
    assert all(step.beta_tilde_clipped == step.beta_tilde for step in walk[:-1])
    assert walk[-1].beta_tilde_clipped == walk[-2].beta_tilde


NEAR_THE_DATA = torch.tensor([0, 1, 2])
long_chains = pytest.mark.parametrize("beta", [linear_beta(), cosine_beta(4000)])


@long_chains
def test_the_little_noise_of_the_first_steps_keeps_its_digits_in_float32(beta):
    """1 - alpha_bar of an alpha_bar that is rounded first is wrong by up to 7e-4."""
    chain, one = Schedule(beta), torch.ones(3, 1)
    noise = chain.noisy(torch.zeros(3, 1), NEAR_THE_DATA, one)[:, 0]
    exact = (1 - chain.alpha_bar[NEAR_THE_DATA]).sqrt()
    assert ((noise.double() - exact) / exact).abs().max() < 2e-7
    exact_alpha_bar = chain.exact_alpha_bar_at(NEAR_THE_DATA.float(), one)
    assert torch.allclose((1 - exact_alpha_bar[:, 0]).sqrt(), exact, rtol=1e-9, atol=0)


@pytest.mark.parametrize("wrong", [-1, 1000, 5000, -0.5, 999.5, float("nan")])
def test_steps_that_the_chain_does_not_have_are_refused(wrong):
    """-1 would be the last step, and a fraction of 0 the first."""
    chain, x, t = Schedule(linear_beta()), torch.zeros(2, 1), torch.tensor([0, wrong])
    message = rf"expected steps t from 0 to 999, got .*{wrong}"
    asked = [chain.alpha_bar_at, chain.exact_alpha_bar_at]
    if isinstance(wrong, int):
        asked += [lambda t, x: chain.noisy(x, t, x), chain.steps_of]
    for ask in asked:
        with pytest.raises(ValueError, match=message):
            ask(t, x)


def test_where_a_gpu_is_not_asked_a_step_of_minus_1_is_still_no_other_step(monkeypatch):
    monkeypatch.setattr(schedule, "require_range", lambda *args: None)
    chain = Schedule(linear_beta())
    with pytest.raises(RuntimeError, match="out of bounds"):
        chain.noisy(torch.zeros(1, 1), torch.tensor([-1]), torch.zeros(1, 1))


def test_noise_of_another_shape_and_fractions_of_steps_are_refused():
    chain, x, t = Schedule(linear_beta()), torch.zeros(3, 2), torch.tensor([0, 1, 2])
    for eps in (x[:1], x[:, :1]):
        with pytest.raises(ValueError, match=r"expected eps of shape \(3, 2\), got"):
            chain.noisy(x, t, eps)
    with pytest.raises(ValueError, match=r"expected whole steps t, got torch.float32"):
        chain.noisy(x, t.float(), x)
