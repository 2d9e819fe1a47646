"""The helpers of chapter 7's claims, where the right answer is known."""

import math

import numpy as np
import pytest
import torch

from minilib.diffusion.sampling import Denoised
from minilib.experiments import better_diffusion as claims
from minilib.experiments import better_diffusion_parts as parts
from minilib.experiments.experiment import Size
from minilib.metrics import frechet_distance, precision_recall


def two_sets(n: int, m: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    mixing = torch.randn(width, width, generator=g)
    fake = torch.randn(n, width, generator=g) @ mixing + 0.5
    return fake, torch.randn(m, width, generator=g)


def test_fd_of_each_has_the_fd_as_its_mean():
    fake, real = two_sets(400, 300, 6)
    each = parts.fd_of_each(fake, real)
    assert each.shape == (400,)
    assert float(each.mean()) == pytest.approx(frechet_distance(fake, real), rel=1e-8)


def test_fd_of_each_of_features_that_never_vary():
    fake, real = (
        torch.cat([x, torch.ones(len(x), 2)], dim=1) for x in two_sets(90, 80, 3)
    )
    each = parts.fd_of_each(fake, real)
    assert each.isfinite().all()
    assert float(each.mean()) == pytest.approx(frechet_distance(fake, real), rel=1e-6)


def test_the_spread_of_fd_of_each_is_that_of_the_fd():
    fake, real = two_sets(600, 500, 4)
    g = torch.Generator().manual_seed(1)
    again = [
        frechet_distance(fake[torch.randint(600, (600,), generator=g)], real)
        for _ in range(300)
    ]
    by_influence = float(parts.fd_of_each(fake, real).std()) / 600**0.5
    assert by_influence == pytest.approx(np.std(again, ddof=1), rel=0.15)


def test_reached_has_recall_as_its_mean():
    fake, real = two_sets(60, 90, 3)
    found = parts.reached(real, fake)
    assert set(found.tolist()) == {0.0, 1.0}
    assert float(found.mean()) == pytest.approx(precision_recall(real, fake)[1])


def test_spread_steps_cover_their_range_evenly():
    steps = parts.spread_steps(998, 1, 999)
    assert steps.tolist() == list(range(1, 999))
    assert parts.spread_steps(4, 0, 1000).tolist() == [125, 375, 625, 875]


def test_chosen_steps_stand_for_all_steps_once():
    steps, stands_for = claims.chosen_steps(30, seed=3)
    assert len(steps) == len(stands_for) == 50
    assert int(stands_for.sum()) == claims.COSINE.T
    ends = stands_for.cumsum(0)
    assert all(
        end - n <= t < end for t, n, end in zip(steps, stands_for, ends, strict=True)
    )


def test_a_network_that_predicts_no_noise_pays_the_weights_alone():
    network = parts.untrained("base", 0)  # its last layer is zero
    as_kl, weighted = claims.terms_twice(network, 0, 64)
    assert torch.allclose(as_kl, weighted, rtol=1e-9)
    snr = claims.COSINE.alpha_bar / (1 - claims.COSINE.alpha_bar)
    t = parts.spread_steps(64, 1, 999)
    expected = (snr[t - 1] / snr[t] - 1) / 2 / math.log(2)  # the noise has variance 1
    assert float((weighted / expected).mean()) == pytest.approx(1, abs=0.02)


def test_held_out_loss_of_a_network_that_predicts_no_noise_is_the_noise():
    loss = parts.held_out(parts.untrained("base", 0), Size.LIVE)
    assert float(loss.mean()) == pytest.approx(1, abs=0.02)


def test_operations_tell_what_a_change_costs():
    ratio = {
        name: parts.operations(name) / parts.operations("base")
        for name in parts.CONFIGS
    }
    assert ratio["4 attention heads in place of 1"] == 1
    assert 2 < ratio["wider: 24 channels"] < 2.25  # most of it grows with the square
    assert (
        min(ratio.values()) == 1
    )  # so that `trained` may take the base as the measure


def test_percent_of_base(monkeypatch):
    toys = {"base": parts.Toy(None, 0.2, 0.2), "AdaGN": parts.Toy(None, 0.1, 0.3)}
    monkeypatch.setattr(parts, "trained", lambda name, seed, size: toys[name])
    assert parts.percent_of_base("AdaGN", 0, Size.LIVE, False) == (
        100,
        pytest.approx(50),
    )
    assert parts.percent_of_base("AdaGN", 0, Size.LIVE, True) == (
        100,
        pytest.approx(150),
    )


def test_remembered_asks_once_a_step():
    asked = []

    def denoise(x_t, t):
        asked.append(int(t[0]))
        return Denoised(x_t)

    ask, x = parts.remembered(denoise), torch.zeros(2, 1)
    for step in (3, 3, 5, 3):
        ask(x, torch.full((2,), step))
    assert asked == [3, 5]


def test_walks_start_from_the_same_noise():
    one_step = [
        parts.drawn("ddpm_digits", walk, 1, 0, 2) for walk in ("DDIM", "DDPM, β")
    ]
    assert torch.allclose(*one_step, atol=1e-5)  # the last step adds no noise
    other = parts.drawn("ddpm_digits", "DDIM", 1, 1, 2)
    assert not torch.allclose(one_step[0], other, atol=1e-2)


def test_a_gradient_that_is_not_finite_ends_the_training(monkeypatch):
    right, calls = parts.simple_loss, []

    def spoilt(*arguments, **options):
        calls.append(0)
        loss = right(*arguments, **options)
        # finite, and its slope is not
        return loss + 0 * (loss * 0).sqrt() if len(calls) == 3 else loss

    monkeypatch.setattr(parts, "simple_loss", spoilt)
    with pytest.raises(FloatingPointError, match=r"the gradient .* from step 2 on"):
        parts.trained.__wrapped__("base", 0, Size.LIVE)
    assert len(calls) == 3
