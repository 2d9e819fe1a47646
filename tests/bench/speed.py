"""Speed and memory of our U-Net beside diffusers', at matched sizes: python -m
tests.bench.speed [SIZE …].

Every measurement runs in a fresh process with the same number of threads; the two take
turns, and medians are told.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from functools import partial

import torch

from minilib.diffusion.loss import simple_loss
from minilib.diffusion.sampling import ddim, denoiser, last
from minilib.diffusion.schedule import Schedule, leading, linear_beta
from minilib.runtime import peak_memory
from minilib.train import Draw
from tests.bench.models import SIZES, Diffusers, ours

SCHEDULE = Schedule(linear_beta())


def measure(which: str, size: str) -> dict[str, float]:
    """Seconds of a training step and of 50 DDIM steps on 16 pictures (2 of the
    largest), and peak memory in MiB.
    """
    torch.manual_seed(0)
    channels, blocks, batch = SIZES[size]
    model = (
        Diffusers(channels, blocks) if which == "diffusers" else ours(channels, blocks)
    )
    x, draw = (
        torch.randn(batch, 1, 32, 32),
        Draw(torch.Generator().manual_seed(0), slice(None), batch),
    )
    optimizer, steps = torch.optim.AdamW(model.parameters()), []
    for _ in range(2 + (10 if size == "quick" else 3)):
        started = time.perf_counter()
        loss = simple_loss(model, x, draw=draw, schedule=SCHEDULE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps.append(time.perf_counter() - started)
    model.eval()
    predict, noise = (
        partial(denoiser, model, SCHEDULE),
        torch.randn(2 if size == "100M" else 16, 1, 32, 32),
    )
    count = 50 if size == "quick" else 5
    started = time.perf_counter()
    last(ddim(predict(), SCHEDULE, noise, leading(1000, count)))
    sampling = (time.perf_counter() - started) * 50 / count
    peak = (peak_memory() or float("nan")) * 1e9 / 2**20
    parameters = sum(p.numel() for p in model.parameters())
    return {
        "step": statistics.median(steps[2:]),
        "ddim": sampling,
        "peak": peak,
        "parameters": parameters,
    }


def compare(size: str, rounds: int, threads: int) -> str:
    """A line of the table: medians over the rounds for both, and the ratios ours /
    diffusers.
    """
    found: dict[str, list[dict[str, float]]] = {"diffusers": [], "ours": []}
    for _ in range(rounds):
        for which, results in found.items():
            command = [
                sys.executable,
                "-m",
                "tests.bench.speed",
                size,
                "--only",
                which,
                "--threads",
                str(threads),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
    cells = [f"{found['ours'][0]['parameters'] / 1e6:.2f} M"]
    assert found["ours"][0]["parameters"] == found["diffusers"][0]["parameters"], (
        "the two models are not matched"
    )
    for key, unit in {"step": "s", "ddim": "s", "peak": "MiB"}.items():
        theirs, mine = (
            statistics.median(r[key] for r in found[which])
            for which in ("diffusers", "ours")
        )
        digits = 0 if unit == "MiB" else 3
        cells.append(
            f"{mine:.{digits}f} / {theirs:.{digits}f} {unit} = {mine / theirs:.2f}"
        )
    return f"| {size} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.speed", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("sizes", nargs="*", default="all", choices=[*SIZES, "all"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--only",
        choices=["diffusers", "ours"],
        help="measure one, and print it as JSON",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only:
        print(json.dumps(measure(options.only, options.sizes[0])))
        return
    print(
        f"ours / diffusers, medians of {options.rounds} rounds, {options.threads} "
        "threads"
    )
    print(
        "| size | parameters | training step | 50 DDIM steps | peak memory "
        "|\n|---|---:|---:|---:|---:|"
    )
    for size in SIZES if "all" in options.sizes else options.sizes:
        print(compare(size, options.rounds, options.threads), flush=True)


if __name__ == "__main__":
    main()
