"""What the claims of chapter 2 are measured with: a test bench, probabilistic PCA, for
which the ELBO, the posterior and log p(x) are known exactly; and how normal codes are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from minilib import runtime
from minilib.data import digits
from minilib.models.vae import (
    LatentModel,
    ProbabilisticPCA,
    importance_weighted_bound,
    kl_to_standard_normal,
    log_normal,
    reparametrise,
)

# ---------- the test bench ----------


def with_signs(model: ProbabilisticPCA) -> ProbabilisticPCA:
    """The same model of p(x), each column of W with its largest entry positive.

    Directions are known up to their sign, and processors choose different ones.
    """
    largest = model.W.gather(0, model.W.abs().argmax(dim=0)[None])  # (1, k)
    return replace(model, W=model.W * largest.sign())


def fit_bench(n: int, k: int = 16) -> ProbabilisticPCA:
    """Probabilistic PCA of n training digits, in float64."""
    x = digits.load("train")[0]
    x = x[:: len(x) // n].flatten(1).double()
    return with_signs(ProbabilisticPCA.fit(x, k))


def exact_elbo(
    model: ProbabilisticPCA, x: Tensor, mu: Tensor, logvar: Tensor
) -> Tensor:
    """The ELBO of x (B, D) for q = N(mu, exp(logvar)), mu and logvar (B, k), without
    sampling: (B,).
    """
    residual = (x - model.mean - mu @ model.W.T).square().sum(dim=1)
    spread = (logvar.exp() * model.W.square().sum(dim=0)).sum(dim=1)
    constant = x.shape[1] * (2 * math.pi * model.sigma2).log()
    rebuild = -0.5 * (constant + (residual + spread) / model.sigma2)
    return rebuild - kl_to_standard_normal(mu, logvar)


def kl_between(mu: Tensor, logvar: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) ‖ N(mu_p, exp(logvar_p))), (B, D) each → (B,)."""
    shift, ratio = (mu - mu_p).square() / logvar_p.exp(), logvar - logvar_p
    return 0.5 * (shift + ratio.exp() - 1 - ratio).sum(dim=1)


def random_q(n: int, seed: int, k: int = 16) -> tuple[Tensor, Tensor]:
    """mu and logvar (n, k) of arbitrary Gaussians, in float64."""
    g = torch.Generator().manual_seed(seed)
    mu, logvar = torch.randn(2, n, k, generator=g, dtype=torch.float64)
    return mu, logvar - 2


def climb(
    model: ProbabilisticPCA, x: Tensor, steps: int, lr: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Gradient ascent on q from N(0, I): the ELBO and KL(q ‖ p(z|x)) of each picture x
    (B, D) at each step, (steps, B) each.
    """
    q = torch.zeros(2, len(x), model.code_dim, dtype=x.dtype, requires_grad=True)
    optimizer, true = torch.optim.Adam([q], lr=lr), model.encode(x)
    bounds, kls = [], []
    for _ in range(steps):
        bound = exact_elbo(model, x, q[0], q[1])
        bounds.append(bound.detach())
        kls.append(kl_between(q[0].detach(), q[1].detach(), *true))
        runtime.require_finite(len(kls) - 1, "ELBO", bound)
        optimizer.zero_grad()
        (-bound.sum()).backward()
        optimizer.step()
    return torch.stack(bounds), torch.stack(kls)


def unequal(bounds: Tensor, kls: Tensor) -> float:
    """What the ELBO gains in a step and KL(q ‖ p(z|x)) does not lose, the largest, as a
    share of the ELBO's size: from (steps, B) each.
    """
    return float(((bounds.diff(dim=0) + kls.diff(dim=0)) / bounds[-1]).abs().max())


@dataclass(frozen=True)
class WrongQ:
    """A test bench whose encoder is a little off: its q is too wide by half, and
    moved.
    """

    bench: ProbabilisticPCA

    @property
    def code_dim(self) -> int:
        return self.bench.code_dim

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, logvar = self.bench.encode(x)
        return mu + 0.5 * (0.5 * logvar).exp(), logvar + 2 * math.log(1.5)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        return self.bench.log_likelihood(x, z)


@torch.no_grad()
def log_weights(model: LatentModel, x: Tensor, eps: Tensor) -> Tensor:
    """log p(x, z)/q(z|x) of each draw eps (K, B, D): (K, B)."""
    each = [importance_weighted_bound(model, x, e[None]) for e in eps]
    return torch.stack(each).cpu()


def mean_bound(weights: Tensor, k: int) -> float:
    """The importance-weighted bound with k draws, from the log weights (K, B) of K
    draws in groups of k: a mean over groups and pictures.
    """
    groups = torch.stack(weights.split(k))  # (K/k, k, B)
    return float((groups.logsumexp(dim=1) - math.log(k)).mean())


# ---------- codes and decodings ----------


def spread(pictures: Tensor) -> float:
    """Standard deviation of a pixel over the decodings of one input, pictures (N,
    count, 1, 28, 28).
    """
    return float(pictures.var(dim=1).mean().sqrt())


AT = np.arange(1, 100) / 100  # the quantiles that are compared


def quantiles_off(z: Tensor) -> float:
    """Mean distance of the quantiles of each feature of z (N, D) from those of N(0, 1),
    from 1 % to 99 %.
    """
    found = np.quantile(z.numpy(), AT, axis=0)  # (99, D)
    return float(np.abs(found - scipy.stats.norm.ppf(AT)[:, None]).mean())


def kl_by_draws(mu: Tensor, logvar: Tensor, seed: int, draws: int = 8) -> float:
    """Mean KL(N(mu, exp(logvar)) ‖ N(0, I)) of mu and logvar (N, D), estimated from
    draws of each.
    """
    g, zero, total = torch.Generator().manual_seed(seed), torch.zeros_like(mu), 0.0
    for _ in range(draws):
        z = reparametrise(mu, logvar, torch.randn(mu.shape, generator=g))
        total += float((log_normal(z, mu, logvar) - log_normal(z, zero, zero)).mean())
    return total / draws
