"""A discrete VAE small enough to enumerate: its exact ELBO, the exact gradient, and how
far estimators of that gradient are off.
"""

from __future__ import annotations

import math
from functools import cache
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from minilib import runtime
from minilib.models.dvae import (
    DVAE,
    DVAEConfig,
    dvae_loss,
    gumbel,
    hard,
    log_likelihood,
    relaxed,
)
from minilib.models.vq import straight_through
from minilib.recipes.dvae import some_people
from minilib.train import fit, shuffled

# ---------- a case small enough to enumerate ----------

SIDE, CODES = 8, 4  # pictures of 8 × 8 pixels become 2 × 2 tokens of 4 codes
PLACES = (SIDE // 4) ** 2


@cache
def tiny_people(n: int, seed: int, split: str) -> Tensor:
    """n people, 8 × 8 pixels small, in float64: (n, 3, 8, 8)."""
    return F.avg_pool2d(some_people(n, seed, split), 4).double()


@cache
def tiny_dvae(seed: int, steps: int) -> DVAE:
    """A discrete VAE of tiny people, trained for so many steps, in float64."""
    runtime.seed_everything(seed)
    batches = shuffled(tiny_people(2000, 0, "train").float(), batch_size=32, seed=seed)
    fitted = fit(
        DVAE(DVAEConfig(codes=CODES, width=32, blocks=1)),
        dvae_loss,
        batches,
        steps=steps,
        lr=2e-3,
        seed=seed,
        progress=False,
    )
    return cast(DVAE, fitted.model.cpu().double())


def all_codes() -> Tensor:
    """Every choice of codes, one-hot: (256, 4, 2, 2) in float64."""
    tokens = torch.cartesian_prod(*[torch.arange(CODES)] * PLACES)  # (256, 4)
    grid = F.one_hot(tokens, CODES).unflatten(1, (SIDE // 4, SIDE // 4))
    return grid.movedim(-1, 1).double()


def nats(model: DVAE, x: Tensor, y: Tensor) -> Tensor:
    """log p(x|y) in nats per picture: (B,)."""
    return x[0].numel() * log_likelihood(model, x, y)


def log_joint(model: DVAE, x: Tensor, y: Tensor) -> Tensor:
    """log p(x|y) of each picture x (B, 3, 8, 8) with each of the codes y (N, 4, 2, 2):
    (B, N).
    """
    pairs = x.repeat_interleave(len(y), dim=0), y.repeat(len(x), 1, 1, 1)
    return nats(model, *pairs).unflatten(0, (len(x), len(y)))


def log_q_of(logits: Tensor, y: Tensor) -> Tensor:
    """log q(y|x) by logits (B, 4, 2, 2) of each of the codes y (N, 4, 2, 2): (B, N)."""
    return torch.einsum("bkhw,nkhw->bn", logits.log_softmax(dim=1), y)


# ---------- the bound ----------


@torch.no_grad()
def exact_elbo(model: DVAE, x: Tensor) -> Tensor:
    """The ELBO of pictures x in nats, summed over all codes: (B,)."""
    y = all_codes()
    log_q = log_q_of(model.logits(x), y)
    log_prior = -PLACES * math.log(CODES)
    return (log_q.exp() * (log_joint(model, x, y) + log_prior - log_q)).sum(dim=1)


@torch.no_grad()
def identity_error(model: DVAE, x: Tensor) -> float:
    """How far ELBO + KL(q(z|x) ‖ p(z|x)) is from log p(x), as a share of it, at most.

    The true posterior is that of Bayes' rule, over all codes.
    """
    y = all_codes()
    joint = log_joint(model, x, y) - PLACES * math.log(CODES)
    log_p = joint.logsumexp(dim=1)
    log_q = log_q_of(model.logits(x), y)
    kl = (log_q.exp() * (log_q - (joint - log_p[:, None]))).sum(dim=1)
    return float(((exact_elbo(model, x) + kl) / log_p - 1).abs().max())


# ---------- gradients with respect to the logits ----------


def exact_gradient(model: DVAE, x: Tensor) -> Tensor:
    """The gradient of the mean of log p(x|z) over q(z|x) with respect to the logits of
    pictures x: (B, 4, 2, 2).
    """
    logits, y = model.logits(x).detach().requires_grad_(True), all_codes()
    mean = (log_q_of(logits, y).exp() * log_joint(model, x, y).detach()).sum()
    return torch.autograd.grad(mean, logits)[0]


GUMBEL, STRAIGHT = "Gumbel-softmax", "straight-through"
REINFORCE, BASELINE = "REINFORCE", "REINFORCE with a baseline"
BLOCK = 250  # draws at once


def drawn_gradients(
    model: DVAE, x: Tensor, n: int, tau: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """n estimates of that gradient in each of four ways, from the same noise: (n, B, 4,
    2, 2) each. REINFORCE knows no temperature; its baseline here is the exact mean of
    log p(x|z), which only a small case can tell.
    """
    start = model.logits(x).detach()
    codes = all_codes()
    mean = (log_q_of(start, codes).exp() * log_joint(model, x, codes)).sum(dim=1)
    logits = start.repeat(n, 1, 1, 1).requires_grad_(True)  # (n·B, 4, 2, 2)
    x = x.repeat(n, 1, 1, 1)
    u = torch.rand(logits.shape, dtype=logits.dtype, generator=generator)
    y = relaxed(logits, gumbel(u), tau)
    z = hard(y).detach()
    log_q = (logits.log_softmax(dim=1) * z).flatten(1).sum(dim=1)
    log_p = nats(model, x, z).detach()
    objectives = {
        GUMBEL: nats(model, x, y),
        STRAIGHT: nats(model, x, straight_through(z, y)),
        REINFORCE: log_p * log_q,
        BASELINE: (log_p - mean.detach().repeat(n)) * log_q,
    }
    return {
        name: torch.autograd.grad(value.sum(), logits, retain_graph=True)[0].unflatten(
            0, (n, -1)
        )
        for name, value in objectives.items()
    }


def bias_and_spread(drawn: Tensor, exact: Tensor) -> tuple[float, float]:
    """Of estimates `drawn` (n, …) of a gradient `exact` (…): the length of their mean
    error and their standard deviation, as shares of the gradient's length.

    The first leaves out what the mean of n estimates is off by chance.
    """
    n, size = len(drawn), exact.square().sum()
    variance = drawn.var(dim=0).sum()
    bias = (drawn.mean(dim=0) - exact).square().sum() - variance / n
    return float((bias.clamp(min=0) / size).sqrt()), float((variance / size).sqrt())


def gradient_errors(
    model: DVAE, x: Tensor, tau: float, n: int, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Bias and spread of each estimator at temperature tau, from n draws."""
    generator = torch.Generator().manual_seed(seed)
    blocks = [
        drawn_gradients(model, x, min(n, BLOCK), tau, generator)
        for _ in range(max(1, n // BLOCK))
    ]
    exact = exact_gradient(model, x)
    return {
        name: bias_and_spread(torch.cat([b[name] for b in blocks]), exact)
        for name in blocks[0]
    }
