"""Beside tests/parity/test_loss.py, which holds the formulas against those of the
paper.
"""

import math

import pytest
import torch

from minilib.diffusion.loss import (
    bound_by_step,
    drop_labels,
    gaussian_kl,
    hybrid_loss,
    pixel_log_likelihood,
    prior_term,
    root_snr,
    simple_loss,
)
from minilib.diffusion.sampling import (
    Denoised,
    large_variance,
    learned_variance,
    small_variance,
)
from minilib.diffusion.schedule import EPS, X_0, Schedule, V, cosine_beta, linear_beta
from minilib.nets.unet import UNet
from minilib.nets.unet_blocks import UNetConfig
from minilib.train import Draw, fit, shuffled

CHAIN = Schedule(cosine_beta())
SMALL = {
    "patch": 2,
    "width": 8,
    "multipliers": (1,),
    "blocks": 1,
    "attention": (),
    "head_dim": 8,
    "groups": 4,
}


def draw(n, seed=0):
    return Draw(torch.Generator().manual_seed(seed), slice(None), n)


@pytest.mark.parametrize(
    ("p_uncond", "low", "high"), [(0.0, 0, 0), (0.2, 170, 230), (1.0, 1000, 1000)]
)
def test_the_share_of_labels_that_is_hidden(p_uncond, low, high):
    y = torch.arange(1000) % 10
    conditional = drop_labels(y, draw(1000), p_uncond)
    hidden = conditional == -1
    assert low <= int(hidden.sum()) <= high
    assert torch.equal(conditional[~hidden], y[~hidden])
    assert drop_labels(None, draw(3), p_uncond) is None


def test_the_kl_of_two_gaussians():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 20, generator=g, dtype=torch.float64)
    s, r = torch.rand(2, 20, generator=g, dtype=torch.float64) + 0.1
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(a, s.sqrt()), normal(b, r.sqrt())
    )
    assert torch.allclose(gaussian_kl(a, s, b, r), expected)


@pytest.mark.parametrize(
    ("chain", "bits"), [(Schedule(linear_beta()), 1e-4), (CHAIN, 1e-6)]
)
def test_after_the_last_step_nearly_nothing_is_left(chain, bits):
    assert (
        0
        <= float(
            prior_term(chain, torch.rand(2, 1, 4, 4, dtype=torch.float64) * 2 - 1).max()
        )
        < bits
    )


@pytest.mark.parametrize("loss", [simple_loss, hybrid_loss])
def test_training_lowers_the_loss_and_labels_are_used(loss):
    """Two classes, all black and all white: whoever hears the label knows the picture;
    who does not, guesses.
    """
    config = UNetConfig(
        channels_out=1 if loss is simple_loss else 2, classes=2, **SMALL
    )
    y = torch.arange(64) % 2
    x = (2.0 * y - 1).view(-1, 1, 1, 1).expand(64, 1, 4, 4).contiguous()
    torch.manual_seed(0)

    def batch_loss(model, x, y, draw):
        return loss(
            model, x, y, draw=draw, schedule=CHAIN, prediction=X_0, p_uncond=0.5
        )

    fitted = fit(
        UNet(config),
        batch_loss,
        shuffled(x, y, batch_size=32),
        steps=40,
        lr=2e-2,
        progress=False,
    )
    assert fitted.loss[-10:].mean() < 0.5 * fitted.loss[:10].mean()
    noise, t = torch.randn(16, 1, 4, 4), torch.full((16,), 999)
    with torch.no_grad():
        black, white = (
            fitted.ema(noise, t, torch.full((16,), k))[:, :1].mean() for k in (0, 1)
        )
        assert black < fitted.ema(noise, t)[:, :1].mean() < white
    assert white - black > 1


@pytest.mark.parametrize("loss", [simple_loss, hybrid_loss])
def test_the_loss_is_the_same_for_the_same_draw(loss):
    config = UNetConfig(
        channels_out=1 if loss is simple_loss else 2, classes=3, **SMALL
    )
    torch.manual_seed(0)
    model, x, y = (
        UNet(config),
        torch.rand(4, 1, 8, 8) * 2 - 1,
        torch.tensor([0, 1, 2, 0]),
    )
    one, again, other = (
        float(loss(model, x, y, draw=draw(4, k), schedule=CHAIN).detach())
        for k in (0, 0, 1)
    )
    assert one == again != other


def test_the_steps_drawn_cover_the_chain_evenly():
    seen = []

    def model(x, t, y):
        seen.append(t)
        return torch.zeros_like(x)

    simple_loss(
        model,
        torch.zeros(5000, 1, 1, 1),
        draw=draw(5000),
        schedule=Schedule(linear_beta(25)),
    )
    counts = seen[0].bincount(minlength=25)
    assert len(counts) == 25
    assert counts.min() > 140
    assert counts.max() < 260


