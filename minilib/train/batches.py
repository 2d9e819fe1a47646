"""Batches and randomness as functions of the step, so that a run can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

Batch = tuple[Tensor, ...]


def generator(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator that depends on `key` alone, such as (seed, step). Zeros at
    the key's end do not count.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator(device).manual_seed(seed)


def shuffled(
    *tensors: Tensor, batch_size: int, seed: int = 0
) -> Callable[[int], Batch]:
    """`batches(step)`: rows of the tensors in an order drawn anew each epoch, without
    end.

    A function of the step alone, so that a resumed run goes on where it stopped. Raises
    ValueError when the tensors are empty or of different lengths, or batch_size is
    below 1.
    """
    n = len(tensors[0])
    if n == 0 or batch_size < 1 or any(len(t) != n for t in tensors):
        raise ValueError(
            "expected tensors of one length ≥ 1 and batch_size ≥ 1, got "
            f"{[len(t) for t in tensors]}, {batch_size}"
        )

    @lru_cache(maxsize=2)
    def order(epoch: int) -> Tensor:
        return torch.randperm(n, generator=generator(seed, epoch))

    def batches(step: int) -> Batch:
        at = torch.arange(step * batch_size, (step + 1) * batch_size)
        epochs = range(int(at[0]) // n, int(at[-1]) // n + 1)
        rows = torch.cat([order(epoch)[at[at // n == epoch] % n] for epoch in epochs])
        return tuple(t[rows] for t in tensors)

    return batches


def require_batches(batches: Callable[[int], Batch]) -> None:
    """Raise ValueError unless batches are a function of the step, as `shuffled` makes
    it.
    """
    if not callable(batches):
        raise ValueError(
            "expected batches as a function of the step, such as shuffled(x, y, "
            f"batch_size=32), got a {type(batches).__name__}"
        )


@dataclass(frozen=True)
class Draw:
    """The randomness of one training step. Row i of what it draws belongs to sample i
    of the *whole* batch.

    A process that holds the rows `rows` of `total` draws for all of them and keeps its
    own, so that the noise a sample meets depends on (seed, step, sample) and not on how
    many processes share the work.
    """

    generator: torch.Generator
    rows: slice
    total: int

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers (B, *shape)."""
        return torch.randn(
            self.total, *shape, generator=self.generator, device=self.generator.device
        )[self.rows]

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers (B, *shape) in [0, 1)."""
        return torch.rand(
            self.total, *shape, generator=self.generator, device=self.generator.device
        )[self.rows]
