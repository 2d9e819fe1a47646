"""When a checkpoint is one of this run, and how a signal waits for the step's end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from torch import Tensor

from minilib.weights import read_tensors

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C, and what a cluster sends


def run_of(path: str | Path) -> dict[str, Any]:
    """The settings of the run that wrote the checkpoint at `path`, such as "steps".
    Raises ValueError when it is no checkpoint.
    """
    meta = read_tensors(path)[1]
    require_checkpoint(path, meta)
    return meta["run"]


def require_checkpoint(path: str | Path, meta: dict[str, Any]) -> None:
    if not {"run", "step", "seconds", "scaler"} <= meta.keys():
        raise ValueError(
            f"{path} is no training checkpoint: choose another path, or delete it"
        )


def require_same_run(
    path: str | Path, there: dict[str, Any], here: dict[str, Any]
) -> None:
    """Raise ValueError that says in what the run at `path` is another one."""
    differ = [
        f"{key}: {there.get(key)!r} there, {here.get(key)!r} here"
        for key in {**here, **there}
        if there.get(key) != here.get(key)
    ]
    if not differ:
        return
    why = (
        ". The learning rate falls to 0 along a cosine of all steps, so that a run of "
        "another length is another run from its first steps on"
        if there["steps"] != here["steps"]
        else ""
    )
    raise ValueError(
        f"{path} is the checkpoint of another run ({'; '.join(differ)}): choose "
        f"another path, or delete it{why}"
    )


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin so, under the rest of their names."""
    return {
        k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
    }


class Stop:
    """Which signal asked to stop, if any did."""

    signal: int | None = None


@contextmanager
def held_back(asked: bool) -> Iterator[Stop]:
    """While it lasts, and where asked for, the first signal of `SIGNALS` only notes
    itself, so that a step is taken to its end; a second one does what it always does.

    Signals that are ignored stay so, and outside the main thread nothing changes.
    """
    stop = Stop()
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        restore()

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    if asked and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()


def follow(stop: Stop, said: str) -> None:
    """Do what the signal would have done: Ctrl-C raises KeyboardInterrupt(said)."""
    if stop.signal == signal.SIGINT:
        raise KeyboardInterrupt(said)
    if stop.signal is not None:
        signal.raise_signal(stop.signal)
