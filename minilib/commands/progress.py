"""What a terminal shows of work that says nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from tqdm import tqdm

TICK = 1.0  # seconds


@contextmanager
def clock(what: str) -> Iterator[None]:
    """While it lasts, a line on a terminal says what is done and for how long, each
    second anew; then it goes. Where stderr is no terminal nothing is written.
    """
    over = threading.Event()
    # a bar without an end: disable=None leaves it out where there is no terminal
    line = tqdm(desc=what, bar_format="{desc}: {elapsed}", leave=False, disable=None)

    def tick() -> None:
        while not over.wait(TICK):
            line.refresh()

    thread = threading.Thread(target=tick, name="clock", daemon=True)
    with line:
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def counted(model: nn.Module, total: int, what: str) -> Iterator[None]:
    """While it lasts, a bar shows how many of `total` calls of the network are done; a
    clock where their number is not known, 0.
    """
    if not total:
        with clock(what):
            yield
        return
    with tqdm(total=total, desc=what) as bar:

        def count(*_: object) -> None:  # what a hook returns replaces the output
            bar.update()

        hook = model.register_forward_hook(count)
        try:
            yield
        finally:
            hook.remove()
