"""What makes one trained model, trained the same way everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from minilib import runtime
from minilib.text.words import WordTokenizer
from minilib.train import Fitted, fit, shuffled

MNIST = (
    "MNIST (LeCun, Cortes, Burges): 20,000 class-balanced training digits of 60,000; "
    "CC BY-SA 3.0"
)


@dataclass(frozen=True)
class Recipe:
    """What makes one trained model, and how to draw from it and score it. `quick` and
    `full` are numbers of steps.
    """

    name: str
    model: Callable[[], Any]
    # one, or one for each network that takes turns
    loss: Callable[..., Tensor] | dict[str, Callable[..., Tensor]]
    data: Callable[[], tuple[Tensor, ...]]
    quick: int
    full: int
    score: Callable[..., dict[str, float]]  # (model)
    sample: Callable[..., Tensor] | None = (
        None  # (model, n, generator[, y]) → (n, C, H, W)
    )
    compared: bool = True  # on the scoreboard, if it draws digits
    classes: int = 0  # of labels that `sample` takes as y (n,)
    tokenizer: Callable[[], WordTokenizer] | None = (
        None  # of the captions that `sample` takes as y (n, L)
    )
    batch_size: int = 64
    lr: float = 5e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    # of the trainings at the quick budget that ship too, as NAME_seed1, …
    seeds: tuple[int, ...] = ()
    limits: str = ""
    source: str = MNIST  # of the data, with its licence

    def train(
        self, *, steps: int | None = None, seed: int = 0, **options: Any
    ) -> Fitted:
        """Train the model from `seed`, for `steps` or the budget's number of them;
        `options` go to `fit`.

        Raises ValueError for fewer than 1 step, and what `fit` raises.
        """
        steps = (
            runtime.budget(quick=self.quick, full=self.full) if steps is None else steps
        )
        if steps < 1:
            raise ValueError(f"expected 1 step or more, got {steps}")
        runtime.seed_everything(seed)
        batches = shuffled(*self.data(), batch_size=self.batch_size, seed=seed)
        return fit(
            self.model(),
            self.loss,
            batches,
            steps=steps,
            lr=self.lr,
            betas=self.betas,
            weight_decay=self.weight_decay,
            seed=seed,
            name=self.name,
            **options,
        )

    def settings(self) -> dict[str, Any]:
        """The numbers that the shipped weights depend on, for their card."""
        numbers = {
            "quick": self.quick,
            "full": self.full,
            "batch_size": self.batch_size,
        }
        return {
            **numbers,
            "lr": self.lr,
            "betas": list(self.betas),
            "weight_decay": self.weight_decay,
        }
