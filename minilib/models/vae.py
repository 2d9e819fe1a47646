"""The variational autoencoder: a picture becomes a distribution of codes, so that a
code drawn at random is a picture.

What has `code_dim`, `encode` and `log_likelihood` has an ELBO, so the functions here
serve the network and its exact test, probabilistic PCA, alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from minilib import runtime
from minilib.models.autoencoder import (
    AutoencoderConfig,
    Decoder,
    Encoder,
    principal_components,
)
from minilib.train import Draw


def log_normal(x: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """log N(x; mean, exp(logvar)) in nats, summed over all axes but the first: x (B, …)
    → (B,).
    """
    terms = math.log(2 * math.pi) + logvar + (x - mean).square() * (-logvar).exp()
    return -0.5 * terms.flatten(1).sum(dim=1)


def bernoulli_log_likelihood(x: Tensor, mean: Tensor) -> Tensor:
    """Log-probability in nats of black and white pixels, which are 1 with probability
    (mean + 1)/2: (B, …) → (B,).

    Where x is grey it is the expectation over pixels that turn 1 with probability (x +
    1)/2. The model's probabilities keep 5e-5 away from 0 and 1, so that no pixel costs
    an infinite amount.
    """
    target, p = (x + 1) / 2, (1 + (1 - 1e-4) * mean.to(x.dtype)) / 2
    return (target * p.log() + (1 - target) * (1 - p).log()).flatten(1).sum(dim=1)


def kl_to_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) ‖ N(0, I)) in nats: (B, D) → (B,). Kingma and Welling
    (2014), appendix B.
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(dim=1)


def reparametrise(mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    """z = mu + sigma·eps (B, D): drawn from N(mu, exp(logvar)) if eps is from N(0, I),
    and differentiable in both.
    """
    return mu + (0.5 * logvar).exp() * eps


@dataclass(frozen=True)
class VAEConfig(AutoencoderConfig):
    """An autoencoder's sizes, and the standard deviation of the noise that p(x|z) adds
    to every pixel.
    """

    sigma: float = 1.4


class VAE(nn.Module):
    """x (B, C, H, W) → q(z|x) = N(mu, exp(logvar)); z (B, D) → p(x|z) = N(decode(z),
    sigma²).

    Kingma and Welling (2014). sigma stays as given, unless
    `log_sigma.requires_grad_(True)` lets it be learned: Rybkin et al. (2021). Calling
    the model rebuilds x from mu.
    """

    def __init__(self, config: VAEConfig = VAEConfig()):
        super().__init__()
        if not config.sigma > 0:
            raise ValueError(f"expected sigma > 0, got {config.sigma}")
        self.code_dim = config.code_dim
        self.encoder = Encoder(config, 2 * config.code_dim)
        self.decode = Decoder(config)
        self.log_sigma = nn.Parameter(
            torch.tensor(math.log(config.sigma)), requires_grad=False
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # (B, 2·code_dim) → (B, code_dim) each
        mu, logvar = self.encoder(x).to(x.dtype).chunk(2, dim=1)
        return mu, logvar

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        return log_normal(x, self.decode(z), 2 * self.log_sigma)  # (B,)

    def forward(self, x: Tensor) -> Tensor:
        mu, _ = self.encode(x)
        return self.decode(mu)  # (B, C, H, W)


class LatentModel(Protocol):
    """Anything with codes z ~ N(0, I), a diagonal Gaussian q(z|x), and p(x|z)."""

    @property
    def code_dim(self) -> int: ...

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]: ...

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor: ...


def elbo_terms(
    model: LatentModel, x: Tensor, eps: Tensor, seen: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The two halves of the ELBO in nats: log p(x|z) at one z drawn from q by eps (B,
    D), and KL(q ‖ p(z)), (B,) each.

    Their difference is an unbiased estimate of the ELBO. Kingma and Welling (2014), eq.
    7. The encoder sees x, or what is `seen` of it.
    """
    if eps.shape != (len(x), model.code_dim):
        raise ValueError(
            f"expected eps of shape {(len(x), model.code_dim)}, got {tuple(eps.shape)}"
        )
    mu, logvar = model.encode(x if seen is None else seen)
    return model.log_likelihood(
        x, reparametrise(mu, logvar, eps)
    ), kl_to_standard_normal(mu, logvar)