@pytest.mark.parametrize(("mean", "std"), [(-0.9, 0.3), (0.0, 0.01), (1.1, 2.0)])
def test_the_bins_of_all_greys_share_all_probability(mean, std):
    greys, variance = (
        torch.arange(256, dtype=torch.float64) / 127.5 - 1,
        torch.tensor(std**2, dtype=torch.float64),
    )
    p = pixel_log_likelihood(greys, torch.full_like(greys, mean), variance).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-9)
    edge = torch.tensor(-1 + 1 / 255, dtype=torch.float64)
    assert float(p[0]) == pytest.approx(
        float(torch.special.ndtr((edge - mean) / std)), abs=1e-9
    )


def test_the_bound_teaches_the_second_half_of_the_output_alone():
    class Says(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.out = torch.nn.Parameter(
                torch.linspace(-1, 1, 4 * 2 * 9).view(4, 2, 3, 3)
            )

        def forward(self, x, t, y=None):
            return self.out[:, : self.C]

    x, slopes = (
        torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1,
        [],
    )
    for loss, C in ((simple_loss, 1), (hybrid_loss, 2)):
        model = Says()
        model.C = C
        loss(model, x, draw=draw(4), schedule=CHAIN).backward()
        slopes.append(model.out.grad)
    simple, hybrid = slopes
    assert torch.equal(hybrid[:, :1], simple[:, :1])
    assert (hybrid[:, 1:] != 0).all()


def test_a_hopeless_guess_costs_much_but_not_infinitely():
    x = torch.tensor([-1.0, -0.5, 0.0, 1.0])
    mean, variance = (
        (5 - 10 * (x > 0).float()).requires_grad_(),
        torch.full((4,), 1e-4, requires_grad=True),
    )
    likelihood = pixel_log_likelihood(x, mean, variance)
    likelihood.sum().backward()
    assert likelihood.tolist() == pytest.approx([math.log(1e-12)] * 4)
    assert mean.grad.isfinite().all()
    assert variance.grad.isfinite().all()


MEAN, STD, LINEAR = -0.1, 0.4, Schedule(linear_beta())


def gaussian(x_t, t):
    """The best guess of x_0 and of the variance of a step back, for data from N(MEAN,
    STD²): all is Gaussian.
    """
    alpha_bar, step = LINEAR.alpha_bar_at(t, x_t), LINEAR.steps_of(t, x_t)
    spread = alpha_bar * STD**2 + 1 - alpha_bar
    x_0 = MEAN + alpha_bar.sqrt() * STD**2 / spread * (x_t - alpha_bar.sqrt() * MEAN)
    of_x_0 = step.then.sqrt() * step.beta / (1 - step.now)
    exact = step.beta_tilde + of_x_0**2 * STD**2 * (1 - alpha_bar) / spread
    low, high = step.beta_tilde_clipped.log(), step.beta.log()
    return Denoised(
        x_0, ((exact.log() - low) / (high - low)).clamp(0, 1).expand_as(x_t)
    )


def test_the_bound_is_one_and_the_best_variance_makes_it_tight():
    """Bits per dimension of Gaussian pictures, which are known, against all terms for
    their best denoiser.
    """
    x = MEAN + STD * torch.randn(
        500, 1, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    x_0 = ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    mean, variance = (
        torch.full_like(x_0, MEAN),
        torch.tensor(STD**2, dtype=torch.float64),
    )
    exact = float(-pixel_log_likelihood(x_0, mean, variance).mean()) / math.log(2)
    bits = {}
    for rule in (learned_variance, small_variance, large_variance):
        g = torch.Generator().manual_seed(1)
        terms = bound_by_step(gaussian, LINEAR, x_0, list(range(1000)), g, rule)
        bits[rule] = float((terms.sum(dim=0) + prior_term(LINEAR, x_0)).mean())
    assert exact < bits[learned_variance] < exact + 0.1
    assert bits[learned_variance] <= bits[large_variance] + 0.01
    assert bits[small_variance] > bits[learned_variance] + 0.3


@pytest.mark.parametrize("prediction", [EPS, X_0, V])
def test_a_weight_counts_errors_of_x_0(prediction):
    x_0, shift, seen = torch.rand(4, 1, 4, 4) * 2 - 1, 0.3, []

    def model(x_t, t, y):
        """Right about x_0, but for a shift."""
        alpha_bar = CHAIN.at(CHAIN.alpha_bar, t, x_t)
        seen.append(alpha_bar.flatten())
        eps = (x_t - alpha_bar.sqrt() * (x_0 + shift)) / (1 - alpha_bar).sqrt()
        return prediction.target(x_0 + shift, eps, alpha_bar)

    loss = simple_loss(
        model, x_0, draw=draw(4), schedule=CHAIN, prediction=prediction, weight=root_snr
    )
    assert float(loss) == pytest.approx(
        float((root_snr(seen[0]) * shift**2).mean()), rel=1e-3
    )


def test_the_root_of_the_signal_to_noise_ratio_stays_between_a_tenth_and_ten():
    alpha_bar = torch.tensor([1e-9, 0.5, 0.8, 1 - 1e-6])
    assert root_snr(alpha_bar).tolist() == pytest.approx([0.1, 1.0, 2.0, 10.0])


def test_a_network_with_another_number_of_channels_is_refused():
    x = torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match="expected a network that puts out"):
        simple_loss(
            lambda x_t, t, y: torch.zeros(2, 2, 4, 4), x, draw=draw(2), schedule=CHAIN
        )
    # without a variance, and with one channel too many, which would broadcast
    for out in (x, torch.zeros(2, 3, 4, 4)):
        with pytest.raises(ValueError, match="expected twice the channels of"):
            hybrid_loss(lambda x_t, t, y, out=out: out, x, draw=draw(2), schedule=CHAIN)


@pytest.mark.parametrize("prediction", [EPS, X_0, V])
@pytest.mark.parametrize("weight", [None, root_snr])
def test_the_simple_loss_in_float32_is_that_in_float64(prediction, weight):
    """On steps of little noise, of which 1 - alpha_bar has few digits in float32."""
    chain = Schedule(cosine_beta(4000)[:3])
    g = torch.Generator().manual_seed(0)
    x_0, out = torch.randn(2, 64, 1, generator=g)

    class Doubled(Draw):
        def normal(self, *shape):
            return super().normal(*shape).double()

    def loss(x_0, kind):
        drawn = kind(torch.Generator().manual_seed(1), slice(None), 64)
        return simple_loss(
            lambda x_t, t, y: out.to(x_t),
            x_0,
            draw=drawn,
            schedule=chain,
            prediction=prediction,
            weight=weight,
        )

    found = loss(x_0, Draw)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(loss(x_0.double(), Doubled)), rel=1e-5)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_tails_of_the_bins_keep_their_digits(sign):
    """Of a bin that is improbable, above 1e-12, which is the least that counts."""
    x = torch.tensor([0.0, 0.0, 0.0, -1.0, 1.0], dtype=torch.float64)
    mean = sign * torch.tensor([0.3, 0.6, 0.67, 0.3, 0.3], dtype=torch.float64)
    std, half = 0.1, 1 / 255
    edges = [(-math.inf if v < -0.9 else v - half, math.inf if v > 0.9 else v + half)
             for v in x.tolist()]  # fmt: skip
    expected = [
        of_a_normal((low - m) / std, (high - m) / std)
        for (low, high), m in zip(edges, mean.tolist(), strict=True)
    ]
    found = pixel_log_likelihood(x, mean, torch.tensor(std**2, dtype=torch.float64))
    seen = [p for p in expected if p > 1e-12]
    assert len(seen) >= 3
    for p, log_p in zip(expected, found.tolist(), strict=True):
        assert math.exp(log_p) == pytest.approx(max(p, 1e-12), rel=1e-10, abs=0)


def of_a_normal(low, high):
    """What N(0, 1) gives to numbers between them, counted from the nearer tail."""
    if low > 0:
        low, high = -high, -low
    return (math.erfc(-high / math.sqrt(2)) - math.erfc(-low / math.sqrt(2))) / 2


@pytest.mark.parametrize("loss", [simple_loss, hybrid_loss])
def test_what_a_loss_cannot_mean_is_refused(loss):
    x, y = torch.zeros(2, 1, 4, 4), torch.tensor([0, 1])
    model = lambda x_t, t, y: x_t  # noqa: E731
    with pytest.raises(ValueError, match=r"expected a prediction, .*got 'v'"):
        loss(model, x, draw=draw(2), schedule=CHAIN, prediction="v")
    with pytest.raises(ValueError, match="expected p_uncond from 0 to 1, got 10"):
        loss(model, x, y, draw=draw(2), schedule=CHAIN, p_uncond=10)


def test_a_mean_that_would_broadcast_over_pixels_is_refused():
    with pytest.raises(ValueError, match=r"the mean of shape \(2, 3\), got \(2, 1\)"):
        pixel_log_likelihood(torch.zeros(2, 3), torch.zeros(2, 1), torch.tensor(1.0))
