"""Core-seconds and memory of a training step, this tree beside another checkout: python
-m tests.bench.step --old PATH.

Each measurement is a training of some steps in a fresh process on one thread, timed as
CPU time; the arms take turns, and medians are told. Memory is by how much the training
raises the peak of the process, model and optimizer included, data not. The other
checkout computes in float32, this one in every number format.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from minilib.runtime import peak_memory

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ("glide_portraits", "adm_digits")
# of this tree, as another may have no such function
CHILD = f"import sys\n{inspect.getsource(peak_memory)}"
CHILD += """
import json, statistics, time
import torch
torch.set_num_threads(1)
from minilib import recipes
from minilib.recipes.captioned import captioned_portraits, portrait_tokens, tokenised
from minilib.train import fit, shuffled
recipe, steps, times = recipes.get(sys.argv[1]), int(sys.argv[2]), []
if recipe.name == "glide_portraits":  # to draw all of them would take long
    data = tokenised(captioned_portraits(640, 0), portrait_tokens())
else:
    data = recipe.data()
rows = shuffled(*data, batch_size=recipe.batch_size)
def batches(step):
    times.append(time.process_time())
    return rows(step)
torch.manual_seed(0)
peak = lambda: (peak_memory() or float("nan")) * 1e9 / 2**20  # MiB
before = peak()
options = {"lr": recipe.lr, "betas": recipe.betas, "progress": False}
fitted = fit(recipe.model(), recipe.loss, batches, steps=steps, **options)
step = 1000 * statistics.median(b - a for a, b in zip(times[5:], times[6:]))
loss = float(fitted.loss[-1])
print(json.dumps({"step": step, "peak": peak() - before, "loss": loss}))
"""


def measure(tree: Path, precision: str, recipe: str, steps: int) -> dict[str, float]:
    """Milliseconds of CPU time of a step, peak memory in MiB (NaN where the system does
    not say), and the last loss.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    here = {"PYTHONPATH": str(tree), "MINILIB_PRECISION": precision}
    command = [sys.executable, "-c", CHILD, recipe, str(steps)]
    environment = {**os.environ, **threads, **here, "MINILIB_DEVICE": "cpu"}
    done = subprocess.run(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def compare(recipe: str, old: Path | None, rounds: int, steps: int) -> str:
    """Lines of the table: medians over the rounds of each arm, and the ratios to the
    first.
    """
    arms = {"this tree, float32": (ROOT, "float32"), "this tree, bf16": (ROOT, "bf16")}
    if old is not None:
        arms = {"the other, float32": (old, "float32"), **arms}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, (tree, precision) in arms.items():
            found[name].append(measure(tree, precision, recipe, steps))
    lines, first = [], found[next(iter(arms))]
    for name, results in found.items():
        cells = []
        for key, unit in {"step": "ms", "peak": "MiB"}.items():
            ratios = [a[key] / b[key] for a, b in zip(results, first, strict=True)]
            middle = statistics.median(result[key] for result in results)
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            cells.append(
                f"{middle:.1f} {unit} | {statistics.median(ratios):.2f} ({spread})"
            )
        loss = statistics.median(result["loss"] for result in results)
        lines.append(f"| {recipe} | {name} | {' | '.join(cells)} | {loss:.4f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.step", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--old", type=Path, help="another checkout to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    print(f"medians of {options.rounds} rounds of {options.steps} steps, 1 thread")
    print("| recipe | arm | step | ratio | memory | ratio | last loss |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for recipe in options.recipes:
        print(compare(recipe, options.old, options.rounds, options.steps), flush=True)


if __name__ == "__main__":
    main()
