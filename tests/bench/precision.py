"""Scores of a recipe trained in float32 and in bf16, seed by seed: python -m
tests.bench.precision [RECIPE …] --steps N.

Both start from the same weights and see the same batches and noise. The score is that
of the averaged weights, as for those that ship.
"""

from __future__ import annotations

import argparse
import os
import statistics

import torch

from minilib import recipes, runtime


def scores(name: str, steps: int, seed: int) -> dict[str, float]:
    """The scores after so many steps in the precision that MINILIB_PRECISION names."""
    recipe = recipes.get(name)
    fitted = recipe.train(steps=steps, seed=seed, progress=False)
    runtime.seed_everything(seed)
    return recipe.score(fitted.ema)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.precision",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("recipes", nargs="*", default=["vae_digits", "clip_portraits"])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| recipe | score | float32 | bf16 | bf16 - float32, by seed |")
    print("|---|---|---:|---:|---|")
    for name in options.recipes:
        found: dict[str, list[dict[str, float]]] = {}
        for precision in runtime.PRECISIONS:
            os.environ["MINILIB_PRECISION"] = precision
            found[precision] = [
                scores(name, options.steps, seed) for seed in range(options.seeds)
            ]
        for key in found["float32"][0]:
            exact, half = ([s[key] for s in found[p]] for p in runtime.PRECISIONS)
            means = " | ".join(
                f"{statistics.mean(v):.4g} ± {statistics.stdev(v):.2g}"
                for v in (exact, half)
            )
            differ = ", ".join(
                f"{b - a:+.3g}" for a, b in zip(exact, half, strict=True)
            )
            print(f"| {name} | {key} | {means} | {differ} |", flush=True)


if __name__ == "__main__":
    main()
