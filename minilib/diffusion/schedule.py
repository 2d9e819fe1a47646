"""The forward chain: how much of a picture is left at each step, and the distributions
that follow from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from minilib.runtime import require_range, require_shape


def linear_beta(T: int = 1000) -> Tensor:
    """Variances that rise on a line from 0.1/T to 20/T, T > 20: (T,) in float64. Ho et
    al. (2020), with T = 1000.
    """
    return torch.linspace(0.1 / T, 20 / T, T, dtype=torch.float64)


def scaled_linear_beta(T: int = 1000) -> Tensor:
    """Variances whose roots rise on a line, from sqrt(0.85/T) to sqrt(12/T): (T,) in
    float64. Stable Diffusion's, with T = 1000.
    """
    ends = math.sqrt(0.85 / T), math.sqrt(12 / T)
    return torch.linspace(*ends, T, dtype=torch.float64).square()


def cosine_beta(T: int = 1000) -> Tensor:
    """Variances whose alpha_bar falls like a squared cosine: (T,) in float64. Nichol
    and Dhariwal (2021, eq. 17).
    """
    share = (torch.arange(T + 1, dtype=torch.float64) / T + 0.008) / 1.008
    # (T + 1,): the data's, then that of steps 0 … T - 1
    left = torch.cos(share * math.pi / 2).square()
    return (1 - left[1:] / left[:-1]).clamp(max=0.999)


@lru_cache(maxsize=64)
def placed(values: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The values in that format on that device: copied once, not at every step."""
    return values.to(dtype).to(device)


