"""python -m minilib measure [ID …]."""

from __future__ import annotations

import argparse

from minilib.commands.arguments import whole


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "ids", nargs="*", metavar="ID", help="claims such as AE-1; all if left out"
    )
    command.add_argument(
        "--seeds",
        type=whole(1, 1000),
        help="how many; what each claim wants if left out",
    )
    command.add_argument(
        "--size",
        choices=["live", "quick", "full"],
        default="full",
        help="seconds as in a chapter, minutes, or hours (the default)",
    )
    command.add_argument(
        "--stale", action="store_true", help="only those whose code has changed"
    )
    command.add_argument("--device", help="cpu, cuda, cuda:1 or mps")
    command.set_defaults(run=measure_claims)


def measure_claims(options: argparse.Namespace) -> None:
    """Measure claims, and record each in minilib/experiments/evidence/ID.json."""
    from minilib.experiments.experiment import Size  # scipy, and all models: seconds
    from minilib.experiments.measure import is_stale, measure
    from minilib.experiments.registry import chosen

    wanted = chosen(options.ids)
    if options.stale:
        wanted = [one for one in wanted if is_stale(one)]
    for claim in measure(wanted, options.seeds, Size(options.size)):
        print(claim)
