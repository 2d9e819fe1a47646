"""Which token comes next: drawn from logits, cut to the likely ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def top_k_logits(logits: Tensor, k: int) -> Tensor:
    """logits (B, V) with all but the k largest at minus infinity. Of equals the first
    count as larger.
    """
    if k < 1:
        raise ValueError(f"expected top_k from 1 up, got {k}")
    order = logits.argsort(dim=1, descending=True, stable=True)
    return logits.scatter(1, order[:, k:], -torch.inf)


def top_p_logits(logits: Tensor, p: float) -> Tensor:
    """logits (B, V) with all at minus infinity but the fewest tokens, the likeliest
    ones, that have probability p together. Of equals the first count as likelier.

    Nucleus sampling: Holtzman et al. (2020, section 3.1). p = 1 keeps all.
    """
    if not 0 < p <= 1:
        raise ValueError(f"expected top_p above 0 and at most 1, got {p}")
    if p == 1:
        return logits
    order = logits.argsort(dim=1, descending=True, stable=True)
    likely = logits.gather(1, order).softmax(dim=1)
    before = likely.cumsum(dim=1) - likely  # of the likelier ones together
    drop = torch.empty_like(before, dtype=torch.bool).scatter(1, order, before >= p)
    return logits.masked_fill(drop, -torch.inf)


def sample_token(
    logits: Tensor,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> Tensor:
    """A token for each row of logits (B, V) → (B,): drawn from the softmax of logits /
    temperature, cut to the top k and then to the top p. At temperature 0 it is the
    largest, whatever the other two.

    Raises ValueError for a temperature below 0, a top_k below 1, a top_p not in (0, 1].
    """
    if not 0 <= temperature < math.inf:
        raise ValueError(f"expected a temperature from 0 up, got {temperature}")
    if temperature == 0:
        return logits.argmax(dim=1)
    logits = logits / temperature
    if top_k is not None:
        logits = top_k_logits(logits, top_k)
    p = top_p_logits(logits, top_p).softmax(dim=1).to(generator.device)
    return torch.multinomial(p, 1, generator=generator)[:, 0].to(logits.device)