def elbo(model: LatentModel, x: Tensor, eps: Tensor) -> Tensor:
    """The ELBO of pictures x (B, …) in nats, estimated with one draw eps (B, D) each:
    (B,).
    """
    log_likelihood, kl = elbo_terms(model, x, eps)
    return log_likelihood - kl


def vae_loss(model: LatentModel, x: Tensor, draw: Draw, beta: float = 1.0) -> Tensor:
    """The negative ELBO of x (B, …) in nats per picture, its KL times beta (Higgins et
    al., 2017): a scalar.
    """
    log_likelihood, kl = elbo_terms(model, x, draw.normal(model.code_dim))
    return (beta * kl - log_likelihood).mean()


def importance_weighted_bound(model: LatentModel, x: Tensor, eps: Tensor) -> Tensor:
    """log of the mean of K weights p(x, z)/q(z|x), z drawn from q by eps (K, B, D):
    (B,). Burda et al. (2016), eq. 8.

    In expectation at most log p(x), and it rises with K; K = 1 is the ELBO.
    """
    if eps.ndim != 3 or len(eps) < 1 or eps.shape[1:] != (len(x), model.code_dim):
        raise ValueError(
            f"expected eps of shape (K, {len(x)}, {model.code_dim}), got "
            f"{tuple(eps.shape)}"
        )
    mu, logvar = model.encode(x)
    log_weights = []
    for e in eps:  # one draw at a time: memory does not grow with K
        z = reparametrise(mu, logvar, e)  # (B, D)
        log_prior = log_normal(z, torch.zeros_like(mu), torch.zeros_like(mu))
        log_weights.append(
            model.log_likelihood(x, z) + log_prior - log_normal(z, mu, logvar)
        )
    # (K, B) → (B,)
    return torch.stack(log_weights).logsumexp(dim=0) - math.log(len(eps))


def sample_vae(model: VAE, n: int, generator: torch.Generator) -> Tensor:
    """n pictures (n, C, H, W): the means that `model` decodes codes drawn from N(0, I)
    to.
    """
    runtime.require_generator(generator)
    return runtime.in_blocks(
        model.decode, torch.randn(n, model.code_dim, generator=generator)
    )


@dataclass(frozen=True)
class ProbabilisticPCA:
    """z ~ N(0, I), x|z ~ N(mean + W z, sigma² I): a VAE with linear maps, in closed
    form. Tipping and Bishop (1999).

    Pictures are flat here, x (B, D). The columns of W are orthogonal, so the true
    posterior is a diagonal Gaussian.
    """

    mean: Tensor  # (D,)
    W: Tensor  # (D, k)
    sigma2: Tensor  # a scalar

    @classmethod
    def fit(cls, x: Tensor, k: int) -> Self:
        """Maximum likelihood for x (N, D), their eq. 7 and 8. Raises ValueError unless
        1 ≤ k < min(N - 1, D).
        """
        if x.ndim != 2 or not 1 <= k < min(len(x) - 1, x.shape[1]):
            raise ValueError(
                "expected x (N, D) and 1 ≤ k < min(N - 1, D), got x "
                f"{tuple(x.shape)} and k = {k}"
            )
        mean, directions = principal_components(x, k)
        # (k,), the largest eigenvalues
        variances = ((x - mean) @ directions.T).square().mean(dim=0)
        # mean of the others
        sigma2 = ((x - mean).square().mean(dim=0).sum() - variances.sum()) / (
            x.shape[1] - k
        )
        return cls(
            mean, directions.T * (variances - sigma2).clamp(min=0).sqrt(), sigma2
        )

    @property
    def code_dim(self) -> int:
        return self.W.shape[1]

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, exactly: x ~ N(mean, W Wᵀ + sigma² I). (B, D) → (B,)."""
        covariance = self.W @ self.W.T + self.sigma2 * torch.eye(
            len(self.W), dtype=x.dtype
        )
        return torch.distributions.MultivariateNormal(self.mean, covariance).log_prob(x)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and logvar of the true posterior p(z|x), (B, k) each: their section
        3.1.
        """
        # (k,), the diagonal of WᵀW + sigma² I
        M = self.W.square().sum(dim=0) + self.sigma2
        mu = (x - self.mean) @ self.W / M
        return mu, (self.sigma2 / M).log().expand_as(mu)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        return log_normal(x, self.mean + z @ self.W.T, self.sigma2.log())  # (B,)