@dataclass(frozen=True)
class Schedule:
    """The chain x_t = sqrt(alpha_t) x_{t-1} + sqrt(beta_t) eps over t = 0 … T - 1. What
    precedes t = 0 is the data.

    Raises ValueError unless beta is a row of numbers strictly between 0 and 1.
    """

    beta: Tensor  # (T,) float64

    def __post_init__(self) -> None:
        if (
            self.beta.ndim != 1
            or len(self.beta) == 0
            or not ((self.beta > 0) & (self.beta < 1)).all()
        ):
            raise ValueError(
                "expected beta of shape (T,) with values between 0 and 1, got "
                f"{self.beta}"
            )

    @property
    def T(self) -> int:
        return len(self.beta)

    @cached_property
    def alpha_bar(self) -> Tensor:
        """(T,): the product of all 1 - beta up to and including step t. Ho et al.
        (2020, eq. 4).
        """
        return (1 - self.beta).cumprod(dim=0)

    @cached_property
    def one_minus_alpha_bar(self) -> Tensor:
        """(T,): the variance of the noise. Of an alpha_bar near 1 that is rounded first
        the difference keeps few digits.
        """
        return 1 - self.alpha_bar

    @cached_property
    def alpha_bar_before(self) -> Tensor:
        """(T,): alpha_bar of the step before t; the data's is 1."""
        return torch.cat([torch.ones_like(self.beta[:1]), self.alpha_bar[:-1]])

    @cached_property
    def log_snr(self) -> Tensor:
        """(T,): the logarithm of alpha_bar / (1 - alpha_bar)."""
        return self.alpha_bar.logit()

    @cached_property
    def floor(self) -> Tensor:
        """beta_tilde of the step from 1 to 0, which stands in for the last one's 0."""
        return self.walk([1, 0])[0][1].beta_tilde

    def at(self, values: Tensor, t: Tensor, like: Tensor) -> Tensor:
        """The values (T,) of the steps t (B,), shaped (B, 1, …) to be multiplied with
        `like` (B, …). Raises ValueError for steps that the chain does not have.
        """
        self.require_steps(t, like)
        if t.is_floating_point():
            raise ValueError(f"expected whole steps t, got {t.dtype}")
        table = placed(values, like.dtype, like.device)
        # not table[t], which takes -1 for the last step
        return table.gather(0, t.long()).view(-1, *[1] * (like.ndim - 1))

    def require_steps(self, t: Tensor, like: Tensor) -> None:
        """Raise ValueError unless t are steps of this chain, one for each row of
        `like`.
        """
        require_shape("t", t, (len(like),))
        require_range("steps t", t, 0, self.T - 1)

    def alpha_bar_at(self, t: Tensor, like: Tensor) -> Tensor:
        """alpha_bar of the steps t (B,), shaped like `at`. Between two steps
        alpha_bar.logit() is on a line.
        """
        if not t.is_floating_point():
            return self.at(self.alpha_bar, t, like)
        self.require_steps(t, like)
        low = t.long()
        below, above = (
            self.at(self.log_snr, at, like)
            for at in (low, (low + 1).clamp(max=self.T - 1))
        )
        return torch.lerp(below, above, (t - low).to(like).view_as(below)).sigmoid()

    def exact_alpha_bar_at(self, t: Tensor, like: Tensor) -> Tensor:
        """The same in float64, for 1 - alpha_bar keeps its digits there; only an Apple
        GPU, which has none, rounds as `like` does.
        """
        return self.alpha_bar_at(
            t, like if like.device.type == "mps" else like.double()
        )

    def noisy(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t straight from x_0 (B, …): sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t)
        eps. Ho et al. (2020, eq. 4). Raises ValueError unless eps is of x_0's shape.
        """
        require_shape("eps", eps, x_0.shape)
        alpha_bar, variance = (
            self.at(values, t, x_0)
            for values in (self.alpha_bar, self.one_minus_alpha_bar)
        )
        return alpha_bar.sqrt() * x_0 + variance.sqrt() * eps

    def steps_of(self, t: Tensor, like: Tensor) -> Step:
        """The steps back from t (B,) to t - 1, in float64, shaped (B, 1, …) to be used
        with `like` (B, …). T ≥ 2. Of an Apple GPU, which has no float64, on the CPU.
        """
        if like.device.type == "mps":
            t, like = t.cpu(), like.cpu()
        now, then = (
            self.at(values, t, like.double())
            for values in (self.alpha_bar, self.alpha_bar_before)
        )
        return Step(now, then, self.floor)

    def walk(self, steps: list[int]) -> list[tuple[int, Step]]:
        """Each of these falling steps, with the way back to the next, or to the data.
        Nichol and Dhariwal (2021, §4).

        Raises ValueError unless it is a list, and falls from at most T - 1 to at
        least 0.
        """
        if not isinstance(steps, list) or not all(isinstance(t, int) for t in steps):
            raise ValueError(
                "expected a list of whole steps, such as trailing(1000, 20), got "
                f"{steps!r}"
            )
        if (
            not steps
            or steps[0] >= self.T
            or steps[-1] < 0
            or any(a <= b for a, b in pairwise(steps))
        ):
            raise ValueError(
                f"expected steps that fall from at most {self.T - 1} to at least "
                f"0, got {steps}"
            )
        now = self.alpha_bar[steps]
        then = torch.cat([now[1:], torch.ones_like(now[:1])])
        beta_tilde = (1 - then) / (1 - now) * (1 - now / then)
        floor = beta_tilde[-2] if len(steps) > 1 else 1 - now[-1]
        return [
            (t, Step(a, b, floor)) for t, a, b in zip(steps, now, then, strict=True)
        ]


@dataclass(frozen=True)
class Step:
    """One step back, from where alpha_bar is `now` to where it is `then`, which is 1
    for the step to the data.

    The numbers are float64 tensors: a single one, or (B, 1, …) where each picture is at
    a step of its own.
    """

    now: Tensor
    then: Tensor
    floor: Tensor  # beta_tilde of the step before the last; of a single step, its beta

    @property
    def beta(self) -> Tensor:
        """The variance of the forward step from `then` to `now`."""
        return 1 - self.now / self.then

    @property
    def beta_tilde(self) -> Tensor:
        """The variance of x at `then`, given x_t and x_0. Ho et al. (2020, eq. 7)."""
        return (1 - self.then) / (1 - self.now) * self.beta

    @property
    def beta_tilde_clipped(self) -> Tensor:
        """The same; but the step to the data, for which it is 0, gets that of the step
        before. So the papers' code.
        """
        return torch.where(self.then == 1, self.floor, self.beta_tilde)

    def mean(self, x_t: Tensor, x_0: Tensor) -> Tensor:
        """The mean of x at `then`, given x_t and x_0. Ho et al. (2020, eq. 7)."""
        of_x_0 = self.then.sqrt() * self.beta / (1 - self.now)
        of_x_t = (self.now / self.then).sqrt() * (1 - self.then) / (1 - self.now)
        return of_x_0 * x_0 + of_x_t * x_t


# ---------- which steps to take ----------


def leading(T: int, n: int) -> list[int]:
    """n steps that end at 0, T // n apart. Song et al. (2021) and DDIM's code."""
    return [i * (T // n) for i in reversed(range(n))]


def leading_by_one(T: int, n: int) -> list[int]:
    """`leading`, one step higher each: n steps that end at 1. Stable Diffusion's."""
    return [t + 1 for t in leading(T, n)]


def trailing(T: int, n: int) -> list[int]:
    """n steps that begin at T - 1, T/n apart. Lin et al. (2024, table 2)."""
    return [round(T - i * T / n) - 1 for i in range(n)]


def even(T: int, n: int) -> list[int]:
    """n steps from T - 1 to 0, both taken, evenly spaced; of one, 0. Nichol and
    Dhariwal (2021, section 4).
    """
    return [round((T - 1) * i / max(1, n - 1)) for i in reversed(range(n))]


# ---------- what a network predicts ----------


@dataclass(frozen=True)
class Prediction:
    """What a network learns to predict of x_t, and how x_0 follows from it. alpha_bar
    is (B, 1, …), in float64 where what is predicted shall keep its digits.
    """

    target: Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_0, eps, alpha_bar)
    x_0: Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_t, output, alpha_bar)


def require_prediction(prediction: Prediction) -> None:
    """Raise ValueError unless it says what a network predicts, and how x_0 follows."""
    if not all(hasattr(prediction, name) for name in ("target", "x_0")):
        raise ValueError(
            "expected a prediction, EPS, X_0 or V of minilib.diffusion.schedule, got "
            f"{prediction!r}"
        )


EPS = Prediction(  # the noise: Ho et al. (2020, eq. 14)
    target=lambda x_0, eps, alpha_bar: eps,
    x_0=lambda x_t, eps, alpha_bar: (
        (x_t - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()
    ),
)
X_0 = Prediction(  # the clean picture
    target=lambda x_0, eps, alpha_bar: x_0,
    x_0=lambda x_t, x_0, alpha_bar: x_0,
)
# a mixture of both, of one size at every step: Salimans and Ho (2022, appendix D)
V = Prediction(
    target=lambda x_0, eps, alpha_bar: (
        alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x_0
    ),
    x_0=lambda x_t, v, alpha_bar: alpha_bar.sqrt() * x_t - (1 - alpha_bar).sqrt() * v,
)
