"""Measure claims, seed by seed; what was killed goes on where it was.

What is measured of a seed is kept at once, in runs/measure/ID-size.json with the stamp
of its code; when all seeds are there, the record goes to evidence/ID.json.
"""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minilib import runtime
from minilib.claims import SEED, Claim
from minilib.experiments import evidence
from minilib.experiments.experiment import Compare, Experiment, Size
from minilib.experiments.stamp import stamp
from minilib.weights import write_atomically

KEPT = Path("runs") / "measure"


def code_of(experiment: Experiment) -> str:
    """The stamp of all code of minilib that the measurement reaches."""
    return stamp([(experiment.measure.__module__, experiment.measure.__name__)])


def kept(file: Path, code: str) -> dict[str, Any]:
    """What an earlier run with the same code has measured: {"seconds", "seeds"}."""
    if file.exists():
        found = evidence.load(file)
        if found.get("code") == code:
            return found
    return {"code": code, "seconds": 0.0, "seeds": {}}


def as_sides(measured: dict[str, Any]) -> dict[str, Any]:
    """What JSON gave back, with (larger, smaller) as tuples again."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in measured.items()}


def measure_one(
    experiment: Experiment,
    seeds: Sequence[int],
    size: Size,
    code: str,
    bar: Any = None,
) -> Claim:
    """Measure one claim with these seeds, going on from what is kept, and record it
    with the stamp of its `code`.
    """
    file = KEPT / f"{experiment.id}-{size.value}.json"
    state = kept(file, code)
    for seed in seeds:
        if str(seed) not in state["seeds"]:
            started = time.process_time()
            measured = dict(experiment.measure(seed, size))
            experiment.require_parts(measured)
            state["seeds"][str(seed)] = measured
            state["seconds"] += time.process_time() - started
            write_atomically(file, json.dumps(state).encode())
        if bar is not None:
            bar.update()
    found = [as_sides(state["seeds"][str(seed)]) for seed in seeds]
    facts = {
        "size": size.value,
        "seeds": list(seeds),
        "command": command(experiment, seeds, size),
        "code": code,
        "machine": runtime.machine(),
        "minutes": round(state["seconds"] / 60, 2),
        "date": datetime.date.today().isoformat(),
    }
    claim = experiment.claim(found, facts)
    evidence.write(claim)
    file.unlink(missing_ok=True)
    return claim


def command(experiment: Experiment, seeds: Sequence[int], size: Size) -> str:
    """The command that repeats it."""
    words = [f"python -m minilib measure {experiment.id}"]
    words += [] if size is Size.FULL else [f"--size {size.value}"]
    words += [] if len(seeds) == experiment.seeds else [f"--seeds {len(seeds)}"]
    return " ".join(words)


def measure(
    experiments: Sequence[Experiment], seeds: int | None, size: Size
) -> list[Claim]:
    """Measure these claims with `seeds` seeds each, or as many as each wants, with a
    bar over all seeds that says how much time is left. Raises ValueError for too few
    seeds.
    """
    for one in experiments:
        require_seeds(one, seeds)
    # the stamps first: a file that is edited meanwhile is not what runs here
    wanted = [(one, range(seeds or one.seeds), code_of(one)) for one in experiments]
    claims = []
    with tqdm(
        total=sum(len(s) for _, s, _ in wanted), unit="seed", file=sys.stderr
    ) as bar:
        for one, chosen, code in wanted:
            bar.set_description(one.id)
            claims.append(measure_one(one, chosen, size, code, bar))
    return claims


def require_seeds(experiment: Experiment, seeds: int | None) -> None:
    """Raise ValueError, before hours are spent, where so few seeds make no interval."""
    compares = any(isinstance(part, Compare) for part in experiment.parts)
    if experiment.unit == SEED and compares and seeds is not None and seeds < 3:
        raise ValueError(
            f"{experiment.id} compares trainings, and an interval wants three or more: "
            f"expected 3 seeds or more, got {seeds}"
        )


def is_stale(experiment: Experiment) -> bool:
    """Whether the record is missing, or of other code than today's."""
    file = evidence.path(experiment.id)
    return not file.exists() or evidence.load(file).get("code") != code_of(experiment)
